"""Tests of series that are computed outside the scrape: the newest values, and their limit."""

import time

from otel_ml_collector.telemetry.series import ComputedSeries
from tests.support.otel_ml_collector.telemetry.page import read_collector


def test_newest() -> None:
    """Newly computed series replace the previous ones of their metric and project."""
    series = ComputedSeries()
    series.put("drift_distance", "shop", [(("answer", "inputs.a"), 0.5), (("answer", "b"), 0.25)])
    series.put("drift_distance", "shop", [(("answer", "inputs.a"), 0.75)])
    series.put("actual_coverage", "shop", [(("churned",), 0.5)])
    series.put("slice_excess_runs", "desk", [(("route", "client = acme"), 12.5)])
    assert read_collector(series) == {
        ("otel_ml_drift_distance", ("inputs.a", "answer", "shop")): 0.75,
        ("otel_ml_actual_coverage", ("shop", "churned")): 0.5,
        ("otel_ml_slice_excess_runs", ("route", "desk", "client = acme")): 12.5,
    }


def test_bound() -> None:
    """A project has at most 500 series, alerts first. The omitted ones are counted."""
    series = ComputedSeries()
    drift = [(("answer", f"inputs.f{number}"), 600.0 - number) for number in range(600)]
    series.put("drift_distance", "shop", drift)
    series.put("alert", "shop", [((f"r{place}", "", "page", "firing"), 1.0) for place in range(3)])
    page = read_collector(series)
    names = [name for name, _ in page]
    assert names.count("otel_ml_alert") == 3
    assert names.count("otel_ml_drift_distance") == 497
    assert page["otel_ml_drift_distance", ("inputs.f496", "answer", "shop")] == 104
    assert page["otel_ml_series_left_out", ("shop",)] == 103


def test_many_projects() -> None:
    """Projects beyond 100 are counted and not shown."""
    series = ComputedSeries()
    for number in range(103):
        series.put("actual_coverage", f"p{number:03}", [(("churned",), 0.5)])
    page = read_collector(series)
    assert len(page) == 101
    assert page["otel_ml_series_left_out", ("",)] == 3


def test_forgotten() -> None:
    """A project that is no longer kept has no series."""
    series = ComputedSeries()
    for project in ("gone", "shop"):
        series.put("actual_coverage", project, [(("churned",), 0.5)])
    series.keep("actual_coverage", ["shop"])
    assert list(read_collector(series)) == [("otel_ml_actual_coverage", ("shop", "churned"))]


def test_long_texts() -> None:
    """Long texts are cut. If two become equal, the first one is kept."""
    series = ComputedSeries()
    rows = [(("x" * 300 + end,), value) for end, value in (("a", 1.0), ("b", 2.0))]
    series.put("actual_coverage", "half \ud800", rows)
    assert read_collector(series) == {("otel_ml_actual_coverage", ("half ?", "x" * 200)): 1.0}


def test_scrapes_are_seen() -> None:
    """The time of the last scrape is recorded, for the code that computes the series."""
    series = ComputedSeries()
    assert series.read_s < time.monotonic() - 10**9
    before_s = time.monotonic()
    read_collector(series)
    assert series.read_s >= before_s
