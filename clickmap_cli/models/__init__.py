"""Floor 3: networks and adapters, and the classes that a user's own model needs."""

from __future__ import annotations

from clickmap_cli.models.base import MODELS, SaliencyModel, SubjectModel

register_model = MODELS.register
"""Decorator that registers a class under the name that a config uses for it."""

__all__ = ["MODELS", "SaliencyModel", "SubjectModel", "TorchSaliencyModel", "register_model"]


def __getattr__(name: str) -> object:
    """Import `TorchSaliencyModel` on first use: it needs torch, which other models do not."""
    if name == "TorchSaliencyModel":
        from clickmap_cli.models.torch_model import TorchSaliencyModel

        return TorchSaliencyModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
