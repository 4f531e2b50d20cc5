"""`clickmap visualize`: figures, galleries, and the maps that the viewer shows."""
