"""Appends from many threads, also while other threads take frames."""

import threading
from pathlib import Path

from otel_ml.export.spool.spool import Spool
from tests.support.otel_ml.export.spool.spools import (
    drain,
    files,
    fill,
    frames,
    key,
    leave,
    make_spool,
    once,
    segments,
)

THREADS = 8
EACH = 2_000


def start_writers(spool: Spool) -> list[threading.Thread]:
    """Start threads that append frames, and return the threads."""
    threads = [
        threading.Thread(target=fill, args=(spool, range(number * EACH, (number + 1) * EACH)))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    return threads


def test_appends_of_many_threads(tmp_path: Path) -> None:
    """Frames from many threads are delivered once, with the frames of each thread in order."""
    spool = make_spool(tmp_path, segment_bytes=50_000)
    for thread in start_writers(spool):
        thread.join()
    assert len(segments(tmp_path)) > 10
    delivered = drain(spool)
    assert once(delivered) == dict(frames(range(THREADS * EACH)))
    for number in range(THREADS):
        own = frames(range(number * EACH, (number + 1) * EACH))
        assert [frame for frame in delivered if own[0] <= frame <= own[-1]] == own


def test_take_while_threads_append(tmp_path: Path) -> None:
    """Frames that are appended during delivery are delivered once, and no file is left."""
    leave(tmp_path, range(1_000_000, 1_000_500), segment_bytes=5_000)
    spool = make_spool(tmp_path, segment_bytes=50_000)
    threads = start_writers(spool)
    delivered = []
    while any(thread.is_alive() for thread in threads):
        delivered += drain(spool, 100)
    delivered += drain(spool, 100)
    expected = [*frames(range(THREADS * EACH)), *frames(range(1_000_000, 1_000_500))]
    assert once(delivered) == dict(expected)
    assert spool.counts.written == THREADS * EACH
    spool.close()
    assert files(tmp_path) == []


def test_look_while_a_thread_appends(tmp_path: Path) -> None:
    """A spool that checks for ended processes takes no frames of one that rotates files."""
    spool = Spool(tmp_path, b"", segment_bytes=1_000)
    other = make_spool(tmp_path)
    thread = threading.Thread(target=fill, args=(spool, range(EACH)))
    thread.start()
    taken: list[tuple[bytes, bytes]] = []
    while thread.is_alive():
        taken += drain(other)
    assert taken == []
    assert drain(spool) == frames(range(EACH))


def test_judged_calls_of_many_threads(tmp_path: Path) -> None:
    """Provisional and final frames of many threads are delivered once per key.

    No file is left.
    """
    spool = make_spool(tmp_path, segment_bytes=20_000)

    def judge(numbers: range) -> None:
        for number in numbers:
            assert spool.append(key(number), b"held", provisional=True)
            assert spool.append(key(number), b"final")

    threads = [
        threading.Thread(target=judge, args=(range(first, first + 500),))
        for first in range(0, 2_000, 500)
    ]
    for thread in threads:
        thread.start()
    delivered = []
    while any(thread.is_alive() for thread in threads):
        delivered += drain(spool, 50)
    delivered += drain(spool, 50)
    assert once(delivered) == {key(number): b"final" for number in range(2_000)}
    spool.close()
    assert files(tmp_path) == []


def test_limit_while_threads_append(tmp_path: Path) -> None:
    """If spans are dropped while others are sent, each one is delivered or counted as dropped."""
    spool = make_spool(tmp_path, limit_bytes=100_000, segment_bytes=5_000)
    threads = start_writers(spool)
    delivered: list[tuple[bytes, bytes]] = []
    while any(thread.is_alive() for thread in threads):
        delivered += drain(spool, 3)
    delivered += drain(spool, 3)
    assert len(once(delivered)) + spool.counts.dropped_by_limit == THREADS * EACH
    assert set(delivered) <= set(frames(range(THREADS * EACH)))
