"""Floor 3: networks and adapters that predict maps."""
