"""Findings: what is wrong in a project, or other than before, one sentence each, worst first."""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, Final, Literal, TypeVar

from otel_ml_collector.claims import Measure
from otel_ml_collector.errors import Unavailable
from otel_ml_collector.stats import Past, cut_past
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.windows import Window

FindingKind = Literal["broken", "release", "model", "slice", "traffic"]
Before = Literal["24h", "7d", "28d"]
# Broken data first; then a model that changed, by a new version or by itself; then what does worse
# than the rest; then traffic that is another one. Kinds of one rank are ordered by size together.
_RANKS: Final[dict[FindingKind, int]] = {
    "broken": 0,
    "release": 1,
    "model": 1,
    "slice": 2,
    "traffic": 3,
}
_BEFORE_NS: Final[dict[Before, int]] = {"24h": DAY_NS, "7d": 7 * DAY_NS, "28d": 28 * DAY_NS}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or other than before.

    Attributes:
        kind: `broken` data, a `release` that is worse, a `model` that changed, a `slice` that does
            worse than the rest, other `traffic`.
        sentence: The claim in plain English, with at most three numbers; no full stop at the end.
        model: The model that has the problem.
        where: The filter that lists the runs that show the problem.
        start_ns: Start of the first of these runs, in nanoseconds.
        end_ns: End of that time, exclusive.
        size: Number of runs lost or affected; it orders the findings of one kind.
        figure: By which figure a new version is worse; else empty.
        field: Path of the field that changed most; empty if no field changed.
        command: Command that evaluates a worse version and its baseline on a data set; else empty.
        title: The beginning of the sentence, in a few words.
        evidence: Number of runs, difference, interval and time, in short sentences.
        measure: What the problem is about, such as `errors` or `latency`.
        measured: Name of the figure, such as a judge; empty for a field.
        condition: The slice that is worse, or that has nearly all runs with a changed field, as a
            filter without the model; empty for a whole version or for all runs.
        version: Number of the version that is worse; None if no version is.
        baseline: Number of the version that it is compared with.
        change: What changed in the version, in a few words; empty if that is unknown.
        runs: How many runs `where` lists in this time; None if they were not counted.
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
    version: int | None = None
    baseline: int | None = None
    change: str = ""
    runs: int | None = None


_Made = TypeVar("_Made")


class SharedAnswers:
    """Answers that several contributors to a question need: each is worked out once.

    Who asks for an answer while another thread works it out waits for that.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._answers: dict[str, Any] = {}

    def work_out(self, name: str, make: Callable[[], _Made]) -> _Made:
        """Return the answer of a name, made by whoever asks for it first."""
        with self._guard:
            if name not in self._answers:
                self._answers[name] = make()
            made: _Made = self._answers[name]
            return made


@dataclass(frozen=True, slots=True)
class FindingsQuestion:
    """The question to everything that contributes findings.

    Attributes:
        reader: The store, held to whoever asks.
        window: Whose runs are judged.
        reference: The time that they are held against, where nothing else is said.
        now_ns: The time of the question.
        shared: What was worked out for another contributor already.
    """

    reader: Reader
    project: str
    window: Window
    reference: Window
    now_ns: int
    shared: SharedAnswers = dataclass_field(default_factory=SharedAnswers, compare=False)


@dataclass(frozen=True, slots=True)
class Contributor:
    """One sort of findings.

    Attributes:
        subject: What it looks at, as a sentence names it.
        find: Answers the question; it asks nothing ahead itself.
    """

    subject: str
    find: Callable[[FindingsQuestion], list[Finding]]


@dataclass(frozen=True, slots=True)
class GatheredFindings:
    """The findings of all contributors, worst first.

    Attributes:
        missing: The subjects of contributors that the store did not answer in time.
    """

    findings: list[Finding]
    missing: list[str]


def make_question(
    reader: Reader, project: str, now_ns: int, *, last: Past = "24h", than: Before = "28d"
) -> FindingsQuestion:
    """Ask about the last so many hours or days, held against so many before these."""
    window = cut_past(reader, last, now_ns).window
    reference = Window(window.start_ns - _BEFORE_NS[than], window.start_ns)
    return FindingsQuestion(reader, project, window, reference, now_ns)


def find_findings(
    question: FindingsQuestion, contributors: Sequence[Contributor]
) -> GatheredFindings:
    """Ask all contributors at once and put their findings in order, worst first.

    Raises:
        Unavailable: The store answers none of them.
    """
    return gather_findings(
        {contributor.subject: ask_ahead(contributor, question) for contributor in contributors}
    )


def ask_ahead(contributor: Contributor, question: FindingsQuestion) -> Callable[[], list[Finding]]:
    """Ask a contributor on another thread; the call that is returned waits for its answer."""
    return question.reader.ahead(_ask, contributor, question).result


def _ask(_: Reader, contributor: Contributor, question: FindingsQuestion) -> list[Finding]:
    return contributor.find(question)


def gather_findings(asked: Mapping[str, Callable[[], list[Finding]]]) -> GatheredFindings:
    """Wait for what was asked, and go on without what the store does not answer in time.

    Args:
        asked: By subject the call that waits for its answer.

    Raises:
        Unavailable: The store answers none of them.
    """
    findings: list[Finding] = []
    troubles: dict[str, Unavailable] = {}
    for subject, wait in asked.items():
        try:
            findings += wait()
        except Unavailable as error:
            troubles[subject] = error
    if troubles and len(troubles) == len(asked):
        raise next(iter(troubles.values()))
    return GatheredFindings(order_findings(findings), [*troubles])


def order_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Order findings: by the rank of their kind, then the largest first, then by their words.

    A version that is a finding as a release is no second one as a slice.
    """
    every = list(findings)
    released = {(item.model, item.version) for item in every if item.kind == "release"}
    return sorted(
        leave_decided(every, released),
        key=lambda finding: (
            _RANKS[finding.kind],
            -finding.size,
            finding.sentence,
            finding.where,
        ),
    )


def leave_decided(
    findings: Iterable[Finding], decided: Collection[tuple[str, int | None]]
) -> list[Finding]:
    """Leave out slices of versions about which a release decides.

    Args:
        findings: The findings.
        decided: The model and the number of each version that is compared as a release.
    """
    versions = {(model, f"version == {number}") for model, number in decided if number is not None}
    return [
        finding
        for finding in findings
        if finding.kind != "slice" or (finding.model, finding.condition) not in versions
    ]
