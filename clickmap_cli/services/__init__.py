"""Floor 4: one package or module per job, `run(config, progress) -> Result`; no printing."""
