"""Tests of decompressing request bodies."""

import contextlib
import gzip
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from otel_ml_collector.decode.compression import decompress
from otel_ml_collector.errors import Refused, TooLarge

MIB = 2**20


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("identity", bytes), ("gzip", gzip.compress), ("deflate", zlib.compress)],
    ids=["identity", "gzip", "deflate"],
)
@pytest.mark.parametrize("body", [b"", b"content" * 1000], ids=["empty", "full"])
def test_decompress(encoding: str, compress: Callable[[bytes], bytes], body: bytes) -> None:
    """A body is given back as it was before its compression."""
    assert decompress(compress(body), encoding, MIB) == body


def test_empty_body() -> None:
    """A body of no bytes that calls itself gzip is empty."""
    assert decompress(b"", "gzip", MIB) == b""


def test_members() -> None:
    """A gzip body of several members is the content of all of them (RFC 1952, 2.2)."""
    assert decompress(gzip.compress(b"one") + gzip.compress(b"two"), "gzip", MIB) == b"onetwo"


def test_many_members() -> None:
    """A body of very many members takes no longer than others of its size."""
    body = gzip.compress(b"") * 150_000  # 3 MB
    started = time.monotonic()
    with contextlib.suppress(Refused):
        decompress(body, "gzip", MIB)
    assert time.monotonic() - started < 3


def test_limit_reached() -> None:
    """A body of exactly the limit is taken."""
    assert decompress(gzip.compress(bytes(MIB)), "gzip", MIB) == bytes(MIB)


def test_limit_passed() -> None:
    """A body of one byte more than the limit is too large."""
    with pytest.raises(TooLarge, match=f"^The body has more than {MIB} bytes uncompressed$"):
        decompress(gzip.compress(bytes(MIB + 1)), "gzip", MIB)


def test_bomb() -> None:
    """A small body of 256 MiB never takes more memory than a few times the limit."""
    bomb = gzip.compress(bytes(256 * MIB), 9)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            decompress(bomb, "gzip", MIB)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * MIB


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_truncated(encoding: str) -> None:
    """A body that ends in the middle of its compressed data is refused for good."""
    body = gzip.compress(b"content") if encoding == "gzip" else zlib.compress(b"content")
    message = f"^The body ends in the middle of its {encoding} data$"
    with pytest.raises(Refused, match=message):
        decompress(body[:-1], encoding, MIB)


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
    """A body that is not what its encoding says is refused for good."""
    with pytest.raises(Refused, match=r"^The body is not gzip data: "):
        decompress(body, "gzip", MIB)
