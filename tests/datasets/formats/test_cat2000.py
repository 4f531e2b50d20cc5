"""CAT2000's trees, and fixations of other images as negatives."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import io

from clickmap_cli.config.fields import read_settings
from clickmap_cli.datasets.base import Points
from clickmap_cli.datasets.fixations import FixationPool, PooledPoints
from clickmap_cli.datasets.formats.cat2000 import cat2000
from clickmap_cli.runtime.errors import ConfigError, DataError
from tests.datasets.scenes import by_id, gaussian_sum, grey, picture, reasons

SIZES = {"Action_001": (12, 16), "Action_002": (10, 20), "Art_001": (12, 16)}


def tree(base, maps=True) -> dict[str, np.ndarray]:
    """Three images of two categories; their fixation masks."""
    masks = {}
    for seed, (name, size) in enumerate(SIZES.items()):
        category, stem = name.split("_")
        picture(base / "Stimuli" / category / f"{stem}.jpg", size, seed)
        picture(base / "Stimuli" / category / "Output" / f"{stem}_SaliencyMap.jpg", size)
        masks[name] = (np.random.default_rng(seed).random(size) < 0.05).astype(np.uint8)
        folder = base / "FIXATIONLOCS" / category
        folder.mkdir(parents=True, exist_ok=True)
        io.savemat(folder / f"{stem}.mat", {"fixLocs": masks[name]}, do_compression=True)
        if maps:
            values = np.random.default_rng(seed + 10).integers(0, 256, (*size, 1), np.uint8)
            grey(base / "FIXATIONMAPS" / category / f"{stem}.jpg", np.repeat(values, 3, axis=2))
            picture(base / "FIXATIONMAPS" / category / "Output" / f"{stem}.jpg", size)
    return masks


@pytest.mark.parametrize("inner", ["", "trainSet", "trainSet/trainSet"])
def test_the_train_tree(tmp_path, inner) -> None:
    masks = tree(tmp_path / inner)
    data = cat2000(tmp_path)
    found = by_id(data)
    assert list(found) == sorted(SIZES)
    assert not data.problems
    for name, stimulus in found.items():
        assert stimulus.size == SIZES[name]
        assert stimulus.category == name.split("_")[0]
        np.testing.assert_array_equal(stimulus.points.counts(stimulus.size), masks[name])
        assert stimulus.truth().shape == SIZES[name]
        assert stimulus.truth().max() > 1
        assert stimulus.people() is None
        assert stimulus.nonfixations is None


def test_without_maps_fixations_are_blurred(tmp_path) -> None:
    masks = tree(tmp_path, maps=False)
    data = cat2000(tmp_path, sigma_px=1.5)
    assert any("no FIXATIONMAPS" in text for text in data.notices)
    for name, stimulus in by_id(data).items():
        rows, columns = np.nonzero(masks[name])
        expected = gaussian_sum(columns, rows, SIZES[name], 1.5)
        np.testing.assert_allclose(stimulus.truth(), expected / expected.sum(), rtol=1e-12)


def test_the_test_tree_has_images_alone(tmp_path) -> None:
    picture(tmp_path / "testSet" / "Stimuli" / "Art" / "007.jpg")
    data = cat2000(tmp_path, split="test")
    assert list(by_id(data)) == ["Art_007"]
    assert data.stimuli[0].points is None
    assert any("uniform" in text for text in data.scoring_notices)
    with_negatives = cat2000(tmp_path, split="test", provide_sauc_nonfix=True)
    assert with_negatives.stimuli[0].nonfixations is None
    assert any("provide_sauc_nonfix has no effect" in text for text in with_negatives.notices)
    with pytest.raises(DataError, match="neither FIXATIONLOCS nor FIXATIONMAPS"):
        picture(tmp_path / "trainSet" / "Stimuli" / "Art" / "001.jpg")
        cat2000(tmp_path)


def test_a_tree_nested_in_itself_is_found(tmp_path) -> None:
    picture(tmp_path / "testSet" / "testSet" / "Stimuli" / "Art" / "007.jpg")
    for root in (tmp_path, tmp_path / "testSet", tmp_path / "testSet" / "testSet"):
        assert list(by_id(cat2000(root, split="test"))) == ["Art_007"]


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("npy", [False, True])
def test_the_folders_may_be_images_fixations_and_gt_maps(tmp_path, flat, split, npy) -> None:
    published, own = tmp_path / "published", tmp_path / "own"
    masks = tree(published)
    for name, mask in masks.items():
        category, stem = name.split("_")
        place = name if flat else f"{category}/{stem}"
        for old, new in (("Stimuli", "images"), ("FIXATIONMAPS", "gt_maps")):
            target = own / new / f"{place}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(published / old / category / f"{stem}.jpg", target)
        target = own / "fixations" / f"{place}.npy"
        target.parent.mkdir(parents=True, exist_ok=True)
        if npy:
            np.save(target, mask)
        else:
            source = published / "FIXATIONLOCS" / category / f"{stem}.mat"
            shutil.copy(source, target.with_suffix(".mat"))
    expected = by_id(cat2000(published, provide_sauc_nonfix=True))
    data = cat2000(own, split=split, provide_sauc_nonfix=True)
    assert not data.problems
    found = by_id(data)
    assert list(found) == list(expected)
    for name, stimulus in found.items():
        assert stimulus.category == expected[name].category
        np.testing.assert_array_equal(stimulus.truth(), expected[name].truth())
        np.testing.assert_array_equal(stimulus.points.x, expected[name].points.x)
        np.testing.assert_array_equal(stimulus.nonfixations.y, expected[name].nonfixations.y)


def test_one_damaged_image_leaves_the_others(tmp_path) -> None:
    tree(tmp_path)
    (tmp_path / "FIXATIONLOCS" / "Art" / "001.mat").unlink()
    io.savemat(tmp_path / "FIXATIONLOCS" / "Action" / "002.mat", {"fixLocs": np.zeros((3, 4))})
    data = cat2000(tmp_path)
    assert list(by_id(data)) == ["Action_001"]
    told = reasons(data)
    assert "No file" in told["Art_001"]
    assert "3 x 4" in told["Action_002"]


def test_what_is_not_cat2000(tmp_path) -> None:
    with pytest.raises(DataError, match="no folder Stimuli"):
        cat2000(tmp_path)
    with pytest.raises(ConfigError, match="split is 'val'; it must be one of train, test"):
        read_settings(cat2000, {"root": str(tmp_path), "split": "val"}, "data set x")
    (tmp_path / "trainSet" / "Stimuli").mkdir(parents=True)
    with pytest.raises(DataError, match="no folder Stimuli"):
        cat2000(tmp_path / "trainSet", split="test")


# --- negatives --------------------------------------------------------------------------------


def shuffled(points, sizes, own: int):
    """Fixations of all other images by the definition: scaled by the ratio of sides, truncated."""
    x, y = [], []
    for at, (others, (height, width)) in enumerate(zip(points, sizes, strict=True)):
        if at != own:
            x += [int(value * (sizes[own][1] / width)) for value in others.x]
            y += [int(value * (sizes[own][0] / height)) for value in others.y]
    return np.asarray(x, dtype=float), np.asarray(y, dtype=float)


def test_negatives_are_the_other_images_fixations(tmp_path) -> None:
    tree(tmp_path)
    data = cat2000(tmp_path, provide_sauc_nonfix=True)
    points = [stimulus.points for stimulus in data.stimuli]
    sizes = [stimulus.size for stimulus in data.stimuli]
    for own, stimulus in enumerate(data.stimuli):
        x, y = shuffled(points, sizes, own)
        np.testing.assert_array_equal(stimulus.nonfixations.x, x)
        np.testing.assert_array_equal(stimulus.nonfixations.y, y)
        assert len(stimulus.nonfixations) == len(x)
        counts = stimulus.nonfixations.counts(stimulus.size)
        assert counts.sum() == len(x)
        np.testing.assert_array_equal(
            pickle.loads(pickle.dumps(stimulus)).nonfixations.counts(stimulus.size), counts
        )


@given(
    st.lists(
        st.tuples(
            st.integers(1, 40), st.integers(1, 40), st.lists(st.floats(0, 0.999), max_size=5)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_negatives_lie_inside_whatever_the_sizes(images) -> None:
    sizes = [(height, width) for height, width, _ in images]
    points = [
        Points(np.asarray(at) * width, np.asarray(at[::-1]) * height)
        for height, width, at in images
    ]
    pool = FixationPool(points, sizes)
    for own in range(len(images)):
        others = PooledPoints(pool, own)
        x, y = shuffled(points, sizes, own)
        np.testing.assert_array_equal(others.x, x)
        np.testing.assert_array_equal(others.y, y)
        assert len(others.inside(sizes[own])) == len(others) == len(x)
