"""A piece of a WHERE clause whose values are parameters: SQL text is never built from input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from otel_ml_collector.store.sql import Sql, join_sql


@dataclass(frozen=True, slots=True)
class Search:
    """A condition once more, in two parts that must both hold.

    Attributes:
        tests: SQL over a row of `payloads`, which an index helps with.
        rest: SQL over a row of `runs`.
    """

    tests: Sql
    rest: Sql


@dataclass(frozen=True, slots=True)
class Condition:
    """SQL that is true or false for a row of `runs`, and the values of its parameters.

    It may need the parameters ``project``, ``start`` and ``end`` of the question as well.

    Attributes:
        reads_payloads: Whether it searches the payloads of the window from ``start`` to ``end``:
            a short window that comes first answers soon.
        search: How its runs are found by their payloads, where an index helps with that.
    """

    sql: Sql
    parameters: Mapping[str, Any] = field(default_factory=dict)
    reads_payloads: bool = False
    search: Search | None = None

    @property
    def is_always(self) -> bool:
        """Whether it leaves out nothing."""
        return self.sql == "1"


ALWAYS: Final = Condition(Sql("1"))


def all_of(conditions: Sequence[Condition]) -> Condition:
    """Join conditions that must all hold; the search is that of the only one that has any."""
    searches = [one.search for one in conditions if one.search is not None]
    search = None
    if len(searches) == 1:
        rest = [one.sql for one in conditions if one.search is None] + [searches[0].rest]
        search = Search(searches[0].tests, _and(rest))
    parameters = {name: value for one in conditions for name, value in one.parameters.items()}
    sql = _and([one.sql for one in conditions])
    return Condition(sql, parameters, any(one.reads_payloads for one in conditions), search)


def _and(parts: Sequence[Sql]) -> Sql:
    return join_sql(" AND ", [Sql("({part})").fill(part=part) for part in parts])
