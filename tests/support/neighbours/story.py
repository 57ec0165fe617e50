"""The spans for both programs: every type of value, status, kind, event and link, and ours."""

import json
import time
from typing import Final

from otel_ml_collector.span import Event, Link, Scope, Span, Value
from tests.support.otel_ml_collector.spans import make_span, span_id

# Jaeger would write ids with a zero first half without it.
_HIGH: Final = 0xABC << 64
MS: Final = 10**6
SECOND: Final = 10**9
PROJECT: Final = "neighbours"
# Longer than a preview, shorter than the attribute limit here.
QUESTION: Final = "why? " * 600
ANSWER: Final = "because " * 400

SHOP: Final = Scope(
    {
        "service.name": "shop",
        "host.name": "a",
        "replicas": 3,
        "ratio": 0.25,
        "spare": True,
        "zones": ["x", "y"],
        "rack": "",
    },
    "lib.shop",
    "1.2",
    {"scope.team": "blue", "scope.level": 7},
    schema_url="https://shop.example/scope/1",
    dropped_attributes=3,
    resource_schema_url="https://shop.example/resource/1",
    resource_dropped_attributes=2,
)
BANK: Final = Scope({"service.name": "bank", "host.name": "b"}, "lib.bank", "2.0", {})
MODELS: Final = Scope({"service.name": "models"}, "otel_ml", "1.0", {})
# A client and a server that share a span id, as in Zipkin.
TILL: Final = Scope({"service.name": "till"}, "lib.till", "", {})
LEDGER: Final = Scope({"service.name": "ledger"}, "lib.ledger", "", {})
NAMELESS: Final = Scope({"host.name": "c"}, "lib", "", {})

VALUES: Final[dict[str, Value]] = {
    "a.text": "plain",
    "a.spaces": "two words: 100 % [x]",
    "a.accents": "Grüße, 東京",
    "a.empty": "",
    "a.number": 42,
    "a.negative": -7,
    "a.zero": 0,
    "a.large": 2**60,
    "a.half": 0.5,
    "a.whole": 2.0,
    "a.tiny": 1.5e-7,
    "a.huge": 2.5e21,
    "a.true": True,
    "a.false": False,
    "a.bytes": b"\x00\xff\x10",
    "a.texts": ["a", "b"],
    "a.numbers": [1, 2, 3],
    "a.floats": [0.5, 1.0, 2.5e21],
    "a.bools": [True, False],
    "a.nothing": [],
    "a.map": {"inner": {"deep": 1}, "list": [1, "x"]},
    "a.markup": "<b>&amp;</b>",
    "http.response.status_code": 200,
}
OURS: Final[dict[str, Value]] = {
    "otel_ml.project": PROJECT,
    "otel_ml.kind": "model",
    "otel_ml.model.name": "answer",
    "otel_ml.model.version": "0123456789abcdef",
    "otel_ml.model.output_schema": "fedcba9876543210",
    "otel_ml.inputs": json.dumps({"question": QUESTION}),
    "otel_ml.inputs.preview": json.dumps({"question": QUESTION[:200]}),
    "otel_ml.outputs": json.dumps(ANSWER),
    "otel_ml.outputs.preview": json.dumps(ANSWER[:200]),
    "otel_ml.latency_ms": 250.0,
    "otel_ml.outcome": "ok",
    "otel_ml.params": json.dumps({"k": 3}),
    "otel_ml.tag.client": "bigshot",
    "otel_ml.tag.tier": 2,
    "otel_ml.tag.ratio": 0.5,
    "otel_ml.tag.paid": True,
    "otel_ml.score.grounded": 0.75,
    "otel_ml.passed.grounded": True,
    "otel_ml.judges": json.dumps({"grounded": {"version": "00000000000000aa"}}),
    "otel_ml.trace_key": "order-17",
    "otel_ml.process": "0000000a",
    "otel_ml.seq": 1,
    "session.id": "s-1",
    "user.id": "u-1",
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-x",
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 5,
}


def trace_id(number: int) -> bytes:
    """Make an id of 128 bits."""
    return (_HIGH | number).to_bytes(16)


def make_story(now_ns: int | None = None) -> list[Span]:
    """Make ten spans of six traces that began a minute ago."""
    start = (time.time_ns() if now_ns is None else now_ns) // SECOND * SECOND - 60 * SECOND
    order = make_span(
        "order",
        VALUES,
        trace_id=trace_id(0x101),
        span_id=span_id(1),
        kind=2,
        start_ns=start,
        end_ns=start + 250 * MS,
        status_code=1,
        scope=SHOP,
        events=[
            Event("retry", start + 5 * MS, {"attempt": 2, "why": "busy"}),
            Event("bare", start + 6 * MS, {}, 6),
        ],
        links=[
            Link(trace_id(0x104), span_id(7), {"link.reason": "batch"}, "vendor=there", 0x301, 4)
        ],
        otlp={
            "trace_state": "vendor=here,other=1",
            "flags": 0x101,
            "dropped_attributes_count": 9,
            "dropped_events_count": 8,
            "dropped_links_count": 7,
        },
    )
    pay = make_span(
        "pay",
        {"error.type": "NoMoney", "peer": "bank"},
        trace_id=trace_id(0x101),
        span_id=span_id(2),
        parent_span_id=span_id(1),
        kind=3,
        start_ns=start + 10 * MS,
        end_ns=start + 30 * MS,
        status_code=2,
        status_message="no money",
        scope=BANK,
        events=[
            Event(
                "exception",
                start + 29 * MS,
                {
                    "exception.type": "NoMoney",
                    "exception.message": "the account is empty",
                    "exception.stacktrace": "Traceback: here",
                },
            )
        ],
    )
    store = make_span(
        "store",
        {"messaging.system": "kafka"},
        trace_id=trace_id(0x101),
        span_id=span_id(3),
        parent_span_id=span_id(2),
        kind=4,
        start_ns=start + 12 * MS,
        end_ns=start + 13 * MS,
        scope=BANK,
    )
    answer = make_span(
        "answer",
        OURS,
        trace_id=trace_id(0x102),
        span_id=span_id(4),
        start_ns=start + SECOND,
        end_ns=start + SECOND + 250 * MS,
        scope=MODELS,
    )
    failed = make_span(
        "answer",
        {
            "otel_ml.project": PROJECT,
            "otel_ml.kind": "model",
            "otel_ml.model.name": "answer",
            "otel_ml.model.version": "0123456789abcdef",
            "otel_ml.inputs": '{"question": "how?"}',
            "otel_ml.outcome": "error",
            "otel_ml.latency_ms": 1.5,
            "error.type": "ValueError",
        },
        trace_id=trace_id(0x103),
        span_id=span_id(5),
        start_ns=start + 2 * SECOND,
        end_ns=start + 2 * SECOND + 1_500_000,
        status_code=2,
        status_message="ValueError: no idea",
        scope=MODELS,
        events=[
            Event(
                "exception",
                start + 2 * SECOND + MS,
                {"exception.type": "ValueError", "exception.message": "no idea"},
            )
        ],
    )
    take = make_span(
        "take",
        {"messaging.system": "kafka"},
        trace_id=trace_id(0x104),
        span_id=span_id(6),
        kind=5,
        start_ns=start + 3 * SECOND,
        end_ns=start + 5 * SECOND,
        scope=BANK,
    )
    lone = make_span(
        "lone",
        {"alone": True},
        trace_id=trace_id(0x105),
        span_id=span_id(8),
        kind=0,
        start_ns=start + 4 * SECOND,
        end_ns=start + 4 * SECOND,
        scope=NAMELESS,
    )
    ends = [
        make_span(
            "charge",
            {"end": scope.name},
            trace_id=trace_id(0x106),
            span_id=span_id(9),
            kind=kind,
            start_ns=start + 6 * SECOND + later_ns,
            end_ns=start + 7 * SECOND - later_ns,
            scope=scope,
        )
        for scope, kind, later_ns in ((TILL, 3, 0), (LEDGER, 2, MS))
    ]
    write = make_span(
        "write",
        {"table": "charges"},
        trace_id=trace_id(0x106),
        span_id=span_id(10),
        parent_span_id=span_id(9),
        start_ns=start + 6 * SECOND + 2 * MS,
        scope=LEDGER,
    )
    return [order, pay, store, answer, failed, take, lone, *ends, write]
