"""The content of a model's files, or bytes, as one hash."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otel_ml.arguments import invalid

_CHUNK_BYTES: Final = 1024 * 1024

Weights = str | os.PathLike[str] | bytes


@dataclass(frozen=True, slots=True)
class Content:
    """What was read: a hash in hex, and how many bytes."""

    sha256: str
    size: int


def read_content(weights: Any) -> Content:
    """Hash bytes, a file, or all files below a directory with their paths.

    Names and contents count; times, owners and the order in which files are found do not. Links
    to directories are not followed. A file is read in parts, so that it may be larger than memory.

    Raises:
        ValueError: It is none of these, or cannot be read.
    """
    kind = type(weights)
    if issubclass(kind, bytes):
        return Content(hashlib.sha256(weights).hexdigest(), len(weights))
    if not issubclass(kind, str | os.PathLike) or not os.fspath(weights):
        raise invalid("artifact", weights, "a path, bytes or None")
    path = Path(weights)
    try:
        if path.is_dir():
            return _read_directory(path)
        return _read_file(path)
    except OSError as error:
        expected = f"a file or directory that can be read ({error.strerror})"
        raise invalid("artifact", os.fspath(weights), expected) from error


def _read_file(path: Path) -> Content:
    found, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while part := file.read(_CHUNK_BYTES):
            found.update(part)
            size += len(part)
    return Content(found.hexdigest(), size)


def _read_directory(directory: Path) -> Content:
    paths = [Path(folder, name) for folder, _, files in os.walk(directory) for name in files]
    found, size = hashlib.sha256(), 0
    for name, path in sorted((path.relative_to(directory).as_posix(), path) for path in paths):
        if path.is_file():  # no socket, no pipe that nobody writes to
            content = _read_file(path)
            found.update(f"{len(os.fsencode(name))}:".encode() + os.fsencode(name))
            found.update(bytes.fromhex(content.sha256))
            size += content.size
    return Content(found.hexdigest(), size)
