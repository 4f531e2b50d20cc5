"""Checkpoints: equal states give equal bytes, and no changed byte goes unseen."""

from __future__ import annotations

import random
from collections import OrderedDict

import numpy as np
import pytest
import torch

from clickmap_cli.runtime.errors import RunError
from clickmap_cli.training.checkpoints import load, save


@pytest.fixture
def state() -> dict:
    network = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4))
    row = {"epoch": 1, "val_loss": 0.5}
    names = ["".join(["val", "_loss"]), "val_loss"]  # equal, and not one object
    return {
        "state_dict": network.state_dict(), "history": [row, dict(row)], "names": names,
        "rates": (0.1, "a"), "shared": [row, row],
    }  # fmt: skip


def test_a_state_that_was_read_gives_the_bytes_it_was_read_from(tmp_path, state) -> None:
    save(tmp_path / "a.pth", state)
    save(tmp_path / "b.pth", load(tmp_path / "a.pth"))
    assert (tmp_path / "b.pth").read_bytes() == (tmp_path / "a.pth").read_bytes()
    # half of it read, half of it made again, as a resumed training has it
    save(tmp_path / "c.pth", {**state, "history": load(tmp_path / "a.pth")["history"]})
    assert (tmp_path / "c.pth").read_bytes() == (tmp_path / "a.pth").read_bytes()


def test_a_state_comes_back_as_it_was(tmp_path, state) -> None:
    save(tmp_path / "a.pth", state)
    back = load(tmp_path / "a.pth")
    assert {k: v for k, v in back.items() if k != "state_dict"} == {
        k: v for k, v in state.items() if k != "state_dict"
    }
    assert type(back["state_dict"]) is OrderedDict
    assert back["state_dict"]._metadata == state["state_dict"]._metadata
    for name, value in state["state_dict"].items():
        assert value.equal(back["state_dict"][name])
    # and to anybody who has only torch
    plain = torch.load(tmp_path / "a.pth", weights_only=True)
    assert repr(plain) == repr(back)


def test_no_changed_or_missing_byte_goes_unseen(tmp_path, state) -> None:
    path = tmp_path / "a.pth"
    save(path, state)
    whole = path.read_bytes()
    rng = random.Random(0)
    tail = range(len(whole) - 90, len(whole))
    for at in [*tail, *(rng.randrange(len(whole)) for _ in range(300))]:
        data = bytearray(whole)
        data[at] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        with pytest.raises(RunError, match=r"a.pth.*run again with --overwrite"):
            load(path)
        path.write_bytes(whole[:at])
        with pytest.raises(RunError, match=r"a.pth.*run again with --overwrite"):
            load(path)


def test_a_checkpoint_of_torch_alone_is_read(tmp_path, state) -> None:
    torch.save(state, tmp_path / "a.pth")
    assert repr(load(tmp_path / "a.pth")["history"]) == repr(state["history"])
    torch.save([1], tmp_path / "b.pth")
    with pytest.raises(RunError, match="not a checkpoint of a training"):
        load(tmp_path / "b.pth")


def test_arrays_of_numpy_are_named_for_what_they_are(tmp_path) -> None:
    with (tmp_path / "a.pth").open("wb") as file:
        np.savez(file, w=np.ones(3))
    with pytest.raises(RunError, match=r"an \.npz archive of NumPy arrays \('w'\)"):
        load(tmp_path / "a.pth")
