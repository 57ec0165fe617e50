"""An event loop on its own thread, on which async rubrics run.

All judges share it, because an async client's connections work on one event loop only. So a rubric
can keep one client for all of its calls.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, Final

from otel_ml.judges.answer import JudgeError, JudgeTimedOut
from otel_ml.judges.steps import discard
from otel_ml.loading import start_detached

CANCEL_S: Final = 0.25
_LEFT: Final = 16
_CHECK_S: Final = 5.0


class _Place:
    """An event loop with its thread. An abandoned one stops after its last task."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.tasks = 0
        self.is_left = False
        self.thread = threading.Thread(target=self._run, name="otel-ml-judge-loop", daemon=True)
        start_detached(self.thread)

    def call(self, callback: Callable[[], None]) -> bool:
        """Schedule a callback on the loop. Returns False if the loop has ended."""
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:
            return False
        return True

    def stop_when_idle(self) -> None:
        """Stop an abandoned loop that has no tasks. Call this on the loop."""
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
        """Start the task. Call this on the loop."""
        self._place.tasks += 1
        self._task = asyncio.ensure_future(self._finish())
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """Cancel the task. Call this on the loop."""
        if self._task is not None:
            self._task.cancel()

    @property
    def hangs(self) -> bool:
        """Whether the task itself hangs. False if another task blocks its loop."""
        if not self._place.thread.is_alive():
            return False
        return asyncio.current_task(self._place.loop) in {None, self._task}

    def result(self) -> Any:
        """Return the result, or raise its exception."""
        if self._problem is not None:
            raise self._problem
        return self._value

    async def _finish(self) -> None:
        # Keep every exception, because SystemExit would end the loop.
        try:
            self._value = await self._awaitable
        except BaseException as problem:  # noqa: BLE001 - user code may raise SystemExit
            self._problem = problem

    def _end(self, _: object) -> None:
        self._place.tasks -= 1
        discard(self._awaitable)  # it has ended, or was cancelled before it started
        self.ended.set()
        self._place.stop_when_idle()


class JudgeLoop:
    """The event loop, on its own thread, that runs async rubrics (functions that score runs).

    If a rubric blocks the loop or cannot be cancelled, later rubrics get a new loop. At most 16
    loops may be blocked at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # reentrant: a finalizer may run a judge
        self._place: _Place | None = None
        self._left: list[_Place] = []

    def wait(
        self, awaitable: Awaitable[object], timeout_s: float, *, is_worker: bool = False
    ) -> object:
        """Run an awaitable on the event loop, and wait in the calling thread for its result.

        Args:
            awaitable: What to run. It gets the context variables of the calling thread, and its
                exceptions are raised here.
            timeout_s: Time limit in seconds. When it is exceeded, the awaitable is cancelled.
            is_worker: Whether the calling thread belongs to the pool that runs judges. If the
                awaitable hangs, this thread stays blocked, and the pool starts a new thread.

        Raises:
            JudgeTimedOut: The time limit was exceeded.
            JudgeError: Too many loops are blocked, or the caller runs on the loop itself.
        """
        with ExitStack() as undo:
            undo.callback(discard, awaitable)
            place = self._enter()
            answer = _AwaitedAnswer(place, awaitable)
            place.loop.call_soon_threadsafe(answer.begin)
            undo.pop_all()
        with ExitStack() as undo:
            undo.callback(place.call, answer.cancel)  # if an exception interrupts this thread
            is_over = answer.ended.wait(timeout_s)
            undo.pop_all()
        if is_over:
            return answer.result()
        if not place.call(answer.cancel):
            discard(awaitable)
        elif not answer.ended.wait(CANCEL_S):
            self._leave(place)
            while is_worker and answer.hangs and not answer.ended.wait(_CHECK_S):
                continue
        raise JudgeTimedOut(timeout_s)

    def close(self) -> None:
        """Stop the loop and wait briefly for its end."""
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
                raise JudgeError(f"not run: {_LEFT} async rubrics hang and block their event loops")
            if self._place is None:
                self._place = _Place()
            if self._place.thread is threading.current_thread():
                raise JudgeError(
                    "an async rubric called another one without await, which blocks its event loop"
                )
            return self._place

    def _leave(self, place: _Place) -> None:
        with self._lock:
            if self._place is place:
                self._place = None
                self._left.append(place)
        place.is_left = True
        place.call(place.stop_when_idle)
