"""`clickmap train-classifier` of attention maps; `run.py` is the door."""
