"""Names of files that name a participant and an image."""

from __future__ import annotations

import csv
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from clickmap_cli.app import app
from clickmap_cli.datasets.formats.csv_indexed import csv_indexed
from clickmap_cli.datasets.formats.folder import folder
from clickmap_cli.datasets.formats.participant_files import Pattern, sort_files, suggest_pattern
from clickmap_cli.datasets.people import FixationPeople, OnlySome
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.training.tasks.saliency import Targets
from tests.datasets.scenes import array, by_id, counts, grey, picture, reasons

WORDS = st.text("ab_1", min_size=1, max_size=6)


@pytest.mark.parametrize(
    "text",
    ["", "P_{image}", "{participant}", "{participant}{image}", "{image}_{image}_{participant}",
     "{participant}/{image}", "{participant}_{image}_{n}", 3, None, ["{participant}_{image}"]],
)  # fmt: skip
def test_a_pattern_names_both_once_with_text_between(text) -> None:
    with pytest.raises(ConfigError, match=r"participants: .*\{participant\}_\{image\}"):
        Pattern.from_setting(text)


PATTERNS = (
    "{participant}_{image}", "{image}_{participant}", "x{participant}_{image}",
    "{image}_{participant}_y",
)  # fmt: skip


@given(WORDS, WORDS, st.sampled_from(PATTERNS))
def test_readings_are_all_ways_to_fill_the_pattern(participant, image, text) -> None:
    stem = text.format(participant=participant, image=image)
    expected = set()
    front, back = re.split(r"\{participant\}|\{image\}", text)[::2]
    inner = stem[len(front) : len(stem) - len(back)]
    for cut in range(len(inner)):
        left, right = inner[:cut], inner[cut + 1 :]
        if inner[cut] == "_" and left and right:
            expected.add((left, right) if text.index("{p") < text.index("{i") else (right, left))
    found = list(Pattern.from_setting(text).readings(stem, None))
    assert {(reading[0], reading[1]) for reading in found} == expected
    assert (participant, image) in expected
    lengths = [len(reading[0]) for reading in found]
    assert lengths == sorted(lengths)
    only = list(Pattern.from_setting(text).readings(stem, {image}))
    assert [reading[1] for reading in only] == [image] * len(only)
    assert participant in [reading[0] for reading in only]


def test_files_are_sorted_by_the_images_there_are() -> None:
    names = ["cat", "P1_cat", "P0_cat", "P0_big_cat", "P0_dog", "other"]
    files = {name: Path(f"{name}.png") for name in names}
    found = sort_files(files, {"cat", "big_cat"}, Pattern.from_setting("{participant}_{image}"))
    assert dict(found.own) == {"cat": Path("cat.png")}
    assert dict(found.people) == {
        "cat": [("P0", Path("P0_cat.png")), ("P1", Path("P1_cat.png"))],
        "big_cat": [("P0", Path("P0_big_cat.png"))],
    }
    assert list(found.strays) == ["P0_dog", "other"]
    assert dict(found.unclear) == {"P0_big_cat": ("P0", "big_cat")}


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (["P0_a", "P1_a", "P0_b_c"], ("{participant}_{image}", 3, 2)),
        (["a-P0", "a-P1", "zzz"], ("{image}-{participant}", 2, 1)),
        (["P0__a", "P1__a"], ("{participant}__{image}", 2, 1)),
        (["a_old"], None),
        (["a_old", "a_older", "x", "y", "z"], None),
        (["c", "d"], None),
        ([], None),
    ],
)
def test_a_pattern_is_suggested_where_most_strays_follow_it(stems, expected) -> None:
    assert suggest_pattern(stems, {"a", "b_c"}) == expected


SIZE = (12, 16)
PATTERN = "{participant}_{image}"
PEOPLE = ("P00", "P01", "P02")
IMAGES = ("IMG000", "IMG001")


def values(person: int, image: int) -> np.ndarray:
    return np.random.default_rng(10 * image + person).integers(0, 256, SIZE).astype(np.uint8)


def study(root, fixations: bool = False) -> None:
    """Two images, and three participants' maps of each."""
    for at, image in enumerate(IMAGES):
        picture(root / "images" / f"{image}.png", SIZE, at)
        for person, name in enumerate(PEOPLE):
            grey(root / "gt_maps" / f"{name}_{image}.png", values(person, at))
            if fixations:
                array(
                    root / "fixations" / f"{name}_{image}.npy", counts(SIZE, 100 + 10 * at + person)
                )


def densities(image: int) -> list[np.ndarray]:
    maps = [values(person, image).astype(float) for person in range(3)]
    return [each / each.sum() for each in maps]


def test_map_files_of_participants_are_not_images(tmp_path) -> None:
    study(tmp_path)
    with pytest.raises(DataError, match=r"gt_maps: 6 files .* of 2 images.*\{participant\}_\{ima"):
        folder(tmp_path)
    data = folder(tmp_path, participants=PATTERN)
    assert list(by_id(data)) == list(IMAGES)
    assert not data.problems
    assert not data.notices
    for at, stimulus in enumerate(data.stimuli):
        np.testing.assert_allclose(stimulus.truth(), np.mean(densities(at), axis=0), rtol=1e-12)


def test_people_are_known_by_their_maps(tmp_path) -> None:
    study(tmp_path)
    for at, gathered in enumerate(folder(tmp_path, participants=PATTERN).stimuli):
        stimulus = pickle.loads(pickle.dumps(gathered))
        people = stimulus.people()
        assert list(people.names) == list(PEOPLE)
        own = densities(at)
        for person in range(3):
            view = people.target(person)
            np.testing.assert_allclose(view.pixels.reshape(SIZE), own[person], rtol=1e-12)
            assert not view.has_clicks
            rest = [own[other] for other in range(3) if other != person]
            np.testing.assert_allclose(
                people.others(person), np.mean(rest, axis=0), rtol=1e-9, atol=1e-15
            )
        np.testing.assert_allclose(people.everyone(SIZE), np.mean(own, axis=0), rtol=1e-12)
        assert people.everyone((6, 9)).shape == (6, 9)
        some = OnlySome(stimulus, ["P00", "P02"])
        np.testing.assert_allclose(some.truth(), (own[0] + own[2]) / 2, rtol=1e-12)
        assert some.points is None


@pytest.mark.parametrize("aggregate", ["mean", "median", "random"])
def test_targets_of_fine_tuning_come_from_map_files(tmp_path, aggregate) -> None:
    study(tmp_path)
    stimulus = folder(tmp_path, participants=PATTERN).stimuli[0]
    targets = Targets(aggregate)
    targets.check(stimulus, "kl")
    own = densities(0)
    if aggregate == "random":
        drawn = [targets.density(stimulus, epoch) for epoch in range(30)]
        who = [
            person
            for density in drawn
            for person in range(3)
            if np.allclose(density, own[person], rtol=1e-5, atol=1e-9)
        ]
        assert len(who) == 30
        assert set(who) == {0, 1, 2}
        return
    pooled = {"mean": np.mean, "median": np.median}[aggregate](own, axis=0)
    np.testing.assert_allclose(targets.density(stimulus, 1), pooled / pooled.sum(), rtol=1e-5)
    with pytest.raises(DataError, match="no fixations to learn from"):
        targets.check(stimulus, "nll_fixations")


def test_participants_fixations_are_their_clicks(tmp_path) -> None:
    study(tmp_path, fixations=True)
    (tmp_path / "fixations" / "P01_IMG001.npy").unlink()
    data = folder(tmp_path, participants=PATTERN)
    for at, stimulus in enumerate(data.stimuli):
        own = [counts(SIZE, 100 + 10 * at + person) for person in range(3)]
        if at == 1:
            own[1] = np.zeros(SIZE, int)
        np.testing.assert_array_equal(stimulus.points.counts(SIZE), sum(own))
        for person in range(3):
            view = stimulus.people().target(person)
            assert view.has_clicks == (at != 1 or person != 1)
            if view.has_clicks:
                places, times = view.clicked
                np.testing.assert_array_equal(places, np.flatnonzero(own[person]))
                np.testing.assert_array_equal(times, own[person].ravel()[places])
        drawn = Targets("random").points(stimulus, 3)
        assert len(drawn) in [each.sum() for each in own]


def test_fixations_of_participants_without_maps(tmp_path) -> None:
    study(tmp_path, fixations=True)
    for path in (tmp_path / "gt_maps").iterdir():
        path.unlink()
    stimulus = folder(tmp_path, participants=PATTERN, sigma_px=2).stimuli[0]
    assert isinstance(stimulus.people(), FixationPeople)
    assert list(stimulus.people().names) == list(PEOPLE)
    study(tmp_path, fixations=True)
    (tmp_path / "gt_maps" / "P02_IMG000.png").unlink()
    data = folder(tmp_path, participants=PATTERN)
    assert list(data.stimuli[0].people().names) == ["P00", "P01"]
    assert any("1 participants have fixations but no map" in text for text in data.notices)
    array(tmp_path / "fixations" / "IMG000.npy", counts(SIZE))
    told = reasons(folder(tmp_path, participants=PATTERN))
    assert "are both fixations of this image" in told["IMG000"]


def test_an_images_own_map_is_its_truth(tmp_path) -> None:
    study(tmp_path)
    array(tmp_path / "gt_maps" / "IMG000.npy", np.eye(*SIZE))
    first, second = folder(tmp_path, participants=PATTERN).stimuli
    np.testing.assert_array_equal(first.truth(), np.eye(*SIZE))
    assert len(first.people().names) == 3
    np.testing.assert_allclose(second.truth(), np.mean(densities(1), axis=0), rtol=1e-12)


def test_blank_and_broken_maps_are_reported(tmp_path) -> None:
    study(tmp_path)
    grey(tmp_path / "gt_maps" / "P01_IMG000.png", np.zeros(SIZE, np.uint8))
    data = folder(tmp_path, participants=PATTERN)
    own = densities(0)
    np.testing.assert_allclose(data.stimuli[0].truth(), (own[0] + own[2]) / 2, rtol=1e-12)
    assert any("1 of 6 participants' maps" in t and "P01_IMG000" in t for t in data.notices)
    grey(tmp_path / "gt_maps" / "P01_IMG000.png", np.ones((5, 6), np.uint8))
    assert "P01_IMG000.png: the map has 5 x 6" in reasons(
        folder(tmp_path, participants=PATTERN)
    )["IMG000"]  # fmt: skip
    for name in PEOPLE:
        grey(tmp_path / "gt_maps" / f"{name}_IMG000.png", np.full(SIZE, 7, np.uint8))
    told = reasons(folder(tmp_path, participants=PATTERN))
    assert "as is that of every participant" in told["IMG000"]


def test_one_participant_is_nobody_to_compare_with(tmp_path) -> None:
    study(tmp_path)
    for name in PEOPLE[1:]:
        (tmp_path / "gt_maps" / f"{name}_IMG000.png").unlink()
    stimulus = folder(tmp_path, participants=PATTERN).stimuli[0]
    assert stimulus.people() is None
    np.testing.assert_allclose(stimulus.truth(), densities(0)[0], rtol=1e-12)


def test_the_digest_covers_every_participants_map(tmp_path) -> None:
    study(tmp_path)
    seen = set()
    for change in (
        lambda: None,
        lambda: grey(tmp_path / "gt_maps" / "P02_IMG000.png", values(8, 0)),
        (tmp_path / "gt_maps" / "P02_IMG000.png").unlink,
        lambda: (tmp_path / "gt_maps" / "P01_IMG000.png").rename(
            tmp_path / "gt_maps" / "P09_IMG000.png"
        ),
    ):
        change()
        seen.add(folder(tmp_path, participants=PATTERN).stimuli[0].truth_digest())
    assert len(seen) == 4


def test_without_pictures_images_are_those_the_files_name(tmp_path) -> None:
    study(tmp_path)
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    data = folder(tmp_path, participants=PATTERN)
    assert {s.image_id: s.size for s in data.stimuli} == dict.fromkeys(IMAGES, SIZE)
    # nothing says that the names are not images' own
    assert len(folder(tmp_path).stimuli) == 6


def test_files_of_no_image_are_reported(tmp_path) -> None:
    study(tmp_path)
    array(tmp_path / "gt_maps" / "lost.npy", np.eye(*SIZE))
    array(tmp_path / "nonfix" / "IMG009.npy", counts(SIZE))
    data = folder(tmp_path, participants=PATTERN)
    assert list(by_id(data)) == list(IMAGES)
    told = reasons(data)
    assert "gt_maps: 1 of 7 files" in told["lost"]
    assert "'lost.npy'" in told["lost"]
    assert "nonfix: 1 of 1 files" in told["IMG009"]
    (tmp_path / "test.txt").write_text("IMG001\n")
    data = folder(tmp_path, participants=PATTERN, split="test")
    assert list(by_id(data)) == ["IMG001"]
    assert not data.problems
    with pytest.raises(
        DataError, match=r"is '\{image\}-\{participant\}', but none .* set participants: '\{pa"
    ):
        folder(tmp_path, participants="{image}-{participant}")
    with pytest.raises(ConfigError, match="participants"):
        folder(tmp_path, participants="P_{image}")


def test_an_unclear_name_is_reported(tmp_path) -> None:
    study(tmp_path)
    picture(tmp_path / "images" / "big_IMG000.png", SIZE)
    grey(tmp_path / "gt_maps" / "P00_big_IMG000.png", values(5, 5))
    data = folder(tmp_path, participants=PATTERN)
    assert len(by_id(data)["IMG000"].people().names) == 3
    assert any("read as participant 'P00' and image 'big_IMG000'" in t for t in data.notices)


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_a_benchmark_scores_models_and_people_against_map_files(tmp_path) -> None:
    study(tmp_path)
    entry = f"name: folder, label: pg, root: '{tmp_path}'"
    common = ("models=[center_bias, gold_standard]", "metrics=[CC,NSS]", "n_jobs=1")
    out = tmp_path / "out"
    result = run("benchmark", f"datasets=[{{{entry}}}]", *common, f"output_dir={out}")
    assert result.exit_code == 1
    assert "set participants: '{participant}_{image}'" in " ".join(result.stderr.split())
    assert not out.exists()
    named = f"datasets=[{{{entry}, participants: '{PATTERN}'}}]"
    result = run("benchmark", named, *common, f"output_dir={out}", "--json")
    assert result.exit_code == 0, result.stderr
    people, scores, failures = (
        {row["image_id"]: row for row in csv.DictReader((out / name).read_text().splitlines())}
        for name in ("pg__people.csv", "pg__center_bias.csv", "failures.csv")
    )
    assert list(people) == list(scores) == list(IMAGES)
    assert not failures
    for at, image in enumerate(IMAGES):
        own = densities(at)
        held_out = [
            correlation(own[p], np.mean([own[q] for q in range(3) if q != p], axis=0))
            for p in range(3)
        ]
        assert float(people[image]["CC_ceiling"]) == pytest.approx(np.mean(held_out), abs=1e-6)
        assert people[image]["NSS_ceiling"] == ""
        assert scores[image]["NSS"] == ""


def test_config_check_knows_the_pattern(tmp_path) -> None:
    path = tmp_path / "bench.yaml"
    path.write_text("models: [uniform]\ndatasets: [{name: folder, root: x, participants: P_}]\n")
    result = run("config", "check", path)
    assert result.exit_code == 2
    assert "participants: expected" in result.stderr


# --- a table of files -------------------------------------------------------------------------


def write_table(root, header: str, *rows: str):
    path = root / "index.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def rows_of_maps(column: bool) -> list[str]:
    return [
        f"{image},images/{image}.png,gt_maps/{name}_{image}.png" + (f",{name}" if column else "")
        for image in IMAGES
        for name in PEOPLE
    ]


@pytest.mark.parametrize("column", [True, False])
def test_a_table_may_have_a_row_for_each_participant(tmp_path, column) -> None:
    study(tmp_path)
    header = "image_id,image_path,map_path" + (",participant" if column else "")
    table = write_table(tmp_path, header, *rows_of_maps(column))
    data = csv_indexed(table, participants=None if column else PATTERN)
    assert not data.problems
    plain = by_id(folder(tmp_path, participants=PATTERN))
    assert list(by_id(data)) == list(plain)
    for stimulus in data.stimuli:
        other = plain[stimulus.image_id]
        np.testing.assert_array_equal(stimulus.truth(), other.truth())
        assert list(stimulus.people().names) == list(PEOPLE)
        assert stimulus.truth_digest() == other.truth_digest()
    if not column:
        with pytest.raises(DataError, match=r"'line 2' and 'line 3' .* a column participant"):
            csv_indexed(table)


def test_rows_of_participants_that_do_not_fit(tmp_path) -> None:
    study(tmp_path)
    header = "image_id,image_path,map_path,participant"
    rows = (
        "a,images/IMG000.png,gt_maps/P00_IMG000.png,P00",
        "a,images/IMG001.png,gt_maps/P01_IMG000.png,P01",
        "b,images/IMG000.png,gt_maps/P00_IMG000.png,P00",
        "b,images/IMG000.png,gt_maps/P01_IMG000.png,P00",
        "c,images/IMG000.png,gt_maps/P00_IMG000.png,P00",
        "c,images/IMG000.png,gt_maps/lost.png,P01",
    )
    told = reasons(csv_indexed(write_table(tmp_path, header, *rows)))
    assert "line 3: image_path is" in told["a"]
    assert "line 5: a second map_path for participant 'P00'" in told["b"]
    assert "line 7: map_path: no file at" in told["c"]
    header = "image_id,image_path,map_path"
    table = write_table(tmp_path, header, "IMG000,images/IMG000.png,gt_maps/P00_IMG001.png")
    told = reasons(csv_indexed(table, participants=PATTERN))
    assert "is not named like participants: '{participant}_{image}'" in told["IMG000"]
