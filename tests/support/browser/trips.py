"""Conversations with a model that plans trips, for the pages of chats, roots and sessions."""

import base64
import json
import struct
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.span import Span, Value
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.spans import MS_NS, SECOND_NS, make_call
from tests.support.otel_ml_collector.wire import encode

PROJECT: Final = "trip-desk"
TRIPS: Final = f"/projects/{PROJECT}"
QUESTION: Final = (
    "Is this still on? Do I need an umbrella on Saturday? And give me an entry for my calendar."
)
ANSWER: Final = """\
Yes, it runs until **17 January**. On Saturday it is **dry until 15:00**, then wet:

- 11:00 Orsay, closed on [Mondays](https://example.org/hours) only
- 15:00 stay in, or take an umbrella

| day | rain |
|-----|------|
| Sat | 0.8  |

```
BEGIN:VEVENT
DTSTART:20261128T110000
SUMMARY:Orsay
END:VEVENT
```
<img src="https://example.org/seen.png"> ![poster](https://example.org/poster.png)"""
_THOUGHT: Final = (
    "The poster names Orsay but no last day, and weather changes. Look both up at once."
)
_WEATHER: Final = {"city": "Paris", "day": "2026-11-28"}
_GUIDE: Final = {"query": "Orsay poster exhibition last day", "k": 3}
_CHAT: Final[Mapping[str, Value]] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.request.temperature": 0.2,
    "gen_ai.request.max_tokens": 400,
}


def poster() -> str:
    """Return a picture of 128 by 96 pixels as a data address."""
    rows = b"".join(
        b"\0" + bytes(v for x in range(128) for v in (111, 135, 196 if x > y else 240))
        for y in range(96)
    )

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", 128, 96, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows))
    return f"data:image/png;base64,{base64.b64encode(png + chunk(b'IEND', b'')).decode()}"


def _call(name: str, call_id: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": call_id, "type": "function", "function": function}


MESSAGES: Final[list[dict[str, Any]]] = [
    {"role": "system", "content": "You plan days out in Paris. Look up whatever can change."},
    {"role": "user", "content": "Book me the student fare to Orsay. I am not a student."},
    {
        "role": "assistant",
        "content": None,
        "refusal": "I cannot help with a fare you are not entitled to.",
    },
    {
        "role": "user",
        "content": [
            {"type": "text", "text": QUESTION},
            {"type": "image_url", "image_url": {"url": poster()}},
        ],
    },
    {
        "role": "assistant",
        "reasoning_content": _THOUGHT,
        "tool_calls": [_call("weather", "c1", _WEATHER), _call("guide", "c2", _GUIDE)],
    },
    {"role": "tool", "tool_call_id": "c1", "content": '{"dry_until": "15:00", "rain": 0.8}'},
    {"role": "tool", "tool_call_id": "c2", "content": "3 passages: now showing, hours, left bank"},
]


@dataclass(frozen=True, slots=True)
class Trips:
    """The runs shown on the pages."""

    agent: Span
    reply: Span
    broken: Span
    weather: Span
    guide: Span
    embed: Span
    route: Span


def send_trips(collector: CollectorProcess) -> Trips:
    """Send an agent's run with its calls, and other roots."""
    start_ns = time.time_ns() - 180 * SECOND_NS

    def run(name: str, at: int, took: int, told: Mapping[str, Any], **fields: Any) -> Span:
        """Make a run; `at` and `took` are in milliseconds."""
        attributes = {
            key: json.dumps(value) if key.startswith("otel_ml.") and key.endswith("puts") else value
            for key, value in told.items()
        }
        attributes["otel_ml.model.version"] = name.encode().hex().rjust(16, "0")[-16:]
        times = {
            "start_ns": start_ns + at * MS_NS,
            "end_ns": start_ns + (at + took) * MS_NS,
        }
        return make_call(name, attributes, **{**times, **fields})

    def said(inputs: object, outputs: object, **told: Value) -> dict[str, Any]:
        named = {"kind": "otel_ml.kind"}
        more = {named.get(name, name.replace("__", ".")): value for name, value in told.items()}
        return {"otel_ml.inputs": inputs, "otel_ml.outputs": outputs, **more}

    def used(tokens_in: int, tokens_out: int, cached: int = 0) -> dict[str, Any]:
        found = {
            "gen_ai.usage.input_tokens": tokens_in,
            "gen_ai.usage.output_tokens": tokens_out,
        }
        return found | ({"gen_ai.usage.cache_read.input_tokens": cached} if cached else {})

    def identity(session: str) -> dict[str, Value]:
        return {"session.id": session, "user.id": "u-5114"}

    agent = run(
        "trip_agent",
        0,
        4_408,
        {**said({"question": QUESTION}, ANSWER, kind="agent"), **identity("trip-208")},
    )
    inside = {"trace_id": agent.trace_id, "parent_span_id": agent.span_id}
    title = run(
        "title",
        10,
        604,
        {**_CHAT, **said({"messages": MESSAGES[3:4]}, "Orsay on a wet Saturday")},
        **inside,
    )
    plan = run(
        "plan",
        10,
        2_298,
        {**_CHAT, **used(945, 100), **said({"messages": MESSAGES[:4]}, MESSAGES[4])},
        **inside,
    )
    weather = run(
        "weather",
        2_315,
        212,
        said(_WEATHER, {"dry_until": "15:00", "rain": 0.8}, kind="tool"),
        **inside,
    )
    guide = run(
        "guide",
        2_320,
        85,
        said(_GUIDE, ["now showing", "hours", "left bank"], kind="retriever"),
        **inside,
    )
    broken = run(
        "reply",
        2_540,
        242,
        {
            **_CHAT,
            **said({"messages": MESSAGES}, "Yes, it runs until"),
            "error.type": "openai.APIConnectionError",
        },
        status_code=2,
        status_message="the stream broke off after 5 chunks",
        **inside,
    )
    reply = run(
        "reply",
        2_790,
        1_618,
        {
            **_CHAT,
            **used(3_402, 99, 3_328),
            **said({"messages": MESSAGES}, {"choices": [_choice(ANSWER)]}),
            "otel_ml.stream.chunks": 98,
            "otel_ml.stream.first_chunk_ms": 412.0,
        },
        **inside,
    )
    before = run(
        "trip_agent",
        -60_000,
        1_906,
        {
            **said({"question": MESSAGES[1]["content"]}, MESSAGES[2], kind="agent"),
            **identity("trip-208"),
        },
    )
    limited = run(
        "trip_agent",
        60_000,
        212,
        {
            **said({"question": "Plan three days with two small children"}, None, kind="agent"),
            **identity("trip-209"),
            "error.type": "openai.RateLimitError",
        },
        status_code=2,
        status_message="60 requests a minute, try again in 12 s",
    )
    route = run(
        "route",
        90_000,
        486,
        {
            **_CHAT,
            **used(200, 14),
            **said(
                {"messages": [{"role": "user", "content": "Will it rain in Paris tomorrow?"}]},
                {"role": "assistant", "tool_calls": [_call("weather", "c9", {"city": "Paris"})]},
            ),
        },
    )
    texts = ["Orsay is open late on Thursdays", "Montmartre is steep; take the funicular"]
    vectors = [[(place * 37 % 101) / 101 - 0.5 for place in range(256)] for _ in texts]
    embed = run(
        "embed",
        80_000,
        93,
        {
            **said({"texts": texts}, vectors, kind="embedding"),
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "text-embedding-3-small",
            "gen_ai.usage.input_tokens": 38,
        },
    )
    summary = run(
        "summarise_itinerary_stream",
        20_000,
        3_377,
        {
            **_CHAT,
            **used(2_800, 118),
            **said(
                {"messages": [{"role": "user", "content": "Sum up three days for a message."}]},
                "Day 1: Montmartre on foot. Day 2: the Louvre. Day 3: Versailles.",
            ),
        },
    )
    spans = [agent, title, plan, weather, guide, broken, reply, before, limited, route, embed]
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": PROJECT}
    collector.deliver(encode([*spans, summary]), headers)
    return Trips(agent, reply, broken, weather, guide, embed, route)


def _choice(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {"index": 0, "message": message, "finish_reason": "stop"}
