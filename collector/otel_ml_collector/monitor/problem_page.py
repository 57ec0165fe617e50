"""The page of a problem: how much worse, for whom, since when, what changed, and in which runs."""

import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from itertools import pairwise
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import RedirectResponse, Response

from otel_ml.counts import write_number
from otel_ml.statistics.comparison import FigureKind, Word
from otel_ml.statistics.distances import FEWEST_VALUES
from otel_ml_collector import wording
from otel_ml_collector.access import ANNOTATE, access_of
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.errors import Missing, Unavailable
from otel_ml_collector.evaluations.right_answers import (
    GROUND_TRUTH,
    RightAnswer,
    find_right_answers,
    name_kinds,
)
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.drift import FieldsPast, name_field
from otel_ml_collector.findings.find import MonitorState
from otel_ml_collector.findings.findings import Finding
from otel_ml_collector.findings.releases import compare_values, name_condition
from otel_ml_collector.findings.slice_truths import name_target
from otel_ml_collector.findings.slices import RunSlice
from otel_ml_collector.findings.versions import find_release_of
from otel_ml_collector.ground_truth.find import (
    QualityQuestion,
    find_course,
    find_target,
    find_wrong_predictions,
)
from otel_ml_collector.monitor.field_pages import draw_distances
from otel_ml_collector.monitor.fields import FieldReport, FieldsAsked, ask_fields, find_field
from otel_ml_collector.monitor.problem_pairs import ask_pairs
from otel_ml_collector.monitor.slice_fields import has_drift
from otel_ml_collector.problems.checked import write_checked
from otel_ml_collector.problems.curves import (
    CurveQuery,
    ProblemCurve,
    choose_curve,
    cut_curve,
    find_curve,
    find_figure,
)
from otel_ml_collector.problems.news import FromSources
from otel_ml_collector.problems.problems import (
    FoundProblems,
    ProjectProblem,
    count_runs,
    find_problems,
)
from otel_ml_collector.runs.answers import RunSummary
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.stats import Past
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, HOUR_NS
from otel_ml_collector.verdicts.claims import (
    write_amounts,
    write_difference,
    write_moment,
)
from otel_ml_collector.verdicts.lines import IntervalBar, draw_differences
from otel_ml_collector.verdicts.verdicts import (
    AMOUNT_FIGURES,
    AT_ALL_LOOKS,
    ComparedFigure,
    Interval,
)
from otel_ml_collector.versions import diff
from otel_ml_collector.versions.find import find_definitions
from otel_ml_collector.web import view
from otel_ml_collector.web.amounts import write_amount
from otel_ml_collector.web.axis import AxisLabel, round_values
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.windows import Window

_VALUES_COMPARED: Final = 8
_EXAMPLE_RUNS: Final = 5
_CHART_HEIGHT: Final = 180.0
_MOST_MARKS: Final = 4
_SEE_OTHER: Final = 303
_SECOND_MS: Final = 1_000
# Fields are compared over 7 days at most.
_FIELDS_PAST: Final[Mapping[Past, FieldsPast]] = {
    "1h": "1h",
    "24h": "24h",
    "7d": "7d",
    "30d": "7d",
}

pages = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRow:
    """A row of the table that splits a problem by tag value: one slice, such as one client.

    The row shows two values of the problem's figure, such as the share of failed runs. If the
    problem is that a new version is worse, they are the values of the baseline version and of the
    new version, both for runs of this slice. For any other problem, they are the values of all
    other runs and of this slice.

    Attributes:
        before: Value of the baseline version, or of all other runs, as text such as `8.5 %`.
        now: Value of the new version, or of this slice, as text.
        size: How much the two values differ, without a sign. Slices that are worse come first in
            the table, and the largest difference on top.
        difference: The difference with its confidence interval, and the smallest difference that
            matters.
        bar: Drawing of the interval.
        is_whole: Whether this is the row of all runs instead of one slice.
    """

    name: str
    where: str
    runs: Sequence[str]
    before: str
    now: str
    change: str
    size: float
    word: str
    difference: tuple[Interval | None, float] = (None, 0.0)
    bar: IntervalBar | None = None
    is_whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PartTable:
    """A table that splits the runs of a problem into slices, such as one row for each client.

    Attributes:
        title: Title of the table, such as `Version × client`.
        dimension: Name of the tag that has a row for each of its values, such as `client`.
        heads: Headings of the columns, such as `((Runs of v1, Runs of v2), v1, v2)`. The first
            entry has the headings of the one or two columns with numbers of runs. The other two
            entries are the headings of the values that the rows have as `before` and `now`.
        choices: Names of the tags that a user can choose instead of `dimension`.
        interval: What kind of intervals the differences have.
    """

    title: str
    dimension: str
    heads: tuple[Sequence[str], str, str]
    rows: Sequence[PartRow]
    choices: Sequence[str] = ()
    interval: str = wording.INTERVAL


@dataclass(frozen=True, slots=True, kw_only=True)
class SinceChart:
    """A line chart that shows since when a problem exists, such as a high share of failed runs.

    One line is for the runs with the problem, such as those of one client. If there are other runs,
    a second line shows them.

    Attributes:
        own: SVG path of the line for the runs with the problem.
        others: SVG path of the line for all other runs. Empty if there is no such line.
        marks: The times when new versions of the model began, such as `v2, 20 Nov 11:00`, and when
            the new release or LLM of the problem began. Positions in percent of the chart's width.
        is_mark_low: Whether their texts are at the bottom of the chart, because the line begins in
            the upper half.
        across: Labels of the horizontal axis (time).
        up: Labels of the vertical axis.
        part: Which runs have the problem, such as `client Kessler`. Empty if all runs have it.
        step_hours: Hours between two points of a line.
        limit: For the drift score of a field: where the limit is, above which it has drifted.
    """

    own: str
    others: str
    marks: Sequence[AxisLabel]
    is_mark_low: bool
    across: Sequence[AxisLabel]
    up: Sequence[AxisLabel]
    part: str
    step_hours: int
    limit: float | None = None


@pages.get("/projects/{project:path}/problems/{key}", response_class=FramedPage)
def show_problem(
    request: Request,
    project: str,
    key: str,
    reader: FromReader,
    sources: FromSources,
    *,
    last: Annotated[Past, Query(description="Period to check, until now")] = "24h",
    by: Annotated[str, Query(max_length=400, description="Tag whose values are compared")] = "",
    figure: Annotated[
        Literal["", "errors", "latency", "cost", "runs"],
        Query(description="Figure of the chart, instead of the problem's own"),
    ] = "",
) -> Response:
    """Show a problem: how much worse, for whom, since when, what changed, and in which runs.

    Raises:
        Missing: There is no such problem, or it is over.
    """
    now_ns = time.time_ns()
    found = find_problems(reader, project, last, now_ns, sources=sources)
    problem = found.find(key)
    if problem is None:
        raise Missing("This problem is resolved, or it is older than the chosen time range")
    is_change = problem in found.noticed
    if is_change:
        problem = count_runs(reader, project, problem, last, now_ns)
    first = problem.first
    query = RunsQuery(
        project,
        first.where,
        limit=_EXAMPLE_RUNS,
        start_ns=first.window.start_ns,
        end_ns=first.window.end_ns,
    )
    mark = found.find_mark(problem)
    place = 0 if mark or is_change else found.problems.index(problem) + 1
    finding = first.finding
    drift = None
    if finding and finding.field and not finding.measured:
        drift = _find_drift(reader, project, finding, last, now_ns)
    examples = reader.ahead(_find_examples, query, finding, drift, now_ns=now_ns)
    drawn = replace(finding, measured=figure, target="") if finding and figure else finding
    chart = reader.ahead(_draw_chart, project, found, drawn, now_ns=now_ns) if drawn else None
    changes = reader.ahead(_find_changes, project, finding) if finding else None
    pairs = ask_pairs(first, finding) if finding else None
    table = _compare_parts(reader, project, found, problem, by=by)
    context = {
        "problem": problem,
        "finding": finding,
        "subset": name_condition(finding.condition) if finding else "",
        "place": place,
        "mark": mark,
        "mark_address": view.address(project, "problems", problem.key, "known"),
        "count": len(found.problems),
        "last": last,
        "table": table,
        "chart": _draw_drift(drift) if drift and not figure else chart.result() if chart else None,
        "field_slices": drift is not None
        and has_drift(drift.field)
        and drift.n >= 2 * FEWEST_VALUES,
        "fields_last": _FIELDS_PAST[last],
        "is_change": is_change,
        "measured": _name_figure(found, finding) if finding else "",
        "drawn": _name_figure(found, drawn) if drawn else "",
        "figures": _list_figures(finding, figure) if finding else [],
        **(changes.result() if changes else {}),
        "margins": reader.margins,
        "examples": examples.result(),
        "pairs": pairs.parameters if pairs else None,
        "may_annotate": access_of(request.scope).has(ANNOTATE),
        "may_delete": False,  # the list of runs is the page for that: it shows what else is deleted
        "checked": write_checked(found),
        "here": lambda **changes: view.address(
            project, "problems", key, **{"last": last, "by": by, "figure": figure} | changes
        ),
        "api": view.api_address("projects", project, "findings", last=last),
        "python": python_call("findings", last=last),
    }
    return show_page(request, "problem_page.html", context)


@pages.get("/projects/{project:path}/problem-of")
def open_problem(
    project: str,
    reader: FromReader,
    sources: FromSources,
    *,
    model: Annotated[str, Query(max_length=1_024)],
    version: Annotated[int | None, Query(ge=1, description="Version that is worse")] = None,
    field: Annotated[str, Query(max_length=1_024, description="Field that is broken")] = "",
    condition: Annotated[str, Query(max_length=4_000, description="Slice that is worse")] = "",
    last: Annotated[Past, Query(description="Period to check, until now")] = "24h",
) -> Response:
    """Open the page of the problem about a version, a field or a slice.

    Raises:
        Missing: There is no such problem now.
    """
    found = find_problems(reader, project, last, time.time_ns(), sources=sources)
    for problem in [*found.every, *found.noticed]:
        for sign in (problem.first, *problem.others):
            finding = sign.finding
            if (
                finding is not None
                and finding.model == model
                and (
                    (version is not None and finding.version == version)
                    or (field != "" and finding.field == field)
                    # A change of several fields names the field that changed most.
                    or (field != "" and problem in found.noticed and finding.field)
                    or (condition != "" and finding.condition == condition)
                )
            ):
                return RedirectResponse(
                    view.address(project, "problems", problem.key, last=last), _SEE_OTHER
                )
    raise Missing("This problem is resolved, or it is older than the chosen time range")


@pages.get("/projects/{project:path}/problem-curve")
def show_curve(
    request: Request, project: str, reader: FromReader, query: Annotated[CurveQuery, Depends()]
) -> Response:
    """Show the figure of a problem over time: a part of lists of problems that loads later."""
    curve = find_curve(reader, project, query, time.time_ns())
    return show_page(request, "problem_curve.html", {"curve": curve})


@dataclass(frozen=True, slots=True)
class ExampleRuns:
    """Examples of a problem: the newest runs that failed or are wrong.

    Attributes:
        title: Which runs they are, in words.
        runs: The runs, newest first.
        right: What each run should have returned, or why it is wrong, by run ID.
        field: Name of the field that drifted. Empty for any other problem.
        values: The value of this field, by run ID.
    """

    title: str
    runs: Sequence[RunSummary]
    right: Mapping[str, RightAnswer]
    field: str = ""
    values: Mapping[str, str] = dataclass_field(default_factory=dict)

    @property
    def column(self) -> str:
        """Heading of the column with `right`. Empty if nothing is known."""
        return name_kinds(self.right)


def _find_examples(
    reader: Reader,
    query: RunsQuery,
    finding: Finding | None,
    drift: FieldReport | None,
    *,
    now_ns: int,
) -> ExampleRuns:
    """Find the newest failed or wrong runs of a problem, with what would have been right.

    For a field that drifted, find runs with values that are frequent now and were rare before.
    """
    if drift is not None and drift.runs:
        values = {run.run_id: run.value or "missing" for run in drift.runs[:_EXAMPLE_RUNS]}
        ids = ", ".join(map(quoted, values))
        runs = find_runs(reader, replace(query, where=f"run_id in ({ids},)"), now_ns).runs
        return ExampleRuns("typical after the change", runs, {}, drift.field, values)
    if finding is None or not finding.target:
        runs = find_runs(reader, query, now_ns).runs
        judge = finding.measured if finding else ""
        right = find_right_answers(reader, runs, judge, now_ns)
        return ExampleRuns("the newest runs with this problem", runs, right)
    question = QualityQuestion(
        project=query.project,
        target=find_target(reader, query.project, finding.target),
        window=Window(query.start_ns or 0, query.end_ns or now_ns),
        where=query.where,
        step_ns=DAY_NS,
        now_ns=now_ns,
    )
    wrong = find_wrong_predictions(reader, question, _EXAMPLE_RUNS)
    if not wrong:
        return ExampleRuns("", [], {})
    ids = ", ".join(map(quoted, wrong))
    runs = find_runs(reader, replace(query, where=f"run_id in ({ids},)"), now_ns).runs
    is_number = question.target.kind == "number"
    right = {
        run_id: RightAnswer(GROUND_TRUTH, write_amount(float(truth)) if is_number else truth)
        for run_id, truth in wrong.items()
    }
    return ExampleRuns("the newest wrong predictions", runs, right)


def _find_drift(
    reader: Reader, project: str, finding: Finding, last: Past, now_ns: int
) -> FieldReport | None:
    """Compare a field with the time before; None if the store is too slow, or the field ended."""
    asked = FieldsAsked(model=finding.model, last=_FIELDS_PAST[last])
    with suppress(Missing, Unavailable):
        return find_field(ask_fields(reader, project, asked, now_ns), finding.field)
    return None


def _draw_drift(report: FieldReport) -> SinceChart | None:
    """Draw the drift score of a field over time."""
    figure = draw_distances(report)
    if figure is None or not figure.path:
        return None
    steps = {after.start_ns - before.start_ns for before, after in pairwise(report.curve)}
    return SinceChart(
        own=figure.path,
        others="",
        marks=figure.marks[-_MOST_MARKS:],
        is_mark_low=False,
        across=figure.across,
        up=figure.up,
        part="",
        step_hours=min(steps, default=DAY_NS) // HOUR_NS,
        limit=figure.threshold,
    )


def _find_changes(reader: Reader, project: str, finding: Finding) -> dict[str, object]:
    """Compare the definitions of the version that is worse and of its baseline."""
    if finding.version is None or finding.baseline is None:
        return {}
    found = find_definitions(reader, project, [finding.model]).get(finding.model, {})
    before, after = (found.get(number) for number in (finding.baseline, finding.version))
    if before is None or after is None:  # it was deleted
        return {}
    blocks = diff.changed_blocks(before, after, finding.model)[:2]
    return {
        "facts": [fact for fact in diff.facts(before, after) if not fact.is_same],
        "blocks": [
            (block, f"{block.name} v{finding.baseline}", f"{block.name} v{finding.version}")
            for block in blocks
        ],
    }


def _list_figures(finding: Finding, chosen: str) -> Sequence[tuple[str, str, bool]]:
    """List the figures that the chart can show: parameter, label, and whether it is shown."""
    own = "" if finding.measured in _CHART_FIGURES else "Quality" if finding.measured else "Drift"
    others = [
        ("" if name == finding.measured else name, label) for name, label in _CHART_FIGURES.items()
    ]
    return [
        (name, label, name == chosen) for name, label in [*([("", own)] if own else []), *others]
    ]


_CHART_FIGURES: Final = {"errors": "Errors", "latency": "Latency", "cost": "Cost", "runs": "Runs"}


def _name_figure(found: FoundProblems, finding: Finding) -> str:
    """Name the figure of a problem: `pass rate by judge "confident"`. Empty for a field."""
    name = finding.measured
    if not name and finding.field:
        return f"drift score of {name_field(finding.field)}"
    if not name or name in _FIGURE_NAMES:
        return _FIGURE_NAMES.get(name, "")
    figure = find_figure(found, finding)
    if finding.target:
        return name_target(
            finding.target,
            is_rate=figure is None or figure.kind == "rate",
            lower_is_better=figure is not None and figure.lower_is_better,
        ).removeprefix("the ")
    kind = "mean score" if figure is not None and figure.kind == "score" else "pass rate"
    judge = figure.judge if figure is not None else ""
    return f'{kind} by judge "{judge or name}"'


_FIGURE_NAMES: Final = {
    "errors": "share of failed runs",
    "missing inputs": "share of runs without input",
    "missing outputs": "share of runs without output",
    "latency": "typical latency",
    "cost": "cost per run",
    "spending": "cost",
    "tokens": "tokens per run",
    "runs": "number of runs",
}


def _compare_parts(
    reader: Reader,
    project: str,
    found: FoundProblems,
    problem: ProjectProblem,
    *,
    by: str,
) -> PartTable | None:
    """Compare, for each value of a tag, two versions of the model, or its runs with all others."""
    finding = problem.first.finding
    slices = found.state.slices if found.state else None
    if finding is None or found.state is None or slices is None or not finding.measured:
        return None
    # The rows of a table cannot be grouped by these fields.
    own = [
        item
        for item in slices.slices
        if item.model == finding.model
        and item.dimension not in {"outcome", "version", "release", "provider_model"}
    ]
    sizes: dict[str, int] = {}
    for item in own:
        sizes[item.dimension] = sizes.get(item.dimension, 0) + item.runs
    choices = sorted(sizes, key=lambda name: (-sizes[name], name))[:_VALUES_COMPARED]
    worst = next((item.dimension for item in own if item.condition == finding.condition), "")
    dimension = next((name for name in (by, worst, *choices) if name in choices), "")
    rows = [item for item in own if item.dimension == dimension]
    rows.sort(key=lambda item: (-item.runs, item.name))
    if finding.version is not None and finding.baseline is not None:
        return _compare_versions(
            reader,
            project,
            finding,
            state=found.state,
            dimension=dimension,
            slices=rows,
            choices=choices,
        )
    if not rows:
        return None
    figure = find_figure(found, finding)
    kind: FigureKind = "score" if figure is not None and figure.kind == "score" else "rate"
    if finding.measured in AMOUNT_FIGURES:
        kind = "amount"
    return _compare_with_others(finding, kind, dimension, slices=rows, choices=choices)


def _compare_versions(
    reader: Reader,
    project: str,
    finding: Finding,
    *,
    state: MonitorState,
    dimension: str,
    slices: Sequence[RunSlice],
    choices: Sequence[str],
) -> PartTable | None:
    """Compare the new version with its baseline, for each value of a tag and for all runs.

    The claim of the problem comes from the release, so the row of all runs and the row of the worst
    value do too.
    """
    release = find_release_of(state.releases, finding.model, finding.version or 0, finding.baseline)
    if release is None:
        return None
    whole = next((item for item in release.figures if item.name == finding.measured), None)
    values = {f"{dimension}={_name_value(item)}": item for item in slices[:_VALUES_COMPARED]}
    try:
        verdicts = compare_values(
            reader,
            project,
            release,
            state.made_ns,
            figure=finding.measured,
            tokens=[*values],
        )
    except Unavailable:
        verdicts = {}
    rows = []
    for token, verdict in verdicts.items():
        part = values[token]
        figure = next((item for item in verdict.describe() if item.name == finding.measured), None)
        where = narrow(release.candidate.where, part.condition)
        name, counts = _name_value(part), verdict.counts
        if whole is not None and whole.worst == part.condition:
            # The release compared this slice with all other runs. That needs fewer runs than a
            # comparison of versions.
            row = _compare_part(name, where, counts, whole.of_worst or figure)
            rows.append(replace(row, word=_write_word(whole)))
        else:
            rows.append(_compare_part(name, where, counts, figure))
    counts = release.baseline.runs, release.candidate.runs
    row = _compare_part("All runs", release.candidate.where, counts, whole)
    rows.append(replace(row, is_whole=True))
    names = f"v{finding.baseline}", f"v{finding.version}"
    return PartTable(
        title=f"Version × {dimension}" if dimension else "Versions",
        dimension=dimension or "Runs",
        heads=((f"Runs of {names[0]}", f"Runs of {names[1]}"), names[0], names[1]),
        rows=_draw_rows(rows, _kind_of(whole)),
        choices=choices,
        interval=AT_ALL_LOOKS,
    )


def _compare_part(
    name: str, where: str, counts: tuple[int, int], figure: ComparedFigure | None
) -> PartRow:
    """Write the row of a slice: the figure of both versions, and how they differ."""
    before, now = _write_sides(figure)
    return PartRow(
        name=name,
        where=where,
        runs=[f"{count:,}" for count in _count_runs(counts, figure)],
        before=before,
        now=now,
        change=_write_change(figure),
        size=_measure_size(figure),
        word=_write_word(figure),
        difference=(figure.difference, figure.margin) if figure else (None, 0.0),
    )


def _compare_with_others(
    finding: Finding,
    kind: FigureKind,
    dimension: str,
    *,
    slices: Sequence[RunSlice],
    choices: Sequence[str],
) -> PartTable:
    """Show each value of a tag next to all other runs."""
    rows = []
    for item in slices[:_VALUES_COMPARED]:
        cell = next((cell for cell in item.cells if cell.figure == finding.measured), None)
        if cell is None:
            continue
        before, now = _write_pair(finding.measured, kind, cell.rest, cell.value)
        rows.append(
            PartRow(
                name=_name_value(item),
                where=item.where,
                runs=[f"{item.runs:,}"],
                before=before,
                now=now,
                change=write_difference(cell.difference, kind) or "–",
                size=abs((cell.value or 0.0) - (cell.rest or 0.0)),
                word=cell.word,
                difference=(cell.difference, cell.margin),
            )
        )
    return PartTable(
        title=f"By {dimension}",
        dimension=dimension,
        heads=(("Runs",), "All others", f"This {dimension}"),
        rows=_draw_rows(rows, kind),
        choices=choices,
    )


def _draw_rows(rows: Sequence[PartRow], kind: FigureKind) -> Sequence[PartRow]:
    """Draw the differences of rows on one scale, and put the rows in order.

    Slices that are worse come first, the largest difference first. The row of all runs is last.
    """
    bars = draw_differences([(*row.difference, row.word) for row in rows], kind)
    drawn = [replace(row, bar=bar) for row, bar in zip(rows, bars, strict=True)]
    return sorted(
        drawn,
        key=lambda row: (
            row.is_whole,
            row.word != Word.WORSE,
            -row.size * (row.word == Word.WORSE),
        ),
    )


def _measure_size(figure: ComparedFigure | None) -> float:
    difference = figure.difference if figure else None
    if figure is None or difference is None:
        return 0.0
    return abs(difference.value - (1.0 if figure.name in AMOUNT_FIGURES else 0.0))


def _count_runs(counts: tuple[int, int], figure: ComparedFigure | None) -> tuple[int, int]:
    """Return how many runs of the baseline and of the new version have a value of the figure."""
    if figure is None or figure.name in AMOUNT_FIGURES:
        return counts
    if figure.baseline is None or figure.candidate is None:
        return counts
    return figure.baseline.n, figure.candidate.n


def _write_word(figure: ComparedFigure | None) -> Word:
    return Word.NOT_ENOUGH_DATA if figure is None else figure.word


def _name_value(item: RunSlice) -> str:
    return item.name.partition(" = ")[2] or item.name


def _kind_of(figure: ComparedFigure | None) -> FigureKind:
    if figure is None or figure.is_rate:
        return "rate"
    return "amount" if figure.name in AMOUNT_FIGURES else "score"


def _write_sides(figure: ComparedFigure | None) -> tuple[str, str]:
    if figure is None or figure.baseline is None or figure.candidate is None:
        return "–", "–"
    return _write_pair(figure.name, _kind_of(figure), figure.baseline.value, figure.candidate.value)


def _write_pair(
    name: str, kind: FigureKind, before: float | None, now: float | None
) -> tuple[str, str]:
    if before is None or now is None:
        return "–", "–"
    if kind == "amount":
        return write_amounts(name, before, now)
    if kind == "rate" and min(before, now) >= 0 and max(before, now) <= 1:
        return wording.percent(before, 1), wording.percent(now, 1)
    return write_number(before), write_number(now)


def _write_change(figure: ComparedFigure | None) -> str:
    if figure is None or figure.difference is None:
        return "–"
    return write_difference(figure.difference, _kind_of(figure))


def _draw_chart(
    reader: Reader, project: str, found: FoundProblems, finding: Finding, *, now_ns: int
) -> SinceChart | None:
    """Draw the figure of a problem over time; None if its figure has no curve."""
    of_model = f"model == {quoted(finding.model)}"
    wheres = [narrow(of_model, finding.condition)]
    if finding.condition:
        wheres.append(narrow(of_model, f"not ({finding.condition})"))
    query = choose_curve(found, finding)
    if query is not None:
        asked = [
            reader.ahead(find_curve, project, replace(query, where=where), now_ns)
            for where in wheres
        ]
    elif finding.target:
        asked = [
            reader.ahead(_find_truth_curve, project, finding, where, now_ns) for where in wheres
        ]
    else:
        return None
    curve, *others = [wait.result() for wait in asked]
    if sum(value is not None for value in curve.own) < 2:  # noqa: PLR2004 - a line has two ends
        return None
    there = [value for line in (curve, *others) for value in line.own if value is not None]
    name, figure = finding.measured, find_figure(found, finding)
    over, window = curve.over, curve.over.window
    low, high = min(there), max(there)
    if low == high:
        low, high = low * 0.9, high * 1.1 or 1.0
    ticks = round_values(low, high)
    low, high = ticks[0], ticks[-1]
    length_ns = window.end_ns - window.start_ns

    def place(time_ns: int) -> float:
        return 100 * (time_ns - window.start_ns) / length_ns

    def draw(line: Sequence[float | None]) -> str:
        points = [
            f"{10 * place(start_ns):.1f} {_CHART_HEIGHT * (1 - (value - low) / (high - low)):.1f}"
            for start_ns, value in zip(over.starts_ns, line, strict=True)
            if value is not None
        ]
        return f"M{' '.join(points)}" if len(points) > 1 else ""

    days = range(-(-window.start_ns // DAY_NS) * DAY_NS, window.end_ns, DAY_NS)
    every = max(len(days) // 5, 1)
    earlier = next(value for value in there if value is not None)
    began = {
        f"v{release.candidate.version}": release.began_ns
        for release in (found.state.releases if found.state else ())
        if release.model == finding.model and release.dimension == "version"
    }
    if curve.began is not None and finding.kind == "release":
        began |= {f"v{finding.version}" if finding.version else "new": finding.start_ns}
    newest = sorted(began.items(), key=lambda item: item[1])[-_MOST_MARKS:]
    is_share = name == "errors" or (figure is not None and figure.kind == "rate")
    if finding.target:
        is_share = find_target(reader, project, finding.target).kind == "class"
    return SinceChart(
        own=draw(curve.own),
        others=draw(others[0].own) if others else "",
        marks=[
            AxisLabel(place(began_ns), f"{name}, {write_moment(began_ns)}")
            for name, began_ns in newest
            if window.start_ns <= began_ns < window.end_ns
        ],
        is_mark_low=earlier > (low + high) / 2,
        across=[AxisLabel(place(day_ns), write_moment(day_ns)) for day_ns in days[::every]],
        up=[
            AxisLabel(
                _CHART_HEIGHT * (1 - (tick - low) / (high - low)),
                _write_tick(name, tick, is_share=is_share),
            )
            for tick in ticks
        ],
        part=name_condition(finding.condition),
        step_hours=over.step_ns // HOUR_NS,
    )


def _find_truth_curve(
    reader: Reader, project: str, finding: Finding, where: str, now_ns: int
) -> ProblemCurve:
    """Read how often predictions were right over time, or their mean error."""
    is_new = finding.kind == "release"
    over = cut_curve(reader, finding.start_ns, now_ns, is_new=is_new)
    # The first bucket is shorter than the others, which begin at round clock times.
    starts_ns = [over.starts_ns[0], *over.starts_ns[1:]]
    if len(starts_ns) > 1:
        starts_ns[0] = starts_ns[1] - over.step_ns
    question = QualityQuestion(
        project=project,
        target=find_target(reader, project, finding.target),
        window=Window(starts_ns[0], over.window.end_ns),
        where=where,
        step_ns=over.step_ns,
        now_ns=now_ns,
    )
    course = find_course(reader, question)
    began = bisect_right(over.starts_ns, finding.start_ns) - 1 if is_new else None
    return ProblemCurve(over, [course.get(start_ns) for start_ns in starts_ns], began)


def _write_tick(name: str, value: float, *, is_share: bool) -> str:
    """Write a round number of an axis: `85 %`, `1.5 s`, `$ 0.002`."""
    if is_share:
        return f"{100 * value:g}{wording.THIN}%"
    if name == "latency":
        return wording.duration(value) if value >= _SECOND_MS else f"{value:g}{wording.THIN}ms"
    return f"$ {value:g}" if name in ("cost", "spending") else f"{value:,g}"
