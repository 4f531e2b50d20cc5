"""Data with a known truth; its defaults are fixed."""
