"""`clickmap benchmark`: score models against people; `run.py` is the entry point."""
