"""The schema of a benchmark: data sets, models and metrics from one YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from clickmap_cli.config.fields import key, max_lost_key
from clickmap_cli.runtime.devices import DEVICES
from clickmap_cli.runtime.errors import ConfigError, did_you_mean, printable

SALIENCY_METRICS = (
    "AUC", "AUC_Judd", "sAUC", "NSS", "IG", "CC", "CC_mask", "KL", "SIM", "EMD", "MAE", "MSE",
    "Spearman",
)  # fmt: skip
ON_REQUEST = frozenset({"EMD", "Spearman"})
"""Metrics that `all` leaves out: they are slow, or the field's benchmarks do not use them."""


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
    out_dir: str | None = key(None, "Folder of the pictures; null = `<output_dir>/heatmaps`.", "run", false_is_null=True)


@dataclass
class DeepDive:
    """A second look at the images that a model matches worst."""

    n_images: int = key(0, "Number of worst images to score again with the model's other settings; 0 = none.", "scores", minimum=0)
    metric: str = key("CC", "Metric that selects the worst images and scores them again.", "scores")


@dataclass
class BenchmarkConfig:
    """One benchmark. Relative paths are taken from the folder the command is called in."""

    experiment: str = key("benchmark", "Name of the benchmark in its report.", "run")
    output_dir: str = key("results", "Folder of the tables, pictures and report.", "run")
    prediction_cache_dir: str | None = key(None, "Folder of kept predictions; null = `<output_dir>/predictions`.", "run", false_is_null=True)
    cache_predictions: bool = key(True, "Keep predictions, and reuse those that are still valid.", "run")
    limit_images: int | None = key(None, "Use only this many images of each data set, the first ones; null = all.", "scores", minimum=1, false_is_null=True)
    predict_only: bool = key(False, "Predict and stop, without scoring.", "scores")
    datasets: Any = key([], "List of {name, label, ...}: `clickmap benchmark --list` names them; the rest are the data set's settings.", "input")
    models: Any = key([], "List of names or of {name, type, ...}; `type` is the registered model where `name` is your own.", "input")
    active_models: Any = key(None, "Run only these of `models`; null = all.", "input", false_is_null=True)
    model_kwargs: Any = key(None, "Model name -> further settings of that model.", "input", false_is_null=True)
    plugins: Any = key(None, "Your own Python files that register models or data sets.", "input", false_is_null=True)
    metrics: Any = key("all", "A metric or a list; `all` is every one but EMD and Spearman.", "scores")
    postprocess: bool = key(True, "Clip maps at 0 and scale them to sum 1 (densities are left alone).", "scores")
    ceiling: bool = key(True, "Also score people, where a data set tells them apart: ceiling, null and normalised scores.", "scores")
    null_iterations: int = key(10, "Draws of another image for the null.", "scores", minimum=1)
    centerbias_bandwidth: float = key(0.04, "Kernel of the centre bias in IG, in image widths.", "scores", minimum=1e-6)
    seed: int = key(0, "Seed of every random draw.", "scores", minimum=0)
    max_lost: float = max_lost_key()
    heatmaps_png: HeatmapPictures = field(default_factory=HeatmapPictures, metadata=key(None, "Pictures of predictions (see below).", "output").metadata)
    deep_dive: DeepDive = field(default_factory=DeepDive, metadata=key(None, "Levels and signs that would have matched the worst images (eigencam; see below).", "scores").metadata)
    report_images: int = key(25, "Best and worst images that the report shows for each model and metric; 0 = none.", "output", minimum=0)
    n_jobs: int = key(-1, "Workers; -1 = every core. Results never depend on it.", "run")
    backend: str = key("loky", "Scoring runs in processes (loky), in threads (threading) or on a Dask cluster (dask). Results never depend on it.", "run", choices=("loky", "threading", "dask"))
    scheduler: str | None = key(None, "Address of the Dask cluster's scheduler, such as tcp://192.168.0.7:8786, for backend: dask.", "run", false_is_null=True)
    device: str = key("auto", "auto, cpu, cuda or mps, for models that do not set their own.", "run", choices=DEVICES)

# fmt: on

BENCHMARK_ALIASES = {
    "experiment_name": "experiment",
    "metric": "metrics",
}
"""Old name -> current name."""


@dataclass(frozen=True)
class Spec:
    """A data set or a model as a config names it.

    Attributes:
        label: its name in tables and files.
        name: its name in the registry.
        settings: all other settings of its entry.
    """

    label: str
    name: str
    settings: Mapping[str, Any]


class NamesDataSets(Protocol):
    """A config with the key `datasets`."""

    datasets: Any


def dataset_specs(config: NamesDataSets) -> list[Spec]:
    """Return the data sets of a checked config, in order.

    Raises:
        ConfigError: an entry has no name, or two entries have the same label.
    """
    specs = []
    for entry in _entries(config.datasets, "datasets"):
        rest = dict(entry)
        name = _word(rest.pop("name", None), "datasets: a data set's name")
        label = plain_word(rest.pop("label", None) or name, "the label of a data set")
        specs.append(Spec(label, name, rest))
    if not specs:
        raise ConfigError(
            "datasets is empty; name at least one, such as {name: folder, root: ...}."
        )
    _once([spec.label for spec in specs], "label", "data sets")
    return specs


def model_specs(config: BenchmarkConfig) -> list[Spec]:
    """Return the models to run, each with all of its settings.

    Raises:
        ConfigError: an entry has no name, two entries have the same name, or `active_models` or
            `model_kwargs` names a model that `models` does not have.
    """
    more = config.model_kwargs or {}
    if isinstance(more, dict):
        more = {name: {} if rest is None else rest for name, rest in more.items()}
    if not isinstance(more, dict) or not all(isinstance(v, dict) for v in more.values()):
        raise ConfigError(f"model_kwargs is {more!r}; it must be model name -> settings.")
    specs = []
    for entry in _entries(config.models, "models"):
        rest = dict(entry)
        label = plain_word(rest.pop("name", None), "the name of a model")
        kind = _word(rest.pop("type", None) or label, f"models: the type of {label}")
        specs.append(Spec(label, kind, {**rest, **more.get(label, {})}))
    labels = [spec.label for spec in specs]
    _once(labels, "name", "models")
    for name in more:
        if name not in labels:
            raise ConfigError(f"model_kwargs: no model '{name}'. {did_you_mean(name, labels)}")
    active = config.active_models
    wanted = labels if active is None else active if isinstance(active, list) else [active]
    for name in wanted:
        if name not in labels:
            raise ConfigError(
                f"active_models: no model '{name}' in models. {did_you_mean(str(name), labels)}"
            )
    chosen = [spec for spec in specs if spec.label in wanted]
    if not chosen:
        empty = "active_models" if specs else "models"
        raise ConfigError(f"{empty} is empty; name at least one, such as center_bias.")
    return chosen


def _entries(value: Any, name: str) -> list[dict[str, Any]]:
    """Return the entries of a list of names or mappings, or of a mapping name -> settings."""
    if isinstance(value, dict) and "name" not in value:
        value = [_named(label, rest, name) for label, rest in value.items()]
    items = value if isinstance(value, list) else [value]
    entries = []
    for item in items:
        entry = {"name": item} if isinstance(item, str) else item
        if not isinstance(entry, dict):
            raise ConfigError(f"{name}: {item!r} is neither a name nor {{name: ..., ...}}.")
        entries.append(entry)
    return entries


def _named(label: Any, rest: Any, name: str) -> dict[str, Any]:
    """Return the entry for one item of a mapping name -> settings.

    If the settings hold a `name`, that is the registered name, and `label` is the entry's own.
    """
    settings = {} if rest is None else rest
    if not isinstance(settings, dict):
        raise ConfigError(f"{name}: {label} is {rest!r}; it must hold 'key: value' pairs.")
    if "name" not in settings:
        return {"name": label, **settings}
    own, registered = ("label", "name") if name == "datasets" else ("name", "type")
    return {**settings, registered: settings["name"], own: label}


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
    if word in (".", "..") or any(c in word for c in "/\\\0") or not word.isprintable():
        raise ConfigError(f"{what} is {word!r}; it names files, so it must hold no slashes.")
    if len(word.encode()) > 100:
        raise ConfigError(f"{what} is too long for a file name: '{printable(word, 40)}'")
    return word


def _once(words: list[str], what: str, of: str) -> None:
    lower = [word.lower() for word in words]
    for at, word in enumerate(lower):
        if word in lower[:at]:
            raise ConfigError(
                f"Two {of} have the {what} '{words[at]}'; give each its own, or their files would "
                "be the same."
            )


def metric_names(value: Any, source: str) -> list[str]:
    """Return metrics in their own spelling, in the order of the columns.

    Args:
        value: a name, a list of names, or `all`; upper and lower case are accepted.
        source: where the value was set, for messages.

    Raises:
        ConfigError: a metric is unknown.
    """
    words = value if isinstance(value, list) else [value]
    known = {name.lower(): name for name in SALIENCY_METRICS}
    found: set[str] = set()
    for word in words:
        lower = str(word).lower().replace("-", "_")
        if lower == "all":
            found |= set(SALIENCY_METRICS) - ON_REQUEST
        elif lower in known:
            found.add(known[lower])
        else:
            raise ConfigError(
                f"{source}: metrics has {word!r}. {did_you_mean(str(word), SALIENCY_METRICS)}"
            )
    if not found:
        raise ConfigError(f"{source}: metrics is empty. Known: {', '.join(SALIENCY_METRICS)}.")
    return [name for name in SALIENCY_METRICS if name in found]
