"""Predictions on disk: used while what made them is the same, and never outside their folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clickmap_cli.storage.prediction_cache import PredictionCache

MAP = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def cache(tmp_path) -> PredictionCache:
    found = PredictionCache(tmp_path / "set" / "model")
    found.put("a", "key", MAP)
    return found


def test_what_is_kept_comes_back(cache) -> None:
    found = cache.get("a", "key")
    np.testing.assert_array_equal(found, MAP)
    assert found.dtype == np.float32
    assert cache.path("a") == cache.folder / "a.npy"
    np.testing.assert_array_equal(np.load(cache.folder / "a.npy"), MAP)
    cache.put("fortran", "key", np.asfortranarray(MAP.T))
    np.testing.assert_array_equal(cache.get("fortran", "key"), MAP.T)


def test_another_key_or_name_has_nothing(cache) -> None:
    for name, key in (("a", "other"), ("a", ""), ("b", "key"), ("A", "key")):
        if (cache.folder / f"{name}.json").exists() and key == "key":
            continue  # a file system that does not tell A from a
        assert cache.get(name, key) is None
    cache.put("a", "newer", 2 * MAP)
    assert cache.get("a", "key") is None
    np.testing.assert_array_equal(cache.get("a", "newer"), 2 * MAP)


def damage_cut(array, proof) -> None:
    array.write_bytes(array.read_bytes()[:-1])


def damage_bit(array, proof) -> None:
    data = bytearray(array.read_bytes())
    data[-1] ^= 1
    array.write_bytes(data)


def damage_replaced(array, proof) -> None:
    np.save(array, 2 * MAP)


def damage_gone(array, proof) -> None:
    array.unlink()


def damage_unproved(array, proof) -> None:
    proof.unlink()


def damage_no_json(array, proof) -> None:
    proof.write_text('{"key": "key", ')


def damage_list(array, proof) -> None:
    proof.write_text('["key"]')


def damage_binary(array, proof) -> None:
    proof.write_bytes(b"\xff\xfe\x00")


def damage_no_hash(array, proof) -> None:
    proof.write_text('{"key": "key"}')


def damage_no_array(array, proof) -> None:
    """Something that is whole, and no array."""
    import hashlib

    array.write_bytes(b"text")
    proof.write_text(json.dumps({"key": "key", "sha256": hashlib.sha256(b"text").hexdigest()}))


@pytest.mark.parametrize(
    "damage", [value for name, value in sorted(globals().items()) if name.startswith("damage_")]
)
def test_what_is_damaged_is_not_used_and_can_be_made_again(cache, damage) -> None:
    damage(cache.folder / "a.npy", cache.folder / "a.json")
    assert cache.get("a", "key") is None
    cache.put("a", "key", MAP)
    np.testing.assert_array_equal(cache.get("a", "key"), MAP)
    assert sorted(path.name for path in cache.folder.iterdir()) == ["a.json", "a.npy"]


def test_a_kill_between_array_and_proof_costs_the_prediction_only(cache, monkeypatch) -> None:
    """The array is new, and its JSON file belongs to the old one."""
    from clickmap_cli.storage import prediction_cache as module

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        cache.put("a", "newer", 2 * MAP)
    assert cache.get("a", "newer") is None
    assert cache.get("a", "key") is None


NAMES = st.text(st.characters(exclude_categories=()), max_size=300) | st.lists(
    st.sampled_from(["..", ".", "/", "\\", "%2E", "%", "~", "a", "é", "猫", "\0", "\n", " ", "C:"])
).map("".join)


@settings(max_examples=300, deadline=None)
@given(NAMES)
@example("..")
@example("../../etc/passwd")
@example("/etc/passwd")
@example("")
@example("x" * 5000)
@example("猫" * 100)
@example("\ud800")
def test_no_name_leads_out_of_the_folder(tmp_path_factory, name) -> None:
    folder = tmp_path_factory.getbasetemp() / "any" / "cache"
    cache = PredictionCache(folder)
    path = cache.path(name)
    assert path.parent == folder
    assert path.resolve().parent == folder.resolve()
    assert path.name.endswith(".npy")
    assert len(path.name.encode()) <= 230  # with endings of what is being written
    cache.put(name, "key", MAP)
    np.testing.assert_array_equal(cache.get(name, "key"), MAP)
    assert [p.name for p in folder.parent.iterdir()] == ["cache"]
    for made in (path, path.with_suffix(".json")):
        assert made.is_file()
        made.unlink()
    assert not any(folder.iterdir())


@settings(max_examples=300, deadline=None)
@given(NAMES, NAMES)
@example("..", "%2E%2E")
@example(".", "%2E")
@example("a/b", "a%2Fb")
@example("x" * 300, "x" * 301)
@example("x" * 200 + "a", "x" * 200 + "b")
@example("a.npy", "a")
def test_two_names_are_two_files(tmp_path_factory, one, other) -> None:
    cache = PredictionCache(tmp_path_factory.getbasetemp())
    assert (cache.path(one) == cache.path(other)) is (one == other)


@pytest.mark.parametrize("name", ["cat 1.jpg", "Ötzi", "猫", "a__u01~2", "x(1)[2]{3}", ".hidden"])
def test_ordinary_names_are_kept_as_they_are(tmp_path, name) -> None:
    assert PredictionCache(tmp_path).path(name).name == f"{name}.npy"
