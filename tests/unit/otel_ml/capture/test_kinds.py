"""How each kind of value that a traced call takes is recorded, and at which moment."""

import dataclasses
import datetime
import decimal
import enum
import fractions
import gc
import ipaddress
import pathlib
import re
import sys
import time
import types
import uuid
import weakref
import zoneinfo
from collections import Counter, UserDict, UserList, deque, namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np
import orjson
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from PIL import Image
from pydantic import BaseModel

from otel_ml.capture import taker
from otel_ml.capture.snapshot import Taking
from otel_ml.capture.taker import ValueTaker, describe
from otel_ml.redaction import CapturedPayload, Redaction
from tests.support.otel_ml.library_kinds import LIBRARY_KINDS
from tests.support.otel_ml.recording import Recording, inputs, outputs


@dataclasses.dataclass
class Applicant:
    age: int
    scores: Any


@attrs.define
class Loan:
    amount: float
    _secret: str = "hidden"


class Offer(BaseModel):
    rate: float


class Colour(enum.Enum):
    RED = "red"


Pair = namedtuple("Pair", "a b")


class Plain:
    """A class with attributes that declares no fields."""

    kind = "of the class"

    def __init__(self) -> None:
        self.name = "x" * 300
        self.depth = 3
        self._private = 1
        self.parts = [1]

    def give(self) -> int:
        return self.depth


class Slotted:
    __slots__ = ("_hidden", "size")

    def __init__(self) -> None:
        self.size, self._hidden = 3, 4


class Awaitable:
    def __await__(self) -> Iterator[None]:
        yield


def on_gpu() -> Any:
    """Return a stand-in for a CuPy array, whose elements must not be read."""

    class ndarray:  # noqa: N801 - as CuPy calls it
        dtype, shape = np.dtype("f4"), (3, 2)
        device = types.SimpleNamespace(id=1)

        def __repr__(self) -> str:
            raise AssertionError("it waits for the GPU")

        __array__ = item = get = tolist = __getitem__ = __repr__

    ndarray.__module__ = "cupy"
    return ndarray()


def described(value: object) -> Any:
    """Return the JSON that is recorded for a value."""
    captured = Redaction().capture({"x": value})
    text = captured if isinstance(captured, str) else captured.encode().text
    return orjson.loads(text)["x"]


def numpy_like(**more: object) -> dict[str, object]:
    return {"type": "numpy.ndarray", **more}


MASKED = np.ma.MaskedArray([1, 2], [False, True])
RECORDS = np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")])
OBJECTS = np.array([{}, None], object)
MOMENT = datetime.datetime(2026, 11, 26, 12, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
HERE = __name__

# name: (value, recorded JSON, entry in the tables of `otel_ml.capture.taker`)
KINDS: dict[str, tuple[Any, Any, object]] = {
    "dict": ({1: np.int64(2)}, {"1": 2}, dict),
    "Counter": (Counter("aab"), {"a": 2, "b": 1}, dict),
    "list": ([np.float64(0.5)], [0.5], list),
    "tuple": ((b"",), [{"type": "bytes", "length": 0, "head": ""}], tuple),
    "named tuple": (Pair(1, np.True_), [1, True], tuple),
    "set": ({"b", "a"}, ["a", "b"], set),
    "frozenset": (frozenset({2, 1}), [1, 2], frozenset),
    "large set": (
        set(range(2_000)),
        {"type": "builtins.set", "length": 2_000, "head": [*range(8)]},
        set,
    ),
    "keys": ({"a": 1}.keys(), ["a"], type({}.keys())),
    "values": ({"a": 1}.values(), [1], type({}.values())),
    "items": ({"a": 1}.items(), [["a", 1]], type({}.items())),
    "deque": (deque([1, 2], maxlen=5), [1, 2], deque),
    "UserDict": (UserDict(a=1), {"a": 1}, UserDict),
    "UserList": (UserList([1]), [1], UserList),
    "proxy": (types.MappingProxyType({"a": 1}), {"a": 1}, types.MappingProxyType),
    "bytes": (b"\xff\x00", {"type": "bytes", "length": 2, "head": "ff00"}, bytes),
    "bytearray": (bytearray(b"\x01"), {"type": "bytes", "length": 1, "head": "01"}, bytearray),
    "memoryview": (memoryview(b"a"), {"type": "bytes", "length": 1, "head": "61"}, memoryview),
    "text": (np.str_("a"), "a", "numpy"),
    "subclass of str": (type("Text", (str,), {})("a"), "a", str),
    "subclass of int": (type("Count", (int,), {})(3), 3, int),
    "subclass of float": (type("Share", (float,), {})(0.5), 0.5, float),
    "complex": (1 + 2j, "(1+2j)", complex),
    "UUID": (uuid.UUID(int=7), str(uuid.UUID(int=7)), uuid.UUID),
    "date": (datetime.date(2026, 11, 26), "2026-11-26", datetime.date),
    "time": (datetime.time(12), "12:00:00", datetime.time),
    "datetime": (MOMENT, "2026-11-26T12:30:00+01:00", datetime.date),
    "Timestamp": (
        pd.Timestamp("2026-11-26T00:00:00.000000001"),
        "2026-11-26T00:00:00.000000001",
        datetime.date,
    ),
    "Decimal": (decimal.Decimal("1.10"), "1.10", "decimal"),
    "path": (pathlib.PurePosixPath("a/b"), "a/b", "pathlib"),
    "Fraction": (
        fractions.Fraction(1, 3),
        {"type": "fractions.Fraction", "repr": "Fraction(1, 3)"},
        "fractions",
    ),
    "address": (
        ipaddress.ip_address("::1"),
        {"type": "ipaddress.IPv6Address", "repr": "IPv6Address('::1')"},
        "ipaddress",
    ),
    "zone": (
        zoneinfo.ZoneInfo("UTC"),
        {"type": "zoneinfo.ZoneInfo", "repr": "zoneinfo.ZoneInfo(key='UTC')"},
        "zoneinfo",
    ),
    "range": (range(3), {"type": "builtins.range", "repr": "range(0, 3)"}, "represented"),
    "pattern": (re.compile("a"), {"type": "re.Pattern", "repr": "re.compile('a')"}, "represented"),
    "enum": (Colour.RED, "red", "enum"),
    "class": (Plain, {"type": "builtins.type", "attributes": {"name": f"{HERE}.Plain"}}, type),
    "function": (
        described,
        {"type": "builtins.function", "attributes": {"name": f"{HERE}.described"}},
        types.FunctionType,
    ),
    "builtin": (
        len,
        {"type": "builtins.builtin_function_or_method", "attributes": {"name": "builtins.len"}},
        types.BuiltinFunctionType,
    ),
    "method": (
        Plain().give,
        {"type": "builtins.method", "attributes": {"name": f"{HERE}.Plain.give"}},
        types.MethodType,
    ),
    "module": (
        orjson,
        {"type": "builtins.module", "attributes": {"name": "orjson"}},
        types.ModuleType,
    ),
    "error": (
        ValueError("too large"),
        {"type": "builtins.ValueError", "attributes": {"message": "too large"}},
        BaseException,
    ),
    "dataclass": (Applicant(3, np.int8(1)), {"age": 3, "scores": 1}, "fields"),
    "attrs": (Loan(1.5), {"amount": 1.5}, "fields"),
    "pydantic": (Offer(rate=0.5), {"rate": 0.5}, "fields"),
    "object": (
        Plain(),
        {"type": f"{HERE}.Plain", "attributes": {"name": "x" * 200, "depth": 3}},
        "object",
    ),
    "slots": (Slotted(), {"type": f"{HERE}.Slotted", "attributes": {"size": 3}}, "object"),
    "awaitable": (Awaitable(), {"type": f"{HERE}.Awaitable", "awaitable": True}, "awaitable"),
    "NumPy scalar": (np.float32(0.5), 0.5, "numpy"),
    "NumPy datetime": (np.datetime64("2026-11-26"), "2026-11-26", "numpy"),
    "NumPy long double": (np.longdouble(0.5), 0.5, "numpy"),
    "NumPy array": (
        np.array([1, 2], "i4"),
        numpy_like(dtype="int32", shape=[2], values=[1, 2]),
        "numpy",
    ),
    "NumPy strings": (np.array(["a"]), numpy_like(dtype="<U1", shape=[1], values=["a"]), "numpy"),
    "NumPy variable strings": (
        np.array(["a"], dtype=np.dtypes.StringDType()),
        numpy_like(dtype="StringDType()", shape=[1], values=["a"]),
        "numpy",
    ),
    "NumPy objects": (OBJECTS, numpy_like(dtype="object", shape=[2], values=[{}, None]), "numpy"),
    "NumPy records": (
        RECORDS,
        numpy_like(
            dtype="[('a', '<i4'), ('b', '<f8')]",
            shape=[1],
            values=[[1, 2.5]],
            cells={"a": [1], "b": [2.5]},
        ),
        "numpy",
    ),
    "NumPy masked": (MASKED, numpy_like(dtype="int64", shape=[2], values=[1, None]), "numpy"),
    "pandas DataFrame": (
        pd.DataFrame({"a": [1]}),
        {
            "type": f"{pd.DataFrame.__module__}.DataFrame",
            "shape": [1, 1],
            "columns": ["a"],
            "head": "   a\n0  1",
            "cells": {"a": [1]},
        },
        "pandas",
    ),
    "pandas Series": (
        pd.Series([1], name="a"),
        {
            "type": f"{pd.Series.__module__}.Series",
            "shape": [1],
            "head": "0    1\nName: a, dtype: int64",
        },
        "pandas",
    ),
    "polars DataFrame": (
        pl.DataFrame({"a": [1]}),
        {
            "type": "polars.dataframe.frame.DataFrame",
            "shape": [1, 1],
            "columns": ["a"],
            "head": str(pl.DataFrame({"a": [1]})),
            "cells": {"a": [1]},
        },
        "polars",
    ),
    "polars Series": (
        pl.Series("a", ["x"]),
        {
            "type": "polars.series.series.Series",
            "shape": [1],
            "head": str(pl.Series("a", ["x"])),
        },
        "polars",
    ),
    "Arrow table": (
        pa.table({"a": [1, None]}),
        {
            "type": "pyarrow.lib.Table",
            "shape": [2, 1],
            "head": {
                "a": {
                    "type": "pyarrow.lib.ChunkedArray",
                    "dtype": "int64",
                    "shape": [2],
                    "head": [1, None],
                }
            },
            "cells": {"a": [1, None]},
        },
        "pyarrow",
    ),
    "Arrow array": (
        pa.array(["x"]),
        {"type": "pyarrow.lib.StringArray", "dtype": "string", "shape": [1], "head": ["x"]},
        "pyarrow",
    ),
    "CuPy array": (
        on_gpu(),
        {"type": "cupy.ndarray", "dtype": "float32", "shape": [3, 2], "device": "cuda:1"},
        "cupy",
    ),
    "sparse matrix": (
        scipy.sparse.csr_matrix([[0.0, 1.0]]),
        {
            "type": "scipy.sparse._csr.csr_matrix",
            "dtype": "float64",
            "shape": [1, 2],
            "stored": 1,
        },
        "scipy",
    ),
    "image": (
        Image.new("L", (2, 1), 7),
        {
            "type": "PIL.Image",
            "mode": "L",
            "size": [2, 1],
            "brightness": 7.0,
            "contrast": 0.0,
            "sharpness": 0.0,
        },
        "PIL",
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_kind_is_described(name: str) -> None:
    """A value of each kind is recorded in its documented form."""
    value, expected, _ = KINDS[name]
    assert described(value) == expected


def test_every_kind_has_a_row() -> None:
    """Each kind in the tables of `taker` has a row in `KINDS` or in `LIBRARY_KINDS`."""
    known = {*taker._BUILT_IN, *taker._LIBRARIES}
    here = {kind for *_, kind in KINDS.values()}
    assert known - here == {*LIBRARY_KINDS}


def test_description_of_a_live_value_is_equal() -> None:
    """Describing a value directly gives the same result as describing its snapshot."""
    for name, (value, expected, _) in KINDS.items():
        if isinstance(expected, dict) and "type" in expected:
            assert orjson.loads(Redaction().encode(value).text) == expected, name
    assert describe(b"a") == {"type": "bytes", "length": 1, "head": "61"}


# Functions that change a value right after the call.
def fill(array: Any) -> None:
    array[...] = array.dtype.type(0)


def change_frame(frame: Any) -> None:
    frame.iloc[:, 0] = frame.iloc[::-1, 0].to_numpy()
    del frame[frame.columns[-1]]


def base_of(view: Any) -> Any:
    view.base[...] = 0


def blacken(image: Any) -> None:
    image.paste(0, (0, 0, *image.size))


def applicant() -> Applicant:
    return Applicant(3, np.arange(300.0))


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "vector": (lambda: np.arange(300.0), fill),
    "small array": (lambda: np.arange(1, 9), fill),
    "table": (lambda: np.arange(600.0).reshape(200, 3), fill),
    "strings": (lambda: np.array(["a", "b"] * 50), lambda array: array.fill("z")),
    "records": (lambda: np.repeat(RECORDS, 100), lambda array: array["a"].fill(9)),
    "masked": (lambda: np.ma.MaskedArray([1.0] * 90, [True] + [False] * 89), fill),
    "objects": (lambda: np.array([{"a": 1}] * 70 + [0], object), lambda a: a[0].update(a=2)),
    "view": (lambda: np.arange(300.0)[::2], base_of),
    "read-only view": (lambda: read_only(np.arange(300.0)), base_of),
    "list in a dict": (lambda: {"a": [1, [2], b"x"]}, lambda value: value["a"][1].append(3)),
    "array in a list": (lambda: [np.arange(3)], lambda value: fill(value[0])),
    "dict of arrays": (lambda: {"a": np.arange(3)}, lambda value: fill(value["a"])),
    "dataclass": (applicant, lambda value: fill(value.scores)),
    "field": (applicant, lambda value: setattr(value, "age", 4)),
    "attribute": (Plain, lambda value: setattr(value, "depth", 4)),
    "bytearray": (lambda: bytearray(b"abc"), lambda value: value.clear()),
    "set": (lambda: {1, b"x"}, lambda value: value.clear()),
    "deque": (lambda: deque([1, b"x"]), lambda value: value.append(3)),
    "frame": (lambda: pd.DataFrame(np.arange(60.0).reshape(20, 3), columns=[*"abc"]), change_frame),
    "mixed frame": (
        lambda: pd.DataFrame({"a": [*range(20)], "b": [*"abcdefghijklmnopqrst"], "c": True}),
        change_frame,
    ),
    "frame of a view": (
        lambda: pd.DataFrame(np.arange(60.0).reshape(20, 3)[::2], copy=False),
        change_frame,
    ),
    "objects in a frame": (
        lambda: pd.DataFrame({"a": pd.Series([[1], [2]], dtype=object), "b": 1}),
        lambda frame: frame.iloc[0, 0].append(3),
    ),
    "series": (
        lambda: pd.Series(np.arange(20.0)),
        lambda value: value.__setitem__(0, 5.0),
    ),
    "polars": (
        lambda: pl.DataFrame({"a": [1, 2]}),
        lambda value: value.insert_column(0, pl.Series("z", [0, 0])),
    ),
    "sparse": (lambda: scipy.sparse.csr_matrix(np.eye(3)), lambda value: value.resize(2, 2)),
    "image": (lambda: Image.new("RGB", (80, 70), 9), lambda value: value.paste(0, (0, 0, 80, 70))),
    "palette": (
        lambda: Image.new("L", (80, 70), 9).convert("P"),
        lambda value: value.paste(0, (0, 0, 80, 70)),
    ),
}


def read_only(array: Any) -> Any:
    view = array.view()
    view.flags.writeable = False
    return view


@pytest.mark.parametrize("name", CHANGES)
def test_recorded_as_it_was(name: str) -> None:
    """A value that changes right after the call is recorded as it was during the call."""
    make, change = CHANGES[name]
    expected = described(make())
    value = make()
    captured = Redaction().capture({"x": value})
    assert isinstance(captured, CapturedPayload)
    change(value)
    assert orjson.loads(captured.encode().text)["x"] == expected
    assert described(value) != expected  # otherwise the change proves nothing


FRAMES: dict[str, Callable[[], Any]] = {
    "numbers": lambda: pd.DataFrame(np.arange(800.0).reshape(100, 8)),
    "mixed": lambda: pd.DataFrame(
        {
            "i": [1, 2, 3],
            "f": [0.5, None, float("inf")],
            "s": ["x", None, "y" * 90],
            "b": [True, False, True],
            "o": pd.Series([{1}, [1, 2], None], dtype=object),
            "c": pd.Categorical(["u", None, "v"]),
            "d": pd.to_datetime(["2026-11-01", None, "2026-11-03"]),
            "z": pd.to_datetime(["2026-11-01"] * 3, utc=True),
            "n": pd.array([1, None, 3], dtype="Int64"),
            "t": pd.to_timedelta([1, 2, 3], "s"),
            "p": pd.period_range("2026-01", periods=3, freq="M"),
        }
    ),
    "longer": lambda: pd.concat([FRAMES["mixed"]()] * 40),
    "index": lambda: pd.DataFrame({"a": range(20)}, index=[f"row {n}" for n in range(20)]),
    "levels": lambda: pd.DataFrame(
        np.arange(40).reshape(20, 2),
        index=pd.MultiIndex.from_product([[*"abcd"], range(5)]),
        columns=pd.MultiIndex.from_tuples([("u", 1), ("u", 2)]),
    ),
    "doubled names": lambda: pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "wide": lambda: pd.DataFrame(np.arange(900).reshape(3, 300)),
    "empty": lambda: pd.DataFrame({"a": []}),
    "nothing": pd.DataFrame,
    "pieces": lambda: pd.concat([pd.DataFrame({"a": range(30)}), pd.DataFrame({"b": ["x"] * 9})]),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frame_is_described_as_pandas_shows_it(name: str) -> None:
    """The head is the text that pandas prints; the cells come from evenly spaced rows."""
    frame = FRAMES[name]()
    found = described(frame)
    assert found["head"] == str(frame.head(8))
    assert found["columns"] == [str(column) for column in frame.columns]
    assert found["shape"] == [*frame.shape]
    for place, column in enumerate(frame.columns[:50]):
        shown = found.get("cells", {}).get(str(column), [])
        is_number = isinstance(frame.dtypes.iloc[place], np.dtype) and (
            frame.dtypes.iloc[place].kind in "fiub"
        )
        cells = max(2 * len(frame), 400) if is_number else 400
        step = max(-(-len(frame) // max(cells // max(min(frame.shape[1], 50), 1), 8)), 1)
        assert len(shown) == len(frame.iloc[::step, place]), column


@contextmanager
def calls_on_this_thread() -> Iterator[set[tuple[str, str]]]:
    """Collect the file and name of each Python function that this thread calls."""
    called: set[tuple[str, str]] = set()

    def see(frame: Any, event: str, _argument: object) -> None:
        if event == "call":
            called.add((frame.f_code.co_filename, frame.f_code.co_name))

    sys.setprofile(see)
    try:
        yield called
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("name", ["NumPy array", "pandas DataFrame", "image", "dataclass"])
def test_caller_describes_nothing(name: str) -> None:
    """The thread of the traced call neither describes nor formats values."""
    value, *_ = KINDS[name]
    recording = Recording()
    traced = recording.client.trace(name="predict")(lambda value: value)
    traced(value)
    traced(value)
    with calls_on_this_thread() as called:
        traced(value)
    ours = {called_name for file, called_name in called if "capture" in file}
    assert any(called_name.startswith(("take", "_take", "way", "field")) for called_name in ours)
    for file, called_name in called:
        assert "describe" not in called_name or "version" in called_name, file
        assert "formats" not in file
        assert called_name not in {"__repr__", "__str__", "write_cells", "project"}
    last = recording.runs()[-1]
    assert inputs(last)["value"] == outputs(last) == KINDS[name][1]


def test_snapshot_keeps_no_large_object() -> None:
    """A large value is freed even if its run has not been sent yet."""
    captured = []
    for make in (
        lambda: np.zeros(1_000_000),
        lambda: np.zeros((1_000, 1_000)),
        lambda: pd.DataFrame(np.zeros((100_000, 4))),
        lambda: pd.Series(np.zeros(100_000)),
        lambda: Image.new("RGB", (2_000, 2_000)),
        lambda: scipy.sparse.csr_matrix(np.eye(500)),
    ):
        value = make()
        reference = weakref.ref(value)
        captured.append(Redaction().capture({"x": value}))
        del value
        gc.collect()
        assert reference() is None
    assert all(item.weight < 200_000 for item in captured if isinstance(item, CapturedPayload))


class Costly:
    """A class whose ``repr`` would query a database."""

    asked = 0

    def __repr__(self) -> str:
        type(self).asked += 1
        return "costly"


def test_foreign_repr_is_not_called() -> None:
    """The ``repr`` of an object from another package is not called."""
    Costly.asked = 0
    body = {"__module__": "django.db.models.query", "__repr__": Costly.__repr__}
    foreign = type("QuerySet", (Costly,), body)
    tree = ValueTaker(Taking("shop")).take([foreign(), Costly()])
    assert Costly.asked == 0
    assert tree == [
        {"type": "django.db.models.query.QuerySet", "attributes": {}},
        {"type": f"{HERE}.Costly", "attributes": {}},
    ]
    own = ValueTaker(Taking(HERE.partition(".")[0])).take(Costly())
    assert own == {"type": f"{HERE}.Costly", "repr": "costly"}


def test_large_containers_are_sampled() -> None:
    """A container with a million items is neither sorted nor copied completely."""
    numbers = set(range(1_000_000))
    for value in (numbers, dict.fromkeys(numbers).keys(), deque(numbers), dict.fromkeys(numbers)):
        captured = Redaction().capture({"x": value, "y": b""})
        assert isinstance(captured, CapturedPayload)
        assert captured.weight < 2_000_000
        captured.encode()


@pytest.mark.parametrize("count", [20, 40_000])
def test_many_samples_are_bounded(count: int) -> None:
    """The snapshot of a value stays small however many arrays the value contains."""
    captured = Redaction().capture({"x": [np.zeros(8_000)] * count})
    assert isinstance(captured, CapturedPayload)
    assert captured.weight < 8_000_000
    assert orjson.loads(captured.encode().text)["x"][0]["shape"] == [8_000]


NAMES = {"age": [31, 64], "ssn": ["123", "456"]}
TABLES = {
    "pandas": pd.DataFrame(NAMES),
    "polars": pl.DataFrame(NAMES),
    "Arrow": pa.table(NAMES),
    "records": np.array([(31, "123")] * 70, dtype=[("age", "i4"), ("ssn", "U3")]),
    "few records": np.array([(31, "123")], dtype=[("age", "i4"), ("ssn", "U3")]),
}


@pytest.mark.parametrize("name", TABLES)
def test_only_chosen_columns_are_recorded(name: str) -> None:
    """With ``columns=``, all other columns of a table stay in the process."""
    recording = Recording()
    traced = recording.client.trace(columns=["age"])(lambda table: [table])
    traced(TABLES[name])
    run = recording.run()
    for recorded in (inputs(run)["table"], outputs(run)[0]):
        text = orjson.dumps(recorded).decode()
        assert "123" not in text
        assert "31" in text


@pytest.mark.parametrize("series", [pd.Series(["123"], name="ssn"), pl.Series("ssn", ["123"])])
def test_series_that_is_not_chosen(series: Any) -> None:
    """A series whose name is not in ``columns`` is recorded without its values."""
    taker = ValueTaker(Taking(columns=frozenset({"age"})))
    taken: Any = taker.take(series)
    assert taken.describe()["shape"] == [1]
    assert "123" not in str(taken.describe())


@pytest.mark.parametrize("columns", ["age", 3, [1]])
def test_wrong_columns_are_refused(columns: Any) -> None:
    """Columns must be a list of names."""
    with pytest.raises(ValueError, match="Invalid columns"):
        Recording().client.trace(columns=columns)


def test_many_keys_of_one_type() -> None:
    """Keys of a foreign type stay distinct, and many of them cost no more than other keys."""
    value = {Slotted(): number for number in range(30_000)}
    began_s = time.thread_time()
    taken: Any = ValueTaker().take(value)
    assert time.thread_time() - began_s < 2.0  # 30,000 * 30,000 / 2 comparisons take a minute
    assert len(taken) == 30_000
