"""Values that a host may pass and that try everything to break a reader."""

import dataclasses
import datetime
import decimal
import enum
import pathlib
import threading
import uuid
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # has no types


def _refuse(*_args: object, **_kwargs: object) -> NoReturn:
    raise RuntimeError("hostile")


class Hostile:
    """Every question about it raises."""

    __repr__ = __str__ = __eq__ = __len__ = __iter__ = __getattr__ = __bool__ = _refuse
    __hash__ = object.__hash__
    __lt__ = __contains__ = __getitem__ = __reduce__ = __format__ = _refuse


class HostileClass:
    """Asking for its class raises."""

    @property  # type: ignore[misc]  # deliberately a property in place of a class
    def __class__(self) -> type:
        raise RuntimeError("hostile")


class HostileMeta(type):
    def __getattribute__(cls, name: str) -> Any:
        if name == "__qualname__":
            raise RuntimeError("hostile")
        return super().__getattribute__(name)


class HostileType(metaclass=HostileMeta):
    """Asking for its type's name raises."""


class HostileText(str):
    __slots__ = ()
    __getitem__ = encode = __str__ = __len__ = _refuse


class HostileNumber(int):
    __ge__ = __le__ = __gt__ = __lt__ = __int__ = __str__ = __repr__ = _refuse


class HostileDict(dict[str, object]):
    __iter__ = __getitem__ = items = keys = values = __len__ = _refuse


class HostileList(list[object]):
    __iter__ = __getitem__ = __len__ = _refuse


class Nameless:
    __module__ = None  # type: ignore[assignment]  # seen in generated classes


class Endless:
    """Dumps itself as itself."""

    def model_dump(self) -> "Endless":
        return self


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Node:
    name: str
    next: "Node | None" = None


Pair = namedtuple("Pair", ["left", "right"])


@dataclasses.dataclass(slots=True)
class Unset:
    """Its slot is empty, as those of an object that is still being made."""

    name: str = dataclasses.field(init=False)
    size: int = 1


class Zone(datetime.tzinfo):
    """It knows no offset, nor that it knows none."""


def zone_without_offset() -> datetime.datetime:
    return datetime.datetime(2024, 5, 17, tzinfo=Zone())  # type: ignore[abstract]  # on purpose


class Changing:
    """Its `repr` clears the list that contains it."""

    def __init__(self, home: list[Any]) -> None:
        self.home = home

    def __repr__(self) -> str:
        self.home.clear()
        return "gone"


def changing_list() -> list[Any]:
    home: list[Any] = []
    home.extend(Changing(home) for _ in range(100))
    return home


def cyclic_list() -> list[Any]:
    items: list[Any] = [1]
    items.append(items)
    return items


def cyclic_dict() -> dict[str, Any]:
    items: dict[str, Any] = {"a": 1}
    items["self"] = {"inner": [items]}
    return items


def cyclic_node() -> Node:
    node = Node("a")
    node.next = node
    return node


def deep_list() -> list[Any]:
    items: list[Any] = []
    for _ in range(10_000):
        items = [items]
    return items


def deep_dict() -> dict[str, Any]:
    items: dict[str, Any] = {}
    for _ in range(10_000):
        items = {"inner": items}
    return items


def a_generator() -> Iterator[int]:
    yield 1


VALUES: dict[str, Callable[[], object]] = {
    "hostile": Hostile,
    "hostile class": HostileClass,
    "hostile type": HostileType,
    "hostile text": lambda: HostileText("text"),
    "hostile number": lambda: HostileNumber(3),
    "hostile dict": lambda: HostileDict(a=1),
    "hostile list": lambda: HostileList([1]),
    "hostile key": lambda: {Hostile(): 1},
    "nameless": Nameless,
    "endless": Endless,
    "cyclic list": cyclic_list,
    "cyclic dict": cyclic_dict,
    "cyclic node": cyclic_node,
    "deep list": deep_list,
    "deep dict": deep_dict,
    "generator": a_generator,
    "lock": threading.Lock,
    "function": lambda: _refuse,
    "class": lambda: Hostile,
    "module": lambda: threading,
    "bytes": lambda: b"\xff\x00bytes",
    "bytearray": lambda: bytearray(b"abc"),
    "memoryview": lambda: memoryview(b"abc"),
    "set": lambda: {1, "a", None},
    "frozenset": lambda: frozenset({(1, 2)}),
    "enum": lambda: Colour.RED,
    "int enum": lambda: Level.HIGH,
    "datetime": lambda: datetime.datetime(2024, 5, 17, 12, 30, tzinfo=datetime.timezone.utc),
    "date": lambda: datetime.date(2024, 5, 17),
    "time": lambda: datetime.time(12, 30),
    "timedelta": lambda: datetime.timedelta(seconds=1),
    "decimal": lambda: decimal.Decimal("1.10"),
    "uuid": lambda: uuid.UUID(int=7),
    "path": lambda: pathlib.PurePosixPath("/tmp/model"),  # noqa: S108 - nothing is written there
    "complex": lambda: 1 + 2j,
    "huge int": lambda: 10**5_000,
    "beyond int64": lambda: 2**63,
    "nan": lambda: float("nan"),
    "infinity": lambda: float("-inf"),
    "lone surrogate": lambda: "a\ud800b",
    "surrogate key": lambda: {"\udfff": 1},
    "ellipsis": lambda: ...,
    "range": lambda: range(3),
    "dataclass": lambda: Node("a", Node("b")),
    "unset slot": Unset,
    "zone without offset": zone_without_offset,
    "named tuple": lambda: Pair(1, "b"),
    "ordered dict": lambda: OrderedDict(a=1),
    "numpy int": lambda: np.int64(3),
    "numpy float": lambda: np.float64(0.5),
    "numpy half": lambda: np.float16(0.5),
    "numpy long": lambda: np.longdouble(0.5),
    "numpy bool": lambda: np.bool_(True),
    "numpy text": lambda: np.str_("a"),
    "numpy date": lambda: np.datetime64("2024-05-17"),
    "numpy array": lambda: np.arange(6).reshape(2, 3),
    "numpy big array": lambda: np.zeros((1_000, 1_000)),
    "numpy object array": lambda: np.array([threading.Lock(), None], dtype=object),
    "numpy complex array": lambda: np.array([1j]),
    "numpy type": lambda: np.dtype("int32"),
    "numpy random": lambda: np.random.default_rng(1),
    "data frame": lambda: pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
    "series": lambda: pd.Series([1.5, None], name="a"),
    "timestamp": lambda: pd.Timestamp("2024-05-17"),
    "pandas nothing": lambda: pd.NA,
    "non-text keys": lambda: {1: "a", None: "b", (1, 2): "c", 0.5: "d", False: "e"},
}
