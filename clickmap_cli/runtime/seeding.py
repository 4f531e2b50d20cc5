"""Random generators that depend on the purpose of a draw, never on its time or place."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return a generator seeded by (`seed`, names...), for example (seed, image key, purpose).

    The same words give the same stream on every machine and with any number of workers; other
    words give an independent stream. An image's draws therefore never depend on other images.

    Args:
        seed: seed of the experiment.
        names: words that identify the purpose; their order matters.
    """
    text = "\x1f".join((str(seed), *names))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
