"""Traces of an agent that researches a question, for the page of a trace."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from otel_ml_collector.span import Scope, Span, Value
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.spans import MS_NS, SECOND_NS, make_call
from tests.support.otel_ml_collector.wire import encode

PROJECT: Final = "research-agent"
RESEARCH: Final = f"/projects/{PROJECT}"
QUESTION: Final = "How did negative power prices develop in DE-LU between 2022 and 2026?"
ANSWER: Final = "Negative prices rose from **69 hours** in 2022 to **573 hours** in 2025."
MESSAGE: Final = (
    "no bytes for 5.0 s while reading https://exchange.example/market-data (try 1 of 1)"
)
_RESEARCH_SCOPE: Final = Scope({"service.name": "research"}, "tests", "1", {})
_SITES: Final = ("exchange.example/market-data", "grid.example/prices", "agency.example/archive")


@dataclass(slots=True)
class Research:
    """The spans of one question, in the order of time.

    Attributes:
        at_ms: When the next span starts, in ms after the start of the trace.
    """

    name: str
    now_ns: int
    at_ms: int = 0
    spans: list[Span] = field(default_factory=list)
    root: Span = field(init=False)

    def __post_init__(self) -> None:
        """Start the agent."""
        self.root = make_call(
            self.name,
            {
                "otel_ml.kind": "agent",
                "otel_ml.inputs": json.dumps({"question": QUESTION}),
                "otel_ml.outputs": json.dumps(ANSWER),
            },
            start_ns=self.now_ns,
            end_ns=self.now_ns + MS_NS,
            scope=_RESEARCH_SCOPE,
        )

    def add(
        self,
        name: str,
        kind: str,
        length_ms: int,
        attributes: Mapping[str, Value],
        parent: Span | None = None,
        **fields: Any,
    ) -> Span:
        """Add a span below another one; without a parent, the clock moves to its end."""
        start_ns = self.now_ns + self.at_ms * MS_NS
        above = parent or self.root
        span = make_call(
            name,
            {"otel_ml.kind": kind, **attributes},
            trace_id=self.root.trace_id,
            parent_span_id=above.span_id,
            start_ns=start_ns,
            end_ns=start_ns + length_ms * MS_NS,
            scope=_RESEARCH_SCOPE,
            **fields,
        )
        self.spans.append(span)
        if parent is None:
            self.at_ms += length_ms
        return span

    def think(
        self, text: str, *calls: tuple[str, dict[str, Any]], parent: Span | None = None
    ) -> Span:
        """Add a call of the model that returns a text and calls of tools."""
        parts: list[dict[str, Any]] = [{"type": "text", "content": text}]
        parts += [
            {"type": "tool_call", "id": f"c{len(self.spans)}", "name": name, "arguments": arguments}
            for name, arguments in calls
        ]
        messages = [{"role": "user", "parts": [{"type": "text", "content": QUESTION}]}]
        return self.add(
            "gpt-4o",
            "model",
            900,
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o",
                "gen_ai.usage.input_tokens": 8_000,
                "gen_ai.usage.output_tokens": 60,
                "gen_ai.input.messages": json.dumps(messages),
                "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": parts}]),
            },
            parent,
        )

    def search(self, query: str, *, fails: bool = False) -> None:
        """Add a search that finds three passages."""
        tool = self.add("web_search", "tool", 1_100, _values({"query": query}), **_failed(fails))
        passages = [
            {"content": "Hours with negative prices: 69 in 2022, 301 in 2023", "score": 0.91},
            {"content": "Day-ahead auction results by bidding zone", "score": 0.84},
            {"content": "Why prices fall below zero on Sundays", "score": 0.62},
        ]
        self.at_ms -= 1_000
        self.add("vector_search", "retriever", 40, _values({"query": query}, passages), tool)
        self.at_ms += 1_000

    def fetch(self, site: str, length_ms: int = 1_600, *, fails: bool = False) -> Span:
        """Add a fetch of a page."""
        given = {"url": f"https://{site}", "timeout": 5}
        return self.add(
            "fetch_page",
            "tool",
            length_ms,
            _values(given, None if fails else "<html>…"),
            **_failed(fails),
        )

    def ask_coder(self) -> None:
        """Add an agent inside a tool, whose first attempt fails."""
        tool = self.add(
            "ask_coder", "tool", 1_060, _values({"task": "count hours below 0 by year"}, "69")
        )
        self.at_ms -= 1_000
        coder = self.add("coder", "agent", 900, _values({"task": "count hours"}, "69"), tool)
        self.think(
            "Group the series by year.", ("run_python", {"code": "neg.t.year"}), parent=coder
        )
        for code, fails in (("neg.t.dayofweek", True), ("neg.t.dt.year.value_counts()", False)):
            result = None if fails else "2022 69 · 2023 301"
            self.at_ms += 300
            self.add(
                "run_python", "tool", 40, _values({"code": code}, result), coder, **_failed(fails)
            )
        self.at_ms += 400

    def finish(self) -> list[Span]:
        """End the agent with its answer, and return all spans."""
        self.think(ANSWER)
        end_ns = self.now_ns + self.at_ms * MS_NS
        fields = {name: getattr(self.root, name) for name in Span.__slots__}
        return [Span(**{**fields, "end_ns": end_ns}), *self.spans]


def _values(given: object, result: object = "ok") -> dict[str, Value]:
    values: dict[str, Value] = {"otel_ml.inputs": json.dumps(given)}
    return values if result is None else {**values, "otel_ml.outputs": json.dumps(result)}


def _failed(fails: bool) -> dict[str, Any]:
    return {"status_code": 2, "status_message": MESSAGE} if fails else {}


def make_research(
    rounds: int = 40, name: str = "researcher", now_ns: int | None = None
) -> Research:
    """Make the trace of an agent: about 6 spans for each round. It started ten minutes ago."""
    research = Research(name, now_ns or time.time_ns() - 600 * SECOND_NS)
    for number in range(rounds):
        research.think(
            "The yearly counts should come from a primary source.",
            ("web_search", {"query": "negative hours DE-LU"}),
        )
        research.search("negative hours DE-LU by year", fails=number % 9 == 4)
        research.think(
            "The exchange publishes the hours. Fetch its table.", ("fetch_page", {"url": _SITES[0]})
        )
        research.fetch(_SITES[number % 3], 5_300 if number == 1 else 1_600, fails=number % 5 == 1)
        if number % 4 == 1:
            research.ask_coder()
    return research


def send_research(
    collector: CollectorProcess, research: Research, project: str = PROJECT
) -> list[Span]:
    """Send the trace of an agent and return its spans; the first is the agent."""
    spans = research.finish()
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": project}
    for first in range(0, len(spans), 1_000):
        collector.deliver(encode(spans[first : first + 1_000]), headers)
    return spans
