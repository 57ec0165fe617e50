"""Spans as an OTLP export request, written by hand: protobuf's objects cost most of an export.

Field by field the bytes say what the official encoder says. Where that one fails, this one goes
on: an integer outside 64 bits becomes its decimal text, a lone surrogate a question mark; an
attribute of a type that OTLP has not, or nested more than 30 deep, is left out of its span; a span
that is none is left out of its request. What is left out is counted as trouble.

Spec: https://opentelemetry.io/docs/specs/otlp/#binary-protobuf-encoding
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_ml.errors import report
from otel_ml.export.attribute_field import AttributeField
from otel_ml.export.run_message import encode_run
from otel_ml.export.span_message import encode_span
from otel_ml.export.wire_format import make_heads, wrap, write_text_field
from otel_ml.spans import RunSpan

__all__ = [
    "Encoded",
    "Envelope",
    "encode_envelope",
    "encode_request",
    "encode_span",
    "encode_spans",
]

_RESOURCE_ATTRIBUTES: Final = AttributeField(b"\x0a")
_SCOPE_ATTRIBUTES: Final = AttributeField(b"\x1a")

_RESOURCE_SPANS: Final = make_heads(b"\x0a")
_RESOURCE: Final = make_heads(b"\x0a")
_SCOPE_SPANS: Final = make_heads(b"\x12")
_SCOPE: Final = make_heads(b"\x0a")
_SPAN: Final = make_heads(b"\x12")
_SCHEMA_URL: Final = b"\x1a"

_MOST_ENVELOPES: Final = 256


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands around spans: their resource and their scope, written once for many requests."""

    resource: bytes
    resource_schema_url: str
    scope: bytes
    scope_schema_url: str


_Origin: TypeAlias = tuple[Resource, InstrumentationScope | None]
_Scopes: TypeAlias = dict[InstrumentationScope | None, tuple[Envelope, list[bytes]]]

# By identity, and so with what keeps the identity from being another's.
_envelopes: Final[dict[tuple[int, int], tuple[_Origin, Envelope]]] = {}


class Encoded(NamedTuple):
    """An export request.

    Attributes:
        body: An ExportTraceServiceRequest, empty when there is no span in it.
        spans: How many spans it holds.
        failed: How many were left out because they could not be written.
    """

    body: bytes
    spans: int
    failed: int


def encode_envelope(resource: Resource, scope: InstrumentationScope | None) -> Envelope:
    """Write resource and scope; without a scope its message is empty: the scope is unknown."""
    parts: list[bytes] = []
    _RESOURCE_ATTRIBUTES.write(parts, resource.attributes)
    return Envelope(
        resource=b"".join(parts),
        resource_schema_url=resource.schema_url or "",
        scope=_write_scope(scope) if scope else b"",
        scope_schema_url=scope.schema_url or "" if scope else "",
    )


def _write_scope(scope: InstrumentationScope) -> bytes:
    parts = [write_text_field(b"\x0a", scope.name), write_text_field(b"\x12", scope.version)]
    _SCOPE_ATTRIBUTES.write(parts, getattr(scope, "attributes", None))  # not in SDK 1.25
    return b"".join(parts)


def encode_request(batches: Iterable[tuple[Envelope, Sequence[bytes]]]) -> bytes:
    """Write an export request.

    Args:
        batches: Envelopes, and spans that `encode_span` wrote. Batches of equal resources share
            one ResourceSpans, those of equal scopes in it one ScopeSpans, in the order of the
            first; a batch without spans is left out.

    Returns:
        An ExportTraceServiceRequest, empty when there are no spans.
    """
    resources: dict[tuple[bytes, str], dict[tuple[bytes, str], list[bytes]]] = {}
    for envelope, spans in batches:
        if spans:
            scopes = resources.setdefault((envelope.resource, envelope.resource_schema_url), {})
            parts = scopes.setdefault((envelope.scope, envelope.scope_schema_url), [])
            for span in spans:
                parts += (_SPAN[len(span)], span)
    request: list[bytes] = []
    for (resource, url), scopes in resources.items():
        request += _write_resource_spans(resource, url, scopes)
    return b"".join(request)


def _write_resource_spans(
    resource: bytes, url: str, scopes: dict[tuple[bytes, str], list[bytes]]
) -> list[bytes]:
    parts = [_RESOURCE[len(resource)], resource]
    for (scope, scope_url), spans in scopes.items():
        last = write_text_field(_SCHEMA_URL, scope_url)
        parts += wrap(_SCOPE_SPANS, [_SCOPE[len(scope)], scope, *spans, last])
    parts.append(write_text_field(_SCHEMA_URL, url))
    return wrap(_RESOURCE_SPANS, parts)


def encode_spans(spans: Sequence[ReadableSpan]) -> Encoded:
    """Write spans of any make as one export request. Never raises.

    Spans of equal resources and, within them, of equal scopes stand together, in their order:
    equal as the SDK has it, or the same on the wire.
    """
    groups = _Groups()
    group: list[bytes] = []
    origin: _Origin | None = None
    failed = 0
    for span in spans:
        try:
            written = encode_run(span) if type(span) is RunSpan else encode_span(span)
            resource = span.resource
            scope = span.instrumentation_scope
            if origin is None or resource is not origin[0] or scope is not origin[1]:
                group = groups.find(resource, scope)
                origin = (resource, scope)
            group.append(written)
        except Exception as error:  # noqa: BLE001 - spans of any make
            report("encode", error)
            failed += 1
    return Encoded(encode_request(groups.batches()), len(spans) - failed, failed)


class _Groups:
    """The spans of one request by their resources and scopes; equal ones share a group.

    A resource writes itself as JSON to be hashed, so each is looked up by its identity first.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], tuple[_Origin, list[bytes]]] = {}
        self._scopes: dict[Resource, tuple[Resource, _Scopes]] = {}

    def find(self, resource: Resource, scope: InstrumentationScope | None) -> list[bytes]:
        """Return the spans of a resource and a scope, to be added to."""
        key = (id(resource), id(scope))
        found = self._found.get(key)
        if found is None:
            first, scopes = self._scopes.setdefault(resource, (resource, {}))
            named = scope or None
            if named not in scopes:
                scopes[named] = (_envelope_of(first, named), [])
            found = self._found[key] = ((resource, scope), scopes[named][1])
        return found[1]

    def batches(self) -> Iterable[tuple[Envelope, list[bytes]]]:
        """Return all groups, resource by resource, in the order in which they were found."""
        return [batch for _, scopes in self._scopes.values() for batch in scopes.values()]


def _envelope_of(resource: Resource, scope: InstrumentationScope | None) -> Envelope:
    """Write an envelope, once for the same two objects: they never change."""
    key = (id(resource), id(scope))
    known = _envelopes.get(key)
    if known is None:
        if len(_envelopes) >= _MOST_ENVELOPES:
            _envelopes.clear()
        known = _envelopes[key] = ((resource, scope), encode_envelope(resource, scope))
    return known[1]
