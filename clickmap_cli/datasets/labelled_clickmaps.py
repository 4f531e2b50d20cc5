"""Clickmaps of single trials in a folder written by `prepare`, with classes from a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.clickmaps.keys import flat_name, match_keys
from clickmap_cli.clickmaps.maps import trial_maps
from clickmap_cli.clickmaps.trials import TRIALS_FILE
from clickmap_cli.datasets.classifier_images import (
    LabelledImages,
    Picture,
    Pixels,
    checked_classes,
    few,
    labelled_image,
    read_once,
)
from clickmap_cli.datasets.files import printable
from clickmap_cli.datasets.prepared import ClickmapStimulus, clickmaps
from clickmap_cli.datasets.small_tables import TableRow, table_rows
from clickmap_cli.runtime.errors import DataError


@dataclass(frozen=True)
class TrialPicture(Picture):
    """The clickmap of one trial, as `prepare` made it.

    Attributes:
        stimulus: the image that was clicked, with all its trials.
        trial: index of the trial.
    """

    stimulus: ClickmapStimulus
    trial: int

    def read(self) -> Pixels:
        """Return the (h, w) map divided by its largest value; zeros if no click lies on it."""
        stimulus = self.stimulus
        values: Pixels = trial_maps(stimulus.clicks, stimulus.settings, [self.trial])[0]
        top = values.max()
        if top > 0:
            values /= top
        return values


def labelled_clickmaps(
    root: str | Path,
    labels: str | Path,
    classes: Sequence[str] | None = None,
    size: Size | None = None,
    n_jobs: int = 1,
) -> LabelledImages:
    """Read single trials' clickmaps from a folder written by `prepare`, labelled by a table.

    The maps are those that `save_maps: participants` writes. They are recomputed from the folder's
    trials, so the folder need not hold them. Each map is divided by its largest value.

    Args:
        root: the experiment's folder.
        labels: a CSV with the columns `user_id,label`, or `image_path,user_id,label` if a person's
            images are of several classes. An `image_path` may be an ending of the key.
        classes: names of classes, in order; None for all classes of the table, sorted.
        size: height and width that maps are resized to; None to keep their own.
        n_jobs: number of threads that make the maps.

    Raises:
        ConfigError: a class is in no row, or is named twice.
        DataError: the folder does not hold a finished run of `prepare`; the table is missing,
            damaged or contradicts itself; or no trial has a label.
    """
    folder, table = Path(root).expanduser(), Path(labels).expanduser()
    data = clickmaps(str(folder))
    stimuli = [stimulus for stimulus in data.stimuli if isinstance(stimulus, ClickmapStimulus)]
    rows = table_rows(table, ("user_id", "label"), ("image_path",))
    wanted = _labels_of(rows, [stimulus.key for stimulus in stimuli], table)
    names = sorted(set(wanted.labels.values()))
    chosen = names if classes is None else checked_classes(classes, names, table)
    items, unlabelled = [], 0
    for stimulus in stimuli:
        times: Counter[str] = Counter()
        for trial, user in enumerate(stimulus.names):
            label = wanted.of(stimulus.key, user)
            if label is None or label not in chosen:
                unlabelled += 1
                continue
            times[user] += 1
            again = f"_{times[user]}" if times[user] > 1 else ""
            name = f"{flat_name(stimulus.key)}{again}"
            picture = TrialPicture(stimulus, trial)
            items.append(labelled_image(label, user, name, picture, size))
    if not items:
        raise DataError(f"{table}: none of its people and images has a trial in {folder}.")
    notices = list(wanted.notices(stimuli, table))
    if unlabelled:
        notices.append(
            f"{unlabelled} trials of {folder} have no label of a class and are left out."
        )
    files = (folder / "manifest.json", folder / TRIALS_FILE, table)
    rest = LabelledImages((), tuple(chosen), {}, 1, (), tuple(notices), files)
    return read_once(items, rest, n_jobs)


@dataclass(frozen=True)
class _Labels:
    """Labels by (image key or "" for all, person), and names of images that match no key."""

    labels: Mapping[tuple[str, str], str]
    lost: Sequence[str]

    def of(self, key: str, user: str) -> str | None:
        return self.labels.get((key, user), self.labels.get(("", user)))

    def notices(self, stimuli: Sequence[ClickmapStimulus], table: Path) -> Iterator[str]:
        people = {user for stimulus in stimuli for user in stimulus.names}
        absent = sorted({user for _, user in self.labels} - people)
        for what, names in (("people", absent), ("images", sorted(self.lost))):
            if names:
                yield f"{table}: {len(names)} {what} have no trial here: {few(names)}."


def _labels_of(rows: Sequence[TableRow], keys: Sequence[str], table: Path) -> _Labels:
    """Turn the table into a mapping; rows that contradict each other are an error."""
    by_name = match_keys([row["image_path"] for _, row in rows if row.get("image_path")], keys)
    found: dict[tuple[str, str], tuple[int, str]] = {}
    lost = set()
    for line, row in rows:
        image = row.get("image_path", "")
        if image and image not in by_name:
            lost.add(image)
            continue
        if not row["label"] or not row["user_id"]:
            raise DataError(f"{table}, line {line}: user_id or label is empty.")
        place = (by_name[image] if image else "", row["user_id"])
        first, label = found.setdefault(place, (line, row["label"]))
        if label != row["label"]:
            raise DataError(
                f"{table}, line {line}: '{printable(row['user_id'])}' is of class "
                f"'{printable(row['label'])}' here and of '{printable(label)}' in line {first}."
            )
    return _Labels({place: label for place, (_, label) in found.items()}, tuple(lost))
