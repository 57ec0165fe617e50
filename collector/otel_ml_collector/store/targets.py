"""The runs of records that name a trace key or a tag: looked up when they are read.

A record by trace key is about the roots of the traces that have the key: model calls whose parent
is none. A record by tag is about every run that was given the tag, on its span or later.
The runs, their keys and their tags may come after the record.
"""

from functools import lru_cache
from typing import Final

from otel_ml_collector.owners import FIRST, KEY, TAG
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.sql import Sql, join_sql

# So many tags are looked for by the index on them; of more all tags are read.
_INDEXED: Final = 10_000

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
    """Write the SQL for the runs that some records are about.

    Args:
        owners: SQL that selects `owner`, of any sort. It is read several times.

    Returns:
        SQL that selects `owner`, `trace_id` and `span_id`, of keys and tags only. Without such
        records it reads next to nothing.
    """
    return join_sql(" UNION ALL ", [_by_key(owners), _by_tag(owners)])


def told_of_others(columns: Sql, records: Sql) -> Sql:
    """Write the SQL for records by keys and tags, by the runs that they are about.

    Args:
        columns: The columns of a record.
        records: The records, as ``FROM metrics WHERE ...``.

    Returns:
        SQL that selects `trace_id`, `span_id` and these columns.
    """
    return Sql("""
        SELECT about.trace_id, about.span_id, told.* EXCEPT (owner)
        FROM ({about}) AS about
        INNER JOIN (SELECT owner, {columns} {told}) AS told ON told.owner = about.owner""").fill(
        about=about_runs(Sql("SELECT DISTINCT owner ") + records), columns=columns, told=records
    )


def _by_key(owners: Sql) -> Sql:
    keys = Sql(
        "SELECT substring(owner, {start}) FROM ({owners}) WHERE startsWith(owner, '{key}')"
    ).fill(start=len(KEY) + 1, owners=owners, key=Sql(KEY))
    mine = Sql("FROM trace_index WHERE project = {project:String} AND key IN ({keys})").fill(
        keys=keys
    )
    return Sql("""
        SELECT concat('{key}', keyed.key) AS owner, roots.trace_id AS trace_id,
          roots.span_id AS span_id
        FROM ({roots}) AS roots
        INNER JOIN (SELECT DISTINCT key, trace_id {mine}) AS keyed
          ON keyed.trace_id = roots.trace_id
        """).fill(key=Sql(KEY), roots=_roots_of(Sql("SELECT trace_id ") + mine), mine=mine)


def _roots_of(traces: Sql) -> Sql:
    """Write the SQL for the model calls of some traces that have no model call as their parent.

    They are read once and told apart trace by trace: what such a question costs is its planning,
    and with bounds in time, or a second look at the calls, that is half as long again.
    """
    ours = Sql("project = {project:String} AND kind != 'span' AND trace_id IN ({traces})").fill(
        traces=traces
    )
    return Sql("""
        SELECT trace_id, arrayJoin(arrayDistinct(arrayMap(call -> call.1,
          arrayFilter(call -> NOT has(spans, call.2), calls)))) AS span_id
        FROM (
          SELECT trace_id, groupUniqArray((span_id, parent_span_id)) AS calls,
            groupUniqArray(span_id) AS spans
          FROM (
            SELECT trace_id, span_id, parent_span_id FROM {deliveries} WHERE {ours}
            UNION ALL
            SELECT trace_id, span_id, parent_span_id FROM open_runs WHERE {ours})
          GROUP BY trace_id)
        """).fill(deliveries=DELIVERIES, ours=ours)


def _by_tag(owners: Sql) -> Sql:
    named = Sql("""
        SELECT substring(owner, {start}) AS token FROM ({owners})
        WHERE startsWith(owner, '{tag}')""").fill(start=len(TAG) + 1, owners=owners, tag=Sql(TAG))
    tokens = Sql("(SELECT groupUniqArray({most})(token) FROM ({named}))").fill(
        most=_INDEXED, named=named
    )
    return Sql("""
        SELECT DISTINCT concat('{tag}', token) AS owner, trace_id, span_id FROM (
          {runs}
          UNION ALL {open_runs}
          UNION ALL
          SELECT {run}, {tag_token} AS token FROM late_tags
          WHERE project = {project:String} AND owner < '{first}' AND notEmpty({tokens}))
        WHERE token IN ({named})
        """).fill(
        tag=Sql(TAG),
        runs=_tagged(Sql("runs"), tokens),
        open_runs=_tagged(Sql("open_runs"), tokens),
        run=RUN,
        tag_token=_TAG_TOKEN,
        first=Sql(FIRST),
        tokens=tokens,
        named=named,
    )


def _tagged(table: Sql, tokens: Sql) -> Sql:
    return Sql("""
        SELECT trace_id, span_id, arrayJoin(tag_kv) AS token
        FROM {table}
        WHERE project = {project:String} AND notEmpty({tokens})
          AND (length({tokens}) >= {most} OR hasAny(tag_kv, {tokens}))""").fill(
        tokens=tokens, table=table, most=_INDEXED
    )
