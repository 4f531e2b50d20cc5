"""User-defined data sets: folders with a file for each image, or for each participant of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clickmap_cli.clickmaps.losses import Loss
from clickmap_cli.datasets.base import SIGMA_PX, DataSet
from clickmap_cli.datasets.formats.participant_files import (
    Assembler,
    ImageFiles,
    Pattern,
    SortedFiles,
    sort_files,
    suggest_pattern,
)
from clickmap_cli.datasets.gathering import (
    Gathering,
    SigmaPx,
    as_folder,
    files_by_stem,
    read_split,
)
from clickmap_cli.datasets.maps import IMAGE_SUFFIXES, MAP_SUFFIXES
from clickmap_cli.runtime.errors import DataError, printable


def folder(
    root: str | Path,
    sigma_px: SigmaPx = SIGMA_PX,
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
    base, sigma = as_folder(root, "root"), float(sigma_px)
    pattern = None if participants is None else Pattern.from_setting(participants)
    sought = f"{base / 'gt_maps'}/<id>.npy or image, and {base / 'fixations'}/<id>.npy"
    gathering = Gathering(str(base), read_split(base, split), sought)
    images = files_by_stem(base / "images", IMAGE_SUFFIXES)
    maps = _sort_files(base / "gt_maps", MAP_SUFFIXES, images, pattern, gathering)
    fixations = _sort_files(base / "fixations", (".npy",), images, pattern, gathering)
    negatives = _sort_files(base / "nonfix", (".npy",), images, None, gathering)
    if pattern is not None and not maps.people and not fixations.people:
        names = [*maps.strays, *maps.own, *fixations.strays, *fixations.own]
        example = f", '{printable(names[0])}' for one" if names else ""
        found = suggest_pattern(names, images.keys())
        likely = "correct it" if found is None else f"set participants: '{found[0]}'"
        raise DataError(
            f"{base}: participants is '{pattern.text}', but none of {len(names)} files in gt_maps/ "
            f"and fixations/ is named so for an image{example}; {likely}."
        )
    assembler = Assembler(sigma)
    for stem in sorted({*images, *maps.own, *maps.people, *fixations.own, *fixations.people}):
        if gathering.is_selected(stem):
            with gathering.image(stem, stem):
                files = ImageFiles(
                    images.get(stem),
                    maps.own.get(stem),
                    fixations.own.get(stem),
                    negatives.own.get(stem),
                    maps.people.get(stem, ()),
                    fixations.people.get(stem, ()),
                )
                gathering.add(assembler.stimulus(stem, files))
    gathering.notices += assembler.notices()
    return gathering.finished()


def _sort_files(
    place: Path,
    suffixes: tuple[str, ...],
    images: Mapping[str, Path],
    pattern: Pattern | None,
    gathering: Gathering,
) -> SortedFiles:
    """Assign the files of one sub-folder to images; the gathering receives files of no image.

    Raises:
        DataError: files are named like participants' files, but the pattern is None.
    """
    files = files_by_stem(place, suffixes)
    found = sort_files(files, images.keys() or None, pattern)
    if pattern is None and images and place.name != "nonfix":
        likely = suggest_pattern(found.strays, set(filter(gathering.is_selected, images)))
        if likely is not None:
            raise DataError(
                f"{place}: {likely[1]} files are named like participants' files of {likely[2]} "
                f"images, '{printable(next(iter(found.strays)))}' for one; set participants: "
                f"'{likely[0]}', or name one file like each image."
            )
    strays = [path for stem, path in found.strays.items() if gathering.is_selected(stem)]
    if strays:
        gathering.problem(
            strays[0].stem,
            f"{place}: {len(strays)} of {len(files)} files are named like no image of images/, "
            f"'{printable(strays[0].name)}' for one, and were not used; add the images, or remove "
            "or rename the files.",
        )
        what = f"files of {place} match no image"
        gathering.losses.append(Loss(len(strays), len(files), what))
    if found.unclear:
        stem, (participant, image) = next(iter(found.unclear.items()))
        gathering.notices.append(
            f"{place}: {len(found.unclear)} names fit participants in more than one way, "
            f"'{printable(stem)}' for one, which was read as participant "
            f"'{printable(participant)}' and image '{printable(image)}'."
        )
    return found
