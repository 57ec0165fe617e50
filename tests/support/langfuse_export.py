"""Exports as Langfuse's server would write them for the spans and scores of its SDK.

The fields of each form are those of Langfuse 4.16: of the public API, of the blob storage
integration, and of the exports of its pages.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final, Literal

Form = Literal["api", "blob", "pages"]
Row = dict[str, Any]

PROJECT_ID: Final = "cm1xyz"
_O: Final = "langfuse.observation."
_T: Final = "langfuse.trace."
_COUNTS: Final = {
    "prompt_tokens": "input",
    "completion_tokens": "output",
    "total_tokens": "total",
}
_VALUES: Final = {"NUMERIC": "value", "BOOLEAN": "value"}
_CAMEL: Final = re.compile("(?<=[a-z])([A-Z])")


def export_recording(
    recording: Mapping[str, Any], form: Form, costs: Mapping[str, float] | None = None
) -> dict[str, list[Row]]:
    """Return the traces, observations and scores of a recording.

    Args:
        recording: A recording of `tests.support.recorded`, with a list of scores if it has one.
        form: Form of the rows.
        costs: Cost of a call in USD by model, which Langfuse computes from its prices.
    """
    observations: list[Row] = []
    traces: dict[str, Row] = {}
    for sent in recording["request"]["resourceSpans"]:
        resource = _values(sent["resource"]["attributes"])
        for within in sent["scopeSpans"]:
            for span in within["spans"]:
                row = _observation(span, resource, within["scope"], costs or {})
                observations.append(row)
                _add_trace(traces, row, _values(span["attributes"]))
    scores = [_score(score) for score in recording.get("listed") or ()]
    rows = {"traces": [*traces.values()], "observations": observations, "scores": scores}
    if form == "api":
        return rows
    if form == "pages":
        return _as_pages(rows)
    rows["scores"] = [score for score in scores if score["dataType"] != "CORRECTION"]
    return {name: [_as_blob(row) for row in several] for name, several in rows.items()}


def _observation(
    span: Mapping[str, Any],
    resource: Mapping[str, Any],
    scope: Mapping[str, Any],
    costs: Mapping[str, float],
) -> Row:
    told = _values(span["attributes"])
    model = told.get(f"{_O}model.name")
    usage = _usage(_read(told.get(f"{_O}usage_details", "{}")))
    cost = _read(told.get(f"{_O}cost_details", "{}"))
    if isinstance(model, str) and model in costs:
        cost = {"total": costs[model]}
    return {
        "id": span["spanId"],
        "traceId": span["traceId"],
        "projectId": PROJECT_ID,
        "environment": "default",
        "type": told[f"{_O}type"].upper(),
        "parentObservationId": span.get("parentSpanId"),
        "startTime": _time(span["startTimeUnixNano"]),
        "endTime": _time(span["endTimeUnixNano"]),
        "name": span["name"],
        "metadata": {
            **_below(told, f"{_O}metadata."),
            "resourceAttributes": dict(resource),
            "scope": {"name": scope["name"], "version": scope["version"]},
        },
        "level": told.get(f"{_O}level", "DEFAULT"),
        "statusMessage": told.get(f"{_O}status_message"),
        "version": told.get("langfuse.version"),
        "input": _read(told.get(f"{_O}input")),
        "output": _read(told.get(f"{_O}output")),
        "model": model,
        "modelParameters": _read(told.get(f"{_O}model.parameters", "{}")),
        "usageDetails": usage,
        "costDetails": cost,
        "completionStartTime": _read(told.get(f"{_O}completion_start_time")),
        "promptId": None,
        "promptName": told.get(f"{_O}prompt.name"),
        "promptVersion": told.get(f"{_O}prompt.version"),
    }


def _add_trace(traces: dict[str, Row], row: Row, told: Mapping[str, Any]) -> None:
    trace = traces.setdefault(row["traceId"], {"metadata": {}, "tags": []})
    trace["metadata"] |= _below(told, f"{_T}metadata.")
    trace["tags"] = sorted({*trace["tags"], *told.get(f"{_T}tags", ())})
    trace |= {
        "id": row["traceId"],
        "projectId": PROJECT_ID,
        "userId": told.get("user.id", trace.get("userId")),
        "sessionId": told.get("session.id", trace.get("sessionId")),
        "release": told.get("langfuse.release"),
        "version": row["version"],
        "environment": "default",
        "public": False,
        "bookmarked": False,
    }
    if not row["parentObservationId"]:
        trace |= {
            "name": row["name"],
            "timestamp": row["startTime"],
            "input": row["input"],
            "output": row["output"],
        }


def _score(listed: Mapping[str, Any]) -> Row:
    """Return a score that version 3 of the public API lists, as version 2 does."""
    subject, value = listed["subject"], listed["value"]
    is_text = isinstance(value, str)
    return {
        "id": listed["id"],
        "timestamp": listed["timestamp"],
        "projectId": PROJECT_ID,
        "environment": "default",
        "traceId": subject.get("traceId") or (subject["kind"] == "trace" and subject["id"]) or None,
        "observationId": subject["id"] if subject["kind"] == "observation" else None,
        "sessionId": subject["id"] if subject["kind"] == "session" else None,
        "datasetRunId": None,
        "name": listed["name"],
        "value": 0 if is_text else float(value),
        "source": listed["source"],
        "comment": listed.get("comment"),
        "authorUserId": listed.get("authorUserId"),
        "dataType": listed["dataType"],
        "stringValue": value if is_text else str(value) if isinstance(value, bool) else None,
    }


def _as_blob(row: Row) -> Row:
    """Return a row as stored in the database: snake case, inputs and outputs as text."""
    renamed = {_CAMEL.sub(lambda match: f"_{match[1].lower()}", key): row[key] for key in row}
    if "model" in renamed:
        renamed["provided_model_name"] = renamed.pop("model")
        renamed["model_parameters"] = json.dumps(renamed["model_parameters"])
        renamed["total_cost"] = renamed["cost_details"].get("total")
        counts = renamed["usage_details"].items()
        renamed["usage_details"] = {name: str(count) for name, count in counts}
    for key in ("input", "output"):
        if renamed.get(key) is not None and not isinstance(renamed[key], str):
            renamed[key] = json.dumps(renamed[key])
    if "metadata" in renamed:
        renamed["metadata"] = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in renamed["metadata"].items()
        }
    for key in ("timestamp", "start_time", "end_time", "completion_start_time"):
        if renamed.get(key):
            renamed[key] = renamed[key].replace("T", " ").rstrip("Z")
    return renamed


def _as_pages(rows: Mapping[str, Sequence[Row]]) -> dict[str, list[Row]]:
    """Return rows as the pages export them, where each score is a column."""
    shown = [score for score in rows["scores"] if score["dataType"] != "CORRECTION"]
    columns = {score["name"]: None for score in shown}
    pages: dict[str, list[Row]] = {"scores": [*rows["scores"]]}
    for name, key in (("traces", "traceId"), ("observations", "observationId")):
        pages[name] = []
        for row in rows[name]:
            own = [
                score
                for score in shown
                if score[key] == row["id"] and (key != "traceId" or not score["observationId"])
            ]
            found = {
                score["name"]: [score[_VALUES.get(score["dataType"], "stringValue")]]
                for score in own
            }
            pages[name].append({**row, **columns, **found, "comments": []})
    return pages


def _usage(usage: Mapping[str, Any]) -> dict[str, int]:
    """Return token counts by Langfuse's names; details are subtracted from their side's total."""
    counts = {
        _COUNTS.get(name, name): count for name, count in usage.items() if isinstance(count, int)
    }
    for side, name in (("input", "prompt_tokens_details"), ("output", "completion_tokens_details")):
        for part, count in (usage.get(name) or {}).items():
            if count:
                counts[f"{side}_{part}"] = count
                counts[side] -= count
    return counts


def _below(told: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {
        key.removeprefix(prefix): _read(value)
        for key, value in told.items()
        if key.startswith(prefix)
    }


def _values(attributes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {item["key"]: _value(item["value"]) for item in attributes}


def _value(value: Mapping[str, Any]) -> Any:
    [(kind, inner)] = value.items()
    if kind == "arrayValue":
        return [_value(each) for each in inner["values"]]
    return int(inner) if kind == "intValue" else inner


def _read(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _time(ns: str) -> str:
    moment = datetime.fromtimestamp(int(ns) // 1_000_000 / 1_000, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
