"""Long arrays hold what plain NumPy would, wherever they stand."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickmap_cli.runtime.errors import RunError
from clickmap_cli.storage import long_arrays
from clickmap_cli.storage.long_arrays import LongArray, blocks_of_runs, ranges, take_runs


@contextmanager
def limits(in_memory: int, block: int = 5, bucket: int = 16, write: int = 8, most: int = 256):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_arrays, "IN_MEMORY_BYTES", in_memory)
        patch.setattr(long_arrays, "BLOCK_VALUES", block)
        patch.setattr(long_arrays, "_BUCKET_BYTES", bucket)
        patch.setattr(long_arrays, "_WRITE_BYTES", write)
        patch.setattr(long_arrays, "_MOST_BUCKETS", most)
        yield


def runs_of(n: int):
    """Any runs inside an array of n values, empty and overlapping ones too."""
    run = st.integers(0, n).flatmap(lambda first: st.tuples(st.just(first), st.integers(0, n)))
    return st.lists(run.map(lambda r: (r[0], max(0, min(r[1], n - r[0])))), max_size=30)


@given(runs=runs_of(40), in_memory=st.sampled_from([0, 20, 1 << 20]), most=st.integers(1, 9))
def test_runs_are_joined_in_the_order_asked_for(runs, in_memory, most) -> None:
    values = np.arange(40, dtype=np.int16) * 3
    starts = np.array([start for start, _ in runs], dtype=np.int64)
    lengths = np.array([length for _, length in runs], dtype=np.int64)
    wanted = [value for start, length in runs for value in values[start : start + length].tolist()]
    with limits(in_memory, most=most):
        taken = take_runs(values, starts, lengths)
    assert taken.dtype == values.dtype
    assert taken.tolist() == wanted


@given(pieces=st.lists(st.lists(st.integers(-99, 99), max_size=9)), in_memory=st.integers(0, 40))
def test_what_is_appended_comes_back(pieces, in_memory) -> None:
    with limits(in_memory):
        array = LongArray(np.int16)
        for piece in pieces:
            array.append(np.array(piece, dtype=np.int16))
        assert array.finish().tolist() == [v for piece in pieces for v in piece]


def test_a_long_one_is_mapped_and_has_no_name(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with limits(0):
        array = LongArray(np.int32)
        for _ in range(3):
            array.append(np.arange(4, dtype=np.int32))
        values = array.finish()
    assert list(tmp_path.iterdir()) == []
    assert not values.flags.writeable
    assert not values.flags.owndata
    assert values.tolist() == [0, 1, 2, 3] * 3


def test_another_type_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match="an array of int16 was appended int32"):
        LongArray(np.int16).append(np.zeros(1, dtype=np.int32))


def test_no_room_is_reported(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    with limits(0), pytest.raises(RunError, match=r"no room for the clicks.*TMPDIR"):
        LongArray(np.int16).append(np.zeros(9, dtype=np.int16))


@given(lengths=st.lists(st.integers(0, 12), max_size=30), block=st.integers(1, 20))
def test_blocks_hold_every_run_once_and_few_values(lengths, block) -> None:
    with limits(0, block=block):
        blocks = blocks_of_runs(np.array(lengths, dtype=np.int64))
    runs = [run for part in blocks for run in range(part.start, part.stop)]
    assert runs == list(range(len(lengths)))
    for part in blocks:
        assert part.stop - part.start == 1 or sum(lengths[part]) <= block


@given(runs=runs_of(20))
def test_ranges_are_those_of_a_loop(runs) -> None:
    starts = np.array([start for start, _ in runs], dtype=np.int64)
    lengths = np.array([length for _, length in runs], dtype=np.int64)
    wanted = [at for start, length in runs for at in range(start, start + length)]
    assert ranges(starts, lengths).tolist() == wanted
