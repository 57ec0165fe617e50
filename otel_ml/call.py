"""One call of a traced function: its inputs, output and version written down as a run."""

from collections.abc import Mapping, Sequence
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as context_api
from opentelemetry.context import Context

from otel_ml import attributes as names
from otel_ml.capture_mode import LEFT_OUT
from otel_ml.current import UNSET, Run
from otel_ml.errors import report
from otel_ml.recorder import Recorder
from otel_ml.span import is_sampled
from otel_ml.traced import Traced
from otel_ml.values import TRUNCATED

if TYPE_CHECKING:
    from otel_ml.genai.generative import Generative
    from otel_ml.judges.judge import Evaluation

_NOWHERE: Final = Context()


class Call(Run):
    """One call of a traced function, and its run.

    Attributes:
        context: What is current while the function's own code runs. It is let go at the end,
            because it holds the run, and the run must not hold itself.
    """

    __slots__ = ("_cost_ns", "_inputs", "_traced", "context")

    def __init__(
        self, traced: Traced, recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        start = recorder.start or recorder.open()
        start_ns = time_ns()
        current = context_api.get_current()
        span = start(traced.span_name, current, start_ns, traced.start_attributes, False)
        recorded = is_sampled(span)
        first = traced.start_attributes
        super().__init__(recorder if recorded else None, span, start_ns, first, True)
        self.context = self.context_in(current)
        self._traced = traced
        self._inputs: dict[str, Any] = {}
        self._cost_ns = 0
        if recorded:
            try:  # the span is open: whatever happens now, its run is recorded
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
            except Exception as error:  # noqa: BLE001 - telemetry never raises
                report("trace", error)
            self._cost_ns = time_ns() - start_ns

    def finish(self, output: object) -> None:
        """End the run of a call that returned; its judges start now. Never raises."""
        end_ns = time_ns()
        self.context = _NOWHERE
        self.close(end_ns)
        recorder = self._recorder
        if recorder is None:
            self.hand_over(end_ns)
            return
        try:
            returned, output = output, self._put_output(output)
            if self._traced.generative is not None:
                self._describe_response(self._traced.generative, returned, output)
            self._constants = self._traced.describe_version(self._facts, output, end_ns, recorder)
            if self._traced.judges:
                self._judge(output, end_ns, recorder)
                self._count_cost(end_ns)
                return
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            report("trace", error)
        self.hand_over(end_ns)
        recorder.cost.add(time_ns() - end_ns + self._cost_ns)

    def fail(self, error: BaseException, output: object = None) -> None:
        """End the run of a call that raised, or of a stream that was left. It is not judged.

        Args:
            error: What was raised; ``GeneratorExit`` for a stream that was left early.
            output: What a stream gave until then. Never raises.
        """
        end_ns = time_ns()
        self.context = _NOWHERE
        self.close(end_ns, error)
        try:
            recorder = self._recorder
            if recorder is not None:
                if output is not None or self._output is not UNSET:
                    shown = self._put_output(output)
                    if self._traced.generative is not None:
                        self._describe_response(self._traced.generative, output, shown)
                self._constants = self._traced.describe_version(self._facts, None, end_ns, recorder)
        except Exception as problem:  # noqa: BLE001 - telemetry never raises
            report("trace", problem)
        self.hand_over(end_ns)
        self._count_cost(end_ns)

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

    def _put_output(self, output: object) -> object:
        """Write the output, unless another one was set; return the one that counts."""
        if self._output is not UNSET:
            output, self._output = self._output, UNSET
        elif self._traced.capture.outputs:
            self._put(names.OUTPUTS, "outputs", output)
        else:
            self._note("outputs", LEFT_OUT)
        return output

    def _describe_request(self, generative: "Generative", inputs: Mapping[str, Any]) -> None:
        redaction = self._traced.recorder.redaction if self._traced.capture.inputs else None
        self._add_generative(generative, generative.describe_inputs(inputs, redaction))

    def _describe_response(
        self, generative: "Generative", returned: object, output: object
    ) -> None:
        redaction = self._traced.recorder.redaction if self._traced.capture.outputs else None
        found = generative.describe_output(returned, output, self._facts, redaction)
        self._add_generative(generative, found)

    def _add_generative(self, generative: "Generative", found: Mapping[str, Any]) -> None:
        self._facts.update(found)
        self.weigh(sum(len(value) for value in found.values() if isinstance(value, str)))
        name = generative.name_span(found)
        if name is not None:
            self._span.update_name(name)

    def _judge(self, output: object, end_ns: int, recorder: Recorder) -> None:
        from otel_ml.judges.judge import is_in_sample  # a client without judges loads none of it
        from otel_ml.judges.judged import Judged

        traced = self._traced
        span_id = self._span.get_span_context().span_id
        if traced.settings.sample < 1 and not is_in_sample(span_id, traced.settings.sample):
            self.hand_over(end_ns)
            return
        judges = {judge.name: judge for judge in traced.judges}

        def definition(evaluation: "Evaluation") -> str | None:
            if recorder.tell(("judge", evaluation.judge, evaluation.version), time_ns()) is None:
                return judges[evaluation.judge].definition.to_json(recorder.redaction)
            return None

        def release(evaluations: "Sequence[Evaluation]") -> None:
            told = {evaluation.judge: definition(evaluation) for evaluation in evaluations}
            self.hand_over(end_ns, evaluations, {name: text for name, text in told.items() if text})

        def late(evaluation: "Evaluation") -> None:
            self.send_evaluation(evaluation, definition(evaluation))

        self.hold(traced.judges, end_ns)
        judged = Judged(traced.judges, self._inputs, output, release, late)
        if traced.settings.inline:
            from otel_ml.judges.inline import judge_now  # only who asks for it loads it

            began_ns = time_ns()
            judge_now(judged, recorder.judges, traced.function)
            self._cost_ns -= time_ns() - began_ns  # not ours: the judges' own
        else:
            recorder.judges.submit(judged)


def begin(traced: Traced, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
    """Open the run of a call: inputs are written down now, as they are.

    Returns:
        The run; None when there is none. Never raises.
    """
    try:
        recorder = traced.recorder.active()
        if recorder is not None:
            return Call(traced, recorder, args, kwargs)
    except Exception as error:  # noqa: BLE001 - telemetry never raises
        report("trace", error)
    return None
