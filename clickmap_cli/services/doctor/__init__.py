"""`clickmap doctor`: what this machine can do, and what of a config it cannot."""
