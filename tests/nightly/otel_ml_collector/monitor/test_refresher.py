"""Slow cases of tests/store/otel_ml_collector/monitor/test_refresher.py."""

from collections.abc import Iterator

import pytest

from otel_ml_collector.monitor.refresher import MonitorRefresher
from otel_ml_collector.stats import Past
from otel_ml_collector.times import DAY_NS, MINUTE_NS
from tests.store.otel_ml_collector.monitor.test_findings import count_statements, store_many
from tests.store.otel_ml_collector.monitor.test_refresher import kept_at
from tests.support.otel_ml_collector.spans import NOW_NS
from tests.support.otel_ml_collector.stores import Service, Store, open_service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Start a collector with a project of many runs."""
    with open_service(tmp_path_factory.mktemp("large")) as service:
        yield service


@pytest.fixture(scope="module")
def large(service: Service) -> Store:
    """Fill the store of the collector."""
    store_many(service.store, "large", NOW_NS - MINUTE_NS)
    return service.store


def test_pages_in_turn(large: Store) -> None:
    """A pass computes one page, the oldest first; the next page follows after 100 passes."""
    seconds = [0.0]

    def tell_s() -> float:
        """Return a time that is one second later with each call."""
        seconds[0] += 1.0
        return seconds[0]

    watch = MonitorRefresher(large.reader, lambda: False, tell_s)
    later_ns = NOW_NS + 10 * DAY_NS
    aged: tuple[Past, ...] = ("1h", "30d", "24h")
    for age, last in enumerate(aged):
        watch.note("large", last, later_ns, later_ns - (30 + age) * MINUTE_NS)
    turns = []
    for number in range(201):
        if count_statements(large, lambda: watch.run_pass(later_ns)):
            turns.append(number)
            assert kept_at(large, later_ns, ("24h", "30d", "1h")[len(turns) - 1]) == later_ns
    assert turns == [0, 100, 200]
