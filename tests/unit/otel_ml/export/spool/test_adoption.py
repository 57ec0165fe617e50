"""Spools deliver the frames that ended processes left behind."""

from pathlib import Path

from otel_ml.export.spool.spool import Spool
from tests.support.otel_ml.export.spool.spools import (
    MAX_BYTES,
    drain,
    files,
    fill,
    frames,
    leave,
    make_spool,
    once,
    segments,
)


def test_all_segments_are_adopted(tmp_path: Path) -> None:
    """The segments of an ended process are delivered in order and removed."""
    leave(tmp_path, range(50), segment_bytes=1_000)
    assert len(segments(tmp_path)) > 3
    spool = make_spool(tmp_path)
    assert drain(spool, 3) == frames(range(50))
    assert files(tmp_path) == []
    assert spool.counts.adopted == 50
    assert spool.pending() == 0


def test_each_batch_has_the_envelope_of_its_process(tmp_path: Path) -> None:
    """Frames of two processes never share a batch."""
    leave(tmp_path, range(3), b"first process")
    leave(tmp_path, range(3, 6), b"second process")
    spool = make_spool(tmp_path, b"adopter")
    fill(spool, range(6, 9))
    batches = {}
    while (batch := spool.take(100, MAX_BYTES)) is not None:
        batches[batch.envelope] = list(zip(batch.keys, batch.payloads, strict=True))
        spool.done(batch)
    assert batches == {
        b"adopter": frames(range(6, 9)),
        b"first process": frames(range(3)),
        b"second process": frames(range(3, 6)),
    }


def test_living_process_is_left_alone(tmp_path: Path) -> None:
    """A spool does not take frames of a running process, including its rotated segments."""
    living = make_spool(tmp_path, segment_bytes=1_000)
    fill(living, range(50))
    other = make_spool(tmp_path)
    assert drain(other) == []
    assert drain(living) == frames(range(50))


def test_own_frames_come_first(tmp_path: Path) -> None:
    """A spool delivers its own frames before those of other processes."""
    leave(tmp_path, range(3))
    spool = make_spool(tmp_path)
    fill(spool, range(3, 9))
    assert drain(spool, 2) == [*frames(range(3, 9)), *frames(range(3))]


def test_own_trickle_does_not_starve_adopted_frames(tmp_path: Path) -> None:
    """A process that keeps writing frames still delivers the frames of ended processes."""
    leave(tmp_path, range(100, 110))
    spool = make_spool(tmp_path)
    delivered: list[tuple[bytes, bytes]] = []
    for number in range(10):
        fill(spool, range(number, number + 1))
        batch = spool.take(5, MAX_BYTES)
        assert batch is not None
        delivered += zip(batch.keys, batch.payloads, strict=True)
        spool.done(batch)
    assert set(frames(range(100, 110))) <= set(delivered)


def test_two_adopters_never_share_a_process(tmp_path: Path) -> None:
    """While one spool delivers the frames of an ended process, another spool takes none."""
    leave(tmp_path, range(10))
    first, second = make_spool(tmp_path), make_spool(tmp_path)
    batch = first.take(5, MAX_BYTES)
    assert batch is not None
    assert second.take(5, MAX_BYTES) is None
    first.done(batch)
    assert second.take(5, MAX_BYTES) is None
    assert drain(first) == frames(range(5, 10))
    assert files(tmp_path) == []


def test_adopter_that_ends_passes_on(tmp_path: Path) -> None:
    """If an adopter ends early, the next spool delivers the files that are left."""
    leave(tmp_path, range(50), segment_bytes=1_000)
    count = len(segments(tmp_path))
    first = make_spool(tmp_path)
    for _ in range(4):
        batch = first.take(5, MAX_BYTES)
        assert batch is not None
        first.done(batch)
    first.close()
    rest = drain(make_spool(tmp_path))
    assert count > len(rest) / 50 * count > 0
    assert rest == frames(range(50 - len(rest), 50))
    assert len(rest) >= 30


def test_two_clients_of_one_process(tmp_path: Path) -> None:
    """Clients that share a directory deliver their own frames.

    After one closes, another delivers the frames that it left.
    """
    first, second = make_spool(tmp_path), make_spool(tmp_path)
    fill(first, range(5))
    fill(second, range(5, 10))
    assert drain(first) == frames(range(5))
    second.close()
    assert drain(first) == frames(range(5, 10))


def test_pending_counts_adopted_frames(tmp_path: Path) -> None:
    """The frames of an adopted segment are pending until their batch is done."""
    leave(tmp_path, range(10))
    spool = make_spool(tmp_path)
    batch = spool.take(4, MAX_BYTES)
    assert batch is not None
    assert spool.pending() == 10
    spool.done(batch)
    assert spool.pending() == 6


def test_crash_loop_grows_nothing(tmp_path: Path) -> None:
    """Adopters that end before an acknowledgement leave the files unchanged."""
    leave(tmp_path, range(50), segment_bytes=1_000)
    before = {path: path.read_bytes() for path in segments(tmp_path)}
    for _ in range(5):
        spool = make_spool(tmp_path)
        assert spool.take(10, MAX_BYTES) is not None
        spool.close()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_segment_that_was_being_created_is_removed(tmp_path: Path) -> None:
    """A segment file whose process was killed before the rename is removed."""
    (tmp_path / "0123456789abcdef-00000001.spool.new").write_bytes(b"otml")
    assert drain(make_spool(tmp_path)) == []
    assert files(tmp_path) == []


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    """Links and files that do not belong to a spool are neither read nor removed."""
    leave(tmp_path / "elsewhere", range(1))
    (target,) = segments(tmp_path / "elsewhere")
    directory = tmp_path / "spool"
    directory.mkdir()
    (directory / "0123456789abcdef-notes.spool").write_text("notes")
    (directory / target.name).symlink_to(target)
    assert drain(make_spool(directory)) == []
    assert files(directory) == sorted(["0123456789abcdef-notes.spool", target.name])


def test_directory_is_looked_at_from_time_to_time(tmp_path: Path) -> None:
    """Between two checks of the directory, new files of ended processes are not found."""
    spool = Spool(tmp_path, b"", check_every_s=3_600)
    assert drain(spool) == []
    leave(tmp_path, range(3))
    assert drain(spool) == []


def open_descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def test_many_ended_processes(tmp_path: Path) -> None:
    """Files of 200 ended processes are each delivered once, with one extra descriptor open."""
    for number in range(200):
        leave(tmp_path, range(number, number + 1))
    spool = make_spool(tmp_path)
    before = open_descriptors()
    most = 0
    delivered: list[tuple[bytes, bytes]] = []
    while (batch := spool.take(10, MAX_BYTES)) is not None:
        most = max(most, open_descriptors() - before)
        delivered += zip(batch.keys, batch.payloads, strict=True)
        spool.done(batch)
    assert once(delivered) == dict(frames(range(200)))
    assert most == 1
