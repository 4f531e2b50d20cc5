"""Work on a cluster: order, bounds, errors, and what happens when it goes away."""

from __future__ import annotations

import importlib
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clickmap_cli.runtime.errors import ConfigError, MissingExtraError, RunError
from clickmap_cli.runtime.parallel import Pool, open_pool
from clickmap_cli.runtime.progress import Silent
from tests.helpers.dask_cluster import Cluster, cluster_in

pytest.importorskip("distributed", reason="the extra 'dask' is not installed")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with cluster_in(tmp_path_factory.mktemp("dask") / "cluster") as started:
        started.start_worker()
        started.start_worker()
        started.wait_for_workers(2)
        yield started


@pytest.fixture
def pool(cluster) -> Iterator[Pool]:
    with open_pool("dask", 1, cluster.address, Silent()) as opened:
        yield opened


def slow_square(value: int) -> int:
    time.sleep(0.02 * (value % 3))
    if value < 0:
        raise ConfigError(f"{value} is negative")
    return value * value


def where(path: Path) -> tuple[str, int]:
    return str(path), os.getpid()


def test_results_come_in_order_from_other_processes(pool) -> None:
    assert pool.remote
    assert pool.workers() == 2
    assert list(pool.map(slow_square, range(20))) == [value * value for value in range(20)]
    assert list(pool.map(slow_square, [])) == []
    found = list(pool.map(where, [Path("here"), Path("/there")] * 4))
    assert [path for path, _ in found] == [str(Path.cwd() / "here"), "/there"] * 4
    assert os.getpid() not in {process for _, process in found}


def test_no_more_than_a_few_items_are_in_flight(pool) -> None:
    made = 0

    def items() -> Iterator[int]:
        nonlocal made
        for value in range(100):
            made += 1
            yield value

    results = pool.map(slow_square, items())
    for taken in range(1, 20):
        next(results)
        assert made <= taken + 4
    results.close()


def test_errors_come_after_the_results_before_them(pool) -> None:
    results = pool.map(slow_square, [1, 2, -3, 4])
    assert [next(results), next(results)] == [1, 4]
    with pytest.raises(ConfigError, match="-3 is negative"):
        next(results)

    def items() -> Iterator[int]:
        yield 5
        raise KeyError("no more")

    results = pool.map(slow_square, items())
    assert next(results) == 25
    with pytest.raises(KeyError):
        next(results)


def die(_: int) -> None:
    os._exit(9)


def test_work_that_kills_every_worker_ends_with_a_sentence(tmp_path) -> None:
    with cluster_in(tmp_path / "cluster") as own:
        with open_pool("dask", 1, own.address, Silent()) as pool:
            for _ in range(5):
                own.start_worker()
            with pytest.raises(RunError, match="4 Dask workers died at the same piece of work"):
                list(pool.map(die, [0]))


def test_an_empty_cluster_is_waited_for_and_a_lost_one_reported(tmp_path, monkeypatch) -> None:
    from clickmap_cli.runtime import dask_backend

    monkeypatch.setattr(dask_backend, "_PATIENCE", 0.2)
    progress = Silent()
    with cluster_in(tmp_path / "cluster") as own:
        with open_pool("dask", 1, own.address, progress) as pool:
            starts = threading.Timer(1, own.start_worker)
            starts.start()
            assert list(pool.map(slow_square, [3])) == [9]
            assert len([text for text in progress.notices if "No worker is connected" in text]) == 1
            results = pool.map(slow_square, range(100))
            next(results)
            own.stop()
            with pytest.raises(RunError, match="went away"):
                list(results)


def test_another_version_on_a_worker_is_refused(pool, monkeypatch) -> None:
    from clickmap_cli.runtime import dask_backend

    monkeypatch.setattr(dask_backend, "_versions", lambda: {"numpy": "0.0.1"})
    with pytest.raises(RunError, match=r"has numpy [0-9.]+ and this process 0\.0\.1"):
        list(pool.map(slow_square, [1]))


@pytest.mark.parametrize("address", ["nowhere", "foo://x:1", "tcp://127.0.0.1"])
def test_what_is_not_an_address_is_reported(address) -> None:
    with (
        pytest.raises(ConfigError, match="not an address"),
        open_pool("dask", 1, address, Silent()),
    ):
        pass


def test_a_missing_extra_is_reported(monkeypatch) -> None:
    original = importlib.import_module

    def without(name: str, *rest: str):
        if name in ("dask", "distributed"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.delitem(sys.modules, "clickmap_cli.runtime.dask_backend", raising=False)
    monkeypatch.setattr(importlib, "import_module", without)
    with (
        pytest.raises(MissingExtraError, match="dask"),
        open_pool("dask", 1, "tcp://127.0.0.1:1", Silent()),
    ):
        pass


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_backends_of_this_machine(backend) -> None:
    with open_pool(backend, 2, None, Silent()) as pool:
        assert not pool.remote
        assert pool.workers() == 2
        for seconds in (math.inf, 0):
            assert list(pool.map(slow_square, range(5), seconds)) == [0, 1, 4, 9, 16]
