"""What is asked about experiments: their runs over items, and what judges said of these.

Of several runs for one item and repeat the first that ended counts.
"""

from collections.abc import Sequence
from typing import Any, Final

from otel_ml_collector.store.reader import IDS, Reader, Row
from otel_ml_collector.store.sql import EMPTY, Sql
from otel_ml_collector.store.statistics import ALL_TOKENS
from otel_ml_collector.times import AHEAD_NS

# Runs over items of one data set that are looked at together; more have no verdict here.
MOST_RUNS: Final = 250_000
_ITEM_RUNS: Final = Sql("""
    SELECT experiment, item, item_digest, repeat, trace_id, span_id, start_ns, outcome, error_type,
      error_message, latency_ns, {tokens} AS tokens, cost, inputs_preview, outputs_preview
    FROM runs FINAL
    WHERE {ours} {among}
    ORDER BY experiment, item, item_digest, repeat, start_ns + latency_ns, trace_id, span_id
    LIMIT 1 BY experiment, item, item_digest, repeat""")
# What was cancelled was not done: an interruption takes a call away, and it is run again.
_OURS: Final = Sql("""project = {project:String} AND start_ns >= {start:Int64}
  AND experiment IN {experiments:Array(String)} AND item != '' AND outcome != 'cancelled'""")
_AMONG: Final = Sql("AND item IN {items:Array(String)}")
# How often each item passed and failed in each experiment, by the newest word of each judge; a
# call that failed has failed. A run of which no judge says whether it passed counts for neither.
_PASSES: Final = Sql("""
    SELECT item, item_digest, experiment, countIf(word = 2) AS passes, countIf(word = 1) AS fails
    FROM (
      SELECT item, item_digest, experiment, if(outcome != 'ok', 1, said) AS word
      FROM (
        SELECT experiment, item, item_digest, repeat, trace_id, span_id, outcome
        FROM runs FINAL
        WHERE {ours} {among}
        ORDER BY experiment, item, item_digest, repeat, start_ns + latency_ns, trace_id, span_id
        LIMIT 1 BY experiment, item, item_digest, repeat
      ) AS run
      LEFT JOIN (
        SELECT trace_id, span_id, min(newest) + 1 AS said
        FROM (
          SELECT trace_id, span_id, judge, argMax(tuple(passed), time_ns).1 AS newest
          FROM scores_by_judge
          WHERE project = {project:String} AND start_ns >= {start:Int64}
            AND (trace_id, span_id) IN (SELECT trace_id, span_id FROM runs WHERE {ours} {among})
          GROUP BY trace_id, span_id, judge
        )
        WHERE newest IS NOT NULL
        GROUP BY trace_id, span_id
      ) AS score USING (trace_id, span_id)
    )
    GROUP BY item, item_digest, experiment""")


def item_parameters(project: str, experiments: Sequence[str], start_ns: int) -> dict[str, Any]:
    """Return those of a question about experiments; clocks of processes may differ a little."""
    return {"project": project, "experiments": list(experiments), "start": start_ns - AHEAD_NS}


def count_item_runs(
    reader: Reader, project: str, experiments: Sequence[str], start_ns: int
) -> dict[str, Row]:
    """Count the runs over items of some experiments: `done`, `errors`, `every` and `cost`."""
    sql = Sql("""
        SELECT experiment, count() AS done, countIf(outcome != 'ok') AS errors, sum(every) AS every,
          sumOrNull(cost) AS cost
        FROM (
          SELECT experiment, argMin(outcome, ended) AS outcome, argMin(cost, ended) AS cost,
            count() AS every
          FROM (
            SELECT experiment, item, item_digest, repeat, outcome, cost,
              (start_ns + latency_ns, trace_id, span_id) AS ended
            FROM runs FINAL
            WHERE {ours}
          )
          GROUP BY experiment, item, item_digest, repeat
        )
        GROUP BY experiment""").fill(ours=_OURS)
    parameters = item_parameters(project, experiments, start_ns)
    return {row["experiment"]: row for row in reader.rows(sql, parameters)}


def list_items(
    reader: Reader, project: str, experiment: str, start_ns: int, *, after: str, limit: int
) -> list[str]:
    """List the ids of the items of an experiment that come behind one, in their order."""
    sql = Sql("""
        SELECT DISTINCT item FROM runs
        WHERE {ours} AND item > {after:String}
        ORDER BY item LIMIT {limit:UInt32}""").fill(ours=_OURS)
    parameters = item_parameters(project, [experiment], start_ns)
    rows = reader.rows(sql, {**parameters, "after": after, "limit": limit})
    return [row["item"] for row in rows]


def read_item_runs(
    reader: Reader,
    project: str,
    experiments: Sequence[str],
    start_ns: int,
    items: Sequence[str] | None = None,
) -> tuple[list[Row], list[Row]]:
    """Read the runs over items of some experiments, in the order of items and repeats.

    Args:
        reader: The store.
        project: Whose.
        experiments: Their run ids.
        start_ns: When the first of them began.
        items: The ids of those that are wanted; None for all.

    Returns:
        The runs; then scores with `trace_id`, `span_id`, `judge`, `judge_version`, `score`,
        `passed` and `failed`.
    """
    runs = _ITEM_RUNS.fill(tokens=ALL_TOKENS, ours=_OURS, among=EMPTY if items is None else _AMONG)
    shown = Sql("SELECT * EXCEPT (trace_id, span_id), {ids} FROM ({runs}) LIMIT {most}").fill(
        ids=IDS, runs=runs, most=MOST_RUNS
    )
    scores = Sql("""
        SELECT {ids}, judge, judge_version, newest.1 AS score, newest.2 AS passed,
          newest.3 AS failed
        FROM (
          SELECT trace_id, span_id, judge, judge_version,
            argMax((score, passed, failed), time_ns) AS newest
          FROM scores_by_judge
          WHERE project = {project:String} AND start_ns >= {start:Int64}
            AND (trace_id, span_id) IN (SELECT trace_id, span_id FROM ({runs}))
          GROUP BY trace_id, span_id, judge, judge_version
        )
        ORDER BY judge, judge_version, trace_id, span_id""").fill(ids=IDS, runs=runs)
    parameters = item_parameters(project, experiments, start_ns)
    if items is not None:
        parameters["items"] = list(items)
    return reader.rows(shown, parameters), reader.rows(scores, parameters)


def read_item_tags(
    reader: Reader,
    project: str,
    experiments: Sequence[str],
    start_ns: int,
    items: Sequence[str] | None = None,
) -> dict[str, Row]:
    """Read tags (JSON) and source run of the items that `read_item_runs` finds, by digest."""
    sql = Sql("""
        SELECT digest, tags, source_run FROM items
        WHERE project = {project:String}
          AND digest IN (SELECT item_digest FROM runs WHERE {ours} {among})
        ORDER BY digest, rank DESC LIMIT 1 BY digest""")
    asked = sql.fill(ours=_OURS, among=EMPTY if items is None else _AMONG)
    parameters = item_parameters(project, experiments, start_ns)
    if items is not None:
        parameters["items"] = list(items)
    return {row["digest"]: row for row in reader.rows(asked, parameters)}


def read_passes(
    reader: Reader, project: str, experiments: Sequence[str], start_ns: int, items: Sequence[str]
) -> list[Row]:
    """Count for some items how often they passed and failed in each experiment.

    Returns:
        Rows with `item`, `item_digest`, `experiment`, `passes` and `fails`.
    """
    parameters = {**item_parameters(project, experiments, start_ns), "items": list(items)}
    return reader.rows(_PASSES.fill(ours=_OURS, among=_AMONG), parameters)


def judge_items(within: Sql) -> Sql:
    """Write the statement of how often each item that is within some passed and failed.

    Args:
        within: A statement of pairs (id, digest).

    Returns:
        A statement of `item`, `item_digest`, `passed`, `failed` and `is_flaky`; its parameters are
        those of `item_parameters` beside those of `within`.
    """
    sql = Sql("""
        SELECT item, item_digest, sum(passes) AS passed, sum(fails) AS failed,
          max(passes > 0 AND fails > 0) AS is_flaky
        FROM ({passes})
        WHERE (item, item_digest) IN ({within})
        GROUP BY item, item_digest""")
    return sql.fill(passes=_PASSES.fill(ours=_OURS, among=EMPTY), within=within)
