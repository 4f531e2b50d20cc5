"""`clickmap train-classifier` of participants, and the judge it leaves for `prepare`."""
