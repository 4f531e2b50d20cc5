"""`clickmap visualize`: figures, galleries and quick looks at a finished experiment."""
