"""Trials that look wrong are said to, and others are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clickmap_cli.clickmaps.geometry import ImageShapes
from clickmap_cli.clickmaps.implausible import implausible
from clickmap_cli.clickmaps.reading.trials_file import ReadOptions, read_trials
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.runtime.progress import Silent

SHAPE = (100, 200)


def trials_of(folder, x: np.ndarray, y: np.ndarray) -> Trials:
    clicks = ",".join(f"({a:.3f},{b:.3f})" for a, b in zip(x, y, strict=True))
    path = folder / "trials.csv"
    rows = [f'a.png,"[{clicks}]",u{user}' for user in range(3)]
    path.write_text("\n".join(["image_path,clicks,user_id", *rows]) + "\n")
    options = ReadOptions(ImageShapes(SHAPE, None))
    return read_trials(path, options, lambda *_: None, Silent()).trials


@pytest.fixture
def where() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(0, 200, 40), rng.uniform(0, 100, 40)


def said(folder, x: np.ndarray, y: np.ndarray) -> list[str]:
    return list(implausible(trials_of(folder, x, y), SHAPE))


def test_clicks_inside_are_believed(tmp_path, where) -> None:
    assert said(tmp_path, *where) == []


def test_fractions_of_the_image(tmp_path, where) -> None:
    x, y = where
    (text,) = said(tmp_path, x / 200, y / 100)
    assert "fractions" in text


def test_clicks_in_larger_pixels(tmp_path, where) -> None:
    x, y = where
    (text,) = said(tmp_path, 4 * x, 4 * y)
    assert "[100, 200] (height, width)" in text
    assert "swapped" not in text


def test_x_and_y_swapped(tmp_path, where) -> None:
    x, y = where
    (text,) = said(tmp_path, y, x)
    share = 100 * float(np.mean(x >= 100))
    assert f"{share:.0f}% of the clicks lie outside" in text
    assert "With x and y swapped, 0% would." in text


def test_a_handful_of_clicks_says_nothing(tmp_path) -> None:
    assert said(tmp_path, np.zeros(3), np.full(3, 500.0)) == []


def test_clicks_of_every_block_count(tmp_path, where, monkeypatch) -> None:
    monkeypatch.setattr("clickmap_cli.storage.long_arrays.BLOCK_VALUES", 40)
    trials = trials_of(tmp_path, *where)  # three trials of 40 clicks
    assert len(list(trials.blocks())) == 3
    x = trials.x.copy()
    x[80:] = 200  # the last trial's lie outside
    (text,) = implausible(replace(trials, x=x), SHAPE)
    assert text.startswith("33% of the clicks")
