"""Which runs those records are about that name a trace key or a tag: found when read.

A record by trace key is about the roots of the traces that have the key: model calls whose parent
is none. A record by tag is about every run that was given the tag, on its span or later.
The runs, their keys and their tags may come after the record.
"""

from collections.abc import Sequence
from typing import Final

from otel_ml_collector.owners import FIRST, KEY, RESPONSE, TAG
from otel_ml_collector.store.reader import READABLE, Reader, Row

_TOKENS: Final = 10_000
_OWNERS: Final = 100

# The run that an owner names, as two columns; whether a run is one of some ids.
RUN: Final = """toFixedString(unhex(substring(owner, 1, 32)), 16) AS trace_id,
  toFixedString(unhex(substring(owner, 34)), 8) AS span_id"""
_BY_IDS: Final = f"""(trace_id, span_id) IN (
  SELECT {RUN} FROM (SELECT arrayJoin({{ids:Array(String)}}) AS owner))"""  # noqa: S608 - fixed text; values are parameters
# A tag's value as the text that a filter compares: numbers and bools as JSON does.
TAG_TEXT: Final = "if(startsWith({0}, '\"'), JSONExtractString({0}), {0})"
_TAG_TOKEN: Final = f"concat(name, '=', {TAG_TEXT.format('value')})"
_ID16: Final = "toFixedString(unhex({trace:String}), 16)"
_TIMES: Final = "FROM trace_index WHERE project = {project:String} AND key = {trace:String}"
# The spans of a trace that are here.
_SPANS: Final = f"""
  SELECT span_id FROM runs WHERE project = {{project:String}} AND trace_id = {_ID16}
    AND start_ns >= (SELECT minOrNull(start_ns) {_TIMES})
    AND start_ns <= (SELECT maxOrNull(end_ns) {_TIMES})
  UNION ALL
  SELECT span_id FROM open_runs WHERE project = {{project:String}} AND trace_id = {_ID16}"""  # noqa: S608 - fixed text; values are parameters
_HEX: Final = "lower(hex(trace_id)) AS trace_id, lower(hex(span_id)) AS span_id"


def about_runs(owners: str) -> str:
    """Write the SQL that tells which runs some records are about.

    Args:
        owners: SQL that selects `owner`, of any sort. It is read several times.

    Returns:
        SQL that selects `owner`, `trace_id` and `span_id`, of keys and tags only. Where there is
        none of these it reads next to nothing.
    """
    return f"{_by_key(owners)} UNION ALL {_by_tag(owners)}"


def _by_key(owners: str) -> str:
    keys = (
        f"SELECT substring(owner, {len(KEY) + 1}) FROM ({owners}) WHERE startsWith(owner, '{KEY}')"  # noqa: S608 - fixed text; values are parameters
    )
    mine = f"FROM trace_index WHERE project = {{project:String}} AND key IN ({keys})"
    calls = _calls_of(f"SELECT trace_id {mine}")
    return f"""
        SELECT DISTINCT concat('{KEY}', keyed.key) AS owner, calls.trace_id AS trace_id,
          calls.span_id AS span_id
        FROM ({calls}) AS calls
        INNER JOIN (SELECT DISTINCT key, trace_id {mine}) AS keyed
          ON keyed.trace_id = calls.trace_id
        WHERE (calls.trace_id, calls.parent_span_id) NOT IN (
          SELECT trace_id, span_id FROM ({calls}))
        """  # noqa: S608 - fixed text; values are parameters


def _calls_of(traces: str) -> str:
    """Write the SQL for the model calls of some traces, read where in time these are."""
    times = f"FROM trace_index WHERE key IN (SELECT lower(hex(trace_id)) FROM ({traces}))"  # noqa: S608 - fixed text; values are parameters
    ours = f"project = {{project:String}} AND kind != 'span' AND trace_id IN ({traces})"
    return f"""
        SELECT trace_id, span_id, parent_span_id FROM runs
        WHERE {ours} AND start_ns >= (SELECT minOrNull(start_ns) {times})
          AND start_ns <= (SELECT maxOrNull(end_ns) {times})
        UNION ALL
        SELECT trace_id, span_id, parent_span_id FROM open_runs WHERE {ours}
        """  # noqa: S608 - fixed text; values are parameters


def _by_tag(owners: str) -> str:
    tokens = f"""(
        SELECT groupUniqArray({_TOKENS})(substring(owner, {len(TAG) + 1})) FROM ({owners})
        WHERE startsWith(owner, '{TAG}'))"""  # noqa: S608 - fixed text; values are parameters
    return f"""
        SELECT DISTINCT concat('{TAG}', token) AS owner, trace_id, span_id FROM (
          {_tagged("runs", tokens)}
          UNION ALL {_tagged("open_runs", tokens)}
          UNION ALL
          SELECT {RUN}, {_TAG_TOKEN} AS token FROM late_tags
          WHERE project = {{project:String}} AND owner < '{FIRST}' AND notEmpty({tokens})
            AND has({tokens}, token))
        """  # noqa: S608 - fixed text; values are parameters


def _tagged(table: str, tokens: str) -> str:
    return f"""
        SELECT trace_id, span_id, arrayJoin(arrayIntersect(tag_kv, {tokens})) AS token
        FROM {table}
        WHERE project = {{project:String}} AND notEmpty({tokens}) AND hasAny(tag_kv, {tokens})"""  # noqa: S608 - fixed text; values are parameters


def has_targets(reader: Reader, project: str) -> bool:
    """Tell whether any record of a project names a trace key or a tag."""
    sql = f"""
        SELECT 1 AS one FROM metrics WHERE project = {{project:String}} AND owner >= '{FIRST}'
        LIMIT 1
        UNION ALL
        SELECT 1 FROM late_tags WHERE project = {{project:String}} AND owner >= '{FIRST}' LIMIT 1
        UNION ALL
        SELECT 1 FROM late_logs WHERE project = {{project:String}} AND owner >= '{FIRST}' LIMIT 1
        UNION ALL
        SELECT 1 FROM objects WHERE project = {{project:String}} AND owner >= '{FIRST}' LIMIT 1
        """  # noqa: S608 - fixed text; values are parameters
    return bool(reader.rows(sql, {"project": project}))


def find_owners(reader: Reader, project: str, owners: Sequence[str]) -> set[str]:
    """Find those of some owners of which anything is told."""
    if not owners:
        return set()
    ours = "project = {project:String} AND owner IN {owners:Array(String)}"
    sql = f"""
        SELECT DISTINCT owner FROM (
          SELECT owner FROM metrics WHERE {ours}
          UNION ALL SELECT owner FROM late_tags WHERE {ours}
          UNION ALL SELECT owner FROM late_logs WHERE {ours}
          UNION ALL SELECT owner FROM objects WHERE {ours})
        """  # noqa: S608 - fixed text; values are parameters
    return {row["owner"] for row in reader.rows(sql, {"project": project, "owners": list(owners)})}


def find_holders(reader: Reader, project: str, owners: Sequence[str]) -> tuple[set[str], set[str]]:
    """Find those of some owners that have metrics, and those that have artifacts."""
    ours = "project = {project:String} AND owner IN {owners:Array(String)}"
    sql = f"""
        SELECT DISTINCT owner, 1 AS is_metric FROM metrics WHERE {ours} AND source = 'logged'
        UNION ALL
        SELECT DISTINCT owner, 0 FROM objects WHERE {ours}
        """  # noqa: S608 - fixed text; values are parameters
    rows = reader.rows(sql, {"project": project, "owners": list(owners)}) if owners else []
    return (
        {row["owner"] for row in rows if row["is_metric"]},
        {row["owner"] for row in rows if not row["is_metric"]},
    )


def list_owners(reader: Reader, project: str, trace_id: str) -> list[str]:
    """List the runs of a trace of which something is told and that are not here, at most 100."""
    ours = """project = {project:String} AND owner > concat({trace:String}, '-')
      AND owner < concat({trace:String}, '.')"""
    sql = f"""
        SELECT DISTINCT owner FROM (
          SELECT owner FROM metrics WHERE {ours}
          UNION ALL SELECT owner FROM late_tags WHERE {ours}
          UNION ALL SELECT owner FROM late_logs WHERE {ours}
          UNION ALL SELECT owner FROM objects WHERE {ours})
        WHERE toFixedString(unhex(substring(owner, 34)), 8) NOT IN ({_SPANS})
        ORDER BY owner LIMIT {_OWNERS}
        """  # noqa: S608 - fixed text; values are parameters
    rows = reader.rows(sql, {"project": project, "trace": trace_id})
    return [row["owner"] for row in rows]


def find_calls(reader: Reader, project: str, run_ids: Sequence[str]) -> set[str]:
    """Find those of some runs that are here and are model calls, open ones too."""
    if not run_ids:
        return set()
    traces = "key IN {traces:Array(String)}"
    sql = f"""
        SELECT {_HEX} FROM runs
        WHERE project = {{project:String}} AND kind != 'span' AND {_BY_IDS}
          AND start_ns >= (SELECT minOrNull(start_ns) FROM trace_index WHERE {traces})
          AND start_ns <= (SELECT maxOrNull(end_ns) FROM trace_index WHERE {traces})
        UNION ALL
        SELECT {_HEX} FROM open_runs
        WHERE project = {{project:String}} AND kind != 'span' AND {_BY_IDS}
        """  # noqa: S608 - fixed text; values are parameters
    parameters = {
        "project": project,
        "ids": list(run_ids),
        "traces": sorted({run_id.partition("-")[0] for run_id in run_ids}),
    }
    return {f"{row['trace_id']}-{row['span_id']}" for row in reader.rows(sql, parameters)}


def read_trace_keys(reader: Reader, project: str, trace_ids: Sequence[str]) -> list[Row]:
    """Read the keys of the user's own that some traces have, in the order of the alphabet."""
    sql = """
        SELECT DISTINCT lower(hex(trace_id)) AS trace_id, key FROM trace_keys
        WHERE project = {project:String}
          AND trace_id IN (SELECT toFixedString(unhex(arrayJoin({traces:Array(String)})), 16))
        ORDER BY key"""
    return reader.rows(sql, {"project": project, "traces": list(trace_ids)})


def read_responses(reader: Reader, project: str, rows: Sequence[Row]) -> dict[str, str]:
    """Read under which texts what is said of responses stands, by the run ids of light rows.

    Where nothing is said of any response this is one short probe.
    """
    probe = f"""
        SELECT 1 AS one FROM metrics
        WHERE project = {{project:String}} AND startsWith(owner, '{TAG}{RESPONSE}') LIMIT 1
        """  # noqa: S608 - fixed text; values are parameters
    if not reader.rows(probe, {"project": project}):
        return {}
    sql = f"""
        SELECT {_HEX}, arrayFirst(text -> startsWith(text, '{RESPONSE}'), tag_kv) AS response
        FROM runs
        WHERE project = {{project:String}} AND start_ns IN {{starts:Array(Int64)}} AND {_BY_IDS}
          AND response != ''
        """  # noqa: S608 - fixed text; values are parameters
    parameters = {
        "project": project,
        "starts": sorted({row["start_ns"] for row in rows}),
        "ids": [f"{row['trace_id']}-{row['span_id']}" for row in rows],
    }
    return {
        f"{row['trace_id']}-{row['span_id']}": row["response"]
        for row in reader.rows(sql, parameters)
    }


def find_projects_of(reader: Reader, key: str) -> list[str]:
    """Find the projects in which something is told of a trace key itself."""
    sql = f"""
        SELECT DISTINCT project FROM trace_index
        WHERE key = {{key:String}} AND trace_id = toFixedString('', 16) AND {READABLE}
        ORDER BY project LIMIT 100
        """  # noqa: S608 - fixed text; values are parameters
    return [row["project"] for row in reader.rows(sql, {"key": key})]
