"""One thread for everybody: fair, bounded, and it stops when nobody wants the result."""

import threading

import numpy as np
import pytest

from attrinet.errors import AttrinetError
from attrinet.viewer.work import ABANDONED, Busy, Job, Worker


def test_everybodys_first_comes_before_anybodys_second():
    worker, gate, order = Worker("test", 16), threading.Event(), []
    worker.submit(0, gate.wait)  # meanwhile two people ask for three findings each
    futures = [worker.submit(c, lambda who=who, c=c: order.append(f"{who}{c}")) for who in "AB" for c in range(3)]
    gate.set()
    for future in futures:
        future.result(10)
    assert order == ["A0", "B0", "A1", "B1", "A2", "B2"]
    worker.stop()


def test_what_fails_fails_for_its_asker_alone_and_what_is_cancelled_is_not_done():
    worker, gate = Worker("test", 16), threading.Event()
    worker.submit(0, gate.wait)
    bad, unwanted, good = (worker.submit(1, call) for call in (lambda: 1 / 0, lambda: pytest.fail("done"), lambda: 7))
    unwanted.cancel()
    gate.set()
    assert good.result(10) == 7 and unwanted.cancelled()
    with pytest.raises(ZeroDivisionError):
        bad.result(10)
    worker.stop()


def test_too_much_waiting_work_is_refused():
    worker, gate, busy = Worker("test", 2), threading.Event(), threading.Event()
    worker.submit(0, lambda: (busy.set(), gate.wait()))
    busy.wait(10)
    waiting = [worker.submit(0, lambda: None) for _ in range(2)]
    with pytest.raises(Busy, match="busy"):
        worker.submit(0, lambda: None)
    gate.set()
    for future in waiting:
        future.result(10)
    worker.stop()


def passes(count, between=lambda k: None):
    """An explainer of `count` passes."""
    def explain(tick):
        for k in range(count):
            tick(1)
            between(k)
        return np.zeros((2, 2))

    return explain


def test_a_job_says_how_far_it_is():
    now, seen = [0.0], []
    job = Job(10, clock=lambda: now[0])

    def between(k):
        now[0] += 3
        seen.append(job.report())

    job.run(passes(10, between))
    assert [r["share"] for r in seen[:9]] == pytest.approx([k / 10 for k in range(1, 10)])
    assert seen[3]["seconds_left"] == pytest.approx(18)  # 4 of 10 passes in 12 seconds
    assert job.report() == {"state": "done", "share": 1.0, "seconds_left": None, "message": ""}


def test_a_job_stops_when_told_and_when_nobody_asks_about_it():
    told = Job(10)
    told.run(passes(10, lambda k: told.cancel() if k == 4 else None))
    assert told.state == "cancelled" and told.done == 5 and told.map is None
    now = [0.0]
    forgotten = Job(1000, clock=lambda: now[0])

    def a_minute(k):
        now[0] += 60

    forgotten.run(passes(1000, a_minute))
    assert forgotten.state == "cancelled" and forgotten.done <= ABANDONED / 60 + 1
    early = Job(10)
    early.cancel()
    early.run(passes(10))
    assert early.state == "cancelled" and early.done == 0


def test_a_method_that_cannot_explain_says_why():
    job = Job(1)

    def explain(tick):
        raise AttrinetError("no ReLU here")

    job.run(explain)
    assert job.report()["state"] == "failed" and job.report()["message"] == "no ReLU here"
