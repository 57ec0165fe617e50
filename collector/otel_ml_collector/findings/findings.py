"""Findings: what is wrong in a project or has changed, each in one sentence, worst first."""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, Final, Literal, TypeVar

from otel_ml_collector.errors import InternalError, Unavailable
from otel_ml_collector.log import contained
from otel_ml_collector.stats import Past, cut_past
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.verdicts.claims import Measure
from otel_ml_collector.windows import Window

FindingKind = Literal["broken", "release", "model", "slice", "level", "traffic"]
Cause = Literal["version", "slice of a version", "no version", ""]
Before = Literal["24h", "7d", "28d"]
# Broken data comes first, then changed models, then slices that are worse than all other runs, then
# functions that fail often or cost more, then changed traffic. Kinds with the same rank are ordered
# by size together.
_RANKS: Final[dict[FindingKind, int]] = {
    "broken": 0,
    "release": 1,
    "model": 1,
    "slice": 2,
    "level": 3,
    "traffic": 4,
}
_BEFORE_NS: Final[dict[Before, int]] = {"24h": DAY_NS, "7d": 7 * DAY_NS, "28d": 28 * DAY_NS}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or has changed.

    Attributes:
        kind: `broken` data, a `release` that is worse, a `model` that changed, a `slice` that does
            worse than all other runs, a `level` of failures or cost that is high or rose, or
            changed `traffic`.
        sentence: The claim, with at most three numbers and without a full stop.
        model: The model that has the problem.
        where: The filter that lists the runs that show the problem.
        start_ns: Start of the first of these runs, in nanoseconds since 1970.
        end_ns: End of the period with these runs, exclusive.
        size: Number of affected runs, or of extra failures. It orders the findings of one kind.
        figure: Name of the figure that got worse in a new version; else empty.
        field: Path of the field that changed most; empty if no field changed.
        command: Command that evaluates a worse version and its baseline on a data set; else empty.
        title: The beginning of the sentence, in a few words.
        evidence: Number of runs, difference, interval and time, in short sentences.
        measure: What the problem is about, such as `errors` or `latency`.
        measured: Name of the figure, such as a judge; empty for a field.
        condition: The slice that is worse, as a filter without the model; empty for a whole
            version.
        target: Prediction target whose predictions are worse; empty for any other figure.
        version: Number of the version that is worse; None if no version is.
        baseline: Number of the version that it is compared with.
        change: What changed in the version, in a few words; empty if that is unknown.
        runs: Number of runs that `where` lists in this time; None if they were not counted.
        weak_since_ns: For a slice that was worse in the 7 days before, too: start of its first run
            in these days, in nanoseconds since 1970. For a function that failed as often before:
            start of the first hour with a failure. None for everything that changed.
        limit: For a level: value of the figure from which an alert rule for it should fire. Else 0.
        cause: What explains a worse version or slice: a new `version` (or release or LLM), a `slice
            of a version`, or `no version`. Empty for data that is broken or changed.
    """

    kind: FindingKind
    sentence: str
    model: str
    where: str
    start_ns: int
    end_ns: int
    size: float
    figure: str = ""
    field: str = ""
    command: str = ""
    title: str = ""
    evidence: str = ""
    measure: Measure = "quality"
    measured: str = ""
    condition: str = ""
    target: str = ""
    version: int | None = None
    baseline: int | None = None
    change: str = ""
    runs: int | None = None
    weak_since_ns: int | None = None
    limit: float = 0.0
    cause: Cause = ""

    @property
    def own_slice(self) -> str:
        """The slice for which a version is worse, if the version is not worse as a whole."""
        return self.condition if self.cause == "slice of a version" else ""


_Made = TypeVar("_Made")


class SharedAnswers:
    """Answers that several contributors need, each computed once.

    If two threads need the same answer, the second one waits for the first.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._answers: dict[str, Any] = {}

    def work_out(self, name: str, make: Callable[[], _Made]) -> _Made:
        """Return the answer with a name. The first caller computes it."""
        with self._guard:
            if name not in self._answers:
                self._answers[name] = make()
            made: _Made = self._answers[name]
            return made


@dataclass(frozen=True, slots=True)
class FindingsQuestion:
    """The arguments of the functions that search for findings.

    A finding is a problem or a change, such as a slice of runs that fails more often. Each function
    checks a recent period for one kind of findings.

    Attributes:
        reader: The store, with the rights of the caller.
        window: The recent period. Runs that began in it are checked.
        reference: The earlier period to compare with. Some functions compare with something else,
            such as the previous model version.
        now_ns: Current time, in nanoseconds since 1970.
        shared: Cache for results that several of the functions need.
    """

    reader: Reader
    project: str
    window: Window
    reference: Window
    now_ns: int
    shared: SharedAnswers = dataclass_field(default_factory=SharedAnswers, compare=False)


@dataclass(frozen=True, slots=True)
class Contributor:
    """A source of findings: it checks one subject, such as the slices of a project.

    Attributes:
        subject: What this source checks, as a noun such as `slices`. Users see it if the store did
            not answer in time.
        find: Returns the findings of this source. It already runs in the background, so it must not
            start background queries itself.
    """

    subject: str
    find: Callable[[FindingsQuestion], list[Finding]]


@dataclass(frozen=True, slots=True)
class GatheredFindings:
    """The findings of all sources (such as slices, releases and drift), worst first.

    Attributes:
        missing: Names of the sources, such as `slices`, that could not be checked: the store did
            not answer in time, or the source failed.
        failed: Those of them that failed with an internal error.
    """

    findings: list[Finding]
    missing: list[str]
    failed: list[str] = dataclass_field(default_factory=list)


def make_question(
    reader: Reader, project: str, now_ns: int, *, last: Past = "24h", than: Before = "28d"
) -> FindingsQuestion:
    """Make the question about a recent period, compared with a period before it."""
    window = cut_past(reader, last, now_ns).window
    reference = Window(window.start_ns - _BEFORE_NS[than], window.start_ns)
    return FindingsQuestion(reader, project, window, reference, now_ns)


def find_findings(
    question: FindingsQuestion, contributors: Sequence[Contributor]
) -> GatheredFindings:
    """Ask all contributors at the same time, and order their findings, worst first.

    Raises:
        Unavailable: The store answered for none of the contributors.
    """
    return gather_findings(
        {contributor.subject: ask_ahead(contributor, question) for contributor in contributors}
    )


def ask_ahead(contributor: Contributor, question: FindingsQuestion) -> Callable[[], list[Finding]]:
    """Ask a contributor on another thread. Return a function that waits for its findings."""
    return question.reader.ahead(_ask, contributor, question).result


def _ask(_: Reader, contributor: Contributor, question: FindingsQuestion) -> list[Finding]:
    return contributor.find(question)


def gather_findings(asked: Mapping[str, Callable[[], list[Finding]]]) -> GatheredFindings:
    """Wait for the findings of several sources, and order them, worst first.

    If the store is too slow for a source, or the source fails with an unexpected error, its
    findings are left out and its name is returned in `missing`.

    Args:
        asked: For each subject, such as `slices`, a function that waits for its findings and
            returns them.

    Raises:
        Unavailable: The store answered for none of the sources.
    """
    findings: list[Finding] = []
    troubles: dict[str, Unavailable] = {}
    for subject, wait in asked.items():
        try:
            with contained(subject):
                findings += wait()
        except Unavailable as error:
            troubles[subject] = error
    if troubles and len(troubles) == len(asked):
        raise next(iter(troubles.values()))
    failed = [name for name, error in troubles.items() if isinstance(error, InternalError)]
    return GatheredFindings(order_findings(findings), [*troubles], failed)


def order_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings, worst first, and leave out slice findings that repeat a release finding.

    A release finding reports that a new model version is worse than its baseline, or only for one
    slice. A slice finding about this slice is left out if it is about the same figure. So is one
    about the ground truth of one of these versions, for the same prediction target.

    Broken data comes first, then worse releases and changed models, then slices, then functions
    that fail often or cost more, then changed traffic, then known weak spots. Within these groups,
    the finding with the most affected runs comes first.
    """
    every = list(findings)
    reported = {
        (item.model, f"version == {version}", item.target)
        for item in every
        if item.kind == "release" and item.target
        for version in (item.version, item.baseline)
    }
    slices = {(item.model, item.own_slice, item.measured) for item in every if item.own_slice}
    return sorted(
        (
            item
            for item in every
            if item.kind != "slice"
            or (
                (item.model, item.condition, item.target) not in reported
                and (item.model, item.condition, item.measured) not in slices
            )
        ),
        key=lambda finding: (
            finding.weak_since_ns is not None,
            _RANKS[finding.kind],
            -finding.size,
            finding.sentence,
            finding.where,
        ),
    )


def leave_decided(
    findings: Iterable[Finding], decided: Collection[tuple[str, str]]
) -> list[Finding]:
    """Leave out slice findings about versions, releases and LLMs that are compared with a baseline.

    For example, the slice finding that ``version == 3`` fails more often is left out if `decided`
    has version 3. Slice findings about ground truth stay, because the comparison covers ground
    truth only if enough of it has arrived.

    Args:
        findings: The findings.
        decided: Model and condition, such as ``release == "1.1"``, of both sides of each
            comparison.
    """
    return [
        finding
        for finding in findings
        if finding.kind != "slice"
        or finding.target
        or (finding.model, finding.condition) not in decided
    ]
