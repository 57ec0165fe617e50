"""Decompresses request bodies, never to more bytes than allowed.

The names of encodings are those that exporters of the OpenTelemetry Collector send as
``Content-Encoding``.
Spec: https://github.com/open-telemetry/opentelemetry-collector/tree/main/config/confighttp
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

import pyarrow as pa

from otel_ml_collector.errors import Rejected, TooLarge

# zlib's window argument: adding 32 makes it detect gzip and zlib headers.
_ZLIB_WINDOW: Final = zlib.MAX_WBITS | 32
# Maximum number of members of a gzip body, because each one copies all data after it.
_MEMBERS: Final = 64
_READ_BYTES: Final = 1 << 20
# First bytes of a Snappy stream. A Snappy block of OTLP data cannot begin like this, because its
# data would begin with NUL.
# Spec: https://github.com/google/snappy/blob/main/framing_format.txt
_SNAPPY_STREAM: Final = b"\xff\x06\x00\x00sNaPpY"
_SNAPPY_CHUNK_BYTES: Final = 1 << 16
# Maximum number of chunks of a stream. Each one costs a step in Python, and encoders need few,
# because they write chunks of the maximum size.
_SNAPPY_CHUNKS: Final = 100_000
_SNAPPY_HEAD: Final = 4
_SNAPPY_SKIPPED: Final = 0x80
_CHECKSUM: Final = 4
_MORE: Final = 128  # the bit of a varint's byte that says that more bytes follow


def decompress(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """Decompress a body. Stop as soon as it is larger than the limit.

    Args:
        body: The body as received.
        encoding: One of `ENCODINGS`.
        limit_bytes: Largest size of the uncompressed body.

    Raises:
        TooLarge: The uncompressed body is larger than the limit. No more than that was
            decompressed.
        Rejected: The body is not valid data of this encoding.
    """
    if encoding == "identity":
        return body
    parts: list[bytes] = []
    left = limit_bytes

    def room() -> int:  # no decompressor yields a part much larger than this
        return left

    try:
        for part in _DECOMPRESSORS[encoding](body, room):
            left -= len(part)
            if left < 0:
                raise TooLarge(
                    f"The body has more than {limit_bytes} bytes uncompressed: send smaller batches"
                )
            parts.append(part)
    except (zlib.error, OSError, ValueError) as error:
        raise Rejected(f"The body is not {encoding} data: {error}") from error
    return b"".join(parts)


_Room = Callable[[], int]


def _inflate(body: bytes, room: _Room) -> Iterator[bytes]:
    """Decompress gzip or zlib data, which may consist of several members."""
    members = 0
    while body:
        members += 1
        if members > _MEMBERS:
            raise ValueError(f"it has more than {_MEMBERS} members")
        inflating = zlib.decompressobj(_ZLIB_WINDOW)
        yield inflating.decompress(body, room() + 1)
        if not inflating.eof:
            raise ValueError("it ends too early")
        body = inflating.unused_data


def _read_frames(body: bytes, room: _Room, codec: str) -> Iterator[bytes]:
    """Decompress the frames of zstd or lz4 data in order."""
    with pa.CompressedInputStream(pa.BufferReader(body), codec) as stream:
        while part := stream.read(min(room() + 1, _READ_BYTES)):
            yield part


def _read_snappy(body: bytes, room: _Room) -> Iterator[bytes]:
    """Decompress a Snappy block or stream. Older collectors label a stream as a block."""
    if not body.startswith(_SNAPPY_STREAM):
        if _size_of(body) > room():
            raise TooLarge(
                f"The body has {_size_of(body)} bytes uncompressed, more than {room()}: send "
                "smaller batches"
            )
        yield _SNAPPY.decompress(body, _size_of(body), asbytes=True) if body else b""
        return
    at = chunks = 0
    while at < len(body):
        chunks += 1
        if chunks > _SNAPPY_CHUNKS:
            raise ValueError(f"it has more than {_SNAPPY_CHUNKS} chunks")
        head, at = body[at : at + _SNAPPY_HEAD], at + _SNAPPY_HEAD
        kind, size = head[0], int.from_bytes(head[1:], "little")
        if len(head) < _SNAPPY_HEAD or len(body) - at < size:
            raise ValueError("it ends too early")
        # Checksums are not verified: TCP and TLS have their own.
        chunk, at = body[at + _CHECKSUM : at + size], at + size
        if kind == 0 and _size_of(chunk) <= _SNAPPY_CHUNK_BYTES:
            yield _SNAPPY.decompress(chunk, _size_of(chunk), asbytes=True)
        elif kind == 1:
            yield chunk
        elif kind < _SNAPPY_SKIPPED:
            raise ValueError(f"it has a chunk of the unknown kind {kind}")


def _size_of(block: bytes) -> int:
    """Return the uncompressed size of a Snappy block: the varint at its start."""
    size = 0
    for place, byte in enumerate(block[:5]):
        size |= byte % _MORE << 7 * place
        if byte < _MORE:
            break
    return size


_SNAPPY: Final = pa.Codec("snappy")
_DECOMPRESSORS: Final[Mapping[str, Callable[[bytes, _Room], Iterator[bytes]]]] = {
    "gzip": _inflate,
    "deflate": _inflate,
    "zlib": _inflate,
    "zstd": partial(_read_frames, codec="zstd"),
    "lz4": partial(_read_frames, codec="lz4"),
    "snappy": _read_snappy,
    "x-snappy-framed": _read_snappy,
}
ENCODINGS: Final = frozenset({"identity", *_DECOMPRESSORS})
