"""Images for a terminal: which ones come, with which numbers, and that they come one at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.visualize.options import VisualizeOptions
from clickmap_cli.services.visualize.quick_look import quick_look
from clickmap_cli.storage.map_store import MapStore
from tests.helpers.galleries import SIDE, experiment
from tests.helpers.studies import random_rows

ROWS = random_rows(4, images=5, users=4, side=SIDE)
FEWER = [row for at, row in enumerate(ROWS) if at not in (3, 6, 7)]
"""The first image has three people, the second two, the others four."""


def test_images_come_as_they_are_chosen_with_their_maps_and_numbers(tmp_path: Path) -> None:
    config = experiment(tmp_path, FEWER)
    found = list(quick_look(config, VisualizeOptions(top=4), Silent()))
    keys = [picture.key for picture in found]
    assert keys == ["cat0/2.png", "cat0/4.png", "cat1/3.png", "cat0/0.png"]
    store = MapStore(tmp_path / "study")
    for picture in found:
        assert np.array_equal(picture.heat, store.read(picture.key.replace("/", "_"))[0])
        mine = [row for row in FEWER if row[0] == picture.key]
        assert picture.n_participants == len(mine)
        assert picture.n_clicks == sum(len(row[2]) for row in mine)
        assert np.isnan(picture.agreement)  # there is no ceiling, and none is computed for this


def test_chosen_by_agreement_its_value_comes_along(tmp_path: Path) -> None:
    config = experiment(tmp_path, FEWER)
    found = list(quick_look(config, VisualizeOptions(top=5, by="agreement"), Silent()))
    scores = [picture.agreement for picture in found]
    assert scores == sorted(scores, reverse=True)
    assert {picture.metric for picture in found} == {"spearman"}


def test_an_image_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    config = experiment(tmp_path, FEWER, "output_format=numpy")
    for path in (tmp_path / "study" / "maps").glob("cat0_4.png.npy"):
        path.unlink()
    pictures = quick_look(config, VisualizeOptions(top=2), Silent())
    assert next(pictures).key == "cat0/2.png"
    with pytest.raises(DataError, match="cat0_4"):
        next(pictures)


def test_options_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    config = experiment(tmp_path, FEWER)
    with pytest.raises(ConfigError, match="--random"):
        list(quick_look(config, VisualizeOptions(top=2, random=2), Silent()))
