"""What is lost is counted, said, and stops a run when it is too much."""

from __future__ import annotations

import numpy as np
import pytest

from clickmap_cli.clickmaps.losses import (
    Coordinates,
    Loss,
    are_fractions,
    check_losses,
    likeliest_cause,
    sample_coordinates,
    suspicions,
)
from clickmap_cli.clickmaps.survivors import read_survivors
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Silent
from tests.helpers.studies import trials_of, write_csv


def test_a_loss_gives_its_size_and_share() -> None:
    assert str(Loss(1461, 1469, "fixations lie outside")) == (
        "1,461 of 1,469 fixations lie outside (99%)."
    )
    assert str(Loss(1, 500, "rows cannot be read")).endswith("(under 1%).")
    assert Loss(0, 0, "ids").share == 0


@pytest.mark.parametrize(("lost", "stops"), [(25, False), (26, True), (100, True)])
def test_more_than_the_share_stops_with_the_cause(lost, stops) -> None:
    told = Silent()
    losses = [Loss(0, 10, "ids"), Loss(lost, 100, "clicks lie outside", "Swapped.")]
    if stops:
        with pytest.raises(DataError, match=rf"^cats: {lost} of 100 .* Swapped\. .*max_lost"):
            check_losses(losses, 0.25, told, "cats")
        assert told.notices == []
    else:
        check_losses(losses, 0.25, told, "cats")
        assert told.notices == ["cats: 25 of 100 clicks lie outside (25%). Swapped."]
        assert told.to_repeat == []


def test_a_raised_limit_continues_with_a_notice_that_is_repeated() -> None:
    told = Silent()
    check_losses([Loss(60, 100, "images cannot be used")], 0.8, told)
    assert told.notices == told.to_repeat == told.kept == ["60 of 100 images cannot be used (60%)."]


def test_the_worst_loss_is_named() -> None:
    losses = [Loss(3, 10, "a"), Loss(9, 10, "b"), Loss(5, 10, "c")]
    with pytest.raises(DataError, match=r"^9 of 10 b"):
        check_losses(losses, 0.25, Silent())
    check_losses([Loss(1, 10, "a"), Loss(2, 10, "b")], 0.25, told := Silent(), least=0.1)
    assert told.notices == ["2 of 10 b (20%)."]


def test_clicks_of_every_block_count(tmp_path, monkeypatch) -> None:
    """Clicks are counted block by block; here each of three trials is its own block."""
    monkeypatch.setattr("clickmap_cli.storage.long_arrays.BLOCK_VALUES", 40)
    inside, outside = [(x, 5) for x in range(40)], [(200, 5)] * 40
    rows = [("a.png", "u", inside), ("a.png", "v", inside), ("a.png", "w", outside)]
    data = write_csv(tmp_path / "trials.csv", rows)
    words = [f"clickme_data={data}", "image_shape=[100,100]", "min_subjects=1"]
    with pytest.raises(DataError, match="40 of 120 clicks lie outside their image"):
        read_survivors(load_experiment(None, words).config, Silent())
    told = Silent()
    config = load_experiment(None, [*words, "max_lost=0.4"]).config
    read_survivors(config, told)
    assert any(text.startswith("40 of 120 clicks lie outside") for text in told.to_repeat)


WIDTH, HEIGHT = 300, 200


def points(x, y, width=WIDTH, height=HEIGHT) -> Coordinates:
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    return Coordinates(x, y, np.full(len(x), float(width)), np.full(len(x), float(height)))


@pytest.fixture
def where() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return np.floor(rng.uniform(0, WIDTH, 400)), np.floor(rng.uniform(0, HEIGHT, 400))


def test_points_inside_raise_no_suspicion(where) -> None:
    assert points(*where).inside() == 1
    assert suspicions(points(*where)) == []
    assert not are_fractions(points(*where))


def test_the_share_inside_is_counted_at_the_borders() -> None:
    # the first and the last pixel are inside; the next ones are not
    x, y = [0, 299, 300, -1, 5, 5], [0, 199, 5, 5, 200, -1]
    assert points(x, y).inside() == pytest.approx(2 / 6)


def test_x_and_y_swapped(where) -> None:
    x, y = where
    said = likeliest_cause(points(y, x))
    assert said.startswith("With x and y swapped, 100% would lie inside")


def test_coordinates_of_a_screen_with_the_image_in_its_middle(where) -> None:
    x, y = where
    for width, height in ((1920, 1080), (1280, 1024), (1366, 768)):
        moved = points(x + (width - WIDTH) / 2, y + (height - HEIGHT) / 2)
        said = likeliest_cause(moved)
        assert f"screen of {width} x {height} (width x height)" in said
        assert "100% would lie inside" in said


def test_coordinates_of_the_image_at_another_size(where) -> None:
    x, y = where
    for width, height in ((800, 600), (1024, 768), (1680, 1050)):
        said = likeliest_cause(points(x * width / WIDTH, y * height / HEIGHT))
        assert f"scaled from {width} x {height} (width x height)" in said
        assert "x reaches" in said


def test_an_origin_in_the_images_centre(where) -> None:
    x, y = where
    for turn in (1, -1):
        said = likeliest_cause(points(x - WIDTH / 2, turn * (y - HEIGHT / 2)))
        assert "counted from the image's centre" in said


def test_fractions_and_percent(where) -> None:
    x, y = where
    assert are_fractions(points(x / WIDTH, y / HEIGHT))
    assert not are_fractions(points(x / WIDTH, y / HEIGHT, 10, 10))  # a real place in tiny images
    (said,) = suspicions(points(100 * x / WIDTH, 100 * y / HEIGHT))
    assert "percent of the image, or coordinates of a smaller image" in said
    assert suspicions(points(x / 3, y / 2, 100, 100)) == []  # all of an image of 100 x 100


def test_points_that_fill_a_corner_only(where) -> None:
    x, y = where
    (said,) = suspicions(points(x, y, 3 * WIDTH, 3 * HEIGHT))
    assert "up to 900 x 600 (width x height)" in said
    assert "percent" not in said
    # a line at the left border is a corner of no use to anybody, but it reaches the bottom
    assert suspicions(points(x / 10, y, WIDTH, HEIGHT)) == []


def test_a_few_outside_that_swapping_would_bring_inside() -> None:
    rng = np.random.default_rng(2)
    x = np.clip(rng.normal(WIDTH / 2, 40, 900), 0, WIDTH - 1)
    y = np.clip(rng.normal(HEIGHT / 2, 20, 900), 0, HEIGHT - 1)
    assert suspicions(points(x, y)) == []
    few = float(np.mean(x >= HEIGHT))
    assert 0.02 < few < 0.2
    (said,) = suspicions(points(y, x))
    assert said.startswith(f"{100 * few:.0f}% of the points lie outside")
    # a few that lie outside either way say nothing
    assert suspicions(points(np.append(x, [900.0] * 9), np.append(y, [900.0] * 9))) == []


def test_counted_from_1(where) -> None:
    x, y = where
    x[:2], y[:2] = (0, WIDTH - 1), (0, HEIGHT - 1)
    (said,) = suspicions(points(x + 1, y + 1))
    assert "counted from 1" in said


def test_without_a_cause_the_range_is_given() -> None:
    rng = np.random.default_rng(1)
    said = likeliest_cause(points(rng.uniform(-5e4, 9e4, 200), rng.uniform(0, 9e4, 200)))
    assert said.startswith("x runs from -")
    assert "200 x 300 pixels (height x width)" in said
    assert likeliest_cause(points([], [])) == ""


def test_a_handful_of_points_raises_no_suspicion() -> None:
    assert not are_fractions(points([0.5] * 3, [0.5] * 3))
    assert suspicions(points([1, 300], [1, 200])) == []


def test_each_click_has_the_size_of_its_own_image() -> None:
    rows = [("a.png", "u", [(1, 2), (3, 4)]), ("b.png", "u", [(5, 6)]), ("a.png", "v", [(7, 8)])]
    found = sample_coordinates(trials_of(rows, shapes={"a.png": (20, 10), "b.png": (40, 30)}))
    assert found.x.tolist() == [1, 3, 5, 7]
    assert found.y.tolist() == [2, 4, 6, 8]
    assert found.width.tolist() == [10, 10, 30, 10]
    assert found.height.tolist() == [20, 20, 40, 20]
