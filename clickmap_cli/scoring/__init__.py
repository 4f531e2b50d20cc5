"""Data sets x models x metrics: predictions, scores, people as models, comparisons."""
