"""Yields a few images of an experiment, one at a time, to show in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.visualize.agreement import find_agreement
from clickmap_cli.services.visualize.experiment import open_experiment
from clickmap_cli.services.visualize.options import VisualizeOptions, check_options
from clickmap_cli.services.visualize.pictures import Picture, picture_of
from clickmap_cli.services.visualize.run import chosen_images


def quick_look(
    config: ExperimentConfig, options: VisualizeOptions, progress: Progress
) -> Iterator[Picture]:
    """Yield the images that a configuration and options choose; each is read when requested.

    Agreement comes from an existing ceiling; it is computed only if it chooses the images.

    Args:
        config: the checked configuration.
        options: options whose `top`, `by` and `random` choose images; else `display_image_keys`
            does.
        progress: receives notices.

    Raises:
        ConfigError: the options contradict each other.
        DataError: the folder holds no finished run of `prepare`, or a map in it is damaged.
    """
    check_options(options)
    experiment = open_experiment(config, progress)
    agreement = None
    by_agreement = options.by in ("agreement", "disagreement")
    if by_agreement or (experiment.folder / "ceiling").is_dir():
        agreement = find_agreement(experiment, config, by_agreement, progress, compute=by_agreement)
    for code in chosen_images(experiment, config, options, agreement, progress):
        if agreement is None:
            yield picture_of(experiment, code)
        else:
            yield picture_of(experiment, code, float(agreement.values[code]), agreement.metric)
