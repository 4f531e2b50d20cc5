"""Tasks of networks: what each learns, from which examples."""
