"""Floor 6: one small file per subcommand: options -> config -> service -> printed summary."""
