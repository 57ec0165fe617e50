"""Requests of LLM-like spans: about 2.9 KB and 12 attributes each, with text of the Python docs."""

import re
import secrets
import time
from collections import deque
from collections.abc import Mapping, MutableSequence, Sequence
from functools import cache
from pydoc_data.topics import topics
from typing import Final

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

SPANS: Final = 512
_TRACE_ID: Final = b"\xaaTRACE-ID-HERE-\xaa"
_SPAN_ID: Final = b"\xaaSPAN-I\xaa"
_SCORE_ID: Final = b"\xaaSCORE-\xaa"
# Every fourth run gets a score after it was stored.
SCORED: Final = 4
_INPUT_CHARS: Final = 1_500
_OUTPUT_CHARS: Final = 800


class Template:
    """A serialised request whose ids are replaced each time without encoding it again."""

    def __init__(self, project: str, spans: int = SPANS) -> None:
        self._body = _request(project, spans).SerializeToString()
        self._traces, self._spans = (
            _find_all(_TRACE_ID, self._body),
            _find_all(_SPAN_ID, self._body),
        )
        assert len(self._traces) == len(self._spans) == spans
        self.bytes = len(self._body)

    def fresh(self) -> bytes:
        """Return the request with new ids."""
        return self.fill(self.draw_ids())

    def draw_ids(self) -> bytes:
        """Return new ids for `fill`: 16 bytes for the trace of each span, then 8 for the span."""
        return secrets.token_bytes(24 * len(self._traces))

    def fill(self, ids: bytes) -> bytes:
        """Return the request with these ids."""
        return _put_ids(self._body, self._traces, self._spans, ids)


class ScoredTemplate:
    """Requests whose runs get scores later: a judge's score of every fourth run.

    Args:
        project: The project of the spans.
        spans: Runs per request.
        delay: How many requests later the scores of a request's runs are sent. With as many as are
            in flight, almost all of these runs are stored by then.

    Attributes:
        bytes: Size of a request, with the scores.
    """

    def __init__(self, project: str, spans: int = SPANS, delay: int = 1) -> None:
        self._runs = Template(project, spans)
        self._scores = _score_request(project, spans).SerializeToString()
        self._targets = [_find_all(mark, self._scores) for mark in (_TRACE_ID, _SPAN_ID)]
        self._own = _find_all(_SCORE_ID, self._scores)
        self._waiting = deque[bytes]()
        self._delay = delay
        self.bytes = self._runs.bytes + len(self._scores)

    def fresh(self) -> bytes:
        """Return a request of new runs, with the scores of those of an earlier request."""
        ids = self._runs.draw_ids()
        self._waiting.append(ids)
        runs = self._runs.fill(ids)
        return runs if len(self._waiting) <= self._delay else runs + self._score()

    def _score(self) -> bytes:
        every = self._waiting.popleft()
        traces, spans = self._targets
        scored = b"".join(every[at : at + 24] for at in range(0, len(every), 24 * SCORED))
        body = bytearray(_put_ids(self._scores, traces, spans, scored))
        own = secrets.token_bytes(8 * len(self._own))
        for number, at in enumerate(self._own):
            body[at : at + 8] = own[8 * number : 8 * number + 8]
        return bytes(body)


def _find_all(mark: bytes, body: bytes) -> Sequence[int]:
    return [match.start() for match in re.finditer(re.escape(mark), body)]


def _put_ids(body: bytes, traces: Sequence[int], spans: Sequence[int], ids: bytes) -> bytes:
    """Put ids of traces and spans at their places."""
    filled = bytearray(body)
    for number, (trace, span) in enumerate(zip(traces, spans, strict=True)):
        at = 24 * number
        filled[trace : trace + 16] = ids[at : at + 16]
        filled[span : span + 8] = ids[at + 16 : at + 24]
    return bytes(filled)


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


def _score_request(project: str, spans: int) -> ExportTraceServiceRequest:
    """Make a judge's scores of every fourth run of a request."""
    request = ExportTraceServiceRequest()
    batch = request.resource_spans.add().scope_spans.add()
    batch.scope.name = "otel_ml"
    start_ns = time.time_ns()
    for number in range(0, spans, SCORED):
        span = batch.spans.add()
        span.trace_id, span.parent_span_id, span.span_id = _TRACE_ID, _SPAN_ID, _SCORE_ID
        span.name = "evaluation"
        span.start_time_unix_nano = span.end_time_unix_nano = start_ns
        told: dict[str, str | float] = {
            "otel_ml.project": project,
            "otel_ml.record": "evaluation",
            "otel_ml.judge.name": "grounded",
            "otel_ml.judge.version": "00000000000000aa",
            "otel_ml.score.value": number % 10 / 10,
            "otel_ml.passed": number % 10 >= 5,
            "otel_ml.source": "judge",
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
    if isinstance(value, bool):
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    return KeyValue(key=key, value=AnyValue(double_value=value))
