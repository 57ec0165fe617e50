"""Calls with invalid values: they are stored and shown on the page, but not counted."""

import json
import re
from html import unescape
from typing import Any

import pytest

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Value
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import NOW_NS, id_of, make_span
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import sampled

CALL: dict[str, Value] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
}
GIVEN = "gen_ai.usage.input_tokens"
OUT = "gen_ai.usage.output_tokens"
COST = "gen_ai.usage.cost"
ASKED = "gen_ai.input.messages"


def read(service: Service, project: str, attributes: dict[str, Value]) -> tuple[Any, str]:
    """Store a call; return its JSON and its page."""
    span = make_span("chat", {**CALL, **attributes})
    service.store.writer.write(map_spans([span], Filing(project, NOW_NS, prices=Prices())))
    run = ask(service.app, f"/api/v1/projects/{project}/runs/{id_of(span)}")
    page = ask(service.app, f"/projects/{project}/runs/{id_of(span)}")
    assert (run.status, page.status) == (200, 200)
    return run.json, unescape(page.text)


@sampled(2)
@pytest.mark.parametrize(
    ("name", "value", "tokens"),
    [
        (GIVEN, "many", (None, 5)),
        (GIVEN, -3, (None, 5)),
        (GIVEN, [1, 2], (None, 5)),
        (OUT, "five", (None, None)),
        (COST, -0.5, (None, 5)),
        ("litellm.cost.total", "free", (None, 5)),
    ],
    ids=repr,
)
def test_no_number(
    service: Service, name: str, value: Value, tokens: tuple[int | None, int | None]
) -> None:
    """An invalid number is stored unchanged, named on the page, and not counted."""
    run, page = read(service, "odd", {OUT: 5, name: value})
    assert (run["tokens"]["input"], run["tokens"]["output"]) == tokens
    assert run["cost"] is None
    assert run["attributes"][name] == value
    [note] = re.findall('id="unread">(.*?)</div>', page, re.DOTALL)
    assert f"<code>{name}</code>" in note
    assert "The value is stored, but not counted in any figure." in note


def test_numbers_as_texts(service: Service) -> None:
    """A number sent as text is read as a number, without a note on the page."""
    run, page = read(service, "texts", {GIVEN: "12", OUT: 5.0, COST: "0.5"})
    assert (run["tokens"]["input"], run["tokens"]["output"], run["cost"]) == (12, 5, 0.5)
    assert 'id="unread"' not in page


@sampled(2)
@pytest.mark.parametrize(
    "value", ["no list", '{"role": "user"}', "[1, null, [[]]]", '[{"role": 7, "parts": "x"}]', "["]
)
def test_messages_that_are_none(service: Service, value: str) -> None:
    """Invalid messages are stored unchanged, and their run has a page."""
    run, page = read(service, "messages", {ASKED: value})
    try:
        expected = json.loads(value)
    except ValueError:
        expected = value
    assert run["inputs"] == expected
    assert "<h1>" in page


def test_ten_thousand_parts(service: Service) -> None:
    """A message with 10,000 parts is stored in full, and the size of its page is limited."""
    parts = [{"type": "text", "content": f"part {number}"} for number in range(10_000)]
    asked = [{"role": "user", "parts": parts}]
    run, page = read(service, "parts", {ASKED: json.dumps(asked), GIVEN: 12, OUT: 5})
    assert run["inputs"] == asked
    assert (run["tokens"]["input"], run["tokens"]["output"]) == (12, 5)
    assert len(page) < 2_000_000


def test_judge_call_without_a_run(service: Service) -> None:
    """A judge's call with an invalid id of the scored run has a page without a link to the run."""
    judging: dict[str, Value] = {"otel_ml.judging": "grounded", "otel_ml.judging.run": 7}
    run, page = read(service, "bad-judging", {**judging, "otel_ml.kind": "judge"})
    assert run["kind"] == "judge"
    assert "Scored run" not in page
