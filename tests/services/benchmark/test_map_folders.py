"""Folders of precomputed maps: what they lack, and predictions that say little or nothing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.scoring.tables import as_summary
from clickmap_cli.storage.folder import WhenPresent
from tests.services.benchmark.test_run import (  # noqa: F401 - fixtures
    SIDES,
    corpus,
    read,
    run,
    watched,
    words_for,
)

RNG = np.random.default_rng(0)


@pytest.fixture
def maps(corpus):  # noqa: F811
    """Sound maps of every image."""
    folder = corpus / "maps"
    folder.mkdir()
    for i in range(6):
        np.save(folder / f"i{i}.npy", RNG.random(SIDES))
    return folder


def asked(maps, more: str = "", **kwargs) -> tuple[list[str], object]:
    """Notices of a run of these maps alone, and the run."""
    progress = Silent()
    words = words_for(maps.parent, f"[{{name: mine, type: precomputed, root: {maps}{more}}}]")
    found = run([*words, "metrics=[AUC,CC]", "ceiling=false"], progress, **kwargs)
    return of_mine(progress), found


def of_mine(progress) -> list[str]:
    """Return the messages about the model."""
    return [text for text in progress.notices if " mine: " in text]


# --- what a folder lacks -----------------------------------------------------------------------


def test_a_whole_folder_needs_no_words(maps) -> None:
    assert asked(maps)[0] == []


@pytest.mark.parametrize("dry_run", [True, False])
def test_no_map_at_all_ends_the_run_before_it_begins(maps, dry_run) -> None:
    for path in sorted(maps.iterdir()):
        path.rename(maps / f"I-{path.stem[1]}.npy")
    with pytest.raises(DataError) as caught:
        asked(maps, dry_run=dry_run)
    said = str(caught.value)
    assert f"model mine: 0 of 6 images of toy have a map in {maps}, i0 and i1 for two have" in said
    assert "6 files there match no image, I-0.npy and I-1.npy for two; is I-0.npy" in said
    assert "is I-0.npy the map of i0?" in said
    assert "called like its image, such as i0.npy (or .png, .jpg" in said
    assert not (maps.parent / "out").exists()


def test_a_folder_of_folders_and_an_empty_one(maps) -> None:
    for path in list(maps.iterdir()):
        (maps / "deep").mkdir(exist_ok=True)
        path.rename(maps / "deep" / path.name)
    with pytest.raises(
        DataError, match="No file there is a map; it has the folders deep; a map is"
    ):
        asked(maps)
    for name in ("a.PNG", "readme.txt"):
        (maps / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"No file there \(a.PNG and readme.txt\) is a map; it has"):
        asked(maps)
    (maps / "empty").mkdir()
    words = words_for(maps.parent, f"[{{name: mine, type: precomputed, root: {maps / 'empty'}}}]")
    with pytest.raises(DataError, match="No file there is a map; a map is called"):
        run(words)


@pytest.mark.parametrize("dry_run", [True, False])
def test_some_that_lack_a_map_are_reported_first(maps, dry_run) -> None:
    (maps / "i4.npy").rename(maps / "other.npy")
    notices, _ = asked(maps, dry_run=dry_run)
    assert "5 of 6 images of toy have a map in" in notices[0]
    assert "i4 has none. 1 file there matches no image, other.npy; a map is" in notices[0]
    if not dry_run:
        (failure,) = read(maps.parent / "out/failures.csv")
        assert failure["image_id"] == "i4"


def test_maps_of_more_images_than_are_scored_need_no_words(maps) -> None:
    np.save(maps / "elsewhere.npy", RNG.random(SIDES))
    assert asked(maps)[0] == []


# --- predictions that cannot be maps -----------------------------------------------------------


def test_log_densities_that_are_called_maps_are_refused_image_by_image(maps) -> None:
    density = RNG.random(SIDES)
    np.save(maps / "i1.npy", np.log(density / density.sum()))
    np.save(maps / "i2.npy", -density)
    asked(maps)
    reasons = {row["image_id"]: row["reason"] for row in read(maps.parent / "out/failures.csv")}
    assert set(reasons) == {"i1", "i2"}
    assert reasons["i1"].startswith(f"{maps / 'i1.npy'}: it looks like a log density (all values")
    assert reasons["i1"].endswith("set output: log_density.")
    assert "clipping at 0 would leave nothing" in reasons["i2"]


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_folder_of_what_cannot_be_maps_is_reported_before_people_are_scored(
    maps, dry_run
) -> None:
    for path in maps.iterdir():
        density = np.load(path)
        np.save(path, np.log(density / density.sum()))
    notices, _ = asked(maps, dry_run=dry_run)
    assert notices == [
        (
            f"model mine: the map of i0 cannot be used, and others may be like it: "
            f"{maps / 'i0.npy'}: it looks like a log density (all values are negative, and exp of "
            "them sums to 1); set output: log_density."
        )
    ]


def odd_maps(maps) -> None:
    np.save(maps / "i1.npy", np.full(SIDES, 3.0))
    Image.fromarray((RNG.random(SIDES) > 0.5).astype(np.uint8) * 255).save(maps / "i2.png")
    (maps / "i2.npy").unlink()
    some = RNG.random(SIDES)
    some[:6] = -1
    np.save(maps / "i3.npy", some)
    more = RNG.random(SIDES)
    more[:12] = -1
    np.save(maps / "i5.npy", more)


@pytest.mark.parametrize("predict_only", [True, False])
@pytest.mark.parametrize("cached", [True, False])
def test_what_is_odd_is_reported_once_and_every_time(maps, cached, predict_only) -> None:
    odd_maps(maps)
    progress = Silent()
    words = words_for(maps.parent, f"[{{name: mine, type: precomputed, root: {maps}}}, uniform]")
    words += ["metrics=[AUC,CC]", "ceiling=false", f"predict_only={predict_only}"]
    words += [f"cache_predictions={cached}", f"heatmaps_png.enabled={not cached}"]
    run(words, progress)
    first, second, third = of_mine(progress)
    assert first == (
        "toy, mine: 1 of 6 predictions are constant, i1 for one (3 everywhere); they have the "
        "scores of chance."
    )
    assert second.startswith(
        "toy, mine: 1 of 6 predictions have fewer than 16 different values, i2 for one (2); ties"
    )
    assert third.startswith(
        "toy, mine: 2 of 6 predictions have values below 0, which are clipped to 0: 37.5% of the "
        "pixels of these images (i3 for one: 25.0%)"
    )
    again = Silent()
    run(words, again, when=WhenPresent.OVERWRITE)
    assert again.notices == progress.notices


@pytest.mark.parametrize("cached", [True, False])
def test_what_is_odd_is_reported_of_what_a_stopped_run_had_too(corpus, watched, cached) -> None:  # noqa: F811
    _, behaviour = watched
    behaviour |= {"i0": "zeros", "i4": "zeros"}
    words = [*words_for(corpus, "[watched]"), f"cache_predictions={cached}", "ceiling=false"]
    behaviour["i3"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(words)
    del behaviour["i3"]
    progress = Silent()
    run(words, progress, when=WhenPresent.RESUME)
    said = [text for text in progress.notices if "constant" in text]
    (text,) = said
    assert text == (
        "toy, watched: 2 of 6 predictions are constant, i0 for one (0 everywhere); they have the "
        "scores of chance."
    )


def test_all_constant(maps) -> None:
    for path in maps.iterdir():
        np.save(path, np.zeros(SIDES))
    notices, _ = asked(maps)
    assert notices[0].startswith("toy, mine: all 6 predictions are constant, i0 for one (0 every")


def test_densities_that_do_not_sum_to_1(maps) -> None:
    notices, _ = asked(maps, ", output: density")
    assert notices[0].startswith("toy, mine: 6 of 6 predictions are declared densities and do not")


def test_a_map_in_the_alpha_channel_and_its_remedy(maps) -> None:
    values = {}
    for i in range(6):
        (maps / f"i{i}.npy").unlink()
        pixels = np.full((*SIDES, 4), 255, np.uint8)
        values[i] = RNG.integers(0, 256, SIDES, np.uint8)
        pixels[..., 3] = values[i]
        Image.fromarray(pixels).save(maps / f"i{i}.png")
    asked(maps)
    reasons = {row["reason"] for row in read(maps.parent / "out/failures.csv")}
    assert len(reasons) == 6
    assert all("only its alpha channel varies; set channel: alpha." in text for text in reasons)
    _, taken = asked(maps, ", channel: alpha", when=WhenPresent.OVERWRITE)
    for i in range(6):
        (maps / f"i{i}.png").unlink()
        np.save(maps / f"i{i}.npy", values[i])
    _, plain = asked(maps, when=WhenPresent.OVERWRITE)
    assert as_summary(taken.summary) == as_summary(plain.summary)
