"""`clickmap benchmark`: models against people; `run.py` is the door."""
