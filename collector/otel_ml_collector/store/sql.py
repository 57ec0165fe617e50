"""SQL that is built from literals only. A value is a parameter, never text of a statement."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, overload

import pyarrow as pa
from clickhouse_connect.driver.query import QueryResult

if TYPE_CHECKING:
    from typing_extensions import LiteralString

_PART: Final = re.compile(r"\{([a-z_]\w*)\}", re.ASCII)
_NAME: Final = re.compile(r"\w+", re.ASCII)
_TABLE: Final = re.compile(r"\s*CREATE TABLE IF NOT EXISTS (\w+)", re.ASCII)
# Maximum length of one list parameter as text. A server accepts 128 KiB per parameter
# (http_max_field_value_size), including quotes, commas and escapes.
_MOST_CHARS: Final = 100_000
_QUOTES: Final = 3
_PLAIN: Final = re.compile(r"[\w-]*", re.ASCII)
Separator = Literal[", ", ",\n  ", " AND ", " OR ", " UNION ALL ", " + ", ""]

_LITERALS: Final[dict[str, "Sql"]] = {}


class Sql(str):
    """A piece of SQL: ``Sql("SELECT {columns} FROM views").fill(columns=LIGHT)``.

    `fill` replaces ``{name}`` with another piece. ``{name:Type}`` is a query parameter. Its value
    is sent to the engine separately from the text. All other methods of `str` return plain text,
    not `Sql`.

    Args:
        text: A string literal. `docs/literal_sql.py` makes mypy refuse any other text, so no text
            from users gets into a statement.
    """

    __slots__ = ()

    def __new__(cls, text: "LiteralString") -> "Sql":
        """Return the one object for this literal, so that it is hashed and parsed only once."""
        if (known := _LITERALS.get(text)) is None:
            known = _LITERALS[text] = str.__new__(cls, text)
        return known

    @overload
    def __add__(self, other: "Sql") -> "Sql": ...
    @overload
    def __add__(self, other: str) -> str: ...
    def __add__(self, other: str) -> str:
        """Join two pieces. Joining with plain text does not give `Sql`."""
        both = str.__add__(self, other)
        return _trust(both) if isinstance(other, Sql) else both

    def fill(self, **parts: "Sql | int") -> "Sql":
        """Insert a piece for each ``{name}``.

        Raises:
            TypeError: A piece is missing, unexpected or not SQL.
        """
        pieces, names, places = _split(self)
        if names != parts.keys():
            raise TypeError(f"Expected the parts {sorted(names)}, found {sorted(parts)}")
        texts: list[str] = pieces.copy()
        for place, name in places:
            part = parts[name]
            if not isinstance(part, Sql | int):
                raise TypeError(f"Expected SQL for {{{name}}}, found {type(part).__name__}")
            texts[place] = part if isinstance(part, str) else str(part)
        return _trust("".join(texts))


class StoreClient(Protocol):
    """A client of the engine that accepts only statements of type `Sql`."""

    def query(
        self,
        query: Sql,
        parameters: dict[str, Any] | None = ...,
        *,
        settings: dict[str, Any] | None = ...,
    ) -> QueryResult:
        """Run a query that returns rows."""
        ...

    def query_arrow(
        self,
        query: Sql,
        parameters: dict[str, Any] | None = ...,
        settings: dict[str, Any] | None = ...,
        use_strings: bool | None = ...,
    ) -> pa.Table:
        """Run a query that returns an Arrow table."""
        ...

    def raw_query(
        self,
        query: Sql,
        parameters: dict[str, Any] | None = ...,
        settings: dict[str, Any] | None = ...,
        *,
        fmt: str = ...,
    ) -> bytes:
        """Run a query that returns bytes in a format of the engine."""
        ...

    def command(
        self,
        cmd: Sql,
        parameters: dict[str, Any] | None = ...,
        *,
        settings: dict[str, Any] | None = ...,
    ) -> Any:
        """Run a statement that returns no rows."""
        ...

    def insert(
        self,
        table: str,
        data: Sequence[Sequence[Any]],
        *,
        column_names: Sequence[str] = ...,
        settings: dict[str, Any] | None = ...,
    ) -> Any:
        """Insert rows."""
        ...

    def insert_arrow(
        self, table: str, arrow_table: pa.Table, *, settings: dict[str, Any] | None = ...
    ) -> Any:
        """Insert an Arrow table."""
        ...

    def insert_portions(
        self, table: str, portions: Iterator[pa.Table], *, settings: dict[str, Any] | None = ...
    ) -> Any:
        """Insert several Arrow tables with the same columns as one insert.

        Args:
            table: Name of the table.
            portions: The Arrow tables, at least one. Each is made when it is needed.
            settings: Settings of the engine.
        """
        ...

    def confirm(self) -> None:
        """Check that the engine wrote all statements since the last call.

        Raises:
            Unavailable: It did not. Do not report any of them as stored.
        """
        ...

    def close(self) -> None:
        """Close the connection to the engine."""
        ...


EMPTY: Final = Sql("")


def join_sql(separator: Separator, parts: Iterable[Sql]) -> Sql:
    """Join pieces of SQL; the empty piece if there are none."""
    return _trust(separator.join(parts))


def substitute(sql: Sql, part: Sql, other: Sql) -> Sql:
    """Replace each occurrence of a piece."""
    return _trust(sql.replace(part, other))


def identifier(name: str, known: Collection[str]) -> Sql:
    """Return the SQL name of a known table or column.

    Raises:
        ValueError: The name is unknown.
    """
    if name not in known or not _NAME.fullmatch(name):
        raise ValueError(f"Unknown identifier {name[:80]!r}")
    return _trust(name)


def declare(statement: str) -> Sql:
    """Accept a statement that `store.tables` derives from declared records.

    A test checks that nothing else calls it.
    """
    return _trust(statement)


def table_names(statements: Iterable[str]) -> frozenset[str]:
    """Return the names of the tables that some statements create."""
    return frozenset(match[1] for match in map(_TABLE.match, statements) if match)


def parameter(name: str, sql_type: "LiteralString") -> Sql:
    """Write a placeholder for a numbered parameter: ``{f3:Array(String)}``.

    Raises:
        ValueError: The name cannot be the name of a parameter.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"Invalid name of a parameter {name[:80]!r}")
    return _trust(f"{{{name}:{sql_type}}}")


def split_long_values(sql: Sql, values: Mapping[str, Any]) -> tuple[Sql, dict[str, Any]]:
    """Split each long list parameter into several parameters. Other parameters stay unchanged.

    Args:
        sql: Statement with ``{name:Array(Type)}`` for a list.
        values: Values by name.

    Returns:
        SQL and values that mean the same.
    """
    split = dict(values)
    for name, value in values.items():
        parts = _parts(value) if isinstance(value, list) else []
        _, marker, after = sql.partition(f"{{{name}:")
        kind = after.partition("}")[0]
        if not marker or len(parts) <= 1:
            continue
        del split[name]
        names = [f"{name}_part_{number}" for number in range(len(parts))]
        split |= dict(zip(names, parts, strict=True))
        joined = ", ".join(f"{{{part}:{kind}}}" for part in names)
        sql = _trust(sql.replace(f"{{{name}:{kind}}}", f"arrayConcat({joined})"))
    return sql, split


def compact(sql: Sql) -> Sql:
    """Replace each run of blanks by one blank. String literals must not contain blanks."""
    return _trust(" ".join(sql.split()))


def _trust(text: str) -> Sql:
    return str.__new__(Sql, text)


@lru_cache(1024)  # more than the program has literals
def _split(text: str) -> tuple[list[str], frozenset[str], list[tuple[int, str]]]:
    """Split a text into literal parts and names, in turn. Also return the names' positions."""
    pieces = _PART.split(text)
    places = [(place, pieces[place]) for place in range(1, len(pieces), 2)]
    return pieces, frozenset(pieces[1::2]), places


def _parts(value: list[Any]) -> list[list[Any]]:
    """Split a list into parts whose text is short enough."""
    parts: list[list[Any]] = [[]]
    size = 0
    for item in value:
        chars = _chars(item)
        if parts[-1] and size + chars > _MOST_CHARS:
            parts.append([])
            size = 0
        parts[-1].append(item)
        size += chars
    return parts


def _chars(item: object) -> int:
    """Return the maximum number of bytes of an item: each byte may be escaped."""
    text = str(item)
    return (len(text) if _PLAIN.fullmatch(text) else 4 * len(text)) + _QUOTES


@dataclass(frozen=True, slots=True)
class Search:
    """A condition on runs, split into parts so that the search for words can use an index.

    A run matches in one of two ways: its inputs and outputs satisfy `tests`, or `others` selects
    it. In both cases, `rest` must be true too.

    Attributes:
        tests: SQL condition on a row of `payloads` (inputs and outputs). It can use the index.
        rest: SQL condition on a row of `runs`.
        others: SQL that selects runs whose matching text is not in `payloads`, such as messages
            that arrived as log records. Empty if there are no such texts.
    """

    tests: Sql
    rest: Sql
    others: Sql = EMPTY


@dataclass(frozen=True, slots=True)
class Condition:
    """SQL that is true or false for a row of `runs`, and the values of its parameters.

    It may also need the parameters ``project``, ``start`` and ``end`` of the query.

    Attributes:
        reads_payloads: Whether it searches the inputs and outputs of the runs from ``start`` to
            ``end``. This is slow, so queries search a part of this period first.
        search: The same condition, split into parts so that it can use an index. None if it cannot
            be split.
    """

    sql: Sql
    parameters: Mapping[str, Any] = field(default_factory=dict)
    reads_payloads: bool = False
    search: Search | None = None


ALWAYS: Final = Condition(Sql("1"))


def all_of(conditions: Sequence[Condition]) -> Condition:
    """Join conditions that must all hold. The search of the result is the only one among them."""
    searches = [one.search for one in conditions if one.search is not None]
    search = None
    if len(searches) == 1:
        rest = [one.sql for one in conditions if one.search is None] + [searches[0].rest]
        search = replace(searches[0], rest=_and(rest))
    parameters = {name: value for one in conditions for name, value in one.parameters.items()}
    sql = _and([one.sql for one in conditions])
    return Condition(sql, parameters, any(one.reads_payloads for one in conditions), search)


def _and(parts: Sequence[Sql]) -> Sql:
    return join_sql(" AND ", [Sql("({part})").fill(part=part) for part in parts])
