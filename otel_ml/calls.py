"""One call of a traced function becomes a run, and returns or raises exactly as without us."""

import copy
import functools
import inspect
import itertools
import sys
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from contextvars import Token
from time import time_ns
from types import CoroutineType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from opentelemetry import context as context_api
from opentelemetry.context import Context, get_current

from otel_ml import attributes as names
from otel_ml import stubs
from otel_ml.capture.description import is_stream
from otel_ml.capture.values import NOT_FOLLOWED, TRUNCATED, encode_whole, glance
from otel_ml.errors import hand_on, quiet, report, untrusted
from otel_ml.functions import LEFT_OUT, Judging, Options, TracedFunction
from otel_ml.late import late
from otel_ml.process import MARKS
from otel_ml.recorder import Recorder, find_recorder
from otel_ml.redaction import NOTE as REDACTED
from otel_ml.redaction import Redaction
from otel_ml.runs import RUN_KEY, UNSET, Run, facts_around
from otel_ml.spans import (
    ELSEWHERE,
    SPAN_KEY,
    RunSpan,
    attach,
    current_context,
    detach,
    is_sampled,
    reset,
)
from otel_ml.stubs import STUBBED
from otel_ml.versions.held_runs import HELD
from otel_ml.versions.structure import stream_part
from otel_ml.wire import judge_attributes

if TYPE_CHECKING:
    from otel_ml.genai import messages, streams
    from otel_ml.genai.generative import Generative
    from otel_ml.judges import host_loop, judge, judged_call
    from otel_ml.judges.pool import JudgePool

    # A judged call whose judges are to be awaited, and what runs them.
    Left = tuple[judged_call.JudgedCall, JudgePool]
else:
    messages = late("genai.messages")
    streams = late("genai.streams")
    host_loop = late("judges.host_loop")
    judge = late("judges.judge")
    judged_call = late("judges.judged_call")

P = ParamSpec("P")
R = TypeVar("R")

Wrapper = Callable[[TracedFunction, Callable[..., Any]], Callable[..., Any]]

_CHUNKS: Final = 10_000
_FIRST: Final = range(1)
_KEPT_CHUNKS: Final = range(1, _CHUNKS)
_NOWHERE: Final = Context()
_KNOWN: Final = object()
# Of a call: it may be interrupted before there is a run, while it is open, while its judges are
# being asked, and when the run is theirs or what they left.
UNOPENED, OPEN, JUDGING, JUDGED = range(4)
_NO_STREAMS: Final = frozenset({str, int, float, bool, type(None), dict, list, tuple})


class Call(Run):
    """One call of a traced function, and its run.

    Attributes:
        stage: How far it has come: `UNOPENED`, `OPEN`, `JUDGING` or `JUDGED`.
        context: What is current while the function's own code runs. It is let go at the end,
            because it holds the run, and the run must not hold itself.
    """

    __slots__ = (
        "_cost_ns",
        "_inputs",
        "_judged",
        "_outer",
        "_traced",
        "_version_of",
        "context",
        "stage",
    )

    _by_call = True

    # A call is made by `Call.__new__` as `UNOPENED`, then opened within the `try` that ends it: so
    # what a handler of a signal raises finds the run in its wrapper's hands, wherever it strikes.

    def open(self, traced: TracedFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Open the run: inputs are written down now, as they are.

        Returns:
            Whether there is a run. Trouble of ours is never raised.
        """
        try:
            recorder = traced.recorder.active()
            if recorder is None:
                return False
            start = recorder.start or recorder.open()
            start_ns = time_ns()
            self._outer = current = current_context()
            first = traced.start_attributes
            span = start(traced.span_name, current, start_ns, first, False)
            lean = span if type(span) is RunSpan and span.defers and traced.is_plain else None
            recorded = lean is not None or is_sampled(span)
            self._traced, self._span, self._start_ns = traced, span, start_ns
            self._recorder = recorder if recorded else None
            self._identity = recorder.identity
            self._cost_ns = 0
            self._version_of: object = _KNOWN  # else the output that the version is asked for
            self._ended = False
            self._unasked = lean is not None
            if lean is None:
                self._describe(first, facts_around(current) if recorded else {})
            elif current or MARKS.get() is not None:
                lean.variables = facts_around(current)
            # The run keeps it for its call alone: it is a cycle.
            self.context = Context({**current, SPAN_KEY: span, RUN_KEY: self})
            self.stage = OPEN
            if recorded:
                inputs = traced.bind(args, kwargs)
                if lean is None:
                    self._put_inputs(inputs, traced)
                else:
                    text, notes = recorder.redaction.write(inputs)
                    if notes or recorder.watch is not None:
                        self._ask()._put_text(names.INPUTS, "inputs", inputs, text, notes)
                    else:
                        lean.inputs = text
                        lean.weight += len(text)
                recorder.open_runs.add(self)
                self._cost_ns = time_ns() - start_ns
        except BaseException as error:  # noqa: BLE001 - telemetry never raises, see errors.py
            report("trace", error)
            return self.stage != UNOPENED  # an open run is recorded, whatever happened then
        return True

    def finish(
        self, output: object, *, awaits: bool = False, stream: "_Stream | None" = None
    ) -> "Left | None":
        """End the run of a call that returned; its judges start now.

        Args:
            output: What it returned; of a stream its chunks.
            awaits: Whether the caller awaits inline judges, which are left to it then.
            stream: The stream that has ended.

        Returns:
            What is left to the caller, if anything.
        """
        end_ns = time_ns()
        self.context = self._outer = _NOWHERE
        try:
            self._ended = True
            recorder, span = self._recorder, self._span
            # Looked at after that: who asks from now on sends what it adds.
            if (
                self._unasked
                and type(span) is RunSpan
                and span.defers
                and span.inputs is not None
                and type(output) in _NO_STREAMS
                and recorder is not None
                and recorder.identity is self._identity
            ):
                whole = part = output
                if stream is not None:
                    whole = self._join(output)
                    part = stream_part(whole)
                constants = self._traced.known_constants(part, end_ns, recorder)
                if constants is not None:
                    text, notes = recorder.redaction.write(whole)
                    # The chunks last: none stays where a secret across two of them was hidden.
                    if not notes and (
                        stream is None or stream.write(span, whole, recorder.redaction)
                    ):
                        recorder.open_runs.remove(self)
                        span.constants, span.outputs = constants, text
                        span.weight += len(text)
                        span.number = recorder.count()
                        span.hand_on(end_ns)
                        recorder.cost.add(time_ns() - end_ns + self._cost_ns)
                        return None
        except BaseException as error:  # noqa: BLE001 - as above
            report("trace", error)
            if not self._span.is_recording():  # a processor of the host's raised
                return None
        return self._finish_asked(output, end_ns, awaits, stream)

    def _finish_asked(
        self, output: object, end_ns: int, awaits: bool, stream: "_Stream | None"
    ) -> "Left | None":
        """End a call that is described by now, or has to be: its output needs a longer look."""
        try:
            if stream is not None:
                stream.describe()
            self._ask()._close(end_ns)
            recorder = self._recorder
            if recorder is not None:
                output, whole = self._put_output(output)
                if type(output) is list and names.STREAM_CHUNKS in self._facts:
                    whole = stream_part(whole)
                self._find_version(whole, end_ns, recorder)
        except BaseException as error:  # noqa: BLE001 - as above
            report("trace", error)
        recorder, left = self._recorder, None
        if recorder is not None and self._traced.judges:
            left = self._judge(output, end_ns, recorder, awaits=awaits)
        else:
            self._hand_over_later(end_ns)
        self._count_cost(end_ns)
        return left

    def fail(
        self, error: BaseException, token: Token[Context] | None = None, output: object = None
    ) -> None:
        """End the run of a call that raised, or of a stream that was left. It is not judged.

        It also ends what another method was about to, when a handler of a signal raised there;
        where that happens here, a second call goes on. Else a second call does nothing.

        Args:
            error: What was raised; ``GeneratorExit`` for a stream that was left early.
            token: Of the context; None when it is not known whether it was attached.
            output: What a stream gave until then.
        """
        end_ns = time_ns()
        if self.stage == UNOPENED:  # interrupted before it was open
            return
        self._leave(token)
        if self.stage == JUDGING:
            self._judged.lose(judged_call.INTERRUPTED)
        self._ended = True
        if self.stage != OPEN or not self._span.is_recording():
            return
        self._ask()
        if names.SEQ not in self._facts:
            with quiet("run.end"):
                self._close(end_ns, error)
        with quiet("trace"):
            recorder = self._recorder
            if recorder is not None:
                if output is not None or self._output is not UNSET:
                    self._put_output(output)
                self._find_version(None, end_ns, recorder)
        self._hand_over_later(end_ns, self._interrupted_judges())
        self._count_cost(end_ns)

    def _hand_over_later(self, end_ns: int, evaluations: "Sequence[judge.Judgement]" = ()) -> None:
        """Hand the run over, once the weights are read that its version is known by."""
        recorder = self._recorder
        if recorder is None or self._version_of is _KNOWN:
            self._hand_over(end_ns, evaluations)
            return

        def give() -> None:
            with quiet("version"):
                self._find_version(self._version_of, end_ns, recorder)
            self._hand_over(end_ns, evaluations)

        if self.stage == OPEN:
            with quiet("spool"):
                self._hold((), end_ns)
        if not HELD.hold(self._traced.waits_for, give):
            give()

    def _find_version(self, output: object, end_ns: int, recorder: Recorder) -> None:
        """Note the version of an output; while it cannot be known, the output."""
        constants = self._traced.describe_version(self._facts, output, end_ns, recorder)
        if constants is None:
            self._version_of = output
        else:
            self._constants = constants

    def _interrupted_judges(self) -> "Sequence[judge.Judgement]":
        """Say of a call that returned, and was interrupted then, that it was not judged."""
        if self._facts.get(names.OUTCOME) != "ok" or not self._is_judged():
            return ()
        return judged_call.lost(self._traced.judges, judged_call.INTERRUPTED)

    def _is_judged(self) -> bool:
        sample = self._traced.judging.sample
        span_id = self._span.get_span_context().span_id
        return bool(self._traced.judges) and (sample >= 1 or judge.is_in_sample(span_id, sample))

    def _leave(self, token: Token[Context] | None) -> None:
        """Make the context before the call current again, also where its token never came."""
        if self.context is _NOWHERE:  # it is
            return
        if token is not None:
            detach(token)
        if self.context is context_api.get_current():
            attach(self._outer)
        self.context = self._outer = _NOWHERE

    def _count_cost(self, end_ns: int) -> None:
        if self._recorder is not None:
            self._recorder.cost.add(time_ns() - end_ns + self._cost_ns)

    def set_output(self, value: object) -> None:
        """Record `value`, as it is now, as the run's output, instead of what the call returns.

        Where outputs are left out it only serves judges, and the attributes of a generative call.
        """
        if self._traced.capture.outputs or self._recorder is None:
            super().set_output(value)
        elif not self._ended:
            self._note("outputs", LEFT_OUT)
            self._output = value

    def _put_output(self, returned: object) -> tuple[object, object]:
        """Write the output, unless another output was set.

        Returns:
            The output that counts, and of a stream the message that its chunks form; None
            for a stream that is not followed.
        """
        output = whole = returned
        if self._output is not UNSET:
            output = whole = self._output
            self._output = UNSET
        else:
            if names.STREAM_CHUNKS in self._facts:
                whole = self._join(output)
            if self._traced.capture.outputs:
                self._put(names.OUTPUTS, "outputs", whole)
                if whole is not output:
                    self._put_chunks(output, whole)
            else:
                self._note("outputs", LEFT_OUT)
            if type(output) not in _NO_STREAMS and is_stream(output):
                self._note("outputs", NOT_FOLLOWED)
                whole = None
        if self._traced.generative is not None:
            self._describe_response(self._traced.generative, returned, output, whole)
        return output, whole

    def _join(self, output: object) -> object:
        """Join the chunks of a model's stream; those of any other stream stay as they are."""
        if not output or type(output) is not list:
            return output
        chunks: list[object] = output
        kind = type(chunks[0])
        if kind is str:
            try:
                return "".join(chunks)  # type: ignore[arg-type]  # it looks itself
            except TypeError:  # others are among them
                return chunks
        if kind in _NO_STREAMS and kind is not dict:
            return chunks
        is_told = self._traced.generative is not None
        return messages.join_chunks(chunks) if is_told or messages.is_chunk(chunks[0]) else chunks

    def _put_chunks(self, chunks: object, whole: object) -> None:
        """Write chunks beside their joined form, unless a secret was hidden in that.

        A secret that stands across two chunks would not be seen in them.
        """
        if REDACTED in self._notes.get("outputs", ()):
            self._note("chunks", REDACTED)
            return
        redaction = self._traced.recorder.redaction
        text = _write_chunks(chunks, whole, redaction)
        if not text:
            text, notes = redaction.encode(chunks)
            self._note("chunks", *notes)
        self._facts[names.OUTPUTS_CHUNKS] = text
        self._weigh(len(text))

    def _put_inputs(self, inputs: dict[str, Any], traced: TracedFunction) -> None:
        """Write the inputs of a call that says more by itself than payloads and version."""
        self._inputs = inputs
        if traced.tags:
            self._tags = traced.tags.copy()
        if traced.capture.inputs:
            self._put(names.INPUTS, "inputs", inputs)
        else:
            self._note("inputs", LEFT_OUT)
        generative = traced.generative
        if generative is not None:
            redaction = traced.recorder.redaction if traced.capture.inputs else None
            self._add_generative(generative, generative.describe_inputs(inputs, redaction))

    def say_stubbed(self, run_id: str) -> None:
        """Say that a recorded run answered in place of the function."""
        if self.stage == OPEN:
            self._ask()
            self._facts[names.STUBBED_FROM] = run_id

    def _describe_response(
        self, generative: "Generative", returned: object, output: object, whole: object
    ) -> None:
        if names.STUBBED_FROM in self._facts:  # its tokens were paid for then
            return
        redaction = self._traced.recorder.redaction if self._traced.capture.outputs else None
        response = [(returned, whole)]
        if output is not returned:
            response = [(returned, self._join(returned)), (output, output)]
        facts = generative.describe_output(response, self._facts, redaction)
        self._add_generative(generative, facts)

    def _add_generative(self, generative: "Generative", facts: Mapping[str, Any]) -> None:
        self._facts.update(facts)
        self._weigh(sum(len(value) for value in facts.values() if isinstance(value, str)))
        name = generative.name_span(facts)
        if name is not None:
            self._span.update_name(name)

    def _judge(
        self, output: object, end_ns: int, recorder: Recorder, *, awaits: bool
    ) -> "Left | None":
        if not self._is_judged():
            self._hand_over_later(end_ns)
            return None
        traced = self._traced
        known = {item.name: item for item in traced.judges}

        def release(evaluations: "Sequence[judge.Judgement]") -> None:
            if not self._span.is_recording():  # a second try, of what a signal broke off
                return
            self._hand_over_later(end_ns, evaluations)
            for evaluation in evaluations:
                tell_judge(recorder, known[evaluation.judge], evaluation.version)

        def late_one(evaluation: "judge.Judgement") -> None:
            self._send_evaluation(evaluation)
            tell_judge(recorder, known[evaluation.judge], evaluation.version)

        held = judged_call.JudgedCall(
            traced.judges, self._inputs, output, release, late_one, self.id
        )
        self._judged, self.stage = held, JUDGING
        with quiet("judge"):
            self._hold(traced.judges, end_ns)
            if traced.judging.inline and awaits:
                return held, recorder.judges
            if traced.judging.inline:
                began_ns = time_ns()
                held.judge_here(recorder.judges.wait)
                self._cost_ns -= time_ns() - began_ns  # not ours: the judges' own
            else:
                recorder.judges.submit(held)
            self.stage = JUDGED
            return None
        held.lose(judged_call.NOT_RUN)
        return None


def _write_chunks(chunks: object, whole: object, redaction: Redaction) -> str:
    """Write chunks beside their joined form; empty where they need a longer look."""
    seen = None
    if type(whole) is str and type(chunks) is list and type(chunks[0]) is str:
        # Texts are as short together as what they make.
        seen = (len(chunks) <= len(whole) and glance(whole) is False) or None
    text = encode_whole(chunks, seen)
    return "" if text is None or redaction.concerns(chunks, text) else text


def tell_judge(recorder: Recorder, known: "judge.Judge", version: str) -> None:
    """Send the definition of a judge, unless it was sent lately.

    Args:
        recorder: Sends it.
        known: The judge.
        version: Its own version; empty where it is not known, then nothing is sent.
    """
    key = ("judge", known.name, version)
    if not version or recorder.tell(key, time_ns()) is not None:
        return
    with quiet("judge definition"):
        definition = judge.describe_judge(known, recorder.redaction)
        recorder.send_record("update", None, judge_attributes(known.name, version, definition))
        return
    recorder.forget(key)  # the next run tells it


# Makes a call that is not open yet, in one step that nothing interrupts.
new: Final = Call.__new__


# The wrappers.
#
# Each wrapper ends its run within the ``try`` that it was opened in, and once more where a handler
# of a signal raises while it does so: wherever that strikes, the run is in the wrapper's hands.


def decorate(target: Any, trace: Callable[[Any], Any]) -> Any:
    """Apply `trace` to a function, or to the function within a descriptor of a class body.

    Raises:
        TypeError: The target is a class, or cannot be called.
    """
    kind = type(target)  # not isinstance(): it asks the object, whose answer may raise
    if issubclass(kind, staticmethod | classmethod):
        return kind(decorate(target.__func__, trace))
    if issubclass(kind, functools.partialmethod):
        return kind(decorate(target.func, trace), *target.args, **target.keywords)
    if issubclass(kind, type):
        raise TypeError(
            f"Invalid function {type.__repr__(target)}: expected no class; decorate a method of "
            "it, its __call__, or a function that makes one"
        )
    if not callable(target):
        raise TypeError(
            f"Invalid function of type {kind.__name__}: expected something that can be called; "
            "@property and the like stand above this decorator"
        )
    return trace(target)


def wrap(traced: TracedFunction, function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function, so that it looks the same to `inspect`.

    Returns:
        A function for a function; for any other object that can be called, a `TracedObject`.
    """
    wrapper = _wrapper(function)(traced, function)
    if isinstance(function, FunctionType):
        made = functools.wraps(function)(wrapper)
        made._otel_ml_traced = traced  # type: ignore[attr-defined]  # as of a `TracedObject`
        return made
    traced_object: Callable[P, R] = TracedObject(wrapper, traced)
    return traced_object


def traced_of(function: Callable[..., Any]) -> TracedFunction | None:
    """Return the record of a function that is traced itself, not below another decorator."""
    with untrusted:
        traced = getattr(function, "_otel_ml_traced", None)
        if isinstance(traced, TracedFunction) and traced.function is function.__wrapped__:  # type: ignore[attr-defined]
            return traced
    return None


def _wrapper(function: Callable[..., Any]) -> Wrapper:
    """Choose the wrapper by the result of a call: a value, an awaitable, a stream."""
    wrapper = _wrapper_of_kind(function)
    if wrapper is not None:
        return wrapper
    while isinstance(function, functools.partial):
        function = function.func
    kind: Any = type(function)
    wrapper = _wrapper_of_kind(kind.__call__)
    return _wrap_plain if wrapper is None else functools.partial(_wrap_plainly, wrapper)


def _wrapper_of_kind(function: object) -> Wrapper | None:
    with untrusted:  # an object of the host's, whose attributes may raise
        if inspect.isasyncgenfunction(function):
            return _wrap_async_stream
        if inspect.iscoroutinefunction(function) or _is_old_coroutine(function):
            return _wrap_async
        return _wrap_stream if inspect.isgeneratorfunction(function) else None
    return None


def _is_old_coroutine(function: object) -> bool:
    """Tell a generator function that `types.coroutine` made awaitable."""
    code = getattr(function, "__code__", None)
    return inspect.iscode(code) and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)


def _wrap_plainly(
    inner: Wrapper, traced: TracedFunction, function: Callable[..., Any]
) -> Callable[..., Any]:
    """Wrap an object whose `__call__` is a coroutine or generator function, though it is not."""
    later = inner(traced, function)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return later(*args, **kwargs)

    return wrapper


def _wrap_plain(traced: TracedFunction, function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        call, token = new(Call), None
        call.stage = UNOPENED
        called = stubs.plain(traced, function, call) if STUBBED else function
        try:
            if call.open(traced, args, kwargs):
                token = attach(call.context)
                output = called(*args, **kwargs)
                try:
                    reset(token)
                except ELSEWHERE as error:
                    hand_on(error)
                if type(output) not in _NO_STREAMS:
                    awaitable = _follow_awaitable(call, output)
                    if awaitable is not None:
                        return awaitable
                if traced.generative is not None:
                    followed = _follow(call, output)
                    if followed is not None:
                        return followed
                call.finish(output)
                return output
        except BaseException as error:
            try:
                call.fail(error, token)
            finally:  # once more, where a handler of a signal raised in it
                call.fail(error, token)
            raise
        return called(*args, **kwargs)

    return wrapper


def _wrap_async(traced: TracedFunction, function: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        call, token = new(Call), None
        call.stage = UNOPENED
        called = stubs.awaited(traced, function, call) if STUBBED else function
        try:
            if call.open(traced, args, kwargs):
                token = attach(call.context)
                output = await called(*args, **kwargs)
                try:
                    reset(token)
                except ELSEWHERE as error:
                    hand_on(error)
                if traced.generative is not None:
                    followed = _follow(call, output)
                    if followed is not None:
                        return followed
                left = call.finish(output, awaits=True)
                if left is not None:
                    await host_loop.judge_on_loop(*left)
                return output
        except BaseException as error:
            try:
                call.fail(error, token)
            finally:  # once more, where a handler of a signal raised in it
                call.fail(error, token)
            raise
        return await called(*args, **kwargs)

    return wrapper


# What a plain function returns to be awaited, as clients of libraries do, ends its run.


def _follow_awaitable(call: Call, output: Any) -> Any:
    """Record the result of a coroutine, a task or a future that a call returned.

    Returns:
        The object for the caller; None where the run ends with the call.
    """
    try:
        kind = type(output)
        if kind is CoroutineType:
            return _stand_in(call, output)
        if hasattr(kind, "_asyncio_future_blocking"):
            output.add_done_callback(lambda done: _end_future(call, done))
            return output
    except BaseException as error:  # noqa: BLE001 - as `untrusted`, at each call
        hand_on(error)
    return None


def _stand_in(call: Call, output: Any) -> Any:
    """Let a coroutine of ours stand in for a coroutine that a call returned, with its name.

    Python warns once of a coroutine that is never awaited, as without us.
    """
    begun: list[bool] = []
    coroutine: Any = _await(call, output, begun)
    coroutine.__name__, coroutine.__qualname__ = output.__name__, output.__qualname__

    def leave() -> None:
        if begun:
            return
        if inspect.getcoroutinestate(output) == inspect.CORO_CREATED:
            output.close()
        call.fail(GeneratorExit())

    weakref.finalize(coroutine, leave).atexit = False
    return coroutine


async def _await(call: Call, output: Any, begun: list[bool]) -> Any:
    begun.append(True)
    token = None
    try:
        token = attach(call.context)
        awaited = await output
        detach(token)
        followed = _follow(call, awaited)
        if followed is not None:
            return followed
        left = call.finish(awaited, awaits=True)
        if left is not None:
            await host_loop.judge_on_loop(*left)
        return awaited  # noqa: TRY300 - as the wrappers do
    except BaseException as error:
        try:
            call.fail(error, token)
        finally:  # once more, where a handler of a signal raised in it
            call.fail(error, token)
        raise


def _end_future(call: Call, done: Any) -> None:
    """End the run of a task or future, without asking for its error: Python would log it then."""
    with quiet("future"):
        error = done._exception
        if done.cancelled():
            error = sys.modules["asyncio"].CancelledError()
        if error is None:
            call.finish(done._result)
        else:
            call.fail(error)


# Nothing of ours stays attached to the context while the reader's code runs: the run is current
# only while the generator's own body does. Both wrappers hold everything themselves: a call of our
# own would be felt at each chunk.


def _wrap_stream(traced: TracedFunction, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a generator function."""

    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        call, token = new(Call), None
        call.stage = UNOPENED
        called = stubs.stream(traced, function, call) if STUBBED else function
        generator = called(*args, **kwargs)
        stream = _Stream(call)
        try:
            if not call.open(traced, args, kwargs):
                return (yield from generator)
            context, send = call.context, generator.send
            resume, value, left = send, None, False
            for keep, slots in stream.stages(True):
                for _ in slots:
                    token = attach(context)
                    try:
                        chunk = resume(value)
                    except StopIteration as stop:
                        detach(token)
                        stream.finish(left)
                        return stop.value
                    try:
                        reset(token)
                    except ELSEWHERE as error:
                        hand_on(error)
                    keep(chunk)
                    try:
                        value = yield chunk
                        resume, left = send, False
                    except BaseException as thrown:  # noqa: BLE001 - it goes on into the generator
                        resume, value = generator.throw, thrown
                        left = isinstance(thrown, GeneratorExit)
        except BaseException as error:
            try:
                stream.fail(error, token)
            finally:  # once more, where a handler of a signal raised in it
                stream.fail(error, token)
            raise
        return None  # never: the last stage has no end

    return wrapper


def _wrap_async_stream(traced: TracedFunction, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an async generator function."""

    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        call, token = new(Call), None
        call.stage = UNOPENED
        called = stubs.async_stream(traced, function, call) if STUBBED else function
        generator = called(*args, **kwargs)
        stream = _Stream(call)
        try:
            is_open = call.open(traced, args, kwargs)
            context, send = call.context if is_open else None, generator.asend
            resume, value, left = send, None, False
            for keep, slots in stream.stages(is_open):
                for _ in slots:
                    token = attach(context or get_current())
                    try:
                        chunk = await resume(value)
                    except StopAsyncIteration:
                        detach(token)
                        judging = stream.finish(left, awaits=True)
                        if judging is not None:
                            await host_loop.judge_on_loop(*judging)
                        return
                    try:
                        reset(token)
                    except ELSEWHERE as error:
                        hand_on(error)
                    keep(chunk)
                    try:
                        value = yield chunk
                        resume, left = send, False
                    except BaseException as thrown:  # noqa: BLE001 - it goes on into the generator
                        resume, value = generator.athrow, thrown
                        left = isinstance(thrown, GeneratorExit)
        except BaseException as error:
            try:
                stream.fail(error, token)
            finally:  # once more, where a handler of a signal raised in it
                stream.fail(error, token)
            raise

    return wrapper


class _Stream:
    """The chunks of a stream, and its run; of a call that is not open it keeps nothing."""

    __slots__ = ("_began", "_call", "_chunks", "_first_chunk_ms", "_is_open", "_not_kept")

    def __init__(self, call: Call, began: float | None = None) -> None:
        self._chunks: list[Any] = []
        self._call = call
        self._is_open = began is not None
        self._not_kept = 0
        self._began = began or 0.0
        self._first_chunk_ms = 0.0

    def take(self, chunk: Any) -> None:
        """Keep a chunk, or count it where there are too many."""
        if not self._chunks:
            self._keep_first(chunk)
        elif len(self._chunks) < _CHUNKS:
            self._chunks.append(chunk)
        else:
            self._not_kept += 1

    def stages(self, is_open: bool) -> tuple[tuple[Callable[[Any], None], Iterable[object]], ...]:
        """Return the handlers of chunks, each with its number of chunks; the last has no end."""
        self._is_open = is_open
        self._began = time.perf_counter()
        rest = (self._count, itertools.repeat(None))
        if not is_open:
            return (rest,)
        return (self._keep_first, _FIRST), (self._chunks.append, _KEPT_CHUNKS), rest

    def finish(self, left: bool, *, awaits: bool = False) -> "Left | None":
        """End the run of a stream that ended by itself, or quietly when its reader left it.

        Returns:
            What `Call.finish` does.
        """
        if left:
            self.fail(GeneratorExit())
        elif self._is_open:
            return self._call.finish(self._chunks, awaits=awaits, stream=self)
        return None

    def fail(self, error: BaseException, token: Token[Context] | None = None) -> None:
        """End the run of a stream that raised or was left, see `Call.fail`."""
        if self._is_open:
            self.describe()
        self._call.fail(error, token, self._chunks if self._is_open else None)

    def _keep_first(self, chunk: Any) -> None:
        self._first_chunk_ms = (time.perf_counter() - self._began) * 1e3
        self._chunks.append(chunk)

    def _count(self, _chunk: Any) -> None:
        self._not_kept += 1

    def write(self, span: RunSpan, whole: object, redaction: Redaction) -> bool:
        """Write on the span of a call that nobody asked for; False where that needs a run."""
        chunks, more = self._chunks, {}
        if self._not_kept or not chunks:
            return False
        if whole is not chunks:
            more[names.OUTPUTS_CHUNKS] = text = _write_chunks(chunks, whole, redaction)
            if not text:
                return False
            span.weight += len(text)
        span.variables = {
            **span.variables,
            names.STREAM_CHUNKS: len(chunks),
            names.STREAM_FIRST_CHUNK_MS: self._first_chunk_ms,
            **more,
        }
        return True

    def describe(self) -> None:
        """Say on the run how many chunks came, how soon the first, and whether all were kept."""
        call, kept = self._call, len(self._chunks)
        if not call._span.is_recording():  # it is handed over, and no more ours
            return
        call._ask()
        if self._not_kept:
            call._note("outputs", TRUNCATED)
        call._facts[names.STREAM_CHUNKS] = kept + self._not_kept
        if kept:
            call._facts[names.STREAM_FIRST_CHUNK_MS] = self._first_chunk_ms


def _follow(call: Call, output: Any) -> Any:
    """Record the stream of a model's that a call returned while it is read.

    Returns:
        What the caller is to be given; None where the run ends with the call.
    """
    generative = call._traced.generative
    if generative is None or not generative.is_talk or type(output) in _NO_STREAMS:
        return None
    if call._recorder is None or not is_stream(output):
        return None
    context, call.context = call.context, _NOWHERE
    # The first chunk counts from the start of the call that has returned its stream.
    began = time.perf_counter() - (time_ns() - call.start_ns) / 1e9
    return streams.follow(output, _Stream(call, began), context)


class TracedObject(functools.partial):  # type: ignore[type-arg]  # no subscript at run time in 3.10
    """A traced object that is no function: a partial, a bound method, a builtin, a callable.

    It answers for the object: its attributes can be read, `inspect` finds its signature and
    kind, it binds in a class body as the object does, and where the object can be copied or
    pickled, so can it. In another process it is traced by a client of the same project, else
    it is the bare object there.
    """

    def __new__(cls, wrapper: Callable[..., Any], traced: TracedFunction) -> "TracedObject":
        """Make the wrapper with the attributes of its function."""
        made = super().__new__(cls, wrapper)
        function = traced.function
        # In a dict of its own: what stands there is no attribute of the object's.
        vars(made).update(
            __wrapped__=function,
            __doc__=getattr(function, "__doc__", None),
            __module__=getattr(function, "__module__", None),
            _otel_ml_traced=traced,
        )
        return made

    @property
    def func(self) -> Any:
        """The partial's own function; of another object the wrapper, as its kind is the same."""
        return getattr(self.__wrapped__, "func", super().func)

    @property
    def args(self) -> Any:
        """The partial's own arguments."""
        return getattr(self.__wrapped__, "args", ())

    @property
    def keywords(self) -> Any:
        """The partial's own named arguments."""
        return getattr(self.__wrapped__, "keywords", {})

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["__wrapped__"], name)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        wrapped = self.__wrapped__
        bind = getattr(type(wrapped), "__get__", None)
        bound = wrapped if bind is None else bind(wrapped, instance, owner)
        if bound is wrapped:
            return self
        if isinstance(bound, MethodType) and bound.__func__ is wrapped:
            return MethodType(self, instance)
        return self._around(bound)

    def __copy__(self) -> Any:
        return self._around(copy.copy(self.__wrapped__))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self._around(copy.deepcopy(self.__wrapped__, memo))

    def __reduce__(self) -> Any:
        traced: TracedFunction = self._otel_ml_traced
        name = getattr(self.__wrapped__, "__qualname__", None)
        if isinstance(name, str) and _find(self.__module__, name) is self:
            return name
        recorder = traced.recorder
        options, judging = traced.options, traced.judging
        return _restore, (recorder.project, id(recorder), self.__wrapped__, options, judging)

    def _around(self, function: Callable[..., Any]) -> Any:
        traced: TracedFunction = self._otel_ml_traced
        return wrap(
            TracedFunction(traced.recorder, function, traced.options, traced.judging), function
        )


def _find(module: str, name: str) -> object:
    """Look up an object by its qualified name, as pickle does."""
    value: object = sys.modules.get(module)
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def _restore(
    project: str, mark: int, function: Callable[..., Any], options: Options, judging: Judging
) -> Callable[..., Any]:
    """Trace an unpickled object again; without a client of its project it stays bare."""
    recorder = find_recorder(project, mark)
    if recorder is None:
        return function
    return wrap(TracedFunction(recorder, function, options, judging), function)
