"""Finds logged artifacts by trace, key, run and reference: lists, or one with its document."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from otel_ml_collector.api.cursors import read_place, write_place
from otel_ml_collector.artifacts.documents import Document, describe_rows, open_document
from otel_ml_collector.artifacts.sql import (
    ObjectKey,
    ObjectsWanted,
    find_object_owners,
    list_objects,
    read_object,
)
from otel_ml_collector.errors import BadQuery, NotFound
from otel_ml_collector.owners import KEY, TRACE_KEY_CHARS, is_run, own_key
from otel_ml_collector.query.answers.artifacts import LoggedObject, ObjectsPage
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.runs import find_places
from otel_ml_collector.store.targets import find_projects_of, read_trace_keys

_TRACE_CHARS: Final = 32
_TRACE_ID: Final = re.compile("[0-9a-fA-F]{32}")
_HEAD: Final = {"obj_id", "ref", "type", "trace_id", "run_id", "time"}


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


def open_object(reader: Reader, query: ObjectsQuery) -> Document:
    """Read the newest artifact of a reference, with its document.

    Raises:
        NotFound: Nothing was logged under the reference, or its document is not here.
    """
    rows = list_objects(reader, _wanted(reader, query), 1)
    if not rows:
        about = query.run_id or query.trace_id
        raise NotFound(f"Nothing is logged as {query.ref[:80]!r} in {about[:80]!r}")
    return _open(reader, query.project, rows[0])


def open_object_by_id(reader: Reader, project: str, obj_id: str) -> Document:
    """Read an artifact by its id, with its document.

    Raises:
        NotFound: There is no such artifact, or its document is not here.
    """
    try:
        key = _key(read_place(obj_id, "obj_id"))
    except BadQuery:
        key = None
    row = read_object(reader, project, key) if key else None
    if row is None:
        raise NotFound(f"Project {project!r} has no object {obj_id[:80]!r}")
    return _open(reader, project, row)


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
        case [int(time_ns), *parts] if abs(time_ns) < 2**63 and (key := _key(parts)):
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


def _open(reader: Reader, project: str, row: Row) -> Document:
    """Put the facts of an artifact around its document."""
    facts = make_objects(reader, project, [row])[0]
    if facts.sha256 is None or facts.url is None:
        raise NotFound(f"The document of {facts.ref[:80]!r} is not here: only its preview is")
    document = open_document(reader, project, facts.sha256)
    head = orjson.dumps(facts.model_dump(include=_HEAD))[:-1] + b',"obj_data":'
    return Document(len(head) + document.size + 1, _around(head, document.parts))


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


def _key(parts: Sequence[object]) -> ObjectKey | None:
    match parts:
        case [str(owner), str(record_id), int(position)] if 0 <= position < 2**32:
            return ObjectKey(owner, record_id, position)
    return None
