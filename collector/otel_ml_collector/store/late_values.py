"""Reads what late-arriving records say about runs, for their rows in `runs`.

Only records count that name the run itself, and not those of its trace key or of one of its tags.
Design record: docs/design/074-scores-in-rows.md.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

import orjson

from otel_ml.records import LateTag, Metric
from otel_ml_collector.owners import FIRST, is_run, split_run_id
from otel_ml_collector.records import Records
from otel_ml_collector.resolution import LateValues, ResolvedRun
from otel_ml_collector.store.call_runs import IN_PROJECTS, divide, read_rows
from otel_ml_collector.store.connection import Memory
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.reader import Row
from otel_ml_collector.store.rows import RunName
from otel_ml_collector.store.scores import RESULT, SCORES, newest_columns
from otel_ml_collector.store.sql import Sql, StoreClient
from otel_ml_collector.store.tables import IS_SCORE, WORD, is_score
from otel_ml_collector.times import DAY_NS, SECOND_NS

# What `Memory` knows of a project: it has scores, labels or late tags of runs, or it had none when
# that was last checked.
_HAS_SCORES: Final = "scores"
_UNSCORED: Final = "unscored"
_HAS_LABELS: Final = "labels"
_UNLABELLED: Final = "unlabelled"
_HAS_TAGS: Final = "tags"
_UNTAGGED: Final = "untagged"
# Runs whose late values are read at once.
_RUNS_AT_ONCE: Final = 2_000
_IS_LABEL: Final = Sql("source = 'human' AND owner < '{first}'").fill(first=Sql(FIRST))
_LABELLED_PROJECTS: Final = Sql(
    "SELECT DISTINCT toString(project) AS project FROM metrics WHERE {wanted} AND {is_label}"
).fill(wanted=IN_PROJECTS, is_label=_IS_LABEL)
# Reads the newest label of each name, for runs of several projects; see `record_kinds.words`.
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
# Reads the newest score of each judge, for runs of several projects.
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
_TAGGED_PROJECTS: Final = Sql(
    "SELECT DISTINCT toString(project) AS project FROM late_tags WHERE {wanted}"
).fill(wanted=IN_PROJECTS)
# Reads the newest late tag of each name, for runs of several projects; see
# `record_kinds.late_tags`.
_TAGS_OF_RUNS: Final = Sql("""
    SELECT toString(project) AS project, owner, toString(name) AS name,
      argMax(value, (time_ns, record_id)) AS newest, max(time_ns) AS newest_ns
    FROM late_tags WHERE {wanted} AND owner IN {owners:Array(String)}
    GROUP BY project, owner, name ORDER BY name""").fill(wanted=IN_PROJECTS)
_ARRIVED: Final = Sql("""
    SELECT DISTINCT toString(project) AS project, owner FROM (
      SELECT project, owner FROM metrics WHERE {new} AND {is_score}
      UNION ALL SELECT project, owner FROM late_tags WHERE {new})
    LIMIT {most:UInt32}""").fill(
    new=Sql("""arrived_ns > {after:Int64} AND arrived_ns <= {until:Int64}
      AND owner < '{first}'""").fill(first=Sql(FIRST)),
    is_score=IS_SCORE,
)
_LATE_ON_DAY: Final = Sql("""
    SELECT DISTINCT toString(project) AS project,
      concat(lower(hex(trace_id)), '-', lower(hex(span_id))) AS owner
    FROM {scores} WHERE start_ns = 0 OR ({on_day})
    UNION DISTINCT
    SELECT toString(project) AS project, owner FROM late_tags
    WHERE owner < '{first}' AND (project, substring(owner, 1, 32)) IN (
      SELECT project, lower(hex(trace_id)) FROM {deliveries} WHERE {on_day})""").fill(
    scores=SCORES,
    deliveries=DELIVERIES,
    first=Sql(FIRST),
    on_day=Sql("start_ns >= {start:Int64} AND start_ns < {end:Int64}"),
)


def has_late_values(memory: Memory, project: str) -> bool:
    """Return whether a project is known to have scores or late tags."""
    return not memory.recall(project)[0].isdisjoint({_HAS_SCORES, _HAS_TAGS})


def find_late_projects(
    client: StoreClient, memory: Memory, projects: Iterable[str]
) -> Collection[str]:
    """Return those of the projects that have scores of runs or late tags."""
    names = {*projects}
    return _find_scored(client, memory, names) | _find_tagged(client, memory, names)


def _find_scored(client: StoreClient, memory: Memory, projects: Collection[str]) -> set[str]:
    return _find_projects(client, memory, projects, _SCORED_PROJECTS, (_HAS_SCORES, _UNSCORED))


def _find_tagged(client: StoreClient, memory: Memory, projects: Collection[str]) -> set[str]:
    return _find_projects(client, memory, projects, _TAGGED_PROJECTS, (_HAS_TAGS, _UNTAGGED))


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


@dataclass(frozen=True, slots=True)
class RecordsOfRun:
    """The scores and the late tags that name one run, among records that arrived together."""

    scores: Sequence[Metric] = ()
    tags: Sequence[LateTag] = ()

    @property
    def start_ns(self) -> int:
        """When the run started, in nanoseconds since 1970; 0 if a record does not say it."""
        return 0 if self.tags else min(score.owner_start_ns for score in self.scores)


def note_labels(memory: Memory, late: Mapping[RunName, RecordsOfRun]) -> set[RunName]:
    """Note the projects with labels among scores that are about to be stored. Return their runs."""
    labelled = {
        run
        for run, of_run in late.items()
        if any(score.source == "human" for score in of_run.scores)
    }
    for project in {run[0] for run in labelled}:
        memory.note(project, [_HAS_LABELS])
    return labelled


def add_late_values(
    client: StoreClient, memory: Memory, runs: Sequence[ResolvedRun]
) -> list[ResolvedRun]:
    """Add the newest scores and late tags that the store has to runs, in the same order.

    Only those count that name the run, and not those of its trace key or of one of its tags.
    """
    added = [*runs]
    late_projects = find_late_projects(client, memory, {run.project for run in runs})
    places = [place for place, run in enumerate(runs) if run.project in late_projects]
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
) -> dict[RunName, LateValues]:
    """Read the newest scores and late tags of runs, which are sorted by start."""
    numbers: defaultdict[RunName, dict[str, float]] = defaultdict(dict)
    passes: defaultdict[RunName, dict[str, bool]] = defaultdict(dict)
    failed: defaultdict[RunName, list[str]] = defaultdict(list)
    for row in _read_scores(client, memory, runs):
        key = row["project"], row["trace_id"], row["span_id"]
        if row["number"] is not None:
            numbers[key][row["judge"]] = row["number"]
        if row["has_passed"] is not None:
            passes[key][row["judge"]] = bool(row["has_passed"])
        if row["has_failed"]:
            failed[key].append(row["judge"])
    labels = _read_labels(client, memory, runs)
    tags = _read_tags(client, memory, runs)
    return {
        key: LateValues(
            numbers.get(key, {}),
            passes.get(key, {}),
            failed.get(key, ()),
            labels.get(key, {}),
            tags.get(key, {}),
        )
        for key in numbers.keys() | passes.keys() | failed.keys() | labels.keys() | tags.keys()
    }


def _read_scores(client: StoreClient, memory: Memory, runs: Sequence[ResolvedRun]) -> list[Row]:
    """Read the newest score of each judge for runs, which are sorted by start."""
    scored = _find_scored(client, memory, {run.project for run in runs})
    if not scored:
        return []
    # The start of a run in its scores differs from its own start only by rounding.
    values = {
        "projects": sorted(scored),
        "first": runs[0].start_ns - SECOND_NS,
        "last": runs[-1].start_ns + SECOND_NS,
        "spans": [int.from_bytes(run.span_id, "little") for run in runs if run.project in scored],
    }
    return read_rows(client, _OF_JUDGES, values)


def _read_tags(
    client: StoreClient, memory: Memory, runs: Sequence[ResolvedRun]
) -> Mapping[RunName, Mapping[str, tuple[str, int]]]:
    """Read the newest late tags of runs."""
    tagged = _find_tagged(client, memory, {run.project for run in runs})
    tags: defaultdict[RunName, dict[str, tuple[str, int]]] = defaultdict(dict)
    if owners := _list_owners(runs, tagged):
        values = {"projects": sorted(tagged), "owners": owners}
        for row in read_rows(client, _TAGS_OF_RUNS, values):
            run = row["project"], *split_run_id(row["owner"])
            tags[run][row["name"]] = row["newest"], row["newest_ns"]
    return tags


def _list_owners(runs: Sequence[ResolvedRun], projects: Collection[str]) -> list[str]:
    """List the run IDs of the runs of some projects."""
    return sorted(
        {f"{run.trace_id.hex()}-{run.span_id.hex()}" for run in runs if run.project in projects}
    )


def _read_labels(
    client: StoreClient, memory: Memory, runs: Sequence[ResolvedRun]
) -> Mapping[RunName, Mapping[str, str]]:
    """Read the newest labels of runs by reviewers, as JSON text."""
    names = (_HAS_LABELS, _UNLABELLED)
    projects = {run.project for run in runs}
    labelled = _find_projects(client, memory, projects, _LABELLED_PROJECTS, names)
    labels: defaultdict[RunName, dict[str, str]] = defaultdict(dict)
    if owners := _list_owners(runs, labelled):
        values = {"projects": sorted(labelled), "owners": owners}
        for row in read_rows(client, _LABELS_OF_RUNS, values):
            run = row["project"], *split_run_id(row["owner"])
            labels[run][row["name"]] = row["newest"]
    return labels


def group_late(records: Records) -> dict[RunName, RecordsOfRun]:
    """Group the scores and late tags among some records by the run that they name."""
    scores: defaultdict[RunName, list[Metric]] = defaultdict(list)
    tags: defaultdict[RunName, list[LateTag]] = defaultdict(list)
    for metric in records.metrics:
        if is_score(metric) and is_run(metric.owner):
            scores[(metric.project, *split_run_id(metric.owner))].append(metric)
    for tag in records.tags:
        if is_run(tag.owner):
            tags[(tag.project, *split_run_id(tag.owner))].append(tag)
    return {
        run: RecordsOfRun(scores.get(run, ()), tags.get(run, ()))
        for run in scores.keys() | tags.keys()
    }


def find_newest(late: RecordsOfRun) -> LateValues:
    """Find the newest values among all late-arriving records of a run without labels."""
    last = {
        score.name: score
        for score in sorted(late.scores, key=attrgetter("time_ns", "judge_version", "record_id"))
    }
    by_judge = sorted(last.items())
    tags = {
        tag.tag.name: (orjson.dumps(tag.tag.value).decode(), tag.time_ns)
        for tag in sorted(late.tags, key=attrgetter("time_ns", "record_id"))
    }
    return LateValues(
        {judge: score.value for judge, score in by_judge if score.value is not None},
        {judge: score.passed for judge, score in by_judge if score.passed is not None},
        [judge for judge, score in by_judge if score.error != ""],
        tags=dict(sorted(tags.items())),
    )


def find_arrived_values(
    client: StoreClient, after_ns: int, until_ns: int, most: int
) -> list[tuple[str, str]]:
    """Find runs with scores or late tags that arrived in an interval: project and run ID.

    At most `most` are returned.
    """
    values = {"after": after_ns, "until": until_ns, "most": most}
    rows = read_rows(client, _ARRIVED, values)
    return [(row["project"], row["owner"]) for row in rows]


def find_late_on(client: StoreClient, day_ns: int) -> list[tuple[str, str]]:
    """Find runs of a day with scores or late tags, and those with scores without a start."""
    rows = read_rows(client, _LATE_ON_DAY, {"start": day_ns, "end": day_ns + DAY_NS})
    return [(row["project"], row["owner"]) for row in rows]
