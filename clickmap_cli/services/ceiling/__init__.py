"""`clickmap ceiling`: measure how well people predict people; `run.py` is the entry point."""
