"""Lineage: what runs used and produced, and the other way round."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from otel_ml.records import Linked, LinkedRun
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.statistics import read_numbers
from otel_ml_collector.times import to_rfc3339

_MOST: Final = 1_000
_OF_RUN: Final = Sql("owner = {run_id:String}")
_OF_MODEL: Final = Sql("kind = 'model' AND name = {model:String}")
_OF_ARTIFACTS: Final = Sql("kind = 'artifact' AND run_id = {run_id:String}")


def find_links(
    reader: Reader, project: str, run_id: str
) -> tuple[list[Linked], list[Linked], list[LinkedRun]]:
    """Read what a run used, what it produced, and which other runs used what it logged."""
    rows = _read(reader, project, _OF_RUN, {"run_id": run_id})
    numbers = _Numbers(reader, project, rows)
    links: defaultdict[str, list[Linked]] = defaultdict(list)
    for row in rows:
        links[row["role"]].append(
            Linked(
                kind=row["kind"],
                name=row["name"],
                version=numbers.find(row),
                told=row["version"],
                run_id=row["run_id"] or None,
                time=to_rfc3339(row["first_ns"]),
            )
        )
    others = _read(reader, project, _OF_ARTIFACTS, {"run_id": run_id})
    users = [_run(row, None) for row in others if row["owner"] != run_id and row["role"] == "used"]
    return links["used"], links["produced"], users


def find_linked_runs(
    reader: Reader, project: str, model: str
) -> dict[str, dict[int | None, list[LinkedRun]]]:
    """Read which runs used and produced a model: by role and version, the last one first.

    Under None stand those that named no version, or one that is not here.
    """
    rows = _read(reader, project, _OF_MODEL, {"model": model})
    numbers = _Numbers(reader, project, rows)
    found: dict[str, dict[int | None, list[LinkedRun]]] = {"used": {}, "produced": {}}
    for row in reversed(rows):
        number = numbers.find(row)
        found[row["role"]].setdefault(number, []).append(_run(row, number))
    return found


def _run(row: Row, number: int | None) -> LinkedRun:
    return LinkedRun(row["owner"], row["name"], number, to_rfc3339(row["first_ns"]))


def _read(reader: Reader, project: str, which: Sql, given: Mapping[str, str]) -> list[Row]:
    """Read the last links, each thing of a run once, in the order in which they were told."""
    sql = Sql("""
        SELECT owner, role, kind, name, version, run_id, min(time_ns) AS first_ns
        FROM (SELECT * FROM lineage FINAL WHERE project = {project:String})
        WHERE {which}
        GROUP BY owner, role, kind, name, version, run_id
        ORDER BY first_ns DESC, owner, name, version LIMIT {most:UInt32}
        """).fill(which=which)
    rows = reader.rows(sql, {"project": project, "most": _MOST, **given})
    return rows[::-1]


class _Numbers:
    """Finds the small numbers of the versions that links name."""

    def __init__(self, reader: Reader, project: str, rows: Iterable[Row]) -> None:
        named = {row["name"] for row in rows if row["kind"] == "model" and row["version"]}
        known = read_numbers(reader, project, ["model"], sorted(named)) if named else []
        self._by_digest: dict[tuple[str, str], int] = {}
        for row in sorted(known, key=lambda row: -int(row["number"])):
            self._by_digest[row["name"], row["digest"]] = row["number"]
        self._known = {(row["name"], row["number"]) for row in known}
        aliased = {row["name"] for row in rows if row["version"].startswith("@")}
        self._moves = _read_moves(reader, project, sorted(aliased)) if aliased else {}

    def find(self, row: Row) -> int | None:
        """Find the version of a model that a link means; None where there is none.

        An alias is that of the time at which the link was told.
        """
        if row["kind"] != "model" or not row["version"]:
            return None
        name, told = row["name"], row["version"]
        if told.startswith("@"):
            moves = self._moves.get((name, told[1:]), [])
            place = bisect_right([time_ns for time_ns, _ in moves], row["first_ns"])
            told = moves[place - 1][1] if place else ""
        elif told.startswith("v") and told[1:].isdecimal():
            number = int(told[1:])
            return number if (name, number) in self._known else None
        return self._by_digest.get((name, told))


def _read_moves(
    reader: Reader, project: str, models: Sequence[str]
) -> dict[tuple[str, str], list[tuple[int, str]]]:
    """Read when aliases moved and to which digest, the first one first; empty for a removal."""
    sql = Sql("""
        SELECT model, alias, if(is_removed, '', digest) AS named, time_ns FROM aliases FINAL
        WHERE project = {project:String} AND model IN {models:Array(String)}
        ORDER BY time_ns, record_id""")
    moves: defaultdict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for row in reader.rows(sql, {"project": project, "models": list(models)}):
        moves[row["model"], row["alias"]].append((row["time_ns"], row["named"]))
    return moves
