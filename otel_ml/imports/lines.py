"""Reads the lines of exported files, which may be compressed with gzip."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import closing
from io import BufferedReader
from pathlib import Path
from typing import Final, NamedTuple

_GZIP: Final = b"\x1f\x8b"
_LONGEST_LINE: Final = 128 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"


class SourcePlace(NamedTuple):
    """Where a record is in an export: the file, and the number of its line or row from 1."""

    file: str
    number: int


class SourceLine(NamedTuple):
    """A line of a file. If it cannot be read, `problem` says why."""

    place: SourcePlace
    text: bytes
    problem: str = ""


def open_file(path: Path) -> BufferedReader | gzip.GzipFile:
    """Open a file to read its bytes, decompressed if it is compressed with gzip."""
    with path.open("rb") as file:
        is_gzip = file.read(len(_GZIP)) == _GZIP
    return gzip.open(path) if is_gzip else path.open("rb")


def read_start(path: Path, size: int) -> bytes:
    """Return the first bytes of a file; empty if it is a damaged gzip file."""
    with closing(open_file(path)) as file:
        try:
            return file.read(size).removeprefix(_BOM)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return b""


def read_lines(path: Path, longest: int = _LONGEST_LINE) -> Iterator[SourceLine]:
    """Yield the lines of a file. Blank lines are left out.

    Args:
        path: The file. It may be compressed with gzip.
        longest: Maximum size of a line in bytes. A longer line is returned with a `problem`, which
            says that it is too long.
    """
    number = 0
    with closing(open_file(path)) as file:
        while True:
            number += 1
            place = SourcePlace(str(path), number)
            try:
                text = part = file.readline(longest)
                is_long = False
                while len(part) == longest and not part.endswith(b"\n"):
                    part = file.readline(longest)
                    is_long = is_long or bool(part)
            except (EOFError, zlib.error, gzip.BadGzipFile):
                yield SourceLine(place, b"", "the gzip file is damaged or incomplete")
                return
            if not text:
                return
            if is_long:
                yield SourceLine(place, text, f"longer than {longest:,} bytes")
            elif text.strip():
                yield SourceLine(place, text.removeprefix(_BOM) if number == 1 else text)
