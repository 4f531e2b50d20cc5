"""Make all maps of an experiment, or one part of them, with the available workers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.runtime.errors import ConfigError, RunError
from clickmap_cli.runtime.parallel import Pool
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.prepare.map_shards import (
    MapOutput,
    ShardDone,
    ShardJob,
    plan_shards,
    shard_files,
    shard_path,
    write_shard,
    write_shard_index,
)
from clickmap_cli.storage.folder import RunFolder, require_here


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
    def of_text(cls, text: str) -> Part:
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
class MapsWork:
    """Everything except the trials that is needed to make maps.

    Attributes:
        config: the checked configuration.
        output: the maps to write for each image.
        folder: the output folder.
        identity: hash of all settings and inputs that the maps depend on.
        pool: the workers that compute maps.
        progress: receives progress and notices.
    """

    config: ExperimentConfig
    output: MapOutput
    folder: RunFolder
    identity: str
    pool: Pool
    progress: Progress


def _metadata(config: ExperimentConfig, trials: Trials) -> dict[str, Any]:
    return {
        "total_unique_images": len(trials.images),
        "total_maps": len(trials),
        "filter_duplicates": bool(config.filter_duplicates),
        "kernel_type": config.kernel_type,
    }


def _record(shard: int) -> str:
    """Return the name of a map shard's record in the journal."""
    return f"shard_{shard:05d}"


def _done(
    work: MapsWork, trials: Trials, shards: list[tuple[int, int]], number: int
) -> dict[str, dict[str, Any]] | None:
    """Return the files of a map shard, counted from 1, if it is finished and undamaged."""
    done = work.folder.recorded(_record(number))
    if done is not None:
        return done
    first, last = shards[number - 1]
    piece = shard_path(number, len(shards))
    return work.folder.proved(shard_files(piece, trials.images[first:last].tolist(), work.output))


def require_all(work: MapsWork, trials: Trials) -> None:
    """Raise unless every map shard is finished and undamaged.

    Raises:
        RunError: shards are missing or damaged; the message lists them.
    """
    run_folder, shards = work.folder, plan_shards(trials, work.output)
    numbers = range(1, len(shards) + 1)
    missing = [n for n in numbers if _done(work, trials, shards, n) is None]
    if missing:
        some = ", ".join(map(str, missing[:20])) + (", ..." if len(missing) > 20 else "")
        raise RunError(
            f"{run_folder.path}: of {len(shards)} map shards {len(missing)} are missing or damaged "
            f"({some}; part i of n makes i, i + n, i + 2n, ...); run their --shard again, or "
            "--resume without --merge to make them here."
        )


def write_maps(work: MapsWork, trials: Trials, part: Part) -> dict[str, dict[str, Any]]:
    """Write a part's maps shard by shard, skipping finished and undamaged shards.

    Returns:
        The files of all shards of the part with size and SHA-256.
    """
    folder, pool, output = work.folder, work.pool, work.output
    shards = plan_shards(trials, output)
    metadata = _metadata(work.config, trials)
    mine = [(n, *span) for n, span in enumerate(shards, 1) if part.has(n)]
    workers = 1 if output.device is not None else pool.workers()
    alone = not pool.remote and (len(mine) <= 1 or workers == 1)
    outputs: dict[str, dict[str, Any]] = {}
    work.progress.stage("Blurring", sum(last - first for _, first, last in mine))

    def jobs() -> Iterator[ShardJob]:
        for number, first, last in mine:
            done = _done(work, trials, shards, number)
            if done is not None:
                outputs.update(done)
                work.progress.advance(last - first)
                continue
            images = trials.part(first, last)
            yield ShardJob(
                folder=folder.path,
                piece=shard_path(number, len(shards)),
                trials=replace(images, users=images.users[:0]),  # maps need only the users' codes
                output=output,
                metadata=metadata,
                threads=workers if alone else 1,
                identity=work.identity,
            )

    names = {shard_path(n, len(shards)): _record(n) for n, _, _ in mine}
    # an only shard is written in this process, whose threads then blur its images
    finished: Iterator[ShardDone] = pool.map(write_shard, jobs(), 0 if alone else math.inf)
    for shard in finished:
        if pool.remote:
            require_here(folder.path, shard.files)
        folder.record(names[shard.piece], shard.files)
        outputs.update(shard.files)
        work.progress.advance(shard.n_images)
    return outputs


def write_maps_index(work: MapsWork, trials: Trials) -> dict[str, dict[str, Any]]:
    """Write the file through which several HDF5 shards read as one, if there are several."""
    shards = plan_shards(trials, work.output)
    if work.output.format != "hdf5" or len(shards) == 1:
        return {}
    metadata = _metadata(work.config, trials)
    return write_shard_index(work.folder.path, trials, shards, metadata)
