"""Data sets: their versions, what is in each, what changed between two, and new ones."""

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from starlette.responses import Response

from otel_ml import attributes as names
from otel_ml.items import (
    ID_CHARS,
    ID_WANTED,
    MANIFEST,
    digest_item,
    digest_version,
    is_item_id,
    name_items,
    read_manifest,
    split_manifest,
    write_manifest,
)
from otel_ml.records import (
    ACTUAL_NAME,
    ChangedItem,
    DatasetDiff,
    DatasetItem,
    DatasetVersion,
    TagValue,
)
from otel_ml_collector import feedback
from otel_ml_collector.access import ANNOTATE, Access
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import Cursor, FromReader, needs, read_cursor, write_place
from otel_ml_collector.errors import BadQuery, NotFound, Outdated
from otel_ml_collector.owners import own_dataset
from otel_ml_collector.receive.pipeline import Intake
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.answers import Run
from otel_ml_collector.services import find_service, service_of
from otel_ml_collector.store.reader import Reader, Row, load_json
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.statistics import read_versions
from otel_ml_collector.times import from_rfc3339, to_rfc3339
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, python_call, show_page

_KIND: Final = "dataset"
_SHOWN: Final = 20
_PAGE: Final = 1_000
_MOST_ITEMS: Final = 10_000
_MOST_CHANGES: Final = 1_000
_MOST_NEW: Final = 1_000
_PARTS_A_RECORD: Final = 8
_PARTS_AT_ONCE: Final = 16
_ON_A_PAGE: Final = 50
_MOST_RUNS: Final = 100

_NAMES: Final = Sql("""
    SELECT name FROM model_versions
    WHERE project = {project:String} AND kind = 'dataset' AND last_seen_ns > 0
    GROUP BY name ORDER BY max(last_seen_ns) DESC, name LIMIT 1000""")
_PARTS: Final = Sql("""
    SELECT owner, toUInt32OrZero(substring(ref, {behind})) AS part, any(json) AS document
    FROM objects
    WHERE project = {project:String} AND owner IN {owners:Array(String)}
      AND startsWith(ref, '{manifest}') AND json != ''
    GROUP BY owner, part""").fill(behind=len(MANIFEST) + 1, manifest=Sql(MANIFEST))
_SOME_PARTS: Final = Sql("""
    SELECT part, document FROM ({parts}) WHERE part >= {first:UInt32}
    ORDER BY part LIMIT {most}""").fill(parts=_PARTS, most=_PARTS_AT_ONCE)
# How many lines of manifests there are, and of how many of these the item is here.
_STORED: Final = Sql("""
    SELECT owner, count() AS lines, countIf(right(line, 64) IN (
      SELECT digest FROM items WHERE project = {project:String})) AS stored
    FROM (
      SELECT owner, arrayJoin(splitByChar('\n', JSONExtractString(document))) AS line
      FROM ({parts}))
    WHERE line != '' GROUP BY owner""").fill(parts=_PARTS)
_CONTENT: Final = Sql("""
    SELECT digest, inputs, expected, tags, source_run, capture, is_whole FROM items
    WHERE project = {project:String} AND digest IN {digests:Array(String)}
    ORDER BY digest, rank DESC LIMIT 1 BY digest""")
_KNOWN: Final = Sql("""
    SELECT DISTINCT digest FROM items
    WHERE project = {project:String} AND digest IN {digests:Array(String)}""")

api = APIRouter(prefix="/api/v1")
writes = APIRouter(prefix="/api/v1", route_class=JsonRoute)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


class Datasets(BaseModel):
    """Data sets, each as its newest version; its number is how many versions there are."""

    datasets: list[DatasetVersion]


class DatasetVersions(BaseModel):
    """Versions of a data set, newest first."""

    versions: list[DatasetVersion]
    next_cursor: str | None


class DatasetItems(BaseModel):
    """Items of a version of a data set, in the order of their ids."""

    version: DatasetVersion
    items: list[DatasetItem]
    next_cursor: str | None


def find_datasets(reader: Reader, project: str) -> list[DatasetVersion]:
    """List the data sets of a project, each as its newest version, the last told first."""
    order = [row["name"] for row in reader.rows(_NAMES, {"project": project})]
    newest = {row["name"]: row for row in _read_versions(reader, project, order)}
    stored = _count_stored(reader, project, list(newest.values()))
    return [_make_version(newest[name], stored) for name in order if name in newest]


def find_versions(
    reader: Reader, project: str, name: str, limit: int = _SHOWN, cursor: str | None = None
) -> DatasetVersions:
    """List the versions of a data set with what each changed, newest first.

    Raises:
        BadQuery: The cursor is wrong.
        NotFound: There is no such data set.
    """
    rows = _versions_of(reader, project, name)[::-1]
    if cursor is not None:
        (before,) = read_cursor(cursor, int)
        rows = [row for row in rows if row["number"] < before]
    shown = rows[:limit]
    stored = _count_stored(reader, project, shown)
    manifests = _read_manifests(reader, project, rows[: limit + 1])
    found = []
    for place, row in enumerate(shown):
        before_row = rows[place + 1] if place + 1 < len(rows) else None
        older = manifests[before_row["digest"]] if before_row else {}
        newer = manifests[row["digest"]]
        found.append(_make_version(row, stored, **_count_changes(older, newer)))
    more = len(rows) > limit
    return DatasetVersions(
        versions=found, next_cursor=write_place([shown[-1]["number"]]) if more else None
    )


def find_items(
    reader: Reader,
    project: str,
    name: str,
    number: int,
    *,
    limit: int = _PAGE,
    cursor: str | None = None,
) -> DatasetItems:
    """Read items of a version, in the order of their ids.

    Raises:
        BadQuery: The cursor is wrong.
        NotFound: There is no such version.
    """
    row = _version_row(reader, project, name, number)
    part, line = read_cursor(cursor, int, int) if cursor else (0, 0)
    lines: list[tuple[str, str]] = []
    is_last = False
    while len(lines) <= limit and not is_last:
        values = {"project": project, "owners": [own_dataset(name, row["digest"])], "first": part}
        found = reader.rows(_SOME_PARTS, values)
        for one in found:
            added = list(read_manifest(orjson.loads(one["document"])).items())[line:]
            room = limit - len(lines)
            lines += added[: room + 1]
            if len(added) > room:
                part, line = one["part"], line + room
                break
            part, line = one["part"] + 1, 0
        is_last = len(found) < _PARTS_AT_ONCE
    shown = lines[:limit]
    values = {"project": project, "digests": sorted({digest for _, digest in shown})}
    content = {one["digest"]: one for one in reader.rows(_CONTENT, values)} if shown else {}
    return DatasetItems(
        version=_make_version(row, _count_stored(reader, project, [row])),
        items=[_make_item(one, digest, content.get(digest)) for one, digest in shown],
        next_cursor=write_place([part, line]) if len(lines) > limit else None,
    )


def find_diff(reader: Reader, project: str, name: str, number: int, against: int) -> DatasetDiff:
    """Tell what changed between two versions of a data set, whichever came first.

    Raises:
        NotFound: One of them is not there.
    """
    rows = [_version_row(reader, project, name, one) for one in (against, number)]
    manifests = _read_manifests(reader, project, rows)
    older, newer = (manifests[row["digest"]] for row in rows)
    different = sorted(
        one for one in older.keys() | newer.keys() if older.get(one) != newer.get(one)
    )
    return DatasetDiff(
        name=name,
        version=number,
        against=against,
        **_count_changes(older, newer),
        items=[
            ChangedItem(id=one, digest=newer.get(one), before=older.get(one))
            for one in different[:_MOST_CHANGES]
        ],
    )


def _count_changes(older: Mapping[str, str], newer: Mapping[str, str]) -> dict[str, int]:
    kept = newer.keys() & older.keys()
    return {
        "added": len(newer) - len(kept),
        "removed": len(older) - len(kept),
        "changed": sum(newer[one] != older[one] for one in kept),
    }


def _read_versions(reader: Reader, project: str, wanted: Sequence[str]) -> list[Row]:
    """Read versions of some data sets, of each the oldest first."""
    return read_versions(reader, project, _KIND, wanted)


def _versions_of(reader: Reader, project: str, name: str) -> list[Row]:
    rows = _read_versions(reader, project, [name])
    if not rows:
        raise NotFound(f"Project {project!r} has no data set {name[:80]!r}")
    return rows


def _version_row(reader: Reader, project: str, name: str, number: int) -> Row:
    for row in _versions_of(reader, project, name):
        if row["number"] == number:
            return row
    raise NotFound(f"Data set {name[:80]!r} has no version {number}")


def _owners(rows: Sequence[Row]) -> list[str]:
    return [own_dataset(row["name"], row["digest"]) for row in rows]


def _count_stored(reader: Reader, project: str, rows: Sequence[Row]) -> dict[str, Row]:
    """Count the items of some versions, and those that are here, by owner."""
    if not rows:
        return {}
    found = reader.rows(_STORED, {"project": project, "owners": _owners(rows)})
    return {one["owner"]: one for one in found}


def _read_manifests(reader: Reader, project: str, rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """Read the digests of the items of some versions of one data set, as far as they are here."""
    if not rows:
        return {}
    sql = _PARTS + Sql(" ORDER BY owner, part")
    texts = {row["digest"]: "" for row in rows}
    digests = {own_dataset(row["name"], row["digest"]): row["digest"] for row in rows}
    for part in reader.rows(sql, {"project": project, "owners": _owners(rows)}):
        texts[digests[part["owner"]]] += orjson.loads(part["document"])
    return {digest: read_manifest(text) for digest, text in texts.items()}


def _make_version(
    row: Row,
    stored: Mapping[str, Row],
    *,
    added: int | None = None,
    removed: int | None = None,
    changed: int | None = None,
) -> DatasetVersion:
    told = load_json(row["definition"], {})
    told = told if isinstance(told, dict) else {}
    here = stored.get(own_dataset(row["name"], row["digest"]), {"lines": 0, "stored": 0})
    wanted = told.get("items")
    items = wanted if isinstance(wanted, int) else here["lines"]
    is_told = isinstance(wanted, int)
    return DatasetVersion(
        name=row["name"],
        version=row["number"],
        digest=row["digest"],
        description=str(told.get("description") or ""),
        items=items,
        stored=here["stored"],
        is_complete=is_told and items == here["lines"] == here["stored"],
        added=added,
        removed=removed,
        changed=changed,
        time=to_rfc3339(row["first_ns"]),
    )


def _make_item(item_id: str, digest: str, row: Row | None) -> DatasetItem:
    if row is None:
        return DatasetItem(id=item_id, digest=digest, is_here=False, is_whole=False)
    left_out = load_json(row["capture"], {})
    return DatasetItem(
        id=item_id,
        digest=digest,
        inputs=load_json(row["inputs"]),
        expected=load_json(row["expected"]),
        tags=load_json(row["tags"], {}),
        source_run=row["source_run"] or None,
        is_here=True,
        is_whole=row["is_whole"],
        left_out=left_out if isinstance(left_out, dict) else {},
    )


def _check_id(value: object) -> str:
    if value != "" and not is_item_id(value):
        raise ValueError(f"expected {ID_WANTED}")
    return str(value)


class WantedItem(BaseModel):
    """An item that is to be in the new version, in the place of one of its id."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, PlainValidator(_check_id), Field(max_length=ID_CHARS)] = Field(
        default="", description="One line; the start of the digest of its inputs unless told"
    )
    inputs: Any = Field(description="What goes in, by name, or as a whole")
    expected: Any = Field(default=None, description="What is right; null for nothing told")
    tags: dict[Annotated[str, Field(min_length=1, max_length=256)], TagValue] = Field(
        default_factory=dict
    )
    source_run: Annotated[str, Field(pattern=r"^([0-9a-f]{32}-[0-9a-f]{16})?$")] = Field(
        default="", description="The id of the run that it was made of"
    )


class WantedItems(BaseModel):
    """What the new version of a data set has otherwise than the one it is made from."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[WantedItem], Field(max_length=_MOST_NEW)] = Field(
        default_factory=list, description="Items that are added, or take the place of one"
    )
    remove: Annotated[list[str], Field(max_length=_MOST_ITEMS)] = Field(
        default_factory=list, description="Ids of items that are left out"
    )
    description: Annotated[str, Field(max_length=10_000)] | None = Field(
        default=None, description="Of the data set; as it was unless told"
    )


class WantedRuns(BaseModel):
    """Recorded runs that are to be items of the new version."""

    model_config = ConfigDict(extra="forbid")

    run_ids: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=_MOST_RUNS)] = (
        Field(default_factory=list, description="Which; none for those that match")
    )
    where: Annotated[str, Field(max_length=4_000)] = Field(
        default="", description="A filter: the newest 100 runs that match"
    )
    start: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="They began then or later, RFC 3339"
    )
    end: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="They began before then"
    )
    roots: bool = Field(default=False, description="Only runs that stand inside no other one")
    expected: Literal["nothing", "outputs", "actual", "given"] = Field(
        default="nothing", description="What is right: what was answered, the truth that came, ..."
    )
    given: Any = Field(default=None, description="What is right, where `expected` is given")


class SavedRuns(BaseModel):
    """What became of runs that were to be items."""

    version: DatasetVersion
    items: int = Field(description="How many became items")
    left_out: dict[str, int] = Field(description="How many did not, by the reason")


def _read_runs(
    reader: Reader, project: str, wanted: WantedRuns, now_ns: int
) -> tuple[list[WantedItem], dict[str, int]]:
    """Make items of recorded runs, and count those that can be none by the reason."""
    if wanted.run_ids:
        found = [runs.find_run(reader, one, project, now_ns=now_ns) for one in wanted.run_ids]
    else:
        query = runs.RunsQuery(
            project,
            wanted.where,
            limit=_MOST_RUNS,
            start_ns=from_rfc3339(wanted.start, "start") if wanted.start else 0,
            end_ns=from_rfc3339(wanted.end, "end") if wanted.end else None,
            roots=wanted.roots,
        )
        listed = runs.find_runs(reader, query, now_ns).runs
        found = [*runs.find_whole_runs(reader, listed, now_ns)]
    items, left_out = [], Counter[str]()
    for run in found:
        item = _item_of(run, wanted)
        if isinstance(item, str):
            left_out[item] += 1
        else:
            items.append(item)
    if not items:
        told = ", ".join(f"{count} {why}" for why, count in left_out.items()) or "none matches"
        raise BadQuery(f"None of these runs can be an item: {told}", "run_ids")
    return items, dict(left_out)


def _item_of(run: Run, wanted: WantedRuns) -> WantedItem | str:
    """Make an item of a run, or say why it can be none."""
    if run.inputs is None:
        return "without inputs"
    if run.capture.get("inputs"):
        return f"with inputs {' and '.join(run.capture['inputs']).replace('_', ' ')}"
    right = wanted.given if wanted.expected == "given" else None
    if wanted.expected == "outputs":
        if run.outcome != "ok" or run.capture.get("outputs"):
            return "without a whole output"
        right = run.outputs
    elif wanted.expected == "actual":
        if ACTUAL_NAME not in run.truth:
            return "without a truth"
        right = run.truth[ACTUAL_NAME]
    tags = {name: value for name, value in run.tags.items() if not isinstance(value, dict | list)}
    return WantedItem(inputs=run.inputs, expected=right, tags=tags, source_run=run.run_id)


def _make_change(
    reader: Reader, project: str, name: str, wanted: WantedItems, base: str | None
) -> tuple[str, bytes]:
    """Write the records of a new version.

    Returns:
        Its digest, and an OTLP request in JSON.

    Raises:
        BadQuery: An id is given twice, or is to be removed and is not there.
        NotFound: It is to be made from a version of a data set that is not there.
        Outdated: It is to be made from a version that is not the newest, or is not whole.
    """
    rows = _read_versions(reader, project, [name])
    newest = rows[-1] if rows else None
    if base is not None and base != "*":
        number = newest["number"] if newest else 0
        if base.strip('"').removeprefix("v") != str(number):
            raise Outdated(f"The newest version of {name[:80]!r} is {number}, not {base[:20]}")
    digests: dict[str, str] = {}
    told: dict[str, Any] = {}
    if newest is not None:
        digests = _read_manifests(reader, project, [newest])[newest["digest"]]
        told = load_json(newest["definition"], {})
        if digest_version(digests) != newest["digest"]:
            raise Outdated(f"Version {newest['number']} of {name[:80]!r} is not here as a whole")
    for place, gone in enumerate(wanted.remove):
        if digests.pop(gone, None) is None:
            raise BadQuery(f"There is no item {gone[:80]!r}", f"remove.{place}")
    added = [digest_item(one.inputs, one.expected, one.tags) for one in wanted.items]
    ids = name_items(
        [(one.id, one.inputs, own) for one, own in zip(wanted.items, added, strict=True)]
    )
    for place, (item_id, digest) in enumerate(zip(ids, added, strict=True)):
        if item_id in ids[:place] and digests[item_id] != digest:
            raise BadQuery(
                f"Two items are called {item_id[:80]!r}: {digests[item_id][:16]} and {digest[:16]}",
                f"items.{place}.id",
            )
        digests[item_id] = digest
    description = told.get("description", "") if wanted.description is None else wanted.description
    known = set()
    if added:
        values = {"project": project, "digests": sorted(set(added))}
        known = {row["digest"] for row in reader.rows(_KNOWN, values)}
    now_ns = time.time_ns()
    spans = [
        _span_of_item(project, one, digest, now_ns)
        for one, digest in zip(wanted.items, added, strict=True)
        if digest not in known
    ]
    spans += _spans_of_version(project, name, digests, description, now_ns)
    return digest_version(digests), orjson.dumps(feedback.make_request(spans))


def _span_of_item(project: str, item: WantedItem, digest: str, now_ns: int) -> dict[str, Any]:
    told: dict[str, object] = {
        names.RECORD: "item",
        names.PROJECT: project,
        names.ITEM_DIGEST: digest,
        names.INPUTS: orjson.dumps(item.inputs).decode(),
        names.ITEM_EXPECTED: orjson.dumps(item.expected).decode(),
        names.ITEM_SOURCE_RUN: item.source_run or None,
        **{f"{names.TAG_PREFIX}{name}": value for name, value in item.tags.items()},
    }
    identity = feedback.identify(project, f"item {digest}")
    return feedback.make_span("otel_ml.item", identity, now_ns, told)


def _spans_of_version(
    project: str, name: str, digests: Mapping[str, str], description: str, now_ns: int
) -> list[dict[str, Any]]:
    version, parts = digest_version(digests), split_manifest(write_manifest(digests))
    definition = {"items": len(digests), "parts": len(parts), "description": description}
    told: dict[str, object] = {
        names.RECORD: "update",
        names.PROJECT: project,
        names.TARGET_KIND: _KIND,
        names.TARGET_MODEL: name,
        names.TARGET_VERSION: version,
        names.MODEL_DEFINITION: orjson.dumps(definition).decode(),
    }
    spans = []
    for first in range(0, len(parts), _PARTS_A_RECORD):
        identity = feedback.identify(project, f"dataset {name} {version} {first}")
        span = feedback.make_span("otel_ml.update", identity, now_ns, told)
        span["events"] = [
            _manifest_event(place, part, now_ns)
            for place, part in enumerate(parts[first : first + _PARTS_A_RECORD], first)
        ]
        spans.append(span)
    return spans


def _manifest_event(place: int, part: str, now_ns: int) -> dict[str, Any]:
    document = orjson.dumps(part)
    told = {
        names.ARTIFACT_REF: f"{MANIFEST}{place}",
        names.ARTIFACT_JSON: document.decode(),
        names.ARTIFACT_SHA256: hashlib.sha256(document).hexdigest(),
    }
    return {
        "name": names.ARTIFACT_EVENT,
        "timeUnixNano": str(now_ns),
        "attributes": [{"key": key, "value": {"stringValue": text}} for key, text in told.items()],
    }


@api.get("/projects/{project:path}/datasets")
def get_datasets(project: str, reader: FromReader) -> Datasets:
    """List the data sets of a project, each as its newest version, the last told first."""
    return Datasets(datasets=find_datasets(reader, project))


@api.get("/projects/{project:path}/datasets/{name:path}/versions")
def get_dataset_versions(
    project: str,
    name: str,
    reader: FromReader,
    limit: Annotated[int, Query(ge=1, le=100)] = _SHOWN,
    cursor: Cursor = None,
) -> DatasetVersions:
    """List the versions of a data set with what each changed, newest first."""
    return find_versions(reader, project, name, limit, cursor)


@api.get("/projects/{project:path}/datasets/{name:path}/versions/{number}/items")
def get_dataset_items(
    *,
    project: str,
    name: str,
    number: int,
    reader: FromReader,
    limit: Annotated[int, Query(ge=1, le=_MOST_ITEMS)] = _PAGE,
    cursor: Cursor = None,
) -> DatasetItems:
    """Read items of a version of a data set, in the order of their ids."""
    return find_items(reader, project, name, number, limit=limit, cursor=cursor)


@api.get("/projects/{project:path}/datasets/{name:path}/versions/{number}/diff")
def get_dataset_diff(
    project: str,
    name: str,
    number: int,
    reader: FromReader,
    against: Annotated[int, Query(ge=1, description="The other version's number")],
) -> DatasetDiff:
    """Tell what a version of a data set has otherwise than another one."""
    return find_diff(reader, project, name, number, against)


@writes.post("/projects/{project:path}/datasets/{name:path}/items")
async def post_items(
    *,
    project: str,
    name: str,
    wanted: WantedItems,
    request: Request,
    pipeline: Annotated[Intake, Depends(service_of(Intake))],
    access: Annotated[Access, Depends(needs(ANNOTATE))],
    if_match: Annotated[
        str | None,
        Header(description="The number of the version that it is made from, 0 for a new data set"),
    ] = None,
) -> DatasetVersion:
    """Make a new version of a data set of its newest one; answered when it is durable.

    What is the same as a version that is there is that version.
    """
    reader = find_service(request, Reader).narrow(access)
    with pipeline.hold() as held:
        digest, body = await run_sync(_make_change, reader, project, name, wanted, if_match)
        await feedback.store_request(pipeline, held, body, access, project)
    return await run_sync(_find_digest, reader, project, name, digest)


@writes.post("/projects/{project:path}/datasets/{name:path}/runs")
async def post_runs(
    *,
    project: str,
    name: str,
    wanted: WantedRuns,
    request: Request,
    pipeline: Annotated[Intake, Depends(service_of(Intake))],
    access: Annotated[Access, Depends(needs(ANNOTATE))],
) -> SavedRuns:
    """Make items of recorded runs, which keep the ids of these, in a new version of a data set.

    Runs without whole inputs are left out and counted. An item takes the place of one with the
    same inputs. Answered when it is durable.
    """
    reader = find_service(request, Reader).narrow(access)
    items, left_out = await run_sync(_read_runs, reader, project, wanted, time.time_ns())
    change = WantedItems(items=items)
    with pipeline.hold() as held:
        digest, body = await run_sync(_make_change, reader, project, name, change, None)
        await feedback.store_request(pipeline, held, body, access, project)
    version = await run_sync(_find_digest, reader, project, name, digest)
    return SavedRuns(version=version, items=len(items), left_out=left_out)


def _find_digest(reader: Reader, project: str, name: str, digest: str) -> DatasetVersion:
    row = next(one for one in _versions_of(reader, project, name) if one["digest"] == digest)
    return _make_version(row, _count_stored(reader, project, [row]))


@pages.get("/projects/{project:path}/datasets")
def list_datasets(request: Request, project: str, reader: FromReader) -> Response:
    """The data sets of a project."""
    context = {
        "project": project,
        "datasets": find_datasets(reader, project),
        "api": view.api_address("projects", project, "datasets"),
        "python": python_call("datasets"),
    }
    return show_page(request, "datasets.html", context)


@pages.get("/projects/{project:path}/datasets/{name:path}")
def show_dataset(
    *,
    request: Request,
    project: str,
    name: str,
    reader: FromReader,
    version: Annotated[int | None, Query(ge=1)] = None,
    cursor: Cursor = None,
    versions: Cursor = None,
) -> Response:
    """One data set: its versions with what each changed, and the items of one of them."""
    newest = _versions_of(reader, project, name)[-1]["number"]
    shown = find_versions(reader, project, name, cursor=versions)
    number = version or newest
    found = find_items(reader, project, name, number, limit=_ON_A_PAGE, cursor=cursor)
    path = ("projects", project, "datasets", name, "versions", str(number), "items")
    context = {
        "project": project,
        "chosen": found.version,
        "newest": newest,
        "versions": shown.versions,
        "older": shown.next_cursor,
        "items": found.items,
        "next_cursor": found.next_cursor,
        "inputs_of": lambda item: _line(item.inputs) if item.is_here else "",
        "expected_of": lambda item: "–" if item.expected is None else _line(item.expected),
        "api": view.api_address(*path, limit=_ON_A_PAGE),
        "python": python_call("dataset_items", name, number),
    }
    return show_page(request, "dataset.html", context)


def _line(value: object) -> str:
    """Write a value of an item as one line: a text as it is, all else as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
