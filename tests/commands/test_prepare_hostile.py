"""Nasty inputs through `clickmap prepare`: a sentence, an exit code, and no file astray."""

from __future__ import annotations

import csv
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from clickmap_cli.app import app
from tests.helpers.hostile import tree
from tests.helpers.payloads import Call
from tests.helpers.tables import csv_bytes, object_array, some_rows, write_table

HEADER = "image_path,user_id,clicks\n"
GOOD = 'cats/a.jpg,u1,"[(1, 2), (30, 5)]"\ncats/a.jpg,u2,"[(9, 2)]"\n'
SMALL = (
    "experiment_name=run", "min_subjects=1", "min_clicks=1", "image_shape=[40,40]", "blur_size=5",
    "n_jobs=1", "max_lost=1",
)  # fmt: skip

Made = tuple[str, bytes]


def text(body: str) -> Made:
    return "t.csv", (HEADER + GOOD + body).encode("utf-8", "surrogateescape")


def cut(name: str) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        data = write_table(folder / name, some_rows(300)).read_bytes()
        (folder / name).unlink()
        return name, data[: len(data) * 2 // 3]

    return make


def npz_with(value: object) -> Made:
    out = io.BytesIO()
    np.savez(out, image_path=["a"], user_id=["u"], clicks=object_array([value]))
    return "t.npz", out.getvalue()


def payload(folder: Path) -> Made:
    return npz_with(Call(os.system, [f"touch {folder.parent / 'canary'}"]))


def deep_key(_folder: Path) -> Made:
    out = io.BytesIO()
    array = np.empty(1, dtype=object)
    np.lib.format.write_array_header_1_0(out, np.lib.format.header_data_from_array_1_0(array))
    out.write(b"\x80\x02}N" + b"\x85" * 1_000_000 + b"Ns.")
    return "t.npz", _zip(out.getvalue())


def _zip(content: bytes) -> bytes:
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("image_path", "user_id", "clicks"):
            archive.writestr(f"{name}.npy", content)
    return out.getvalue()


def forged_shape(_folder: Path) -> Made:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (-4, -4), }\n"
    npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(128)
    return "t.npz", _zip(npy)


LONGEST = "d/" + "k" * 194 + ".jpg"

# name -> (input, exit code, lines named in rejected.csv or None where none is written)
CASES: dict[str, tuple[Made | Callable[[Path], Made], int, list[int] | None]] = {
    "bad_quotes": (text('a,u,"[(1, 2)\nb,u,[]"\ncats/a.jpg,u3,"[(1, 2)]"\n"'), 0, [4, 5, 7]),
    "not_numbers": (text('a,u,"[(x, y)]"\nb,u,hello\n'), 0, [4, 5]),
    "nan": (text('a,u,"[(nan, 1)]"\nb,nan,[]\nb,,[]\n'), 0, [4, 6]),
    "negative": (text('a,u,"[(-1, -9999999999)]"\n'), 0, []),
    "huge": (text(f'a,u,"[({"9" * 4000}, 1e308)]"\nb,u,"[{"(1, 2), " * 5000}(3, 4)]"\n'), 0, []),
    "no_fields": (text("a\n,,,,,\n,,\n"), 0, [4, 5, 6]),
    "climbing_paths": (text('../a.jpg,u,"[(1, 2)]"\n..\\b,u,[]\na/../../c,u,[]\n'), 0, [4, 5, 6]),
    "absolute_paths": (text("/etc/passwd,u,[]\nC:\\x,u,[]\n\\\\h\\x,u,[]\n"), 0, [4, 5, 6]),
    "control_characters": (
        text("\x1b[31mred,u,[]\n\udcff\udcfe,u,[]\na\x00b,u,[]\n"),
        0,
        [4, 5, 6],
    ),
    "markup": (text('<b>&"x,u,"[(1, 2)]"\n[red]y[/],u,"[(1, 2)]"\n'), 0, [4]),
    "longest_name": (text(f'{LONGEST},u,"[(1, 2)]"\nd/{"k" * 240},u,[]\n'), 0, [5]),
    "name_collision": (text('cats_a.jpg,u,"[(1, 2)]"\n'), 1, []),
    "only_bad_rows": (("t.csv", (HEADER + "../a,u,[]\nb,u,x\n").encode()), 1, [2, 3]),
    "empty": (("t.csv", b""), 1, None),
    "binary": (("t.csv", bytes(range(256)) * 40), 1, None),
    "utf16": (("t.csv", (HEADER + GOOD).encode("utf-16")), 1, None),
    "wrong_columns": (("t.csv", b"image,participant,points\na,b,c\n"), 1, None),
    "other_kind": (("t.xlsx", b"PK\x03\x04"), 1, None),
    "cut_gz": (cut("t.csv.gz"), 1, None),
    "cut_zst": (cut("t.csv.zst"), 1, None),
    "cut_parquet": (cut("t.parquet"), 1, None),
    "cut_npz": (cut("t.npz"), 1, None),
    "payload": (payload, 1, None),
    "forged_shape": (forged_shape, 1, None),
    "deep_key": (deep_key, 1, None),
}
THROUGH_A_PROCESS = ("bad_quotes", "payload", "deep_key")


def run_here(arguments: list[str]) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["prepare", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.stdout, done.stderr


def run_apart(arguments: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "clickmap_cli", "prepare", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return done.returncode, done.stdout, done.stderr


def check_told(code: int, out: str, err: str, expected: int) -> None:
    assert code == expected, err
    assert "Traceback" not in out + err
    assert 'File "' not in err
    assert "\x1b" not in out + err  # neither colour nor what a name smuggles in
    assert err.strip()


def check_places(parent: Path, before: dict[str, int]) -> None:
    after = {k: v for k, v in tree(parent).items() if not k.startswith("side/out")}
    assert after == before


@pytest.fixture
def side(tmp_path, monkeypatch):
    """A folder to work in, beside and above which nothing may appear."""
    folder = tmp_path / "side"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("output_format", ["hdf5", "numpy"])
def test_nasty_inputs(side, name, output_format):
    made, expected_code, lines = CASES[name]
    file, content = made(side) if callable(made) else made
    (side / file).write_bytes(content)
    before = tree(side.parent)
    run = run_apart if name in THROUGH_A_PROCESS and output_format == "hdf5" else run_here
    arguments = [
        *SMALL,
        f"clickme_data={file}",
        f"output_format={output_format}",
        "--output",
        "out",
    ]
    check_told(*run(arguments), expected_code)
    check_places(side.parent, before)
    rejected = side / "out" / "rejected.csv"
    assert rejected.exists() == (lines is not None)
    if lines is not None:
        with rejected.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        assert [int(row["row"]) for row in rows] == lines
        assert all(row["reason"] for row in rows)
        with (side / "out" / "funnel.csv").open(newline="", encoding="utf-8") as stream:
            funnel = list(csv.DictReader(stream))
        total = content.decode("utf-8", "replace").count("\n")
        assert int(funnel[0]["trials"]) <= total
        assert int(funnel[0]["trials"]) - int(funnel[1]["trials"]) == len(lines)


def test_strict_makes_rejected_rows_a_failure(side):
    (side / "t.csv").write_bytes(text("a\n")[1])
    arguments = [*SMALL, "clickme_data=t.csv", "--output", "out", "--strict"]
    check_told(*run_here(arguments), 1)
    assert (side / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    "override",
    [
        "experiment_name=../evil", "experiment_name=/evil", "experiment_name=..",
        "experiment_name=.",
        'experiment_name="a\\\\b"', "experiment_name=''", "min_clicks=x", "min_clicks=[",
        "image_shape=[0,0]", "image_shape=[100000,100000]", "blur_size=-1",
        "no_such_key=1", "clickme_data=[1,2]", "=", "min_clicks=${oc.env:HOME}",
    ],
)  # fmt: skip
def test_nasty_settings(side, override):
    (side / "t.csv").write_bytes((HEADER + GOOD).encode())
    before = tree(side.parent)
    arguments = [*SMALL, "clickme_data=t.csv", override, "--output", "out"]
    check_told(*run_here(arguments), 2)
    assert tree(side.parent) == before


def test_nasty_files_beside_the_trials(side):
    (side / "t.csv").write_bytes((HEADER + GOOD).encode())
    canary = side.parent / "canary"
    call = Call(os.mkdir, [str(canary)])
    np.save(side / "bad.npy", object_array([call]))
    (side / "bad.json").write_text("[" * 100_000)
    (side / "bad.yaml").write_text(f"!!python/object/apply:os.mkdir ['{canary}']")
    (side / "bad.pkl").write_bytes(pickle.dumps(call))
    before = tree(side.parent)
    for key in ("metadata_file", "class_filter_file"):
        for name in ("bad.npy", "bad.json", "bad.yaml", "bad.pkl"):
            arguments = [
                *SMALL,
                "clickme_data=t.csv",
                f"{key}={name}",
                "-o",
                f"out_{key}_{name[4:]}",
            ]
            check_told(*run_here(arguments), 1)
    check_told(*run_here([*SMALL, "--config", "bad.yaml", "--output", "out"]), 2)
    check_places(side.parent, before)


@pytest.mark.parametrize("target", ["missing.csv", "folder.csv", "folder.npz", "x" * 300 + ".csv"])
def test_files_that_are_not_there(side, target):
    (side / "folder.csv").mkdir()
    (side / "folder.npz").mkdir()
    check_told(*run_here([*SMALL, f"clickme_data={target}", "--output", "out"]), 1)


def test_the_small_study_is_good(side):
    """The inputs that hostile ones are mixed with make a run that succeeds."""
    (side / "t.csv").write_bytes(csv_bytes(some_rows(5)) + GOOD.encode())
    code, _, err = run_here([*SMALL, "image_shape=[900,900]", "clickme_data=t.csv", "-o", "out"])
    assert code == 0, err
    assert (side / "out" / "maps.h5").exists()
