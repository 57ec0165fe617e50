"""Finds logged artifacts by trace, key, run and reference: lists, or one with its document."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import orjson
from pydantic import BaseModel, Field

from otel_ml_collector.api.parameters import read_place, write_place
from otel_ml_collector.errors import BadQuery, NotFound
from otel_ml_collector.owners import FIRST, KEY, TRACE_KEY_CHARS, is_run, own_key
from otel_ml_collector.store.artifacts import find_sizes, read_chunks
from otel_ml_collector.store.reader import JsonValue, Reader, Row, load_json
from otel_ml_collector.store.runs import find_places
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.targets import about_runs, find_projects_of, read_trace_keys
from otel_ml_collector.times import to_rfc3339

_MOST: Final = 1_000
_NO_HASH: Final = "0" * 64
_HASH_DIGITS: Final = frozenset("0123456789abcdef")
# A repeated one may stand in two partitions: they are by arrival.
_ACROSS_PARTITIONS: Final = {"do_not_merge_across_partitions_select_final": 0}
_OWNERS: Final = 10_000
_LIGHT: Final = Sql("""owner, record_id, position, ref, toString(type) AS type, bytes,
  lower(hex(sha256)) AS sha256, is_inline, preview, time_ns""")
_ORDER: Final = Sql("time_ns DESC, owner DESC, record_id DESC, position DESC")
_TRACE_CHARS: Final = 32
_TRACE_ID: Final = re.compile("[0-9a-fA-F]{32}")
_HEAD: Final = {"obj_id", "ref", "type", "trace_id", "run_id", "time"}


class Artifact(BaseModel):
    """What was logged under a reference; its document is read by `url`."""

    ref: str
    type: str = Field(description="Such as otel_ml.types.Numpy")
    bytes: int = Field(description="Size of the document")
    sha256: str | None = Field(description="Of the document; null when it has none")
    preview: JsonValue = Field(description="The value in short")
    time: str = Field(description="RFC 3339, UTC")
    url: str | None = Field(description="Null while the document is not here")


class LoggedObject(Artifact):
    """An artifact with what it is about; the ids are null for what a run does not have."""

    obj_id: str
    trace_id: str | None = Field(description="The trace's id, or the key under which it was told")
    run_id: str | None


class ObjectsPage(BaseModel):
    """One page of a list, newest first; `next_cursor` is null on the last one."""

    objects: list[LoggedObject]
    next_cursor: str | None


class ObjectData(BaseModel):
    """An artifact with its document."""

    obj_id: str
    ref: str
    type: str
    trace_id: str | None
    run_id: str | None
    time: str
    obj_data: JsonValue = Field(description='{"type": ..., "params": {...}}')


class StoredArtifact(BaseModel):
    """A document that is stored."""

    sha256: str
    bytes: int
    url: str


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document that is here: how many bytes it has, and these, part after part."""

    size: int
    parts: Iterator[bytes]


def find_artifacts(reader: Reader, project: str, owners: Sequence[str]) -> list[Artifact]:
    """Find what was logged about some owners, newest first, at most 1,000."""
    rows = list_objects(reader, ObjectsWanted(project, owners), _MOST)
    return [Artifact(**facts) for facts in describe_rows(reader, project, rows)]


def describe_rows(reader: Reader, project: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Make the fields of artifacts out of their rows."""
    uploaded = [row["sha256"] for row in rows if not row["is_inline"]]
    sizes = find_sizes(reader, project, [sha256 for sha256 in uploaded if sha256 != _NO_HASH])
    return [
        {
            "ref": row["ref"],
            "type": row["type"],
            "bytes": row["bytes"],
            "sha256": None if row["sha256"] == _NO_HASH else row["sha256"],
            "preview": load_json(row["preview"]),
            "time": to_rfc3339(row["time_ns"]),
            "url": address_of(project, row["sha256"])
            if row["is_inline"] or row["sha256"] in sizes
            else None,
        }
        for row in rows
    ]


def address_of(project: str, sha256: str) -> str:
    """Write where a document is read."""
    return f"/api/v1/projects/{quote(project, safe='')}/artifacts/{sha256}"


def open_document(reader: Reader, project: str, sha256: str) -> StoredDocument:
    """Find a document by its hash in hex: uploaded, or come along with a record.

    Raises:
        NotFound: The project has no such document.
    """
    if len(sha256) == len(_NO_HASH) and _HASH_DIGITS.issuperset(sha256):
        sizes = find_sizes(reader, project, [sha256])
        if sha256 in sizes:
            size = sizes[sha256]
            return StoredDocument(size, read_chunks(reader, project, sha256, size))
        inline = read_inline(reader, project, sha256)
        if inline is not None:
            return StoredDocument(len(inline), iter([inline]))
    raise NotFound(f"Project {project!r} has no artifact {sha256[:80]!r}")


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


@dataclass(frozen=True, slots=True)
class ObjectsQuery:
    """What to find.

    Attributes:
        trace_id: A trace's id in hex, or its key; empty for any.
        run_id: A run's id; empty for any.
        ref: A reference; empty for any.
        start_ns: Logged then or later, and before `end_ns`, None for no bound.
        cursor: Where a former page ended.
    """

    project: str
    trace_id: str = ""
    run_id: str = ""
    ref: str = ""
    start_ns: int = 0
    end_ns: int | None = None
    limit: int = 50
    cursor: str | None = None

    @property
    def is_one(self) -> bool:
        """Whether it names one reference of one trace or run: the newest is wanted."""
        return bool(self.ref and (self.trace_id or self.run_id))


def find_objects(reader: Reader, query: ObjectsQuery) -> ObjectsPage:
    """List logged artifacts, newest first.

    Raises:
        BadQuery: The cursor is wrong.
    """
    rows = list_objects(reader, _wanted(reader, query), query.limit + 1)
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    return ObjectsPage(
        objects=make_objects(reader, query.project, rows),
        next_cursor=write_place([rows[-1]["time_ns"], *_key_parts(rows[-1])]) if more else None,
    )


def open_object(reader: Reader, query: ObjectsQuery) -> StoredDocument:
    """Read the newest artifact of a reference, with its document.

    Raises:
        NotFound: Nothing was logged under the reference, or its document is not here.
    """
    rows = list_objects(reader, _wanted(reader, query), 1)
    if not rows:
        about = query.run_id or query.trace_id
        raise NotFound(f"Nothing is logged as {query.ref[:80]!r} in {about[:80]!r}")
    return _open_row(reader, query.project, rows[0])


def open_object_by_id(reader: Reader, project: str, obj_id: str) -> StoredDocument:
    """Read an artifact by its id, with its document.

    Raises:
        NotFound: There is no such artifact, or its document is not here.
    """
    try:
        key = _read_key(read_place(obj_id, "obj_id"))
    except BadQuery:
        key = None
    row = read_object(reader, project, key) if key else None
    if row is None:
        raise NotFound(f"Project {project!r} has no object {obj_id[:80]!r}")
    return _open_row(reader, project, row)


def find_project_of(reader: Reader, trace_id: str, run_id: str) -> str:
    """Find the only project that knows a trace or a run.

    Raises:
        NotFound: None does.
        BadQuery: Several do, or neither trace nor run is named.
    """
    if not trace_id and not run_id:
        raise BadQuery("Without a project expected a trace_id or a run_id", "trace_id")
    key = run_id[:_TRACE_CHARS] or trace_id
    found = {place.project for place in find_places(reader, key)}
    found.update(find_projects_of(reader, key[:TRACE_KEY_CHARS]))
    if not found:
        raise NotFound(f"There is no trace {key[:80]!r}")
    if len(found) > 1:
        names = ", ".join(sorted(found))
        raise BadQuery(f"Several projects have trace {key[:80]!r}: name one of {names}", "project")
    return found.pop()


def make_objects(reader: Reader, project: str, rows: Sequence[Row]) -> list[LoggedObject]:
    """Make the answers for some rows."""
    return [
        LoggedObject(**facts, **_about(row))
        for facts, row in zip(describe_rows(reader, project, rows), rows, strict=True)
    ]


def _wanted(reader: Reader, query: ObjectsQuery) -> ObjectsWanted:
    return ObjectsWanted(
        project=query.project,
        owners=_owners(reader, query),
        ref=query.ref,
        start_ns=query.start_ns,
        end_ns=2**63 - 1 if query.end_ns is None else query.end_ns,
        after=None if query.cursor is None else _read_cursor(query.cursor),
    )


def _read_cursor(text: str) -> tuple[int, ObjectKey]:
    match read_place(text, "cursor"):
        case [int(time_ns), *parts] if abs(time_ns) < 2**63 and (key := _read_key(parts)):
            return time_ns, key
    raise BadQuery(f"Invalid cursor {text[:80]!r}: expected a next_cursor of an answer", "cursor")


def _owners(reader: Reader, query: ObjectsQuery) -> list[str] | None:
    """Name what the artifacts of a trace or run are about; None when neither is named."""
    if query.run_id:
        trace_id = query.run_id[:_TRACE_CHARS]
        found = find_object_owners(reader, query.project, [trace_id], query.run_id)
        return found if not query.trace_id else _both(reader, query, found)
    return _owners_of_trace(reader, query) if query.trace_id else None


def _owners_of_trace(reader: Reader, query: ObjectsQuery) -> list[str]:
    key = query.trace_id[:TRACE_KEY_CHARS]
    places = find_places(reader, key)
    traces = {place.trace_id for place in places if place.project == query.project}
    if _TRACE_ID.fullmatch(key):  # perhaps one of which no span is here
        traces.add(key.lower())
    keys = read_trace_keys(reader, query.project, sorted(traces)) if traces else []
    told = {own_key(row["key"]) for row in keys} | {own_key(key)}
    return sorted(told.union(find_object_owners(reader, query.project, sorted(traces))))


def _both(reader: Reader, query: ObjectsQuery, owners: Sequence[str]) -> list[str]:
    of_trace = set(_owners_of_trace(reader, query))
    return [owner for owner in owners if owner in of_trace]


def _open_row(reader: Reader, project: str, row: Row) -> StoredDocument:
    """Put the facts of an artifact around its document."""
    facts = make_objects(reader, project, [row])[0]
    if facts.sha256 is None or facts.url is None:
        raise NotFound(f"The document of {facts.ref[:80]!r} is not here: only its preview is")
    document = open_document(reader, project, facts.sha256)
    head = orjson.dumps(facts.model_dump(include=_HEAD))[:-1] + b',"obj_data":'
    return StoredDocument(len(head) + document.size + 1, _around(head, document.parts))


def _around(head: bytes, parts: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from parts
    yield b"}"


def _about(row: Row) -> dict[str, Any]:
    owner = row["owner"]
    trace_id = owner.removeprefix(KEY) if owner.startswith(KEY) else None
    return {
        "obj_id": write_place(_key_parts(row)),
        "trace_id": owner[:_TRACE_CHARS] if is_run(owner) else trace_id,
        "run_id": owner if is_run(owner) else None,
    }


def _key_parts(row: Row) -> list[str | int]:
    return [row["owner"], row["record_id"], row["position"]]


def _read_key(parts: Sequence[object]) -> ObjectKey | None:
    match parts:
        case [str(owner), str(record_id), int(position)] if 0 <= position < 2**32:
            return ObjectKey(owner, record_id, position)
    return None
