from __future__ import annotations

import hashlib
import os
import signal
import threading
import warnings

import numpy as np
import pytest

from clickmap_cli.reports.console import Terminal
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.errors import DataError, RunError, did_you_mean, printed
from clickmap_cli.runtime.parallel import cpu_count, ordered_map, worker_count
from clickmap_cli.runtime.seeding import generator


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
    assert worker_count(-1) == cpu_count()
    assert worker_count(-100) == 1
    with pytest.raises(ValueError, match="n_jobs is 0"):
        worker_count(0)


def test_generators_depend_on_their_names_alone() -> None:
    def draw(*names: str, seed: int = 0) -> list[float]:
        return generator(seed, *names).random(3).tolist()

    assert draw("a", "b") == draw("a", "b")
    assert (
        len({tuple(draw(*n)) for n in (("a", "b"), ("ab",), ("a",), ("b", "a"), ("a", "b", ""))})
        == 5
    )
    assert draw("a", seed=1) != draw("a")
    # no two of many images share a stream
    firsts = {
        generator(seed, f"{at}.png", "halves").random() for seed in (0, 1) for at in range(900)
    }
    assert len(firsts) == 1800
    # independent streams: correlations of many stay around zero
    streams = np.array([generator(0, str(i)).random(200) for i in range(50)])
    off = np.corrcoef(streams)[np.triu_indices(50, 1)]
    assert abs(off.mean()) < 0.01


@pytest.mark.parametrize("words", [(), ("a.png",), ("é/\ud800.png", "halves"), ("", "")])
def test_a_stream_stays_what_published_numbers_were_drawn_from(words) -> None:
    text = "7" + "".join("\x1f" + word for word in words)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    number = sum(byte << (8 * at) for at, byte in enumerate(digest[:16]))
    wanted = np.random.Generator(np.random.PCG64(number)).random(4)
    np.testing.assert_array_equal(generator(7, *words).random(4), wanted)


def test_suggestions() -> None:
    assert did_you_mean("blur_sise", ["blur_size", "x"]) == "Did you mean 'blur_size'?"
    assert did_you_mean("qqq", ["b", "a"]) == "Known: a, b."
    assert did_you_mean("Blur_Size", ["blur_size", "x"]) == "Did you mean 'blur_size'?"
    deep = ["deepgaze_iie", "deepgaze_iii", "deepgaze_v3", "uniform"]
    wanted = "Did you mean 'deepgaze_iie', 'deepgaze_iii' or 'deepgaze_v3'?"
    assert did_you_mean("deepgaze", deep) == wanted
    assert did_you_mean("de", deep).startswith("Known: ")
    assert did_you_mean("", ["a"]) == "Known: a."


def test_devices_that_are_not_there_are_refused() -> None:
    import torch

    assert choose_device("cpu") == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(RunError, match="no such device"):
            choose_device("cuda")
        assert choose_device("auto") in ("cpu", "mps")
    else:
        assert choose_device("auto") == "cuda"


def test_errors_survive_the_way_from_a_worker() -> None:
    import pickle

    from clickmap_cli.runtime.errors import ConfigError, MissingExtraError

    for error in (ConfigError("a"), MissingExtraError("emd", "the metric 'emd'")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))


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


def test_texts_of_strangers_give_a_terminal_no_orders() -> None:
    assert printed("plain é 猫 text") == "plain é 猫 text"
    assert printed("\x1b[31mred\x07\ud800\u202e\r") == r"\x1b[31mred\x07\ud800\u202e\r"
    assert printed("two\nlines") == "two\nlines"
    error = DataError("the image '\x1b]0;title\x07' is missing")
    assert str(error) == r"the image '\x1b]0;title\x07' is missing"
    assert str(DataError()) == ""


def test_a_terminal_is_given_no_orders(capsys) -> None:
    terminal = Terminal()
    evil = "\x1b[2J\x07\ud800[red]x"
    with terminal:
        terminal.stage("reading", 2)
        terminal.describe(evil)
        for say in (terminal.notice, terminal.warn, terminal.error):
            say(evil)
    told = capsys.readouterr().err
    assert told.count(r"\x1b[2J\x07\ud800[red]x") == 3
    assert "\x1b[2J" not in told
    assert "\x07" not in told
