"""Random generators that depend on what is drawn, never on when or where it is drawn."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *names: str) -> np.random.Generator:
    """A generator seeded by (`seed`, names...), for example (seed, image key, purpose).

    The same words give the same stream on every machine and with any number of workers, and
    other words an independent one, so an image's draws never depend on other images.

    Args:
        seed: the experiment's seed.
        names: words that say what is drawn; their order counts.
    """
    text = "\x1f".join((str(seed), *names))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
