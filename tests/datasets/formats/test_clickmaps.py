"""The data set `clickmaps`: what models are shown and held against, on the maps' pixels."""

from __future__ import annotations

import json
import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from clickmap_cli.config.loading import load_experiment
from clickmap_cli.datasets.formats.clickmaps import clickmaps
from clickmap_cli.reports.prepare import draw_example
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.prepare import run as prepare
from clickmap_cli.storage.map_store import MapStore
from tests.helpers.studies import random_rows, write_csv

NATIVE = {"cat0/0.png": (60, 44), "cat1/1.png": (40, 90)}
"""Images shown at their own size; (width, height)."""

GEOMETRIES = {
    "one size": ([], False),
    "cropped": (["center_crop=[20,25]"], False),
    "native sizes": ([], True),
    "native sizes, cropped": (["center_crop=[20,25]"], True),
}


def study(tmp_path, words=(), native=False, users=4, lost=()):
    """A prepared experiment whose images have many sizes."""
    rows = random_rows(1, images=5, users=users)
    rng = np.random.default_rng(0)
    if native:
        for at, (key, user, _) in enumerate(rows):
            width, height = NATIVE.get(key, (32, 32))
            points = zip(rng.integers(0, width, 20), rng.integers(0, height, 20), strict=True)
            rows[at] = (key, user, [(int(x), int(y)) for x, y in points])
        known = {key: NATIVE.get(key, (32, 32)) for key, _, _ in rows}
        (tmp_path / "sizes.json").write_text(json.dumps(known))
        words = [*words, f"metadata_file={tmp_path / 'sizes.json'}"]
    data = write_csv(tmp_path / "trials.csv", rows)
    for key in {row[0] for row in rows} - set(lost):
        path = tmp_path / "images" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height = NATIVE[key] if native and key in NATIVE else (47, 61)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    base = [
        f"clickme_data={data}", f"image_dir={tmp_path / 'images'}", f"assets={tmp_path / 'out'}",
        "image_shape=[32,32]", "min_subjects=2", "min_clicks=1", "display_image_keys=null",
        "blur_size=7", "save_maps=both",
    ]  # fmt: skip
    config = load_experiment(None, [*base, *words]).config
    return prepare.run(config, Silent(), draw_example).folder, rows


def scaled_size(size) -> tuple[int, int]:
    """Short side to 32, the long one rounded."""
    height, width = size
    if size == (32, 32):
        return size
    short = min(size)
    return tuple(int(Fraction(side * 32, short) + Fraction(1, 2)) for side in (height, width))


def shown(path, resized, crop) -> torch.Tensor:
    """The image as the reference resizes and crops it."""
    pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).double() / 255
    planes = torch.nn.functional.interpolate(
        pixels.permute(2, 0, 1)[None], size=resized, mode="bilinear", antialias=True
    )[0]
    top, left = (round((side - c) / 2) for side, c in zip(resized, crop, strict=True))
    return planes[:, top : top + crop[0], left : left + crop[1]].permute(1, 2, 0)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_image_points_and_truth_lie_on_the_maps_pixels(tmp_path, name) -> None:
    words, native = GEOMETRIES[name]
    folder, rows = study(tmp_path, words, native)
    data = clickmaps(str(folder))
    assert list(data.problems) == []
    # photographs of 47 x 61 whose clicks are measured in 32 x 32 are stretched: a notice
    (notice,) = data.notices
    assert notice.startswith(f"{3 if native else 5} of 5 images are stretched")
    assert [s.key for s in data.stimuli] == sorted({row[0] for row in rows})
    store = MapStore(folder)
    sizes = set()
    for stimulus in data.stimuli:
        width, height = NATIVE.get(stimulus.key, (32, 32)) if native else (32, 32)
        resized = scaled_size((height, width))
        crop = (20, 25) if words else resized
        assert stimulus.size == crop
        sizes.add(crop)
        assert stimulus.image_id == stimulus.key.replace("/", "_")
        assert stimulus.category == stimulus.key.split("/")[0]

        image = stimulus.image()
        assert image.dtype == np.float32
        assert image.shape == (*crop, 3)
        assert image.min() >= 0
        assert image.max() <= 1
        wanted = shown(tmp_path / "images" / stimulus.key, resized, crop)
        np.testing.assert_allclose(image, wanted.clamp(0, 1).numpy(), atol=1e-5)

        truth = stimulus.truth()
        assert truth.shape == crop
        np.testing.assert_allclose(truth, store.read(stimulus.image_id)[0], atol=1e-6)
        assert truth.max() > 0

        counts = np.zeros(crop, dtype=int)
        top, left = (round((side - c) / 2) for side, c in zip(resized, crop, strict=True))
        for key, _, clicks in rows:
            for x, y in clicks if key == stimulus.key else ():
                # the pixel that holds the centre of the clicked one
                row = int((Fraction(y) + Fraction(1, 2)) * resized[0] / height) - top
                column = int((Fraction(x) + Fraction(1, 2)) * resized[1] / width) - left
                if 0 <= row < crop[0] and 0 <= column < crop[1]:
                    counts[row, column] += 1
        np.testing.assert_array_equal(stimulus.points.counts(crop), counts)
        assert stimulus.points.subject is None
    assert len(sizes) == (3 if name == "native sizes" else 1)


def test_everybodys_own_map_is_the_prepared_one(tmp_path) -> None:
    folder, _ = study(tmp_path, ["center_crop=[20,25]"])
    store = MapStore(folder)
    for stimulus in clickmaps(str(folder)).stimuli:
        people = stimulus.people()
        maps = store.read(stimulus.image_id, "participants")
        assert list(people.names) == ["u0", "u1", "u2", "u3"]
        for person in range(4):
            own = people.target(person).pixels.reshape(stimulus.size)
            np.testing.assert_allclose(own, maps[person], atol=1e-6)
            others = np.delete(maps, person, axis=0).mean(axis=0)
            np.testing.assert_allclose(people.others(person), others, atol=1e-6)


def test_somebody_alone_is_not_people(tmp_path) -> None:
    folder, _ = study(tmp_path, ["min_subjects=1"], users=1)
    stimuli = clickmaps(str(folder)).stimuli
    assert len(stimuli) == 5
    assert all(stimulus.people() is None for stimulus in stimuli)


def test_images_that_are_not_there(tmp_path) -> None:
    folder, _ = study(tmp_path, lost=["cat0/0.png", "cat1/1.png"])
    data = clickmaps(str(folder))
    assert len(data.stimuli) == 5
    assert any("2 of 5 images are not in" in notice for notice in data.notices)
    assert [stimulus.has_image for stimulus in data.stimuli].count(False) == 2
    missing = data.stimuli[0]
    for ask in (missing.image, missing.image_digest):
        with pytest.raises(DataError, match=r"cat0/0\.png: no such image in image_dir"):
            ask()
    assert missing.truth().max() > 0
    assert len(missing.points)
    (notice,) = clickmaps(str(folder), image_dir=str(tmp_path)).notices
    assert "5 of 5" in notice
    there = data.stimuli[1]
    there.file.unlink()  # gone since the data set was read
    with pytest.raises(DataError):
        there.image_digest()
    with pytest.raises(DataError):
        there.image()


def test_digests_follow_what_is_shown_and_what_is_scored_against(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    folder, _ = study(tmp_path / "a")
    one = clickmaps(str(folder)).stimuli[0]
    again = clickmaps(str(folder), image_dir=str(tmp_path / "a/images")).stimuli[0]
    assert one.image_digest() == again.image_digest()
    assert one.truth_digest() == again.truth_digest()
    cropped = clickmaps(str(study(tmp_path / "b", ["center_crop=[20,25]"])[0])).stimuli[0]
    assert cropped.image_digest() != one.image_digest()
    assert cropped.truth_digest() != one.truth_digest()
    before = one.image_digest()
    Image.new("RGB", (47, 61)).save(one.file)
    assert one.image_digest() != before
    fewer, _ = study(tmp_path / "b", ["experiment_name=fewer"], users=3)
    assert clickmaps(str(fewer)).stimuli[0].truth_digest() != one.truth_digest()


def test_a_stimulus_travels_to_a_worker_alone(tmp_path) -> None:
    folder, _ = study(tmp_path)
    stimulus = clickmaps(str(folder)).stimuli[2]
    packed = pickle.dumps(stimulus)
    assert len(packed) < 10_000
    again = pickle.loads(packed)
    np.testing.assert_array_equal(again.truth(), stimulus.truth())
    assert again.truth_digest() == stimulus.truth_digest()


def test_a_folder_that_is_none_of_prepare(tmp_path) -> None:
    with pytest.raises(DataError, match="holds no finished run of prepare"):
        clickmaps(str(tmp_path))
    with pytest.raises(ConfigError, match="root: expected a path"):
        clickmaps(None)
