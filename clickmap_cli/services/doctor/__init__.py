"""`clickmap doctor`: report on this machine, and find problems of a config on it."""
