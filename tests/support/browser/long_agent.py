"""Sends an agent's run of 290 spans to a collector: most are short, and one tool call is slow."""

import json
import time
from collections.abc import Iterator
from typing import Final
from urllib.request import Request, urlopen

from otel_ml_collector.span import Scope, Span, Value
from tests.support.otel_ml_collector.spans import MS_NS, SECOND_NS, make_span, span_id, trace_id
from tests.support.otel_ml_collector.wire import encode

PROJECT: Final = "planner"
SLOWEST: Final = "search_flights"
SPANS: Final = 290
_TRACE: Final = 290_290
_SLOW_STEP: Final = 171
_TOOLS: Final = ("search_hotels", "read_map", "check_visa")


def make_long_agent(now_ns: int) -> Iterator[Span]:
    """Make the spans: the agent asks an LLM and calls a tool in turn, 289 times in total."""
    scope = Scope({"service.name": PROJECT, "otel_ml.project": PROJECT}, "tests", "1", {})
    at_ns = start_ns = now_ns - 120 * SECOND_NS
    for step in range(1, SPANS):
        is_slow = step == _SLOW_STEP
        took_ns = 9 * SECOND_NS if is_slow else (20 + step % 7) * MS_NS
        tool = SLOWEST if is_slow else _TOOLS[step % len(_TOOLS)]
        chat: dict[str, Value] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.input_tokens": 900,
            "gen_ai.usage.output_tokens": 40,
        }
        call: dict[str, Value] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.call.arguments": json.dumps({"step": step}),
        }
        is_call = step % 2 == 1
        yield make_span(
            f"execute_tool {tool}" if is_call else "chat gpt-4o-mini",
            call if is_call else chat,
            scope=scope,
            trace_id=trace_id(_TRACE),
            span_id=span_id(_TRACE + step),
            parent_span_id=span_id(_TRACE),
            start_ns=at_ns,
            end_ns=at_ns + took_ns,
        )
        at_ns += took_ns + MS_NS
    yield make_span(
        "invoke_agent planner",
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"},
        scope=scope,
        trace_id=trace_id(_TRACE),
        span_id=span_id(_TRACE),
        start_ns=start_ns,
        end_ns=at_ns,
    )


def send_long_agent(endpoint: str) -> None:
    """Send the run to the collector at this address."""
    headers = {"Content-Type": "application/x-protobuf"}
    body = encode([*make_long_agent(time.time_ns())])
    with urlopen(Request(f"{endpoint}/v1/traces", body, headers), timeout=60) as response:
        assert response.status == 200
