"""Write any number of simulated trials as files for tests, with a config that uses them."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.simulation.people import LargeStudy, TrialBlock
from clickmap_cli.runtime.errors import ConfigError, did_you_mean
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.data.tools import Made, writing
from clickmap_cli.storage.atomic import replacing, write_bytes, write_csv

FORMATS = ("csv", "csv.gz", "parquet", "npz")
CONFIG = "simulate.yaml"

NPZ_TRIALS = 500_000
"""Most trials in an .npz: its layout is one pickle in memory, while other formats stream."""

_TRIALS_AN_IMAGE = 100
_FEWEST_USERS = 40
_TRIALS_A_USER = 18  # as in the fixed simulation: 720 trials, 40 users
_MIN_SUBJECTS = 10
_GZIP_LEVEL = 1

_YAML = """\
# Simulated trials; truth.csv says who was careful. Run: clickmap prepare -c {config}
experiment_name: simulated
clickme_data: {trials}
image_dir: {images}
assets: {assets}
image_shape: [{side}, {side}]
kernel_type: circle
min_subjects: {min_subjects}
display_image_keys: {shown}
"""


@dataclass(frozen=True)
class SimulateJob:
    """The settings of a simulation.

    Attributes:
        folder: the output folder.
        trials: rows of the table.
        images: number of images, whose trial counts differ by at most one; None = 100 trials each.
        users: number of people; None = 18 trials each, as in the fixed simulation, at least 40.
        seed: seed of every draw.
        format: one of `FORMATS`.
        pictures: also write the images.
        side: height and width of an image, in pixels.
    """

    folder: Path
    trials: int
    images: int | None = None
    users: int | None = None
    seed: int = 0
    format: str = "csv"
    pictures: bool = False
    side: int = 256

    @property
    def n_images(self) -> int:
        """Number of images, as given or by default."""
        return self.images if self.images is not None else max(1, self.trials // _TRIALS_AN_IMAGE)

    @property
    def most_per_image(self) -> int:
        """Largest number of trials of an image."""
        return -(-self.trials // self.n_images)

    @property
    def n_users(self) -> int:
        """Number of people, as given or by default."""
        if self.users is not None:
            return self.users
        return max(_FEWEST_USERS, self.most_per_image, self.trials // _TRIALS_A_USER)

    @property
    def path(self) -> Path:
        """Path of the table of trials."""
        return self.folder / f"trials.{self.format}"


def run(job: SimulateJob, progress: Progress, overwrite: bool = False) -> Made:
    """Write trials, each user's true role, and a config for `prepare`; also images if requested.

    Rows depend only on seed, images and users: with these fixed, a smaller table equals the first
    rows of a larger one.

    Args:
        job: the settings of the simulation.
        progress: advances with each block of trials.
        overwrite: replace existing files.

    Raises:
        ConfigError: the numbers contradict one another, the format is unknown, or files exist.
        RunError: the disk is full, or the folder cannot be written.
    """
    _check(job)
    with writing(lambda: (job.folder / CONFIG, job.path), overwrite):
        return _write(job, progress)


def _write(job: SimulateJob, progress: Progress) -> Made:
    """Write the study's files, the config last."""
    study = LargeStudy(job.seed, job.n_images, job.n_users, job.side)
    if job.pictures:
        _write_pictures(study, job.folder / "images", progress)
    write_csv(
        job.folder / "truth.csv",
        ("user_id", "role"),
        zip(study.user_names, study.roles.tolist(), strict=True),
    )
    progress.stage("Simulating", job.trials)
    clicks = 0

    def told() -> Iterator[TrialBlock]:
        nonlocal clicks
        for block in study.blocks(job.trials):
            yield block
            clicks += len(block.pixel)
            progress.advance(len(block))

    with replacing(job.path) as partial:
        _WRITERS[job.format](partial, study, told())
    write_bytes(job.folder / CONFIG, _config(job).encode())
    counts = {"trials": job.trials, "images": job.n_images, "users": job.n_users, "clicks": clicks}
    return Made(job.folder, {**counts, "bytes": job.path.stat().st_size})


def _check(job: SimulateJob) -> None:
    if job.format not in FORMATS:
        raise ConfigError(f"--format is {job.format!r}. {did_you_mean(job.format, FORMATS)}")
    if not 1 <= job.n_images <= job.trials:
        raise ConfigError(
            f"--images is {job.n_images} and --trials {job.trials}; every image needs a trial."
        )
    if job.n_users < job.most_per_image:
        raise ConfigError(
            f"--users is {job.n_users}, but an image has up to {job.most_per_image} trials, each "
            f"by another user; use at least {job.most_per_image}."
        )
    if job.format == "npz" and job.trials > NPZ_TRIALS:
        raise ConfigError(
            f"--format npz holds at most {NPZ_TRIALS:,} trials (it is written and read whole), and "
            f"--trials is {job.trials:,}; use csv, csv.gz or parquet."
        )


def _config(job: SimulateJob) -> str:
    def quoted(path: Path) -> str:
        return json.dumps(path.as_posix())  # a JSON string is valid YAML for any path

    return _YAML.format(
        config=quoted(job.folder / CONFIG),
        trials=quoted(job.path),
        images=quoted(job.folder / "images") if job.pictures else "null",
        assets=quoted(job.folder / "assets"),
        side=job.side,
        min_subjects=min(_MIN_SUBJECTS, job.trials // job.n_images),
        shown="auto" if job.pictures else "null",
    )


def _write_pictures(study: LargeStudy, folder: Path, progress: Progress) -> None:
    """Write every image as PNG; a scene that several images share is compressed once."""
    from PIL import Image

    progress.stage("Drawing images", study.n_images)
    n_scenes = study.simulation.n_images
    for number, scene in enumerate(study.scenes()):
        picture = io.BytesIO()
        Image.fromarray(scene.pixels).save(picture, format="PNG")
        for key in study.image_keys[number::n_scenes]:
            write_bytes(folder / key, picture.getvalue())
            progress.advance()


def _write_csv(path: Path, study: LargeStudy, blocks: Iterable[TrialBlock]) -> None:
    with path.open("wb") as out:
        _write_rows(out, study, blocks)


def _write_gzip(path: Path, study: LargeStudy, blocks: Iterable[TrialBlock]) -> None:
    # no name and no time in the header, so that the bytes depend only on the rows
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as out,
    ):
        _write_rows(cast("IO[bytes]", out), study, blocks)


def _write_rows(out: IO[bytes], study: LargeStudy, blocks: Iterable[TrialBlock]) -> None:
    """Write rows in the notation of the field's files: `image,"{""(x,y),(x,y)""}",user`."""
    side = study.side
    words = np.array([f"({at % side},{at // side})" for at in range(side**2)], dtype=object)
    keys, names = study.image_keys, study.user_names
    out.write(b"image_path,clicks,user_id\n")
    for block in blocks:
        clicks = words[block.pixel].tolist()
        offsets = block.offsets.tolist()
        rows = [
            f'{keys[image]},"{{""{",".join(clicks[first:last])}""}}",{names[user]}\n'
            for image, user, first, last in zip(
                block.image.tolist(), block.user.tolist(), offsets[:-1], offsets[1:], strict=True
            )
        ]
        out.write("".join(rows).encode())


def _write_parquet(path: Path, study: LargeStudy, blocks: Iterable[TrialBlock]) -> None:
    """Write columns `image_path`, `clickmap_x`, `clickmap_y` (lists), `user_id`.

    Each block is a row group.
    """
    import pyarrow
    import pyarrow.parquet

    numbers = pyarrow.list_(pyarrow.int16())
    text = pyarrow.string()
    schema = pyarrow.schema(
        {"image_path": text, "clickmap_x": numbers, "clickmap_y": numbers, "user_id": text}
    )
    keys, names = study.image_keys, study.user_names
    with pyarrow.parquet.ParquetWriter(path, schema) as out:
        for block in blocks:
            offsets = pyarrow.array(block.offsets.astype(np.int32))
            rows, columns = _places(block, study.side)
            lists = [pyarrow.ListArray.from_arrays(offsets, values) for values in (columns, rows)]
            images = pyarrow.array([keys[code] for code in block.image.tolist()], text)
            users = pyarrow.array([names[code] for code in block.user.tolist()], text)
            out.write_table(pyarrow.Table.from_arrays([images, *lists, users], schema=schema))


def _write_npz(path: Path, study: LargeStudy, blocks: Iterable[TrialBlock]) -> None:
    """Write the field's layout: `file_pointer`, `user_id`, an array of arrays for x and for y."""
    kept = list(blocks)
    n = sum(map(len, kept))
    xs, ys = np.empty(n, dtype=object), np.empty(n, dtype=object)
    at = 0
    for block in kept:
        rows, columns = _places(block, study.side)
        for first, last in zip(
            block.offsets[:-1].tolist(), block.offsets[1:].tolist(), strict=True
        ):
            xs[at], ys[at] = columns[first:last].copy(), rows[first:last].copy()
            at += 1
    keys, names = np.array(study.image_keys), np.array(study.user_names)
    with path.open("wb") as out:
        np.savez_compressed(
            out,
            file_pointer=keys[np.concatenate([block.image for block in kept])],
            clickmap_x=xs,
            clickmap_y=ys,
            user_id=names[np.concatenate([block.user for block in kept])],
        )


def _places(block: TrialBlock, side: int) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return the rows and columns of a block's clicks, each (clicks)."""
    rows, columns = np.divmod(block.pixel, side)
    return rows.astype(np.int16), columns.astype(np.int16)


_WRITERS = {
    "csv": _write_csv, "csv.gz": _write_gzip, "parquet": _write_parquet, "npz": _write_npz,
}  # fmt: skip
