"""The full API response for a run without any data, as a baseline for tests of clients."""

from datetime import UTC, datetime


def written(time_ns: int) -> str:
    """Format a time as the API does."""
    seconds, rest = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def plain_run(run_id: str, start_ns: int, **fields: object) -> dict[str, object]:
    """Return every field of a run, empty except its id, its start and the given fields."""
    return {
        "run_id": run_id,
        "trace_id": run_id[:32],
        "parent_run_id": None,
        "model": "",
        "version": None,
        "digest": "",
        "start_time": written(start_ns),
        "start_ns": start_ns,
        "outcome": "ok",
        "last_heard_ns": None,
        "error_type": "",
        "error_message": "",
        "inputs": None,
        "outputs": None,
        "tags": {},
        "scores": {},
        "passed": {},
        "failed_judges": [],
        "truth": {},
        "label": {},
        "agent": {},
        "session": "",
        "user": "",
        "environment": "",
        "release": "",
        "provider": "",
        "provider_model": "",
        "tokens": dict.fromkeys(("input", "output", "cached", "reasoning", "cache_creation")),
        "cost": None,
        "cost_note": "",
        "first_token_ms": None,
        "stream_chunks": None,
        "tokens_per_second": None,
        "record_of": None,
        "experiment": "",
        "dataset": "",
        "item": "",
        "item_digest": "",
        "repeat": 0,
        "also_recorded": [],
        "counted": None,
        "params": None,
        "metrics": {},
        "metric_points": {},
        "metric_sources": {},
        "evaluations": [],
        "artifacts": [],
        "capture": {},
        "trace_key": "",
        "finish_reason": "",
        "response_id": "",
        "chunks": None,
        "trace_keys": [],
        "tag_details": [],
        "logs": [],
        "uses": [],
        "produced": [],
        "used_by": [],
        "events": [],
        "links": [],
        "otlp": {},
        **fields,
    }
