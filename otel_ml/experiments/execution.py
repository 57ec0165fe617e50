"""Runs a function on items: on the caller's thread, on several threads, or on an event loop.

Each call is recorded as a trace of its own, linked to the experiment, and is sent with its scores.
A call that raises or times out is recorded as a run with an error.
"""

import asyncio
import inspect
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from contextvars import Context as Variables
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.trace import Link

from otel_ml import attributes as names
from otel_ml.calls import UNOPENED, Call
from otel_ml.errors import is_of_signal, quiet, traceback_of, untrusted
from otel_ml.experiments.dataset import Item, fresh
from otel_ml.experiments.rows import ItemRun
from otel_ml.functions import TracedFunction
from otel_ml.judges.host_loop import judge_on_loop
from otel_ml.judges.judge import Judge, Judgement
from otel_ml.judges.judged_call import JudgedCall, lost
from otel_ml.loading import start_detached
from otel_ml.recorder import Recorder
from otel_ml.spans import SPAN_KEY, attach, detach, link
from otel_ml.tags import tags_of
from otel_ml.wire import error_name

_MESSAGE_CHARS: Final = 1_024
_CANCEL_S: Final = 0.25
_LEAST_POLL_S: Final = 0.005
_MOST_POLL_S: Final = 0.5
_ROOM_EVERY: Final = 5_000
_POSITIONED: Final = frozenset(
    {
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    }
)

Job = tuple[Item, int]


@dataclass(frozen=True)
class Target:
    """The function that an experiment runs.

    Args:
        function: The function without the tracing decorator.
        traced: The decorated function, which records the runs.
    """

    function: Callable[..., Any]
    traced: TracedFunction
    is_async: bool = field(init=False)
    _only: str = field(init=False, default="")

    def __post_init__(self) -> None:
        """Read the signature once."""
        parameters: list[inspect.Parameter] = []
        with untrusted:  # a builtin has no signature
            parameters = [*inspect.signature(self.function).parameters.values()]
        if len(parameters) == 1 and parameters[0].kind in _POSITIONED:
            object.__setattr__(self, "_only", parameters[0].name)
        object.__setattr__(
            self, "is_async", self._is(inspect.iscoroutinefunction, inspect.isasyncgenfunction)
        )

    def _is(self, *tests: Callable[[Any], bool]) -> bool:
        function: Any = self.function
        while isinstance(function, partial):
            function = function.func
        return any(test(part) for test in tests for part in (function, type(function).__call__))

    def arguments(self, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Convert an item's inputs to positional and keyword arguments of the function.

        A dict becomes keyword arguments, for example ``{"question": "..."}`` for
        ``answer(question)``. Any other value becomes a single positional argument. There is one
        exception: if the function has only one parameter, and the dict has no key with the name of
        that parameter, the dict itself is the positional argument.
        """
        given = fresh(inputs)
        by_name = type(given) is dict and all(type(key) is str for key in given)
        if not by_name or (self._only and self._only not in given):
            return (given,), {}
        return (), given

    def call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call the function. If it is a generator, return its chunks joined."""
        output = self.function(*args, **kwargs)
        return _joined([*output]) if inspect.isgenerator(output) else output

    async def call_on_loop(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Await the function. If it is an async generator, return its chunks joined."""
        output = self.function(*args, **kwargs)
        return (
            _joined([item async for item in output]) if inspect.isasyncgen(output) else await output
        )


def _joined(chunks: list[Any]) -> Any:
    return "".join(chunks) if chunks and all(type(chunk) is str for chunk in chunks) else chunks


class ItemCall(Call):
    """The recorded run of one call. It is not sent until its judges have scored the output."""

    __slots__ = ("_end_ns",)

    def begin(
        self, traced: TracedFunction, item: Item, repeat: int, about: "About", call: tuple[Any, Any]
    ) -> bool:
        """Start recording the call as a new trace, with id, digest, repeat and tags of its item.

        Returns:
            Whether the run is recorded.
        """
        self.stage = UNOPENED
        self._end_ns = 0  # set when the call returns
        if not self.open(traced, *call):
            return False
        with quiet("evaluate"):
            self._ask()
            self._facts.update(about.facts)
            self._facts[names.ITEM_ID] = self._facts[names.TEST_CASE_NAME] = item.id
            self._facts[names.ITEM_DIGEST] = item.digest
            self._facts[names.ITEM_REPEAT] = repeat
            if item.tags and self._recorder is not None:
                tags = self._recorder.redaction.values(tags_of(item.tags))
                self._tags = {**tags, **(self._tags or {})}
            link(self._span, about.links)
        return True

    def took_ms(self, measured_ms: float) -> float:
        """Return the recorded duration in ms, or `measured_ms` if the run has none."""
        return (self._end_ns - self.start_ns) / 1e6 if self._end_ns else measured_ms

    def set_status(self, passed: bool | None) -> None:
        """Set whether the item passed, for the run's attributes. Call this before `send_scored`."""
        if passed is not None:
            self._facts[names.TEST_CASE_STATUS] = "pass" if passed else "fail"

    def send_scored(self, judgements: Sequence[Judgement]) -> None:
        """Send the run with its scores. A second call does nothing."""
        if not self._end_ns or not self._span.is_recording():
            return
        with quiet("evaluate"):
            alone = [judgement for judgement in judgements if judgement.against is None]
            self._pass_to_processors_later(self._end_ns, alone)
            for judgement in judgements:
                if judgement.against is not None:
                    self._send_evaluation(judgement)

    def _judge(self, output: object, end_ns: int, recorder: Recorder, *, awaits: bool) -> None:
        self._end_ns = end_ns


@dataclass(frozen=True, slots=True)
class About:
    """What all runs of an experiment have in common: span attributes, links and context.

    Attributes:
        facts: Span attributes, such as the name of the experiment.
        links: Link to the experiment's span. Empty if the experiment is not recorded.
        context: OpenTelemetry context of the caller, but without a current span. So each run starts
            a new trace.
    """

    facts: Mapping[str, Any]
    links: tuple[Link, ...] = ()
    context: Context = field(
        default_factory=lambda: Context({**context_api.get_current(), SPAN_KEY: None})
    )


@dataclass(frozen=True, slots=True)
class Work:
    """What each call of an experiment needs: the function, the judges and the limits.

    Attributes:
        target: The function that the experiment calls.
        judges: Judges that score the output of one run.
        pairs: Judges that compare the output of a run with the output in the baseline.
        before: Function that returns the baseline's run for an item and a repeat number.
        timeout_s: Time limit of a call in seconds. None for no limit.
        about: Attributes and links of every run.
        is_recorded: Whether calls are recorded as runs. False if the experiment only scores outputs
            that were recorded earlier.
        before_call: Called with each item, immediately before the function.
    """

    target: Target
    recorder: Recorder
    judges: tuple[Judge, ...]
    pairs: tuple[Judge, ...]
    before: Callable[[Item, int], ItemRun | None]
    timeout_s: float | None
    about: About
    is_recorded: bool = True
    before_call: Callable[[Item], None] = lambda _: None

    def judged(self, item: Item, repeat: int, output: object, run_id: str) -> Iterator["Asked"]:
        """Yield the tasks for the judges of one output.

        The first task is to score the output alone. The second one is to compare the output with
        the baseline's. A task without judges is left out.
        """
        inputs: Any = item.inputs if type(item.inputs) is dict else {"inputs": item.inputs}
        more: dict[str, object] = {"expected": item.expected, "item": item}
        if self.judges:
            yield Asked(self.judges, inputs, output, run_id=run_id, more=more)
        other = self.before(item, repeat) if self.pairs else None
        if other is not None and other.outcome == "ok":
            facts = {**more, "baseline": other.outputs}
            yield Asked(self.pairs, inputs, output, run_id=run_id, more=facts, against=other.run_id)

    def row(self, item: Item, repeat: int, run_id: str, **more: Any) -> ItemRun:
        """Return the result of one call, with the ids and tags of its item."""
        return ItemRun(
            item.id,
            item.digest,
            repeat,
            run_id=run_id,
            tags=item.tags,
            source_run=item.source_run,
            source_session=item.source_session,
            inputs=item.inputs,
            **more,
        )


class Asked(JudgedCall):
    """One output that judges score in an experiment, and the scores they gave (`judgements`)."""

    def __init__(
        self,
        judges: tuple[Judge, ...],
        inputs: Mapping[str, Any],
        output: object,
        *,
        run_id: str,
        more: Mapping[str, object],
        against: str | None = None,
    ) -> None:
        self.judgements: list[Judgement] = []
        self._against = against
        super().__init__(judges, inputs, output, self._keep, self._ignore, run_id, more)

    def _keep(self, judgements: Sequence[Judgement]) -> None:
        against = self._against
        self.judgements = (
            [*judgements]
            if against is None
            else [replace(judgement, against=against) for judgement in judgements]
        )

    def _ignore(self, judgement: Judgement) -> None:
        """Ignore a score that arrives after the judge's time limit. It already counts as failed."""


class Trial:
    """One call of the function on one item of an experiment.

    Two threads may want to record its result: the one that calls the function, and the one that
    watches the time limit. Both call `claim` first. Only the thread that was first may record the
    result.
    """

    def __init__(self, item: Item, repeat: int) -> None:
        self.item = item
        self.repeat = repeat
        self.call: ItemCall | None = None
        self.deadline = 0.0
        self.began = 0.0
        self._lock = threading.Lock()
        self._run_id = ""

    def claim(self) -> bool:
        """Return True for the first caller only. That caller may record how the trial ended."""
        return self._lock.acquire(blocking=False)

    @property
    def latency_ms(self) -> float:
        """Duration of the call so far, in milliseconds."""
        return (time.perf_counter() - self.began) * 1e3

    def open(self, work: Work) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Start recording the call as a new trace, and return the arguments for the function."""
        arguments = work.target.arguments(self.item.inputs)
        attach(work.about.context)
        work.before_call(self.item)
        if work.is_recorded:
            call = ItemCall.__new__(ItemCall)
            if call.begin(work.target.traced, self.item, self.repeat, work.about, arguments):
                self.call = call
        self.began = time.perf_counter()
        if work.timeout_s is not None:
            self.deadline = time.monotonic() + work.timeout_s
        return arguments

    def fail(self, work: Work, error: BaseException, token: Any = None) -> ItemRun:
        """End the trial with an error and return its result."""
        latency_ms = self.latency_ms
        if self.call is not None:
            self.call.set_status(False)
            self.call.fail(error, token)
        message = ""
        with untrusted:
            message = str(error)[:_MESSAGE_CHARS]
        name = error_name(error)
        return work.row(
            self.item,
            self.repeat,
            self.run_id,
            outcome="error",
            error_type=name,
            error=f"{name}: {message}" if message else name,
            latency_ms=latency_ms,
        )

    def time_out(self, work: Work) -> ItemRun:
        """End a trial whose call takes too long. If the call returns later, ignore its result."""
        return self.fail(work, TimeoutError(f"timed out after {work.timeout_s:g} s"))

    def finish(self, output: object) -> float:
        """End the run of a call that returned, and return its latency in milliseconds."""
        latency_ms = self.latency_ms
        if self.call is not None:
            self.call.finish(output)
            latency_ms = self.call.took_ms(latency_ms)
        return latency_ms

    @property
    def run_id(self) -> str:
        """Id of the recorded run. Empty if nothing is recorded."""
        if not self._run_id and self.call is not None and self.call.is_recorded:
            self._run_id = self.call.id
        return self._run_id

    def send_scored(
        self, work: Work, output: object, latency_ms: float, judgements: Sequence[Judgement]
    ) -> ItemRun:
        """Send the run with its scores and return the result of the trial."""
        row = work.row(
            self.item,
            self.repeat,
            self.run_id,
            outputs=output,
            latency_ms=latency_ms,
            judgements={judgement.judge: judgement for judgement in judgements},
        )
        if self.call is not None:
            self.call.set_status(row.passed)
            self.call.send_scored(judgements)
        return row

    def lose(self, work: Work) -> None:
        """Send the run without scores, because its judges were interrupted."""
        if self.call is not None:
            self.call.send_scored(lost(work.judges, "lost: the call was interrupted"))


class Progress:
    """Collects the results of an experiment while it is running.

    Attributes:
        runs: Finished runs, in the order in which they ended.
        first_errors: For each exception type, the traceback of its first error.
        is_interrupted: Whether the experiment was interrupted before all runs finished.
    """

    def __init__(self, recorder: Recorder, on_item: Callable[[ItemRun], None]) -> None:
        self.runs: list[ItemRun] = []
        self.first_errors: dict[str, str] = {}
        self.is_interrupted = False
        self._recorder = recorder
        self._on_item = on_item

    def keep(self, run: ItemRun) -> None:
        """Add a finished run and report it to the caller. Only one thread may call this method."""
        self.runs.append(run)
        if len(self.runs) % _ROOM_EVERY == 0:
            self._recorder.make_room()
        self._on_item(run)

    def see(self, error: BaseException) -> None:
        """Keep the traceback of an error if it is the first of its type."""
        name = error_name(error)
        if name not in self.first_errors:
            with untrusted:
                trace = traceback_of(error)
                while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
                    trace = trace.tb_next
                self.first_errors[name] = "".join(
                    traceback.format_exception(type(error), error, trace)
                )


def _is_for_host(error: BaseException) -> bool:
    return isinstance(error, KeyboardInterrupt) or is_of_signal(error)


def run_trial(work: Work, progress: Progress, trial: Trial) -> ItemRun | None:
    """Call the function on one item and score the result, on the current thread.

    Returns:
        The result with its scores. None if the call took too long. Another thread has then recorded
        it as timed out.

    Raises:
        KeyboardInterrupt: The user interrupted the call. Other exceptions of signal handlers are
            raised too.
    """
    args, kwargs = trial.open(work)
    token = None if trial.call is None else attach(trial.call.context)
    try:
        output = work.target.call(args, kwargs)
    except BaseException as error:
        if not trial.claim():
            return None
        row = trial.fail(work, error, token)
        if _is_for_host(error):
            raise
        progress.see(error)
        return row
    if token is not None:
        detach(token)
    if not trial.claim():
        return None
    latency_ms = trial.finish(output)
    judgements: list[Judgement] = []
    try:
        for asked in work.judged(trial.item, trial.repeat, output, trial.run_id):
            asked.judge_here(work.recorder.judges.wait)
            judgements += asked.judgements
    except BaseException:
        trial.lose(work)
        raise
    return trial.send_scored(work, output, latency_ms, judgements)


def run_here(work: Work, jobs: Sequence[Job], progress: Progress) -> None:
    """Make all calls on this thread, one after the other."""
    variables = copy_context()
    try:
        for item, repeat in jobs:
            run = variables.copy().run(run_trial, work, progress, Trial(item, repeat))
            if run is not None:
                progress.keep(run)
    except KeyboardInterrupt:
        progress.is_interrupted = True


class Threads:
    """Makes the calls of an experiment on several threads. Threads that hang are replaced."""

    def __init__(self, work: Work, jobs: Sequence[Job], progress: Progress) -> None:
        self._work = work
        self._progress = progress
        self._waiting = deque(jobs)
        self._left = len(jobs)
        self._running: dict[int, Trial] = {}
        self._done: queue.SimpleQueue[ItemRun] = queue.SimpleQueue()
        self._variables = copy_context()

    def run(self, threads: int, is_stopped: Callable[[], bool] = lambda: False) -> None:
        """Make all calls. If you interrupt it, the finished ones are kept."""
        try:
            for _ in range(min(threads, self._left)):
                self._start()
            timeout_s = self._work.timeout_s
            poll_s = _MOST_POLL_S
            if timeout_s is not None:
                poll_s = min(max(timeout_s / 20, _LEAST_POLL_S), _MOST_POLL_S)
            while self._left and not is_stopped():
                with suppress(queue.Empty):
                    self._take(self._done.get(timeout=poll_s))
                if timeout_s is not None:
                    self._give_up_late()
            self._progress.is_interrupted = bool(self._left)
        except KeyboardInterrupt:
            self._progress.is_interrupted = True
        finally:
            self._waiting.clear()
            for trial in list(self._running.values()):
                if trial.call is not None and trial.claim():
                    trial.call.fail(KeyboardInterrupt())
            with suppress(queue.Empty):  # collect runs that finished before the interruption
                while True:
                    self._take(self._done.get_nowait())

    def _take(self, run: ItemRun) -> None:
        self._left -= 1
        self._progress.keep(run)

    def _give_up_late(self) -> None:
        now = time.monotonic()
        for trial in list(self._running.values()):
            if 0 < trial.deadline < now and trial.claim():
                self._take(trial.time_out(self._work))
                self._start()

    def _start(self) -> None:
        start_detached(threading.Thread(target=self._serve, name="otel-ml-evaluate", daemon=True))

    def _serve(self) -> None:
        mark = threading.get_ident()
        try:
            while True:
                try:
                    trial = Trial(*self._waiting.popleft())
                except IndexError:
                    return
                self._running[mark] = trial
                variables: Variables = self._variables.copy()
                try:
                    run = variables.run(run_trial, self._work, self._progress, trial)
                except BaseException as error:  # noqa: BLE001 - user code; its run records the error
                    run = trial.fail(self._work, error)
                if run is None:  # timed out: another thread has replaced this one
                    return
                self._done.put(run)
        finally:
            self._running.pop(mark, None)


async def run_on_loop(
    work: Work, jobs: Sequence[Job], concurrency: int, progress: Progress
) -> None:
    """Make all calls on the running event loop, `concurrency` at a time.

    Raises:
        asyncio.CancelledError: The caller was cancelled. Open calls are cancelled too.
    """
    waiting = deque(jobs)

    async def serve() -> None:
        while waiting:
            trial = Trial(*waiting.popleft())
            progress.keep(await _run_trial_on_loop(work, progress, trial))

    # A task has its own context, so what a call attaches does not leak into the caller's.
    workers = [asyncio.ensure_future(serve()) for _ in range(min(concurrency, len(jobs)))]
    try:
        await asyncio.gather(*workers)
    finally:
        waiting.clear()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _run_trial_on_loop(work: Work, progress: Progress, trial: Trial) -> ItemRun:
    args, kwargs = trial.open(work)
    token = None if trial.call is None else attach(trial.call.context)
    try:
        output = await _within(work.target.call_on_loop(args, kwargs), work.timeout_s)
    except _Overdue:
        return trial.time_out(work)
    except BaseException as error:
        row = trial.fail(work, error, token)
        if _is_for_host(error) or isinstance(error, asyncio.CancelledError):
            raise
        progress.see(error)
        return row
    if token is not None:
        detach(token)
    latency_ms = trial.finish(output)
    judgements: list[Judgement] = []
    try:
        for asked in work.judged(trial.item, trial.repeat, output, trial.run_id):
            await judge_on_loop(asked, work.recorder.judges)
            judgements += asked.judgements
    except BaseException:
        trial.lose(work)
        raise
    return trial.send_scored(work, output, latency_ms, judgements)


class _Overdue(Exception):
    """A call took longer than its time limit."""


def _forget(task: "asyncio.Future[Any]") -> None:
    """Retrieve the exception of an abandoned call, so that asyncio does not warn about it."""
    if not task.cancelled():
        task.exception()


async def _within(call: Awaitable[Any], timeout_s: float | None) -> Any:
    """Wait for a call for a limited time. Then cancel it, and give it only a moment to end.

    Raises:
        _Overdue: The call took longer than the time limit.
    """
    if timeout_s is None:
        return await call
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait([task], timeout=timeout_s)
        if task.done():
            return task.result()
        task.add_done_callback(_forget)
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_S)
        raise _Overdue
    finally:
        task.cancel()
