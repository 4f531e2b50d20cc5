"""Each filter by a plain reading of its definition, and all of them in their order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.signal import convolve2d

from clickmap_cli.clickmaps.filters import Funnel, filter_trials
from clickmap_cli.clickmaps.image_files import find_masks
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Silent
from tests.helpers.studies import random_rows, trials_of


def config(**values) -> ExperimentConfig:
    base = {
        "image_shape": [32, 32], "min_clicks": 1, "max_clicks": None, "min_subjects": 1,
        "duplicate_maps": "keep_all", "filter_duplicates": False, "blur_size": 3,
    }  # fmt: skip
    return ExperimentConfig(**{**base, **values})


def run(trials, categories=None, **values):
    funnel = Funnel(trials, len(trials))
    filter_trials(funnel, config(**values), categories, Silent())
    return funnel


def kept(filtered) -> list[tuple[str, str, int]]:
    t = filtered.trials
    return [
        (str(t.images[i]), str(t.users[u]), int(n))
        for i, u, n in zip(t.image, t.user, t.n_clicks, strict=True)
    ]


def test_everything_stays_when_every_filter_is_off() -> None:
    rows = random_rows(0)
    filtered = run(trials_of(rows))
    # sorted by image key; trials of an image keep their order
    wanted = sorted(rows, key=lambda row: row[0])
    assert kept(filtered) == [(i, u, len(c)) for i, u, c in wanted]
    assert [row.trials for row in filtered.rows] == [len(rows)] * len(filtered.rows)


def test_the_funnel_has_the_steps_in_their_order() -> None:
    steps = [row.step for row in run(trials_of(random_rows(0))).rows]
    assert steps == [
        "rows in the file", "unreadable rows", "filter_mobile", "catch_threshold",
        "filter_duplicates", "file_inclusion_filter", "file_exclusion_filter", "class_filter_file",
        "participant_filter", "clicks outside dropped", "min_clicks", "max_clicks", "min_pixels",
        "duplicate_maps", "max_subjects", "min_subjects", "mask_dir",
    ]  # fmt: skip


def test_mobile_and_catch_trials() -> None:
    rows = [("a.png", u, [(1, 1)]) for u in "wxyz"]
    trials = trials_of(
        rows, mobile=[True, False, False, False], catch=[1, 0.95, 0.94, float("nan")]
    )
    assert [user for _, user, _ in kept(run(trials))] == ["w", "x"]
    assert [user for _, user, _ in kept(run(trials, filter_mobile=True))] == ["x"]
    assert [u for _, u, _ in kept(run(trials, catch_threshold=0.9))] == ["w", "x", "y"]


def test_first_submissions_by_row_and_by_time() -> None:
    rows = [("a.png", "u", [(1, 1)]), ("a.png", "u", [(2, 2)] * 2), ("b.png", "u", [(3, 3)] * 3)]
    assert kept(run(trials_of(rows), filter_duplicates=True)) == [
        ("a.png", "u", 1),
        ("b.png", "u", 3),
    ]
    late = trials_of(rows, time=[9, 8, 7])
    assert kept(run(late, filter_duplicates=True)) == [("a.png", "u", 2), ("b.png", "u", 3)]


def test_inclusion_and_exclusion_take_words() -> None:
    trials = trials_of([(k, "u", [(1, 1)]) for k in ("cat/1.png", "dog/1.png", "dog/2.png")])
    keys = lambda **v: [k for k, _, _ in kept(run(trials, **v))]  # noqa: E731
    assert keys(file_inclusion_filter=["dog"]) == ["dog/1.png", "dog/2.png"]
    assert keys(file_inclusion_filter=["cat", "2"]) == ["cat/1.png", "dog/2.png"]
    assert keys(file_exclusion_filter=["cat", "2"]) == ["dog/1.png"]
    assert [k for k, _, _ in kept(run(trials, categories=frozenset({"cat"})))] == ["cat/1.png"]


def test_participants_who_are_judged_bad_go_with_all_their_trials() -> None:
    rows = [("cat/1.png", u, [(1, 1), (40, 2)]) for u in "wxyz"] + [("dog/2.png", "x", [(2, 2)])]
    seen = []

    def quality(trials):
        seen.append(trials)
        return np.isin(trials.users, ["x", "w"])

    filtered = Funnel(trials_of(rows), 5)
    filter_trials(
        filtered,
        config(participant_filter="model.pt", file_exclusion_filter=["dog"]),
        None, Silent(), quality,
    )  # fmt: skip
    assert kept(filtered) == [("cat/1.png", "y", 1), ("cat/1.png", "z", 1)]
    # it is asked once, after the filters before it and before clicks outside are dropped
    (table,) = seen
    assert (len(table), len(table.x)) == (4, 8)
    row = next(row for row in filtered.rows if row.step == "participant_filter")
    assert (row.setting, row.trials, row.images, row.clicks) == ("model.pt", 2, 1, 4)
    assert filtered.notices == ["participant_filter removed 2 of 4 participants."]


def test_a_participant_filter_without_a_judge_is_an_error() -> None:
    with pytest.raises(ValueError, match="participant_filter is set"):
        run(trials_of(random_rows(0)), participant_filter="model.pt")
    assert run(trials_of(random_rows(0))).notices == []


def test_clicks_outside_are_dropped_before_they_are_counted() -> None:
    trials = trials_of(
        [("a.png", "u", [(-1, 5), (31, 31), (32, 0), (0, 32), (0, 0)]), ("a.png", "v", [(40, 40)])]
    )
    filtered = run(trials, min_clicks=2)
    assert kept(filtered) == [("a.png", "u", 2)]
    row = next(row for row in filtered.rows if row.step == "clicks outside dropped")
    assert (row.trials, row.clicks) == (2, 2)


@given(
    st.integers(1, 12), st.integers(1, 12),
    st.lists(st.lists(st.tuples(st.integers(-3, 14), st.integers(-3, 14)), max_size=6), min_size=1),
)  # fmt: skip
def test_a_click_is_inside_from_0_to_the_last_column_and_row(height, width, clicks) -> None:
    rows = [("a.png", f"u{at}", some) for at, some in enumerate(clicks)]
    found = run(trials_of(rows, shape=(height, width)), min_clicks=0).trials
    for at, some in enumerate(clicks):
        x, y = found.clicks(at)
        wanted = [(a, b) for a, b in some if a in range(width) and b in range(height)]
        assert list(zip(x.tolist(), y.tolist(), strict=True)) == wanted


def test_min_clicks_is_inclusive_and_max_clicks_trims_or_excludes() -> None:
    rows = [("a.png", f"u{n}", [(k, k) for k in range(n)]) for n in (9, 10, 11, 12)]
    assert [n for _, _, n in kept(run(trials_of(rows), min_clicks=10))] == [10, 11, 12]
    trimmed = run(trials_of(rows), max_clicks=11)
    assert [n for _, _, n in kept(trimmed)] == [9, 10, 11, 11]
    x, _ = trimmed.trials.clicks(len(trimmed.trials) - 1)
    assert x.tolist() == list(range(len(x)))
    out = run(trials_of(rows), max_clicks=11, process_max="exclude")
    assert sorted(n for _, _, n in kept(out)) == [9, 10, 11]


def test_min_pixels_counts_blurred_pixels() -> None:
    trials = trials_of([("a.png", "corner", [(0, 0)]), ("a.png", "middle", [(16, 16)])])
    disk = (np.hypot(*np.mgrid[-1:2, -1:2]) <= 1).astype(float)
    twice = np.count_nonzero(convolve2d(disk, disk))
    users = [u for _, u, _ in kept(run(trials, min_pixels=twice))]
    assert users == ["middle"]
    assert run(trials, min_pixels=twice + 1).trials.images.tolist() == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["keep_first", "drop_all", "keep_all"]))
def test_duplicate_maps_are_equal_sets_of_pixels(seed, mode) -> None:
    rng = np.random.default_rng(seed)
    rows = []
    for u in range(8):
        # few pixels, so that equal sets in other orders and multiplicities come up often
        points = rng.integers(0, 2, (int(rng.integers(1, 5)), 2)) + 5
        rows.append((f"{rng.integers(2)}.png", f"u{u}", [(int(x), int(y)) for x, y in points]))
    wanted = []
    for i, (key, user, clicks) in enumerate(rows):
        same = [j for j, (k, _, c) in enumerate(rows) if k == key and set(c) == set(clicks)]
        keep = {"keep_all": True, "keep_first": same[0] == i, "drop_all": len(same) == 1}[mode]
        if keep:
            wanted.append((key, user, len(clicks)))
    assert sorted(kept(run(trials_of(rows), duplicate_maps=mode))) == sorted(wanted)


@pytest.mark.parametrize("mode", ["keep_first", "drop_all"])
def test_equal_pixels_in_two_images_are_not_duplicates(mode) -> None:
    rows = [(f"{at}.png", "u", [(3, 4), (5, 6)]) for at in range(4)]
    assert len(kept(run(trials_of(rows), duplicate_maps=mode))) == 4


def test_subjects_are_people_not_trials() -> None:
    rows = [("a.png", u, [(1, 1)]) for u in ("p", "p", "q", "r")] + [("b.png", "p", [(1, 1)])]
    assert [u for _, u, _ in kept(run(trials_of(rows), max_subjects=2))] == ["p", "p", "q", "p"]
    assert {k for k, _, _ in kept(run(trials_of(rows), min_subjects=3))} == {"a.png"}
    assert kept(run(trials_of(rows), min_subjects=4)) == []
    by_time = trials_of(rows, time=[5, 6, 1, 2, 0])
    assert [u for k, u, _ in kept(run(by_time, max_subjects=2)) if k == "a.png"] == ["q", "r"]


def test_a_limit_below_min_subjects_keeps_images_that_had_enough() -> None:
    # files in use say min_subjects 20 and max_subjects 10: enough people came, ten are used
    rows = [("a.png", f"u{n}", [(1, 1)]) for n in range(5)] + [("b.png", "u0", [(1, 1)])]
    filtered = run(trials_of(rows), min_subjects=4, max_subjects=2)
    assert kept(filtered) == [("a.png", "u0", 1), ("a.png", "u1", 1)]


def test_masks_drop_images_whose_heat_lies_on_them(tmp_path) -> None:
    rows = [(f"{name}.png", "u", [(8, 8)]) for name in ("on", "off", "none")]
    folder = tmp_path / "masks"
    folder.mkdir()
    # with no blur the heat above half its maximum is the clicked pixel itself
    mask = np.zeros((32, 32), dtype=np.uint8)
    mask[8, 8] = 255
    Image.fromarray(mask).save(folder / "on.png")
    np.save(folder / "off.npy", mask[::-1, ::-1] > 0)
    values = {"kernel_type": "none", "mask_dir": str(folder), "mask_threshold": 0.5}
    filtered = run(trials_of(rows), **values)
    assert filtered.trials.images.tolist() == ["none.png", "off.png"]
    assert "1 images have no mask" in filtered.notices[0]


def test_images_that_differ_in_their_ending_share_a_mask(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "1.npy", np.ones((4, 4)))
    found = find_masks(tmp_path, ["a/1.png", "a/1.jpg", "b/2.png"])
    assert found == dict.fromkeys(("a/1.png", "a/1.jpg"), tmp_path / "a" / "1.npy")


def test_a_mask_that_reaches_the_threshold_drops_its_image(tmp_path) -> None:
    # one hot pixel; the mask holds it and n - 1 others, so the IoU is 1 / n
    for n in (1, 2, 3, 4):
        mask = np.zeros((32, 32), dtype=np.uint8)
        mask[8, 8 : 8 + n] = 1
        np.save(tmp_path / f"m{n}.npy", mask)
    rows = [(f"m{n}.png", "u", [(8, 8)]) for n in (1, 2, 3, 4)]
    values = {"kernel_type": "none", "mask_dir": str(tmp_path)}
    for threshold, left in ((0.5, [3, 4]), (0.51, [2, 3, 4]), (0.25, []), (1.0, [2, 3, 4])):
        found = run(trials_of(rows), mask_threshold=threshold, **values).trials.images.tolist()
        assert found == [f"m{n}.png" for n in left], threshold


def test_heat_is_above_half_the_maximum_and_a_mask_above_0(tmp_path) -> None:
    # two clicks on one pixel, one on the next: half the maximum is not above it
    clicks = [(8, 8), (8, 8), (9, 8)]
    mask = np.full((32, 32), -1.0)
    mask[8, 8] = 0.001
    np.save(tmp_path / "a.npy", mask)
    values = {"kernel_type": "none", "mask_dir": str(tmp_path), "mask_threshold": 1.0}
    assert run(trials_of([("a.png", "u", clicks)]), **values).trials.images.tolist() == []


def test_torch_masks_with_their_category(tmp_path) -> None:
    import torch

    mask = torch.zeros(1, 32, 32)
    mask[0, 8, 8] = 1
    torch.save((torch.zeros(3, 32, 32), mask, ["cat"]), tmp_path / "on.pth")
    torch.save(mask, tmp_path / "plain.pth")
    rows = [(key, "u", [(8, 8)]) for key in ("cat/on.png", "plain.png", "dog/on.png")]
    values = {"kernel_type": "none", "mask_dir": str(tmp_path), "mask_threshold": 0.5}
    assert run(trials_of(rows), **values).trials.images.tolist() == ["dog/on.png"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.randoms())
def test_interleaving_of_images_does_not_matter(seed, random) -> None:
    rows = random_rows(seed, images=4, users=5)
    queues = {key: [r for r in rows if r[0] == key] for key, _, _ in rows}
    mixed = []
    while any(queues.values()):
        mixed.append(queues[random.choice([k for k, q in queues.items() if q])].pop(0))
    values = {"max_subjects": 3, "filter_duplicates": True, "max_clicks": 12}
    one, two = run(trials_of(rows), **values).trials, run(trials_of(mixed), **values).trials
    for name, array in one.to_arrays().items():
        np.testing.assert_array_equal(array, two.to_arrays()[name], err_msg=name)


def test_no_trial_may_be_left() -> None:
    filtered = run(trials_of(random_rows(0)), min_clicks=1000)
    assert len(filtered.trials) == 0
    assert filtered.rows[-1].images == 0


@pytest.mark.parametrize(("block", "in_memory"), [(1, 1 << 30), (7, 1 << 30), (7, 0), (7, 100)])
def test_blocks_and_files_of_clicks_do_not_change_the_selection(
    block, in_memory, monkeypatch
) -> None:
    from clickmap_cli.storage import long_arrays as module

    # interleaved, with clicks outside and repeated sets of pixels
    rows = random_rows(3, side=40) + random_rows(4, side=3, clicks=(10, 60))
    rows.sort(key=lambda row: row[1])
    settings = {"max_clicks": 15, "duplicate_maps": "keep_first", "min_pixels": 3}
    whole = run(trials_of(rows), **settings)
    for name, value in (
        ("BLOCK_VALUES", block), ("IN_MEMORY_BYTES", in_memory), ("_BUCKET_BYTES", 64),
        ("_WRITE_BYTES", 16),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    parts = run(trials_of(rows), **settings)
    assert parts.rows == whole.rows
    for name, array in whole.trials.to_arrays().items():
        np.testing.assert_array_equal(array, parts.trials.to_arrays()[name], err_msg=name)


def test_a_mask_goes_through_the_images_geometry(tmp_path) -> None:
    """A mask of the whole image is cropped like the map, one of the map's shape is taken as it is,
    and any other is refused."""
    masks, images = tmp_path / "masks", tmp_path / "images"
    masks.mkdir()
    images.mkdir()
    rows = [("a.png", "u", [(8, 8)])]
    values = {
        "kernel_type": "none", "mask_dir": str(masks), "center_crop": [20, 20],
        "mask_threshold": 0.9,
    }  # fmt: skip
    # the clicked pixel (8, 8) of 32 x 32 lies at (2, 2) of the crop of 20 x 20
    for side, at in ((32, 8), (20, 2)):
        mask = np.zeros((side, side))
        mask[at, at] = 1
        np.save(masks / "a.npy", mask)
        assert run(trials_of(rows), **values).trials.images.tolist() == []
    np.save(masks / "a.npy", np.ones((20, 31)))
    with pytest.raises(DataError, match=r"a\.npy: a map of 20 x 31 .* 20 x 20.* Set image_dir"):
        run(trials_of(rows), **values)
    # the photograph has that aspect ratio: the mask is of the whole image
    Image.new("RGB", (62, 40)).save(images / "a.png")
    found = run(trials_of(rows), image_dir=str(images), **values)
    assert found.trials.images.tolist() == ["a.png"]
