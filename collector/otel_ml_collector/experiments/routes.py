"""Experiments in the JSON API and on pages: the list, and the page of one experiment."""

import time
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from otel_ml.attributes import RECORDED
from otel_ml.records import ExperimentRow, ListedItemRun
from otel_ml.statistics.comparison import FAILED_CALLS
from otel_ml.statistics.scored_runs import SOURCE_CLUSTERS
from otel_ml.statistics.sentences import FigureText
from otel_ml_collector import wording
from otel_ml_collector.api.parameters import Cursor, FromReader, Where
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.errors import Missing
from otel_ml_collector.evaluations.experiment_comparison import Show, compare, count_items
from otel_ml_collector.evaluations.experiment_items import (
    ROWS,
    ExperimentRows,
    cut_rows,
    find_rows,
    first_of,
    make_rows,
)
from otel_ml_collector.evaluations.experiment_runs import BASELINE_TAG, AskedExperiment, find_pair
from otel_ml_collector.evaluations.experiments import (
    SHOWN,
    ExperimentDetail,
    ExperimentsPage,
    JudgeOfItems,
    describe,
    find_experiment,
    find_experiments,
    find_others,
    report,
)
from otel_ml_collector.runs import find as runs
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.verdicts.claims import quote_judge
from otel_ml_collector.verdicts.lines import (
    VerdictLine,
    amount_lines,
    failure_lines,
    judge_lines,
    write_bounds,
    write_value,
)
from otel_ml_collector.verdicts.verdicts import find_worst
from otel_ml_collector.versions import diff
from otel_ml_collector.versions.variability import ExperimentVariability, find_repeats_variability
from otel_ml_collector.web import view
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.web.shared_file import FromFileOptions, SharedFile

_MOST_ROWS: Final = 1_000
_ON_A_PAGE: Final = 25
# Items in a file, and how many of them with their outputs.
_IN_A_FILE: Final = 100
_OPENED_IN_A_FILE: Final = 25
_DIFFS: Final = 3
# Tag of runs over items that somebody marked to look at later.
_MARK: Final = "marked"

api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)

Baseline = Annotated[
    str | None,
    Query(
        max_length=64,
        description="Run id of another experiment, `recorded` for the runs that it replays, or "
        "`none`. Default: the baseline that it was run with",
    ),
]

JudgeOfRows = Annotated[
    str,
    Query(
        max_length=1_024,
        description="Only regressions and fixes by this judge. Default: any judge",
    ),
]


@api.get("/projects/{project:path}/experiments")
def get_experiments(
    *,
    project: str,
    reader: FromReader,
    where: Where = "",
    limit: Annotated[int, Query(ge=1, le=100)] = SHOWN,
    cursor: Cursor = None,
    verdicts: Annotated[
        bool, Query(description="Whether to include the verdict and the values of the judges")
    ] = False,
) -> ExperimentsPage:
    """List the experiments of a project, newest first."""
    return find_experiments(
        reader,
        project,
        time.time_ns(),
        where=where,
        limit=limit,
        cursor=cursor,
        verdicts=verdicts,
    )


@api.get("/projects/{project:path}/experiments/{run_id}")
def get_experiment(
    project: str, run_id: str, reader: FromReader, baseline: Baseline = None
) -> ExperimentDetail:
    """Read the results of an experiment, and whether it is better or worse than its baseline."""
    return find_experiment(reader, AskedExperiment(project, run_id, time.time_ns(), baseline))


@api.get("/projects/{project:path}/experiments/{run_id}/variability")
def get_experiment_variability(
    project: str, run_id: str, reader: FromReader, baseline: Baseline = None
) -> ExperimentVariability | None:
    """Read how consistent the repeats of an experiment's items are. Null without repeats."""
    pair = find_pair(reader, AskedExperiment(project, run_id, time.time_ns(), baseline))
    return find_repeats_variability(reader, project, *pair)


@api.get("/projects/{project:path}/experiments/{run_id}/rows")
def get_experiment_rows(
    *,
    project: str,
    run_id: str,
    reader: FromReader,
    baseline: Baseline = None,
    show: Annotated[
        Show, Query(description="All items: sorted by ID. Otherwise: the largest change first")
    ] = "all",
    judge: JudgeOfRows = "",
    limit: Annotated[int, Query(ge=1, le=_MOST_ROWS)] = ROWS,
    cursor: Cursor = None,
) -> ExperimentRows:
    """List the items of an experiment with its runs and those of the baseline."""
    return find_rows(
        reader,
        AskedExperiment(project, run_id, time.time_ns(), baseline),
        show=show,
        judge=judge,
        limit=limit,
        cursor=cursor,
    )


def lay_out(experiment_detail: ExperimentDetail) -> tuple[list[VerdictLine], list[VerdictLine]]:
    """Return the lines of the verdict table: judges, then latency, tokens and cost."""
    if experiment_detail.verdict is None:
        lines = [
            VerdictLine(judge.judge, judge.version, "", *_alone(judge), "", FigureText(), None)
            for judge in experiment_detail.judges
        ]
        return lines, []
    versions = {judge.judge: judge.version for judge in experiment_detail.judges}
    return judge_lines(experiment_detail.verdict.judges, versions), amount_lines(
        experiment_detail.verdict.amounts
    )


def _alone(judge_of_items: JudgeOfItems) -> tuple[str, str, str]:
    """Return value, empty text and interval of a judge without a baseline."""
    value = write_value(judge_of_items.value, is_rate=judge_of_items.is_rate)
    return value, "", write_bounds(judge_of_items.value, is_rate=judge_of_items.is_rate)


@pages.get("/projects/{project:path}/experiments", response_class=FramedPage)
def list_all(
    request: Request, project: str, reader: FromReader, cursor: Cursor = None, where: Where = ""
) -> Response:
    """List the experiments of a project."""
    experiments = find_experiments(reader, project, time.time_ns(), where=where, cursor=cursor)
    context = {
        "experiments": experiments.experiments,
        "has_errors": any(listed.errors for listed in experiments.experiments),
        "has_cost": any(listed.cost is not None for listed in experiments.experiments),
        "next_cursor": experiments.next_cursor,
        "where": where,
        "api": view.api_address("projects", project, "experiments", where=where),
        "python": python_call("experiments", where),
    }
    return show_page(request, "experiments.html", context)


@pages.get("/projects/{project:path}/experiments/{run_id}/verdict")
def show_verdict_word(request: Request, project: str, run_id: str, reader: FromReader) -> Response:
    """Show the verdict of an experiment with its main figure: a cell of the list, loaded later."""
    experiment = find_experiment(reader, AskedExperiment(project, run_id, time.time_ns()))
    worst = find_worst(experiment.verdict) if experiment.verdict else None
    claim = ""
    if worst:
        # The verdict's word is next to it.
        claim = quote_judge(worst, worst.text.figures or worst.text.note)
    context = {"run_id": run_id, "verdict": experiment.verdict, "claim": claim}
    return show_page(request, "experiment_verdict.html", context)


@pages.get("/projects/{project:path}/experiments/{run_id}/markdown")
def show_markdown(
    request: Request, project: str, run_id: str, reader: FromReader, baseline: Baseline = None
) -> Response:
    """Return the report of an experiment, as the command line writes it."""
    now_ns = time.time_ns()
    compared = compare(reader, AskedExperiment(project, run_id, now_ns, baseline))
    page = f"{str(request.base_url).rstrip('/')}{view.address(project)}"
    return PlainTextResponse(report(reader, project, compared, page, now_ns).to_markdown())


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownItems:
    """Which items an experiment's page shows, and which one is open."""

    show: Show | Literal[""] = ""
    judge: JudgeOfRows = ""
    item: Annotated[str, Query(max_length=1_024)] = ""
    cursor: Cursor = None


@pages.get("/projects/{project:path}/experiments/{run_id}", response_class=FramedPage)
def show_experiment(
    *,
    request: Request,
    project: str,
    run_id: str,
    reader: FromReader,
    baseline: Baseline = None,
    shown: Annotated[ShownItems, Depends()],
) -> Response:
    """Show an experiment: the verdict, the judges, and its items, the worst first."""
    context = _describe_page(reader, project, run_id, baseline, shown)
    return show_page(request, "experiment.html", context)


@api.get("/projects/{project:path}/experiments/{run_id}/file", response_class=HTMLResponse)
def get_experiment_file(
    request: Request,
    project: str,
    run_id: str,
    options: FromFileOptions,
    baseline: Baseline = None,
) -> Response:
    """Make one HTML file of an experiment: verdict, judges, and the items that changed most.

    The file opens without a server. If it would be too large, it says what was left out.
    """
    reader, now_ns = options.reader, time.time_ns()
    page = view.address(project, "experiments", run_id, baseline=baseline)
    file = SharedFile(request, options, project, page)
    context = _describe_page(reader, project, run_id, baseline, ShownItems(), on_page=_IN_A_FILE)
    has_changes = context["show"] in {"regression", "fixed"}
    opened = context["rows"][:_OPENED_IN_A_FILE] if has_changes else []
    panels = [(row, _differences(reader, project, row, now_ns)) for row in opened]
    if context["next_cursor"]:
        file.cuts.append(f"items after the first {_IN_A_FILE}")
    html = file.render("experiment.html", context | {"panels": panels})
    return file.answer(*file.write_page(html))


def _describe_page(
    reader: Reader,
    project: str,
    run_id: str,
    baseline: str | None,
    shown: ShownItems,
    *,
    on_page: int = _ON_A_PAGE,
) -> dict[str, Any]:
    """Find everything that the page of an experiment shows."""
    now_ns, judge, cursor = time.time_ns(), shown.judge, shown.cursor
    asked = AskedExperiment(project, run_id, now_ns, baseline)
    compared = compare(reader, asked, most=first_of(cursor) + on_page)
    found = describe(reader, project, compared)
    sorts = {
        **({"regression": "Regressions", "fixed": "Fixed"} if found.verdict else {}),
        "flaky": "Flaky",
        "error": "Errors",
        "all": "All",
    }
    counts = {sort: count_items(compared, sort) for sort in sorts}  # type: ignore[arg-type]  # its keys
    chosen: Show = shown.show or ("regression" if counts.get("regression") else "all")
    by_judge = {
        judge.name: count_items(compared, chosen, judge.name)
        for judge in (found.verdict.judges if found.verdict else ())
    }
    rows = cut_rows(
        reader, project, compared, show=chosen, judge=judge, limit=on_page, cursor=cursor
    )
    opened = next(
        iter(make_rows(reader, project, compared, [shown.item] if shown.item else [])), None
    )
    judges, amounts = lay_out(found)
    failures = failure_lines(found.verdict.failures if found.verdict else None)
    path = ("projects", project, "experiments", run_id)
    return {
        "found": found,
        "clustered_by": SOURCE_CLUSTERS.get(found.clustered_by, found.clustered_by),
        "experiment": found.experiment,
        "verdict": found.verdict,
        "judges": judges,
        "failures": failures,
        "amounts": amounts,
        "alike": find_repeats_variability(reader, project, compared.now, compared.before)
        if found.experiment.repeats > 1
        else None,
        "write_value": write_value,
        "write_bounds": write_bounds,
        "sorts": [(name, text, counts[name]) for name, text in sorts.items()],
        "show": chosen,
        "by_judge": by_judge if chosen in {"regression", "fixed"} else {},
        "judge": judge,
        "rows": rows.rows,
        "next_cursor": rows.next_cursor,
        "cursor": cursor,
        "opened": opened,
        "mark": _MARK,
        "baseline_tag": BASELINE_TAG,
        "recorded": RECORDED,
        "failed_calls": FAILED_CALLS,
        "is_marked": opened is not None and _is_marked(reader, project, opened, now_ns),
        "differences": _differences(reader, project, opened, now_ns),
        "others": find_others(reader, project, found.experiment, now_ns),
        "picked": baseline,
        "api": view.api_address(*path, baseline=baseline),
        "python": python_call("experiment", run_id),
    }


def _is_marked(reader: Reader, project: str, row: ExperimentRow, now_ns: int) -> bool:
    """Return whether an item is marked: its first run has the tag."""
    try:
        first = runs.find_run(reader, row.runs[0].run_id, project, now_ns=now_ns)
    except Missing:  # deleted meanwhile
        return False
    return first.tags.get(_MARK) is True


def _differences(
    reader: Reader, project: str, row: ExperimentRow | None, now_ns: int
) -> list[tuple[ListedItemRun, ListedItemRun | None, list[diff.Line]]]:
    """Compare the outputs of an item's first repeats with those of the baseline."""
    if row is None:
        return []

    def read(run: ListedItemRun | None) -> str:
        return "" if run is None else _read_output(reader, project, run, now_ns)

    before = {item.repeat: item for item in row.baseline}
    return [
        (run, other, diff.compare(read(other), read(run)))
        for run in row.runs[:_DIFFS]
        for other in (before.get(run.repeat),)
    ]


def _read_output(reader: Reader, project: str, run: ListedItemRun, now_ns: int) -> str:
    """Read the whole output of a run as text, or the error of a failed run."""
    if run.outcome != "ok":
        return wording.write_error(run.error_type or run.outcome, run.error_message)
    try:
        output = runs.find_run(reader, run.run_id, project, now_ns=now_ns).outputs
    except Missing:  # deleted meanwhile
        return run.outputs
    if isinstance(output, str):
        return output
    return orjson.dumps(output, option=orjson.OPT_INDENT_2).decode()
