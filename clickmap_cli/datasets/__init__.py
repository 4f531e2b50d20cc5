"""Floor 3: images with their ground truth."""
