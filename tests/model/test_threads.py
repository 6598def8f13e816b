import os
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from mrnn.model.threads import AHEAD, in_threads, thread_count, threads_here


@pytest.fixture(params=[1, 2, 4])
def threads(request, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(request.param))
    return request.param


def test_as_many_threads_as_processors_or_as_asked_for(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_count() == 3
    for nothing in ("", "0", "many", "-1"):
        monkeypatch.setenv("OMP_NUM_THREADS", nothing)
        assert 1 <= thread_count() <= os.cpu_count()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5}, raising=False)
    assert thread_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert thread_count() == 1


def test_results_are_in_order_whoever_is_first(threads):
    def work(number):
        time.sleep(0.002 * (number % 3))
        return number * number

    assert list(in_threads(range(50), work)) == [number * number for number in range(50)]
    assert list(in_threads([], work)) == []


def test_as_many_threads_as_processors_work_at_once(threads):
    together = threading.Barrier(threads)
    found = list(in_threads(range(3 * threads), lambda _: together.wait(30)))
    assert len(found) == 3 * threads  # each group of waiting threads was let go


def test_items_are_taken_only_some_ahead_and_in_the_callers_thread(threads):
    taken = []

    def items():
        for number in range(1000):
            taken.append(threading.current_thread())
            yield number

    results = in_threads(items(), lambda number: number)
    assert [next(results) for _ in range(10)] == list(range(10))
    assert len(taken) == (10 if threads == 1 else 9 + AHEAD * threads)
    assert set(taken) == {threading.current_thread()}


def test_one_item_is_done_in_the_callers_thread(threads):
    here = threading.current_thread()
    assert list(in_threads([1], lambda _: threading.current_thread())) == [here]
    others = set(in_threads(range(9), lambda _: threading.current_thread()))
    assert (here in others) == (threads == 1)


def test_in_such_a_thread_there_are_no_further_ones(threads):
    def work(_):
        inner = in_threads(range(3), lambda _: (threading.current_thread(), threads_here()))
        return threading.current_thread(), list(inner)

    for here, inner in in_threads(range(9), work):
        assert inner == [(here, 1)] * 3
    assert threads_here() == threads


def test_one_item_may_be_done_in_threads_of_its_own(threads):
    together = threading.Barrier(threads)

    def work(_):
        return len(list(in_threads(range(threads), lambda _: together.wait(30))))

    assert list(in_threads([1], work)) == [threads]


def test_an_error_comes_in_its_place_and_ends_the_work(threads):
    done, stopped = [], threading.Event()

    def work(number):
        if number == 3:
            raise LookupError("third")
        done.append(number)
        return number

    results = in_threads(range(1000), work, stopped)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError, match=r"^third$"):
        next(results)
    assert len(done) < 3 + 2 * AHEAD * threads
    assert stopped.is_set() == (threads > 1)


def test_who_leaves_early_waits_for_what_runs(threads):
    running, stopped = [], threading.Event()

    def work(number):
        running.append(number)
        if number > 0:
            stopped.wait(0.5)  # seen at once by work that looks
        running.remove(number)

    results = in_threads(range(100), work, stopped)
    next(results)
    results.close()
    assert running == []


def blas_threads():
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_products_of_numpy_take_one_processor_meanwhile(threads):
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpool_limits(2, "blas"):
        first, second = (in_threads(range(9), lambda _: blas_threads()) for _ in range(2))
        own = {1} if threads > 1 else blas_threads()
        assert [next(first), next(second)] == [own, own]
        first.close()
        assert list(second) == [own] * 8
        assert blas_threads() == {2}
        assert list(in_threads([1], lambda _: blas_threads())) == [own]
        assert blas_threads() == {2}
