"""Prometheus series have the API's values, and are computed only while someone reads them."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest

from otel_ml_collector.alerts.find import find_rule
from otel_ml_collector.alerts.rule import ALERT, AlertRule, WantedAlert
from otel_ml_collector.alerts.series import SeriesUpdater
from otel_ml_collector.monitor.fields import FieldsAsked, ask_fields, find_fields
from otel_ml_collector.span import Span, Value
from otel_ml_collector.store.alerts import WHOLE_RULE, AlertRow, AlertStateName, AlertStore
from otel_ml_collector.store.documents import Documents
from otel_ml_collector.telemetry.series import ComputedSeries
from otel_ml_collector.times import HOUR_NS, MINUTE_NS
from tests.store.otel_ml_collector.monitor.test_fields import make_day, pay, pay_broken
from tests.store.otel_ml_collector.quality.test_quality import save, tell
from tests.support.otel_ml_collector.api.world import experiment
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.otel_ml_collector.telemetry.page import Numbers, read_collector
from tests.support.sampling import at_night

NOW_NS: Final = time.time_ns()
PROJECT: Final = "shop"


def make_answers() -> list[Span]:
    """Make answers of the last hour; 8 of 10 fail for client acme."""
    spans = []
    for place in range(200):
        client = "acme" if place % 2 else "other"
        attributes: dict[str, Value] = {"otel_ml.tag.client": client}
        is_error = client == "acme" and place % 10 != 1
        start_ns = NOW_NS - HOUR_NS + place * 1_000_000
        spans.append(
            make_call(
                "answer",
                attributes,
                start_ns=start_ns,
                end_ns=start_ns + 1_000_000,
                status_code=2 if is_error else 0,
            )
        )
    return spans


def make_predictions() -> list[Span]:
    """Make five predictions: four have ground truth, and three of those were right."""
    spans = []
    for place, came in enumerate(("yes", "yes", "yes", "no", None)):
        start_ns = NOW_NS - 2 * HOUR_NS + place * MINUTE_NS
        outputs: dict[str, Value] = {"otel_ml.outputs": '{"label": "yes", "p": 0.75}'}
        run = make_call("predict", outputs, start_ns=start_ns, end_ns=start_ns + 1_000_000)
        spans.append(run)
        if came is not None:
            spans.append(tell(run, came, start_ns + MINUTE_NS))
    return spans


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector with a broken field, a failing client, a target and an experiment."""
    with open_service(tmp_path_factory.mktemp("series")) as service:
        spans = make_day("pays", 1, 130, pay_broken)
        for day in range(2, 10):
            spans += make_day("pays", day, 130, pay)
        spans += [*make_answers(), *make_predictions()]
        for first in range(0, len(spans), 500):
            service.store.take(PROJECT, *spans[first : first + 500], now_ns=NOW_NS)
        service.store.take(PROJECT, *experiment())
        save(service, PROJECT)
        yield service


@pytest.fixture(scope="module")
def page(service: Service) -> Numbers:
    """Return the series of a scrape after they are computed."""
    series = ComputedSeries()
    read_collector(series)
    SeriesUpdater(service.store.reader, series).run_pass(NOW_NS)
    return read_collector(series)


def rows_of(page: Numbers, name: str) -> dict[tuple[str, ...], float]:
    """Return the series of one family by label values, in the order of the label names."""
    return {labels: value for (family, labels), value in page.items() if family == name}


@at_night
def test_drift(service: Service, page: Numbers) -> None:
    """The series of each judged field has the distance that the fields page shows."""
    asked = ask_fields(service.store.reader, PROJECT, FieldsAsked(model="pays"), NOW_NS)
    distances = {
        (field.field, "pays", PROJECT): field.distance
        for field in find_fields(asked).fields
        if field.word != "too few"
    }
    series = rows_of(page, "otel_ml_drift_distance")
    assert series.keys() >= distances.keys()
    for labels, distance in distances.items():
        assert series[labels] == pytest.approx(distance, abs=0.001)
    assert max(distances, key=lambda labels: distances[labels])[0].startswith("inputs.")


def test_slices(page: Numbers) -> None:
    """The client that fails most has the most extra failures."""
    series = rows_of(page, "otel_ml_slice_excess_runs")
    worst = max(series, key=lambda labels: series[labels])
    assert worst == ("answer", PROJECT, "client = acme")
    # 80 of its 100 runs failed and no others did, so the certain extra failures are over 50.
    assert 50 < series[worst] < 80


def test_truth(page: Numbers) -> None:
    """A target has the accuracy of its predictions with ground truth, and their coverage."""
    scores = rows_of(page, "otel_ml_actual_score")
    assert scores["accuracy", PROJECT, "churned"] == 0.75
    assert rows_of(page, "otel_ml_actual_coverage") == {(PROJECT, "churned"): 0.8}


@at_night
def test_experiments(page: Numbers) -> None:
    """A version's newest experiment has a pass rate for each judge."""
    assert rows_of(page, "otel_ml_experiment_score") == {
        ("qa", "grounded", "answer", PROJECT, "8c1f0e6d"): 0.5
    }


@at_night
def test_nobody_reads(service: Service) -> None:
    """Nothing is computed while nobody reads the metrics."""
    series = ComputedSeries()
    SeriesUpdater(service.store.reader, series).run_pass(NOW_NS)
    assert read_collector(series) == {}


@at_night
def test_once_an_hour(service: Service) -> None:
    """A project's series are computed again after an hour."""
    series = ComputedSeries()
    read_collector(series)
    watch = SeriesUpdater(service.store.reader, series)
    watch.run_pass(NOW_NS)
    assert rows_of(read_collector(series), "otel_ml_actual_coverage")
    series.put("actual_coverage", PROJECT, [])
    watch.run_pass(NOW_NS + HOUR_NS - 1)
    assert not rows_of(read_collector(series), "otel_ml_actual_coverage")
    watch.run_pass(NOW_NS + HOUR_NS)
    assert rows_of(read_collector(series), "otel_ml_actual_coverage")


def make_row(rule: AlertRule, key: str, state: AlertStateName, digest: str = "") -> AlertRow:
    """Make the stored state of one slice of a rule."""
    return AlertRow(
        project=PROJECT,
        rule=rule.name,
        slice=key,
        state=state,
        since_ns=NOW_NS,
        value=0.8,
        martingale=0.0,
        window_ns=NOW_NS,
        body={"digest": digest or rule.digest},
        evaluator="",
        version=1,
    )


def test_alerts(service: Service) -> None:
    """Alert states are exported by slice, except states of a changed rule or a deleted rule."""
    store = service.store
    wanted = WantedAlert(when="error_share > 0.5", by=['tags["client"]'], severity="page")
    body = wanted.model_dump()
    Documents(store.connections).save(store.reader, PROJECT, ALERT, "fails", body)
    rule = find_rule(store.reader, PROJECT, "fails")
    rows = [
        make_row(rule, WHOLE_RULE, "inactive"),
        make_row(rule, '["acme"]', "firing"),
        make_row(rule, '["other"]', "pending"),
        make_row(rule, '["older"]', "firing", "of another rule"),
        replace(make_row(rule, '["acme"]', "firing"), rule="deleted"),
    ]
    AlertStore(store.connections).write(rows, [], NOW_NS)
    series = ComputedSeries()
    read_collector(series)
    SeriesUpdater(store.reader, series).run_pass(NOW_NS)
    page = rows_of(read_collector(series), "otel_ml_alert")
    # The labels in the order of their names: project, rule, severity, slice, state.
    assert page == {
        (PROJECT, "fails", "page", "client = acme", "firing"): 1,
        (PROJECT, "fails", "page", "client = acme", "pending"): 0,
        (PROJECT, "fails", "page", "client = other", "firing"): 0,
        (PROJECT, "fails", "page", "client = other", "pending"): 1,
        (PROJECT, "fails", "page", "", "failed"): 0,
    }
