"""Finds logged artifacts by trace, key, run or reference, with their documents and images."""

import base64
import binascii
import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import Annotated, Any, Final

import orjson
from fastapi import Query
from pydantic import Field

from otel_ml.file_formats import FILE_FORMATS, MEDIA_TYPE, PLAIN_JSON, WHY_TYPED
from otel_ml.records import ListedArtifact, about
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import (
    TIMES,
    End,
    Limit,
    Since,
    bad_cursor,
    read_cursor,
    read_place,
    write_place,
)
from otel_ml_collector.errors import BadInput, Missing, Unavailable
from otel_ml_collector.owners import FIRST, KEY, SET, TRACE_KEY_CHARS, is_run, own_key
from otel_ml_collector.records import DATA_URL
from otel_ml_collector.store.artifacts import find_sizes, read_chunks
from otel_ml_collector.store.facts import read_trace_keys
from otel_ml_collector.store.reader import JsonValue, Reader, Row, load_json
from otel_ml_collector.store.runs import ACROSS_PARTITIONS, find_key, find_places
from otel_ml_collector.store.sql import EMPTY, Sql
from otel_ml_collector.store.targets import NAMED_RUNS
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.web.images import PIXELS, read_head
from otel_ml_collector.web.view import link_to

_MOST_OBJECTS: Final = 1_000
_NO_HASH: Final = "0" * 64
_HASH: Final = re.compile("[0-9a-f]{64}")
_MOST_OWNERS: Final = 10_000
_ALWAYS: Final = 2**63 - 1
_LIGHT: Final = Sql("""owner, record_id, position, ref, toString(type) AS type, bytes,
  lower(hex(sha256)) AS sha256, is_inline, preview, time_ns""")
_TRACE_CHARS: Final = 32
_TRACE_ID: Final = re.compile("[0-9a-fA-F]{32}")
_HEAD: Final = ("obj_id", "ref", "type", "trace_id", "run_id", "time")

IMAGE_TYPES: Final = ("otel_ml.types.Image", "raymon.types.Image")
# Decoding needs the whole document in memory, so limit its size and the number at a time.
LARGEST_BYTES: Final = 16 * 1024 * 1024
_DECODERS: Final = threading.BoundedSemaphore(2)
_WAIT_S: Final = 10.0
_SHOWN_TYPES: Final = frozenset({"image/png", "image/jpeg"})
_BEGINNING: Final = 512 * 1024
_BASE64_GROUP: Final = 3  # bytes that become four characters
_FILE_NAME_CHARS: Final = 100
_DATA: Final = re.compile(rb'"data"\s*:\s*"([A-Za-z0-9+/]{4,%d})' % _BEGINNING)

# Identifies an artifact in a project: its owner, its record, and its position in the record.
_Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedArtifact(ListedArtifact):
    """A value that was logged under a name; `url` is the address of its document."""

    preview: JsonValue = field(metadata=about("The value in short"))
    url: str | None = field(metadata=about("Null while the document is not here"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedObject(LinkedArtifact):
    """An artifact with its trace and run. Ids are null if it does not belong to a trace or run."""

    obj_id: str
    trace_id: str | None = field(metadata=about("ID of the trace, or its trace key"))
    run_id: str | None


class ObjectsPage(AnswerBody):
    """One page of a list, newest first; `next_cursor` is null on the last page."""

    objects: list[LoggedObject]
    next_cursor: str | None


class ObjectData(AnswerBody):
    """An artifact with its document."""

    obj_id: str
    ref: str
    type: str
    trace_id: str | None
    run_id: str | None
    time: str
    obj_data: JsonValue = Field(
        description='{"type": ..., "params": {...}}. For a file such as Parquet, params has its '
        "media_type and its base64"
    )


class StoredArtifact(AnswerBody):
    """A stored document."""

    sha256: str
    bytes: int
    url: str


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A stored document: its size in bytes, and its content in parts."""

    size: int
    parts: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Media type of a document, and the name of a file for it, such as ``sample.parquet``."""

    media_type: str
    file_name: str


@dataclass(frozen=True, slots=True)
class ObjectsQuery:
    """Filters for logged artifacts of a project; the query parameters of the API."""

    trace_id: Annotated[
        str, Query(max_length=256, description="ID of a trace in hex, or a trace key")
    ] = ""
    run_id: Annotated[str, Query(max_length=49)] = ""
    ref: Annotated[
        str, Query(max_length=1_024, description="Name under which the artifact was logged")
    ] = ""
    start_ns: Since = 0
    end_ns: End = None
    limit: Limit = 50
    cursor: Annotated[str | None, Query(max_length=8_000)] = None

    @property
    def is_one(self) -> bool:
        """Whether the query asks for one artifact: the newest with a name in a trace or run."""
        return bool(self.ref and (self.trace_id or self.run_id))


def find_artifacts(
    reader: Reader, project: str, owners: Mapping[str, Sequence[str]]
) -> dict[str, list[LinkedArtifact]]:
    """Return the artifacts of several runs or traces, newest first, at most 1,000 for each.

    An artifact has an owner: the run, trace key or tag that it was logged for. So the artifacts of
    a run are those of several owners: its ID, the keys of its trace, and its tags.

    Args:
        reader: The store.
        project: Project of the artifacts.
        owners: Maps a run ID or trace ID to its owners, as text. The result has the same IDs.
    """
    asked = sorted({owner for of_one in owners.values() for owner in of_one})
    rows = _list_rows(reader, project, ObjectsQuery(), asked, _MOST_OBJECTS, each=Sql("BY owner"))
    made: defaultdict[str, list[tuple[Any, LinkedArtifact]]] = defaultdict(list)
    for row, facts in zip(rows, _describe(reader, project, rows), strict=True):
        made[row["owner"]].append(((row["time_ns"], *_key_of(row)), LinkedArtifact(**facts)))
    return {
        key: [
            artifact
            for _, artifact in sorted(
                (item for owner in of_one for item in made.get(owner, ())),
                key=itemgetter(0),
                reverse=True,
            )[:_MOST_OBJECTS]
        ]
        for key, of_one in owners.items()
    }


def find_objects(reader: Reader, project: str, query: ObjectsQuery) -> ObjectsPage:
    """Return a page of logged artifacts, newest first.

    Raises:
        BadInput: The cursor is invalid.
    """
    owners = _find_owners(reader, project, query)
    rows = _list_rows(reader, project, query, owners, query.limit + 1)
    page = rows[: query.limit]
    next_cursor = None
    if len(rows) > len(page):
        next_cursor = write_place([page[-1]["time_ns"], *_key_of(page[-1])])
    objects = [
        LoggedObject(**facts, **_ids(row))
        for facts, row in zip(_describe(reader, project, page), page, strict=True)
    ]
    return ObjectsPage(objects=objects, next_cursor=next_cursor)


def open_object(reader: Reader, project: str, query: ObjectsQuery) -> StoredDocument:
    """Return the newest artifact that was logged under a name in a trace or run, as JSON.

    The JSON contains the artifact's ids, name, type and time, and its document (the logged value).

    Args:
        reader: The store.
        project: Project of the artifact.
        query: The name (`ref`), and the trace or the run.

    Raises:
        Missing: Nothing was logged under this name, or its document is not stored.
    """
    rows = _list_rows(reader, project, query, _find_owners(reader, project, query), 1)
    if not rows:
        owner = query.run_id or query.trace_id
        raise Missing(f"Nothing is logged as {query.ref[:80]!r} in {owner[:80]!r}")
    return _open_row(reader, project, rows[0])


def open_object_by_id(reader: Reader, project: str, obj_id: str) -> StoredDocument:
    """Find an artifact by its ID. Return it as JSON, including its document (the logged value).

    Raises:
        Missing: There is no such artifact, or its document is not stored.
    """
    rows: list[Row] = []
    try:
        key = _read_key(read_place(obj_id, "obj_id"))
    except BadInput:
        key = None
    if key is not None:
        sql = Sql("""
            SELECT {light} FROM objects
            WHERE project = {project:String} AND owner = {owner:String}
              AND record_id = {record:String} AND position = {position:UInt32}
            ORDER BY rank DESC LIMIT 1
            """).fill(light=_LIGHT)
        rows = reader.rows(sql, {"project": project, **_key_parameters(key)})
    if not rows:
        raise Missing(f"Project {project!r} has no object {obj_id[:80]!r}")
    return _open_row(reader, project, rows[0])


def open_document(reader: Reader, project: str, sha256: str) -> StoredDocument:
    """Return the document with a hash (hex), whether it was uploaded or sent in a record.

    Raises:
        Missing: The project has no such document.
    """
    if _HASH.fullmatch(sha256):
        size = find_sizes(reader, project, [sha256]).get(sha256)
        if size is not None:
            return StoredDocument(size, read_chunks(reader, project, sha256, size))
        sql = Sql("""
            SELECT json FROM objects
            WHERE project = {project:String} AND is_inline
              AND sha256 = toFixedString(unhex({sha256:String}), 32)
            LIMIT 1""")
        inline = reader.blob(sql, {"project": project, "sha256": sha256})
        if inline.startswith(DATA_URL.encode()):
            inline = base64.b64decode(inline[len(DATA_URL) :])
        if inline:
            return StoredDocument(len(inline), iter([inline]))
    raise Missing(f"Project {project!r} has no artifact {sha256[:80]!r}")


def find_file_facts(reader: Reader, project: str, sha256: str) -> FileFacts:
    """Return media type and file name of a document. It is JSON if no record tells its type.

    If it was logged under several names, the newest name counts.
    """
    sql = Sql("""
        SELECT ref, preview FROM objects
        WHERE project = {project:String}
          AND sha256 = toFixedString(unhex({sha256:String}), 32)
        ORDER BY time_ns DESC, owner DESC, record_id DESC, position DESC LIMIT 1""")
    rows = reader.rows(sql, {"project": project, "sha256": sha256})
    if not rows:
        return FileFacts(PLAIN_JSON, f"{sha256}.json")
    media_type = media_type_of(load_json(rows[0]["preview"]))
    suffix = FILE_FORMATS[media_type][1]
    name = re.sub(r"[^\w.+-]+", "_", rows[0]["ref"][-_FILE_NAME_CHARS:]).strip("._") or sha256
    return FileFacts(media_type, name if name.endswith(suffix) else name + suffix)


def suffix_of(artifact: LinkedArtifact) -> str:
    """Return the suffix of a file for an artifact, such as ``.parquet``."""
    return FILE_FORMATS[media_type_of(artifact.preview)][1]


def media_type_of(preview: JsonValue) -> str:
    """Return the media type of an artifact, which its preview contains. JSON if it is unknown."""
    found = preview.get(MEDIA_TYPE) if isinstance(preview, dict) else None
    return found if isinstance(found, str) and found in FILE_FORMATS else PLAIN_JSON


def find_project_of(reader: Reader, trace_id: str, run_id: str) -> str:
    """Return the only project that has a trace or a run.

    Raises:
        Missing: No project has it.
        BadInput: Several projects have it, or neither a trace nor a run is given.
    """
    if not trace_id and not run_id:
        raise BadInput("Expected a project, a trace_id or a run_id", "trace_id")
    key = run_id[:_TRACE_CHARS] or trace_id
    keyed = find_key(reader, key)
    projects = {*keyed.annotated, *(place.project for place in keyed.places)}
    if not projects:
        raise Missing(f"There is no trace {key[:80]!r}")
    if len(projects) > 1:
        names = ", ".join(sorted(projects))
        raise BadInput(
            f"Several projects have trace {key[:80]!r}: choose one of {names}", "project"
        )
    return projects.pop()


def address_of(project: str, sha256: str) -> str:
    """Return the path under which a document can be read."""
    return link_to("api", "v1", "projects", project, "artifacts", sha256)


def _list_rows(
    reader: Reader,
    project: str,
    query: ObjectsQuery,
    owners: Sequence[str] | None,
    limit: int,
    *,
    each: Sql = EMPTY,
) -> list[Row]:
    """Return the artifacts of some owners, newest first. None means all owners."""
    parameters: dict[str, Any] = {
        "project": project,
        "owners": list(owners or []),
        "ref": query.ref,
        "start": query.start_ns,
        "end": _ALWAYS if query.end_ns is None else query.end_ns,
        "limit": limit,
    }
    seek = Sql("1")
    if query.cursor is not None:
        time_ns, key = _read_cursor(query.cursor)
        seek = Sql("""(time_ns, owner, record_id, position)
          < ({at:Int64}, {owner:String}, {record:String}, {position:UInt32})""")
        parameters |= {"at": time_ns, **_key_parameters(key)}
    of_owners = Sql("owner IN {owners:Array(String)}")
    if owners is None:  # except the contents of data sets
        of_owners = Sql("NOT startsWith(owner, '{set}')").fill(set=Sql(SET))
    sql = Sql("""
        SELECT {light} FROM objects FINAL
        WHERE project = {project:String} AND {of_owners}
          AND ({ref:String} = '' OR ref = {ref:String})
          AND time_ns >= {start:Int64} AND time_ns < {end:Int64} AND {seek}
        ORDER BY time_ns DESC, owner DESC, record_id DESC, position DESC LIMIT {limit:UInt32} {each}
        """).fill(light=_LIGHT, of_owners=of_owners, seek=seek, each=each)
    return reader.rows(sql, parameters, ACROSS_PARTITIONS)


def _describe(reader: Reader, project: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the fields of artifacts for the API."""
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


def _ids(row: Row) -> dict[str, Any]:
    owner = row["owner"]
    trace_id = owner.removeprefix(KEY) if owner.startswith(KEY) else None
    return {
        "obj_id": write_place(_key_of(row)),
        "trace_id": owner[:_TRACE_CHARS] if is_run(owner) else trace_id,
        "run_id": owner if is_run(owner) else None,
    }


def _open_row(reader: Reader, project: str, row: Row) -> StoredDocument:
    """Return an artifact as JSON, with its document inside."""
    (facts,) = _describe(reader, project, [row])
    if facts["sha256"] is None or facts["url"] is None:
        raise Missing(f"The document of {facts['ref'][:80]!r} is not stored: only its preview is")
    document = open_document(reader, project, facts["sha256"])
    fields = {**facts, **_ids(row)}
    head = orjson.dumps({name: fields[name] for name in _HEAD})[:-1] + b',"obj_data":'
    inside = _as_json(document, facts)

    def parts() -> Iterator[bytes]:
        yield head
        yield from inside.parts
        yield b"}"

    return StoredDocument(len(head) + inside.size + 1, parts())


def _as_json(document: StoredDocument, facts: Mapping[str, Any]) -> StoredDocument:
    """Return a document as typed JSON, as `otel_ml.types.load` reads it."""
    preview, before = facts["preview"], b'{"type":' + orjson.dumps(facts["type"]) + b',"params":'
    if not isinstance(preview, dict) or MEDIA_TYPE not in preview or WHY_TYPED in preview:
        return document
    media_type = media_type_of(preview)
    if media_type == PLAIN_JSON:
        before, size, content, after = before + b'{"data":', document.size, document.parts, b"}}"
    else:
        before += b'{"media_type":' + orjson.dumps(media_type) + b',"base64":"'
        size, after = -(-document.size // _BASE64_GROUP) * 4, b'"}}'
        content = _encode(document.parts)
    return StoredDocument(len(before) + size + len(after), chain([before], content, [after]))


def _encode(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the parts as base64. What does not fill a group of three bytes waits for the next."""
    left = b""
    for part in parts:
        joined = left + part
        whole = len(joined) // _BASE64_GROUP * _BASE64_GROUP
        left = joined[whole:]
        yield base64.b64encode(joined[:whole])
    yield base64.b64encode(left)


def _find_owners(reader: Reader, project: str, query: ObjectsQuery) -> list[str] | None:
    """Return the owners of artifacts of a trace or run; None if neither is given."""
    of_trace: set[str] | None = None
    if query.trace_id:
        key = query.trace_id[:TRACE_KEY_CHARS]
        places = find_places(reader, key)
        traces = {place.trace_id for place in places if place.project == project}
        if _TRACE_ID.fullmatch(key):  # its spans may not be stored
            traces.add(key.lower())
        keys = read_trace_keys(reader, project, sorted(traces)) if traces else []
        of_trace = {own_key(row["key"]) for row in keys} | {own_key(key)}
        of_trace.update(_find_logged(reader, project, sorted(traces)))
    if not query.run_id:
        return None if of_trace is None else sorted(of_trace)
    owners = _find_logged(reader, project, [query.run_id[:_TRACE_CHARS]], query.run_id)
    return [owner for owner in owners if of_trace is None or owner in of_trace]


def _find_logged(
    reader: Reader, project: str, trace_ids: Sequence[str], run_id: str = ""
) -> list[str]:
    """Return the owners (runs, keys and tags) of artifacts of some traces, or of one run."""
    parameters = {"project": project, "traces": list(trace_ids), "run": run_id}
    direct = Sql("""
        SELECT DISTINCT owner FROM objects
        WHERE project = {project:String} AND owner >= {first:String} AND owner < {end:String}
          AND ({run:String} = '' OR owner = {run:String})
        LIMIT {owners}""").fill(owners=_MOST_OWNERS)
    owners = [
        row["owner"]
        for trace_id in trace_ids
        for row in reader.rows(
            direct, {**parameters, "first": f"{trace_id}-", "end": f"{trace_id}."}
        )
    ]
    condition = Sql("""SELECT DISTINCT owner FROM objects
        WHERE project = {project:String} AND owner >= '{first}'""").fill(first=Sql(FIRST))
    if not reader.rows(condition + Sql(" LIMIT 1"), parameters):
        return owners
    sql = Sql("""
        SELECT DISTINCT owner FROM ({named_runs}) WHERE owner IN ({logged})
          AND lower(hex(trace_id)) IN {traces:Array(String)}
          AND ({run:String} = ''
            OR concat(lower(hex(trace_id)), '-', lower(hex(span_id))) = {run:String})
        LIMIT {owners}""").fill(named_runs=NAMED_RUNS, logged=condition, owners=_MOST_OWNERS)
    return [*owners, *(row["owner"] for row in reader.rows(sql, parameters))]


def _key_of(row: Row) -> _Key:
    return row["owner"], row["record_id"], row["position"]


def _key_parameters(key: _Key) -> dict[str, Any]:
    return dict(zip(("owner", "record", "position"), key, strict=True))


def _read_key(parts: Sequence[object]) -> _Key | None:
    match parts:
        case [str(owner), str(record_id), int(position)] if 0 <= position < 2**32:
            return owner, record_id, position
    return None


def _read_cursor(text: str) -> tuple[int, _Key]:
    time_ns, *parts = read_cursor(text, int, str, str, int, numbers=TIMES)
    if (key := _read_key(parts)) is None:
        raise bad_cursor(text)
    return time_ns, key


def read_image(reader: Reader, project: str, sha256: str) -> tuple[str, bytes]:
    """Return the PNG or JPEG image in a document. The first bytes decide the format.

    Returns:
        Media type and bytes of the image.

    Raises:
        Missing: There is no such document, it contains no PNG or JPEG, it is larger than 16 MiB, or
            the image has too many pixels.
        Unavailable: Too many images are being read.
    """
    if not _DECODERS.acquire(timeout=_WAIT_S):
        raise Unavailable("Too many images are being read. Try again later")
    try:
        document = open_document(reader, project, sha256)
        if document.size <= LARGEST_BYTES:
            content = _pixels(b"".join(document.parts))
            head = read_head(content)
            if head is not None and head.media_type in _SHOWN_TYPES and not head.why:
                return head.media_type, content
    finally:
        _DECODERS.release()
    raise Missing(
        f"Artifact {sha256} is no PNG or JPEG image of up to {LARGEST_BYTES} bytes and "
        f"{PIXELS} pixels"
    )


def why_no_image(reader: Reader, project: str, sha256: str) -> str:
    """Return why an image is not shown, as the end of a sentence; empty if it is shown.

    Reads only the beginning of the document.

    Raises:
        Missing: There is no such document.
    """
    document = open_document(reader, project, sha256)
    if document.size > LARGEST_BYTES:
        return f"it has more than {LARGEST_BYTES} bytes"
    beginning = next(document.parts, b"")
    head = read_head(beginning)
    if head is None:  # typed JSON
        match = _DATA.search(beginning)
        encoded = match[1] if match else b""
        head = read_head(base64.b64decode(encoded[: len(encoded) // 4 * 4]))
    if head is None or head.media_type not in _SHOWN_TYPES:
        return "it is neither PNG nor JPEG"
    return head.why


def _pixels(document: bytes) -> bytes:
    """Return the bytes of the image in a document; empty if it is not an image."""
    if read_head(document) is not None:
        return document
    try:
        form = orjson.loads(document)
    except orjson.JSONDecodeError:
        return b""
    match form:
        case {"type": str(kind), "params": {"data": str(data)}} if kind in IMAGE_TYPES:
            with suppress(binascii.Error, ValueError):
                return base64.b64decode(data, validate=True)
    return b""
