"""Damaged files: only frames that were written are delivered, and all damage is counted."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.export.spool.frame import FINAL, PROVISIONAL, Seal
from otel_ml.export.spool.spool import Spool, SpoolCounts
from tests.support.examples import examples
from tests.support.otel_ml.export.spool.spools import (
    ENVELOPE,
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

Frames = list[tuple[bytes, bytes]]


def read_back(path: Path, data: bytes) -> tuple[Frames, SpoolCounts]:
    """Deliver a file of an ended process; return the delivered frames and the counts."""
    with tempfile.TemporaryDirectory(dir=path) as name:
        directory = Path(name)
        (directory / "0123456789abcdef-00000001.spool").write_bytes(data)
        spool = make_spool(directory)
        delivered = drain(spool)
        spool.close()
        return delivered, spool.counts


def write_file(path: Path, written: Frames) -> bytes:
    """Return the bytes of a file with these frames."""
    with tempfile.TemporaryDirectory(dir=path) as name:
        spool = Spool(Path(name), ENVELOPE)
        for one, text in written:
            spool.append(one, text)
        spool.close()
        (file,) = segments(Path(name))
        return file.read_bytes()


def frame_ends(data: bytes, written: Frames) -> list[int]:
    """Return the offsets at which the header and each frame end.

    A frame consists of 13 bytes, a key of 24 bytes, and the payload.
    """
    ends = [len(data)]
    for _, text in reversed(written):
        ends.append(ends[-1] - 37 - len(text))
    return ends[::-1]


def test_file_cut_anywhere(tmp_path: Path) -> None:
    """A file truncated at any byte delivers exactly the frames that are still complete."""
    written = frames(range(5), size=20)
    data = write_file(tmp_path, written)
    start, *ends = frame_ends(data, written)
    for cut in range(len(data) + 1):
        delivered, counters = read_back(tmp_path, data[:cut])
        assert delivered == written[: sum(end <= cut for end in ends)]
        assert counters.damaged == (cut not in [start, *ends])


def test_any_byte_flipped(tmp_path: Path) -> None:
    """A wrong byte anywhere in a frame loses only that frame."""
    written = frames(range(5), size=20)
    data = write_file(tmp_path, written)
    start, *ends = frame_ends(data, written)
    for place in range(start, len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        delivered, counters = read_back(tmp_path, bytes(damaged))
        hit = sum(end <= place for end in ends)
        assert delivered == written[:hit] + written[hit + 1 :]
        assert (counters.damaged, counters.damaged_bytes) == (1, 57)


def test_damaged_header(tmp_path: Path) -> None:
    """A file whose header is damaged at any byte is set aside and counted."""
    written = frames(range(2))
    data = write_file(tmp_path, written)
    for place in range(frame_ends(data, written)[0]):
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        assert read_back(tmp_path, bytes(damaged)) == (
            [],
            SpoolCounts(damaged=1, damaged_bytes=len(data)),
        )


def test_damaged_file_is_kept_for_people(tmp_path: Path) -> None:
    """A damaged file is renamed, keeps its bytes, and is not read again."""
    (tmp_path / "0123456789abcdef-00000001.spool").write_bytes(b"text of another program")
    spool = make_spool(tmp_path)
    assert drain(spool) == []
    assert drain(make_spool(tmp_path)) == []
    assert files(tmp_path) == ["0123456789abcdef-00000001.spool.damaged"]
    assert (tmp_path / files(tmp_path)[0]).read_bytes() == b"text of another program"


def test_frames_around_a_damaged_file(tmp_path: Path) -> None:
    """If one segment of a process is damaged, its other segments are delivered."""
    leave(tmp_path, range(30), segment_bytes=1_000)
    damaged = segments(tmp_path)[1]
    damaged.write_bytes(b"")
    delivered = drain(make_spool(tmp_path))
    assert 15 < len(delivered) < 30
    assert set(delivered) < set(frames(range(30)))
    assert files(tmp_path) == [f"{damaged.name}.damaged"]


def test_frame_inside_a_payload(tmp_path: Path) -> None:
    """A payload that contains a frame of another process is never read as a frame."""
    forged = b"".join(
        Seal(salt).pack(key(7), b"forged", FINAL) for salt in (b"\0" * 8, b"otml" * 2)
    )
    data = bytearray(write_file(tmp_path, [(key(1), forged), (key(2), b"good")]))
    data[data.index(key(1))] ^= 1
    assert read_back(tmp_path, bytes(data))[0] == [(key(2), b"good")]


def test_payload_that_holds_the_file_itself(tmp_path: Path) -> None:
    """A long payload with frames of its own file in it is delivered unchanged."""
    spool = make_spool(tmp_path)
    fill(spool, range(3))
    (path,) = segments(tmp_path)
    copy = path.read_bytes().ljust(200_000, b".")
    spool.append(key(3), copy)
    fill(spool, range(4, 5))
    delivered: list[bytes] = []
    while (batch := spool.take(10, 1_000)) is not None:
        delivered += batch.payloads
        spool.done(batch)
    assert delivered == [*map(payload, range(3)), copy, payload(4)]


def test_damage_in_the_file_being_written(tmp_path: Path) -> None:
    """A running process skips damage in its own file and delivers the other frames."""
    spool = make_spool(tmp_path)
    fill(spool, range(3))
    (path,) = segments(tmp_path)
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(data.index(payload(1)))
        file.write(b"X")
    assert drain(spool) == [*frames(range(1)), *frames(range(2, 3))]
    assert spool.pending() == 0
    assert (spool.counts.damaged, spool.counts.damaged_bytes) == (1, 137)


def test_damage_longer_than_a_window(tmp_path: Path) -> None:
    """A frame after many damaged bytes is found."""
    written = [(key(1), b"a" * 1_000_000), (key(2), b"good")]
    data = bytearray(write_file(tmp_path, written))
    data[data.index(key(1))] ^= 1
    assert read_back(tmp_path, bytes(data))[0] == written[1:]


def test_given_back_damage_is_counted_once(tmp_path: Path) -> None:
    """Damage is counted when the batch around it is done."""
    data = write_file(tmp_path, frames(range(3)))
    directory = tmp_path / "spool"
    directory.mkdir()
    damaged = data.replace(payload(1), payload(9))
    (directory / "0123456789abcdef-00000001.spool").write_bytes(damaged)
    spool = make_spool(directory)
    batch = spool.take(10, 10_000)
    assert batch is not None
    spool.give_back(batch)
    assert spool.counts.damaged == 0
    assert drain(spool) == [*frames(range(1)), *frames(range(2, 3))]
    assert spool.counts.damaged == 1


def test_unreadable_bytes(tmp_path: Path) -> None:
    """A file that can be opened but not read is skipped and counted as damage."""
    spool = make_spool(tmp_path, segment_bytes=1_000)
    fill(spool, range(20))
    first = segments(tmp_path)[0]
    first.unlink()
    first.mkdir()
    delivered = drain(spool)
    assert delivered == frames(range(20 - len(delivered), 20))
    assert spool.counts.damaged == 1
    assert spool.pending() == 0


forged_frames = st.builds(
    lambda salt, text: Seal(salt).pack(key(0), text, PROVISIONAL),
    st.binary(min_size=8, max_size=8),
    st.binary(max_size=10),
)
payloads = st.one_of(st.binary(max_size=60), forged_frames)
places = st.integers(min_value=0, max_value=600)
changes = st.one_of(
    st.tuples(st.just("cut"), places, st.just(b"")),
    st.tuples(st.just("flip"), places, st.binary(min_size=1, max_size=3)),
    st.tuples(st.just("insert"), places, st.one_of(st.binary(max_size=8), forged_frames)),
    st.tuples(st.just("remove"), places, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("repeat"), places, st.binary(min_size=1, max_size=90)),
)


def change(data: bytes, kind: str, place: int, what: bytes) -> bytes:
    """Return the damaged bytes. The place counts from the end, where the frames are."""
    at = max(0, len(data) - place)
    behind = data[at + len(what) :]
    if kind == "cut":
        return data[:at]
    if kind == "flip":
        old = data[at : at + len(what)]
        return data[:at] + bytes(a ^ b for a, b in zip(old, what, strict=False)) + behind
    if kind == "insert":
        return data[:at] + what + data[at:]
    if kind == "remove":
        return data[:at] + behind
    return data[: at + len(what)] + data[at:]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damage")


@settings(max_examples=examples(400))
@given(texts=st.lists(payloads, max_size=8), damage=st.lists(changes, min_size=1, max_size=4))
def test_only_written_frames_are_delivered(
    directory: Path, texts: list[bytes], damage: list[tuple[str, int, bytes]]
) -> None:
    """After any damage, each delivered frame is one that was written."""
    written = [(key(number), text) for number, text in enumerate(texts)]
    data = write_file(directory, written) if written else b""
    for kind, place, what in damage:
        data = change(data, kind, place, what)
    delivered, _ = read_back(directory, data)
    assert set(delivered) <= set(written)


@settings(max_examples=examples(100))
@given(texts=st.lists(payloads, min_size=1, max_size=8), torn=st.binary(max_size=50))
def test_bytes_behind_the_last_frame_cost_nothing(
    directory: Path, texts: list[bytes], torn: bytes
) -> None:
    """All frames before a torn end are delivered, in order."""
    written = [(key(number), text) for number, text in enumerate(texts)]
    delivered, counters = read_back(directory, write_file(directory, written) + torn)
    assert delivered == written
    assert counters.damaged_bytes == len(torn)
