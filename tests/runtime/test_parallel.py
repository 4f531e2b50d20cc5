from __future__ import annotations

import os
import signal
import threading
import warnings

import joblib
import pytest

from clickmap_cli.runtime.errors import DataError, RunError
from clickmap_cli.runtime.parallel import START_SECONDS, ordered_map, worker_count


def square(x: int) -> int:
    return x * x


@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_results_come_in_the_order_of_the_items(backend, n_jobs) -> None:
    assert list(ordered_map(square, range(20), n_jobs, backend)) == [x * x for x in range(20)]


def made(n: int):
    """Items of which the one after the n-th cannot be made."""
    yield from range(n)
    raise DataError(f"item {n} is damaged")


@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("n", [0, 1, 7])
def test_an_item_that_cannot_be_made_costs_no_result_before_it(backend, n_jobs, n) -> None:
    found = []
    with pytest.raises(DataError, match=f"item {n} is damaged"):
        for value in ordered_map(square, made(n), n_jobs, backend):
            found.append(value)  # noqa: PERF402 - those before the error count
    assert found == [x * x for x in range(n)]


def inverse(x: int) -> float:
    return 1 / x


@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_the_function_raises_is_raised(backend, n_jobs) -> None:
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(inverse, [2, 1, 0], n_jobs, backend))


def test_who_stops_early_hears_nothing_of_it() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        results = ordered_map(square, range(50), 2, "loky")
        assert next(results) == 0
        results.close()
    assert [str(one.message) for one in said] == []


def end_worker(number: int) -> int:
    os.kill(os.getpid(), number)
    return number


@pytest.mark.parametrize(
    ("number", "error", "said"),
    [
        (signal.SIGKILL, RunError, r"\(SIGKILL\), most often for lack of memory"),
        # schedulers end workers and the run together, in any order
        (signal.SIGTERM, KeyboardInterrupt, "^$"),
    ],
)
def test_a_worker_that_is_ended_ends_the_run(number, error, said) -> None:
    with pytest.raises(error, match=said):
        list(ordered_map(end_worker, [int(number)] * 4, 2, "loky"))


def test_worker_counts() -> None:
    assert worker_count(3) == 3
    assert worker_count(-1) == joblib.cpu_count()
    assert worker_count(-100) == 1
    assert worker_count(3, START_SECONDS) == 3
    assert worker_count(3, START_SECONDS - 1e-3) == worker_count(-1, 0) == 1
    with pytest.raises(ValueError, match="n_jobs is 0"):
        worker_count(0)


def test_an_error_waits_for_the_threads_that_are_at_work() -> None:
    begun, failing, done = threading.Event(), threading.Event(), threading.Event()

    def work(item: int) -> None:
        if item == 0:
            begun.wait()
            failing.set()
            raise ZeroDivisionError
        if item == 1:
            begun.set()
            failing.wait()
            done.wait(0.2)  # the error is on its way meanwhile
            done.set()

    with pytest.raises(ZeroDivisionError):
        list(ordered_map(work, iter([0, 1]), 2, "threading"))
    assert done.is_set()
