"""Floor 2: pure functions over arrays."""
