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
"""Endings that a folder of results must not have; others, as in `run_v1.5`, are allowed."""
_UNLIMITED = ("max_subjects", "max_clicks")  # the field's scripts write -1 for no limit


def check_value(name: str, key: Key, value: Any, source: str) -> Any:
    """Return one value after checking its choices and range, on its own.

    Returns:
        The value; None for an empty word or `false` if the key may be null, and a word in lower
        case if the choices are limited.

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
    """Return text that the schema would read as a number, such as `nan`, as that number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def failing(sources: Mapping[str, str]) -> Callable[[str, str], None]:
    """Return a function that raises an error about a key and names where the key was set.

    Args:
        sources: key -> where its value comes from.

    Returns:
        A function of a key and the rest of the sentence; it raises ConfigError.
    """

    def fail(name: str, text: str) -> None:
        raise ConfigError(f"{sources.get(name, 'default')}: {name} {text}")

    return fail


def check_workers(n_jobs: int, fail: Callable[[str, str], None]) -> None:
    """Raise unless a number of workers is valid; `fail` is a function that `failing` returned.

    Raises:
        ConfigError: the number is 0.
    """
    if n_jobs == 0:
        fail("n_jobs", "is 0; use 1 for no parallel work or -1 for every core.")


def folder_fault(place: str) -> str | None:
    """Return why results cannot be written into a folder of this name, or None if they can.

    They cannot if the name is that of a file, or looks like one.

    Args:
        place: the folder; it need not exist yet.
    """
    path = Path(place)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError:  # a name that the file system rejects; the run reports it later
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
    """Raise unless the values of an experiment fit together, and put some into their final form.

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
    # store one number, so that hashes and manifests do not depend on how the size was set
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
    """Return a value that may be null, a word or a list of words as a list.

    Raises:
        ConfigError: the value is something else.
    """
    _check_words(name, value, fail)
    return [] if value is None else value if isinstance(value, list) else [value]


def _check_metrics(value: Any, source: str) -> list[str]:
    """Return the metric names in lower case, each once, in the order given."""
    words = value if isinstance(value, list) else [value]
    if not words:
        raise ConfigError(f"{source}: metric is empty. Known: {', '.join(METRICS)}.")
    names = [str(word).lower() for word in words]
    for word, name in zip(words, names, strict=True):
        if name not in METRICS:
            raise ConfigError(f"{source}: metric is {word!r}. {did_you_mean(name, METRICS)}")
    return list(dict.fromkeys(names))


def check_benchmark(config: BenchmarkConfig, sources: Mapping[str, str]) -> None:
    """Raise unless the values of a benchmark fit together, and put some into their final form.

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
    """Raise unless `deep_dive` names one metric that the benchmark scores; set its own spelling."""
    named = metric_names(config.deep_dive.metric, source)
    if len(named) > 1:
        fail("deep_dive", f"has the metric {config.deep_dive.metric}; name one.")
    (config.deep_dive.metric,) = named
    if config.deep_dive.n_images and named[0] not in config.metrics:
        fail("deep_dive", f"has the metric {named[0]}, which is none of metrics; add it there.")
