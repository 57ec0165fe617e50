"""An event loop on a thread of its own, where the async code of judges runs.

It is the same loop for all, so that a client with open connections, which belong to a loop, can be
shared by the calls of a rubric.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, Final

from otel_ml.judges.answer import JudgeError, JudgeTimedOut
from otel_ml.judges.steps import discard
from otel_ml.loading import start_apart

CANCEL_S: Final = 0.25
_LEFT: Final = 16
_LOOK_S: Final = 5.0


class _Place:
    """One loop and its thread; when it is left it ends with its last task."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.tasks = 0
        self.is_left = False
        self.thread = threading.Thread(target=self._run, name="otel-ml-judge-loop", daemon=True)
        start_apart(self.thread)

    def call(self, callback: Callable[[], None]) -> bool:
        """Have the loop call something soon; returns False when it has ended."""
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:
            return False
        return True

    def stop_when_idle(self) -> None:
        """End the loop that was left, on the loop."""
        if self.is_left and not self.tasks:
            self.loop.stop()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self.loop.run_until_complete(asyncio.wait(tasks, timeout=CANCEL_S))
        finally:
            self.loop.close()


class _AwaitedAnswer:
    """The result of an awaitable, for a thread that waits for it."""

    def __init__(self, place: _Place, awaitable: Awaitable[Any]) -> None:
        self.ended = threading.Event()
        self._place = place
        self._awaitable = awaitable
        self._task: asyncio.Task[None] | None = None
        self._value: Any = None
        self._problem: BaseException | None = None

    def begin(self) -> None:
        """Start the task, on the loop."""
        self._place.tasks += 1
        self._task = asyncio.ensure_future(self._settle())
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """Cancel the task, on the loop."""
        if self._task is not None:
            self._task.cancel()

    @property
    def hangs(self) -> bool:
        """Whether the task itself does not end, rather than another that blocks its loop."""
        if not self._place.thread.is_alive():
            return False
        return asyncio.current_task(self._place.loop) in {None, self._task}

    def result(self) -> Any:
        """Return the result, or raise its error."""
        if self._problem is not None:
            raise self._problem
        return self._value

    async def _settle(self) -> None:
        # What is raised is kept: an exit would end the loop.
        try:
            self._value = await self._awaitable
        except BaseException as problem:  # noqa: BLE001 - also exits of theirs
            self._problem = problem

    def _end(self, _: object) -> None:
        self._place.tasks -= 1
        discard(self._awaitable)  # it has ended, or was cancelled before it began
        self.ended.set()
        self._place.stop_when_idle()


class JudgeLoop:
    """The loop of a pool, started with the first async rubric.

    A loop that does not come back from a task, or a task that does not let itself be cancelled,
    is left behind, and the next rubric begins on another loop; at most 16 are left behind.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may judge while this thread holds it
        self._place: _Place | None = None
        self._left: list[_Place] = []

    def wait(
        self, awaitable: Awaitable[object], timeout_s: float, *, is_worker: bool = False
    ) -> object:
        """Run an awaitable on the loop, in the context of this thread, and wait for its answer.

        Args:
            awaitable: Its own exceptions are raised here.
            timeout_s: When it is over the awaitable is cancelled.
            is_worker: Hang with what cannot be cancelled: the pool counts and replaces its threads.

        Raises:
            JudgeTimedOut: It did not answer in time.
            JudgeError: Too many loops hang, or this is the loop's own thread.
        """
        with ExitStack() as undo:
            undo.callback(discard, awaitable)
            place = self._enter()
            answer = _AwaitedAnswer(place, awaitable)
            place.loop.call_soon_threadsafe(answer.begin)
            undo.pop_all()
        with ExitStack() as undo:
            undo.callback(place.call, answer.cancel)  # where an exception strikes who waits
            is_over = answer.ended.wait(timeout_s)
            undo.pop_all()
        if is_over:
            return answer.result()
        if not place.call(answer.cancel):
            discard(awaitable)
        elif not answer.ended.wait(CANCEL_S):
            self._leave(place)
            while is_worker and answer.hangs and not answer.ended.wait(_LOOK_S):
                continue
        raise JudgeTimedOut(timeout_s)

    def close(self) -> None:
        """End the loop, wait for that a moment."""
        with self._lock:
            place, self._place = self._place, None
        if place is None or place.thread is threading.current_thread():
            return
        place.call(place.loop.stop)
        place.thread.join(CANCEL_S)

    def _enter(self) -> _Place:
        with self._lock:
            self._left = [place for place in self._left if place.thread.is_alive()]
            if len(self._left) >= _LEFT:
                raise JudgeError(f"lost: {_LEFT} event loops hang in async rubrics")
            if self._place is None:
                self._place = _Place()
            if self._place.thread is threading.current_thread():
                raise JudgeError("an async rubric waits on its own loop for another one: await it")
            return self._place

    def _leave(self, place: _Place) -> None:
        with self._lock:
            if self._place is place:
                self._place = None
                self._left.append(place)
        place.is_left = True
        place.call(place.stop_when_idle)
