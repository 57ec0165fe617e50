"""How far reviewers agree with each other and with a judge, and the judge's corrected pass rate.

Answers are never merged: each answer about a run is compared with the judge's verdict. Intervals
come from resampling whole runs. Versions of a judge are never averaged.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Final

from pydantic import Field

from otel_ml.statistics.agreement import Level, cohen_kappa, krippendorff_alpha
from otel_ml.statistics.intervals import Estimate, bootstrap, cluster_mean, corrected_rate
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.queues.find import IS_WORD, write_draw
from otel_ml_collector.queues.other_judges import OtherJudge, find_other_judges
from otel_ml_collector.queues.queue import QUEUE, Queue, make_queue
from otel_ml_collector.runs.find import MATCHING, RunsQuery, compile_query
from otel_ml_collector.store.counted import RECORDED
from otel_ml_collector.store.documents import list_documents
from otel_ml_collector.store.labels import newest_labels
from otel_ml_collector.store.reader import Reader, Row, run_id_of
from otel_ml_collector.store.record_kinds import find_counted, find_record_kinds
from otel_ml_collector.store.runs import ACROSS_PARTITIONS
from otel_ml_collector.store.scores import OF_JUDGE, all_scores, newest_scores
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.versions import read_versions
from otel_ml_collector.verdicts.verdicts import JudgeVersionName

MOST_COMPARED_RUNS: Final = 5_000
_MOST_WORDS: Final = 50_000
_DRAWN: Final = 200_000
_LEAST_DRAWS: Final = 200
_SHOWN_RUNS: Final = 20
_SHOWN_REVIEWERS: Final = 20
_FEW_LABELS: Final = 50
_NO_NUMBER: Final = 0
_ALL_RUNS: Final = Sql("""
    SELECT trace_id, span_id FROM {recorded} WHERE kind != 'span' AND {counted}""")
# Ordered by run, so that the limit cuts off at most one run's answers.
_PEOPLE_WORDS: Final = Sql("""
    SELECT lower(hex(trace_id)) AS trace_id, lower(hex(span_id)) AS span_id, annotator, label,
      score, passed, explanation, time_ns, record_id
    FROM ({words}) WHERE {is_word} AND label NOT IN {unanswered:Array(String)}
      AND (trace_id, span_id) IN (SELECT trace_id, span_id FROM ({runs}))
    ORDER BY trace_id, span_id, annotator LIMIT {most:UInt32}""")
_VERDICTS: Final = Sql("""
    SELECT lower(hex(trace_id)) AS trace_id, lower(hex(span_id)) AS span_id, judge_version,
      assumeNotNull(passed) AS passed
    FROM ({newest}) WHERE passed IS NOT NULL AND (trace_id, span_id) IN (
      SELECT toFixedString(unhex(left(run_id, 32)), 16),
        toFixedString(unhex(right(run_id, 16)), 8)
      FROM (SELECT arrayJoin({run_ids:Array(String)}) AS run_id))""")
# Results of one judge version for the runs that the queue can contain. These runs had arrived when
# the first answer was given.
_JUDGED: Final = Sql("""
    SELECT count() AS judged, countIf(assumeNotNull(evaluation.passed)) AS passed
    FROM (
      SELECT trace_id, span_id FROM {recorded} WHERE {matching} AND start_ns < {first_ns:Int64}
    ) AS run
    INNER JOIN ({newest}) AS evaluation
      ON evaluation.trace_id = run.trace_id AND evaluation.span_id = run.span_id
    WHERE evaluation.judge_version = {version:String} AND evaluation.passed IS NOT NULL""")


# The given runs that had already arrived when the queue got its first answer.
_IN_SAMPLE: Final = Sql("""
    SELECT lower(hex(trace_id)) AS trace_id, lower(hex(span_id)) AS span_id FROM {recorded}
    WHERE {matching} AND start_ns < {first_ns:Int64} AND (trace_id, span_id) IN (
      SELECT toFixedString(unhex(left(run_id, 32)), 16),
        toFixedString(unhex(right(run_id, 16)), 8)
      FROM (SELECT arrayJoin({run_ids:Array(String)}) AS run_id))""")


class AgreementInterval(AnswerBody):
    """A figure with its 95 % interval; null without enough data."""

    value: float | None
    low: float | None
    high: float | None


class Confusion(AnswerBody):
    """How often reviewers and the judge agree, by answer and verdict."""

    both_pass: int
    judge_passes: int = Field(
        description="Number of runs that pass with the judge and fail with the reviewer"
    )
    people_pass: int = Field(
        description="Number of runs that fail with the judge and pass with the reviewer"
    )
    both_fail: int


class RunLabel(AnswerBody):
    """A reviewer's answer about a run."""

    annotator: str
    answer: str = Field(description="The label or number")
    passed: bool | None


class DifferingRun(AnswerBody):
    """A run on which the judge and a reviewer differ."""

    run_id: str
    judge_passed: bool
    people: int = Field(description="Number of reviewers who answered")
    people_passed: int = Field(description="Number of these reviewers whose answer is a pass")
    explanation: str = Field(description="Comment of the last answer")
    answers: list[RunLabel] = Field(description="All answers, sorted by reviewer")


class VersionAgreement(JudgeVersionName):
    """How far reviewers agree with one version of a judge."""

    runs: int = Field(description="Runs that the judge and a reviewer labelled")
    words: int = Field(description="Answers about these runs, one per reviewer and run")
    is_few: bool = Field(
        description="Whether there are fewer than 50 answers, which is too few to rely on"
    )
    confusion: Confusion
    agreement: AgreementInterval = Field(description="Share of answers that agree with the judge")
    kappa: AgreementInterval = Field(description="Cohen's kappa: agreement beyond chance")
    differing: list[DifferingRun] = Field(
        description="Runs on which judge and reviewers differ, at most 20. Runs that the judge "
        "passes come first"
    )


class SameAnswers(AnswerBody):
    """How many of some answers are the same."""

    name: str = Field(description="Name of the other reviewer; empty for the judge")
    same: int
    compared: int


class ReviewerAgreement(AnswerBody):
    """How often a reviewer agrees with the judge and with each other reviewer."""

    name: str
    answers: int
    judge: SameAnswers | None = Field(
        description="Comparison with the newest version of the judge; null if it has no verdict"
    )
    others: list[SameAnswers] = Field(description="Comparison with each other reviewer, by name")


class PeopleAgreement(AnswerBody):
    """How far reviewers agree with each other."""

    people: int
    runs: int = Field(description="Number of runs that two or more reviewers labelled")
    same: int = Field(
        description="Number of these runs that got the same answer from all their reviewers"
    )
    level: Level = Field(description="Kind of the answers: labels, or numbers of a scale")
    alpha: AgreementInterval = Field(description="Krippendorff's alpha")
    reviewers: list[ReviewerAgreement] = Field(
        description="The 20 reviewers with most answers, by name"
    )


class CorrectedRate(AnswerBody):
    """A judge's pass rate, corrected by reviewers who labelled a random sample of its runs."""

    queue: str
    version: int | None
    judged: int = Field(
        description="Number of runs that the version scored and that match the selection of the"
        " queue"
    )
    judge_rate: float = Field(description="Pass rate of the version on these runs")
    sample: int = Field(description="Number of these runs that reviewers labelled")
    rate: AgreementInterval


class ReviewerBenchmark(AnswerBody):
    """Whether reviewers agree with a judge as much as they agree with each other, on the same runs.

    These runs have answers of two or more reviewers and a verdict of the judge. Each run has the
    same weight.
    """

    runs: int
    words: int = Field(description="Answers about these runs, one per reviewer and run")
    is_few: bool = Field(
        description="Whether there are fewer than 50 answers, which is too few to compare"
    )
    judge: float = Field(description="Share of answers that agree with the judge")
    people: float = Field(description="Share of pairs of answers about a run that agree")
    difference: AgreementInterval = Field(description="`judge` minus `people`")
    is_worse: bool = Field(
        description="Whether the judge agrees with reviewers less than they agree with each "
        "other: true if the interval of the difference is below 0"
    )


class Agreement(AnswerBody):
    """How far reviewers and a judge agree: on all runs of a judge, or on the runs of a queue."""

    judge: str
    versions: list[VersionAgreement] = Field(
        description="Versions that scored any of these runs, the newest first. Each has figures"
        " of its own"
    )
    people: PeopleAgreement
    corrected: CorrectedRate | None = Field(
        description="Corrected pass rate of the newest version; null without a random sample"
    )
    benchmark: ReviewerBenchmark | None = Field(
        description="Comparison for the newest version; null if no run has two reviewers and a "
        "verdict of this version"
    )
    is_cut: bool = Field(
        description="Whether there are more than 5,000 runs; only these are counted"
    )
    judges: list[OtherJudge] = Field(
        default=[],
        description="For a judge: agreement with each other judge, on the runs that both scored",
    )


@dataclass(slots=True)
class _JudgedRun:
    """A run with the answers of reviewers and the verdict of each version of the judge."""

    run_id: str
    words: list[Row] = field(default_factory=list)
    verdicts: dict[str, bool] = field(default_factory=dict)

    @property
    def passes(self) -> list[bool]:
        return [word["passed"] for word in self.words if word["passed"] is not None]


@dataclass(frozen=True, slots=True)
class _Question:
    """The judge and the runs whose answers are compared.

    Attributes:
        runs: SQL that selects `trace_id` and `span_id`, and the values of its parameters.
        unanswered: Labels that do not count as an answer.
        queues: Queues that may have drawn a random sample.
        is_scale: Whether the answers are numbers of a scale.
    """

    reader: Reader
    project: str
    judge: str
    now_ns: int
    runs: tuple[Sql, Mapping[str, Any]]
    unanswered: Sequence[str]
    queues: Sequence[Queue]
    is_scale: bool

    def ask(self, sql: Sql, values: Mapping[str, Any]) -> list[Row]:
        """Query the store for answers of reviewers or verdicts of the judge."""
        asked = {**values, "project": self.project, "judge": self.judge}
        return self.reader.rows(sql, asked, ACROSS_PARTITIONS)

    @property
    def has_keyed(self) -> bool:
        """Whether answers can be about trace keys and tags."""
        return find_record_kinds(self.reader, self.project).keyed_scores

    @property
    def newest_verdicts(self) -> Sql:
        """The SQL for the newest verdict of each version of the judge on each run."""
        scores = all_scores(judges=Sql("{judge} = {judge:String}"), has_keyed=self.has_keyed)
        return newest_scores(scores, where=OF_JUDGE)


def find_judge_agreement(reader: Reader, project: str, judge: str, now_ns: int) -> Agreement:
    """Return how far reviewers and other judges agree with a judge, on all recorded runs.

    The result also has the judge's pass rate, corrected for the judge's errors. This needs a random
    sample of labelled runs. It comes from the first labelling queue of the judge that has one.
    """
    others = reader.ahead(find_other_judges, project, judge)
    counted = find_counted(reader, project, kinds=True)
    runs = _ALL_RUNS.fill(recorded=RECORDED, counted=counted.sql)
    queues = [
        queue
        for queue in map(make_queue, list_documents(reader, project, QUEUE))
        if queue.judge == judge
    ]
    unanswered = sorted({label for queue in queues for label in queue.unanswered})
    is_scale = bool(queues) and all(queue.scale is not None for queue in queues)
    judge_agreement = _find(
        _Question(reader, project, judge, now_ns, (runs, {}), unanswered, queues, is_scale)
    )
    judge_agreement.judges = others.result()
    return judge_agreement


def find_queue_agreement(reader: Reader, project: str, queue: Queue, now_ns: int) -> Agreement:
    """Return how far reviewers agree with each other and with the judge, on the runs of a queue."""
    drawn = write_draw(reader, project, queue, now_ns)
    is_scale = queue.scale is not None
    asked = (reader, project, queue.judge, now_ns, drawn)
    return _find(_Question(*asked, queue.unanswered, [queue], is_scale))


def _find(question: _Question) -> Agreement:
    judged, is_cut = _read_runs(question)
    _add_verdicts(question, judged)
    known = read_versions(question.reader, question.project, "judge", [question.judge])
    numbers = {row["digest"]: row["number"] for row in known}
    digests = sorted(
        {digest for run in judged if run.passes for digest in run.verdicts},
        key=lambda digest: (numbers.get(digest, _NO_NUMBER), digest),
        reverse=True,
    )
    corrections = (
        correction
        for queue in (question.queues if digests else ())
        if (correction := _correct(question, queue, judged, digests[0])) is not None
    )
    corrected = next(corrections, None)
    if corrected is not None:
        corrected.version = numbers.get(digests[0])
    return Agreement(
        judge=question.judge,
        versions=[
            _compare(question.judge, numbers.get(digest), digest, judged) for digest in digests
        ],
        people=_compare_people(judged, digests[:1], is_scale=question.is_scale),
        corrected=corrected,
        benchmark=_compare_with_reviewers(judged, digests[0]) if digests else None,
        is_cut=is_cut,
    )


def _read_runs(question: _Question) -> tuple[list[_JudgedRun], bool]:
    """Read the answers of reviewers; return them by run, and whether there are more."""
    runs, values = question.runs
    sql = _PEOPLE_WORDS.fill(
        words=newest_labels(has_keyed=question.has_keyed), is_word=IS_WORD, runs=runs
    )
    asked = {**values, "unanswered": list(question.unanswered), "most": _MOST_WORDS}
    rows = question.ask(sql, asked)
    judged_runs: dict[str, _JudgedRun] = {}
    for row in rows:
        run_id = run_id_of(row)
        if run_id not in judged_runs and len(judged_runs) == MOST_COMPARED_RUNS:
            return list(judged_runs.values()), True
        judged_runs.setdefault(run_id, _JudgedRun(run_id)).words.append(row)
    return list(judged_runs.values()), len(rows) == _MOST_WORDS


def _add_verdicts(question: _Question, judged: Sequence[_JudgedRun]) -> None:
    by_id = {run.run_id: run for run in judged}
    sql = _VERDICTS.fill(newest=question.newest_verdicts)
    for row in question.ask(sql, {"run_ids": list(by_id)}) if by_id else ():
        by_id[run_id_of(row)].verdicts[row["judge_version"]] = bool(row["passed"])


def _compare(
    judge: str, version: int | None, digest: str, judged: Sequence[_JudgedRun]
) -> VersionAgreement:
    runs = [run for run in judged if digest in run.verdicts and run.passes]
    units = [[(run.verdicts[digest], passed) for passed in run.passes] for run in runs]
    counts = Counter(pair for unit in units for pair in unit)
    differing = [
        DifferingRun(
            run_id=run.run_id,
            judge_passed=run.verdicts[digest],
            people=len(run.passes),
            people_passed=sum(run.passes),
            explanation=max(run.words, key=lambda word: word["time_ns"])["explanation"],
            answers=[
                RunLabel(
                    annotator=word["annotator"],
                    answer=str(_answer_of(word)),
                    passed=word["passed"],
                )
                for word in run.words
            ],
        )
        for run in runs
        if any(passed != run.verdicts[digest] for passed in run.passes)
    ]
    differing.sort(key=lambda run: (not run.judge_passed, run.run_id))
    return VersionAgreement(
        judge=judge,
        version=version,
        digest=digest,
        runs=len(runs),
        words=counts.total(),
        is_few=counts.total() < _FEW_LABELS,
        confusion=Confusion(
            both_pass=counts[True, True],
            judge_passes=counts[True, False],
            people_pass=counts[False, True],
            both_fail=counts[False, False],
        ),
        agreement=_bound(units, _share_alike),
        kappa=_bound(units, _kappa_of),
        differing=differing[:_SHOWN_RUNS],
    )


_Unit = Sequence[tuple[bool, bool]]


def _share_alike(units: Sequence[_Unit]) -> float:
    pairs = [first == second for unit in units for first, second in unit]
    return sum(pairs) / len(pairs) if pairs else math.nan


def _kappa_of(units: Sequence[_Unit]) -> float:
    return cohen_kappa(Counter(pair for unit in units for pair in unit))


def _compare_people(
    judged: Sequence[_JudgedRun], digests: Sequence[str], *, is_scale: bool
) -> PeopleAgreement:
    level: Level = "ordinal" if is_scale else "nominal"
    units = [[_answer_of(word) for word in run.words] for run in judged]
    if is_scale:
        units = [[answer for answer in unit if isinstance(answer, float)] for unit in units]
    shared = [unit for unit in units if len(unit) > 1]
    return PeopleAgreement(
        people=len({word["annotator"] for run in judged for word in run.words}),
        runs=len(shared),
        same=sum(len(set(unit)) == 1 for unit in shared),
        level=level,
        alpha=_bound(shared, lambda of: krippendorff_alpha(of, level)),
        reviewers=_compare_reviewers(judged, digests),
    )


def _compare_with_reviewers(judged: Sequence[_JudgedRun], digest: str) -> ReviewerBenchmark | None:
    """Compare agreement of a judge with reviewers to that among reviewers, on the same runs.

    Pass and fail are compared. If the judge were one more reviewer, both shares would be equal on
    average. The differences of the runs are paired, as each run is easy or hard for all.
    """
    shares = []
    words = 0
    for run in judged:
        passes = run.passes
        if digest in run.verdicts and len(passes) > 1:
            words += len(passes)
            same = sum(passed == run.verdicts[digest] for passed in passes) / len(passes)
            pairs = [first == second for first, second in combinations(passes, 2)]
            shares.append((same, sum(pairs) / len(pairs)))
    if not shares:
        return None
    difference = cluster_mean([(judge - people, 1) for judge, people in shares], of_rates=True)
    is_few = words < _FEW_LABELS
    return ReviewerBenchmark(
        runs=len(shares),
        words=words,
        is_few=is_few,
        judge=sum(judge for judge, _ in shares) / len(shares),
        people=sum(people for _, people in shares) / len(shares),
        difference=_interval(difference),
        is_worse=not is_few and difference.high < 0,
    )


def _compare_reviewers(
    judged: Sequence[_JudgedRun], digests: Sequence[str]
) -> list[ReviewerAgreement]:
    """Compare each reviewer with the newest version of the judge and with each other reviewer.

    Args:
        judged: The runs with their answers.
        digests: The newest version of the judge; empty if none has a verdict.
    """
    answers = Counter(word["annotator"] for run in judged for word in run.words)
    names = sorted(name for name, _ in answers.most_common(_SHOWN_REVIEWERS))
    with_judge: Counter[tuple[str, bool]] = Counter()
    with_other: Counter[tuple[str, str, bool]] = Counter()
    for run in judged:
        words = [word for word in run.words if word["annotator"] in names]
        for word in words:
            name = word["annotator"]
            verdicts = [run.verdicts[digest] for digest in digests if digest in run.verdicts]
            if verdicts and word["passed"] is not None:
                with_judge[name, word["passed"] == verdicts[0]] += 1
            for other in words:
                if other["annotator"] != name:
                    is_same = _answer_of(other) == _answer_of(word)
                    with_other[name, other["annotator"], is_same] += 1

    def count(name: str, same: int, different: int) -> SameAnswers | None:
        compared = same + different
        return SameAnswers(name=name, same=same, compared=compared) if compared else None

    return [
        ReviewerAgreement(
            name=name,
            answers=answers[name],
            judge=count("", with_judge[name, True], with_judge[name, False]),
            others=[
                shared
                for other in names
                if (
                    shared := count(
                        other, *(with_other[name, other, is_same] for is_same in (True, False))
                    )
                )
            ],
        )
        for name in names
    ]


def _answer_of(word: Row) -> float | str:
    """Return a reviewer's answer: the label, else the number, else whether the run passes."""
    if word["label"]:
        return str(word["label"])
    return str(word["passed"]) if word["score"] is None else float(word["score"])


def _bound(units: Sequence[Any], statistic: Any) -> AgreementInterval:
    """Compute a figure with its interval by resampling runs, less often if there are many."""
    if not units:
        return AgreementInterval(value=None, low=None, high=None)
    resamples = max(min(_DRAWN // len(units), 1_000), _LEAST_DRAWS)
    return _interval(bootstrap(units, statistic, resamples=resamples))


def _interval(estimate: Estimate) -> AgreementInterval:
    value, low, high = (
        number if math.isfinite(number) else None
        for number in (estimate.value, estimate.low, estimate.high)
    )
    return AgreementInterval(value=value, low=low, high=high)


def _correct(
    question: _Question, queue: Queue, judged: Sequence[_JudgedRun], digest: str
) -> CorrectedRate | None:
    """Correct the pass rate of a version with the answers about runs that a queue drew."""
    if queue.order != "random":
        return None
    reader, project = question.reader, question.project
    drawn: defaultdict[str, list[Row]] = defaultdict(list)
    for run in judged:
        for word in run.words:
            own = queue.record_id(project, run.run_id, word["annotator"])
            if word["record_id"] == own and word["passed"] is not None:
                drawn[run.run_id].append(word)
    if not drawn:
        return None
    query = RunsQuery(project, queue.where)
    condition, _ = compile_query(reader, query)
    matching = MATCHING.fill(condition=condition.sql)
    asked = {
        **query.values(condition, question.now_ns),
        "first_ns": min(word["time_ns"] for words in drawn.values() for word in words),
    }
    sql = _JUDGED.fill(recorded=RECORDED, matching=matching, newest=question.newest_verdicts)
    [row] = question.ask(sql, {**asked, "version": digest})
    in_sample = _IN_SAMPLE.fill(recorded=RECORDED, matching=matching)
    sample = set(map(run_id_of, question.ask(in_sample, {**asked, "run_ids": list(drawn)})))
    sample -= {*queue.run_ids}  # added by hand, so not a random sample
    shifts = [
        (sum(word["passed"] for word in words) / len(words) - run.verdicts[digest], 1)
        for run in judged
        if digest in run.verdicts and run.run_id in sample
        for words in (drawn[run.run_id],)
    ]
    if not shifts or not row["judged"]:
        return None
    return CorrectedRate(
        queue=queue.name,
        version=None,
        judged=row["judged"],
        judge_rate=row["passed"] / row["judged"],
        sample=len(shifts),
        rate=_interval(corrected_rate(row["passed"], row["judged"], shifts)),
    )
