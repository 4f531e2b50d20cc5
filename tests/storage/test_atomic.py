from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from clickmap_cli.runtime.errors import RunError
from clickmap_cli.storage.atomic import (
    is_whole,
    json_ready,
    replacing,
    sha256_of,
    write_bytes,
    write_csv,
    write_json,
    write_rows,
)


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = tmp_path / "a.txt"
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_bytes(b"new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_new_file_appears_whole(tmp_path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with replacing(path) as partial:
        partial.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"


def test_unwritable_places_are_one_sentence(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be written"):
        write_bytes(tmp_path / "file" / "x", b"")
    with pytest.raises(RunError, match="too long"):
        write_bytes(tmp_path / ("x" * 300), b"")


def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a"
    with pytest.raises(RunError, match="disk is full"), replacing(path):
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")
    assert os.listdir(tmp_path) == []


def test_json_and_csv(tmp_path) -> None:
    write_json(tmp_path / "a.json", {"é": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"é": 1}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "b.json", float("nan"))
    assert not (tmp_path / "b.json").exists()
    write_csv(tmp_path / "a.csv", ("x",), [('a,"b',)])
    assert (tmp_path / "a.csv").read_text() == 'x\n"a,""b"\n'


def test_numbers_that_do_not_exist_are_empty_cells_and_nulls(tmp_path) -> None:
    row = ("a", math.nan, np.float64("nan"), math.inf, True, False, None, 0.1, 3)
    write_csv(tmp_path / "a.csv", list("abcdefghi"), [row])
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == "a,,,inf,true,false,,0.1,3"
    given = {"a": [1, math.nan, (True, -math.inf)], "b": {"c": np.float64(0.5), "d": None}}
    assert json_ready(given) == {"a": [1, None, [True, None]], "b": {"c": 0.5, "d": None}}
    assert type(json_ready(np.float64(0.5))) is float


def test_dataclasses_and_paths_become_objects_and_strings() -> None:
    @dataclass(frozen=True)
    class Found:
        score: float
        place: Path

    given = {"found": (Found(math.nan, Path("a/b")), Found(0.5, Path("c")))}
    assert json_ready(given) == {
        "found": [{"score": None, "place": "a/b"}, {"score": 0.5, "place": "c"}]
    }


def test_rows_have_a_column_a_field(tmp_path) -> None:
    @dataclass
    class Row:
        name: str
        score: float

    write_rows(tmp_path / "a.csv", Row, [Row("x", 0.5), Row("y", math.nan)])
    assert (tmp_path / "a.csv").read_text() == "name,score\nx,0.5\ny,\n"


def test_sha256(tmp_path) -> None:
    write_bytes(tmp_path / "a", b"abc")
    assert sha256_of(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_bytes_are_whole_if_they_are_those_that_were_stated(tmp_path) -> None:
    path, content = tmp_path / "f", b"first\nrest"
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    for source in (path, content):
        assert is_whole(source, {"size": len(content), "sha256": digest})
        assert is_whole(source, {"sha256": digest})
        assert not is_whole(source, {"size": len(content) + 1, "sha256": digest})
        assert not is_whole(source, {"size": len(content), "sha256": digest[::-1]})
        assert not is_whole(source, {"size": len(content)})
    assert not is_whole(tmp_path / "missing", {"sha256": digest})
    assert not is_whole(tmp_path, {"sha256": digest})
    beginning = {"sha256": hashlib.sha256(content[:6]).hexdigest()}
    assert is_whole(path, beginning, 6)
    assert not is_whole(path, beginning, 7)
