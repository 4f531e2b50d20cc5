"""`clickmap ceiling`: how well people predict people; `run.py` is the door."""
