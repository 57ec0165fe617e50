"""Reads inputs and outputs of calls that arrived as log records."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from otel_ml.records import TOKENS
from otel_ml_collector.mapping.chat import line_in, line_of_error, line_out
from otel_ml_collector.mapping.dialects.gen_ai_events import (
    CallEvent,
    event_of,
    read_content,
    read_error,
    read_names,
)
from otel_ml_collector.records import LateLog

MOST_EVENTS: Final = 1_000  # log records per run, the oldest


def group_events(logs: Iterable[LateLog]) -> dict[str, list[CallEvent]]:
    """Group log records by the run that they are about: each once, oldest first."""
    unique = {(log.owner, log.record_id, log.position): log for log in logs}
    ordered = sorted(
        unique.values(), key=lambda log: (log.line.time_ns, log.record_id, log.position)
    )
    events: defaultdict[str, list[CallEvent]] = defaultdict(list)
    for log in ordered:
        line = log.line
        events[log.owner].append(event_of(log.event, line.time_ns, line.message, log.attributes))
    return dict(events)


def complete_words(call: Mapping[str, Any], events: Sequence[CallEvent]) -> dict[str, str]:
    """Return the texts that a call's own span lacks and that its log records contain.

    Args:
        call: Its kind, outcome, session and user, the previews of its input and output, and type
            and message of its error.
        events: Its log records, oldest first.
    """
    content = read_content(events)
    texts = {name: text for name, text in read_names(events).items() if text and not call[name]}
    if not call["inputs_preview"] and "inputs" in content:
        texts["inputs_preview"] = line_in(content["inputs"][0], call["kind"])
    failure = ""
    if call["outcome"] == "error":
        error_type, message = read_error(events)
        if not call["error_message"]:
            texts |= {"error_message": message, "error_type": call["error_type"] or error_type}
        if not (call["error_message"] and call["outputs_preview"]):
            failure = line_of_error(error_type, message)
    if failure:
        texts["outputs_preview"] = failure
    elif not call["outputs_preview"] and "outputs" in content:
        texts["outputs_preview"] = line_out(content["outputs"][0], call["kind"])
    return texts


def read_amounts(events: Sequence[CallEvent]) -> dict[str, Any]:
    """Read the tokens and the cost of a call from its log records, by the name of the field."""
    content = read_content(events)
    return {name: content[name] for name in (*TOKENS, "cost") if name in content}
