"""What came apart from runs as SQL by run: late tags, scores and metrics, for filters."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from otel_ml_collector.owners import FIRST, KEY, TAG
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import WORD
from otel_ml_collector.store.targets import RUN, about_runs

# How many texts are kept of each sort: they differ by the number of a parameter alone.
_TEXTS: Final = 128
# The owners that are trace keys or tags, and no versions of models.
_TOLD: Final = Sql("(startsWith(owner, '{key}') OR startsWith(owner, '{tag}'))").fill(
    key=Sql(KEY), tag=Sql(TAG)
)
# A score whose run's start was not told stands at 0.
_IN_WINDOW: Final = Sql("(start_ns = 0 OR (start_ns >= {start:Int64} AND start_ns < {end:Int64}))")


@dataclass(frozen=True, slots=True)
class Apart:
    """What a project has that came apart from its runs: a filter looks at no more than that.

    Attributes:
        tags: Tags of any sort.
        told_tags: Tags under a trace key or a tag.
        told_scores: Scores and truths under a trace key or a tag.
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
    ours = Sql("project = {project:String}")
    sql = Sql("""
        SELECT
          (SELECT count() FROM (SELECT 1 FROM late_tags WHERE {ours} LIMIT 1)) > 0 AS tags,
          (SELECT count() FROM (
            SELECT 1 FROM late_tags WHERE {ours} AND owner >= '{first}' LIMIT 1)) > 0 AS told_tags,
          (SELECT count() FROM (
            SELECT 1 FROM metrics WHERE {ours} AND owner >= '{first}' AND source != 'logged'
            LIMIT 1)) > 0 AS told_scores,
          (SELECT count() FROM (
            SELECT 1 FROM metrics WHERE {ours} AND {told} AND source = 'logged'
            LIMIT 1)) > 0 AS told_metrics
        """).fill(ours=ours, first=Sql(FIRST), told=_TOLD)
    (row,) = reader.rows(sql, {"project": project})
    return Apart(**{name: bool(found) for name, found in row.items()})


@lru_cache(_TEXTS)
def late_tags(label: Sql, apart: Apart) -> Sql:
    """Write the SQL for the newest late tag of a name, by run.

    Args:
        label: The parameter that holds the name.
        apart: What there is.

    Returns:
        SQL that selects `trace_id`, `span_id`, `newest` and `newest_ns`.
    """
    named = Sql("FROM late_tags WHERE project = {project:String} AND name = {label}").fill(
        label=label
    )
    tags = Sql("SELECT {run}, value, time_ns, record_id {named} AND owner < '{first}'").fill(
        run=RUN, named=named, first=Sql(FIRST)
    )
    if apart.told_tags:
        about = about_runs(
            Sql("SELECT DISTINCT owner {named} AND owner >= '{first}'").fill(
                named=named, first=Sql(FIRST)
            )
        )
        tags += Sql("""
          UNION ALL
          SELECT about.trace_id, about.span_id, told.value, told.time_ns, told.record_id
          FROM ({about}) AS about
          INNER JOIN (SELECT owner, value, time_ns, record_id {named} AND owner >= '{first}')
            AS told ON told.owner = about.owner""").fill(about=about, named=named, first=Sql(FIRST))
    return Sql("""
        SELECT trace_id, span_id, argMax(value, (time_ns, record_id)) AS newest,
          max(time_ns) AS newest_ns
        FROM ({tags}) GROUP BY trace_id, span_id
        """).fill(tags=tags)


@lru_cache(_TEXTS)
def own_tags(label: Sql, apart: Apart) -> Sql:
    """Write the SQL for the runs whose own tag of a name is newer than all late ones.

    Args:
        label: The parameter that holds the name.
        apart: What there is.

    Returns:
        SQL that selects `trace_id`, `span_id` and `rank`, which says of which delivery it holds.
    """
    named = Sql("project = {project:String} AND name = {label}").fill(label=label)
    ours = Sql("""project = {project:String} AND mapContains(tags, {label})
      AND (SELECT count() FROM late_tags WHERE {named}) > 0""").fill(label=label, named=named)
    return Sql("""
        SELECT own.trace_id, own.span_id, own.rank
        FROM (
          SELECT trace_id, span_id, rank, start_ns + latency_ns AS told_ns FROM runs WHERE {ours}
          UNION ALL
          SELECT trace_id, span_id, rank, start_ns FROM open_runs WHERE {ours}
        ) AS own
        INNER JOIN ({late_tags}) AS late
          ON late.trace_id = own.trace_id AND late.span_id = own.span_id
        WHERE late.newest_ns < own.told_ns
        """).fill(ours=ours, late_tags=late_tags(label, apart))


@lru_cache(_TEXTS)
def scores(label: Sql, apart: Apart) -> Sql:
    """Write the SQL for all scores of one judge or person, by run.

    Args:
        label: The parameter that holds the judge's name.
        apart: What there is.

    Returns:
        SQL that selects `trace_id`, `span_id`, `score`, `passed`, `failed`, and in what order they
        were said: `time_ns`, `judge_version`, `record_id`.
    """
    direct = Sql("""
        SELECT trace_id, span_id, score, passed, failed, time_ns, judge_version, '' AS record_id
        FROM scores_by_judge
        WHERE project = {project:String} AND judge = {label} AND {in_window}""").fill(
        label=label, in_window=_IN_WINDOW
    )
    if not apart.told_scores:
        return direct
    told = Sql("""FROM metrics WHERE project = {project:String} AND owner >= '{first}'
      AND name = {label} AND source != 'logged' AND actual = ''""").fill(
        first=Sql(FIRST), label=label
    )
    about = about_runs(Sql("SELECT DISTINCT owner ") + told)
    return Sql("""
        {direct}
        UNION ALL
        SELECT about.trace_id, about.span_id, told.value, told.passed, told.failed,
          told.time_ns, told.judge_version, told.record_id
        FROM ({about}) AS about
        INNER JOIN (SELECT owner, value, passed, error != '' AS failed, time_ns, judge_version,
          record_id {told})
          AS told ON told.owner = about.owner
        """).fill(direct=direct, about=about, told=told)


@lru_cache(_TEXTS)
def words(label: Sql, source: Sql, apart: Apart) -> Sql:
    """Write the SQL for the newest truth of a name, or the newest word of a person, by run.

    Args:
        label: The parameter that holds the name.
        source: The parameter that holds ``actual`` or ``human``.
        apart: What there is.

    Returns:
        SQL that selects `trace_id`, `span_id` and `newest`, JSON text.
    """
    told = Sql("""FROM metrics WHERE project = {project:String} AND name = {label}
      AND source = {source} AND word != ''""").fill(label=label, source=source)
    direct = Sql("""
        SELECT {run}, {word} AS word, time_ns, record_id {told} AND owner < '{first}'
          AND (owner_start_ns = 0
            OR (owner_start_ns >= {start:Int64} AND owner_start_ns < {end:Int64}))""").fill(
        run=RUN, word=WORD, told=told, first=Sql(FIRST)
    )
    if apart.told_scores:
        about = about_runs(
            Sql(
                "SELECT DISTINCT owner FROM (SELECT owner, {word} AS word {told} AND {named})"
            ).fill(word=WORD, told=told, named=_TOLD)
        )
        direct += Sql("""
        UNION ALL
        SELECT about.trace_id, about.span_id, told.word, told.time_ns, told.record_id
        FROM ({about}) AS about
        INNER JOIN (SELECT owner, {word} AS word, time_ns, record_id {told} AND {named})
          AS told ON told.owner = about.owner""").fill(
            about=about, word=WORD, told=told, named=_TOLD
        )
    return Sql("""
        SELECT trace_id, span_id, argMax(word, (time_ns, record_id)) AS newest
        FROM ({direct}) GROUP BY trace_id, span_id
        """).fill(direct=direct)


@lru_cache(_TEXTS)
def points(label: Sql, apart: Apart) -> Sql:
    """Write the SQL for all points of one metric that were logged, by run.

    Args:
        label: The parameter that holds the metric's name.
        apart: What there is.

    Returns:
        SQL that selects `trace_id`, `span_id`, `value`, `mode`, and in what order they count:
        `time_ns`, `record_id`, `position`.
    """
    told = Sql("""FROM metrics WHERE project = {project:String} AND name = {label}
      AND source = 'logged'""").fill(label=label)
    direct = Sql(
        "SELECT {run}, value, mode, time_ns, record_id, position {told} AND owner < '{first}'"
    ).fill(run=RUN, told=told, first=Sql(FIRST))
    if not apart.told_metrics:
        return direct
    about = about_runs(Sql("SELECT DISTINCT owner {told} AND {named}").fill(told=told, named=_TOLD))
    return Sql("""
        {direct}
        UNION ALL
        SELECT about.trace_id, about.span_id, told.value, told.mode, told.time_ns, told.record_id,
          told.position
        FROM ({about}) AS about
        INNER JOIN (SELECT owner, value, mode, time_ns, record_id, position {told} AND {named})
          AS told ON told.owner = about.owner
        """).fill(direct=direct, about=about, told=told, named=_TOLD)
