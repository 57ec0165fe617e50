"""Arrays, tables and nested values that the program changes right after the call."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.redaction import CapturedPayload, Redaction

_DTYPES = ("f8", "f4", "i8", "i4", "u1", "?", "M8[s]", "U4", "c16")
_SHAPES = ((0,), (1,), (7,), (600,), (9, 3), (200, 5), (1_000, 60), (4, 3, 2), (30, 8, 3))
_INDEXES: tuple[Callable[[npt.NDArray[Any]], npt.NDArray[Any]], ...] = (
    lambda array: array,
    lambda array: array[::2],
    lambda array: array[::-1],
    lambda array: array[1:],
    lambda array: array.T,
    lambda array: array.reshape(-1),
)


@dataclass(frozen=True)
class Changing:
    """A value of a call and a function that overwrites its memory."""

    value: Any
    change: Callable[[], object]


@st.composite
def arrays(draw: st.DrawFn) -> Changing:
    """Draw an array that owns its memory or is a view, writable or not.

    The change overwrites the base of the array.
    """
    shape = draw(st.sampled_from(_SHAPES))
    base = np.arange(1, np.prod(shape) + 1).astype(draw(st.sampled_from(_DTYPES))).reshape(shape)
    array = draw(st.sampled_from(_INDEXES))(base)
    if draw(st.booleans()):
        array = array.view()
        array.flags.writeable = False
    return Changing(array, lambda: base.__setitem__(..., np.zeros((), base.dtype)))


@st.composite
def frames(draw: st.DrawFn) -> Changing:
    """Draw a frame over memory of the program, with columns of several kinds.

    The change overwrites the frame and its memory.
    """
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 5))
    base = np.arange(1.0, rows * columns + 1).reshape(rows, columns)
    frame = pd.DataFrame(base, columns=[f"c{place}" for place in range(columns)], copy=False)
    if draw(st.booleans()):
        frame["text"] = [f"t{row}" for row in range(rows)]
    if draw(st.booleans()):
        frame = frame.iloc[::-1]

    def change() -> None:
        base[...] = 0
        frame.iloc[:, 0] = -1.0
        if "text" in frame:
            frame["text"] = "z"

    return Changing(frame, change)


@st.composite
def series(draw: st.DrawFn) -> Changing:
    """Draw a series over memory of the program. The change overwrites that memory."""
    base = np.arange(1, draw(st.integers(2, 200))).astype(draw(st.sampled_from(("f8", "i8", "?"))))
    column = pd.Series(base, copy=False)
    return Changing(column, lambda: base.fill(0))


@st.composite
def containers(draw: st.DrawFn) -> Changing:
    """Draw a list or dict of arrays, frames and series, with a list inside.

    The change overwrites all of them and empties both containers.
    """
    parts = draw(st.lists(arrays() | frames() | series(), min_size=1, max_size=4))
    inner = draw(st.lists(st.integers() | st.text(max_size=5), min_size=1))
    values = [*(part.value for part in parts), inner]
    whole: Any = draw(st.sampled_from([values, {str(n): item for n, item in enumerate(values)}]))

    def change() -> None:
        for part in parts:
            part.change()
        inner.clear()
        whole.clear()

    return Changing(whole, change)


@given(arrays() | frames() | series() | containers())
def test_recorded_as_at_the_call(changing: Changing) -> None:
    """A value is recorded as it was at the call, even if its memory changes afterwards."""
    same = copy.deepcopy(changing.value)
    expected = Redaction().capture({"x": same})
    captured = Redaction().capture({"x": changing.value})
    assert isinstance(expected, CapturedPayload)
    assert isinstance(captured, CapturedPayload)
    wanted = orjson.loads(expected.encode().text)
    changing.change()
    assert orjson.loads(captured.encode().text) == wanted
