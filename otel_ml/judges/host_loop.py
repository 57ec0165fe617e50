"""Runs the judges of an async function on the caller's event loop, without blocking it.

Async rubrics run as tasks of the loop. Other rubrics run on threads of the pool. Both use the
context of the scored call.
"""

import asyncio
import inspect
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, Final

from otel_ml.errors import is_of_signal, report
from otel_ml.judges.answer import JudgeError, JudgeTimedOut
from otel_ml.judges.judge import Judge, Judgement
from otel_ml.judges.judged_call import JudgedCall
from otel_ml.judges.pool import JudgePool
from otel_ml.judges.steps import Step, discard, is_async, thrown

_CANCEL_S: Final = 0.25
_CANCELLED: Final = "lost: the call was cancelled"


async def judge_on_loop(judged: JudgedCall, pool: JudgePool) -> None:
    """Score a call of an async function on the running event loop, then send its run.

    It waits until each judge is done or has timed out, without blocking the event loop.

    Args:
        judged: The finished call and its judges.
        pool: Threads that run judges. They are used for judges that are not async, and for all
            judges if no asyncio event loop is running.

    Raises:
        asyncio.CancelledError: The caller was cancelled. Judges that are not done give no score.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # not an asyncio loop: score on the pool, not inline
        pool.submit(judged)
        return
    tasks = [asyncio.ensure_future(_judge(judge, judged, pool)) for judge in judged.judges]
    try:
        await asyncio.wait(tasks)
        for task in tasks:
            task.result()  # raises only exceptions that are meant for the host
    finally:
        for task in tasks:
            task.cancel()
        judged.lose(_CANCELLED)


async def _judge(judge: Judge, judged: JudgedCall, pool: JudgePool) -> None:
    task = asyncio.ensure_future(_drive(judge, judged, pool))
    try:
        await asyncio.wait([task], timeout=judge.timeout_s)
        if task.done():
            judged.set_result(judge, task.result())
            return
        error = str(JudgeTimedOut(judge.timeout_s))
        judged.set_result(judge, Judgement(judge.name, judge.version, error=error))
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_S)
    except Exception as error:  # noqa: BLE001 - a judge must not break the host's call
        report("judge inline", error)
    finally:
        task.cancel()


async def _drive(judge: Judge, judged: JudgedCall, pool: JudgePool) -> Judgement:
    with judged.marking(judge):  # applies to this task's context only
        return await _take_steps(judge, judged, pool)


async def _take_steps(judge: Judge, judged: JudgedCall, pool: JudgePool) -> Judgement:
    steps = judge.steps(judged.inputs, judged.outputs, judged.more)
    go_on: Any = steps.send
    answer: Any = None
    while True:
        try:
            step = go_on(answer)
        except StopIteration as stop:
            evaluation: Judgement = stop.value
            return evaluation
        try:
            answer = step() if is_async(step) else await _on_thread(step, judge, pool)
            go_on, answer = steps.send, await answer if inspect.isawaitable(answer) else answer
        except KeyboardInterrupt:  # meant for the host: it ends the loop
            raise
        except BaseException as problem:
            if is_of_signal(problem):
                raise
            go_on, answer = steps.throw, thrown(problem)


async def _on_thread(step: Step, judge: Judge, pool: JudgePool) -> object:
    job = _StepJob(judge, step, copy_context(), asyncio.get_running_loop().create_future())
    pool.run_soon(job)
    value, problem = await job.future
    if problem is not None:
        raise problem
    return value


@dataclass(frozen=True, slots=True, eq=False)
class _StepJob:
    """A step of a judge as a job of the pool. The event loop waits for its result."""

    judge: Judge
    step: Step
    context: Context
    future: "asyncio.Future[tuple[object, BaseException | None]]"

    def run(self) -> None:
        """Run the step on this thread."""
        try:
            self._answer(self.context.run(self.step), None)
        except BaseException as problem:  # noqa: BLE001 - user code may raise SystemExit
            self._answer(None, problem)

    def give_up(self, error: str) -> None:
        """Answer with an error."""
        self._answer(None, JudgeError(error))

    def _answer(self, value: object, problem: BaseException | None) -> None:
        def finish() -> None:
            if self.future.done():  # nobody is waiting anymore
                discard(value)
            else:
                self.future.set_result((value, problem))

        try:
            self.future.get_loop().call_soon_threadsafe(finish)
        except RuntimeError:  # the loop has ended
            discard(value)
