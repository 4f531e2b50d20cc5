"""Decompression bombs and other small files of endless content: refused in a sentence, or read,
within a limit of memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from tests.faults.bombs import BOMBS

UNPACKS = "unpacks to more than 100 times its size"
FILLS = "looks made to fill the memory"
WANTED = {
    "csv_gz_one_line": "a line is longer than 64 MiB",
    "csv_gz_blank_lines": UNPACKS,
    "csv_zst_blank_lines": UNPACKS,
    "csv_line_of_a_gigabyte": "a line is longer than 64 MiB",
    "deeplabcut_gz": UNPACKS,
    "fixations_gz": UNPACKS,
    "npz_of_zeros": FILLS,
    "npz_of_operations": "looks made to take forever",
    "npz_of_one_text": "a value is repeated too often",
    "parquet_of_nulls": "looks made to take forever",
    "png_largest": "^read$",
    "png_text": "Decompressed data too large",
    "hdf5_chunk": "too many for a file",
    "hdf5_texts": "bytes of text, in a file of",
    "maps_never_written": "too many for a file",
    "maps_npz_of_zeros": FILLS,
    "mat_of_zeros": "too large",
    "config_aliases": "more than 10,000 values",
    "config_references": "refers to another value",
    "config_brackets": "nested more than 40 deep",
    "categories_of_aliases": "not a word",
    "sizes_of_aliases": "not .width, height",
    "checkpoint_packed": "parts of it are packed",
    "checkpoint_of_a_huge_network": "do not fit its network",
    "mask_of_one_number": "states 14400000000 bytes and holds 4",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bombs")
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "tests.faults.bombs", str(folder)], check=True, env=environment
    )
    return json.loads((folder / "outcomes.json").read_text())


def test_every_bomb_is_expected():
    assert list(WANTED) == list(BOMBS)


@pytest.mark.parametrize("name", WANTED)
def test_bombs(outcomes, name):
    outcome, mebibytes = outcomes[name]
    assert re.search(WANTED[name], outcome), outcome
    assert "\n" not in outcome
    assert "memory:" not in outcome
    assert mebibytes < (1536 if name == "png_largest" else 1024)
