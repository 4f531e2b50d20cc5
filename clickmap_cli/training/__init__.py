"""Floor 3: loops, folds, freezing, trackers."""
