"""Rows of the store as the records that they were made of."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import orjson

from otel_ml_collector.owners import RESPONSE
from otel_ml_collector.records import (
    Artifact,
    LateLog,
    LateTag,
    LogLine,
    Metric,
    ModelVersion,
    Records,
    Run,
    Tag,
    TraceKey,
)
from otel_ml_collector.store.reader import Row

_NO_PARENT: Final = "0" * 16
# A payload may be kept for a shorter time than its run.
_NO_PAYLOAD: Final[Row] = dict.fromkeys(
    (
        *("inputs", "outputs", "params", "tag_details", "logs", "events", "links"),
        *("attributes", "resource", "scope"),
    ),
    "",
)


def join_payloads(runs: Sequence[Row], payloads: Sequence[Row]) -> list[Row]:
    """Put to each run its payload; of several the last."""
    found = {_key(row): row for row in payloads}
    return [{**found.get(_key(run), _NO_PAYLOAD), **run} for run in runs]


def _key(row: Row) -> tuple[str, str, str]:
    return row["project"], row["trace_id"], row["span_id"]


def _run(row: Row) -> Run:
    latency_ns = row.get("latency_ns", 0)
    parent = row["parent_span_id"]
    return Run(
        project=row["project"],
        trace_id=bytes.fromhex(row["trace_id"]),
        span_id=bytes.fromhex(row["span_id"]),
        parent_span_id=b"" if parent == _NO_PARENT else bytes.fromhex(parent),
        kind=row["kind"],
        name=row["name"],
        span_kind=row["span_kind"],
        model=row["model"],
        digest=row["digest"],
        structure=row["structure"],
        start_ns=row["start_ns"],
        end_ns=row["start_ns"] + latency_ns,
        outcome=row.get("outcome", "running"),
        error_type=row.get("error_type", ""),
        error_message=row.get("error_message", ""),
        inputs=row["inputs"],
        outputs=row.get("outputs", ""),
        inputs_preview=row["inputs_preview"],
        outputs_preview=row.get("outputs_preview", ""),
        tags=_tags(row["tags"], row["tag_details"]),
        session=row["session"],
        user=row["user"],
        environment=row["environment"],
        release=row["release"],
        provider=row["provider"],
        provider_model=row["provider_model"],
        input_tokens=row.get("input_tokens"),
        output_tokens=row.get("output_tokens"),
        cached_tokens=row.get("cached_tokens"),
        reasoning_tokens=row.get("reasoning_tokens"),
        cost=row.get("cost"),
        params=row["params"],
        logs=[LogLine(**line) for line in orjson.loads(row["logs"] or "[]")],
        events=row["events"],
        links=row["links"],
        attributes=row["attributes"],
        resource=row["resource"],
        scope=row["scope"],
        dialect=row["dialect"],
        process=row["process"],
        seq=row.get("seq", 0),
        rank=row["rank"],
        response_id=_response_id(row["tag_kv"]),
        arrived_ns=row["arrived_ns"],
    )


def _tags(tags: Mapping[str, str], details: str) -> list[Tag]:
    told = orjson.loads(details or "{}")
    return [
        Tag(name, orjson.loads(text), **told.get(name, {})) for name, text in sorted(tags.items())
    ]


def _response_id(tokens: Sequence[str]) -> str:
    """Read the response's id, which stands after the tags."""
    last = tokens[-1] if tokens else ""
    return last.removeprefix(RESPONSE) if last.startswith(RESPONSE) else ""


def _add_runs(records: Records, rows: Sequence[Row]) -> None:
    records.runs += map(_run, rows)


def _add_open_runs(records: Records, rows: Sequence[Row]) -> None:
    records.open_runs += map(_run, rows)


def _add_versions(records: Records, rows: Sequence[Row]) -> None:
    for row in rows:
        del row["collector"], row["arrived_ns"]
        records.versions.append(ModelVersion(**row, first_seen_ns=0))


def _add_metrics(records: Records, rows: Sequence[Row]) -> None:
    records.metrics += (Metric(**row) for row in rows)


def _add_tags(records: Records, rows: Sequence[Row]) -> None:
    for row in rows:
        tag = Tag(row["name"], orjson.loads(row["value"]), row["type"], row["group"])
        late = LateTag(row["project"], row["owner"], tag, row["time_ns"], row["record_id"])
        records.tags.append(late)


def _add_logs(records: Records, rows: Sequence[Row]) -> None:
    for row in rows:
        line = LogLine(row.pop("time_ns"), row.pop("severity"), row.pop("message"))
        records.logs.append(LateLog(**row, line=line))


def _add_artifacts(records: Records, rows: Sequence[Row]) -> None:
    for row in rows:
        records.artifacts.append(Artifact(**{**row, "sha256": bytes.fromhex(row["sha256"])}))


def _add_trace_keys(records: Records, rows: Sequence[Row]) -> None:
    for row in rows:
        trace_id = bytes.fromhex(row["trace_id"])
        records.trace_keys.append(TraceKey(row["key"], row["project"], trace_id, 0, 0))


RESTORE: Final[Mapping[str, Callable[[Records, Sequence[Row]], None]]] = {
    "model_versions": _add_versions,
    "artifacts": _add_artifacts,
    "logs": _add_logs,
    "tags": _add_tags,
    "metrics": _add_metrics,
    "trace_keys": _add_trace_keys,
    "open_runs": _add_open_runs,
    "runs": _add_runs,
}
