"""The demo's study: simulated data with a known truth, and the configs to run on it."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.keys import flat_name
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.simulation.people import Simulation, expected_map, format_clicks
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.job import Identity, Job, Outcome, Run, run_job
from clickmap_cli.storage.atomic import replacing, write_bytes, write_csv
from clickmap_cli.storage.folder import RunFolder, WhenPresent
from clickmap_cli.storage.manifest import Manifest
from clickmap_cli.storage.safe_arrays import write_npy
from clickmap_cli.storage.text_files import write_ids

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
class DemoStudy:
    """The files of a demo.

    Attributes:
        config: the experiment's YAML file.
        trials: the file of simulated trials.
        benchmark: YAML file of the benchmark of models against the same people.
        networks: YAML file of a benchmark of every network model on tiny images; None unless
            requested.
    """

    config: Path
    trials: Path
    benchmark: Path
    networks: Path | None


def write_study(
    folder: Path,
    progress: Progress,
    when: WhenPresent = WhenPresent.STOP,
    *,
    seed: int = 0,
    everything: bool = False,
) -> Outcome[DemoStudy]:
    """Write a simulated study with a known truth, in the formats of a user's own data.

    Args:
        folder: the output folder; its config files have the commands write into it too.
        progress: receives progress and notices.
        when: what to do with an existing demo.
        seed: seed of the simulation.
        everything: also write tiny images for every network model.

    Raises:
        ConfigError: the folder already holds a demo or other data, and `when` is `STOP`.
    """
    return run_job(_DemoJob(folder, seed, everything), when, progress=progress)


def resumes_by_itself(folder: Path) -> bool:
    """Return True if a job of the demo in a folder ended because the disk was full."""
    states = folder.rglob(".clickmap") if folder.is_dir() else ()
    return any(RunFolder(state.parent, "demo").ran_out_of_room() for state in states)


class _DemoJob(Job[None, DemoStudy]):
    command = "demo"

    def __init__(self, folder: Path, seed: int, everything: bool) -> None:
        self.folder = folder
        self.seed = seed
        self.study = DemoStudy(
            folder / "demo.yaml", folder / "data" / "trials.csv", folder / "benchmark.yaml",
            folder / "networks.yaml" if everything else None,
        )  # fmt: skip

    def recorded_config(self) -> Mapping[str, Any]:
        """Return the arguments of the call."""
        return {"seed": self.seed, "all": self.study.networks is not None}

    def recorded_seed(self) -> int:
        """Return the seed of the simulation."""
        return self.seed

    def load(self, progress: Progress, *, dry_run: bool) -> None:
        """Raise unless the folder is new, or was written by a demo."""
        first = [name for name in ("demo.yaml", "data") if (self.folder / name).exists()]
        if first and not (self.folder / ".clickmap").exists() and not self._is_earlier_demo():
            raise ConfigError(
                f"{self.folder} already holds other data ({first[0]}); choose another --output."
            )

    def _is_earlier_demo(self) -> bool:
        """Return True if the folder holds a demo of the time before demos had manifests."""
        config = self.study.config
        return config.is_file() and config.read_bytes().startswith(_CONFIG.encode()[:40])

    def identity(self, inputs: None) -> Identity:
        """Return the arguments and the texts of the config files."""
        words = json.dumps([self.recorded_config(), _CONFIG, _BENCHMARK, _NETWORKS])
        return Identity(hashlib.sha256(words.encode()).hexdigest(), {})

    def preview(self, inputs: None) -> DemoStudy:
        """Return the files to write."""
        return self.study

    def stored(self, inputs: None, manifest: Manifest) -> DemoStudy:
        """Return the files of a finished demo."""
        return self.study

    def work(self, inputs: None, run: Run) -> DemoStudy:
        """Write the configs, images, trials and true maps."""
        study, data = self.study, run.path / "data"
        _write_config(
            study.config, _CONFIG, trials=study.trials, images=data / "images",
            assets=run.path / "assets",
        )  # fmt: skip
        experiment = load_experiment(study.config).config
        _write_config(
            study.benchmark, _BENCHMARK, results=run.path / "benchmark", prepared=experiment.folder,
            images=data / "images", truth=data / "truth_maps",
        )  # fmt: skip
        _write_trials(
            Simulation(self.seed), data, MapSettings.from_config(experiment), run.progress
        )
        run.add([study.config, study.benchmark])
        if study.networks is not None:
            _write_tiny(Simulation(self.seed), data / "tiny")
            _write_config(
                study.networks, _NETWORKS, results=run.path / "networks", tiny=data / "tiny"
            )
            run.add([study.networks])
        run.add(sorted(path for path in data.rglob("*") if path.is_file()))
        return study


def _write_config(path: Path, text: str, **places: Path) -> None:
    # a JSON string is valid YAML for any path
    filled = text.format(**{name: json.dumps(place.as_posix()) for name, place in places.items()})
    write_bytes(path, filled.encode())


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


def _write_trials(study: Simulation, data: Path, settings: MapSettings, progress: Progress) -> None:
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
