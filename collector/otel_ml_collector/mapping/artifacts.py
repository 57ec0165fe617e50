"""Reads artifacts: values logged under a reference, as events of a run or an `update`."""

import base64
import binascii
import hashlib
import re
import zlib
from typing import Final

import orjson

from otel_ml import attributes as names
from otel_ml_collector.mapping.values import parse, to_int, to_json, to_text
from otel_ml_collector.records import DATA_URL, ArtifactRecord
from otel_ml_collector.span import Event, Span, Value
from otel_ml_collector.times import LATEST_NS

BAD_ARTIFACT: Final = "invalid_artifact"
_REF_CHARS: Final = 1_024
_TYPE_CHARS: Final = 256
_PREVIEW_CHARS: Final = 4_096
_SHA256: Final = re.compile("[0-9a-f]{64}")
_NO_DOCUMENT: Final = bytes(32)


def is_artifact(event: Event) -> bool:
    """Return whether an event logs an artifact under a valid name of 1 to 1,024 characters."""
    ref = event.attributes.get(names.ARTIFACT_REF)
    return (
        event.name == names.ARTIFACT_EVENT and isinstance(ref, str) and 0 < len(ref) <= _REF_CHARS
    )


def read_artifacts(span: Span, project: str, owner: str) -> list[ArtifactRecord]:
    """Return the artifacts that a span logs in its events. Skip other events.

    Args:
        span: The span.
        project: Project of the span.
        owner: Run, or other subject, that the artifacts belong to.
    """
    events = [event for event in span.events if event.name == names.ARTIFACT_EVENT]
    return [
        _read(event, project, owner, span.span_id.hex(), position)
        for position, event in enumerate(events)
        if is_artifact(event)
    ]


def has_bad_artifact(span: Span) -> bool:
    """Return whether a span logs an artifact under an invalid reference (name)."""
    return any(
        event.name == names.ARTIFACT_EVENT and not is_artifact(event) for event in span.events
    )


def _read(event: Event, project: str, owner: str, record_id: str, position: int) -> ArtifactRecord:
    attributes = event.attributes
    sha256 = attributes.get(names.ARTIFACT_SHA256)
    is_hash = isinstance(sha256, str) and _SHA256.fullmatch(sha256)
    digest = bytes.fromhex(to_text(sha256)) if is_hash else _NO_DOCUMENT
    preview = _read_preview(attributes.get(names.ARTIFACT_PREVIEW))
    document = _read_document(attributes.get(names.ARTIFACT_JSON), digest)
    raw = document.encode("utf-8", "surrogatepass")
    if not document:
        raw = _read_file(attributes.get(names.ARTIFACT_BASE64), digest)
        document = DATA_URL + base64.b64encode(raw).decode() if raw else ""
    if document:
        digest = hashlib.sha256(raw).digest()
    size = len(raw) or max(to_int(attributes.get(names.ARTIFACT_BYTES)) or 0, 0)
    ref = to_text(attributes[names.ARTIFACT_REF])
    kind = to_text(attributes.get(names.ARTIFACT_TYPE))[:_TYPE_CHARS]
    time_ns = min(event.time_ns, LATEST_NS)
    text = f"{ref}\x1f{kind}\x1f{size}\x1f{digest.hex()}\x1f{preview}\x1f{time_ns}"
    checksum = zlib.crc32(text.encode("utf-8", "surrogatepass"))
    return ArtifactRecord(
        project=project,
        owner=owner,
        ref=ref,
        type=kind,
        bytes=size,
        sha256=digest,
        json=document,
        preview=preview,
        time_ns=time_ns,
        record_id=record_id,
        position=position,
        rank=min(len(raw) + len(text), 2**31 - 1) << 32 | checksum,
    )


def _read_document(value: Value, digest: bytes) -> str:
    """Return a document that was sent inline; empty if it is not JSON or its hash differs.

    The hash differs if a limit on the length of attribute values cut the document.
    """
    if not isinstance(value, str) or not value:
        return ""
    raw = value.encode("utf-8", "surrogatepass")
    if digest not in (_NO_DOCUMENT, hashlib.sha256(raw).digest()):
        return ""
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return ""
    return value


def _read_file(value: Value, digest: bytes) -> bytes:
    """Return a file that was sent inline; empty if it is not base64 or its hash differs."""
    if not isinstance(value, str) or not value:
        return b""
    try:
        raw = base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        return b""
    return raw if digest in (_NO_DOCUMENT, hashlib.sha256(raw).digest()) else b""


def _read_preview(value: Value) -> str:
    """Return a preview as JSON text. A preview that is not JSON, or is long, becomes a string."""
    text = to_text(value)
    if not text:
        return ""
    return to_json(parse(text) if len(text) <= _PREVIEW_CHARS else text[:_PREVIEW_CHARS])
