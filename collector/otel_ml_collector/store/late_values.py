"""Reads what late-arriving records say about runs, for their rows in `runs`.

Records count that name the run itself, another record of its call, a trace key of its trace or one
of its tags.
Design record: docs/design/074-scores-in-rows.md.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from otel_ml.records import LateTag, Metric
from otel_ml_collector.fold.late import (
    NAMED_ORDER,
    Newest,
    NewestRecords,
    ScoreResult,
    gather_late,
    put_newest,
)
from otel_ml_collector.owners import FIRST, KEY, TAG, is_run, split_run_id
from otel_ml_collector.records import Records
from otel_ml_collector.resolution import NO_LATE_VALUES, LateValues, ResolvedRun
from otel_ml_collector.store.call_runs import IN_PROJECTS, divide, read_rows
from otel_ml_collector.store.connection import Memory
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.reader import Row
from otel_ml_collector.store.rows import EVERY_OWNER, KeyedRuns, RunKey, RunName
from otel_ml_collector.store.scores import LAST, RESULT, SCORES, newest_columns
from otel_ml_collector.store.sql import Sql, StoreClient, identifier, join_sql
from otel_ml_collector.store.tables import IS_SCORE, WORD, is_point, is_score
from otel_ml_collector.times import DAY_NS, SECOND_NS

# What `Memory` knows about a project. Of each pair of names, the first says that the project has
# such records of runs, the second that it had none when we last looked.
_HAS_SCORES: Final = "scores"
_UNSCORED: Final = "unscored"
_HAS_TAGS: Final = "tags"
_UNTAGGED: Final = "untagged"
# Runs whose late values are read at once.
_RUNS_AT_ONCE: Final = 2_000
_SIGNS_OF_SOURCES: Final = {
    "human": ("labels", "unlabelled"),
    "actual": ("truths", "no truths"),
    "agent": ("reports", "no reports"),
}
_IS_OF_SOURCE: Final = {
    "human": Sql("source = 'human'"),
    "actual": Sql("source = 'actual'"),
    "agent": Sql("source = 'agent'"),
}
# Those that are no scores.
_LATE_SOURCES: Final = ("actual", "agent")
_LATE_SIGNS: Final = frozenset(
    {_HAS_SCORES, _HAS_TAGS, *(_SIGNS_OF_SOURCES[source][0] for source in _LATE_SOURCES)}
)


# Reads the newest label, ground truth or report of each name, for run IDs, keys and tags of several
# projects; see `record_kinds.truths`.
_NEWEST_WORDS: Final = {
    source: Sql("""
    SELECT project, owner, name, argMax(last_word.1, (last_word.2, record_id)) AS newest,
      max((last_word.2, record_id)) AS last
    FROM (
      SELECT toString(project) AS project, owner, toString(name) AS name, record_id,
        argMax(({word}, time_ns), time_ns) AS last_word
      FROM metrics WHERE {wanted} AND {is_of_source} AND owner IN {owners:Array(String)}
      GROUP BY project, owner, name, record_id)
    WHERE last_word.1 != '' GROUP BY project, owner, name ORDER BY name""").fill(
        word=WORD, wanted=IN_PROJECTS, is_of_source=is_of_source
    )
    for source, is_of_source in _IS_OF_SOURCE.items()
}
_PROJECTS_WITH_WORDS: Final = {
    source: Sql("""
    SELECT DISTINCT toString(project) AS project FROM metrics
    WHERE {wanted} AND {is_of_source}""").fill(wanted=IN_PROJECTS, is_of_source=is_of_source)
    for source, is_of_source in _IS_OF_SOURCE.items()
}
_SCORED_PROJECTS: Final = Sql(
    "SELECT DISTINCT toString(project) AS project FROM {scores} WHERE {wanted}"
).fill(scores=SCORES, wanted=IN_PROJECTS)


def _of_judges(last: Sql) -> Sql:
    """Return SQL for the newest score of each judge, for runs of several projects.

    `last` is its order among all scores, see `scores.LAST`.
    """
    return Sql("""
    SELECT project, concat(lower(hex(trace_id)), '-', lower(hex(span_id))) AS owner,
      judge AS name, last, result.1 AS number, result.2 AS has_passed, result.3 AS has_failed
    FROM (
      SELECT toString(project) AS project, trace_id, span_id, toString(judge) AS judge,
        {last} AS last, {newest} AS result
      FROM {scores} AS scored
      WHERE {wanted} AND (start_ns = 0 OR (start_ns >= {first:Int64} AND start_ns <= {last:Int64}))
        AND reinterpretAsUInt64(span_id) IN {spans:Array(UInt64)}
      GROUP BY project, trace_id, span_id, judge)
    ORDER BY judge""").fill(
        last=last, newest=newest_columns(RESULT), scores=SCORES, wanted=IN_PROJECTS
    )


_SCORES_OF_RUNS: Final = _of_judges(Sql("0"))
_LAST_OF_RUNS: Final = _of_judges(Sql("max({last})").fill(last=LAST))
# Does the same for keys and tags.
_SCORES_OF_KEYS: Final = Sql("""
    SELECT project, owner, judge AS name, last, result.1 AS number, result.2 AS has_passed,
      result.3 AS has_failed
    FROM (
      SELECT toString(project) AS project, owner, toString(name) AS judge, max({last}) AS last,
        argMax((value, passed, error != ''), {last}) AS result
      FROM metrics AS scored WHERE {wanted} AND owner IN {owners:Array(String)} AND {is_score}
      GROUP BY project, owner, judge)""").fill(last=LAST, wanted=IN_PROJECTS, is_score=IS_SCORE)
_TAGGED_PROJECTS: Final = Sql(
    "SELECT DISTINCT toString(project) AS project FROM late_tags WHERE {wanted}"
).fill(wanted=IN_PROJECTS)
# Reads the newest late tag of each name, for run IDs, keys and tags of several projects.
_NEWEST_TAGS: Final = Sql("""
    SELECT toString(project) AS project, owner, toString(name) AS name,
      argMax(value, ({order})) AS newest, max(({order})) AS last
    FROM late_tags WHERE {wanted} AND owner IN {owners:Array(String)}
    GROUP BY project, owner, name""").fill(
    wanted=IN_PROJECTS,
    order=join_sql(", ", [identifier(name, NAMED_ORDER) for name in NAMED_ORDER]),
)
# Runs with a key or tag, in the order of their key, after one of them. Also runs that had it.
_WITH_OWNER: Final = Sql("""
    FROM settled WHERE project = {project:String} AND {named}
      AND start_ns >= {start:Int64} AND (start_ns, lower(hex(trace_id)), lower(hex(span_id)))
        > ({start:Int64}, {trace:String}, {span:String})""")
_HAS_OWNER: Final = Sql("hasAny(owners, {owners:Array(String)})")
_ANY_OWNER: Final = Sql("notEmpty(owners)")
_NEXT_RUNS: Final = Sql("""
    SELECT DISTINCT start_ns, lower(hex(trace_id)) AS trace_id, lower(hex(span_id)) AS span_id
    {runs} ORDER BY start_ns, lower(hex(trace_id)), lower(hex(span_id)) LIMIT {most:UInt32}""")
_COUNT_OF_RUNS: Final = Sql("SELECT uniqExact(start_ns, trace_id, span_id) AS runs {runs}")
_ARRIVED: Final = Sql("""
    SELECT DISTINCT toString(project) AS project, owner FROM (
      SELECT project, owner FROM metrics
      WHERE {new} AND owner < '{first}' AND ({is_score} OR source IN ('actual', 'agent'))
      UNION ALL SELECT project, owner FROM late_tags WHERE {new} AND owner < '{first}')
    LIMIT {most}""")
_LATE_ON_DAY: Final = Sql("""
    SELECT DISTINCT toString(project) AS project,
      concat(lower(hex(trace_id)), '-', lower(hex(span_id))) AS owner
    FROM {scores} WHERE start_ns = 0 OR ({on_day})
    UNION DISTINCT
    SELECT toString(project) AS project, owner FROM (
      SELECT project, owner FROM late_tags WHERE owner < '{first}'
      UNION ALL
      SELECT project, owner FROM metrics WHERE owner < '{first}' AND source IN ('actual', 'agent'))
    WHERE (project, substring(owner, 1, 32)) IN (
      SELECT project, lower(hex(trace_id)) FROM {deliveries} WHERE {on_day})""").fill(
    scores=SCORES,
    deliveries=DELIVERIES,
    first=Sql(FIRST),
    on_day=Sql("start_ns >= {start:Int64} AND start_ns < {end:Int64}"),
)


def has_late_values(memory: Memory, project: str) -> bool:
    """Return whether a project is known to have scores, late tags, ground truth or reports."""
    return not memory.recall(project)[0].isdisjoint(_LATE_SIGNS)


def find_late_projects(
    client: StoreClient, memory: Memory, projects: Iterable[str]
) -> Collection[str]:
    """Return those of the projects that have scores, late tags, ground truth or reports of runs."""
    names = {*projects}
    found = _find_scored(client, memory, names) | _find_tagged(client, memory, names)
    for source in _LATE_SOURCES:
        found |= _find_with_words(client, memory, names, source)
    return found


def _find_scored(client: StoreClient, memory: Memory, projects: Collection[str]) -> set[str]:
    return _find_projects(client, memory, projects, _SCORED_PROJECTS, (_HAS_SCORES, _UNSCORED))


def _find_with_words(
    client: StoreClient, memory: Memory, projects: Collection[str], source: str
) -> set[str]:
    names = _SIGNS_OF_SOURCES[source]
    return _find_projects(client, memory, projects, _PROJECTS_WITH_WORDS[source], names)


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


def note_labels(memory: Memory, late: Iterable[RecordsOfRun]) -> None:
    """Note the projects with labels, ground truth or reports among records to store."""
    _note_sources(memory, (score for of_run in late for score in of_run.scores))


def _note_sources(memory: Memory, scores: Iterable[Metric]) -> None:
    for project, source in {(score.project, score.source) for score in scores}:
        if source in _SIGNS_OF_SOURCES:
            memory.note(project, [_SIGNS_OF_SOURCES[source][0]])


def add_late_values(
    client: StoreClient, memory: Memory, runs: Sequence[ResolvedRun]
) -> list[ResolvedRun]:
    """Add the newest scores and late tags that the store has to runs, in the same order."""
    added = [*runs]
    late_projects = find_late_projects(client, memory, {run.project for run in runs})
    places = [
        place
        for place, run in enumerate(runs)
        if run.project in late_projects or run.resolution.owners
    ]
    places.sort(key=lambda place: runs[place].start_ns)
    for first in range(0, len(places), _RUNS_AT_ONCE):
        part = places[first : first + _RUNS_AT_ONCE]
        newest = _read_late(client, memory, [runs[place] for place in part])
        for place in part:
            if (late := newest.find(_owners_of(runs[place]))) is not None:
                added[place] = replace(runs[place], late=late)
    return added


# Project, and run ID, key or tag.
_Owner = tuple[str, str]
_Value = TypeVar("_Value")


def _read_late(
    client: StoreClient, memory: Memory, runs: Sequence[ResolvedRun]
) -> NewestRecords[_Owner]:
    """Read the newest scores, tags, labels, ground truth and reports of runs, keys and tags.

    Args:
        client: The store.
        memory: Remembers which projects have such records.
        runs: The runs, sorted by start.
    """
    owners = {owner for run in runs for owner in _owners_of(run)}
    keyed = {(run.project, owner) for run in runs for owner in run.resolution.owners}
    projects = {run.project for run in runs}
    late: NewestRecords[_Owner] = NewestRecords()

    def read(
        into: dict[_Owner, Newest[_Value]],
        sql: Sql,
        wanted: tuple[Collection[str], Collection[_Owner]],
        make: Callable[[Row], _Value],
    ) -> None:
        of_projects, named = wanted
        for part in divide(sorted({owner for project, owner in named if project in of_projects})):
            values = {"projects": sorted(of_projects), "owners": part}
            _put_rows(into, read_rows(client, sql, values), make)

    read(late.scores, _SCORES_OF_KEYS, ({project for project, _ in keyed}, keyed), _make_score)
    if scored := _find_scored(client, memory, projects):
        records = [record for run in runs if run.project in scored for record in _records_of(run)]
        # Scores have a rounded start of their run.
        values = {
            "projects": sorted(scored),
            "first": min(start_ns for start_ns, *_ in records) - SECOND_NS,
            "last": max(start_ns for start_ns, *_ in records) + SECOND_NS,
            "spans": [int.from_bytes(span_id, "little") for *_, span_id in records],
        }
        sql = _LAST_OF_RUNS if late.scores else _SCORES_OF_RUNS
        _put_rows(late.scores, read_rows(client, sql, values), _make_score)
    words = {"human": late.labels, "actual": late.truths, "agent": late.reports}
    for source, into in words.items():
        having = _find_with_words(client, memory, projects, source)
        read(into, _NEWEST_WORDS[source], (having, owners), _read_newest)
    tagged = _find_tagged(client, memory, projects)
    read(late.tags, _NEWEST_TAGS, (tagged, owners), lambda row: (row["newest"], row["last"][0]))
    return late


def _put_rows(
    into: dict[_Owner, Newest[_Value]], rows: Iterable[Row], make: Callable[[Row], _Value]
) -> None:
    """Add rows with the newest record of each name; `last` is its order."""
    for row in rows:
        of_owner = into.setdefault((row["project"], row["owner"]), {})
        order = row["last"] if isinstance(row["last"], tuple) else (row["last"],)
        put_newest(of_owner, row["name"], order, make(row))


def _make_score(row: Row) -> ScoreResult:
    has_passed = None if row["has_passed"] is None else bool(row["has_passed"])
    return ScoreResult(row["number"], has_passed, bool(row["has_failed"]))


def _read_newest(row: Row) -> str:
    newest: str = row["newest"]
    return newest


def _owners_of(run: ResolvedRun) -> list[_Owner]:
    """List everything by which late records can name a run, or another record of its call."""
    records = (f"{trace_id}-{span_id}" for _, trace_id, span_id in name_records(run))
    return [(run.project, owner) for owner in (*records, *run.resolution.owners)]


def name_records(run: ResolvedRun) -> list[RunName]:
    """List the names of a run and of the runs that repeat it."""
    return [
        (run.project, trace_id.hex(), span_id.hex()) for _, trace_id, span_id in _records_of(run)
    ]


def _records_of(run: ResolvedRun) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the start, trace ID and span ID of a run and of the runs that repeat it."""
    yield run.start_ns, run.trace_id, run.span_id
    for other in run.share.others:
        yield other.start_ns, other.trace_id or run.trace_id, other.span_id


def find_mains(runs: Iterable[ResolvedRun]) -> set[RunName]:
    """Find the runs that others repeat. Their rows have the late values of the whole call."""
    return {
        (run.project, (run.share.trace_id or run.trace_id).hex(), run.share.record_of.hex())
        for run in runs
        if run.share.record_of
    }


def note_keyed(memory: Memory, records: Records) -> set[tuple[str, str]]:
    """Note the projects with labels for keys and tags among records that are about to be stored.

    Returns:
        The keys and tags that scores and late tags name, with their projects.
    """
    scores = [
        score
        for score in records.metrics
        if score.owner.startswith((KEY, TAG)) and not is_point(score)
    ]
    _note_sources(memory, scores)
    named = {(tag.project, tag.owner) for tag in records.tags if tag.owner.startswith((KEY, TAG))}
    return named | {(score.project, score.owner) for score in scores}


def find_next_runs(
    client: StoreClient, keyed: KeyedRuns, most: int
) -> tuple[list[RunKey], KeyedRuns | None]:
    """Find the next runs that have some keys or tags.

    Returns:
        The keys of at most `most` of them, and those that follow; None if there are no more.
    """
    start_ns, trace, span = keyed.after
    named = _ANY_OWNER if EVERY_OWNER in keyed.owners else _HAS_OWNER
    sql = _WITH_OWNER.fill(named=named)
    values = {"project": keyed.project, "start": start_ns, "trace": trace, "span": span}
    values |= {"owners": sorted(keyed.owners), "most": most}
    rows = read_rows(client, _NEXT_RUNS.fill(runs=sql), values)
    runs = [
        (
            keyed.project,
            row["start_ns"],
            bytes.fromhex(row["trace_id"]),
            bytes.fromhex(row["span_id"]),
        )
        for row in rows
    ]
    if len(rows) < most:
        return runs, None
    left = max(keyed.left - most, 0)
    last = rows[-1]
    after = (last["start_ns"], last["trace_id"], last["span_id"])
    if not left:
        start = dict(zip(("start", "trace", "span"), after, strict=True))
        left = read_rows(client, _COUNT_OF_RUNS.fill(runs=sql), values | start)[0]["runs"]
    return runs, replace(keyed, after=after, left=left) if left else None


def group_late(records: Records) -> dict[RunName, RecordsOfRun]:
    """Group the scores and late tags among some records by the run that they name."""
    scores: defaultdict[RunName, list[Metric]] = defaultdict(list)
    tags: defaultdict[RunName, list[LateTag]] = defaultdict(list)
    for metric in records.metrics:
        if is_run(metric.owner) and (metric.source in _LATE_SOURCES or is_score(metric)):
            scores[(metric.project, *split_run_id(metric.owner))].append(metric)
    for tag in records.tags:
        if is_run(tag.owner):
            tags[(tag.project, *split_run_id(tag.owner))].append(tag)
    return {
        run: RecordsOfRun(scores.get(run, ()), tags.get(run, ()))
        for run in scores.keys() | tags.keys()
    }


def find_newest(run: RunName, late: RecordsOfRun) -> LateValues:
    """Find the newest values among all late-arriving records of a run without keys and tags."""
    _, trace_id, span_id = run
    found = gather_late(late.scores, late.tags).find([f"{trace_id}-{span_id}"])
    return found or NO_LATE_VALUES


def find_arrived_values(
    client: StoreClient, new: Sql, values: Mapping[str, Any], most: int
) -> list[tuple[str, str]]:
    """Find runs with new scores or late tags: project and run ID.

    Args:
        client: The store.
        new: The condition on new records.
        values: Its parameters.
        most: Maximum number of runs.
    """
    sql = _ARRIVED.fill(new=new, most=most, first=Sql(FIRST), is_score=IS_SCORE)
    rows = read_rows(client, sql, values)
    return [(row["project"], row["owner"]) for row in rows]


def find_late_on(client: StoreClient, day_ns: int) -> list[tuple[str, str]]:
    """Find runs of a day with scores or late tags, and those with scores without a start."""
    rows = read_rows(client, _LATE_ON_DAY, {"start": day_ns, "end": day_ns + DAY_NS})
    return [(row["project"], row["owner"]) for row in rows]
