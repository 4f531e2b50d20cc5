from __future__ import annotations

import pytest

from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.errors import RunError


def test_devices_that_are_not_there_are_refused() -> None:
    import torch

    assert choose_device("cpu") == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(RunError, match="no such device"):
            choose_device("cuda")
        assert choose_device("auto") in ("cpu", "mps")
    else:
        assert choose_device("auto") == "cuda"
