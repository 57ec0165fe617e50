"""Lineage: which models and data a run used or produced, and which runs used a model."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otel_ml.records import Linked, LinkedRun
from otel_ml_collector.store.reader import Reader, Row, group_rows
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.versions import version_numbers
from otel_ml_collector.times import to_rfc3339


@dataclass(frozen=True, slots=True)
class Links:
    """What a run used and produced, and other runs that used its artifacts."""

    uses: Sequence[Linked] = ()
    produced: Sequence[Linked] = ()
    used_by: Sequence[LinkedRun] = ()


def find_links(reader: Reader, project: str, run_ids: Sequence[str]) -> dict[str, Links]:
    """Read the lineage links of runs to other runs and to models, by run ID; 1,000 of each kind."""
    is_own = Sql("owner IN {run_ids:Array(String)}")
    rows = _read_links(
        reader,
        project,
        Sql("({is_own} OR kind = 'artifact' AND run_id IN {run_ids:Array(String)})").fill(
            is_own=is_own
        ),
        {"run_ids": list(run_ids)},
        Sql("{is_own}, if({is_own}, owner, run_id)").fill(is_own=is_own),
    )
    asked = {*run_ids}
    own = [row for row in rows if row["owner"] in asked]
    others = [row for row in rows if row["kind"] == "artifact" and row["run_id"] in asked]
    numbers = _Numbers(reader, project, own)
    of_runs, of_others = group_rows(own, "owner"), group_rows(others, "run_id")
    return {
        run_id: Links(
            [_linked(row, numbers.find(row)) for row in of_runs[run_id] if row["role"] == "used"],
            [
                _linked(row, numbers.find(row))
                for row in of_runs[run_id]
                if row["role"] == "produced"
            ],
            [
                _linked_run(row, None)
                for row in of_others[run_id]
                if row["owner"] != run_id and row["role"] == "used"
            ],
        )
        for run_id in run_ids
    }


def _linked(row: Row, number: int | None) -> Linked:
    return Linked(
        kind=row["kind"],
        name=row["name"],
        version=number,
        told=row["version"],
        run_id=row["run_id"] or None,
        time=to_rfc3339(row["first_ns"]),
    )


def find_linked_runs(
    reader: Reader, project: str, model: str
) -> dict[str, dict[int | None, list[LinkedRun]]]:
    """Read the runs that used or produced a model, by role and version, latest first.

    The role is ``used`` or ``produced``. The version is the number of the model version, or None if
    the run named no version or one that is not stored.
    """
    rows = _read_links(
        reader,
        project,
        Sql("kind = 'model' AND name = {model:String}"),
        {"model": model},
        Sql("kind"),
    )
    numbers = _Numbers(reader, project, rows)
    linked_runs: dict[str, dict[int | None, list[LinkedRun]]] = {"used": {}, "produced": {}}
    for row in reversed(rows):
        number = numbers.find(row)
        linked_runs[row["role"]].setdefault(number, []).append(_linked_run(row, number))
    return linked_runs


def _linked_run(row: Row, number: int | None) -> LinkedRun:
    return LinkedRun(row["owner"], row["name"], number, to_rfc3339(row["first_ns"]))


def _read_links(
    reader: Reader, project: str, which: Sql, given: Mapping[str, Any], each: Sql
) -> list[Row]:
    """Read the newest links of each run, each target once, in order of arrival."""
    sql = Sql("""
        SELECT owner, role, kind, name, version, run_id, min(time_ns) AS first_ns
        FROM (SELECT * FROM lineage FINAL WHERE project = {project:String})
        WHERE {which}
        GROUP BY owner, role, kind, name, version, run_id
        ORDER BY first_ns DESC, owner, name, version LIMIT {most:UInt32} BY {each}
        """).fill(which=which, each=each)
    rows = reader.rows(sql, {"project": project, "most": 1_000, **given})
    return rows[::-1]


class _Numbers:
    """Looks up the version numbers for lineage links."""

    def __init__(self, reader: Reader, project: str, rows: Iterable[Row]) -> None:
        named = {row["name"] for row in rows if row["kind"] == "model" and row["version"]}
        known = version_numbers(reader, project, "model", named)
        self._by_digest: dict[tuple[str, str], int] = {}
        for (name, digest, _), number in sorted(known.items(), key=lambda entry: -entry[1]):
            self._by_digest[name, digest] = number
        self._known = {(name, number) for (name, *_), number in known.items()}
        aliased = {row["name"] for row in rows if row["version"].startswith("@")}
        self._moves = _read_moves(reader, project, sorted(aliased)) if aliased else {}

    def find(self, row: Row) -> int | None:
        """Return the version number of the model that a run used or produced.

        The run can name the version by its number, its digest, or an alias such as `champion`. For
        an alias, the result is the version that it pointed to when the run recorded it. The result
        is None if the row names no version of a model, or one that is not stored.
        """
        if row["kind"] != "model" or not row["version"]:
            return None
        name, version = row["name"], row["version"]
        if version.startswith("@"):
            moves = self._moves.get((name, version[1:]), [])
            place = bisect_right([time_ns for time_ns, _ in moves], row["first_ns"])
            version = moves[place - 1][1] if place else ""
        elif version.startswith("v") and version[1:].isdecimal():
            number = int(version[1:])
            return number if (name, number) in self._known else None
        return self._by_digest.get((name, version))


def _read_moves(
    reader: Reader, project: str, models: Sequence[str]
) -> dict[tuple[str, str], list[tuple[int, str]]]:
    """Read the changes of aliases with their digests, oldest first. A removal has no digest."""
    sql = Sql("""
        SELECT model, alias, if(is_removed, '', digest) AS named, time_ns FROM aliases FINAL
        WHERE project = {project:String} AND model IN {models:Array(String)}
        ORDER BY time_ns, record_id""")
    moves: defaultdict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for row in reader.rows(sql, {"project": project, "models": list(models)}):
        moves[row["model"], row["alias"]].append((row["time_ns"], row["named"]))
    return moves
