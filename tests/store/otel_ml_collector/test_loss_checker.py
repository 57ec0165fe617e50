"""The poller for missing spans: its log and its metrics."""

import logging

import pytest

from otel_ml_collector.access import OPEN
from otel_ml_collector.loss import Gaps, LossChecker
from otel_ml_collector.telemetry.service import LossNumbers
from tests.support.otel_ml_collector.spans import NOW_NS, make_sign
from tests.support.otel_ml_collector.stores import Store
from tests.support.otel_ml_collector.telemetry.page import read_collector


@pytest.fixture(scope="module")
def store(own_store: Store) -> Store:
    """Return a separate store, because the poller reads every project of a store."""
    return own_store


def take_goodbye(store: Store, project: str, process: str, seq: int) -> None:
    store.take(project, make_sign("goodbye", NOW_NS, process, seq=seq))


def test_watch(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Missing spans are logged once per process and hour, and are a metric by project."""
    caplog.set_level(logging.WARNING, "otel_ml_collector.loss")
    numbers = LossNumbers()
    watch = LossChecker(store.reader, numbers)
    take_goodbye(store, "p", "0000000a", 3)
    take_goodbye(store, "p", "0000000b", 1)
    for _ in range(2):
        watch.run_pass(NOW_NS)
    take_goodbye(store, "q", "0000000c", 6)
    watch.run_pass(NOW_NS)
    words = (
        "were sent but did not arrive (lost, or dropped by a sampler) "
        "in the hour from 2026-11-20T07:00:00.000000000Z"
    )
    assert caplog.messages == [
        f"2 spans of process '0000000a', project 'p', {words}",
        f"5 spans of process '0000000c', project 'q', {words}",
    ]
    assert read_collector(numbers) == {
        ("otel_ml_spans_missing", ("p",)): 2,
        ("otel_ml_spans_missing", ("q",)): 5,
        ("otel_ml_spans_late", ("p",)): 0,
        ("otel_ml_spans_late", ("q",)): 0,
    }


@pytest.mark.parametrize("sampled", [("p",), ("*",)])
def test_sampled(store: Store, caplog: pytest.LogCaptureFixture, sampled: tuple[str, ...]) -> None:
    """Spans dropped by a sampler have their own metric, and are not logged."""
    caplog.set_level(logging.WARNING, "otel_ml_collector.loss")
    numbers = LossNumbers()
    watch = LossChecker(store.reader, numbers, sampled)
    take_goodbye(store, "p", "0000000a", 3)
    take_goodbye(store, "q", "0000000c", 6)
    watch.run_pass(NOW_NS)
    are_all = sampled == ("*",)
    gaps = [Gaps("q", 5, is_meant=are_all), Gaps("p", 2, is_meant=True)]
    assert watch.gaps_of(OPEN) == gaps
    assert watch.gaps_of(OPEN, "p") == gaps[1:]
    assert len(caplog.messages) == (0 if are_all else 1)
    found = read_collector(numbers)
    assert found["otel_ml_spans_missing", ("p",)] == 0
    assert found["otel_ml_spans_sampled", ("p",)] == 2
    assert found.get(("otel_ml_spans_sampled", ("q",)), 0) == (5 if are_all else 0)


def test_many_lines(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A pass logs at most ten lines, and one line that counts the others."""
    caplog.set_level(logging.WARNING, "otel_ml_collector.loss")
    for number in range(40):
        take_goodbye(store, "many", f"{number:08x}", 2)
    LossChecker(store.reader, LossNumbers()).run_pass(NOW_NS)
    assert len(caplog.messages) == 11
    assert caplog.messages[-1].endswith("other processes and hours were sent but did not arrive")
