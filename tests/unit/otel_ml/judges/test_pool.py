"""Judges run off the caller's path, in time or late, and are never lost silently."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from otel_ml import Client, Judge, Score
from otel_ml.judges.judge import Judgement
from otel_ml.judges.judged_call import JudgedCall
from otel_ml.judges.pool import JudgePool
from otel_ml.testing import read_evaluations
from otel_ml.versions.definition import Definition, define
from tests.support.otel_ml.recording import (
    Recording,
    attributes,
    inputs,
    judged,
    parent_id,
    span_id,
    stable,
    told_judges,
    trace_id,
)
from tests.support.sampling import sampled
from tests.support.waiting import wait_until

WAIT_S = 10


class HostileError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("hostile")


class Gate:
    """A rubric that waits until it may answer."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def __call__(self, outputs: Any) -> float:
        self.entered_ns = time.time_ns()
        self.entered.set()
        assert self.open.wait(WAIT_S)
        return 0.5


class Handed(list[Any]):
    """The judgements handed over, in order: a tuple with the run, or a single late one."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def add(self, item: Any) -> None:
        with self.changed:
            self.append(item)
            self.changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self) >= count, WAIT_S), list(self)


def make_judged(handed: Handed, *judges: Judge) -> JudgedCall:
    return JudgedCall(judges, {}, "output", handed.add, handed.add)


def outcome(evaluation: Judgement) -> tuple[str, float | None, str | None]:
    return evaluation.judge, evaluation.score, evaluation.error


def judge(name: str, rubric: Callable[..., Any]) -> Judge:
    return Judge(name, "", rubric)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Yield a judge that waits, and release it at the end of the test."""
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def pool() -> Iterator[JudgePool]:
    """Yield a pool that keeps runs pending for so long that only their judges release them."""
    pool = JudgePool(hold_s=60)
    yield pool
    pool.close()


def length(outputs: str) -> int:
    return len(outputs)


def half(outputs: str) -> float:
    return len(outputs) / 2


def is_long(score: float) -> bool:
    return score > 1


def total(outputs: list[int]) -> int:
    return sum(outputs)


LOST = "lost: the judge was not run"


def test_score_in_time_is_on_the_run(recording: Recording) -> None:
    """Scores that arrive in time are attributes of the run's own span."""

    def counted(outputs: str) -> tuple[int, str]:
        return len(outputs), "counted"

    first = Judge("length", "", counted, lambda score: score > 1)
    second = Judge("share", "", lambda a, outputs: a / len(outputs))

    @recording.client.assess(recording.client.add_judge(first), second)
    def model(a: int) -> str:
        return "four"

    assert model(2) == "four"
    span = recording.run()
    assert judged(span) == {
        "length": {"version": first.version, "explanation": "counted"},
        "share": {"version": second.version},
    }
    found = stable(span)
    del found["otel_ml.judges"]
    assert found == {
        "otel_ml.project": "shop",
        "otel_ml.kind": "model",
        "otel_ml.model.name": "test_score_in_time_is_on_the_run.model",
        "otel_ml.inputs": '{"a":2}',
        "otel_ml.outputs": '"four"',
        "otel_ml.outcome": "ok",
        "otel_ml.score.length": 4.0,
        "otel_ml.passed.length": True,
        "otel_ml.score.share": 0.5,
    }
    assert recording.records("evaluation") == []


def test_late_score_is_a_record(recording: Recording, gate: Gate) -> None:
    """A score that arrives after the run was exported is a record about that run."""
    slow = Judge("slow", "", gate)
    recording.client.assess(slow)(lambda: 1)()
    assert gate.entered.wait(WAIT_S)
    span = wait_for_run(recording)
    assert "otel_ml.score.slow" not in attributes(span)
    gate.open.set()
    [record] = recording.records("evaluation")
    assert stable(record) == {
        "otel_ml.project": "shop",
        "otel_ml.record": "evaluation",
        "otel_ml.judge.name": "slow",
        "otel_ml.judge.version": slow.version,
        "otel_ml.source": "judge",
        "otel_ml.score.value": 0.5,
    }
    assert attributes(record)["otel_ml.target.start_ns"] == span.start_time
    assert (parent_id(record), record.start_time) == (span_id(span), record.end_time)


def wait_for_run(recording: Recording) -> Any:
    """Return the run as soon as it is exported, even if its judge is still waiting."""
    finished = recording.exporter.get_finished_spans
    return wait_until(finished, WAIT_S, about="a run that is handed over")[0]


def test_early_score_waits_for_no_late_one(recording: Recording, gate: Gate) -> None:
    """The run has the scores that are in time; a late score follows as a record."""
    recording.client.assess(judge("fast", lambda: 1), judge("slow", gate))(lambda: 1)()
    span = wait_for_run(recording)
    assert attributes(span)["otel_ml.score.fast"] == 1.0
    gate.open.set()
    assert [stable(record)["otel_ml.judge.name"] for record in recording.records("evaluation")] == [
        "slow"
    ]


def test_judge_lengthens_no_run(recording: Recording, gate: Gate) -> None:
    """A run's latency ends with the call, however long its judge takes."""
    recording.client.assess(judge("slow", gate))(lambda: 1)()
    span = wait_for_run(recording)
    assert span.end_time <= gate.entered_ns
    assert attributes(span)["otel_ml.latency_ms"] == (span.end_time - span.start_time) / 1e6


def test_caller_waits_for_no_judge(recording: Recording, gate: Gate) -> None:
    """Calls return even if every judge hangs."""
    traced = recording.client.assess(judge("slow", gate))(lambda a: a)
    assert [traced(number) for number in range(50)] == list(range(50))
    assert gate.entered.wait(WAIT_S)


def test_judge_is_told_once(recording: Recording) -> None:
    """A judge's definition is recorded once, with its first score, in a separate trace."""
    one = Judge("length", "how long it is", length, is_long)
    traced = recording.client.assess(one)(lambda: "a")
    for _ in range(3):
        traced()
        recording.client.flush()
    [(name, version, definition)] = told_judges(recording.spans())
    assert (name, version) == ("length", one.version)
    assert definition == {
        "type": "judge",
        "description": "how long it is",
        "criterion": "def is_long(score: float) -> bool:\n    return score > 1",
        "source": "def length(outputs: str) -> int:\n    return len(outputs)",
        "signature": "(outputs: str) -> int",
        "params": {},
        "helpers": {},
        "constants": {},
        "unseen": [],
        "output": None,
    }
    [record] = recording.records("update")
    assert parent_id(record) is None
    assert trace_id(record) not in {trace_id(run) for run in recording.runs()}


def test_each_version_of_a_judge_is_told(recording: Recording) -> None:
    """Two definitions with one name are two versions, and both are recorded."""
    for rubric in (length, half):
        recording.client.assess(judge("length", rubric), name="model")(lambda: "a")()
    recording.client.flush()
    versions = {version for _, version, _ in told_judges(recording.spans())}
    assert versions == {judge("length", one).version for one in (length, half)}


def test_late_judge_is_told(recording: Recording, gate: Gate) -> None:
    """The definition of a judge is also recorded if its score arrives late."""
    recording.client.assess(judge("slow", gate))(lambda: 1)()
    wait_for_run(recording)
    gate.open.set()
    recording.client.flush()
    assert [name for name, _, _ in told_judges(recording.spans())] == ["slow"]


def test_cost_of_an_answer_is_told(recording: Recording) -> None:
    """The cost that a rubric reports is recorded with its score."""

    def rubric(outputs: str) -> Score:
        return Score(0.5, cost=0.002)

    recording.client.assess(judge("paid", rubric))(lambda: "a")()
    recording.client.flush()
    assert judged(recording.run())["paid"]["cost"] == 0.002


@pytest.mark.parametrize("cost", ["dear", float("nan")])
def test_cost_that_is_no_number(cost: Any) -> None:
    """A cost that is not a number is refused."""
    with pytest.raises(ValueError, match="Invalid cost"):
        Score(1, cost=cost)


def test_failed_run_is_not_judged(recording: Recording) -> None:
    """A run that raised is not judged."""
    traced = recording.client.assess(judge("any", lambda: 1))(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        traced()
    assert "otel_ml.judges" not in attributes(recording.run())


def test_stream_is_judged_whole(recording: Recording) -> None:
    """The judge of a stream receives the list of its chunks after the stream ended."""

    @recording.client.assess(judge("sum", total))
    def model() -> Iterator[int]:
        yield 1
        yield 2

    assert list(model()) == [1, 2]
    assert attributes(recording.run())["otel_ml.score.sum"] == 3.0


@pytest.mark.parametrize("error", [ValueError("wrong"), HostileError(), SystemExit(1)])
def test_failing_judge_loses_no_run(recording: Recording, error: BaseException) -> None:
    """A rubric that fails in any way records an error on the run, and no score."""

    def rubric() -> float:
        raise error

    recording.client.assess(judge("failing", rubric))(lambda: 1)()
    assert type(error).__name__ in judged(recording.run())["failing"]["error"]


def test_failing_judges_leave_their_threads(recording: Recording) -> None:
    """Judges still run after rubrics that exit."""

    def rubric(a: int) -> float:
        if a < 8:
            raise SystemExit(1)
        return 0.5

    traced = recording.client.assess(judge("exits", rubric))(lambda a: a)
    for number in range(8):
        traced(number)
    traced(8)
    assert recording.client.flush(WAIT_S)
    scored = [run for run in recording.runs() if "otel_ml.score.exits" in attributes(run)]
    assert [inputs(run) for run in scored] == [{"a": 8}]


def test_odd_explanation_loses_no_run(recording: Recording) -> None:
    """An explanation with lone surrogates, as models write them, does not lose the run."""
    recording.client.assess(judge("odd", lambda: (0.5, "a\ud800b")))(lambda: 1)()
    assert attributes(recording.run())["otel_ml.score.odd"] == 0.5


def test_judges_of_one_run_are_all_heard(pool: JudgePool) -> None:
    """A run is released when all its judges have finished, with their scores in order."""
    handed = Handed()
    pool.submit(make_judged(handed, judge("a", lambda: 1), judge("b", lambda: 2)))
    handed.wait_for(1)
    assert [outcome(item) for item in handed[0]] == [("a", 1.0, None), ("b", 2.0, None)]


def test_hold_ends_in_time(gate: Gate) -> None:
    """A pending run is released when its hold time ends, even if its judge still runs."""
    pool, handed = JudgePool(hold_s=0.01), Handed()
    pool.submit(make_judged(handed, judge("slow", gate)))
    handed.wait_for(1)
    assert list(handed) == [()]
    gate.open.set()
    handed.wait_for(2)
    assert outcome(handed[1]) == ("slow", 0.5, None)
    pool.close()


def test_drain_tells_whether_judges_run(pool: JudgePool, gate: Gate) -> None:
    """A drain returns False while a judge runs, and True otherwise."""
    assert pool.drain(0) is True
    pool.submit(make_judged(Handed(), judge("slow", gate)))
    assert pool.drain(0.01) is False
    gate.open.set()
    assert pool.drain(WAIT_S) is True


def test_full_queue_says_what_is_lost(gate: Gate) -> None:
    """Above 10,000 waiting calls, a call's judges are recorded as lost.

    Its run is released at once.
    """
    pool, handed = JudgePool(hold_s=60, workers=1), Handed()
    pool.submit(make_judged(Handed(), judge("slow", gate)))
    assert gate.entered.wait(WAIT_S)
    waiting = Handed()
    fast = judge("fast", lambda: 1)
    for _ in range(10_000):
        pool.submit(make_judged(waiting, fast))
    pool.submit(make_judged(handed, fast))
    assert [[outcome(item) for item in items] for items in handed] == [[("fast", None, LOST)]]
    gate.open.set()
    assert pool.drain(60)
    pool.close()


def test_job_that_is_waited_for_comes_first(gate: Gate) -> None:
    """A job that a loop waits for runs before all waiting calls, which keep their order."""
    pool, order = JudgePool(hold_s=60, workers=1), Handed()
    pool.submit(make_judged(Handed(), judge("slow", gate)))
    assert gate.entered.wait(WAIT_S)

    class Job:
        judge = Judge("soon", "", lambda: 1)

        def run(self) -> None:
            order.add("soon")

        def give_up(self, error: str) -> None:
            order.add(error)

    def note(outputs: int) -> float:
        order.add(outputs)
        return 1.0

    later = judge("later", note)
    for number in range(4):
        pool.submit(JudgedCall([later], {}, number, Handed().add, Handed().add))
    pool.run_soon(Job())
    gate.open.set()
    assert pool.drain(WAIT_S)
    assert list(order) == ["soon", 0, 1, 2, 3]
    pool.close()


def test_many_held_runs_are_not_held(gate: Gate) -> None:
    """Above 1,000 pending runs, a run is released at once, and its score follows."""
    pool = JudgePool(hold_s=60, workers=1)
    slow, fast = judge("slow", gate), judge("fast", lambda: 1)
    held, free = Handed(), Handed()
    pool.submit(make_judged(held, slow))
    for _ in range(999):
        pool.submit(make_judged(held, fast))
    pool.submit(make_judged(free, fast))
    assert (list(held), list(free)) == ([], [()])
    gate.open.set()
    free.wait_for(2)
    assert outcome(free[1]) == ("fast", 1.0, None)
    pool.close()


def test_close_says_what_was_not_run(gate: Gate) -> None:
    """On close, a judge that has not started is recorded as lost, and its run is released."""
    pool, handed = JudgePool(hold_s=60, workers=1), Handed()
    pool.submit(make_judged(Handed(), judge("slow", gate)))
    assert gate.entered.wait(WAIT_S)
    pool.submit(make_judged(handed, judge("fast", lambda: 1)))
    closing = threading.Thread(target=pool.close)
    closing.start()
    handed.wait_for(1)
    gate.open.set()
    closing.join(WAIT_S)
    assert [[outcome(item) for item in items] for items in handed] == [[("fast", None, LOST)]]


def test_close_waits_for_a_running_judge(gate: Gate) -> None:
    """On close, a running judge may finish, and its score is on the run."""
    pool, handed = JudgePool(hold_s=60, workers=1), Handed()
    pool.submit(make_judged(handed, judge("slow", gate)))
    assert gate.entered.wait(WAIT_S)
    closing = threading.Thread(target=pool.close)
    closing.start()
    gate.open.set()
    closing.join(WAIT_S)
    assert [[outcome(item) for item in items] for items in handed] == [[("slow", 0.5, None)]]


def test_close_waits_two_seconds(gate: Gate) -> None:
    """On close, a judge that does not end is recorded as lost, and its run is released."""
    pool, handed = JudgePool(hold_s=60, workers=1), Handed()
    pool.submit(make_judged(handed, judge("slow", gate)))
    assert gate.entered.wait(WAIT_S)
    pool.close()
    assert len(handed) == 1
    assert [evaluation.judge for evaluation in handed[0]] == ["slow"]


def test_closed_pool_loses_judges_only(pool: JudgePool) -> None:
    """After close, a run is released at once, and its judges are recorded as lost."""
    pool.close()
    handed = Handed()
    pool.submit(make_judged(handed, judge("fast", lambda: 1)))
    assert [[outcome(item) for item in items] for items in handed] == [[("fast", None, LOST)]]


def test_second_close_does_nothing(pool: JudgePool) -> None:
    """A pool may be closed twice."""
    pool.close()
    pool.close()
    assert pool.drain(0) is True


def test_pool_starts_no_thread_before_its_first_judge() -> None:
    """A pool starts no thread before a call is judged."""
    before = set(threading.enumerate())
    pool = JudgePool()
    assert set(threading.enumerate()) == before
    pool.close()


def test_many_calls_are_all_judged(recording: Recording) -> None:
    """Each of 1,500 judged calls from eight threads is recorded with its own score."""
    traced = recording.client.assess(judge("same", lambda outputs: outputs))(lambda a: a)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(traced, range(1_500)))
    runs = recording.runs()
    inline = {
        int(attributes(span)["otel_ml.outputs"]): attributes(span).get("otel_ml.score.same")
        for span in runs
    }
    late = {parent_id(record): record for record in recording.records("evaluation")}
    for span in runs:
        output = int(attributes(span)["otel_ml.outputs"])
        if inline[output] is None:
            assert span_id(span) in late, attributes(span).get("otel_ml.judges")
            inline[output] = attributes(late[span_id(span)])["otel_ml.score.value"]
    assert inline == {number: float(number) for number in range(1_500)}


def test_unknown_judge_is_refused(client: Client) -> None:
    """An unknown judge, tag or keyword raises an error that names the expected values."""
    with pytest.raises(
        ValueError, match=r"^Unknown judge 'x@1': expected a tag that add_judge returned$"
    ):
        client.assess("x@1")
    with pytest.raises(ValueError, match=r": expected a Judge, or a tag that add_judge returned$"):
        client.assess(len)  # type: ignore[arg-type]  # refused
    with pytest.raises(
        TypeError,
        match=r"^assess\(\) got an unexpected keyword argument 'sampel'; did you mean sample\?$",
    ):
        client.assess(sampel=0.1)  # type: ignore[call-arg]  # misspelt


class Moody(Judge):
    """A judge whose definition fails at one access, which `fails_at` counts down to."""

    fails_at = 0

    @property
    def definition(self) -> Definition:
        self.fails_at -= 1
        if self.fails_at == 0:
            raise OSError("The source cannot be read")
        return define(self.scoring_rubric)


@sampled(3)
@pytest.mark.parametrize("access", range(1, 6))
@pytest.mark.parametrize("is_late", [False, True], ids=["in time", "late"])
def test_definition_that_fails_once_costs_no_word(
    recording: Recording, is_late: bool, access: int
) -> None:
    """A judged call has a score or an error even if its judge's definition fails once."""
    gate = Gate()
    moody = Moody("moody", "", gate)
    model = recording.client.assess(moody)(lambda: "answer")
    moody.fails_at = access
    assert model() == "answer"
    if is_late:
        wait_until(lambda: len(recording.exporter.get_finished_spans()) == 1)
    gate.open.set()
    [said] = read_evaluations(recording.spans())
    assert (said.score, said.error) in {
        (0.5, None),
        (None, "lost: the judge was not run"),
    }
