"""Writes runs as attributes of the wire contract: pure functions, no span in sight."""

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml.capture.values import LIMIT_BYTES, clean, encode, preview_of
from otel_ml.errors import traceback_of, untrusted
from otel_ml.redaction import Redaction
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


@dataclass(frozen=True, slots=True)
class Subject:
    """The name of a model, artifact or data set that a run used or produced.

    Attributes:
        kind: model, artifact or dataset.
        name: Of the model or data set, or the artifact's reference.
        version: A digest, ``v3``, an alias behind an ``@``; empty where none is meant.
        run_id: The run that logged an artifact; empty for others.
    """

    kind: str
    name: str
    version: str = ""
    run_id: str = ""


def call_attributes(
    known: Attributes, inputs: str, ended: tuple[int, int, str] | None, *, previews: bool
) -> dict[str, Any]:
    """Describe a call.

    Args:
        known: Other attributes of it.
        inputs: Its whole JSON.
        ended: How long it took, in ns, its number, and the whole JSON of its output; None for a
            call that is open.
        previews: Whether previews are wanted beside whole payloads.
    """
    facts: dict[str, Any] = {**known, names.INPUTS: inputs}
    short = preview_of(inputs) if previews else None
    if short is not None:
        facts[names.INPUTS_PREVIEW] = short
    if ended is None:
        return facts
    took_ns, number, outputs = ended
    facts[names.LATENCY_MS] = took_ns / 1e6
    facts[names.OUTCOME] = "ok"
    facts[names.SEQ] = number
    facts[names.OUTPUTS] = outputs
    short = preview_of(outputs) if previews else None
    if short is not None:
        facts[names.OUTPUTS_PREVIEW] = short
    return facts


class HasSubject:
    """A thing that a run can use or produce: a model, an artifact, later a data set."""

    __slots__ = ()

    @property
    def _subject(self) -> Subject:
        """Its name in records."""
        raise NotImplementedError


def lineage_event(role: str, subject: Subject, at_ns: int) -> Event:
    """Write a thing that a run used or produced as an event."""
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
    """Write a line of text as a span event."""
    return names.LOG_EVENT, {names.LOG_SEVERITY: severity, names.LOG_MESSAGE: text}, time_ns


def weigh(attributes: Attributes, events: Sequence[Event] = ()) -> int:
    """Estimate the size of attributes and events on the wire, in bytes.

    An item of a list counts more than it takes: a metric point is a row of its own in a store,
    and requests are bounded by this number.
    """
    total = 0
    for part in (attributes, *(event[1] for event in events)):
        for value in part.values():
            if isinstance(value, str):
                total += len(value)
            elif isinstance(value, tuple):
                total += _ITEM_BYTES * len(value)
    return total


def shorten(attributes: Attributes, limit: int, chars: int | None = None) -> dict[str, Any]:
    """Make the attributes of a run fit a limit on their number, without loss.

    Tags move together into an attribute, scores into that of the judges. The rest are core
    attributes , which stay even beyond the limit.

    Args:
        attributes: Of the run.
        limit: How many there may be.
        chars: How long each may be, when that is limited.
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
    """Hold texts to a limit in characters; JSON is cut between its elements and stays JSON.

    The project is what finds a record, and stays whole. What is short enough is the same mapping.
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
    """Write the scores known when the run was handed over, an attribute for each judge."""
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
    """Write a score as a record of its own, about a run that began at `start_ns`."""
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
    return _said(facts)


def judge_attributes(name: str, version: str, definition: str) -> dict[str, Value]:
    """Write the definition of a judge's version, as an `update` of its own."""
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
    """Write a person's evaluation of a run, or a truth."""
    return _said(
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
    """Write the truth of a run; a list travels as JSON text."""
    is_list = isinstance(value, list)
    return _said(
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


def _said(facts: Mapping[str, Value | None]) -> dict[str, Value]:
    """Leave out absent values, and characters that no wire can carry."""
    return {
        key: clean(item) if isinstance(item, str) else item
        for key, item in facts.items()
        if item is not None
    }


def start_attributes(known: Mapping[str, Value], run_id: str, parent: str | None) -> Attributes:
    """Write the attributes of a run that is still open: no output, and inputs in short."""
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
    """Tell a failure from a call that was stopped from outside."""
    kind = type(error)  # not isinstance(): it asks the exception, whose answer may raise
    if issubclass(kind, GeneratorExit):
        return "abandoned"
    stopped: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit)
    asyncio = sys.modules.get("asyncio")  # not loaded: then nothing of it was raised
    if asyncio is not None:
        stopped += (asyncio.CancelledError,)
    return "cancelled" if issubclass(kind, stopped) else "error"


def error_name(error: BaseException) -> str:
    """Name an exception as ``error.type`` wants it: qualified, builtins without a module."""
    kind = type(error)
    if kind.__module__ in {None, "", "builtins"}:
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def error_message(error: BaseException, redaction: Redaction) -> str:
    """Return the exception's text, cut, even when its ``__str__`` raises."""
    with untrusted:
        return redaction.text(clean(str(error)[:_MESSAGE_CHARS]))
    return ""


def exception_attributes(error: BaseException, redaction: Redaction) -> dict[str, Value]:
    """Write an exception as the standard's `exception` event."""
    stack = ""
    with untrusted:
        trace = traceback_of(error)
        while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
            trace = trace.tb_next  # the stack begins with the host's frame, not with ours
        lines = traceback.format_exception(type(error), error, trace)
        stack = "".join(lines)[-_STACKTRACE_CHARS:]
    return {
        "exception.type": error_name(error),
        "exception.message": error_message(error, redaction),
        "exception.stacktrace": redaction.text(clean(stack)),
    }
