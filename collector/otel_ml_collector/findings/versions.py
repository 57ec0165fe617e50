"""The verdict on two versions of a model, for pages, API, reader and assistants.

A new version and the one before it are compared as a release (`findings.releases`), whichever of
them is the baseline. Any other two are compared by experiments on one data set, item by item, else
by recorded runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field

from otel_ml.records import ListedExperiment
from otel_ml.statistics.comparison import Word
from otel_ml_collector import wording
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.evaluations.experiment_comparison import Compared, compare
from otel_ml_collector.evaluations.experiment_runs import AskedExperiment, choose_pair
from otel_ml_collector.evaluations.experiments import (
    ExperimentDetail,
    ExperimentVerdict,
    describe,
    find_experiments_of,
)
from otel_ml_collector.findings.releases import (
    Release,
    ReleaseSlice,
    TwoVersions,
    compare_by,
    compare_pair,
    find_changes,
    find_releases,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.verdicts.verdicts import (
    AT_ALL_LOOKS,
    ComparedFigure,
    FiguresVerdict,
    find_worst,
    judge_recorded,
)
from otel_ml_collector.versions.find import find_digests


class TagValueChange(AnswerBody):
    """The comparison of two versions for one value of a tag, over recorded runs."""

    value: str = Field(description="Value of the tag")
    word: Word
    figures: list[ComparedFigure] = Field(description="The figures of these runs, worst first")


class VersionsVerdict(FiguresVerdict):
    """The verdict on a version of a model compared with another."""

    model: str
    version: int
    baseline: int
    basis: Literal["release", "experiments", "runs"] = Field(
        description="What the verdict is based on. `release`: a new version and the one before, as "
        "in `/release`, in either order. `experiments`: both versions ran on the same data set. "
        "`runs`: recorded runs of any other two versions, chosen as for a release"
    )
    heading: str = Field(description="What is compared, in words")
    experiment: ListedExperiment | None = Field(
        description="The version's experiment on a data set that both ran"
    )
    baseline_experiment: ListedExperiment | None = Field(description="The baseline's experiment")
    common: int | None = Field(description="Number of items that both experiments have")
    paired: FiguresVerdict | None = Field(
        description="Verdict of the two experiments; null if there are none, or if `basis` is "
        "`experiments`"
    )
    production: FiguresVerdict | None = Field(
        description="Verdict on recorded runs; null unless `basis` is `experiments`"
    )
    for_whom: list[ReleaseSlice] = Field(
        description="Slices, such as one client, for which the version is worse in recorded runs, "
        "over all values of all tags, the clearest first"
    )
    by: list[TagValueChange] = Field(
        description="The comparison for each value of the tag `by`, those with the most runs first"
    )

    @property
    def interval(self) -> str:
        """What kind of intervals the figures have, such as `95 % interval`."""
        return wording.INTERVAL if self.basis == "experiments" else AT_ALL_LOOKS

    @property
    def is_problem(self) -> bool:
        """Whether Monitor shows a problem: a new version that is worse, if only for a slice."""
        is_new = self.basis == "release" and self.version > self.baseline
        return is_new and (self.word == Word.WORSE or bool(self.for_whom))


@dataclass(frozen=True, slots=True)
class PairedVerdict:
    """The verdict on two experiments on the same data set, with the comparison behind it."""

    compared: Compared
    detail: ExperimentDetail
    verdict: ExperimentVerdict


@dataclass(frozen=True, slots=True)
class ChosenRuns:
    """Which recorded runs of two versions are compared.

    Attributes:
        where: A filter. If given, only the recorded runs that match it are compared, and no
            experiments.
        by: Name of a tag. If given, the recorded runs are also compared for each of its values.
    """

    where: str = ""
    by: str = ""


EVERY_RUN: Final = ChosenRuns()


def find_verdict(
    reader: Reader,
    project: str,
    model: str,
    version: int,
    baseline: int,
    *,
    now_ns: int,
    releases: Sequence[Release] | None = None,
    chosen: ChosenRuns = EVERY_RUN,
) -> VersionsVerdict:
    """Return whether a version of a model is better or worse than another, with the evidence.

    See `find_compared`.
    """
    return find_compared(
        reader, project, model, version, baseline, now_ns=now_ns, releases=releases, chosen=chosen
    )[0]


def find_compared(
    reader: Reader,
    project: str,
    model: str,
    version: int,
    baseline: int,
    *,
    now_ns: int,
    releases: Sequence[Release] | None = None,
    chosen: ChosenRuns = EVERY_RUN,
) -> tuple[VersionsVerdict, Release | None]:
    """Return whether a version of a model is better or worse than another, with the evidence.

    The verdict comes from the first of these comparisons that exists:

    * The comparison of a new version with its baseline, if it is one of these two.
    * A comparison of experiments of both versions on the same data set.
    * The comparison of the recorded runs of both versions.

    Args:
        reader: The store.
        project: The project.
        model: Name of the model.
        version: Number of the version to judge, such as 2.
        baseline: Number of the version that it is compared with, such as 1.
        now_ns: Current time, in nanoseconds since 1970.
        releases: The comparisons of the project's new versions with their baselines, if you have
            them already.
        chosen: Which runs are compared, and by which tag.

    Returns:
        The verdict, and the comparison of the recorded runs of both versions. No comparison if one
        of them has no run.

    Raises:
        Missing: A version does not exist.
        BadInput: The filter is invalid.
    """
    where, by = chosen.where, chosen.by
    asked = TwoVersions(project, model, (baseline, version), now_ns, where)
    find_digests(reader, project, model, [version, baseline])
    pairing = reader.ahead(_find_pair, project, model, (baseline, version), now_ns)
    release = None
    if releases is not None:
        release = find_release_of(releases, model, version, baseline)
    is_release = release is not None
    if release is None:
        release, is_release = compare_pair(reader, asked)
    pair = None if where else pairing.result()
    paired = None if pair is None else _describe_paired(pair)
    production = (
        judge_recorded(Word.NOT_ENOUGH_DATA, "no recorded runs of both", [])
        if release is None
        else release.recorded
    )
    facts: dict[str, object] = {
        "experiment": None if pair is None else pair.detail.experiment,
        "baseline_experiment": None if pair is None else pair.verdict.baseline,
        "common": None if pair is None else pair.verdict.common,
        "paired": paired if is_release else None,
        "production": None,
        "for_whom": release.for_whom if release else [],
        "by": [],
    }
    if by:
        verdicts = compare_by(reader, asked, by)
        facts["by"] = [
            TagValueChange(value=value, word=own.word, figures=own.describe())
            for value, own in verdicts.items()
        ]
    names = f"v{version} vs v{baseline}"
    if is_release or pair is None or paired is None:
        facts |= {
            **dict(production),
            "basis": "release" if is_release else "runs",
            "heading": f"{names}: no recorded runs of both" if release is None else release.heading,
        }
    else:
        now, before = pair.detail.experiment, pair.verdict.baseline
        facts |= {
            **dict(paired),
            "basis": "experiments",
            "heading": f"{names}: experiments on {now.dataset}, {now.name} vs {before.name}, "
            f"{pair.verdict.common:,} shared items",
            "production": production,
        }
    verdict = VersionsVerdict.model_validate(
        {"model": model, "version": version, "baseline": baseline, **facts}
    )
    return verdict, release


def find_version_releases(
    reader: Reader, project: str, now_ns: int, *models: str, where: str = ""
) -> list[Release]:
    """Compare the new versions of some models with their baselines.

    Only runs that match the filter `where` are compared.
    """
    changes = [
        change
        for model in dict.fromkeys(models)
        for change in find_changes(reader, project, now_ns, model, dimensions=("version",))
    ]
    return find_releases(reader, project, now_ns, where=where, changes=changes)


def find_release_of(
    releases: Sequence[Release], model: str, version: int, baseline: int | None = None
) -> Release | None:
    """Find the release of a version; None if it is not compared with the given baseline."""
    for release in releases:
        is_its = (release.model, release.candidate.version) == (model, version)
        if release.dimension == "version" and is_its:
            return release if baseline in {None, release.baseline.version} else None
    return None


def _find_pair(
    reader: Reader, project: str, model: str, versions: tuple[int, int], now_ns: int
) -> PairedVerdict | None:
    """Compare experiments of two versions. `versions` has the baseline first."""
    before, after = (
        find_experiments_of(reader, project, model, version, now_ns) for version in versions
    )
    return find_paired(reader, project, before, after, now_ns=now_ns)


def _describe_paired(pair: PairedVerdict) -> FiguresVerdict:
    verdict = pair.verdict
    worst = find_worst(verdict)
    return FiguresVerdict(
        word=verdict.word,
        sentence="; ".join(verdict.reasons)
        or (worst.named_sentence if worst else "no judge scored both"),
        deciding=None if verdict.reasons else worst,
        reasons=verdict.reasons,
        judges=verdict.judges,
        amounts=verdict.amounts,
        failures=verdict.failures,
        missing=None,
    )


def find_paired(
    reader: Reader,
    project: str,
    before: Sequence[ListedExperiment],
    after: Sequence[ListedExperiment],
    *,
    now_ns: int,
) -> PairedVerdict | None:
    """Choose an experiment from each of two lists, and compare the two experiments.

    The newest finished experiments that ran on the same data set are chosen. Two that also had the
    same items are preferred.

    Args:
        reader: The store.
        project: The project.
        before: The experiments from which the baseline is chosen, newest first.
        after: The experiments from which the one to compare with the baseline is chosen, newest
            first.
        now_ns: Current time, in nanoseconds since 1970.

    Returns:
        The comparison. None if no two finished experiments ran on the same data set. Also None if
        there is nothing to compare: no judge scored both experiments, and the share of failed calls
        did not clearly change.
    """
    pair = choose_pair(before, after)
    if pair is None:
        return None
    compared = compare(reader, AskedExperiment(project, pair[1].run_id, now_ns, pair[0].run_id))
    detail = describe(reader, project, compared)
    if detail.verdict is None:
        return None
    failures = detail.verdict.failures
    is_decided = failures is not None and failures.is_decided
    if not is_decided and not any(judge.difference for judge in detail.verdict.judges):
        return None
    return PairedVerdict(compared, detail, detail.verdict)
