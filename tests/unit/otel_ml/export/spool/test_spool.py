"""The queue of one process: how frames are taken, finished, given back and left behind."""

import stat
from pathlib import Path

import pytest

from otel_ml.export.spool.spool import SpoolCounts
from tests.support.otel_ml.export.spool.spools import (
    ENVELOPE,
    MAX_BYTES,
    drain,
    files,
    fill,
    frames,
    key,
    leave,
    make_spool,
    payload,
    segments,
)


def test_frames_come_in_order(tmp_path: Path) -> None:
    """Frames are taken in the order they were written, with the envelope of their process."""
    spool = make_spool(tmp_path)
    fill(spool, range(10))
    batch = spool.take(4, MAX_BYTES)
    assert batch is not None
    assert batch.envelope == ENVELOPE
    assert list(zip(batch.keys, batch.payloads, strict=True)) == frames(range(4))
    spool.done(batch)
    assert drain(spool) == frames(range(4, 10))


def test_frame_is_in_file_before_append_returns(tmp_path: Path) -> None:
    """The payload is in the file when append returns."""
    spool = make_spool(tmp_path)
    spool.append(key(1), b"a span")
    (path,) = segments(tmp_path)
    assert path.read_bytes().endswith(key(1) + b"a span")


def test_empty_payload(tmp_path: Path) -> None:
    """A payload without bytes is delivered."""
    spool = make_spool(tmp_path)
    spool.append(key(1), b"")
    assert drain(spool) == [(key(1), b"")]


def test_given_back_frames_are_taken_again(tmp_path: Path) -> None:
    """A batch that was given back is taken again before later frames."""
    spool = make_spool(tmp_path)
    fill(spool, range(3))
    batch = spool.take(2, MAX_BYTES)
    assert batch is not None
    spool.give_back(batch)
    assert drain(spool) == frames(range(3))


def test_max_bytes_bounds_a_batch(tmp_path: Path) -> None:
    """A batch ends before the payload that would exceed the maximum bytes."""
    spool = make_spool(tmp_path)
    fill(spool, range(5), size=100)
    batch = spool.take(10, 299)
    assert batch is not None
    assert batch.keys == [key(0), key(1)]


def test_long_payload_comes_alone(tmp_path: Path) -> None:
    """A payload longer than a batch or a segment may be is delivered in its own batch."""
    spool = make_spool(tmp_path, segment_bytes=50_000)
    expected = frames(range(1), 10) + frames(range(1, 3), 300_000) + frames(range(3, 4), 10)
    for one, text in expected:
        spool.append(one, text)
    batches: list[list[bytes]] = []
    while (batch := spool.take(10, 100)) is not None:
        batches.append(batch.payloads)
        spool.done(batch)
    assert batches == [[text] for _, text in expected]


def test_segments_follow_each_other(tmp_path: Path) -> None:
    """Frames of many segments are delivered in order, and delivered files are removed."""
    spool = make_spool(tmp_path, segment_bytes=2_000)
    fill(spool, range(100))
    before = len(segments(tmp_path))
    assert before > 5
    assert drain(spool, 7) == frames(range(100))
    assert len(segments(tmp_path)) == 1


def test_idle_file_is_emptied(tmp_path: Path) -> None:
    """After all frames are delivered, the remaining file is as small as an empty one."""
    spool = make_spool(tmp_path)
    fill(spool, range(1))
    drain(spool)
    (path,) = segments(tmp_path)
    empty = path.stat().st_size
    fill(spool, range(1_000))
    drain(spool)
    assert path.stat().st_size == empty
    fill(spool, range(1_000, 1_010))
    assert drain(spool) == frames(range(1_000, 1_010))


def test_pending_counts_until_done(tmp_path: Path) -> None:
    """A frame is pending from append until done, even while it is taken."""
    spool = make_spool(tmp_path)
    fill(spool, range(3))
    batch = spool.take(2, MAX_BYTES)
    assert batch is not None
    assert spool.pending() == 3
    spool.done(batch)
    assert spool.pending() == 1


def test_second_done_does_nothing(tmp_path: Path) -> None:
    """Finishing a batch a second time has no effect."""
    spool = make_spool(tmp_path)
    fill(spool, range(3))
    batch = spool.take(1, MAX_BYTES)
    assert batch is not None
    spool.done(batch)
    spool.done(batch)
    spool.give_back(batch)
    assert drain(spool) == frames(range(1, 3))


def test_take_twice_is_refused(tmp_path: Path) -> None:
    """A second take before the first batch is finished raises RuntimeError."""
    spool = make_spool(tmp_path)
    fill(spool, range(2))
    spool.take(1, MAX_BYTES)
    with pytest.raises(RuntimeError, match="call done or give_back"):
        spool.take(1, MAX_BYTES)


def test_wrong_key_is_refused(tmp_path: Path) -> None:
    """A key of the wrong length raises ValueError."""
    spool = make_spool(tmp_path)
    with pytest.raises(ValueError, match="expected 24 bytes"):
        spool.append(b"short", b"a span")


def test_new_spool_holds_nothing(tmp_path: Path) -> None:
    """A spool without frames has nothing to send."""
    spool = make_spool(tmp_path)
    assert (spool.pending(), spool.take(1, 1)) == (0, None)


def test_close_removes_what_is_done(tmp_path: Path) -> None:
    """A spool that delivered all frames leaves no file."""
    spool = make_spool(tmp_path)
    fill(spool, range(3))
    drain(spool)
    spool.close()
    spool.close()
    assert files(tmp_path) == []


def test_close_leaves_what_is_pending(tmp_path: Path) -> None:
    """Frames that a closed spool did not deliver are delivered by the next spool."""
    leave(tmp_path, range(3))
    assert drain(make_spool(tmp_path)) == frames(range(3))


def test_closed_spool_refuses(tmp_path: Path) -> None:
    """A closed spool rejects and counts new frames, and returns no batch."""
    spool = make_spool(tmp_path)
    fill(spool, range(1))
    spool.close()
    assert not spool.append(key(1), payload(1))
    assert spool.take(1, MAX_BYTES) is None
    assert spool.counts == SpoolCounts(written=1, write_failed=1)


def test_nothing_is_made_before_the_first_append(tmp_path: Path) -> None:
    """A spool creates no file before the first append."""
    spool = make_spool(tmp_path)
    assert spool.take(1, MAX_BYTES) is None
    assert files(tmp_path) == []
    spool.close()


def test_files_are_private(tmp_path: Path) -> None:
    """Only the owner can access the directory and its files."""
    directory = tmp_path / "missing" / "spool"
    leave(directory, range(1))
    (path,) = segments(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
