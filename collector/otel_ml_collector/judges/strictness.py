"""Compares how strict two versions of a judge are, for pages, API and reader."""

from collections import Counter, defaultdict

from pydantic import Field

from otel_ml.statistics.comparison import Word
from otel_ml.statistics.judge_change import JudgeVersionChange, TwiceJudged, compare_judge_versions
from otel_ml.statistics.scored_runs import JudgeScore
from otel_ml.statistics.sentences import Sentence, list_reasons, write_judge_change
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import Missing
from otel_ml_collector.filter.writing import write_judge_field
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.versions import version_numbers
from otel_ml_collector.verdicts.sides import JUDGED_RUNS, read_judged
from otel_ml_collector.verdicts.verdicts import Interval


class JudgedRuns(AnswerBody):
    """Runs by the results that two versions of a judge gave them."""

    runs: int
    where: str = Field(description="Filter that lists these runs")


class JudgeStrictness(AnswerBody):
    """Two versions of a judge compared on the same runs."""

    judge: str
    version: int
    against: int
    word: str = Field(
        description="Stricter, more lenient, no difference or not enough data; for scores "
        "without pass or fail, lower or higher"
    )
    sentence: str
    text: Sentence = Field(exclude=True, description="The claim and evidence of the sentence")
    runs: int = Field(
        default=0, description="Number of compared runs: those that both versions scored"
    )
    left_out: int = Field(
        default=0,
        description="Number of runs that are left out because one version raised an error",
    )
    is_cut: bool = Field(
        description="Whether both versions scored more runs than are compared; only the newest "
        "are compared"
    )
    in_experiments: bool = Field(
        description="Whether the compared runs belong to experiments. They do if both versions "
        "scored no production run"
    )
    where: str = Field(description="Filter that lists the runs that both versions scored")
    is_rate: bool = Field(
        default=True, description="True if the values are pass rates, false if they are mean scores"
    )
    before: Interval | None = Field(
        default=None, description="Pass rate or mean score of the version that `against` names"
    )
    after: Interval | None = None
    difference: Interval | None = None
    margin: float = Field(default=0.0, description="Smallest difference that matters")
    agreement: Interval | None = Field(
        default=None, description="Share of runs with the same result from both; null for scores"
    )
    kappa: Interval | None = Field(
        default=None, description="Cohen's kappa: agreement beyond chance, at most 1"
    )
    both_pass: JudgedRuns | None = Field(
        default=None,
        description="Runs that pass with both versions; null if the judge only gives scores",
    )
    both_fail: JudgedRuns | None = None
    flipped_to_pass: JudgedRuns | None = None
    flipped_to_fail: JudgedRuns | None = None
    needed: int | None = Field(
        default=None,
        description="Number of runs that would show a difference as large as `margin` with 80 "
        "% power",
    )
    reasons: list[str] = Field(default=[], description="Why the comparison has not enough data")


def find_strictness(
    reader: Reader, project: str, judge: str, version: int, against: int
) -> JudgeStrictness:
    """Compare how strict two versions of a judge are, on the newest 10,000 runs that both scored.

    Production runs are compared. If both versions scored no production run, runs of experiments are
    compared instead. The runs of one session are not independent, so they form one cluster; a run
    without a session belongs to the cluster of its trace.

    Raises:
        Missing: The judge does not have one of the two versions.
    """
    digests = _digests(reader, project, judge)
    for number in (version, against):
        if number not in digests:
            raise Missing(f"Judge {judge!r} of project {project!r} has no version {number}")
    old, new = (write_judge_field(judge, number, "", "failed") for number in (against, version))
    both = f"{old} in (True, False) and {new} in (True, False)"
    rows, scored, where = read_judged(reader, project, both)
    in_experiments = not rows
    if in_experiments:
        rows, scored, where = read_judged(reader, project, f'{both} and item != ""')
    scores: defaultdict[tuple[bytes, bytes], dict[int, JudgeScore]] = defaultdict(dict)
    numbers = {digest: number for number in (against, version) for digest in digests[number]}
    for row in scored:
        if row["judge"] == judge and row["judge_version"] in numbers:
            scores[row["trace_id"], row["span_id"]][numbers[row["judge_version"]]] = JudgeScore(
                row["passed"],
                row["score"] if row["passed"] is None else None,
                failed=bool(row["failed"]),
            )
    pairs = Counter(
        (pair[against], pair[version], row["unit"])
        for row in rows
        for pair in (scores[row["trace_id"], row["span_id"]],)
        if len(pair) == len({against, version})
    )
    change = None
    if any(not old.failed and not new.failed for old, new, _ in pairs):
        change = compare_judge_versions(TwiceJudged(*pair, n) for pair, n in pairs.items())
    text = Sentence(f"No run was scored by both v{version} and v{against}")
    answer = JudgeStrictness(
        judge=judge,
        version=version,
        against=against,
        word=Word.NOT_ENOUGH_DATA,
        sentence=str(text),
        text=text,
        is_cut=len(rows) == JUDGED_RUNS,
        in_experiments=in_experiments and bool(rows),
        where=where,
    )
    return answer if change is None else _describe_change(answer, change, pairs.total())


def _describe_change(
    answer: JudgeStrictness, change: JudgeVersionChange, judged: int
) -> JudgeStrictness:
    """Describe how the versions differ on the runs that both scored."""
    comparison = change.comparison
    text = write_judge_change(change, f"v{answer.version}", f"v{answer.against}")
    estimates = {
        "before": comparison.baseline.estimate,
        "after": comparison.candidate.estimate,
        "difference": comparison.difference,
        "agreement": change.agreement,
        "kappa": change.kappa
        if change.kappa and change.kappa.value == change.kappa.value
        else None,
    }
    cells = {
        "both_pass": (True, True),
        "both_fail": (False, False),
        "flipped_to_pass": (False, True),
        "flipped_to_fail": (True, False),
    }
    return answer.model_copy(
        update={
            "word": change.word,
            "sentence": str(text),
            "text": text,
            "runs": change.runs,
            "left_out": judged - change.runs,
            "is_rate": comparison.is_rate,
            "margin": comparison.margin,
            "needed": comparison.basis.needed,
            "reasons": list_reasons(comparison),
            **{
                name: estimate and Interval.model_validate(estimate)
                for name, estimate in estimates.items()
            },
            **{name: _among(answer, change, passed) for name, passed in cells.items()},
        }
    )


def _among(
    answer: JudgeStrictness, change: JudgeVersionChange, passed: tuple[bool, bool]
) -> JudgedRuns | None:
    """Count the runs with these two results. None if the judge only gives scores."""
    if not change.table:
        return None
    tests = [
        f"{write_judge_field(answer.judge, number, '', 'passed')} == {did}"
        for number, did in zip((answer.against, answer.version), passed, strict=True)
    ]
    where = " and ".join([answer.where, *tests])
    return JudgedRuns(runs=change.table.get(passed, 0), where=where)


def _digests(reader: Reader, project: str, judge: str) -> dict[int, list[str]]:
    digests: defaultdict[int, list[str]] = defaultdict(list)
    for (_, digest, _), number in version_numbers(reader, project, "judge", [judge]).items():
        digests[number].append(digest)
    return digests
