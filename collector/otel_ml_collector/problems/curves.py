"""The figure of a problem over time, for the page of the problem and for lists of problems."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

from fastapi import Query

from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.find import MonitorState
from otel_ml_collector.findings.findings import Finding
from otel_ml_collector.findings.slices import SlicesFigure
from otel_ml_collector.problems.problems import FoundProblems
from otel_ml_collector.stats import RunFigures, RunStats, StatsQuery, find_stats
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, HOUR_NS, from_rfc3339, to_rfc3339
from otel_ml_collector.verdicts.claims import write_moment
from otel_ml_collector.windows import Buckets, Window

_DRAWN_BEFORE_NS: Final = 7 * DAY_NS
_DRAWN_STEP_NS: Final = 6 * HOUR_NS
_Read = Callable[[RunFigures], float | None]


@dataclass(frozen=True, slots=True)
class CurveQuery:
    """Which figure to draw over time: the parameters of the part of a page that draws it."""

    where: Annotated[str, Query(max_length=8_000, description="The runs")]
    figure: Annotated[
        str, Query(max_length=1_024, description="Name of the figure or of the judge")
    ]
    start: Annotated[str, Query(max_length=40, description="When the problem began")]
    digest: Annotated[str, Query(max_length=100, description="Version of the judge")] = ""
    is_score: Annotated[bool, Query(description="Mean score of the judge, not pass rate")] = False
    is_new: Annotated[bool, Query(description="Whether the figure became worse")] = False

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters, without those that are left out."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True, slots=True)
class ProblemCurve:
    """A problem's figure over time, such as its share of errors in each hour.

    Attributes:
        over: The time buckets.
        own: The value in each bucket; None in a bucket without runs.
        began: Index of the bucket in which the problem began; None if the problem is not about a
            new version, release or LLM, or about a function that fails or costs more than before.
    """

    over: Buckets
    own: Sequence[float | None]
    began: int | None

    @property
    def start(self) -> str:
        """The start of the first bucket, in words: `20 Nov`, or `20 Nov 11:00` for a short time."""
        written = write_moment(self.over.starts_ns[0])
        return written if self.began is None else " ".join(written.split()[:2])

    @property
    def before(self) -> Sequence[float | None]:
        """The values before the problem began. All are None if it has no beginning."""
        end = self.began or 0
        return [value if place < end else None for place, value in enumerate(self.own)]

    @property
    def since(self) -> Sequence[float | None]:
        """The values since the problem began, and the one before, so that the lines are joined."""
        start = (self.began or 0) - 1
        return [value if place >= start else None for place, value in enumerate(self.own)]


def list_curves(found: FoundProblems) -> Mapping[str, CurveQuery]:
    """Return which figure to draw for each problem key. Problems without a figure are left out."""
    asked = {
        problem.key: choose_curve(found.state, problem.first.finding)
        for problem in found.problems
        if problem.first.finding is not None
    }
    return {key: query for key, query in asked.items() if query is not None}


def choose_curve(state: MonitorState | None, finding: Finding) -> CurveQuery | None:
    """Choose the figure to draw for a problem; None if it has no curve."""
    figure = find_figure(state, finding)
    if finding.measured not in READ_FIGURES and not (figure and figure.judge):
        return None
    return CurveQuery(
        where=narrow(f"model == {quoted(finding.model)}", finding.condition),
        figure=figure.judge if figure and figure.judge else finding.measured,
        start=to_rfc3339(finding.start_ns),
        digest=figure.digest or "" if figure else "",
        is_score=figure is not None and figure.kind == "score",
        is_new=finding.kind in ("release", "level"),
    )


def find_figure(state: MonitorState | None, finding: Finding) -> SlicesFigure | None:
    """Find the figure of slices that a problem is about; None for a field."""
    slices = state.slices if state else None
    name = finding.measured
    figures = slices.figures if slices else ()
    return next((item for item in figures if name in (item.name, item.judge)), None)


def find_curve(reader: Reader, project: str, query: CurveQuery, now_ns: int) -> ProblemCurve:
    """Read how a problem's figure changed over time: for example, its share of errors per hour.

    If the problem is that a new version, release or LLM is worse, or that a function fails or
    costs more than before, the curve begins a week before it. For any other problem, it begins at
    the `start` of the query.

    Raises:
        BadInput: The filter or the time is invalid.
    """
    began_ns = from_rfc3339(query.start, "start")
    if began_ns > now_ns:
        raise BadInput(f"Invalid start {query.start!r}: expected a time in the past", "start")
    over = cut_curve(reader, began_ns, now_ns, is_new=query.is_new)
    asked = StatsQuery(project, query.where, "", over.window, over.step_ns, 1)
    own = read_values(find_stats(reader, asked), query, over)
    began = bisect_right(over.starts_ns, began_ns) - 1 if query.is_new else None
    return ProblemCurve(over, own, began)


def read_values(stats: RunStats, query: CurveQuery, over: Buckets) -> list[float | None]:
    """Read the figure of a query from statistics; None for buckets without runs."""
    read = READ_FIGURES.get(query.figure) if not query.digest else None
    if read is None:
        read = read_judge(query.figure, query.digest, is_score=query.is_score)
    return list_values(stats, read, over)


def cut_curve(reader: Reader, began_ns: int, now_ns: int, *, is_new: bool) -> Buckets:
    """Cut the time range of a curve into buckets. With `is_new`, it begins a week before."""
    start_ns = max(began_ns - _DRAWN_BEFORE_NS, 0) if is_new else began_ns
    window = Window(start_ns, now_ns + 1, reader.zone)
    return window.cut(_DRAWN_STEP_NS if window.end_ns - start_ns > 2 * DAY_NS else HOUR_NS)


def list_values(stats: RunStats, read: _Read, over: Buckets) -> list[float | None]:
    """Return a figure for each bucket of a window; None for buckets without runs."""
    values: list[float | None] = [None] * len(over.starts_ns)
    for group in stats.groups:
        for bucket in group.buckets:
            values[over.place_of(bucket.start_ns)] = read(bucket)
    return values


# The figures that statistics also have over time. They have no missing inputs.
READ_FIGURES: Final[dict[str, _Read]] = {
    "errors": lambda figures: figures.error_share,
    "latency": lambda figures: figures.p50_ms,
    "cost": lambda figures: figures.cost / figures.runs if figures.cost is not None else None,
    "spending": lambda figures: figures.cost,
    "runs": lambda figures: figures.runs,
}


def read_judge(judge: str, digest: str, *, is_score: bool) -> _Read:
    """Return a function that reads the pass rate by a judge from a bucket, or its mean score."""

    def read(figures: RunFigures) -> float | None:
        for item in figures.judges:
            if (item.judge, item.digest) == (judge, digest):
                value: float | None = item.mean_score if is_score else item.pass_rate
                return value
        return None

    return read
