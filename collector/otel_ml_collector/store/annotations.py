"""Finds trace keys and tags that have late records, and the runs that they mean.

The function `resolution.name_owners` decides which runs a key or tag means.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Final

from otel_ml.records import ArtifactRecord, LateLog, LateTag, Metric
from otel_ml_collector.owners import FIRST, KEY, TAG, own_key, own_tag
from otel_ml_collector.records import Records
from otel_ml_collector.resolution import name_owners
from otel_ml_collector.store.call_runs import (
    IN_PROJECTS,
    TaggedRuns,
    Trace,
    divide,
    group_by_trace,
    ids_of,
    read_rows,
)
from otel_ml_collector.store.connection import Memory
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.sql import Sql, StoreClient, join_sql
from otel_ml_collector.store.tables import LATE_LOGS, LATE_TAGS, METRICS, OBJECTS
from otel_ml_collector.store.targets import TAG_TEXT

# Record kinds in `Memory`. `ANNOTATED`: keys or tags of the project have late records, even if
# these mean no runs. `QUIET`: there were none at the last check.
ANNOTATED: Final = "annotated"
QUIET: Final = "quiet"
LATE_TABLES: Final = (LATE_LOGS, LATE_TAGS, METRICS, OBJECTS)
IS_OF_KEY_OR_TAG: Final = Sql("(startsWith(owner, '{key}') OR startsWith(owner, '{tag}'))").fill(
    key=Sql(KEY), tag=Sql(TAG)
)


def late_records(columns: Sql, where: Sql) -> Sql:
    """Write the SQL for records about keys and tags."""
    rows = Sql("SELECT {columns} FROM {table} WHERE {where}")
    return join_sql(
        " UNION ALL ",
        [rows.fill(columns=columns, table=table.sql, where=where) for table in LATE_TABLES],
    )


# Keys of traces, and late tags of their runs as text.
_KEYS_AND_LATE_TAGS: Final = Sql("""
    SELECT toString(project) AS project, lower(hex(trace_id)) AS trace_id, '' AS span_id,
      key AS text FROM trace_keys
    WHERE {wanted} AND trace_id IN (
      SELECT toFixedString(unhex(arrayJoin({traces:Array(String)})), 16))
    UNION ALL
    SELECT toString(project), substring(owner, 1, 32), substring(owner, 34), {text} FROM late_tags
    WHERE {wanted} AND owner IN {runs:Array(String)}""")
_TAG_OF: Final = Sql("concat(name, '=', {text})").fill(text=TAG_TEXT.fill(value=Sql("value")))
_KEYS_AND_TAGS: Final = _KEYS_AND_LATE_TAGS.fill(wanted=IN_PROJECTS, text=_TAG_OF)
_ANNOTATED_AMONG: Final = Sql(
    "SELECT DISTINCT toString(project) AS project, owner FROM ({annotated})"
).fill(
    annotated=late_records(
        Sql("project, owner"), IN_PROJECTS + Sql(" AND owner IN {owners:Array(String)}")
    )
)
# Traces with one of these keys, or with a run that has some of these tags.
_KEYED: Final = Sql("""
    SELECT DISTINCT toString(project) AS project, lower(hex(trace_id)) AS trace_id, [key] AS texts
    FROM trace_index WHERE {wanted} AND key IN {keys:Array(String)}
      AND trace_id != toFixedString('', 16)""").fill(wanted=IN_PROJECTS)
_WITH_TAGS: Final = Sql("""
    SELECT DISTINCT toString(project) AS project, lower(hex(trace_id)) AS trace_id, texts FROM (
      SELECT project, trace_id, arrayIntersect(tag_kv, {tags:Array(String)}) AS texts
      FROM {deliveries} WHERE {wanted} AND hasAny(tag_kv, {tags:Array(String)})
      UNION ALL
      SELECT project, trace_id, arrayIntersect(tag_kv, {tags:Array(String)}) AS texts
      FROM open_runs WHERE {wanted} AND hasAny(tag_kv, {tags:Array(String)})
      UNION ALL
      SELECT project, toFixedString(unhex(substring(owner, 1, 32)), 16), [{text}] FROM late_tags
      WHERE {wanted} AND owner < '{first}' AND name IN {names:Array(String)}
        AND {text} IN {tags:Array(String)})""").fill(
    deliveries=DELIVERIES, wanted=IN_PROJECTS, first=Sql(FIRST), text=_TAG_OF
)
_ANNOTATED_PROJECTS: Final = Sql(
    "SELECT DISTINCT toString(project) AS project FROM ({annotated})"
).fill(
    annotated=late_records(Sql("DISTINCT project"), IN_PROJECTS + Sql(" AND ") + IS_OF_KEY_OR_TAG)
)


def find_naming_owners(
    client: StoreClient, traces: Mapping[Trace, TaggedRuns]
) -> dict[Trace, Mapping[bytes, Sequence[str]]]:
    """Find the keys and tags with late records that mean runs of these traces."""
    if not traces:
        return {}
    runs = [
        f"{of}-{run.span_id.hex()}" for (_, of), tagged in traces.items() for run in tagged.runs
    ]
    rows = group_by_trace(read_rows(client, _KEYS_AND_TAGS, {**ids_of(traces), "runs": runs}))
    keys = {
        trace: {trace[1], *(row["text"] for row in rows.get(trace, ()) if not row["span_id"])}
        for trace in traces
    }
    tags = {trace: {**tagged.tags} for trace, tagged in traces.items()}
    for trace, texts in tags.items():
        for row in rows.get(trace, ()):
            if row["span_id"]:
                span_id = bytes.fromhex(row["span_id"])
                texts[span_id] = [*texts.get(span_id, ()), row["text"]]
    asked = {
        *map(own_key, chain.from_iterable(keys.values())),
        *(own_tag(text) for texts in tags.values() for text in chain.from_iterable(texts.values())),
    }
    projects = ids_of(traces)["projects"]
    annotated: defaultdict[str, set[str]] = defaultdict(set)
    for part in divide(sorted(asked)):
        for row in read_rows(client, _ANNOTATED_AMONG, {"projects": projects, "owners": part}):
            annotated[row["project"]].add(row["owner"])
    owners_of = {
        trace: name_owners(tagged.runs, tags[trace], keys[trace], annotated[trace[0]])
        for trace, tagged in traces.items()
    }
    return {trace: owners for trace, owners in owners_of.items() if owners}


def find_named_traces(
    client: StoreClient, annotated: Mapping[str, Collection[str]]
) -> dict[Trace, set[str]]:
    """Find the traces with runs that these keys and tags mean.

    Returns:
        For each trace, the keys and tags that it has.
    """
    traces: defaultdict[Trace, set[str]] = defaultdict(set)
    pairs = sorted((project, owner) for project, owners in annotated.items() for owner in owners)
    for part in divide(pairs):
        keys = {(of, owner[len(KEY) :]) for of, owner in part if owner.startswith(KEY)}
        tags = {(of, owner[len(TAG) :]) for of, owner in part if owner.startswith(TAG)}
        for sql, name, texts, own in (
            (_KEYED, "keys", keys, own_key),
            (_WITH_TAGS, "tags", tags, own_tag),
        ):
            if texts:
                values = {
                    "projects": sorted({project for project, _ in texts}),
                    name: sorted({text for _, text in texts}),
                    "names": sorted({text.partition("=")[0] for _, text in texts}),
                }
                for row in read_rows(client, sql, values):
                    named = {own(text) for text in row["texts"] if (row["project"], text) in texts}
                    if named:
                        traces[row["project"], row["trace_id"]] |= named
    return dict(traces)


def find_annotated_projects(client: StoreClient, projects: Sequence[str]) -> set[str]:
    """Return the projects in which any key or tag has a late record."""
    rows = read_rows(client, _ANNOTATED_PROJECTS, {"projects": projects})
    return {row["project"] for row in rows}


def may_be_annotated(memory: Memory, project: str) -> bool:
    """Return whether keys or tags of a project may have late records."""
    known, _ = memory.recall(project)
    return ANNOTATED in known or QUIET not in known


def find_annotated(records: Records) -> dict[str, set[str]]:
    """Find the keys and tags that these records are about, by project."""
    annotated: defaultdict[str, set[str]] = defaultdict(set)
    late: Iterable[LateTag | Metric | LateLog | ArtifactRecord] = chain(
        records.tags, records.metrics, records.logs, records.artifacts
    )
    for record in late:
        if record.owner.startswith((KEY, TAG)):
            annotated[record.project].add(record.owner)
    return annotated
