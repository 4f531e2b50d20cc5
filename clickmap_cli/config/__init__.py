"""Floor 1: schemas of the configuration files and their loading."""
