"""Fuzzing of every reader of what strangers write; see `__main__` for how to run it."""
