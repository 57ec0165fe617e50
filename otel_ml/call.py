"""One call of a traced function: its inputs, output and version written down as a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

import orjson
from opentelemetry import context as context_api
from opentelemetry.context import Context

from otel_ml import attributes as names
from otel_ml.capture import make_binder
from otel_ml.current import Run
from otel_ml.errors import report
from otel_ml.recorder import TELL_EVERY_NS, Recorder
from otel_ml.span import is_sampled
from otel_ml.structure import DYNAMIC, flat_shape, output_structure, shape, structure_digest
from otel_ml.values import PREVIEW_BYTES, TRUNCATED, encode, encode_whole, preview
from otel_ml.wire import Value, tags_of

if TYPE_CHECKING:
    from otel_ml.judge import Evaluation, Judge
    from otel_ml.model_version import Definition

_STRUCTURES: Final = 8
_SHAPES: Final = 256
_SURELY_SHORT: Final = PREVIEW_BYTES // 4  # a character takes up to four bytes
_NOWHERE: Final = Context()
_NO_NOTES: Final[dict[str, list[str]]] = {}


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
        self.tags = tags_of(tags or {})
        self.params = dict(params or {})
        self.judges = tuple(judges)
        self.bind = make_binder(function)
        self.start_attributes: dict[str, Value] = {
            names.PROJECT: recorder.project,
            names.KIND: kind,
            names.MODEL_NAME: self.name,
        }
        self._definition: Definition | None = None
        self._structures: dict[str, str] = {}
        self._versions: dict[object, _Version] = {}

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

    def describe_version(
        self, facts: dict[str, Value], output: object, now_ns: int
    ) -> Mapping[str, Value]:
        """Find the version that an output belongs to; its definition joins `facts` when due.

        Returns:
            What all runs of that version say.
        """
        version = self._versions.get(flat_shape(output))
        if version is None:
            version = self._version(output)
        recorder = self.recorder
        if now_ns >= version.due_ns or version.identity is not recorder.identity:
            version.write(self.start_attributes, self._params_text(), recorder.identity)
            due_ns = recorder.tell((self.name, version.digest, version.structure), now_ns)
            if due_ns is None:
                facts[names.MODEL_DEFINITION] = self.definition.to_json(version.text)
            version.due_ns = due_ns or now_ns + TELL_EVERY_NS
        return version.constants

    def _version(self, output: object) -> "_Version":
        key = shape(output)
        version = None if key is None else self._versions.get(key)
        if version is not None:
            return version
        text, structure = self.structure(output)
        # Known from now on: a run that lasts says it at its start.
        self.start_attributes = {
            **self.start_attributes,
            names.MODEL_VERSION: self.definition.digest,
        }
        version = _Version(self.definition.digest, structure, text)
        if key is not None:
            if len(self._versions) >= _SHAPES:
                self._versions.clear()
            self._versions[key] = version
        return version

    def _params_text(self) -> str | None:
        return encode(self.params).text if self.params else None

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Call | None":
        """Open the run of a call: inputs are written down now, as they are. Never raises."""
        try:
            if self.recorder.enabled:
                return Call(self, args, kwargs)
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            report("trace", error)
        return None


@dataclass(slots=True)
class _Version:
    """The version that outputs of one shape belong to.

    Attributes:
        digest: Of the definition.
        structure: Digest of the output structure.
        text: The structure itself.
        constants: What all its runs say; one object, so that it is encoded once.
        identity: The recorder's, when `constants` was written.
        due_ns: When the definition is to be sent again.
    """

    digest: str
    structure: str | None
    text: str | None
    constants: Mapping[str, Value] = field(default_factory=dict)
    identity: Mapping[str, Value] | None = None
    due_ns: int = 0

    def write(
        self, first: Mapping[str, Value], params: str | None, identity: Mapping[str, Value]
    ) -> None:
        """Write the constants for the process that `identity` names."""
        constants = {**first, **identity, names.MODEL_VERSION: self.digest}
        if self.structure is not None:
            constants[names.MODEL_OUTPUT_SCHEMA] = self.structure
        if params is not None:
            constants[names.PARAMS] = params
        self.constants = constants
        self.identity = identity


class Call(Run):
    """One call of a traced function, and its run.

    Attributes:
        context: What is current while the function's own code runs. It is let go at the end,
            because it holds the run, and the run must not hold itself.
    """

    __slots__ = ("_cost_ns", "_inputs", "_notes", "_traced", "context")

    def __init__(self, traced: Traced, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        recorder = traced.recorder
        start = recorder.start or recorder.open()
        start_ns = time_ns()
        current = context_api.get_current()
        span = start(traced.name, current, start_ns, traced.start_attributes, False)
        recorded = is_sampled(span)
        first = traced.start_attributes
        super().__init__(recorder if recorded else None, span, start_ns, first, True)
        self.context = self.context_in(current)
        self._traced = traced
        self._inputs: dict[str, Any] = {}
        self._notes = _NO_NOTES
        self._cost_ns = 0
        if recorded:
            try:  # the span is open: whatever happens now, its run is recorded
                if traced.tags:
                    self._tags = traced.tags.copy()
                self._inputs = inputs = traced.bind(args, kwargs)
                self._put(names.INPUTS, "inputs", inputs)
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
            self._put(names.OUTPUTS, "outputs", output)
            self._constants = self._traced.describe_version(self._facts, output, end_ns)
            if self._traced.judges:
                self._judge(output, end_ns)
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
            if self._recorder is not None:
                if output is not None:
                    self._put(names.OUTPUTS, "outputs", output)
                self._constants = self._traced.describe_version(self._facts, None, end_ns)
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
            self._notes = {**self._notes, "outputs": [TRUNCATED]}
        self._facts[names.STREAM_CHUNKS] = chunks
        if chunks:
            self._facts[names.STREAM_FIRST_CHUNK_MS] = first_chunk_ms

    def _put(self, key: str, part: str, value: object) -> None:
        """Write inputs or outputs, their preview, and what was left out of them."""
        notes = self._notes.get(part, ())
        text = encode_whole(value)
        if text is None:
            encoded = encode(value)
            text, notes = encoded.text, [*encoded.notes.union(notes)]
        facts = self._facts
        facts[key] = text
        if len(text) > _SURELY_SHORT:
            self.weigh(len(text))
            short = preview(value, text)
            if short is not None:
                facts[key + ".preview"] = short
        if notes:
            self._notes = {**self._notes, part: sorted(notes)}
            facts[names.CAPTURE] = orjson.dumps(self._notes).decode()

    def _judge(self, output: object, end_ns: int) -> None:
        from otel_ml.judge_pool import Judged  # a client without judges loads none of it

        recorder, traced = self._traced.recorder, self._traced
        judges = {judge.name: judge for judge in traced.judges}

        def definition(evaluation: "Evaluation") -> str | None:
            if recorder.tell(("judge", evaluation.judge, evaluation.version), time_ns()) is None:
                return judges[evaluation.judge].definition.to_json()
            return None

        def release(evaluations: "Sequence[Evaluation]") -> None:
            told = {evaluation.judge: definition(evaluation) for evaluation in evaluations}
            self.hand_over(end_ns, evaluations, {name: text for name, text in told.items() if text})

        def late(evaluation: "Evaluation") -> None:
            self.send_evaluation(evaluation, definition(evaluation))

        self.hold(traced.judges, end_ns)
        recorder.judges.submit(Judged(traced.judges, self._inputs, output, release, late))


def open_run(recorder: Recorder, name: str, kind: str) -> Run:
    """Start the span of a run under the current one, and say at once that it is open."""
    start = recorder.start or recorder.open()
    start_ns = time_ns()
    first = {**recorder.identity, names.KIND: kind, names.MODEL_NAME: name}
    span = start(name, context_api.get_current(), start_ns, first, True)
    return Run(recorder if is_sampled(span) else None, span, start_ns, first)


def _model_name(function: Callable[..., Any]) -> str:
    """Name a model by its qualified name, without the functions that it was written in."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name).replace("<locals>.", "")
