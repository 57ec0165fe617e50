"""The first rows of a pandas frame or series are recorded as the text that pandas prints."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_ml.redaction import CapturedPayload, Redaction


def head_of(value: object) -> str:
    """Return the text that is recorded for the first rows of a value."""
    captured = Redaction().capture({"x": value})
    assert isinstance(captured, CapturedPayload)
    head: str = orjson.loads(captured.encode().text)["x"]["head"]
    return head


WORDS = st.text(st.sampled_from("ab 1é漢\n"), max_size=70)
NUMBERS = st.one_of(
    st.floats(allow_infinity=True, allow_nan=True),
    st.floats(-100, 100).map(lambda number: round(number, 2)),
    st.sampled_from([0.0, -0.0, 1.0, 1e6, 1e6 + 1, 1e-6, 9.9e-7, 0.5, 1234567.25, 2 / 3]),
)
CELLS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "floats": (NUMBERS, "f8"),
    "single floats": (st.floats(width=32, allow_nan=True, allow_infinity=True), "f4"),
    "integers": (st.integers(-(2**63), 2**63 - 1), "i8"),
    "small integers": (st.integers(0, 255), "u1"),
    "flags": (st.booleans(), "?"),
    "texts": (st.none() | WORDS, None),
    "objects": (st.none() | WORDS | st.just(math.nan) | st.integers(0, 9), object),
    "codes": (st.none() | st.integers(0, 9), "Int64"),
    "categories": (st.none() | st.sampled_from(["u", "v"]), "category"),
}


@st.composite
def columns(draw: st.DrawFn, rows: int) -> Any:
    """Draw a column of one of several kinds."""
    cells, dtype = CELLS[draw(st.sampled_from(sorted(CELLS)))]
    return pd.Series(draw(st.lists(cells, min_size=rows, max_size=rows)), dtype=dtype)


@st.composite
def frames(draw: st.DrawFn) -> Any:
    """Draw a frame of up to 12 columns and 10 rows, with unsorted labels or numbered rows."""
    rows = draw(st.integers(1, 10))
    parts = draw(st.lists(columns(rows), min_size=1, max_size=12))
    frame = pd.concat(parts, axis=1)
    names = draw(st.lists(WORDS, min_size=len(parts), max_size=len(parts)))
    frame.columns = names if draw(st.booleans()) else [f"column {n}" for n in range(len(parts))]
    if draw(st.booleans()):
        frame.index = draw(
            st.lists(st.integers(-9, 10**6), min_size=rows, max_size=rows, unique=True)
        )
    if draw(st.integers(0, 9)) == 0:
        frame.index.name = "row"
    return frame


@given(frames())
@example(pd.DataFrame({f"column {n}": [0.25, 1e9] for n in range(30)}))
@example(pd.DataFrame({f"c{n}": [n] for n in range(100)}))
@example(pd.DataFrame({"a": pd.Categorical([None], categories=["u"])}))
@example(pd.DataFrame({" a": [True], " b": ["x"]}, index=[-3]))
def test_head_of_a_frame(frame: Any) -> None:
    """The first rows of a frame are recorded as pandas prints them, whatever its columns are."""
    assert head_of(frame) == str(frame.head(8))


@given(st.integers(1, 10).flatmap(columns), st.none() | WORDS, st.integers(-5, 5))
def test_head_of_a_series(series: Any, name: str | None, first: int) -> None:
    """The first values of a series are recorded as pandas prints them."""
    series = series.rename(name)
    series.index = series.index if first < 0 else [first + 7 * n for n in range(len(series))]
    # pandas prints the length only if it leaves out values of the series
    assert head_of(series) == str(series.head(8))


FRAME = pd.DataFrame(
    {f"column {n}": np.random.default_rng(n).normal(size=8) * 10**n for n in range(9)}
)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("display.precision", 2),
        ("display.float_format", "{:.1f}".format),
        ("display.max_columns", 4),
        ("display.max_columns", None),
        ("display.max_rows", 4),
        ("display.max_colwidth", 5),
        ("display.chop_threshold", 0.5),
        ("display.colheader_justify", "left"),
        ("display.show_dimensions", True),
        ("display.unicode.east_asian_width", True),
    ],
)
def test_options_of_pandas(option: str, value: object) -> None:
    """A program that changes pandas' display options gets its own layout."""
    with pd.option_context(option, value):
        assert head_of(FRAME) == str(FRAME)
        assert head_of(FRAME["column 8"]) == str(FRAME["column 8"])


@pytest.mark.parametrize("width", ["20", "40", "79", "100", "300"])
def test_width_of_the_terminal(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns that do not fit into the terminal are left out as in pandas."""
    monkeypatch.setenv("COLUMNS", width)
    assert head_of(FRAME) == str(FRAME)


def costs_s(*functions: Callable[[], object]) -> list[float]:
    """Return the lowest CPU time of 160 calls of each function, in turn."""
    rounds = []
    for _ in range(160):  # longer than a busy neighbour disturbs all of them
        costs = []
        for function in functions:
            began = time.thread_time()
            function()
            costs.append(time.thread_time() - began)
        rounds.append(costs)
    return [min(each) for each in zip(*rounds, strict=True)]


@pytest.mark.parametrize(
    "value",
    [FRAME, FRAME.assign(card="visa"), FRAME.assign(card=pd.Categorical([*"aabbccdd"])), FRAME[:1]],
)
def test_cost_of_a_frame(value: Any) -> None:
    """Describing a frame of numbers and texts takes less than 70 % of the time of printing it."""
    described, printed = costs_s(lambda: head_of(value), lambda: str(value))
    assert described < 0.7 * printed
