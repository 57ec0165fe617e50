"""Tests of the folders that accept a backup, and of the data directories that can be opened."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from otel_ml_collector.errors import BadInput, BadSetting
from otel_ml_collector.store.backup import Backups, restore
from otel_ml_collector.store.migrations import connect
from otel_ml_collector.store.same_folder import FolderIdentity, identify
from otel_ml_collector.store.tombstones import Tombstones
from tests.support.sampling import at_night, sampled


@pytest.fixture
def backups(tmp_path: Path) -> Iterator[Backups]:
    with closing(connect(f"chdb://{tmp_path}/data")) as connections:
        yield Backups(connections, Tombstones(connections))


def test_named_folder(tmp_path: Path, backups: Backups) -> None:
    """A backup is written to the folder that its operator sees."""
    folder = tmp_path / "backups" / "monday"
    seen = identify(folder)
    assert seen.path == tmp_path
    assert backups.write(folder, seen).folder == folder
    assert (folder / "backup.json").is_file()


@at_night
def test_different_folder(tmp_path: Path, backups: Backups) -> None:
    """A backup is refused if the collector sees a different folder at the path."""
    for name in ("private", "tmp"):
        (tmp_path / name).mkdir()
    seen = identify(tmp_path / "tmp")
    (tmp_path / "tmp").rename(tmp_path / "other")
    with pytest.raises(BadInput, match=r"does not see .*/tmp \(No such file or directory\)"):
        backups.write(tmp_path / "tmp" / "monday", seen)
    (tmp_path / "private").rename(tmp_path / "tmp")
    with pytest.raises(BadInput, match=r"sees a different folder at .*/tmp than you do"):
        backups.write(tmp_path / "tmp" / "monday", seen)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_suggested_folder(
    tmp_path: Path, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the folder that the service's unit provides for backups."""
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/otel-ml:/var/lib/otel-ml-backups")
    seen = FolderIdentity(tmp_path, 0, 0)
    with pytest.raises(BadInput, match=r"; use a new folder in /var/lib/otel-ml-backups$"):
        backups.write(tmp_path / "monday", seen)


@sampled(1)
@pytest.mark.parametrize("folder", ["data", "data/monday", "data/store/monday", "link/monday"])
def test_inside_the_data(tmp_path: Path, backups: Backups, folder: str) -> None:
    """A folder in the data directory or the store is refused, also below a symbolic link."""
    (tmp_path / "link").symlink_to(tmp_path / "data" / "store")
    with pytest.raises(BadInput, match=r"is inside .*/data, whose data it would back up"):
        backups.write(tmp_path / folder)


def test_store_on_another_disk(tmp_path: Path) -> None:
    """A folder in the store is refused if a symbolic link leads to the store."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "store").symlink_to(tmp_path / "disk")
    with closing(connect(f"chdb://{tmp_path}/data")) as connections:
        backups = Backups(connections, Tombstones(connections))
        with pytest.raises(BadInput, match=r"is inside .*/data/store, whose data"):
            backups.write(tmp_path / "disk" / "monday")


def test_restore_inside_the_backup(tmp_path: Path, backups: Backups) -> None:
    """A backup is not restored into itself."""
    backups.write(tmp_path / "monday")
    with pytest.raises(BadSetting, match=r"is inside the backup"):
        restore(tmp_path / "monday", tmp_path / "monday" / "data")


@at_night
def test_copy_without_links(tmp_path: Path) -> None:
    """A copy of a data directory is refused if copying followed its symbolic links."""
    connect(f"chdb://{tmp_path}/data").close()
    shutil.copytree(tmp_path / "data", tmp_path / "followed")
    shutil.copytree(tmp_path / "data", tmp_path / "kept", symlinks=True)
    with pytest.raises(BadSetting, match=r"in place of the symbolic link store/metadata/default"):
        connect(f"chdb://{tmp_path}/followed")
    connect(f"chdb://{tmp_path}/kept").close()
