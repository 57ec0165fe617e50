"""One call of a traced function: its inputs, output and version written down as a run."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml.capture import make_binder
from otel_ml.current import Run
from otel_ml.errors import report
from otel_ml.recorder import Recorder
from otel_ml.structure import DYNAMIC, output_structure, structure_digest
from otel_ml.values import TRUNCATED, encode
from otel_ml.wire import Value, payload_attributes

if TYPE_CHECKING:
    from otel_ml.judge import Evaluation, Judge
    from otel_ml.model_version import Definition

_STRUCTURES: Final = 8


class Traced:
    """What is known of one decorated function: name, tags, judges, version."""

    def __init__(
        self,
        recorder: Recorder,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        kind: str = "model",
        tags: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
        judges: "Sequence[Judge]" = (),
    ) -> None:
        self.recorder = recorder
        self.function = function
        self.name = name or _model_name(function)
        self.kind = kind
        self.tags = dict(tags or {})
        self.params = dict(params or {})
        self.judges = tuple(judges)
        self.bind = make_binder(function)
        self._definition: Definition | None = None
        self._structures: dict[str, str] = {}

    @property
    def definition(self) -> "Definition":
        """The version's definition, computed at the first call."""
        if self._definition is None:
            from otel_ml.model_version import define  # parsing is no part of start-up

            self._definition = define(self.function, self.params)
        return self._definition

    def structure(self, output: object) -> tuple[str | None, str | None]:
        """Return text and digest of an output's structure; from the 9th on it is dynamic."""
        text = output_structure(output)
        if text is None:
            return None, None
        digest = self._structures.get(text)
        if digest is None:
            if len(self._structures) >= _STRUCTURES:
                return DYNAMIC, DYNAMIC
            digest = self._structures[text] = structure_digest(text)
        return text, digest

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Call | None":
        """Open the run of a call: inputs are written down now, as they are. Never raises."""
        try:
            if self.recorder.enabled:
                return Call(self, args, kwargs)
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            report("trace", error)
        return None


class Call:
    """One call of a traced function."""

    __slots__ = ("_inputs", "_notes", "_traced", "run")

    def __init__(self, traced: Traced, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._traced = traced
        self._inputs: dict[str, Any] = {}
        self._notes: dict[str, list[str]] = {}
        self.run = open_run(traced.recorder, traced.name, traced.kind, by_call=True)
        if self.run.is_recorded:
            try:  # the span is open: whatever happens now, its run is recorded
                self._capture(args, kwargs)
            except Exception as error:  # noqa: BLE001 - telemetry never raises
                report("trace", error)

    def _capture(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        traced = self._traced
        self._inputs = traced.bind(args, kwargs)
        self._write(names.INPUTS, self._inputs)
        self.run.tag(traced.tags)
        if traced.params:
            self.run.describe({names.PARAMS: encode(traced.params).text})

    def finish(self, output: object) -> None:
        """End the run of a call that returned; its judges start now. Never raises."""
        end_ns = time.time_ns()
        self.run.close(end_ns)
        try:
            if self.run.is_recorded:
                self._write(names.OUTPUTS, output)
                self._describe_version(output)
                if self._traced.judges:
                    self._judge(output, end_ns)
                    return
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            report("trace", error)
        self.run.hand_over(end_ns)

    def fail(self, error: BaseException, output: object = None) -> None:
        """End the run of a call that raised, or of a stream that was left. It is not judged.

        Args:
            error: What was raised; ``GeneratorExit`` for a stream that was left early.
            output: What a stream gave until then. Never raises.
        """
        end_ns = time.time_ns()
        self.run.close(end_ns, error)
        try:
            if self.run.is_recorded:
                if output is not None:
                    self._write(names.OUTPUTS, output)
                self._describe_version(None)
        except Exception as problem:  # noqa: BLE001 - telemetry never raises
            report("trace", problem)
        self.run.hand_over(end_ns)

    def describe_stream(self, chunks: int, first_chunk_ms: float, kept: int) -> None:
        """Say how many chunks a stream gave, how soon the first came, how many were kept."""
        if kept < chunks:
            self._notes["outputs"] = [TRUNCATED]
        facts: dict[str, Value] = {names.STREAM_CHUNKS: chunks}
        if chunks:
            facts[names.STREAM_FIRST_CHUNK_MS] = first_chunk_ms
        self.run.describe(facts)

    def _write(self, key: str, value: object) -> None:
        encoded = encode(value)
        self.run.describe(payload_attributes(key, value, encoded))
        part = key.removeprefix("otel_ml.")
        notes = encoded.notes.union(self._notes.get(part, ()))
        if notes:
            self._notes[part] = sorted(notes)
            self.run.describe({names.CAPTURE: orjson.dumps(self._notes).decode()})

    def _describe_version(self, output: object) -> None:
        traced = self._traced
        definition = traced.definition
        text, digest = traced.structure(output)
        facts: dict[str, Value] = {names.MODEL_VERSION: definition.digest}
        if digest is not None:
            facts[names.MODEL_OUTPUT_SCHEMA] = digest
        if traced.recorder.is_due(traced.name, f"{definition.digest}/{digest}"):
            facts[names.MODEL_DEFINITION] = definition.to_json(text)
        self.run.describe(facts)

    def _judge(self, output: object, end_ns: int) -> None:
        from otel_ml.judge_pool import Judged

        run, traced = self.run, self._traced
        judges = {judge.name: judge for judge in traced.judges}

        def definition(evaluation: "Evaluation") -> str | None:
            if traced.recorder.is_due(f"judge {evaluation.judge}", evaluation.version):
                return judges[evaluation.judge].definition.to_json()
            return None

        def release(evaluations: "Sequence[Evaluation]") -> None:
            told = {evaluation.judge: definition(evaluation) for evaluation in evaluations}
            run.hand_over(end_ns, evaluations, {name: text for name, text in told.items() if text})

        def late(evaluation: "Evaluation") -> None:
            run.send_evaluation(evaluation, definition(evaluation))

        traced.recorder.judges.submit(Judged(traced.judges, self._inputs, output, release, late))


def open_run(recorder: Recorder, name: str, kind: str, *, by_call: bool = False) -> Run:
    """Start the span of a run under the current one."""
    recorder.open()
    start_ns = time.time_ns()
    span = recorder.start_span(
        name,
        start_ns=start_ns,
        attributes={names.KIND: kind, names.MODEL_NAME: name},
        kept=not by_call,
    )
    run = Run(recorder, span, start_ns, by_call)
    run.describe({names.KIND: kind, names.MODEL_NAME: name})
    return run


def _model_name(function: Callable[..., Any]) -> str:
    """Name a model by its qualified name, without the functions that it was written in."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name).replace("<locals>.", "")
