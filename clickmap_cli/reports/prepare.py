"""Output of a `prepare` run."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from clickmap_cli.reports.console import new_table
from clickmap_cli.reports.overlays import colour_map, overlay_map, scale_map, to_bytes
from clickmap_cli.reports.style import HEAT, OVERLAY_ALPHA, headline, save, styled
from clickmap_cli.services.job import Outcome
from clickmap_cli.services.prepare.examples import Example
from clickmap_cli.services.prepare.run import PrepareSummary


def funnel_table(result: PrepareSummary) -> Table:
    """Return a table of what every filter kept; a step that dropped trials is bold."""
    table = new_table("What every filter kept")
    table.add_column("step")
    table.add_column("setting", style="dim")
    for name in ("trials", "images", "clicks"):
        table.add_column(name, justify="right")
    previous = result.rows
    for row in result.funnel:
        style = "bold" if row.trials < previous else ""
        numbers = (f"{row.trials:,}", f"{row.images:,}", f"{row.clicks:,}")
        table.add_row(Text(row.step), Text(row.setting), *numbers, style=style)
        previous = row.trials
    return table


def summary_lines(run: Outcome[PrepareSummary]) -> list[str]:
    """Return the run in a few lines."""
    result = run.summary
    counts = f"{result.images:,} images, {result.trials:,} trials, {result.clicks:,} clicks"
    if not run.written:
        return [f"Would prepare {counts} into {run.folder}; nothing was written."]
    if run.reused:
        return [f"{counts} in {run.folder}."]
    if result.part is not None:
        made = f"{len(run.outputs):,} files of maps in {run.folder}"
        return [
            f"Part {result.part}: {made}.",
            "When all parts are there: clickmap prepare --merge.",
        ]
    examples = sum(name.startswith("examples/") for name in run.outputs)
    return [
        f"Prepared {counts} in {run.seconds:.1f} s.",
        f"{run.folder}: maps, trials.npz, medians.json, funnel.csv, {examples} pictures.",
    ]


def as_json(run: Outcome[PrepareSummary]) -> dict[str, Any]:
    """Return the run as one JSON value."""
    result = run.summary
    return {
        "command": "prepare",
        "folder": run.folder,
        "n_images": result.images,
        "n_trials": result.trials,
        "n_clicks": result.clicks,
        "rows": result.rows,
        "rejected_rows": result.rejected,
        "funnel": result.funnel,
        "outputs": run.outputs,
        "seconds": run.seconds,
        "reused": run.reused,
        "written": run.written,
        "shard": None if result.part is None else str(result.part),
    }


def rejected_line(run: Outcome[PrepareSummary]) -> str:
    """Return the number of rows that could not be read, and where they are listed."""
    result = run.summary
    listed = run.written and result.part is None
    where = f"; {run.folder / 'rejected.csv'} says why" if listed else ""
    return f"{result.rejected:,} of {result.rows:,} rows could not be read{where}."


def draw_example(example: Example) -> None:
    """Write one figure: image, heat, overlay; only the heat if the image is missing."""
    with styled() as plt:
        heat = scale_map(example.heat, "max")
        height, width = heat.shape
        panels = ["heat"] if example.image is None else ["image", "heat", "overlay"]
        panel = 2.4
        figure, axes = plt.subplots(
            1,
            len(panels),
            figsize=(panel * len(panels) * max(width / height, 0.5), panel + 0.35),
            squeeze=False,
            layout="constrained",
        )
        for axis, name in zip(axes[0], panels, strict=True):
            if name == "heat":
                axis.imshow(colour_map(heat, HEAT))
            elif example.image is not None:
                picture = to_bytes(example.image)
                over = overlay_map(picture, heat, HEAT, OVERLAY_ALPHA)
                axis.imshow(picture if name == "image" else over)
            axis.set_title(name)
            axis.set_axis_off()
        label = example.key if len(example.key) <= 60 else f"...{example.key[-57:]}"
        headline(figure, f"{label}, n = {example.n_participants}")
        save(figure, example.path)
