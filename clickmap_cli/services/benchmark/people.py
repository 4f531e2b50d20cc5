"""Ceilings and nulls: score people against people in every image of a data set."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from clickmap_cli.clickmaps.agreement import OtherImages
from clickmap_cli.datasets.fixations import OtherFixations
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.benchmark.data import LoadedSet
from clickmap_cli.services.benchmark.job import Job
from clickmap_cli.services.benchmark.result import Failure, PeopleScore
from clickmap_cli.services.benchmark.scores import PeopleTask, score_people


def people_of(job: Job, loaded: LoadedSet, others: OtherFixations) -> tuple[PeopleScore, ...]:
    """Return the ceiling and null of every image that at least two named people looked at.

    Args:
        job: the run; images in its journal are not scored again.
        loaded: the data set; the result follows its order of images.
        others: gives each image negatives and a centre bias from the set's other images.
    """
    known = [stimulus.people() is not None for stimulus in loaded.stimuli]
    if not any(known):
        return ()
    draws = _draws(job, loaded, known)
    journal = job.folder.lines(f"people of {loaded.label}")
    done = {record["image_id"]: PeopleScore(**record) for record in journal.records()}
    todo = [
        code
        for code, there in enumerate(known)
        if there and loaded.stimuli[code].image_id not in done
    ]
    job.progress.stage(f"People on {loaded.label}", len(todo))
    tasks = (_task(job, loaded, others, draws, code) for code in todo)
    refused = []
    with journal.writing():
        scored = job.pool.map(score_people, tasks, job.seconds(loaded, len(todo)))
        for code, found in zip(todo, scored, strict=True):
            if isinstance(found, str):
                refused.append(Failure(loaded.label, "", loaded.stimuli[code].image_id, found))
            else:
                journal.append(asdict(found))
                done[found.image_id] = found
            job.progress.advance()
    if refused:
        job.progress.notice(
            f"{loaded.label}: {len(refused)} images have no ceiling: {refused[0].reason}"
        )
        job.left_out.unread += refused
    order = [stimulus.image_id for stimulus in loaded.stimuli]
    return tuple(done[image_id] for image_id in order if image_id in done)


def _draws(job: Job, loaded: LoadedSet, known: list[bool]) -> OtherImages:
    """Return the source from which each image's null draws other images."""
    keys = [stimulus.key for stimulus in loaded.stimuli]
    _, category = np.unique([s.category for s in loaded.stimuli], return_inverse=True)
    draws = OtherImages(keys, category.astype(np.int32), np.array(known), job.config.seed)
    if not draws.by_category and sum(known) > 1:
        job.progress.notice(
            f"{loaded.label}: all images are of one category, so the null comes from any "
            "other image of it."
        )
    sizes = {stimulus.size for stimulus, there in zip(loaded.stimuli, known, strict=True) if there}
    if len(sizes) > 1:
        job.progress.notice(
            f"{loaded.label}: images have {len(sizes)} shapes. For the null, what people did in "
            "another image comes to the shape of this one in relative coordinates."
        )
    return draws


def _task(
    job: Job, loaded: LoadedSet, others: OtherFixations, draws: OtherImages, code: int
) -> PeopleTask:
    config, stimulus = job.config, loaded.stimuli[code]
    people = stimulus.people()
    n = 0 if people is None else len(people.names)
    rng = generator(config.seed, stimulus.key, "null participants")
    null = [
        (loaded.stimuli[other], int(rng.integers(n)))
        for other in draws.draw(code, config.null_iterations)
    ]
    return PeopleTask(stimulus, others.around(stimulus), null, config.metrics, config.postprocess)
