"""Floor 3: networks and adapters. What a user's own model needs is here."""

from __future__ import annotations

from clickmap_cli.models.base import MODELS, SaliencyModel, SubjectModel

register_model = MODELS.register
"""A decorator: the name a config uses for the class below it."""

__all__ = ["MODELS", "SaliencyModel", "SubjectModel", "TorchSaliencyModel", "register_model"]


def __getattr__(name: str) -> object:
    """`TorchSaliencyModel` on demand: it needs torch, which other models do without."""
    if name == "TorchSaliencyModel":
        from clickmap_cli.models.torch_model import TorchSaliencyModel

        return TorchSaliencyModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
