"""`clickmap finetune` of key points; `run.py` is the door."""
