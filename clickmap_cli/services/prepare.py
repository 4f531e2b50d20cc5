"""Raw trials to prepared clickmaps: read, filter, blur, write."""

from __future__ import annotations

import contextlib
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clickmap_cli.clickmaps.counting import click_medians, clicks_per_image
from clickmap_cli.clickmaps.filters import FunnelRow
from clickmap_cli.clickmaps.raw_table import Reject
from clickmap_cli.clickmaps.survivors import (
    Survivors,
    input_files,
    mask_files,
    no_reject,
    require_images,
    surviving_trials,
)
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.loading import as_dict, numbers_hash
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.parallel import ordered_map, worker_count
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.examples import Example, draw_examples
from clickmap_cli.services.map_shards import (
    MapOutput,
    ShardDone,
    ShardJob,
    plan_shards,
    shard_path,
    write_shard,
    write_shard_index,
)
from clickmap_cli.services.participant_quality import quality_of
from clickmap_cli.storage.atomic import replacing, write_csv, write_json
from clickmap_cli.storage.folder import RunFolder, WhenPresent
from clickmap_cli.storage.manifest import Manifest, describe_files, git_commit, versions
from clickmap_cli.storage.npz import write_npz

_OUTPUTS = ("maps.h5", "maps_shards", "maps", "maps.npz", "examples")
"""What only `prepare` writes, and not with every setting."""


@dataclass(frozen=True)
class PrepareResult:
    """What a run of `prepare` did.

    Attributes:
        folder: the experiment's folder.
        funnel: what every filter kept.
        rows: rows in the file.
        rejected: rows that could not be read.
        images: images prepared.
        trials: trials behind them.
        clicks: clicks behind them.
        outputs: files written, inside the folder.
        seconds: how long it took.
        reused: whether a finished run was found and nothing was done.
        written: whether anything was written (not with `--dry-run`).
    """

    folder: Path
    funnel: tuple[FunnelRow, ...]
    rows: int
    rejected: int
    images: int
    trials: int
    clicks: int
    outputs: tuple[str, ...]
    seconds: float
    reused: bool = False
    written: bool = True


@dataclass(frozen=True)
class _Inputs:
    """Files a run reads, described for the manifest, and the identity that follows from them."""

    described: dict[str, dict[str, Any]]
    identity: str


def run(
    config: ExperimentConfig,
    progress: Progress,
    draw: Callable[[Example], None],
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
) -> PrepareResult:
    """Prepare an experiment.

    Args:
        config: the checked configuration.
        progress: told where the run is.
        draw: draws one example picture into its path.
        when: what to do with outputs that are there.
        dry_run: read and filter only; write nothing.

    Raises:
        ConfigError: the call contradicts what is there.
        DataError: the input cannot be used, or no image is left.
        RunError: another run holds the folder, or it cannot be written.
    """
    started = time.time()
    folder = Path(config.assets) / config.experiment_name
    inputs = _inputs(config, progress)
    quality = quality_of(config, progress)
    if dry_run:
        found = surviving_trials(config, no_reject, progress, quality)
        return _result(folder, found, started, written=False)
    device = _blur_device(config, progress)
    run_folder = RunFolder(folder, "prepare", _OUTPUTS)
    with run_folder.held():
        done = run_folder.finished(inputs.identity, when)
        if done is not None:
            return _from_manifest(folder, done)
        try:
            with _rejections(folder) as reject:
                found = surviving_trials(config, reject, progress, quality)
            _write_funnel(folder, found.funnel)
            require_images(found)
        except DataError:
            run_folder.abandon()
            raise
        outputs = _write_maps(run_folder, found.trials, config, device, progress)
        outputs |= _write_tables(folder, found.trials, config, progress)
        outputs |= draw_examples(folder, found.trials, config, draw, progress)
        result = _result(folder, found, started, outputs=outputs)
        run_folder.finish(_manifest(config, inputs, outputs, result, started))
    return result


def _blur_device(config: ExperimentConfig, progress: Progress) -> str | None:
    """The torch device that blurs, or None for the exact path on the CPU."""
    if not config.use_gpu_blurring:
        return None
    device = choose_device(config.device)
    if device == "cpu":
        progress.notice(
            "use_gpu_blurring: no GPU is used; blurring on the CPU gives the same maps."
        )
        return None
    return device


def _inputs(config: ExperimentConfig, progress: Progress) -> _Inputs:
    files = input_files(config)
    if Path(str(config.clickme_data)).is_dir():
        raise ConfigError("clickme_data is a folder; prepare wants the file of raw trials.")
    progress.stage("Hashing inputs")
    described = describe_files(None, files)
    # masks are found by their names; blurring on a GPU gives other last bits
    content = [str(entry["sha256"]) for entry in described.values()]
    if config.mask_dir is not None:
        content += [path.as_posix() for path in mask_files(Path(config.mask_dir), relative=True)]
    content.append(f"gpu {config.use_gpu_blurring}")
    return _Inputs(described, numbers_hash(config, ["maps", "output"], *content))


@contextlib.contextmanager
def _rejections(folder: Path) -> Iterator[Reject]:
    """`rejected.csv`, written row by row: a file of bad rows may be larger than memory."""
    with (
        replacing(folder / "rejected.csv") as partial,
        partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("row", "column", "value", "reason"))
        yield lambda row, column, value, reason: writer.writerow((row, column, value, reason))


def _write_funnel(folder: Path, funnel: tuple[FunnelRow, ...]) -> None:
    header = ("step", "setting", "trials", "images", "clicks")
    write_csv(folder / "funnel.csv", header, (tuple(asdict(row).values()) for row in funnel))


def _write_maps(
    run_folder: RunFolder,
    trials: Trials,
    config: ExperimentConfig,
    device: str | None,
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """Write the maps shard by shard, skipping shards that an earlier run finished."""
    output = MapOutput.of(config, device)
    shards = plan_shards(trials, output)
    metadata = {
        "total_unique_images": len(trials.images),
        "total_maps": len(trials),
        "filter_duplicates": bool(config.filter_duplicates),
        "kernel_type": config.kernel_type,
    }
    workers = 1 if device is not None else worker_count(config.n_jobs)
    alone = len(shards) == 1 or workers == 1
    outputs: dict[str, dict[str, Any]] = {}
    progress.stage("Blurring", len(trials.images))

    def jobs() -> Iterator[ShardJob]:
        for number, (first, last) in enumerate(shards, 1):
            done = run_folder.recorded(f"shard_{number:05d}")
            if done is not None:
                outputs.update(done)
                progress.advance(last - first)
                continue
            yield ShardJob(
                folder=run_folder.path,
                piece=shard_path(number, len(shards)),
                trials=trials.part(first, last),
                output=output,
                metadata=metadata,
                threads=workers if alone else 1,
            )

    finished: Iterator[ShardDone] = ordered_map(
        write_shard, jobs(), 1 if alone else workers, "loky"
    )
    names = {shard_path(n, len(shards)): f"shard_{n:05d}" for n in range(1, len(shards) + 1)}
    for shard in finished:
        run_folder.record(names[shard.piece], shard.files)
        outputs.update(shard.files)
        progress.advance(shard.n_images)
    if output.format == "hdf5" and len(shards) > 1:
        outputs |= write_shard_index(run_folder.path, trials, shards, metadata)
    return outputs


def _write_tables(
    folder: Path, trials: Trials, config: ExperimentConfig, progress: Progress
) -> dict[str, dict[str, Any]]:
    """`trials.npz`, medians and counts; describes them and the tables written before."""
    progress.stage("Writing tables")
    write_npz(folder / "trials.npz", trials.as_arrays().items())
    write_json(folder / "medians.json", click_medians(trials, config.percentile_thresh))
    counts = zip(trials.images.tolist(), clicks_per_image(trials).tolist(), strict=True)
    write_json(folder / "click_counts.json", dict(counts))
    names = ("trials.npz", "medians.json", "click_counts.json", "funnel.csv", "rejected.csv")
    return describe_files(folder, [folder / name for name in names])


def _manifest(
    config: ExperimentConfig,
    inputs: _Inputs,
    outputs: dict[str, dict[str, Any]],
    result: PrepareResult,
    started: float,
) -> Manifest:
    return Manifest(
        command="prepare",
        config=as_dict(config),
        config_hash=inputs.identity,
        inputs=inputs.described,
        outputs=dict(sorted(outputs.items())),
        counts={
            "rows": result.rows,
            "rejected": result.rejected,
            "images": result.images,
            "trials": result.trials,
            "clicks": result.clicks,
            "funnel": [asdict(row) for row in result.funnel],
        },
        times={"started": started, "ended": time.time(), "seconds": result.seconds},
        seed=config.seed,
        versions=versions(),
        git_commit=git_commit(),
    )


def _result(
    folder: Path,
    found: Survivors,
    started: float,
    outputs: dict[str, Any] | None = None,
    written: bool = True,
) -> PrepareResult:
    return PrepareResult(
        folder=folder,
        funnel=found.funnel,
        rows=found.rows,
        rejected=found.rejected,
        images=len(found.trials.images),
        trials=len(found.trials),
        clicks=len(found.trials.x),
        outputs=tuple(sorted(outputs or ())),
        seconds=round(time.time() - started, 3),
        written=written,
    )


def _from_manifest(folder: Path, manifest: Manifest) -> PrepareResult:
    """The result of a finished run, as its manifest tells it."""
    counts = manifest.counts
    return PrepareResult(
        folder=folder,
        funnel=tuple(FunnelRow(**row) for row in counts["funnel"]),
        rows=counts["rows"],
        rejected=counts["rejected"],
        images=counts["images"],
        trials=counts["trials"],
        clicks=counts["clicks"],
        outputs=tuple(manifest.outputs),
        seconds=manifest.times["seconds"],
        reused=True,
    )
