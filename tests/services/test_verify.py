"""Every output is held against its manifest, and nothing outside a folder is ever opened."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services import verify

BYTES = {"maps.h5": b"maps", "tables/a.csv": b"a,b\n", "empty.txt": b""}


def stated(data: bytes) -> dict[str, object]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def write_run(
    folder: Path, files: dict[str, bytes] | None = None, command="prepare",
    manifest="manifest.json", **outputs,
):  # fmt: skip
    """A folder as a finished command leaves it; `outputs` are more lines of its manifest."""
    files = BYTES if files is None else files
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    lines = {name: stated(data) for name, data in files.items()} | outputs
    (folder / manifest).write_text(json.dumps({"command": command, "outputs": lines}))
    return folder


def one(folder: Path) -> verify.Verification:
    (found,) = verify.run([folder], Silent())
    return found


def kinds(found: verify.Verification) -> dict[str, str]:
    return {row.file: row.kind for row in found.damage}


def test_a_whole_folder_is_whole(tmp_path) -> None:
    found = one(write_run(tmp_path / "run"))
    assert not found.damaged
    assert (found.damage, found.extra, found.partial, found.unfinished) == ((), (), (), ())
    (checked,) = found.manifests
    assert (checked.folder, checked.command) == (".", "prepare")
    assert (checked.n_files, checked.n_bytes) == (3, sum(map(len, BYTES.values())))


def test_missing_and_changed_files_are_named(tmp_path) -> None:
    run = write_run(tmp_path / "run", {**BYTES, "x.bin": b"12345", "gone/dir.bin": b"1"})
    (run / "maps.h5").unlink()
    (run / "tables/a.csv").write_bytes(b"a,b\nmore")
    (run / "x.bin").write_bytes(b"12346")  # as long as it was
    (run / "gone/dir.bin").unlink()
    (run / "gone/dir.bin").mkdir()
    found = one(run)
    assert found.damaged
    assert kinds(found) == {
        "maps.h5": "missing", "tables/a.csv": "changed", "x.bin": "changed",
        "gone/dir.bin": "changed",
    }  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(data=st.binary(min_size=1, max_size=50), flip=st.integers(0, 399))
def test_any_flipped_bit_is_found(tmp_path_factory, data, flip) -> None:
    run = write_run(tmp_path_factory.mktemp("run"), {"f": data})
    assert not one(run).damaged
    at, bit = divmod(flip % (8 * len(data)), 8)
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    (run / "f").write_bytes(bytes(changed))
    assert kinds(one(run)) == {"f": "changed"}


def test_manifests_below_are_all_checked_each_in_its_own_folder(tmp_path) -> None:
    root = tmp_path / "experiment"
    write_run(root)
    write_run(root / "ceiling/split-half-auc", {"summary.json": b"{}"}, "ceiling split-half")
    write_run(root / "figures", {"all.png": b"png"}, "visualize")
    (root / "figures/all.png").write_bytes(b"pig")
    found = one(root)
    assert [checked.folder for checked in found.manifests] == [
        ".", "ceiling/split-half-auc", "figures",
    ]  # fmt: skip
    assert kinds(found) == {"figures/all.png": "changed"}
    assert found.extra == ()
    above = one(tmp_path)
    assert kinds(above) == {"experiment/figures/all.png": "changed"}


def test_a_page_beside_the_outputs_of_another_command_has_a_manifest_of_its_own(tmp_path) -> None:
    run = write_run(tmp_path / "run")
    page = {"gallery.html": b"<html>"}
    write_run(run, page, "visualize --html", "gallery.manifest.json", **{"../out": stated(b"x")})
    (tmp_path / "out").write_bytes(b"x")
    found = one(run)
    assert [(row.file, row.command, row.n_files) for row in found.manifests] == [
        ("manifest.json", "prepare", 3), ("gallery.manifest.json", "visualize --html", 2),
    ]  # fmt: skip
    assert (kinds(found), found.extra) == ({"../out": "refused"}, ())
    (run / "gallery.html").write_bytes(b"<HTML>")
    assert kinds(one(run)) == {"gallery.html": "changed", "../out": "refused"}
    (run / "gallery.manifest.json").write_text("{")
    assert kinds(one(tmp_path)) == {"run/gallery.manifest.json": "manifest"}
    (run / "gallery.manifest.json").unlink()
    assert one(run).extra == ("gallery.html",)


def test_files_no_manifest_knows_are_notes_and_stay(tmp_path) -> None:
    root = tmp_path / "study"
    write_run(root / "run")
    others = [
        "run/note.txt", "run/predictions/m/1.npy", "run/maps.h5.77.partial", "run/log_20.txt",
        "run/f1_history.csv", "run/.clickmap/lock", "outside.txt", "data/trials.csv",
    ]  # fmt: skip
    for name in others:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    found = one(root)
    # what grows across runs and what lies outside every finished run is nobody's extra file
    assert found.extra == ("run/note.txt", "run/predictions/m/1.npy")
    assert found.partial == ("run/maps.h5.77.partial",)
    assert not found.damaged
    assert all((root / name).exists() for name in others)


def test_unfinished_runs_are_reported(tmp_path) -> None:
    root = tmp_path / "experiment"
    journal = root / ".clickmap/journal"
    journal.mkdir(parents=True)
    (journal / "identity.json").write_text(json.dumps({"identity": "x", "command": "prepare"}))
    (root / "maps.h5").write_bytes(b"half of it")
    alone = one(root)
    assert alone.unfinished == (verify.Unfinished(".", "prepare"),)
    assert (alone.manifests, alone.extra, alone.damaged) == ((), (), True)
    write_run(root / "ceiling/a", {"summary.json": b"{}"})
    with_more = one(root)
    assert with_more.damaged
    assert with_more.extra == ()
    (journal / "identity.json").write_text("{torn")
    assert one(root).unfinished == (verify.Unfinished(".", ""),)
    # a manifest comes last: with one, what the journal says is over
    write_run(root)
    assert one(root).unfinished == ()


@pytest.mark.parametrize(
    "name",
    ["../secret", "a/../../secret", "/etc/hostname", "ABSOLUTE", "", ".", "a\0", "x" * 5000],
)
def test_names_that_lead_out_are_refused_and_never_opened(tmp_path, monkeypatch, name) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    name = str(secret) if name == "ABSOLUTE" else name
    run = write_run(tmp_path / "run", {"ok": b"ok"}, **{name: stated(b"secret")})
    opened: list[str] = []
    true_digest = verify.sha256_of
    monkeypatch.setattr(
        verify, "sha256_of", lambda path: (opened.append(str(path)), true_digest(path))[1]
    )
    found = one(run)
    assert kinds(found) == {name: "unreadable" if len(name) > 1000 else "refused"}
    assert opened == [str(run / "ok")]


def test_links_that_lead_out_are_refused(tmp_path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "far").mkdir()
    (tmp_path / "far/b").write_bytes(b"b")
    run = write_run(
        tmp_path / "run", {"ok": b"ok"}, link=stated(b"secret"), inner=stated(b"ok"),
        loop=stated(b""), **{"folder/b": stated(b"b")},
    )  # fmt: skip
    (run / "link").symlink_to(tmp_path / "secret")
    (run / "folder").symlink_to(tmp_path / "far")
    (run / "inner").symlink_to("ok")
    (run / "loop").symlink_to("loop")
    assert kinds(one(run)) == {"link": "refused", "folder/b": "refused", "loop": "refused"}
    other = tmp_path / "other"
    other.mkdir()
    (other / "manifest.json").symlink_to(run / "manifest.json")
    assert kinds(one(other)) == {"manifest.json": "refused"}


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "3", '{"outputs": []}', '{"command": "prepare"}', "[" * 100_000,
        '{"outputs": {"a": ' + "9" * 5000 + "}}", "\udcff",
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_damage_and_names_no_extra_files(tmp_path, text) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    (tmp_path / "maps.h5").write_bytes(b"x")
    found = one(tmp_path)
    assert kinds(found) == {"manifest.json": "manifest"}
    assert found.extra == ()
    assert "\n" not in found.damage[0].reason


@pytest.mark.parametrize(
    "about",
    [None, 3, [], {}, {"size": 2}, {"size": "2", "sha256": "x"}, {"size": True, "sha256": "x"},
     {"size": -1, "sha256": "x"}, {"size": 2, "sha256": 5}],
)  # fmt: skip
def test_an_output_without_size_and_hash_proves_nothing(tmp_path, about) -> None:
    run = write_run(tmp_path / "run", {"ok": b"ok"}, other=about)
    (run / "other").write_bytes(b"ok")
    assert kinds(one(run)) == {"other": "manifest"}


def test_a_pipe_in_place_of_a_file_is_not_read(tmp_path) -> None:
    run = write_run(tmp_path / "run", {"ok": b"ok"}, pipe=stated(b""))
    os.mkfifo(run / "pipe")
    (tmp_path / "other").mkdir()
    os.mkfifo(tmp_path / "other/manifest.json")
    assert kinds(one(tmp_path)) == {"run/pipe": "changed", "other/manifest.json": "refused"}


def test_one_file_under_many_names_is_read_once(tmp_path, monkeypatch) -> None:
    names = {"./" * n + "f": stated(b"data") for n in range(1, 40)}
    run = write_run(tmp_path / "run", {"f": b"data"}, **names)
    reads: list[Path] = []
    true_digest = verify.sha256_of
    monkeypatch.setattr(verify, "sha256_of", lambda p: (reads.append(p), true_digest(p))[1])
    assert not one(run).damaged
    assert len(reads) == 1


def test_what_is_not_a_folder_is_reported_before_anything_is_read(tmp_path) -> None:
    run = write_run(tmp_path / "run")
    for other in (tmp_path / "none", run / "maps.h5"):
        with pytest.raises(DataError, match=other.name):
            verify.run([run, other], Silent())


def test_a_real_run_and_every_byte_of_it(tmp_path) -> None:
    from clickmap_cli.config.loading import load_experiment
    from clickmap_cli.services.ceiling import run as ceiling
    from clickmap_cli.services.ceiling.results import CeilingFigures
    from clickmap_cli.services.prepare import run as prepare
    from tests.helpers.studies import random_rows, write_csv

    data = write_csv(tmp_path / "trials.csv", random_rows(0, images=4, users=6))
    words = [
        f"clickme_data={data}", f"assets={tmp_path}", "image_shape=[32,32]", "min_subjects=2",
        "display_image_keys=null", "n_jobs=1",
    ]  # fmt: skip
    config = load_experiment(None, words).config
    prepare.run(config, Silent(), lambda _: None)
    figures = CeilingFigures(
        lambda _, path: path.write_bytes(b"drawn"), lambda _, path: path.write_bytes(b"drawn")
    )
    ceiling.run(config, "split-half", Silent(), figures)
    root = tmp_path / "experiment"
    found = one(root)
    assert (found.damaged, found.extra) == (False, ())
    assert [checked.command for checked in found.manifests] == ["prepare", "ceiling split-half"]
    files = [
        path for path in sorted(root.rglob("*"))
        if path.is_file() and ".clickmap" not in path.parts and path.name != "manifest.json"
    ]  # fmt: skip
    assert len(files) >= 10
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert list(kinds(one(root))) == [path.relative_to(root).as_posix()]
        path.write_bytes(whole)
    assert not one(root).damaged
