"""Converts runs to the attributes of the wire format. Pure functions, without spans."""

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from otel_ml import attributes as names
from otel_ml.capture.values import LIMIT_BYTES, clean, encode, preview_of
from otel_ml.deferred_attributes import DeferredAttributes
from otel_ml.errors import traceback_of, untrusted
from otel_ml.redaction import NOTE, CapturedPayload, Redaction
from otel_ml.tags import Value, finite

if TYPE_CHECKING:
    from otel_ml.judges.answer import Judgement

Attributes = Mapping[str, Value | tuple[str, ...] | tuple[int, ...] | tuple[float, ...]]

_ITEM_BYTES: Final = 12
_STACKTRACE_CHARS: Final = 16_384
_MESSAGE_CHARS: Final = 1_024
_OWN_FOLDER: Final = f"{Path(__file__).parent}{os.sep}"
_JSON_ATTRIBUTES: Final = frozenset(
    {
        names.INPUTS,
        names.INPUTS_PREVIEW,
        names.OUTPUTS,
        names.OUTPUTS_PREVIEW,
        names.PARAMS,
        names.TAGS,
        names.JUDGES,
        names.CAPTURE,
        names.MODEL_DEFINITION,
        names.GEN_AI_INPUT_MESSAGES,
        names.GEN_AI_OUTPUT_MESSAGES,
        names.GEN_AI_SYSTEM,
        names.GEN_AI_TOOL_ARGUMENTS,
        names.GEN_AI_TOOL_RESULT,
        names.ACTUAL_LIST,
    }
)
_START: Final = frozenset(
    {
        names.KIND,
        names.MODEL_NAME,
        names.MODEL_VERSION,
        names.PARAMS,
        names.TAGS,
        names.INPUTS_PREVIEW,
        names.TRACE_KEY,
        names.SESSION_ID,
        names.USER_ID,
        names.EXPERIMENT_NAME,
        names.EXPERIMENT_DATASET,
        names.EXPERIMENT_DATASET_VERSION,
        names.EXPERIMENT_ITEMS,
        names.EXPERIMENT_REPEATS,
        names.EXPERIMENT_SOURCE,
        names.EXPERIMENT_BASELINE,
    }
)


Event = tuple[str, Attributes, int]


class Subject(NamedTuple):
    """Identifies the model, artifact or data set that a run used or produced.

    Attributes:
        kind: ``model``, ``artifact`` or ``dataset``.
        name: Name of the model, data set or artifact.
        version: A digest, a number such as ``v3``, or an alias such as ``@champion``. Empty for no
            particular version.
        run_id: For an artifact, the ID of the run that logged it. Otherwise empty.
    """

    kind: str
    name: str
    version: str = ""
    run_id: str = ""


def call_attributes(
    known: Attributes,
    inputs: str | CapturedPayload,
    ended: tuple[int, int, str | CapturedPayload] | None,
    *,
    previews: bool,
) -> dict[str, Any]:
    """Return the span attributes for one call of a traced function.

    Inputs and output are JSON text, or copies that `encode_payloads` converts to JSON later.

    Args:
        known: Other attributes of the call.
        inputs: The complete inputs.
        ended: Duration in ns, sequence number and output of the call. None if it has not ended.
        previews: Whether to add a short preview to each long input and output that is JSON text.
    """
    facts: dict[str, Any] = {**known, names.INPUTS: inputs}
    short = preview_of(inputs) if previews and type(inputs) is str else None
    if short is not None:
        facts[names.INPUTS_PREVIEW] = short
    if ended is None:
        return facts
    took_ns, number, outputs = ended
    facts[names.LATENCY_MS] = took_ns / 1e6
    facts[names.OUTCOME] = "ok"
    facts[names.SEQ] = number
    facts[names.OUTPUTS] = outputs
    short = preview_of(outputs) if previews and type(outputs) is str else None
    if short is not None:
        facts[names.OUTPUTS_PREVIEW] = short
    return facts


_PAYLOAD_KEYS: Final = (
    ("inputs", names.INPUTS, names.INPUTS_PREVIEW),
    ("outputs", names.OUTPUTS, names.OUTPUTS_PREVIEW),
    ("chunks", names.OUTPUTS_CHUNKS, ""),
)


def has_payloads(attributes: Mapping[str, Any]) -> bool:
    """Return whether attributes contain payloads that are not encoded yet."""
    return (
        type(attributes.get(names.OUTPUTS)) is CapturedPayload
        or type(attributes.get(names.INPUTS)) is CapturedPayload
        or type(attributes.get(names.OUTPUTS_CHUNKS)) is CapturedPayload
    )


def encode_payloads(attributes: Mapping[str, Any], *, previews: bool) -> dict[str, Any]:
    """Convert the inputs and outputs among a run's attributes to JSON, just before sending.

    Args:
        attributes: Attributes of the run, with `CapturedPayload` objects. They are not changed.
        previews: Whether to add a short preview to each long input and output. Values that were
            recorded only in part always get a preview.

    Returns:
        The attributes as a new dict, with JSON text in place of the objects.
    """
    encoded: dict[str, Any] = dict(attributes)
    left_out: dict[str, list[str]] = {}
    for part, key, preview_key in _PAYLOAD_KEYS:
        payload = encoded.get(key)
        if type(payload) is not CapturedPayload:
            continue
        encoded[key], notes = payload.encode()
        if notes:
            left_out[part] = sorted(notes)
        if preview_key and (previews or notes):
            short = payload.preview()
            if short is not None:
                encoded[preview_key] = short
    # a secret that spans two chunks is not found in the single chunks
    if names.OUTPUTS_CHUNKS in encoded and NOTE in left_out.get("outputs", ()):
        del encoded[names.OUTPUTS_CHUNKS]
        left_out["chunks"] = [NOTE]
    if left_out:
        known = _loads(encoded.get(names.CAPTURE))
        for part, notes_of_part in left_out.items():
            known[part] = sorted({*known.get(part, ()), *notes_of_part})
        encoded[names.CAPTURE] = orjson.dumps(known).decode()
    return encoded


class HasSubject:
    """Something that a run can use or produce, such as a model or an artifact."""

    __slots__ = ()

    @property
    def _subject(self) -> Subject:
        """The subject for records."""
        raise NotImplementedError


def lineage_event(role: str, subject: Subject, at_ns: int) -> Event:
    """Return the span event that records that a run used or produced something.

    Args:
        role: Whether the run used or produced it.
        subject: The model, artifact or data set.
        at_ns: Time of the event, in ns since the epoch.
    """
    facts: dict[str, Any] = {
        names.LINEAGE_ROLE: role,
        names.LINEAGE_KIND: subject.kind,
        names.LINEAGE_NAME: subject.name,
    }
    if subject.version:
        facts[names.LINEAGE_VERSION] = subject.version
    if subject.run_id:
        facts[names.LINEAGE_RUN] = subject.run_id
    return names.LINEAGE_EVENT, facts, at_ns


def line_event(severity: str, text: str, time_ns: int) -> Event:
    """Return the span event for a log line."""
    return names.LOG_EVENT, {names.LOG_SEVERITY: severity, names.LOG_MESSAGE: text}, time_ns


def weigh(attributes: Attributes, events: Sequence[Event] = ()) -> int:
    """Estimate the size of attributes and events in bytes, to keep requests below a limit.

    Each metric point counts as more than its bytes, because it becomes a row in the database.
    """
    total = 0
    for part in (attributes, *(event[1] for event in events)):
        if type(part) is DeferredAttributes:
            total += part.weight
            continue
        for value in part.values():
            if isinstance(value, str):
                total += len(value)
            elif isinstance(value, tuple):
                total += _ITEM_BYTES * len(value)
    return total


def shorten(attributes: Attributes, limit: int, chars: int | None = None) -> dict[str, Any]:
    """Reduce the number of a run's attributes, if its tracer provider allows fewer.

    All tags become one JSON attribute, and all scores another. Other attributes stay, even if they
    alone exceed the limit.

    Args:
        attributes: Attributes of the run.
        limit: Maximum number of attributes.
        chars: Maximum length of an attribute's text, in characters. None for no limit.
    """
    longest = LIMIT_BYTES if chars is None else chars
    if len(attributes) <= limit:
        return dict(attributes)
    kept: dict[str, Any] = {}
    tags = _loads(attributes.get(names.TAGS))
    judges = _loads(attributes.get(names.JUDGES))
    for key, value in attributes.items():
        if key.startswith(names.TAG_PREFIX):
            tags[key.removeprefix(names.TAG_PREFIX)] = {"value": finite(value)}
        elif key.startswith(names.SCORE_PREFIX):
            judges.setdefault(key.removeprefix(names.SCORE_PREFIX), {})["score"] = value
        elif key.startswith(names.PASSED_PREFIX):
            judges.setdefault(key.removeprefix(names.PASSED_PREFIX), {})["passed"] = value
        else:
            kept[key] = value
    if tags:
        kept[names.TAGS] = encode(tags, longest).text
    if judges:
        kept[names.JUDGES] = encode(judges, longest).text
    return kept


def within(attributes: Mapping[str, Value], limit: int) -> Mapping[str, Value]:
    """Cut the texts in a run's attributes, because its tracer provider limits their length.

    JSON text stays valid JSON. The project name is never cut.

    Args:
        attributes: Attributes of the run. They are not changed.
        limit: Maximum length of a text in characters.

    Returns:
        The attributes with shorter texts. The same mapping if nothing is too long.
    """
    if not any(isinstance(value, str) and len(value) > limit for value in attributes.values()):
        return attributes
    return {
        key: _cut(key, value, limit)
        if isinstance(value, str) and len(value) > limit and key != names.PROJECT
        else value
        for key, value in attributes.items()
    }


def _cut(key: str, text: str, limit: int) -> str:
    return encode(orjson.loads(text), limit).text if key in _JSON_ATTRIBUTES else text[:limit]


def _loads(text: object) -> dict[str, Any]:
    document = orjson.loads(text) if isinstance(text, str) else None
    return document if isinstance(document, dict) else {}


def score_attributes(evaluations: "Sequence[Judgement]") -> dict[str, Value]:
    """Return the attributes for scores that are sent together with the run."""
    attributes: dict[str, Value] = {}
    details: dict[str, dict[str, object]] = {}
    for evaluation in evaluations:
        if evaluation.score is not None:
            attributes[names.SCORE_PREFIX + evaluation.judge] = evaluation.score
        if evaluation.passed is not None:
            attributes[names.PASSED_PREFIX + evaluation.judge] = evaluation.passed
        facts = {
            "version": evaluation.version,
            "label": evaluation.label,
            "explanation": evaluation.explanation,
            "error": evaluation.error,
            "latency_ms": evaluation.latency_ms,
            "cached": evaluation.cached or None,
            "cost": evaluation.cost,
        }
        details[evaluation.judge] = {key: item for key, item in facts.items() if item is not None}
    if details:
        attributes[names.JUDGES] = encode(details).text
    return attributes


def evaluation_attributes(evaluation: "Judgement", start_ns: int) -> dict[str, Value]:
    """Return the attributes of a span that adds the result of a judge to a run that has already
    been sent.

    Args:
        evaluation: The result.
        start_ns: Start time of the run that was scored, in ns since the epoch.
    """
    facts: dict[str, Value | None] = {
        names.JUDGE_NAME: evaluation.judge,
        names.JUDGE_VERSION: evaluation.version,
        names.SOURCE: "judge",
        names.TARGET_START_NS: start_ns,
        names.SCORE_VALUE: evaluation.score,
        names.PASSED: evaluation.passed,
        names.SCORE_LABEL: evaluation.label,
        names.EXPLANATION: evaluation.explanation,
        names.ERROR_TYPE: evaluation.error,
        names.LATENCY_MS: evaluation.latency_ms,
        names.JUDGE_COST: evaluation.cost,
        names.JUDGE_AGAINST: evaluation.against,
    }
    return _clean(facts)


def judge_attributes(name: str, version: str, definition: str) -> dict[str, Value]:
    """Return the attributes of an `update` record with the definition of a judge's version."""
    return {
        names.TARGET_MODEL: clean(name),
        names.TARGET_VERSION: version,
        names.TARGET_KIND: "judge",
        names.MODEL_DEFINITION: definition,
    }


def feedback_attributes(
    name: str,
    source: str,
    score: float | None,
    passed: bool | None,
    *,
    label: str | None,
    explanation: str | None,
) -> dict[str, Value]:
    """Return the attributes of feedback, such as that of a reviewer."""
    return _clean(
        {
            names.JUDGE_NAME: str(name),
            names.SOURCE: source,
            names.SCORE_VALUE: score,
            names.PASSED: passed,
            names.SCORE_LABEL: None if label is None else str(label),
            names.EXPLANATION: None if explanation is None else str(explanation),
        }
    )


def actual_attributes(
    name: str, value: Any, explanation: str | None, annotator: str | None
) -> dict[str, Value]:
    """Return the attributes for ground truth. A list is sent as JSON text."""
    is_list = isinstance(value, list)
    return _clean(
        {
            names.JUDGE_NAME: name,
            names.SOURCE: "actual",
            names.ACTUAL_LIST if is_list else names.ACTUAL: (
                orjson.dumps(value).decode() if is_list else value
            ),
            names.EXPLANATION: explanation,
            names.ANNOTATOR: annotator,
        }
    )


def _clean(facts: Mapping[str, Value | None]) -> dict[str, Value]:
    """Drop missing values, and characters that cannot be sent."""
    return {
        key: clean(item) if isinstance(item, str) else item
        for key, item in facts.items()
        if item is not None
    }


def start_attributes(known: Mapping[str, Value], run_id: str, parent: str | None) -> Attributes:
    """Return the attributes of a run that is still open: no output, and inputs as a preview."""
    attributes: dict[str, Value] = {
        key: item
        for key, item in known.items()
        if key in _START or key.startswith(names.TAG_PREFIX)
    }
    attributes[names.TARGET_RUN] = run_id
    if parent is not None:
        attributes[names.PARENT_SPAN_ID] = parent
    return attributes


def outcome_of(error: BaseException) -> str:
    """Return how a run with this error ended: ``error``, ``cancelled`` or ``abandoned``."""
    kind = type(error)  # not isinstance(), which asks the exception's class and may raise
    if issubclass(kind, GeneratorExit):
        return "abandoned"
    stopped: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit)
    # if asyncio is not loaded, nothing can have raised its errors
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        stopped += (asyncio.CancelledError,)
    return "cancelled" if issubclass(kind, stopped) else "error"


def error_name(error: BaseException) -> str:
    """Return the type of an error for ``error.type``, such as ``ValueError`` or ``app.NoStock``."""
    kind = type(error)
    if kind.__module__ in {None, "", "builtins"}:
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def error_message(error: BaseException, redaction: Redaction) -> str:
    """Return the first 1,024 characters of an exception's message, even if ``__str__`` raises."""
    with untrusted:
        return redaction.text(clean(str(error)[:_MESSAGE_CHARS]))
    return ""


def exception_attributes(error: BaseException, redaction: Redaction) -> dict[str, Value]:
    """Return the attributes of the standard `exception` event."""
    stack = ""
    with untrusted:
        trace = traceback_of(error)
        while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
            trace = trace.tb_next  # start the stack trace at the user's frame
        lines = traceback.format_exception(type(error), error, trace)
        stack = "".join(lines)[-_STACKTRACE_CHARS:]
    return {
        "exception.type": error_name(error),
        "exception.message": error_message(error, redaction),
        "exception.stacktrace": redaction.text(clean(stack)),
    }
