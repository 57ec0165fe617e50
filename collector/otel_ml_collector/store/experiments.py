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

# Of the tags of items those that are not rare: only they can be slices. JSON has a few forms of one
# text, such as "1" and 1, and a run is a row of each of its repeats and sides.
_COMMON_TAGS: Final = Sql("""
    SELECT tag.1 AS name, tag.2 AS json
    FROM (SELECT item_digest AS digest FROM runs WHERE {ours} {among}) AS run
    INNER JOIN (
      SELECT digest, tags FROM items
      WHERE project = {project:String} AND tags NOT IN ('', '{}')
        AND digest IN (SELECT item_digest FROM runs WHERE {ours} {among})
      ORDER BY digest, rank DESC LIMIT 1 BY digest
    ) AS content USING (digest)
    ARRAY JOIN JSONExtractKeysAndValuesRaw(tags) AS tag
    GROUP BY name, json HAVING count() >= 5 ORDER BY count() DESC, name, json LIMIT 1000""")
_CONTENT: Final = Sql("""
    LEFT JOIN (
      SELECT digest, tags, source_run FROM items
      WHERE project = {project:String}
        AND digest IN (SELECT item_digest FROM runs WHERE {ours} {among})
      ORDER BY digest, rank DESC LIMIT 1 BY digest
    ) AS content USING (digest)""")
_OWN: Final = Sql("""
    arrayFilter(
      one -> one.1 = {cluster:String} OR concat(one.1, '=', one.2) IN {tags:Array(String)},
      JSONExtractKeysAndValuesRaw(tags)) AS own_tags,
    if({cluster:String} = 'source_run', content.source_run, '') AS own_source,
    item IN (own_source, JSONExtractString(tags, {cluster:String}),
      JSONExtractRaw(tags, {cluster:String})) AS is_own""")
_NO_CONTENT: Final = Sql("""
    CAST([], 'Array(Tuple(String, String))') AS own_tags, '' AS own_source, false AS is_own""")
_FIRST: Final = Sql("""
  ORDER BY experiment, item, item_digest, repeat, start_ns + latency_ns, trace_id, span_id
  LIMIT 1 BY experiment, item, item_digest, repeat""")
# Items are groups by all that is said of their runs on both sides, whatever their order. What is
# measured of each run, such as its latency, stands beside it in lists.
_ALIKE: Final = Sql("""
    SELECT before, after, own_tags AS tags, own_source AS source_run, is_own, count() AS count,
      arraySlice(arraySort(groupArray(item)), 1, {most:UInt32}) AS items,
      arrayFlatten(groupArray(took.1)) AS latency_before,
      arrayFlatten(groupArray(took.2)) AS latency_after,
      arrayFlatten(groupArray(used.1)) AS tokens_before,
      arrayFlatten(groupArray(used.2)) AS tokens_after,
      arrayFlatten(groupArray(paid.1)) AS cost_before,
      arrayFlatten(groupArray(paid.2)) AS cost_after
    FROM (
      SELECT item, took, used, paid, {own},
        arrayMap(one -> (indexOf(digests, one.1), one.2, one.3), sides.1) AS before,
        arrayMap(one -> (indexOf(digests, one.1), one.2, one.3), sides.2) AS after
      FROM (
        SELECT item, arraySort(groupUniqArray(item_digest)) AS digests,
          (arraySort(groupArrayIf((item_digest, failed, said), NOT is_new)),
            arraySort(groupArrayIf((item_digest, failed, said), is_new))) AS sides,
          if(empty(sides.2), sides.1, sides.2)[1].1 AS digest,
          (groupArrayIf(latency_ms, NOT is_new AND NOT failed),
            groupArrayIf(latency_ms, is_new AND NOT failed)) AS took,
          (groupArrayIf(tokens, NOT is_new AND NOT failed),
            groupArrayIf(tokens, is_new AND NOT failed)) AS tokens_of,
          (groupArrayIf(cost, NOT is_new AND NOT failed),
            groupArrayIf(cost, is_new AND NOT failed)) AS cost_of,
          if(arraySum(tokens_of.1) > 0 AND arraySum(tokens_of.2) > 0, tokens_of, ([], [])) AS used,
          if(arraySum(cost_of.1) > 0 AND arraySum(cost_of.2) > 0, cost_of, ([], [])) AS paid
        FROM (
          SELECT item, item_digest, trace_id, span_id, outcome != 'ok' AS failed,
            experiment != {baseline:String} AS is_new, latency_ns / 1e6 AS latency_ms,
            toFloat64({tokens}) AS tokens, ifNull(cost, 0) AS cost
          FROM runs FINAL
          WHERE {ours} {among}
          {first}
        ) AS run
        LEFT JOIN (
          SELECT trace_id, span_id,
            arraySort(groupArray((judge, judge_version, score, passed, failed))) AS said
          FROM scores_by_judge FINAL
          WHERE project = {project:String} AND start_ns >= {start:Int64}
            AND (trace_id, span_id) IN (SELECT trace_id, span_id FROM runs WHERE {ours} {among})
          GROUP BY trace_id, span_id
        ) AS score USING (trace_id, span_id)
        GROUP BY item
      ) AS each
      {content}
    )
    GROUP BY before, after, own_tags, own_source, is_own
    ORDER BY items[1]""")


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


def count_alike(
    reader: Reader,
    project: str,
    sides: tuple[str, str],
    start_ns: int,
    *,
    cluster: str = "",
    is_doubled: bool = True,
    most: int,
    items: Sequence[str] | None = None,
) -> list[Row]:
    """Count the items of an experiment and its baseline of which the runs say the same.

    Args:
        reader: The store.
        project: Whose.
        sides: The run ids of the baseline, empty without one, and of the experiment.
        start_ns: When the first of them began.
        cluster: The name of the tag that says what items belong to; ``source_run`` for theirs.
        is_doubled: Whether there may be several runs for one item and repeat.
        most: The ids of how many items of each group are given, the first ones.
        items: The ids of those that are wanted; None for all.

    Returns:
        Rows with `before` and `after`, lists of what is said of each run: the number of its digest
        among those of the item, whether it failed, and a list of judge, version, score, pass, and
        whether the judge failed; `tags`, pairs of name and JSON that many items have, or that say
        what they belong to; `source_run`, only where it does; `is_own`, whether an item belongs to
        what bears its own id; `count`; `items`; and of the runs that did not fail, one item after
        the other, `latency_before`, in milliseconds, `latency_after`, and so of tokens and cost.
    """
    asked = item_parameters(project, [one for one in sides if one], start_ns) | {
        "baseline": sides[0],
        "most": most,
        "cluster": cluster,
    }
    among = EMPTY
    if items is not None:
        among, asked["items"] = _AMONG, list(items)
    tags = reader.rows(_COMMON_TAGS.fill(ours=_OURS, among=among), asked)
    asked["tags"] = [f"{row['name']}={row['json']}" for row in tags]
    content = _CONTENT.fill(ours=_OURS, among=among) if tags or cluster else EMPTY
    sql = _ALIKE.fill(
        ours=_OURS,
        among=among,
        tokens=ALL_TOKENS,
        content=content,
        own=_OWN if content else _NO_CONTENT,
        first=_FIRST if is_doubled else EMPTY,
    )
    return reader.rows(sql, asked)


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
