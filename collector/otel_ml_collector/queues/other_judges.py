"""How far judges agree on the same runs, for the API and the judge's page."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Final

from pydantic import Field

from otel_ml.statistics.judge_change import TwiceJudged, compare_judge_versions
from otel_ml.statistics.scored_runs import JudgeScore
from otel_ml_collector.filter.writing import write_judge_field
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.versions import version_numbers
from otel_ml_collector.verdicts.sides import read_judged
from otel_ml_collector.verdicts.verdicts import Interval, JudgeVersionName

MOST_OTHERS: Final = 20

_RunKey = tuple[bytes, bytes]


class OtherJudge(JudgeVersionName):
    """How far the newest version of another judge agrees with this judge."""

    runs: int = Field(description="Runs with pass or fail from both")
    both_pass: int
    judge_passes: int = Field(
        description="Number of runs that pass with this judge and fail with the other one"
    )
    other_passes: int = Field(
        description="Number of runs that fail with this judge and pass with the other one"
    )
    both_fail: int
    agreement: Interval = Field(description="Share of these runs with the same result")
    kappa: Interval | None = Field(
        description="Cohen's kappa: agreement beyond chance; null if all results are equal"
    )
    where: str = Field(description="The filter that lists the runs of both")
    where_judge_passes: str
    where_other_passes: str


def find_other_judges(reader: Reader, project: str, judge: str) -> list[OtherJudge]:
    """Return how far other judges agree with a judge, on the runs that both judges scored.

    The judge with the most runs in common comes first. Only the newest version of each judge, and
    the newest 10,000 runs that this judge scored, are compared. For confidence intervals, the runs
    of a session count as one cluster. So do the runs of a trace without a session.
    """
    numbers = version_numbers(reader, project, "judge", [judge])
    newest = max(numbers.values(), default=None)
    own = write_judge_field(judge, newest, "", "passed")
    rows, scored, where = read_judged(reader, project, f"{own} in (True, False)")
    digests = {digest for (_, digest, _), number in numbers.items() if number == newest} or {""}
    clusters = {(row["trace_id"], row["span_id"]): row["unit"] for row in rows}
    verdicts: dict[_RunKey, bool] = {}
    others: defaultdict[str, defaultdict[str, dict[_RunKey, bool]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for row in scored:
        key = row["trace_id"], row["span_id"]
        if key not in clusters or row["failed"] or row["passed"] is None:
            continue
        if row["judge"] != judge:
            others[row["judge"]][row["judge_version"]][key] = bool(row["passed"])
        elif row["judge_version"] in digests:
            verdicts[key] = bool(row["passed"])
    known = version_numbers(reader, project, "judge", [*others])
    compared = []
    for other, versions in others.items():
        numbered = {digest: known.get((other, digest, "")) for digest in versions}
        digest = max(numbered, key=lambda digest: (numbered[digest] or 0, digest))
        name = JudgeVersionName(judge=other, version=numbered[digest], digest=digest)
        if versions[digest].keys() & verdicts.keys():
            compared.append(_compare(name, verdicts, versions[digest], clusters, (own, where)))
    compared.sort(key=lambda item: (-item.runs, item.judge))
    return compared[:MOST_OTHERS]


def _compare(
    name: JudgeVersionName,
    verdicts: Mapping[_RunKey, bool],
    others: Mapping[_RunKey, bool],
    clusters: Mapping[_RunKey, str],
    filters: tuple[str, str],
) -> OtherJudge:
    """Compare two judges on the runs that both scored.

    Args:
        name: Name and version of the other judge.
        verdicts: Whether each run passes, by this judge.
        others: Whether each run passes, by the other judge.
        clusters: The cluster of each run.
        filters: The filter field of this judge's result, and the filter of the compared runs.
    """
    counts = Counter(
        (verdicts[key], passed, clusters[key]) for key, passed in others.items() if key in verdicts
    )
    change = compare_judge_versions(
        TwiceJudged(JudgeScore(first), JudgeScore(second), cluster, count)
        for (first, second, cluster), count in counts.items()
    )
    own, where = filters
    field = write_judge_field(name.judge, name.version, name.digest, "passed")
    kappa = change.kappa
    return OtherJudge(
        **name.model_dump(),
        runs=counts.total(),
        both_pass=change.table.get((True, True), 0),
        judge_passes=change.table.get((True, False), 0),
        other_passes=change.table.get((False, True), 0),
        both_fail=change.table.get((False, False), 0),
        agreement=Interval.model_validate(change.agreement),
        kappa=Interval.model_validate(kappa) if kappa and kappa.value == kappa.value else None,
        where=f"{where} and {field} in (True, False)",
        where_judge_passes=f"{where} and {own} == True and {field} == False",
        where_other_passes=f"{where} and {own} == False and {field} == True",
    )
