"""Simulated data with a known truth; its defaults are fixed."""
