"""Shared helpers for spool tests: numbered frames, and spools that scan at every take."""

from collections import Counter
from pathlib import Path

from otel_ml.export.spool.spool import Spool

ENVELOPE = b"envelope"
MAX_BYTES = 1 << 30


def key(number: int) -> bytes:
    return number.to_bytes(24, "big")


def payload(number: int, size: int = 100) -> bytes:
    return (b"span %d " % number).ljust(size, b".")


def make_spool(directory: Path, envelope: bytes = ENVELOPE, **settings: int) -> Spool:
    return Spool(directory, envelope, check_every_s=0, **settings)


def fill(spool: Spool, numbers: range, size: int = 100) -> None:
    for number in numbers:
        assert spool.append(key(number), payload(number, size))


def leave(directory: Path, numbers: range, envelope: bytes = ENVELOPE, **settings: int) -> None:
    """Write frames and end without delivering them."""
    spool = make_spool(directory, envelope, **settings)
    fill(spool, numbers)
    spool.close()


def drain(spool: Spool, max_frames: int = 1_000) -> list[tuple[bytes, bytes]]:
    """Deliver everything in the spool; return keys and payloads in order."""
    delivered: list[tuple[bytes, bytes]] = []
    while (batch := spool.take(max_frames, MAX_BYTES)) is not None:
        delivered += zip(batch.keys, batch.payloads, strict=True)
        spool.done(batch)
    return delivered


def frames(numbers: range, size: int = 100) -> list[tuple[bytes, bytes]]:
    return [(key(number), payload(number, size)) for number in numbers]


def once(delivered: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Check that no key was delivered twice; return payloads by key."""
    counts = Counter(key for key, _ in delivered)
    assert set(counts.values()) <= {1}
    return dict(delivered)


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def segments(directory: Path) -> list[Path]:
    """List the segments; those of one process are in writing order."""
    return sorted(directory.glob("*.spool"))
