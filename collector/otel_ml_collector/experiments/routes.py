"""Experiments in the JSON API and on pages: their list, and one beside its baseline."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from otel_ml.records import ExperimentRow, ListedItemRun
from otel_ml_collector.api.parameters import Cursor, FromReader, Where
from otel_ml_collector.errors import NotFound
from otel_ml_collector.experiments.find import (
    ROWS,
    SHOWN,
    ExperimentDetail,
    ExperimentRows,
    Experiments,
    JudgeOfItems,
    Show,
    compare,
    cut_rows,
    describe,
    find_experiment,
    find_experiments,
    find_rows,
    items_of,
    make_rows,
)
from otel_ml_collector.models import diff
from otel_ml_collector.runs import find as runs
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.verdicts import AmountChange, Interval, JudgeChange
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, python_call, show_page

_OFFERED: Final = 20
_MOST_ROWS: Final = 1_000
_ON_A_PAGE: Final = 25
_DIFFS: Final = 3
_SCALE_UP: Final = 1.15

api = APIRouter(prefix="/api/v1")
pages = APIRouter(include_in_schema=False, route_class=PageRoute)

Baseline = Annotated[
    str | None,
    Query(
        max_length=64,
        description="The run id of another experiment, or none; unless told what it was run beside",
    ),
]


@api.get("/projects/{project:path}/experiments")
def get_experiments(
    project: str,
    reader: FromReader,
    where: Where = "",
    limit: Annotated[int, Query(ge=1, le=100)] = SHOWN,
    cursor: Cursor = None,
) -> Experiments:
    """List the experiments of a project, the newest first."""
    return find_experiments(
        reader, project, time.time_ns(), where=where, limit=limit, cursor=cursor
    )


@api.get("/projects/{project:path}/experiments/{run_id}")
def get_experiment(
    project: str, run_id: str, reader: FromReader, baseline: Baseline = None
) -> ExperimentDetail:
    """Say what came of an experiment, and whether it is better or worse than its baseline."""
    return find_experiment(reader, project, run_id, time.time_ns(), baseline)


@api.get("/projects/{project:path}/experiments/{run_id}/rows")
def get_experiment_rows(
    *,
    project: str,
    run_id: str,
    reader: FromReader,
    baseline: Baseline = None,
    show: Annotated[
        Show, Query(description="All in the order of ids; else the largest change first")
    ] = "all",
    limit: Annotated[int, Query(ge=1, le=_MOST_ROWS)] = ROWS,
    cursor: Cursor = None,
) -> ExperimentRows:
    """List the items of an experiment with its runs over each, and those of the baseline."""
    return find_rows(
        reader,
        project,
        run_id,
        time.time_ns(),
        baseline=baseline,
        show=show,
        limit=limit,
        cursor=cursor,
    )


@dataclass(frozen=True, slots=True)
class Bar:
    """A difference beside 0 and its margin, in per cent of the width of the drawing.

    Attributes:
        band: Where the margin begins, and how wide it is on both sides.
        low, high, at: The interval and the difference.
        style: worse, better or nothing.
        text: The same in words.
    """

    band: tuple[float, float]
    low: float
    high: float
    at: float
    style: str
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A judge, or latency, tokens or cost, in the table of an experiment."""

    name: str
    version: int | None
    before: str
    now: str
    change: str
    interval: str
    word: str
    sentence: str
    bar: Bar | None


def lay_out(found: ExperimentDetail) -> tuple[list[Line], list[Line]]:
    """Write what judges say, and what became of latency, tokens and cost, for the page."""
    alone = {one.judge: one for one in found.judges}
    if found.verdict is None:
        lines = [
            Line(one.judge, one.version, "", *_alone(one), "", "", None) for one in found.judges
        ]
        return lines, []
    judges = found.verdict.judges
    widest = max((_reach(one) for one in judges if one.is_rate), default=1.0)
    lines = []
    for one in judges:
        change, scale = one.difference, widest if one.is_rate else _reach(one)
        of = 100.0 if one.is_rate else 1.0
        own = alone.get(one.judge)
        lines.append(
            Line(
                name=one.judge,
                version=one.version or (own.version if own else None),
                before=_value(one.baseline, one.is_rate),
                now=_value(one.candidate, one.is_rate),
                change=_signed(change.value * of) if change else "–",
                interval=_span(change, of),
                word=one.word,
                sentence=one.sentence,
                bar=_bar(change, one.margin, scale, one.word, of),
            )
        )
    return lines, _amount_lines(found.verdict.amounts)


def _alone(one: JudgeOfItems) -> tuple[str, str, str]:
    """Write a value without a baseline: value, nothing, its interval."""
    of = 100.0 if one.is_rate else 1.0
    if one.value is None:
        return "–", "", "–"
    low, high = (_bound(bound, of) for bound in (one.value.low, one.value.high))
    return _value(one.value, one.is_rate), "", f"{low} to {high}"


def _amount_lines(amounts: Sequence[AmountChange]) -> list[Line]:
    """Write ratios as changes in per cent."""
    changes = {
        one.name: Interval(
            value=one.ratio.value - 1,
            low=None if one.ratio.low is None else one.ratio.low - 1,
            high=None if one.ratio.high is None else one.ratio.high - 1,
            n=one.ratio.n,
            clusters=one.ratio.clusters,
        )
        for one in amounts
    }
    widest = max((_most(of, 0.0) for of in changes.values()), default=1.0)
    return [
        Line(
            name=one.name,
            version=None,
            before="",
            now="",
            change=_signed(100 * changes[one.name].value),
            interval=_span(changes[one.name], 100),
            word=one.word,
            sentence=one.sentence,
            bar=_bar(changes[one.name], one.margin, widest, one.word, 100),
        )
        for one in amounts
    ]


def _reach(one: JudgeChange) -> float:
    return _most(one.difference, one.margin)


def _most(change: Interval | None, margin: float) -> float:
    """Return how far from 0 a drawing must reach."""
    bounds = [margin]
    if change is not None:
        bounds += [abs(one) for one in (change.low, change.high, change.value) if one is not None]
    return max(bounds) * _SCALE_UP or 1.0


def _bar(change: Interval | None, margin: float, scale: float, word: str, of: float) -> Bar | None:
    if change is None or change.low is None or change.high is None:
        return None

    def at(value: float) -> float:
        return round(min(max(50 + 50 * value / scale, 0), 100), 1)

    band = at(-margin)
    style = word if word in {"worse", "better"} else ""
    text = f"{_signed(change.value * of)} ({_span(change, of)})"
    return Bar(
        (band, round(100 - 2 * band, 1)),
        at(change.low),
        at(change.high),
        at(change.value),
        style,
        text,
    )


def _value(one: Interval | None, is_rate: bool) -> str:
    if one is None:
        return "–"
    return f"{100 * one.value:.1f}{view.THIN}%" if is_rate else f"{one.value:.4g}"


def _signed(value: float) -> str:
    text = f"{value:+.1f}" if abs(value) >= 1 else f"{value:+.3g}"
    return text.replace("-", "−") if float(text) else text[1:]


def _span(one: Interval | None, of: float) -> str:
    if one is None or one.low is None or one.high is None:
        return "–"
    return f"{_signed(one.low * of)} to {_signed(one.high * of)}"


def _bound(value: float | None, of: float) -> str:
    if value is None:
        return "∞"
    return f"{value * of:.1f}" if of > 1 else f"{value:.4g}"


@pages.get("/projects/{project:path}/experiments")
def list_all(
    request: Request, project: str, reader: FromReader, cursor: Cursor = None, where: Where = ""
) -> Response:
    """The experiments of a project."""
    found = find_experiments(reader, project, time.time_ns(), where=where, cursor=cursor)
    context = {
        "project": project,
        "experiments": found.experiments,
        "next_cursor": found.next_cursor,
        "where": where,
        "api": view.api_address("projects", project, "experiments", where=where),
        "python": python_call("experiments", where),
    }
    return show_page(request, "experiments.html", context)


@pages.get("/projects/{project:path}/experiments/{run_id}")
def show_experiment(
    *,
    request: Request,
    project: str,
    run_id: str,
    reader: FromReader,
    baseline: Baseline = None,
    show: Show | Literal[""] = "",
    item: Annotated[str, Query(max_length=1_024)] = "",
    cursor: Cursor = None,
) -> Response:
    """One experiment: the verdict, what judges say, and its items, the worst first."""
    now_ns = time.time_ns()
    compared = compare(reader, project, run_id, now_ns, baseline)
    found = describe(reader, project, compared)
    sorts = {
        **({"regression": "Regressions", "fixed": "Fixed"} if found.verdict else {}),
        "flaky": "Flaky",
        "error": "Errors",
        "all": "All",
    }
    counts = {one: len(items_of(compared, one)) for one in sorts}  # type: ignore[arg-type]  # its keys
    chosen: Show = show or ("regression" if counts.get("regression") else "all")
    rows = cut_rows(compared, chosen, _ON_A_PAGE, cursor)
    opened = next(iter(make_rows(compared, [item])), None) if item else None
    judges, amounts = lay_out(found)
    same = find_experiments(
        reader, project, now_ns, where=f"dataset == {view.quoted(found.experiment.dataset)}"
    )
    path = ("projects", project, "experiments", run_id)
    context = {
        "project": project,
        "found": found,
        "experiment": found.experiment,
        "verdict": found.verdict,
        "judges": judges,
        "amounts": amounts,
        "sorts": [(name, text, counts[name]) for name, text in sorts.items()],
        "show": chosen,
        "rows": rows.rows,
        "next_cursor": rows.next_cursor,
        "opened": opened,
        "differences": _differences(reader, project, opened, now_ns),
        "others": [one for one in same.experiments if one.run_id != run_id][:_OFFERED],
        "picked": baseline,
        "api": view.api_address(*path, baseline=baseline),
        "python": python_call("experiment", run_id),
    }
    return show_page(request, "experiment.html", context)


def _differences(
    reader: Reader, project: str, row: ExperimentRow | None, now_ns: int
) -> list[tuple[ListedItemRun, ListedItemRun | None, list[diff.Line]]]:
    """Put what came out of the first repeats of an item beside what the baseline gave."""
    if row is None:
        return []

    def read(run: ListedItemRun | None) -> str:
        return "" if run is None else _read_output(reader, project, run, now_ns)

    before = {one.repeat: one for one in row.baseline}
    return [
        (one, other, diff.compare(read(other), read(one)))
        for one in row.runs[:_DIFFS]
        for other in (before.get(one.repeat),)
    ]


def _read_output(reader: Reader, project: str, run: ListedItemRun, now_ns: int) -> str:
    """Read the whole output of a run as text; of one that failed why."""
    if run.outcome != "ok":
        return ": ".join(filter(None, (run.error_type or run.outcome, run.error_message)))
    try:
        output = runs.find_run(reader, run.run_id, project, now_ns=now_ns).outputs
    except NotFound:  # it was deleted meanwhile
        return run.outputs
    if isinstance(output, str):
        return output
    return orjson.dumps(output, option=orjson.OPT_INDENT_2).decode()
