"""Requests of a full project: four dialects by several scopes, traces of 4 to 20 spans in parts.

A trace is the work of an agent. Its model calls are recorded by the otel-ml decorator, and often
once more by an instrumentation below. Half of its spans come with the next request.
"""

import random
import re
import secrets
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.bench.payload import SPANS, fill_attributes, find_text, make_messages

OWN: Final = "otel_ml"
GEN_AI: Final = "opentelemetry.instrumentation.openai_v2"
OPENINFERENCE: Final = "openinference.instrumentation.openai"
PLAIN: Final = "opentelemetry.instrumentation.requests"

_SHORTEST, _LONGEST = 4, 20
_RECORDED_TWICE: Final = 0.5
_MS: Final = 10**6
# Placeholders of ids and times until a request is sent; no text of a span has such bytes.
_TRACE: Final = re.compile(rb"\xaa\xabTRACE-(\d{8})", re.DOTALL)
_SPAN: Final = re.compile(rb"\xaaS(\d{6})", re.DOTALL)
_TIMES: Final = re.compile(rb"\x39(.{6})\x5a\x5a\x41(.{6})\x5a\x5a", re.DOTALL)
_BASE: Final = 0x5A5A << 48

Attributes = Mapping[str, str | float]


class MadeSpan(NamedTuple):
    """A span of a synthetic trace; ids are numbers, times are nanoseconds since the trace began."""

    scope: str
    name: str
    number: int
    parent: int | None
    start_ns: int
    end_ns: int
    attributes: Attributes


class FullTemplate:
    """Serialised requests, each with the second half of the traces that the previous one began.

    Attributes:
        bytes: Size of a request.
        spans: Spans per request.
        counted: The share of spans that count as runs: no plain spans, no second records.
    """

    def __init__(self, project: str, spans: int = SPANS) -> None:
        first, rest = ExportTraceServiceRequest(), ExportTraceServiceRequest()
        self.spans, counted = 0, 0
        for number, trace in enumerate(_make_traces(spans)):
            for place, span in enumerate(trace):
                _add(rest if place % 2 else first, project, number, span)
            self.spans += len(trace)
            counted += sum(span.scope in {OWN, OPENINFERENCE} for span in trace)
        self.counted = counted / self.spans
        self._first, self._rest = (_Part(part.SerializeToString()) for part in (first, rest))
        self._before = secrets.token_bytes(16), time.time_ns()
        self.bytes = self._first.bytes + self._rest.bytes

    def fresh(self) -> bytes:
        """Return a request that begins new traces and completes those of the previous request."""
        now = secrets.token_bytes(16), time.time_ns()
        before, self._before = self._before, now
        return self._first.fill(*now) + self._rest.fill(*before)


class _Part:
    """A serialised request; two concatenated ones are one request with the spans of both."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._traces = [(match.start(), int(match[1])) for match in _TRACE.finditer(body)]
        self._spans = [(match.start(), int(match[1])) for match in _SPAN.finditer(body)]
        self._times = [
            (match.start(place), int.from_bytes(match[place], "little"))
            for match in _TIMES.finditer(body)
            for place in (1, 2)
        ]
        self._last = max((number for _, number in self._traces), default=0)
        self.bytes = len(body)

    def fill(self, secret: bytes, began_ns: int) -> bytes:
        """Fill in times, and ids that depend only on the secret."""
        body = bytearray(self._body)
        chance = random.Random(secret)  # noqa: S311 - guards nothing
        prefixes = [chance.randbytes(12) for _ in range(1 + self._last)]
        for at, number in self._traces:
            body[at : at + 16] = prefixes[number] + struct.pack(">I", number)
        for at, number in self._spans:
            body[at : at + 8] = secret[:4] + struct.pack(">I", number)
        for at, offset_ns in self._times:
            body[at : at + 8] = struct.pack("<Q", began_ns + offset_ns)
        return bytes(body)


def _make_traces(spans: int) -> Iterator[Sequence[MadeSpan]]:
    """Make traces with a total number of spans, the same ones each time."""
    chance = random.Random(37)  # noqa: S311 - guards nothing
    made = 0
    while made < spans:
        size = min(chance.randint(_SHORTEST, _LONGEST), spans - made)
        trace = list(make_trace(chance, size, first=made))
        made += len(trace)
        yield trace


def make_trace(chance: random.Random, size: int, first: int = 0) -> Iterator[MadeSpan]:
    """Make the work of an agent: sequential calls, each recorded once or twice.

    Args:
        chance: Draws sizes and texts.
        size: How many spans to make.
        first: The number of its root; the others follow.
    """
    told: Attributes
    root_ms = 200 * size
    agent: Attributes = {
        "otel_ml.kind": "agent",
        "otel_ml.model.name": "work",
        "otel_ml.inputs": '{"question":"why"}',
        "session.id": f"session-{chance.randrange(50)}",
    }
    yield MadeSpan(OWN, "work", first, None, 0, root_ms * _MS, agent)
    number = first + 1
    while number < first + size:
        start_ns = (number - first) * 100 * _MS
        end_ns = start_ns + 90 * _MS
        draw, is_room = chance.random(), number + 1 < first + size
        if draw < 0.25:
            told = {"http.request.method": "GET", "url.full": "https://example.test/search"}
            yield MadeSpan(PLAIN, "GET", number, first, start_ns, end_ns, told)
        elif draw < 0.5 or not is_room:
            call = _openinference_call(chance)
            yield MadeSpan(OPENINFERENCE, "ChatCompletion", number, first, start_ns, end_ns, call)
        else:
            used = 300 + chance.randrange(100), 160 + chance.randrange(50)
            told = {
                "otel_ml.kind": "model",
                "otel_ml.model.name": "answer",
                **_gen_ai_call(chance, *used),
            }
            yield MadeSpan(OWN, "answer", number, first, start_ns, end_ns, told)
            if chance.random() < _RECORDED_TWICE:
                number += 1
                times = start_ns + _MS, end_ns - _MS
                told = _gen_ai_call(chance, *used)
                yield MadeSpan(GEN_AI, "chat gpt-4o-mini", number, number - 1, *times, told)
        number += 1


def _gen_ai_call(chance: random.Random, input_tokens: int, output_tokens: int) -> Attributes:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.input.messages": make_messages("user", find_text(chance.randrange(10**6), 1_500)),
        "gen_ai.output.messages": make_messages("assistant", find_text(input_tokens * 97, 800)),
        "gen_ai.usage.input_tokens": input_tokens,
        "gen_ai.usage.output_tokens": output_tokens,
    }


def _openinference_call(chance: random.Random) -> Attributes:
    place = chance.randrange(10**6)
    return {
        "openinference.span.kind": "LLM",
        "llm.provider": "openai",
        "llm.model_name": "gpt-4o-mini",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": find_text(place, 1_500),
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": find_text(place + 3_000, 800),
        "llm.token_count.prompt": 300 + place % 100,
        "llm.token_count.completion": 160 + place % 50,
    }


def _add(request: ExportTraceServiceRequest, project: str, trace: int, made: MadeSpan) -> None:
    """Add a span to a request, in the batch of its scope."""
    if not request.resource_spans:
        fill_attributes(request.resource_spans.add().resource.attributes, {"service.name": "bench"})
    batches = request.resource_spans[0].scope_spans
    batch = next((batch for batch in batches if batch.scope.name == made.scope), None)
    if batch is None:
        batch = batches.add()
        batch.scope.name = made.scope
    span = batch.spans.add(
        trace_id=b"\xaa\xabTRACE-%08d" % trace,
        span_id=b"\xaaS%06d" % made.number,
        parent_span_id=b"" if made.parent is None else b"\xaaS%06d" % made.parent,
        name=made.name,
        kind=Span.SPAN_KIND_CLIENT if made.parent is not None else Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=_BASE + made.start_ns,
        end_time_unix_nano=_BASE + made.end_ns,
    )
    fill_attributes(span.attributes, {"otel_ml.project": project, **made.attributes})
