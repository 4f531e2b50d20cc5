"""Small command lines whose runs are killed, and what they read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.studies import random_rows, write_csv
from tests.services.benchmark.test_run import write_corpus

OUT = "out"
"""The folder that a line writes, in the folder it is called in."""


@dataclass(frozen=True)
class Line:
    """One command line.

    Attributes:
        words: what follows `clickmap`; inputs are in `../inputs`, outputs go to `OUT`.
        held: the folder inside `OUT` that the run holds from where its work begins.
        pieces: Python that runs first: it makes pieces small, so that kills fall between them.
    """

    words: tuple[str, ...]
    held: str = "."
    pieces: str = "pass"


@dataclass(frozen=True)
class Target:
    """A command, by lines that take turns.

    Attributes:
        write_inputs: writes what the lines read into a folder.
        lines: the lines.
    """

    write_inputs: Callable[[Path], object]
    lines: tuple[Line, ...]


_EXPERIMENT = (
    "clickme_data=../inputs/trials.csv", "assets=.", f"experiment_name={OUT}",
    "image_shape=[32,32]", "min_subjects=2", "blur_size=5", "n_jobs=2",
)  # fmt: skip
_DATA = (
    "datasets=[{name: fixations_csv, label: toy, csv: ../inputs/fix.csv, "
    "images: ../inputs/images, sigma_px: 3}]"
)


def _prepare(output_format: str) -> Line:
    return Line(
        ("prepare", *_EXPERIMENT, "save_maps=both", "click_bins=2",
         f"output_format={output_format}", "display_image_keys=[cat0/0.png,cat1/1.png]"),
        pieces=(
            "from clickmap_cli.services.prepare import maps as prepare_maps; "
            "prepare_maps.MAX_SHARD_IMAGES = 10"
        ),
    )  # fmt: skip


def _ceiling(method: str) -> Line:
    return Line(
        ("ceiling", method, *_EXPERIMENT, "metric=[spearman,auc]", "randomization_iters=10"),
        held=f"ceiling/{method}-spearman",
        pieces=(
            "from clickmap_cli.runtime import parallel as p; "
            "from clickmap_cli.services.ceiling import scores as s; "
            "p.START_SECONDS, s._MOST_IN_CHUNK = 0, 4"
        ),
    )


_BENCHMARK = Line(
    ("benchmark", _DATA, "models=[center_bias,blur_baseline,gold_standard]",
     f"output_dir={OUT}", "heatmaps_png.enabled=true", "null_iterations=3", "n_jobs=2"),
    pieces="from clickmap_cli.runtime import parallel as p; p.START_SECONDS = 0",
)  # fmt: skip
_FINETUNE = Line((
    "finetune", _DATA, f"output_dir={OUT}", "device=cpu", "n_jobs=1", "metrics=[NSS,CC,KL]",
    "model={name: readout, backbone: test_resnet, layers: [layer1], weights: none, widths: [4]}",
    "cv.folds=2", "training.lr=0.01", "training.epochs=6", "freeze.blocks=[head]",
))  # fmt: skip

TARGETS = {
    "prepare": Target(
        lambda folder: write_csv(folder / "trials.csv", random_rows(0, images=120, users=8)),
        (_prepare("hdf5"), _prepare("numpy")),
    ),
    "ceiling": Target(
        lambda folder: write_csv(folder / "trials.csv", random_rows(0, images=40, users=8)),
        (_ceiling("split-half"), _ceiling("hold-one-out")),
    ),
    "benchmark": Target(lambda folder: write_corpus(folder, n_images=8), (_BENCHMARK,)),
    "finetune": Target(write_corpus, (_FINETUNE,)),
}
