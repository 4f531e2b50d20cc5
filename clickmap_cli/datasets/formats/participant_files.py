"""Files of an image and of its participants: who each belongs to, and the stimulus they make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.clickmaps.keys import ALL
from clickmap_cli.datasets.base import Points
from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.datasets.maps import plane_size, read_counts, read_map
from clickmap_cli.datasets.people import NamedMap
from clickmap_cli.runtime.errors import ConfigError, DataError, printable
from clickmap_cli.storage.safe_images import image_size

PARTICIPANT = "{participant}"
IMAGE = "{image}"

_SEPARATORS = ("__", "_", "-", ".", " ")

Reading = tuple[str, str]
"""Participant and image in a file's name."""


@dataclass(frozen=True)
class Pattern:
    """A pattern for file names without their ending, such as `{participant}_{image}`.

    Attributes:
        text: the pattern as the user wrote it.
        before: text before the first placeholder.
        between: text between the two placeholders.
        after: text after the second placeholder.
        image_first: True if the image comes before the participant.
    """

    text: str
    before: str
    between: str
    after: str
    image_first: bool

    @classmethod
    def from_setting(cls, value: object) -> Pattern:
        """Read the setting `participants`.

        Raises:
            ConfigError: the setting does not hold each placeholder exactly once, with text between
                them.
        """
        text = value if isinstance(value, str) else ""
        first, second = sorted((PARTICIPANT, IMAGE), key=text.find)
        before, _, rest = text.partition(first)
        between, _, after = rest.partition(second)
        once = text.count(PARTICIPANT) == text.count(IMAGE) == 1
        if not once or not between or any(mark in before + between + after for mark in "{}/\\"):
            raise ConfigError(
                f"participants: expected how files are named, without their ending, with "
                f"{PARTICIPANT} and {IMAGE} once each and text between them, such as "
                f"'{PARTICIPANT}_{IMAGE}', found {value!r}."
            )
        return cls(text, before, between, after, image_first=first == IMAGE)

    def readings(self, stem: str, images: Collection[str] | None) -> Iterator[Reading]:
        """Yield every way to read a file's name, the shortest participant first.

        Args:
            stem: the name without its ending.
            images: all image ids, or None if they are not known.
        """
        if not stem.startswith(self.before) or not stem.endswith(self.after):
            return
        inner = stem[len(self.before) : len(stem) - len(self.after)]
        cuts = [at for at in range(1, len(inner)) if inner.startswith(self.between, at)]
        for at in reversed(cuts) if self.image_first else cuts:
            left, right = inner[:at], inner[at + len(self.between) :]
            participant, image = (right, left) if self.image_first else (left, right)
            if right and (images is None or image in images):
                yield participant, image


@dataclass(frozen=True)
class SortedFiles:
    """The files of a folder, sorted by the image they belong to.

    Attributes:
        own: image -> the image's own file.
        people: image -> (participant, file), sorted by participant.
        strays: stem -> file, for files that belong to no image.
        unclear: stems that can be read in several ways -> the reading that was used.
    """

    own: dict[str, Path] = field(default_factory=dict)
    people: dict[str, list[NamedMap]] = field(default_factory=dict)
    strays: dict[str, Path] = field(default_factory=dict)
    unclear: dict[str, Reading] = field(default_factory=dict)


def sort_files(
    files: Mapping[str, Path], images: Collection[str] | None, pattern: Pattern | None
) -> SortedFiles:
    """Assign files to images by their names.

    A file that is named like an image is the image's own. Any other file belongs to a participant
    if its name matches the pattern; otherwise it is a stray. If a name can be read in several ways,
    the shortest participant is taken.

    Args:
        files: stem -> file.
        images: all image ids, or None if any name may be an image's.
        pattern: pattern of the names of participants' files, or None.
    """
    found = SortedFiles()
    for stem, path in files.items():
        if images is not None and stem in images:
            found.own[stem] = path
            continue
        readings = [] if pattern is None else list(pattern.readings(stem, images))
        if readings:
            participant, image = readings[0]
            found.people.setdefault(image, []).append((participant, path))
            if len(readings) > 1:
                found.unclear[stem] = readings[0]
        else:
            (found.own if images is None else found.strays)[stem] = path
    for pairs in found.people.values():
        pairs.sort()
    return found


def suggest_pattern(stems: Iterable[str], images: Collection[str]) -> tuple[str, int, int] | None:
    """Find the pattern that most stray files follow.

    Args:
        stems: names of files that belong to no image, without their endings.
        images: ids of the images.

    Returns:
        The pattern, the number of files that follow it, and the number of images that they name;
        None if fewer than half of the files, or only one, follow a pattern.
    """
    names = list(stems)
    counted: Counter[str] = Counter()
    named: dict[str, set[str]] = {}
    for separator in _SEPARATORS:
        for text in (f"{PARTICIPANT}{separator}{IMAGE}", f"{IMAGE}{separator}{PARTICIPANT}"):
            pattern = Pattern.from_setting(text)
            for stem in names:
                for _, image in pattern.readings(stem, images):
                    counted[text] += 1
                    named.setdefault(text, set()).add(image)
                    break
    if not counted:
        return None
    text, n_files = counted.most_common(1)[0]
    if n_files < 2 or 2 * n_files < len(names):
        return None
    return text, n_files, len(named[text])


@dataclass(frozen=True)
class ImageFiles:
    """The files of one image.

    Attributes:
        image: the picture, or None.
        heat: the map of the image itself, or None.
        fixations: counts of all people's fixations per pixel, or None.
        nonfix: counts of non-fixations per pixel, or None.
        people_maps: participants and their map files, sorted by participant.
        people_fixations: participants and the files of their fixation counts, sorted by
            participant.
    """

    image: Path | None = None
    heat: Path | None = None
    fixations: Path | None = None
    nonfix: Path | None = None
    people_maps: Sequence[NamedMap] = ()
    people_fixations: Sequence[NamedMap] = ()


class Assembler:
    """Makes stimuli from files, and counts the files it leaves out.

    Args:
        sigma: blur of fixations, in pixels, for images without a map.
    """

    def __init__(self, sigma: float) -> None:
        self._sigma = sigma
        self._n_maps = 0
        self._blank: list[Path] = []
        self._without_map: list[str] = []

    def stimulus(self, image_id: str, files: ImageFiles, category: str = ALL) -> FileStimulus:
        """Make the stimulus of one image.

        Raises:
            DataError: a file is missing or damaged, sizes differ, the image has no file, or every
                participant's map is constant.
        """
        size = None if files.image is None else image_size(files.image)
        points = None if files.fixations is None else read_counts(files.fixations, size)
        size = _measure(files) if size is None else size
        if files.people_fixations:
            if files.fixations is not None:
                raise DataError(
                    f"{files.fixations} and {files.people_fixations[0][1]} are both fixations of "
                    "this image; keep the file of everybody's or those of the participants."
                )
            points = _join_points(files.people_fixations, size)
        maps = self._leave_out_blank(files, size)
        if points is not None and len(maps) >= 2:
            mapped = {name for name, _ in maps}
            self._without_map += [
                f"{printable(name)} of {printable(image_id)}"
                for name in points.subjects
                if name not in mapped
            ]
        return FileStimulus(
            image_id,
            size,
            files.image,
            category,
            points,
            None if files.nonfix is None else read_counts(files.nonfix, size),
            files.heat,
            self._sigma,
            tuple(maps),
        )

    def notices(self) -> list[str]:
        """Return messages for the user about the participants' files of the whole set."""
        found = []
        if self._blank:
            found.append(
                f"{len(self._blank)} of {self._n_maps} participants' maps are the same everywhere, "
                f"{self._blank[0].name} for one; they were left out."
            )
        if self._without_map:
            found.append(
                f"{len(self._without_map)} participants have fixations but no map of an image, "
                f"{self._without_map[0]} for one; their fixations count, but they are not among "
                "the people of that image."
            )
        return found

    def _leave_out_blank(self, files: ImageFiles, size: Size) -> list[NamedMap]:
        """Read participants' maps once, and return those whose pixels do not all have one value."""
        self._n_maps += len(files.people_maps)
        usable = []
        for name, path in files.people_maps:
            if np.ptp(read_map(path, size)) == 0:
                self._blank.append(path)
            else:
                usable.append((name, path))
        if files.people_maps and not usable and files.heat is None:
            raise DataError(
                f"{files.people_maps[0][1]}: the map is the same everywhere, as is that of every "
                "participant of this image; leave the image out."
            )
        return usable


def _join_points(files: Sequence[NamedMap], size: Size) -> Points:
    """Join all participants' fixations, with their names."""
    parts = [read_counts(path, size) for _, path in files]
    return Points(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.repeat(np.arange(len(parts)), [len(part) for part in parts]).astype(np.int32),
        tuple(name for name, _ in files),
    )


def _measure(files: ImageFiles) -> Size:
    """Return height and width of an image without a picture, from its maps or fixations."""
    people = [*files.people_fixations, *files.people_maps]
    for path in (files.fixations, files.heat, *(path for _, path in people)):
        if path is not None:
            return plane_size(path)
    raise DataError("an image without a picture, fixations and a map has no size.")
