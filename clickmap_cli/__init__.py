"""clickmap: from people's clicks to heatmaps, human ceilings and model scores."""

__version__ = "0.1.0"
