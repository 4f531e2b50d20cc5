"""`clickmap train-classifier` of participants, and the filter that `prepare` takes from it."""
