"""The job of a configuration of any kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clickmap_cli.config.benchmark import BenchmarkConfig
from clickmap_cli.config.classifier import ClassifierConfig
from clickmap_cli.config.keypoints import KeypointConfig
from clickmap_cli.config.participant_quality import ParticipantQualityConfig
from clickmap_cli.config.saliency import SaliencyConfig
from clickmap_cli.services.job import Job


def job_for(config: Any) -> Job[Any, Any]:
    """Return the job that a configuration describes, to be checked and loaded, not to work.

    Args:
        config: a checked configuration of any kind. An experiment is one of `prepare`, or of
            `ceiling` if its `clickme_data` is a folder that `prepare` wrote.
    """
    unused: Any = None  # only `work` draws and shows a training
    job: Job[Any, Any]
    if isinstance(config, BenchmarkConfig):
        from clickmap_cli.services.benchmark.run import BenchmarkJob

        job = BenchmarkJob(config, unused)
    elif isinstance(config, SaliencyConfig):
        from clickmap_cli.services.finetune.run import SaliencyJob
        from clickmap_cli.training.distributed import Group

        job = SaliencyJob(config, unused, Group())
    elif isinstance(config, KeypointConfig):
        from clickmap_cli.services.keypoints.run import KeypointJob
        from clickmap_cli.training.distributed import Group

        job = KeypointJob(config, unused, unused, Group())
    elif isinstance(config, ClassifierConfig):
        from clickmap_cli.services.classifier.run import ClassifierJob

        job = ClassifierJob(config, unused, unused)
    elif isinstance(config, ParticipantQualityConfig):
        from clickmap_cli.services.participant_quality.run import QualityJob

        job = QualityJob(config, unused)
    elif config.clickme_data is not None and Path(config.clickme_data).is_dir():
        from clickmap_cli.services.ceiling.run import CeilingJob, CeilingStudy

        study = CeilingStudy(config, "split-half", subject_curve=False)
        job = CeilingJob(study, config.metric[0], unused)
    else:
        from clickmap_cli.services.prepare.run import PrepareJob

        job = PrepareJob(config, unused, None, merge=False)
    return job
