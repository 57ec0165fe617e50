"""One run with everything that is known of it: its payload, and what was said of it since."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

from otel_ml import attributes as names
from otel_ml_collector.artifacts.find import find_artifacts
from otel_ml_collector.mapping.values import parse
from otel_ml_collector.query.answers.parts import TagDetail
from otel_ml_collector.query.answers.runs import Run, RunSummary
from otel_ml_collector.runs.content import find_content
from otel_ml_collector.runs.late import Said, find_said
from otel_ml_collector.runs.lines import find_lines, make_lines
from otel_ml_collector.runs.series import counts_of, find_series, values_of
from otel_ml_collector.runs.shape import make_summary
from otel_ml_collector.store.open_runs import read_open_payload
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.rows import is_open, load_json, run_id_of
from otel_ml_collector.store.runs import Key, read_payload

_CONTENT: Final = ("inputs", "outputs", "tokens", "error_type", "error_message")
_SHOWN: Final = tuple(one.name for one in fields(RunSummary) if one.name not in _CONTENT)


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
