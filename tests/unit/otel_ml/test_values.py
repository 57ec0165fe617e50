"""Conversion of any Python value to JSON text of bounded size."""

import datetime
import decimal
import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import orjson
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.capture.taker import TRUNCATED, UNSERIALISABLE
from otel_ml.capture.values import LIMIT_BYTES, PREVIEW_BYTES, encode, preview
from otel_ml.redaction import NOTE, CapturedPayload, Redaction
from otel_ml_collector.mapping.chat import line_out
from tests.support.examples import examples
from tests.support.otel_ml import hostile
from tests.support.otel_ml.strategies import any_text, any_values, json_values


@given(value=json_values)
def test_json_value_round_trips(value: object) -> None:
    """A value that JSON can represent reads back unchanged."""
    assert orjson.loads(encode(value).text) == value


@given(value=json_values)
def test_whole_value_has_no_notes(value: object) -> None:
    """A value that is kept in full has no notes."""
    assert encode(value).notes == frozenset()


def test_hostile_value_becomes_json() -> None:
    """A hostile value, or one that JSON cannot represent, becomes valid JSON within the limit."""
    for name, make in hostile.VALUES.items():
        text = encode(make()).text
        orjson.loads(text)
        assert len(text.encode()) <= LIMIT_BYTES, name


def test_hostile_value_survives_the_limit() -> None:
    """A hostile value that must be cut still becomes valid JSON within the limit."""
    for name, make in hostile.VALUES.items():
        text = encode([make(), "x" * 1_000], limit_bytes=200).text
        orjson.loads(text)
        assert len(text.encode()) <= 200, name


@given(value=any_values, limit_bytes=st.integers(min_value=16, max_value=2_000))
@settings(max_examples=examples(300))
def test_any_value_is_bounded_json(value: object, limit_bytes: int) -> None:
    """Any mixture of values becomes valid JSON within the limit."""
    text = encode(value, limit_bytes).text
    orjson.loads(text)
    assert len(text.encode()) <= limit_bytes


@given(value=any_values)
def test_any_preview_is_bounded_json(value: object) -> None:
    """Any mixture of values has no preview, or a preview that is short valid JSON."""
    short = preview(value, encode(value).text)
    if short is not None:
        orjson.loads(short)
        assert len(short.encode()) <= PREVIEW_BYTES


@given(text=any_text.map(lambda text: text * 20), limit_bytes=st.integers(16, 400))
def test_limit_counts_bytes(text: str, limit_bytes: int) -> None:
    """The limit counts UTF-8 bytes, including escapes, whatever characters a text has."""
    assert len(encode(text, limit_bytes).text.encode()) <= limit_bytes


@pytest.mark.parametrize("character", ["a", "é", "語", "📦", '"', "\\", "\n", "\x00", "\ud800"])
def test_long_text_is_cut(character: str) -> None:
    """A text over the limit keeps its beginning, ends with an ellipsis, and is noted as cut."""
    encoded = encode(character * 100_000)
    text = orjson.loads(encoded.text)
    assert len(encoded.text.encode()) <= LIMIT_BYTES
    assert text.endswith(("…", "..."))
    assert set(text.removesuffix("…").removesuffix("...")) <= {character, "?"}
    assert len(text) > 5_000
    assert encoded.notes == frozenset({TRUNCATED})


def test_text_at_the_limit_is_whole() -> None:
    """A text whose JSON is exactly at the limit is kept; with one byte more it is cut."""
    assert encode("a" * 98, 100) == ('"' + "a" * 98 + '"', frozenset())
    assert encode("a" * 99, 100).notes == frozenset({TRUNCATED})


def test_long_list_is_cut_between_elements() -> None:
    """A list over the limit keeps its first elements in full."""
    encoded = encode(list(range(1_000, 3_000)), limit_bytes=100)
    kept = orjson.loads(encoded.text)
    assert kept == list(range(1_000, 1_000 + len(kept)))
    assert len(kept) >= 10
    assert encoded.notes == frozenset({TRUNCATED})


def test_deep_value_is_cut() -> None:
    """Nesting too deep for JSON readers is replaced by an ellipsis and noted as cut."""
    encoded = encode(hostile.deep_list())
    assert encoded == ("[" * 64 + '"…"' + "]" * 64, frozenset({TRUNCATED}))


def test_cycle_is_said() -> None:
    """A list that contains itself has an ellipsis at that place and is noted."""
    assert encode(hostile.cyclic_list()) == ('[1,"…"]', frozenset({UNSERIALISABLE}))


def test_hostile_object_is_said() -> None:
    """An object that cannot be converted is replaced by its type and the error it raised."""
    encoded = encode({"a": Broken(), "b": 1})
    name = f"{Broken.__module__}.Broken"
    assert orjson.loads(encoded.text) == {
        "a": {"type": name, "unserialisable": "RuntimeError"},
        "b": 1,
    }
    assert encoded.notes == frozenset({UNSERIALISABLE})


class Broken:
    """An object that looks like a pydantic model but raises when it is dumped."""

    def model_dump(self) -> object:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("inf"), "Infinity"),
        (2**63 - 1, 9223372036854775807),
        (-(2**63), -9223372036854775808),
        (2**63, 9223372036854775808),
        (2**64 - 1, 18446744073709551615),
        (2**64, "18446744073709551616"),
        (-(2**63) - 1, "-9223372036854775809"),
        (10**30, "1" + "0" * 30),
        ({1: "a", None: "b", False: "c"}, {"1": "a", "null": "b", "false": "c"}),
        ({(1, 2): "a"}, {"(1, 2)": "a"}),
        (hostile.Colour.RED, "red"),
        (hostile.Level.HIGH, 3),
        (hostile.Node("a", hostile.Node("b")), {"name": "a", "next": {"name": "b", "next": None}}),
        (hostile.Pair(1, "b"), [1, "b"]),
        ({"b", "a"}, ["a", "b"]),
        (b"\xff\x00", {"type": "bytes", "length": 2, "head": "ff00"}),
        (1 + 2j, "(1+2j)"),
        (datetime.date(2024, 5, 17), "2024-05-17"),
        (hostile.VALUES["decimal"](), "1.10"),
        (hostile.VALUES["uuid"](), "00000000-0000-0000-0000-000000000007"),
        (hostile.VALUES["path"](), "/tmp/model"),  # noqa: S108 - nothing is written there
        (np.int64(3), 3),
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
        (np.float64("nan"), None),
        (
            np.arange(6, dtype="int32").reshape(2, 3),
            {
                "type": "numpy.ndarray",
                "dtype": "int32",
                "shape": [2, 3],
                "values": [[0, 1, 2], [3, 4, 5]],
            },
        ),
        (
            np.zeros((10, 10)),
            {
                "type": "numpy.ndarray",
                "dtype": "float64",
                "shape": [10, 10],
                "head": [0.0] * 8,
                "cells": {str(column): [0.0] * 10 for column in range(10)},
            },
        ),
    ],
)
def test_value_has_its_form(value: object, expected: object) -> None:
    """A value that JSON cannot represent has the form that the docs describe."""
    assert orjson.loads(encode(value).text) == expected


class Reply:
    """A stand-in for a chat response, such as a mock or a user's own class."""

    def __init__(self, *choices: object) -> None:
        self.choices = [*choices]


def test_object_that_looks_like_a_chat_response() -> None:
    """Any object with the text of a chat response is recorded with that text."""
    told = SimpleNamespace(message=SimpleNamespace(role="assistant", content="It is."), index=0)
    for made in (Reply(told), MagicMock(choices=[MagicMock(message=told.message)])):
        answer = orjson.loads(encode(made).text)
        assert answer["choices"] == [{"message": {"role": "assistant", "content": "It is."}}]
        assert line_out(answer) == "It is."


@pytest.mark.parametrize(
    "choice", ["it", 1, SimpleNamespace(message="it"), SimpleNamespace(message=MagicMock())]
)
def test_object_with_other_choices(choice: object) -> None:
    """An object whose choices are not messages is recorded like any other object."""
    assert orjson.loads(encode(Reply(choice)).text).keys() == {"type", "attributes"}


def test_table_leaves_shape_and_head() -> None:
    """A table is recorded with shape, columns, first rows, and cells of evenly spaced rows."""
    table = pd.DataFrame({"a": range(5_000), "b": range(5_000)})
    described = orjson.loads(encode(table).text)
    assert described.pop("head").splitlines()[1:] == [f"{n}  {n}  {n}" for n in range(8)]
    assert described == {
        "type": f"{type(table).__module__}.DataFrame",
        "shape": [5000, 2],
        "columns": ["a", "b"],
        "cells": {"a": [*range(0, 5_000, 5)], "b": [*range(0, 5_000, 5)]},
    }


@pytest.mark.parametrize(("rows", "width"), [(100_000, 8), (1_000_003, 3), (100_000, 20)])
def test_sample_of_a_large_table(rows: int, width: int) -> None:
    """A large table is sampled in short runs of rows, equally many from each part of it."""
    numbers = np.arange(float(rows))
    table = pd.DataFrame({f"c{place}": numbers for place in range(width)})
    cells = orjson.loads(encode(table).text)["cells"]
    assert len(cells) == width
    for column in cells.values():
        assert 0.9 * 2_000 / width <= len(column) <= 2_000 / width
        assert column[:2] == [0, 1]
        assert max(np.diff([*column, rows])) <= rows / 32
        for part in range(10):
            inside = [number for number in column if part <= number / rows * 10 < part + 1]
            assert len(inside) == pytest.approx(len(column) / 10, abs=4)


def test_many_tables_share_a_sample() -> None:
    """If there are several large tables, the first has the largest sample, so that all fit."""
    draw = np.random.default_rng(1)
    tables = {f"t{place}": draw.normal(size=(10_000, 2)) for place in range(4)}
    captured = Redaction().capture(tables)
    assert not isinstance(captured, str)
    described, notes = captured.encode()
    sizes = [len(table["cells"]["1"]) for table in orjson.loads(described).values()]
    assert sizes == [1_000, 200, 200, 200]
    assert not notes


def test_texts_of_tables_are_sampled_less() -> None:
    """Text columns are sampled less than number columns, because copying text is slow."""
    table = {"age": [*range(4_000)], "card": ["visa", "amex"] * 2_000}
    for made in (pd.DataFrame(table), pl.DataFrame(table)):
        cells = orjson.loads(encode(made).text)["cells"]
        assert (len(cells["age"]), len(cells["card"])) == (1_000, 200)


TABLE = pd.DataFrame(
    {
        "age": [31.5, None, 64.0],
        "card": ["visa", None, "x" * 100],
        "member": [True, False, True],
        "day": pd.to_datetime(["2026-11-01", None, "2026-11-03"]),
        "count": pd.array([1, None, 3], dtype="Int64"),
        "parts": [[1] * 1_000, None, {}],
    }
)


def test_cells_of_arrow() -> None:
    """Cells of an Arrow table come from evenly spaced rows."""
    table = pa.table({f"c{place}": [*range(place, 1_000 + place)] for place in range(60)})
    cells = orjson.loads(encode(table).text)["cells"]
    assert [*cells] == [f"c{place}" for place in range(50)]
    assert cells["c7"] == [*range(7, 1_007, 125)]


def test_cells_of_arrays() -> None:
    """An array with the shape of a table has its columns described; other arrays do not."""
    array = np.arange(6_000.0).reshape(2_000, 3)
    array[6, 1] = np.nan
    described = orjson.loads(encode(array).text)
    step = 2_000 // (2_000 // 3) + 1
    column = [None if math.isnan(number) else number for number in array[::step, 1]]
    assert described["cells"]["1"] == column
    records = np.array([(1, 2.5), (3, 4.5)], dtype=[("a", "i4"), ("b", "f8")])
    assert orjson.loads(encode(records).text)["cells"] == {"a": [1, 3], "b": [2.5, 4.5]}
    for other in (np.zeros((60, 60)), np.zeros(500), np.zeros((8, 8)), np.zeros((5, 5, 5))):
        assert "cells" not in orjson.loads(encode(other).text)


def test_secret_columns_have_no_cells() -> None:
    """A column with a secret name is redacted, like a key of an object."""
    table = pd.DataFrame({"password": ["hunter2"] * 20, "card": ["visa"] * 20})
    text = Redaction().encode(table).text
    assert orjson.loads(text)["cells"] == {"password": "[redacted]", "card": ["visa"] * 20}


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"password": ["hunter2"] * 20, "card": ["visa"] * 20}),
        pl.DataFrame({"password": ["hunter2"] * 3, "card": ["visa"] * 3}),
        pa.table({"password": ["hunter2"] * 3, "card": ["visa"] * 3}),
        np.array([("hunter2", "visa")] * 3, dtype=[("password", "U9"), ("card", "U9")]),
        np.array([("hunter2", "visa")] * 90, dtype=[("password", "U9"), ("card", "U9")]),
    ],
    ids=["pandas", "polars", "pyarrow", "numpy", "more of numpy"],
)
def test_first_rows_hide_secret_columns(table: object) -> None:
    """The first rows of a table with a secret column are redacted, at any depth."""
    for value in (table, {"frame": table}, {"in": [table]}):
        text, notes = Redaction().encode(value)
        assert "hunter2" not in text
        assert NOTE in notes
        assert "visa" in text
    assert "hunter2" in Redaction(keys=()).encode(table).text


def test_tables_without_rows_have_no_cells() -> None:
    """An empty table has no cells."""
    empty = TABLE.iloc[:0]
    for table in (empty, pl.from_pandas(empty[["age"]]), pa.table({"a": []}), pd.DataFrame()):
        assert "cells" not in orjson.loads(encode(table).text)


def test_array_of_numpy_floats_is_cut() -> None:
    """A long list of numpy floats is cut like a list of plain floats."""
    assert encode([np.float64(0.5)] * 1_000, 100) == encode([0.5] * 1_000, 100)


def test_preview_of_numpy_floats() -> None:
    """A long list of numpy floats has the same preview as one of plain floats."""
    numbers = [np.float64(0.5)] * 1_000
    assert preview(numbers, encode(numbers).text) == preview([0.5] * 1_000, "x" * 2_000)


def test_cut_keeps_the_form_of_a_time() -> None:
    """A time has the same form whether the value around it is cut or not."""
    moment = datetime.datetime(2024, 5, 17, 12, 30, tzinfo=datetime.timezone.utc)
    whole = orjson.loads(encode([moment]).text)
    cut = orjson.loads(encode([moment, "x" * 1_000], 200).text)
    assert cut[0] == whole[0]


@pytest.mark.parametrize("value", [None, 1, "a" * 1_022, ["é"] * 100])
def test_short_text_has_no_preview(value: object) -> None:
    """A text of at most 1,024 bytes has no preview."""
    assert preview(value, encode(value).text) is None


@pytest.mark.parametrize("value", ["a" * 1_023, "é" * 600, list(range(1_000)), {"a": "b" * 2_000}])
def test_long_text_has_a_preview(value: Any) -> None:
    """A longer text has a preview: valid JSON of the same type and at most 1,024 bytes."""
    short = preview(value, encode(value).text)
    assert short is not None
    assert len(short.encode()) <= 1_024
    assert type(json.loads(short)) is type(value)


def test_encoding_consumes_nothing() -> None:
    """Encoding a generator does not consume its values."""
    generator = hostile.a_generator()
    encode([generator])
    assert list(generator) == [1]


def test_encoding_changes_nothing() -> None:
    """Encoding does not change a value."""
    value = {"a": [1, {"b": "x" * 300}]}
    encode(value, limit_bytes=100)
    assert value == {"a": [1, {"b": "x" * 300}]}


INFINITE = float("inf")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (INFINITE, '"Infinity"'),
        ({"a": INFINITE, "b": -INFINITE}, '{"a":"Infinity","b":"-Infinity"}'),
        ([float("nan"), None, INFINITE], '[null,null,"Infinity"]'),
        ({"a": [(1.5, -INFINITE)]}, '{"a":[[1.5,"-Infinity"]]}'),
        (
            {"a": [1.0, INFINITE], "b": b""},
            '{"a":[1.0,"Infinity"],"b":{"type":"bytes","length":0,"head":""}}',
        ),
        ({"a": float("nan"), "b": None}, '{"a":null,"b":null}'),
        (np.float64("inf"), '"Infinity"'),
        (np.float32("-inf"), '"-Infinity"'),
        (decimal.Decimal("Infinity"), '"Infinity"'),
        (["u" * 3_000, INFINITE], f'["{"u" * 3_000}","Infinity"]'),
        ([INFINITE, "u" * 3_000], f'["Infinity","{"u" * 3_000}"]'),
    ],
)
def test_infinities_are_told_apart(value: object, text: str) -> None:
    """An infinite number becomes text, and NaN becomes null."""
    assert encode(value).text == text


def test_infinities_of_tables() -> None:
    """Infinite cells of a table become text, and missing ones become null."""
    numbers = [0.5, float("nan"), INFINITE, -INFINITE] * 500
    shown = [0.5, None, "Infinity", "-Infinity"] * 500
    for made in (pd.DataFrame({"a": numbers}), np.array([numbers]).T, pl.DataFrame({"a": numbers})):
        captured = Redaction().capture({"x": made})
        assert isinstance(captured, CapturedPayload)
        [cells] = orjson.loads(captured.encode().text)["x"]["cells"].values()
        assert cells == shown


@pytest.mark.parametrize("make", [list, tuple, np.array])
def test_infinities_of_long_values(make: Callable[[list[float]], object]) -> None:
    """Infinities are also text in a cut value, in an array and in a preview."""
    numbers = [INFINITE, -INFINITE, float("nan")] + [0.5] * 40_000
    shown = ["Infinity", "-Infinity", None]
    value = {"a": make(numbers)}
    text = encode(value).text
    found = orjson.loads(text)["a"]
    short = orjson.loads(preview(value, text) or text)["a"]
    for each in (found, short):
        assert (each["head"] if isinstance(each, dict) else each)[:3] == shown
