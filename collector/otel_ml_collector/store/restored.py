"""Rows of the store as the records that they were made of."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import orjson

from otel_ml.records import columns_of
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
from otel_ml_collector.store.tables import PAYLOAD

_NO_PARENT: Final = "0" * 16
# A payload may be kept for a shorter time than its run.
_NO_PAYLOAD: Final[Row] = dict.fromkeys(PAYLOAD, "")
# Columns that are the field as it is.
_AS_IT_IS: Final = frozenset(columns_of(Run)) - {
    *("trace_id", "span_id", "parent_span_id", "outcome", "tags", "logs"),
}


def join_payloads(runs: Sequence[Row], payloads: Sequence[Row]) -> list[Row]:
    """Put to each run its payload; of several the last."""
    found = {_key(row): row for row in payloads}
    return [{**found.get(_key(run), _NO_PAYLOAD), **run} for run in runs]


def _key(row: Row) -> tuple[str, str, str]:
    return row["project"], row["trace_id"], row["span_id"]


def _run(row: Row) -> Run:
    parent = row["parent_span_id"]
    return Run(
        trace_id=bytes.fromhex(row["trace_id"]),
        span_id=bytes.fromhex(row["span_id"]),
        parent_span_id=b"" if parent == _NO_PARENT else bytes.fromhex(parent),
        end_ns=row["start_ns"] + row.get("latency_ns", 0),
        outcome=row.get("outcome", "running"),
        tags=_tags(row["tags"], row["tag_details"]),
        logs=[LogLine(**line) for line in orjson.loads(row["logs"] or "[]")],
        response_id=_response_id(row["tag_kv"]),
        **{name: row[name] for name in _AS_IT_IS.intersection(row)},
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
