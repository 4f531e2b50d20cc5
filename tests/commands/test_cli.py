"""The commands as a person types them: exit codes, streams, help, start-up."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import clickmap_cli
from clickmap_cli.app import app
from tests.helpers.studies import random_rows, write_csv

ROOT = Path(__file__).parents[2]
RUNNER = CliRunner()
HEAVY = ("torch", "matplotlib", "pandas", "scipy", "h5py", "sklearn", "pyarrow")


@pytest.fixture
def config(tmp_path):
    data = write_csv(tmp_path / "trials.csv", random_rows(0, images=4, users=3))
    path = tmp_path / "experiment.yaml"
    path.write_text(
        f"experiment_name: small\nclickme_data: {data}\nassets: {tmp_path / 'assets'}\n"
        "image_shape: [32, 32]\nmin_subjects: 2\nkernel_type: circle\ndisplay_image_keys: null\n"
    )
    return path


def invoke(*words: object):
    return RUNNER.invoke(app, [str(word) for word in words])


def command(*words: object, **kwargs) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "clickmap_cli", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, check=False, **kwargs)


def test_help_of_everything() -> None:
    assert invoke("--help").exit_code == 0
    for words in (
        ["prepare"],
        ["ceiling"],
        ["demo"],
        ["config"],
        ["config", "show"],
        ["config", "check"],
        ["config", "update"],
    ):
        result = invoke(*words, "--help")
        assert result.exit_code == 0
        assert "Usage" in result.stdout
    assert invoke("--version").stdout == f"clickmap {clickmap_cli.__version__}\n"


def test_help_imports_nothing_heavy_and_prepare_not_torch(config) -> None:
    code = f"""
import sys
from clickmap_cli.app import app
try:
    app(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
heavy = [name for name in {HEAVY!r} if name in sys.modules]
print("HEAVY", heavy)
"""
    line = [sys.executable, "-c", code]
    out = subprocess.run([*line, "--help"], capture_output=True, text=True, check=True).stdout
    assert "HEAVY []" in out
    done = subprocess.run(
        [*line, "prepare", "--config", str(config), "display_image_keys=auto"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "torch" not in done.stdout.split("HEAVY")[1]


def test_prepare_json_is_one_value_on_stdout(config) -> None:
    done = command("prepare", "--config", config, "--json", "blur_size=5")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert (value["n_images"], value["rejected_rows"]) == (4, 0)
    assert "What every filter kept" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("words", ["config list", "config list --json", "benchmark --list --json"])
def test_a_reader_that_has_seen_enough_is_not_an_error(words) -> None:
    line = f"set -o pipefail; {sys.executable} -m clickmap_cli {words} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_quiet_says_nothing(config) -> None:
    done = command("prepare", "--config", config, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_flag_reaches_the_run(config, tmp_path) -> None:
    result = invoke(
        "prepare", "-c", config, "-o", tmp_path / "elsewhere", "-j", 1, "--device", "cpu",
        "--seed", 5, "min_subjects=3", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    manifest = json.loads((tmp_path / "elsewhere/manifest.json").read_text())
    wanted = {"n_jobs": 1, "device": "cpu", "seed": 5, "min_subjects": 3}
    assert {key: manifest["config"][key] for key in wanted} == wanted
    assert manifest["seed"] == 5


def test_running_twice_stops_resumes_or_overwrites(config) -> None:
    assert invoke("prepare", "-c", config).exit_code == 0
    again = invoke("prepare", "-c", config)
    assert again.exit_code == 2
    assert "--resume" in again.stderr
    assert "Already done" in invoke("prepare", "-c", config, "--resume").stderr
    assert invoke("prepare", "-c", config, "--overwrite", "blur_size=5").exit_code == 0
    other = invoke("prepare", "-c", config, "--resume")
    assert other.exit_code == 2
    assert "other settings" in other.stderr


def test_strict_makes_rejected_rows_a_failure(config, tmp_path) -> None:
    with (tmp_path / "trials.csv").open("a") as file:
        file.write("broken\n")
    relaxed = invoke("prepare", "-c", config)
    assert relaxed.exit_code == 0
    assert "1 of 13 rows could not be read" in relaxed.stderr
    assert invoke("prepare", "-c", config, "--overwrite", "--strict").exit_code == 1


def test_dry_run_writes_nothing(config, tmp_path) -> None:
    result = invoke("prepare", "-c", config, "--dry-run")
    assert result.exit_code == 0
    assert "nothing was written" in result.stderr
    assert not (tmp_path / "assets").exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["prepare", "--config", "none.yaml"], 2, "No config file at none.yaml"),
        (["prepare"], 2, "clickme_data is not set"),
        (["prepare", "clickme_data=none.csv"], 1, "none.csv"),
        (["prepare", "blur_sise=3"], 2, "Did you mean 'blur_size'?"),
        (["prepare", "blur_size"], 2, "is not KEY=VALUE"),
        (["prepare", "mine.yaml"], 2, "is named with --config mine.yaml"),
        (["prepare", "device=gpu"], 2, "it must be one of auto, cpu, cuda, mps"),
        (["prepare", "image_shape=256"], 2, "such as [256, 256]"),
        (["prepare", "metric=[auc,", "kl]"], 2, "put it in quotes"),
        (["ceiling", "split-half", "metric=[auc,", "kl]"], 2, "put it in quotes"),
        (["benchmark", "datasets.3.root=x"], 2, "datasets has 0 in it, counted from 0"),
        (["benchmark", "heatmaps_png=yes"], 2, "such as heatmaps_png.enabled="),
        (
            ["benchmark", "models=[deepgaze]", "datasets=[{name: folder, root: x}]"],
            2,
            "'deepgaze_iii' or",
        ),
        (["prepare", "--min-subjects", "5"], 2, "min_subjects is a key"),
        (["prepare", "--subject-curve"], 2, "It belongs to clickmap ceiling"),
        (["prepare", "--n-jobs", "x"], 2, "n-jobs"),
        (["prepair"], 2, "No such command"),
        (["config", "check", "none.yaml"], 2, "No config file"),
        (["config", "update", "none.yaml"], 2, "No config file"),
    ],
)
def test_mistakes_are_one_sentence_and_the_right_code(
    tmp_path, monkeypatch, words, code, says
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*words)
    assert result.exit_code == code
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_verbose_shows_the_traceback() -> None:
    assert "Traceback" in invoke("prepare", "--verbose").stderr


def test_config_show_check_update(config) -> None:
    shown = invoke("config", "show", "-c", config, "blur_size=7")
    assert "blur_size: 7" in shown.stdout
    assert "# command line" in shown.stdout
    assert "experiment.yaml:1" in shown.stdout
    as_json = json.loads(invoke("config", "show", "-c", config, "--json").stdout)
    assert as_json["config"]["image_shape"] == [32, 32]
    assert as_json["sources"]["blur_size"] == "default"
    assert invoke("config", "check", config).stdout == f"{config}: ok\n"
    before = config.read_text()
    assert "would add" in invoke("config", "update", config, "--dry-run").stdout
    assert config.read_text() == before
    assert (
        "added gpu_batch_size"
        in invoke("config", "update", config, "--keys", "gpu_batch_size").stdout
    )
    assert config.read_text().startswith(before)
    assert (
        "every key is there"
        in invoke("config", "update", config, "--keys", "gpu_batch_size").stdout
    )


@pytest.mark.parametrize(
    "words",
    [
        ["split-half", "-c", "CONFIG", "metric=AUC", "null_iterations=3"],
        ["-c", "CONFIG", "split-half", "metric=AUC", "null_iterations=3"],
        ["--method", "split-half", "-c", "CONFIG", "metric=AUC", "null_iterations=3"],
        ["-c", "CONFIG", "metric=AUC", "--method", "split-half", "null_iterations=3"],
        ["split-half", "--method", "split-half", "-c", "CONFIG", "metric=AUC", "null_iterations=3"],
    ],
)
def test_every_form_of_a_ceiling_is_the_same_command(config, words) -> None:
    result = invoke("ceiling", *[config if word == "CONFIG" else word for word in words], "--json")
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert (value["method"], value["metric"], value["null_iterations"]) == ("split-half", "auc", 3)
    assert "Human ceiling, split-half" in result.stderr


def test_several_metrics_print_a_list_and_every_flag_reaches_the_run(config, tmp_path) -> None:
    result = invoke(
        "ceiling", "hold-one-out", "-c", config, "-o", tmp_path / "x", "-j", 1, "--seed", 7,
        "--json", "metric=[spearman,kl]",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert [(v["metric"], v["seed"]) for v in value] == [("spearman", 7), ("kl", 7)]
    assert value[1]["higher_is_better"] is False
    assert (tmp_path / "x/ceiling/hold-one-out-kl/per_participant.csv").is_file()
    assert invoke("ceiling", "hold-one-out", "-c", config, "--dry-run").exit_code == 0
    assert not (tmp_path / "assets").exists()
    curve = invoke("ceiling", "split-half", "-c", config, "--subject-curve", "--json")
    assert "participants_needed" in json.loads(curve.stdout)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "Say which ceiling"),
        (["split-halves"], 2, "Did you mean 'split-half'?"),
        (["split-half", "hold-one-out"], 2, "Two methods at once"),
        (["split-half", "--method", "hold-one-out"], 2, "Two methods at once"),
        (["split-half", "metric=spearmann"], 2, "Did you mean 'spearman'?"),
        (["split-half"], 2, "clickme_data is not set"),
        (["split-half", "clickme_data=none.csv"], 1, "none.csv"),
    ],
)
def test_mistakes_in_a_ceiling_are_sentences(tmp_path, monkeypatch, words, code, says) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("ceiling", *words)
    assert (result.exit_code, list(tmp_path.iterdir())) == (code, [])
    assert says in result.stderr


def test_an_interrupt_exits_130_says_how_to_go_on_and_does(tmp_path) -> None:
    rows = random_rows(0, images=400, users=12, side=32)
    data = write_csv(tmp_path / "trials.csv", rows)
    words = [
        "prepare", f"clickme_data={data}", f"assets={tmp_path}", "save_maps=both", "min_pixels=2",
        "image_shape=[32,32]", "display_image_keys=null", "min_subjects=1",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    run = subprocess.Popen(
        [sys.executable, "-m", "clickmap_cli", *words],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # a shell's background jobs ignore interrupts, and hand that on to the tests they run
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    folder = tmp_path / "experiment"
    deadline = time.monotonic() + 60
    while not (folder / ".clickmap" / "journal").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert "--resume" in said
    assert not list(folder.rglob("*.partial"))
    done = command(*words, "--resume")
    assert done.returncode == 0, done.stderr
    assert (folder / "manifest.json").is_file()


@pytest.mark.parametrize("whole_group", [False, True])
def test_sigterm_ends_a_run_with_workers_like_an_interrupt(tmp_path, whole_group) -> None:
    """As `kill` sends it to one process, and a scheduler to a run with its workers."""
    data = write_csv(tmp_path / "trials.csv", random_rows(0, images=150, users=20, side=120))
    words = [
        "ceiling", "hold-one-out", f"clickme_data={data}", f"assets={tmp_path}", "min_subjects=1",
        "image_shape=[120,120]", "metric=[spearman,iou_auc]", "n_jobs=2",
    ]  # fmt: skip
    run = subprocess.Popen(
        [sys.executable, "-m", "clickmap_cli", *words],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not _workers(run.pid) and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert run.poll() is None
    if whole_group:
        os.killpg(run.pid, signal.SIGTERM)
    else:
        run.terminate()
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert said == (
        "error Interrupted; what is finished is kept. Run the same command with --resume to go "
        "on.\n"
    )


def _workers(parent: int) -> list[str]:
    """Worker processes of a process, by their command."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            about = (path / "stat").read_text().rpartition(")")[2].split()
            words = (path / "cmdline").read_text()
        except OSError:  # it has ended
            continue
        if int(about[1]) == parent and "popen_loky" in words:
            found.append(words)
    return found


def test_demo_is_deterministic_and_says_what_to_type_next(tmp_path, full_after) -> None:
    full_after(100)  # among the pictures of the study
    failed = invoke("demo", "-o", tmp_path / "one")
    assert failed.exit_code == 1
    assert "the disk is full" in failed.output
    full_after(1_000_000)
    one = invoke("demo", "-o", tmp_path / "one")  # the same call continues
    assert one.exit_code == 0, one.stderr
    assert "Type next" in one.stderr
    two = command("demo", "--all", "-o", tmp_path / "two", "--json")
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert most < 4 << 20  # KiB: every network runs in 4 GB
    value = json.loads(two.stdout)
    made = value["prepare"]
    assert (made["n_images"], made["n_trials"], made["rejected_rows"]) == (60, 720, 0)
    assert [c["method"] for c in value["ceiling"]] == ["split-half", "hold-one-out"]
    figure = "ceiling/hold-one-out-spearman/ceiling.png"
    for name in ("maps.h5", "trials.npz", "examples/one_object_012.png", figure):
        a, b = (tmp_path / n / "assets/demo" / name for n in ("one", "two"))
        assert a.read_bytes() == b.read_bytes(), name
    for name in ("summary.json", "ALL_SUMMARY.csv", "comparisons.csv", "report.html"):
        a, b = (tmp_path / n / "benchmark" / name for n in ("one", "two"))
        assert a.read_bytes() == b.read_bytes(), name
    networks = value["networks"]
    assert networks["failures"] == []
    assert {found["model"] for found in networks["results"]} == {
        "eigencam", "deepgaze_iie", "deepgaze_iii", "msi_net", "vit_attention", "gradient",
    }  # fmt: skip
    assert all(found["scores"]["AUC"]["mean"] is not None for found in networks["results"])
    assert value["benchmark"] == json.loads((tmp_path / "one/benchmark/summary.json").read_text())
    truth = (tmp_path / "one/data/truth.csv").read_text()
    assert truth.count(",careful\n") == 32
    next_words = [
        line.split() for line in one.stderr.splitlines() if line.startswith("  clickmap ")
    ]
    assert len(next_words) == 5
    for words in next_words:
        dry = [] if words[1] == "config" else ["--dry-run"]
        assert invoke(*words[1:], *dry).exit_code == 0


@pytest.mark.parametrize("words", [(), ("--overwrite",)])
def test_the_demo_replaces_no_file_of_others(tmp_path, words) -> None:
    (tmp_path / "demo.yaml").write_text("mine")
    result = invoke("demo", "-o", tmp_path, *words)
    assert result.exit_code == 2
    assert "choose another --output" in result.stderr
    assert (tmp_path / "demo.yaml").read_text() == "mine"


def test_a_demo_of_the_time_before_manifests_may_be_replaced(tmp_path) -> None:
    from clickmap_cli.runtime.progress import Silent
    from clickmap_cli.services.demo import write_study
    from clickmap_cli.storage.folder import WhenPresent

    assert write_study(tmp_path, Silent()).written
    shutil.rmtree(tmp_path / ".clickmap")
    (tmp_path / "manifest.json").unlink()
    assert write_study(tmp_path, Silent(), WhenPresent.OVERWRITE).written


def test_odd_folder_names_and_our_own_mistakes_are_sentences(config, tmp_path, monkeypatch) -> None:
    assert invoke("prepare", "-c", config, "-o", tmp_path / "x[" / "y]").exit_code == 0
    assert invoke("prepare", "experiment_name='???'").exit_code == 2

    from clickmap_cli.services.prepare import run as prepare

    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(prepare, "run", broken)
    result = invoke("prepare", "-c", config)
    assert result.exit_code == 1
    assert "Unexpected ZeroDivisionError" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("action", ["update", "check"])
def test_a_folder_in_place_of_a_configuration_is_reported(config, action) -> None:
    before = config.read_text()
    done = invoke("config", action, config, config.parent)
    assert done.exit_code == 2
    assert f"{config.parent} is a folder; name a configuration file" in done.stderr
    assert f"such as {config}" in done.stderr
    assert "--config" not in done.stderr
    assert config.read_text() == before
