"""Tests of decompressing request bodies."""

import base64
import contextlib
import gzip
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import lz4.frame  # type: ignore[import-untyped]  # it carries no types
import pyarrow as pa
import pytest
from backports import zstd

from otel_ml_collector.decode.compression import ENCODINGS, decompress
from otel_ml_collector.decode.requests import read_spans
from otel_ml_collector.decode.signals import Form
from otel_ml_collector.errors import Rejected, TooLarge

MIB = 2**20
STREAM: Final = b"\xff\x06\x00\x00sNaPpY"
# One request with three spans, as the stock collector 0.161.0 compressed it, by `compression`.
STOCK: Final = {
    "gzip": (
        "H4sIAAAAAAAA/+I6xyR0kkkou4rBkeHUkcJ/c6aLWzIwaJmBGAaMWqbFBYl5CgYK+WkKJRmpCsUl+cnZCsn5OTmpyS"
        "X5RbiElRiEOBihgEuAgZGJmYWVjZ2Dk4ubh5ePH2wZI8wyRnTLDMmwjAkKcFjGBLOMCd0yIzIsY4YCTMu4GLgYAAEA"
        "AP//gzR6jVEBAAA="
    ),
    "zstd": (
        "KLUv/UQAUQAlBABUBgrOAhLJAhJregBBAMrEcf6clxc5AAAqNv6clxcwASo1c3BhbiAwIG9mIHRoZSBzdG9jayBjb2"
        "xsZWN0b3IiABIIAQoQAAECAwQFBgcICQoLDA0ODxJregBBAQExAgICMgMKAAoADADAAy47gJMBJIA4UAPnHsDJAAng"
        "QAYue63g3AOhzd/k"
    ),
    "snappy": (
        "0QJcCs4CEskCEmt6AEEAysRx/pyXFzkAACo2AQmAMAEqNXNwYW4gMCBvZiB0aGUgc3RvY2sgY29sbGVjdG9yXhcAEC"
        "IAEggBDQFEChAAAQIDBAUGBwgJCgsMDQ4PBW0AARFtAAE+bQAAMV5WAFqEAAFtAAINAVptAAACEW0AAj5tAAAyXlYA"
        "am0AAAMNAUZtAAwKAAoA"
    ),
    "x-snappy-framed": (
        "/wYAAHNOYVBwWQCaAAAErLkh0QJcCs4CEskCEmt6AEEAysRx/pyXFzkAACo2AQmAMAEqNXNwYW4gMCBvZiB0aGUgc3"
        "RvY2sgY29sbGVjdG9yXhcAECIAEggBDQFEChAAAQIDBAUGBwgJCgsMDQ4PBW0AARFtAAE+bQAAMV5WAFqEAAFtAAIN"
        "AVptAAACEW0AAj5tAAAyXlYAam0AAAMNAUZtAAwKAAoA"
    ),
    "zlib": (
        "eJziOsckdJJJKLuKwZHh1JHCf3Omi1syMGiZgRgGjFqmxQWJeQoGCvlpCiUZqQrFJfnJ2QrJ+Tk5qckl+UW4hJUYhD"
        "gYoYBLgIGRiZmFlY2dg5OLm4eXjx9sGSPMMkZ0ywzJsIwJCnBYxgSzjAndMiMyLGOGAkzLuBi4GAABAAD//5f4WKs="
    ),
    "lz4": (
        "BCJNGGRwuaUAAAD/LgrOAhLJAhJregBBAMrEcf6clxc5AAAqNv6clxcwASo1c3BhbiAwIG9mIHRoZSBzdG9jayBjb2"
        "xsZWN0b3IXAAVTIgASCAEBAPQJChAAAQIDBAUGBwgJCgsMDQ4PEmt6AEEBbQAcAW0AHzFWAAUPhAAEUyIAEggCAQAP"
        "bQAEFAJtABwCbQAfMm0AIBMDAQAAbQAA2gDgBgcICQoLDA0ODwoACgAAAAAAxSvUfA=="
    ),
}


def pieces(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), 2**16):
        yield body[at : at + 2**16]


def block(body: bytes) -> bytes:
    packed: bytes = pa.Codec("snappy").compress(body, asbytes=True)
    return packed


def chunk(kind: int, data: bytes) -> bytes:
    """Make a chunk of a snappy stream, with zeros as its checksum, which is not verified."""
    return bytes([kind]) + (len(data) + 4).to_bytes(3, "little") + bytes(4) + data


def frame(body: bytes) -> bytes:
    return STREAM + b"".join(chunk(0, block(piece)) for piece in pieces(body))


COMPRESS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zlib": zlib.compress,
    "zstd": zstd.compress,
    "lz4": lz4.frame.compress,
    "snappy": block,
    "x-snappy-framed": frame,
}
on_each = pytest.mark.parametrize("encoding", COMPRESS)
on_each_compression = pytest.mark.parametrize("encoding", sorted(COMPRESS.keys() - {"identity"}))


def test_all_encodings() -> None:
    """The tests cover every supported encoding."""
    assert set(COMPRESS) == ENCODINGS


@on_each
@pytest.mark.parametrize("body", [b"", b"content" * 20_000], ids=["empty", "full"])
def test_decompress(encoding: str, body: bytes) -> None:
    """Decompressing a compressed body gives the original."""
    assert decompress(COMPRESS[encoding](body), encoding, MIB) == body


@pytest.mark.parametrize("encoding", STOCK)
def test_stock_collector(encoding: str) -> None:
    """A body that the stock collector compressed gives the same spans for each encoding."""
    body = decompress(base64.b64decode(STOCK[encoding]), encoding, MIB)
    names = [span.name for span in read_spans(body, Form.PROTOBUF)]
    assert names == [f"span {number} {2 * 'of the stock collector '}" for number in range(3)]


def test_older_stock_collector() -> None:
    """Older collectors send a snappy stream as "snappy", which is read as well."""
    assert decompress(frame(b"content" * 20_000), "snappy", MIB) == b"content" * 20_000


@on_each
def test_empty_body(encoding: str) -> None:
    """A body of no bytes is empty, for every encoding."""
    assert decompress(b"", encoding, MIB) == b""


@pytest.mark.parametrize("encoding", ["zstd", "lz4", "x-snappy-framed"])
def test_frames(encoding: str) -> None:
    """A body of several frames is the concatenation of their contents."""
    compress = COMPRESS[encoding]
    assert decompress(compress(b"one") + compress(b"two"), encoding, MIB) == b"onetwo"


def test_other_chunks() -> None:
    """Uncompressed chunks of a snappy stream are read, and skippable chunks are skipped."""
    body = (
        STREAM + chunk(0x01, b"one") + chunk(0xFE, b"padding") + chunk(0x80, b"?") + chunk(1, b"2")
    )
    assert decompress(body, "snappy", MIB) == b"one2"


def test_members() -> None:
    """A gzip body of several members is the concatenation of their contents (RFC 1952, 2.2)."""
    assert decompress(gzip.compress(b"one") + gzip.compress(b"two"), "gzip", MIB) == b"onetwo"


@on_each_compression
def test_many_members(encoding: str) -> None:
    """A body of very many members is processed within 3 seconds."""
    member = chunk(1, b"") if encoding == "x-snappy-framed" else COMPRESS[encoding](b"")
    start = STREAM if encoding == "x-snappy-framed" else b""
    started = time.thread_time()
    with contextlib.suppress(Rejected):
        decompress(start + member * (3 * MIB // len(member)), encoding, MIB)
    assert time.thread_time() - started < 3


@on_each_compression
def test_limit_reached(encoding: str) -> None:
    """A body of exactly the maximum size is accepted."""
    assert decompress(COMPRESS[encoding](bytes(MIB)), encoding, MIB) == bytes(MIB)


@on_each_compression
def test_limit_passed(encoding: str) -> None:
    """A body that is one byte over the maximum size is rejected."""
    with pytest.raises(TooLarge, match=f"^The body has (more than )?{MIB}|{MIB + 1} bytes"):
        decompress(COMPRESS[encoding](bytes(MIB + 1)), encoding, MIB)


def test_lying_block() -> None:
    """A snappy block that claims a size above the limit is rejected without being decompressed."""
    with pytest.raises(TooLarge):
        decompress(b"\xff\xff\xff\xff\x0f" + b"content", "snappy", MIB)


@on_each_compression
def test_truncated(encoding: str) -> None:
    """A body that ends in the middle of its compressed data is rejected permanently."""
    with pytest.raises(Rejected, match=f"^The body is not {encoding} data: "):
        decompress(COMPRESS[encoding](b"content")[:-1], encoding, MIB)


@on_each_compression
@pytest.mark.parametrize("body", [b"content", b"\xff" * 100, STREAM + b"\x02\x04\x00\x00...."])
def test_other_data(encoding: str, body: bytes) -> None:
    """A body that is not compressed data is rejected permanently."""
    with pytest.raises(Rejected):
        decompress(body, encoding, MIB)


@pytest.mark.parametrize(
    "body",
    [
        b"content",
        gzip.compress(b"content")[:-8] + bytes(8),
        gzip.compress(b"content")[:10] + b"\xff",
    ],
    ids=["plain", "wrong checksum", "damaged"],
)
def test_not_compressed(body: bytes) -> None:
    """A body that does not match its encoding is rejected permanently."""
    with pytest.raises(Rejected, match=r"^The body is not gzip data: "):
        decompress(body, "gzip", MIB)
