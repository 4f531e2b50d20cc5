"""A benchmark with EMD says how long it will take before it begins."""

from __future__ import annotations

import pytest

from clickmap_cli.metrics import map_scores
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.benchmark import emd_cost
from clickmap_cli.services.benchmark.emd_cost import duration
from clickmap_cli.storage.folder import WhenPresent
from tests.services.benchmark.test_run import run, words_for, write_corpus

pytest.importorskip("ot")


class StopsAtEmd(Silent):
    """Ends the run where a person would who reads how long it takes; notes what went before."""

    def __init__(self) -> None:
        super().__init__()
        self.stages: list[str] = []

    def stage(self, name: str, total: int | None = None) -> None:
        self.stages.append(name)

    def notice(self, text: str, keep: bool = True, again: bool = False) -> None:
        super().notice(text, keep, again)
        if "EMD" in text:
            raise KeyboardInterrupt


def test_a_long_run_is_announced_before_the_first_score(tmp_path) -> None:
    words = [*words_for(write_corpus(tmp_path / "c", 3)), "metrics=[CC,EMD]"]
    progress = StopsAtEmd()
    with pytest.raises(KeyboardInterrupt):
        run([*words, "null_iterations=10000000"], progress)
    assert not [stage for stage in progress.stages if " on toy" in stage]
    (said,) = progress.notices[-1:]
    # 3 images x (4 people + 10,000,000 draws + 2 models x (1 + 4 people) + people once more)
    assert f"{3 * (4 + 10_000_000 + 2 * (1 + 4) + 4):,} distances between maps" in said
    assert "hours in all" in said


@pytest.mark.parametrize("ceiling", [True, False])
def test_as_many_distances_are_announced_as_there_are(tmp_path, monkeypatch, ceiling) -> None:
    corpus = write_corpus(tmp_path / "c", 3)
    words = [*words_for(corpus), "metrics=[EMD]", f"ceiling={str(ceiling).lower()}"]
    monkeypatch.setattr(emd_cost, "WORTH_SAYING", -1.0)
    progress, calls = Silent(), []
    solve = map_scores.earth_movers_distance
    monkeypatch.setattr(
        map_scores, "earth_movers_distance", lambda *maps: calls.append(1) or solve(*maps)
    )
    found = run(words, progress)
    assert len(found.failures) == 0
    (said,) = [text for text in progress.notices if "EMD" in text]
    # one more was timed
    assert f"{len(calls) - 1:,} distances between maps" in said


def test_what_an_interrupted_run_has_is_not_counted_again(tmp_path, monkeypatch) -> None:
    corpus = write_corpus(tmp_path / "c", 3)
    words = [*words_for(corpus), "metrics=[EMD]"]
    monkeypatch.setattr(emd_cost, "WORTH_SAYING", -1.0)

    class StopsLate(Silent):
        def stage(self, name: str, total: int | None = None) -> None:
            if name.startswith("center_bias on"):
                raise KeyboardInterrupt

    first, again = StopsLate(), Silent()
    with pytest.raises(KeyboardInterrupt):
        run(words, first)
    run(words, again, when=WhenPresent.RESUME)
    whole, rest = (
        int(text.partition(" distances")[0].rpartition(" ")[2].replace(",", ""))
        for progress in (first, again)
        for text in progress.notices
        if "EMD" in text
    )
    # people against people, and `uniform`, were done
    assert whole == 3 * (4 + 3 + 2 * (1 + 4) + 4)
    assert rest == 3 * ((1 + 4) + 4)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(31, "31 seconds"), (444, "7 minutes"), (7199, "120 minutes"), (9000, "2.5 hours")],
)
def test_durations_are_reported_as_people_say_them(seconds, said) -> None:
    assert duration(seconds) == said
