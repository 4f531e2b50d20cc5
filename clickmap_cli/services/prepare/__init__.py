"""`clickmap prepare`: turn raw trials into maps on disk; `run.py` is the entry point."""
