"""Maps log records to records. The result does not depend on order, batching or duplicates.

Log lines are joined with runs when they are read, because spans may arrive later. Rules:
docs/design/010-log-records.md. Some programs report calls only in log records. A small table says
how to read such a record as a span, which then becomes a run.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from otel_ml import attributes as names
from otel_ml.records import TOKENS, Run, attributes_of
from otel_ml_collector.mapping.dialects.emitters import CLAUDE_CODE_SCOPE
from otel_ml_collector.mapping.dialects.gen_ai_events import CONTENT_EVENTS, DETAILS, GUARDRAIL
from otel_ml_collector.mapping.dialects.shape import find_span_signs
from otel_ml_collector.mapping.evaluations import (
    BAD_EVALUATION,
    EVALUATION,
    add_evaluation,
    judge_of,
)
from otel_ml_collector.mapping.filing import (
    NOT_ALLOWED,
    WRONG_TIME,
    Filing,
    StartWindow,
    is_project,
    project_of,
)
from otel_ml_collector.mapping.late_records import NO_TRACE_ID, RequestBatch
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.mapping.values import (
    parse,
    read_structured,
    to_float,
    to_json,
    to_sorted_json,
    to_text,
    to_token_count,
)
from otel_ml_collector.owners import own_key, own_response
from otel_ml_collector.records import LateLog, LineRecord, Records, TraceKey, run_id
from otel_ml_collector.span import Log, Span, Value, is_span_id, is_trace_id
from otel_ml_collector.times import SECOND_NS

NO_TRACE: Final = "no_trace"
NO_TRACE_MEANS: Final = "they name neither a trace nor a session"
# Reasons to skip a log record silently, because its sender cannot fix it: the record is about one
# chunk of a streamed answer, or is from a known program and has no session.
_DELTA: Final = "stream_delta"
_NO_SESSION: Final = "no_session"
LEFT_OUT: Final = frozenset({_DELTA, _NO_SESSION})
_FORMER_EVENT: Final = "event.name"
# Rust's appender writes a place in the source code as event name.
_PLACE: Final = re.compile(r"event \S+:\d+")
_EMPTY_VALUES: Final = (None, "")
_SESSION_NAMES: Final = (names.SESSION_ID, "gen_ai.conversation.id", "conversation.id")
_SCOPE: Final = "otel.scope.name"
_SEVERITY: Final = "otel.severity_text"
_EXCEPTION_TYPE: Final = "exception.type"
_EXCEPTION_MESSAGE: Final = "exception.message"
_SEVERITIES: Final = {
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
}
_OTHER_WORDS: Final = {"trace": "debug", "fatal": "error", "critical": "error"}
# Lowest OpenTelemetry severity number of each word, highest first.
_RANGES: Final = ((17, "error"), (13, "warning"), (9, "info"), (1, "debug"))


def map_logs(logs: Iterable[Log], filing: Filing) -> Records:
    """Map OTLP log records to the records that the collector stores.

    Args:
        logs: Log records in any order. Duplicates are allowed. Their spans may be missing.
        filing: Project, access, time and prices of the request.

    Returns:
        The records, and the number of log records that can never be stored, by reason. A log
        record gives the same records when it is sent again. If it has no time, the time of the
        request is used; the IDs are still the same.
    """
    batch = RequestBatch(StartWindow(filing.now_ns))
    calls: list[Span] = []
    for log in logs:
        batch.window = filing.window_of(log.scope)
        project = project_of(log.attributes, log.scope, filing)
        reason = NOT_ALLOWED if project is None else _map_log(log, project, batch, calls)
        if reason is not None:
            batch.records.rejected[reason] += 1
    if calls:
        mapped = map_spans(calls, filing)
        for key in mapped.trace_keys:
            batch.add_key(key)
        mapped.trace_keys = []
        batch.records.extend(mapped)
    batch.records.trace_keys += batch.keys.values()
    return batch.records


def _map_log(log: Log, project: str, batch: RequestBatch, calls: list[Span]) -> str | None:
    """Add the records that a log record becomes to its batch. Return the reason if it is rejected.

    A record of a model call, a tool call or a question is added to `calls` as a span.
    """
    time_ns = _own_time(log) or batch.window.now_ns
    reason = _reason_to_reject(log, time_ns, project, batch.window)
    if reason is not None:
        return reason
    event = _event_of(log)
    if call := _read_call(log, event, time_ns):
        calls.append(call)
        return None
    if _is_delta(log, event):
        return _DELTA
    owner = _owner_of(log, is_evaluation=event == EVALUATION)
    if owner is None:
        return NO_TRACE if _records_of(log) is None else _NO_SESSION
    if event != EVALUATION:
        log, event = _read_text(log, event)
        batch.records.logs.append(_line(log, project, owner, event, time_ns))
    elif not judge_of(log.attributes):
        return BAD_EVALUATION
    else:
        add_evaluation(log.attributes, project, owner, time_ns, batch.records)
    trace_id = log.trace_id if any(log.trace_id) else _trace_of_session(log)
    if trace_id:
        _note_trace(trace_id, owner, project, time_ns, batch)
    return None


def _own_time(log: Log) -> int:
    """Return the time that a log record names; 0 if it names none."""
    return log.time_ns or log.observed_ns


def _event_of(log: Log) -> str:
    """Return the event name of a log record; a place in a source file is not an event name."""
    former = to_text(log.attributes.get(_FORMER_EVENT))
    event = former if former and _PLACE.fullmatch(log.event) else log.event or former
    is_claude = log.scope.name.startswith(CLAUDE_CODE_SCOPE)
    return event.removeprefix("claude_code.") if is_claude else event


def _read_text(log: Log, event: str) -> tuple[Log, str]:
    """Convert a log record with texts of a span to a GenAI event; return others unchanged."""
    if any(log.span_id) and event not in _OF_SPANS and (both := _texts_of_body(log)):
        return replace(log, attributes={**log.attributes, **both}), DETAILS
    texts = next((of for name, of in _TEXTS.items() if log.scope.name.startswith(name)), {})
    content, name = texts.get(event, ("", ""))
    text = log.attributes.get(name)
    if not any(log.span_id) or text in _EMPTY_VALUES:
        return log, event
    message: Value = {"content": to_text(text)}
    body = {"message": message} if content == "gen_ai.choice" else message
    return replace(log, body=to_json(body)), content


def _reason_to_reject(log: Log, time_ns: int, project: str, window: StartWindow) -> str | None:
    """Return why a log record can never be stored, or None. Ids of zeros count as missing."""
    if any(log.trace_id) and not is_trace_id(log.trace_id):
        return "invalid_trace_id"
    if any(log.span_id) and not is_span_id(log.span_id):
        return "invalid_span_id"
    if time_ns not in window:
        return WRONG_TIME
    return None if is_project(project) else "invalid_project"


def _owner_of(log: Log, *, is_evaluation: bool) -> str | None:
    """Return the owner of a log record: its span, the judged response, or its trace."""
    if any(log.trace_id) and any(log.span_id):
        return run_id(log.trace_id, log.span_id)
    response = to_text(log.attributes.get(names.GEN_AI_RESPONSE_ID))
    if is_evaluation and response:
        return own_response(response)
    trace_id = log.trace_id if any(log.trace_id) else _trace_of_session(log)
    return own_key(trace_id.hex()) if trace_id else None


def _trace_of_session(log: Log) -> bytes:
    """Return a trace id derived from the session of a log record; empty without a session."""
    session = _first(log.attributes, _SESSION_NAMES)
    if session in _EMPTY_VALUES:
        return b""
    text = f"session\x1f{log.scope.resource.get('service.name', '')}\x1f{to_text(session)}"
    return _hash(text, 16)


def _first(attributes: Mapping[str, Value], those: Sequence[str]) -> Value:
    """Return the first attribute in `those` that has a value."""
    return next(
        (attributes[name] for name in those if attributes.get(name) not in _EMPTY_VALUES), None
    )


def _hash(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()


def _line(log: Log, project: str, owner: str, event: str, time_ns: int) -> LateLog:
    attributes = dict(log.attributes)
    if attributes.get(_FORMER_EVENT) == event:
        del attributes[_FORMER_EVENT]
    text = log.severity_text.strip().lower()
    if log.severity_text and text not in _SEVERITIES:  # keep words such as FATAL
        attributes.setdefault(_SEVERITY, log.severity_text)
    if log.scope.name:
        attributes.setdefault(_SCOPE, log.scope.name)
    line = LineRecord(time_ns, _severity(log.severity_number, text), _message(log, event))
    json_text = to_sorted_json(attributes) if attributes else ""
    record_id = _digest(log, line, event, json_text)
    return LateLog(project, owner, line, record_id, 0, event, json_text)


def _severity(number: int, text: str) -> str:
    for least, word in _RANGES:
        if number >= least:
            return word
    return _SEVERITIES.get(text) or _OTHER_WORDS.get(text, "info")


def _message(log: Log, event: str) -> str:
    if log.body is not None:
        return to_text(log.body)
    if event == GUARDRAIL:
        return _write_guardrail(log.attributes)
    items = [to_text(log.attributes.get(name)) for name in (_EXCEPTION_TYPE, _EXCEPTION_MESSAGE)]
    return ": ".join(text for text in items if text)


def _write_guardrail(attributes: Mapping[str, Value]) -> str:
    """Write what a guardrail found: ``Content Safety: severity 6, Violence, score 6``.

    Spec: https://github.com/open-telemetry/semantic-conventions-genai, event
    ``gen_ai.guardrail.result``
    """
    texts = {
        name: to_text(attributes.get(f"gen_ai.guardrail.{name}"))
        for name in (
            *("component.name", "result.type", "result.value", "result.reason"),
            *("risk.category", "risk.score"),
        )
    }
    result = " ".join(filter(None, (texts["result.type"], texts["result.value"])))
    score = texts["risk.score"] and f"score {texts['risk.score']}"
    parts = filter(None, (result, texts["risk.category"], score, texts["result.reason"]))
    return ": ".join(filter(None, (texts["component.name"], ", ".join(parts))))


def _digest(log: Log, line: LineRecord, event: str, attributes: str) -> str:
    """Return an id of a line, computed from its content because log records have no id."""
    ids = f"{log.trace_id.hex()}-{log.span_id.hex()}"
    parts = (ids, str(_own_time(log)), line.severity, event, attributes, line.message)
    content = "\x1f".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _note_trace(
    trace_id: bytes, owner: str, project: str, time_ns: int, batch: RequestBatch
) -> None:
    """Add an index entry, so that a log record's trace is found even before its spans arrive."""
    key = trace_id.hex()
    about = [trace_id, NO_TRACE_ID] if owner == own_key(key) else [trace_id]
    for place in about:
        batch.add_key(TraceKey(key, project, place, time_ns, time_ns))


# Converts attributes of a record to attributes of the GenAI conventions.
_Read = Callable[[Mapping[str, Value]], Mapping[str, Value]]


@dataclass(frozen=True, slots=True)
class CallRecord:
    """How to read one kind of log record as a span.

    Attributes:
        operation: Value of ``gen_ai.operation.name`` of the span.
        fields: Attributes of the span, each with the record's attributes that fill it. The first
            one with a value is used.
        constants: Attributes of the span with fixed values.
        needed: Groups of attributes. The record must have at least one of each group.
        where: Attributes that the record must have, each with its value.
        read: Computes further attributes from those of the record; None if there are none.
        is_alone: True if the instrumentation also sends a span of the call whenever the record has
            a trace ID. Then only records without a trace ID are read as calls.
    """

    operation: str
    fields: Mapping[str, Sequence[str]]
    constants: Mapping[str, Value] = field(default_factory=dict)
    needed: Sequence[Sequence[str]] = ()
    where: Mapping[str, Value] = field(default_factory=dict)
    read: _Read | None = None
    is_alone: bool = False


def _read_gemini(attributes: Mapping[str, Value]) -> Mapping[str, Value]:
    """Add thought tokens to the output tokens, and join the chunks of the answer.

    Gemini counts thought tokens separately.
    """
    gemini: dict[str, Value] = {}
    output = to_token_count(attributes.get("output_token_count"))
    thoughts = to_token_count(attributes.get("thoughts_token_count"))
    if output is not None and thoughts:
        gemini[names.GEN_AI_OUTPUT_TOKENS] = output + thoughts
    chunks = parse(attributes.get("response_text"))
    parts = [
        part
        for chunk in (chunks if isinstance(chunks, list) else [chunks])
        for part in _parts_of(chunk)
        if part.get("text") != ""
    ]
    if parts:
        message: Any = [{"role": "assistant", "parts": parts}]
        gemini[names.GEN_AI_OUTPUT_MESSAGES] = to_sorted_json(message)
    return gemini


def _parts_of(chunk: object) -> list[dict[str, Any]]:
    """Return the parts of the first candidate of a Gemini response, for any input."""
    found: Any = chunk
    for step in ("candidates", 0, "content", "parts"):
        if isinstance(step, str):
            found = found.get(step) if isinstance(found, Mapping) else None
        else:
            found = found[step] if isinstance(found, list) and found else None
    return [part for part in found if isinstance(part, dict)] if isinstance(found, list) else []


def _read_prompt(attributes: Mapping[str, Value]) -> Mapping[str, Value]:
    text = attributes.get("prompt")
    if text in _EMPTY_VALUES:
        return {}
    return {names.GEN_AI_INPUT_MESSAGES: [{"role": "user", "content": to_text(text)}]}


def _read_answer(attributes: Mapping[str, Value]) -> Mapping[str, Value]:
    text = attributes.get("response")
    if text in _EMPTY_VALUES:
        return {}
    return {names.GEN_AI_OUTPUT_MESSAGES: [{"role": "assistant", "content": to_text(text)}]}


_MODEL: Final = {names.GEN_AI_REQUEST_MODEL: ("model",)}
_TOOL: Final = {
    names.GEN_AI_TOOL_NAME: ("function_name", "tool_name"),
    names.GEN_AI_TOOL_ARGUMENTS: ("function_args", "arguments"),
    names.GEN_AI_TOOL_RESULT: ("output",),
    "gen_ai.tool.call.id": ("call_id",),
}
_QUESTION: Final = CallRecord(
    "invoke_workflow", {}, {names.GEN_AI_WORKFLOW_NAME: "user_prompt"}, read=_read_prompt
)
_ANTHROPIC: Final = {names.GEN_AI_PROVIDER: "anthropic"}
_CLAUDE_TOOL: Final = {
    names.GEN_AI_TOOL_NAME: ("tool_name",),
    names.GEN_AI_TOOL_ARGUMENTS: ("tool_input", "tool_parameters"),
    names.GEN_AI_TOOL_RESULT: ("tool_result", "tool_output"),
    "gen_ai.tool.call.id": ("tool_use_id",),
}
_GEMINI_API: Final = {names.GEN_AI_PROVIDER: "gcp.gen_ai"}
# Records that are calls, by start of the scope name. For these programs, no other record is a call.
EMITTERS: Final[Mapping[str, Mapping[str, Sequence[CallRecord]]]] = {
    "gemini-cli": {
        "gemini_cli.api_response": (
            CallRecord(
                "generate_content",
                {
                    **_MODEL,
                    names.GEN_AI_INPUT_TOKENS: ("input_token_count",),
                    names.GEN_AI_OUTPUT_TOKENS: ("output_token_count",),
                    names.GEN_AI_CACHE_READ_TOKENS: ("cached_content_token_count",),
                    names.GEN_AI_REASONING_TOKENS: ("thoughts_token_count",),
                    names.GEN_AI_FINISH_REASONS: ("finish_reasons",),
                },
                _GEMINI_API,
                read=_read_gemini,
            ),
        ),
        "gemini_cli.api_error": (CallRecord("generate_content", _MODEL, _GEMINI_API),),
        "gemini_cli.tool_call": (CallRecord("execute_tool", _TOOL),),
        "gemini_cli.user_prompt": (_QUESTION,),
    },
    "codex": {
        "codex.sse_event": (
            CallRecord(
                "chat",
                {
                    **_MODEL,
                    names.GEN_AI_INPUT_TOKENS: ("input_token_count",),
                    names.GEN_AI_OUTPUT_TOKENS: ("output_token_count",),
                    names.GEN_AI_CACHE_READ_TOKENS: ("cached_token_count",),
                    names.GEN_AI_REASONING_TOKENS: ("reasoning_token_count",),
                },
                needed=(("input_token_count",),),
                where={"event.kind": "response.completed"},
            ),
            CallRecord("chat", _MODEL, where={"event.kind": "response.failed"}),
        ),
        "codex.api_request": (CallRecord("chat", _MODEL, needed=(("error.message",),)),),
        "codex.tool_result": (CallRecord("execute_tool", _TOOL),),
        "codex.user_prompt": (_QUESTION,),
    },
    CLAUDE_CODE_SCOPE: {
        "api_request": (
            CallRecord(
                "chat",
                {
                    **_MODEL,
                    names.GEN_AI_INPUT_TOKENS: ("input_tokens",),
                    names.GEN_AI_OUTPUT_TOKENS: ("output_tokens",),
                    names.GEN_AI_CACHE_READ_TOKENS: ("cache_read_tokens",),
                    names.GEN_AI_CACHE_WRITE_TOKENS: ("cache_creation_tokens",),
                    names.GEN_AI_RESPONSE_ID: ("request_id",),
                    "gen_ai.usage.cost": ("cost_usd",),
                },
                _ANTHROPIC,
                is_alone=True,
            ),
        ),
        "api_error": (CallRecord("chat", _MODEL, _ANTHROPIC, is_alone=True),),
        "tool_result": (CallRecord("execute_tool", _CLAUDE_TOOL, is_alone=True),),
        "user_prompt": (replace(_QUESTION, is_alone=True),),
        "assistant_response": (
            CallRecord(
                "invoke_workflow",
                {},
                {names.GEN_AI_WORKFLOW_NAME: "assistant_response"},
                read=_read_answer,
                is_alone=True,
            ),
        ),
    },
}
# Log records that hold a text of a span, by start of the scope name and by event. For each: the
# equivalent event of the GenAI conventions, and the attribute with the text.
_TEXTS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    CLAUDE_CODE_SCOPE: {
        "user_prompt": ("gen_ai.user.message", "prompt"),
        "assistant_response": ("gen_ai.choice", "response"),
    },
}
_ANY_MODEL: Final = (names.GEN_AI_REQUEST_MODEL, names.GEN_AI_RESPONSE_MODEL, "model")
_ANY_INPUT: Final = (
    *(names.GEN_AI_INPUT_TOKENS, "gen_ai.usage.prompt_tokens", "input_token_count"),
    *("input_tokens", "prompt_tokens"),
)
_ANY_OUTPUT: Final = (
    *(names.GEN_AI_OUTPUT_TOKENS, "gen_ai.usage.completion_tokens", "output_token_count"),
    *("output_tokens", "completion_tokens"),
)
# For all other programs: a record without a trace id is a call if it has a model and both token
# counts.
ANYBODY: Final = CallRecord(
    "chat",
    {
        names.GEN_AI_REQUEST_MODEL: _ANY_MODEL,
        names.GEN_AI_INPUT_TOKENS: _ANY_INPUT,
        names.GEN_AI_OUTPUT_TOKENS: _ANY_OUTPUT,
        "gen_ai.usage.cost": ("gen_ai.usage.cost", "cost_usd"),
    },
    needed=(_ANY_MODEL, _ANY_INPUT, _ANY_OUTPUT),
)
# OpenLIT sends a span for each call, also if the details of a stream lost its ID.
_WITH_SPANS: Final = frozenset({"openlit"})
# The details of a call may be recorded without its span. They have the attributes of the span.
_OF_DETAILS: Final = CallRecord(
    "chat", {names.GEN_AI_OPERATION: (names.GEN_AI_OPERATION,)}, needed=(_ANY_MODEL,)
)
# Members of a body with the input and the output of a call.
_SIDE_OF_MEMBER: Final = {
    **dict.fromkeys(("input", "inputs", "prompt", "request", "messages"), "asked"),
    **dict.fromkeys(("output", "outputs", "completion", "response", "choices"), "answered"),
}
# Attributes of the conventions, by the count of a run that they fill.
_COUNT_ATTRIBUTES: Final = {
    name: attribute for name, attribute in attributes_of(Run).items() if name in TOKENS
}
_ERROR_TYPES: Final = (names.ERROR_TYPE, "error_type")
_ERRORS: Final = ("error.message", "error", "error_message")
_STATUS_ERROR: Final = 2
# Events that the conventions attach to a span. The span is the call, even if the event lost its id.
_OF_SPANS: Final = CONTENT_EVENTS | {EVALUATION}
_FALSE: Final = (False, "false", "False")


def _is_delta(log: Log, event: str) -> bool:
    """Return whether a log record is about a single chunk of a streamed answer."""
    kind = log.attributes.get("event.kind")
    return event.startswith("codex.") and isinstance(kind, str) and kind.endswith(".delta")


def _texts_of_body(log: Log) -> Mapping[str, Value]:
    """Return input and output if the body of a log record has both, as attributes; else nothing."""
    body = _members(log.body)
    if not {_SIDE_OF_MEMBER.get(name) for name in body} >= set(_SIDE_OF_MEMBER.values()):
        return {}
    signs = find_span_signs({"body": body}, ())
    texts = {names.GEN_AI_INPUT_MESSAGES: signs.inputs, names.GEN_AI_OUTPUT_MESSAGES: signs.outputs}
    return {} if None in texts.values() else cast("Mapping[str, Value]", texts)


def _read_unknown(log: Log, event: str, time_ns: int) -> Span | None:
    """Return the span of a log record of an unknown program, if it describes a model call.

    It has no trace ID, but a model and either both token counts or an input and an output.
    """
    if event == DETAILS:
        if log.scope.resource.get("telemetry.sdk.name") in _WITH_SPANS:
            return None
        log = replace(log, attributes={**log.attributes, **_members(log.body)})
        is_call = _fits(_OF_DETAILS, log.attributes)
        return _make_span(log, _OF_DETAILS, event, time_ns) if is_call else None
    if event in _OF_SPANS:
        return None
    texts = _texts_of_body(log)
    log = replace(log, attributes={**log.attributes, **texts}) if texts else log
    if _fits(ANYBODY, log.attributes):
        return _make_span(log, ANYBODY, event, time_ns)
    if not texts:
        return None
    signs = find_span_signs({**log.attributes, "body": log.body}, ())
    if signs.models is None:
        return None
    call: dict[str, Value] = {
        names.GEN_AI_REQUEST_MODEL: signs.models.requested,
        names.GEN_AI_RESPONSE_MODEL: signs.models.answered,
        **{
            _COUNT_ATTRIBUTES[name]: count
            for name, count in signs.counts.items()
            if name in _COUNT_ATTRIBUTES
        },
    }
    log = replace(log, attributes={**call, **log.attributes})
    return _make_span(log, replace(ANYBODY, fields={}), event, time_ns)


def _members(body: Value) -> Mapping[str, Value]:
    document = read_structured(body)
    return cast("Mapping[str, Value]", document) if isinstance(document, Mapping) else {}


def _read_call(log: Log, event: str, time_ns: int) -> Span | None:
    """Return the span that a log record describes; None if it describes none."""
    known, is_alone = _records_of(log), not any(log.trace_id)
    if known is not None:
        records = (item for item in known.get(event, ()) if is_alone or not item.is_alone)
        anybody = next((item for item in records if _fits(item, log.attributes)), None)
    else:
        return _read_unknown(log, event, time_ns) if is_alone else None
    return None if anybody is None else _make_span(log, anybody, event, time_ns)


def _records_of(log: Log) -> Mapping[str, Sequence[CallRecord]] | None:
    """Return the kinds of call records of a known program; None for unknown programs."""
    scope = log.scope.name
    return next((emitter for name, emitter in EMITTERS.items() if scope.startswith(name)), None)


def _fits(record: CallRecord, attributes: Mapping[str, Value]) -> bool:
    has_all = all(_first(attributes, sources) is not None for sources in record.needed)
    return has_all and all(attributes.get(name) == value for name, value in record.where.items())


def _make_span(log: Log, record: CallRecord, event: str, time_ns: int) -> Span:
    """Build the span that a log record describes, with all attributes of the record."""
    logged = log.attributes
    facts = {
        name: value
        for name, sources in record.fields.items()
        if (value := _first(logged, sources)) is not None
    }
    more = record.read(logged) if record.read else {}
    attributes: dict[str, Value] = {
        **{name: value for name, value in logged.items() if value is not None},
        names.GEN_AI_OPERATION: record.operation,
        **record.constants,
        **facts,
        **more,
    }
    session = _first(logged, _SESSION_NAMES)
    if session is not None:
        attributes[names.SESSION_ID] = to_text(session)
    message = to_text(_first(logged, _ERRORS))
    error_type = to_text(_first(logged, _ERROR_TYPES))
    has_failed = bool(message or error_type) or logged.get("success") in _FALSE
    if error_type:
        attributes[names.ERROR_TYPE] = error_type
    line = f"{event}\x1f{_own_time(log)}\x1f{to_text(log.body)}\x1f{to_sorted_json(logged)}"
    place = f"{log.trace_id.hex()}-{log.span_id.hex()}\x1f{line}"
    has_trace = any(log.trace_id)
    took_ms = to_float(logged.get("duration_ms")) or 0.0
    took_ns = int(took_ms * SECOND_NS / 1_000) if 0 < took_ms < _LONGEST_MS else 0
    return Span(
        log.trace_id if has_trace else _trace_of_session(log) or _hash(place, 16),
        _hash(place, 8),
        log.span_id if has_trace and any(log.span_id) else b"",
        event or record.operation,
        0,
        time_ns - took_ns,
        time_ns,
        _STATUS_ERROR if has_failed else 0,
        message,
        attributes,
        (),
        (),
        log.scope,
    )


# A day: no call takes longer.
_LONGEST_MS: Final = 86_400_000
