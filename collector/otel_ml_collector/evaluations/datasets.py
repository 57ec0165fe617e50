"""Queries about data sets, shared by the JSON API and the pages."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import orjson

from otel_ml.items import MANIFEST, digest_version, read_manifest
from otel_ml.records import ChangedItem, DatasetDiff, DatasetItem, DatasetVersion
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import read_cursor, write_place
from otel_ml_collector.errors import Missing, suggest
from otel_ml_collector.owners import own_dataset
from otel_ml_collector.store.facts import read_last_values
from otel_ml_collector.store.reader import Reader, Row, load_json
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tombstones import PROJECT
from otel_ml_collector.store.versions import read_versions
from otel_ml_collector.times import to_rfc3339

SHOWN: Final = 20
PAGE: Final = 1_000
_MOST_CHANGES: Final = 1_000
_PARTS_AT_ONCE: Final = 16
_MOST_VERSIONS_BACK: Final = 16

_DATASET_NAMES: Final = Sql("""
    SELECT name FROM model_versions
    WHERE project = {project:String} AND kind = 'dataset' AND last_seen_ns > 0
    GROUP BY name ORDER BY max(last_seen_ns) DESC, name LIMIT 1000""")
_MANIFEST_PARTS: Final = Sql("""
    SELECT owner, toUInt32OrZero(substring(ref, {behind})) AS part, any(json) AS document
    FROM objects
    WHERE project = {project:String} AND owner IN {owners:Array(String)}
      AND startsWith(ref, '{manifest}') AND json != ''
    GROUP BY owner, part""").fill(behind=len(MANIFEST) + 1, manifest=Sql(MANIFEST))
_SOME_PARTS: Final = Sql("""
    SELECT part, document FROM ({parts}) WHERE part >= {first:UInt32}
    ORDER BY part LIMIT {most}""").fill(parts=_MANIFEST_PARTS, most=_PARTS_AT_ONCE)
# Lines of manifests: an item's ID, a space, and its digest.
LINES: Final = Sql("""
    SELECT arrayJoin(splitByChar('\n', JSONExtractString(document))) AS line
    FROM ({parts}) WHERE line != ''""").fill(parts=_MANIFEST_PARTS)
# The sums change whenever a part of a manifest or an item is stored or deleted.
_DATASETS_STATE: Final = Sql("""
    SELECT (
      SELECT (count(), sum(cityHash64(owner, ref, rank, arrived_ns))) FROM objects
      WHERE project = {project:String} AND owner IN {owners:Array(String)}) AS manifests, (
      SELECT (count(), sum(cityHash64(rank, arrived_ns))) FROM items
      WHERE project = {project:String}) AS items""")
# For each manifest: its digest, its number of lines, and for how many of them the item is stored.
_STORED: Final = Sql("""
    SELECT owner, any(digest) AS manifest_digest, count() AS lines, countIf(right(line, 64) IN (
      SELECT digest FROM items WHERE project = {project:String})) AS stored
    FROM (
      SELECT owner, lower(hex(SHA256(manifest))) AS digest,
        arrayJoin(splitByChar('\n', manifest)) AS line
      FROM (
        SELECT owner, arrayStringConcat(arrayMap(entry -> entry.2, arraySort(
          groupArray((part, JSONExtractString(document)))))) AS manifest
        FROM ({parts}) GROUP BY owner))
    WHERE line != '' GROUP BY owner""").fill(parts=_MANIFEST_PARTS)
_NOTHING_STORED: Final[Row] = {"manifest_digest": digest_version({}), "lines": 0, "stored": 0}
_HAS_DELETIONS: Final = Sql("""
    SELECT 1 FROM deletions WHERE project = {project:String} AND kind != '{whole}'
    LIMIT 1""").fill(whole=Sql(PROJECT))
_CONTENT: Final = Sql("""
    SELECT digest, inputs, expected, tags, source_run, source_session, capture, is_whole
    FROM items
    WHERE project = {project:String} AND digest IN {digests:Array(String)}
    ORDER BY digest, rank DESC LIMIT 1 BY digest""")


class Datasets(AnswerBody):
    """Data sets, each as its newest complete version, or as its newest if none is complete."""

    datasets: list[DatasetVersion]


class DatasetVersions(AnswerBody):
    """Versions of a data set, newest first."""

    versions: list[DatasetVersion]
    next_cursor: str | None


class DatasetItems(AnswerBody):
    """Items of a version of a data set, ordered by ID."""

    version: DatasetVersion
    items: list[DatasetItem]
    next_cursor: str | None


def find_datasets(reader: Reader, project: str) -> list[DatasetVersion]:
    """List the data sets of a project, the one that was saved last first.

    Returns:
        For each data set, the newest version whose items are all stored. If there is no
        such version, the newest one.
    """
    return [listed.version for listed in list_datasets(reader, project)]


class ListedDataset(NamedTuple):
    """A data set in a list, and its newest version if that one is incomplete."""

    version: DatasetVersion
    incomplete: DatasetVersion | None


def list_datasets(reader: Reader, project: str) -> list[ListedDataset]:
    """List the data sets of a project like `find_datasets`."""
    order = [row["name"] for row in reader.rows(_DATASET_NAMES, {"project": project})]
    rows = read_dataset_versions(reader, project, order)
    newest = find_newest(reader, project, rows)
    last = {row["name"]: row for row in rows}
    shown = last | newest
    incomplete = {name: row for name, row in last.items() if row is not shown[name]}
    stored = count_stored(reader, project, [*shown.values(), *incomplete.values()])
    return [
        ListedDataset(
            make_version(shown[name], stored, is_newest=name in newest),
            make_version(incomplete[name], stored) if name in incomplete else None,
        )
        for name in order
        if name in shown
    ]


def find_newest(reader: Reader, project: str, rows: Sequence[Row]) -> dict[str, Row]:
    """Find the newest complete version of each data set, by name. Every change starts from it.

    A version is complete if its list of items and each of its items are stored. Items that were
    deleted with their run do not count as missing.

    Args:
        reader: The store.
        project: The project of the data sets.
        rows: Versions of data sets, the oldest of each first.

    Returns:
        The versions; nothing for a data set without a complete version.
    """
    versions: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        versions[row["name"]].append(row)
    newest: dict[str, Row] = {}
    depth = 1  # the newest version is almost always complete
    while versions:
        looked_at = [row for older in versions.values() for row in older[-depth:]]
        newest |= {row["name"]: row for row in _choose_whole(reader, project, looked_at)}
        older = {name: older[:-depth] for name, older in versions.items() if name not in newest}
        versions = defaultdict(list, {name: left for name, left in older.items() if left})
        depth = _MOST_VERSIONS_BACK
    return newest


def _choose_whole(reader: Reader, project: str, rows: Sequence[Row]) -> list[Row]:
    stored = count_stored(reader, project, rows)
    with_manifest = [row for row in rows if _has_manifest(row, stored)]
    with_items = [row for row in with_manifest if _has_items(row, stored)]
    if len(with_items) == len(with_manifest):
        return with_items
    has_deletions = reader.rows(_HAS_DELETIONS, {"project": project})
    return with_manifest if has_deletions else with_items


def find_version_before(reader: Reader, project: str, row: Row) -> Row | None:
    """Find the newest complete version that is older than a version of the same data set."""
    versions = read_dataset_versions(reader, project, [row["name"]])
    older = [version for version in versions if version["number"] < row["number"]]
    return find_newest(reader, project, older).get(row["name"])


def find_versions(
    reader: Reader, project: str, name: str, limit: int = SHOWN, cursor: str | None = None
) -> DatasetVersions:
    """List the versions of a data set with the changes of each, newest first.

    Raises:
        BadInput: The cursor is invalid.
        Missing: The data set does not exist.
    """
    return list_versions(reader, project, versions_of(reader, project, name), limit, cursor)


def list_versions(
    reader: Reader,
    project: str,
    versions: Sequence[Row],
    limit: int = SHOWN,
    cursor: str | None = None,
) -> DatasetVersions:
    """List versions like `find_versions`, from rows that were read before, oldest first."""
    rows = versions[::-1]
    if cursor is not None:
        (before,) = read_cursor(cursor, int)
        rows = [row for row in rows if row["number"] < before]
    shown = rows[:limit]
    looked_at = _add_version_before(reader, project, rows, limit)
    state = _read_state(reader, project, looked_at)
    stored = count_stored(reader, project, looked_at, state)
    changes = _read_changes(reader, project, looked_at, stored, state)
    metrics = _read_metrics(reader, project, shown)
    newest = [row["digest"] for row in find_newest(reader, project, versions).values()]
    items = [
        make_version(
            row,
            stored,
            metrics[row["digest"]],
            is_newest=row["digest"] in newest,
            **changes.get(row["digest"], {}),
        )
        for row in shown
    ]
    more = len(rows) > limit
    return DatasetVersions(
        versions=items, next_cursor=write_place([shown[-1]["number"]]) if more else None
    )


def _add_version_before(
    reader: Reader, project: str, rows: Sequence[Row], limit: int
) -> Sequence[Row]:
    """Return the versions of a page and older ones, up to one whose list of items is stored."""
    end = limit + 1
    while end < len(rows):
        looked_at = rows[limit:end]
        if any(_has_manifest(row, count_stored(reader, project, looked_at)) for row in looked_at):
            break
        end += _MOST_VERSIONS_BACK
    return rows[:end]


def find_items(
    reader: Reader,
    project: str,
    name: str,
    number: int,
    *,
    limit: int = PAGE,
    cursor: str | None = None,
) -> DatasetItems:
    """Read items of a version, ordered by ID.

    Raises:
        BadInput: The cursor is invalid.
        Missing: The version does not exist.
    """
    row = version_row(reader, project, name, number)
    return list_items(reader, project, row, limit=limit, cursor=cursor)


def list_items(
    reader: Reader, project: str, row: Row, *, limit: int = PAGE, cursor: str | None = None
) -> DatasetItems:
    """Read the items of a version whose row is known, like `find_items`."""
    part, line = read_cursor(cursor, int, int) if cursor else (0, 0)
    lines: list[tuple[str, str]] = []
    is_last = False
    while len(lines) <= limit and not is_last:
        values = {"project": project, "owners": _owners([row]), "first": part}
        rows = reader.rows(_SOME_PARTS, values)
        for item in rows:
            added = list(read_manifest(orjson.loads(item["document"])).items())[line:]
            room = limit - len(lines)
            lines += added[: room + 1]
            if len(added) > room:
                part, line = item["part"], line + room
                break
            part, line = item["part"] + 1, 0
        is_last = len(rows) < _PARTS_AT_ONCE
    return DatasetItems(
        version=make_version(row, count_stored(reader, project, [row])),
        items=read_items(reader, project, lines[:limit]),
        next_cursor=write_place([part, line]) if len(lines) > limit else None,
    )


def read_items(reader: Reader, project: str, lines: Sequence[tuple[str, str]]) -> list[DatasetItem]:
    """Read items by ID and digest, in the given order."""
    values = {"project": project, "digests": sorted({digest for _, digest in lines})}
    content = {row["digest"]: row for row in reader.rows(_CONTENT, values)} if lines else {}
    return [_make_item(line, digest, content.get(digest)) for line, digest in lines]


def find_digest(reader: Reader, project: str, name: str, digest: str) -> DatasetVersion:
    """Read the version with a digest that was just stored."""
    row = next(
        version for version in versions_of(reader, project, name) if version["digest"] == digest
    )
    return make_version(row, count_stored(reader, project, [row]))


def find_diff(reader: Reader, project: str, name: str, number: int, against: int) -> DatasetDiff:
    """Count and list the changes between two versions of a data set, in either order.

    Raises:
        Missing: A version does not exist.
    """
    rows = [version_row(reader, project, name, part) for part in (against, number)]
    manifests = read_manifests(reader, project, rows)
    older, newer = (manifests[row["digest"]] for row in rows)
    different = sorted(
        item for item in older.keys() | newer.keys() if older.get(item) != newer.get(item)
    )
    return DatasetDiff(
        name=name,
        version=number,
        against=against,
        **_count_changes(older, newer),
        items=[
            ChangedItem(id=item, digest=newer.get(item), before=older.get(item))
            for item in different[:_MOST_CHANGES]
        ],
    )


def _read_changes(
    reader: Reader, project: str, rows: Sequence[Row], stored: Mapping[str, Row], state: str
) -> dict[str, dict[str, int]]:
    """Count the changes of each version from the next older one, by digest.

    Versions without a complete list of items are skipped.

    Args:
        reader: The store.
        project: The project of the data set.
        rows: Versions of one data set, newest first.
        stored: Their counts from `count_stored`.
        state: State of these versions in the store.
    """

    def count() -> dict[str, dict[str, int]]:
        whole = [row for row in rows if _has_manifest(row, stored)]
        manifests = read_manifests(reader, project, whole)
        pairs = zip(whole, [*manifests.values(), {}][1:], strict=True)
        return {
            row["digest"]: _count_changes(older, manifests[row["digest"]]) for row, older in pairs
        }

    key = "changes", project, state, repr(_owners(rows))
    return reader.memory.work_out(key, count, len)


def _read_metrics(reader: Reader, project: str, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Read the data metrics of the items of versions, by digest and name."""
    metrics: dict[str, dict[str, float]] = {row["digest"]: {} for row in rows}
    digests = dict(zip(_owners(rows), metrics, strict=True))
    for row in read_last_values(reader, project, list(digests)) if rows else ():
        metrics[digests[row["owner"]]][row["name"]] = row["value"]
    return metrics


def _count_changes(older: Mapping[str, str], newer: Mapping[str, str]) -> dict[str, int]:
    kept = newer.keys() & older.keys()
    return {
        "added": len(newer) - len(kept),
        "removed": len(older) - len(kept),
        "changed": sum(newer[item] != older[item] for item in kept),
    }


_MADE_OF: Final = Sql("""
    SELECT digest FROM items WHERE project = {project:String} AND source_run = {run:String}
    LIMIT 1000""")
_HOLDING: Final = Sql("""
    SELECT owner, min(left(line, -65)) AS item FROM (
      SELECT owner, arrayJoin(splitByChar('\n', JSONExtractString(document))) AS line
      FROM ({parts}))
    WHERE right(line, 64) IN {digests:Array(String)} GROUP BY owner""").fill(parts=_MANIFEST_PARTS)


def find_datasets_of_run(reader: Reader, project: str, run_id: str) -> list[tuple[str, int, str]]:
    """Find the data sets whose newest version has an item made from a run.

    Returns:
        For each data set: its name, the number of that version, and the ID of the first such item.
    """
    rows = reader.rows(_MADE_OF, {"project": project, "run": run_id})
    if not rows:
        return []
    names = [row["name"] for row in reader.rows(_DATASET_NAMES, {"project": project})]
    newest = find_newest(reader, project, read_dataset_versions(reader, project, names))
    versions = {own_dataset(row["name"], row["digest"]): row for row in newest.values()}
    facts = {"owners": list(versions), "digests": [row["digest"] for row in rows]}
    stored_rows = reader.rows(_HOLDING, {"project": project, **facts})
    holding = [(versions[row["owner"]], row["item"]) for row in stored_rows]
    return sorted((version["name"], version["number"], item) for version, item in holding)


def read_dataset_versions(reader: Reader, project: str, wanted: Sequence[str]) -> list[Row]:
    """Read versions of data sets; for each data set, the oldest comes first."""
    return read_versions(reader, project, "dataset", wanted)


def versions_of(reader: Reader, project: str, name: str) -> list[Row]:
    """Read the versions of a data set, oldest first.

    Raises:
        Missing: The data set does not exist.
    """
    rows = read_dataset_versions(reader, project, [name])
    if not rows:
        near = suggest(name[:80], (dataset.name for dataset in find_datasets(reader, project)))
        raise Missing(f"Project {project!r} has no data set {name[:80]!r}: {near}")
    return rows


def version_row(reader: Reader, project: str, name: str, number: int) -> Row:
    """Read a version of a data set.

    Raises:
        Missing: The version does not exist.
    """
    return choose_version(versions_of(reader, project, name), name, number)


def choose_version(rows: Sequence[Row], name: str, number: int) -> Row:
    """Choose a version among those of a data set.

    Raises:
        Missing: The version does not exist.
    """
    for row in rows:
        if row["number"] == number:
            return row
    raise Missing(f"Data set {name[:80]!r} has no version {number}")


def _owners(rows: Sequence[Row]) -> list[str]:
    return [own_dataset(row["name"], row["digest"]) for row in rows]


def count_stored(
    reader: Reader, project: str, rows: Sequence[Row], state: str = ""
) -> dict[str, Row]:
    """Count how many items of data set versions are stored, to find incomplete versions.

    Two things are stored for each version: its items, and a list of the items. The list is stored
    in several parts. While records still arrive, items or parts of the list can be missing.

    Args:
        reader: The store.
        project: The project of the data sets.
        rows: The versions.
        state: A text that changes whenever the items or lists change. It is used as a cache key. If
            you have read it with `_read_state`, for these versions or for more, pass it here. If
            empty, this function reads it.

    Returns:
        A row for each version. The key is the text that `own_dataset` makes of the version's data
        set and digest. A version without any stored part of its list has no row. Each row has:

            * `lines`: Number of entries in the stored parts of the list.
            * `stored`: Number of these entries whose item is stored too.
            * `manifest_digest`: Digest of the stored list. It equals the digest of the version if
              the list is complete.
    """
    if not rows:
        return {}
    asked = {"project": project, "owners": _owners(rows)}
    counts = reader.memory.work_out(
        ("stored", project, state or _read_state(reader, project, rows), repr(_owners(rows))),
        lambda: reader.rows(_STORED, asked),
        len,
    )
    return {item["owner"]: item for item in counts}


def _read_state(reader: Reader, project: str, rows: Sequence[Row]) -> str:
    """Read a text that changes whenever these lists of items, or any item, change. A cache key."""
    return repr(reader.rows(_DATASETS_STATE, {"project": project, "owners": _owners(rows)}))


def read_manifests(reader: Reader, project: str, rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """Read the lists of items of versions: for each version's digest, item digests by item ID."""
    if not rows:
        return {}
    sql = _MANIFEST_PARTS + Sql(" ORDER BY owner, part")
    texts = {row["digest"]: "" for row in rows}
    digests = {own_dataset(row["name"], row["digest"]): row["digest"] for row in rows}
    for part in reader.rows(sql, {"project": project, "owners": _owners(rows)}):
        texts[digests[part["owner"]]] += orjson.loads(part["document"])
    return {digest: read_manifest(text) for digest, text in texts.items()}


def make_version(
    row: Row,
    stored: Mapping[str, Row],
    metrics: Mapping[str, float] = MappingProxyType({}),
    *,
    added: int | None = None,
    removed: int | None = None,
    changed: int | None = None,
    is_newest: bool | None = None,
) -> DatasetVersion:
    """Make the API's description of a version from its row and the counts of `count_stored`."""
    document = load_json(row["definition"], {})
    document = document if isinstance(document, dict) else {}
    here = _stored_of(row, stored)
    wanted = document.get("items")
    items = wanted if isinstance(wanted, int) else here["lines"]
    is_counted = isinstance(wanted, int)
    return DatasetVersion(
        name=row["name"],
        version=row["number"],
        digest=row["digest"],
        description=str(document.get("description") or ""),
        items=items,
        stored=here["stored"],
        is_complete=is_counted and items == here["lines"] == here["stored"],
        is_newest=is_newest,
        added=added,
        removed=removed,
        changed=changed,
        reason=str(document.get("reason") or ""),
        metrics=dict(metrics),
        time=to_rfc3339(row["first_ns"]),
    )


def _stored_of(row: Row, stored: Mapping[str, Row]) -> Row:
    return stored.get(own_dataset(row["name"], row["digest"]), _NOTHING_STORED)


def _has_manifest(row: Row, stored: Mapping[str, Row]) -> bool:
    return bool(_stored_of(row, stored)["manifest_digest"] == row["digest"])


def _has_items(row: Row, stored: Mapping[str, Row]) -> bool:
    counts = _stored_of(row, stored)
    return bool(counts["lines"] == counts["stored"])


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
        source_session=row["source_session"] or None,
        is_here=True,
        is_whole=row["is_whole"],
        left_out=left_out if isinstance(left_out, dict) else {},
    )
