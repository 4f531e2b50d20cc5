"""Checks of the values of a fine-tuning that must fit together."""

from __future__ import annotations

from collections.abc import Mapping

from clickmap_cli.config.benchmark import dataset_specs, metric_names
from clickmap_cli.config.saliency import SaliencyConfig, fold_numbers, model_spec, stages_of
from clickmap_cli.config.validation import check_workers, failing, word_list


def check_saliency(config: SaliencyConfig, sources: Mapping[str, str]) -> None:
    """Raise unless the values fit together; words that may be lists become lists.

    Raises:
        ConfigError: two keys contradict each other, or one has the wrong form.
    """
    fail = failing(sources)
    check_workers(config.n_jobs, fail)
    model_spec(config)
    if len(dataset_specs(config)) != 1:
        fail("datasets", "names several data sets; a fine-tuning learns from one.")
    config.metrics = metric_names(config.metrics, sources.get("metrics", "default"))
    config.plugins = word_list("plugins", config.plugins, fail)
    config.wandb.tags = word_list("wandb.tags", config.wandb.tags, fail)
    config.cv.fold_files = word_list("cv.fold_files", config.cv.fold_files, fail)
    if config.cv.fold_files:
        config.cv.folds = len(config.cv.fold_files)
    stages_of(config)
    fold_numbers(config.cv.only_folds, config.cv.folds)
    if config.gt_cache_dir is not None and config.gt_aggregate == "random":
        fail("gt_aggregate", "is random and gt_cache_dir holds means; keep one.")
    if config.gt_cache_dir is not None and config.loss != "kl":
        fail("gt_cache_dir", f"holds maps, and loss {config.loss} learns from points.")
    if config.gt_cache_dir is not None and config.cv.group_by == "participant":
        fail("gt_cache_dir", "holds maps of everybody, and cv.group_by holds participants out.")
