"""Records one call of a traced function as a run, without changing its result or error."""

import inspect
import itertools
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Token
from time import time_ns
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as context_api
from opentelemetry.context import Context

from otel_ml import attributes as names
from otel_ml import stubs
from otel_ml.capture.description import is_stream
from otel_ml.capture.snapshot import Taking
from otel_ml.capture.taker import TRUNCATED
from otel_ml.capture.values import NOT_FOLLOWED, check_short, encode_whole
from otel_ml.errors import quiet, report, reraise_host_error
from otel_ml.functions import LEFT_OUT, TracedFunction
from otel_ml.late import late
from otel_ml.process import MARKS
from otel_ml.recorder import Recorder
from otel_ml.redaction import CapturedPayload, Redaction, weight_of
from otel_ml.runs import CONTEXT_KEY, RUN_KEY, UNSET, Run, facts_around, surroundings_of
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
from otel_ml.tags import Value, tag_attributes
from otel_ml.versions.pending_runs import PENDING_RUNS
from otel_ml.versions.structure import stream_part
from otel_ml.wire import judge_attributes

if TYPE_CHECKING:
    from otel_ml.genai import messages, streams
    from otel_ml.genai.generative import Generative
    from otel_ml.judges import host_loop, judge, judged_call
    from otel_ml.judges.pool import JudgePool

    # call whose judges the caller must await, and the pool that runs them
    Left = tuple[judged_call.JudgedCall, JudgePool]
else:
    messages = late("genai.messages")
    streams = late("genai.streams")
    host_loop = late("judges.host_loop")
    judge = late("judges.judge")
    judged_call = late("judges.judged_call")

_CHUNKS: Final = 10_000
_FIRST: Final = range(1)
_KEPT_CHUNKS: Final = range(1, _CHUNKS)
_NOWHERE: Final = Context()
_KNOWN: Final = object()
# why a version does not include the model's weights: not read in time, or changed meanwhile
WEIGHTS_PENDING: Final = "weights_pending"
WEIGHTS_CHANGED: Final = "weights_changed"
# Stages of a call. They determine who must end the run if a signal handler interrupts it.
UNOPENED, OPEN, JUDGING, JUDGED = range(4)
NO_STREAMS: Final = frozenset({str, int, float, bool, type(None), dict, list, tuple})
# cache by type: True if results are complete, that is neither streams nor awaitables
_RESULTS: Final[dict[object, bool]] = dict.fromkeys(NO_STREAMS, True)
_RESULT_TYPES: Final = 1_000


def is_result(output: object) -> bool:
    """Tell whether an output is complete when its call returns, unlike a stream or an awaitable."""
    kind = type(output)
    known = _RESULTS.get(kind)
    if known is None:
        if len(_RESULTS) >= _RESULT_TYPES:
            _RESULTS.clear()
        known = _RESULTS[kind] = not (
            is_stream(output)
            or hasattr(kind, "__await__")
            or hasattr(kind, "_asyncio_future_blocking")
        )
    return known


class Call(Run):
    """A run that records one call of a traced function. The function's wrapper creates it.

    Attributes:
        stage: Progress of the call: `UNOPENED`, `OPEN`, `JUDGING` or `JUDGED`.
        context: OpenTelemetry context to activate while the function runs, so that calls inside it
            become children. Removed when the call ends.
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

    @property
    def _taking(self) -> Taking:  # type: ignore[override]  # a constant of other runs
        return self._traced.taking

    # A call is created by Call.__new__ as UNOPENED and opened inside the try that ends it. So if a
    # signal handler raises at any point, the wrapper can still end the run.

    def open(self, traced: TracedFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Start the run and record the inputs. Never raises: errors inside otel-ml are only logged.

        Args:
            traced: The traced function that is called.
            args: Positional arguments of the call.
            kwargs: Keyword arguments of the call.

        Returns:
            False if the call is not recorded, for example inside a `disabled` block.
        """
        try:
            recorder = traced.recorder.active()
            if recorder is None:
                traced.recorder.miss()
                return False
            start = recorder.start or recorder.open()
            start_ns = time_ns()
            self._outer = current = current_context()
            first = traced.start_attributes
            span = start(traced.span_name, current, start_ns, first, False)
            deferred = span if type(span) is RunSpan and span.defers and traced.is_plain else None
            recorded = deferred is not None or is_sampled(span)
            self._traced, self._span, self._start_ns = traced, span, start_ns
            self._recorder = recorder if recorded else None
            self._identity = recorder.identity
            self._cost_ns = 0
            self._version_of: object = _KNOWN  # or the output, until its version is known
            self._ended = False
            self._unasked = deferred is not None
            if deferred is None:
                self._describe(first, facts_around(current) if recorded else {})
            elif current or MARKS.get() is not None:
                deferred.variables = facts_around(current)
                if CONTEXT_KEY in current:
                    tags = self._surrounding_tags(current, recorder)
                    deferred.variables = {**deferred.variables, **tag_attributes(tags)}
            # removed when the call ends, because it is a reference cycle
            self.context = Context({**current, SPAN_KEY: span, RUN_KEY: self})
            self.stage = OPEN
            if recorded:
                inputs = traced.bind(args, kwargs)
                if deferred is None:
                    self._put_inputs(inputs, traced)
                else:
                    captured = recorder.redaction.capture(inputs, traced.taking)
                    if recorder.watch is not None:
                        self._ask()._put_captured(names.INPUTS, captured)
                    else:
                        deferred.inputs = captured
                        deferred.weight += (
                            len(captured) if isinstance(captured, str) else captured.weight
                        )
                recorder.open_runs.add(self)
                self._cost_ns = time_ns() - start_ns
        except BaseException as error:  # noqa: BLE001 - telemetry never raises, see errors.py
            report("trace", error)
            if self.stage == UNOPENED:
                traced.recorder.miss(error)
            return self.stage != UNOPENED  # an open run is recorded even if an error followed
        return True

    def finish(
        self, output: object, *, awaits: bool = False, stream: "CallStream | None" = None
    ) -> "Left | None":
        """End the run of a call that succeeded, and start its judges.

        Args:
            output: The return value. For a stream, the list of its chunks.
            awaits: Whether an async function was called. Its inline judges (those that score before
                the call returns) are not called here, because they would block the event loop.
            stream: The stream, if the function returned one.

        Returns:
            For an async function with inline judges, the arguments for `Hooks.judge_on_loop`, which
            calls these judges. Otherwise None.
        """
        end_ns = time_ns()
        self.context = self._outer = _NOWHERE
        try:
            self._ended = True
            recorder, span = self._recorder, self._span
            # check after setting _ended: data added from now on is sent separately
            if (
                self._unasked
                and type(span) is RunSpan
                and span.defers
                and span.inputs is not None
                and (type(output) in NO_STREAMS or is_result(output))
                and recorder is not None
                and recorder.identity is self._identity
            ):
                whole = part = output
                if stream is not None:
                    whole = self._join(output)
                    part = stream_part(whole)
                constants = self._traced.known_constants(part, end_ns, recorder)
                if constants is not None:
                    captured = recorder.redaction.capture(whole, self._traced.taking)
                    # Write the chunks last. If a secret spans two chunks, none may remain on the
                    # span.
                    if stream is None or (
                        type(captured) is str and stream.write(span, whole, recorder.redaction)
                    ):
                        recorder.open_runs.remove(self)
                        span.constants, span.outputs = constants, captured
                        span.weight += (
                            len(captured) if isinstance(captured, str) else captured.weight
                        )
                        span.number = recorder.count()
                        span.end_and_queue(end_ns)
                        recorder.cost.add(time_ns() - end_ns + self._cost_ns)
                        return None
        except BaseException as error:  # noqa: BLE001 - as above
            report("trace", error)
            if not self._span.is_recording():  # a span processor of the user raised
                return None
        return self._finish_asked(output, end_ns, awaits, stream)

    def _finish_asked(
        self, output: object, end_ns: int, awaits: bool, stream: "CallStream | None"
    ) -> "Left | None":
        """End a call outside the fast path. Its run was accessed, or its output needs more work."""
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
            self._pass_to_processors_later(end_ns)
        self._count_cost(end_ns)
        return left

    def fail(
        self, error: BaseException, token: Token[Context] | None = None, output: object = None
    ) -> None:
        """End the run of a call that raised an error, or of a stream that the caller closed early.

        The run is not scored. If the run has already ended, nothing happens. If a signal handler
        interrupted `finish` or an earlier `fail`, call `fail` again to end the run.

        Args:
            error: The error. ``GeneratorExit`` for a stream that was closed early.
            token: Token that was returned when the run's OpenTelemetry context was attached. With
                None, the context is not changed.
            output: The chunks that the stream returned before it failed.
        """
        end_ns = time_ns()
        if self.stage == UNOPENED:  # interrupted before it was opened
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
        self._pass_to_processors_later(end_ns, self._interrupted_judges())
        self.stage = JUDGED  # a second call must not export it again while it waits for weights
        self._count_cost(end_ns)

    def _pass_to_processors_later(
        self, end_ns: int, evaluations: "Sequence[judge.Judgement]" = ()
    ) -> None:
        """Export the run, after the model weights that its version depends on were hashed."""
        recorder = self._recorder
        if recorder is None or self._version_of is _KNOWN:
            self._pass_to_processors(end_ns, evaluations)
            return

        jobs, marks = self._traced.waits_for, self._traced.weight_marks(self._traced.waits_for)

        def give() -> None:
            with quiet("version"):
                output, self._version_of = self._version_of, _KNOWN
                has_changed = self._traced.weight_marks(jobs) != marks
                if not has_changed:
                    self._find_version(output, end_ns, recorder)
                # if the model has changed, the weights that were read are not those that the call
                # used
                if has_changed or self._version_of is not _KNOWN:
                    self._constants = self._traced.describe_pending(
                        self._facts, output, end_ns, recorder
                    )
                    self._note("version", WEIGHTS_CHANGED if has_changed else WEIGHTS_PENDING)
            self._pass_to_processors(end_ns, evaluations)

        if self.stage == OPEN:
            with quiet("spool"):
                self._hold((), end_ns)
        if not PENDING_RUNS.hold(self._traced.waits_for, give):
            give()

    def _find_version(self, output: object, end_ns: int, recorder: Recorder) -> None:
        """Set the version for an output, or remember the output if the version is not known yet."""
        constants = self._traced.describe_version(self._facts, output, end_ns, recorder)
        if constants is None:
            self._version_of = output
        else:
            self._constants = constants

    def _interrupted_judges(self) -> "Sequence[judge.Judgement]":
        """Return "not judged" results for a call that returned and was then interrupted."""
        if self._facts.get(names.OUTCOME) != "ok" or not self._is_judged():
            return ()
        return judged_call.lost(self._traced.judges, judged_call.INTERRUPTED)

    def _is_judged(self) -> bool:
        sample = self._traced.judging.sample
        span_id = self._span.get_span_context().span_id
        return bool(self._traced.judges) and (sample >= 1 or judge.is_in_sample(span_id, sample))

    def _leave(self, token: Token[Context] | None) -> None:
        """Restore the context from before the call, even if its token is lost."""
        if self.context is _NOWHERE:  # already restored
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
        """Record `value` as the run's output, instead of the value that the function returns.

        The value is written immediately, so later changes to it have no effect. With
        ``capture="off"`` or ``"inputs"`` the output is not sent, but judges still see it.
        """
        if self._traced.capture.outputs or self._recorder is None:
            super().set_output(value)
        elif not self._ended:
            self._note("outputs", LEFT_OUT)
            self._output = value

    def _put_output(self, returned: object) -> tuple[object, object]:
        """Write the output, unless `set_output` has set another one.

        Returns:
            The recorded output, and for a stream the message that its chunks form. The second value
            is None for a stream that is not followed.
        """
        output = whole = returned
        if self._output is not UNSET:
            output = whole = self._output
            self._output = UNSET
        else:
            if names.STREAM_CHUNKS in self._facts:
                whole = self._join(output)
            if self._traced.capture.outputs:
                self._put(names.OUTPUTS, whole)
                if whole is not output:
                    self._put_chunks(output, whole)
            else:
                self._note("outputs", LEFT_OUT)
            if type(output) not in NO_STREAMS and is_stream(output):
                self._note("outputs", NOT_FOLLOWED)
                whole = None
        if self._traced.generative is not None:
            self._describe_response(self._traced.generative, returned, output, whole)
        return output, whole

    def _join(self, output: object) -> object:
        """Join the chunks of a model's stream into one message. Other chunks stay unchanged."""
        if not output or type(output) is not list:
            return output
        chunks: list[object] = output
        kind = type(chunks[0])
        if kind is str:
            try:
                return "".join(chunks)  # type: ignore[arg-type]  # join() checks the types
            except TypeError:  # some chunks are not strings
                return chunks
        if kind in NO_STREAMS and kind is not dict:
            return chunks
        is_known = self._traced.generative is not None
        return messages.join_chunks(chunks) if is_known or messages.is_chunk(chunks[0]) else chunks

    def _put_chunks(self, chunks: object, whole: object) -> None:
        """Write a stream's chunks, in addition to the joined message."""
        redaction = self._traced.recorder.redaction
        captured: str | CapturedPayload = _write_chunks(chunks, whole, redaction)
        if not captured:
            captured = redaction.capture(chunks, self._traced.taking)
        self._facts[names.OUTPUTS_CHUNKS] = captured
        self._weigh(weight_of(captured))

    def _put_inputs(self, inputs: dict[str, Any], traced: TracedFunction) -> None:
        """Write inputs, tags and generative attributes of a call outside the fast path."""
        self._inputs = inputs
        tags = self._surrounding_tags(self._outer, traced.recorder)
        if traced.tags or tags:
            self._tags = {**tags, **traced.tags}
        if traced.capture.inputs:
            self._put(names.INPUTS, inputs)
        else:
            self._note("inputs", LEFT_OUT)
        generative = traced.generative
        if generative is not None:
            redaction = traced.recorder.redaction if traced.capture.inputs else None
            self._add_generative(generative, generative.describe_inputs(inputs, redaction))

    def _surrounding_tags(self, current: Context, recorder: Recorder) -> dict[str, Value]:
        """Return the tags that `otel_ml.context` has set around the call."""
        surroundings = surroundings_of(current)
        tags = {} if surroundings is None else dict(surroundings.tags)
        return recorder.redaction.values(tags) if tags else tags

    def note_stub(self, run_id: str) -> None:
        """Record that the function was not executed, because its output was replayed.

        This happens during a replay with stubs, see `otel_ml.stubs`.

        Args:
            run_id: Id of the recorded run from which the output was taken.
        """
        if self.stage == OPEN:
            self._ask()
            self._facts[names.STUBBED_FROM] = run_id

    def _describe_response(
        self, generative: "Generative", returned: object, output: object, whole: object
    ) -> None:
        if names.STUBBED_FROM in self._facts:  # the recorded run already counts the tokens
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
            self._pass_to_processors_later(end_ns)
            return None
        traced = self._traced
        known = {item.name: item for item in traced.judges}

        def release(evaluations: "Sequence[judge.Judgement]") -> None:
            # second attempt, after a signal handler interrupted the first
            if not self._span.is_recording():
                return
            self._pass_to_processors_later(end_ns, evaluations)
            for evaluation in evaluations:
                send_judge(recorder, known[evaluation.judge], evaluation.version)

        def late_one(evaluation: "judge.Judgement") -> None:
            self._send_evaluation(evaluation)
            send_judge(recorder, known[evaluation.judge], evaluation.version)

        judged = judged_call.JudgedCall(
            traced.judges, self._inputs, output, release, late_one, self.id
        )
        self._judged, self.stage = judged, JUDGING
        with quiet("judge"):
            self._hold(traced.judges, end_ns)
            if traced.judging.inline and awaits:
                return judged, recorder.judges
            if traced.judging.inline:
                began_ns = time_ns()
                judged.judge_here(recorder.judges.wait)
                self._cost_ns -= time_ns() - began_ns  # judges are not overhead of otel-ml
            else:
                recorder.judges.submit(judged)
            self.stage = JUDGED
            return None
        judged.lose(judged_call.NOT_RUN)
        return None


def _write_chunks(chunks: object, whole: object, redaction: Redaction) -> str:
    """Return a stream's chunks as JSON; return "" if they need the slow path."""
    seen = None
    if type(whole) is str and type(chunks) is list and type(chunks[0]) is str:
        # the joined text is short, so the chunks are short too
        seen = (len(chunks) <= len(whole) and check_short(whole) is False) or None
    text = encode_whole(chunks, seen)
    return "" if text is None or redaction.concerns(chunks, text) else text


def send_judge(recorder: Recorder, known: "judge.Judge", version: str) -> None:
    """Send the code of a judge to the collector, unless it was sent in the last 5 minutes.

    The collector needs it to show the judge's page. Errors are logged, not raised.

    Args:
        recorder: Recorder that sends the code.
        known: The judge whose code to send.
        version: Hash of the judge's code. If it is empty, nothing is sent.
    """
    key = ("judge", known.name, version)
    if not version or recorder.check_due(key, time_ns()) is not None:
        return
    with quiet("judge definition"):
        definition = judge.describe_judge(known, recorder.redaction)
        recorder.send_record("update", None, judge_attributes(known.name, version, definition))
        return
    recorder.forget(key)  # the next run sends it


# creates an unopened call in one step, which cannot be interrupted
new: Final = Call.__new__


# A plain function may return an awaitable, as client libraries do. The run then ends when the
# awaitable finishes.


def follow_awaitable(call: Call, output: Any) -> Any:
    """Wrap a coroutine, task or future that a traced function returned, to record its result.

    Args:
        call: The run of the call. It ends when the result is available.
        output: The object that the function returned.

    Returns:
        The object to give to the caller instead of `output`. None if `output` is of another type.
        In that case, end the run immediately.
    """
    try:
        kind = type(output)
        if kind is CoroutineType:
            return _wrap_coroutine(call, output)
        if hasattr(kind, "_asyncio_future_blocking"):
            output.add_done_callback(lambda done: _end_future(call, done))
            return output
    except BaseException as error:  # noqa: BLE001 - like `untrusted`, but faster
        reraise_host_error(error)
    return None


def _wrap_coroutine(call: Call, output: Any) -> Any:
    """Return a coroutine that wraps `output` under the same name and ends the run.

    If it is never awaited, Python warns once, as it would without tracing.
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
        followed = follow(call, awaited)
        if followed is not None:
            return followed
        left = call.finish(awaited, awaits=True)
        if left is not None:
            await host_loop.judge_on_loop(*left)
        return awaited  # noqa: TRY300 - as the wrappers do
    except BaseException as error:
        try:
            call.fail(error, token)
        finally:  # again, in case a signal handler raised in the first call
            call.fail(error, token)
        raise


def _end_future(call: Call, done: Any) -> None:
    """End the run of a task or future.

    It reads private fields, because ``exception()`` would stop Python from logging unretrieved
    errors.
    """
    with quiet("future"):
        error = done._exception
        if done.cancelled():
            error = sys.modules["asyncio"].CancelledError()
        if error is None:
            call.finish(done._result)
        else:
            call.fail(error)


class CallStream:
    """Keeps the chunks of a streamed output, and ends the call's run when the stream ends.

    If the call is not recorded, no chunks are kept.
    """

    __slots__ = ("_began", "_call", "_chunks", "_first_chunk_ms", "_is_open", "_not_kept")

    def __init__(self, call: Call, began: float | None = None) -> None:
        self._chunks: list[Any] = []
        self._call = call
        self._is_open = began is not None
        self._not_kept = 0
        self._began = began or 0.0
        self._first_chunk_ms = 0.0

    def take(self, chunk: Any) -> None:
        """Keep a chunk. After the first 10,000, chunks are only counted."""
        if not self._chunks:
            self._keep_first(chunk)
        elif len(self._chunks) < _CHUNKS:
            self._chunks.append(chunk)
        else:
            self._not_kept += 1

    def stages(self, is_open: bool) -> tuple[tuple[Callable[[Any], None], Iterable[object]], ...]:
        """Return the functions to which the wrapper of a stream passes its chunks.

        The first chunk is timed and kept. The next chunks are kept, up to 10,000 in total. All
        later chunks are only counted.

        Args:
            is_open: Whether the call is recorded. If not, all chunks are only counted.

        Returns:
            Pairs of a function and an iterable. The wrapper passes as many chunks to the function
            as the iterable has elements, then goes on with the next pair. The last iterable is
            infinite.
        """
        self._is_open = is_open
        self._began = time.perf_counter()
        rest = (self._count, itertools.repeat(None))
        if not is_open:
            return (rest,)
        return (self._keep_first, _FIRST), (self._chunks.append, _KEPT_CHUNKS), rest

    def finish(self, left: bool, *, awaits: bool = False) -> "Left | None":
        """End the run of a stream that is exhausted, or that its reader closed early.

        Returns:
            The result of `Call.finish`.
        """
        if left:
            self.fail(GeneratorExit())
        elif self._is_open:
            return self._call.finish(self._chunks, awaits=awaits, stream=self)
        return None

    def fail(self, error: BaseException, token: Token[Context] | None = None) -> None:
        """End the run of a stream that raised or was closed early, see `Call.fail`."""
        if self._is_open:
            self.describe()
        self._call.fail(error, token, self._chunks if self._is_open else None)

    def _keep_first(self, chunk: Any) -> None:
        self._first_chunk_ms = (time.perf_counter() - self._began) * 1e3
        self._chunks.append(chunk)

    def _count(self, _chunk: Any) -> None:
        self._not_kept += 1

    def write(self, span: RunSpan, whole: object, redaction: Redaction) -> bool:
        """Write the chunks of the stream to the span, if they are simple enough for the fast path.

        Return False if they are not. Then call `describe`, which is slower.
        """
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
        """Record the number of chunks, the delay of the first, and whether any were dropped."""
        call, kept = self._call, len(self._chunks)
        if not call._span.is_recording():  # the span has ended
            return
        call._ask()
        if self._not_kept:
            call._note("outputs", TRUNCATED)
        call._facts[names.STREAM_CHUNKS] = kept + self._not_kept
        if kept:
            call._facts[names.STREAM_FIRST_CHUNK_MS] = self._first_chunk_ms


def follow(call: Call, output: Any) -> Any:
    """Wrap the stream of an LLM's response, to record the chunks while the caller reads them.

    Args:
        call: The run of the call. It ends with the stream.
        output: The object that the function returned.

    Returns:
        The stream to give to the caller instead of `output`. None if `output` is not such a stream.
        In that case, end the run immediately.
    """
    generative = call._traced.generative
    if generative is None or not generative.is_talk or type(output) in NO_STREAMS:
        return None
    if call._recorder is None or not is_stream(output):
        return None
    context, call.context = call.context, _NOWHERE
    # the time to the first chunk counts from the start of the call
    began = time.perf_counter() - (time_ns() - call.start_ns) / 1e9
    return streams.follow(output, CallStream(call, began), context)


async def _judge_on_loop(judged: "judged_call.JudgedCall", judges: "JudgePool") -> None:
    await host_loop.judge_on_loop(judged, judges)


class Hooks:
    """Groups the functions that the wrappers of traced functions call.

    Wrappers reach these functions only through this class, so that wrappers can be pickled. See
    otel_ml/wrappers.py.
    """

    # Pickling a wrapper also pickles what its code names. Some of these functions cannot be
    # pickled, but a class is pickled by its name only.

    ELSEWHERE: Final = ELSEWHERE
    attach = attach
    detach = staticmethod(detach)
    reset = reset
    current_context = current_context
    reraise_host_error = staticmethod(reraise_host_error)
    follow = staticmethod(follow)
    follow_awaitable = staticmethod(follow_awaitable)
    judge_on_loop = staticmethod(_judge_on_loop)
    plain = staticmethod(stubs.plain)
    awaited = staticmethod(stubs.awaited)
    stream = staticmethod(stubs.stream)
    async_stream = staticmethod(stubs.async_stream)
