"""Names in filters and side tables that match no image of the trials."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.clickmaps.keys import match_keys, some_names
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.config.experiment import ExperimentConfig

_MOST = 20


def filter_words(value: str | Sequence[str] | None) -> list[str]:
    """Return the words of `file_inclusion_filter` or `file_exclusion_filter` as a list."""
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def unmatched_names(
    trials: Trials,
    config: ExperimentConfig,
    sizes: Mapping[str, Size] | None,
    categories: Collection[str] | None,
) -> Iterator[str]:
    """Yield notices about names that match no image.

    Args:
        trials: the trials as read, before any filter.
        config: the filters' settings.
        sizes: content of `metadata_file`, or None.
        categories: content of `class_filter_file`, or None.

    Yields:
        One sentence for each filter or table that holds such names.
    """
    keys = trials.images.tolist()
    if not keys:
        return  # nothing can match, and the run says so
    if sizes:
        lost = sorted(set(sizes) - set(match_keys(list(sizes), keys)))
        if lost:
            yield (
                f"metadata_file: {len(lost)} of {len(sizes)} entries name no image of the trials, "
                f"or more than one: {some_names(lost)}."
            )
    for name in ("file_inclusion_filter", "file_exclusion_filter"):
        words = filter_words(getattr(config, name))
        lost = [word for word in words if not any(word in key for key in keys)]
        if lost:
            yield (
                f"{name}: no image's key contains {some_names(lost, _MOST)} (one of the "
                f"keys is {keys[0]!r})."
            )
    if categories is not None:
        known = sorted(set(trials.categories.tolist()))
        lost = sorted(set(categories) - set(known))
        if lost:
            yield (
                f"class_filter_file: {len(lost)} of {len(categories)} categories match no image: "
                f"{some_names(lost, _MOST)} (the images' categories are {some_names(known)})."
            )
