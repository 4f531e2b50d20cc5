"""Ranges and combinations of values, checked before any work starts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clickmap_cli.config.benchmark import (
    BenchmarkConfig,
    dataset_specs,
    metric_names,
    model_specs,
)
from clickmap_cli.config.experiment import METRICS, ExperimentConfig, blur_window
from clickmap_cli.config.fields import Key
from clickmap_cli.runtime.errors import ConfigError, did_you_mean

_MAX_SIDE = 65_536
_FILE_ENDINGS = frozenset(
    {
        ".bmp", ".bz2", ".ckpt", ".csv", ".gif", ".gz", ".h5", ".hdf5", ".htm", ".html", ".ipynb",
        ".jpeg", ".jpg", ".json", ".jsonl", ".log", ".mat", ".md", ".npy", ".npz", ".parquet",
        ".pdf", ".pickle", ".pkl", ".png", ".pt", ".pth", ".py", ".svg", ".tar", ".tif", ".tiff",
        ".tsv", ".txt", ".xls", ".xlsx", ".yaml", ".yml", ".zip", ".zst",
    }
)  # fmt: skip
"""Endings that no folder of results has; others, as in `run_v1.5`, are part of its name."""
_UNLIMITED = ("max_subjects", "max_clicks")  # where the field's scripts write -1 for no limit


def check_value(name: str, key: Key, value: Any, source: str) -> Any:
    """One value on its own: empty words, choices and ranges.

    Returns:
        The value, with `false` as None where the key may be absent, and words in lower case where
        the choices are limited.

    Raises:
        ConfigError: the value is not allowed; the message names `source`.
    """
    if key.false_is_null and (value is False or value in ("", "null", "None")):
        return None
    if name in _UNLIMITED and value == -1:
        return None
    if key.choices is not None and value is not None:
        word = str(value).lower()
        if word not in key.choices:
            raise ConfigError(
                f"{source}: {name} is {value!r}; it must be one of {', '.join(key.choices)}."
            )
        return word
    limited = key.minimum is not None or key.maximum is not None
    for item in value if isinstance(value, list) else [value]:
        number = _as_number(item) if limited else item
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        if not math.isfinite(number):
            raise ConfigError(f"{source}: {name} is {value!r}; it must be finite.")
        if key.minimum is not None and number < key.minimum:
            raise ConfigError(f"{source}: {name} is {value}; the least allowed is {key.minimum:g}.")
        if key.maximum is not None and number > key.maximum:
            raise ConfigError(f"{source}: {name} is {value}; the most allowed is {key.maximum:g}.")
    return value


def _as_number(value: Any) -> Any:
    """Text that the schema will take for a number, such as `nan`, as that number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def failing(sources: Mapping[str, str]) -> Callable[[str, str], None]:
    """What says that a key is wrong, and where it was set.

    Args:
        sources: key -> where its value comes from.

    Returns:
        A function of a key and the rest of the sentence; it raises ConfigError.
    """

    def fail(name: str, text: str) -> None:
        raise ConfigError(f"{sources.get(name, 'default')}: {name} {text}")

    return fail


def check_workers(n_jobs: int, fail: Callable[[str, str], None]) -> None:
    """Whether a number of workers means something; `fail` as `failing` makes it.

    Raises:
        ConfigError: it is 0.
    """
    if n_jobs == 0:
        fail("n_jobs", "is 0; use 1 for no parallel work or -1 for every core.")


def folder_fault(place: str) -> str | None:
    """Return why results cannot go into a folder of this name: it is a file, or looks like one.

    Args:
        place: the folder; it need not exist yet.
    """
    path = Path(place)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError:  # a name that no file system accepts is for the run to refuse
        return None
    if exists and not is_folder:
        return f"{place} is a file; name a folder for the results."
    if not exists and path.suffix.lower() in _FILE_ENDINGS:
        return (
            f"{place} looks like a file ({path.suffix}); results are written into a folder, so "
            "name a folder."
        )
    return None


def check_experiment(config: ExperimentConfig, sources: Mapping[str, str]) -> None:
    """Values that must fit one another.

    Raises:
        ConfigError: two keys contradict each other, or one has the wrong form.
    """
    fail = failing(sources)
    _check_name(config.experiment_name, fail)
    if config.output_dir is not None and sources.get("assets") == "command line":
        fail("assets", f"is {config.assets}, and results go to {config.output_dir}; name one.")
    for name in ("image_shape", "center_crop"):
        pair = getattr(config, name)
        if pair is not None and (len(pair) != 2 or max(pair) > _MAX_SIDE):
            fail(name, f"is {pair}; it must be [height, width] in pixels.")
    if config.center_crop is not None:
        limit = [min(config.image_shape)] * 2 if config.metadata_file else config.image_shape
        if any(crop > side for crop, side in zip(config.center_crop, limit, strict=True)):
            fail("center_crop", f"is {config.center_crop}; it is larger than the map {limit}.")
    if config.max_clicks is not None and config.max_clicks < config.min_clicks:
        fail("max_clicks", f"is {config.max_clicks}, below min_clicks {config.min_clicks}.")
    check_workers(config.n_jobs, fail)
    for name in ("file_inclusion_filter", "file_exclusion_filter", "display_image_keys"):
        _check_words(name, getattr(config, name), fail)
    # one number from here on, so that a hash or a manifest does not depend on how it was set
    config.blur_size = blur_window(config)
    config.metric = _check_metrics(config.metric, sources.get("metric", "default"))


def _check_name(name: str, fail: Any) -> None:
    if not name or name in (".", "..") or any(c in name for c in "/\\\0") or not name.isprintable():
        fail("experiment_name", f"is {name!r}; it must be a plain folder name, without slashes.")


def _check_words(name: str, value: Any, fail: Any) -> None:
    words = value if isinstance(value, list) else [value]
    if value is not None and not all(isinstance(word, str) and word for word in words):
        fail(name, f"is {value!r}; it must be a word or a list of words.")


def word_list(name: str, value: Any, fail: Any) -> list[str]:
    """A value that may be null, a word or a list of words, as a list.

    Raises:
        ConfigError: it is something else.
    """
    _check_words(name, value, fail)
    return [] if value is None else value if isinstance(value, list) else [value]


def _check_metrics(value: Any, source: str) -> list[str]:
    """Metric names in lower case, each once, in the order given."""
    words = value if isinstance(value, list) else [value]
    if not words:
        raise ConfigError(f"{source}: metric is empty. Known: {', '.join(METRICS)}.")
    names = [str(word).lower() for word in words]
    for word, name in zip(words, names, strict=True):
        if name not in METRICS:
            raise ConfigError(f"{source}: metric is {word!r}. {did_you_mean(name, METRICS)}")
    return list(dict.fromkeys(names))


def check_benchmark(config: BenchmarkConfig, sources: Mapping[str, str]) -> None:
    """Values of a benchmark that must fit one another.

    Raises:
        ConfigError: two keys contradict each other, or one has the wrong form.
    """
    fail = failing(sources)
    check_workers(config.n_jobs, fail)
    kept = config.cache_predictions or config.heatmaps_png.enabled
    if config.predict_only and not kept:
        fail(
            "predict_only",
            "is true and cache_predictions false: predictions would be lost. Keep the cache, or "
            "heatmaps_png.enabled: true writes pictures of them.",
        )
    config.plugins = word_list("plugins", config.plugins, fail)
    config.metrics = metric_names(config.metrics, sources.get("metrics", "default"))
    _check_dive(config, sources.get("deep_dive", "default"), fail)
    labels = [spec.label for spec in dataset_specs(config)]
    models = [spec.label for spec in model_specs(config)]
    files: dict[str, str] = {}
    for label, model, end in itertools.product(labels, models, ("", "_summary", "_details")):
        name = f"{label}__{model}{end}.csv"
        first = files.setdefault(name.lower(), f"{model} on {label}")
        if first != f"{model} on {label}":
            raise ConfigError(
                f"The tables of {first} and of {model} on {label} would both be {name}; rename one."
            )


def _check_dive(config: BenchmarkConfig, source: str, fail: Any) -> None:
    """One metric, in its own spelling, that the run scores."""
    named = metric_names(config.deep_dive.metric, source)
    if len(named) > 1:
        fail("deep_dive", f"has the metric {config.deep_dive.metric}; name one.")
    (config.deep_dive.metric,) = named
    if config.deep_dive.n_images and named[0] not in config.metrics:
        fail("deep_dive", f"has the metric {named[0]}, which is none of metrics; add it there.")
