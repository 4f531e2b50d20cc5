"""Weights of networks: files that fit, files that do not, and random ones."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from clickmap_cli.models.weights import load_state, read_state, read_weights_setting, seeded
from clickmap_cli.runtime.errors import ConfigError, DataError
from tests.helpers.payloads import Call


def network() -> torch.nn.Module:
    return torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(4)), torch.nn.BatchNorm1d(2))


# --- settings --------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["none", "None", "NONE"])
def test_random_weights_are_asked_for_by_a_word(word) -> None:
    assert read_weights_setting(None, word, "net") is None
    assert read_weights_setting("", word, "net") is None


def test_a_file_is_taken_where_it_is(tmp_path) -> None:
    path = tmp_path / "w.pth"
    path.touch()
    assert read_weights_setting(str(path), None, "net") == path


@pytest.mark.parametrize(
    ("path", "weights", "says"),
    [
        (None, None, "net: set weights_path to its checkpoint, weights: hub to download them, or"),
        ("", None, "net: set weights_path"),
        ("x.pth", "none", "weights_path is set and weights says none; keep one"),
        (None, "imagenet", "weights is 'imagenet'; it must be null, none or hub"),
        (None, "", "weights is ''"),
    ],
)
def test_settings_that_make_no_sense(path, weights, says) -> None:
    with pytest.raises(ConfigError, match=says):
        read_weights_setting(path, weights, "net", "hub")


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(DataError, match=r"net: no weights at x\.pth \(looked from"):
        read_weights_setting("x.pth", None, "net", "hub")
    with pytest.raises(DataError, match="no weights at"):
        read_weights_setting(str(tmp_path), None, "net")


def test_without_a_release_none_is_offered() -> None:
    with pytest.raises(ConfigError) as caught:
        read_weights_setting(None, None, "net")
    assert "download" not in str(caught.value)


# --- random weights --------------------------------------------------------------------------


def test_a_seed_gives_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    drawn = []
    for seed in (1, 1, 2):
        with seeded(seed):
            drawn.append(network()[0].weight)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    with pytest.raises(ValueError, match="inside"), seeded(1):
        torch.rand(3)
        raise ValueError("inside")
    assert torch.equal(torch.random.get_rng_state(), before)


# --- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "best": 0.5},
        lambda state: {"model_state_dict": state, "optimizer": {"lr": 0.1}},
        lambda state: {"model": state, "args": None},
        lambda state: {"epoch": 1, "state_dict": {"model": state}},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints_plain_and_nested(tmp_path, wrapped, zipped) -> None:
    state = network().state_dict()
    path = tmp_path / "w.pth"
    torch.save(wrapped(state), path, _use_new_zipfile_serialization=zipped)
    found = read_state(path)
    assert list(found) == list(state)
    assert all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([torch.zeros(2)], "holds no named tensors"),
        (torch.zeros(2), "holds no named tensors"),
        ({}, "holds no named tensors"),
        ({"state_dict": {}}, "holds no named tensors"),
        ({"a": torch.zeros(2), "epoch": 3}, "'epoch' is not a tensor"),
        ({"a": {"b": torch.zeros(2)}}, "'a' is not a tensor"),
        ({1: torch.zeros(2)}, "'1' is not a tensor"),
    ],
)
def test_files_of_something_else(tmp_path, content, says) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(DataError, match=says) as caught:
        read_state(tmp_path / "w.pth")
    assert str(caught.value).startswith(str(tmp_path / "w.pth"))


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04cut", b"\x80\x02}q\x00."])
def test_damaged_files_are_one_sentence(tmp_path, content) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"w\.pth") as caught:
        read_state(path)
    assert str(caught.value).isprintable()


def test_a_missing_file_is_a_sentence(tmp_path) -> None:
    with pytest.raises(DataError, match=r"No file at .*w\.pth"):
        read_state(tmp_path / "w.pth")


@pytest.mark.parametrize("how", ["zip", "old", "pickle", "network"])
def test_whatever_is_not_a_tensor_is_refused_and_does_not_run(tmp_path, how) -> None:
    path, touched = tmp_path / "w.pth", tmp_path / "touched"
    evil = {"weight": Call(os.mkdir, [str(touched)])}
    if how == "pickle":
        path.write_bytes(pickle.dumps(evil))
    elif how == "network":  # whole pickled modules are code too
        torch.save(network(), path)
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(DataError, match=r"refused to load it.*nothing was run") as caught:
        read_state(path)
    assert not touched.exists()
    assert str(caught.value).isprintable()
    assert "weights_only" not in str(caught.value)


# --- loading ---------------------------------------------------------------------------------


def test_a_state_that_fits_is_loaded() -> None:
    source, other = network(), network()
    source[4].running_mean.fill_(3)
    found = load_state(other, source.state_dict(), Path("w.pth"))
    assert found is other
    for key, value in source.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)


def test_the_first_differences_are_named_and_the_rest_counted() -> None:
    state = network().state_dict()
    with pytest.raises(DataError) as caught:
        load_state(
            network(),
            {
                **{key: value for key, value in state.items() if not key.endswith(".bias")},
                "0.weight": torch.zeros(3, 2),
                "head.weight": torch.zeros(1),
                "head.bias": torch.zeros(1),
            },
            Path("w.pth"),
        )
    assert str(caught.value) == (
        "w.pth: not the weights of Sequential; it lacks 0.bias, 1.bias, 2.bias and 2 more; "
        "it has unknown head.weight, head.bias; it has other shapes: 0.weight [3, 2] for [2, 2]."
    )


def test_nothing_is_loaded_where_something_does_not_fit() -> None:
    target = network()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    state = {key: value + 1 for key, value in target.state_dict().items()}
    del state["3.bias"]
    with pytest.raises(DataError, match=r"lacks 3\.bias\."):
        load_state(target, state, Path("w.pth"))
    for key, value in target.state_dict().items():
        assert torch.equal(value, before[key])
