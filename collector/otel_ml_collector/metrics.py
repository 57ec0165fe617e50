"""The JSON API and the page of the metric series that runs and model versions logged."""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from otel_ml.counts import write_count
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.curves.overlay import Curve, Overlay, lay_over
from otel_ml_collector.curves.plots import MetricSeries, Plot, make_plots
from otel_ml_collector.curves.values import (
    flatten,
    is_lower,
    join_words,
    rank_metric,
    write_number,
    write_value,
)
from otel_ml_collector.errors import Missing
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.findings.suggestions import Suggestion, suggest_for_curve
from otel_ml_collector.owners import model_of, own_model
from otel_ml_collector.runs.answers import Run
from otel_ml_collector.runs.find import find_run_with_series
from otel_ml_collector.store.facts import (
    MOST_OF_ALL,
    MOST_POINTS,
    LoggedMetric,
    find_all_series,
    find_series,
    list_metric_owners,
    list_metric_projects,
)
from otel_ml_collector.store.open_runs import name_open_runs, read_open_payloads
from otel_ml_collector.store.reader import Reader, Row, load_json, run_id_of
from otel_ml_collector.store.runs import Key, read_params, read_runs
from otel_ml_collector.store.versions import read_versions
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.web import view
from otel_ml_collector.web.amounts import column_writer
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page

# An alert fires if a metric is worse than that of the best run by this part of it.
_ALERT_PART: Final = 0.5
_LISTED_OWNERS: Final = 500
# Limits of a list with params and values: runs, points per curve, params and metrics.
_SWEEP: Final = 500
_SHAPE: Final = 20
_PARAMS: Final = 6
_DRAWN_METRICS: Final = 4
_WAYS: Final = ("highest", "lowest")
# Number of best runs that are drawn on one axis, and that are named in a sentence.
_DRAWN: Final = 6
_NAMED: Final = 3
# Minimum number of points to measure how much the end of a curve still moves.
_FEWEST_POINTS: Final = 8
# Params that only set the random seed: runs that differ in nothing else are repeats.
_SEED: Final = re.compile(r"(^|[._])(random_)?(seed|state)$", re.IGNORECASE)

api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


class MetricOwner(AnswerBody):
    """A run that logged metrics. Its model is empty until the run itself arrives."""

    run_id: str
    model: str
    names: list[str]
    points: int
    last_time: str


class MetricsPage(AnswerBody):
    """Metric series of a run or version, or the runs of a project that have any."""

    series: list[MetricSeries]
    runs: list[MetricOwner]


def find_metrics(
    reader: Reader,
    project: str,
    run_id: str | None = None,
    name: str | None = None,
    points: int = MOST_POINTS,
) -> MetricsPage:
    """Read the series of a run, or list the runs with metrics, latest first."""
    if run_id is not None:
        return MetricsPage(series=_find_series(reader, project, run_id, name, points), runs=[])
    return MetricsPage(series=[], runs=_find_owners(reader, project)[0])


def _find_owners(reader: Reader, project: str) -> tuple[list[MetricOwner], dict[str, Row]]:
    """Find the runs that logged metrics, newest first, and the rows of ended ones."""
    rows = list_metric_owners(reader, project, _LISTED_OWNERS)
    keys = [Key.of(row["start_ns"], row["owner"]) for row in rows]
    runs = read_runs(reader, project, keys) if keys else []
    models = {run_id_of(run): run["model"] or run["name"] for run in runs}
    unnamed = [row["owner"] for row in rows if row["start_ns"] and row["owner"] not in models]
    models |= {run_id_of(run): run["model"] for run in name_open_runs(reader, project, unnamed)}
    owners = [
        MetricOwner(
            run_id=row["owner"],
            model=models.get(row["owner"], ""),
            names=row["names"],
            points=row["points"],
            last_time=to_rfc3339(row["last_time_ns"]),
        )
        for row in rows
    ]
    return owners, {run_id_of(run): run for run in runs}


def find_version_metrics(
    reader: Reader,
    project: str,
    model: str,
    number: int,
    *,
    name: str | None = None,
    points: int = MOST_POINTS,
) -> MetricsPage:
    """Read the metric series that were logged for a model version instead of a run.

    Args:
        reader: The store.
        project: The project.
        model: Name of the model.
        number: Number of the version.
        name: Name of a metric to read only its series. If None, all series are read.
        points: Maximum number of points per series.

    Raises:
        Missing: The version does not exist.
    """
    for row in read_versions(reader, project, "model", [model]):
        if row["number"] == number:
            owner = own_model(model, row["digest"])
            return MetricsPage(series=_find_series(reader, project, owner, name, points), runs=[])
    raise Missing(f"Model {model!r} has no version {number}")


def _find_series(
    reader: Reader, project: str, owner: str, name: str | None, points: int
) -> list[MetricSeries]:
    run_id = "" if model_of(owner) else owner
    return [
        MetricSeries(
            run_id=run_id,
            name=curve.name,
            source=curve.source,
            count=curve.count,
            points=list(curve.points),
        )
        for curve in find_series(reader, project, [owner], name=name or "", most=points)
    ]


@api.get("/projects/{project:path}/metrics")
def get_metrics(
    *,
    project: str,
    reader: FromReader,
    run_id: Annotated[str | None, Query(max_length=49)] = None,
    name: Annotated[str | None, Query(max_length=1_024)] = None,
    points: Annotated[
        int, Query(ge=10, le=MOST_OF_ALL, description="Maximum number of points per series")
    ] = MOST_POINTS,
    model: Annotated[
        str | None,
        Query(
            max_length=1_024,
            description="Model of the version whose series are read; needs `version`",
        ),
    ] = None,
    version: Annotated[
        int | None, Query(ge=1, description="Number of the model version whose series are read")
    ] = None,
) -> MetricsPage:
    """Read the metric series of a run or model version, or list the runs with metrics.

    All series of an answer have at most 100,000 points together.
    """
    if model is None or version is None:
        return find_metrics(reader, project, run_id, name, points)
    return find_version_metrics(reader, project, model, version, name=name, points=points)


@dataclass(frozen=True, slots=True)
class SweepRun:
    """A run with metrics: one row of the table on the page Metrics.

    Attributes:
        owner: ID and model of the run, and the names of its metrics.
        outcome: The outcome, such as `ok`. Empty until the run has ended.
        start_ns: Start of the run, in nanoseconds since 1970. None until the run has ended.
        params: The params of the run by name, as text. Different values have different texts.
        plots: A small drawing of each metric, by name of the metric.
        series: A few points of each metric, by name of the metric.
    """

    owner: MetricOwner
    outcome: str
    start_ns: int | None
    params: Mapping[str, str]
    plots: Mapping[str, Plot]
    series: Mapping[str, LoggedMetric]

    @property
    def name(self) -> str:
        """The last six characters of the run's ID, which identify it among runs of a model."""
        return self.owner.run_id[-6:]

    def value_of(self, column: str) -> float | None:
        """Return the value of a metric or param as a number; None if the run has no such number."""
        if (plot := self.plots.get(column)) is not None:
            return plot.last if isinstance(plot.last, float) else None
        try:
            return float(self.params[column])
        except (KeyError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Best:
    """The run whose last value of a metric is the best; several runs if their values are equal.

    Attributes:
        metric: Name of the metric.
        way: Whether the `highest` or the `lowest` value is the best.
        run_ids: ID of the best run, or of each of them.
        sentence: Sentence with the best run and its value.
        settings: Params of the best run, such as `lr 0.001, depth 3`. Only params that differ
            between the listed runs are included. Empty if several runs are the best.
        doubt: Sentence about how far the next runs are behind, and whether that is more than noise.
        noise: Sentence about how large the noise is, and how it was measured. Empty if the noise is
            unknown.
        overlay: Chart with the curves of the six best runs. None if each of them has only one value
            of the metric.
    """

    metric: str
    way: str
    run_ids: Sequence[str]
    sentence: str
    settings: str
    doubt: str
    noise: str
    overlay: Overlay | None


@dataclass(frozen=True, slots=True)
class Sweep:
    """Runs with metrics, and the params in which they differ.

    Attributes:
        params: Names of the params that differ.
        metrics: Names of the metrics that most of the runs have, and of the one by which the runs
            are ordered.
        every: Names of all metrics.
        same: Params with the same value in all runs.
        models: All models of the project whose runs have metrics.
        left: Number of further metrics, which are not shown.
        best: The best run by a metric; None if fewer than two runs have a number for it.
    """

    runs: Sequence[SweepRun]
    params: Sequence[str]
    metrics: Sequence[str]
    every: Sequence[str]
    same: Mapping[str, str]
    models: Sequence[str]
    left: int
    best: Best | None


def _suggest_alert(sweep: Sweep) -> Suggestion:
    """Suggest a rule that fires if a run's metric is worse than that of the best run by a half.

    Returns:
        The fields of the form of a rule. Empty without a best run, or if its value is 0.
    """
    best = sweep.best
    run = next((run for run in sweep.runs if best and run.owner.run_id in best.run_ids), None)
    value = run.value_of(best.metric) if run and best else None
    if best is None or run is None or not value:
        return {}
    is_lowest = best.way == "lowest"
    limit = value + abs(value) * (_ALERT_PART if is_lowest else -_ALERT_PART)
    metric = f"metrics[{quoted(best.metric)}]"
    return suggest_for_curve(
        best.metric,
        f"mean({metric}) {'>' if is_lowest else '<'} {float(f'{limit:.3g}')!r}",
        f"model == {quoted(run.owner.model)}" if run.owner.model else "",
        "1d",
    )


def find_sweep(
    reader: Reader,
    project: str,
    listed: tuple[Sequence[MetricOwner], Mapping[str, Row]],
    model: str,
    order: str,
) -> Sweep:
    """Read the runs with metrics, find the best run, and find the params that differ.

    At most 500 runs are read.

    Args:
        reader: The store.
        project: The project.
        listed: Two values. The first is a list of runs with metrics; the run that logged a metric
            last comes first. The second has the stored row of each run that has ended, by run ID.
        model: Name of a model to read only its runs. If empty, runs of all models are read.
        order: How the runs are sorted: ``highest:NAME`` or ``lowest:NAME``, with the name of a
            metric or a param. With any other text, the runs keep the order of the list.
    """
    owners, rows = listed
    chosen = [owner for owner in owners if not model or owner.model == model][:_SWEEP]
    ids = [owner.run_id for owner in chosen]
    owned = {run_id: [run_id] for run_id in ids}
    series = find_all_series(reader, project, owned, most=_SHAPE) if owned else {}
    ended = {run_id: rows[run_id] for run_id in ids if run_id in rows}
    params = _read_params(reader, project, chosen, ended)
    counted = Counter(name for of_run in params.values() for name in of_run)
    names = [name for name in counted if len({of_run.get(name) for of_run in params.values()}) > 1]
    logged = Counter(metric.name for of_run in series.values() for metric in of_run)
    metrics = sorted(logged, key=lambda name: rank_metric(name, logged))
    runs = []
    for owner in chosen:
        of_run = series.get(owner.run_id, ())
        row = ended.get(owner.run_id)
        runs.append(
            SweepRun(
                owner=owner,
                outcome=row["outcome"] if row else "",
                start_ns=row["start_ns"] if row else None,
                params=params.get(owner.run_id, {}),
                plots={
                    plot.name: plot
                    for plot in make_plots(project, {"run_id": owner.run_id}, of_run)
                },
                series={metric.name: metric for metric in of_run},
            )
        )
    shown = sorted(names, key=lambda name: -counted[name])[:_PARAMS]
    drawn = metrics[:_DRAWN_METRICS]
    if (named := order.partition(":")[2]) in metrics[_DRAWN_METRICS:]:
        drawn = [named, *drawn]
    alike = [name for name in counted if name not in names] if len(params) > 1 else []
    return Sweep(
        runs=_order_runs(runs, order),
        params=shown,
        metrics=drawn,
        every=metrics,
        same={name: next(iter(params.values()))[name] for name in alike},
        models=sorted({owner.model for owner in owners if owner.model}),
        left=len(metrics) - len(drawn),
        best=_find_best(project, runs, shown, metrics, order),
    )


def _order_runs(runs: Sequence[SweepRun], order: str) -> list[SweepRun]:
    """Order runs by a metric or a param. Runs without it come last."""
    way, _, column = order.partition(":")
    if way not in _WAYS or not column:
        return [*runs]
    sign = -1 if way == "highest" else 1

    def place(run: SweepRun) -> tuple[bool, float]:
        value = run.value_of(column)
        return value is None, 0.0 if value is None else sign * value

    return sorted(runs, key=place)


def _find_best(
    project: str,
    runs: Sequence[SweepRun],
    params: Sequence[str],
    metrics: Sequence[str],
    order: str,
) -> Best | None:
    """Find the best runs by the metric that a list is ordered by, else by the first one."""
    way, _, metric = order.partition(":")
    if way not in _WAYS or metric not in metrics:
        metric = next(iter(metrics), "")
        way = "lowest" if is_lower(metric) else "highest"
    values = {
        run.owner.run_id: value for run in runs if (value := run.value_of(metric)) is not None
    }
    if len(values) <= 1:
        return None
    ranked = [run for run in _order_runs(runs, f"{way}:{metric}") if run.owner.run_id in values]
    top = values[ranked[0].owner.run_id]
    ties = [run for run in ranked if values[run.owner.run_id] == top]
    doubt, noise = _compare_with_noise(
        ranked, values, metric, "lower" if way == "highest" else "higher"
    )
    text = ", ".join(f"{name} {ties[0].params[name]}" for name in params if name in ties[0].params)
    so_far = " so far" if any(not run.outcome for run in ties) else ""
    return Best(
        metric=metric,
        way=way,
        run_ids=[run.owner.run_id for run in ties],
        sentence=f"Best{so_far}: {_name_runs(ties)}, with {metric[:80]} = {write_number(top, 3)}",
        settings=text if len(ties) == 1 else "",
        doubt=doubt,
        noise=noise,
        overlay=_draw_best(project, ranked[:_DRAWN], ties, metric),
    )


def _name_runs(runs: Sequence[SweepRun]) -> str:
    if len(runs) > _NAMED:
        return f"{write_count(len(runs), 'run')}"
    return join_words([run.name for run in runs])


def _compare_with_noise(
    ranked: Sequence[SweepRun], values: Mapping[str, float], metric: str, worse: str
) -> tuple[str, str]:
    """Describe how far the other runs are behind the best, and how large the noise is.

    The noise is the difference between runs with equal params, apart from a seed. Without such
    runs, it is how much the best curve still changes, which is a lower bound.

    Args:
        ranked: The runs, best first.
        values: The last value of each run.
        metric: Name of the metric.
        worse: `lower` or `higher`.
    """
    gaps = {run_id: abs(value - values[ranked[0].owner.run_id]) for run_id, value in values.items()}
    others = [run for run in ranked if gaps[run.owner.run_id]]
    if not others:
        return "All runs are equal.", ""
    chance = _measure_repeats(ranked, values)
    noise = "Noise: runs with equal params differ by up to {}."
    is_repeated = chance is not None
    if chance is None:
        chance = _measure_move(ranked[0].series[metric])
        noise = "Noise: during its last quarter of steps, the best curve still changed by {}."
    gap = gaps[others[0].owner.run_id]
    behind = f"{others[0].name} is next, {write_number(gap, 2)} {worse}"
    if chance is None:
        few = "one value" if ranked[0].series[metric].count == 1 else "so few points"
        return f"{behind}. With {few} per run, this may be noise.", ""
    noise = noise.format(write_number(chance, 2))
    near = [run for run in others if gaps[run.owner.run_id] <= chance]
    if near:
        far = f"{'up to ' if len(near) > 1 else ''}{write_number(gaps[near[-1].owner.run_id], 2)}"
        is_all = len(near) == len(others)
        names = ("The others" if len(near) > 1 else near[0].name) if is_all else _name_runs(near)
        verb = "is" if len(near) == 1 else "are"
        return f"{names} {verb} {far} {worse}, which is within the noise.", noise
    if not is_repeated:
        noise += " Each setting ran once; another seed may differ more."
    return f"{behind}: more than the noise.", noise


def _measure_repeats(runs: Sequence[SweepRun], values: Mapping[str, float]) -> float | None:
    """Return the largest difference between runs with equal params. None without such runs."""
    groups: defaultdict[tuple[object, ...], list[float]] = defaultdict(list)
    for run in runs:
        params = {name: value for name, value in run.params.items() if not _SEED.search(name)}
        if params:
            key = run.owner.model, *sorted(params.items())
            groups[key].append(values[run.owner.run_id])
    return max(
        (max(group) - min(group) for group in groups.values() if len(group) > 1), default=None
    )


def _measure_move(series: LoggedMetric) -> float | None:
    """Return how much a curve changes in its last quarter; None with too few points."""
    points = [point.value for point in series.points if isinstance(point.value, float)]
    if len(points) < _FEWEST_POINTS:
        return None
    last = points[-(len(points) // 4) - 1 :]
    return max(last) - min(last)


def _draw_best(
    project: str, runs: Sequence[SweepRun], best: Sequence[SweepRun], metric: str
) -> Overlay | None:
    curved = [run for run in runs if run.series[metric].count > 1]
    if not curved:
        return None
    return lay_over(
        metric,
        [
            Curve(
                letter=run.name,
                source=run.plots[metric].source,
                start_ns=run.start_ns,
                style="a" if run in best else "d",
                series=run.series[metric],
            )
            for run in curved
        ],
    )


def _read_params(
    reader: Reader, project: str, owners: Sequence[MetricOwner], rows: Mapping[str, Row]
) -> dict[str, dict[str, str]]:
    """Read the params of runs, open ones included. Different values have different texts."""
    keys = [Key.of(row["start_ns"], run_id) for run_id, row in rows.items()]
    texts = read_params(reader, project, keys)
    is_open = [owner.run_id for owner in owners if owner.run_id not in rows]
    payloads = read_open_payloads(reader, project, is_open)
    texts |= {run_id: payload["params"] for run_id, payload in payloads.items()}
    return {
        run_id: {name: write_value(value) for name, value in flatten(load_json(text)).items()}
        for run_id, text in texts.items()
    }


class MetricsAsked(BaseModel):
    """Query parameters of the page Metrics, which lists runs and shows the curves of one run.

    Attributes:
        run_id: ID of the run whose curves are shown. If None, the page shows the best run. If
            there is no best run, it shows the run that logged a metric last.
        model: Name of a model. The page then lists only runs of this model.
        version: Number of a version of `model`. The page then shows the curves that were logged for
            this version instead of the curves of a run.
        by: Whether the horizontal axis shows steps or time.
        order: How the list of runs is sorted: ``highest:NAME`` or ``lowest:NAME``, with the name of
            a metric or a param. If empty, the run that logged a metric last comes first.
        scale: Scale of the vertical axis of curves.
        smooth: Weight of the moving average that is drawn instead of the points.
    """

    run_id: str | None = Field(None, max_length=49)
    model: str | None = Field(None, max_length=1_024)
    version: int | None = Field(None, ge=1)
    by: Literal["step", "time"] = "step"
    order: str = Field("", max_length=1_100)
    scale: Literal["linear", "log"] = "linear"
    smooth: Literal["0", "0.6", "0.9"] = "0"


@pages.get("/projects/{project:path}/metrics", response_class=FramedPage)
def show_metrics(
    request: Request, reader: FromReader, project: str, asked: Annotated[MetricsAsked, Query()]
) -> Response:
    """Show the runs of a sweep with the best one, and the metric curves of a run or version."""
    listed = reader.ahead(_find_owners, project)
    chosen, run, python = None, None, None
    sweep = find_sweep(reader, project, listed.result(), asked.model or "", asked.order)
    series: Sequence[MetricSeries | LoggedMetric] = ()
    if asked.model and asked.version:
        owner: dict[str, object] = {"model": asked.model, "version": asked.version}
        series = find_version_metrics(reader, project, asked.model, asked.version).series
        python = python_call("metrics", **owner)
    else:
        ids = [run.run_id for run in listed.result()[0] if asked.model in {None, "", run.model}]
        best = sweep.best.run_ids if sweep.best else []
        chosen = asked.run_id or next(iter([*best, *ids]), None)
        owner = {"run_id": chosen}
        if chosen:
            python = python_call("metrics", chosen)
            run, series = _find_run(reader, chosen, project)
    owners = listed.result()[0]
    plots = make_plots(project, owner, series)
    context = {
        "is_lower": is_lower,
        "sweep": sweep,
        "writers": {
            name: column_writer(run.plots[name].last for run in sweep.runs if name in run.plots)
            for name in sweep.metrics
        },
        "owners": owners,
        "alert": _suggest_alert(sweep),
        "elsewhere": [] if owners or asked.version else list_metric_projects(reader),
        "chosen": chosen,
        "asked": asked,
        "run": run,
        "here": lambda **changes: _link_curves(project, owner, asked, changes),
        "shown": {"by": asked.by, "scale": asked.scale, "smooth": asked.smooth},
        "plots": [plot for plot in plots if plot.count > 1],
        "values": [plot for plot in plots if plot.count == 1],
        "api": view.api_address("projects", project, "metrics", **owner),
        "python": python,
    }
    return show_page(request, "metrics.html", context)


def _link_curves(
    project: str, owner: Mapping[str, object], asked: MetricsAsked, changes: Mapping[str, str]
) -> str:
    """Return the link to the page with a change; usual values are left out."""
    usual = {"by": "step", "scale": "linear", "smooth": "0"}
    drawn = {name: getattr(asked, name) for name in usual}
    link = {"model": asked.model, **owner, "order": asked.order, **drawn, **changes}
    given = {name: value for name, value in link.items() if value != usual.get(name)}
    return view.address(project, "metrics", **given)


def _find_run(
    reader: Reader, run_id: str, project: str
) -> tuple[Run | None, Sequence[MetricSeries | LoggedMetric]]:
    """Read a run and its series. The run is None until it arrives."""
    try:
        return find_run_with_series(reader, run_id, project, now_ns=time.time_ns())
    except Missing:
        return None, find_metrics(reader, project, run_id).series
