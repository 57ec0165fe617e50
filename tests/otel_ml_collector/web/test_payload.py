"""Tests of the forms in which payloads are shown."""

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given

from otel_ml_collector.web.numbers import Numbers, find_numbers
from otel_ml_collector.web.payload import make_payload
from otel_ml_collector.web.table import Cell, Table, find_table
from tests.otel_ml_collector.web.values import json_values

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABXvMqOgAAAABJRU5ErkJggg=="
)


def picture(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def grown(side: int) -> bytes:
    """A PNG that says that it is so many pixels wide."""
    return PIXEL[:16] + side.to_bytes(4) + PIXEL[20:]


@pytest.mark.parametrize(
    ("value", "forms"),
    [
        (None, ["Tree", "Raw"]),
        ("Where?", ["Text", "Raw"]),
        ({"question": "Where?"}, ["Text", "Raw"]),
        ({"a": "Where?", "b": 1}, ["Tree", "Raw"]),
        ([{"role": "user", "content": "Where?"}], ["Chat", "Tree", "Raw"]),
        ([{"a": 1}, {"a": 2}], ["Table", "Tree", "Raw"]),
        ({"x": [0.5] * 8}, ["Numbers", "Tree", "Raw"]),
        (picture(PIXEL), ["Image", "Raw"]),
        (picture(grown(4_096)), ["Image", "Raw"]),
        (picture(grown(4_097)), ["Text", "Raw"]),
        (picture(b"<svg onload=alert(1)>"), ["Text", "Raw"]),
        (picture(PIXEL, "svg+xml"), ["Text", "Raw"]),
        (base64.b64encode(bytes(range(256)) * 4).decode(), ["Blob", "Raw"]),
        ("word" * 200, ["Text", "Raw"]),
    ],
)
def test_forms(value: Any, forms: list[str]) -> None:
    """Each value is shown first in the form that suits it."""
    assert make_payload(value).forms == forms


def test_a_large_picture_is_named_and_not_drawn() -> None:
    """An image that says it has more than 4,096 pixels a side may be a bomb."""
    shown = make_payload(picture(grown(50_000) + bytes(1_000)))
    assert (shown.image, shown.forms) == (None, ["Blob", "Raw"])


def test_long_text_is_folded() -> None:
    """Of a long text the first 600 characters or 12 lines stand there, the rest is folded."""
    text = make_payload("x y" * 1_000).text
    assert text is not None
    assert (len(text.head), text.chars, text.is_long, text.is_cut) == (600, 3_000, True, False)
    lines = make_payload("\n".join(map(str, range(100)))).text
    assert lines is not None
    assert lines.head.split("\n") == [str(number) for number in range(12)]
    huge = make_payload("x y" * 100_000).text
    assert huge is not None
    assert (len(huge.whole), huge.chars, huge.is_cut) == (200_000, 300_000, True)


def test_raw_is_bounded() -> None:
    """Of raw JSON 100,000 characters are shown, and that it is cut is said."""
    shown = make_payload(list(range(100_000)))
    assert (len(shown.raw), shown.is_raw_cut) == (100_000, True)
    assert orjson.loads(make_payload({"a": [1]}).raw) == {"a": [1]}


def test_table_of_records() -> None:
    """Objects that share their keys are rows; numbers stand apart from texts."""
    assert find_table([{"a": 1, "b": "x"}, {"a": None, "b": {"c": True}}]) == Table(
        columns=["a", "b"],
        rows=[[Cell("1", True), Cell("x", False)], [Cell("–", False), Cell('{"c": true}', False)]],
        row_count=2,
        column_count=2,
    )


def test_table_of_columns() -> None:
    """Equally long lists under several keys are columns."""
    assert find_table({"a": [1, 2], "b": [3, 4]}) == Table(
        columns=["a", "b"],
        rows=[[Cell("1", True), Cell("3", True)], [Cell("2", True), Cell("4", True)]],
        row_count=2,
        column_count=2,
    )


def test_table_is_bounded() -> None:
    """50 rows and 12 columns are shown of any table, 200 characters of a cell."""
    table = find_table([{f"c{column}": "x" * 300 for column in range(20)}] * 80)
    assert table is not None
    assert (len(table.rows), len(table.rows[0]), table.row_count, table.column_count) == (
        50,
        12,
        80,
        20,
    )
    assert len(table.rows[0][0].text) == 200


@pytest.mark.parametrize(
    "value",
    [[{"a": 1}], [{"a": 1}, {"b": 1}], [{}, {}], [1, 2], {"a": [1, 2]}, {"a": [1], "b": [1, 2]}, 3],
    ids=repr,
)
def test_no_table(value: Any) -> None:
    """What has no common shape is no table."""
    assert find_table(value) is None


def test_numbers() -> None:
    """An array is told by shape, least, mean, most, deviation and histogram."""
    numbers = find_numbers([[1, 2, 3, 4], [1, 2, 3, 4]])
    assert numbers is not None
    assert numbers.histogram.startswith("M0 40v-38.0h9v38.0M80 40")
    assert numbers == Numbers([2, 4], "", 8, 1, 4, 2.5, 1.25**0.5, 0, numbers.histogram)


def test_typed_numbers() -> None:
    """What was an array of numpy tells its type."""
    numbers = find_numbers({"type": "numpy.ndarray", "dtype": "float32", "values": [0.0] * 9})
    assert numbers is not None
    assert (numbers.dtype, numbers.shape, numbers.histogram) == ("float32", [9], "")


def test_extreme_numbers() -> None:
    """Numbers whose square or difference no float holds, and missing ones, are told too."""
    numbers = find_numbers([1.7e308, -1.7e308, None, *[0] * 9])
    assert numbers is not None
    assert (numbers.count, numbers.not_numbers, numbers.low, numbers.high) == (
        12,
        1,
        -1.7e308,
        1.7e308,
    )
    assert numbers.deviation == pytest.approx(1.7e308 * (2 / 11) ** 0.5)


@pytest.mark.parametrize(
    "value", [[1] * 7, ["a"] * 9, [True] * 9, [[1] * 4, [1] * 5], [None] * 9, [[[]]], 3], ids=repr
)
def test_no_numbers(value: Any) -> None:
    """Few numbers, words and ragged lists are no array."""
    assert find_numbers(value) is None


@given(json_values)
def test_any_value_has_a_form(value: Any) -> None:
    """Any value is shown in one form at least, and its JSON is the value."""
    shown = make_payload(value)
    assert shown.forms[-1] == "Raw"
    assert len(shown.forms) > 1
