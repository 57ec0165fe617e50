"""The page of a problem: how much worse, for whom, since when, what changed, and in which runs."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import RedirectResponse, Response

from otel_ml.statistics.distances import FEWEST_VALUES
from otel_ml_collector.access import ANNOTATE, access_of
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.errors import Missing, Unavailable
from otel_ml_collector.evaluations.right_answers import (
    GROUND_TRUTH,
    RightAnswer,
    find_right_answers,
    name_kinds,
)
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.findings.drift import FieldsPast
from otel_ml_collector.findings.findings import Finding
from otel_ml_collector.findings.releases import name_condition
from otel_ml_collector.ground_truth.find import (
    QualityQuestion,
    find_target,
    find_wrong_predictions,
)
from otel_ml_collector.monitor.fields import FieldReport, FieldsAsked, ask_fields, find_field
from otel_ml_collector.monitor.parts import compare_parts
from otel_ml_collector.monitor.problem_pairs import ask_pairs
from otel_ml_collector.monitor.since_chart import (
    draw_chart,
    draw_drift,
    list_figures,
    name_figure,
)
from otel_ml_collector.monitor.slice_fields import has_drift
from otel_ml_collector.problems.checked import write_checked
from otel_ml_collector.problems.curves import (
    CurveQuery,
    find_curve,
)
from otel_ml_collector.problems.news import FromSources
from otel_ml_collector.problems.problems import (
    count_runs,
    find_problems,
)
from otel_ml_collector.runs.answers import RunSummary
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.stats import Past
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.versions import diff
from otel_ml_collector.versions.find import find_definitions
from otel_ml_collector.web import view
from otel_ml_collector.web.amounts import write_amount
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.windows import Window

_EXAMPLE_RUNS: Final = 5
_SEE_OTHER: Final = 303
# Fields are compared over 7 days at most.
_FIELDS_PAST: Final[Mapping[Past, FieldsPast]] = {
    "1h": "1h",
    "24h": "24h",
    "7d": "7d",
    "30d": "7d",
}

pages = APIRouter(include_in_schema=False, route_class=PageRoute)
FromBy = Annotated[str, Query(max_length=400, description="Tag whose values are compared")]
FromFigure = Annotated[
    Literal["", "errors", "latency", "cost", "runs"],
    Query(description="Figure of the chart, instead of the page's own"),
]


@pages.get("/projects/{project:path}/problems/{key}", response_class=FramedPage)
def show_problem(
    request: Request,
    project: str,
    key: str,
    reader: FromReader,
    sources: FromSources,
    *,
    last: Annotated[Past, Query(description="Period to check, until now")] = "24h",
    by: FromBy = "",
    figure: FromFigure = "",
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
    query = ask_examples(project, first.where, first.window)
    mark = found.find_mark(problem)
    place = 0 if mark or is_change else found.problems.index(problem) + 1
    finding = first.finding
    drift = None
    if finding and finding.field and not finding.measured:
        drift = _find_drift(reader, project, finding, last, now_ns)
    examples = reader.ahead(_find_examples, query, finding, drift, now_ns=now_ns)
    drawn = replace(finding, measured=figure, target="") if finding and figure else finding
    chart = reader.ahead(draw_chart, project, found.state, drawn, now_ns=now_ns) if drawn else None
    changes = reader.ahead(_find_changes, project, finding) if finding else None
    pairs = ask_pairs(first, finding) if finding else None
    table = compare_parts(reader, project, found.state, finding, by=by)
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
        "chart": draw_drift(drift) if drift and not figure else chart.result() if chart else None,
        "field_slices": drift is not None
        and has_drift(drift.field)
        and drift.n >= 2 * FEWEST_VALUES,
        "fields_last": _FIELDS_PAST[last],
        "is_change": is_change,
        "measured": name_figure(found.state, finding) if finding else "",
        "drawn": name_figure(found.state, drawn) if drawn else "",
        "figures": list_figures(finding, figure) if finding else [],
        **(changes.result() if changes else {}),
        "margins": reader.margins,
        "examples": examples.result(),
        "claim": problem.sentence,
        "window": first.window,
        "runs": first.runs,
        "runs_where": first.where,
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


def ask_examples(project: str, where: str, window: Window) -> RunsQuery:
    """Make the query of the newest runs, as many as a page shows as examples."""
    return RunsQuery(
        project, where, limit=_EXAMPLE_RUNS, start_ns=window.start_ns, end_ns=window.end_ns
    )


def find_newest(
    reader: Reader, query: RunsQuery, title: str, *, judge: str = "", now_ns: int
) -> ExampleRuns:
    """Find the newest runs of a query, and what each should have returned."""
    runs = find_runs(reader, query, now_ns).runs
    return ExampleRuns(title, runs, find_right_answers(reader, runs, judge, now_ns))


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
        judge = finding.measured if finding else ""
        title = "the newest runs with this problem"
        return find_newest(reader, query, title, judge=judge, now_ns=now_ns)
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
