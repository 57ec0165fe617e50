"""The metrics page: the runs it shows, and the summary of each series."""

import html
import json
import re
from urllib.parse import quote

import pytest

from otel_ml.records import MetricPoint
from otel_ml_collector.curves.plots import MetricSeries, Plot, make_plots
from otel_ml_collector.span import Span, Value
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_span,
)
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import sampled


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """Return a separate service, because an empty page names every project that has metrics."""
    return own_service


def series_of(*values: float | None, count: int = 0) -> MetricSeries:
    points = [
        MetricPoint(value=value, step=n, time_ns=NOW_NS + n) for n, value in enumerate(values)
    ]
    return MetricSeries(run_id="r", name="a b", count=count or len(points), points=points)


def test_plot() -> None:
    """A plot has the last, lowest and highest value, and the number of NaN points."""
    [plot] = make_plots("p", {"run_id": "r"}, [series_of(1.0, None, 3.0, 2.0, count=9)])
    assert plot == Plot(
        name="a b",
        count=9,
        drawn=4,
        last=2.0,
        low=1.0,
        high=3.0,
        not_numbers=1,
        source="/api/v1/projects/p/metrics?run_id=r&name=a+b",
        line="0.0,19.0 66.7,1.0 100.0,10.0",
    )


def test_plot_without_numbers() -> None:
    """A series of only NaN has no lowest or highest value."""
    [plot] = make_plots("p", {"run_id": "r"}, [series_of(None)])
    assert (plot.last, plot.low, plot.high, plot.not_numbers, plot.line) == (
        None,
        None,
        None,
        1,
        "",
    )


def test_metrics_of_a_version(service: Service, project: str) -> None:
    """Metrics of a version are returned by its number, separate from its runs' metrics."""
    call = make_call("churn", {"otel_ml.model.version": "aa"})
    told: dict[str, Value] = {
        "otel_ml.metric.names": ["accuracy"],
        "otel_ml.metric.values": [0.25],
    }
    of_version = make_span(
        "otel_ml.update",
        {
            "otel_ml.record": "update",
            "otel_ml.target.model": "churn",
            "otel_ml.target.version": "aa",
            **told,
            "otel_ml.metric.values": [0.75],
            "otel_ml.metric.steps": [3],
            "otel_ml.metric.times": [NOW_NS + SECOND_NS],
        },
    )
    service.store.take(project, call, make_record("update", call, told), of_version)
    base = f"/api/v1/projects/{project}/metrics"
    answer = ask(service.app, f"{base}?model=churn&version=1").json
    assert answer["runs"] == []
    assert answer["series"] == [
        {
            "run_id": "",
            "name": "accuracy",
            "source": "logged",
            "count": 1,
            "points": [{"value": 0.75, "step": 3, "time_ns": NOW_NS + SECOND_NS}],
        }
    ]
    [of_run] = ask(service.app, f"{base}?run_id={id_of(call)}").json["series"]
    assert [point["value"] for point in of_run["points"]] == [0.25]
    page = ask(service.app, f"/projects/{project}/metrics?model=churn&version=1").text
    assert "logged for the version itself, not for one of its runs" in page


def train(number: int, params: dict[str, Value], **values: list[float]) -> list[Span]:
    """Make a run with params, and the record of its metric points."""
    flat = [(name, step, value) for name, of in values.items() for step, value in enumerate(of)]
    told = {"otel_ml.kind": "training", "otel_ml.params": json.dumps(params)}
    run = make_call("fit", told, start_ns=NOW_NS + number)
    points: dict[str, Value] = {
        "otel_ml.target.start_ns": run.start_ns,
        "otel_ml.metric.names": [name for name, _, _ in flat],
        "otel_ml.metric.values": [value for _, _, value in flat],
        "otel_ml.metric.steps": [step for _, step, _ in flat],
        "otel_ml.metric.times": [NOW_NS + step for _, step, _ in flat],
    }
    return [run, make_record("update", run, points)]


def cells(page: str) -> list[list[str]]:
    """Return the cells of the sweep table, without its first two and last two columns."""
    table = page.partition('id="sweep"')[2].partition("</table>")[0]
    rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)
    found = [re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL) for row in rows]
    return [[" ".join(re.sub("<[^>]*>", " ", cell).split()) for cell in row[2:-2]] for row in found]


def test_sweep(service: Service, project: str) -> None:
    """A sweep has one row per run, with the params that differ and the last metric values.

    Equal params are listed once, headings sort, and a metric with one point is a number.
    """
    runs = [
        *train(1, {"rate": 0.1, "seed": 7}, loss=[0.9, 0.5], best=[0.75]),
        *train(2, {"rate": 0.2, "seed": 7}, loss=[0.9, 0.25], best=[0.5]),
    ]
    service.store.take(project, *runs)
    page = ask(service.app, f"/projects/{project}/metrics").text
    head, *rows = cells(page)
    assert head == ["rate", "loss", "Curve", "best"]
    assert sorted([row[0].split()[-1], row[1], row[3]] for row in rows) == [
        ["0.1", "0.50", "0.75"],
        ["0.2", "0.25", "0.50"],
    ]
    assert "Equal in all 2 runs</dt><dd>seed 7</dd>" in page
    for order, wanted in {
        "highest:loss": ["0.50", "0.25"],
        "lowest:loss": ["0.25", "0.50"],
    }.items():
        ordered = ask(service.app, f"/projects/{project}/metrics?order={order}").text
        assert [row[1] for row in cells(ordered)[1:]] == wanted
    assert page.count('<figure class="curve') == 1  # both runs on one axis
    [current] = re.findall(r'<tr class="cur".*?</tr>', page, re.DOTALL)
    assert id_of(runs[2]) in current  # the best run, not the newest
    chosen = ask(service.app, f"/projects/{project}/metrics?run_id={id_of(runs[0])}").text
    assert "<dt>best</dt>" in chosen


RISING = [0.5, 0.6, 0.7, 0.8, 0.85, 0.88, 0.9, 0.91, 0.92, 0.93]
MOVED = "Noise: during its last quarter of steps, the best curve still changed by 0.02."


@sampled(3)
@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        # The second run is closer than the best run moved in its last quarter, from 0.91 to 0.93.
        (
            [({"rate": 0.1}, RISING), ({"rate": 0.2}, [*RISING[:-1], 0.915])],
            "Best: a, with acc = 0.93 at rate 0.1. b is 0.015 lower, which is within the noise. "
            f"{MOVED}",
        ),
        (
            [({"rate": 0.1}, RISING), ({"rate": 0.2}, [*RISING[:-1], 0.63])],
            f"Best: a, with acc = 0.93 at rate 0.1. b is next, 0.3 lower: more than the noise. "
            f"{MOVED} Each setting ran once; another seed may differ more.",
        ),
        # The second run repeats the first with another seed, which shows the noise.
        (
            [
                ({"rate": 0.1, "seed": 7}, RISING),
                ({"rate": 0.1, "seed": 8}, [0.5, 0.83]),
                ({"rate": 0.2, "seed": 7}, [0.5, 0.73]),
            ],
            "Best: a, with acc = 0.93 at rate 0.1, seed 7. b is 0.1 lower, which is within the "
            "noise. Noise: runs with equal params differ by up to 0.1.",
        ),
        (
            [({"rate": 0.1}, RISING), ({"rate": 0.2}, RISING)],
            "Best: b and a, with acc = 0.93. All runs are equal.",
        ),
        (
            [({"rate": 0.1}, [0.93]), ({"rate": 0.2}, [0.83])],
            "Best: a, with acc = 0.93 at rate 0.1. b is next, 0.1 lower. With one value per run, "
            "this may be noise.",
        ),
        (
            [({"rate": 0.1}, [0.5, 0.93]), ({"rate": 0.2}, [0.5, 0.83])],
            "Best: a, with acc = 0.93 at rate 0.1. b is next, 0.1 lower. With so few points per "
            "run, this may be noise.",
        ),
        ([({"rate": 0.1}, RISING)], ""),
    ],
    ids=["within", "beyond", "repeated", "tie", "one value", "few points", "one run"],
)
def test_best(
    service: Service,
    project: str,
    runs: list[tuple[dict[str, Value], list[float]]],
    expected: str,
) -> None:
    """The list names the best run, its lead, and whether that may be noise."""
    sent = [train(number, params, acc=values) for number, (params, values) in enumerate(runs)]
    service.store.take(project, *(span for spans in sent for span in spans))
    page = ask(service.app, f"/projects/{quote(project)}/metrics").text
    said = re.sub("<[^>]*>", "", page.partition('id="best">')[2].partition("</p>")[0])
    for letter, (run, _) in zip("abc", sent, strict=False):
        said = said.replace(id_of(run)[-6:], letter)
    assert said == expected


def test_lowest_is_best(service: Service, project: str) -> None:
    """The lowest loss is the best, unless the list is sorted by the highest."""
    runs = [train(number, {"rate": number}, loss=[0.9, number / 2]) for number in (1, 2)]
    service.store.take(project, *(span for spans in runs for span in spans))
    low, high = (id_of(run)[-6:] for run, _ in runs)
    page = ask(service.app, f"/projects/{project}/metrics").text
    assert f"<strong>Best: {low}, with loss = 0.5</strong> at rate 1" in page
    page = ask(service.app, f"/projects/{project}/metrics?order=highest:loss").text
    assert f"<strong>Best: {high}, with loss = 1</strong> at rate 2" in page


def test_curves_on_one_axis(service: Service, project: str) -> None:
    """The curves of the best six runs share one axis, with the best one highlighted."""
    runs = [train(number, {"rate": number}, acc=[0.1, number / 10]) for number in range(1, 9)]
    service.store.take(project, *(span for spans in runs for span in spans))
    page = ask(service.app, f"/projects/{project}/metrics").text
    drawn = page.partition('id="curves"')[2].partition("</section>")[0]
    curves = json.loads(html.unescape(drawn.partition('data-curves="')[2].partition('"')[0]))
    names = [id_of(run)[-6:] for run, _ in reversed(runs)]
    assert [(one["letter"], one["style"]) for one in curves] == [
        (name, "d" if place else "a") for place, name in enumerate(names[:6])
    ]
    assert drawn.count("<polyline") == 6
    assert drawn.count('<polyline class="a"') == 1


@sampled(1)
@pytest.mark.parametrize(("metric", "when"), [("acc", "< 0.4"), ("loss", "> 0.15")])
def test_alert_from_a_curve(service: Service, project: str, metric: str, when: str) -> None:
    """The chart of a metric offers an alert with a limit half as good as the best run."""
    runs = [train(number, {"rate": number}, **{metric: [0.1, number / 10]}) for number in (1, 8)]
    service.store.take(project, *(span for spans in runs for span in spans))
    page = ask(service.app, f"/projects/{project}/metrics").text
    drawn = page.partition('id="curves"')[2].partition("</section>")[0]
    [query] = re.findall(r'alert-rule\?([^"]*)">Alert on this<', drawn)
    form = ask(service.app, f"/projects/{project}/alert-rule?{html.unescape(query)}").text
    assert html.escape(f'mean(metrics["{metric}"]) {when}', quote=True) in form.replace(
        "&#34;", "&quot;"
    )
    past = ask(service.app, f"/projects/{project}/alert-past?{html.unescape(query)}")
    assert (past.status, "Cannot" in past.text) == (200, False)


def test_every_metric_can_be_chosen(service: Service, project: str) -> None:
    """A metric that is not among the first is a column and a chart once it is chosen."""
    named = {f"m{number}": [0.1, 0.2] for number in range(7)}
    runs = [train(number, {"rate": number}, **named) for number in (1, 2)]
    service.store.take(project, *(span for spans in runs for span in spans))
    asked = "order=highest:m6&scale=log&smooth=0.6"
    page = ask(service.app, f"/projects/{project}/metrics?{asked}").text
    options = re.findall(r'<option value="highest:(m\d)"( selected)?>', page)
    assert options == [*((f"m{number}", "") for number in range(6)), ("m6", " selected")]
    assert 'title="m6"' in page.partition("<thead>")[2].partition("</thead>")[0]
    drawn = page.partition('id="curves"')[2].partition("</section>")[0]
    assert 'data-scale="log" data-smooth="0.6"' in drawn
    assert "moving averages" in drawn


@pytest.mark.parametrize(
    ("asked", "status"),
    [("model=no&version=1", 404), ("model=no&version=0", 400), ("by=colour", 400)],
)
def test_wrong_question(service: Service, project: str, asked: str, status: int) -> None:
    """An unknown version or an invalid parameter gets an error page."""
    answered = ask(service.app, f"/projects/{project}/metrics?{asked}")
    assert answered.status == status
    assert answered.headers["content-type"].startswith("text/html")


def test_empty_page_names_others(service: Service, project: str) -> None:
    """The page of a project without metrics names projects with metrics, and their runs."""
    for call in (make_call(), make_call()):
        points: dict[str, Value] = {
            "otel_ml.metric.names": ["loss"],
            "otel_ml.metric.values": [0.5],
            "otel_ml.metric.times": [2 * NOW_NS],  # later than all other metrics
        }
        service.store.take(f"{project} measured", call, make_record("update", call, points))
    service.store.take(project, make_call())
    page = ask(service.app, f"/projects/{project}/metrics").text
    assert f"<h2>No metrics in project {project}</h2>" in page
    link = f'<a href="/projects/{project}%20measured/metrics">{project} measured</a> (2)'
    assert link in page.partition('id="elsewhere"')[2].partition("</p>")[0]
    assert 'id="elsewhere"' not in ask(service.app, f"/projects/{project} measured/metrics").text
