"""The schema of a benchmark: data sets, models and metrics from one YAML."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clickmap_cli.config.fields import (
    Field,
    Key,
    fail,
    is_file_name,
    key,
    max_lost_key,
    workers_key,
)
from clickmap_cli.runtime.devices import DEVICES
from clickmap_cli.runtime.errors import ConfigError, did_you_mean, printable

SALIENCY_METRICS = (
    "AUC", "AUC_Judd", "sAUC", "NSS", "IG", "CC", "CC_mask", "KL", "SIM", "EMD", "MAE", "MSE",
    "Spearman",
)  # fmt: skip
ON_REQUEST = frozenset({"EMD", "Spearman"})
"""Metrics that `all` leaves out: they are slow, or the field's benchmarks do not use them."""


@dataclass
class Spec:
    """A data set or a model as a config names it.

    Attributes:
        label: its name in tables and files.
        name: its name in the registry.
        settings: all other settings of its entry. They are `Any` because their types are those of
            the registered function or class, which a plugin may add; `read_settings` checks them.
    """

    label: str = key("", "Its name in tables and files.", "scores")
    name: str = key("", "Its name in the registry.", "scores")
    settings: dict[str, Any] = key({}, "Its settings.", "scores")


@dataclass
class DataSetSpec(Spec):
    """A data set as `datasets` names it."""

    def to_config(self) -> dict[str, Any]:
        """Return the entry that a configuration holds."""
        return {"name": self.name, "label": self.label, **self.settings}


@dataclass
class ModelSpec(Spec):
    """A model as `models` or `model` names it."""

    def to_config(self) -> dict[str, Any]:
        """Return the entry that a configuration holds."""
        return {"name": self.label, "type": self.name, **self.settings}


DATASET_ENTRY = (
    Field("label", str | None, None, Key("what tables and files call it; null = its name.")),
    Field(
        "ids", str | list[str] | None, None,
        Key("a file with the only image ids that count, one a line, or a list of them."),
    ),
)  # fmt: skip
MODEL_ENTRY = (
    Field(
        "type", str | None, None,
        Key("the registered model, where `name` is your own word for it."),
    ),
    Field("cache", bool, True, Key("whether its predictions may be kept.")),
)  # fmt: skip
"""Settings that every entry of `datasets` or `models` accepts besides its own."""


def parse_datasets(value: Any) -> list[dict[str, Any]]:
    """Return `datasets` as fields of `DataSetSpec`.

    Accepted are a name, {name: ..., ...}, a list of them, and a mapping name -> settings.

    Raises:
        ConfigError: an entry has another form or no name, or two entries have the same label.
    """
    specs = []
    for entry in _entries(value, "datasets", ("label", "name")):
        name = _word(entry.pop("name", None), "datasets: a data set's name")
        label = plain_word(entry.pop("label", None) or name, "the label of a data set")
        specs.append({"label": label, "name": name, "settings": entry})
    _require_distinct(specs, "label", "data sets")
    return specs


def parse_models(value: Any) -> list[dict[str, Any]]:
    """Return `models` as fields of `ModelSpec`, from the same forms as `datasets`.

    Raises:
        ConfigError: an entry has another form or no name, or two entries have the same name.
    """
    specs = []
    for entry in _entries(value, "models", ("name", "type")):
        label = plain_word(entry.pop("name", None), "the name of a model")
        name = _word(entry.pop("type", None) or label, f"models: the type of {label}")
        specs.append({"label": label, "name": name, "settings": entry})
    _require_distinct(specs, "name", "models")
    return specs


def _parse_kwargs(value: Any) -> Any:
    """Return `model_kwargs`, in which a model without settings may be null."""
    known = isinstance(value, dict)
    return {k: {} if rest is None else rest for k, rest in value.items()} if known else value


def _entries(value: Any, what: str, own: tuple[str, str]) -> list[dict[str, Any]]:
    """Return copies of the entries of a list, of one entry, or of a mapping name -> settings.

    Args:
        value: the list, entry or mapping.
        what: the key that holds it, for messages.
        own: words of an entry for its own name and for the registered one. Where the settings of a
            mapping's item hold a `name`, that is the registered name.
    """
    if isinstance(value, dict) and "name" not in value:
        items: list[Any] = []
        for label, rest in value.items():
            settings = {} if rest is None else rest
            if not isinstance(settings, dict):
                raise ConfigError(f"{what}: {label} is {rest!r}; it must hold 'key: value' pairs.")
            words = {own[1]: settings["name"], own[0]: label} if "name" in settings else {}
            items.append({"name": label, **settings, **words})
    else:
        items = [] if value in (None, False) else value if isinstance(value, list) else [value]
    entries = [{"name": item} if isinstance(item, str) else item for item in items]
    for entry in entries:
        if not isinstance(entry, dict):
            raise ConfigError(f"{what}: {entry!r} is neither a name nor {{name: ..., ...}}.")
    return [dict(entry) for entry in entries]


def _word(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{what} is {value!r}; it must be a word.")
    return value


def plain_word(value: Any, what: str) -> str:
    """Return a name after checking that it can become part of a file name.

    Raises:
        ConfigError: the name is not a word, holds slashes or unprintable characters, or is too
            long.
    """
    word = _word(value, what)
    if not is_file_name(word):
        raise ConfigError(f"{what} is {word!r}; it names files, so it must hold no slashes.")
    if len(word.encode()) > 100:
        raise ConfigError(f"{what} is too long for a file name: '{printable(word, 40)}'")
    return word


def _require_distinct(specs: list[dict[str, Any]], what: str, of: str) -> None:
    lower = [spec["label"].lower() for spec in specs]
    for at, word in enumerate(lower):
        if word in lower[:at]:
            raise ConfigError(
                f"Two {of} have the {what} '{specs[at]['label']}'; give each its own, or their "
                "files would be the same."
            )


# fmt: off
# One line per key, so that the schema reads as a table.
@dataclass
class HeatmapPictures:
    """Pictures of predictions."""

    enabled: bool = key(False, "Write a picture of every prediction.", "output")
    overlay: bool = key(True, "Also write it over its image.", "output")
    normalize: str = key("max", "Scale of a picture: max (0 to its maximum), minmax, sum (50 times its mean in full colour), rank or none (0 to 1, unscaled).", "output", choices=("max", "minmax", "sum", "rank", "none"))
    colormap: str = key("inferno", "Any matplotlib colour map.", "output")
    alpha: float = key(0.6, "Opacity of the hottest pixel over the image.", "output", minimum=0, maximum=1)
    out_dir: str | None = key(None, "Folder of the pictures; null = `<output_dir>/heatmaps`.", "run")


@dataclass
class DeepDive:
    """A second look at the images that a model matches worst."""

    n_images: int = key(0, "Number of worst images to score again with the model's other settings; 0 = none.", "scores", minimum=0)
    metric: str = key("CC", "Metric that selects the worst images and scores them again.", "scores", choices=SALIENCY_METRICS)


@dataclass
class BenchmarkConfig:
    """One benchmark. Relative paths are taken from the folder the command is called in."""

    experiment: str = key("benchmark", "Name of the benchmark in its report.", "run")
    output_dir: str = key("results", "Folder of the tables, pictures and report.", "run")
    prediction_cache_dir: str | None = key(None, "Folder of kept predictions; null = `<output_dir>/predictions`.", "run")
    cache_predictions: bool = key(True, "Keep predictions, and reuse those that are still valid.", "run")
    limit_images: int | None = key(None, "Use only this many images of each data set, the first ones; null = all.", "scores", minimum=1)
    predict_only: bool = key(False, "Predict and stop, without scoring.", "scores")
    datasets: list[DataSetSpec] = key([], "List of {name, label, ...}: `clickmap benchmark --list` names them; the rest are the data set's settings.", "input", parse=parse_datasets)
    models: list[ModelSpec] = key([], "List of names or of {name, type, ...}; `type` is the registered model where `name` is your own.", "input", parse=parse_models)
    active_models: list[str] | None = key(None, "Run only these of `models`; null = all.", "input")
    model_kwargs: dict[str, dict[str, Any]] = key({}, "Model name -> further settings of that model.", "input", parse=_parse_kwargs)
    plugins: list[str] = key([], "Your own Python files that register models or data sets.", "input")
    metrics: list[str] = key(["all"], "A metric or a list; `all` is every one but EMD and Spearman.", "scores", choices=("all", *SALIENCY_METRICS))
    postprocess: bool = key(True, "Clip maps at 0 and scale them to sum 1 (densities are left alone).", "scores")
    ceiling: bool = key(True, "Also score people, where a data set tells them apart: ceiling, null and normalised scores.", "scores")
    null_iterations: int = key(10, "Draws of another image for the null.", "scores", minimum=1)
    centerbias_bandwidth: float = key(0.04, "Kernel of the centre bias in IG, in image widths.", "scores", minimum=1e-6)
    seed: int = key(0, "Seed of every random draw.", "scores", minimum=0)
    max_lost: float = max_lost_key()
    heatmaps_png: HeatmapPictures = key(HeatmapPictures, "Pictures of predictions (see below).", "output")
    deep_dive: DeepDive = key(DeepDive, "Levels and signs that would have matched the worst images (eigencam; see below).", "scores")
    report_images: int = key(25, "Best and worst images that the report shows for each model and metric; 0 = none.", "output", minimum=0)
    n_jobs: int = workers_key("Workers; -1 = every core. Results never depend on it.")
    backend: str = key("loky", "Scoring runs in processes (loky), in threads (threading) or on a Dask cluster (dask). Results never depend on it.", "run", choices=("loky", "threading", "dask"))
    scheduler: str | None = key(None, "Address of the Dask cluster's scheduler, such as tcp://192.168.0.7:8786, for backend: dask.", "run")
    device: str = key("auto", "auto, cpu, cuda or mps, for models that do not set their own.", "run", choices=DEVICES)

# fmt: on

BENCHMARK_ALIASES = {"experiment_name": "experiment", "metric": "metrics"}
"""Old name -> current name."""


def model_specs(config: BenchmarkConfig) -> list[ModelSpec]:
    """Return the models to run, each with all of its settings.

    Raises:
        ConfigError: `active_models` or `model_kwargs` names a model that `models` does not have, or
            no model is left.
    """
    labels = [spec.label for spec in config.models]
    active = labels if config.active_models is None else config.active_models
    for name, names in (("model_kwargs", config.model_kwargs), ("active_models", active)):
        for label in names:
            if label not in labels:
                near = did_you_mean(label, labels)
                raise ConfigError(f"{name}: no model '{label}' in models. {near}")
    if not active:
        empty = "active_models" if labels else "models"
        raise ConfigError(f"{empty} is empty; name at least one, such as center_bias.")
    return [
        ModelSpec(
            spec.label, spec.name, {**spec.settings, **config.model_kwargs.get(spec.label, {})}
        )
        for spec in config.models
        if spec.label in active
    ]


def ordered_metrics(names: list[str]) -> list[str]:
    """Return metrics in the order of the columns, with those that `all` stands for."""
    wanted = set(names)
    if "all" in wanted:
        wanted |= set(SALIENCY_METRICS) - ON_REQUEST
    return [name for name in SALIENCY_METRICS if name in wanted]


def check_benchmark(config: BenchmarkConfig, sources: Mapping[str, str]) -> None:
    """Raise unless the values of a benchmark fit together; set its metrics in their order.

    Raises:
        ConfigError: two keys contradict each other, or a list is empty.
    """
    require_data_and_metrics(config, sources)
    kept = config.cache_predictions or config.heatmaps_png.enabled
    if config.predict_only and not kept:
        fail(
            sources,
            "predict_only",
            "is true and cache_predictions false: predictions would be lost. Keep the cache, or "
            "heatmaps_png.enabled: true writes pictures of them.",
        )
    dive = config.deep_dive
    if dive.n_images and dive.metric not in config.metrics:
        text = f"has the metric {dive.metric}, which is none of metrics; add it there."
        fail(sources, "deep_dive", text)
    labels = [spec.label for spec in config.datasets]
    models = [spec.label for spec in model_specs(config)]
    files: dict[str, str] = {}
    for label, model, end in itertools.product(labels, models, ("", "_summary", "_details")):
        name = f"{label}__{model}{end}.csv"
        first = files.setdefault(name.lower(), f"{model} on {label}")
        if first != f"{model} on {label}":
            raise ConfigError(
                f"The tables of {first} and of {model} on {label} would both be {name}; rename one."
            )


def require_data_and_metrics(config: Any, sources: Mapping[str, str]) -> None:
    """Raise unless a configuration that scores has data sets and metrics; order its metrics.

    Args:
        config: any configuration with `datasets` and `metrics`; its metrics are put in the order of
            the columns.
        sources: key -> where its value comes from.

    Raises:
        ConfigError: one of them is empty.
    """
    if not config.datasets:
        fail(sources, "datasets", "is empty; name at least one, such as {name: folder, root: ...}.")
    config.metrics = ordered_metrics(config.metrics)
    if not config.metrics:
        fail(sources, "metrics", f"is empty. Known: {', '.join(SALIENCY_METRICS)}.")
