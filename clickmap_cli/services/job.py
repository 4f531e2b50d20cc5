"""The one way in which a command that writes a folder runs.

`run_job` decides whether existing results stop the call, are resumed, replaced or kept, locks the
folder, writes the manifest, and cleans up after an error. A command only says what it reads, what
its numbers depend on, and what it computes: see `Job`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from clickmap_cli.config.loading import as_dict
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Progress, Stopwatch
from clickmap_cli.storage.folder import RunFolder, WhenPresent, already_done
from clickmap_cli.storage.manifest import Manifest, describe_files

Inputs = TypeVar("Inputs")
Summary = TypeVar("Summary")
Shared = TypeVar("Shared")
FileFacts = dict[str, dict[str, Any]]
"""Path -> {`size`, `sha256`}."""


@dataclass(frozen=True)
class Identity:
    """Identity of a run: everything its numbers depend on.

    Attributes:
        hash: hash of every setting and input that changes a number.
        inputs: the inputs with their hashes, for the manifest.
        missing: one sentence per missing input, which may explain a difference from an earlier run.
        needed: outputs this run must have although an equal earlier run may lack them.
    """

    hash: str
    inputs: Mapping[str, Mapping[str, Any]]
    missing: Sequence[str] = ()
    needed: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome(Generic[Summary]):
    """The outcome of a run.

    Attributes:
        folder: the output folder.
        summary: the results; after a dry run, what is known before the work.
        failures: items that were left out, a sentence each; the command's exit code is then 1.
        seconds: duration in seconds.
        outputs: written files, by their path inside the folder.
        written: False after a dry run, which writes nothing.
        reused: True if an equal finished run was found and nothing was done.
    """

    folder: Path
    summary: Summary
    failures: tuple[str, ...]
    seconds: float
    outputs: tuple[str, ...] = ()
    written: bool = True
    reused: bool = False


@dataclass
class Run:
    """A run that holds its folder; `Job.work` writes through it.

    Attributes:
        folder: the locked folder, and the record of finished pieces in it.
        identity: hash of what the numbers depend on.
        resumed: True if finished pieces of an earlier equal run are kept.
        progress: receives progress and notices.
        todo: jobs of this call that have work to do; see `run_jobs`.
        outputs: every output so far with size and SHA-256.
        counts: numbers of items for the manifest.
        notices: notices for the manifest; None = all that `progress` has kept.
    """

    folder: RunFolder
    identity: str
    resumed: bool
    progress: Progress
    todo: Sequence[Any]
    outputs: FileFacts = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    notices: Sequence[str] | None = None

    @property
    def path(self) -> Path:
        """The output folder."""
        return self.folder.path

    def add(self, paths: Iterable[Path]) -> None:
        """Add written files to the outputs, with the size and hash they have now."""
        self.outputs |= describe_files(self.path, paths)


class Job(ABC, Generic[Inputs, Summary]):
    """A command that writes a folder.

    Attributes:
        command: the command, as messages and the manifest name it.
        owns: names or patterns of outputs that only this command writes into its folder; those of
            an earlier run that a new one does not write are removed.
        folder: the output folder.
        config: the checked configuration.
        shard: number of the shard that this process makes, and number of all shards; None = all.
        merge: True to finish a run whose shards exist.
        first: False in the processes of a distributed run that write nothing.
    """

    command: str
    folder: Path
    config: Any = None  # each command has its own schema, and `as_dict` takes them all
    owns: tuple[str, ...] = ()
    shard: tuple[int, int] | None = None
    merge: bool = False
    first: bool = True

    def check(self, progress: Progress) -> Sequence[str]:
        """Check names, settings, plugins and lists of ids; read no data. `load` begins with it.

        Returns:
            Notices about the configuration. `load` gives its own, which know the data.
        """
        return ()

    @abstractmethod
    def load(self, progress: Progress, *, dry_run: bool) -> Inputs:
        """Read and check everything that can fail before the work, and write nothing.

        With `Findings` as `progress`, `load` goes on after a problem where it can, and what it
        returns lacks the parts that failed.
        """

    @abstractmethod
    def identity(self, inputs: Inputs) -> Identity:
        """Return what the numbers depend on."""

    @abstractmethod
    def work(self, inputs: Inputs, run: Run) -> Summary:
        """Compute and write the results, and add the files and counts to `run`."""

    @abstractmethod
    def preview(self, inputs: Inputs) -> Summary:
        """Return the summary of a dry run."""

    @abstractmethod
    def stored(self, inputs: Inputs, manifest: Manifest) -> Summary:
        """Return the summary of an equal run that was finished earlier."""

    def resources(self, progress: Progress, *, dry_run: bool) -> AbstractContextManager[Any]:
        """Return a context for the whole run, such as one that holds worker processes."""
        return nullcontext()

    def failures(self, summary: Summary) -> Sequence[str]:
        """Return a sentence for every item that was left out."""
        return ()

    def share(self, value: Shared) -> Shared:
        """Return the value of the first process of a distributed run."""
        return value

    def conclude(self, manifest: Manifest) -> None:
        """Write what depends on the manifest, which is written next."""

    def recorded_config(self) -> Mapping[str, Any]:
        """Return the configuration for the manifest."""
        return as_dict(self.config)

    def recorded_seed(self) -> int:
        """Return the seed for the manifest; 0 for a job that draws nothing at random."""
        return int(getattr(self.config, "seed", 0))


def run_job(
    job: Job[Inputs, Summary],
    when: WhenPresent = WhenPresent.STOP,
    *,
    dry_run: bool = False,
    progress: Progress,
) -> Outcome[Summary]:
    """Run a job, or find that it was done before.

    Args:
        job: the job.
        when: what to do with results that are in the folder.
        dry_run: only `load` and `preview`; write nothing.
        progress: receives progress and notices.

    Raises:
        ConfigError: the folder has results and `when` is STOP, or results of other settings and
            `when` is RESUME; and what `load` raises.
        RunError: another run holds the folder, it cannot be written, or its records are damaged.
    """
    return run_jobs([job], when, dry_run=dry_run, progress=progress)[0]


def run_jobs(
    jobs: Sequence[Job[Inputs, Summary]],
    when: WhenPresent = WhenPresent.STOP,
    *,
    dry_run: bool = False,
    progress: Progress,
) -> list[Outcome[Summary]]:
    """Run jobs that share their inputs; each has its own folder.

    The first job loads the inputs for all. Every folder is checked before the first one is changed,
    and `Run.todo` tells a job which jobs are left, so that one pass over the data can serve them.

    See `run_job` for the arguments and errors.
    """
    started = Stopwatch()
    lead = jobs[0]
    folders = [RunFolder(job.folder, job.command, job.owns) for job in jobs]
    with lead.resources(progress, dry_run=dry_run), ExitStack() as held:
        if lead.merge:
            when = WhenPresent.RESUME
        if lead.first and not dry_run and lead.shard is None:
            when = _require_startable(folders, when)
        inputs = lead.load(progress, dry_run=dry_run)
        if dry_run:
            return [_outcome(job, job.preview(inputs), started, written=False) for job in jobs]
        identities = [job.identity(inputs) for job in jobs]
        if lead.shard is not None:
            return [_run_shard(lead, folders[0], inputs, identities[0], when, started, progress)]
        done: list[Manifest | None] = [None] * len(jobs)
        if lead.first:
            if lead.merge:
                folders[0].require_shards(identities[0].hash)
            for folder in folders:
                held.enter_context(folder.held())
            for folder, own in zip(folders, identities, strict=True):
                folder.require_same(own.hash, when, own.missing)
            done = [
                folder.reuse_or_begin(own.hash, when, own.missing, own.needed)
                for folder, own in zip(folders, identities, strict=True)
            ]
        when = lead.share(when)
        is_done = lead.share([manifest is not None for manifest in done])
        todo = [job for job, there in zip(jobs, is_done, strict=True) if not there]
        outcomes = []
        for job, folder, own, manifest in zip(jobs, folders, identities, done, strict=True):
            if job not in todo:
                summary = lead.share(None if manifest is None else job.stored(inputs, manifest))
                names = () if manifest is None else tuple(manifest.outputs)
                outcomes.append(_outcome(job, summary, started, names, reused=True))
                progress.notice(already_done(folder.path), keep=False)
                continue
            run = Run(folder, own.hash, when is WhenPresent.RESUME, progress, todo)
            summary = lead.share(_work(job, inputs, run))
            if job.first:
                written = _manifest(job, own, run, started)
                job.conclude(written)
                folder.finish(written)
            outcomes.append(_outcome(job, summary, started, tuple(sorted(run.outputs))))
        return outcomes


def _require_startable(folders: Sequence[RunFolder], when: WhenPresent) -> WhenPresent:
    """Raise if a folder is locked, or has results and `when` is STOP.

    Returns:
        `when`; but RESUME instead of STOP if a run ended because the disk was full, so that the
        same command continues it and keeps what was done.
    """
    if when is WhenPresent.STOP and any(folder.ran_out_of_room() for folder in folders):
        when = WhenPresent.RESUME
    for folder in folders:
        folder.require_startable(when)
    return when


def _run_shard(
    job: Job[Inputs, Summary],
    folder: RunFolder,
    inputs: Inputs,
    identity: Identity,
    when: WhenPresent,
    started: Stopwatch,
    progress: Progress,
) -> Outcome[Summary]:
    """Make one shard of a run, and record its pieces for the later merge."""
    assert job.shard is not None  # noqa: S101 - the caller has checked
    with folder.shard_held(job.shard, identity.hash, when) as manifest:
        if manifest is not None:
            summary = job.stored(inputs, manifest)
            return _outcome(job, summary, started, tuple(manifest.outputs), reused=True)
        run = Run(folder, identity.hash, when is WhenPresent.RESUME, progress, [job])
        summary = _work(job, inputs, run)
    return _outcome(job, summary, started, tuple(sorted(run.outputs)))


def _work(job: Job[Inputs, Summary], inputs: Inputs, run: Run) -> Summary:
    try:
        return job.work(inputs, run)
    except DataError:
        if job.first:
            run.folder.abandon()
        raise


def _manifest(job: Job[Any, Any], identity: Identity, run: Run, started: Stopwatch) -> Manifest:
    return Manifest.made(
        command=job.command,
        config=job.recorded_config(),
        config_hash=identity.hash,
        inputs=identity.inputs,
        outputs=run.outputs,
        counts=run.counts,
        started=started,
        seed=job.recorded_seed(),
        notices=run.progress.kept if run.notices is None else run.notices,
    )


def _outcome(
    job: Job[Any, Summary],
    summary: Any,
    started: Stopwatch,
    outputs: tuple[str, ...] = (),
    *,
    written: bool = True,
    reused: bool = False,
) -> Outcome[Summary]:
    failures = tuple(job.failures(summary))
    return Outcome(job.folder, summary, failures, started.seconds, outputs, written, reused)
