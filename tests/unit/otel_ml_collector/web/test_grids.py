"""Tests of tables, arrays and numbers among values."""

from typing import Any

import pytest

from otel_ml_collector.web.amounts import (
    column_writer,
    duration_writer,
    write_amount,
    write_column,
    write_range,
)
from otel_ml_collector.web.grids import ShownTable, find_table
from otel_ml_collector.web.number_arrays import find_numbers


def texts(table: ShownTable | None) -> list[list[str]]:
    assert table is not None
    return [[cell.text for cell in row] for row in table.rows.items]


def test_table_of_records() -> None:
    """A list of objects with the same keys is a table; what is missing is named."""
    table = find_table([{"a": 1, "b": "x"}, {"a": None, "b": {"c": True}}])
    assert texts(table) == [["1", "x"], ["missing", '{"c": true}']]
    assert table is not None
    assert [(one.name, one.kind, one.about, one.missing) for one in table.columns] == [
        ("a", "int", "1", "50.0\u202f% missing"),
        ("b", "mixed", "", ""),
    ]


def test_table_of_columns() -> None:
    """Lists of equal length under several keys are the columns of a table."""
    assert texts(find_table({"a": [1, 2], "b": [0.5, 123.456]})) == [["1", "0.5"], ["2", "123.5"]]


def test_described_table() -> None:
    """A table that the SDK described has its first rows, and statistics of its sample."""
    described = {
        "type": "pandas.DataFrame",
        "shape": [1_200, 4],
        "columns": ["area", "city", "lift", "day"],
        "head": "…",
        "rows": {
            "area": [151.0, 24.0],
            "city": ["Halle", None],
            "lift": [True, False],
            "day": ["2026-01-01T00:00:00", "2026-01-01T01:00:00"],
        },
        "cells": {
            "area": [24.0, 90.0, 212.0],
            "city": ["Halle", "Halle"],
            "lift": [True, False, False, False],
            "day": ["2026-01-01T00:00:00", "2026-02-01T00:00:00"],
        },
    }
    table = find_table(described)
    assert texts(table) == [
        ["151", "Halle", "yes", "2026-01-01 00:00"],
        ["24", "missing", "no", "2026-01-01 01:00"],
    ]
    assert table is not None
    assert [(one.kind, one.about) for one in table.columns] == [
        ("int", "24 to 212"),
        ("text", "1 value"),
        ("bool", "25.0\u202f% yes"),
        ("date", "2026-01-01 to 2026-02-01"),
    ]
    assert all(one.bars for one in table.columns[:3])
    assert (table.row_count, table.sampled, table.head) == (1_200, 4, "")
    del described["rows"]  # an older SDK
    older = find_table(described)
    assert older is not None
    assert (older.rows.total, older.head) == (0, "…")


def test_table_is_bounded() -> None:
    """At most 50 rows and 50 columns of a table are shown, and 80 characters per cell."""
    table = find_table([{f"c{column}": "x" * 300 for column in range(70)}] * 80)
    assert table is not None
    assert (len(table.rows.items), table.rows.total, table.column_count) == (50, 80, 70)
    assert (len(table.rows.items[0]), len(table.rows.items[0][0].text)) == (50, 80)


@pytest.mark.parametrize(
    "value",
    [
        *(
            [{"a": 1}],
            [{"a": 1}, {"b": 1}],
            [{}, {}],
            [1, 2],
            {"a": [1, 2]},
            {"a": [1], "b": [1, 2]},
        ),
        *(3, {"type": "x", "shape": [2, "2"], "cells": {"a": [1]}}, {"type": "x", "shape": 3}),
    ],
    ids=repr,
)
def test_no_table(value: Any) -> None:
    """A value without a common shape is not a table."""
    assert find_table(value) is None


def test_numbers() -> None:
    """An array is shown with its shape, minimum, mean, maximum, deviation and histogram."""
    numbers = find_numbers([[1, 2, 3, 4], [1, 2, 3, 4]])
    assert numbers is not None
    assert numbers.histogram.startswith("M0 40v-38.0h9v38.0M80 40")
    assert (numbers.shape, numbers.count, numbers.low, numbers.high) == ([2, 4], 8, 1, 4)
    assert (numbers.mean, numbers.deviation) == (2.5, 1.25**0.5)


def test_a_vector_is_a_line_and_a_matrix_a_heat_map() -> None:
    """A vector is drawn with round ticks, a matrix with a cell for each number."""
    line = find_numbers([29.9, 67.1, 40, 50, 60, 30, 35, 45])
    assert line is not None
    assert len(line.line.split()) == 8
    assert [tick.text for tick in line.ticks] == ["20", "40", "60", "80"]
    heat = find_numbers([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert heat is not None
    assert (heat.line, heat.heat_size) == ("", (40, 20))
    assert sum(path.count("M") for path in heat.heat) == 8


def test_masks_are_drawn() -> None:
    """An array of bools is drawn as a heat map of 0 and 1."""
    cells = [[True, False, True, True], [False, False, True, True]]
    mask = find_numbers({"dtype": "bool", "shape": [96, 96], "head": [True], "sample": cells})
    assert mask is not None
    assert (mask.shape, mask.low, mask.high, mask.sampled) == ([96, 96], 0, 1, 8)
    assert mask.heat_size == (40, 20)
    assert find_numbers(cells) is None


def test_described_numbers() -> None:
    """An array is shown with its type; a long one by the sample that was sent."""
    numbers = find_numbers({"type": "numpy.ndarray", "dtype": "float32", "values": [0.0] * 9})
    assert numbers is not None
    assert (numbers.dtype, numbers.shape, numbers.histogram) == ("float32", [9], "")
    described = {"dtype": "float64", "shape": [1_200], "head": [1], "sample": [1.5, 2.5] * 30}
    sampled = find_numbers(described)
    assert sampled is not None
    assert (sampled.shape, sampled.count, sampled.sampled) == ([1_200], 1_200, 60)
    cells = {str(column): [column + 0.5] * 6 for column in range(24)}
    matrix = find_numbers({"dtype": "float64", "shape": [24, 24], "cells": cells})
    assert matrix is not None
    assert (matrix.sampled, matrix.heat_size) == (144, (240, 60))


def test_extreme_numbers() -> None:
    """Very large and missing numbers are handled without overflow."""
    numbers = find_numbers([1.7e308, -1.7e308, None, *[0] * 9])
    assert numbers is not None
    found = numbers.count, numbers.not_numbers, numbers.low, numbers.high
    assert found == (12, 1, -1.7e308, 1.7e308)
    assert numbers.deviation == pytest.approx(1.7e308 * (2 / 11) ** 0.5)


@pytest.mark.parametrize(
    "value", [[1] * 7, ["a"] * 9, [True] * 9, [[1] * 4, [1] * 5], [None] * 9, [[[]]], 3], ids=repr
)
def test_no_numbers(value: Any) -> None:
    """Short lists, words and ragged lists are not an array of numbers."""
    assert find_numbers(value) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0"), (119, "119"), (1996, "1996"), (412_345, "412,345"), (0.5, "0.5")),
        *((55.601115, "55.60"), (1234.56789, "1235"), (0.000123456, "0.0001235")),
        *((1e-9, "1.000e-09"), (2.0, "2"), (123_456.78, "123,500"), (-0.25, "−0.25")),
        *((float("nan"), "–"), (float("inf"), "∞"), (10**30, f"{10**30:,}")),
    ],
)
def test_amounts(value: float, text: str) -> None:
    """Whole numbers are exact, others have at most four significant digits."""
    assert write_amount(value) == text


def test_one_style_in_a_column() -> None:
    """Numbers of a column have the same number of decimals."""
    assert write_column([0.089, 40.0, 1103.2]) == ["0", "40", "1103"]
    assert write_column([0.089, 4.0, 11.5]) == ["0.09", "4.00", "11.50"]
    assert write_column([5, 7.0, 12_000]) == ["5", "7", "12,000"]
    assert write_range([0.05, 0.2]) == "0.05 to 0.20"


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.985, 0.98, None, -0.5], ["0.985", "0.980", "–", "−0.500"]),
        ([40.0, 604.23, 93.44], ["40.0", "604.2", "93.4"]),
        ([1_234.5, 987.6], ["1,234", "988"]),
        # With one style, the first would be 0.
        ([0.089, 1.5, 11_523.0], ["0.089", "1.5", "11,520"]),
        ([1e-9, 0.5], ["1e-09", "0.5"]),
        ([0.0, "Infinity", None], ["0", "∞", "–"]),
    ],
)
def test_column_writer(values: list[float | str | None], texts: list[str]) -> None:
    """All numbers of a column have the same decimals, unless that hid small ones."""
    assert [*map(column_writer(values), values)] == texts


@pytest.mark.parametrize(
    ("values_ms", "texts"),
    [
        ([1_000.0, 1_500.0, 950.0, None], ["1.00 s", "1.50 s", "0.95 s", "–"]),
        ([250.0, 300.0], ["250 ms", "300 ms"]),
        ([3.0, 12_300.0], ["3 ms", "12.3 s"]),  # 0.00 s would hide it
    ],
)
def test_duration_writer(values_ms: list[float | None], texts: list[str]) -> None:
    """All durations of a column have the same unit and decimals, unless that hid short ones."""
    written = [*map(duration_writer(values_ms), values_ms)]
    assert [text.replace("\u202f", " ") for text in written] == texts


def test_column_writer_of_metrics() -> None:
    """With four significant digits, metrics that differ in the fourth are not alike."""
    values = [0.98713, 0.98767, 0.5]
    assert [*map(column_writer(values, 4), values)] == ["0.9871", "0.9877", "0.5000"]
