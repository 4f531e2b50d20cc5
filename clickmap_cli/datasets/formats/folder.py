"""User-defined data sets: folders with a file for each image, or for each participant of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clickmap_cli.clickmaps.losses import Loss
from clickmap_cli.datasets.base import SIGMA_PX, DataSet
from clickmap_cli.datasets.formats.participant_files import (
    Assembler,
    ImageFiles,
    Pattern,
    SortedFiles,
    require_no_participants,
    sort_files,
    stray_reason,
    suggest_pattern,
)
from clickmap_cli.datasets.gathering import (
    Gathering,
    as_folder,
    checked_sigma,
    files_by_stem,
    read_split,
)
from clickmap_cli.datasets.maps import IMAGE_SUFFIXES, MAP_SUFFIXES
from clickmap_cli.runtime.errors import DataError, printable


def folder(
    root: str | Path,
    sigma_px: float = SIGMA_PX,
    split: str | None = None,
    participants: str | None = None,
) -> DataSet:
    """Read a folder with `images/`, `gt_maps/`, `fixations/` and `nonfix/`, one file per image.

    Fixations and non-fixations are `.npy` counts per pixel; each of the folders may be missing. The
    stem of a file is the image's id. With `participants`, `gt_maps/` and `fixations/` may hold a
    file for each participant of an image. The truth is then the mean of the participants' maps,
    each scaled to sum 1, unless the image itself has a map.

    Args:
        root: the folder.
        sigma_px: blur of fixations, in pixels, for images without a map.
        split: name of a list of ids, `<root>/<split>.txt`, or the path of a list; None, or a name
            that is only a label, for all images.
        participants: pattern of the names of participants' files, without their ending, such as
            `{participant}_{image}`; None if every file is named like its image.

    Raises:
        ConfigError: a setting is invalid.
        DataError: the folder is missing or holds no image, two images have the same id, or files
            are named like participants' files but `participants` is not set.
    """
    base, sigma = as_folder(root, "root"), checked_sigma(sigma_px)
    pattern = None if participants is None else Pattern.from_setting(participants)
    sought = f"{base / 'gt_maps'}/<id>.npy or image, and {base / 'fixations'}/<id>.npy"
    gathering = Gathering(str(base), read_split(base, split), sought)
    images = files_by_stem(base / "images", IMAGE_SUFFIXES)
    found = _Folder(base, gathering, images, pattern)
    maps = found.sort("gt_maps", MAP_SUFFIXES)
    fixations = found.sort("fixations", (".npy",))
    negatives = found.sort("nonfix", (".npy",))
    found.require_match((maps, fixations))
    assembler = Assembler(sigma)
    known = {*images, *maps.own, *maps.people, *fixations.own, *fixations.people}
    for stem in sorted(known):
        if gathering.wanted(stem):
            with gathering.image(stem, stem):
                files = ImageFiles(
                    images.get(stem), maps.own.get(stem), fixations.own.get(stem),
                    negatives.own.get(stem), maps.people.get(stem, ()),
                    fixations.people.get(stem, ()),
                )  # fmt: skip
                gathering.add(assembler.stimulus(stem, files))
    gathering.notices += assembler.notices()
    return gathering.finished()


@dataclass(frozen=True)
class _Folder:
    """A data set's folder, with its images and the pattern that assigns files to them.

    Attributes:
        base: the folder.
        gathering: receives problems and notices about files that belong to no image.
        images: stem -> picture.
        pattern: pattern of the names of participants' files, or None.
    """

    base: Path
    gathering: Gathering
    images: Mapping[str, Path]
    pattern: Pattern | None

    def sort(self, name: str, suffixes: tuple[str, ...]) -> SortedFiles:
        """Assign the files of one sub-folder to images.

        Raises:
            DataError: files are named like participants' files, but the pattern is None.
        """
        place, gathering = self.base / name, self.gathering
        known = self.images.keys() or None
        pattern = None if name == "nonfix" else self.pattern
        files = sort_files(files_by_stem(place, suffixes), known, pattern)
        if name != "nonfix" and pattern is None and known is not None:
            wanted = {stem for stem in self.images if gathering.wanted(stem)}
            require_no_participants(place, files.strays, wanted)
        strays = {stem: path for stem, path in files.strays.items() if gathering.wanted(stem)}
        if strays:
            gathering.problem(next(iter(strays)), stray_reason(place, files, strays))
            n_files = files.n_files
            gathering.losses.append(Loss(len(strays), n_files, f"files of {place} match no image"))
        if files.unclear:
            stem, reading = next(iter(files.unclear.items()))
            gathering.notices.append(
                f"{place}: {len(files.unclear)} names fit participants in more than one way, "
                f"'{printable(stem)}' for one, which was read as participant "
                f"'{printable(reading.participant)}' and image '{printable(reading.image)}'."
            )
        return files

    def require_match(self, sorted_files: tuple[SortedFiles, ...]) -> None:
        """Raise DataError if no file at all is named by the pattern."""
        if self.pattern is None or any(files.people for files in sorted_files):
            return
        names = [stem for files in sorted_files for stem in (*files.strays, *files.own)]
        example = f", '{printable(names[0])}' for one" if names else ""
        found = suggest_pattern(names, self.images.keys())
        likely = "correct it" if found is None else f"set participants: '{found[0]}'"
        raise DataError(
            f"{self.base}: participants is '{self.pattern.text}', but none of {len(names)} files "
            f"in gt_maps/ and fixations/ is named so for an image{example}; {likely}."
        )
