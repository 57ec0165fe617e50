"""Log records to records: pure, and the same whatever order, split or repetition they come in.

Which run a line belongs to is decided when it is read: spans may come later. Rules:
docs/design/010-log-records.md.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.mapping.evaluations import (
    BAD_EVALUATION,
    EVALUATION,
    add_evaluation,
    judge_of,
)
from otel_ml_collector.mapping.filing import (
    NOT_ALLOWED,
    Filing,
    StartWindow,
    is_project,
    project_of,
)
from otel_ml_collector.mapping.late_records import NO_TRACE_ID, RequestBatch
from otel_ml_collector.mapping.values import to_sorted_json, to_text
from otel_ml_collector.owners import own_key, own_response
from otel_ml_collector.records import LateLog, LogLine, Records, TraceKey, run_id
from otel_ml_collector.span import Log, is_span_id, is_trace_id

NO_TRACE: Final = "no_trace"
NO_TRACE_MEANS: Final = (
    "log records without a trace id belong to no run: send them to a log store, and here those "
    "that are written while a span is current"
)
_FORMER_EVENT: Final = "event.name"
_SCOPE: Final = "otel.scope.name"
_SEVERITY: Final = "otel.severity_text"
_EXCEPTION_TYPE: Final = "exception.type"
_EXCEPTION_MESSAGE: Final = "exception.message"
_WORDS: Final = {
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
}
_OTHER_WORDS: Final = {"trace": "debug", "fatal": "error", "critical": "error"}
# The number from which a severity is this word, the highest first.
_RANGES: Final = ((17, "error"), (13, "warning"), (9, "info"), (1, "debug"))


def map_logs(logs: Iterable[Log], filing: Filing) -> Records:
    """Map log records to records.

    Args:
        logs: In any order, also twice. Their spans need not come with them, or at all.
        filing: What the request says about them.

    Returns:
        The records, and how many log records are rejected for good, by reason. The same log
        record gives the same records whatever comes with it.
    """
    batch = RequestBatch(StartWindow(filing.now_ns))
    for log in logs:
        batch.window = filing.window_of(log.scope)
        project = project_of(log.attributes, log.scope, filing)
        reason = NOT_ALLOWED if project is None else _map_log(log, project, batch)
        if reason is not None:
            batch.records.rejected[reason] += 1
    batch.records.trace_keys += batch.keys.values()
    return batch.records


def _map_log(log: Log, project: str, batch: RequestBatch) -> str | None:
    """Add what a log record says to its batch; return why it is rejected, if it is."""
    time_ns = log.time_ns or log.observed_ns
    reason = _reason_to_reject(log, time_ns, project, batch.window)
    if reason is not None:
        return reason
    event = log.event or to_text(log.attributes.get(_FORMER_EVENT))
    owner = _owner_of(log, is_evaluation=event == EVALUATION)
    if owner is None:
        return NO_TRACE
    if event != EVALUATION:
        batch.records.logs.append(_line(log, project, owner, event, time_ns))
    elif not judge_of(log.attributes):
        return BAD_EVALUATION
    else:
        add_evaluation(log.attributes, project, owner, time_ns, batch.records)
    if any(log.trace_id):
        _note_trace(log.trace_id, owner, project, time_ns, batch)
    return None


def _reason_to_reject(log: Log, time_ns: int, project: str, window: StartWindow) -> str | None:
    """Say why a log record can never be stored; ids of zeros are ids that it does not have."""
    if any(log.trace_id) and not is_trace_id(log.trace_id):
        return "invalid_trace_id"
    if any(log.span_id) and not is_span_id(log.span_id):
        return "invalid_span_id"
    if time_ns not in window:
        return "outside_time_window"
    return None if is_project(project) else "invalid_project"


def _owner_of(log: Log, *, is_evaluation: bool) -> str | None:
    """Name what a log record is about: its span, a response that was judged, or its trace."""
    if any(log.trace_id) and any(log.span_id):
        return run_id(log.trace_id, log.span_id)
    response = to_text(log.attributes.get(names.GEN_AI_RESPONSE_ID))
    if is_evaluation and response:
        return own_response(response)
    return own_key(log.trace_id.hex()) if any(log.trace_id) else None


def _line(log: Log, project: str, owner: str, event: str, time_ns: int) -> LateLog:
    attributes = dict(log.attributes)
    if attributes.get(_FORMER_EVENT) == event:
        del attributes[_FORMER_EVENT]
    text = log.severity_text.strip().lower()
    if log.severity_text and text not in _WORDS:  # FATAL says more than the word for it here
        attributes.setdefault(_SEVERITY, log.severity_text)
    if log.scope.name:
        attributes.setdefault(_SCOPE, log.scope.name)
    line = LogLine(time_ns, _severity(log.severity_number, text), _message(log))
    told = to_sorted_json(attributes) if attributes else ""
    record_id = _digest(log, line, event, told)
    return LateLog(project, owner, line, record_id, 0, event, told)


def _severity(number: int, text: str) -> str:
    for least, word in _RANGES:
        if number >= least:
            return word
    return _WORDS.get(text) or _OTHER_WORDS.get(text, "info")


def _message(log: Log) -> str:
    if log.body is not None:
        return to_text(log.body)
    told = [to_text(log.attributes.get(name)) for name in (_EXCEPTION_TYPE, _EXCEPTION_MESSAGE)]
    return ": ".join(text for text in told if text)


def _digest(log: Log, line: LogLine, event: str, attributes: str) -> str:
    """Name a line by its content: it has no id of its own, and may be delivered again."""
    ids = f"{log.trace_id.hex()}-{log.span_id.hex()}"
    said = (ids, str(line.time_ns), line.severity, event, attributes, line.message)
    content = "\x1f".join(said).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _note_trace(
    trace_id: bytes, owner: str, project: str, time_ns: int, batch: RequestBatch
) -> None:
    """Note that something is told of a trace, so that it is found before its spans come."""
    key = trace_id.hex()
    about = [trace_id, NO_TRACE_ID] if owner == own_key(key) else [trace_id]
    for place in about:
        batch.add_key(TraceKey(key, project, place, time_ns, time_ns))
