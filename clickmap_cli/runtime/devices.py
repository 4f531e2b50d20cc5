"""Choose the device for torch. Importing this module does not import torch."""

from __future__ import annotations

from clickmap_cli.runtime.errors import MissingDeviceError

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(wanted: str) -> str:
    """Return the torch device to use.

    Args:
        wanted: `auto` selects a GPU if there is one, else the CPU; any other device must exist
            (`cuda:1` is the second GPU).

    Returns:
        `cpu`, `cuda`, `cuda:1`, ... or `mps`.

    Raises:
        MissingDeviceError: the requested device does not exist on this machine.
    """
    if wanted == "cpu":
        return "cpu"
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next((name for name, there in present.items() if there), "cpu")
    kind, _, number = wanted.partition(":")
    numbered = not number or (
        kind == "cuda" and number.isdigit() and int(number) < torch.cuda.device_count()
    )
    if not present.get(kind, False) or not numbered:
        raise MissingDeviceError(
            f"--device {wanted}: this machine has no such device; use --device cpu or auto."
        )
    return wanted
