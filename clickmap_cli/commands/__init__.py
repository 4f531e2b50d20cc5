"""Floor 6: one small file a subcommand: options -> config -> service -> printed summary."""
