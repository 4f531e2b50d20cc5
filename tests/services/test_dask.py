"""Runs on a real Dask cluster, one of whose workers is killed, against runs in one process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from clickmap_cli.config.loading import BENCHMARK, load_config, load_experiment
from clickmap_cli.reports.benchmark_figures import draw_heatmap
from clickmap_cli.reports.ceiling import draw_ceiling, draw_curve
from clickmap_cli.reports.prepare import draw_example
from clickmap_cli.runtime.errors import ConfigError, RunError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.scoring.tables import as_summary
from clickmap_cli.services.benchmark import run as benchmark
from clickmap_cli.services.benchmark.pictures import BenchmarkFigures
from clickmap_cli.services.ceiling import run as ceiling
from clickmap_cli.services.ceiling import scores as ceiling_scores
from clickmap_cli.services.ceiling.results import CeilingFigures
from clickmap_cli.services.prepare import maps as prepare_maps
from clickmap_cli.services.prepare import run as prepare
from clickmap_cli.storage import folder as folder_module
from clickmap_cli.storage.folder import RunFolder, require_begun, require_here
from tests.helpers.dask_cluster import Cluster, cluster_in
from tests.helpers.studies import random_rows, write_csv
from tests.services.benchmark.test_run import no_report, write_corpus

pytest.importorskip("distributed", reason="the extra 'dask' is not installed")


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory) -> Iterator[Cluster]:
    with cluster_in(tmp_path_factory.mktemp("dask") / "cluster") as started:
        yield started


@pytest.fixture
def cluster(scheduler) -> Cluster:
    while len(scheduler.workers) < 2:
        scheduler.start_worker()
    scheduler.wait_for_workers(2)
    return scheduler


class Killer(Silent):
    """Kills a worker as soon as the first result of a stage that begins with `stage` is in."""

    def __init__(self, cluster: Cluster, stage: str) -> None:
        super().__init__()
        self._cluster = cluster
        self._wanted = stage
        self._current = ""
        self.left = 0
        self.killed_with_left = 0

    def stage(self, name: str, total: int | None = None) -> None:
        self._current, self.left = name, total or 0

    def advance(self, steps: int = 1) -> None:
        self.left -= steps
        if self._current.startswith(self._wanted) and not self.killed_with_left:
            self._cluster.kill_worker()
            self.killed_with_left = self.left


def digests(folder: Path, *endings: str) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and ".clickmap" not in path.parts
        and path.name not in ("manifest.json", "report.html")
        and (not endings or path.suffix in endings)
    }


def on(cluster: Cluster) -> list[str]:
    return ["backend=dask", f"scheduler={cluster.address}"]


@pytest.mark.parametrize("kind", ["hdf5", "numpy"])
def test_prepare_writes_the_same_bytes(cluster, tmp_path, monkeypatch, kind) -> None:
    monkeypatch.setattr(prepare_maps, "MAX_SHARD_IMAGES", 2)
    monkeypatch.chdir(tmp_path)  # the workers stand elsewhere
    write_csv(tmp_path / "trials.csv", random_rows(0, images=23, users=5))
    words = [
        "clickme_data=trials.csv", "assets=out", "image_shape=[32,32]", "min_subjects=2",
        "display_image_keys=null", "save_maps=both", "click_bins=2", f"output_format={kind}",
    ]  # fmt: skip

    def run(name: str, progress, *more: str) -> Path:
        config = load_experiment(None, [*words, f"experiment_name={name}", *more]).config
        return prepare.run(config, progress, draw_example).folder

    wanted = digests(run("one", Silent(), "n_jobs=1"))
    killer = Killer(cluster, "Blurring")
    assert digests(run("two", killer, *on(cluster))) == wanted
    assert 0 < killer.killed_with_left < 23
    assert len(cluster.workers) == 1


@pytest.mark.parametrize("method", ["split-half", "hold-one-out"])
def test_ceilings_have_the_same_tables(cluster, tmp_path, monkeypatch, method) -> None:
    monkeypatch.setattr(ceiling_scores, "_MOST_IN_CHUNK", 2)
    data = write_csv(tmp_path / "trials.csv", random_rows(0, images=15, users=5))
    words = [
        f"clickme_data={data}", "image_shape=[32,32]", "min_subjects=1", "blur_size=5",
        "randomization_iters=3", "null_iterations=3", "metric=[spearman,auc,rsa]",
    ]  # fmt: skip
    figures = CeilingFigures(draw_ceiling, draw_curve)

    def run(name: str, progress, *more: str) -> Path:
        config = load_experiment(None, [*words, f"assets={tmp_path / name}", *more]).config
        return ceiling.run(config, method, progress, figures, subject_curve=method == "split-half")[
            0
        ].folder

    wanted = digests(run("one", Silent(), "n_jobs=1"), ".csv", ".json", ".npz")
    killer = Killer(cluster, f"Scoring, {method}")
    assert digests(run("two", killer, *on(cluster)), ".csv", ".json", ".npz") == wanted
    assert 0 < killer.killed_with_left < 15


def test_benchmarks_have_the_same_tables(cluster, tmp_path, monkeypatch) -> None:
    corpus = write_corpus(tmp_path / "corpus", n_images=12)
    monkeypatch.chdir(corpus)
    words = [
        "datasets=[{name: fixations_csv, label: toy, csv: fix.csv, images: images, sigma_px: 3}]",
        "models=[center_bias,gold_standard]", "null_iterations=3", "heatmaps_png.enabled=false",
    ]  # fmt: skip

    def run(name: str, progress, *more: str) -> benchmark.BenchmarkRun:
        config = load_config(BENCHMARK, None, [*words, f"output_dir={name}", *more]).config
        return benchmark.run(config, progress, BenchmarkFigures(draw_heatmap, no_report))

    one = run("one", Silent(), "n_jobs=1")
    killer = Killer(cluster, "center_bias on toy")
    two = run("two", killer, *on(cluster))
    assert as_summary(two.summary) == as_summary(one.summary)
    assert digests(two.folder, ".csv", ".json") == digests(one.folder, ".csv", ".json")
    assert 0 < killer.killed_with_left < 12


def test_calls_that_do_not_fit_a_cluster(tmp_path) -> None:
    data = write_csv(tmp_path / "trials.csv", random_rows(0))

    def call(*more: str, **kwargs) -> None:
        words = [f"clickme_data={data}", f"assets={tmp_path / 'out'}", *more]
        prepare.run(load_experiment(None, words).config, Silent(), draw_example, **kwargs)

    address = "scheduler=tcp://127.0.0.1:1"
    for words in (["backend=dask"], [address], ["backend=threading", address]):
        with pytest.raises(ConfigError, match="scheduler"):
            call(*words)
    with pytest.raises(ConfigError, match="use_gpu_blurring"):
        call("backend=dask", address, "use_gpu_blurring=true")
    with pytest.raises(ConfigError, match="dask"):
        call("backend=dsak")
    with pytest.raises(RunError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:1;"):
        call("backend=dask", address)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_shared_is_reported(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(folder_module, "_SEEN_SECONDS", 0)
    with pytest.raises(RunError, match="must be shared with all workers"):
        require_here(tmp_path, {"maps_shards/maps_00001.h5": {"size": 3, "sha256": "0"}})


def test_a_worker_of_a_run_that_was_replaced_writes_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(folder_module, "_SEEN_SECONDS", 0)
    run = RunFolder(tmp_path / "run", "prepare")
    with run.held():
        run.reuse_or_begin("mine", folder_module.WhenPresent.STOP)
        require_begun(run.path, "mine")
        with pytest.raises(RunError, match="belongs to another run"):
            require_begun(run.path, "theirs")
