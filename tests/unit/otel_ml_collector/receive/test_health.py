"""Tests of readiness: whether the collector can write to the store."""

import shutil
import threading
from pathlib import Path

import pytest

from otel_ml_collector.errors import Rejected, Unavailable
from otel_ml_collector.receive.health import PROBE_EVERY_S, Health


class Disk:
    """A store that succeeds or fails on demand, and counts the writes."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.writes = 0
        self.now_s = 100.0

    def write(self) -> None:
        self.writes += 1
        if self.trouble:
            raise self.trouble

    def health(self, folder: Path | None = None, min_free_bytes: int = 0) -> Health:
        return Health(self.write, folder, min_free_bytes, lambda: self.now_s)


def reason_of(health: Health) -> str:
    """Return why the collector is not ready, or an empty text if it is."""
    try:
        health.check_ready()
    except Unavailable as error:
        return str(error)
    return ""


def test_before_the_first_write() -> None:
    """A collector is ready only after a successful write. Reading the state writes nothing."""
    disk = Disk()
    health = disk.health()
    assert (reason_of(health), disk.writes) == ("Nothing has been written to the store yet", 0)
    health.probe()
    assert (reason_of(health), disk.writes) == ("", 1)


def test_no_probe_without_error() -> None:
    """While nothing fails, no probe is written, however often and late one is requested."""
    disk = Disk()
    health = disk.health()
    health.watch(lambda: None)()
    for _ in range(5):
        disk.now_s += PROBE_EVERY_S
        health.probe()
        assert reason_of(health) == ""
    assert disk.writes == 0


def test_failed_commit() -> None:
    """A failed commit makes the collector not ready at once."""
    disk = Disk()
    health = disk.health()
    disk.trouble = Unavailable("The store has trouble: READONLY")
    with pytest.raises(Unavailable):
        health.watch(disk.write)()
    assert (reason_of(health), disk.writes) == ("The store has trouble: READONLY", 1)


def test_recovery_by_probe() -> None:
    """A successful probe makes the collector ready again, even without traffic."""
    disk = Disk()
    health = disk.health()
    disk.trouble = ValueError("secret")
    health.probe()
    assert reason_of(health) == "ValueError"
    disk.trouble = None
    assert reason_of(health) == "ValueError"
    health.probe()
    assert reason_of(health) == ""


def test_recovery_by_commit() -> None:
    """A successful commit makes the collector ready again."""
    disk = Disk()
    health = disk.health()
    disk.trouble = Unavailable("gone")
    health.probe()
    assert reason_of(health) == "gone"
    health.watch(lambda: None)()
    assert reason_of(health) == ""


def test_refused_data() -> None:
    """Data that the store rejects does not affect readiness."""
    disk = Disk()
    health = disk.health()
    health.watch(lambda: None)()
    disk.trouble = Rejected("bad data")
    with pytest.raises(Rejected):
        health.watch(disk.write)()
    assert reason_of(health) == ""


def test_full_disk(tmp_path: Path) -> None:
    """While the disk has too little free space, nothing is written and the reason is reported."""
    disk = Disk()
    least = shutil.disk_usage(tmp_path).total + 1
    health = disk.health(tmp_path, least)
    assert reason_of(health).endswith(f" MB free: expected at least {least / 1e6:,.1f} MB")
    with pytest.raises(Unavailable, match="MB free"):
        health.watch(disk.write)()
    assert disk.writes == 0


def test_room_on_disk(tmp_path: Path) -> None:
    """While the disk has enough free space, writes succeed."""
    health = Disk().health(tmp_path, 1)
    health.probe()
    assert reason_of(health) == ""


def test_lost_folder(tmp_path: Path) -> None:
    """A missing data folder is reported. When it is back, the collector is ready again."""
    disk = Disk()
    folder = tmp_path / "data"
    health = disk.health(folder, 1)
    health.probe()
    expected = "The data directory is not accessible: No such file or directory"
    assert reason_of(health) == expected
    folder.mkdir()
    disk.now_s += 1
    health.probe()
    assert reason_of(health) == ""


def test_hanging_store() -> None:
    """If a probe hangs, the reason changes after five seconds. Reading the state does not wait."""
    disk = Disk()
    begun, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        assert go_on.wait(20)

    health = Health(hang, now_s=lambda: disk.now_s)
    probing = threading.Thread(target=health.probe)
    probing.start()
    assert begun.wait(20)
    assert reason_of(health) == "Nothing has been written to the store yet"
    disk.now_s += PROBE_EVERY_S
    assert reason_of(health) == "The store has not responded for 5 s"
    go_on.set()
    probing.join(20)
    assert reason_of(health) == ""


def test_drain() -> None:
    """A collector that is shutting down is no longer ready."""
    health = Disk().health()
    health.drain()
    assert reason_of(health) == "The collector is shutting down"
