"""Which runs those records are about that name a trace key or a tag: found when read.

A record by trace key is about the roots of the traces that have the key: model calls whose parent
is none. A record by tag is about every run that was given the tag, on its span or later.
The runs, their keys and their tags may come after the record.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from otel_ml_collector.owners import FIRST, KEY, RESPONSE, TAG
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.reader import IDS, Reader, Row, run_id_of
from otel_ml_collector.store.sql import Sql, join_sql

_TOKENS: Final = 10_000

# The run that an owner names, as two columns; whether a run is one of some ids.
RUN: Final = Sql("""toFixedString(unhex(substring(owner, 1, 32)), 16) AS trace_id,
  toFixedString(unhex(substring(owner, 34)), 8) AS span_id""")
BY_IDS: Final = Sql("""(trace_id, span_id) IN (
  SELECT {run} FROM (SELECT arrayJoin({ids:Array(String)}) AS owner))""").fill(run=RUN)
# A tag's value as the text that a filter compares: numbers and bools as JSON does.
TAG_TEXT: Final = Sql("if(startsWith({value}, '\"'), JSONExtractString({value}), {value})")
_TAG_TOKEN: Final = Sql("concat(name, '=', {text})").fill(text=TAG_TEXT.fill(value=Sql("value")))


@lru_cache(64)  # as many owners as statements ask about; the text is long
def about_runs(owners: Sql) -> Sql:
    """Write the SQL that tells which runs some records are about.

    Args:
        owners: SQL that selects `owner`, of any sort. It is read several times.

    Returns:
        SQL that selects `owner`, `trace_id` and `span_id`, of keys and tags only. Where there is
        none of these it reads next to nothing.
    """
    return join_sql(" UNION ALL ", [_by_key(owners), _by_tag(owners)])


def told_of_others(columns: Sql, told: Sql) -> Sql:
    """Write the SQL for what records by keys and tags say, by the runs that they are about.

    Args:
        columns: What is selected of a record.
        told: Which records, as ``FROM metrics WHERE ...``.

    Returns:
        SQL that selects `trace_id`, `span_id` and these columns.
    """
    return Sql("""
        SELECT about.trace_id, about.span_id, told.* EXCEPT (owner)
        FROM ({about}) AS about
        INNER JOIN (SELECT owner, {columns} {told}) AS told ON told.owner = about.owner""").fill(
        about=about_runs(Sql("SELECT DISTINCT owner ") + told), columns=columns, told=told
    )


def _by_key(owners: Sql) -> Sql:
    keys = Sql(
        "SELECT substring(owner, {start}) FROM ({owners}) WHERE startsWith(owner, '{key}')"
    ).fill(start=len(KEY) + 1, owners=owners, key=Sql(KEY))
    mine = Sql("FROM trace_index WHERE project = {project:String} AND key IN ({keys})").fill(
        keys=keys
    )
    calls = _calls_of(Sql("SELECT trace_id ") + mine)
    return Sql("""
        SELECT DISTINCT concat('{key}', keyed.key) AS owner, calls.trace_id AS trace_id,
          calls.span_id AS span_id
        FROM ({calls}) AS calls
        INNER JOIN (SELECT DISTINCT key, trace_id {mine}) AS keyed
          ON keyed.trace_id = calls.trace_id
        WHERE (calls.trace_id, calls.parent_span_id) NOT IN (
          SELECT trace_id, span_id FROM ({calls}))
        """).fill(key=Sql(KEY), calls=calls, mine=mine)


def _calls_of(traces: Sql) -> Sql:
    """Write the SQL for the model calls of some traces, read where in time these are."""
    times = Sql("FROM trace_index WHERE key IN (SELECT lower(hex(trace_id)) FROM ({traces}))").fill(
        traces=traces
    )
    ours = Sql("project = {project:String} AND kind != 'span' AND trace_id IN ({traces})").fill(
        traces=traces
    )
    return Sql("""
        SELECT trace_id, span_id, parent_span_id FROM {deliveries}
        WHERE {ours} AND start_ns >= (SELECT minOrNull(start_ns) {times})
          AND start_ns <= (SELECT maxOrNull(end_ns) {times})
        UNION ALL
        SELECT trace_id, span_id, parent_span_id FROM open_runs WHERE {ours}
        """).fill(deliveries=DELIVERIES, ours=ours, times=times)


def _by_tag(owners: Sql) -> Sql:
    tokens = Sql("""(
        SELECT groupUniqArray({most})(substring(owner, {start})) FROM ({owners})
        WHERE startsWith(owner, '{tag}'))""").fill(
        most=_TOKENS, start=len(TAG) + 1, owners=owners, tag=Sql(TAG)
    )
    return Sql("""
        SELECT DISTINCT concat('{tag}', token) AS owner, trace_id, span_id FROM (
          {runs}
          UNION ALL {open_runs}
          UNION ALL
          SELECT {run}, {tag_token} AS token FROM late_tags
          WHERE project = {project:String} AND owner < '{first}' AND notEmpty({tokens})
            AND has({tokens}, token))
        """).fill(
        tag=Sql(TAG),
        runs=_tagged(Sql("runs"), tokens),
        open_runs=_tagged(Sql("open_runs"), tokens),
        run=RUN,
        tag_token=_TAG_TOKEN,
        first=Sql(FIRST),
        tokens=tokens,
    )


def _tagged(table: Sql, tokens: Sql) -> Sql:
    return Sql("""
        SELECT trace_id, span_id, arrayJoin(arrayIntersect(tag_kv, {tokens})) AS token
        FROM {table}
        WHERE project = {project:String} AND notEmpty({tokens})
          AND hasAny(tag_kv, {tokens})""").fill(tokens=tokens, table=table)


def find_holders(reader: Reader, project: str, owners: Sequence[str]) -> tuple[set[str], set[str]]:
    """Find those of some owners that have metrics, and those that have artifacts."""
    ours = Sql("project = {project:String} AND owner IN {owners:Array(String)}")
    sql = Sql("""
        SELECT DISTINCT owner, 1 AS is_metric FROM metrics WHERE {ours} AND source = 'logged'
        UNION ALL
        SELECT DISTINCT owner, 0 FROM objects WHERE {ours}
        """).fill(ours=ours)
    rows = reader.rows(sql, {"project": project, "owners": list(owners)}) if owners else []
    return (
        {row["owner"] for row in rows if row["is_metric"]},
        {row["owner"] for row in rows if not row["is_metric"]},
    )


def find_calls(reader: Reader, project: str, run_ids: Sequence[str]) -> set[str]:
    """Find those of some runs that are here and are model calls, open ones too."""
    if not run_ids:
        return set()
    traces = Sql("key IN {traces:Array(String)}")
    sql = Sql("""
        SELECT {ids} FROM {deliveries}
        WHERE project = {project:String} AND kind != 'span' AND {by_ids}
          AND start_ns >= (SELECT minOrNull(start_ns) FROM trace_index WHERE {traces})
          AND start_ns <= (SELECT maxOrNull(end_ns) FROM trace_index WHERE {traces})
        UNION ALL
        SELECT {ids} FROM open_runs
        WHERE project = {project:String} AND kind != 'span' AND {by_ids}
        """).fill(deliveries=DELIVERIES, ids=IDS, by_ids=BY_IDS, traces=traces)
    parameters = {
        "project": project,
        "ids": list(run_ids),
        "traces": sorted({run_id.partition("-")[0] for run_id in run_ids}),
    }
    return set(map(run_id_of, reader.rows(sql, parameters)))


def read_trace_keys(reader: Reader, project: str, trace_ids: Sequence[str]) -> list[Row]:
    """Read the keys of the user's own that some traces have, in the order of the alphabet."""
    sql = Sql("""
        SELECT DISTINCT lower(hex(trace_id)) AS trace_id, key FROM trace_keys
        WHERE project = {project:String}
          AND trace_id IN (SELECT toFixedString(unhex(arrayJoin({traces:Array(String)})), 16))
        ORDER BY key""")
    return reader.rows(sql, {"project": project, "traces": list(trace_ids)})


def read_responses(reader: Reader, project: str, rows: Sequence[Row]) -> dict[str, str]:
    """Read under which texts what is said of responses stands, by the run ids of light rows."""
    sql = Sql("""
        SELECT {ids}, arrayFirst(text -> startsWith(text, '{response}'), tag_kv) AS response
        FROM {deliveries}
        WHERE project = {project:String} AND start_ns IN {starts:Array(Int64)} AND {by_ids}
          AND response != ''
        """).fill(deliveries=DELIVERIES, ids=IDS, response=Sql(RESPONSE), by_ids=BY_IDS)
    parameters = {
        "project": project,
        "starts": sorted({row["start_ns"] for row in rows}),
        "ids": list(map(run_id_of, rows)),
    }
    return {run_id_of(row): row["response"] for row in reader.rows(sql, parameters)}
