"""`clickmap finetune` of key points; `run.py` is the entry point."""
