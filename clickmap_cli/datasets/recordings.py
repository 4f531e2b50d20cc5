"""Screen recordings of attention brought to one size: cropped, resized, split by sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size, resize
from clickmap_cli.clickmaps.keys import match_keys
from clickmap_cli.datasets.base import Problem
from clickmap_cli.datasets.classifier_images import few, read_pixels, safe_word
from clickmap_cli.datasets.gathering import as_folder
from clickmap_cli.datasets.maps import IMAGE_SUFFIXES
from clickmap_cli.datasets.tables import table_rows
from clickmap_cli.runtime.errors import ConfigError, DataError, printable
from clickmap_cli.storage.atomic import replacing
from clickmap_cli.storage.safe_images import image_size

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the whole picture; right and bottom are exclusive."""

MAX_SIDE = 65_536
"""The largest side, in pixels, of a picture that a box may refer to."""

_SIDES = ("left", "top", "right", "bottom")


def box_problem(box: Box) -> str:
    """Return the reason why a box is invalid, or an empty text if it is valid."""
    left, top, right, bottom = box
    if min(box) < 0 or max(box) > MAX_SIDE:
        return f"its sides must lie between 0 and {MAX_SIDE}"
    if left >= right or top >= bottom:
        return "it is empty: left must be less than right, and top less than bottom"
    return ""


@dataclass(frozen=True)
class Sentence:
    """A part of a recording.

    Attributes:
        name: name of the sentence; empty if the recording is not split.
        box: position of the sentence; None for the whole recording.
        label: class of the sentence; empty for the recording's class.
    """

    name: str
    box: Box | None
    label: str


@dataclass
class _Rows:
    """The sentences of a page or an image, for everybody and for single participants."""

    everybody: list[Sentence] = field(default_factory=list)
    own: dict[str, list[Sentence]] = field(default_factory=dict)
    used: bool = False


class Sentences:
    """The table of sentences.

    Args:
        path: path of the table.
        keys: paths of all recordings, for the column `image`.

    Raises:
        DataError: the table is missing or damaged, lacks a column, or holds an invalid box.
    """

    def __init__(self, path: Path, keys: Sequence[str]) -> None:
        self._path = path
        rows = table_rows(path, ("sentence", *_SIDES), ("page", "image", "participant", "class"))
        self._column = "page" if "page" in rows[0][1] else "image"
        if ("page" in rows[0][1]) == ("image" in rows[0][1]):
            raise DataError(f"{path}: expected one of the columns page and image.")
        names = [row[self._column] for _, row in rows]
        self._keys = match_keys(names, keys) if self._column == "image" else {}
        self._rows: dict[str, _Rows] = {}
        for line, row in rows:
            self._add(line, row)

    def of(self, key: str, name: str, participant: str) -> list[Sentence]:
        """Return the sentences of a recording, and mark its rows as used.

        Raises:
            DataError: the table has no row for the recording.
        """
        rows = self._rows.get(key if self._column == "image" else name)
        found = rows.own.get(participant, rows.everybody) if rows else []
        if rows is None or not found:
            raise DataError(f"{self._path}: no row is for {printable(key)}.")
        rows.used = True
        return found

    def notices(self) -> list[str]:
        """Return a notice about rows that match no recording."""
        lost = [name for name, rows in self._rows.items() if not rows.used]
        if not lost:
            return []
        return [f"{self._path}: {len(lost)} of its {self._column}s are not there: {few(lost)}."]

    def _add(self, line: int, row: dict[str, str]) -> None:
        where = f"{self._path}, line {line}"
        name, sentence = row[self._column], row["sentence"]
        if not name or not sentence:
            raise DataError(f"{where}: {self._column} or sentence is empty.")
        try:
            left, top, right, bottom = (int(row[side]) for side in _SIDES)
        except ValueError as error:
            raise DataError(f"{where}: {', '.join(_SIDES)} must be whole numbers.") from error
        box = (left, top, right, bottom)
        problem = box_problem(box)
        if problem:
            raise DataError(f"{where}: the box is {list(box)}; {problem}.")
        rows = self._rows.setdefault(self._keys.get(name, name), _Rows())
        person = row.get("participant", "")
        listed = rows.own.setdefault(person, []) if person else rows.everybody
        if any(other.name == sentence for other in listed):
            raise DataError(f"{where}: the sentence '{printable(sentence)}' is there already.")
        listed.append(Sentence(sentence, box, row.get("class", "")))


_GROUPS = ("participant", "class", "name", "part")


@dataclass(frozen=True)
class RawKind:
    """A kind of picture in the reading study's raw layout.

    Attributes:
        folder: name of the folder that holds the pictures of all participants.
        box: position of the sentence on the screen.
        pattern: regular expression for names without their ending, such as `10m23r2_4_P_a`: the
            first number is the participant, the third character from the end the class; for
            scanpaths the last character is the version.
    """

    folder: str
    box: Box
    pattern: str


KINDS = {
    "heatmaps": RawKind(
        "heatmap_fixed", (0, 399, 1500, 599), r"\D*(?P<participant>\d+).*(?P<class>\w).."
    ),
    "scanpaths": RawKind(
        "scanpaths_fixed",
        (100, 399, 1400, 599),
        r"\D*(?P<participant>\d+).*(?P<class>\w).(?P<part>\w)",
    ),
}
"""Kinds of raw recordings, by the word that selects them."""


@dataclass(frozen=True)
class CropSettings:
    """Settings that turn recordings into attention images of one size.

    Attributes:
        box: part of every picture that is kept; None for the whole picture, or for the raw kind's
            default.
        size: height and width of the written images; None for the size of the box.
        colour: RGB; else grey.
        pattern: a regular expression for the whole file name without its ending, with any of the
            groups `participant`, `class`, `name` and `part`; None if folders give all of them, or
            for the raw kind's default.
        sentences: a table that splits pictures, see `planned`; replaces `box`.
        kind: a key of `KINDS`; None for the only kind that the folder holds, if it holds one.
    """

    box: Box | None = None
    size: Size | None = None
    colour: bool = False
    pattern: str | None = None
    sentences: Path | None = None
    kind: str | None = None


@dataclass(frozen=True)
class Crop:
    """One attention image to be made.

    Attributes:
        source: the recording.
        target: path below the output folder: `[<part>/]<class>/<participant>/<name>.png`.
        box: part of the recording; None for the whole recording.
        size: height and width of the result; None for the size of the box.
        colour: RGB; else grey.
    """

    source: Path
    target: PurePosixPath
    box: Box | None
    size: Size | None
    colour: bool


@dataclass(frozen=True)
class Plan:
    """The attention images to make, and the recordings that give none.

    Attributes:
        crops: the attention images, sorted by target.
        problems: recordings that give no image, with reasons.
        notices: messages for the user.
    """

    crops: tuple[Crop, ...]
    problems: tuple[Problem, ...] = ()
    notices: tuple[str, ...] = ()


def planned(root: str | Path, settings: CropSettings, leave_out: Path | None = None) -> Plan:
    """Plan the crops of all recordings below a folder; only headers of pictures are read.

    Participant and class are the last two folders, `<class>/<participant>/<name>.png`, or groups of
    the pattern. If the pattern lacks one of them, it is the folder that holds the picture; if it
    lacks both, the class is the folder above. A group `part` puts pictures with different parts
    into separate sets. In the raw layout (`heatmap_fixed/`, `scanpaths_fixed/` in `root`) box and
    pattern have defaults.

    The table of sentences has the columns `sentence, left, top, right, bottom` and either `page`,
    the name of recordings (the group `name`, or the file name without its ending), or `image`, the
    path of one recording or a unique ending of it. Two columns are optional: `participant`, for
    rows that apply to one participant and replace the rows for everybody, and `class`, if each
    sentence has a class. `<name>_<sentence>` is written for every row of a recording.

    Args:
        root: the folder.
        settings: settings of the crops.
        leave_out: a folder to skip, such as an output folder inside `root`.

    Raises:
        ConfigError: a setting is invalid, or `root` holds several kinds and none is selected.
        DataError: the folder or the table is missing or damaged, no recording is found, or two
            results get the same name. An error in one recording becomes a problem of the plan
            instead.
    """
    _check(settings)
    base, settings = _raw_layout(as_folder(root, "root"), settings)
    pattern = _compiled(settings.pattern)
    sources = _below(base, leave_out)
    if not sources:
        raise DataError(f"{base}: no pictures ({', '.join(IMAGE_SUFFIXES)}).")
    sentences = None
    if settings.sentences is not None:
        keys = [path.relative_to(base).as_posix() for path in sources]
        sentences = Sentences(settings.sentences, keys)
    crops: dict[PurePosixPath, Crop] = {}
    problems = []
    for source in sources:
        key = source.relative_to(base).as_posix()
        try:
            found = list(_crops_of(source, key, pattern, sentences, settings))
        except DataError as error:
            problems.append(Problem(printable(key), str(error)))
            continue
        for crop in found:
            other = crops.setdefault(crop.target, crop)
            if other is not crop:
                raise DataError(
                    f"'{printable(str(other.source))}' and '{printable(str(source))}' would both "
                    f"be written as '{crop.target}'; tell them apart by the group `name`, or "
                    "rename one."
                )
    notices = sentences.notices() if sentences is not None else []
    ordered = sorted(crops.values(), key=lambda crop: str(crop.target))
    return Plan(tuple(ordered), tuple(problems), tuple(notices))


def cropped(crop: Crop) -> NDArray[np.uint8]:
    """Make one attention image from its recording.

    Returns:
        (H, W) grey or (H, W, 3) colour; resized bilinearly with antialiasing, then rounded.

    Raises:
        DataError: the recording is missing or damaged, or the box reaches outside it.
    """
    pixels = read_pixels(crop.source, crop.colour)
    if crop.box is not None:
        _check_inside(crop.box, (pixels.shape[0], pixels.shape[1]), crop.source)
        left, top, right, bottom = crop.box
        pixels = pixels[top:bottom, left:right]
    planes = np.moveaxis(pixels, -1, 0) if crop.colour else pixels
    if crop.size is not None:
        planes = resize(planes, crop.size)
    levels = np.rint(np.clip(planes, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(levels, 0, -1) if crop.colour else levels)


def write_cropped(folder: Path, crop: Crop) -> Path:
    """Write one attention image below a folder; the file appears only when it is complete.

    Raises:
        DataError: as for `cropped`.
        RunError: the file cannot be written.
    """
    from PIL import Image

    levels = cropped(crop)
    path = folder / crop.target
    with replacing(path) as partial:
        Image.fromarray(levels).save(partial, format="PNG")
    return path


# --- settings -----------------------------------------------------------------------------------


def _check(settings: CropSettings) -> None:
    if settings.sentences is not None and settings.box is not None:
        raise ConfigError(
            "--box and --sentences are both set; the table has the boxes, leave --box out."
        )
    if settings.box is not None:
        problem = box_problem(settings.box)
        if problem:
            raise ConfigError(f"--box is {list(settings.box)}; {problem}.")
    if settings.size is not None and not all(1 <= side <= MAX_SIDE for side in settings.size):
        raise ConfigError(
            f"--size is {list(settings.size)}; it must be height and width in pixels."
        )
    if settings.kind is not None and settings.kind not in KINDS:
        raise ConfigError(f"--kind is {settings.kind!r}; it must be one of {', '.join(KINDS)}.")


def _check_inside(box: Box, size: Size, source: Path) -> None:
    height, width = size
    if box[2] > width or box[3] > height:
        raise DataError(
            f"{source}: the box {list(box)} reaches outside the picture, which has {height} rows "
            f"and {width} columns."
        )


def _raw_layout(base: Path, settings: CropSettings) -> tuple[Path, CropSettings]:
    """Return the folder and settings, with the kind's defaults in the raw layout."""
    there = [
        name
        for name, kind in KINDS.items()
        if base.name == kind.folder or (base / kind.folder).is_dir()
    ]
    if settings.kind is None and len(there) > 1:
        raise ConfigError(f"{base} holds {' and '.join(there)}; say which: --kind {there[0]}.")
    chosen = settings.kind or (there[0] if there else None)
    if chosen is None:
        return base, settings
    kind = KINDS[chosen]
    if chosen not in there:
        raise DataError(f"{base}: no folder {kind.folder}/, which --kind {chosen} is read from.")
    own_box = kind.box if settings.sentences is None else None
    return base if base.name == kind.folder else base / kind.folder, replace(
        settings, box=settings.box or own_box, pattern=settings.pattern or kind.pattern
    )


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--pattern: not a regular expression ({error}).") from error
    unknown = [name for name in compiled.groupindex if name not in _GROUPS]
    if unknown or not compiled.groupindex:
        found = f"found {unknown[0]}" if unknown else "it has none of them"
        raise ConfigError(f"--pattern: its groups may be {', '.join(_GROUPS)}; {found}.")
    return compiled


def _below(folder: Path, leave_out: Path | None) -> list[Path]:
    """List all pictures below a folder, sorted; skip hidden folders and the one to leave out."""
    outside = None if leave_out is None else leave_out.resolve()
    files = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        if outside is None or not path.resolve().is_relative_to(outside):
            files.append(path)
    return files


# --- one recording ------------------------------------------------------------------------------


def _crops_of(
    source: Path,
    key: str,
    pattern: re.Pattern[str] | None,
    sentences: Sentences | None,
    settings: CropSettings,
) -> Iterator[Crop]:
    """Yield the crops of one recording.

    Raises:
        DataError: its name lacks the participant or the class, it cannot be opened, or it is too
            small.
    """
    words = _words(key, pattern)
    size = image_size(source)
    rows = [Sentence("", settings.box, "")]
    if sentences is not None:
        rows = sentences.of(key, words["name"], words["participant"])
    for row in rows:
        if row.box is not None:
            _check_inside(row.box, size, source)
        label = row.label or words["class"]
        if not label:
            raise DataError(
                f"{printable(key)}: neither a folder, --pattern nor --sentences names its class."
            )
        name = f"{words['name']}_{row.name}" if row.name else words["name"]
        parts = [safe_word(words["part"], "part")] if words["part"] else []
        parts += [safe_word(label, "class"), safe_word(words["participant"], "participant")]
        target = PurePosixPath(*parts, f"{safe_word(name, 'name')}.png")
        yield Crop(source, target, row.box, settings.size, settings.colour)


def _words(key: str, pattern: re.Pattern[str] | None) -> dict[str, str]:
    """Return participant, class, name and part of a recording; `part` and `class` may be empty."""
    path = PurePosixPath(key)
    folders = list(path.parts[:-1])
    found: dict[str, str] = {}
    if pattern is not None:
        match = pattern.fullmatch(path.stem)
        if match is None:
            raise DataError(f"{printable(key)}: its name does not match --pattern.")
        found = {name: text for name, text in match.groupdict().items() if text}
    for name in ("participant", "class"):
        if name not in found and folders:
            found[name] = folders.pop()
    if "participant" not in found:
        raise DataError(f"{printable(key)}: neither a folder nor --pattern names a participant.")
    return {"name": path.stem, "class": "", "part": "", **found}
