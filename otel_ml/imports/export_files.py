"""Reads the records in files that other tools export: JSON, JSON Lines and CSV, also with gzip."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import closing
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import orjson

from otel_ml.imports.lines import SourcePlace, open_file, read_start

_PARQUET: Final = b"PAR1"
_BOM: Final = b"\xef\xbb\xbf"
_PEEKED_BYTES: Final = 65_536
_CHUNK_CHARS: Final = 1 << 20
# Maximum size of a JSON value, line or cell, so that no file can fill the memory.
_LONGEST: Final = 128 * 1024 * 1024
_SHOWN_OF_RECORD: Final = 1_000
_NO_JSON: Final = "not JSON"


class FileValue(NamedTuple):
    """One record of an exported file.

    Attributes:
        place: The file, and the number of the record in it.
        value: The record: a JSON value, or a CSV row as a dict of texts by column. If the record
            cannot be read, the beginning of its text.
        problem: Why the record cannot be read. Empty if it can.
    """

    place: SourcePlace
    value: Any
    problem: str = ""


def read_export(path: Path) -> Iterator[FileValue]:
    """Yield the records of an exported file. It is read in parts, so it needs little memory.

    The content decides the format. A JSON array has one record per element, and JSON Lines have one
    per line. All other text is read as CSV with a header.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is a Parquet file, or not text in UTF-8.
    """
    if read_start(path, len(_PARQUET)) == _PARQUET:
        raise ValueError(f"{path} is in Parquet: expected an export as JSON, JSON Lines or CSV")
    number = 0
    with closing(BufferedReader(cast("Any", open_file(path)), _PEEKED_BYTES)) as file:
        try:
            for value, problem in _read_values(path, file):
                number += 1
                yield FileValue(SourcePlace(str(path), number), value, problem)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            place = SourcePlace(str(path), number + 1)
            yield FileValue(place, "", "the gzip file is damaged or incomplete")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not text in UTF-8") from error


def _read_values(path: Path, file: BufferedReader) -> Iterator[tuple[Any, str]]:
    """Yield the records of a file, each with an empty text or why it cannot be read."""
    start = file.peek(_PEEKED_BYTES).removeprefix(_BOM).lstrip()[:1]
    if start == b"{":
        yield from _read_lines(file)
        return
    with TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        if start == b"[":
            yield from _read_array(text)
        elif start:
            yield from _read_rows(path, text)


def _read_lines(file: BufferedReader) -> Iterator[tuple[Any, str]]:
    """Yield the value of each line. A document of several lines is a single value."""
    while line := file.readline(_LONGEST):
        text = line.removeprefix(_BOM).strip()
        if text == b"{":
            text += file.read(_LONGEST)
        if not text:
            continue
        try:
            value = orjson.loads(text)
        except ValueError:
            yield text[:_SHOWN_OF_RECORD].decode("utf-8", "replace"), _NO_JSON
        else:
            yield value, ""


def _read_array(file: TextIOWrapper) -> Iterator[tuple[Any, str]]:
    """Yield the elements of a JSON array. Elements after an invalid one cannot be read."""
    decode = json.JSONDecoder().raw_decode
    text, at = file.read(_CHUNK_CHARS).lstrip()[1:], 0
    wanted, is_end = _CHUNK_CHARS, False
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        if at < len(text) and text[at] == "]":
            return
        try:
            value, end = decode(text, at)
            # At the end of the buffered text, a number may be cut, and it is not known what
            # follows.
            is_whole = end < len(text) or is_end
        except ValueError:
            is_whole = False
        if is_whole:
            yield value, ""
            at, wanted = end, _CHUNK_CHARS
            continue
        if is_end or len(text) - at > _LONGEST:
            yield text[at : at + _SHOWN_OF_RECORD], _NO_JSON
            return
        part = file.read(wanted)
        text, at = text[at:] + part, 0
        is_end, wanted = not part, 2 * wanted


def _read_rows(path: Path, file: TextIOWrapper) -> Iterator[tuple[Any, str]]:
    """Yield the rows of a CSV file, as texts by column. Empty cells are left out."""
    csv.field_size_limit(_LONGEST)
    rows = csv.reader(file)
    try:
        header = next(rows)
    except csv.Error as error:
        raise ValueError(f"{path} is not JSON and not CSV: {error}") from error
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield "", f"not CSV: {error}"
            continue
        if row is None:
            return
        if len(row) != len(header):
            if row:
                yield ",".join(row)[:_SHOWN_OF_RECORD], f"expected {len(header)} cells"
            continue
        yield {name: cell for name, cell in zip(header, row, strict=True) if cell}, ""
