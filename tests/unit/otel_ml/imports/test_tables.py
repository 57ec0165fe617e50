"""Tables that are read in chunks."""

import json
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from otel_ml.imports.tables import CHUNK_ROWS, open_table, read_text

ROWS: list[dict[str, Any]] = [
    {
        "age": 41,
        "usage": 2.5,
        "plan": "pro",
        "active": True,
        "since": date(2026, 1, 2),
        "seen": datetime(2026, 1, 2, 3, tzinfo=timezone.utc),
        "price": Decimal("9.50"),
        "extra": {"a": [1, 2]},
    },
    dict.fromkeys(("age", "usage", "plan", "active", "since", "seen", "price", "extra")),
]
COLUMNS = list(ROWS[0])
# decimals are read as numbers
EXPECTED = {name: [9.5 if name == "price" else row[name] for row in ROWS] for name in COLUMNS}
EXPECTED["price"][1] = None


def read(table: object, columns: list[str] | None = None) -> dict[str, list[Any]]:
    """Return all columns of a table that is read in chunks."""
    opened = open_table(table)
    wanted = list(opened.columns) if columns is None else columns
    chunks = list(opened.read(wanted))
    return {name: [cell for chunk in chunks for cell in chunk.columns[name]] for name in wanted}


def test_parquet_keeps_types(tmp_path: Path) -> None:
    """Dates, bools and nested values of a Parquet file keep their types.

    Decimals become numbers.
    """
    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    assert read(str(tmp_path / "t.parquet")) == EXPECTED


@pytest.mark.parametrize("make", [pa.Table.from_pylist, pl.DataFrame, list])
def test_tables_in_memory(make: Any) -> None:
    """A table of pyarrow or polars and a list of mappings have the same values."""
    assert read(make(ROWS)) == EXPECTED


def test_pandas() -> None:
    """NaN and NaT of pandas become missing values, and scalars become Python values."""
    frame = pd.DataFrame(
        {
            "age": pd.array([41, None], "Int64"),
            "usage": [2.5, np.nan],
            "seen": pd.to_datetime(["2026-01-02T03:00Z", None]),
            "count": np.array([1, 2], "int8"),
        }
    )
    assert read(frame) == {
        "age": [41, None],
        "usage": [2.5, None],
        "seen": [EXPECTED["seen"][0], None],
        "count": [1, 2],
    }


def test_csv_reads_numbers_bools_and_json(tmp_path: Path) -> None:
    """A cell of a CSV file is a number, a bool, JSON, text or missing."""
    path = tmp_path / "t.csv"
    path.write_text(
        'age,zip,plan,active,extra\n41,01234,"pro, max",true,"{""a"": [1]}"\n,9,nan,False,\n1,2\n'
    )
    assert read(str(path)) == {
        "age": [41, None, None],
        "zip": ["01234", "9", None],
        "plan": ["pro, max", None, None],
        "active": [True, False, None],
        "extra": [{"a": [1]}, None, None],
    }
    [chunk] = open_table(path).read(["age"])
    assert chunk.broken == {2: "expected 5 cells"}
    assert chunk.row(2) == {"text": "1,2"}


def test_csv_column_has_one_type(tmp_path: Path) -> None:
    """A CSV column with several kinds of cells is text, even if the first text comes late."""
    path = tmp_path / "t.csv"
    rows = ["12345,1,true,{},1"] * (CHUNK_ROWS + 1) + ["01234,2.5,1,[1],", ",,,,x"]
    path.write_text("zip,n,flag,doc,code\n" + "\n".join(rows) + "\n")
    columns = read(str(path))
    assert {name: [values[0], *values[-2:]] for name, values in columns.items()} == {
        "zip": ["12345", "01234", None],
        "n": [1, 2.5, None],
        "flag": ["true", "1", None],
        "doc": [{}, [1], None],
        "code": ["1", None, "x"],
    }


def test_json_lines(tmp_path: Path) -> None:
    """A line that is not a JSON object is broken; other lines keep their types."""
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"a": 1, "b": {"c": None}}) + '\n\n{"a"\n[1]\n{"b": false}\n')
    [chunk] = open_table(path).read(["a", "b"])
    assert chunk.columns == {"a": [1, None, None, None], "b": [{"c": None}, None, None, False]}
    assert chunk.broken == {1: "not JSON", 2: "not a JSON object"}
    assert chunk.row(1) == {"text": '{"a"'}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-3", -3),
        ("1e3", 1000.0),
        ("0.5", 0.5),
        (".5", 0.5),
        ("0", 0),
        ("007", "007"),
        ("+49 30", "+49 30"),
        ("1_000", "1_000"),
        ("123456789012345678901234", "123456789012345678901234"),
        ("1e999", "1e999"),
        ("{no json", "{no json"),
        ("NaN", None),
        ("", None),
    ],
)
def test_text_without_a_type(text: str, value: object) -> None:
    """Text that looks like a number becomes a number, except for codes."""
    assert read_text(text) == value


def test_pieces(tmp_path: Path) -> None:
    """A long table is read in chunks that state their first row."""
    table = pa.table({"a": range(CHUNK_ROWS * 2 + 1), "b": range(CHUNK_ROWS * 2 + 1)})
    parquet.write_table(table, tmp_path / "t.parquet")
    for given in (table, tmp_path / "t.parquet", table.to_pandas()):
        chunks = list(open_table(given).read(["a"]))
        assert [(c.first, c.size, [*c.columns]) for c in chunks] == [
            (0, CHUNK_ROWS, ["a"]),
            (CHUNK_ROWS, CHUNK_ROWS, ["a"]),
            (CHUNK_ROWS * 2, 1, ["a"]),
        ]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (3, "Invalid table 3: expected the path of a .parquet, .csv or .jsonl file"),
        ("t.xlsx", "Invalid table 't.xlsx': expected a file named .parquet, .csv"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "Two columns of the table have the name 'a'"),
    ],
)
def test_what_is_no_table(table: object, expected: str) -> None:
    """The error for an invalid table names the supported types."""
    with pytest.raises(ValueError, match=expected):
        open_table(table)
