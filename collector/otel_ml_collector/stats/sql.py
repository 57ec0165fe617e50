"""What is asked about recorded runs over time: counts, latency, scores, tokens, by buckets.

Days that are over come from the daily rollup where it can answer, all else from the runs: both
give the same cells, so the answer does not tell where it came from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml.records import TOKENS
from otel_ml_collector.owners import FIRST
from otel_ml_collector.store.condition import Condition
from otel_ml_collector.store.reader import READABLE, Reader, Row
from otel_ml_collector.store.rollup import NEWEST_SCORES, SCORE_SUMS, STATES, SUMS
from otel_ml_collector.store.runs import ACROSS_PARTITIONS, Window
from otel_ml_collector.store.sql import EMPTY, Sql, identifier, join_sql
from otel_ml_collector.store.targets import about_runs
from otel_ml_collector.store.versions import NUMBERED_VERSIONS
from otel_ml_collector.times import DAY_NS

# Pieces of the window that the rollup does not cover; of more than that it is not asked.
_PIECES: Final = 40

_OF_DAYS: Final = Sql("""project = {project:String} AND (day_ns, computed_ns) IN (
  SELECT arrayJoin(arrayZip({days:Array(Int64)}, {computed:Array(Int64)})))""")
_TOKENS: Final = join_sql(
    ", ", [Sql("sum({n}) AS {n}").fill(n=identifier(name, TOKENS)) for name in TOKENS]
)
_MERGED: Final = Sql("""sum(runs) AS runs, max(last_ns) AS last_ns,
  quantilesDDMergeState(0.01, 0.5, 0.9, 0.99)(latency) AS latency,
  {tokens},
  sum(cost) AS cost, sum(priced) AS priced""").fill(tokens=_TOKENS)
_MERGED_SCORES: Final = Sql("""sum(evaluations) AS evaluations, sum(failed) AS failed,
  sum(score) AS score, sum(scored) AS scored, sum(passed) AS passed, sum(judged) AS judged""")
_CELL: Final = Sql("model, digest, structure, outcome")
_NUMBERED: Final = Sql("""(
  SELECT name, digest, structure, number FROM ({versions}) WHERE kind = 'model')""").fill(
    versions=NUMBERED_VERSIONS
)
# Of which group a cell is: of one that is wanted, else of the others.
_PLACED: Final = Sql("""has({wanted:Array(String)}, label) AS is_wanted,
  if(is_wanted, label, '') AS named""")
# What a judge or a person said of keys and tags, besides what was said of runs by their ids.
_TOLD: Final = Sql("""FROM metrics WHERE project = {project:String} AND owner >= '{first}'
  AND source != 'logged'""").fill(first=Sql(FIRST))


@dataclass(frozen=True, slots=True)
class Grouping:
    """By what runs are grouped.

    Attributes:
        label: SQL of the label, over the columns of `runs`, or of `daily_runs` when `is_daily`.
            With `is_versions` it is not looked at.
        is_daily: Whether the rollup has it.
        is_versions: Whether versions of models are the groups.
        join: SQL that joins what the label needs to `runs`.
        parameters: Of both.
    """

    label: Sql
    is_daily: bool = False
    is_versions: bool = False
    join: Sql = EMPTY
    parameters: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StatsQuestion:
    """What to look at.

    Attributes:
        condition: Which runs.
        window: Started when.
        step_ns: How long a bucket is; the first begins with the window.
        grouping: By what runs are grouped.
        is_daily: Whether the rollup can tell which runs meet the condition, and in which bucket.
        is_told: Whether scores of keys and tags count too.
    """

    project: str
    condition: Condition
    window: Window
    step_ns: int
    grouping: Grouping
    is_daily: bool
    is_told: bool


@dataclass(frozen=True, slots=True)
class Sources:
    """Where each piece of a window is read.

    Attributes:
        days: Days of the rollup; computed: when each of them was.
        pieces: What is read from the runs.
    """

    days: Sequence[int]
    computed: Sequence[int]
    pieces: Sequence[Window]


def choose_sources(reader: Reader, question: StatsQuestion) -> Sources:
    """Take the days that the rollup knows as they stand from there, all else from the runs."""
    window = question.window
    only_runs = Sources((), (), [window])
    if not (question.is_daily and question.grouping.is_daily):
        return only_runs
    found = _read_days(reader, question.project, window)
    sources = Sources(list(found), list(found.values()), _between(list(found), window))
    return sources if len(sources.pieces) <= _PIECES else only_runs


def list_groups(reader: Reader, question: StatsQuestion, sources: Sources, limit: int) -> list[Row]:
    """List the groups with most runs: `label`, and `groups`, how many there are in all."""
    sql = Sql("""
        SELECT label, sum(runs) AS number, count() OVER () AS groups
        FROM ({run_cells})
        GROUP BY label ORDER BY number DESC, label LIMIT {limit:UInt32}
        """).fill(
        run_cells=_run_cells(question, sources, Sql("sum(runs) AS runs"), Sql("count() AS runs"))
    )
    return reader.rows(sql, {**_parameters(question, sources), "limit": limit})


def read_runs(
    reader: Reader, question: StatsQuestion, sources: Sources, wanted: Sequence[str]
) -> list[Row]:
    """Read what recorded runs were like, by group and bucket, by group, and in all.

    Args:
        reader: The store.
        question: What to look at.
        sources: Where to read it.
        wanted: The groups that are told apart.

    Returns:
        Rows with `level` (0 a bucket, 1 a group, 3 all), `is_wanted`, `named`, `bucket`, `runs`,
        `errors`, `p50`, `p90`, `p99` (ns), tokens, `cost` and `priced`.
    """
    sql = Sql("""
        SELECT grouping(bucket) + 2 * grouping(named) AS level, is_wanted, named, bucket,
          sum(runs) AS runs, sumIf(runs, outcome = 'error') AS errors,
          quantilesDDMerge(0.01, 0.5, 0.9, 0.99)(latency) AS quantiles,
          {tokens},
          toFloat64(sum(cost)) / 1e15 AS cost, sum(priced) AS priced
        FROM (SELECT *, {placed} FROM ({run_cells}))
        GROUP BY GROUPING SETS ((is_wanted, named, bucket), (is_wanted, named), ())
        ORDER BY level, is_wanted, named, bucket
        """).fill(
        tokens=_TOKENS,
        placed=_PLACED,
        run_cells=_run_cells(question, sources, _MERGED, SUMS),
    )
    return reader.rows(sql, {**_parameters(question, sources), "wanted": list(wanted)})


def read_scores(
    reader: Reader, question: StatsQuestion, sources: Sources, wanted: Sequence[str]
) -> list[Row]:
    """Read what judges said, by judge besides what `read_runs` goes by; the newest counts."""
    sql = Sql("""
        SELECT grouping(bucket) + 2 * grouping(named) AS level, is_wanted, named, bucket, judge,
          sum(evaluations) AS evaluations, sum(failed) AS failed,
          toFloat64(sum(score)) / 1e15 AS score, sum(scored) AS scored, sum(passed) AS passed,
          sum(judged) AS judged
        FROM (SELECT *, {placed} FROM ({score_cells}))
        GROUP BY GROUPING SETS (
          (judge, is_wanted, named, bucket), (judge, is_wanted, named), (judge))
        ORDER BY level, is_wanted, named, bucket, judge
        """).fill(placed=_PLACED, score_cells=_score_cells(question, sources))
    parameters = {**_parameters(question, sources), "wanted": list(wanted)}
    return reader.rows(sql, parameters, ACROSS_PARTITIONS if question.is_told else None)


def count_projects(reader: Reader, window: Window, step_ns: int) -> list[Row]:
    """Count the recorded runs of all projects, by project and bucket, with errors and latency."""
    sql = Sql("""
        SELECT project, intDiv(start_ns - {start:Int64}, {step:Int64}) AS bucket,
          count() AS runs, countIf(outcome = 'error') AS errors,
          quantilesDD(0.01, 0.5, 0.9, 0.99)(latency_ns) AS quantiles
        FROM runs FINAL
        WHERE kind != 'span' AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
          AND {readable}
        GROUP BY project, bucket ORDER BY project, bucket LIMIT 100000
        """).fill(readable=READABLE)
    parameters = {"start": window.start_ns, "end": window.end_ns, "step": step_ns}
    return reader.rows(sql, parameters)


def _read_days(reader: Reader, project: str, window: Window) -> dict[int, int]:
    """Read which whole days of a window the rollup knows as they stand, and since when."""
    sql = Sql("""
        SELECT day_ns, computed_ns FROM ({states})
        WHERE computed_ns > marked_ns AND day_ns >= {start:Int64}
          AND day_ns + {day_ns} <= {end:Int64}
        ORDER BY day_ns
        """).fill(states=STATES.fill(ours=Sql("project = {project:String}")), day_ns=DAY_NS)
    parameters = {"project": project, "start": window.start_ns, "end": window.end_ns}
    return {row["day_ns"]: row["computed_ns"] for row in reader.rows(sql, parameters)}


def _between(days: Sequence[int], window: Window) -> list[Window]:
    """Cut out of a window what lies between some days of it, in order."""
    pieces, at_ns = [], window.start_ns
    for day_ns in days:
        if at_ns < day_ns:
            pieces.append(Window(at_ns, day_ns))
        at_ns = day_ns + DAY_NS
    if at_ns < window.end_ns:
        pieces.append(Window(at_ns, window.end_ns))
    return pieces


def _run_cells(question: StatsQuestion, sources: Sources, daily: Sql, raw: Sql) -> Sql:
    """Write the SQL for the cells of runs, with the label of each: of the rollup, and of runs."""
    grouping = question.grouping
    columns = _CELL if grouping.is_versions else grouping.label + Sql(" AS label, outcome")
    own = Sql("""
        SELECT {bucket}, {columns}, {raw}
        FROM runs FINAL {join} WHERE {of_runs}
        GROUP BY ALL""").fill(
        bucket=_bucket(Sql("start_ns")),
        columns=columns,
        raw=raw,
        join=grouping.join,
        of_runs=_of_runs(question, sources),
    )
    if sources.days:
        own += Sql("""
        UNION ALL
        SELECT {bucket}, {columns}, {daily} FROM daily_runs
        WHERE {of_days} AND ({condition}) GROUP BY ALL""").fill(
            bucket=_bucket(Sql("day_ns")),
            columns=columns,
            daily=daily,
            of_days=_OF_DAYS,
            condition=question.condition.sql,
        )
    return _labelled(own) if grouping.is_versions else own


def _score_cells(question: StatsQuestion, sources: Sources) -> Sql:
    grouping = question.grouping
    columns = _CELL if grouping.is_versions else grouping.label + Sql(" AS label, outcome")
    names = _CELL if grouping.is_versions else Sql("label, outcome")
    newest = _told_scores() if question.is_told else NEWEST_SCORES
    own = Sql("""
        SELECT bucket, {names}, judge, {score_sums}
        FROM (
          SELECT trace_id, span_id, {bucket}, {columns}
          FROM runs FINAL {join} WHERE {of_runs}
        ) AS run
        INNER JOIN ({newest}) AS told
          ON told.trace_id = run.trace_id AND told.span_id = run.span_id
        GROUP BY ALL""").fill(
        names=names,
        score_sums=SCORE_SUMS,
        bucket=_bucket(Sql("start_ns")),
        columns=columns,
        join=grouping.join,
        of_runs=_of_runs(question, sources),
        newest=newest,
    )
    if sources.days:
        own += Sql("""
        UNION ALL
        SELECT {bucket}, {columns}, judge, {merged_scores} FROM daily_scores
        WHERE {of_days} AND ({condition}) GROUP BY ALL""").fill(
            bucket=_bucket(Sql("day_ns")),
            columns=columns,
            merged_scores=_MERGED_SCORES,
            of_days=_OF_DAYS,
            condition=question.condition.sql,
        )
    return _labelled(own) if grouping.is_versions else own


def _told_scores() -> Sql:
    """Write the SQL for what was said last of each run, also by its keys and tags."""
    about = about_runs(Sql("SELECT DISTINCT owner ") + _TOLD)
    return Sql("""
        SELECT judge, trace_id, span_id,
          argMax((score, passed, failed), (time_ns, judge_version, record_id)) AS newest
        FROM (
          SELECT judge, trace_id, span_id, score, passed, failed, time_ns, judge_version,
            '' AS record_id
          FROM scores_by_judge WHERE project = {project:String}
          UNION ALL
          SELECT said.judge, about.trace_id, about.span_id, said.value, said.passed, said.failed,
            said.time_ns, said.judge_version, said.record_id
          FROM ({about}) AS about
          INNER JOIN (
            SELECT owner, name AS judge, value, passed, error != '' AS failed, time_ns,
              judge_version, record_id {told}
          ) AS said ON said.owner = about.owner)
        GROUP BY judge, trace_id, span_id""").fill(about=about, told=_TOLD)


def _labelled(cells: Sql) -> Sql:
    """Name the version of each cell as `model:v3`; where it has none, the model."""
    return Sql("""
        SELECT cell.*, if(version.number = 0, toString(cell.model),
          concat(cell.model, ':v', toString(version.number))) AS label
        FROM ({cells}) AS cell
        LEFT JOIN {numbered} AS version ON version.name = cell.model
          AND version.digest = cell.digest AND version.structure = cell.structure""").fill(
        cells=cells, numbered=_NUMBERED
    )


def _bucket(time: Sql) -> Sql:
    return Sql("intDiv({time} - {origin:Int64}, {step:Int64}) AS bucket").fill(time=time)


def _of_runs(question: StatsQuestion, sources: Sources) -> Sql:
    pieces = [
        Sql("(start_ns >= {from{place}:Int64} AND start_ns < {until{place}:Int64})").fill(
            place=place
        )
        for place in range(len(sources.pieces))
    ]
    return Sql("""project = {project:String}
      AND start_ns >= {first:Int64} AND start_ns < {until:Int64} AND ({pieces})
      AND ({condition})""").fill(
        pieces=join_sql(" OR ", pieces) or Sql("0"), condition=question.condition.sql
    )


def _parameters(question: StatsQuestion, sources: Sources) -> dict[str, Any]:
    pieces = sources.pieces
    parameters: dict[str, Any] = {
        "project": question.project,
        "origin": question.window.start_ns,
        "step": question.step_ns,
        "first": min((piece.start_ns for piece in pieces), default=0),
        "until": max((piece.end_ns for piece in pieces), default=0),
        "start": question.window.start_ns,
        "end": question.window.end_ns,
        "days": list(sources.days),
        "computed": list(sources.computed),
        **question.condition.parameters,
        **(question.grouping.parameters or {}),
    }
    for place, piece in enumerate(pieces):
        parameters |= {f"from{place}": piece.start_ns, f"until{place}": piece.end_ns}
    return parameters
