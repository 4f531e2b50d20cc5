"""Start workers of a Dask cluster through SLURM, and print how clickmap uses them.

    pip install 'clickmap[dask]' dask-jobqueue
    python configs/slurm_dask.py --jobs 8

Run it where jobs may be submitted, and leave it running (in tmux, say): the scheduler lives in
this process, and its workers go when it ends. Then, in another terminal, the command it prints:

    clickmap prepare --config my.yaml --backend dask --scheduler tcp://...

`ceiling` and `benchmark` take the same two options. Workers must see the folder of results under
the same path as you do, and have the same versions of clickmap and numpy: start them from the same
environment. A worker that SLURM takes away loses nothing: its work goes to another one.
"""

from __future__ import annotations

import argparse
import sys
import threading

from dask_jobqueue import SLURMCluster


def main() -> None:
    """Submit the jobs, print the command, and wait for Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=8, help="workers, one a SLURM job")
    parser.add_argument("--cores", type=int, default=4, help="threads a worker")
    # a thread of `prepare` holds a shard's images one at a time; 2 GB each is plenty
    parser.add_argument("--memory", default="8GB", help="memory a worker")
    parser.add_argument("--walltime", default="04:00:00")
    parser.add_argument("--partition", default=None, help="the SLURM partition")
    parser.add_argument("--account", default=None)
    parser.add_argument("--interface", default=None, help="network between nodes, such as ib0")
    given = parser.parse_args()
    cluster = SLURMCluster(
        cores=given.cores,
        processes=given.cores,  # one thread a process: Python runs one thread at a time
        memory=given.memory,
        walltime=given.walltime,
        queue=given.partition,
        account=given.account,
        interface=given.interface,
        job_script_prologue=["export OMP_NUM_THREADS=1"],
    )
    # workers come and go with the queue: fewer while there is little to do
    cluster.adapt(minimum_jobs=1, maximum_jobs=given.jobs)
    sys.stdout.write(
        "clickmap prepare --config my.yaml --backend dask "
        f"--scheduler {cluster.scheduler_address}\n"
    )
    sys.stdout.flush()
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        cluster.close()


if __name__ == "__main__":
    main()
