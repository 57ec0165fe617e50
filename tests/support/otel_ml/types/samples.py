"""Values of Python, numpy, pandas, Pillow, scipy, pyarrow and polars, with their expected form."""

import array
import datetime
import decimal
import enum
import fractions
import io
import pathlib
import types
import uuid
import zoneinfo
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # has no types
import polars as pl
import pyarrow as pa
from PIL import Image
from pydantic import BaseModel
from scipy import sparse

from tests.support.otel_ml.types.kept import Sample
from tests.support.otel_ml.types.trips import same_frame, same_index, same_series

UTC: Final = datetime.timezone.utc
AMSTERDAM: Final = zoneinfo.ZoneInfo("Europe/Amsterdam")


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Mode(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Shade(str, enum.Enum):
    DARK = "dark"


class Typed(NamedTuple):
    x: int
    y: str = "b"


Pair = namedtuple("Pair", ["left", "right"])


@dataclass
class Layer:
    size: int
    name: str = "dense"


@dataclass(frozen=True, slots=True)
class Net:
    layers: list[Layer]
    weights: Any = field(default_factory=lambda: np.arange(2))


class Settings(BaseModel):
    rate: float = 0.5
    tags: list[str] = ["a"]


class Model:
    """An object that declares no fields."""


class Words(str):
    __slots__ = ()


class Numbers(list[int]):
    pass


def assured(check: Callable[[Any, Any], None]) -> Callable[[Any, Any], bool]:
    """Turn an assertion into a comparison."""

    def equals(left: Any, right: Any) -> bool:
        check(left, right)
        return True

    return equals


def _same_attrs(check: Callable[[Any, Any], None]) -> Callable[[Any, Any], bool]:
    def equals(left: Any, right: Any) -> bool:
        check(left, right)
        return bool(left.attrs == right.attrs)

    return equals


def same_masked(left: Any, right: Any) -> bool:
    """Return whether masked arrays have equal dtype, mask, fill value, hardness and masked data."""
    return bool(
        left.dtype == right.dtype
        and left.shape == right.shape
        and np.array_equal(np.ma.getmaskarray(left), np.ma.getmaskarray(right))
        and repr(left.data.tolist()) == repr(right.data.tolist())
        and repr(left.fill_value) == repr(right.fill_value)
        and left.hardmask == right.hardmask
    )


def same_sparse(left: Any, right: Any) -> bool:
    """Return whether sparse matrices have equal dtype, shape and elements."""
    return bool(
        (left.dtype, left.shape) == (right.dtype, right.shape)
        and np.array_equal(left.toarray(), right.toarray())
    )


def same_arrow(left: Any, right: Any) -> bool:
    """Return whether pyarrow values have equal schemas, with metadata, and equal elements."""
    if isinstance(right, pa.Table | pa.RecordBatch):
        return bool(left.schema.equals(right.schema, check_metadata=True) and left.equals(right))
    return bool(left.equals(right))


def same_polars(left: Any, right: Any) -> bool:
    """Return whether polars values have equal schemas and elements."""
    if isinstance(right, pl.Series):
        return bool(left.name == right.name and left.dtype == right.dtype and left.equals(right))
    return bool(left.schema == right.schema and left.equals(right))


def same_image(left: Any, right: Any) -> bool:
    """Return whether images have equal mode, size, orientation and pixels."""
    return bool(
        (left.mode, left.size, left.getexif().get(274), left.tobytes())
        == (right.mode, right.size, right.getexif().get(274), right.tobytes())
    )


def photo(orientation: int, mode: str = "RGB", suffix: str = "JPEG") -> Image.Image:
    """Make a photograph of 3 by 2 pixels with an EXIF orientation."""
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    gradient = Image.frombytes("L", (3, 2), bytes(range(0, 240, 40))).convert(mode)
    gradient.save(file, suffix, exif=exif)
    found = Image.open(file)
    found.load()
    return found


def _samples() -> Iterator[Sample]:
    yield from _python()
    yield from _reduced()
    yield from _numpy()
    yield from _pandas()
    yield from _pillow()
    yield from _scipy()
    yield from _pyarrow()
    yield from _polars()


def _same(group: str, equals: Any = None, **values: Callable[[], Any]) -> Iterator[Sample]:
    for name, make in values.items():
        named = f"{group}: {name.replace('_', ' ').strip()}"
        yield Sample(named, make) if equals is None else Sample(named, make, equals=equals)


def _python() -> Iterator[Sample]:
    yield from _same(
        "python",
        none=lambda: None,
        true=lambda: True,
        number=lambda: 7,
        number_of_65_bits=lambda: 2**64,
        negative_of_65_bits=lambda: -(2**63) - 1,
        number_of_5000_digits=lambda: 10**5_000,
        float=lambda: 0.1,
        negative_zero=lambda: -0.0,
        nan=lambda: float("nan"),
        infinity=lambda: float("inf"),
        minus_infinity=lambda: float("-inf"),
        complex=lambda: complex(float("nan"), -0.0),
        text=lambda: "a",
        empty_text=lambda: "",
        text_with_lone_surrogate=lambda: "a\ud800b",
        bytes=lambda: b"\xff\x00",
        bytearray=lambda: bytearray(b"a"),
        list=lambda: [1, [2, None]],
        tuple=lambda: (1, (2,)),
        set=lambda: {1, "a"},
        frozenset=lambda: frozenset({(1, 2)}),
        dict=lambda: {"a": 1},
        dict_of_odd_keys=lambda: {1: "a", None: "b", (1, 2): "c", 0.5: "d"},
        dict_that_looks_tagged=lambda: {"$": "tuple", "v": [1]},
        range=lambda: range(1, 10, 3),
        slice=lambda: slice(1, None, 2),
        ellipsis=lambda: ...,
        decimal=lambda: decimal.Decimal("1.10"),
        decimal_nan=lambda: decimal.Decimal("NaN"),
        fraction=lambda: fractions.Fraction(1, 3),
        uuid=lambda: uuid.UUID(int=7),
        date=lambda: datetime.date(2024, 5, 17),
        time=lambda: datetime.time(1, 2, 3, 4, tzinfo=UTC),
        datetime=lambda: datetime.datetime(2024, 5, 17),  # noqa: DTZ001 - without a zone
        datetime_with_zone=lambda: datetime.datetime(2024, 10, 27, 2, tzinfo=AMSTERDAM, fold=1),
        timedelta=lambda: datetime.timedelta(-1, 2, 3),
        time_zone=lambda: AMSTERDAM,
        offset=lambda: datetime.timezone(datetime.timedelta(hours=2), "here"),
        path=lambda: pathlib.Path("models/a.bin"),
        windows_path=lambda: pathlib.PureWindowsPath("c:/b"),
        ordered_dict=lambda: OrderedDict([("b", 1), ("a", 2)]),
        ordered_dict_of_odd_keys=lambda: OrderedDict([((1,), 1)]),
        counter=lambda: Counter("abca"),
        deque=lambda: deque([1, 2]),
        bounded_deque=lambda: deque([1, (2,)], maxlen=2),
        array_of_floats=lambda: array.array("d", [1.5, float("inf")]),
        array_of_bytes=lambda: array.array("B", [1, 255]),
    )


def _reduced() -> Iterator[Sample]:
    def less(name: str, make: Callable[[], Any], plain: Any, why: str) -> Sample:
        return Sample(f"python: {name}", make, plain, why)

    yield less("dataclass", lambda: Layer(3), {"size": 3, "name": "dense"}, "by field")
    yield less(
        "nested dataclasses",
        lambda: Net([Layer(3)]),
        {"layers": [{"size": 3, "name": "dense"}], "weights": np.arange(2)},
        "by field",
    )
    yield less("namedtuple", lambda: Pair(1, (2,)), {"left": 1, "right": (2,)}, "by field")
    yield less("NamedTuple", lambda: Typed(1), {"x": 1, "y": "b"}, "by field")
    yield less("pydantic model", Settings, {"rate": 0.5, "tags": ["a"]}, "by field")
    yield less("namespace", lambda: types.SimpleNamespace(a=1), {"a": 1}, "by field")
    yield less("enum", lambda: Colour.RED, "red", "its value")
    yield less("int enum", lambda: Level.HIGH, 3, "its value")
    yield less("text enum", lambda: Shade.DARK, "dark", "its value")
    yield less("flag", lambda: Mode.READ | Mode.WRITE, 3, "its value")
    yield less("memoryview", lambda: memoryview(b"abcd")[::2], b"ac", "its bytes")
    yield less("defaultdict", lambda: defaultdict(list, a=[1]), {"a": [1]}, "a dict")
    yield less("mapping proxy", lambda: types.MappingProxyType({"a": 1}), {"a": 1}, "a dict")
    yield less("subclass of str", lambda: Words("a"), "a", "its base")
    yield less("subclass of list", lambda: Numbers([1]), [1], "its base")
    for name, make in {
        "object": Model,
        "list that holds an object": Model,
        "class": lambda: Model,
        "function": lambda: same_image,
        "lambda": lambda: lambda: 0,
        "module": lambda: types,
        "generator": lambda: iter(n for n in range(0)),
        "exception": lambda: ValueError("x"),
        "regular expression": lambda: __import__("re").compile("a"),
        "chain of dicts": lambda: ChainMap({"a": 1}),
        "user dict": lambda: UserDict({"a": 1}),
    }.items():
        yield less(name, make, None, "text")


_DTYPES: Final = (
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "longdouble", "complex64", "complex128"),
    *(">f4", "<i2", "S3", "U3", "M8[ns]", "M8[D]", "m8[s]", "V4"),
)


def _numpy() -> Iterator[Sample]:
    def of(dtype: str) -> Callable[[], Any]:
        return lambda: np.zeros((2, 3), dtype)

    yield from _same("numpy", **{f"array of {dtype}": of(dtype) for dtype in _DTYPES})
    string = np.dtypes.StringDType
    yield from _same(
        "numpy",
        array_of_no_elements=lambda: np.empty((0, 3)),
        array_without_dimensions=lambda: np.array(1.5),
        array_in_columns=lambda: np.asfortranarray(np.arange(6).reshape(2, 3)),
        array_with_gaps=lambda: np.arange(12).reshape(3, 4)[::2, ::-1],
        array_with_nan_and_infinities=lambda: np.array([np.nan, np.inf, -np.inf]),
        array_of_objects=lambda: np.array([1, "a", None, [2]], dtype=object),
        array_of_records=lambda: np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
        array_of_aligned_records=lambda: np.zeros(2, np.dtype("i1,f8", align=True)),
        texts_of_any_length=lambda: np.array(["a", "b" * 50], string()),
        many_texts_of_any_length=lambda: np.array(["b" * 50] * 100, string()),
        texts_that_may_be_missing=lambda: np.array(["a", None], string(na_object=None)),
        texts_that_are_not_coerced=lambda: np.array(["a"], string(coerce=False)),
        scalar_of_float32=lambda: np.float32(0.1),
        scalar_of_bytes=lambda: np.bytes_(b"a\x00"),
        scalar_of_text=lambda: np.str_("a"),
        scalar_of_time=lambda: np.datetime64("2024-05-17T01:02:03"),
    )
    masked = np.ma.MaskedArray
    yield from _same(
        "numpy",
        same_masked,
        masked_array=lambda: masked([1, 2], [True, False]),
        masked_array_with_fill_value=lambda: masked([1, 2], [True, False], fill_value=-9),
        masked_array_of_floats_with_nan_for_a_fill=lambda: masked(
            [1.5, 2], [True, False], fill_value=np.nan
        ),
        masked_array_with_hard_mask=lambda: masked([1, 2], [True, False], hard_mask=True),
        masked_array_without_mask=lambda: masked([1, 2]),
        masked_records=lambda: masked(
            [(1, 2.5)], [(True, False)], dtype=[("a", "i4"), ("b", "f8")]
        ),
        masked_texts=lambda: masked(["a", "b"], [True, False]),
        masked_objects=lambda: masked(np.array(["a", (1,)], object), [False, True], fill_value="-"),
    )


def _pandas() -> Iterator[Sample]:
    frames: dict[str, Callable[[], Any]] = {
        "empty": pd.DataFrame,
        "numbers": lambda: pd.DataFrame({"a": [1, 2], "b": [0.5, None]}),
        "texts": lambda: pd.DataFrame({"a": ["x", None]}),
        "doubled columns": lambda: pd.DataFrame([[1, 2]], columns=["a", "a"]),
        "columns that are no texts": lambda: pd.DataFrame([[1, 2]], columns=[1, (2, 3)]),
        "two indexes": lambda: pd.DataFrame(
            {"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["k", "n"])
        ),
        "lists": lambda: pd.DataFrame({"a": [[1], [2, 3]]}),
        "attrs": lambda: _with_attrs(pd.DataFrame({"a": [1]})),
    }
    series: dict[str, Callable[[], Any]] = {
        "categories": lambda: pd.Series(pd.Categorical(["b", "a"], ["b", "a"], ordered=True)),
        "times with zone": lambda: pd.Series(
            pd.to_datetime(["2024-05-17", None]).tz_localize("Europe/Amsterdam")
        ),
        "Int64": lambda: pd.Series([1, None], dtype="Int64"),
        "Float32": lambda: pd.Series([1.5, None], dtype="Float32"),
        "boolean": lambda: pd.Series([True, None], dtype="boolean"),
        "string": lambda: pd.Series(["a", None], dtype="string"),
        "str": lambda: pd.Series(["a", None], dtype="str"),
        "periods": lambda: pd.Series(pd.period_range("2024-05", periods=2, freq="M")),
        "intervals": lambda: pd.Series(pd.interval_range(0, 2)),
        "sparse": lambda: pd.Series(pd.arrays.SparseArray([0, 1, 0])),
        "arrow numbers": lambda: pd.Series([1, None], dtype="int64[pyarrow]"),
        "arrow texts": lambda: pd.Series(["a", None], dtype=pd.ArrowDtype(pa.string())),
        "arrow lists": lambda: pd.Series([[1], None], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
        "infinities": lambda: pd.Series([np.inf, -np.inf, np.nan]),
        "attrs": lambda: _with_attrs(pd.Series([1], name="n")),
    }
    indexes: dict[str, Callable[[], Any]] = {
        "days": lambda: pd.date_range("2024-05-17", periods=3, freq="D", name="day"),
        "texts": lambda: pd.Index(["a", "b"], name="n"),
        "range": lambda: pd.RangeIndex(1, 9, 2),
    }
    for name, make in frames.items():
        yield Sample(f"pandas: table, {name}", make, equals=_same_attrs(same_frame))
    for name, make in series.items():
        yield Sample(f"pandas: series, {name}", make, equals=_same_attrs(same_series))
    for name, make in indexes.items():
        yield Sample(f"pandas: index, {name}", make, equals=assured(same_index))
    yield from _same(
        "pandas",
        timestamp=lambda: pd.Timestamp("2024-05-17 01:02:03.000000004", tz="Europe/Amsterdam"),
        timedelta=lambda: pd.Timedelta("1ns"),
        period=lambda: pd.Period("2024-05", "M"),
        interval=lambda: pd.Interval(0.5, 1.5, closed="left"),
        not_available=lambda: pd.NA,
        not_a_time=lambda: pd.NaT,
    )


def _with_attrs(table: Any) -> Any:
    table.attrs = {"unit": "m", "bounds": (0, float("inf")), "at": datetime.date(2024, 5, 17)}
    return table


def _pillow() -> Iterator[Sample]:
    def blank(mode: str) -> Callable[[], Any]:
        return lambda: Image.new(mode, (3, 2), 1)

    def held(orientation: int) -> Callable[[], Any]:
        return lambda: _as_plain(photo(orientation))

    modes = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16")
    yield from _same("pillow", same_image, **{f"image of {mode}": blank(mode) for mode in modes})
    yield from _same(
        "pillow", same_image, **{f"photograph held as {n}": held(n) for n in range(1, 9)}
    )


def _as_plain(image: Image.Image) -> Image.Image:
    """Return an image without its file, because a read image has none either."""
    return image.copy()


def _scipy() -> Iterator[Sample]:
    def made(name: str) -> Callable[[], Any]:
        dense = np.array([[0, 1.5], [2, 0]], "f4")
        return lambda: getattr(sparse, name)(dense)

    names = [
        f"{form}_{kind}"
        for form in ("csr", "csc", "bsr", "coo", "lil", "dok", "dia")
        for kind in ("matrix", "array")
    ]
    yield from _same("scipy", same_sparse, **{name: made(name) for name in names})
    yield from _same(
        "scipy",
        same_sparse,
        matrix_of_complex_numbers=lambda: sparse.csr_array(np.eye(2) * 1j),
        matrix_without_elements=lambda: sparse.csr_array((2, 3), dtype=np.int8),
        array_of_one_dimension=lambda: sparse.coo_array(np.array([0, 1, 2])),
    )


def _pyarrow() -> Iterator[Sample]:
    yield from _same(
        "pyarrow",
        same_arrow,
        table=lambda: pa.table({"a": [1, None], "b": ["x", "y"]}),
        table_with_metadata=lambda: pa.table({"a": [1]}).replace_schema_metadata({"k": "v"}),
        table_without_columns=lambda: pa.table({}),
        batch=lambda: pa.record_batch({"a": [1.5, float("inf")]}),
        schema=lambda: pa.schema([pa.field("a", pa.int8(), nullable=False)]),
        chunks=lambda: pa.chunked_array([[1], [2, 3]]),
        part_of_an_array=lambda: pa.array([1, 2, 3])[1:],
        dictionary=lambda: pa.array(["a", "b", "a"]).dictionary_encode(),
        structs=lambda: pa.array([{"a": 1}, None]),
        maps=lambda: pa.array([[("k", 1)]], type=pa.map_(pa.string(), pa.int8())),
        lists=lambda: pa.array([[1], None]),
        decimals=lambda: pa.array([decimal.Decimal("1.5")], pa.decimal128(5, 2)),
        times_with_zone=lambda: pa.array([0], pa.timestamp("ns", "Europe/Amsterdam")),
        half_floats=lambda: pa.array([np.float16(0.5)], pa.float16()),
        views=lambda: pa.array(["x" * 20], pa.string_view()),
        runs=lambda: pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"]),
        extension=lambda: pa.ExtensionArray.from_storage(
            pa.uuid(), pa.array([b"0" * 16], pa.binary(16))
        ),
        nothing=lambda: pa.nulls(3),
    )
    yield Sample("pyarrow: scalar", lambda: pa.scalar(1), None, "text")
    yield Sample("pyarrow: type", pa.int8, None, "text")


def _polars() -> Iterator[Sample]:
    yield from _same(
        "polars",
        same_polars,
        frame=lambda: pl.DataFrame({"a": [1, None], "b": ["x", "y"]}),
        frame_of_lists_and_structs=lambda: pl.DataFrame({"a": [[1], []], "b": [{"k": 1}] * 2}),
        frame_without_columns=pl.DataFrame,
        frame_without_rows=lambda: pl.DataFrame(schema={"a": pl.Int8}),
        series=lambda: pl.Series("n", [1.5, float("inf"), None]),
        categories=lambda: pl.Series("n", ["a", "b"], dtype=pl.Categorical),
        enum=lambda: pl.Series("n", ["b"], dtype=pl.Enum(["a", "b"])),
        decimals=lambda: pl.Series("n", [decimal.Decimal("1.50")]),
        times_with_zone=lambda: pl.Series("n", [datetime.datetime(2024, 5, 17, tzinfo=AMSTERDAM)]),
        durations=lambda: pl.Series("n", [datetime.timedelta(1)]),
        arrays=lambda: pl.Series("n", [[1, 2]], dtype=pl.Array(pl.Int8, 2)),
        bytes=lambda: pl.Series("n", [b"\xff"]),
    )
    yield Sample("polars: lazy frame", lambda: pl.DataFrame({"a": [1]}).lazy(), None, "text")


SAMPLES: Final = {sample.name: sample for sample in _samples()}
