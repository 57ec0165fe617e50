"""One call of a traced function: its inputs, output and version written down as a run."""

from collections.abc import Mapping, Sequence
from contextvars import Token
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as context_api
from opentelemetry.context import Context

from otel_ml import attributes as names
from otel_ml.capture.description import is_stream
from otel_ml.capture.values import NOT_FOLLOWED, TRUNCATED, encode_whole
from otel_ml.capture_mode import LEFT_OUT
from otel_ml.errors import quiet, report
from otel_ml.functions import TracedFunction
from otel_ml.late import late
from otel_ml.recorder import Recorder
from otel_ml.redaction import NOTE as REDACTED
from otel_ml.runs import UNSET, Run
from otel_ml.spans import attach, detach, is_sampled
from otel_ml.versions.structure import stream_part

if TYPE_CHECKING:
    from otel_ml.genai import chunks as messages
    from otel_ml.genai.generative import Generative
    from otel_ml.judges import judge, judged
    from otel_ml.judges.pool import JudgePool

    # A judged call whose judges are to be awaited, and what runs them.
    Left = tuple[judged.Judged, JudgePool]
else:
    messages = late("genai.chunks")
    judge = late("judges.judge")
    judged = late("judges.judged")

_NOWHERE: Final = Context()
_PLAIN: Final = frozenset({str, int, float, bool, type(None), dict, list, tuple})  # no streams


class Call(Run):
    """One call of a traced function, and its run.

    Attributes:
        context: What is current while the function's own code runs. It is let go at the end,
            because it holds the run, and the run must not hold itself.
    """

    __slots__ = ("_cost_ns", "_inputs", "_judged", "_left", "_outer", "_traced", "context")

    # A call is made by `Call.__new__`, then opened within the `try` that ends it: so what a
    # handler of a signal raises finds the run in its wrapper's hands, wherever it strikes.

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
            self._outer = current = context_api.get_current()
            first = traced.start_attributes
            span = start(traced.span_name, current, start_ns, first, False)
            recorded = is_sampled(span)
            self._traced = traced
            self._inputs: dict[str, Any] = {}
            self._cost_ns = 0
            super().__init__(recorder if recorded else None, span, start_ns, first, True)
            self.context = self._context_in(current)
            if recorded:
                if traced.tags:
                    self._tags = traced.tags.copy()
                self._inputs = inputs = traced.bind(args, kwargs)
                if traced.capture.inputs:
                    self._put(names.INPUTS, "inputs", inputs)
                else:
                    self._note("inputs", LEFT_OUT)
                if traced.generative is not None:
                    self._describe_request(traced.generative, inputs)
                recorder.open_runs.add(self)
                self._cost_ns = time_ns() - start_ns
        except BaseException as error:  # noqa: BLE001 - telemetry never raises, see errors.py
            report("trace", error)
            return hasattr(self, "context")  # an open run is recorded, whatever happened then
        return True

    def finish(self, output: object, *, awaits: bool = False) -> "Left | None":
        """End the run of a call that returned; its judges start now.

        Args:
            output: What it returned.
            awaits: Whether the caller awaits inline judges, which are left to it then.

        Returns:
            What is left to the caller, if anything.
        """
        end_ns = time_ns()
        self.context = self._outer = _NOWHERE
        try:
            self._close(end_ns)
            recorder = self._recorder
            if recorder is not None:
                returned, (output, whole) = output, self._put_output(output)
                if self._traced.generative is not None:
                    self._describe_response(self._traced.generative, returned, output, whole)
                if names.STREAM_CHUNKS in self._facts:
                    if type(whole) is list:
                        whole = stream_part(whole)
                    elif type(whole) is not str:
                        whole = None  # a message that was put together has what the model said
                self._constants = self._traced.describe_version(
                    self._facts, whole, end_ns, recorder
                )
        except BaseException as error:  # noqa: BLE001 - as above
            report("trace", error)
            recorder = self._recorder
        if recorder is None:
            self._hand_over(end_ns)
            return None
        if self._traced.judges:
            left = self._judge(output, end_ns, recorder, awaits=awaits)
            self._count_cost(end_ns)
            return left
        self._hand_over(end_ns)
        recorder.cost.add(time_ns() - end_ns + self._cost_ns)
        return None

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
        self._leave(token)
        if not hasattr(self, "_ended"):  # interrupted before it was open
            return
        if hasattr(self, "_left"):
            self._left.lose(judged.INTERRUPTED)
        if hasattr(self, "_judged") or not self._span.is_recording():
            self._ended = True
            return
        if names.SEQ not in self._facts:
            with quiet("run.end"):
                self._close(end_ns, error)
        with quiet("trace"):
            recorder = self._recorder
            if recorder is not None:
                if output is not None or self._output is not UNSET:
                    shown, whole = self._put_output(output)
                    if self._traced.generative is not None:
                        self._describe_response(self._traced.generative, output, shown, whole)
                self._constants = self._traced.describe_version(self._facts, None, end_ns, recorder)
        self._hand_over(end_ns, self._interrupted_judges())
        self._count_cost(end_ns)

    def _interrupted_judges(self) -> "Sequence[judge.Evaluation]":
        """Say of a call that returned, and was interrupted then, that it was not judged."""
        if self._facts.get(names.OUTCOME) != "ok" or not self._is_judged():
            return ()
        return judged.lost(self._traced.judges, judged.INTERRUPTED)

    def _is_judged(self) -> bool:
        sample = self._traced.judging.sample
        span_id = self._span.get_span_context().span_id
        return bool(self._traced.judges) and (sample >= 1 or judge.is_in_sample(span_id, sample))

    def _leave(self, token: Token[Context] | None) -> None:
        """Make current what was so before the call, also where we never got its token."""
        if getattr(self, "context", None) is _NOWHERE:  # it is
            return
        if token is not None:
            detach(token)
        if getattr(self, "context", None) is context_api.get_current():
            attach(self._outer)
        self.context = self._outer = _NOWHERE

    def _count_cost(self, end_ns: int) -> None:
        if self._recorder is not None:
            self._recorder.cost.add(time_ns() - end_ns + self._cost_ns)

    def describe_stream(self, chunks: int, first_chunk_ms: float, kept: int) -> None:
        """Say how many chunks a stream gave, how soon the first came, how many were kept."""
        if kept < chunks:
            self._note("outputs", TRUNCATED)
        self._facts[names.STREAM_CHUNKS] = chunks
        if chunks:
            self._facts[names.STREAM_FIRST_CHUNK_MS] = first_chunk_ms

    def set_output(self, value: object) -> None:
        """Record `value`, as it is now, as the run's output, instead of what the call returns.

        Where outputs are left out it only serves judges, and what a generative call tells of it.
        """
        if self._traced.capture.outputs or self._recorder is None:
            super().set_output(value)
        elif not self._ended:
            self._note("outputs", LEFT_OUT)
            self._output = value

    def _put_output(self, output: object) -> tuple[object, object]:
        """Write the output, unless another one was set.

        Returns:
            What counts as the output, and of a stream the message that its chunks amount to; None
            for a stream that is not followed.
        """
        if self._output is not UNSET:
            output, self._output = self._output, UNSET
            return output, output
        whole: object = self._join(output) if names.STREAM_CHUNKS in self._facts else output
        if self._traced.capture.outputs:
            self._put(names.OUTPUTS, "outputs", whole)
            if whole is not output:
                self._put_chunks(output)
        else:
            self._note("outputs", LEFT_OUT)
        if type(output) not in _PLAIN and is_stream(output):
            self._note("outputs", NOT_FOLLOWED)
            return output, None
        return output, whole

    def _join(self, output: object) -> object:
        """Put the chunks of a model's stream together; those of any other stay what they are."""
        if not output or type(output) is not list:
            return output
        chunks: list[object] = output
        kind = type(chunks[0])
        if kind is str:
            try:
                return "".join(chunks)  # type: ignore[arg-type]  # it looks itself
            except TypeError:  # others are among them
                return chunks
        if kind in _PLAIN and kind is not dict:
            return chunks
        is_told = self._traced.generative is not None
        return messages.join_chunks(chunks) if is_told or messages.is_chunk(chunks[0]) else chunks

    def _put_chunks(self, chunks: object) -> None:
        """Write chunks beside what they amount to, unless something was hidden there.

        A secret that stands across two chunks would not be seen in them.
        """
        if REDACTED in self._notes.get("outputs", ()):
            self._note("chunks", REDACTED)
            return
        redaction = self._traced.recorder.redaction
        text = encode_whole(chunks)
        if text is None or redaction.concerns(chunks, text):
            text, notes = redaction.encode(chunks)
            self._note("chunks", *notes)
        self._facts[names.OUTPUTS_CHUNKS] = text
        self._weigh(len(text))

    def _describe_request(self, generative: "Generative", inputs: Mapping[str, Any]) -> None:
        redaction = self._traced.recorder.redaction if self._traced.capture.inputs else None
        self._add_generative(generative, generative.describe_inputs(inputs, redaction))

    def _describe_response(
        self, generative: "Generative", returned: object, output: object, whole: object
    ) -> None:
        redaction = self._traced.recorder.redaction if self._traced.capture.outputs else None
        told = [(returned, whole)]
        if output is not returned:
            told = [(returned, self._join(returned)), (output, output)]
        found = generative.describe_output(told, self._facts, redaction)
        self._add_generative(generative, found)

    def _add_generative(self, generative: "Generative", found: Mapping[str, Any]) -> None:
        self._facts.update(found)
        self._weigh(sum(len(value) for value in found.values() if isinstance(value, str)))
        name = generative.name_span(found)
        if name is not None:
            self._span.update_name(name)

    def _judge(
        self, output: object, end_ns: int, recorder: Recorder, *, awaits: bool
    ) -> "Left | None":
        if not self._is_judged():
            self._hand_over(end_ns)
            return None
        traced = self._traced
        known = {one.name: one for one in traced.judges}

        def definition(evaluation: "judge.Evaluation") -> str | None:
            key = ("judge", evaluation.judge, evaluation.version)
            if recorder.tell(key, time_ns()) is None:
                with quiet("judge definition"):
                    return known[evaluation.judge].definition.to_json(recorder.redaction)
                recorder.forget(key)  # the next run tells it
            return None

        def release(evaluations: "Sequence[judge.Evaluation]") -> None:
            if not self._span.is_recording():  # a second try, of what a signal broke off
                return
            told = {evaluation.judge: definition(evaluation) for evaluation in evaluations}
            self._hand_over(
                end_ns, evaluations, {name: text for name, text in told.items() if text}
            )

        def late_one(evaluation: "judge.Evaluation") -> None:
            self._send_evaluation(evaluation, definition(evaluation))

        held = judged.Judged(traced.judges, self._inputs, output, release, late_one)
        self._judged = self._left = held
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
            del self._left
            return None
        held.lose(judged.NOT_RUN)
        return None


# Makes a call that is not open yet, in one step that nothing interrupts.
new: Final = Call.__new__
