"""Reads OTLP requests, either whole or cut into small requests that are read one by one.

Parsing 64 MiB in one call would hold the interpreter lock for long, and the result would fill the
memory. For a large request, this module only finds where each record begins and ends. It then
writes small requests, each with the resources and scopes of its records.

Spec: https://opentelemetry.io/docs/specs/otlp/
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from json import JSONDecoder
from typing import Final

from otel_ml_collector.decode.bounds import check_records, check_values
from otel_ml_collector.decode.fields import LEN, Odd, walk_fields, write_field
from otel_ml_collector.decode.json import (
    decode_json_logs,
    decode_json_traces,
)
from otel_ml_collector.decode.metrics import READERS, Metrics
from otel_ml_collector.decode.protobuf import Spans, decode_logs, decode_traces
from otel_ml_collector.decode.signals import Form, Signal
from otel_ml_collector.decode.utf8 import Replaced
from otel_ml_collector.span import Log, Span

PORTION_BYTES: Final = 1024 * 1024
_PORTION_RECORDS: Final = 2_000
_RECORD: Final = 2
_SIGNAL_LEVELS: Final = {
    Signal.TRACES: ("resourceSpans", "scopeSpans", "spans"),
    Signal.LOGS: ("resourceLogs", "scopeLogs", "logRecords"),
    Signal.METRICS: ("resourceMetrics", "scopeMetrics", "metrics"),
}
_PLACE: Final = re.compile(r"(\w+)\[(\d+)\](?:\.(\w+)\[(\d+)\](?:\.(\w+)\[(\d+)\])?)?")

_Range = tuple[int, int]


def read_spans(
    body: bytes, form: Form, replaced: list[Replaced] | None = None
) -> Spans | list[Span]:
    """Read the spans of a request.

    Args:
        body: The request.
        form: Its content type.
        replaced: The texts in which invalid UTF-8 was replaced are added to it. If it is None, a
            request with invalid UTF-8 is rejected.

    Raises:
        Rejected: The body is not a valid trace request. Sending it again cannot help.
    """
    check_values(body, form)
    decode = decode_json_traces if form is Form.JSON else decode_traces
    return decode(body, replaced)


def read_logs(body: bytes, form: Form, replaced: list[Replaced] | None = None) -> list[Log]:
    """Read the log records of a request.

    Args:
        body: The request.
        form: Its content type.
        replaced: The texts in which invalid UTF-8 was replaced are added to it. If it is None, a
            request with invalid UTF-8 is rejected.

    Raises:
        Rejected: The body is not a valid log request. Sending it again cannot help.
    """
    check_values(body, form)
    decode = decode_json_logs if form is Form.JSON else decode_logs
    return decode(body, replaced)


def read_points(body: bytes, form: Form) -> Metrics:
    """Count the data points of a metrics request, and read those about calls of models.

    Raises:
        Rejected: The body is not a valid metrics request. Sending it again cannot help.
    """
    check_values(body, form)
    return READERS[form](body)


@dataclass(slots=True)
class _Envelope:
    """A resource or a scope: the bytes of its own fields, and what is nested in it.

    Attributes:
        head: Bytes of its own fields.
        schema: ``schemaUrl`` next to it, as JSON bytes. Only used for JSON.
        scopes: Scopes of a resource.
        records: Byte ranges of the records of a scope.
    """

    head: bytes = b""
    schema: bytes = b"null"
    scopes: "list[_Envelope]" = field(default_factory=list)
    records: list[_Range] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Portion:
    """A part of a request that is itself a valid request.

    Attributes:
        body: The bytes of the part.
        first: Indexes of its first resource, scope and record in the whole request.
    """

    body: bytes
    first: tuple[int, int, int] = (0, 0, 0)

    def place(self, field: str) -> str:
        """Return a path with indexes of the whole request instead of those of the portion."""
        match = _PLACE.match(field)
        if match is None:
            return field
        places, moved = [], True
        for name, number, first in zip(
            match.groups()[::2], match.groups()[1::2], self.first, strict=True
        ):
            if name is not None:
                places.append(f"{name}[{int(number) + (first if moved else 0)}]")
                moved = moved and number == "0"
        return ".".join(places) + field[match.end() :]


def cut(body: bytes, signal: Signal, form: Form) -> Iterator[Portion]:
    """Cut a request into portions of about `PORTION_BYTES`.

    Raises:
        Rejected: The request is invalid or holds too many values or records. Raised before the
            first portion.
    """
    check_values(body, form)
    levels = _SIGNAL_LEVELS[signal]
    try:
        resources = _read_json(body, levels) if form is Form.JSON else _read_protobuf(body)
    except Odd:  # decoding the whole body then reports what is wrong
        return iter((Portion(body),))
    for level in (
        resources,
        [scope for resource in resources for scope in resource.scopes],
        [record for resource in resources for scope in resource.scopes for record in scope.records],
    ):
        check_records(len(level))
    write = _write_json(levels) if form is Form.JSON else _write_protobuf
    return _portions(body, resources, write)


_Chosen = list[tuple[_Envelope, list[tuple[_Envelope, Sequence[_Range]]]]]


def _portions(
    body: bytes, resources: Sequence[_Envelope], write: Callable[[bytes, _Chosen], bytes]
) -> Iterator[Portion]:
    """Collect records until a portion is full, and write them with their resources and scopes."""
    chosen: _Chosen = []
    first, size, number = (0, 0, 0), 0, 0
    for at_resource, resource in enumerate(resources):
        for at_scope, scope in enumerate(resource.scopes):
            begin = 0
            for place, (start, end) in enumerate(scope.records, 1):
                if not size:
                    first = (at_resource, at_scope, begin)
                size += end - start
                number += 1
                if size >= PORTION_BYTES or number >= _PORTION_RECORDS:
                    _choose(chosen, resource, scope, scope.records[begin:place])
                    yield Portion(write(body, chosen), first)
                    chosen, size, number, begin = [], 0, 0, place
            if begin < len(scope.records):
                _choose(chosen, resource, scope, scope.records[begin:])
    if chosen:
        yield Portion(write(body, chosen), first)


def _choose(
    chosen: _Chosen, resource: _Envelope, scope: _Envelope, records: Sequence[_Range]
) -> None:
    if not chosen or chosen[-1][0] is not resource:
        chosen.append((resource, []))
    chosen[-1][1].append((scope, records))


def _read_protobuf(body: bytes) -> list[_Envelope]:
    """Find the records of a protobuf request."""
    resources = []
    for number, wire, _, start, end in walk_fields(body, 0, len(body)):
        if number == 1 and wire == LEN:
            resource, scopes = _divide(body, start, end)
            for _, scope_start, scope_end in scopes:
                scope, records = _divide(body, scope_start, scope_end)
                scope.records = [(tag, after) for tag, _, after in records]
                resource.scopes.append(scope)
            resources.append(resource)
            check_records(len(resources))
    return resources


def _divide(body: bytes, start: int, end: int) -> tuple[_Envelope, list[tuple[int, int, int]]]:
    """Split a resource or scope into its own fields and the ranges of the nested messages."""
    head, below = [], []
    for number, wire, tag, content, after in walk_fields(body, start, end):
        if number == _RECORD and wire == LEN:
            below.append((tag, content, after))
        else:
            head.append(body[tag:after])
    check_records(len(below))
    return _Envelope(b"".join(head)), below


def _write_protobuf(body: bytes, chosen: _Chosen) -> bytes:
    written = []
    for resource, scopes in chosen:
        parts = [resource.head]
        for scope, records in scopes:
            below = [body[start:end] for start, end in records]
            parts.append(write_field(_RECORD, b"".join([scope.head, *below])))
        written.append(write_field(1, b"".join(parts)))
    return b"".join(written)


class _Json:
    """Walks over JSON bytes without building values, except where a reader asks for them.

    Each byte is treated as one character. That is safe because non-ASCII characters only occur in
    texts.
    """

    _SPACE: Final = re.compile(rb"[ \t\n\r]*")
    _KEY: Final = re.compile(rb'"([^"\\]*)"[ \t\n\r]*:[ \t\n\r]*')
    _WINDOW: Final = 256 * 1024
    _skip_value = staticmethod(JSONDecoder().raw_decode)

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._text, self._from = "", 0

    def skip(self, at: int) -> int:
        """Return the position after the value that begins at `at`."""
        size = self._WINDOW
        if not self._from <= at < self._from + len(self._text) - size // 2:
            self._load(at, size)
        while True:
            try:
                end = self._skip_value(self._text, at - self._from)[1] + self._from
            except (RecursionError, ValueError):
                end = len(self._body)
            is_whole = self._from + len(self._text) >= len(self._body)
            if end < self._from + len(self._text):  # a number at the end of the window may continue
                return end
            if is_whole:
                raise Odd
            size *= 4
            self._load(at, size)

    def members(self, at: int, read: Mapping[bytes, Callable[[int], int]]) -> int:
        """Walk over an object. Call the reader of each member named in `read`; skip all others."""
        return self._walk(at, b"{", b"}", lambda here: self._member(here, read))

    def items(self, at: int, read: Callable[[int], int]) -> int:
        """Walk over a list and call `read` for each item. Null counts as an empty list."""
        if self._body.startswith(b"null", at):
            return at + 4
        return self._walk(at, b"[", b"]", read)

    def space(self, at: int) -> int:
        """Return the position of the next character that is not white space."""
        match = self._SPACE.match(self._body, at)
        return match.end() if match else at

    def _load(self, at: int, size: int) -> None:
        self._text, self._from = self._body[at : at + size].decode("latin-1"), at

    def _member(self, at: int, read: Mapping[bytes, Callable[[int], int]]) -> int:
        key = self._KEY.match(self._body, at)
        if key is None:
            raise Odd
        return read.get(key[1], self.skip)(key.end())

    def _walk(self, at: int, opens: bytes, closes: bytes, read: Callable[[int], int]) -> int:
        if self._body[at : at + 1] != opens:
            raise Odd
        at = self.space(at + 1)
        if self._body[at : at + 1] == closes:
            return at + 1
        while True:
            at = self.space(read(at))
            sign = self._body[at : at + 1]
            if sign == closes:
                return at + 1
            if sign != b",":
                raise Odd
            at = self.space(at + 1)


def _read_json(body: bytes, levels: tuple[str, str, str]) -> list[_Envelope]:
    """Find the records of a JSON request. If a key occurs twice, the last value is used."""
    walk = _Json(body)
    resource_key, scope_key, record_key = (level.encode() for level in levels)
    envelopes: list[_Envelope] = []

    def read_resources(at: int) -> int:
        envelopes.clear()
        return walk.items(at, read_resource)

    def read_resource(at: int) -> int:
        resource = _Envelope()
        envelopes.append(resource)
        check_records(len(envelopes))
        scopes = _reader(walk, resource.scopes, lambda here: read_scope(here, resource))
        return walk.members(at, _heads(walk, body, b"resource", resource) | {scope_key: scopes})

    def read_scope(at: int, resource: _Envelope) -> int:
        scope = _Envelope()
        resource.scopes.append(scope)
        check_records(len(resource.scopes))

        def read_record(here: int) -> int:
            end = walk.skip(here)
            scope.records.append((here, end))
            check_records(len(scope.records))
            return end

        records = _reader(walk, scope.records, read_record)
        return walk.members(at, _heads(walk, body, b"scope", scope) | {record_key: records})

    end = walk.space(walk.members(walk.space(0), {resource_key: read_resources}))
    if end != len(body):
        raise Odd
    return envelopes


def _heads(
    walk: _Json, body: bytes, key: bytes, envelope: _Envelope
) -> dict[bytes, Callable[[int], int]]:
    def read_head(at: int) -> int:
        end = walk.skip(at)
        envelope.head = body[at:end]
        return end

    def read_schema(at: int) -> int:
        end = walk.skip(at)
        envelope.schema = body[at:end]
        return end

    return {key: read_head, b"schemaUrl": read_schema}


def _reader(
    walk: _Json, envelopes: "list[_Envelope] | list[_Range]", read: Callable[[int], int]
) -> Callable[[int], int]:
    def read_all(at: int) -> int:
        envelopes.clear()
        return walk.items(at, read)

    return read_all


def _write_json(levels: tuple[str, str, str]) -> Callable[[bytes, _Chosen], bytes]:
    resource_key, scope_key, record_key = (level.encode() for level in levels)

    def write(body: bytes, chosen: _Chosen) -> bytes:
        resources = []
        for resource, scopes in chosen:
            below = [
                b'{"scope":%b,"schemaUrl":%b,"%b":[%b]}'
                % (
                    scope.head or b"null",
                    scope.schema,
                    record_key,
                    b",".join(body[a:b] for a, b in records),
                )
                for scope, records in scopes
            ]
            resources.append(
                b'{"resource":%b,"schemaUrl":%b,"%b":[%b]}'
                % (resource.head or b"null", resource.schema, scope_key, b",".join(below))
            )
        return b'{"%b":[%b]}' % (resource_key, b",".join(resources))

    return write
