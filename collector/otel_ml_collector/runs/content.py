"""What events tell of a generative call whose own span does not: messages, tokens, an error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml.records import TOKENS, Tokens, tokens_of
from otel_ml_collector.mapping.dialects.evaluator import structured
from otel_ml_collector.mapping.dialects.gen_ai_events import (
    CONTENT_EVENTS,
    EXCEPTION,
    CallEvent,
    read_events,
)
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.values import to_text
from otel_ml_collector.runs.lines import list_events
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.rows import load_json, run_id_of

_EVENTS: Final = (*sorted(CONTENT_EVENTS), EXCEPTION)


@dataclass(frozen=True, slots=True)
class Content:
    """What a run was given and gave, what it cost, and how it failed."""

    inputs: Any
    outputs: Any
    tokens: Tokens
    error_type: str
    error_message: str


def find_content(reader: Reader, row: Row, payload: Mapping[str, Any]) -> Content:
    """Read the content of a run: its own, and where it has none that of its events.

    Args:
        reader: The store.
        row: Its light row.
        payload: What its span told, empty when that is gone.
    """
    events = _find_events(reader, row, payload)
    told: Found = {"used": set()}
    read_events([event for event in events if event.name in CONTENT_EVENTS], told)
    error = _error(events) if row["outcome"] == "error" else ("", "")
    inputs, outputs = told.get("inputs", (None, "")), told.get("outputs", (None, ""))
    return Content(
        inputs=load_json(payload.get("inputs") or inputs[1]),
        outputs=load_json(payload.get("outputs") or outputs[1]),
        tokens=tokens_of(
            {name: told.get(name) if row[name] is None else row[name] for name in TOKENS}
        ),
        error_type=row["error_type"] or error[0],
        error_message=row["error_message"] or error[1],
    )


def _find_events(reader: Reader, row: Row, payload: Mapping[str, Any]) -> Sequence[CallEvent]:
    """Read the events of a run, if it lacks anything that they may tell."""
    is_whole = payload.get("inputs") and payload.get("outputs") and row["input_tokens"] is not None
    if is_whole and (row["outcome"] != "error" or row["error_message"]):
        return []
    rows = list_events(reader, row["project"], run_id_of(row), _EVENTS)
    return [
        CallEvent(
            found["event"],
            found["time_ns"],
            structured(found["message"]) or None,
            load_json(found["attributes"], {}),
        )
        for found in rows
    ]


def _error(events: Sequence[CallEvent]) -> tuple[str, str]:
    """Read type and message of the exception that came last."""
    told = [event.attributes for event in events if event.name == EXCEPTION]
    last = told[-1] if told else {}
    return to_text(last.get("exception.type")), to_text(last.get("exception.message"))
