"""Builders of small studies: trials in memory, and CSV files as a user would have them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from clickmap_cli.clickmaps.keys import category_of
from clickmap_cli.clickmaps.trials import Trials

Click = tuple[int, int]
TrialRow = tuple[str, str, Sequence[Click]]
"""Image key, user, clicks (x, y)."""


def trials_of(
    rows: Sequence[TrialRow],
    shape: tuple[int, int] = (32, 32),
    shapes: dict[str, tuple[int, int]] | None = None,
    time: Sequence[float] | None = None,
    catch: Sequence[float] | None = None,
    mobile: Sequence[bool] | None = None,
) -> Trials:
    """A table of trials, images and users in the order they appear."""
    images = list(dict.fromkeys(row[0] for row in rows))
    users = list(dict.fromkeys(row[1] for row in rows))
    names = [category_of(key) for key in images]
    categories = list(dict.fromkeys(names))
    clicks = np.array([c for row in rows for c in row[2]], dtype=np.int16).reshape(-1, 2)
    lengths = [len(row[2]) for row in rows]
    return Trials(
        x=clicks[:, 0].copy(),
        y=clicks[:, 1].copy(),
        offsets=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        image=np.array([images.index(row[0]) for row in rows], dtype=np.int32),
        user=np.array([users.index(row[1]) for row in rows], dtype=np.int32),
        images=np.array(images, dtype=np.str_),
        users=np.array(users, dtype=np.str_),
        category=np.array([categories.index(n) for n in names], dtype=np.int32),
        categories=np.array(categories, dtype=np.str_),
        shape=np.array([(shapes or {}).get(key, shape) for key in images], dtype=np.int32),
        time=None if time is None else np.array(time, dtype=np.float64),
        catch=None if catch is None else np.array(catch, dtype=np.float32),
        mobile=None if mobile is None else np.array(mobile, dtype=np.bool_),
    )


def random_rows(
    seed: int, images: int = 4, users: int = 6, side: int = 32, clicks: tuple[int, int] = (10, 30)
) -> list[TrialRow]:
    """Every user clicks every image at random."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(images):
        for u in range(users):
            n = int(rng.integers(*clicks))
            points = rng.integers(0, side, (n, 2))
            rows.append((f"cat{i % 2}/{i}.png", f"u{u}", [(int(x), int(y)) for x, y in points]))
    return rows


def as_text(clicks: Iterable[Click]) -> str:
    """Clicks in the notation `{"(x,y),(x,y)"}`."""
    return '{"' + ",".join(f"({x},{y})" for x, y in clicks) + '"}'


def write_csv(path: Path, rows: Iterable[TrialRow]) -> Path:
    """Rows as a CSV of trials."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image_path", "clicks", "user_id"))
        writer.writerows((image, as_text(clicks), user) for image, user, clicks in rows)
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table, by the names of its columns."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
