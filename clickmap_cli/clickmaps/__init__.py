"""Floor 3: trials to maps and agreement."""
