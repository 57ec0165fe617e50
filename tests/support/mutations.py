"""Export requests that are broken in many ways. About half of them can still be read."""

import gzip
import json
import math
import random
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_ml import attributes as names
from tests.support.otlp_json import to_otlp_json

Request = ExportTraceServiceRequest | ExportLogsServiceRequest

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
PROJECT: Final = "mutated"
_HUGE_VARINT: Final = b"\xff" * 9 + b"\x01"
_DEEPEST: Final = 3_000
_MOST_BYTES: Final = 200_000
_KEYS: Final = sorted(
    value
    for name, value in vars(names).items()
    if name.isupper() and isinstance(value, str) and "." in value
)
_TEXTS: Final = (
    *("", "0", "null", "{}", "[]", '"', '{"a": ', "[" * 200, '{"a":' * 200, "NaN", "1e999", "\x00"),
    *("'; DROP TABLE runs --", "{x:String}", "</script>", "é\U0001f600", "start", "x" * 200),
    *("update", "evaluation", "heartbeat", "goodbye", "human", "model", "chat", "default"),
    *('{"k": {"version": 1e400}}', '{"\\ud800": 1}', "-1", "00" * 16, f"{'0' * 32}-{'0' * 16}"),
)
_NUMBERS: Final = (0, 1, -1, 2**31, 2**63 - 1, -(2**63), 10**18)
_ENUMS: Final[Sequence[Any]] = (0, 1, 2, 3, 9, 17, 77, -5, 2**31 - 1)
_FLOATS: Final = (math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.5)


@dataclass(frozen=True, slots=True)
class Payload:
    """One request.

    Attributes:
        signal: ``traces`` or ``logs``.
        media_type: Its content type.
        body: Its body.
        is_readable: Whether the official messages can read it.
        encoding: Its content encoding header.
    """

    signal: str
    media_type: str
    body: bytes
    is_readable: bool
    encoding: str = "identity"


class Mutator:
    """Makes an endless series of requests; a seed determines all but their times."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - guards nothing
        self._bodies = [self._traces().SerializeToString() for _ in range(20)]
        self._changes: Sequence[Callable[[bytearray], bytearray]] = (
            self._flip,
            self._truncate,
            self._splice,
            self._insert,
            self._repeat,
            self._lie,
            self._grow_varint,
            self._nest,
        )

    def next(self, *, over_http: bool = True) -> Payload:
        """Make a request with invalid values, mutated bytes, or both.

        Over HTTP it may also be JSON, or compressed.
        """
        signal = "traces" if self._random.random() < 0.7 else "logs"
        request: Request = self._traces() if signal == "traces" else self._logs()
        media_type = JSON if over_http and self._random.random() < 0.4 else PROTOBUF
        body = request.SerializeToString() if media_type == PROTOBUF else _to_json(request)
        if self._random.random() < 0.55:
            changed = bytearray(body)
            for _ in range(self._random.choice((1, 1, 1, 2, 5))):
                changed = self._random.choice(self._changes)(changed)
            body = bytes(changed)
        payload = Payload(signal, media_type, body, _is_readable(type(request), media_type, body))
        return self._disguise(payload) if over_http and self._random.random() < 0.1 else payload

    def _disguise(self, payload: Payload) -> Payload:
        """Compress a request, break it after compression, or send it with a wrong header."""
        sort = self._random.randrange(5)
        if sort == 0:
            return replace(payload, media_type="text/plain", is_readable=False)
        if sort == 1:
            return replace(payload, encoding="br", is_readable=False)
        packed = gzip.compress(payload.body) if sort < 4 else zlib.compress(payload.body)
        encoding = "gzip" if sort < 4 else "deflate"
        if sort == 2:
            broken = bytes(self._random.choice(self._changes)(bytearray(packed)))
            return replace(payload, body=broken, encoding=encoding, is_readable=False)
        return replace(payload, body=packed, encoding=encoding)

    def _traces(self) -> ExportTraceServiceRequest:
        request = ExportTraceServiceRequest()
        resource_spans = request.resource_spans.add()
        resource_spans.resource.attributes.extend(self._pairs(2))
        batch = resource_spans.scope_spans.add()
        batch.scope.attributes.extend(self._pairs(1))
        batch.spans.extend(self._span() for _ in range(self._random.choice((1, 1, 2, 5))))
        return request

    def _logs(self) -> ExportLogsServiceRequest:
        request = ExportLogsServiceRequest()
        resource_logs = request.resource_logs.add()
        resource_logs.resource.attributes.extend(self._pairs(2))
        batch = resource_logs.scope_logs.add()
        for _ in range(self._random.choice((1, 1, 2, 5))):
            batch.log_records.append(
                LogRecord(
                    time_unix_nano=self._time_ns(),
                    observed_time_unix_nano=self._time_ns(),
                    severity_number=self._random.choice(_ENUMS),
                    severity_text=self._text(),
                    body=self._value(),
                    attributes=self._pairs(6),
                    event_name=self._random.choice(("", "gen_ai.evaluation.result", self._text())),
                    trace_id=self._id(16),
                    span_id=self._id(8),
                )
            )
        return request

    def _span(self) -> Span:
        start_ns = self._time_ns()
        end_ns = start_ns + 10**6 if start_ns < 2**63 else self._time_ns()
        span = Span(
            trace_id=self._id(16),
            span_id=self._id(8),
            parent_span_id=self._random.choice((b"", self._id(8))),
            name=self._text(),
            kind=self._random.choice(_ENUMS),
            start_time_unix_nano=start_ns,
            end_time_unix_nano=end_ns,
            attributes=self._pairs(12),
            dropped_attributes_count=self._random.choice((0, 2**32 - 1)),
        )
        span.status.code = self._random.choice(_ENUMS)
        for _ in range(self._random.choice((0, 0, 1, 3))):
            event = span.events.add(time_unix_nano=self._time_ns(), name=self._event_name())
            event.attributes.extend(self._pairs(4))
        if self._random.random() < 0.2:
            span.links.add(trace_id=self._id(16), span_id=self._id(8), attributes=self._pairs(2))
        return span

    def _event_name(self) -> str:
        known = (names.LOG_EVENT, names.ARTIFACT_EVENT, "exception", "gen_ai.evaluation.result")
        return self._random.choice((*known, self._text()))

    def _pairs(self, most: int) -> list[KeyValue]:
        number = self._random.randrange(most + 1)
        pairs = [KeyValue(key=self._key(), value=self._value()) for _ in range(number)]
        if self._random.random() < 0.9:
            pairs.append(KeyValue(key=names.PROJECT, value=AnyValue(string_value=PROJECT)))
        return pairs

    def _key(self) -> str:
        key = self._random.choice(_KEYS)
        return key + self._random.choice(("a", self._text()[:40])) if key.endswith(".") else key

    def _value(self, depth: int = 0) -> AnyValue:
        sort = self._random.randrange(9 if depth < 3 else 7)
        value = AnyValue()
        if sort < 3:
            value.string_value = self._text()
        elif sort == 3:
            value.int_value = self._random.choice(_NUMBERS)
        elif sort == 4:
            value.double_value = self._random.choice(_FLOATS)
        elif sort == 5:
            value.bool_value = self._random.random() < 0.5
        elif sort == 6:
            value.bytes_value = self._random.randbytes(self._random.randrange(40))
        elif sort == 7:
            value.array_value.values.extend(self._value(depth + 1) for _ in range(3))
        else:
            pairs = (KeyValue(key=self._key(), value=self._value(depth + 1)) for _ in range(3))
            value.kvlist_value.values.extend(pairs)
        return value

    def _text(self) -> str:
        if self._random.random() < 0.5:
            return self._random.choice(_TEXTS)
        if self._random.random() < 0.002:
            return "long " * 20_000
        return "".join(map(chr, self._random.choices(range(32, 1_000), k=12)))

    def _id(self, size: int) -> bytes:
        if self._random.random() < 0.9:
            return self._random.randbytes(size)
        return self._random.choice((b"", bytes(size), self._random.randbytes(size + 1), b"\xff"))

    def _time_ns(self) -> int:
        if self._random.random() < 0.85:
            return time.time_ns() - self._random.randrange(10**12)
        return self._random.choice((0, 1, 2**63 - 1, 2**63, 2**64 - 1, 10**18))

    def _place(self, body: bytearray) -> int:
        return self._random.randrange(len(body) + 1)

    def _flip(self, body: bytearray) -> bytearray:
        for _ in range(self._random.choice((1, 2, 8))):
            if body:
                body[self._random.randrange(len(body))] ^= 1 << self._random.randrange(8)
        return body

    def _truncate(self, body: bytearray) -> bytearray:
        return body[: self._place(body)]

    def _splice(self, body: bytearray) -> bytearray:
        other = self._random.choice(self._bodies)
        whole = self._random.random() < 0.5  # two concatenated requests are one
        return body + other if whole else body[: self._place(body)] + other[self._place(body) :]

    def _insert(self, body: bytearray) -> bytearray:
        at = self._place(body)
        return body[:at] + self._random.randbytes(self._random.choice((1, 4, 64))) + body[at:]

    def _repeat(self, body: bytearray) -> bytearray:
        if len(body) > _MOST_BYTES:  # the size limit of bodies is tested elsewhere
            return body
        start, end = sorted((self._place(body), self._place(body)))
        is_whole = self._random.random() < 0.5
        return body * 20 if is_whole else body[:end] + body[start:end] * 3 + body[end:]

    def _lie(self, body: bytearray) -> bytearray:
        """Change the byte after one that is often a field's tag; that byte is the length."""
        tags = [at for at, byte in enumerate(body[:-1]) if byte in {0x0A, 0x12, 0x1A, 0x22, 0x2A}]
        if tags:
            body[self._random.choice(tags) + 1] = self._random.randrange(256)
        return body

    def _grow_varint(self, body: bytearray) -> bytearray:
        at = self._place(body)
        return body[:at] + self._random.choice((_HUGE_VARINT, b"\xff" * 20)) + body[at + 1 :]

    def _nest(self, body: bytearray) -> bytearray:
        """Append a deeply nested attribute, or insert as many brackets."""
        depth = self._random.choice((20, 99, 101, _DEEPEST))
        if body.startswith((b"{", b"[")):
            at = self._place(body)
            return body[:at] + self._random.choice((b"[", b'{"a":')) * depth + body[at:]
        value = b"\x0a\x01x"
        for _ in range(depth):
            value = b"\x2a" + _length(b"\x0a" + _length(value))  # an array of one value
        pair = b"\x0a\x01k\x12" + _length(value)
        resource = b"\x0a" + _length(b"\x0a" + _length(pair))
        return body + b"\x0a" + _length(resource)


def _length(message: bytes) -> bytes:
    """Return a message prefixed with its length."""
    number, head = len(message), bytearray()
    while number > 0x7F:
        head.append(number & 0x7F | 0x80)
        number >>= 7
    head.append(number)
    return bytes(head) + message


def _to_json(request: Request) -> bytes:
    return json.dumps(to_otlp_json(request)).encode()


def _is_readable(kind: type[Request], media_type: str, body: bytes) -> bool:
    try:
        if media_type == JSON:
            return isinstance(json.loads(body), dict)
        kind.FromString(body)
    except (DecodeError, ValueError, RecursionError):
        return False
    return True
