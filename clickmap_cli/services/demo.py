"""The demo: simulate data with a known truth, and run the main jobs on it."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.keys import flat_name
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.simulation.people import Simulation, expected_map, format_clicks
from clickmap_cli.config.experiment import METHODS
from clickmap_cli.config.loading import BENCHMARK, load_config, load_experiment
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.scoring.results import BenchmarkResult
from clickmap_cli.services.benchmark import run as benchmark
from clickmap_cli.services.benchmark.pictures import BenchmarkFigures
from clickmap_cli.services.ceiling import run as ceiling
from clickmap_cli.services.ceiling.outputs import CeilingFigures
from clickmap_cli.services.ceiling.result import CeilingResult
from clickmap_cli.services.job import Outcome
from clickmap_cli.services.prepare import run as prepare
from clickmap_cli.services.prepare.examples import Example
from clickmap_cli.storage.atomic import removing_when_full, replacing, write_bytes, write_csv
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.safe_arrays import write_npy
from clickmap_cli.storage.text_files import write_ids

_FIRST = ("demo.yaml", "data")
_OWN = (*_FIRST, "assets", "benchmark", "benchmark.yaml", "networks", "networks.yaml")
"""The first outputs of a demo, and all outputs that it writes into its folder."""

_TINY_IMAGES = 2
_TINY_SIDE = 96

_CONFIG = """\
# The demo's experiment: simulated trials with a known truth (see `truth.csv`).
experiment_name: demo
clickme_data: {trials}
image_dir: {images}
assets: {assets}
image_shape: [256, 256]
kernel_type: circle      # two passes of a flat disk; `gaussian` blurs with a Gaussian
blur_size: 21
min_clicks: 10
max_clicks: 75
min_subjects: 10
display_image_keys: auto # the ten images with most participants
"""

_BENCHMARK = """\
# The demo's benchmark: models against the people of the demo's clickmaps.
experiment: demo
output_dir: {results}
datasets:
  - {{name: clickmaps, label: demo, root: {prepared}, image_dir: {images}}}
models:
  - uniform
  - center_bias
  - blur_baseline
  - {{name: truth, type: precomputed, root: {truth}}} # where clicks truly come from, blurred alike
  - {{name: gold_standard, cache: false}}             # people; 720 maps that need no keeping
"""


_NETWORKS = """\
# Every network model on tiny images with random weights: that they run, not what they are worth.
experiment: networks
output_dir: {results}
datasets:
  - {{name: folder, label: tiny, root: {tiny}, sigma_px: 5}}
models:
  - {{name: eigencam, weights: none}}
  - {{name: deepgaze_iie, weights: none, centerbias: fitted}}
  - {{name: deepgaze_iii, weights: none, centerbias: uniform}}
  - {{name: msi_net, weights: none, requires_size: [96, 96]}}
  - {{name: vit_attention, weights: none, model: vit_tiny_patch16_224}}
  - {{name: gradient, weights: none, model: resnet18}}
"""


@dataclass(frozen=True)
class DemoFigures:
    """Functions that draw the demo's pictures.

    Attributes:
        example: draws one example of `prepare`.
        ceiling: functions that draw the ceilings' figures.
        benchmark: functions that draw heatmaps and the report.
    """

    example: Callable[[Example], None]
    ceiling: CeilingFigures
    benchmark: BenchmarkFigures


@dataclass(frozen=True)
class DemoResult:
    """The outputs and results of the demo.

    Attributes:
        folder: the output folder.
        config: the experiment's YAML file.
        trials: the file of simulated trials.
        prepared: the result of `prepare`.
        ceilings: the results of the split-half and the hold-one-out ceiling.
        benchmark: the result of the benchmark of models against the same people.
        benchmark_config: the benchmark's YAML file.
        networks: the result of every network model on tiny images; None unless requested.
    """

    folder: Path
    config: Path
    trials: Path
    prepared: Outcome[prepare.PrepareSummary]
    ceilings: tuple[list[Outcome[CeilingResult]], ...]
    benchmark: Outcome[BenchmarkResult]
    benchmark_config: Path
    networks: Outcome[BenchmarkResult] | None = None


def run(
    folder: Path,
    progress: Progress,
    figures: DemoFigures,
    when: WhenPresent = WhenPresent.STOP,
    seed: int = 0,
    everything: bool = False,
) -> DemoResult:
    """Write a simulated study in the formats of a user's own data, and run the main jobs on it.

    Args:
        folder: the output folder.
        progress: receives progress and notices.
        figures: functions that draw the pictures.
        when: what to do with an existing demo.
        seed: seed of the simulation.
        everything: also run every network model, with random weights on tiny images.

    Raises:
        ConfigError: the folder already holds a demo or other data, and `when` is `STOP`.
    """
    if when is WhenPresent.STOP and any((folder / name).exists() for name in _FIRST):
        raise ConfigError(
            f"{folder} already holds a demo or other data; add --resume or --overwrite, or choose "
            "another --output."
        )
    there = {name for name in _OWN if when is not WhenPresent.STOP or (folder / name).exists()}
    with removing_when_full(lambda: [folder / name for name in _OWN if name not in there]):
        return _run(folder, progress, figures, when, seed, everything)


def _run(
    folder: Path,
    progress: Progress,
    figures: DemoFigures,
    when: WhenPresent,
    seed: int,
    everything: bool,
) -> DemoResult:
    """Write the study and run the jobs, after `run` has checked the folder."""
    data = folder / "data"
    config = folder / "demo.yaml"
    paths = {
        "trials": data / "trials.csv",
        "images": data / "images",
        "assets": folder / "assets",
    }
    # a JSON string is valid YAML for any path
    text = _CONFIG.format(**{name: json.dumps(p.as_posix()) for name, p in paths.items()})
    write_bytes(config, text.encode())
    loaded = load_experiment(config)
    _write_study(Simulation(seed), data, MapSettings.from_config(loaded.config), progress)
    result = prepare.run(loaded.config, progress, figures.example, when)
    ceilings = tuple(
        ceiling.run(
            loaded.config, method, progress, figures.ceiling, when,
            subject_curve=method == "split-half",
        )
        for method in METHODS
    )  # fmt: skip
    places = {
        "results": folder / "benchmark", "prepared": result.folder, "images": data / "images",
        "truth": data / "truth_maps",
    }  # fmt: skip
    models = folder / "benchmark.yaml"
    scored = _benchmark(_BENCHMARK, places, models, progress, figures.benchmark, when)
    networks = None
    if everything:
        _write_tiny(Simulation(seed), data / "tiny")
        places = {"results": folder / "networks", "tiny": data / "tiny"}
        networks = _benchmark(
            _NETWORKS, places, folder / "networks.yaml", progress, figures.benchmark, when
        )
    return DemoResult(
        folder, config, data / "trials.csv", result, ceilings, scored, models, networks
    )


def _benchmark(
    text: str,
    places: dict[str, Path],
    config: Path,
    progress: Progress,
    figures: BenchmarkFigures,
    when: WhenPresent,
) -> Outcome[BenchmarkResult]:
    """Write a benchmark's config and run it."""
    filled = text.format(**{name: json.dumps(p.as_posix()) for name, p in places.items()})
    write_bytes(config, filled.encode())
    return benchmark.run(load_config(BENCHMARK, config).config, progress, figures, when)


def _write_tiny(study: Simulation, folder: Path) -> None:
    """Write two small images for networks, with fifty simulated fixations each."""
    from PIL import Image

    for image in itertools.islice(study.images(), _TINY_IMAGES):
        stem = Path(image.key).stem
        with replacing(folder / "images" / f"{stem}.png") as partial:
            small = Image.fromarray(image.pixels).resize((_TINY_SIDE, _TINY_SIDE))
            small.save(partial, format="PNG")
        x, y = _points(image.density, generator(study.seed, "demo", image.key))
        counts = np.zeros((_TINY_SIDE, _TINY_SIDE), dtype=np.int32)
        scale = _TINY_SIDE / study.side
        np.add.at(counts, ((y * scale).astype(int), (x * scale).astype(int)), 1)
        write_npy(folder / "fixations" / f"{stem}.npy", counts)


def _points(
    density: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the columns and rows of fifty draws from a density."""
    pixels = rng.choice(density.size, 50, p=density.ravel() / density.sum())
    return pixels % density.shape[1], pixels // density.shape[1]


def _write_study(study: Simulation, data: Path, settings: MapSettings, progress: Progress) -> None:
    """Write images, trials as CSV, each user's true role, and the true attention maps."""
    from PIL import Image

    progress.stage("Simulating", study.n_images)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("image_path", "clicks", "user_id"))
    for image in study.images():
        with replacing(data / "images" / image.key) as partial:
            Image.fromarray(image.pixels).save(partial, format="PNG")
        truth = data / "truth_maps" / f"{flat_name(image.key)}.npy"
        write_npy(truth, expected_map(image.density, settings))
        for user, clicks in study.trials_of(image):
            writer.writerow((image.key, format_clicks(clicks), user))
        progress.advance()
    write_bytes(data / "trials.csv", out.getvalue().encode())
    roles = list(zip(study.user_names(), study.roles(), strict=True))
    write_csv(data / "truth.csv", ("user_id", "role"), roles)
    write_ids(data / "good_users.txt", [name for name, role in roles if role == "careful"])
    write_ids(data / "bad_users.txt", [name for name, role in roles if role != "careful"])
