"""Judged calls write a provisional frame on return and a final frame after their judges."""

from pathlib import Path

import pytest

from otel_ml.export.spool.spool import Spool
from tests.support.otel_ml.export.spool.spools import (
    MAX_BYTES,
    drain,
    files,
    fill,
    frames,
    key,
    make_spool,
    once,
    segments,
)


def hold(spool: Spool, number: int) -> None:
    assert spool.append(key(number), b"held", provisional=True)


def finish(spool: Spool, number: int) -> None:
    assert spool.append(key(number), b"final")


def test_live_process_sends_final_alone(tmp_path: Path) -> None:
    """The process that wrote a provisional frame sends only the final frame."""
    spool = make_spool(tmp_path)
    hold(spool, 1)
    assert spool.take(1, MAX_BYTES) is None
    assert spool.pending() == 0
    finish(spool, 1)
    assert drain(spool) == [(key(1), b"final")]


def test_adopter_sends_last_frame_of_a_key(tmp_path: Path) -> None:
    """An adopter sends the final frame of a key, or else its last provisional frame."""
    spool = make_spool(tmp_path)
    hold(spool, 1)
    spool.append(key(2), b"held first", provisional=True)
    hold(spool, 2)
    finish(spool, 1)
    spool.close()
    assert drain(make_spool(tmp_path)) == [(key(2), b"held"), (key(1), b"final")]


def test_adopter_sees_final_in_a_later_segment(tmp_path: Path) -> None:
    """A provisional frame is not sent if its final frame is in another segment."""
    spool = make_spool(tmp_path, segment_bytes=1_000)
    hold(spool, 100)
    hold(spool, 101)
    fill(spool, range(30))
    finish(spool, 100)
    assert len(segments(tmp_path)) > 2
    spool.close()
    expected = [(key(101), b"held"), *frames(range(30)), (key(100), b"final")]
    assert drain(make_spool(tmp_path)) == expected


def test_held_frames_of_a_long_backlog(tmp_path: Path) -> None:
    """In many segments, each provisional frame is sent once unless its final frame follows."""
    spool = make_spool(tmp_path, segment_bytes=1_000)
    for number in range(200):
        hold(spool, number)
        if number % 2 == 0 and number >= 100:
            finish(spool, number - 100)
    assert len(segments(tmp_path)) > 10
    spool.close()
    unfinished = [number for number in range(200) if number % 2 or number >= 100]
    finished = [number for number in range(100) if number % 2 == 0]
    delivered = drain(make_spool(tmp_path))
    assert once(delivered) == {
        **{key(number): b"held" for number in unfinished},
        **{key(number): b"final" for number in finished},
    }
    assert files(tmp_path) == []


def test_held_frame_keeps_its_segment(tmp_path: Path) -> None:
    """A provisional frame survives its process, even if all other frames are delivered."""
    spool = make_spool(tmp_path, segment_bytes=1_000)
    hold(spool, 100)
    fill(spool, range(30))
    assert drain(spool) == frames(range(30))
    assert spool.pending() == 0
    spool.close()
    assert (key(100), b"held") in drain(make_spool(tmp_path))


def test_final_frame_frees_the_segment(tmp_path: Path) -> None:
    """After the final frames are delivered, none of their provisional frames remain."""
    spool = make_spool(tmp_path, segment_bytes=1_000)
    for number in range(100):
        hold(spool, number)
        if number >= 10:
            finish(spool, number - 10)
    assert len(segments(tmp_path)) > 5
    drain(spool)
    for number in range(90, 100):
        finish(spool, number)
    assert drain(spool) == [(key(number), b"final") for number in range(90, 100)]
    spool.close()
    assert files(tmp_path) == []


def test_held_frame_in_current_segment_survives(tmp_path: Path) -> None:
    """The current file is not emptied while a provisional frame in it waits."""
    spool = make_spool(tmp_path)
    fill(spool, range(3))
    hold(spool, 100)
    drain(spool)
    spool.close()
    assert (key(100), b"held") in drain(make_spool(tmp_path))


def test_removal_never_leaves_a_held_frame_without_its_final(tmp_path: Path) -> None:
    """A delivered final frame stays on disk as long as its provisional frame."""
    spool = make_spool(tmp_path, segment_bytes=1_000)
    hold(spool, 100)
    hold(spool, 101)
    fill(spool, range(30))
    finish(spool, 101)
    fill(spool, range(30, 60))
    drain(spool)
    spool.close()
    sent_again = dict(drain(make_spool(tmp_path)))
    assert sent_again[key(100)] == b"held"
    assert sent_again[key(101)] == b"final"


@pytest.mark.parametrize("damage", [0, 40])
def test_damaged_final_frame_leaves_the_held_one(tmp_path: Path, damage: int) -> None:
    """If the final frame is damaged, an adopter sends the provisional frame."""
    spool = make_spool(tmp_path)
    hold(spool, 1)
    finish(spool, 1)
    spool.close()
    (path,) = segments(tmp_path)
    data = bytearray(path.read_bytes())
    data[-1 - damage] ^= 1
    path.write_bytes(data)
    assert drain(make_spool(tmp_path)) == [(key(1), b"held")]


def test_unreadable_later_segment(tmp_path: Path) -> None:
    """A provisional frame is sent if the segment with its final frame lost its header."""
    spool = make_spool(tmp_path, segment_bytes=1_000)
    hold(spool, 100)
    fill(spool, range(10))
    finish(spool, 100)
    spool.close()
    segments(tmp_path)[1].write_bytes(b"")
    assert (key(100), b"held") in drain(make_spool(tmp_path))
