"""Make all maps of an experiment, or a part, shard by shard, so that memory is bounded."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clickmap_cli.clickmaps.blur_torch import blur_mean_map, blur_trial_maps
from clickmap_cli.clickmaps.keys import flat_name
from clickmap_cli.clickmaps.maps import (
    ImageClicks,
    Maps,
    bin_maps,
    image_clicks,
    mean_map,
    trial_maps,
)
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.runtime.errors import ConfigError, RunError
from clickmap_cli.runtime.parallel import Pool, ordered_map
from clickmap_cli.services.job import Run
from clickmap_cli.storage.folder import require_begun, require_here
from clickmap_cli.storage.manifest import describe_files
from clickmap_cli.storage.map_store import (
    Compression,
    StoredImage,
    compress_image,
    member,
    write_hdf5,
    write_index,
    write_npy_files,
    write_npz_file,
)

MAX_SHARD_IMAGES = 1000
MAX_SHARD_BYTES = 256 << 20
INDEX = "maps.h5"
_NPZ, _NPY = "maps.npz", "maps"


@dataclass(frozen=True)
class Part:
    """The share of the map shards that one of n processes makes: shards i, i + n, i + 2n, ...

    Attributes:
        number: i, from 1.
        of: n.
    """

    number: int
    of: int

    @classmethod
    def from_text(cls, text: str) -> Part:
        """Parse a part in the notation of `--shard`, such as `3/8`.

        Raises:
            ConfigError: the text is not i/n with i from 1 to n.
        """
        words = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if words is not None and 1 <= int(words[1]) <= int(words[2]):
            return cls(int(words[1]), int(words[2]))
        raise ConfigError(f"--shard is '{text}'; it must be i/n with i from 1 to n, such as 3/8.")

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, shard: int) -> bool:
        """Return True if a map shard, counted from 1, belongs to this part."""
        return (shard - 1) % self.of == self.number - 1


@dataclass(frozen=True)
class MapOutput:
    """The maps to write for each image, and their format.

    Attributes:
        settings: the blur and the geometry.
        save_maps: `mean`, `participants` or `both`.
        bins: number of cumulative mean maps, or None.
        time_based_bins: how the clicks are cut into bins.
        format: `hdf5`, `numpy` or `npz`.
        compression: compression of HDF5 data.
        device: torch device for blurring, or None for the exact path on the CPU.
        batch: trial maps blurred at once on the device.
    """

    settings: MapSettings
    save_maps: str
    bins: int | None
    time_based_bins: bool
    format: str
    compression: Compression
    device: str | None
    batch: int

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of an image's arrays, in the order they are written."""
        people = ("participants",) if self.save_maps == "both" else ()
        return "clickmap", *people, *(("bin_clickmaps",) if self.bins is not None else ())

    @classmethod
    def from_config(cls, config: ExperimentConfig, device: str | None) -> MapOutput:
        """Create the output settings from a configuration."""
        return cls(
            settings=MapSettings.from_config(config),
            save_maps=config.save_maps,
            bins=config.click_bins,
            time_based_bins=config.time_based_bins,
            format="hdf5" if config.output_format == "auto" else config.output_format,
            compression=Compression(config.hdf5_compression, config.hdf5_compression_level),
            device=device,
            batch=config.gpu_batch_size,
        )


@dataclass(frozen=True)
class ShardJob:
    """One shard to write: its trials, its output folder, and the number of threads it may use.

    `identity` is the hash that the folder must still have when the shard is finished; otherwise
    another run has taken over the folder.
    """

    folder: Path
    piece: str
    trials: Trials
    output: MapOutput
    metadata: Mapping[str, Any]
    threads: int
    identity: str


def require_all_maps(run: Run, trials: Trials, output: MapOutput) -> None:
    """Raise unless every map shard is finished and undamaged.

    Raises:
        RunError: shards are missing or damaged; the message lists them.
    """
    shards = plan_shards(trials, output)
    numbers = range(1, len(shards) + 1)
    missing = [n for n in numbers if _finished_files(run, trials, output, shards, n) is None]
    if missing:
        some = ", ".join(map(str, missing[:20])) + (", ..." if len(missing) > 20 else "")
        raise RunError(
            f"{run.path}: of {len(shards)} map shards {len(missing)} are missing or damaged "
            f"({some}; part i of n makes i, i + n, i + 2n, ...); run their --shard again, or "
            "--resume without --merge to make them here."
        )


def write_maps(
    run: Run,
    trials: Trials,
    output: MapOutput,
    *,
    part: Part | None,
    pool: Pool,
    metadata: Mapping[str, Any],
) -> None:
    """Write maps shard by shard, skipping finished and undamaged shards.

    Without `part`, all maps are written, and the file through which several HDF5 shards read as
    one.

    Args:
        run: receives the files.
        trials: a `compacted` table.
        output: the maps to write for each image.
        part: the part of the shards to write; None = all.
        pool: the workers that compute maps.
        metadata: attributes of the HDF5 files.
    """
    shards = plan_shards(trials, output)
    mine = [(n, *span) for n, span in enumerate(shards, 1) if part is None or part.has(n)]
    workers = 1 if output.device is not None else pool.workers()
    alone = not pool.remote and (len(mine) <= 1 or workers == 1)
    run.progress.stage("Blurring", sum(last - first for _, first, last in mine))
    pending: deque[tuple[int, int]] = deque()

    def jobs() -> Iterator[ShardJob]:
        for number, first, last in mine:
            done = _finished_files(run, trials, output, shards, number)
            if done is not None:
                run.outputs |= done
                run.progress.advance(last - first)
                continue
            images = trials.part(first, last)
            pending.append((number, last - first))
            yield ShardJob(
                folder=run.path,
                piece=shard_path(number, len(shards)),
                trials=replace(images, users=images.users[:0]),  # maps need only the users' codes
                output=output,
                metadata=metadata,
                threads=workers if alone else 1,
                identity=run.identity,
            )

    # an only shard is written in this process, whose threads then blur its images
    for files in pool.map(write_shard, jobs(), 0 if alone else math.inf):
        number, n_images = pending.popleft()
        if pool.remote:
            require_here(run.path, files)
        run.folder.record(_record(number), files)
        run.outputs |= files
        run.progress.advance(n_images)
    if part is None and output.format == "hdf5" and len(shards) > 1:
        names = [flat_name(key) for key in trials.images.tolist()]
        n = len(shards)
        links = {shard_path(i, n): names[slice(*span)] for i, span in enumerate(shards, 1)}
        write_index(run.path / INDEX, links, metadata)
        run.add([run.path / INDEX])


def _record(shard: int) -> str:
    """Return the name of a map shard's record in the journal."""
    return f"shard_{shard:05d}"


def _finished_files(
    run: Run, trials: Trials, output: MapOutput, shards: list[tuple[int, int]], number: int
) -> dict[str, dict[str, Any]] | None:
    """Return the files of a map shard, counted from 1, if it is finished and undamaged."""
    first, last = shards[number - 1]
    names = shard_files(shard_path(number, len(shards)), trials.images[first:last].tolist(), output)
    return run.folder.recorded(_record(number)) or run.folder.proved(names)


def plan_shards(trials: Trials, output: MapOutput) -> list[tuple[int, int]]:
    """Return the first and last (exclusive) image of each shard.

    Shards depend only on data and settings, not on the number of workers or parts.
    """
    if output.format == "npz":
        return [(0, len(trials.images))]
    n_trials = np.diff(trials.image_slices())
    shards, first, size = [], 0, 0
    for image, count in enumerate(n_trials.tolist()):
        height, width = output.settings.geometry(
            (int(trials.shape[image, 0]), int(trials.shape[image, 1]))
        ).final
        maps = {"mean": 1, "participants": count, "both": count + 1}[output.save_maps]
        size += 4 * height * width * (maps + (output.bins or 0))
        if size >= MAX_SHARD_BYTES or image - first + 1 >= MAX_SHARD_IMAGES:
            shards.append((first, image + 1))
            first, size = image + 1, 0
    if first < len(trials.images):
        shards.append((first, len(trials.images)))
    return shards


def shard_path(number: int, n_shards: int) -> str:
    """Return an HDF5 shard's path inside the folder; a single shard is the whole `maps.h5`."""
    return INDEX if n_shards == 1 else f"maps_shards/maps_{number:05d}.h5"


def shard_files(piece: str, images: Iterable[str], output: MapOutput) -> list[str]:
    """Return the paths of a shard's files inside the folder.

    Args:
        piece: its `shard_path`.
        images: keys of its images.
        output: the maps to write for each image.
    """
    if output.format == "hdf5":
        return [piece]
    if output.format == "npz":
        return [_NPZ]
    names = [flat_name(key) for key in images]
    return [f"{_NPY}/{member(kind, name, '.npy')}" for name in names for kind in output.kinds]


def write_shard(job: ShardJob) -> dict[str, dict[str, Any]]:
    """Compute and write one shard, in any process; return its files with size and SHA-256.

    Raises:
        RunError: another run has taken over the folder.
    """
    images = _stored_images(job)
    if job.output.format == "hdf5":
        files = [job.folder / job.piece]
        write_hdf5(files[0], images, job.metadata, job.output.compression)
    elif job.output.format == "npz":
        files = [job.folder / _NPZ]
        write_npz_file(files[0], images)
    else:
        files = write_npy_files(job.folder / _NPY, images)
    return describe_files(job.folder, files)


def _stored_images(job: ShardJob) -> Iterator[StoredImage]:
    trials, output = job.trials, job.output
    slices = trials.image_slices()

    def stored(image: int) -> StoredImage:
        key = str(trials.images[image])
        clicks = image_clicks(trials, slices, image)
        users = trials.user[slices[image] : slices[image + 1]]
        arrays: dict[str, Maps] = {}
        if output.save_maps == "participants":
            arrays["clickmap"] = _trial_maps(clicks, output)
        else:
            arrays["clickmap"] = _mean_map(clicks, output)[None]
        if output.save_maps == "both":
            arrays["participants"] = _trial_maps(clicks, output)
        if output.bins is not None:
            arrays["bin_clickmaps"] = bin_maps(
                clicks, output.settings, output.bins, output.time_based_bins
            )
        image_maps = StoredImage(key, flat_name(key), len(np.unique(users)), len(clicks.x), arrays)
        return (
            compress_image(image_maps, output.compression)
            if output.format == "hdf5"
            else image_maps
        )

    threads = 1 if output.device is not None else job.threads
    last = len(trials.images) - 1
    maps = ordered_map(stored, range(len(trials.images)), threads, "threading")
    for image, image_maps in enumerate(maps):
        if image == last or output.format == "numpy":
            require_begun(job.folder, job.identity)
        yield image_maps


def _mean_map(clicks: ImageClicks, output: MapOutput) -> Maps:
    if output.device is None:
        return mean_map(clicks, output.settings)
    return blur_mean_map(clicks, output.settings, output.device, output.batch)


def _trial_maps(clicks: ImageClicks, output: MapOutput) -> Maps:
    if output.device is None:
        return trial_maps(clicks, output.settings)
    return blur_trial_maps(clicks, output.settings, output.device, output.batch)
