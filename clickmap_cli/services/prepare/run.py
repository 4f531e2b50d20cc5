"""Turn raw trials into prepared clickmaps: read, filter, blur, write."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from clickmap_cli.clickmaps.filters import FunnelRow, Quality
from clickmap_cli.clickmaps.losses import TooMuchLostError
from clickmap_cli.clickmaps.reading.raw_table import Reject
from clickmap_cli.clickmaps.survivors import (
    Survivors,
    input_files,
    mask_files,
    no_reject,
    require_images,
    surviving_trials,
)
from clickmap_cli.clickmaps.trials import TRIALS_FILE, Trials, click_medians, clicks_per_image
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.loading import as_dict, numbers_hash
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.parallel import Pool, open_pool
from clickmap_cli.runtime.progress import Progress, Stopwatch
from clickmap_cli.services.participant_quality.judge import quality_of
from clickmap_cli.services.prepare.examples import Example, draw_examples
from clickmap_cli.services.prepare.map_shards import MapOutput
from clickmap_cli.services.prepare.maps import (
    MapsWork,
    Part,
    require_all,
    write_maps,
    write_maps_index,
)
from clickmap_cli.storage.atomic import replacing, write_csv, write_json
from clickmap_cli.storage.folder import RunFolder, WhenPresent
from clickmap_cli.storage.manifest import Manifest, describe_files
from clickmap_cli.storage.safe_arrays import write_npz

_OUTPUTS = ("maps.h5", "maps_shards", "maps", "maps.npz", "examples")
"""Outputs that only `prepare` writes, and only with some settings."""

_PICTURE_KEYS = ("image_dir", "display_image_keys")


@dataclass(frozen=True)
class PrepareResult:
    """The outcome of a run of `prepare`.

    Attributes:
        folder: the experiment's folder.
        funnel: counts of what is left after each filter.
        rows: rows in the file.
        rejected: rows that could not be read.
        images: prepared images.
        trials: trials of these images.
        clicks: clicks of these trials.
        outputs: written files, by their path inside the folder.
        seconds: how long the run took.
        reused: True if a finished run was found and nothing was done.
        written: False for a dry run, which writes nothing.
        part: the part of the maps that was made; None for the whole run.
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
    part: Part | None = None


@dataclass(frozen=True)
class _Inputs:
    """Input files with size and SHA-256, and the hash of all settings and inputs."""

    described: dict[str, dict[str, Any]]
    identity: str


@dataclass(frozen=True)
class _Work:
    """The state that all steps of one run share.

    Attributes:
        config: the checked configuration.
        folder: the output folder.
        inputs: the input files.
        quality: function that judges participants, loaded before any other step; None = no judge.
        device: torch device for blurring, or None.
        pool: the workers that compute maps.
        progress: receives progress and notices.
    """

    config: ExperimentConfig
    folder: RunFolder
    inputs: _Inputs
    quality: Quality | None
    device: str | None
    pool: Pool
    progress: Progress

    def survivors(self, reject: Reject) -> Survivors:
        """Return the trials that pass every filter."""
        return surviving_trials(self.config, reject, self.progress, self.quality)

    def maps(self) -> MapsWork:
        """Return everything except the trials that is needed to make maps."""
        output = MapOutput.of(self.config, self.device)
        identity = self.inputs.identity
        return MapsWork(self.config, output, self.folder, identity, self.pool, self.progress)


def run(
    config: ExperimentConfig,
    progress: Progress,
    draw: Callable[[Example], None],
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
    part: Part | None = None,
    merge: bool = False,
) -> PrepareResult:
    """Prepare an experiment.

    Args:
        config: the checked configuration.
        progress: receives progress and notices.
        draw: draws one example picture into its path.
        when: what to do with existing outputs.
        dry_run: read and filter only; write nothing.
        part: make only this part of the maps; other processes make the other parts.
        merge: make no maps; finish a run whose parts all exist.

    Raises:
        ConfigError: the call contradicts itself or the existing outputs.
        DataError: the input cannot be used, or no image is left.
        RunError: another run has locked the folder, or it cannot be written; parts are missing;
            the cluster is gone.
    """
    started = Stopwatch()
    _check_call(config, when, part, merge)
    with open_pool(
        config.backend, config.n_jobs, config.scheduler, progress, connect=not dry_run
    ) as pool:
        folder = RunFolder(config.folder, "prepare", _OUTPUTS)
        if not dry_run and part is None:
            folder.refuse_if_there(WhenPresent.RESUME if merge else when)
        inputs = _inputs(config, progress)
        quality = quality_of(config, progress)
        device = None if dry_run else _blur_device(config, progress)
        work = _Work(config, folder, inputs, quality, device, pool, progress)
        if dry_run:
            found = work.survivors(no_reject)
            require_images(found)
            return _result(folder.path, found, started, written=False)
        if part is not None:
            return _make_part(work, part, when, started)
        if merge:
            folder.require_shards(inputs.identity)
        return _make_whole(work, draw, WhenPresent.RESUME if merge else when, merge, started)


def _check_call(
    config: ExperimentConfig, when: WhenPresent, part: Part | None, merge: bool
) -> None:
    if part is not None and merge:
        raise ConfigError("--shard makes a part and --merge joins all; call one after the other.")
    if merge and when is WhenPresent.OVERWRITE:
        raise ConfigError("--merge joins what is there; --overwrite belongs to --shard.")
    if part is not None and config.backend == "dask":
        raise ConfigError("--shard is for job arrays, which need no cluster; leave out --backend.")
    if config.backend == "dask" and config.use_gpu_blurring:
        raise ConfigError(
            "use_gpu_blurring blurs on this machine's GPU, and backend: dask on other machines; "
            "leave one out."
        )


def _make_whole(
    work: _Work, draw: Callable[[Example], None], when: WhenPresent, merge: bool, started: Stopwatch
) -> PrepareResult:
    """Make everything from trials to manifest; with `merge`, all maps must exist already."""
    config, run_folder, folder = work.config, work.folder, work.folder.path
    with run_folder.held():
        done = run_folder.finished(work.inputs.identity, when)
        if done is not None:
            _say_other_pictures(config, done, work.progress)
            return _from_manifest(folder, done)
        try:
            found = _survivors(work, folder)
            _write_funnel(folder, found.funnel)
            require_images(found)
        except DataError:
            if not merge:
                run_folder.abandon()
            raise
        if merge:
            require_all(work.maps(), found.trials)
        outputs = write_maps(work.maps(), found.trials, Part(1, 1))
        outputs |= write_maps_index(work.maps(), found.trials)
        outputs |= _write_tables(folder, found.trials, config, work.progress)
        outputs |= draw_examples(folder, found.trials, config, draw, work.progress)
        result = _result(folder, found, started, outputs=outputs)
        kept = work.progress.kept
        run_folder.finish(_manifest(config, work.inputs, outputs, result, started, kept))
    return result


def _say_other_pictures(config: ExperimentConfig, done: Manifest, progress: Progress) -> None:
    """Say so if a finished run has different settings for its example pictures.

    Pictures are not results, so these settings alone do not cause a new run.
    """
    now = as_dict(config)
    other = [name for name in _PICTURE_KEYS if done.config.get(name) != now[name]]
    if other:
        progress.notice(
            f"The example pictures were drawn with another {' and '.join(other)}; `clickmap "
            "visualize` draws them again, --overwrite makes everything again.",
            keep=False,
        )


def _make_part(work: _Work, part: Part, when: WhenPresent, started: Stopwatch) -> PrepareResult:
    """Make one part of the maps, and record it for the later `--merge`."""
    shard = (part.number, part.of)
    with work.folder.shard_held(shard, work.inputs.identity, when) as done:
        if done is not None:
            return _from_manifest(work.folder.path, done)
        try:
            found = work.survivors(no_reject)
            require_images(found)
        except DataError:
            work.folder.abandon_shard()
            raise
        outputs = write_maps(work.maps(), found.trials, part)
    return replace(_result(work.folder.path, found, started, outputs=outputs), part=part)


def _blur_device(config: ExperimentConfig, progress: Progress) -> str | None:
    """Return the torch device for blurring, or None for the exact path on the CPU."""
    if not config.use_gpu_blurring:
        if config.device not in ("auto", "cpu"):
            progress.notice(f"device: {config.device} is not used; use_gpu_blurring: true is.")
        return None
    device = choose_device(config.device)
    if device == "cpu":
        progress.notice(
            "use_gpu_blurring: no GPU is used; blurring on the CPU gives the same maps."
        )
        return None
    return device


def _inputs(config: ExperimentConfig, progress: Progress) -> _Inputs:
    if config.clickme_data is not None and Path(config.clickme_data).is_dir():
        raise DataError(
            f"clickme_data: {config.clickme_data} is a folder; prepare wants the file of raw "
            "trials in it."
        )
    files = input_files(config)
    progress.stage("Hashing inputs")
    described = describe_files(None, files)
    # masks are found by their names; blurring on a GPU changes the last bits
    content = [str(entry["sha256"]) for entry in described.values()]
    if config.mask_dir is not None:
        content += [path.as_posix() for path in mask_files(Path(config.mask_dir), relative=True)]
    content.append(f"gpu {config.use_gpu_blurring}")
    return _Inputs(described, numbers_hash(config, ["maps", "output"], *content))


def _survivors(work: _Work, folder: Path) -> Survivors:
    """Read and filter the trials, and write `rejected.csv`.

    Raises:
        DataError: the input cannot be used. If too much of it is lost, `rejected.csv` is kept.
    """
    with _rejections(folder) as reject:
        try:
            return work.survivors(reject)
        except TooMuchLostError as error:
            lost = error
    raise lost


@contextlib.contextmanager
def _rejections(folder: Path) -> Iterator[Reject]:
    """Open `rejected.csv` and yield a function that writes one row.

    Rows are not collected, because bad rows may need more memory than there is.
    """
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


def _write_tables(
    folder: Path, trials: Trials, config: ExperimentConfig, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Write `trials.npz`, medians and counts; return all tables with size and SHA-256."""
    progress.stage("Writing tables")
    write_npz(folder / TRIALS_FILE, trials.as_arrays().items())
    write_json(folder / "medians.json", click_medians(trials, config.percentile_thresh))
    counts = zip(trials.images.tolist(), clicks_per_image(trials).tolist(), strict=True)
    write_json(folder / "click_counts.json", dict(counts))
    names = (TRIALS_FILE, "medians.json", "click_counts.json", "funnel.csv", "rejected.csv")
    return describe_files(folder, [folder / name for name in names])


def _manifest(
    config: ExperimentConfig,
    inputs: _Inputs,
    outputs: dict[str, dict[str, Any]],
    result: PrepareResult,
    started: Stopwatch,
    notices: Sequence[str],
) -> Manifest:
    return Manifest.made(
        command="prepare",
        config=as_dict(config),
        config_hash=inputs.identity,
        inputs=inputs.described,
        outputs=outputs,
        counts={
            "rows": result.rows,
            "rejected": result.rejected,
            "images": result.images,
            "trials": result.trials,
            "clicks": result.clicks,
            "funnel": [asdict(row) for row in result.funnel],
        },
        started=started,
        seed=config.seed,
        notices=notices,
    )


def _result(
    folder: Path,
    found: Survivors,
    started: Stopwatch,
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
        seconds=started.seconds,
        written=written,
    )


def _from_manifest(folder: Path, manifest: Manifest) -> PrepareResult:
    """Return the result of a finished run from its manifest."""
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
