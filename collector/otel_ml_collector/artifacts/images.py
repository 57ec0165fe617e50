"""Images in artifacts, as a browser shows them: PNG and JPEG by their first bytes, nothing else."""

import base64
import binascii
import re
import threading
from dataclasses import dataclass
from typing import Any, Final

import orjson

from otel_ml_collector.artifacts.find import open_document
from otel_ml_collector.errors import NotFound, Unavailable
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.web.images import PIXELS, read_head

IMAGE_TYPES: Final = ("otel_ml.types.Image", "raymon.types.Image")
# A document is held whole to be decoded, so neither large ones are, nor many at once.
LARGEST_BYTES: Final = 16 * 1024 * 1024
_AT_ONCE: Final = threading.BoundedSemaphore(2)
_WAIT_S: Final = 10.0
_SHOWN: Final = frozenset({"image/png", "image/jpeg"})
_HEAD_CHARS: Final = 512 * 1024
_DATA: Final = re.compile(rb'"data"\s*:\s*"([A-Za-z0-9+/]{4,%d})' % _HEAD_CHARS)


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of an image, and what they are."""

    media_type: str
    content: bytes


def read_image(reader: Reader, project: str, sha256: str) -> Picture:
    """Read the image in a document.

    Raises:
        NotFound: There is no such document, or no PNG or JPEG in it, or it is over 16 MiB, or the
            image says that it has more pixels than should be drawn.
        Unavailable: Too many are read at once.
    """
    if not _AT_ONCE.acquire(timeout=_WAIT_S):
        raise Unavailable("Too many images are read at once")
    try:
        document = open_document(reader, project, sha256)
        if document.size <= LARGEST_BYTES:
            content = _pixels(b"".join(document.parts))
            head = read_head(content)
            if head is not None and head.media_type in _SHOWN and not head.why:
                return Picture(head.media_type, content)
    finally:
        _AT_ONCE.release()
    raise NotFound(
        f"Artifact {sha256} has no PNG or JPEG of up to {LARGEST_BYTES} bytes and {PIXELS} pixels"
    )


def why_no_image(reader: Reader, project: str, sha256: str) -> str:
    """Say, as the end of a sentence, why an image's document is not drawn; empty where it is.

    Only the beginning of the document is read.

    Raises:
        NotFound: There is no such document.
    """
    document = open_document(reader, project, sha256)
    if document.size > LARGEST_BYTES:
        return f"it has more than {LARGEST_BYTES} bytes"
    match = _DATA.search(next(document.parts, b""))
    encoded = match[1] if match else b""
    head = read_head(base64.b64decode(encoded[: len(encoded) // 4 * 4]))
    if head is None or head.media_type not in _SHOWN:
        return "it is neither PNG nor JPEG"
    return head.why


def _pixels(document: bytes) -> bytes:
    """Return what an image's document holds in base64; empty when it is none."""
    try:
        form: Any = orjson.loads(document)
    except orjson.JSONDecodeError:
        return b""
    if not isinstance(form, dict) or form.get("type") not in IMAGE_TYPES:
        return b""
    params = form.get("params")
    data = params.get("data") if isinstance(params, dict) else None
    if not isinstance(data, str):
        return b""
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return b""
