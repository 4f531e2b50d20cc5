"""Floor 4: one module a job: `run(config, progress) -> Result`. No printing, no drawing."""
