"""One run with everything that is known of it: its payload, and what was said of it since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from otel_ml import attributes as names
from otel_ml.records import TOKENS, Tokens, tokens_of
from otel_ml_collector.artifacts.find import find_artifacts
from otel_ml_collector.mapping.dialects.evaluator import structured
from otel_ml_collector.mapping.dialects.gen_ai_events import (
    CONTENT_EVENTS,
    EXCEPTION,
    CallEvent,
    read_events,
)
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.values import parse, to_text
from otel_ml_collector.runs.answers import Run, RunSummary, TagDetail
from otel_ml_collector.runs.lines import find_lines, list_events, make_lines
from otel_ml_collector.runs.series import counts_of, find_series, values_of
from otel_ml_collector.runs.summary import Said, find_said, make_summary
from otel_ml_collector.store.open_runs import read_open_payload
from otel_ml_collector.store.reader import Reader, Row, is_open, load_json, run_id_of
from otel_ml_collector.store.runs import Key, read_payload

_EVENTS: Final = (*sorted(CONTENT_EVENTS), EXCEPTION)
_CONTENT: Final = ("inputs", "outputs", "tokens", "error_type", "error_message")
_SHOWN: Final = tuple(one.name for one in fields(RunSummary) if one.name not in _CONTENT)


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


def make_detail(reader: Reader, row: Row, trace_rows: Sequence[Row]) -> Run:
    """Make the record of one run.

    Args:
        reader: The store.
        row: Its light row.
        trace_rows: Those of the roots of its trace.
    """
    project, run_id = row["project"], run_id_of(row)
    for field in ("session", "user"):  # what the root says holds for the whole trace
        row[field] = row[field] or next((r[field] for r in trace_rows if r[field]), "")
    read = read_open_payload if is_open(row) else read_payload
    key = Key(row["start_ns"], row["trace_id"], row["span_id"])
    paid = reader.ahead(read, project, key)
    about = find_said(reader, project, [row])[run_id]
    summary = make_summary(row, about)
    artifacts = reader.ahead(find_artifacts, project, about.owners)
    late = reader.ahead(find_lines, row, about.owners)
    series = find_series(reader, project, about.owners)
    payload = paid.result() or {}
    attributes = load_json(payload.get("attributes", ""), {})
    content = find_content(reader, row, payload)
    return Run(
        **{name: getattr(summary, name) for name in _SHOWN},
        **{field: getattr(content, field) for field in _CONTENT},
        chunks=_take_chunks(attributes),
        params=load_json(payload.get("params", "")),
        trace_keys=list(about.keys),
        capture=_take_capture(attributes),
        metrics=values_of(series),
        metric_points=counts_of(series),
        evaluations=list(about.evaluations),
        tag_details=_tag_details(row, payload, about),
        logs=make_lines([*load_json(payload.get("logs", ""), []), *late.result()], row["start_ns"]),
        artifacts=artifacts.result(),
        events=load_json(payload.get("events", ""), []),
        links=load_json(payload.get("links", ""), []),
        attributes=attributes,
        resource=load_json(payload.get("resource", ""), {}),
        scope=load_json(payload.get("scope", ""), {}),
        dialect=row["dialect"],
    )


def _take_chunks(attributes: dict[str, Any]) -> object:
    """Take out of the attributes what a stream gave, when it is a list."""
    told = parse(attributes.get(names.OUTPUTS_CHUNKS))
    if not isinstance(told, list):
        return None
    del attributes[names.OUTPUTS_CHUNKS]
    return told


def _take_capture(attributes: dict[str, Any]) -> dict[str, list[str]]:
    """Take out of the attributes what was left out of the payload, by part, and why.

    Anything else under that name stays where it is.
    """
    told = parse(attributes.get(names.CAPTURE))
    if not isinstance(told, dict):
        return {}
    found = {part: [why] if isinstance(why, str) else why for part, why in told.items()}
    if not all(_is_texts(why) for why in found.values()):
        return {}
    del attributes[names.CAPTURE]
    return found


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _tag_details(row: Row, payload: Row, said: Said) -> list[TagDetail]:
    details = load_json(payload.get("tag_details", ""), {})
    own = {
        name: {"name": name, "value": value, **details.get(name, {"type": "", "group": ""})}
        for name, value in row["tags"].items()
    }
    tags = [
        TagDetail(
            name=tag["name"],
            value=load_json(tag["value"]),
            type=tag["type"],
            group=tag["group"],
        )
        for tag in (own | dict(said.tags)).values()
    ]
    return sorted(tags, key=lambda tag: (tag.group, tag.name))
