"""Files and directories that are removed while a spool uses them."""

import shutil
from pathlib import Path

from otel_ml.export.spool.spool import Spool
from tests.support.otel_ml.export.spool.spools import (
    drain,
    files,
    fill,
    frames,
    leave,
    make_spool,
    segments,
)


def test_removed_file_is_made_again(tmp_path: Path) -> None:
    """A removed file is created again after the next check of the directory.

    The frames of the removed file are still delivered.
    """
    spool = make_spool(tmp_path)
    fill(spool, range(3))
    segments(tmp_path)[0].unlink()
    assert drain(spool, 1) == frames(range(3))
    assert spool.counts.vanished == 3
    fill(spool, range(3, 5))
    spool.close()
    assert drain(make_spool(tmp_path)) == frames(range(3, 5))


def test_removed_file_is_missed_when_it_is_read(tmp_path: Path) -> None:
    """Between two checks of the directory, the reader detects that the current file is gone."""
    spool = Spool(tmp_path, b"", check_every_s=3_600)
    fill(spool, range(3))
    assert drain(spool) == frames(range(3))
    fill(spool, range(3, 6))
    segments(tmp_path)[0].unlink()
    assert drain(spool) == frames(range(3, 6))
    fill(spool, range(6, 9))
    spool.close()
    assert drain(make_spool(tmp_path)) == frames(range(6, 9))


def test_removed_directory_is_made_again(tmp_path: Path) -> None:
    """A process that keeps writing detects that its directory is gone and creates it again."""
    directory = tmp_path / "spool"
    spool = make_spool(directory)
    fill(spool, range(10))
    shutil.rmtree(directory)
    fill(spool, range(10, 2_000))
    assert len(segments(directory)) == 1
    assert drain(spool) == frames(range(2_000))
    fill(spool, range(1))
    assert len(segments(directory)) == 1


def test_directory_removed_for_good(tmp_path: Path) -> None:
    """If the directory cannot be created again, appends are refused and counted."""
    directory = tmp_path / "spool"
    spool = make_spool(directory)
    fill(spool, range(10))
    shutil.rmtree(directory)
    directory.write_text("a file in its place")
    assert drain(spool) == frames(range(10))
    assert not spool.append(b"k" * 24, b"a span")
    assert spool.counts.write_failed == 1
    directory.unlink()
    fill(spool, range(10, 12))
    assert drain(spool) == frames(range(10, 12))


def test_removed_rotated_file_is_counted(tmp_path: Path) -> None:
    """The frames of a removed file are counted, and the others are delivered."""
    spool = make_spool(tmp_path, segment_bytes=1_000)
    fill(spool, range(30))
    segments(tmp_path)[0].unlink()
    delivered = drain(spool)
    assert delivered == frames(range(30 - len(delivered), 30))
    assert spool.counts.vanished == 30 - len(delivered) > 0
    assert spool.pending() == 0


def test_removed_adopted_file_is_counted(tmp_path: Path) -> None:
    """An adopter continues if the file that it reads is removed."""
    leave(tmp_path, range(30), segment_bytes=1_000)
    spool = make_spool(tmp_path)
    batch = spool.take(3, 10_000)
    assert batch is not None
    spool.give_back(batch)
    segments(tmp_path)[0].unlink()
    segments(tmp_path)[0].unlink()
    delivered = drain(spool)
    assert delivered == frames(range(30 - len(delivered), 30))
    assert spool.counts.vanished > 0
    assert files(tmp_path) == []


def test_emptied_file_costs_what_it_held(tmp_path: Path) -> None:
    """An emptied file loses its frames, but not frames written after the next check."""
    spool = make_spool(tmp_path)
    fill(spool, range(3))
    segments(tmp_path)[0].write_bytes(b"")
    assert drain(spool) == []
    assert spool.counts.damaged == 1
    fill(spool, range(3, 6))
    assert drain(spool) == frames(range(3, 6))
