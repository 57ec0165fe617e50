"""Unreadable values are stored unchanged, shown on the page, and never read as a wrong number."""

import base64
import json
from html import unescape
from typing import Any, Final

import pytest

from otel_ml.records import TOKENS
from otel_ml_collector.mapping.dialects.table import CALLS, Dialect
from otel_ml_collector.mapping.dialects.tables import DIALECTS
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.spans import NOW_NS
from tests.support.sampling import at_night

_NUMBERS: Final = frozenset({*TOKENS, "cost"})
_PARTS: Final = [{"type": "text", "content": f"part {number}"} for number in range(9_000)]
_BYTES: Final = base64.b64encode(b"\xff\x00\xfe").decode()
# Values used as counts and costs, and values used as messages.
SAID: Final[dict[str, tuple[Any, Any]]] = {
    "words": ("many", "no list"),
    "below zero": (-5, {"role": 7}),
    "lists": ([1, 2], [None, 3, [4]]),
    "half of a list": ("12 tokens", '[{"role": "user", "content": "cut o'),
    "without end": ("Infinity", [{"role": "user", "parts": "none"}]),
    "bytes": (b"", b""),
    "9,000 parts": ("NaN", [{"role": "user", "parts": _PARTS}]),
}


def to_value(told: Any) -> dict[str, Any]:
    """Return a value in OTLP's JSON."""
    if isinstance(told, bytes):
        return {"bytesValue": _BYTES}
    if isinstance(told, int):
        return {"intValue": str(told)}
    if isinstance(told, list) and all(isinstance(one, int) for one in told):
        return {"arrayValue": {"values": [to_value(one) for one in told]}}
    return {"stringValue": told if isinstance(told, str) else json.dumps(told)}


def make_attributes(dialect: Dialect, number: Any, messages: Any) -> dict[str, Any]:
    """Return attributes that set every source of numbers, inputs and outputs of a dialect."""
    told: dict[str, Any] = {
        mark + ("0.x" if mark.endswith("N") else "x") if mark.endswith((".", "N")) else mark: "x"
        for mark in (one.replace(".N", ".") for one in dialect.marks[:1])
    }
    word = next((word for word, kind in dialect.kinds.items() if kind in CALLS), None)
    told |= dict.fromkeys(dialect.kind_sources[:1], word or "OpenAIGenerator")
    members: dict[str, dict[str, Any]] = {}
    for row in dialect.rows:
        for source in row.sources if row.field in {*_NUMBERS, "inputs", "outputs"} else ():
            value = number if row.field in _NUMBERS else messages
            name, _, member = source.partition("{")
            if member.rstrip("}"):
                inner = members.setdefault(name, {})
                *way, last = member.rstrip("}").split(".")
                for step in way:
                    inner = inner.setdefault(step, {}) if isinstance(inner, dict) else {}
                inner.setdefault(last, "bytes" if isinstance(value, bytes) else value)
            elif not member and not name.endswith("*"):
                told[name.replace(".N", ".0")] = value
    return {**told, **members}


def make_group(dialect: Dialect, said: str) -> dict[str, Any]:
    """Return the spans of one instrumentation: a call with unreadable values."""
    pairs = make_attributes(dialect, *SAID[said])
    sdk = {"telemetry.sdk.name": dialect.sdk} if dialect.sdk else {}
    span = {
        "traceId": f"{list(SAID).index(said) + 1:032x}",
        "spanId": f"{DIALECTS.index(dialect) + 1:016x}",
        "startTimeUnixNano": str(NOW_NS),
        "endTimeUnixNano": str(NOW_NS + 1_000_000),
        "name": dialect.name,
        "attributes": [{"key": key, "value": to_value(value)} for key, value in pairs.items()],
    }
    resource = [{"key": key, "value": to_value(value)} for key, value in sdk.items()]
    scope = {"name": dialect.scope or "emitter"}
    return {
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": scope, "spans": [span]}],
    }


@at_night
@pytest.mark.parametrize("said", SAID)
def test_unreadable(said: str, collector: CollectorProcess) -> None:
    """Calls with unreadable values have no tokens and no cost; their pages show the values."""
    project = f"unreadable-{list(SAID).index(said)}"
    headers = {"content-type": "application/json", "x-otel-ml-project": project}
    for dialect in DIALECTS:  # each nearly fills a request
        body = json.dumps({"resourceSpans": [make_group(dialect, said)]}).encode()
        collector.deliver(body, headers)
    runs = {run["name"]: run for run in collector.runs(project, where='kind != ""')}
    assert runs.keys() == {dialect.name for dialect in DIALECTS}
    number = _BYTES if said == "bytes" else SAID[said][0]
    for dialect in DIALECTS:
        run = runs[dialect.name]
        assert (set(run["tokens"].values()), run["cost"]) == ({None}, None)
        kept = collector.get(f"/projects/{project}/runs/{run['run_id']}")["attributes"]
        page = unescape(collector.get_text(f"/projects/{project}/runs/{run['run_id']}"))
        numbers = [row for row in dialect.rows if row.field in _NUMBERS]
        told = [source for row in numbers for source in row.sources if source in kept]
        assert {source: kept[source] for source in told} == dict.fromkeys(told, number)
        assert [source for source in told if f"<code>{source}</code> is" not in page] == []
    total = collector.get(f"/projects/{project}/stats", where='kind != ""')["total"]
    assert (total["tokens"]["input"], total["tokens"]["output"], total["cost"]) == (0, 0, None)
    assert "gen_ai" in collector.get_text(f"/projects/{project}/runs", traces=1)
