"""What is lost is counted, said, and stops a run when it is too much."""

from __future__ import annotations

import pytest

from clickmap_cli.clickmaps.losses import Loss, check_losses
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Silent


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
