"""What of a page is shown, as its address says it: each long part of it begins somewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.web.view import Exact

T = TypeVar("T")
_DIGITS: Final = 9
_CHARS: Final = 4_000


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """Some of the items of a list.

    Attributes:
        first: The place of the first one, from 0.
        total: How many there are in all.
        size: How many a part holds.
    """

    items: Sequence[T]
    first: int
    total: int
    size: int

    @property
    def end(self) -> int:
        """The place behind the last one."""
        return self.first + len(self.items)

    @property
    def is_part(self) -> bool:
        """Whether there are others."""
        return len(self.items) < self.total

    @property
    def before(self) -> int:
        """Where the part before this one begins."""
        return max(self.first - self.size, 0)


def cut_slice(items: Sequence[T], first: int, size: int) -> Slice[T]:
    """Cut a part out of a list; one that begins behind its end is the last one."""
    if first >= len(items):
        first = max(len(items) - 1, 0) // size * size
    return Slice(items[first : first + size], first, len(items), size)


@dataclass(frozen=True, slots=True)
class State:
    """The parameters of a page; names ending in ``_from`` say where a part begins."""

    given: Mapping[str, str]

    def text(self, name: str) -> str:
        """Return a parameter; empty where there is none.

        Raises:
            BadQuery: It is too long to be one.
        """
        value = self.given.get(name, "")
        if len(value) > _CHARS:
            raise BadQuery(f"{name}: expected at most {_CHARS} characters", name)
        return value

    def first(self, key: str) -> int:
        """Return where a part begins, from 0.

        Raises:
            BadQuery: The address says something else than a place.
        """
        name = f"{key}_from"
        value = self.given.get(name, "0")
        if not (value.isascii() and value.isdecimal() and len(value) <= _DIGITS):
            raise BadQuery(f"{name}: expected a whole number, found {value[:80]!r}", name)
        return int(value)

    def link(self, **changes: object) -> Exact:
        """Write the address of this page in another state; what is empty or 0 is left out."""
        given = {name: value for name, value in {**self.given, **changes}.items() if value}
        return Exact(f"?{urlencode(given)}")


def read_state(request: Request) -> State:
    """Read the state of the page that is asked for."""
    return State(dict(request.query_params))
