"""The verdict on two versions of a model: the same for pages, API, reader and assistants.

Experiments of both on one data set decide, as they pair items; where there are none the newest
recorded runs of both do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, Field

from otel_ml.records import ListedExperiment
from otel_ml.statistics.verdict import Word
from otel_ml_collector.experiments.find import (
    Compared,
    ExperimentDetail,
    ExperimentVerdict,
    choose_pair,
    compare,
    describe,
    find_experiments_of,
)
from otel_ml_collector.models.find import (
    EVER,
    MOST_RUNS,
    Sample,
    find_digest,
    find_samples_verdict,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.verdicts import AmountChange, FailureChange, JudgeChange


class ProductionVerdict(BaseModel):
    """The verdict on two versions by their newest recorded runs, which are not paired."""

    word: Word
    judges: list[JudgeChange]
    amounts: list[AmountChange]
    failures: FailureChange | None = Field(description="Null if no call failed")


class VersionsVerdict(BaseModel):
    """The verdict on a version of a model beside another.

    Experiments of both on one data set decide where a judge spoke of both, else production does.
    """

    model: str
    version: int
    baseline: int
    word: Word = Field(
        description="Of the worst judge: worse, inconclusive, no different, better; unless "
        "failures have risen or fallen"
    )
    reasons: list[str] = Field(description="Why it is inconclusive as a whole")
    judges: list[JudgeChange]
    amounts: list[AmountChange]
    failures: FailureChange | None = Field(description="Null if no call failed")
    experiment: ListedExperiment | None = Field(
        description="The version's experiment that decides; null where recorded runs do"
    )
    baseline_experiment: ListedExperiment | None = Field(
        description="The one that it was compared with"
    )
    common: int | None = Field(description="How many items both have; null of recorded runs")
    production: ProductionVerdict | None = Field(
        description="What recorded runs say beside the experiments; null where they decide"
    )
    most_runs: int = Field(
        description="Of recorded runs the newest of each version count, at most so many"
    )


@dataclass(frozen=True, slots=True)
class PairedVerdict:
    """The verdict on two experiments on the same data set, with the comparison behind it."""

    compared: Compared
    detail: ExperimentDetail
    verdict: ExperimentVerdict


def find_verdict(
    reader: Reader, project: str, model: str, version: int, baseline: int, *, now_ns: int
) -> VersionsVerdict:
    """Compare two versions of a model: by their experiments, else by recorded runs.

    Of each judge the newest version counts that spoke of both. Of recorded runs the newest 10,000
    of each count; those of a session, or of a trace without one, form a cluster.

    Raises:
        Missing: There is no such version.
    """
    for number in (version, baseline):
        find_digest(reader, project, model, number)
    before, after = (Sample.of_version(model, number) for number in (baseline, version))
    ahead = reader.ahead(find_samples_verdict, project, before, after, EVER)
    pair = find_paired(
        reader,
        project,
        *(
            find_experiments_of(reader, project, model, part, now_ns)
            for part in (baseline, version)
        ),
        now_ns=now_ns,
    )
    runs = ahead.result()
    production = ProductionVerdict(
        word=runs.word, judges=runs.judges, amounts=runs.amounts, failures=runs.failures
    )
    deciding = production if pair is None else pair.verdict
    return VersionsVerdict(
        model=model,
        version=version,
        baseline=baseline,
        word=deciding.word,
        reasons=[] if pair is None else pair.verdict.reasons,
        judges=deciding.judges,
        amounts=deciding.amounts,
        failures=deciding.failures,
        experiment=None if pair is None else pair.detail.experiment,
        baseline_experiment=None if pair is None else pair.verdict.baseline,
        common=None if pair is None else pair.verdict.common,
        production=None if pair is None else production,
        most_runs=MOST_RUNS,
    )


def find_paired(
    reader: Reader,
    project: str,
    before: Sequence[ListedExperiment],
    after: Sequence[ListedExperiment],
    *,
    now_ns: int,
) -> PairedVerdict | None:
    """Compare the newest finished experiments of two sides on a common data set.

    Returns:
        None where there are none, or no judge spoke of both and failures did not change.
    """
    pair = choose_pair(before, after)
    if pair is None:
        return None
    compared = compare(reader, project, pair[1].run_id, now_ns, pair[0].run_id)
    detail = describe(reader, project, compared)
    if detail.verdict is None:
        return None
    failures = detail.verdict.failures
    is_decided = failures is not None and failures.is_decided
    if not is_decided and not any(judge.difference for judge in detail.verdict.judges):
        return None
    return PairedVerdict(compared, detail, detail.verdict)
