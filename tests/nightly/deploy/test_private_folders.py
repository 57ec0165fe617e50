"""Backups of a collector with private folders, as in the systemd unit; needs root."""

from pathlib import Path
from typing import Final

import pytest

from tests.support.collector import CollectorProcess
from tests.support.program import otel_ml

# Creates the mounts of systemd in a separate mount namespace.
_SCRIPT: Final = """
mount --bind "$1/systemd-private-1/tmp" "$1/tmp"
mount --bind "$1/empty" "$1/home"
mount --bind "$1/read-only" "$1/read-only"
mount -o remount,bind,ro "$1/read-only"
shift
exec "$@"
"""


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("tmp/monday", "{}/tmp is a private folder of the service, deleted when the service stops"),
        ("home/monday", "the service sees a different folder at {}/home than you do"),
        ("read-only/monday", "Read-only file system"),
    ],
)
def test_refused(tmp_path: Path, folder: str, reason: str) -> None:
    """A backup is refused if the service sees a different folder there or may not write to it."""
    for name in ("systemd-private-1/tmp", "tmp", "empty", "home", "read-only", "backups"):
        (tmp_path / name).mkdir(parents=True)
    launcher = ("unshare", "--mount", "bash", "-ec", _SCRIPT, "bash", str(tmp_path))
    collector = CollectorProcess(tmp_path / "data", launcher=launcher)
    try:
        collector.wait_ready()
        place = ("--endpoint", collector.endpoint)
        refused = otel_ml("backup", str(tmp_path / folder), *place)
        assert refused.returncode == 2
        assert reason.format(tmp_path) in refused.stderr
        written = otel_ml("backup", str(tmp_path / "backups" / "monday"), *place)
        assert (written.returncode, written.stderr) == (0, "")
        assert (tmp_path / "backups" / "monday" / "backup.json").is_file()
    finally:
        collector.kill()
    assert not list((tmp_path / "systemd-private-1" / "tmp").iterdir())
