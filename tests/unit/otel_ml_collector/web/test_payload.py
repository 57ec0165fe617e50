"""Tests of the forms in which payloads are shown."""

import base64
import json
from typing import Any

import orjson
import pytest
from hypothesis import given

from otel_ml_collector.errors import BadInput
from otel_ml_collector.web.payload import (
    Cell,
    Crumb,
    Numbers,
    Raw,
    ShownPicture,
    ShownTable,
    ShownText,
    Tree,
    find_numbers,
    find_table,
    make_payload,
)
from otel_ml_collector.web.view import Slice
from tests.unit.otel_ml_collector.web.values import json_values

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABXvMqOgAAAABJRU5ErkJggg=="
)


def picture(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def grown(side: int) -> bytes:
    """Return a PNG whose header declares the given width."""
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
        (picture(grown(4_097)), ["Image", "Raw"]),
        (picture(b"<svg onload=alert(1)>"), ["Image", "Raw"]),
        (picture(PIXEL, "svg+xml"), ["Image", "Raw"]),
        (base64.b64encode(bytes(range(256)) * 4).decode(), ["Blob", "Raw"]),
        ("word" * 200, ["Text", "Raw"]),
    ],
)
def test_forms(value: Any, forms: list[str]) -> None:
    """Each value is shown first in the form that suits it best."""
    assert make_payload(value).forms == forms


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (picture(PIXEL), ""),
        (picture(grown(16_384)), ""),
        (picture(grown(16_385)), "it is too large (16,385 × 1 pixels)"),
        (picture(grown(0)), "its header declares no size"),
        (picture(PIXEL[:12]), "its header declares no size"),
        (picture(PIXEL, "gif"), "it is declared as image/gif, but is something else"),
        (picture(b"<svg onload=alert(1)>"), "it is declared as image/png, but is something else"),
        (picture(PIXEL, "svg+xml"), "this form of image/svg+xml is not supported"),
        ("data:image/png,abc", "this form of image/png is not supported"),
        ("data:image/png;base64,abcde", "its base64 encoding is invalid"),
        (picture(bytes(600_000)), "it is too large (over 700,000 characters)"),
    ],
    ids=range(11),
)
def test_pictures(text: str, why: str) -> None:
    """An image that is invalid or too large is not drawn, and the reason is shown."""
    shown = make_payload(text).shown
    assert isinstance(shown, ShownPicture)
    assert (shown.address, shown.why) == (None if why else text, why)


def test_long_text_is_folded() -> None:
    """Only the first 600 characters or 12 lines of a long text are shown, the rest is folded."""
    text = make_payload("x y" * 1_000).shown
    assert isinstance(text, ShownText)
    assert (len(text.head), text.part.total, text.is_long, text.part.is_part) == (
        600,
        3_000,
        True,
        False,
    )
    lines = make_payload("\n".join(map(str, range(100)))).shown
    assert isinstance(lines, ShownText)
    assert lines.head.split("\n") == [str(number) for number in range(12)]


@pytest.mark.parametrize(("first", "start"), [(0, 0), (20_000, 20_000), (7, 7), (10**8, 280_000)])
def test_long_text_in_parts(first: int, start: int) -> None:
    """A very long text is shown in parts of 20,000 characters from any start."""
    text = "0123456789" * 30_000
    shown = make_payload(text, first=first).shown
    assert isinstance(shown, ShownText)
    assert (shown.part.items, shown.part.first) == (text[start : start + 20_000], start)


def test_raw_is_bounded() -> None:
    """Raw JSON is cut at 100,000 characters, and the cut is shown."""
    shown = make_payload(list(range(100_000)), "Raw").shown
    assert isinstance(shown, Raw)
    assert (len(shown.text), shown.is_cut) == (100_000, True)
    whole = make_payload({"a": [1]}, "Raw").shown
    assert isinstance(whole, Raw)
    assert orjson.loads(whole.text) == {"a": [1]}


def test_a_way_into_a_tree() -> None:
    """A path opens a value deep in a tree, with a link for each step."""
    value = {"a": [0, {"b": "text"}], "c": 1}
    shown = make_payload(value, "Tree", "0.1.0").shown
    assert isinstance(shown, Tree)
    assert shown.crumbs == [Crumb("a", "0"), Crumb("1", "0.1"), Crumb("b", "0.1.0")]
    assert shown.text is not None
    assert shown.text.head == "text"
    for wrong in ("9", "0.2", "1.0", "x", "-1", "0..0", "\u0663", "9" * 99):
        with pytest.raises(BadInput, match="This value has nothing at"):
            make_payload(value, "Tree", wrong)


def test_table_of_records() -> None:
    """A list of objects with the same keys is a table, with numbers marked as such."""
    assert find_table([{"a": 1, "b": "x"}, {"a": None, "b": {"c": True}}]) == ShownTable(
        columns=["a", "b"],
        rows=Slice(
            [[Cell("1", True), Cell("x", False)], [Cell("–", False), Cell('{"c": true}', False)]],
            first=0,
            total=2,
            size=50,
        ),
        column_count=2,
    )


def test_table_of_columns() -> None:
    """Lists of equal length under several keys are the columns of a table."""
    assert find_table({"a": [1, 2], "b": [3, 4]}) == ShownTable(
        columns=["a", "b"],
        rows=Slice(
            [[Cell("1", True), Cell("3", True)], [Cell("2", True), Cell("4", True)]],
            first=0,
            total=2,
            size=50,
        ),
        column_count=2,
    )


def test_table_is_bounded() -> None:
    """At most 50 rows and 12 columns of a table are shown, and 200 characters per cell."""
    table = find_table([{f"c{column}": "x" * 300 for column in range(20)}] * 80)
    assert table is not None
    assert (len(table.rows.items), table.rows.total, table.column_count) == (50, 80, 20)
    assert (len(table.rows.items[0]), len(table.rows.items[0][0].text)) == (12, 200)


@pytest.mark.parametrize(
    "value",
    [[{"a": 1}], [{"a": 1}, {"b": 1}], [{}, {}], [1, 2], {"a": [1, 2]}, {"a": [1], "b": [1, 2]}, 3],
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
    assert numbers == Numbers([2, 4], "", 8, 1, 4, 2.5, 1.25**0.5, 0, numbers.histogram)


def test_typed_numbers() -> None:
    """A numpy array is shown with its type."""
    numbers = find_numbers({"type": "numpy.ndarray", "dtype": "float32", "values": [0.0] * 9})
    assert numbers is not None
    assert (numbers.dtype, numbers.shape, numbers.histogram) == ("float32", [9], "")


def test_extreme_numbers() -> None:
    """Very large and missing numbers are handled without overflow."""
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
    """Short lists, words and ragged lists are not an array of numbers."""
    assert find_numbers(value) is None


@given(json_values)
def test_any_value_has_a_form(value: Any) -> None:
    """Any value has at least one form, and its raw JSON is the value."""
    shown = make_payload(value)
    assert shown.forms[-1] == "Raw"
    assert len(shown.forms) > 1
    raw = make_payload(value, "Raw").shown
    assert isinstance(raw, Raw)
    assert raw.is_cut or json.loads(raw.text) == value
