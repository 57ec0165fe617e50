"""Requests of LLM-like spans: about 2.9 KB and 12 attributes each, with text of the Python docs."""

import re
import secrets
import time
from collections.abc import Mapping, MutableSequence
from functools import cache
from pydoc_data.topics import topics
from typing import Final

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

SPANS: Final = 512
_TRACE_ID: Final = b"\xaaTRACE-ID-HERE-\xaa"
_SPAN_ID: Final = b"\xaaSPAN-I\xaa"
_INPUT_CHARS: Final = 1_500
_OUTPUT_CHARS: Final = 800


class Template:
    """A serialised request whose ids are replaced each time without encoding it again."""

    def __init__(self, project: str, spans: int = SPANS) -> None:
        self._body = _request(project, spans).SerializeToString()
        self._traces = [match.start() for match in re.finditer(re.escape(_TRACE_ID), self._body)]
        self._spans = [match.start() for match in re.finditer(re.escape(_SPAN_ID), self._body)]
        assert len(self._traces) == len(self._spans) == spans
        self.bytes = len(self._body)

    def fresh(self) -> bytes:
        """Return the request with new ids."""
        body = bytearray(self._body)
        ids = secrets.token_bytes(24 * len(self._traces))
        for number, (trace, span) in enumerate(zip(self._traces, self._spans, strict=True)):
            at = 24 * number
            body[trace : trace + 16] = ids[at : at + 16]
            body[span : span + 8] = ids[at + 16 : at + 24]
        return bytes(body)


@cache
def _text() -> str:
    return " ".join(" ".join(text.split()) for _, text in sorted(topics.items()))


def find_text(place: int, chars: int) -> str:
    """Cut a text out of the reference at a position, which wraps around."""
    at = place % (len(_text()) - chars)
    return _text()[at : at + chars]


def _request(project: str, spans: int) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.append(_attribute("service.name", "bench"))
    batch = resource_spans.scope_spans.add()
    batch.scope.name = "bench"
    text = _text()
    start_ns = time.time_ns()
    for number in range(spans):
        at = (number * 977) % (len(text) - _INPUT_CHARS - _OUTPUT_CHARS)
        question = text[at : at + _INPUT_CHARS]
        answer = text[at + _INPUT_CHARS : at + _INPUT_CHARS + _OUTPUT_CHARS]
        span = batch.spans.add()
        span.trace_id, span.span_id = _TRACE_ID, _SPAN_ID
        span.name = "chat gpt-4o-mini"
        span.kind = span.SPAN_KIND_CLIENT
        span.start_time_unix_nano = start_ns + number * 1000
        span.end_time_unix_nano = span.start_time_unix_nano + 150_000_000 + number * 10_000
        told: dict[str, str | float] = {
            "otel_ml.project": project,
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
            "gen_ai.conversation.id": f"conversation-{number % 50}",
            "gen_ai.input.messages": make_messages("user", question),
            "gen_ai.output.messages": make_messages("assistant", answer),
            "otel_ml.tag.client": ("bigshot", "acme", "internal")[number % 3],
            "gen_ai.request.temperature": 0.2,
            "gen_ai.usage.input_tokens": 300 + number % 100,
            "gen_ai.usage.output_tokens": 160 + number % 50,
        }
        fill_attributes(span.attributes, told)
    return request


def make_messages(role: str, text: str) -> str:
    message = {"role": role, "parts": [{"type": "text", "content": text}]}
    return orjson.dumps([message]).decode()


def fill_attributes(
    attributes: MutableSequence[KeyValue], values: Mapping[str, str | float]
) -> None:
    """Append attributes to a list of a message."""
    attributes.extend(_attribute(key, value) for key, value in values.items())


def _attribute(key: str, value: str | float) -> KeyValue:
    if isinstance(value, str):
        return KeyValue(key=key, value=AnyValue(string_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    return KeyValue(key=key, value=AnyValue(double_value=value))
