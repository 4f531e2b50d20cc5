"""Terminal output of a fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from clickmap_cli.reports.benchmark import mark_direction
from clickmap_cli.reports.console import dry_line, interval, new_table, number
from clickmap_cli.services.finetune.tables import CvRow, CvSummary
from clickmap_cli.services.job import Outcome
from clickmap_cli.training.blocks import BlockRow

_TITLES = {"held_out": "held-out images", "holdout": "images that no fold saw"}


def block_table(title: str, rows: Sequence[BlockRow]) -> Table:
    """Return a table of trainable and total parameters of each block, for the start of a stage."""
    table = new_table(title, ["block"], ["trainable", "total"])
    for row in rows:
        style = "" if row.trainable else "dim"
        table.add_row(Text(row.block), f"{row.trainable:,}", f"{row.total:,}", style=style)
    trainable, total = sum(row.trainable for row in rows), sum(row.total for row in rows)
    table.add_row("all", f"{trainable:,}", f"{total:,}")
    return table


def summary_tables(found: CvSummary) -> list[Table]:
    """Return a table per split: scores of the tuned model, of its start and of the centre bias."""
    tables = []
    for split in dict.fromkeys(row.split for row in found.results):
        rows = [row for row in found.results if row.split == split and not math.isnan(row.mean)]
        n = max((row.n_images for row in rows), default=0)
        title = f"{found.model}, {_TITLES.get(split, split)}, n = {n:,}"
        models = list(dict.fromkeys(row.model for row in rows))
        table = new_table(title, ["metric"], models)
        table.add_column("95% interval", no_wrap=True)
        for metric in dict.fromkeys(row.metric for row in rows):
            by_model = {row.model: row for row in rows if row.metric == metric}
            first = by_model.get(models[0])
            cells = [_format_mean(by_model.get(model)) for model in models]
            ends = "" if first is None else interval((first.low, first.high))
            table.add_row(Text(mark_direction(metric)), *cells, Text(ends))
        tables.append(table)
    return tables


def _format_mean(row: CvRow | None) -> Text:
    """Format the mean over folds, and their standard deviation."""
    if row is None:
        return Text("-")
    spread = "" if math.isnan(row.sd) else f" ± {row.sd:.3f}"
    return Text(number(row.mean) + spread)


def summary_line(run: Outcome[CvSummary | None]) -> str:
    """Summarise a run in one line."""
    if not run.written:
        return dry_line("train", run.folder)
    table = run.folder / "cv_summary.csv"
    text = f"{table}: all scores; fold_XX/best.pth is a weights_path for `clickmap benchmark`."
    return f"{text} {run.seconds:.1f} s."


def gathered_line(run: Outcome[CvSummary | None], n_folders: int) -> str:
    """Return a summary of `--gather` in one line."""
    if not run.written:
        found = "all folds are there; nothing was written."
        return f"Would gather {n_folders} folders into {run.folder}: {found}"
    table = run.folder / "cv_summary.csv"
    return f"{table}: all scores of {n_folders} folders; their checkpoints stay where they are."
