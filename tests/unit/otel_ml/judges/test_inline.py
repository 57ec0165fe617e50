"""Inline judges: the scores are there when the call returns, and the call is unaffected."""

import asyncio
import copy
import functools
import inspect
import signal
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from otel_ml import Judge
from otel_ml.judges.judge import Criteria
from tests.support.otel_ml.hostile import Hostile, HostileClass
from tests.support.otel_ml.recording import Recording, attributes, judged
from tests.support.waiting import async_wait_until, elapsed, run_other_tasks, wait_until

WAIT_S = 10
WHO: ContextVar[str] = ContextVar("who", default="nobody")


def judge(rubric: Callable[..., Any], criteria: Criteria | None = None, **more: Any) -> Judge:
    return Judge("any", "", rubric, criteria, **more)


def lasting(time_s: float) -> Callable[[], float]:
    def rubric() -> float:
        wait_until(elapsed(time_s))
        return 1.0

    return rubric


def exported(recording: Recording) -> list[ReadableSpan]:
    """Return the spans that are exported so far, without a flush that would wait for judges."""
    return list(recording.exporter.get_finished_spans())


def score_of(recording: Recording) -> Any:
    return attributes(recording.run()).get("otel_ml.score.any")


def error_of(recording: Recording) -> str:
    found = attributes(recording.run())
    assert "otel_ml.score.any" not in found
    assert "otel_ml.passed.any" not in found
    return str(judged(recording.run())["any"]["error"])


class Noting:
    """A rubric that notes where it ran."""

    def __call__(self, outputs: float) -> float:
        self.thread = threading.current_thread()
        self.who = WHO.get()
        return outputs


class NotingLater(Noting):
    async def __call__(self, outputs: float) -> float:  # type: ignore[override]  # on purpose
        self.loop = asyncio.get_running_loop()
        await run_other_tasks()
        return super().__call__(outputs)


# Sync functions.


def test_sync_call_is_judged_before_it_returns(recording: Recording) -> None:
    """The run of a sync call is exported with its scores before the call returns."""
    noting = Noting()
    first = judge(noting, lambda score: score > 1)
    second = Judge("second", "", lambda a: a)
    model = recording.client.assess(first, second, inline=True)(lambda a: a * 2.0)
    token = WHO.set("me")
    assert model(2) == 4.0
    WHO.reset(token)
    recording.client.flush()
    found = attributes(recording.run())
    assert (noting.thread, noting.who) == (threading.current_thread(), "me")
    assert [found[f"otel_ml.{key}"] for key in ("score.any", "passed.any", "score.second")] == [
        4.0,
        True,
        2.0,
    ]
    assert recording.records("evaluation") == []


def test_judge_lengthens_no_run(recording: Recording) -> None:
    """The run ends when the function returns, not when its judge finishes."""
    began: list[int] = []

    def rubric(outputs: float) -> float:
        began.append(time.time_ns())
        return outputs

    recording.client.assess(judge(rubric), inline=True)(lambda: 1)()
    assert 0 < (recording.run().end_time or 0) <= began[0]


def test_judge_is_no_cost_of_ours(recording: Recording) -> None:
    """The time of an inline judge does not count as cost of recording."""
    model = recording.client.assess(judge(lasting(0.2)), inline=True)(lambda: 1)
    for _ in range(3):  # the first call loads modules that judges need
        model()
    cost_us = recording.client.stats().cost_p50_us
    assert cost_us is not None
    assert cost_us < 150_000


def test_sync_call_may_have_async_judges(recording: Recording) -> None:
    """Async rubrics and criteria of a sync call run on another thread, in the call's context."""
    noting = NotingLater()

    async def criteria(score: float) -> bool:
        return score > 1

    token = WHO.set("me")
    recording.client.assess(judge(noting, criteria), inline=True)(lambda: 2.0)()
    WHO.reset(token)
    assert noting.thread is not threading.current_thread()
    assert noting.who == "me"
    assert attributes(recording.run())["otel_ml.passed.any"] is True


def test_async_judges_share_a_loop(recording: Recording) -> None:
    """All async rubrics of a client run on one loop, so that they can share a connection."""
    loops: set[asyncio.AbstractEventLoop] = set()

    async def rubric() -> float:
        loops.add(asyncio.get_running_loop())
        return 1.0

    inline = recording.client.assess(judge(rubric), inline=True)(lambda: 1)
    later = recording.client.assess(judge(rubric))(lambda: 1)
    for _ in range(5):
        inline()
        later()
    assert recording.client.flush()
    assert len(loops) == 1


def test_sync_stream_is_judged_at_its_end(recording: Recording) -> None:
    """A generator is judged before its reader receives the end of the stream."""
    ended = []

    def rubric(outputs: list[int]) -> float:
        ended.append(list(outputs))
        return float(sum(outputs))

    @recording.client.assess(judge(rubric), inline=True)
    def model() -> Iterator[int]:
        yield 1
        yield 2

    stream = model()
    assert (next(stream), next(stream), ended) == (1, 2, [])
    assert (list(stream), ended) == ([], [[1, 2]])
    assert score_of(recording) == 3.0


def test_failed_call_is_not_judged(recording: Recording) -> None:
    """A call that raises is not judged."""
    model = recording.client.assess(judge(lambda: 1), inline=True)(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model()
    assert "otel_ml.judges" not in attributes(recording.run())


def test_inner_call_is_judged_within_an_async_one(recording: Recording) -> None:
    """A sync call inside an async call is judged separately, with its own output."""
    echo = judge(lambda outputs: outputs)
    inner = recording.client.assess(echo, inline=True, name="inner")(lambda: 1.0)

    @recording.client.assess(echo, inline=True, name="outer")
    async def outer() -> float:
        return inner() + 1

    assert asyncio.run(outer()) == 2.0
    scores = {span.name: attributes(span)["otel_ml.score.any"] for span in recording.runs()}
    assert scores == {"inner": 1.0, "outer": 2.0}


def test_recursion_is_judged_at_each_depth(recording: Recording) -> None:
    """An async function that calls itself is judged at each depth."""

    @recording.client.assess(judge(lambda outputs: outputs), inline=True)
    async def model(depth: int) -> int:
        return 1 if depth == 0 else 1 + await model(depth - 1)

    assert asyncio.run(model(2)) == 3
    assert [attributes(span)["otel_ml.score.any"] for span in recording.runs()] == [1.0, 2.0, 3.0]


ERRORS = [
    ValueError("wrong"),
    BaseException("wrong"),
    SystemExit(1),
    GeneratorExit(),
    asyncio.CancelledError(),
    StopIteration(1),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("is_later", [False, True], ids=["sync rubric", "async rubric"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync call", "async call"])
def test_error_of_a_rubric_is_not_the_host_s(
    recording: Recording, error: BaseException, is_later: bool, is_async: bool
) -> None:
    """A call returns even if its inline rubric raises anything; the error is on the run."""

    def rubric() -> float:
        raise error

    async def later() -> float:
        raise error

    assert call(recording, judge(later if is_later else rubric), is_async) == "answer"
    assert error_of(recording)


def same(a: Any) -> Any:
    return a


async def same_later(a: Any) -> Any:
    return a


def call(recording: Recording, of: Judge, is_async: bool, answer: Any = "answer") -> Any:
    assess = recording.client.assess(of, inline=True)
    return asyncio.run(assess(same_later)(answer)) if is_async else assess(same)(answer)


@pytest.mark.parametrize(
    "make", [Hostile, HostileClass, lambda: ("x",) * 100_000, lambda: None, lambda: 1j]
)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync call", "async call"])
def test_odd_answers_are_not_the_host_s(
    recording: Recording, make: Callable[[], object], is_async: bool
) -> None:
    """A call returns its own output, even if its inline rubric cannot score the output."""
    answer = make()
    assert call(recording, judge(lambda outputs: outputs), is_async, answer) is answer
    assert error_of(recording)


# Interrupts, signals and cancellation, which reach the host.


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Enable Ctrl-C as in a terminal, because background jobs of a shell ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_interrupt_goes_to_the_host(recording: Recording) -> None:
    """Ctrl-C during an inline judge reaches the host; the run is recorded with lost judges."""

    def rubric() -> float:
        signal.raise_signal(signal.SIGINT)
        return 1.0

    second = Judge("second", "", lambda: 1)
    model = recording.client.assess(judge(rubric), second, inline=True)(lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        model()
    found = judged(recording.run())
    assert {name: detail["error"] for name, detail in found.items()} == {
        "any": "lost: the call was interrupted",
        "second": "lost: the call was interrupted",
    }
    assert attributes(recording.run())["otel_ml.outcome"] == "ok"


@pytest.mark.parametrize("is_later", [False, True], ids=["sync rubric", "async rubric"])
def test_signal_goes_to_the_host(recording: Recording, is_later: bool) -> None:
    """An exception from a signal handler during an inline judge reaches the host."""

    def stop(*_: object) -> None:
        raise SystemExit(7)

    def rubric() -> float:
        signal.raise_signal(signal.SIGUSR1)
        return 1.0

    async def later() -> float:
        signal.pthread_kill(main, signal.SIGUSR1)
        await asyncio.Event().wait()
        return 1.0

    main = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(SystemExit, match="7"):
            call(recording, judge(later if is_later else rubric, timeout_s=5), False)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert error_of(recording) == "lost: the call was interrupted"


def test_cancel_goes_to_the_host(recording: Recording) -> None:
    """Cancelling a task during an inline judge cancels the task, and the run is recorded."""
    stopped = threading.Event()

    async def main() -> None:
        entered = asyncio.Event()

        async def rubric() -> float:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()
            return 1.0

        @recording.client.assess(judge(rubric), inline=True)
        async def model() -> int:
            return 1

        task = asyncio.create_task(model())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert stopped.is_set()
    assert error_of(recording) == "lost: the call was cancelled"


# Async functions.


def test_async_call_is_judged_before_it_returns(recording: Recording) -> None:
    """An async rubric runs on the call's loop, a sync one on a thread, both in its context."""
    noting, later = Noting(), NotingLater()
    first, second = judge(noting), Judge("second", "", later)

    @recording.client.assess(first, second, inline=True)
    async def model(a: int) -> float:
        await run_other_tasks()
        return a * 2.0

    async def main() -> asyncio.AbstractEventLoop:
        WHO.set("me")
        assert await model(2) == 4.0
        [span] = exported(recording) or recording.runs()
        assert attributes(span)["otel_ml.score.any"] == 4.0
        assert attributes(span)["otel_ml.score.second"] == 4.0
        return asyncio.get_running_loop()

    assert inspect.iscoroutinefunction(model)
    assert asyncio.run(main()) is later.loop
    assert noting.thread is not threading.main_thread()
    assert later.thread is threading.main_thread()
    assert (noting.who, later.who) == ("me", "me")


def test_loop_goes_on_while_a_judge_runs(recording: Recording) -> None:
    """A sync rubric of an async call does not block the loop of the call."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ticked = threading.Event()

        def rubric() -> float:
            loop.call_soon_threadsafe(ticked.set)
            assert ticked.wait(WAIT_S)
            return 0.5

        @recording.client.assess(judge(rubric), inline=True)
        async def model() -> int:
            return 1

        assert await model() == 1

    asyncio.run(main())
    assert score_of(recording) == 0.5


def test_sync_rubric_may_return_an_awaitable(recording: Recording) -> None:
    """A coroutine that a sync rubric or criterion returns is awaited."""
    assert call(recording, judge(lambda outputs: later_half(), lambda score: later_true()), True)
    assert attributes(recording.run())["otel_ml.score.any"] == 0.5
    assert attributes(recording.run())["otel_ml.passed.any"] is True


async def later_half() -> float:
    return 0.5


async def later_true() -> bool:
    return True


def test_async_stream_is_judged_at_its_end(recording: Recording) -> None:
    """An async generator is judged before its reader receives the end of the stream."""

    @recording.client.assess(judge(sum_later), inline=True)
    async def model() -> AsyncGenerator[int, int]:
        got = yield 1
        yield got

    async def main() -> list[int]:
        stream = model()
        found = [await anext(stream), await stream.asend(5)]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        return found

    assert inspect.isasyncgenfunction(model)
    assert asyncio.run(main()) == [1, 5]
    assert score_of(recording) == 6.0


async def sum_later(outputs: list[int]) -> float:
    return float(sum(outputs))


def test_stream_that_is_left_is_not_judged(recording: Recording) -> None:
    """An async generator that is closed early is recorded as abandoned and not judged."""

    @recording.client.assess(judge(sum_later), inline=True)
    async def model() -> AsyncGenerator[int, None]:
        yield 1
        yield 2

    async def main() -> None:
        stream = model()
        await anext(stream)
        await stream.aclose()

    asyncio.run(main())
    found = attributes(recording.run())
    assert (found["otel_ml.outcome"], "otel_ml.judges" in found) == ("abandoned", False)


class Callable_:  # noqa: N801 - the name of the type is taken
    async def __call__(self, a: float) -> float:
        return a


@pytest.mark.parametrize("function", [Callable_(), functools.partial(same_later)])
def test_async_objects_are_judged(recording: Recording, function: Callable[..., Any]) -> None:
    """A call of an object with an async call method is judged before the call returns."""
    model = recording.client.assess(judge(lambda outputs: outputs), inline=True)(function)
    assert inspect.iscoroutinefunction(model) == inspect.iscoroutinefunction(function)

    async def main() -> Any:
        answer = await model(2.0)
        return answer, score_of(recording)

    assert asyncio.run(main()) == (2.0, 2.0)


def test_copy_of_an_async_object_is_judged(recording: Recording) -> None:
    """A copy of a traced async object is judged like the object."""
    model = recording.client.assess(judge(lambda outputs: outputs), inline=True)(Callable_())

    async def main() -> tuple[float, float | None]:
        return await copy.copy(model)(2.0), score_of(recording)

    assert asyncio.run(main()) == (2.0, 2.0)


# Timeouts.


@pytest.mark.parametrize("is_async", [False, True], ids=["sync call", "async call"])
def test_slow_async_rubric_is_cancelled(recording: Recording, is_async: bool) -> None:
    """A call waits for its inline judge up to the timeout, then the rubric is cancelled."""
    stopped = threading.Event()

    async def rubric() -> float:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return 1.0

    assert call(recording, judge(rubric, timeout_s=0.05), is_async) == "answer"
    assert error_of(recording) == "timed out after 0.05 s"
    assert stopped.is_set()


def test_stubborn_rubric_holds_no_caller(recording: Recording) -> None:
    """An async rubric that resists cancellation delays the call only for a moment."""
    over = threading.Event()

    async def rubric() -> float:
        while not over.is_set():
            try:
                await async_wait_until(over.is_set, WAIT_S)
            except asyncio.CancelledError:
                continue
        return 1.0

    assert call(recording, judge(rubric, timeout_s=0.05), False) == "answer"
    assert error_of(recording) == "timed out after 0.05 s"
    over.set()


def test_slow_sync_rubric_holds_no_loop(recording: Recording) -> None:
    """An async call waits for a sync rubric only up to the timeout."""
    over = threading.Event()

    def rubric() -> float:
        assert over.wait(WAIT_S)
        return 1.0

    assert call(recording, judge(rubric, timeout_s=0.05), True) == "answer"
    over.set()
    assert error_of(recording) == "timed out after 0.05 s"


def test_slow_sync_rubric_of_a_sync_call_has_no_score(recording: Recording) -> None:
    """A sync rubric of a sync call cannot be stopped, but its late score is discarded."""
    assert call(recording, judge(lasting(0.05), timeout_s=0.01), False) == "answer"
    assert error_of(recording) == "timed out after 0.01 s"
