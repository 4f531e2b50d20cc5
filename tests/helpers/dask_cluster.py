"""A real Dask scheduler and real workers on loopback, each a process that may be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Cluster:
    """A scheduler and its workers, in their own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []
        self._file = folder / "scheduler.json"
        self.scheduler = self._start(
            "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"
        )
        until = time.monotonic() + 60
        while not self._file.is_file():
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.05)
        self.address = str(json.loads(self._file.read_text())["address"])

    def _start(self, what: str, *words: str) -> subprocess.Popen[bytes]:
        env = {
            **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
            "DASK_TEMPORARY_DIRECTORY": str(self.folder),
        }  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{what}", "--scheduler-file",
                 str(self._file), *words],
                env=env, cwd=self.folder, stdout=log, stderr=log,
            )  # fmt: skip

    def start_worker(self) -> None:
        """One more worker of one thread, without a nanny that would start it again."""
        self.workers.append(
            self._start("dask_worker", "--no-nanny", "--nthreads", "1", "--no-dashboard")
        )

    def wait_for_workers(self, count: int) -> None:
        """Until so many are connected."""
        import distributed

        with distributed.Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=60)

    def kill_worker(self) -> None:
        """SIGKILL one of them."""
        worker = self.workers.pop()
        worker.send_signal(signal.SIGKILL)
        worker.wait()

    def stop(self) -> None:
        """SIGKILL all that is left."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@contextmanager
def cluster_in(folder: Path) -> Iterator[Cluster]:
    """A cluster of no workers yet."""
    folder.mkdir()
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.stop()
