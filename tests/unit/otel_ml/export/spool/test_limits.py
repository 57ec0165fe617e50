"""Limits of size and age: the oldest frames are dropped and counted."""

import logging
import os
import time
from pathlib import Path

import pytest

from tests.support.otel_ml.export.spool.spools import (
    MAX_BYTES,
    drain,
    files,
    fill,
    frames,
    leave,
    make_spool,
    segments,
)

LIMIT = 100_000


def taken_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


def age(path: Path, seconds: int) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_oldest_frames_make_room(tmp_path: Path) -> None:
    """Above the limit, the oldest frames are dropped and counted; the newest are delivered."""
    spool = make_spool(tmp_path, limit_bytes=LIMIT, segment_bytes=10_000)
    for first in range(0, 5_000, 500):
        fill(spool, range(first, first + 500))
        assert taken_bytes(tmp_path) <= LIMIT + 11_000
    dropped = spool.counts.dropped_by_limit
    assert 3_500 < dropped < 4_700
    assert spool.pending() == 5_000 - dropped
    assert drain(spool) == frames(range(dropped, 5_000))


def test_segments_are_small_beside_the_limit(tmp_path: Path) -> None:
    """The limit holds even if it is smaller than the usual segment size."""
    spool = make_spool(tmp_path, limit_bytes=LIMIT)
    fill(spool, range(5_000))
    assert taken_bytes(tmp_path) <= LIMIT * 5 / 4 + 200


def test_dropping_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first dropped frames are logged; later ones are only counted."""
    spool = make_spool(tmp_path, limit_bytes=LIMIT, segment_bytes=10_000)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            fill(spool, range(2_000))
            batch = spool.take(1, MAX_BYTES)
            assert batch is not None
            spool.give_back(batch)
    (record,) = caplog.records
    assert "over its limits" in record.getMessage()


def test_dropped_frames_in_flight(tmp_path: Path) -> None:
    """Taken frames of a dropped file count as dropped only if they are given back."""
    counts = []
    for end in ("done", "give_back"):
        spool = make_spool(tmp_path / end, limit_bytes=LIMIT, segment_bytes=10_000)
        fill(spool, range(50))
        batch = spool.take(10, MAX_BYTES)
        assert batch is not None
        fill(spool, range(50, 2_000))
        before = spool.counts.dropped_by_limit
        getattr(spool, end)(batch)
        counts.append(spool.counts.dropped_by_limit - before)
        assert drain(spool) == frames(range(before + 10, 2_000))
    assert counts == [0, 10]


def test_old_segments_are_dropped(tmp_path: Path) -> None:
    """Segments last written before the maximum age are dropped, whichever process wrote them."""
    leave(tmp_path, range(5))
    age(segments(tmp_path)[0], 1_000)
    spool = make_spool(tmp_path, max_age_s=900, segment_bytes=1_000)
    fill(spool, range(10, 30))
    own = [path for path in segments(tmp_path) if path.stat().st_mtime > time.time() - 500]
    age(own[0], 1_000)
    delivered = drain(spool)
    assert delivered == frames(range(30 - len(delivered), 30))
    assert 10 < len(delivered) < 20
    assert spool.counts.dropped_by_limit == 25 - len(delivered)


def test_old_file_in_use_is_kept(tmp_path: Path) -> None:
    """The file that a process is writing is never dropped, however old its frames are."""
    spool = make_spool(tmp_path, max_age_s=900)
    fill(spool, range(3))
    age(segments(tmp_path)[0], 1_000)
    other = make_spool(tmp_path, max_age_s=900)
    assert drain(other) == []
    assert drain(spool) == frames(range(3))


def test_ended_processes_count(tmp_path: Path) -> None:
    """Files of ended processes count towards the limit, and the oldest are dropped first."""
    leave(tmp_path, range(500))
    for path in segments(tmp_path):
        age(path, 100)
    spool = make_spool(tmp_path, limit_bytes=LIMIT, segment_bytes=10_000)
    fill(spool, range(500, 1_000))
    assert spool.counts.dropped_by_limit == 500
    assert drain(spool) == frames(range(500, 1_000))


def test_adopted_segments_are_dropped(tmp_path: Path) -> None:
    """Adopted segments that are too old are dropped, including the one being delivered."""
    leave(tmp_path, range(50), segment_bytes=1_000)
    spool = make_spool(tmp_path, max_age_s=900)
    batch = spool.take(3, MAX_BYTES)
    assert batch is not None
    spool.give_back(batch)
    for path in segments(tmp_path)[:2]:
        age(path, 1_000)
    delivered = drain(spool)
    assert delivered == frames(range(50 - len(delivered), 50))
    assert spool.counts.dropped_by_limit == 50 - len(delivered) > 10


def test_segments_of_a_living_process_make_room(tmp_path: Path) -> None:
    """Frames that another process dropped count as vanished; the others are delivered."""
    first = make_spool(tmp_path, limit_bytes=LIMIT, segment_bytes=10_000)
    fill(first, range(400))
    second = make_spool(tmp_path, limit_bytes=LIMIT, segment_bytes=10_000)
    fill(second, range(1_000, 1_600))
    assert taken_bytes(tmp_path) <= LIMIT + 11_000
    delivered = drain(first)
    assert delivered == frames(range(400 - len(delivered), 400))
    assert first.counts.vanished == 400 - len(delivered) > 100
    assert drain(second) == frames(range(1_000, 1_600))


def test_files_set_aside_make_room(tmp_path: Path) -> None:
    """A damaged file counts towards the limits like any other file."""
    tmp_path.joinpath("0123456789abcdef-00000001.spool").write_bytes(b"x" * 1_000)
    spool = make_spool(tmp_path, max_age_s=900)
    drain(spool)
    (name,) = files(tmp_path)
    assert name.endswith(".damaged")
    age(tmp_path / name, 1_000)
    drain(spool)
    assert files(tmp_path) == []


def test_damaged_file_is_dropped_without_being_adopted(tmp_path: Path) -> None:
    """A damaged file that is too old is removed; it contains no frame to count."""
    path = tmp_path / "0123456789abcdef-00000001.spool"
    path.write_bytes(b"x" * 1_000)
    age(path, 1_000)
    spool = make_spool(tmp_path, max_age_s=900)
    assert drain(spool) == []
    assert files(tmp_path) == []
    assert spool.counts.dropped_by_limit == 0
