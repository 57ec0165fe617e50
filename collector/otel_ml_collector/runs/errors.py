"""Failed runs, grouped by error type and message, for a page and for assistants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.runs.find import MATCHING, RunsQuery
from otel_ml_collector.store.counted import RECORDED
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.versions import all_version_numbers
from otel_ml_collector.times import DAY_NS

_NEW_NS: Final = 7 * DAY_NS
_SHAPE_CHARS: Final = 300

# Parts of a message that are replaced before grouping: quoted parts, IDs, numbers.
_EQUAL: Final = (
    (r"\"[^\"]*\"|'[^']*'|`[^`]*`", "'…'"),
    (r"\b(0x)?[0-9a-fA-F]{8,}(-[0-9a-fA-F]{4,})*\b", "#"),
    (r"[0-9]+([.,:][0-9]+)*", "#"),
)
_SHAPE: Final = Sql("""substringUTF8(replaceRegexpAll(replaceRegexpAll(replaceRegexpAll(
  substringUTF8(error_message, 1, {message_chars:UInt32}), {quoted:String}, {quoted_as:String}),
  {ids:String}, {ids_as:String}), {numbers:String}, {numbers_as:String}),
  1, {shape_chars:UInt32})""")
_SHAPED: Final[Mapping[str, Any]] = {
    "message_chars": 4 * _SHAPE_CHARS,
    "shape_chars": _SHAPE_CHARS,
    **{
        name: text
        for (pattern, mark), named in zip(_EQUAL, ("quoted", "ids", "numbers"), strict=True)
        for name, text in ((named, pattern), (f"{named}_as", mark))
    },
}


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Failed runs with the same type of error and, apart from numbers and IDs, the same message.

    Attributes:
        shape: The message without numbers, IDs and quoted parts. For example, the shape of
            ``Timeout after 30 s`` and ``Timeout after 45 s`` is ``Timeout after # s``.
        versions: Labels of at most five versions of the failed runs, such as ``answer:v4``.
        is_new: Whether no such run failed in the seven days before the requested time range.
        run_id: ID of the newest failed run.
    """

    error_type: str
    shape: str
    runs: int
    first_ns: int
    last_ns: int
    versions: Sequence[str]
    is_new: bool
    run_id: str


@dataclass(frozen=True, slots=True)
class ErrorGroups:
    """The largest groups, the number of groups, and the number of failed runs."""

    groups: Sequence[ErrorGroup]
    found: int
    errors: int


def find_error_groups(reader: Reader, query: RunsQuery, now_ns: int, limit: int) -> ErrorGroups:
    """Group failed runs by error type and message, the largest group first.

    Raises:
        BadInput: The filter is wrong.
    """
    condition, _ = compile_where(reader, query.project, query.where, is_bounded=True)
    clause = Sql("{recorded} WHERE outcome = 'error' AND {matching}").fill(
        recorded=RECORDED, matching=MATCHING.fill(condition=condition.sql)
    )
    sql = Sql("""
        SELECT toString(error_type) AS type, shape, count() AS number, min(start_ns) AS first_ns,
          max(start_ns) AS last_ns, groupUniqArray({most_versions})(
            (toString(model), toString(digest), toString(structure))) AS of_versions,
          argMax((lower(hex(trace_id)), lower(hex(span_id))), start_ns) AS last,
          count() OVER () AS found, sum(count()) OVER () AS errors
        FROM (SELECT *, {shape} AS shape FROM {ours})
        GROUP BY type, shape ORDER BY number DESC, last_ns DESC, type, shape
        LIMIT {limit:UInt32}""").fill(shape=_SHAPE, ours=clause, most_versions=5)
    values = {**query.values(condition, now_ns), **_SHAPED, "limit": limit}
    rows = reader.rows(sql, values)
    known = _find_known(reader, clause, values, rows) if rows else set()
    numbers = all_version_numbers(reader, query.project, "model") if rows else {}
    return ErrorGroups(
        [
            ErrorGroup(
                error_type=row["type"],
                shape=row["shape"],
                runs=row["number"],
                first_ns=row["first_ns"],
                last_ns=row["last_ns"],
                versions=sorted({_label(of_version, numbers) for of_version in row["of_versions"]}),
                is_new=(row["type"], row["shape"]) not in known,
                run_id="-".join(row["last"]),
            )
            for row in rows
        ],
        rows[0]["found"] if rows else 0,
        rows[0]["errors"] if rows else 0,
    )


def _find_known(
    reader: Reader, condition: Sql, values: Mapping[str, Any], rows: Sequence[Row]
) -> set[tuple[str, str]]:
    """Find the groups that had runs in the seven days before the window."""
    sql = Sql("""
        SELECT DISTINCT toString(error_type) AS type, shape
        FROM (SELECT *, {shape} AS shape FROM {ours})
        WHERE type IN {types:Array(String)} AND shape IN {shapes:Array(String)}""").fill(
        shape=_SHAPE, ours=condition
    )
    before = {
        **values,
        "start": max(values["start"] - _NEW_NS, 0),
        "end": values["start"],
        "types": sorted({row["type"] for row in rows}),
        "shapes": sorted({row["shape"] for row in rows}),
    }
    return {(row["type"], row["shape"]) for row in reader.rows(sql, before)}


def _label(version: Sequence[str], numbers: Mapping[tuple[str, str, str], int]) -> str:
    model, digest, structure = version
    number = numbers.get((model, digest, structure))
    return model if number is None else f"{model}:v{number}"
