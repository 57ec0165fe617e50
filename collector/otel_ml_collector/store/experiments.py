"""Queries about experiments: their runs on data set items, and the scores of these runs.

An experiment runs each item once or several times; `repeat` is the number of the repetition. If it
has several runs for the same item and repetition, the first one that ended counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml.attributes import RECORDED as RECORDED_RUNS
from otel_ml.statistics.scored_runs import DEFAULT_CLUSTER
from otel_ml_collector.store.amounts import RunAmounts
from otel_ml_collector.store.counted import DELIVERIES, RECORDED
from otel_ml_collector.store.reader import IDS, Reader, Row, run_id_of
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.scores import BY_JUDGE, SCORES, all_scores, newest_scores
from otel_ml_collector.store.sql import EMPTY, Sql
from otel_ml_collector.store.tables import IS_SCORE
from otel_ml_collector.store.targets import BY_IDS
from otel_ml_collector.times import AHEAD_NS, DAY_NS, SECOND_NS

# Maximum length of the expected value of an item, in characters of JSON.
_SHOWN_CHARS: Final = 2_000
# Maximum number of runs on items of a data set per comparison. With more, there is no verdict.
MOST_RUNS: Final = 250_000
_CALLED: Final = Sql("""project = {project:String} AND start_ns >= {start:Int64}
  AND experiment IN {experiments:Array(String)} AND item != ''""")
# Cancelled runs do not count: an interruption cancels a call, and it is run again.
FINISHED_CALLS: Final = _CALLED + Sql(" AND outcome != 'cancelled'")
# An item whose ID is a run ID was made from that recorded run. Experiments on such items can be
# compared with the recorded runs.
_IS_RUN_ID: Final = Sql("match(item, '^[0-9a-f]{32}-[0-9a-f]{16}$')")
_RUN_OF_ITEM: Final = Sql("""toFixedString(unhex(substring(item, 1, 32)), 16) AS trace_id,
  toFixedString(unhex(substring(item, 34, 16)), 8) AS span_id""")
_AMONG: Final = Sql("AND item IN {items:Array(String)}")
FIRST_ENDED: Final = Sql("""
  ORDER BY experiment, item, item_digest, repeat, start_ns + latency_ns, trace_id, span_id
  LIMIT 1 BY experiment, item, item_digest, repeat""")
# Counts without sorting. This is correct if each run has one row, and no two runs are for the same
# item and repetition, as is usual. Otherwise `is_doubled` is true.
_COUNTS: Final = Sql("""
    SELECT experiment, countIf(is_done) AS done, done AS every,
      countIf(is_done AND outcome != 'ok') AS errors, sumOrNullIf(cost, is_done) AS cost,
      count() != uniqExact(cityHash64(trace_id, span_id))
        OR done != uniqExactIf(cityHash64(item, item_digest, repeat), is_done) AS is_doubled
    FROM (SELECT *, outcome != 'cancelled' AS is_done FROM {deliveries} WHERE {called})
    GROUP BY experiment""").fill(deliveries=DELIVERIES, called=_CALLED)
_EXACT_COUNTS: Final = Sql("""
    SELECT experiment, count() AS done, countIf(outcome != 'ok') AS errors, sum(every) AS every,
      sumOrNull(paid) AS cost
    FROM (
      SELECT experiment, argMin(outcome, ended) AS outcome, argMin(paid, ended) AS paid,
        count() AS every
      FROM (
        SELECT experiment, item, item_digest, repeat, outcome, {cost} AS paid,
          (start_ns + latency_ns, trace_id, span_id) AS ended
        FROM {recorded} {joins}
        WHERE {ours}
      )
      GROUP BY experiment, item, item_digest, repeat
    )
    GROUP BY experiment""")
# Whether runs on items have calls inside them with tokens or cost.
_HAS_CALLS: Final = Sql("""
    SELECT 1 FROM {deliveries} WHERE project = {project:String} AND start_ns >= {start:Int64}
      AND item = '' AND kind != 'judge' AND (cost > 0 OR input_tokens > 0 OR output_tokens > 0)
      AND trace_id IN (SELECT trace_id FROM {deliveries} WHERE {ours}) LIMIT 1""").fill(
    deliveries=DELIVERIES, ours=FINISHED_CALLS
)
_SINCE: Final = Sql("project = {project:String} AND start_ns >= {start:Int64}")
_NEAR_RECORDED: Final = Sql("""project = {project:String} AND start_ns >= {recorded_first:Int64}
  AND start_ns <= {recorded_last:Int64} + {day}""").fill(day=DAY_NS)
_OF_ITEMS: Final = Sql("""project = {project:String} AND start_ns >= {recorded_first:Int64}
  AND start_ns <= {recorded_last:Int64} AND (trace_id, span_id) IN (
    SELECT {run} FROM {deliveries} WHERE {ours} AND {is_run_id} {among})""")
# Runs in a comparison: runs of experiments on items, and the recorded runs of items.
_MEMBERS: Final = Sql("""
      SELECT experiment, item, item_digest, toUInt64(repeat) AS repeat, {columns}
      FROM {recorded} {joins}
      WHERE {ours} {among}
      {first}""")
_RECORDED_MEMBERS: Final = Sql("""
      SELECT {name:String} AS experiment, item_id AS item, content AS item_digest,
        toUInt64(0) AS repeat, {columns}
      FROM (SELECT * FROM {recorded} {joins} WHERE {of_items}) AS run
      INNER JOIN (
        SELECT item AS item_id, any(item_digest) AS content, {run}
        FROM {deliveries} WHERE {ours} AND {is_run_id} {among}
        GROUP BY item
      ) AS called USING (trace_id, span_id)""")
# The start of a run in its scores differs from its own start only by rounding.
_SLACK_NS: Final = SECOND_NS
_FOR_EVER_NS: Final = 2**62
_SCORES: Final = Sql("""project = {project:String}
  AND start_ns >= {first:Int64} - {slack} AND start_ns <= {last:Int64} + {slack}""").fill(
    slack=_SLACK_NS
)
_ITEM_RUNS: Final = Sql("""
    SELECT * EXCEPT (trace_id, span_id), {ids} FROM ({members})
    ORDER BY experiment, item, item_digest, repeat LIMIT {most}""")
_LISTED: Final = Sql("""trace_id, span_id, start_ns, outcome, error_type, error_message, latency_ns,
  {tokens} AS tokens, {cost} AS paid, inputs_preview, outputs_preview""")
_COMPARED: Final = Sql("""trace_id, span_id, outcome != 'ok' AS failed,
  latency_ns / 1e6 AS latency_ms, toFloat64({tokens}) AS tokens, ifNull({cost}, 0) AS paid""")
_NEWEST_SCORES: Final = Sql("SELECT * EXCEPT (trace_id, span_id), {ids} FROM ({newest})").fill(
    ids=IDS,
    newest=newest_scores(
        all_scores(_SCORES + Sql(" AND ") + BY_IDS),
        columns=("score", "passed", "failed", "time_ns"),
    ),
) + Sql(" ORDER BY judge, judge_version, trace_id, span_id")
_JUDGE_ERRORS: Final = Sql("""
    SELECT toString(name) AS judge, toString(argMin(error, (time_ns, owner))) AS first_error
    FROM metrics WHERE project = {project:String} AND error != '' AND {is_score}
      AND owner IN (
        SELECT concat(lower(hex(trace_id)), '-', lower(hex(span_id)))
        FROM {deliveries} WHERE {ours})
    GROUP BY name""").fill(is_score=IS_SCORE, deliveries=DELIVERIES, ours=FINISHED_CALLS)
# Each row that is stored or deleted changes a sum.
_STATE: Final = Sql("""
    WITH (
      SELECT (min(start_ns), max(start_ns), count(), sum(cityHash64(span_id, rank, arrived_ns)))
      FROM {deliveries} WHERE ({called}){of_items}) AS runs
    SELECT runs, (
      SELECT (count(), sum(cityHash64(span_id, judge_version, rank, score, passed, failed)))
      FROM {scores}
      WHERE project = {project:String}
        AND start_ns >= runs.1 - {slack} AND start_ns <= runs.2 + {slack}) AS scores, (
      SELECT (count(), sum(cityHash64(rank, arrived_ns))) FROM items
      WHERE project = {project:String}) AS items, (
      SELECT sum(cityHash64(name, digest, structure, first_arrived_ns)) FROM model_versions
      WHERE project = {project:String} AND kind = 'judge') AS judges, (
      SELECT (count(), sum(cityHash64(ref, rank, arrived_ns))) FROM objects
      WHERE project = {project:String} AND owner = {owner:String}) AS manifest""").fill(
    deliveries=DELIVERIES,
    scores=SCORES,
    called=_CALLED,
    slack=_SLACK_NS,
    of_items=Sql("{of_items}"),
)
# How many times each item passed and failed. A failed call counts as failed. Any other run passes
# if the newest score of every judge passes. Without a pass or fail, it counts as neither.
_JUDGED: Final = Sql("""
    SELECT item, item_digest, sum(passes) AS passed, sum(fails) AS failed,
      max(passes > 0 AND fails > 0) AS is_flaky
    FROM (
      SELECT item, item_digest, experiment, countIf(word = 2) AS passes, countIf(word = 1) AS fails
      FROM (
        SELECT item, item_digest, experiment, if(outcome != 'ok', 1, passed_word) AS word
        FROM (
          SELECT experiment, item, item_digest, repeat, trace_id, span_id, outcome
          FROM {recorded}
          WHERE {ours}
          {first}
        ) AS run
        LEFT JOIN (
          SELECT trace_id, span_id, min(passed) + 1 AS passed_word
          FROM ({newest}) WHERE passed IS NOT NULL
          GROUP BY trace_id, span_id
        ) AS score USING (trace_id, span_id)
      )
      GROUP BY item, item_digest, experiment
    )
    WHERE (item, item_digest) IN ({within})
    GROUP BY item, item_digest""")

# Tags that are not rare, because only these can be slices. JSON forms of one text, such as "1" and
# 1, are counted separately. An item has one row for each repetition, both in the experiment and in
# the baseline.
_COMMON_TAGS: Final = Sql("""
    SELECT tag.1 AS name, tag.2 AS json
    FROM (SELECT item_digest AS digest FROM {recorded} WHERE {ours} {among}) AS run
    INNER JOIN (
      SELECT digest, tags FROM items
      WHERE project = {project:String} AND tags NOT IN ('', '{}')
        AND digest IN (SELECT item_digest FROM {deliveries} WHERE {ours} {among})
      ORDER BY digest, rank DESC LIMIT 1 BY digest
    ) AS content USING (digest)
    ARRAY JOIN JSONExtractKeysAndValuesRaw(tags) AS tag
    GROUP BY name, json HAVING count() >= 5 ORDER BY count() DESC, name, json LIMIT 1000""")
_CONTENT: Final = Sql("""
    LEFT JOIN (
      SELECT digest, tags, source_run, source_session FROM items
      WHERE project = {project:String}
        AND digest IN (SELECT item_digest FROM {deliveries} WHERE {ours} {among})
      ORDER BY digest, rank DESC LIMIT 1 BY digest
    ) AS content USING (digest)""")
_SESSION: Final = Sql("""
    SELECT 1 FROM items WHERE project = {project:String} AND source_session != '' LIMIT 1""")
_OWN: Final = Sql("""
    arrayFilter(
      one -> one.1 = {cluster:String} OR concat(one.1, '=', one.2) IN {tags:Array(String)},
      JSONExtractKeysAndValuesRaw(tags)) AS own_tags,
    multiIf({cluster:String} = 'source_run', content.source_run,
      {cluster:String} = 'source_session', content.source_session, '') AS own_source,
    item IN (own_source, JSONExtractString(tags, {cluster:String}),
      JSONExtractRaw(tags, {cluster:String})) AS is_own""")
_NO_CONTENT: Final = Sql("""
    CAST([], 'Array(Tuple(String, String))') AS own_tags, '' AS own_source, false AS is_own""")
_TAGS: Final = Sql("""
    SELECT digest, tags, source_run, source_session,
      if(length(expected) <= {chars}, expected, '') AS expected,
      if(length(expected) <= {chars}, '', substringUTF8(expected, 1, {chars})) AS cut
    FROM items
    WHERE project = {project:String} AND digest IN {digests:Array(String)}
    ORDER BY digest, rank DESC LIMIT 1 BY digest""").fill(chars=_SHOWN_CHARS)
# Groups items whose runs have the same results in the experiment and in its baseline, in any order.
# Measured values of each run, such as its latency, are returned in lists.
_ALIKE: Final = Sql("""
    SELECT before, after, own_tags AS tags, own_source AS source, is_own, count() AS count,
      arraySlice(arraySort(groupArray(item)), 1, {most:UInt32}) AS items,
      arrayFlatten(groupArray(took.1)) AS latency_before,
      arrayFlatten(groupArray(took.2)) AS latency_after,
      arrayFlatten(groupArray(used.1)) AS tokens_before,
      arrayFlatten(groupArray(used.2)) AS tokens_after,
      arrayFlatten(groupArray(costs.1)) AS cost_before,
      arrayFlatten(groupArray(costs.2)) AS cost_after
    FROM (
      SELECT item, took, used, costs, {own},
        arrayMap(one -> (indexOf(digests, one.1), one.2, one.3), sides.1) AS before,
        arrayMap(one -> (indexOf(digests, one.1), one.2, one.3), sides.2) AS after
      FROM (
        SELECT item, arraySort(groupUniqArray(item_digest)) AS digests,
          (arraySort(groupArrayIf((item_digest, failed, scores), NOT is_new)),
            arraySort(groupArrayIf((item_digest, failed, scores), is_new))) AS sides,
          if(empty(sides.2), sides.1, sides.2)[1].1 AS digest,
          (groupArrayIf(latency_ms, NOT is_new AND NOT failed),
            groupArrayIf(latency_ms, is_new AND NOT failed)) AS took,
          (groupArrayIf(tokens, NOT is_new AND NOT failed),
            groupArrayIf(tokens, is_new AND NOT failed)) AS tokens_of,
          (groupArrayIf(run.paid, NOT is_new AND NOT failed),
            groupArrayIf(run.paid, is_new AND NOT failed)) AS cost_of,
          if(arraySum(tokens_of.1) > 0 AND arraySum(tokens_of.2) > 0, tokens_of, ([], [])) AS used,
          if(arraySum(cost_of.1) > 0 AND arraySum(cost_of.2) > 0, cost_of, ([], [])) AS costs
        FROM (
          SELECT *, experiment != {baseline:String} AS is_new FROM ({members})
        ) AS run
        LEFT JOIN (
          SELECT trace_id, span_id,
            arraySort(groupArray((judge, judge_version, score, passed, failed))) AS scores
          FROM ({newest}) GROUP BY trace_id, span_id
        ) AS score USING (trace_id, span_id)
        GROUP BY item
      ) AS each
      {content}
    )
    GROUP BY before, after, own_tags, own_source, is_own
    ORDER BY items[1]""")


@dataclass(frozen=True, slots=True)
class ItemsState:
    """A fingerprint of the stored data of some experiments, used to cache their results.

    As long as the fingerprint is the same, the results are the same too.

    Attributes:
        sign: The fingerprint. It changes with each stored or deleted row, even if several
            collectors write.
        first_ns: Start of the first run on an item.
        last_ns: Start of the last run on an item.
    """

    sign: str
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class RecordedWindow:
    """Start of the first and the last recorded run from which the items were made."""

    first_ns: int
    last_ns: int


def item_parameters(
    project: str,
    experiments: Sequence[str],
    start_ns: int,
    state: ItemsState | None = None,
    recorded: RecordedWindow | None = None,
) -> dict[str, Any]:
    """Return parameters for the queries that read the runs of experiments on data set items.

    Args:
        project: The project.
        experiments: Run IDs of the experiments.
        start_ns: Start of the first experiment. Queries begin an hour earlier, because clocks may
            differ.
        state: The result of `read_state`, if you have it. It contains the time range of the runs,
            so that the queries read fewer scores.
        recorded: To compare the experiments with the recorded runs from which the items were made,
            the time range of these runs. They are read like the runs of one more experiment, which
            is named `RECORDED_RUNS`. If None, they are not read.
    """
    window = (
        {}
        if recorded is None
        else {"recorded_first": recorded.first_ns, "recorded_last": recorded.last_ns}
    )
    return {
        **window,
        "name": RECORDED_RUNS,
        "project": project,
        "experiments": list(experiments),
        "start": start_ns - AHEAD_NS,
        "first": start_ns - AHEAD_NS if state is None else state.first_ns,
        "last": _FOR_EVER_NS if state is None else state.last_ns,
    }


def read_state(
    reader: Reader,
    project: str,
    experiments: Sequence[str],
    start_ns: int,
    owner: str = "",
    *,
    recorded: RecordedWindow | None = None,
) -> ItemsState:
    """Read the fingerprint of experiments and of the item list of a data set version (`owner`)."""
    asked = item_parameters(project, experiments, start_ns, None, recorded) | {"owner": owner}
    of_items = (
        EMPTY if recorded is None else Sql(" OR ({of_items})").fill(of_items=_of_items(EMPTY))
    )
    [row] = reader.rows(_STATE.fill(of_items=of_items), asked)
    return ItemsState(repr(row), row["runs"][0], row["runs"][1])


def count_item_runs(
    reader: Reader, project: str, experiments: Sequence[str], start_ns: int
) -> dict[str, Row]:
    """Count the finished runs of some experiments on data set items.

    An experiment can have several runs for the same repetition of an item, for example if it was
    started twice. Then only the run that ended first counts, except in `every`.

    Returns:
        For each experiment with such runs, a row with these numbers:

        * `done`: Number of runs that count.
        * `errors`: Number of them that failed.
        * `cost`: Their cost in dollars. None if it is not known.
        * `every`: Number of all finished runs.
    """
    asked = item_parameters(project, experiments, start_ns)
    rows = reader.rows(_COUNTS, asked)
    amounts = _choose_amounts(reader, asked)
    exact = [row["experiment"] for row in rows if row["is_doubled"] or amounts.joins]
    if exact:
        sql = _EXACT_COUNTS.fill(
            cost=amounts.cost, joins=amounts.joins, recorded=RECORDED, ours=FINISHED_CALLS
        )
        again = reader.rows(sql, item_parameters(project, exact, start_ns))
        rows = [row for row in rows if row["experiment"] not in exact] + again
    return {row["experiment"]: row for row in rows if row["done"]}


def list_items(
    reader: Reader, project: str, experiment: str, start_ns: int, *, after: str, limit: int
) -> list[str]:
    """List the IDs of an experiment's items in order, starting after an ID."""
    sql = Sql("""
        SELECT DISTINCT item FROM {deliveries}
        WHERE {ours} AND item > {after:String}
        ORDER BY item LIMIT {limit:UInt32}""").fill(deliveries=DELIVERIES, ours=FINISHED_CALLS)
    parameters = item_parameters(project, [experiment], start_ns)
    rows = reader.rows(sql, {**parameters, "after": after, "limit": limit})
    return [row["item"] for row in rows]


def read_item_runs(
    reader: Reader,
    project: str,
    experiments: Sequence[str],
    start_ns: int,
    items: Sequence[str],
    *,
    recorded: RecordedWindow | None = None,
) -> tuple[list[Row], list[Row]]:
    """Read the runs of some experiments on some data set items, and the scores of these runs.

    Args:
        reader: The store.
        project: The project.
        experiments: Run IDs of the experiments.
        start_ns: Start of the earliest experiment.
        items: IDs of the items.
        recorded: To read also the recorded runs from which the items were made, the time range of
            these runs. They are returned as runs of an experiment named `RECORDED_RUNS`.

    Returns:
        Two lists. The first has the runs, by experiment, then by item and repetition. The second
        has the newest score of each judge version for each run, with `trace_id`, `span_id`,
        `judge`, `judge_version`, `score`, `passed`, `failed` and `time_ns`.
    """
    asked = item_parameters(project, experiments, start_ns, None, recorded)
    amounts = _choose_amounts(reader, asked)
    columns = _LISTED.fill(tokens=amounts.tokens, cost=amounts.cost)
    members = _members(asked, columns, _AMONG, FIRST_ENDED, amounts)
    sql = _ITEM_RUNS.fill(ids=IDS, members=members, most=MOST_RUNS)
    rows = reader.rows(sql, asked | {"items": list(items)})
    if not rows:
        return [], []
    times = [row["start_ns"] for row in rows]
    asked = {"project": project, "first": min(times), "last": max(times)}
    return rows, reader.rows(_NEWEST_SCORES, asked | {"ids": [run_id_of(row) for row in rows]})


def read_judge_errors(
    reader: Reader, project: str, experiment: str, start_ns: int
) -> dict[str, str]:
    """Read the first error of each judge that failed on runs of an experiment, by judge."""
    asked = item_parameters(project, [experiment], start_ns)
    rows = reader.rows(_JUDGE_ERRORS, asked)
    return {row["judge"]: row["first_error"] for row in rows}


def count_alike(
    reader: Reader,
    asked: Mapping[str, Any],
    baseline: str,
    *,
    cluster: str = "",
    is_doubled: bool = True,
    most: int,
    items: Sequence[str] | None = None,
) -> list[Row]:
    """Count the items of an experiment and its baseline, grouped by equal results of their runs.

    Args:
        reader: The store.
        asked: The `item_parameters` of the experiment and its baseline.
        baseline: Run ID of the baseline; empty if there is none.
        cluster: Name of the tag by which items are clustered, or ``source_run`` or
            ``source_session``.
        is_doubled: Whether an experiment may have several runs for the same item and repetition.
        most: Maximum number of item IDs to return for each group.
        items: IDs of the items to count; None for all.

    Returns:
        A row for each group of items:

        * `before`, `after`: The results of an item's runs in the baseline and in the experiment.
          Each result has three parts: which version of the item's content was used (1 for the first
          digest), whether the run failed, and a list of scores. A score is (judge, version, score,
          passed, whether the judge failed).
        * `tags`: Pairs (name, JSON) of common tags, and of the tag by which items are clustered.
        * `source`: Run or session from which the items were made, if they are clustered by it.
        * `is_own`: Whether the ID of each item is also the name of its cluster.
        * `count`: Number of items.
        * `items`: Their first IDs, in order.
        * `latency_before`, `latency_after`: Milliseconds of runs that did not fail, in the order of
          items.
        * `tokens_before`, `tokens_after`, `cost_before`, `cost_after`: The same for tokens and
          cost, for items that have them in both the baseline and the experiment.
    """
    asked = {**asked, "baseline": baseline, "most": most, "cluster": cluster}
    among = EMPTY
    if items is not None:
        among, asked["items"] = _AMONG, list(items)
    if cluster == DEFAULT_CLUSTER and not reader.rows(_SESSION, asked):
        cluster = asked["cluster"] = ""
    tags = reader.rows(
        _COMMON_TAGS.fill(
            deliveries=DELIVERIES, recorded=RECORDED, ours=FINISHED_CALLS, among=among
        ),
        asked,
    )
    asked["tags"] = [f"{row['name']}={row['json']}" for row in tags]
    content = (
        _CONTENT.fill(deliveries=DELIVERIES, ours=FINISHED_CALLS, among=among)
        if tags or cluster
        else EMPTY
    )
    amounts = _choose_amounts(reader, asked)
    sql = _ALIKE.fill(
        members=_members(
            asked,
            _COMPARED.fill(tokens=amounts.tokens, cost=amounts.cost),
            among,
            FIRST_ENDED if is_doubled else EMPTY,
            amounts,
        ),
        content=content,
        own=_OWN if content else _NO_CONTENT,
        newest=newest_scores(_scores_of(asked, among)),
    )
    return reader.rows(sql, asked)


def read_item_content(reader: Reader, project: str, digests: Iterable[str]) -> dict[str, Row]:
    """Read the tags, the expected value and the source of data set items.

    Args:
        reader: The store.
        project: The project.
        digests: Digests of the items' content, which identify the items.

    Returns:
        One row for each digest, with these columns:

        * `tags`: The tags, as JSON.
        * `expected`: The expected value, as JSON; empty if it is long.
        * `cut`: The beginning of a long expected value; otherwise empty.
        * `source_run`, `source_session`: The run and the session from which the item was made.
    """
    asked = {"project": project, "digests": sorted(set(digests))}
    return {row["digest"]: row for row in reader.rows(_TAGS, asked)}


def judge_items(within: Sql, *, is_doubled: bool) -> Sql:
    """Return the SQL that counts how many runs of each data set item passed and failed.

    Args:
        within: SQL that selects the items to count, as pairs (item ID, digest of its content).
        is_doubled: Whether an experiment may have several runs for the same item and the same
            repetition number. Then only the one that ended first counts.

    Returns:
        SQL that selects `item`, `item_digest`, `passed`, `failed` and `is_flaky`. An item is flaky
        if it both passed and failed in the same experiment. To run the SQL, pass the parameters
        that `item_parameters` returns, and any parameters that `within` contains.
    """
    first = FIRST_ENDED if is_doubled else EMPTY
    newest = newest_scores(_scores_of({}, EMPTY), by=BY_JUDGE, columns=("passed",))
    return _JUDGED.fill(
        recorded=RECORDED, ours=FINISHED_CALLS, newest=newest, first=first, within=within
    )


def _of_items(among: Sql) -> Sql:
    """Write the condition on recorded runs from which items were made."""
    return _OF_ITEMS.fill(
        run=_RUN_OF_ITEM,
        deliveries=DELIVERIES,
        ours=FINISHED_CALLS,
        is_run_id=_IS_RUN_ID,
        among=among,
    )


@dataclass(frozen=True, slots=True)
class _ItemAmounts:
    """The SQL for the tokens and cost of runs on items.

    Attributes:
        tokens, cost: SQL expressions, for a query that also has the joins.
        joins: SQL that joins the calls inside the runs; empty if no run has calls inside.
        recorded_joins: The same for the recorded runs from which the items were made.
    """

    tokens: Sql
    cost: Sql
    joins: Sql
    recorded_joins: Sql


_PLAIN_RUN: Final = RunAmounts(is_resolved=False)
_OWN_AMOUNTS: Final = _ItemAmounts(_PLAIN_RUN.tokens, _PLAIN_RUN.cost, EMPTY, EMPTY)


def _choose_amounts(reader: Reader, asked: Mapping[str, Any]) -> _ItemAmounts:
    """Choose how amounts are read: with the calls inside runs only if there are any."""
    has_recorded = "recorded_first" in asked
    if not has_recorded and not reader.rows(_HAS_CALLS, dict(asked)):
        return _OWN_AMOUNTS
    is_resolved = find_record_kinds(reader, asked["project"]).resolved
    amounts = RunAmounts(is_resolved)
    return _ItemAmounts(
        amounts.tokens_with_inside,
        amounts.cost_with_inside,
        amounts.sum_inside(FINISHED_CALLS, _SINCE),
        amounts.sum_inside(_of_items(EMPTY), _NEAR_RECORDED) if has_recorded else EMPTY,
    )


def _members(
    asked: Mapping[str, Any], columns: Sql, among: Sql, first: Sql, amounts: _ItemAmounts
) -> Sql:
    """Write the SQL for the runs of the experiments, with the given columns."""
    members = _MEMBERS.fill(
        columns=columns,
        recorded=RECORDED,
        joins=amounts.joins,
        ours=FINISHED_CALLS,
        among=among,
        first=first,
    )
    if "recorded_first" not in asked:
        return members
    recorded = _RECORDED_MEMBERS.fill(
        columns=columns,
        recorded=RECORDED,
        joins=amounts.recorded_joins,
        of_items=_of_items(among),
        run=_RUN_OF_ITEM,
        deliveries=DELIVERIES,
        ours=FINISHED_CALLS,
        is_run_id=_IS_RUN_ID,
        among=among,
    )
    return Sql("SELECT * FROM ({members}) UNION ALL {recorded}").fill(
        members=members, recorded=recorded
    )


def _scores_of(asked: Mapping[str, Any], among: Sql) -> Sql:
    """Write the SQL for all scores of the runs of the experiments, optionally for some items."""
    runs = Sql("SELECT trace_id, span_id FROM {deliveries} WHERE {ours} {among}").fill(
        deliveries=DELIVERIES, ours=FINISHED_CALLS, among=among
    )
    if "recorded_first" in asked:
        runs += Sql(
            " UNION ALL SELECT {run} FROM {deliveries} WHERE {ours} AND {is_id} {among}"
        ).fill(
            run=_RUN_OF_ITEM,
            deliveries=DELIVERIES,
            ours=FINISHED_CALLS,
            is_id=_IS_RUN_ID,
            among=among,
        )
    return all_scores(_SCORES + Sql(" AND (trace_id, span_id) IN ({runs})").fill(runs=runs))
