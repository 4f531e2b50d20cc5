"""The demo: data with a known truth, and the main jobs run on it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clickmap_cli.clickmaps.simulation import Simulation, clicks_as_text
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services import ceiling, prepare
from clickmap_cli.services.examples import Example
from clickmap_cli.storage.atomic import replacing, write_bytes, write_csv
from clickmap_cli.storage.folder import WhenPresent

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


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Attributes:
        folder: everything is in it.
        config: the experiment's YAML.
        trials: the simulated trials.
        prepared: the result of `prepare`.
        ceilings: split-half and hold-one-out.
    """

    folder: Path
    config: Path
    trials: Path
    prepared: prepare.PrepareResult
    ceilings: tuple[ceiling.CeilingRun, ...]


def run(
    folder: Path,
    progress: Progress,
    draw: Callable[[Example], None],
    figures: ceiling.CeilingFigures,
    when: WhenPresent = WhenPresent.STOP,
    seed: int = 0,
) -> DemoResult:
    """Draw the simulation, write it as a user's own data would be, prepare it, measure agreement.

    Args:
        folder: where everything goes.
        progress: told where the demo is.
        draw: draws one example picture.
        figures: draw the ceilings' figures.
        when: what to do with a demo that is there.
        seed: of the simulation.
    """
    data = folder / "data"
    config = folder / "demo.yaml"
    if when is WhenPresent.STOP and (config.exists() or data.exists()):
        raise ConfigError(
            f"{folder} already holds a demo or other data; add --resume or --overwrite, or choose "
            "another --output."
        )
    paths = {
        "trials": data / "trials.csv",
        "images": data / "images",
        "assets": folder / "assets",
    }
    # JSON's quotes are YAML's, whatever a path holds
    text = _CONFIG.format(**{name: json.dumps(p.as_posix()) for name, p in paths.items()})
    write_bytes(config, text.encode())
    _write_study(Simulation(seed), data, progress)
    loaded = load_experiment(config)
    result = prepare.run(loaded.config, progress, draw, when)
    ceilings = tuple(
        ceiling.run(
            loaded.config, method, progress, figures, when, subject_curve=method == "split-half"
        )
        for method in ceiling.METHODS
    )
    return DemoResult(folder, config, data / "trials.csv", result, ceilings)


def _write_study(study: Simulation, data: Path, progress: Progress) -> None:
    """Images, trials as CSV, and who was careful."""
    from PIL import Image

    progress.stage("Simulating", study.n_images)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("image_path", "clicks", "user_id"))
    for image in study.images():
        with replacing(data / "images" / image.key) as partial:
            Image.fromarray(image.pixels).save(partial, format="PNG")
        for user, clicks in study.trials_of(image):
            writer.writerow((image.key, clicks_as_text(clicks), user))
        progress.advance()
    write_bytes(data / "trials.csv", out.getvalue().encode())
    roles = zip(study.user_names(), study.roles(), strict=True)
    write_csv(data / "truth.csv", ("user_id", "role"), roles)
