"""The problems of a project: findings, alerts, errors, crashes and failing judges, by cause.

Home, the overview and Monitor show these problems, so all three show the same number.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Literal

from otel_ml_collector.errors import BadInput, StoreTimeout
from otel_ml_collector.filter.grammar import conjuncts
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.findings.find import MonitorState, find_shown_monitor
from otel_ml_collector.findings.findings import Finding
from otel_ml_collector.findings.releases import Release, name_condition
from otel_ml_collector.findings.suggestions import (
    Suggestion,
    suggest_for_crash,
    suggest_for_error,
    suggest_for_field,
    suggest_for_judge,
    suggest_for_level,
    suggest_for_release,
    suggest_for_slice,
)
from otel_ml_collector.findings.versions import find_release_of
from otel_ml_collector.measures.units import SAMPLED_TRACES, sample_traces
from otel_ml_collector.problems.known import (
    Harm,
    KnownProblem,
    find_known,
    measure_difference,
    measure_runs,
)
from otel_ml_collector.problems.news import NewsSources, OverviewNews, ProjectFinding, find_news
from otel_ml_collector.stats import Past, cut_past
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import from_rfc3339
from otel_ml_collector.verdicts.claims import MEASURES, Measure, name_version
from otel_ml_collector.verdicts.verdicts import AMOUNT_FIGURES, Interval
from otel_ml_collector.windows import Window

SignKind = Literal[
    "release",
    "broken",
    "slice",
    "version",
    "alert",
    "level",
    "error",
    "experiment",
    "crash",
    "judge",
    "change",
]
# Kinds of signs. A problem gets the title of the sign whose kind comes first here. Its other signs
# are listed after "Also".
_SIGN_KINDS: Final[tuple[SignKind, ...]] = (
    *("release", "broken", "slice", "version", "alert"),
    *("level", "error", "experiment", "crash", "judge", "change"),
)
_KINDS_OF_NEWS: Final[dict[str, SignKind]] = {
    "production": "version",
    "experiment": "experiment",
    "alert": "alert",
    "errors": "error",
    "runs": "crash",
    "judge": "judge",
}
# Signs with different measures have one cause only if both are of one family.
_FAMILIES: Final[dict[Measure, str]] = {
    "data": "failures",
    "errors": "failures",
    "quality": "quality",
    "latency": "amounts",
    "cost": "amounts",
    "traffic": "traffic",
}
# Two signs have one cause if this share of the traces of the smaller one is in the other.
_SHARED_TRACES: Final = 0.8
# Fields are compared over 7 days at most.
_LONGEST: Final[dict[Past, Past]] = {"30d": "7d"}
_SLUG: Final = re.compile(r"[^a-z0-9]+")
_SLUG_CHARS: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """One sign of a problem, such as a finding, an alert that fires or a new error.

    Attributes:
        kind: What found it, such as monitoring, an alert or an experiment.
        measure: What it is about: quality, errors, latency, cost or data.
        title: The claim in a few words.
        text: The rest of the sentence.
        evidence: Numbers that support the claim.
        short: Name of this sign in the list after "Also", which shows further signs of a problem.
        model: The affected model; empty for several.
        where: The filter that lists the affected runs.
        window: The time range in which these runs began.
        size: Number of runs that were affected, or lost.
        finding: The finding of monitoring; None for other signs.
        subject: Name of the alert, experiment or error type.
        run_id: The experiment, or one of the runs.
        since_ns: When it began; None if unknown.
        runs: How many runs the filter lists.
        tops: How many of these are whole requests.
        traces: A sample of the traces of these runs: those whose hashes are the smallest. Two signs
            with mostly the same traces have one cause.
        recent: The same sample, of the runs in the time range of the page only.
    """

    kind: SignKind
    measure: Measure
    title: str
    text: str
    evidence: str
    short: str
    model: str
    where: str
    window: Window
    size: float
    finding: Finding | None = None
    subject: str = ""
    run_id: str = ""
    since_ns: int | None = None
    runs: int = 0
    tops: int = 0
    traces: Sequence[int] = ()
    recent: Sequence[int] = ()

    @property
    def order(self) -> tuple[int, bool, bool, float, str]:
        """Key by which the signs of a problem are sorted: its findings, alerts and errors.

        The title of the first sign is the title of the problem. Signs are sorted by kind first. For
        example, a comparison of a new version comes before a finding about a slice. Within a kind,
        a sign about whole requests comes before a sign about functions inside the requests, and a
        new version before a new release or LLM. Then a sign comes first if a larger share of its
        runs is affected.
        """
        is_outer = self.tops * 2 > self.runs
        return (
            _SIGN_KINDS.index(self.kind),
            not is_outer,
            self.finding is None or self.finding.version is None,
            -self.size / max(self.runs, 1),
            self.title,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectProblem:
    """Something that is wrong in a project, with all signs that seem to have the same cause.

    A sign is, for example, a finding, an alert that fires, or a new error.

    Attributes:
        key: Name of the problem in the URL of its page.
        first: The sign whose title is the title of the problem.
        others: The other signs, without duplicates.
        suggestion: An alert rule that would find the problem. The form *New rule* is filled with
            it. None if there is no such rule, for example because an alert found the problem.
    """

    key: str
    first: Sign
    others: Sequence[Sign]
    suggestion: Suggestion | None

    @property
    def is_weak_spot(self) -> bool:
        """Whether all signs are about something that was as bad before."""
        return all(map(_is_weak_spot, (self.first, *self.others)))

    @property
    def sentence(self) -> str:
        """The claim, without a full stop at the end."""
        return f"{self.first.title}{self.first.text}"

    @property
    def claim(self) -> str:
        """The sentence, without its title if a colon follows that: `81 % pass, 99 % with v1`."""
        _, colon, claim = self.first.text.partition(": ")
        return (
            claim[:1].upper() + claim[1:] if colon and self.first.text[:1] == ":" else self.sentence
        )

    @property
    def also(self) -> list[Sign]:
        """The other signs with different names."""
        named = {sign.short: sign for sign in reversed(self.others)}
        return [sign for name, sign in reversed(named.items()) if name not in self.first.title]


@dataclass(frozen=True, slots=True)
class MarkedProblem:
    """A problem that a user marked as known, with the mark."""

    problem: ProjectProblem
    mark: KnownProblem


@dataclass(frozen=True, slots=True)
class FoundProblems:
    """The problems of a project, the most important first.

    Attributes:
        problems: The problems that no user marked as known. Findings, alerts and errors with the
            same cause are one problem.
        noticed: Changes that are worth showing, but are not counted as problems, such as a field
            that drifted or new values of tags. The number of their runs is not known.
        calm: Messages that are not a problem: muted alerts, and the newest result of an experiment
            or version comparison, unless it is bad.
        news: All messages about the project, and its newest versions.
        state: The result of monitoring. None if the store did not answer in time.
        known: The problems that a user marked as known. Pages list them, but do not count them.
    """

    problems: Sequence[ProjectProblem]
    noticed: Sequence[ProjectProblem]
    calm: Sequence[ProjectFinding]
    news: OverviewNews
    state: MonitorState | None
    known: Sequence[MarkedProblem] = ()

    @property
    def every(self) -> list[ProjectProblem]:
        """All problems, known ones last."""
        return [*self.problems, *(item.problem for item in self.known)]

    def find(self, key: str) -> ProjectProblem | None:
        """Return the problem with this key, else the one with a sign that has this key.

        A change that is no problem comes last.
        """
        named = [problem for problem in self.every if problem.key == key]
        noticed = [change for change in self.noticed if change.key == key]
        signed = [item for item in self.every if key in map(_make_key, item.others)]
        return next(iter([*named, *signed, *noticed]), None)

    def find_mark(self, problem: ProjectProblem) -> KnownProblem | None:
        """Return the mark of a known problem; None for any other problem."""
        return next((item.mark for item in self.known if item.problem is problem), None)


def find_problems(
    reader: Reader,
    project: str,
    last: Past,
    now_ns: int,
    *,
    sources: NewsSources,
    state: MonitorState | None = None,
) -> FoundProblems:
    """Find the problems of a project.

    Args:
        reader: The store.
        project: The project.
        last: Time range of the runs to check.
        now_ns: Current time, in nanoseconds since 1970.
        sources: Functions of other packages that report problems, such as alerts.
        state: The result of monitoring, if the caller has read it already. If None, it is read.

    Raises:
        Missing: The caller may not read the project.
        Unavailable: The store does not answer.
    """
    asked_marks = reader.ahead(find_known, project)
    if state is None:
        with suppress(StoreTimeout):
            state = find_shown_monitor(reader, project, last, now_ns)
    releases = state.releases if state else None
    news = find_news(reader, project, now_ns, last, sources=sources, releases=releases)
    window = cut_past(reader, last, now_ns).window
    found = state.findings if state else []
    signs = [
        *_list_findings(found, releases or ()),
        *_list_news(news, found, window),
    ]
    asked = [reader.ahead(_count_traces, project, sign, window) for sign in signs]
    problems: list[ProjectProblem] = []
    known: list[MarkedProblem] = []
    marks = asked_marks.result()
    for problem in group_signs([wait.result() for wait in asked], last, state):
        mark = marks.get(name_mark(problem.first))
        harm = measure_harm(problem.first, state)
        if mark is not None and mark.hides(harm, last, problem.first.since_ns, now_ns):
            known.append(MarkedProblem(problem, mark))
        else:
            problems.append(problem)
    return FoundProblems(
        problems=problems,
        noticed=[
            _make_change(finding, last) for finding in found if finding.kind in ("model", "traffic")
        ],
        calm=[finding for finding in news.findings if not finding.is_wrong],
        news=news,
        state=state,
        known=known,
    )


def name_mark(sign: Sign) -> str:
    """Return the ID under which the store remembers that a user marked a problem as known.

    The ID stays the same if the problem gets worse or moves in the list. Problems about different
    versions, slices or figures (such as the cost or the error rate) have different IDs.
    """
    finding = sign.finding
    parts: list[object] = [sign.kind, sign.measure, sign.model, sign.subject]
    if finding is not None:
        parts += [finding.version, finding.baseline, finding.measured]
        parts += [finding.condition or finding.where, finding.target]
    elif sign.kind == "experiment":
        parts.append(sign.run_id)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def measure_harm(sign: Sign, state: MonitorState | None) -> Harm:
    """Measure how bad a problem is: by its figure, else by its affected runs per day."""
    finding = sign.finding
    difference = _find_difference(finding, state) if finding and state else None
    if finding is not None and difference is not None:
        return measure_difference(difference, float(finding.measured in AMOUNT_FIGURES))
    start_ns = max(sign.window.start_ns, sign.since_ns or 0)
    return measure_runs(float(sign.runs or sign.size), sign.window.end_ns - start_ns)


def _find_difference(finding: Finding, state: MonitorState) -> Interval | None:
    """Find the difference in the figure that a finding is about; None for a field."""
    if finding.version is not None and finding.kind == "release":
        release = find_release_of(state.releases, finding.model, finding.version, finding.baseline)
        figures = release.figures if release else []
        whole = next((item for item in figures if item.name == finding.measured), None)
        is_worst = whole is not None and finding.condition == whole.worst
        figure = whole.of_worst if whole and is_worst and whole.of_worst else whole
        return figure.difference if figure else None
    for item in state.slices.slices if state.slices else ():
        if (item.model, item.condition) == (finding.model, finding.condition):
            cells = {cell.figure: cell.difference for cell in item.cells}
            return cells.get(finding.measured)
    return None


def _list_findings(found: Iterable[Finding], releases: Sequence[Release]) -> list[Sign]:
    """List the findings that are problems.

    A slice that consists of one new version is left out, because the comparison of the release
    already judges that version. It is kept for ground truth that the release does not compare.
    """
    decided = {
        (side.where, target)
        for release in releases
        for side in (release.candidate, release.baseline)
        for target in ("", *(item.target for item in release.figures if item.difference))
    }
    signs = []
    for finding in found:
        own = f"model == {quoted(finding.model)} and {finding.condition}"
        is_decided = finding.kind == "slice" and (own, finding.target) in decided
        if finding.kind not in ("release", "broken", "slice", "level") or is_decided:
            continue
        signs.append(_make_sign(finding, finding.kind))
    return signs


def _make_sign(finding: Finding, kind: SignKind) -> Sign:
    return Sign(
        kind=kind,
        measure=finding.measure,
        title=finding.title or finding.sentence,
        text=finding.sentence.removeprefix(finding.title) if finding.title else "",
        evidence=finding.evidence,
        short="",
        model=finding.model,
        where=finding.where,
        window=Window(finding.start_ns, finding.end_ns),
        size=finding.size,
        finding=finding,
        subject=finding.field,
        since_ns=None if finding.kind == "slice" else finding.start_ns,
    )


def _make_change(finding: Finding, last: Past) -> ProjectProblem:
    """Describe a finding that is no problem, such as a field that only drifted, like a problem."""
    suggestion = suggest_for_field(finding.model, finding.field, _LONGEST.get(last, last))
    return ProjectProblem(
        key=name_problem(finding),
        first=_make_sign(finding, "change"),
        others=(),
        suggestion=suggestion if finding.field else None,
    )


def count_runs(
    reader: Reader, project: str, change: ProjectProblem, last: Past, now_ns: int
) -> ProjectProblem:
    """Return a change with the number of its runs, which only its page shows."""
    window = cut_past(reader, last, now_ns).window
    return replace(change, first=_count_traces(reader, project, change.first, window))


def _list_news(news: OverviewNews, found: Iterable[Finding], window: Window) -> list[Sign]:
    """List alerts, errors, crashes, experiments and older versions that are problems."""
    released = {(item.model, item.version) for item in found if item.kind == "release"}
    signs = []
    for item in news.findings:
        kind = _KINDS_OF_NEWS[item.by]
        is_reported = item.versions is not None and item.versions[:2] in released
        if not item.is_wrong or (is_reported and kind == "version"):
            continue
        since_ns = from_rfc3339(item.time, "time") if item.time else None
        start_ns = window.start_ns
        if kind in ("version", "experiment", "crash"):
            start_ns = min(since_ns or start_ns, start_ns)
        signs.append(
            Sign(
                kind=kind,
                measure=_measure_news(item, kind),
                title=item.title or item.subject,
                text=item.text if item.title else f": {item.sentence}",
                evidence=item.evidence,
                short="",
                model=item.model,
                where=item.where,
                window=Window(start_ns, window.end_ns),
                size=item.size,
                subject=item.subject,
                run_id=item.run_id,
                since_ns=since_ns,
            )
        )
    return signs


_OF_RULES: Final[dict[str, Measure]] = {
    "pass_rate": "quality",
    "mean_score": "quality",
    "latency": "latency",
    "cost": "cost",
    "drift": "data",
}


def _measure_news(item: ProjectFinding, kind: SignKind) -> Measure:
    if kind in ("version", "experiment", "judge"):
        return "quality"
    if kind == "alert":
        return next((of for word, of in _OF_RULES.items() if word in item.sentence), "errors")
    return "errors"


def _count_traces(reader: Reader, project: str, sign: Sign, window: Window) -> Sign:
    """Return the sign with the number of its runs, and some of their traces.

    A new version is judged by all its runs, a slice by those in the time range of the page. Only
    the traces in this range show whether both have the same cause.
    """
    if sign.kind == "crash":  # they have no end, so they are not among recorded runs
        return replace(sign, runs=int(sign.size))
    try:
        condition, _ = compile_where(reader, project, sign.where, is_bounded=True)
    except BadInput:  # such as a field that is no longer sent
        return sign
    return replace(sign, **sample_traces(reader, project, condition, sign.window, window))


def group_signs(
    signs: Iterable[Sign], last: Past, state: MonitorState | None = None
) -> list[ProjectProblem]:
    """Make one problem of all signs that have the same cause, the most important first."""
    groups: list[list[Sign]] = []
    for sign in sorted(signs, key=lambda entry: entry.order):
        group = next((group for group in groups if _is_one_cause(group[0], sign)), None)
        if group is None:
            groups.append([sign])
        else:
            group.append(sign)
    groups.sort(
        key=lambda group: (
            all(map(_is_weak_spot, group)),
            MEASURES.index(group[0].measure),
            -(group[0].runs or group[0].size),
            group[0].title,
        )
    )
    problems: list[ProjectProblem] = []
    known: dict[str, int] = {}
    for first, *others in groups:
        key = _make_key(first)
        known[key] = known.get(key, 0) + 1
        if known[key] > 1:
            key = f"{key}-{known[key]}"
        problems.append(
            ProjectProblem(
                key=key,
                first=first,
                others=[replace(sign, short=_shorten(sign, first)) for sign in others],
                suggestion=_suggest(first, last, state),
            )
        )
    return problems


def _is_weak_spot(sign: Sign) -> bool:
    """Whether a sign is about a slice that was as bad before: it comes below what changed."""
    return sign.finding is not None and sign.finding.weak_since_ns is not None


def _is_one_cause(first: Sign, sign: Sign) -> bool:
    """Whether two signs have the same cause: most of their traces are the same."""
    if "judge" in (first.kind, sign.kind):  # its failures have nothing to do with the runs
        return False
    if sign.kind == "experiment" or first.kind == "experiment":
        return bool(sign.model) and sign.model == first.model
    if _FAMILIES[first.measure] != _FAMILIES[sign.measure] and "alert" not in (
        first.kind,
        sign.kind,
    ):
        return False
    pairs = (first.traces, sign.traces), (first.recent, sign.recent)
    return any(share_traces(*pair) >= _SHARED_TRACES for pair in pairs)


def share_traces(first: Sequence[int], second: Sequence[int]) -> float:
    """Estimate how much two sets of traces overlap, from a sample of each.

    The result is the share of the smaller set's traces that are also in the larger set, from 0 to
    1. It can be estimated because both samples are chosen by the same hash of the trace ID.

    Args:
        first: The sample of one set: the smallest hashes of its trace IDs, sorted, at most 1,000.
        second: The same for the other set.
    """
    if not first or not second:
        return 0.0
    ends = [items[-1] if len(items) >= SAMPLED_TRACES else 2**64 for items in (first, second)]
    sets = [{item for item in items if item <= min(ends)} for items in (first, second)]
    smaller = min(map(len, sets))
    return len(sets[0] & sets[1]) / smaller if smaller else 0.0


def _shorten(sign: Sign, first: Sign) -> str:
    """Name a sign for the list after "Also", by its difference from the first sign."""
    finding = sign.finding
    if sign.kind in ("alert", "experiment"):
        return f"{sign.kind} {sign.subject}"
    if finding is None or sign.kind == "broken":
        return sign.title
    if sign.kind == "level":
        return f"all runs of {sign.model}"
    if sign.model != first.model:
        return f"function {name_version(sign.model, finding.version)}"
    if sign.kind == "release" and finding.version is None:  # a release or an LLM
        return name_condition((*conjuncts(finding.where), "")[1])
    if sign.measure != first.measure:
        of = name_condition(finding.condition) if finding.condition else sign.model
        return f"{sign.measure} of {of}"
    return name_condition(finding.condition) if finding.condition else sign.title


def name_problem(finding: Finding) -> str:
    """Return the key of the problem that a finding with this cause belongs to."""
    version = f"v{finding.version}" if finding.version else ""
    parts = [finding.model, version, finding.measure, finding.field]
    return _write_key(
        [*parts, name_condition(finding.condition) if finding.kind == "slice" else ""]
    )


def _make_key(sign: Sign) -> str:
    if sign.finding is not None:
        return name_problem(sign.finding)
    return _write_key([sign.kind, sign.subject]) or sign.kind


def _write_key(parts: Sequence[str]) -> str:
    return _SLUG.sub("-", " ".join(parts).lower()).strip("-")[:_SLUG_CHARS].strip("-")


def _suggest(sign: Sign, last: Past, state: MonitorState | None) -> Suggestion | None:
    """Suggest an alert rule for a problem; None if there is none, or if an alert found it."""
    finding = sign.finding
    if sign.kind == "crash":
        return suggest_for_crash()
    if sign.kind == "judge":
        return suggest_for_judge(sign.subject)
    if finding is None:
        return suggest_for_error(sign.subject, sign.where) if sign.kind == "error" else None
    if finding.field:
        return suggest_for_field(finding.model, finding.field, _LONGEST.get(last, last))
    if finding.figure:
        return suggest_for_release(finding.model, finding.figure, finding.own_slice)
    if finding.kind == "level":
        return suggest_for_level(finding.model, finding.measured, finding.limit, last)
    slices = state.slices if state else None
    for item in slices.slices if slices else ():
        if (item.model, item.condition) == (finding.model, finding.condition) and slices:
            return suggest_for_slice(item, slices.figures, last)
    return None
