"""Directories that cannot hold a spool."""

import os
from pathlib import Path

import pytest

from otel_ml.export.spool.spool import Spool
from tests.support.otel_ml.scripts import run_script


def test_file_in_its_place(tmp_path: Path) -> None:
    """A path to a file is refused."""
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(NotADirectoryError, match="expected a directory"):
        Spool(path, b"")


def test_directory_of_another_user(tmp_path: Path) -> None:
    """A directory of another user is refused, and the error names both users."""
    directory = Path("/")
    if os.geteuid() == 0:
        directory = tmp_path / "other"
        directory.mkdir()
        os.chown(directory, 65_534, -1)
    owner = directory.stat().st_uid
    expected = f"belongs to user {owner}: expected a directory of user {os.geteuid()}"
    with pytest.raises(PermissionError, match=expected):
        Spool(directory, b"")


def test_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """A directory that is not writable is refused."""
    script = """
        import os, tempfile
        from pathlib import Path
        from otel_ml.export.spool.spool import Spool

        if os.geteuid() == 0:
            os.setuid(65_534)
        with tempfile.TemporaryDirectory(dir="/tmp") as name:
            directory = Path(name)
            directory.chmod(0o500)
            try:
                Spool(directory, b"")
            except PermissionError as error:
                print(error)
            directory.chmod(0o700)
    """
    printed = run_script(tmp_path, script).stdout
    assert "Invalid spool directory: expected one that is writable" in printed


def test_system_without_flock(tmp_path: Path) -> None:
    """Without flock, the package can be imported, and creating a spool raises an explanation."""
    script = """
        import sys
        from pathlib import Path

        sys.modules["fcntl"] = None
        from otel_ml.export.spool.spool import Spool

        try:
            Spool(Path("spool"), b"")
        except OSError as error:
            print(error)
    """
    printed = run_script(tmp_path, script).stdout
    assert "A spool needs flock, which this system lacks" in printed
