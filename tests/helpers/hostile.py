"""A stream of malformed tables: valid ones damaged at random, and ones built to be nasty."""

from __future__ import annotations

import gzip
import io
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.helpers.payloads import Call
from tests.helpers.tables import csv_bytes, object_array, quoted, some_rows, write_table

Malformed = tuple[str, bytes]
"""File name (its ending is the format) and content."""

MARKS = (b'"', b"\n", b",", b"(", b"nan", b"\r\n", b"-", b"\0", b"]", b'""')
CLICKS = (
    "nan", "[(nan, nan)]", "[(inf, -inf)]", "[(-5, -7)]", "[(1e308, 9999999999999999999)]",
    "[", "]", "[(1, 2), (3", "(1, 2", '{"(1,2),(3,4)}', "{}", "[]", "[[]]", "", " ", "None", "true",
    "[1, 2, 3]", "[('a', 'b')]", "[(1, 2)] * 10**9", "__import__('os').system('touch {canary}')",
    "[(1,2)]\x00", "[" + "(1, 2), " * 3000 + "(3, 4)]", "[(" + "9" * 5000 + ", 1)]",
    "=cmd|' /C calc'!A0", "[(1, 2)\n(3, 4)]", "[(1, 2),\n(3, 4)]",
)  # fmt: skip
PATHS = (
    "../../etc/passwd", "/etc/passwd", "C:\\x.jpg", "..\\..\\x.jpg", "", ".", "..", "a/",
    "\x1b[31mred", "a/b.jpg", "a_b.jpg", "A/b.jpg", "x" * 300, "é" * 200, "a\x00b", "%2e%2e/x.jpg",
    "~/x.jpg", "$HOME/x", "`touch {canary}`", "<script>alert(1)</script>.jpg", "con",
    "a\u202eb.jpg", "{canary}",
)  # fmt: skip
HEADERS = (
    "image_path,user_id", "clicks", "", "image_path,user_id,clicks,clicks", "a,b,c",
    "image_path;user_id;clicks", '"image_path,user_id,clicks', "image_path,user_id,clickmap_x",
    "\x00\x01", "IMAGE_PATH,USER_ID,CLICKS",
    "image_path,user_id,clicks,is_mobile,user_catch_trial,timestamp",
)  # fmt: skip


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes replaced, inserted, deleted, or the end cut."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(0, len(out) + 1))
        size = int(rng.integers(1, 12))
        new = rng.integers(0, 256, size, np.uint8).tobytes()
        if rng.random() < 0.5:
            new = MARKS[int(rng.integers(len(MARKS)))]
        kind = rng.random()
        if kind < 0.45:
            out[at : at + len(new)] = new
        elif kind < 0.7:
            out[at:at] = new
        elif kind < 0.95:
            del out[at : at + size]
        else:
            del out[at:]
    return bytes(out)


def malformed(n: int, seed: int, folder: Path, canary: Path) -> Iterator[Malformed]:
    """`n` malformed inputs, always the same ones.

    Args:
        n: how many.
        seed: which ones.
        folder: where valid files are made for a moment.
        canary: what the payloads in them would create.
    """
    rng = np.random.default_rng(seed)
    valid = {}
    for name in ("t.csv", "t.csv.gz", "t.csv.zst", "t.parquet", "t.npz"):
        file = write_table(folder / name, some_rows(8, extra=True))
        valid[name] = file.read_bytes()
        file.unlink()
    makers: tuple[Callable[[np.random.Generator, Path], Malformed], ...] = (
        _nasty_csv, _nasty_csv, _nasty_gz, _nasty_npz, _nasty_parquet, _payload, _noise,
    )  # fmt: skip
    names = list(valid)
    for i in range(n):
        if i % 2:
            name = names[(i // 2) % len(names)]
            yield name, damaged(valid[name], rng)
        else:
            yield makers[(i // 2) % len(makers)](rng, canary)


def _pick(rng: np.random.Generator, words: tuple[str, ...], canary: Path) -> str:
    return words[int(rng.integers(len(words)))].replace("{canary}", str(canary))


def _nasty_csv(rng: np.random.Generator, canary: Path) -> Malformed:
    header = "image_path,user_id,clicks"
    if rng.random() < 0.3:
        header = _pick(rng, HEADERS, canary)
    lines = [header]
    for _ in range(int(rng.integers(0, 12))):
        fields = [_pick(rng, PATHS, canary), f"user{rng.integers(5)}", _pick(rng, CLICKS, canary)]
        fields += ["x"] * int(rng.integers(0, 4) == 3)
        if rng.random() < 0.8:
            fields = [quoted(field) for field in fields]
        lines.append(",".join(fields))
    end = ["\n", "\r\n", "\r", "\n\n"][int(rng.integers(4))]
    data = end.join(lines).encode("utf-8", "replace")
    if rng.random() < 0.1:
        data = data.decode("utf-8", "replace").encode("utf-16")
    return "t.csv", data


def _nasty_gz(rng: np.random.Generator, canary: Path) -> Malformed:
    data = gzip.compress(_nasty_csv(rng, canary)[1], mtime=0)
    if rng.random() < 0.7:
        data = data[: int(rng.integers(len(data)))]
    return ("t.csv.gz" if rng.random() < 0.8 else "t.csv.zst"), data


def _odd_values(rng: np.random.Generator, canary: Path, n: int) -> list[Any]:
    odd = (
        None, 1, -1.5, 10**400, "x", b"\xff", [], [1], [(1, 2)], [[1, 2], [3]], {"x": 1}, ((1,),),
        np.arange(3), np.zeros((2, 2)), np.array("x"), float("nan"), float("inf"), True, 1 + 2j,
        np.datetime64("NaT"), "\ud800", [{"x": 1, "y": 2}], [{"x": 1}], [(float("nan"), 1)],
        [("../x", "y")], object_array([[1], None]), str(canary), [[[[[[1]]]]]],
    )  # fmt: skip
    return [odd[int(rng.integers(len(odd)))] for _ in range(n)]


def _columns(rng: np.random.Generator, canary: Path) -> dict[str, Any]:
    n = int(rng.integers(0, 9))
    names = ["image_path", "user_id", "clicks", "is_mobile", "user_catch_trial", "timestamp"]
    columns: dict[str, Any] = {
        "image_path": [_pick(rng, PATHS, canary) for _ in range(n)],
        "user_id": [f"u{i}" for i in range(n)],
        "clicks": [_pick(rng, CLICKS, canary) for _ in range(n)],
    }
    if rng.random() < 0.3:
        columns["clickmap_x"] = columns.pop("clicks")
        columns["clickmap_y"] = _odd_values(rng, canary, n)
    for name in names:
        if rng.random() < 0.3:
            columns[name] = _odd_values(rng, canary, n)
    if rng.random() < 0.1:
        columns.popitem()
    return columns


def _nasty_npz(rng: np.random.Generator, canary: Path) -> Malformed:
    arrays = {}
    for name, values in _columns(rng, canary).items():
        array = object_array(values)
        if all(isinstance(value, str) for value in values) and rng.random() < 0.5:
            array = np.array(values, dtype=np.str_)
        if rng.random() < 0.1:
            array = rng.integers(-9, 9, (len(values), 3)) if rng.random() < 0.5 else array[:-1]
        arrays[name] = array
    out = io.BytesIO()
    np.savez(out, **arrays)
    return "t.npz", out.getvalue()


def _nasty_parquet(rng: np.random.Generator, canary: Path) -> Malformed:
    arrays = {}
    for name, values in _columns(rng, canary).items():
        kinds = [value if isinstance(value, str | None) else repr(value) for value in values]
        kinds = [None if k is None else k.encode("utf-8", "surrogatepass") for k in kinds]
        array = pa.array(kinds, pa.binary())
        if rng.random() < 0.5:
            array = array.view(pa.string())  # which need not be UTF-8
        if rng.random() < 0.3:
            other = (
                pa.int64(),
                pa.float64(),
                pa.bool_(),
                pa.timestamp("ns"),
                pa.list_(pa.list_(pa.int8())),
            )
            array = pa.nulls(len(values), other[int(rng.integers(len(other)))])
        arrays[name] = array
    out = io.BytesIO()
    pq.write_table(pa.table(arrays), out)
    return "t.parquet", out.getvalue()


def _payload(rng: np.random.Generator, canary: Path) -> Malformed:
    calls = (
        Call(os.mkdir, [str(canary)]),
        Call(os.system, [f"touch {canary}"]),
        Call(eval, [f"open({str(canary)!r}, 'w')"]),
        Call(open, [str(canary), "w"]),
        Call(np.save, [str(canary), 1]),
    )
    call = calls[int(rng.integers(len(calls)))]
    values = object_array([[(1, 2)], call, {"a": [call]}])
    out = io.BytesIO()
    arrays = {"image_path": ["a", "b", "c"], "user_id": ["u"] * 3, "clicks": ["[]"] * 3}
    arrays[["image_path", "user_id", "clicks"][int(rng.integers(3))]] = values
    np.savez(out, **arrays)
    if rng.random() < 0.2:
        return "t.npz", pickle.dumps(values)
    return "t.npz", out.getvalue()


def _noise(rng: np.random.Generator, _canary: Path) -> Malformed:
    names = ("t.csv", "t.csv.gz", "t.csv.zst", "t.parquet", "t.npz", "t.txt", "t.pkl", "t")
    starts = (
        b"",
        b"PK\x03\x04",
        b"\x1f\x8b\x08\x00",
        b"\x28\xb5\x2f\xfd",
        b"PAR1",
        b"\x93NUMPY",
        b"\xef\xbb\xbf",
    )
    data = rng.integers(0, 256, int(rng.integers(0, 400)), np.uint8).tobytes()
    if rng.random() < 0.2:
        data = csv_bytes(some_rows(3))
    return names[int(rng.integers(len(names)))], starts[int(rng.integers(len(starts)))] + data


def tree(folder: Path) -> dict[str, int]:
    """Every file and folder below, with its size."""
    return {
        str(path.relative_to(folder)): path.stat().st_size if path.is_file() else -1
        for path in sorted(folder.rglob("*"))
    }
