"""Check, before scoring, which images have a map in the folder of each `precomputed` model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.building import BuiltModel
from clickmap_cli.models.precomputed import ENDINGS, Precomputed
from clickmap_cli.runtime.errors import DataError, printable
from clickmap_cli.runtime.progress import Checks, Progress
from clickmap_cli.scoring.data import LoadedSet
from clickmap_cli.scoring.predictions import Predictor

_SHOWN = 2


def require_maps(
    models: Sequence[BuiltModel],
    sets: Sequence[LoadedSet],
    postprocess: bool,
    max_lost: float,
    progress: Progress,
) -> None:
    """Raise unless enough images have a precomputed map; give notices about the missing ones.

    Args:
        models: every model.
        sets: every data set.
        postprocess: whether maps are clipped and scaled.
        max_lost: the share of a data set's images that may lack a map, 0 to 1.
        progress: receives the notices, one too if the first map of a model cannot be used.

    Raises:
        DataError: more than `max_lost` of a data set's images lack a map, or all of them do.
    """
    checks = Checks(progress)
    for built in models:
        if isinstance(built.model, Precomputed):
            with checks.part():
                _require_maps_of(built, built.model, sets, postprocess, max_lost, progress)


def _require_maps_of(
    built: BuiltModel,
    model: Precomputed,
    sets: Sequence[LoadedSet],
    postprocess: bool,
    max_lost: float,
    progress: Progress,
) -> None:
    lacking: dict[str, list[str]] = {}
    sizes = {loaded.label: len(loaded.stimuli) for loaded in sets}
    matched: set[str] = set()
    refused = ""
    for loaded in sets:
        for stimulus in loaded.stimuli:
            path = model.find(stimulus)
            if path is None:
                lacking.setdefault(loaded.label, []).append(stimulus.image_id)
                continue
            if not matched:
                refused = _refusal(built, stimulus, postprocess)
            matched.add(path.name)
    if lacking:
        counts = "; ".join(
            f"{sizes[label] - len(ids)} of {sizes[label]} images of {label} have a map in "
            f"{model.root}, {_few(ids)} {'has' if len(ids) == 1 else 'have'} none"
            for label, ids in lacking.items()
        )
        ids = [image_id for some in lacking.values() for image_id in some]
        text = f"model {built.label}: {counts}. {_what_is_there(model.root, matched, ids)}"
        lost = max(len(ids) / sizes[label] for label, ids in lacking.items())
        if lost > max_lost or lost == 1:
            raise DataError(f"{text} (max_lost is {max_lost:g}.)")
        progress.notice(text)
    if refused:
        progress.notice(refused)


def _refusal(built: BuiltModel, stimulus: Stimulus, postprocess: bool) -> str:
    """Return a sentence that says why an image's map cannot be used; empty if it can."""
    (predicted,) = Predictor(built, None, postprocess).predict([stimulus])
    if not predicted.reason:
        return ""
    return (
        f"model {built.label}: the map of {printable(stimulus.image_id)} cannot be used, and "
        f"others may be like it: {predicted.reason}"
    )


def _what_is_there(root: Path, matched: set[str], ids: Sequence[str]) -> str:
    """Return sentences: which other files the folder holds, and how map files must be named."""
    files: list[str] = []
    folders: list[str] = []
    for path in sorted(root.iterdir()):
        (folders if path.is_dir() else files).append(path.name)
    maps = [name for name in files if name.endswith(ENDINGS)]
    others = [name for name in maps if name not in matched]
    wanted = f"a map is called like its image, such as {printable(ids[0])}.npy (or {_endings()})"
    if not maps:
        inside = f"; it has the folders {_few(folders)}" if folders else ""
        named = f" ({_few(files)})" if files else ""
        return f"No file there{named} is a map{inside}; {wanted}."
    if not others:
        return f"Every file there is some image's map; {wanted}."
    meant = _same_but_spelled(others, ids)
    guess = f"; is {meant[0]} the map of {meant[1]}?" if meant else ""
    how_many = "1 file there matches" if len(others) == 1 else f"{len(others)} files there match"
    return f"{how_many} no image, {_few(others)}{guess}; {wanted}."


def _endings() -> str:
    return ", ".join(ENDINGS[1:])


def _same_but_spelled(files: Sequence[str], ids: Sequence[str]) -> tuple[str, str] | None:
    """Return a file and an image whose names differ only in case, separators or file ending."""
    images = {_letters(image_id): image_id for image_id in ids}
    images |= {_letters(Path(image_id).stem): image_id for image_id in ids}
    for name in files:
        image_id = images.get(_letters(Path(name).stem)) or images.get(_letters(name))
        if image_id is not None:
            return printable(name), printable(image_id)
    return None


def _letters(name: str) -> str:
    """Return a name's letters and digits, all in lower case."""
    return "".join(c for c in name.lower() if c.isalnum())


def _few(names: Sequence[str]) -> str:
    shown = " and ".join(printable(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} for two"
