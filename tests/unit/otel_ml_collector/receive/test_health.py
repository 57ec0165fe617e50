"""Tests of whether the collector can store."""

import shutil
import threading
from pathlib import Path

import pytest

from otel_ml_collector.errors import Rejected, Unavailable
from otel_ml_collector.receive.health import PROBE_EVERY_S, Health


class Disk:
    """A store that takes writes or has trouble, as it is told, and counts the probes."""

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
    """Ask whether it is ready; empty when it is."""
    try:
        health.check_ready()
    except Unavailable as error:
        return str(error)
    return ""


def test_first_question() -> None:
    """Before anything was stored, a write is tried to find out."""
    disk = Disk()
    assert (reason_of(disk.health()), disk.writes) == ("", 1)


def test_seldom_probes() -> None:
    """However often it is asked, a write is tried once in five seconds."""
    disk = Disk()
    health = disk.health()
    for _ in range(21):
        assert reason_of(health) == ""
        disk.now_s += PROBE_EVERY_S / 10
    assert disk.writes == 3


def test_commit_saves_probe() -> None:
    """After a commit nothing is tried: it has shown that the store takes writes."""
    disk = Disk()
    health = disk.health()
    health.watch(lambda: None)()
    assert (reason_of(health), disk.writes) == ("", 0)


def test_failed_commit() -> None:
    """After a commit that failed it is not ready, at once and without a probe."""
    disk = Disk()
    health = disk.health()
    disk.trouble = Unavailable("The store has trouble: READONLY")
    with pytest.raises(Unavailable):
        health.watch(disk.write)()
    assert (reason_of(health), disk.writes) == ("The store has trouble: READONLY", 1)


def test_recovery_by_probe() -> None:
    """It is ready again when a probe went well, though nobody sends anything any more."""
    disk = Disk()
    health = disk.health()
    disk.trouble = ValueError("secret")
    assert reason_of(health) == "ValueError"
    disk.trouble = None
    assert reason_of(health) == "ValueError"
    disk.now_s += PROBE_EVERY_S
    assert reason_of(health) == ""


def test_recovery_by_commit() -> None:
    """It is ready again with the first commit that went well."""
    disk = Disk()
    health = disk.health()
    disk.trouble = Unavailable("gone")
    assert reason_of(health) == "gone"
    health.watch(lambda: None)()
    assert reason_of(health) == ""


def test_refused_data() -> None:
    """Data that the store refuses says nothing against the store."""
    disk = Disk()
    health = disk.health()
    health.watch(lambda: None)()
    disk.trouble = Rejected("bad data")
    with pytest.raises(Rejected):
        health.watch(disk.write)()
    assert reason_of(health) == ""


def test_full_disk(tmp_path: Path) -> None:
    """While too little of the disk is free, nothing is written and the reason is told."""
    disk = Disk()
    least = shutil.disk_usage(tmp_path).total + 1
    health = disk.health(tmp_path, least)
    assert reason_of(health).endswith(f" bytes free: expected at least {least}")
    with pytest.raises(Unavailable, match="bytes free"):
        health.watch(disk.write)()
    assert disk.writes == 0


def test_room_on_disk(tmp_path: Path) -> None:
    """While enough of the disk is free, writes go on."""
    disk = Disk()
    assert reason_of(disk.health(tmp_path, 1)) == ""


def test_lost_folder(tmp_path: Path) -> None:
    """A data directory that is gone is told, and seen again when it is back."""
    disk = Disk()
    folder = tmp_path / "data"
    health = disk.health(folder, 1)
    expected = "The data directory cannot be seen: No such file or directory"
    assert reason_of(health) == expected
    folder.mkdir()
    disk.now_s += 1
    assert reason_of(health) == ""


def test_hanging_store() -> None:
    """While a probe gets no answer, others are told so after five seconds and wait for nothing."""
    disk = Disk()
    begun, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        assert go_on.wait(20)

    health = Health(hang, now_s=lambda: disk.now_s)
    asking = threading.Thread(target=health.check_ready)
    asking.start()
    assert begun.wait(20)
    assert reason_of(health) == ""
    disk.now_s += PROBE_EVERY_S
    assert reason_of(health) == "The store has not answered for 5 s"
    go_on.set()
    asking.join(20)
    assert reason_of(health) == ""


def test_drain() -> None:
    """A collector that ends is ready no more."""
    health = Disk().health()
    health.drain()
    assert reason_of(health) == "The collector is shutting down"
