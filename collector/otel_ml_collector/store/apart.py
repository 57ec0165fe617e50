"""What came apart from runs as SQL by run: late tags, scores and metrics, for filters."""

from dataclasses import dataclass
from typing import Final

from otel_ml_collector.owners import FIRST, KEY, TAG
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.targets import RUN, about_runs

# The owners that are trace keys or tags, and no versions of models.
_TOLD: Final = f"(startsWith(owner, '{KEY}') OR startsWith(owner, '{TAG}'))"
# A score whose run's start was not told stands at 0.
_IN_WINDOW: Final = "(start_ns = 0 OR (start_ns >= {start:Int64} AND start_ns < {end:Int64}))"


@dataclass(frozen=True, slots=True)
class Apart:
    """What a project has that came apart from its runs: a filter looks at no more than that.

    Attributes:
        tags: Tags of any sort.
        told_tags: Tags under a trace key or a tag.
        told_scores: Scores under a trace key or a tag.
        told_metrics: Metrics under a trace key or a tag.
    """

    tags: bool
    told_tags: bool
    told_scores: bool
    told_metrics: bool


EVERYTHING: Final = Apart(tags=True, told_tags=True, told_scores=True, told_metrics=True)
NOTHING: Final = Apart(tags=False, told_tags=False, told_scores=False, told_metrics=False)


def find_apart(reader: Reader, project: str) -> Apart:
    """Find out what of a project came apart from its runs."""
    ours = "project = {project:String}"
    sql = f"""
        SELECT
          (SELECT count() FROM (SELECT 1 FROM late_tags WHERE {ours} LIMIT 1)) > 0 AS tags,
          (SELECT count() FROM (
            SELECT 1 FROM late_tags WHERE {ours} AND owner >= '{FIRST}' LIMIT 1)) > 0 AS told_tags,
          (SELECT count() FROM (
            SELECT 1 FROM metrics WHERE {ours} AND owner >= '{FIRST}' AND source != 'logged'
            LIMIT 1)) > 0 AS told_scores,
          (SELECT count() FROM (
            SELECT 1 FROM metrics WHERE {ours} AND {_TOLD} AND source = 'logged'
            LIMIT 1)) > 0 AS told_metrics
        """  # noqa: S608 - fixed text; values are parameters
    (row,) = reader.rows(sql, {"project": project})
    return Apart(**{name: bool(found) for name, found in row.items()})


def late_tags(label: str, apart: Apart) -> str:
    """Write the SQL for the newest late tag of a name, by run.

    Args:
        label: The parameter that holds the name.
        apart: What there is.

    Returns:
        SQL that selects `trace_id`, `span_id`, `newest` and `newest_ns`.
    """
    named = f"FROM late_tags WHERE project = {{project:String}} AND name = {label}"
    tags = f"SELECT {RUN}, value, time_ns, record_id {named} AND owner < '{FIRST}'"
    if apart.told_tags:
        about = about_runs(f"SELECT DISTINCT owner {named} AND owner >= '{FIRST}'")
        tags += f"""
          UNION ALL
          SELECT about.trace_id, about.span_id, told.value, told.time_ns, told.record_id
          FROM ({about}) AS about
          INNER JOIN (SELECT owner, value, time_ns, record_id {named} AND owner >= '{FIRST}')
            AS told ON told.owner = about.owner"""  # noqa: S608 - fixed text; values are parameters
    return f"""
        SELECT trace_id, span_id, argMax(value, (time_ns, record_id)) AS newest,
          max(time_ns) AS newest_ns
        FROM ({tags}) GROUP BY trace_id, span_id
        """  # noqa: S608 - fixed text; values are parameters


def own_tags(label: str, apart: Apart) -> str:
    """Write the SQL for the runs whose own tag of a name is newer than all late ones.

    Args:
        label: The parameter that holds the name.
        apart: What there is.

    Returns:
        SQL that selects `trace_id`, `span_id` and `rank`, which says of which delivery it holds.
    """
    named = f"project = {{project:String}} AND name = {label}"
    ours = f"""project = {{project:String}} AND mapContains(tags, {label})
      AND (SELECT count() FROM late_tags WHERE {named}) > 0"""  # noqa: S608 - fixed text; values are parameters
    return f"""
        SELECT own.trace_id, own.span_id, own.rank
        FROM (
          SELECT trace_id, span_id, rank, start_ns + latency_ns AS told_ns FROM runs WHERE {ours}
          UNION ALL
          SELECT trace_id, span_id, rank, start_ns FROM open_runs WHERE {ours}
        ) AS own
        INNER JOIN ({late_tags(label, apart)}) AS late
          ON late.trace_id = own.trace_id AND late.span_id = own.span_id
        WHERE late.newest_ns < own.told_ns
        """  # noqa: S608 - fixed text; values are parameters


def scores(label: str, apart: Apart) -> str:
    """Write the SQL for all scores of one judge or person, by run.

    Args:
        label: The parameter that holds the judge's name.
        apart: What there is.

    Returns:
        SQL that selects `trace_id`, `span_id`, `score`, `passed`, and in what order they were
        said: `time_ns`, `judge_version`, `record_id`.
    """
    direct = f"""
        SELECT trace_id, span_id, score, passed, time_ns, judge_version, '' AS record_id
        FROM scores_by_judge
        WHERE project = {{project:String}} AND judge = {label} AND {_IN_WINDOW}"""  # noqa: S608 - fixed text; values are parameters
    if not apart.told_scores:
        return direct
    told = f"""FROM metrics WHERE project = {{project:String}} AND owner >= '{FIRST}'
      AND name = {label} AND source != 'logged'"""
    about = about_runs(f"SELECT DISTINCT owner {told}")
    return f"""
        {direct}
        UNION ALL
        SELECT about.trace_id, about.span_id, told.value, told.passed, told.time_ns,
          told.judge_version, told.record_id
        FROM ({about}) AS about
        INNER JOIN (SELECT owner, value, passed, time_ns, judge_version, record_id {told})
          AS told ON told.owner = about.owner
        """  # noqa: S608 - fixed text; values are parameters


def points(label: str, apart: Apart) -> str:
    """Write the SQL for all points of one metric that were logged, by run.

    Args:
        label: The parameter that holds the metric's name.
        apart: What there is.

    Returns:
        SQL that selects `trace_id`, `span_id`, `value`, `mode`, and in what order they count:
        `time_ns`, `record_id`, `position`.
    """
    told = f"""FROM metrics WHERE project = {{project:String}} AND name = {label}
      AND source = 'logged'"""
    direct = f"SELECT {RUN}, value, mode, time_ns, record_id, position {told} AND owner < '{FIRST}'"
    if not apart.told_metrics:
        return direct
    about = about_runs(f"SELECT DISTINCT owner {told} AND {_TOLD}")
    return f"""
        {direct}
        UNION ALL
        SELECT about.trace_id, about.span_id, told.value, told.mode, told.time_ns, told.record_id,
          told.position
        FROM ({about}) AS about
        INNER JOIN (SELECT owner, value, mode, time_ns, record_id, position {told} AND {_TOLD})
          AS told ON told.owner = about.owner
        """  # noqa: S608 - fixed text; values are parameters
