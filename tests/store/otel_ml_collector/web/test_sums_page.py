"""The line of totals above a list of runs."""

import re
from html import unescape

import pytest

from otel_ml_collector.span import Value
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import NOW_NS, make_span
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import sampled

PREDICTION: dict[str, Value] = {"otel_ml.kind": "model", "otel_ml.inputs": "1"}
CHAT: dict[str, Value] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 5,
}


@sampled(1)
@pytest.mark.parametrize(
    ("attributes", "roots", "expected"),
    [
        (PREDICTION, "", ""),
        (PREDICTION, "roots=1", "1 call in total"),
        (CHAT, "", "17 tokens"),
        (CHAT, "roots=1", "1 call in total · 17 tokens"),
    ],
    ids=["calls", "requests", "calls with tokens", "requests with tokens"],
)
def test_without_latency(
    service: Service, project: str, attributes: dict[str, Value], roots: str, expected: str
) -> None:
    """Runs without a duration, such as rows of a table, have amounts but no p95."""
    span = make_span("call", attributes, end_ns=NOW_NS)
    service.store.take(project, span)
    page = ask(service.app, f"/projects/{project}/sums?{roots}")
    assert page.status == 200
    text = re.sub(r"<[^>]*>", "", unescape(page.text))
    assert " ".join(text.split()) == expected
