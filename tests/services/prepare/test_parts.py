"""`prepare` as a job array: parts made by processes of their own, then joined."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clickmap_cli.config.loading import load_experiment
from clickmap_cli.reports.prepare import draw_example
from clickmap_cli.runtime.errors import ConfigError, DataError, RunError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.prepare import maps as prepare_maps
from clickmap_cli.services.prepare import run as prepare
from clickmap_cli.services.prepare.maps import Part
from clickmap_cli.storage.folder import RunFolder, WhenPresent
from clickmap_cli.storage.manifest import load_manifest
from tests.helpers.digests import digests
from tests.helpers.studies import random_rows, write_csv


@pytest.fixture(autouse=True)
def small_shards(monkeypatch) -> None:
    monkeypatch.setattr(prepare_maps, "MAX_SHARD_IMAGES", 2)


@pytest.fixture
def data(tmp_path) -> Path:
    return write_csv(tmp_path / "trials.csv", random_rows(0, images=13, users=4))


def words_for(data: Path, name: str) -> list[str]:
    return [
        f"clickme_data={data}", f"assets={data.parent / 'assets'}", "image_shape=[32,32]",
        "min_subjects=2", "blur_size=5", "n_jobs=1", f"experiment_name={name}",
        "display_image_keys=[cat0/0.png]",
    ]  # fmt: skip


def run(data: Path, *words: str, part: str | None = None, name="run", **kwargs):
    config = load_experiment(None, [*words_for(data, name), *words]).config
    chosen = None if part is None else Part.from_text(part)
    return prepare.run(config, Silent(), draw_example, part=chosen, **kwargs)


@pytest.mark.parametrize("order", [["1/3", "2/3", "3/3"], ["2/2", "1/2"], ["1/1"],
                                   [f"{i}/9" for i in range(9, 0, -1)]])  # fmt: skip
@pytest.mark.parametrize("kind", ["hdf5", "numpy", "npz"])
def test_parts_in_any_order_make_the_bytes_of_a_plain_run(data, order, kind) -> None:
    more = [f"output_format={kind}", "save_maps=both"]
    plain = run(data, *more, name="plain")
    made: set[str] = set()
    for part in order:
        result = run(data, *more, part=part)
        assert str(result.summary.part) == part
        assert not made & set(result.outputs)
        made |= set(result.outputs)
        assert load_manifest(result.folder) is None
    merged = run(data, *more, merge=True)
    assert digests(merged.folder) == digests(plain.folder)
    assert merged.outputs == plain.outputs
    one, two = load_manifest(merged.folder), load_manifest(plain.folder)
    assert one is not None
    assert two is not None
    assert (one.outputs, one.counts, one.config_hash) == (two.outputs, two.counts, two.config_hash)
    # what is done is done
    assert run(data, *more, merge=True).reused
    assert run(data, *more, part="1/3", when=WhenPresent.RESUME).reused
    with pytest.raises(ConfigError, match="already holds a finished"):
        run(data, *more, part="1/3")


def test_what_is_missing_or_damaged_is_listed(data) -> None:
    with pytest.raises(RunError, match="holds no shards"):
        run(data, merge=True)
    first = run(data, part="1/3")
    run(data, part="3/3")
    with pytest.raises(RunError, match=r"of 7 map shards 2 are missing or damaged \(2, 5; part i"):
        run(data, merge=True)
    run(data, part="2/3")
    broken = first.folder / "maps_shards/maps_00004.h5"
    broken.write_bytes(broken.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"of 7 map shards 1 are missing or damaged \(4;"):
        run(data, merge=True)
    again = run(data, part="1/3")
    assert again.outputs == first.outputs
    run(data, merge=True)
    assert digests(first.folder) == digests(run(data, name="plain").folder)


def test_a_plain_resume_makes_what_is_missing(data) -> None:
    run(data, part="1/2")
    with pytest.raises(ConfigError, match="unfinished"):
        run(data)
    result = run(data, when=WhenPresent.RESUME)
    assert digests(result.folder) == digests(run(data, name="plain").folder)


def test_a_shard_of_other_settings_is_refused(data) -> None:
    run(data, part="1/2")
    with pytest.raises(ConfigError, match="was made with other settings"):
        run(data, "blur_size=7", part="2/2")
    with pytest.raises(ConfigError, match="shards made with other settings"):
        run(data, "blur_size=7", merge=True)
    # with --overwrite the first of the new shards begins again, and its siblings join it
    for part in ("1/2", "2/2"):
        run(data, "blur_size=7", part=part, when=WhenPresent.OVERWRITE)
    merged = run(data, "blur_size=7", merge=True)
    assert digests(merged.folder) == digests(run(data, "blur_size=7", name="plain").folder)


def test_calls_that_contradict_themselves(data) -> None:
    for text in ("0/2", "3/2", "1", "1/2/3", "a/b", "-1/2", "1/0", "", "1/9999999999", "١/٢"):
        with pytest.raises(ConfigError, match="--shard is"):
            Part.from_text(text)
    with pytest.raises(ConfigError, match="--merge"):
        run(data, part="1/2", merge=True)
    with pytest.raises(ConfigError, match="--merge"):
        run(data, merge=True, when=WhenPresent.OVERWRITE)
    with pytest.raises(ConfigError, match="job arrays"):
        run(data, "backend=dask", "scheduler=tcp://127.0.0.1:1", part="1/2")


def test_parts_without_usable_input_do_not_block_the_next(data) -> None:
    with pytest.raises(DataError):
        run(data, "min_subjects=5", part="1/2")
    assert run(data).summary.images == 13


HOLD = """
import sys, time
from pathlib import Path
from clickmap_cli.storage.folder import RunFolder, WhenPresent
with RunFolder(Path(sys.argv[1]), "prepare").shard_held((2, 3), "x", WhenPresent.STOP):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_of_one_shard_and_runs_beside_shards(tmp_path) -> None:
    folder = RunFolder(tmp_path, "prepare")
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(RunError, match="another process writes shard 2/3"):
        with folder.shard_held((2, 3), "x", WhenPresent.STOP):
            pytest.fail("two processes write one shard")
    with folder.shard_held((1, 3), "x", WhenPresent.STOP) as done:
        assert done is None
    with pytest.raises(RunError, match="shard 2/3 is being written"), folder.held():
        pytest.fail("a whole run beside a shard")
    with pytest.raises(RunError, match="shard 2/3 of another run"):
        with folder.shard_held((1, 3), "y", WhenPresent.OVERWRITE):
            pytest.fail("other settings beside a shard")
    other.send_signal(signal.SIGKILL)
    other.wait()
    other.stdout.close()
    with (
        folder.shard_held((2, 3), "x", WhenPresent.STOP),
        folder.shard_held((3, 3), "x", WhenPresent.STOP),
    ):
        assert not (tmp_path / "manifest.json").exists()
    with folder.held():
        assert folder.reuse_or_begin("x", WhenPresent.RESUME) is None


SHARD = """
import os, signal, sys
from pathlib import Path
from clickmap_cli.services.prepare import maps as prepare_maps
prepare_maps.MAX_SHARD_IMAGES = 2
original = Path.replace
def dies(partial, target):
    if target.name == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(partial, target)
Path.replace = dies
from clickmap_cli.app import app
app(sys.argv[2:])
"""


def part_of_array(data: Path, part: str, dies_at: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SHARD, dies_at, "prepare", "--quiet", "--shard", part,
         *words_for(data, "run")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_parts_side_by_side_one_killed_in_the_middle_and_run_again(data) -> None:
    parts = [part_of_array(data, "1/2", "-"), part_of_array(data, "2/2", "maps_00004.h5")]
    assert [process.wait() for process in parts] == [0, -signal.SIGKILL]
    folder = data.parent / "assets" / "run"
    assert list(folder.rglob("*.partial"))
    with pytest.raises(RunError, match=r"\(4, 6;"):
        run(data, merge=True)
    assert part_of_array(data, "2/2", "-").wait() == 0
    run(data, merge=True)
    assert digests(folder) == digests(run(data, name="plain").folder)
    assert not list(folder.rglob("*.partial"))
