"""Request bodies as they came to the bytes that were sent, never more of them than allowed.

The names are those that the exporters of OpenTelemetry's collector send as ``Content-Encoding``.
Spec: https://github.com/open-telemetry/opentelemetry-collector/tree/main/config/confighttp
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

import pyarrow as pa

from otel_ml_collector.errors import Rejected, TooLarge

# zlib's window argument: 32 more reads gzip and zlib alike.
_ZLIB_WINDOW: Final = zlib.MAX_WBITS | 32
# Each member costs a copy of what is behind it.
_MEMBERS: Final = 64
_READ_BYTES: Final = 1 << 20
# A stream of snappy begins so; no block of it does that holds OTLP: it would begin with NUL.
# Spec: https://github.com/google/snappy/blob/main/framing_format.txt
_SNAPPY_STREAM: Final = b"\xff\x06\x00\x00sNaPpY"
_SNAPPY_CHUNK_BYTES: Final = 1 << 16
# Each costs a step of Python; those that encoders write are as large as they may be.
_SNAPPY_CHUNKS: Final = 100_000
_SNAPPY_HEAD: Final = 4
_SNAPPY_SKIPPED: Final = 0x80
_CHECKSUM: Final = 4
_MORE: Final = 128  # the bit of a varint's byte that says that more follow


def decompress(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """Decompress a body, and stop as soon as it is larger than the limit.

    Args:
        body: The request as received.
        encoding: One of `ENCODINGS`.
        limit_bytes: What the result may hold.

    Raises:
        TooLarge: The result is larger; no more than the limit was ever made.
        Rejected: The body is not compressed as it says.
    """
    if encoding == "identity":
        return body
    parts: list[bytes] = []
    left = limit_bytes

    def room() -> int:  # no reader makes a part that is much larger
        return left

    try:
        for part in _DECOMPRESSORS[encoding](body, room):
            left -= len(part)
            if left < 0:
                raise TooLarge(f"The body has more than {limit_bytes} bytes uncompressed")
            parts.append(part)
    except (zlib.error, OSError, ValueError) as error:
        raise Rejected(f"The body is not {encoding} data: {error}") from error
    return b"".join(parts)


_Room = Callable[[], int]


def _inflate(body: bytes, room: _Room) -> Iterator[bytes]:
    """Read gzip or zlib data; it may be several members after each other."""
    members = 0
    while body:
        members += 1
        if members > _MEMBERS:
            raise ValueError(f"it has more than {_MEMBERS} members")
        inflating = zlib.decompressobj(_ZLIB_WINDOW)
        yield inflating.decompress(body, room() + 1)
        if not inflating.eof:
            raise ValueError("it ends in the middle")
        body = inflating.unused_data


def _read_frames(body: bytes, room: _Room, codec: str) -> Iterator[bytes]:
    """Read the frames of zstd or lz4 data in their order."""
    with pa.CompressedInputStream(pa.BufferReader(body), codec) as stream:
        while part := stream.read(min(room() + 1, _READ_BYTES)):
            yield part


def _read_snappy(body: bytes, room: _Room) -> Iterator[bytes]:
    """Read a Snappy stream or block: older collectors send a stream under the name of a block."""
    if not body.startswith(_SNAPPY_STREAM):
        if _size_of(body) > room():
            raise TooLarge(f"The body has {_size_of(body)} bytes uncompressed, which is too many")
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
            raise ValueError("it ends in the middle")
        # The checksums are not looked at: those of TCP and TLS were.
        chunk, at = body[at + _CHECKSUM : at + size], at + size
        if kind == 0 and _size_of(chunk) <= _SNAPPY_CHUNK_BYTES:
            yield _SNAPPY.decompress(chunk, _size_of(chunk), asbytes=True)
        elif kind == 1:
            yield chunk
        elif kind < _SNAPPY_SKIPPED:
            raise ValueError(f"it has a chunk of the kind {kind} that cannot be read")


def _size_of(block: bytes) -> int:
    """Read the size of a block uncompressed, with which it begins: seven bits a byte."""
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
