"""Hash of the content of a model's files."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from otel_ml.targets import WeightsContent, read_content


def write(directory: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def test_file_and_bytes_are_the_same(tmp_path: Path) -> None:
    """A file has the hash of its bytes, however long it is."""
    content = os.urandom(3_000_000)
    path = tmp_path / "weights.bin"
    path.write_bytes(content)
    expected = WeightsContent(hashlib.sha256(content).hexdigest(), len(content))
    assert read_content(path) == read_content(str(path)) == read_content(content) == expected


def test_directory_counts_names_and_contents(tmp_path: Path) -> None:
    """Directories with the same files have the same hash, whatever their times and order."""
    files = {"config.json": b"{}", "shards/1.bin": b"one", "shards/2.bin": b"two"}
    first = write(tmp_path / "first", files)
    second = write(tmp_path / "second", dict(reversed(files.items())))
    for path in second.rglob("*.bin"):
        os.utime(path, (1, 1))
    assert read_content(first) == read_content(second)
    assert read_content(first).size == 8


@pytest.mark.parametrize(
    "other",
    [
        {"a": b"1", "b": b"3"},
        {"a": b"1", "c": b"2"},
        {"a": b"1"},
        {"a": b"1", "b": b"2", "c": b""},
        {"a": b"2", "b": b"1"},
        {"d/a": b"1", "b": b"2"},
    ],
)
def test_any_difference_is_another_content(tmp_path: Path, other: dict[str, bytes]) -> None:
    """A different name, place or content of a file changes the hash."""
    one = read_content(write(tmp_path / "one", {"a": b"1", "b": b"2"}))
    assert read_content(write(tmp_path / "two", other)).sha256 != one.sha256


def test_linked_files_count_as_what_they_are(tmp_path: Path) -> None:
    """A link to a file counts as the file; pipes and links to directories are ignored."""
    plain = write(tmp_path / "plain", {"a": b"1"})
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "a").symlink_to(plain / "a")
    (linked / "loop").symlink_to(linked)
    os.mkfifo(linked / "pipe")
    assert read_content(linked) == read_content(plain)


@pytest.mark.parametrize("weights", [3, None, ["a"], "no-such-file", b"".join])
def test_what_cannot_be_read_is_refused(weights: Any) -> None:
    """A value that is not bytes, a file or a directory is refused."""
    with pytest.raises(ValueError, match="Invalid artifact"):
        read_content(weights)
