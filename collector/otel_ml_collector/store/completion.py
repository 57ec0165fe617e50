"""Counts what the newest runs of a project hold, to complete what somebody types."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.runs import Window
from otel_ml_collector.store.sql import Sql, identifier, join_sql, parameter

# How many rows are looked at, whatever a project has: the newest ones. Where something is typed
# already that none of these begins with, more are.
_RUNS: Final = 20_000
_MORE_RUNS: Final = 200_000
_PAYLOADS: Final = 500
_LATE: Final = 50_000
_POINTS: Final = 1_000_000
_COLUMNS: Final = frozenset(
    {
        "model",
        "digest",
        "kind",
        "name",
        "outcome",
        "error_type",
        "session",
        "user",
        "environment",
        "release",
        "provider",
        "provider_model",
        "span_kind",
        "dialect",
    }
)
_JSON: Final = frozenset({"inputs", "outputs", "params", "attributes", "resource"})
_WINDOW: Final = Sql(
    "project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}"
)
_NEWEST: Final = Sql("FROM runs WHERE {window} ORDER BY start_ns DESC LIMIT {rows:UInt32}").fill(
    window=_WINDOW
)
_LATE_TAGS: Final = Sql("""
  SELECT name, value FROM late_tags WHERE project = {project:String} LIMIT {late}""").fill(
    late=_LATE
)


@dataclass(frozen=True, slots=True)
class Typed:
    """What is looked for.

    Attributes:
        project: In which project.
        window: Of runs that started when.
        prefix: How it begins, in whatever case.
        limit: How many are wanted, those of the most runs first.
    """

    project: str
    window: Window
    prefix: str
    limit: int


def count_texts(reader: Reader, typed: Typed, column: str) -> list[Row]:
    """Count the values of a column; empty ones are left out, and unknown columns have none."""
    if column not in _COLUMNS:
        return []
    return _count(
        reader,
        typed,
        Sql("SELECT `{column}` AS value {newest}").fill(
            column=identifier(column, _COLUMNS), newest=_NEWEST
        ),
    )


def count_tags(reader: Reader, typed: Typed) -> list[Row]:
    """Count the names of tags, late ones too."""
    return _count(
        reader,
        typed,
        Sql("""SELECT arrayJoin(names) AS value FROM (SELECT mapKeys(tags) AS names {newest})
        UNION ALL SELECT name FROM ({late_tags})""").fill(newest=_NEWEST, late_tags=_LATE_TAGS),
    )


def count_tag_values(reader: Reader, typed: Typed, tag: str) -> list[Row]:
    """Count the values of a tag, late ones too, as the JSON text that is stored."""
    return _count(
        reader,
        typed,
        Sql("""SELECT tags[{key:String}] AS value {newest}
        UNION ALL SELECT value FROM ({late_tags}) WHERE name = {key:String}""").fill(
            newest=_NEWEST, late_tags=_LATE_TAGS
        ),
        key=tag,
    )


def count_judges(reader: Reader, typed: Typed) -> list[Row]:
    """Count the judges, and whoever else gave scores."""
    return _count(
        reader,
        typed,
        Sql("SELECT judge AS value FROM scores_by_judge WHERE {window}").fill(window=_WINDOW),
    )


def count_metrics(reader: Reader, typed: Typed) -> list[Row]:
    """Count the points of metrics by their names."""
    return _count(
        reader,
        typed,
        Sql("""SELECT name AS value FROM metrics
        WHERE project = {project:String} AND source = 'logged' LIMIT {points}""").fill(
            points=_POINTS
        ),
    )


def count_versions(reader: Reader, typed: Typed, model: str) -> list[Row]:
    """Count the runs of versions, of one model or, without its name, of all.

    Returns:
        Rows of `model`, `digest`, `structure` and `runs`.
    """
    sql = Sql("""
        SELECT model, digest, structure, count() AS runs
        FROM (SELECT model, digest, structure {newest})
        WHERE model != '' AND ({model:String} = '' OR model = {model:String})
        GROUP BY model, digest, structure ORDER BY runs DESC LIMIT 1000
        """).fill(newest=_NEWEST)
    return reader.rows(sql, {**_parameters(typed), "model": model})


def count_keys(reader: Reader, typed: Typed, column: str, path: Sequence[str | int]) -> list[Row]:
    """Count the keys of the object at a path of a payload."""
    if column not in _JSON:
        return []
    payload = identifier(column, _JSON)
    at, steps = _at(payload, path)
    rows = Sql("SELECT arrayJoin(JSONExtractKeys({at})) AS value FROM ({payloads})").fill(
        at=at, payloads=_payloads(payload)
    )
    return _count(reader, typed, rows, **steps)


def count_parts(reader: Reader, typed: Typed, column: str, path: Sequence[str | int]) -> list[Row]:
    """Count the texts, numbers and bools at a path of a payload, as JSON text, short ones only."""
    if column not in _JSON:
        return []
    payload = identifier(column, _JSON)
    at, steps = _at(payload, path)
    rows = Sql("""
        SELECT JSONExtractRaw({at}) AS value FROM ({payloads})
        WHERE JSONType({at}) IN ('String', 'Int64', 'UInt64', 'Double', 'Bool')
          AND length(value) <= 200""").fill(at=at, payloads=_payloads(payload))
    return _count(reader, typed, rows, **steps)


def _payloads(column: Sql) -> Sql:
    return Sql("""
        SELECT {column} FROM payloads WHERE {window}
        ORDER BY start_ns DESC LIMIT {payloads}""").fill(
        column=column, window=_WINDOW, payloads=_PAYLOADS
    )


def _at(column: Sql, path: Sequence[str | int]) -> tuple[Sql, dict[str, str | int]]:
    """Write the arguments that lead to a part of a JSON text; places count from 1."""
    names = [
        parameter(f"step{place}", "String" if isinstance(step, str) else "Int64")
        for place, step in enumerate(path)
    ]
    steps: dict[str, str | int] = {
        f"step{place}": step + 1 if isinstance(step, int) and step >= 0 else step
        for place, step in enumerate(path)
    }
    return join_sql(", ", [column, *names]), steps


def _count(reader: Reader, typed: Typed, values: Sql, **more: str | int) -> list[Row]:
    sql = Sql("""
        SELECT toString(value) AS text, count() AS runs FROM ({values})
        WHERE value != '' AND startsWith(lowerUTF8(trim(LEADING '"' FROM toString(value))),
          lowerUTF8({prefix:String}))
        GROUP BY text ORDER BY runs DESC, text LIMIT {limit:UInt32}
        """).fill(values=values)
    parameters = {**_parameters(typed), "prefix": typed.prefix, "limit": typed.limit, **more}
    found = reader.rows(sql, parameters)
    if found or not typed.prefix or "{rows:" not in values:
        return found
    return reader.rows(sql, parameters | {"rows": _MORE_RUNS})


def _parameters(typed: Typed) -> dict[str, str | int]:
    return {
        "project": typed.project,
        "start": typed.window.start_ns,
        "end": typed.window.end_ns,
        "rows": _RUNS,
    }
