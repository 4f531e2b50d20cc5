"""What is lost is counted, said, and stops a run when it is too much."""

from __future__ import annotations

import pytest

from clickmap_cli.clickmaps.losses import Loss, check_losses
from clickmap_cli.clickmaps.survivors import surviving_trials
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Silent
from tests.helpers.studies import write_csv


def test_a_loss_says_how_much() -> None:
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


def test_a_raised_limit_goes_on_and_says_so_first_and_last() -> None:
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
    """Clicks are counted block by block; here each of three trials is a block of its own."""
    monkeypatch.setattr("clickmap_cli.storage.long_arrays.BLOCK_VALUES", 40)
    inside, outside = [(x, 5) for x in range(40)], [(200, 5)] * 40
    rows = [("a.png", "u", inside), ("a.png", "v", inside), ("a.png", "w", outside)]
    data = write_csv(tmp_path / "trials.csv", rows)
    words = [f"clickme_data={data}", "image_shape=[100,100]", "min_subjects=1"]
    with pytest.raises(DataError, match="40 of 120 clicks lie outside their image"):
        surviving_trials(load_experiment(None, words).config, lambda *_: None, Silent())
    told = Silent()
    config = load_experiment(None, [*words, "max_lost=0.4"]).config
    surviving_trials(config, lambda *_: None, told)
    assert any(text.startswith("40 of 120 clicks lie outside") for text in told.to_repeat)
