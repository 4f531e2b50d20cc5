"""Images that go while a run is at work, and files that are damaged before it is resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.base import MODELS, SaliencyModel
from clickmap_cli.runtime.errors import ConfigError, RunError
from clickmap_cli.scoring.tables import as_summary
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import load_manifest
from tests.services.benchmark import test_run as test_benchmark
from tests.services.benchmark.test_run import write_corpus
from tests.services.finetune import test_run as test_finetune

Act = Callable[[str], None]


@pytest.fixture
def corpus(tmp_path) -> Path:
    return write_corpus(tmp_path / "corpus")


@pytest.fixture
def meddled() -> Iterator[dict[str, Act]]:
    """A registered model, and what else happens when it has predicted an image."""
    acts: dict[str, Act] = {}

    class Meddled(SaliencyModel):
        """Brightness."""

        def predict(self, stimulus: Stimulus):
            values = stimulus.image().mean(axis=-1)
            acts.get(stimulus.image_id, lambda _: None)(stimulus.image_id)
            return values

    MODELS.add("meddled", Meddled, "for tests", "tests")
    yield acts
    del MODELS._entries["meddled"]


def words(corpus: Path, out: str, *more: str) -> list[str]:
    found = test_benchmark.words_for(corpus, "[meddled,uniform]")
    return [*found, f"output_dir={corpus / out}", *more]


def results(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".clickmap" not in path.parts and path.name != "manifest.json"
    }


def test_an_image_that_goes_leaves_the_run_to_be_resumed(corpus, meddled) -> None:
    test_benchmark.run(words(corpus, "whole"))
    gone = corpus / "images" / "i4.png"
    meddled["i2"] = lambda _: gone.rename(corpus / "kept.png")
    with pytest.raises(RunError, match=r"toy, i4: .*i4.png.*; it was there when the run began"):
        test_benchmark.run(words(corpus, "out"))
    assert load_manifest(corpus / "out") is None
    # without the image, what is there is not what would be made: the image is named
    with pytest.raises(ConfigError, match=r"other settings or inputs .*i4.png: no such image"):
        test_benchmark.run(words(corpus, "out"), when=WhenPresent.RESUME)
    (corpus / "kept.png").rename(gone)
    assert not test_benchmark.run(words(corpus, "out"), when=WhenPresent.RESUME).failures
    assert results(corpus / "out") == results(corpus / "whole")


def test_an_image_that_goes_before_its_picture_is_drawn_is_drawn_later(corpus, meddled) -> None:
    more = ("heatmaps_png.enabled=true",)
    test_benchmark.run(words(corpus, "whole", *more))
    gone = corpus / "images" / "i3.png"
    # the next model needs no image, its pictures do
    meddled["i5"] = lambda _: gone.rename(corpus / "kept.png")
    with pytest.raises(RunError, match=r"toy, i3: .*i3.png"):
        test_benchmark.run(words(corpus, "out", *more))
    (corpus / "kept.png").rename(gone)
    meddled.clear()
    test_benchmark.run(words(corpus, "out", *more), when=WhenPresent.RESUME)
    assert results(corpus / "out") == results(corpus / "whole")


def test_an_image_that_was_damaged_all_along_is_a_failure_and_no_more(corpus, meddled) -> None:
    path = corpus / "images" / "i1.png"
    path.write_bytes(path.read_bytes()[:-200])  # its header is whole
    found = test_benchmark.run(words(corpus, "out", "heatmaps_png.enabled=true"))
    assert {row["image_id"] for row in as_summary(found.summary)["failures"]} == {"i1"}
    assert load_manifest(corpus / "out") is not None


def test_a_map_that_a_model_is_read_from_and_goes_is_not_a_result(corpus, meddled) -> None:
    maps = corpus / "maps"
    maps.mkdir()
    for i in range(6):
        np.save(maps / f"i{i}.npy", np.random.default_rng(i).random((12, 15)))
    models = f"models=[meddled,{{name: mine, type: precomputed, root: {maps}}}]"
    test_benchmark.run(words(corpus, "whole", models))
    meddled["i0"] = lambda _: (maps / "i5.npy").rename(corpus / "kept.npy")
    with pytest.raises(RunError, match=r"toy, i5: .*i5"):
        test_benchmark.run(words(corpus, "out", models))
    (corpus / "kept.npy").rename(maps / "i5.npy")
    test_benchmark.run(words(corpus, "out", models), when=WhenPresent.RESUME)
    assert results(corpus / "out") == results(corpus / "whole")


@pytest.mark.parametrize(
    "name", ["heatmaps/toy/meddled/i0_overlay.png", "predictions/toy/meddled/i1.npy"]
)
def test_what_is_damaged_before_a_run_is_resumed_is_made_again(corpus, meddled, name) -> None:
    more = ("heatmaps_png.enabled=true",)

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    test_benchmark.run(words(corpus, "whole", *more))
    meddled["i4"] = stop
    with pytest.raises(KeyboardInterrupt):
        test_benchmark.run(words(corpus, "out", *more))
    meddled.clear()
    hurt = corpus / "out" / name
    hurt.write_bytes(hurt.read_bytes()[:60])
    test_benchmark.run(words(corpus, "out", *more), when=WhenPresent.RESUME)
    assert results(corpus / "out") == results(corpus / "whole")


def test_an_image_that_goes_while_held_out_images_are_scored(corpus, monkeypatch) -> None:
    from clickmap_cli.services.finetune import scores as finetune_scores

    def run(out: str, when: WhenPresent = WhenPresent.STOP):
        given = test_finetune.words_for(corpus, corpus / out, "training.epochs=1")
        return test_finetune.run(given, when=when)

    run("whole")
    gone = corpus / "images" / "i4.png"
    with monkeypatch.context() as patch:
        trained = finetune_scores.finetuned

        def meddle(*given):
            if gone.exists():
                gone.rename(corpus / "kept.png")
            return trained(*given)

        patch.setattr(finetune_scores, "finetuned", meddle)
        with pytest.raises(RunError, match=r"toy, i4: .*i4.png.*run again with --resume"):
            run("out")
    (corpus / "kept.png").rename(gone)
    assert not run("out", WhenPresent.RESUME).failures
    assert results(corpus / "out") == results(corpus / "whole")
