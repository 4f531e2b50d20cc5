"""Turn raw trials into prepared clickmaps: read, filter, blur, write."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clickmap_cli.clickmaps.filters import FunnelRow, Quality
from clickmap_cli.clickmaps.losses import TooMuchLostError
from clickmap_cli.clickmaps.reading.raw_table import Reject
from clickmap_cli.clickmaps.survivors import (
    Survivors,
    input_files,
    mask_files,
    read_survivors,
    require_images,
)
from clickmap_cli.clickmaps.trials import TRIALS_FILE, Trials, click_medians, clicks_per_image
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.loading import as_dict, numbers_hash
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.parallel import Pool, open_pool
from clickmap_cli.runtime.progress import Checks, Progress, Silent
from clickmap_cli.services.job import Identity, Job, Outcome, Run, run_job
from clickmap_cli.services.participant_quality.judge import load_judge
from clickmap_cli.services.prepare.examples import Example, draw_examples
from clickmap_cli.services.prepare.maps import MapOutput, Part, require_all_maps, write_maps
from clickmap_cli.storage.atomic import replacing, write_csv, write_json
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import Manifest, describe_files
from clickmap_cli.storage.safe_arrays import write_npz

_PICTURE_KEYS = ("image_dir", "display_image_keys")
_LOOKED_FOR = 1000  # largest number of images whose files a dry run looks for


@dataclass(frozen=True)
class PrepareSummary:
    """The results of `prepare` in numbers.

    Attributes:
        funnel: counts of what is left after each filter.
        rows: rows in the file.
        rejected: rows that could not be read.
        images: prepared images.
        trials: trials of these images.
        clicks: clicks of these trials.
        part: the part of the maps that was made; None for the whole run.
    """

    funnel: tuple[FunnelRow, ...]
    rows: int
    rejected: int
    images: int
    trials: int
    clicks: int
    part: Part | None = None

    @classmethod
    def from_survivors(cls, found: Survivors, part: Part | None = None) -> PrepareSummary:
        """Count what passed the filters."""
        trials = found.trials
        sizes = (len(trials.images), len(trials), len(trials.x))
        return cls(found.funnel, found.rows, found.rejected, *sizes, part)

    @classmethod
    def from_counts(cls, counts: Mapping[str, Any]) -> PrepareSummary:
        """Read the counts of a manifest."""
        funnel = tuple(FunnelRow(**row) for row in counts["funnel"])
        return cls(funnel, **{name: counts[name] for name in _COUNTS})


_COUNTS = ("rows", "rejected", "images", "trials", "clicks")


def run(
    config: ExperimentConfig,
    progress: Progress,
    draw: Callable[[Example], None],
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
    part: Part | None = None,
    merge: bool = False,
) -> Outcome[PrepareSummary]:
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
    _check_call(config, when, part, merge)
    job = PrepareJob(config, draw, part, merge)
    job.check(progress)  # before a cluster is asked for workers
    return run_job(job, when, dry_run=dry_run, progress=progress)


@dataclass(frozen=True)
class _Inputs:
    """Inputs of `prepare`, except the trials themselves.

    Attributes:
        files: input files with size and SHA-256.
        hash: hash of all settings and inputs.
        quality: function that judges participants; None = no judge.
        device: torch device for blurring, or None.
        found: the trials, which only a dry run has read by then.
    """

    files: dict[str, dict[str, Any]]
    hash: str
    quality: Quality | None
    device: str | None
    found: Survivors | None


class PrepareJob(Job[_Inputs, PrepareSummary]):
    """Preparation of an experiment, or a shard of it; only `work` calls `draw`."""

    command = "prepare"
    owns = ("maps.h5", "maps_shards", "maps", "maps.npz", "examples")

    def __init__(
        self,
        config: ExperimentConfig,
        draw: Callable[[Example], None],
        part: Part | None,
        merge: bool,
    ) -> None:
        self.config: ExperimentConfig = config
        self.folder = config.folder
        self.draw = draw
        self.progress: Progress = Silent()
        self.part = part
        self.shard = None if part is None else (part.number, part.of)
        self.merge = merge
        self.pool: Pool | None = None

    @contextlib.contextmanager
    def resources(self, progress: Progress, *, dry_run: bool) -> Iterator[None]:
        """Keep the workers that compute maps."""
        config = self.config
        with open_pool(
            config.backend, config.n_jobs, config.scheduler, progress, connect=not dry_run
        ) as pool:
            self.pool = pool
            yield

    def check(self, progress: Progress) -> tuple[()]:
        """Raise ConfigError if maps would be blurred here and computed elsewhere."""
        if self.config.backend == "dask" and self.config.use_gpu_blurring:
            raise ConfigError(
                "use_gpu_blurring blurs on this machine's GPU, and backend: dask on other "
                "machines; leave one out."
            )
        return ()

    def load(self, progress: Progress, *, dry_run: bool) -> _Inputs:
        """Hash the inputs and load the judge of participants; a dry run also filters the trials."""
        config, self.progress = self.config, progress
        self.check(progress)
        files, identity = _inputs(config, progress)
        quality = load_judge(config, progress)
        with Checks(progress).part():
            device = _blur_device(config, progress)
        if not dry_run:
            return _Inputs(files, identity, quality, device, None)
        found = read_survivors(config, progress, quality=quality)
        require_images(found)
        _notify_pictures(config, found.trials.images.tolist(), progress)
        return _Inputs(files, identity, quality, None, found)

    def preview(self, inputs: _Inputs) -> PrepareSummary:
        """Count the trials that pass the filters."""
        assert inputs.found is not None  # noqa: S101 - a dry run reads them
        return PrepareSummary.from_survivors(inputs.found)

    def identity(self, inputs: _Inputs) -> Identity:
        """Return what the maps depend on."""
        return Identity(inputs.hash, inputs.files)

    def stored(self, inputs: _Inputs, manifest: Manifest) -> PrepareSummary:
        """Return the counts of a finished run, and a notice if its pictures differ."""
        if self.part is None:
            _notify_other_pictures(self.config, manifest, self.progress)
        return PrepareSummary.from_counts(manifest.counts)

    def work(self, inputs: _Inputs, run: Run) -> PrepareSummary:
        """Make everything from trials to tables; with `merge`, all maps must exist already."""
        config, progress, folder = self.config, run.progress, run.path
        if self.part is None:
            found = _survivors(config, inputs.quality, folder, progress)
            _write_funnel(folder, found.funnel)
        else:
            found = read_survivors(config, progress, quality=inputs.quality)
        require_images(found)
        assert self.pool is not None  # noqa: S101 - `resources` surrounds the run
        output = MapOutput.from_config(config, inputs.device)
        if self.merge:
            require_all_maps(run, found.trials, output)
        metadata = {
            "total_unique_images": len(found.trials.images),
            "total_maps": len(found.trials),
            "filter_duplicates": bool(config.filter_duplicates),
            "kernel_type": config.kernel_type,
        }
        write_maps(run, found.trials, output, part=self.part, pool=self.pool, metadata=metadata)
        if self.part is None:
            run.add(_write_tables(folder, found.trials, config, progress))
            run.add(draw_examples(folder, found.trials, config, self.draw, progress))
        summary = PrepareSummary.from_survivors(found, self.part)
        run.counts = {name: getattr(summary, name) for name in _COUNTS}
        run.counts["funnel"] = [asdict(row) for row in summary.funnel]
        return summary


def _check_call(
    config: ExperimentConfig, when: WhenPresent, part: Part | None, merge: bool
) -> None:
    if part is not None and merge:
        raise ConfigError("--shard makes a part and --merge joins all; call one after the other.")
    if merge and when is WhenPresent.OVERWRITE:
        raise ConfigError("--merge joins what is there; --overwrite belongs to --shard.")
    if part is not None and config.backend == "dask":
        raise ConfigError("--shard is for job arrays, which need no cluster; leave out --backend.")


def _notify_other_pictures(config: ExperimentConfig, done: Manifest, progress: Progress) -> None:
    """Give a notice if a finished run has different settings for its example pictures.

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


def _notify_pictures(config: ExperimentConfig, keys: Sequence[str], progress: Progress) -> None:
    """Give a notice if `image_dir` lacks images; only example pictures need them."""
    if config.image_dir is None:
        return
    folder, looked = Path(config.image_dir), keys[:_LOOKED_FOR]
    absent = [key for key in looked if not (folder / key).is_file()]
    if absent:
        progress.notice(
            f"image_dir: {len(absent):,} of {len(looked):,} images that were looked for are not in "
            f"{folder}, '{absent[0]}' for one; only pictures need them."
        )


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


def _inputs(config: ExperimentConfig, progress: Progress) -> tuple[dict[str, dict[str, Any]], str]:
    """Return the input files with size and SHA-256, and the hash of all settings and inputs."""
    if config.clickme_data is not None and Path(config.clickme_data).is_dir():
        raise DataError(
            f"clickme_data: {config.clickme_data} is a folder; prepare wants the file of raw "
            "trials in it."
        )
    files = input_files(config, progress)
    progress.stage("Hashing inputs")
    described = describe_files(None, files)
    # masks are found by their names; blurring on a GPU changes the last bits
    content = [str(entry["sha256"]) for entry in described.values()]
    if config.mask_dir is not None:
        folder = Path(config.mask_dir)
        content += [path.relative_to(folder).as_posix() for path in mask_files(folder)]
    content.append(f"gpu {config.use_gpu_blurring}")
    return described, numbers_hash(config, ["maps", "output"], *content)


def _survivors(
    config: ExperimentConfig, quality: Quality | None, folder: Path, progress: Progress
) -> Survivors:
    """Read and filter the trials, and write `rejected.csv`.

    Raises:
        DataError: the input cannot be used. If too much of it is lost, `rejected.csv` is kept.
    """
    with _rejections(folder) as reject:
        try:
            return read_survivors(config, progress, quality=quality, reject=reject)
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
) -> list[Path]:
    """Write `trials.npz`, medians and counts; return the paths of all tables."""
    progress.stage("Writing tables")
    write_npz(folder / TRIALS_FILE, trials.to_arrays().items())
    write_json(folder / "medians.json", click_medians(trials, config.percentile_thresh))
    counts = zip(trials.images.tolist(), clicks_per_image(trials).tolist(), strict=True)
    write_json(folder / "click_counts.json", dict(counts))
    names = (TRIALS_FILE, "medians.json", "click_counts.json", "funnel.csv", "rejected.csv")
    return [folder / name for name in names]
