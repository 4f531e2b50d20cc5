"""Raw tables as strangers send them: valid ones in every format, and how to read them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickmap_cli.clickmaps.geometry import ImageShapes
from clickmap_cli.clickmaps.reading.trials_file import read_trials
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.runtime.progress import Silent

Pair = tuple[float, float]


@dataclass
class Raw:
    """One row before any file format: path, user, clicks, and what else a table may carry."""

    image: str
    user: str
    clicks: list[Pair]
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Read:
    """Result of reading, with every rejection as (row, column, value, reason)."""

    trials: Trials
    rejected: list[tuple[int, str, str, str]]

    def as_rows(self) -> list[tuple[str, str, list[tuple[int, int]]]]:
        """(image key, user, clicks) of each trial, in the order of the file."""
        t = self.trials
        rows = []
        for i in range(len(t)):
            x, y = t.clicks(i)
            pairs = list(zip(x.tolist(), y.tolist(), strict=True))
            rows.append((str(t.images[t.image[i]]), str(t.users[t.user[i]]), pairs))
        return rows


def read(path: Path, shape: tuple[int, int] = (1000, 1000), **options: Any) -> Read:
    """Read a table; a rejected row that is not counted, or counted twice, fails here."""
    rejected: list[tuple[int, str, str, str]] = []
    trials, n_rows = read_trials(
        path, ImageShapes(shape), lambda *row: rejected.append(row), Silent(), **options
    )
    assert n_rows == len(rejected) + len(trials)
    return Read(trials, rejected)


def quoted(value: str) -> str:
    """A CSV field, with quotes doubled."""
    return '"' + value.replace('"', '""') + '"'


def csv_bytes(
    rows: Sequence[Raw],
    end: str = "\n",
    header: Sequence[str] = ("image_path", "user_id", "clicks"),
) -> bytes:
    """A CSV table; clicks as `[(x, y), ...]`, quoted where they must be."""
    extra = list(rows[0].extra) if rows else []
    lines = [",".join([*header, *extra])]
    for row in rows:
        fields = [row.image, row.user, str(row.clicks), *map(str, row.extra.values())]
        lines.append(",".join(quoted(f) if any(c in f for c in ',"\n') else f for f in fields))
    return (end.join(lines) + end).encode()


def write_table(path: Path, rows: Sequence[Raw]) -> Path:
    """The same trials in the format that the ending names."""
    name = path.name
    if name.endswith(".parquet"):
        pq.write_table(pa.table(_columns(rows)), path)
    elif name.endswith(".npz"):
        columns = {key: object_array(values) for key, values in _columns(rows).items()}
        np.savez(path, **columns)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(csv_bytes(rows), mtime=0))
    elif name.endswith(".zst"):
        with pa.output_stream(path, compression="zstd") as out:
            out.write(csv_bytes(rows))
    else:
        path.write_bytes(csv_bytes(rows))
    return path


def _columns(rows: Sequence[Raw]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        "image_path": [row.image for row in rows],
        "user_id": [row.user for row in rows],
        "clicks": [[list(pair) for pair in row.clicks] for row in rows],
    }
    for name in rows[0].extra if rows else ():
        columns[name] = [row.extra[name] for row in rows]
    return columns


def object_array(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    """A one-dimensional object array, whatever the values are."""
    out = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        out[i] = value
    return out


def some_rows(n: int, seed: int = 0, extra: bool = False) -> list[Raw]:
    """Valid trials, no two alike."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        clicks = [(int(x), int(y)) for x, y in rng.integers(0, 900, (int(rng.integers(1, 6)), 2))]
        row = Raw(f"cats/img_{i % 7}.jpg", f"user{i}", clicks)
        if extra:
            row.extra = {"user_catch_trial": 0.99, "timestamp": 1000.5 + i}
        rows.append(row)
    return rows


def expected(rows: Sequence[Raw]) -> list[tuple[str, str, list[tuple[int, int]]]]:
    """Return what `Read.as_rows` returns for valid rows."""
    return [
        (row.image, row.user, [(int(x // 1), int(y // 1)) for x, y in row.clicks]) for row in rows
    ]


def json_pairs(clicks: Sequence[Pair]) -> str:
    return json.dumps([list(pair) for pair in clicks])
