"""Sends the story of a function of which both versions answered the same inputs.

Version 2 of `estimate` fails the judge `near` for half of the inputs that version 1 passed, and
passes a few that version 1 failed.
"""

import json
import time
from collections.abc import Iterator
from typing import Final
from urllib.request import Request, urlopen

from otel_ml_collector.span import Scope, Span, Value
from tests.support.otel_ml_collector.spans import DAY_NS, MS_NS, SECOND_NS, make_span, trace_id
from tests.support.otel_ml_collector.wire import encode

PROJECT: Final = "prices"
INPUTS: Final = 200
_HOURS: Final = 40
_FIRST_TRACE: Final = 77_000_000


def make_prices(now_ns: int) -> Iterator[Span]:
    """Make the runs: v1 answers all inputs within 40 hours, then v2 the same inputs."""
    scope = Scope({"service.name": PROJECT, "otel_ml.project": PROJECT}, "tests", "1", {})
    step_ns = _HOURS * 3600 * SECOND_NS // INPUTS
    for version in (1, 2):
        for number in range(INPUTS):
            is_first = version == 1
            passes = number % 10 != 9 if is_first else number % 2 == 1
            at_ns = now_ns - (4 if is_first else 2) * DAY_NS + number * step_ns
            attributes: dict[str, Value] = {
                "otel_ml.model.name": "estimate",
                "otel_ml.model.version": f"{version:016x}",
                "otel_ml.model.definition": json.dumps({"source": f"MARGIN = {version}"}),
                "otel_ml.inputs": json.dumps({"house": number}),
                "otel_ml.outputs": json.dumps(f"{'near' if passes else 'far'} {number}"),
                "otel_ml.score.near": float(passes),
                "otel_ml.passed.near": passes,
                "otel_ml.judges": json.dumps({"near": {"version": "00000000000000aa"}}),
                "session.id": f"visit-{version}-{number}",
            }
            yield make_span(
                "estimate",
                attributes,
                scope=scope,
                trace_id=trace_id(_FIRST_TRACE + version * 1_000 + number),
                start_ns=at_ns,
                end_ns=at_ns + 5 * MS_NS,
            )


def send_prices(endpoint: str) -> None:
    """Send the story to the collector at this address."""
    headers = {"Content-Type": "application/x-protobuf"}
    body = encode([*make_prices(time.time_ns())])
    with urlopen(Request(f"{endpoint}/v1/traces", body, headers), timeout=60) as response:
        assert response.status == 200
