"""Translates fine-tuning files of the Saliency Benchmark Playground into the keys of clickmap.

The playground's script reads a block `data:` and has other names and defaults. A setting with one
clear meaning here is translated, and a notice reports it; any other raises an error that names the
key to write.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NoReturn

from clickmap_cli.runtime.errors import ConfigError, did_you_mean

BLOCK = "data"
"""The block that identifies a file of the playground."""

_CENTER_BIAS = "data/centerbias/centerbias_mit1003.npy"
_DEFAULTS: Mapping[str, Any] = {
    "seed": 1337, "datasets.0.sigma_px": 15, "training.epochs": 1, "training.batch_size": 1,
    "training.lr": 1e-4, "training.weight_decay": 0.0, "training.optimizer": "adam",
    "training.schedule": "constant",
}  # fmt: skip
"""Current key -> the playground's default, used when a file does not set the key."""

_RENAMED: Mapping[str, str] = {
    "root": "datasets.0.root", "label": "datasets.0.label", "sigma_px": "datasets.0.sigma_px",
    "include_list": "datasets.0.ids", "gt_aggregate": "gt_aggregate",
    "gt_resize_interp": "gt_resize_interp", "gt_cache_dir": "gt_cache_dir",
    "batch_size": "training.batch_size", "cv_folds": "cv.folds", "num_workers": "n_jobs",
    "cv_fold_index": "cv.only_folds",
}  # fmt: skip
"""Key of `data` -> its name here."""

_UNLIKE: Mapping[str, str] = {
    "exclude_list": "write the ids to leave out into a list and name it in cv.holdout (no fold "
    "trains on them, every fold's model is scored on them), or list the others in "
    "data.include_list",
    "train": "name one data set in data.root; cv divides it (cv.folds, cv.fold_files, cv.holdout)",
    "val": "name one data set in data.root; cv divides it (cv.folds, cv.fold_files, cv.holdout)",
    "test": "name one data set in data.root; cv divides it (cv.folds, cv.fold_files, cv.holdout)",
}
"""Key of `data` that has no meaning here -> what to write instead."""

_CURRENT = {f"data.{old}": new for old, new in _RENAMED.items()} | {
    "model.device": "device", "training.loss": "loss",
}  # fmt: skip
"""Dotted key of the playground -> its name here."""

_UNUSED = ("allow_uniform_gt", "shuffle", "cv_shuffle", "train_split")
_KNOWN = (*_RENAMED, *_UNLIKE, *_UNUSED, "name")
_NETWORKS = ("deepgaze_iie", "deepgaze_iii", "readout")
"""Registered networks that have a centre bias and weights under the current names."""

_MODEL = ("use_uniform_centerbias", "centerbias_path", "pretrained")
_FINETUNE_ONLY = frozenset({
    "training", "freeze", "cv", "loss", "gt_aggregate", "gt_resize_interp", "gt_cache_dir",
})  # fmt: skip


def is_saliency(values: Mapping[str, Any]) -> bool:
    """Return True if a file without a task has the keys of a fine-tuning of saliency."""
    if "model" not in values or "models" in values:
        return False
    if "datasets" in values and _FINETUNE_ONLY & set(values):
        return True
    data, training, model = (
        part if isinstance(part, dict) else {}
        for part in (values.get(BLOCK), values.get("training"), values["model"])
    )
    own = set(data) & (set(_KNOWN) - {"root", "label", "name"})
    return BLOCK in values and bool(own or "stages" in training or set(_MODEL) & set(model))


def name_here(key: str) -> str:
    """Return the current name of a key of `data`, for messages; empty if it has no single one."""
    return _RENAMED.get(key.partition(".")[2], "")


class Translated:
    """The values of a file under the current keys.

    Args:
        values: values of the file.
        source: name of the file, for messages.

    Attributes:
        values: values by current top-level key.
        origins: current top-level key -> the file's key, where they differ.
        notices: sentences that report the translations.

    Raises:
        ConfigError: a key of the playground has no equivalent here, or two keys set the same value.
    """

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self.values: dict[str, Any] = copy.deepcopy(dict(values))
        self.origins: dict[str, str] = {}
        self.notices: list[str] = []
        self._source = source
        self._read: list[str] = []
        self._dropped: list[str] = []
        if BLOCK not in self.values:
            return
        data = self.values.pop(BLOCK)
        if not isinstance(data, dict):
            self._fail(f"data is {data!r}; name the data set in datasets: [{{name: ..., ...}}]")
        self._require_translatable(data)
        self.values["datasets"] = [{"name": "folder"}]
        self.origins["datasets"] = BLOCK
        self._model()
        self._folds(data)
        for name, value in data.items():
            if name in _RENAMED and name not in ("cv_folds", "cv_fold_index"):
                self._put(f"data.{name}", 1 if (name, value) == ("num_workers", 0) else value)
        self._training()
        wandb = self.values.get("wandb")
        if isinstance(wandb, dict) and wandb.get("mode", "") is None:
            del wandb["mode"]  # null is wandb's own default, which is also the default here
        filled = ", ".join(filter(None, (self._fill(*each) for each in _DEFAULTS.items())))
        self.notices.insert(0, f"{source}, read as {', '.join(self._read)}.")
        if filled:
            self.notices.append(
                f"{source} is silent on these, which are as in the playground: {filled}."
            )
        if self._dropped:
            self.notices.append(
                f"{source}: {', '.join(dict.fromkeys(self._dropped))} of the playground change "
                "nothing here and are not used."
            )

    def _require_translatable(self, data: Mapping[str, Any]) -> None:
        """Raise ConfigError unless every key of `data` has an equivalent; note unused ones."""
        if "datasets" in self.values:
            self._fail("data and datasets both name a data set; keep one")
        for name, value in data.items():
            if name not in _KNOWN:
                self._fail(
                    f"unknown key 'data.{name}'. {did_you_mean(str(name), _KNOWN).rstrip('.')}"
                )
            if name in _UNLIKE and value not in (None, False, ""):
                self._fail(f"data.{name} means nothing here; {_UNLIKE[name]}")
            if name in _UNUSED:
                self._dropped.append(f"data.{name}")
        if data.get("name", "folder") != "folder":
            self._fail(
                f"data.name is {data['name']!r}, and the playground reads a folder; name the data "
                "set in datasets: [{name: ..., ...}] in place of data"
            )
        if not data.get("root"):
            self._fail("data names no root; write data.root, or datasets: [{name: ..., ...}]")
        if data.get("allow_uniform_gt"):
            self._fail(
                "data.allow_uniform_gt is true, and an image without ground truth stops a "
                "fine-tuning here; list the others in data.include_list"
            )
        for name in ("shuffle", "cv_shuffle"):
            if data.get(name, True) is False:
                self._fail(
                    f"data.{name} is false, and folds are drawn by the seed here; list each fold's "
                    "held-out images in cv.fold_files"
                )

    def _model(self) -> None:
        """Set the model of the playground's script and its default centre bias."""
        model = self.values.get("model") or {}
        model = {"name": model} if isinstance(model, str) else model
        if not isinstance(model, dict):
            return
        self.values["model"] = model
        if "name" not in model:
            model["name"] = "deepgaze_iie"
            self.notices.append(
                f"{self._source}: model has no name; it is the playground's deepgaze_iie."
            )
        if "device" in model:
            self._put("model.device", model.pop("device") or "auto")
        named = {"centerbias", "centerbias_path", "use_uniform_centerbias"} & set(model)
        if model["name"] == "deepgaze_iie" and not named:
            model["centerbias_path"] = _CENTER_BIAS
            self.notices.append(
                f"{self._source} names no centre bias; it is {_CENTER_BIAS}, as in the playground."
            )

    def _folds(self, data: Mapping[str, Any]) -> None:
        """Set the folds, which the playground counts from 0 and clickmap always draws by seed."""
        folds = data.get("cv_folds")
        if type(folds) is not int or folds < 2:
            found = f"is {folds!r}" if "cv_folds" in data else "is not set"
            self._fail(
                f"data.cv_folds {found}, and there is no training here without held-out images; "
                "write data.cv_folds: 2 or more, or cv.folds: 1 with cv.holdout, and datasets in "
                "place of data"
            )
        self._put("data.cv_folds", folds)
        at = data.get("cv_fold_index")
        if at is not None:
            if type(at) is not int or not 0 <= at < folds:
                self._fail(
                    f"data.cv_fold_index is {at!r}; with cv_folds {folds} it is 0 to {folds - 1}"
                )
            self._put("data.cv_fold_index", [at + 1], f" {at}", f" {[at + 1]}")
        self.notices.append(
            "The playground's held-out images also choose its best weights; here cv.val_share of a "
            "fold's training images do, and the held-out ones are scored alone. A seed draws "
            "other folds here; cv.fold_files takes the playground's."
        )

    def _training(self) -> None:
        training = self.values.setdefault("training", {})
        if not isinstance(training, dict):
            return
        if "loss" in training:
            self._put("training.loss", training.pop("loss"))
        if training.pop("progress", training) is not training:
            self._dropped.append("training.progress")
        stages = training.get("stages")
        for at, stage in enumerate(stages if isinstance(stages, list) else []):
            if isinstance(stage, dict):
                self._stage(stage, f"training.stages.{at}")

    def _stage(self, stage: dict[str, Any], what: str) -> None:
        if stage.pop("train_features", None):
            self._fail(
                f"{what}.train_features is true, which moves batch statistics of frozen modules "
                "there; here those of trained modules move and no others, so leave it out"
            )
        if stage.pop("save_best_only", stage) is not stage:
            self._dropped.append("save_best_only")
        freeze = stage.get("freeze", {})
        if not isinstance(freeze, dict):
            return
        if _trains_backbone(freeze):
            self.notices.append(
                f"{what} trains modules of the backbone: their batch statistics move here, and "
                "stay as they are in the playground."
            )
        if freeze.get("scope", "all") == "all" and "blocks" in freeze:
            freeze.pop("scope", None)
        for name in ("scope", "n"):
            if name in freeze:
                self._fail(
                    f"{what}.freeze.{name} means nothing here; name blocks (mode: train_blocks, "
                    "blocks: [head]) and how much of the backbone trains in backbone_last_n_modules"
                )

    def _put(self, old: str, value: Any, was: str = "", now: str = "") -> None:
        """Set a value under its current key; `was` and `now` are values that the notice names."""
        new = _CURRENT[old]
        holder, last = self._holder(new)
        if last in holder:
            self._fail(f"{old}{was} and {new} both are set; keep one")
        holder[last] = value
        top, _, inner = new.partition(".")
        if not inner or top not in self.origins:
            self.origins[top] = old.partition(".")[0]
        self._read.append(f"{old}{was} as {new}{now}")

    def _fill(self, name: str, value: Any) -> str:
        """Set a key that the file does not set; return its part of the notice, or an empty text."""
        holder, last = self._holder(name)
        if last in holder:
            return ""
        holder[last] = value
        # every stage sets its own value, so the default is not used and needs no notice
        stages = self.values["training"].get("stages")
        if isinstance(stages, list) and all(isinstance(s, dict) and last in s for s in stages):
            return ""
        return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"

    def _holder(self, name: str) -> tuple[dict[str, Any], str]:
        """Return the mapping that holds a dotted key, and the key inside it."""
        top, _, inner = name.partition(".")
        if not inner:
            return self.values, top
        if top == "datasets":
            return self.values["datasets"][0], inner.partition(".")[2]
        if self.values.get(top) is None:
            self.values[top] = {}
        if not isinstance(self.values[top], dict):
            self._fail(f"{top} is {self.values[top]!r}; it must hold 'key: value' pairs")
        return self.values[top], inner

    def _fail(self, text: str) -> NoReturn:
        raise ConfigError(f"{self._source}: {text}.")


def _trains_backbone(freeze: Mapping[str, Any]) -> bool:
    blocks = freeze.get("blocks", ["all"])
    named = bool({"backbone", "all"} & set(blocks if isinstance(blocks, list) else [blocks]))
    frozen = freeze.get("mode", "train_blocks") == "freeze_blocks"
    return bool(freeze.get("backbone_last_n_modules")) or named is not frozen


def translate_models(values: dict[str, Any], sources: Mapping[str, str]) -> list[str]:
    """Rename settings of networks that the playground also has to their current names, in place.

    Args:
        values: values of a configuration, by current top-level key.
        sources: key -> where it was set, for messages.

    Returns:
        Notices.

    Raises:
        ConfigError: two settings contradict each other, or one asks to download weights.
    """
    notices: list[str] = []
    for top in ("model", "models", "model_kwargs"):
        held = values.get(top)
        # one network, a list of them, or name -> settings
        entries: dict[Any, Any] = {}
        if isinstance(held, dict):
            entries = {"": held} if top == "model" or "name" in held else held
        elif isinstance(held, list):
            entries = dict(enumerate(held))
        for place, entry in entries.items():
            if not isinstance(entry, dict) or not set(_MODEL) & set(entry):
                continue
            kind = entry.get("type", entry.get("name", place))
            if kind in _NETWORKS:  # other models may have their own settings of these names
                what = top if place == "" else f"{top}.{place}"
                notices += _translate_model(entry, what, sources.get(top, top))
    return notices


def _translate_model(model: dict[str, Any], what: str, source: str) -> list[str]:
    """Rename the settings of one network to their current names, and return notices."""
    read, notices = [], []
    uniform, path = model.pop("use_uniform_centerbias", None), model.pop("centerbias_path", None)
    name = "use_uniform_centerbias" if uniform else "centerbias_path"
    wanted = "uniform" if uniform else path
    if wanted is not None:
        if model.setdefault("centerbias", wanted) != wanted:
            raise ConfigError(
                f"{source}: {what}.centerbias is {model['centerbias']!r} and {what}.{name} asks "
                f"for {wanted}; keep one."
            )
        read.append(f"{what}.{name} as {what}.centerbias {wanted}")
    if uniform and path is not None:
        notices.append(
            f"{what}.centerbias_path is not used, as {what}.use_uniform_centerbias is true."
        )
    if "pretrained" in model:
        pretrained = model.pop("pretrained")
        if pretrained and not model.get("weights_path"):
            raise ConfigError(
                f"{source}: {what}.pretrained is {pretrained!r}, and no weights are downloaded "
                f"here; name the checkpoint's file in {what}.weights_path."
            )
        if not pretrained:
            model.setdefault("weights", "none")
            read.append(f"{what}.pretrained {pretrained} as {what}.weights none")
    if read:
        notices.insert(0, f"Read as the playground has them: {', '.join(read)}.")
    return notices
