"""`clickmap data`: tools that make, convert and import data sets."""
