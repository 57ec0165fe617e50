"""Request bodies as they came to the bytes that were sent, never more of them than allowed."""

import zlib
from typing import Final

from otel_ml_collector.errors import Refused, TooLarge

# zlib's window argument: 32 more reads gzip and zlib alike.
_WINDOW: Final = zlib.MAX_WBITS | 32
# Each member costs a copy of what is behind it.
_MEMBERS: Final = 64
ENCODINGS: Final = frozenset({"identity", "gzip", "deflate"})


def decompress(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """Decompress a body, and stop as soon as it is larger than the limit.

    Args:
        body: The request as received.
        encoding: One of `ENCODINGS`.
        limit_bytes: What the result may hold.

    Raises:
        TooLarge: The result is larger; no more than the limit was ever made.
        Refused: The body is not compressed as it says.
    """
    if encoding == "identity":
        return body
    parts: list[bytes] = []
    left = limit_bytes
    members = 0
    while body:  # gzip data may be several members, one after the other
        members += 1
        if members > _MEMBERS:
            raise Refused(f"The body has more than {_MEMBERS} {encoding} members")
        inflate = zlib.decompressobj(_WINDOW)
        try:
            part = inflate.decompress(body, left + 1)
        except zlib.error as error:
            raise Refused(f"The body is not {encoding} data: {error}") from error
        left -= len(part)
        if left < 0:
            raise TooLarge(f"The body has more than {limit_bytes} bytes uncompressed")
        if not inflate.eof:
            raise Refused(f"The body ends in the middle of its {encoding} data")
        parts.append(part)
        body = inflate.unused_data
    return b"".join(parts)
