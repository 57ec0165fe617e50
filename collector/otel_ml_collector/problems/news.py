"""Finds what is new in a project: alerts, errors, crashes, failing judges, verdicts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal

from fastapi import Depends
from pydantic import Field

from otel_ml.counts import write_count
from otel_ml.records import ListedExperiment
from otel_ml.statistics.comparison import Word
from otel_ml_collector import wording
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.evaluations.experiment_runs import AskedExperiment
from otel_ml_collector.evaluations.experiments import (
    find_experiment,
    find_experiments,
)
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.findings.releases import Release, claim_release, evaluate_command
from otel_ml_collector.findings.versions import (
    VersionsVerdict,
    find_release_of,
    find_verdict,
    find_version_releases,
)
from otel_ml_collector.runs.errors import ErrorGroup, ErrorGroups, find_error_groups
from otel_ml_collector.runs.find import RunsQuery
from otel_ml_collector.services import service_of
from otel_ml_collector.stats import Past, cut_past
from otel_ml_collector.store.open_runs import CRASHED_RUNS, find_open_runs
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.times import DAY_NS, to_rfc3339
from otel_ml_collector.verdicts.claims import Banner, Claim, make_banner, name_version, quote_judge
from otel_ml_collector.verdicts.verdicts import find_worst
from otel_ml_collector.versions import diff
from otel_ml_collector.versions.find import NewVersion, find_new_versions
from otel_ml_collector.windows import Window

_ERROR_GROUPS: Final = 50
_NEW_ERRORS: Final = 5
# Number of new versions that are compared with their predecessors, and of experiments that are
# searched for the newest verdict.
JUDGED: Final = 4
_LATEST_EXPERIMENTS: Final = 5
_VERDICT_NS: Final = 30 * DAY_NS
# Words of findings, worst first. Verdicts that are not bad come last.
_WRONG: Final = ("firing", Word.WORSE, "new error", "crashed", "judge fails")
_FINDING_WORDS: Final = (*_WRONG, Word.NOT_ENOUGH_DATA, Word.NO_DIFFERENCE, Word.BETTER)


class ProjectFinding(AnswerBody):
    """A sentence about a project that leads to the runs that it is about."""

    word: Word | Literal["firing", "new error", "crashed", "judge fails"]
    is_wrong: bool
    subject: str = Field(
        description="What the problem is about: an alert, a version, an experiment, a type of "
        "error or a judge"
    )
    sentence: str
    title: str = Field(default="", description="What is wrong, in a few words")
    text: str = Field(
        default="",
        description="Second part of the sentence about the problem. The title is the first part",
    )
    evidence: str = Field(default="", description="Difference, interval and number of runs")
    by: Literal["alert", "experiment", "production", "errors", "runs", "judge"] = Field(
        description="Source of the message: an alert, an experiment, a comparison of two "
        "versions, failed runs, unfinished runs, or a judge that fails"
    )
    size: float = Field(
        description="Size of the problem. Messages with the same word are sorted by it"
    )
    where: str = Field(description="Filter that lists the affected runs")
    runs: int | None
    time: str | None = Field(description="When the problem began, RFC 3339; null if unknown")
    run_id: str = Field(description="ID of the experiment or of the last run; empty if none")
    reasons: list[str] = Field(
        default=[], description="Why there is no verdict yet, apart from the width of the interval"
    )
    versions: tuple[str, int, int] | None = Field(
        default=None, description="Model, compared version, and baseline version"
    )
    model: str = Field(default="", description="Name of the model; empty for several")
    command: str = Field(
        default="", description="Command that evaluates both versions on a data set"
    )


class NewestVersion(AnswerBody):
    """A model's newest version, if it replaced another one in the last 30 days."""

    model: str
    version: int
    before: int = Field(description="The version that it replaced")
    first_seen_time: str = Field(description="When its first run started or arrived")
    change: str = Field(description="What changed in the version, in a few words")
    word: Word | None = Field(
        default=None, description="Verdict against the version before; null if not requested"
    )
    sentence: str = Field(default="", description="Sentence about the figure that decides")
    explanation: str = Field(default="", exclude=True)  # the sentence, as pages show it
    claim: str = Field(default="", description="The verdict in one sentence, as pages show it")
    runs: int | None = Field(
        default=None,
        description="Number of runs of the version's release; null if it has no release",
    )
    reasons: list[str] = Field(
        default=[], description="Why there is no verdict yet, apart from the width of the interval"
    )


class OverviewNews(AnswerBody):
    """Messages about a project, worst first."""

    findings: list[ProjectFinding]
    newest_versions: list[NewestVersion]
    versions_compared: int = Field(
        description="Number of versions that were compared with another one"
    )
    error_groups: int = Field(description="Number of groups of failed runs")


NewsSource = Callable[[Reader, str, int], Sequence[ProjectFinding]]


@dataclass(frozen=True, slots=True)
class NewsSources:
    """Functions that report messages about a project, such as alerts that fire.

    Other packages provide them. They are registered when the collector starts.

    Attributes:
        sources: The functions. Each takes the store, a project and the current time.
    """

    sources: Sequence[NewsSource]

    def find(self, reader: Reader, project: str, now_ns: int) -> list[ProjectFinding]:
        """Return the messages of all sources."""
        return [item for source in self.sources for item in source(reader, project, now_ns)]


FromSources = Annotated[NewsSources, Depends(service_of(NewsSources))]


def find_news(
    reader: Reader,
    project: str,
    now_ns: int,
    last: Past = "24h",
    *,
    sources: NewsSources,
    errors: ErrorGroups | None = None,
    versions: Sequence[NewestVersion] | None = None,
    releases: Sequence[Release] | None = None,
) -> OverviewNews:
    """Find the messages about a project: its problems, worst first, and then other messages.

    The other messages are muted alerts, and the newest verdict if it is not bad. A verdict is the
    result of an experiment, or of comparing a new version with the previous version.

    Args:
        reader: The store.
        project: The project.
        now_ns: Current time, in nanoseconds since 1970.
        last: Time range of the runs and errors.
        sources: Functions of other packages that report problems, such as alerts.
        errors: The failed runs of the time range, grouped by error. If this or `versions` is None,
            both are read.
        versions: The new versions of models, the newest first. Only the first four are compared
            with their previous versions.
        releases: Comparisons of new versions with their previous versions, on recorded runs. If
            None, they are computed.
    """
    window = cut_past(reader, last, now_ns).window
    if errors is None or versions is None:
        asked_errors = reader.ahead(group_errors, project, window, now_ns)
        versions = list_newest_versions(reader, project, now_ns)[:JUDGED]
        errors = asked_errors.result()
    return _make_news(
        reader,
        project,
        now_ns,
        window=window,
        messages=sources.find(reader, project, now_ns),
        errors=errors,
        versions=versions,
        releases=releases,
    )


def group_errors(reader: Reader, project: str, window: Window, now_ns: int) -> ErrorGroups:
    """Group the failed runs of a time range."""
    query = RunsQuery(project, start_ns=window.start_ns, end_ns=window.end_ns)
    return find_error_groups(reader, query, now_ns, _ERROR_GROUPS)


def list_newest_versions(reader: Reader, project: str, now_ns: int) -> list[NewestVersion]:
    """List the versions of the last 30 days that replaced another one, the newest first."""
    own = reader.narrow(replace(reader.access, projects=(project,)))
    return [_describe_version(version) for version in find_new_versions(own, now_ns)]


def _describe_version(new_version: NewVersion) -> NewestVersion:
    return NewestVersion(
        model=new_version.model,
        version=new_version.number,
        before=new_version.previous,
        first_seen_time=to_rfc3339(new_version.first_ns),
        change=diff.changes(new_version.before, new_version.after),
    )


def _make_news(
    reader: Reader,
    project: str,
    now_ns: int,
    *,
    window: Window,
    messages: Sequence[ProjectFinding],
    errors: ErrorGroups,
    versions: Sequence[NewestVersion],
    releases: Sequence[Release] | None,
) -> OverviewNews:
    findings = [_describe_error(group) for group in errors.groups if group.is_new][:_NEW_ERRORS]
    findings += _describe_crashed(reader, project, window, now_ns)
    if releases is None:
        models = [version.model for version in versions[:JUDGED]]
        releases = find_version_releases(reader, project, now_ns, *models)
    decided: set[str] = set()
    judged: list[NewestVersion] = []
    for place, listed in enumerate(versions):
        release = find_release_of(releases, listed.model, listed.version)
        version = listed if release is None else _name_baseline(listed, release)
        if place >= JUDGED:
            judged.append(version)
            continue
        try:
            verdict = find_verdict(
                reader,
                project,
                version.model,
                version.version,
                version.before,
                now_ns=now_ns,
                releases=releases,
            )
        except Missing:  # deleted in the meantime
            continue
        if verdict.experiment:
            decided.add(verdict.experiment.run_id)
        claim = None
        if release is not None and verdict.basis == "release":
            claim = claim_release(release)
        finding = _explain_version(version, verdict, claim)
        explanation, verdict_claim = verdict.sentence, verdict.sentence
        if verdict.deciding is not None:
            explanation = quote_judge(verdict.deciding, verdict.deciding.sentence)
            verdict_claim = quote_judge(verdict.deciding, verdict.deciding.text.claim)
        facts = {
            "word": verdict.word,
            "sentence": verdict.sentence,
            "explanation": explanation,
            "claim": claim.sentence if claim else verdict_claim,
            "reasons": _list_reasons(verdict),
        }
        judged.append(version.model_copy(update=facts))
        if finding is not None:
            findings.append(finding)
    experiment = _describe_experiment(reader, project, now_ns, decided)
    findings += [experiment] if experiment else []
    findings += [finding for finding in messages if finding.is_wrong]
    # Only the newest of the verdicts that are not bad is kept.
    calm = [finding for finding in findings if not finding.is_wrong]
    findings = [finding for finding in findings if finding.is_wrong]
    findings.sort(
        key=lambda finding: (_FINDING_WORDS.index(finding.word), -finding.size, finding.subject)
    )
    findings += sorted(calm, key=lambda entry: entry.time or "", reverse=True)[:1]
    findings += [finding for finding in messages if not finding.is_wrong]  # muted
    return OverviewNews(
        findings=findings,
        newest_versions=judged,
        versions_compared=min(len(versions), JUDGED),
        error_groups=errors.found,
    )


def _name_baseline(version: NewestVersion, release: Release) -> NewestVersion:
    """Return the version with the baseline, runs and start time of its release."""
    facts = {
        "before": release.baseline.version,
        "runs": release.candidate.runs,
        "first_seen_time": to_rfc3339(release.began_ns),
    }
    return version.model_copy(update=facts)


def _list_reasons(verdict: VersionsVerdict) -> list[str]:
    """List why there is not enough data: a verdict's own reasons, else those of its judges."""
    if verdict.word != Word.NOT_ENOUGH_DATA:
        return []
    parts = [*verdict.judges]
    parts += [verdict.failures] if verdict.failures else []
    reasons = [reason for part in parts if part.word == verdict.word for reason in part.reasons]
    return verdict.reasons or reasons or ([] if parts else ["nothing to compare"])


def _explain_version(
    version: NewestVersion, verdict: VersionsVerdict, claim: Claim | None
) -> ProjectFinding | None:
    """Write the message about a new version; None if there is nothing to compare it with.

    Args:
        version: The new version.
        verdict: How it compares with the version before.
        claim: What the comparison of recorded runs says. None if something else decides.
    """
    if not (verdict.judges or verdict.amounts or verdict.failures):
        return None
    experiment = verdict.experiment if verdict.basis == "experiments" else None
    where = f"model == {quoted(version.model)} and version == {version.version}"
    runs = version.runs
    if experiment:
        runs = experiment.done
        where = _where_items(experiment)
    names = f"v{version.before}", name_version(version.model, version.version)
    banner = make_banner(
        verdict.word,
        verdict.deciding,
        names,
        sentence=verdict.sentence,
        interval=verdict.interval,
    )
    return ProjectFinding(
        word=verdict.word,
        is_wrong=verdict.word in _WRONG,
        subject=wording.numbered(version.model, version.version),
        model=version.model,
        sentence=verdict.sentence,
        title=claim.title if claim else banner.lead,
        text=claim.text if claim else _write_claim(banner),
        evidence=claim.evidence if claim else banner.evidence,
        by="experiment" if experiment else "production",
        size=float(runs or 0),
        where=where,
        runs=runs,
        time=version.first_seen_time,
        run_id=experiment.run_id if experiment else "",
        reasons=_list_reasons(verdict),
        versions=(version.model, version.version, version.before),
        command=evaluate_command(
            version.model,
            wording.numbered(version.model, version.before),
            is_judged=any(not judge.target for judge in verdict.judges),
        )
        if verdict.word == Word.WORSE
        else "",
    )


def _describe_experiment(
    reader: Reader, project: str, now_ns: int, decided: set[str]
) -> ProjectFinding | None:
    """Write the verdict of the newest experiment, unless its version was mentioned already."""
    if not find_record_kinds(reader, project).experiments:
        return None
    for experiment in find_experiments(
        reader, project, now_ns, limit=_LATEST_EXPERIMENTS
    ).experiments:
        if experiment.run_id in decided or now_ns - experiment.start_ns > _VERDICT_NS:
            return None
        if experiment.outcome != "ok" or not experiment.baseline:
            continue
        try:
            verdict = find_experiment(
                reader, AskedExperiment(project, experiment.run_id, now_ns)
            ).verdict
        except (BadInput, Missing):
            continue
        worst = find_worst(verdict) if verdict else None
        if worst is not None and verdict is not None:
            word = worst.word
            baseline = wording.numbered(verdict.baseline.name, verdict.baseline.version)
            names = name_version(verdict.baseline.name, verdict.baseline.version), experiment.name
            banner = make_banner(word, worst, names)
            return ProjectFinding(
                word=word,
                is_wrong=word in _WRONG,
                subject=experiment.name,
                sentence=f"{worst.named_sentence}, vs {baseline}",
                title=f'Experiment "{experiment.name}" is {word} than "{names[0]}"'
                if word.is_decided
                else f'Experiment "{experiment.name}": {banner.lead}',
                text=_write_claim(banner),
                evidence=banner.evidence,
                by="experiment",
                model=experiment.function,
                size=worst.size,
                where=_where_items(experiment),
                runs=experiment.done,
                time=experiment.start_time,
                run_id=experiment.run_id,
            )
    return None


def _where_items(experiment: ListedExperiment) -> str:
    """Write the filter of an experiment's runs, one for each item, without calls inside them."""
    where = f"experiment == {quoted(experiment.run_id)}"
    return f"{where} and model == {quoted(experiment.function)}" if experiment.function else where


def _write_claim(banner: Banner) -> str:
    """Write the figures of a verdict as the end of a sentence; empty if there are none."""
    judge = f' (judge "{banner.judge.name}")' if banner.judge else ""
    return f": {banner.claim}{judge}" if banner.claim else ""


def _describe_error(group: ErrorGroup) -> ProjectFinding:
    where = f'outcome == "error" and error_type == {quoted(group.error_type)}'
    shape = group.shape or "no message"
    versions = f" (in {', '.join(group.versions)})" if group.versions else ""
    return ProjectFinding(
        word="new error",
        is_wrong=True,
        subject=group.error_type or "an error without a type",
        sentence=f"{shape}{versions}",
        title=f"New error {group.error_type}" if group.error_type else "New error without a type",
        text=f": {shape}{versions}" if group.shape else versions,
        by="errors",
        size=group.runs,
        where=where,
        runs=group.runs,
        time=to_rfc3339(group.first_ns),
        run_id=group.run_id,
    )


def _describe_crashed(
    reader: Reader, project: str, window: Window, now_ns: int
) -> list[ProjectFinding]:
    """Say which runs have no end because their process is gone."""
    rows = find_open_runs(reader, project, window, now_ns)
    crashed = [row for row in rows if row["outcome"] == "crashed"]
    if not crashed:
        return []
    named = sorted({row["model"] or row["name"] for row in crashed})
    more = f" and {len(named) - 3:,} more" if len(named) > 3 else ""  # noqa: PLR2004
    count = "1 run" if len(crashed) == 1 else f"{write_count(len(crashed), 'run')}"
    newest = max(crashed, key=lambda row: row["start_ns"])
    return [
        ProjectFinding(
            word="crashed",
            is_wrong=True,
            subject=f"{', '.join(named[:3])}{more}",
            sentence=f"{count} crashed: the process no longer responds",
            title=f"{count} of {', '.join(named[:3])}{more} crashed",
            text=": the process no longer responds",
            by="runs",
            size=len(crashed),
            where=CRASHED_RUNS,
            runs=len(crashed),
            time=to_rfc3339(newest["start_ns"]),
            run_id=f"{newest['trace_id']}-{newest['span_id']}",
        )
    ]
