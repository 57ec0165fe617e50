"""Counts what the newest runs of a project hold, to complete what somebody types."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.runs import Window

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
_WINDOW: Final = (
    "project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}"
)
_NEWEST: Final = f"FROM runs WHERE {_WINDOW} ORDER BY start_ns DESC LIMIT {{rows:UInt32}}"
_LATE_TAGS: Final = f"""
  SELECT name, value FROM late_tags WHERE project = {{project:String}} LIMIT {_LATE}"""  # noqa: S608 - fixed text; values are parameters


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
    return _count(reader, typed, f"SELECT `{column}` AS value {_NEWEST}")


def count_tags(reader: Reader, typed: Typed) -> list[Row]:
    """Count the names of tags, late ones too."""
    return _count(
        reader,
        typed,
        f"""SELECT arrayJoin(names) AS value FROM (SELECT mapKeys(tags) AS names {_NEWEST})
        UNION ALL SELECT name FROM ({_LATE_TAGS})""",  # noqa: S608 - fixed text; values are parameters
    )


def count_tag_values(reader: Reader, typed: Typed, tag: str) -> list[Row]:
    """Count the values of a tag, late ones too, as the JSON text that is stored."""
    return _count(
        reader,
        typed,
        f"""SELECT tags[{{key:String}}] AS value {_NEWEST}
        UNION ALL SELECT value FROM ({_LATE_TAGS}) WHERE name = {{key:String}}""",  # noqa: S608 - fixed text; values are parameters
        key=tag,
    )


def count_judges(reader: Reader, typed: Typed) -> list[Row]:
    """Count the judges, and whoever else gave scores."""
    return _count(reader, typed, f"SELECT judge AS value FROM scores_by_judge WHERE {_WINDOW}")  # noqa: S608 - fixed text; values are parameters


def count_metrics(reader: Reader, typed: Typed) -> list[Row]:
    """Count the points of metrics by their names."""
    return _count(
        reader,
        typed,
        f"""SELECT name AS value FROM metrics
        WHERE project = {{project:String}} AND source = 'logged' LIMIT {_POINTS}""",  # noqa: S608 - fixed text; values are parameters
    )


def count_versions(reader: Reader, typed: Typed, model: str) -> list[Row]:
    """Count the runs of versions, of one model or, without its name, of all.

    Returns:
        Rows of `model`, `digest`, `structure` and `runs`.
    """
    sql = f"""
        SELECT model, digest, structure, count() AS runs
        FROM (SELECT model, digest, structure {_NEWEST})
        WHERE model != '' AND ({{model:String}} = '' OR model = {{model:String}})
        GROUP BY model, digest, structure ORDER BY runs DESC LIMIT 1000
        """  # noqa: S608 - fixed text; values are parameters
    return reader.rows(sql, {**_parameters(typed), "model": model})


def count_keys(reader: Reader, typed: Typed, column: str, path: Sequence[str | int]) -> list[Row]:
    """Count the keys of the object at a path of a payload."""
    if column not in _JSON:
        return []
    at, steps = _at(column, path)
    rows = f"SELECT arrayJoin(JSONExtractKeys({at})) AS value FROM ({_payloads(column)})"  # noqa: S608 - fixed text; values are parameters
    return _count(reader, typed, rows, **steps)


def count_parts(reader: Reader, typed: Typed, column: str, path: Sequence[str | int]) -> list[Row]:
    """Count the texts, numbers and bools at a path of a payload, as JSON text, short ones only."""
    if column not in _JSON:
        return []
    at, steps = _at(column, path)
    rows = f"""
        SELECT JSONExtractRaw({at}) AS value FROM ({_payloads(column)})
        WHERE JSONType({at}) IN ('String', 'Int64', 'UInt64', 'Double', 'Bool')
          AND length(value) <= 200"""  # noqa: S608 - fixed text; values are parameters
    return _count(reader, typed, rows, **steps)


def _payloads(column: str) -> str:
    return f"""
        SELECT {column} FROM payloads WHERE {_WINDOW}
        ORDER BY start_ns DESC LIMIT {_PAYLOADS}"""  # noqa: S608 - fixed text; values are parameters


def _at(column: str, path: Sequence[str | int]) -> tuple[str, dict[str, str | int]]:
    """Write the arguments that lead to a part of a JSON text; places count from 1."""
    names = [
        f"{{step{place}:{'String' if isinstance(step, str) else 'Int64'}}}"
        for place, step in enumerate(path)
    ]
    steps: dict[str, str | int] = {
        f"step{place}": step + 1 if isinstance(step, int) and step >= 0 else step
        for place, step in enumerate(path)
    }
    return ", ".join([column, *names]), steps


def _count(reader: Reader, typed: Typed, values: str, **more: str | int) -> list[Row]:
    sql = f"""
        SELECT toString(value) AS text, count() AS runs FROM ({values})
        WHERE value != '' AND startsWith(lowerUTF8(trim(LEADING '"' FROM toString(value))),
          lowerUTF8({{prefix:String}}))
        GROUP BY text ORDER BY runs DESC, text LIMIT {{limit:UInt32}}
        """  # noqa: S608 - fixed text; values are parameters
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
