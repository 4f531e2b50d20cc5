"""`clickmap prepare`: raw trials to maps on disk; `run.py` is the door."""
