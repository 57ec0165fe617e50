"""Reads what late-arriving records say about runs, for their rows in `runs`.

Only records count that name the run itself, and not those of its trace key or of one of its tags.
Design record: docs/design/074-scores-in-rows.md.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Final

from otel_ml.records import Metric
from otel_ml_collector.owners import FIRST, split_run_id
from otel_ml_collector.resolution import LateValues, ResolvedRun
from otel_ml_collector.store.call_runs import IN_PROJECTS, divide, read_rows
from otel_ml_collector.store.connection import Memory
from otel_ml_collector.store.rows import RunName
from otel_ml_collector.store.scores import RESULT, SCORES, newest_columns
from otel_ml_collector.store.sql import Sql, StoreClient
from otel_ml_collector.store.tables import IS_SCORE, WORD, is_score
from otel_ml_collector.times import DAY_NS, SECOND_NS

# Record kinds in `Memory`: the project has scores of runs; it had none at the last check.
_HAS_SCORES: Final = "scores"
_UNSCORED: Final = "unscored"
# Runs whose scores are read at once.
_RUNS_AT_ONCE: Final = 2_000
_HAS_LABELS: Final = "labels"
_UNLABELLED: Final = "unlabelled"
_IS_LABEL: Final = Sql("source = 'human' AND owner < '{first}'").fill(first=Sql(FIRST))
_LABELLED_PROJECTS: Final = Sql(
    "SELECT DISTINCT toString(project) AS project FROM metrics WHERE {wanted} AND {is_label}"
).fill(wanted=IN_PROJECTS, is_label=_IS_LABEL)
# The newest label of each name for some runs of several projects; see `record_kinds.words`.
_LABELS_OF_RUNS: Final = Sql("""
    SELECT project, owner, name, argMax(last_word.1, (last_word.2, record_id)) AS newest
    FROM (
      SELECT toString(project) AS project, owner, toString(name) AS name, record_id,
        argMax(({word}, time_ns), time_ns) AS last_word
      FROM metrics WHERE {wanted} AND {is_label} AND owner IN {owners:Array(String)}
      GROUP BY project, owner, name, record_id)
    WHERE last_word.1 != '' GROUP BY project, owner, name ORDER BY name""").fill(
    word=WORD, wanted=IN_PROJECTS, is_label=_IS_LABEL
)
_SCORED_PROJECTS: Final = Sql(
    "SELECT DISTINCT toString(project) AS project FROM {scores} WHERE {wanted}"
).fill(scores=SCORES, wanted=IN_PROJECTS)
# The newest score of each judge for some runs of several projects.
_OF_JUDGES: Final = Sql("""
    SELECT project, lower(hex(trace_id)) AS trace_id, lower(hex(span_id)) AS span_id,
      judge, result.1 AS number, result.2 AS has_passed, result.3 AS has_failed
    FROM (
      SELECT toString(project) AS project, trace_id, span_id, toString(judge) AS judge,
        {newest} AS result
      FROM {scores} AS scored
      WHERE {wanted} AND (start_ns = 0 OR (start_ns >= {first:Int64} AND start_ns <= {last:Int64}))
        AND reinterpretAsUInt64(span_id) IN {spans:Array(UInt64)}
      GROUP BY project, trace_id, span_id, judge)
    ORDER BY judge""").fill(newest=newest_columns(RESULT), scores=SCORES, wanted=IN_PROJECTS)
_ARRIVED_SCORES: Final = Sql("""
    SELECT DISTINCT toString(project) AS project, owner FROM metrics
    WHERE arrived_ns > {after:Int64} AND arrived_ns <= {until:Int64} AND {is_score}
      AND owner < '{first}' LIMIT {most:UInt32}""").fill(is_score=IS_SCORE, first=Sql(FIRST))
_SCORED_ON_DAY: Final = Sql("""
    SELECT DISTINCT toString(project) AS project,
      concat(lower(hex(trace_id)), '-', lower(hex(span_id))) AS owner
    FROM {scores} WHERE start_ns = 0 OR (start_ns >= {start:Int64} AND start_ns < {end:Int64})
    """).fill(scores=SCORES)


def has_scores(memory: Memory, project: str) -> bool:
    """Return whether a project is known to have scores of runs."""
    return _HAS_SCORES in memory.recall(project)[0]


def find_late_projects(
    client: StoreClient, memory: Memory, projects: Iterable[str]
) -> Collection[str]:
    """Return those of the projects that have scores of runs, with at most one query."""
    return _find_projects(client, memory, projects, _SCORED_PROJECTS, (_HAS_SCORES, _UNSCORED))


def _find_projects(
    client: StoreClient,
    memory: Memory,
    projects: Iterable[str],
    sql: Sql,
    names: tuple[str, str],
) -> set[str]:
    """Return those of the projects that have records of a kind.

    Args:
        client: The store.
        memory: Remembers the answers.
        projects: The projects.
        sql: Finds the projects with such records.
        names: In memory, that a project has such records, and that it had none.
    """
    has, lacks = names
    found, unknown = set(), set()
    for project in projects:
        kinds, _ = memory.recall(project)
        if has in kinds:
            found.add(project)
        elif lacks not in kinds or not memory.is_alone:
            unknown.add(project)
    for part in divide(sorted(unknown)):
        for row in read_rows(client, sql, {"projects": part}):
            found.add(row["project"])
            memory.note(row["project"], [has])
        for project in {*part} - found:
            memory.note(project, [lacks])
    return found


def note_labels(memory: Memory, scores: Mapping[RunName, Sequence[Metric]]) -> set[RunName]:
    """Note the projects with labels among scores that are about to be stored. Return their runs."""
    labelled = {
        run for run, of_run in scores.items() if any(score.source == "human" for score in of_run)
    }
    for project in {run[0] for run in labelled}:
        memory.note(project, [_HAS_LABELS])
    return labelled


def add_late_values(
    client: StoreClient, memory: Memory, runs: Sequence[ResolvedRun]
) -> list[ResolvedRun]:
    """Add the newest scores that the store has to runs, in the same order.

    Only scores count that name the run, and not those of its trace key or of one of its tags.
    """
    added = [*runs]
    scored = find_late_projects(client, memory, {run.project for run in runs})
    places = [place for place, run in enumerate(runs) if run.project in scored]
    places.sort(key=lambda place: runs[place].start_ns)
    for first in range(0, len(places), _RUNS_AT_ONCE):
        part = places[first : first + _RUNS_AT_ONCE]
        newest = _read_newest(client, memory, [runs[place] for place in part])
        for place in part:
            run = runs[place]
            key = run.project, run.trace_id.hex(), run.span_id.hex()
            if (late := newest.get(key)) is not None:
                added[place] = replace(run, late=late)
    return added


def _read_newest(
    client: StoreClient, memory: Memory, runs: Sequence[ResolvedRun]
) -> dict[tuple[str, str, str], LateValues]:
    """Read the newest scores of runs, which are sorted by start: by project, trace and span ID."""
    # The start of a run in its scores differs from its own start only by rounding.
    values = {
        "projects": sorted({run.project for run in runs}),
        "first": runs[0].start_ns - SECOND_NS,
        "last": runs[-1].start_ns + SECOND_NS,
        "spans": [int.from_bytes(run.span_id, "little") for run in runs],
    }
    numbers: defaultdict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    passes: defaultdict[tuple[str, str, str], dict[str, bool]] = defaultdict(dict)
    failed: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in read_rows(client, _OF_JUDGES, values):
        key = row["project"], row["trace_id"], row["span_id"]
        if row["number"] is not None:
            numbers[key][row["judge"]] = row["number"]
        if row["has_passed"] is not None:
            passes[key][row["judge"]] = bool(row["has_passed"])
        if row["has_failed"]:
            failed[key].append(row["judge"])
    labels = _read_labels(client, memory, runs)
    return {
        key: LateValues(
            numbers.get(key, {}), passes.get(key, {}), failed.get(key, ()), labels.get(key, {})
        )
        for key in numbers.keys() | passes.keys() | failed.keys() | labels.keys()
    }


def _read_labels(
    client: StoreClient, memory: Memory, runs: Sequence[ResolvedRun]
) -> Mapping[RunName, Mapping[str, str]]:
    """Read the newest labels of runs by reviewers, as JSON text."""
    names = (_HAS_LABELS, _UNLABELLED)
    projects = {run.project for run in runs}
    labelled = _find_projects(client, memory, projects, _LABELLED_PROJECTS, names)
    owners = {
        f"{run.trace_id.hex()}-{run.span_id.hex()}" for run in runs if run.project in labelled
    }
    labels: defaultdict[RunName, dict[str, str]] = defaultdict(dict)
    if owners:
        values = {"projects": sorted(labelled), "owners": sorted(owners)}
        for row in read_rows(client, _LABELS_OF_RUNS, values):
            trace_id, span_id = split_run_id(row["owner"])
            labels[row["project"], trace_id, span_id][row["name"]] = row["newest"]
    return labels


def group_scores(metrics: Iterable[Metric]) -> dict[RunName, list[Metric]]:
    """Group the scores among some records by the run that they name."""
    scores: defaultdict[RunName, list[Metric]] = defaultdict(list)
    for metric in metrics:
        if is_score(metric):
            trace_id, span_id = split_run_id(metric.owner)
            scores[metric.project, trace_id, span_id].append(metric)
    return dict(scores)


def find_newest(scores: Iterable[Metric]) -> LateValues:
    """Find the newest score of each judge among all scores of a run, by the rule `LAST`."""
    last = {
        score.name: score
        for score in sorted(scores, key=attrgetter("time_ns", "judge_version", "record_id"))
    }
    by_judge = sorted(last.items())
    return LateValues(
        {judge: score.value for judge, score in by_judge if score.value is not None},
        {judge: score.passed for judge, score in by_judge if score.passed is not None},
        [judge for judge, score in by_judge if score.error != ""],
    )


def find_arrived_values(
    client: StoreClient, after_ns: int, until_ns: int, most: int
) -> list[tuple[str, str]]:
    """Find the runs with scores that arrived in an interval: project and run ID; at most `most`."""
    values = {"after": after_ns, "until": until_ns, "most": most}
    rows = read_rows(client, _ARRIVED_SCORES, values)
    return [(row["project"], row["owner"]) for row in rows]


def find_late_on(client: StoreClient, day_ns: int) -> list[tuple[str, str]]:
    """Find the runs of a day that have scores, and those whose scores came without a start."""
    rows = read_rows(client, _SCORED_ON_DAY, {"start": day_ns, "end": day_ns + DAY_NS})
    return [(row["project"], row["owner"]) for row in rows]
