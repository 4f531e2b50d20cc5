"""`clickmap finetune` of saliency models; `run.py` is the entry point."""
