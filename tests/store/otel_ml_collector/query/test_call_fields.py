"""Tests of the fields that filter calls by values that the provider reported."""

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

import pytest

from otel_ml_collector.span import Value
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS, make_call
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import sampled

CALLS: Final[Mapping[str, Mapping[str, Value]]] = {
    "plain": {},
    "limited": {"error.type": "openai.RateLimitError", "otel_ml.outcome": "error"},
    "quoted": {"error.type": "<class 'openai.RateLimitError'>", "otel_ml.outcome": "error"},
    "short": {"error.type": "RateLimitError", "otel_ml.outcome": "error"},
    "other": {"error.type": "MyRateLimitError", "otel_ml.outcome": "error"},
    "cut": {"gen_ai.response.finish_reasons": ["length"], "gen_ai.response.id": "resp_1"},
    "two": {"gen_ai.response.finish_reasons": ["stop", "length"], "gen_ai.response.id": "resp_2"},
    "vercel": {"ai.response.finishReason": "tool-calls", "gen_ai.response.id": "resp_3"},
    "stopped": {"llm.finish_reason": "stop"},
}
LIMITED: Final = ["limited", "quoted", "short"]


@pytest.fixture(scope="module")
def calls(service: Service) -> str:
    """Return a project with one call per entry of ``CALLS``."""
    for name, attributes in CALLS.items():
        service.store.take("calls", make_call(name, attributes))
    return "calls"


@sampled(3)
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ('error_type == "RateLimitError"', LIMITED),
        ('error_type in ("RateLimitError", "x")', LIMITED),
        ('error_type == "openai.RateLimitError"', ["limited"]),
        ('error_type != "RateLimitError"', sorted(CALLS.keys() - LIMITED)),
        ('error_type == ""', sorted(CALLS.keys() - {*LIMITED, "other"})),
        ('"Rate" in error_type', sorted([*LIMITED, "other"])),
        ('finish_reason == "length"', ["cut", "two"]),
        ('finish_reason in ("stop", "tool-calls")', ["stopped", "two", "vercel"]),
        ('finish_reason != "length"', ["stopped", "vercel"]),
        ('"calls" in finish_reason', ["vercel"]),
        ("finish_reason", ["cut", "stopped", "two", "vercel"]),
        ('finish_reason == "stop" and response_id', ["two"]),
        ('response_id == "resp_1"', ["cut"]),
        ('response_id in ("resp_1", "resp_3")', ["cut", "vercel"]),
        ('response_id != "resp_1" and response_id != ""', ["two", "vercel"]),
        ('matches(response_id, "_[12]$") and last("36500d")', ["cut", "two"]),
        ('record_of == ""', sorted(CALLS)),
        ("record_of", []),
    ],
)
def test_found(service: Service, calls: str, where: str, expected: Sequence[str]) -> None:
    """A filter finds calls by the last part of the error type, finish reason and response ID."""
    answered = ask(service.app, f"/api/v1/projects/{calls}/runs?where={quote(where)}")
    assert answered.status == 200, answered.text
    assert sorted(run["model"] for run in answered.json["runs"]) == expected


def test_exported(service: Service, calls: str) -> None:
    """An export has columns for the response ID, finish reason and recorded run."""
    columns = "model,response_id,finish_reason,record_of"
    path = f"/api/v1/projects/{calls}/export?format=jsonl&columns={columns}&where="
    answered = ask(service.app, path + quote('model == "two"'))
    assert answered.text == (
        '{"model":"two","response_id":"resp_2","finish_reason":"stop, length","record_of":null}\n'
    )


# Each call takes 12 ms and returns 30 tokens, regardless of its stream attributes.
STREAMS: Final[Mapping[str, Mapping[str, Value]]] = {
    "silent": {},
    "ours": {"otel_ml.stream.chunks": 12, "otel_ml.stream.first_chunk_ms": 2.0},
    "slow": {"gen_ai.server.time_to_first_token": 0.009},
    "whole": {"gen_ai.response.time_to_first_chunk": 0.012},
    "odd": {"otel_ml.stream.chunks": "many", "ttft_ms": -5},
}


@pytest.fixture(scope="module")
def streams(service: Service) -> str:
    """Return a project with calls that report streaming in different attributes."""
    for name, said in STREAMS.items():
        told = {"gen_ai.usage.output_tokens": 30, **said}
        end_ns = NOW_NS + 12 * MS_NS
        service.store.take("streams", make_call(name, told, start_ns=NOW_NS, end_ns=end_ns))
    return "streams"


@sampled(3)
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("first_token_ms >= 2", ["ours", "slow", "whole"]),
        ("first_token_ms > 5ms", ["slow", "whole"]),
        ("not first_token_ms > 5ms", ["odd", "ours", "silent"]),
        ("stream_chunks == 12", ["ours"]),
        ("stream_chunks < 12", []),
        ("tokens_per_second == 3000", ["ours"]),
        ("tokens_per_second > 3000", ["slow"]),
        ("tokens_per_second <= 3000", ["ours"]),
    ],
)
def test_streams_found(service: Service, streams: str, where: str, expected: Sequence[str]) -> None:
    """A filter finds streams by time to first token, chunk count and tokens per second."""
    answered = ask(service.app, f"/api/v1/projects/{streams}/runs?where={quote(where)}")
    assert answered.status == 200, answered.text
    assert sorted(run["model"] for run in answered.json["runs"]) == expected


OURS: Final = 'model == "ours"'
SILENT: Final = 'model == "silent"'
STREAMED: Final = {"first_token_ms": 2.0, "stream_chunks": 12, "tokens_per_second": 3000.0}


def test_streams_exported(service: Service, streams: str) -> None:
    """An export has columns for time to first token, chunk count and tokens per second."""
    path = f"/api/v1/projects/{streams}/export?format=jsonl&columns={','.join(STREAMED)}&where="
    found = {
        name: ask(service.app, path + quote(f'model == "{name}"')).json for name in ("ours", "odd")
    }
    assert found == {"ours": STREAMED, "odd": dict.fromkeys(STREAMED)}


def test_streams_listed(service: Service, streams: str) -> None:
    """The runs page shows the first-token column if a run has a value, and all chosen columns."""
    page = ask(service.app, f"/projects/{streams}/runs?where={quote(OURS)}").text
    assert re.search(r'<th class="[^"]*">First token ms</th>', page)
    chosen = "&".join(f"columns={name}" for name in STREAMED)
    page = ask(service.app, f"/projects/{streams}/runs?where={quote(OURS)}&{chosen}").text
    [row] = re.findall("<tr data-run.*?</tr>", page, re.DOTALL)
    cells = [re.sub("<.*?>", "", cell).strip() for cell in re.findall("<td.*?</td>", row)]
    assert cells == ["", "– 2", "12", "3,000"]  # a checkbox, then a link without inputs
    other = ask(service.app, f"/projects/{streams}/runs?where={quote(SILENT)}").text
    assert "First token ms" not in other.partition("<thead>")[2].partition("</thead>")[0]
