"""Files that other tools export are read in chunks."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from otel_ml.imports.export_files import read_export

LONG = [{"text": "a" * 3_000_000}, 5, {"text": "é" * 1_200_000}]


def read(folder: Path, content: bytes) -> list[tuple[int, Any, str]]:
    """Write a file and return number, value and problem of each of its records."""
    path = folder / "export"
    path.write_bytes(content)
    found = [*read_export(path)]
    assert {record.place.file for record in found} <= {str(path)}
    return [(record.place.number, record.value, record.problem) for record in found]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b" \n[]\n", []),
        (b' [1,\n {"a": 2} , 3]', [(1, 1, ""), (2, {"a": 2}, ""), (3, 3, "")]),
        (b"[1, bad, 3]", [(1, 1, ""), (2, "bad, 3]", "not JSON")]),
        (b"[12", [(1, 12, ""), (2, "", "not JSON")]),
        (
            b'{"a":1}\n\n{bad\r\n{"b":2}',
            [(1, {"a": 1}, ""), (2, "{bad", "not JSON"), (3, {"b": 2}, "")],
        ),
        (b'\xef\xbb\xbf{\n  "a": 1\n}\n', [(1, {"a": 1}, "")]),
        (
            b'\xef\xbb\xbf"id","x"\n"1","a ""b\nc"\n2,\n3\n',
            [
                (1, {"id": "1", "x": 'a "b\nc'}, ""),
                (2, {"id": "2"}, ""),
                (3, "3", "expected 2 cells"),
            ],
        ),
        (gzip.compress(b'[{"a": 1}]', mtime=0), [(1, {"a": 1}, "")]),
        (
            gzip.compress(b'{"a":1}\n', mtime=0)[:-6],
            [(1, "", "the gzip file is damaged or incomplete")],
        ),
    ],
)
def test_formats(tmp_path: Path, content: bytes, expected: list[tuple[int, Any, str]]) -> None:
    """The content determines the format; unreadable records are returned with the reason."""
    assert read(tmp_path, content) == expected


@pytest.mark.parametrize("indent", [None, 1])
def test_long_elements(tmp_path: Path, indent: int | None) -> None:
    """Elements of an array can be longer than the chunks in which the file is read."""
    content = json.dumps(LONG, indent=indent).encode()
    assert [value for _, value, _ in read(tmp_path, content)] == LONG


def test_numbers_at_the_end_of_a_part(tmp_path: Path) -> None:
    """A number is read completely, wherever a chunk ends."""
    numbers = [123_456_789] * 200_000
    assert [value for _, value, _ in read(tmp_path, json.dumps(numbers).encode())] == numbers


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PAR1\x00", "is in Parquet: expected an export as JSON"),
        (b"a,\xff\n", "not text in UTF-8"),
    ],
)
def test_other_formats(tmp_path: Path, content: bytes, reason: str) -> None:
    """A file in another format is refused."""
    with pytest.raises(ValueError, match=reason):
        read(tmp_path, content)
