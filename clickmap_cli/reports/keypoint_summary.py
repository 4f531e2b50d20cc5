"""Terminal output of a key-point training."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from clickmap_cli.reports.console import interval, number
from clickmap_cli.services.keypoints.predictions import PredictionRun
from clickmap_cli.services.keypoints.run import KeypointRun

_FIRST_FAILURES = 5


def score_table(run: KeypointRun) -> Table | None:
    """Return a table of PCK and RMSE on the test images, for every key point and overall."""
    found = run.summary
    if not found:
        return None
    title = (
        f"{found['model']}, {found['n_test']} test images, original pixels, PCK at "
        f"{found['alpha']:g} x {' - '.join(found['reference_points'])}"
    )
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("key point", no_wrap=True)
    for name in ("PCK", "RMSE"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in found["per_keypoint"].items():
        table.add_row(Text(name), number(row["pck"], 3), number(row["rmse"], 2))
    table.add_row("mean over images", number(found["pck"], 3), number(found["rmse"], 2))
    return table


def summary_lines(run: KeypointRun) -> list[str]:
    """Return the remaining results in a few lines."""
    if not run.written:
        return [f"Would train into {run.folder}; nothing was written."]
    found = run.summary
    side = " x ".join(str(n) for n in found["network_size"])
    step = f", step {found['best_step']}" if "best_step" in found else ""
    beside = f"; {' and '.join(run.pictures)} beside it" if run.pictures else ""
    return [
        (
            f"RMSE {number(found['rmse'], 2)} {interval(found['rmse_ci'], 2)} px, mean error "
            f"{number(found['mean_error'], 2)} px; {number(found['rmse_network'], 2)} px of the "
            f"network's {side}. Best epoch {found['best_epoch']}{step}."
        ),
        f"{run.folder / 'per_image.csv'}: every image{beside}. {run.seconds:.1f} s.",
    ]


def prediction_lines(run: PredictionRun) -> list[str]:
    """Return a summary of `--predict-only` in one line."""
    left_out = f", {len(run.failures):,} left out" if run.failures else ""
    return [
        (
            f"{run.folder / 'predictions.csv'}: {len(run.names)} key points in {run.n_images:,} "
            f"pictures{left_out}; predictions_dlc.csv for DeepLabCut beside it. "
            f"{run.seconds:.1f} s."
        )
    ]


def failure_lines(run: PredictionRun) -> list[str]:
    """Return the first images that could not be read, and the number of the others."""
    lines = [row.reason for row in run.failures[:_FIRST_FAILURES]]
    if len(run.failures) > _FIRST_FAILURES:
        more = len(run.failures) - _FIRST_FAILURES
        lines.append(f"... and {more} more; see {run.folder / 'failures.csv'}.")
    return lines


def prediction_json(run: PredictionRun) -> dict[str, Any]:
    """Return the same as one JSON value."""
    return {
        "folder": str(run.folder),
        "n_images": run.n_images,
        "keypoints": run.names,
        "failures": [asdict(row) for row in run.failures],
    }
