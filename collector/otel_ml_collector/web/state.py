"""What of a page is shown, as its address says it: each long part of it begins somewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.web.shown import Exact

_DIGITS: Final = 9
_CHARS: Final = 4_000


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
