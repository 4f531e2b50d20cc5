"""Tables of trials, and tables of key points."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from clickmap_cli.clickmaps.keys import flat_name
from clickmap_cli.datasets.keypoint_labels import KeypointLabels
from clickmap_cli.datasets.keypoint_tables import read_labels, write_dlc_csv, write_flat_csv
from tests.faults.fuzz.mutation import (
    Bytewise,
    behind,
    in_npy,
    inside_gzip,
    inside_zip,
    inside_zstd,
    lines_of,
)
from tests.faults.fuzz.target import Target
from tests.helpers import hostile
from tests.helpers.tables import Raw, read, some_rows, write_table

_NAMES = (
    "image_path", "file_pointer", "user_id", "user", "clicks", "clickmap_x", "clickmap_y",
    "is_mobile", "user_catch_trial", "timestamp", "kind",
)  # fmt: skip
WORDS = (
    tuple(
        text.replace("{canary}", "/tmp/canary").encode("utf-8", "surrogatepass")
        for text in (*_NAMES, *hostile.PATHS, *hostile.CLICKS, *hostile.HEADERS)
        if len(text) < 100
    )
    + hostile.MARKS
)
_TRIALS = ("t.csv", "t.csv.gz", "t.csv.zst")
_LAYOUTS = (
    b'clicks,user_id,image_path\n"{""(1,2),(3,4)""}",u,a/b.jpg\n"[(1, 2),\n(3, 4)]",v,a/b.jpg\n',
    b'\xef\xbb\xbfimage_path,user_id,clickmap_x,clickmap_y\r\na\\b.png,1,"[1, 2]","[3, 4.5]"\r\n',
    b'user,file_pointer,clicks,is_mobile,kind\n1.0,a/c.png,"[[1,2],[3,4]]",True,x\nnan,b,{},[0],\n',
    b'image_path,user_id,clicks,timestamp\na,b,"[(-1e3, +.5)]",2024-05-17T01:02:03\nc,d,[],NaN\n',
)


def _options(choice: int) -> dict[str, str | None]:
    return {
        "remove_string": "a/" if choice & 1 else None,
        "category_column": "kind" if choice & 2 else None,
    }


def _read_trials(path: Path, choice: int) -> bool:
    """Read a table, and hold what was read against what any reader must keep to."""
    options = _options(choice)
    got = read(path, **options)
    trials = got.trials
    assert all(row > 0 and reason for row, _, _, reason in got.rejected)
    assert all(len(value) <= 80 and value.isprintable() for _, _, value, _ in got.rejected)
    for key in trials.images.tolist():
        stays_inside(path.parent, key)
    return not got.rejected


def stays_inside(folder: Path, key: str) -> None:
    """An image key and its name as a file lie in the folder they are put in."""
    assert key.isprintable()
    inner = folder / key
    assert inner.is_relative_to(folder)
    assert ".." not in inner.parts
    assert (folder / flat_name(key)).parent == folder
    assert len(flat_name(key).encode()) <= 200


def _csv_seeds(folder: Path) -> list[bytes]:
    seeds = [bytes([0, 0]) + text for text in _LAYOUTS]
    for at, name in enumerate(_TRIALS):
        data = write_table(folder / name, some_rows(4, extra=True)).read_bytes()
        seeds += [bytes([at, option]) + data for option in (0, 3)]
    seeds += [bytes([1, 0]) + gzip.compress(text, mtime=0) for text in _LAYOUTS]
    return seeds


def _run_csv(data: bytes, folder: Path) -> bool:
    front = data[:2].ljust(2, b"\0")
    path = folder / _TRIALS[front[0] % len(_TRIALS)]
    path.write_bytes(data[2:])
    return _read_trials(path, front[1])


def _mutate_csv(data: bytes, rng: random.Random, bytewise: Bytewise) -> bytes:
    lines = lines_of(WORDS)

    def change(text: bytes) -> bytes:
        return lines(text, rng, bytewise)

    kind = data[0] % len(_TRIALS)
    inner = (lines, inside_gzip, inside_zstd)[kind]
    return data[:2] + inner(data[2:], rng, bytewise if kind == 0 else change)


def _binary_seeds(name: str) -> Callable[[Path], Sequence[bytes]]:
    def seeds(folder: Path) -> list[bytes]:
        two = [Raw("a\\b.jpg", "u", [(1, 2)], {"is_mobile": [True], "kind": "x"})]
        rows = [some_rows(3), some_rows(3, extra=True), two]
        made = [write_table(folder / name, some).read_bytes() for some in rows]
        rng = np.random.default_rng(0)
        made += [hostile.__dict__[f"_nasty_{name[2:]}"](rng, folder)[1] for _ in range(20)]
        if name == "t.npz":
            made += [hostile._payload(rng, folder / "canary")[1] for _ in range(5)]
        return [b"\0" + data for data in made]

    return seeds


def _run_binary(name: str) -> Callable[[bytes, Path], bool]:
    def run(data: bytes, folder: Path) -> bool:
        path = folder / name
        path.write_bytes(data[1:])
        return _read_trials(path, data[0] if data else 0)

    return run


# --- key points -------------------------------------------------------------------------------

_POINTS = (
    (
        b"scorer,me,me,me,me\nbodyparts,nose tip,nose tip,eye,eye\ncoords,x,y,x,y\n"
        b"labeled-data/a/1.png,1.5,2,3,4.25\nlabeled-data/b/2.png,,,0,11\n"
    ),
    (
        b"scorer,,,me,me,me\nbodyparts,,,nose,nose,nose\ncoords,,,x,y,likelihood\n"
        b"labeled-data,a,1.png,1.5,2,0.9\nlabeled-data,a,2.png,NaN,nan,\n"
    ),
    b",nose x,nose y,left_eye_x,left_eye_y\r\na/1.png,1.5,2,3,4.25\r\n./a/2.png,,,0,11\r\n",
    b'\xef\xbb\xbf,video,image_path,nose tip_x,nose tip_y\n0,a,labeled-data\\a\\1.png,"7"," 8 "\n',
    b"scorer,me,me\nindividuals,a,a\nbodyparts,nose,nose\ncoords,x,y\n1.png,1,2\n",
)
_POINT_WORDS = (
    b"scorer", b"bodyparts", b"coords", b"individuals", b"likelihood", b"x", b"y", b" x", b"_y",
    b"labeled-data", b"../1.png", b"/etc/passwd", b"nan", b"inf", b"1e999", b"1_000", b"-0.0",
    b'"', b'""', b",", b"\n", b"\r", b"\0", b"\xef\xbb\xbf", b"a/1.png", b" ", b"\xc2\xa0",
)  # fmt: skip


def _run_points(data: bytes, folder: Path) -> bool:
    path = folder / ("labels.csv.gz" if data[:2] == b"\x1f\x8b" else "labels.csv")
    path.write_bytes(data)
    labels = read_labels(path)
    for image in labels.images:
        assert (folder / image).is_relative_to(folder)
        assert ".." not in (folder / image).parts
    assert labels.points.shape == (len(labels.images), len(labels.names), 2)
    for write in (write_flat_csv, write_dlc_csv):
        write(folder / "again.csv", labels)
        _same_labels(read_labels(folder / "again.csv"), labels)
    return True


def _same_labels(one: KeypointLabels, other: KeypointLabels) -> None:
    assert one.names == other.names
    assert one.images == other.images
    np.testing.assert_array_equal(one.points, other.points)


TARGETS = (
    Target("csv", _csv_seeds, _run_csv, _mutate_csv, WORDS, ("csv",)),
    Target(
        "npz", _binary_seeds("t.npz"), _run_binary("t.npz"),
        behind(1, inside_zip(in_npy)), (*WORDS[:40], b"|O", b"'<f8'", b"(3,)"),
        ("pickle", "zipfile"),
    ),
    Target(
        "parquet", _binary_seeds("t.parquet"), _run_binary("t.parquet"), words=WORDS[:40],
    ),
    Target(
        "deeplabcut", lambda _: [*_POINTS, gzip.compress(_POINTS[0], mtime=0)], _run_points,
        lines_of(_POINT_WORDS), _POINT_WORDS, ("csv",),
    ),
)  # fmt: skip
