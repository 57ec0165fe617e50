"""A piece of a WHERE clause whose values are parameters: SQL text is never built from input."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Search:
    """A condition once more, in two parts that must both hold.

    Attributes:
        tests: SQL over a row of `payloads`, which an index helps with.
        rest: SQL over a row of `runs`.
    """

    tests: str
    rest: str


@dataclass(frozen=True, slots=True)
class Condition:
    """SQL that is true or false for a row of `runs`, and the values of its parameters.

    It may need the parameters ``project``, ``start`` and ``end`` of the question as well.

    Attributes:
        reads_payloads: Whether it searches the payloads of the window from ``start`` to ``end``:
            a short window that comes first answers soon.
        search: How its runs are found by their payloads, where an index helps with that.
    """

    sql: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    reads_payloads: bool = False
    search: Search | None = None

    @property
    def is_always(self) -> bool:
        """Whether it leaves out nothing."""
        return self.sql == "1"


ALWAYS: Final = Condition("1")


def join(operator: str, conditions: Iterable[Condition]) -> Condition:
    """Join conditions with ``AND`` or ``OR``."""
    parts = list(conditions)
    parameters: dict[str, Any] = {}
    for part in parts:
        parameters.update(part.parameters)
    sql = f" {operator} ".join(f"({part.sql})" for part in parts)
    search = _join_search(parts) if operator == "AND" else None
    return Condition(sql, parameters, any(part.reads_payloads for part in parts), search)


def _join_search(parts: Sequence[Condition]) -> Search | None:
    """Keep the search of the one part that has any; the others are among the rest."""
    searches = [part.search for part in parts if part.search is not None]
    if len(searches) != 1:
        return None
    others = [f"({part.sql})" for part in parts if part.search is None]
    rest = " AND ".join([*others, f"({searches[0].rest})"])
    return Search(searches[0].tests, rest)
