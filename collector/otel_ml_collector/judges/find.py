"""Judges and their versions, for the JSON API and the pages.

Scores of different versions of a judge are never combined. Each bar has the filter that lists its
runs.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field, ValidationError

from otel_ml.attributes import JUDGE_KIND, JUDGING, JUDGING_RUN, JUDGING_VERSION
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import Missing, suggest
from otel_ml_collector.filter.writing import quoted, write_judge_field
from otel_ml_collector.measures.statistics import bucket_of, bucket_parameters
from otel_ml_collector.measures.sums import (
    SCORE_SUMS,
    exact_sum,
    mean_score,
    pass_rate,
    read_exact,
)
from otel_ml_collector.price import round_cost
from otel_ml_collector.store.counted import DELIVERIES, RECORDED
from otel_ml_collector.store.facts import list_judge_names
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.record_kinds import find_counted, find_record_kinds
from otel_ml_collector.store.runs import ACROSS_PARTITIONS
from otel_ml_collector.store.scores import OF_JUDGE, RESULT, all_scores, newest_scores
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.versions import read_versions
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.verdicts.verdicts import JudgeVersionName
from otel_ml_collector.versions.definition import VersionDefinition
from otel_ml_collector.windows import Buckets

_BINS: Final = 10
_MOST_WHOLE: Final = 20  # a scale of at most this many whole numbers has a bar for each
CRITERION: Final = "passing_criteria"
_JUDGEMENT_COLUMNS: Final = (*RESULT, "latency_ms", "cost")

# Runs that count, also without an end, with the newest result of each judge version. Plain spans
# are included if they were judged.
_JUDGED: Final = Sql("""
    SELECT run.start_ns AS start_ns, evaluation.judge AS judge,
      evaluation.judge_version AS judge_version,
      evaluation.score AS score, evaluation.passed AS passed, evaluation.failed AS failed,
      evaluation.latency_ms AS latency_ms, ifNull(evaluation.cost, call.cost) AS cost
    FROM (
      SELECT trace_id, span_id, start_ns FROM {recorded} WHERE kind != 'span' AND {counted}
      UNION ALL
      SELECT trace_id, span_id, start_ns FROM open_runs FINAL
      WHERE kind != 'span' AND {open}
        AND (trace_id, span_id) NOT IN (
        SELECT trace_id, span_id FROM {deliveries} WHERE project = {project:String}
          AND start_ns IN (SELECT start_ns FROM open_runs WHERE project = {project:String}))
    ) AS run
    INNER JOIN ({newest}) AS evaluation
      ON evaluation.trace_id = run.trace_id AND evaluation.span_id = run.span_id
    LEFT JOIN ({calls}) AS call
      ON call.judge = evaluation.judge AND call.judge_version = evaluation.judge_version
        AND call.trace_id = evaluation.trace_id AND call.span_id = evaluation.span_id""")
# Cost of a judge version's own model calls, by the run that it judged.
_CALLS: Final = Sql("""
    SELECT JSONExtractString(tags['{judging}']) AS judge,
      JSONExtractString(tags['{version}']) AS judge_version,
      JSONExtractString(tags['{judged}']) AS owner,
      toFixedString(unhex(left(owner, 32)), 16) AS trace_id,
      toFixedString(unhex(right(owner, 16)), 8) AS span_id, sum(cost) AS cost
    FROM {recorded} WHERE kind = '{kind}' AND {counted}
      AND mapContains(tags, '{judged}') AND length(owner) = 49 AND cost IS NOT NULL
    GROUP BY judge, judge_version, owner""")
OF_JUDGES: Final = Sql("{judge} IN {judges:Array(String)}")
_FIGURES: Final = Sql("""
    SELECT judge, judge_version, {score_sums},
      quantilesExactIf(0.5, 0.95)(assumeNotNull(latency_ms), latency_ms IS NOT NULL) AS latency,
      count(latency_ms) AS timed,
      count(cost) AS priced, {cost} AS price,
      min(evaluation.score) AS lowest, max(evaluation.score) AS highest,
      countIf(evaluation.score != round(evaluation.score)) AS fractions,
      max(start_ns) AS last_start_ns
    FROM ({judged}) AS evaluation GROUP BY judge, judge_version ORDER BY judge, judge_version""")
_TRIED: Final = Sql("""
    SELECT judge, judge_version, count() AS tried FROM ({judged}) GROUP BY judge, judge_version""")
_UNHEARD: Final[Row] = dict.fromkeys(
    ("evaluations", "failed", "scored", "passed", "judged", "priced", "timed", "tried"), 0
)
_DISTRIBUTION: Final = Sql("""
    SELECT judge_version,
      arrayCount(edge -> assumeNotNull(evaluation.score) >= edge, {edges:Array(Float64)}) AS place,
      {score_sums}
    FROM ({judged}) AS evaluation WHERE evaluation.score IS NOT NULL
    GROUP BY judge_version, place ORDER BY judge_version, place""")
_OVER_TIME: Final = Sql("""
    SELECT judge_version, {bucket}, {score_sums}
    FROM ({judged}) AS evaluation WHERE start_ns >= {start:Int64} AND start_ns < {end:Int64}
    GROUP BY judge_version, bucket ORDER BY judge_version, bucket""")
_COST: Final = read_exact(exact_sum(Sql("cost")))


class JudgeNumbers(JudgeVersionName):
    """The figures of a judge version over live runs."""

    evaluations: int = Field(
        description="Number of runs on which this version gave a score or raised an error"
    )
    errors: int = Field(description="Number of runs on which the judge raised an error")
    scored: int = Field(description="Number of runs with a score")
    mean_score: float | None
    passed: int
    judged: int = Field(description="Number of runs with pass or fail")
    pass_rate: float | None = Field(description="Share of the runs with pass or fail that passed")
    p50_ms: float | None = Field(
        description="Median time that the judge takes for a score; null if it was not recorded"
    )
    p95_ms: float | None
    cost: float | None = Field(
        description="Cost that was recorded with the scores; if there is none, the cost of the "
        "model calls that the judge made for them"
    )
    priced: int = Field(description="Number of scores with a cost")
    last_start_time: str | None = Field(description="Start time of the newest run of these")
    where: str = Field(description="Filter that lists the runs of this version")
    where_errors: str = Field(
        description="Filter that lists the runs on which the judge raised an error"
    )
    experiment_evaluations: int = Field(
        default=0,
        description="Number of scored runs that belong to experiments; no other figure "
        "includes them",
    )


class ScoreBin(AnswerBody):
    """Number of scores from `low` to below `high`. The outer bins include all beyond them."""

    low: float
    high: float
    evaluations: int
    passed: int
    judged: int
    where: str = Field(description="The filter that lists these runs")


class JudgeBucket(AnswerBody):
    """The figures of a judge version over the runs that started in an interval."""

    start_time: str
    start_ns: int
    evaluations: int
    errors: int
    passed: int
    judged: int
    pass_rate: float | None
    mean_score: float | None
    where: str = Field(description="The filter that lists these runs")


class JudgeDefinition(VersionDefinition):
    """The definition of a judge version. The source is the rubric, as code or in words."""

    description: str = ""
    criterion: str | None = Field(
        default=None, description="Source code of the criterion for a pass"
    )
    lower_is_better: bool | None = Field(
        default=None, description="Whether lower scores are better; null if undefined"
    )


class JudgeVersion(JudgeNumbers):
    """A version of a judge: its definition and its figures."""

    first_seen_time: str | None = Field(
        description="When this version first arrived; null without a version"
    )
    definition: JudgeDefinition
    distribution: list[ScoreBin] = Field(
        description="Distribution of the scores; all versions of a judge have the same bins"
    )
    buckets: list[JudgeBucket] = Field(description="Intervals with scores, oldest first")


class ListedJudge(AnswerBody):
    """A judge, with the figures of its newest version and of the others."""

    judge: str
    description: str
    versions: int = Field(description="Number of versions")
    newest: JudgeNumbers
    others: list[JudgeNumbers] = Field(description="Other versions, newest first")


class Judges(AnswerBody):
    """The judges of a project by name, without reviewers."""

    judges: list[ListedJudge]


class JudgeVersions(AnswerBody):
    """The versions of a judge, newest first. Scores without a version come last."""

    judge: str
    versions: list[JudgeVersion]


@dataclass(frozen=True, slots=True)
class _KnownVersion:
    """A judge version whose definition was received: its number, first arrival and definition."""

    number: int
    first_ns: int
    definition: JudgeDefinition


def find_judges(reader: Reader, project: str) -> list[ListedJudge]:
    """List the judges of a project, including those that sent scores but no definition."""
    names = list_judge_names(reader, project)
    known = _read_known(reader, project, names)
    figures = _read_figures(reader, project, names)
    judges = []
    for name in names:
        versions = known.get(name, {})
        numbers = _all_numbers(name, versions, figures.get(name, {}))
        newest, *others = numbers
        version = versions.get(newest.digest)
        judges.append(
            ListedJudge(
                judge=name,
                description=version.definition.description if version else "",
                versions=len({*versions, *figures.get(name, {})} - {""}),
                newest=newest,
                others=others,
            )
        )
    return judges


def find_judge_versions(
    reader: Reader, project: str, judge: str, over: Buckets
) -> list[JudgeVersion]:
    """Read the versions of a judge with their figures, such as the pass rate, newest first.

    Args:
        reader: The store.
        project: The project.
        judge: Name of the judge.
        over: The time range and its division into buckets. Each version has figures for each of
            these buckets. Its total figures cover all runs, also those outside of the range.

    Raises:
        Missing: There is no such judge.
    """
    known = _read_known(reader, project, [judge]).get(judge, {})
    rows = _read_figures(reader, project, [judge]).get(judge, {})
    if not known:
        judges = list_judge_names(reader, project)
        if judge not in judges:
            near = suggest(judge[:80], judges)
            raise Missing(f"Project {project!r} has no judge {judge[:80]!r}: {near}")
    numbers = _all_numbers(judge, known, rows)
    bins = _read_bins(reader, project, judge, list(rows.values()))
    buckets = _read_buckets(reader, project, judge, over)
    return [
        JudgeVersion(
            **number.model_dump(),
            first_seen_time=to_rfc3339(part.first_ns) if part else None,
            definition=part.definition if part else JudgeDefinition(),
            distribution=[_bin(number, *item) for item in bins.get(number.digest, [])],
            buckets=[_bucket(number, row, over) for row in buckets.get(number.digest, [])],
        )
        for number in numbers
        for part in (known.get(number.digest),)
    ]


def _read_known(
    reader: Reader, project: str, judges: Sequence[str]
) -> dict[str, dict[str, _KnownVersion]]:
    """Read the versions that are known, by judge and digest."""
    known: defaultdict[str, dict[str, _KnownVersion]] = defaultdict(dict)
    for row in read_versions(reader, project, "judge", judges):
        known[row["name"]][row["digest"]] = _KnownVersion(
            row["number"], row["first_ns"], _definition(row["definition"])
        )
    return known


def _definition(text: str) -> JudgeDefinition:
    """Parse the JSON of a definition. Older definitions have the criterion in `helpers`."""
    if not text:
        return JudgeDefinition()
    try:
        judge_definition = JudgeDefinition.model_validate_json(text)
    except ValidationError:
        return JudgeDefinition(source=text)
    if judge_definition.criterion is None and CRITERION in judge_definition.helpers:
        judge_definition.criterion = judge_definition.helpers.pop(CRITERION)
    return judge_definition


def _count_scores(reader: Reader, project: str, *, tried: bool = False) -> Sql:
    """Write the SQL for the scores of the runs that count, or of runs in experiments.

    Reviewers' labels under the name of a judge are not scores of the judge.
    """
    kinds = find_record_kinds(reader, project)
    counted = find_counted(reader, project, kinds=True)
    calls = find_counted(reader, project, kinds=True, items=True)
    scores = all_scores(judges=OF_JUDGES, has_keyed=kinds.keyed_scores, columns=_JUDGEMENT_COLUMNS)
    return _JUDGED.fill(
        recorded=RECORDED,
        deliveries=DELIVERIES,
        counted=counted.tried if tried else counted.sql,
        open=counted.tried_of_open if tried else counted.of_open,
        newest=newest_scores(scores, columns=_JUDGEMENT_COLUMNS, where=OF_JUDGE),
        calls=_CALLS.fill(
            judging=Sql(JUDGING),
            version=Sql(JUDGING_VERSION),
            judged=Sql(JUDGING_RUN),
            kind=Sql(JUDGE_KIND),
            recorded=RECORDED,
            counted=calls.sql,
        ),
    )


def _ask(
    reader: Reader, sql: Sql, project: str, judges: Sequence[str], more: Mapping[str, Any]
) -> list[Row]:
    parameters = {"project": project, "judges": list(judges), **more}
    return reader.rows(sql, parameters, ACROSS_PARTITIONS)


def _read_figures(reader: Reader, project: str, judges: Sequence[str]) -> dict[str, dict[str, Row]]:
    """Read the figures of judge versions, by judge and digest."""
    if not judges:
        return {}
    sql = _FIGURES.fill(score_sums=SCORE_SUMS, cost=_COST, judged=_count_scores(reader, project))
    rows: defaultdict[str, dict[str, Row]] = defaultdict(dict)
    for row in _ask(reader, sql, project, judges, {}):
        rows[row["judge"]][row["judge_version"]] = row | {"tried": 0}
    if find_record_kinds(reader, project).experiments:
        tried = _TRIED.fill(judged=_count_scores(reader, project, tried=True))
        for row in _ask(reader, tried, project, judges, {}):
            version = rows[row["judge"]].setdefault(row["judge_version"], {**_UNHEARD})
            version["tried"] = row["tried"]
    return rows


def _all_numbers(
    judge: str, known: Mapping[str, _KnownVersion], rows: Mapping[str, Row]
) -> list[JudgeNumbers]:
    """Make the figures of all versions that are known or have scores, newest first."""
    digests = {*known, *rows} or {""}
    all_numbers = [
        _numbers(judge, known[digest].number if digest in known else None, digest, rows.get(digest))
        for digest in digests
    ]
    return sorted(all_numbers, key=lambda entry: entry.order)


def _numbers(judge: str, version: int | None, digest: str, row: Row | None) -> JudgeNumbers:
    failed = write_judge_field(judge, version, digest, "failed")
    row = row or _UNHEARD
    p50, p95 = row["latency"] if row.get("timed") else (None, None)
    return JudgeNumbers(
        judge=judge,
        version=version,
        digest=digest,
        evaluations=row["evaluations"],
        errors=row["failed"],
        scored=row["scored"],
        mean_score=mean_score(row),
        passed=row["passed"],
        judged=row["judged"],
        pass_rate=pass_rate(row),
        p50_ms=p50,
        p95_ms=p95,
        cost=round_cost(row["price"]) if row["priced"] else None,
        priced=row["priced"],
        last_start_time=to_rfc3339(row["last_start_ns"]) if row["evaluations"] else None,
        where=f"{failed} in (True, False)",
        where_errors=failed,
        experiment_evaluations=row["tried"],
    )


def bounds_of(lowest: float, highest: float, *, is_whole: bool) -> list[float]:
    """Choose the bins of a histogram of a judge's scores, and return their boundaries.

    If all scores are between 0 and 1, the bins are tenths: 0 to 0.1, 0.1 to 0.2, and so on. If all
    scores are whole numbers and differ by less than 20, each number has a bin. Otherwise there are
    ten bins of equal width, or one bin if all scores are equal.

    Args:
        lowest: The lowest score.
        highest: The highest score.
        is_whole: Whether all scores are whole numbers.

    Returns:
        The boundaries in ascending order: for n bins, n + 1 numbers.
    """
    if lowest >= 0 and highest <= 1:
        return [place / _BINS for place in range(_BINS + 1)]
    if is_whole and highest - lowest < _MOST_WHOLE:
        return [lowest + place for place in range(int(highest - lowest) + 2)]
    ends = [lowest + (highest - lowest) * place / _BINS for place in range(_BINS + 1)]
    return sorted(set(ends)) if ends[-1] > ends[0] else [lowest, lowest + 1]


def _read_bins(
    reader: Reader, project: str, judge: str, rows: Sequence[Row]
) -> dict[str, list[tuple[Sequence[float], int, Row | None]]]:
    """Return the distribution of each version's scores, by digest: all bins with their places."""
    spread = [row for row in rows if row["scored"] and row["lowest"] is not None]
    if not spread:
        return {}
    bounds = bounds_of(
        min(row["lowest"] for row in spread),
        max(row["highest"] for row in spread),
        is_whole=not any(row["fractions"] for row in spread),
    )
    sql = _DISTRIBUTION.fill(score_sums=SCORE_SUMS, judged=_count_scores(reader, project))
    bins: defaultdict[str, dict[int, Row]] = defaultdict(dict)
    for row in _ask(reader, sql, project, [judge], {"edges": bounds[1:-1]}):
        bins[row["judge_version"]][row["place"]] = row
    return {
        digest: [(bounds, place, of_digest.get(place)) for place in range(len(bounds) - 1)]
        for digest, of_digest in bins.items()
    }


def _bin(
    judge_numbers: JudgeNumbers, bounds: Sequence[float], place: int, row: Row | None
) -> ScoreBin:
    field = write_judge_field(
        judge_numbers.judge, judge_numbers.version, judge_numbers.digest, "scores"
    )
    low, high = bounds[place], bounds[place + 1]
    is_first, is_last = place == 0, place == len(bounds) - 2
    if is_first and is_last:  # the scale has only one bin: match every score
        where = f"({field} < {high!r} or {field} >= {high!r})"
    elif is_first:
        where = f"{field} < {high!r}"
    elif is_last:
        where = f"{field} >= {low!r}"
    else:
        where = f"{low!r} <= {field} < {high!r}"
    return ScoreBin(
        low=low,
        high=high,
        evaluations=row["evaluations"] if row else 0,
        passed=row["passed"] if row else 0,
        judged=row["judged"] if row else 0,
        where=where,
    )


def _read_buckets(reader: Reader, project: str, judge: str, over: Buckets) -> dict[str, list[Row]]:
    sql = _OVER_TIME.fill(
        bucket=bucket_of(over), score_sums=SCORE_SUMS, judged=_count_scores(reader, project)
    )
    window = over.window
    more = {"start": window.start_ns, "end": window.end_ns, **bucket_parameters(over)}
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    for row in _ask(reader, sql, project, [judge], more):
        rows[row["judge_version"]].append(row)
    return rows


def _bucket(judge_numbers: JudgeNumbers, row: Row, over: Buckets) -> JudgeBucket:
    start_ns = row["bucket"]
    end_ns = over.edges_ns[over.place_of(start_ns) + 1]
    start, end = to_rfc3339(start_ns), to_rfc3339(end_ns)
    return JudgeBucket(
        start_time=start,
        start_ns=start_ns,
        evaluations=row["evaluations"],
        errors=row["failed"],
        passed=row["passed"],
        judged=row["judged"],
        pass_rate=pass_rate(row),
        mean_score=mean_score(row),
        where=f"{judge_numbers.where} and start >= {quoted(start)} and start < {quoted(end)}",
    )
