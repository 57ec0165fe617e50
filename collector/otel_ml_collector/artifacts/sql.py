"""What is asked about logged artifacts: by their owners, newest first, without their documents."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.owners import FIRST
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.targets import about_runs

# A repeated one may stand in two partitions: they are by arrival.
_ACROSS_PARTITIONS: Final = {"do_not_merge_across_partitions_select_final": 0}
_OWNERS: Final = 10_000
_LIGHT: Final = Sql("""owner, record_id, position, ref, toString(type) AS type, bytes,
  lower(hex(sha256)) AS sha256, is_inline, preview, time_ns""")
_ORDER: Final = Sql("time_ns DESC, owner DESC, record_id DESC, position DESC")


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """What names one logged artifact of a project."""

    owner: str
    record_id: str
    position: int


@dataclass(frozen=True, slots=True)
class ObjectsWanted:
    """Which logged artifacts of a project are wanted.

    Attributes:
        owners: About what they are; None for anything.
        ref: Their reference; empty for any.
        start_ns: Logged then or later, and before `end_ns`.
        after: Where the list goes on: the time and the key of the one before.
    """

    project: str
    owners: Sequence[str] | None
    ref: str = ""
    start_ns: int = 0
    end_ns: int = 2**63 - 1
    after: tuple[int, ObjectKey] | None = None


def list_objects(reader: Reader, wanted: ObjectsWanted, limit: int) -> list[Row]:
    """List logged artifacts, newest first."""
    parameters: dict[str, Any] = {
        "project": wanted.project,
        "owners": list(wanted.owners or []),
        "ref": wanted.ref,
        "start": wanted.start_ns,
        "end": wanted.end_ns,
        "limit": limit,
    }
    seek = Sql("1")
    if wanted.after is not None:
        time_ns, key = wanted.after
        seek = Sql("""(time_ns, owner, record_id, position)
          < ({at:Int64}, {owner:String}, {record:String}, {position:UInt32})""")
        parameters |= {"at": time_ns, "owner": key.owner}
        parameters |= {"record": key.record_id, "position": key.position}
    about = Sql("1") if wanted.owners is None else Sql("owner IN {owners:Array(String)}")
    sql = Sql("""
        SELECT {light} FROM objects FINAL
        WHERE project = {project:String} AND {about}
          AND ({ref:String} = '' OR ref = {ref:String})
          AND time_ns >= {start:Int64} AND time_ns < {end:Int64} AND {seek}
        ORDER BY {order} LIMIT {limit:UInt32}
        """).fill(light=_LIGHT, about=about, seek=seek, order=_ORDER)
    return reader.rows(sql, parameters, _ACROSS_PARTITIONS)


def read_object(reader: Reader, project: str, key: ObjectKey) -> Row | None:
    """Read one logged artifact by its key."""
    sql = Sql("""
        SELECT {light} FROM objects
        WHERE project = {project:String} AND owner = {owner:String}
          AND record_id = {record:String} AND position = {position:UInt32}
        ORDER BY rank DESC LIMIT 1
        """).fill(light=_LIGHT)
    rows = reader.rows(
        sql,
        {
            "project": project,
            "owner": key.owner,
            "record": key.record_id,
            "position": key.position,
        },
    )
    return rows[0] if rows else None


def read_inline(reader: Reader, project: str, sha256: str) -> bytes | None:
    """Read a document that came along with a record, by its hash in hex."""
    sql = Sql("""
        SELECT json FROM objects
        WHERE project = {project:String} AND is_inline
          AND sha256 = toFixedString(unhex({sha256:String}), 32)
        LIMIT 1""")
    return reader.blob(sql, {"project": project, "sha256": sha256}) or None


def find_object_owners(
    reader: Reader, project: str, trace_ids: Sequence[str], run_id: str = ""
) -> list[str]:
    """Find about what artifacts of some traces, or of one run, are: runs, keys and tags.

    Args:
        reader: The store.
        project: Whose traces.
        trace_ids: Which, in hex.
        run_id: The only run whose artifacts are wanted; empty for all.
    """
    parameters = {"project": project, "traces": list(trace_ids), "run": run_id}
    ours = Sql("project = {project:String}")
    mine = Sql("({run:String} = '' OR owner = {run:String})")
    direct = Sql("""
        SELECT DISTINCT owner FROM objects
        WHERE {ours} AND owner >= {first:String} AND owner < {end:String} AND {mine}
        LIMIT {owners}""").fill(ours=ours, mine=mine, owners=_OWNERS)
    owners = [
        row["owner"]
        for trace_id in trace_ids
        for row in reader.rows(
            direct, {**parameters, "first": f"{trace_id}-", "end": f"{trace_id}."}
        )
    ]
    told = Sql("SELECT DISTINCT owner FROM objects WHERE {ours} AND owner >= '{first}'").fill(
        ours=ours, first=Sql(FIRST)
    )
    if not reader.rows(told + Sql(" LIMIT 1"), parameters):
        return owners
    sql = Sql("""
        SELECT DISTINCT owner FROM ({about_runs})
        WHERE lower(hex(trace_id)) IN {traces:Array(String)}
          AND ({run:String} = ''
            OR concat(lower(hex(trace_id)), '-', lower(hex(span_id))) = {run:String})
        LIMIT {owners}""").fill(about_runs=about_runs(told), owners=_OWNERS)
    return [*owners, *(row["owner"] for row in reader.rows(sql, parameters))]
