"""Folds made one at a time: added with --resume, or in folders of their own and gathered."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.finetune import gather
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import damaged_outputs, load_manifest
from tests.helpers.studies import read_csv
from tests.services.benchmark.test_run import write_corpus
from tests.services.finetune.test_run import Views, run, words_for

TABLES = (
    "cv_summary.csv", "readout_finetuned_cv_summary.csv", "held_out.csv", "comparisons.csv",
    "failures.csv", "summary.json",
)  # fmt: skip
STUDY = ("cv.folds=3", "training.epochs=1")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "c", n_images=6)


@pytest.fixture(scope="module")
def whole(corpus) -> Path:
    run(words_for(corpus, corpus / "whole", *STUDY))
    return corpus / "whole"


@pytest.fixture(scope="module")
def parts(corpus) -> list[Path]:
    """A folder of folds 1 and 3, and one of fold 2."""
    found = []
    for name, folds in (("odd", "[1,3]"), ("even", "[2]")):
        run(words_for(corpus, corpus / name, *STUDY, f"cv.only_folds={folds}"))
        found.append(corpus / name)
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json" and ".clickmap" not in path.parts
    }


def same(folder: Path, whole: Path, names: tuple[str, ...] = TABLES) -> None:
    for name in names:
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


# --- --resume ---------------------------------------------------------------------------------


@pytest.mark.parametrize("then", ["[1,2,3]", "[2,3]", "null"])
def test_a_resumed_run_may_have_more_folds(corpus, whole, tmp_path, then) -> None:
    out = tmp_path / "out"
    run(words_for(corpus, out, *STUDY, "cv.only_folds=[1]"))
    first = {name: data for name, data in files_of(out).items() if name.startswith("fold_01/")}
    views = Views()
    run(words_for(corpus, out, *STUDY, f"cv.only_folds={then}"), views, when=WhenPresent.RESUME)
    assert [title for title, _ in views] == [f"fold {k} of 3, stage train" for k in (2, 3)]
    assert files_of(out) == files_of(whole)
    assert first.items() <= files_of(out).items()
    manifest = load_manifest(out)
    assert not damaged_outputs(out, manifest.outputs)
    assert manifest.counts == load_manifest(whole).counts
    assert manifest.config["cv"]["only_folds"] == (None if then == "null" else [1, 2, 3])


def test_folds_that_are_there_are_kept_and_nothing_is_done_again(corpus, tmp_path) -> None:
    out = tmp_path / "out"
    run(words_for(corpus, out, *STUDY, "cv.only_folds=[1,2]"))
    before = files_of(out)
    views = Views()
    run(words_for(corpus, out, *STUDY, "cv.only_folds=[2]"), views, when=WhenPresent.RESUME)
    assert not views
    assert files_of(out) == before


def test_a_kill_while_folds_are_added_costs_no_fold(corpus, whole, tmp_path) -> None:
    out = tmp_path / "out"
    run(words_for(corpus, out, *STUDY, "cv.only_folds=[1]"))
    with pytest.raises(KeyboardInterrupt):
        run(words_for(corpus, out, *STUDY), Views(1), when=WhenPresent.RESUME)
    run(words_for(corpus, out, *STUDY), when=WhenPresent.RESUME)
    assert files_of(out) == files_of(whole)


def test_a_fold_that_is_half_trained_is_not_thrown_away(corpus, tmp_path) -> None:
    out = tmp_path / "out"
    words = ("cv.folds=3", "training.epochs=2")
    with pytest.raises(KeyboardInterrupt):
        run(words_for(corpus, out, *words, "cv.only_folds=[1]"), Views(2))
    before = files_of(out)
    with pytest.raises(ConfigError, match=r"fold_01 is partly trained.*cv\.only_folds"):
        run(words_for(corpus, out, *words, "cv.only_folds=[2]"), when=WhenPresent.RESUME)
    assert files_of(out) == before
    run(words_for(corpus, out, *words, "cv.only_folds=[1,2]"), when=WhenPresent.RESUME)
    assert {row["fold"] for row in read_csv(out / "held_out.csv")} == {"fold_01", "fold_02"}


def test_the_folds_that_are_kept_are_named(corpus, tmp_path) -> None:
    out = tmp_path / "out"
    run(words_for(corpus, out, *STUDY, "cv.only_folds=[1]"))
    told = Silent()
    run(
        words_for(corpus, out, *STUDY, "cv.only_folds=[2]"), progress=told,
        when=WhenPresent.RESUME,
    )  # fmt: skip
    assert any("fold_01" in text and "kept" in text for text in told.notices)


# --- --gather ---------------------------------------------------------------------------------


def gathered(folders, out: Path, told: Silent | None = None, **kwargs):
    return gather.run(list(folders), out, told or Silent(), **kwargs)


def test_gathered_folds_give_the_bytes_of_one_run(whole, parts, tmp_path) -> None:
    for order in (parts, parts[::-1]):
        out = tmp_path / order[0].name
        found = gathered(order, out)
        same(out, whole)
        assert found.summary.as_json() == json.loads((whole / "summary.json").read_text())
        manifest = load_manifest(out)
        assert not damaged_outputs(out, manifest.outputs)
        assert manifest.counts == load_manifest(whole).counts
        assert manifest.config["cv"]["only_folds"] is None
        assert {str(part / "manifest.json") for part in parts} <= set(manifest.inputs)


def test_gathered_folds_with_a_holdout_list_and_people(corpus, tmp_path) -> None:
    held = tmp_path / "held.txt"
    held.write_text("i5\n")
    words = ("cv.folds=2", "training.epochs=1", "cv.group_by=participant", f"cv.holdout={held}")
    for name, folds in (("whole", "null"), ("a", "[1]"), ("b", "[2]")):
        run(words_for(corpus, tmp_path / name, *words, f"cv.only_folds={folds}"))
    gathered([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    same(tmp_path / "out", tmp_path / "whole")


def test_images_that_failed_are_gathered_in_the_order_of_one_run(tmp_path) -> None:
    corpus = write_corpus(tmp_path / "c", n_images=6)
    (corpus / "images" / "i2.png").write_bytes(b"no picture")  # of the data set
    words = ("cv.folds=2", "training.epochs=1")
    for name, folds in (("whole", "null"), ("a", "[1]"), ("b", "[2]")):
        run(words_for(corpus, tmp_path / name, *words, f"cv.only_folds={folds}"))
    found = gathered([tmp_path / "b", tmp_path / "a"], tmp_path / "out")
    assert len(found.failures) == 1
    same(tmp_path / "out", tmp_path / "whole")


def test_a_fold_whose_image_cannot_be_scored_keeps_its_place(parts, whole, tmp_path) -> None:
    """Failures of folds are in the order of folds, whichever folder they come from."""
    copies = []
    for part in parts:
        copy = tmp_path / part.name
        shutil.copytree(part, copy)
        drop_scores(copy)
        copies.append(copy)
    gathered(copies, tmp_path / "out")
    rows = read_csv(tmp_path / "out" / "failures.csv")
    tests = {k: (whole / f"fold_0{k}" / "test.txt").read_text().split() for k in (1, 2, 3)}
    assert [row["image_id"] for row in rows] == [tests[k][0] for k in (1, 2, 3)]
    kept = read_csv(tmp_path / "out" / "held_out.csv")
    assert len(kept) == len(read_csv(whole / "held_out.csv")) - 3


def drop_scores(folder: Path) -> None:
    """Make the first held-out image of each fold's own model a failure, as a run writes it."""
    lines = (folder / "held_out.csv").read_text().splitlines()
    failures = (folder / "failures.csv").read_text().splitlines()
    for test in sorted(folder.glob("fold_*/test.txt")):
        image = test.read_text().split()[0]
        lines.remove(next(x for x in lines if f"{test.parent.name},finetuned,{image}," in x))
        failures.append(f"toy,finetuned,{image},torn")
    (folder / "held_out.csv").write_text("\n".join(lines) + "\n")
    (folder / "failures.csv").write_text("\n".join(failures) + "\n")
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in ("held_out.csv", "failures.csv"):
        manifest["outputs"][name] = described(folder / name)
    path.write_text(json.dumps(manifest))


def described(path: Path) -> dict[str, object]:
    from clickmap_cli.storage.manifest import describe_files

    return describe_files(path.parent, [path])[path.name]


def test_missing_folds_are_named_and_nothing_is_written(parts, tmp_path) -> None:
    with pytest.raises(DataError, match=r"folds 1, 3 of 3 are missing.*cv\.only_folds=\[1, 3\]"):
        gathered(parts[1:], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_fold_twice_is_fine_with_the_same_bytes_and_refused_with_others(
    corpus, parts, whole, tmp_path
) -> None:
    told = Silent()
    gathered([*parts, whole], tmp_path / "out", told)
    same(tmp_path / "out", whole)
    assert any("fold_01" in t and str(parts[0]) in t and str(whole) in t for t in told.notices)
    other = tmp_path / "other"
    shutil.copytree(parts[1], other)
    best = other / "fold_02" / "best.pth"
    best.write_bytes(best.read_bytes() + b"x")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["outputs"]["fold_02/best.pth"] = described(best)
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError) as caught:
        gathered([*parts, other], tmp_path / "again")
    assert "fold_02" in str(caught.value)
    assert str(other) in str(caught.value)
    assert str(parts[1]) in str(caught.value)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("training.lr=0.02",), r"training\.lr is 0\.01 in .*odd and 0\.02 in"),
        (("seed=4",), r"seed is 0 in .* and 4 in"),
        (("metrics=[NSS]",), r"metrics is"),
        (("limit_images=5",), r"limit_images is"),
    ],
)
def test_folds_of_two_studies_are_refused_with_what_differs(
    corpus, parts, tmp_path, words, says
) -> None:
    run(words_for(corpus, tmp_path / "b", *STUDY, "cv.only_folds=[2]", *words))
    with pytest.raises(DataError, match=says):
        gathered([parts[0], tmp_path / "b"], tmp_path / "out")


def test_folds_of_other_data_are_refused(parts, tmp_path) -> None:
    corpus = write_corpus(tmp_path / "c", n_images=6)
    image = corpus / "images" / "i0.png"
    image.write_bytes((corpus / "images" / "i1.png").read_bytes())
    run(words_for(corpus, tmp_path / "b", *STUDY, "cv.only_folds=[2]"))
    with pytest.raises(DataError, match="data set toy is not the same"):
        gathered([parts[0], tmp_path / "b"], tmp_path / "out")


def test_what_cannot_be_gathered_is_named(corpus, parts, whole, tmp_path) -> None:
    def refused(folders, kind, says) -> None:
        with pytest.raises(kind, match=says):
            gathered(folders, tmp_path / "out")

    (tmp_path / "empty").mkdir()
    refused([parts[0], tmp_path / "empty"], DataError, "empty holds no finished")
    refused([parts[0], tmp_path / "gone"], DataError, "no folder at .*gone")
    refused([parts[0], parts[0]], ConfigError, "named twice")
    with pytest.raises(ConfigError, match="is one of the folders"):
        gathered(parts, parts[0])
    with pytest.raises(KeyboardInterrupt):
        run(words_for(corpus, tmp_path / "half", *STUDY, "cv.only_folds=[1]"), Views(1))
    refused([parts[1], tmp_path / "half"], DataError, "not finished.*--resume")
    torn = tmp_path / "torn"
    shutil.copytree(parts[0], torn)
    (torn / "held_out.csv").write_bytes(b"")
    refused([torn, parts[1]], DataError, r"torn/held_out\.csv")
    gathered(parts, tmp_path / "done")
    refused([tmp_path / "done"], DataError, "name the folders it was made of")
    with pytest.raises(ConfigError, match="--resume"):
        gathered(parts, tmp_path / "done")
    before = files_of(tmp_path / "done")
    gathered(parts, tmp_path / "done", when=WhenPresent.RESUME)
    assert files_of(tmp_path / "done") == before


def test_checkpoints_may_be_left_behind(parts, whole, tmp_path) -> None:
    copies = []
    for part in parts:
        shutil.copytree(part, tmp_path / part.name, ignore=shutil.ignore_patterns("*.pth"))
        copies.append(tmp_path / part.name)
    gathered(copies, tmp_path / "out")
    same(tmp_path / "out", whole)


def test_nothing_is_written_by_a_dry_run(parts, tmp_path) -> None:
    assert not gathered(parts, tmp_path / "out", dry_run=True).written
    assert not (tmp_path / "out").exists()
