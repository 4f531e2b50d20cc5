"""Screen recordings of attention brought to one size: cropped, resized, split by sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size, resize
from clickmap_cli.clickmaps.keys import match_keys
from clickmap_cli.datasets.base import Problem
from clickmap_cli.datasets.classifier_images import read_pixels, safe_word
from clickmap_cli.datasets.gathering import as_folder
from clickmap_cli.datasets.maps import IMAGE_SUFFIXES
from clickmap_cli.datasets.tables import TableRow, table_rows
from clickmap_cli.runtime.errors import ConfigError, DataError, join_few, printable
from clickmap_cli.storage.atomic import replacing
from clickmap_cli.storage.safe_images import image_size

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the whole picture; right and bottom are exclusive."""

_MAX_SIDE = 65_536
"""The largest side, in pixels, of a picture that a box may refer to."""

_SIDES = ("left", "top", "right", "bottom")
_GROUPS = ("participant", "class", "name", "part")

KINDS: dict[str, tuple[str, Box, str]] = {
    "heatmaps": (
        "heatmap_fixed",
        (0, 399, 1500, 599),
        r"\D*(?P<participant>\d+).*(?P<class>\w)..",
    ),
    "scanpaths": (
        "scanpaths_fixed",
        (100, 399, 1400, 599),
        r"\D*(?P<participant>\d+).*(?P<class>\w).(?P<part>\w)",
    ),
}
"""Kind of picture in the reading study's raw layout -> the folder of all participants' pictures,
the sentence's position on the screen, and the pattern of names without their ending, such as
`10m23r2_4_P_a`: the first number is the participant, the third character from the end the class;
for scanpaths the last character is the version."""


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
        sentences: a table that splits pictures, see `plan_crops`; replaces `box`.
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

    def pixels(self) -> NDArray[np.uint8]:
        """Make the attention image from its recording.

        Returns:
            (H, W) grey or (H, W, 3) colour; resized bilinearly with antialiasing, then rounded.

        Raises:
            DataError: the recording is missing or damaged, or the box reaches outside it.
        """
        pixels = read_pixels(self.source, self.colour)
        if self.box is not None:
            _require_inside(self.box, (pixels.shape[0], pixels.shape[1]), self.source)
            left, top, right, bottom = self.box
            pixels = pixels[top:bottom, left:right]
        planes = np.moveaxis(pixels, -1, 0) if self.colour else pixels
        if self.size is not None:
            planes = resize(planes, self.size)
        levels = np.rint(np.clip(planes, 0, 1) * 255).astype(np.uint8)
        return np.ascontiguousarray(np.moveaxis(levels, 0, -1) if self.colour else levels)

    def write(self, folder: Path) -> Path:
        """Write the attention image below a folder; the file appears only when it is complete.

        Raises:
            DataError: as for `pixels`.
            RunError: the file cannot be written.
        """
        from PIL import Image

        levels = self.pixels()
        path = folder / self.target
        with replacing(path) as partial:
            Image.fromarray(levels).save(partial, format="PNG")
        return path


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


def plan_crops(root: str | Path, settings: CropSettings, leave_out: Path | None = None) -> Plan:
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
    _require_valid(settings)
    base, settings = _apply_kind(as_folder(root, "root"), settings)
    pattern = None if settings.pattern is None else _compile(settings.pattern)
    sources = _list_recordings(base, leave_out)
    if not sources:
        raise DataError(f"{base}: no pictures ({', '.join(IMAGE_SUFFIXES)}).")
    sentences = None
    if settings.sentences is not None:
        keys = [path.relative_to(base).as_posix() for path in sources]
        sentences = _Sentences(settings.sentences, keys)
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


# --- settings -----------------------------------------------------------------------------------


def _require_valid(settings: CropSettings) -> None:
    """Raise ConfigError if a setting is invalid, or two contradict each other."""
    if settings.sentences is not None and settings.box is not None:
        raise ConfigError(
            "--box and --sentences are both set; the table has the boxes, leave --box out."
        )
    if settings.box is not None and (problem := _box_problem(settings.box)):
        raise ConfigError(f"--box is {list(settings.box)}; {problem}.")
    if settings.size is not None and not all(1 <= side <= _MAX_SIDE for side in settings.size):
        raise ConfigError(
            f"--size is {list(settings.size)}; it must be height and width in pixels."
        )
    if settings.kind is not None and settings.kind not in KINDS:
        raise ConfigError(f"--kind is {settings.kind!r}; it must be one of {', '.join(KINDS)}.")


def _box_problem(box: Box) -> str:
    """Return the reason why a box is invalid, or an empty text if it is valid."""
    left, top, right, bottom = box
    if min(box) < 0 or max(box) > _MAX_SIDE:
        return f"its sides must lie between 0 and {_MAX_SIDE}"
    if left >= right or top >= bottom:
        return "it is empty: left must be less than right, and top less than bottom"
    return ""


def _require_inside(box: Box, size: Size, source: Path) -> None:
    height, width = size
    if box[2] > width or box[3] > height:
        raise DataError(
            f"{source}: the box {list(box)} reaches outside the picture, which has {height} rows "
            f"and {width} columns."
        )


def _apply_kind(base: Path, settings: CropSettings) -> tuple[Path, CropSettings]:
    """Return the folder and settings, with the kind's defaults in the raw layout."""
    there = [
        name
        for name, (folder, _, _) in KINDS.items()
        if base.name == folder or (base / folder).is_dir()
    ]
    if settings.kind is None and len(there) > 1:
        raise ConfigError(f"{base} holds {' and '.join(there)}; say which: --kind {there[0]}.")
    chosen = settings.kind or (there[0] if there else None)
    if chosen is None:
        return base, settings
    folder, box, pattern = KINDS[chosen]
    if chosen not in there:
        raise DataError(f"{base}: no folder {folder}/, which --kind {chosen} is read from.")
    own_box = box if settings.sentences is None else None
    return base if base.name == folder else base / folder, replace(
        settings, box=settings.box or own_box, pattern=settings.pattern or pattern
    )


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--pattern: not a regular expression ({error}).") from error
    unknown = [name for name in compiled.groupindex if name not in _GROUPS]
    if unknown or not compiled.groupindex:
        found = f"found {unknown[0]}" if unknown else "it has none of them"
        raise ConfigError(f"--pattern: its groups may be {', '.join(_GROUPS)}; {found}.")
    return compiled


def _list_recordings(folder: Path, leave_out: Path | None) -> list[Path]:
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


# --- the table of sentences ---------------------------------------------------------------------

Sentence = tuple[str, Box | None, str]
"""Name, or an empty text if the recording is not split; box, or None for all of it; class, or an
empty text for the recording's."""


class _Sentences:
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
        columns = [name for name in ("page", "image") if name in rows[0].fields]
        if len(columns) != 1:
            raise DataError(f"{path}: expected one of the columns page and image.")
        (self._column,) = columns
        names = [row.fields[self._column] for row in rows]
        self._keys = match_keys(names, keys) if self._column == "image" else {}
        self._rows: dict[str, dict[str, list[Sentence]]] = {}  # by recording, by participant or ""
        self._unused: dict[str, None] = {}
        for row in rows:
            self._add(row)

    def find(self, key: str, name: str, participant: str) -> list[Sentence]:
        """Return the sentences of a recording, and mark its rows as used.

        Raises:
            DataError: the table has no row for the recording.
        """
        place = key if self._column == "image" else name
        rows = self._rows.get(place, {})
        found = rows.get(participant) or rows.get("")
        if not found:
            raise DataError(f"{self._path}: no row is for {printable(key)}.")
        self._unused.pop(place, None)
        return found

    def notices(self) -> list[str]:
        """Return a notice about rows that match no recording."""
        lost = list(self._unused)
        if not lost:
            return []
        return [
            f"{self._path}: {len(lost)} of its {self._column}s are not there: {join_few(lost)}."
        ]

    def _add(self, row: TableRow) -> None:
        name, sentence = row.fields[self._column], row.fields["sentence"]
        if not name or not sentence:
            raise DataError(f"{row.where}: {self._column} or sentence is empty.")
        try:
            left, top, right, bottom = (int(row.fields[side]) for side in _SIDES)
        except ValueError as error:
            raise DataError(f"{row.where}: {', '.join(_SIDES)} must be whole numbers.") from error
        box = (left, top, right, bottom)
        if problem := _box_problem(box):
            raise DataError(f"{row.where}: the box is {list(box)}; {problem}.")
        place = self._keys.get(name, name)
        self._unused[place] = None
        people = self._rows.setdefault(place, {})
        listed = people.setdefault(row.fields.get("participant", ""), [])
        if any(other == sentence for other, _, _ in listed):
            raise DataError(f"{row.where}: the sentence '{printable(sentence)}' is there already.")
        listed.append((sentence, box, row.fields.get("class", "")))


# --- one recording ------------------------------------------------------------------------------


def _crops_of(
    source: Path,
    key: str,
    pattern: re.Pattern[str] | None,
    sentences: _Sentences | None,
    settings: CropSettings,
) -> Iterator[Crop]:
    """Yield the crops of one recording.

    Raises:
        DataError: its name lacks the participant or the class, it cannot be opened, or it is too
            small.
    """
    words = _read_name(key, pattern)
    size = image_size(source)
    rows: list[Sentence] = [("", settings.box, "")]
    if sentences is not None:
        rows = sentences.find(key, words["name"], words["participant"])
    for sentence, box, own_label in rows:
        if box is not None:
            _require_inside(box, size, source)
        label = own_label or words["class"]
        if not label:
            raise DataError(
                f"{printable(key)}: neither a folder, --pattern nor --sentences names its class."
            )
        name = f"{words['name']}_{sentence}" if sentence else words["name"]
        parts = [safe_word(words["part"], "part")] if words["part"] else []
        parts += [safe_word(label, "class"), safe_word(words["participant"], "participant")]
        target = PurePosixPath(*parts, f"{safe_word(name, 'name')}.png")
        yield Crop(source, target, box, settings.size, settings.colour)


def _read_name(key: str, pattern: re.Pattern[str] | None) -> dict[str, str]:
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
