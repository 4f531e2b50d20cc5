"""`clickmap visualize`: figures and galleries of a finished experiment, and a browser of its maps."""
