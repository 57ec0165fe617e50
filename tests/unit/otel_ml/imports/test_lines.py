"""Lines of exported files."""

import gzip
from pathlib import Path

import pytest

from otel_ml.imports.lines import read_lines, read_start


def read_texts(path: Path, longest: int = 100) -> list[tuple[int, bytes, str]]:
    """Return the number, text and problem of each line."""
    return [(line.place.number, line.text, line.problem) for line in read_lines(path, longest)]


@pytest.mark.parametrize("is_gzip", [False, True])
def test_lines(tmp_path: Path, is_gzip: bool) -> None:
    """Blank lines and a byte order mark are skipped; the last line may lack its line end."""
    path = tmp_path / "export.jsonl"
    content = b'\xef\xbb\xbf{"a": 1}\r\n\n{"b": 2}'
    path.write_bytes(gzip.compress(content) if is_gzip else content)
    assert read_texts(path) == [(1, b'{"a": 1}\r\n', ""), (3, b'{"b": 2}', "")]
    assert read_start(path, 9) == b'{"a": '


def test_a_long_line(tmp_path: Path) -> None:
    """A line above the limit is reported once; the lines after it are read."""
    path = tmp_path / "export.jsonl"
    path.write_bytes(b"x" * 250 + b"\n" + b"y" * 99 + b"\n" + b"z" * 100)
    assert read_texts(path) == [
        (1, b"x" * 100, "longer than 100 bytes"),
        (2, b"y" * 99 + b"\n", ""),
        (3, b"z" * 100, ""),
    ]


def test_a_damaged_file(tmp_path: Path) -> None:
    """A truncated gzip file ends with a line that reports the problem."""
    path = tmp_path / "export.jsonl.gz"
    path.write_bytes(gzip.compress(b"a line\n" * 1_000)[:-20])
    assert read_texts(path)[-1][2] == "the gzip file is damaged or incomplete"
    path.write_bytes(b"\x1f\x8bno gzip")
    assert read_texts(path) == [(1, b"", "the gzip file is damaged or incomplete")]
    assert read_start(path, 1) == b""
