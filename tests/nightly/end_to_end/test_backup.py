"""Slow cases of tests/process/end_to_end/test_backup.py."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from tests.process.end_to_end.test_backup import ask_for_backup, send
from tests.support.collector import running
from tests.support.program import otel_ml


def test_not_serving(tmp_path: Path) -> None:
    """A store without a running collector is backed up too, and a non-empty folder is refused."""
    with running(tmp_path / "data") as collector:
        send(collector, "one")
    places = (str(tmp_path / "backup"), "--data-dir", str(tmp_path / "data"))
    assert otel_ml("backup", *places).returncode == 0
    again = otel_ml("backup", *places)
    assert (again.returncode, again.stderr) == (
        2,
        f"otel-ml: The folder {tmp_path}/backup is not empty: expected a new one\n",
    )
    over = otel_ml("restore", *places)
    assert (over.returncode, over.stderr) == (
        2,
        f"otel-ml: The data directory {tmp_path}/data is not empty: it has store\n",
    )


def test_kill_during_backup(tmp_path: Path) -> None:
    """A kill of the collector leaves no valid backup, and the next backup is complete."""
    with running(tmp_path / "data") as collector:
        paths = send(collector, "one")
        before = [collector.get_text(path) for path in paths]
        asking = threading.Thread(target=ask_for_backup, args=(collector, tmp_path / "backup"))
        asking.start()
        unfinished = tmp_path / "backup.partial"
        while asking.is_alive() and not unfinished.exists():
            asking.join(0.001)
        collector.kill()
        asking.join(30)
        assert unfinished.exists()
        assert not (tmp_path / "backup").exists()
        refused = otel_ml("restore", str(unfinished), "--data-dir", str(tmp_path / "new"))
        assert refused.returncode == 2
        assert f"{unfinished} is not a complete backup of otel-ml" in refused.stderr
        collector.restart()
        ask_for_backup(collector, tmp_path / "backup")
    restored = otel_ml("restore", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "new"))
    assert restored.returncode == 0
    with running(tmp_path / "new") as collector:
        assert [collector.get_text(path) for path in paths] == before


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with running(folder / "data") as collector:
        send(collector, "one")
        ask_for_backup(collector, folder / "backup")
    return folder / "backup"


def test_without_checksums(tmp_path: Path, backup: Path) -> None:
    """A backup without checksums, in the older format, is restored with a note about them."""
    old = tmp_path / "backup"
    shutil.copytree(backup, old)
    (old / "SHA256SUMS").unlink()
    manifest = json.loads((old / "backup.json").read_text())
    (old / "backup.json").write_text(json.dumps({**manifest, "format": "otel-ml backup 1"}))
    restored = otel_ml("restore", str(old), "--data-dir", str(tmp_path / "new"))
    assert (restored.returncode, restored.stderr) == (0, "")
    assert restored.stdout.splitlines()[1:] == [
        "The backup has no checksums: only the sizes of its files were checked"
    ]
    with running(tmp_path / "new") as collector:
        assert len(collector.runs("kept", where='tags["client"] == "one"')) == 1
