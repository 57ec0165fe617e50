"""The poller that prefetches Monitor pages: a returning user finds an answer, at little cost."""

import time
from collections.abc import Iterator
from typing import Final

import pytest

from otel_ml_collector.findings.find import (
    MonitorState,
    find_project_findings,
    find_shown_monitor,
)
from otel_ml_collector.findings.slice_sums import SlicesQuery
from otel_ml_collector.findings.slices import find_slices
from otel_ml_collector.monitor.refresher import MonitorRefresher
from otel_ml_collector.stats import Past, cut_past
from otel_ml_collector.times import DAY_NS, MINUTE_NS
from tests.store.otel_ml_collector.monitor.test_findings import count_statements, store_many
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import NOW_NS
from tests.support.otel_ml_collector.stores import Service, Store, open_service
from tests.support.sampling import at_night

# A cached answer takes the statements that tell whether it is still valid.
CHECKS: Final = 3
PASTS: Final[tuple[Past, ...]] = ("1h", "24h", "7d", "30d")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector for a project with many runs."""
    with open_service(tmp_path_factory.mktemp("large")) as service:
        yield service


@pytest.fixture(scope="module")
def large(service: Service) -> Store:
    """Return the store with the project's runs."""
    store_many(service.store, "large", NOW_NS - MINUTE_NS)
    return service.store


def kept_at(store: Store, now_ns: int, last: Past = "24h") -> int | None:
    """Return when the answer was made that a page shows at `now_ns`; None if it is made now."""
    shown: list[MonitorState] = []
    statements = count_statements(
        store, lambda: shown.append(find_shown_monitor(store.reader, "large", last, now_ns))
    )
    return shown[0].made_ns if statements <= CHECKS else None


def look_at_all(watch: MonitorRefresher, now_ns: int) -> None:
    """Run the poller until every page that is due is computed."""
    for _ in range(6):
        watch.run_pass(now_ns)


@at_night
def test_answer_is_there_for_days(large: Store) -> None:
    """After a page was opened once, its answer stays at most 20 minutes old for three days."""
    watch = MonitorRefresher(large.reader, lambda: False, lambda: 0.0)
    made = find_shown_monitor(large.reader, "large", "30d", NOW_NS)
    watch.note("large", "30d", NOW_NS, made.made_ns)
    now_ns = NOW_NS
    while now_ns < NOW_NS + 100 * MINUTE_NS:
        now_ns += MINUTE_NS
        look_at_all(watch, now_ns)
        kept_ns = kept_at(large, now_ns, "30d")
        assert kept_ns is not None
        assert now_ns - kept_ns <= 20 * MINUTE_NS
    after_ns = NOW_NS + 3 * DAY_NS
    look_at_all(watch, after_ns)
    assert kept_at(large, after_ns, "30d") == after_ns
    forgotten_ns = after_ns + 20 * MINUTE_NS
    look_at_all(watch, forgotten_ns)
    assert kept_at(large, forgotten_ns, "30d") == after_ns


@at_night
def test_large_project(large: Store) -> None:
    """A large project's last day is prefetched for the first visitor, and stays up to date."""
    watch = MonitorRefresher(large.reader, lambda: False, lambda: 0.0)
    now_ns = NOW_NS + 4 * DAY_NS + MINUTE_NS
    for _ in range(10):
        now_ns += DAY_NS // 2
        watch.run_pass(now_ns)
        assert kept_at(large, now_ns) == now_ns
    assert [kept_at(large, now_ns, last) for last in PASTS if last != "24h"] == [None] * 3


def test_answer_is_that_of_a_person(large: Store) -> None:
    """A prefetched answer equals the answer to a request at that time."""
    watch = MonitorRefresher(large.reader, lambda: False, lambda: 0.0)
    watch.note("large", "7d", NOW_NS, NOW_NS)
    now_ns = NOW_NS + 21 * MINUTE_NS
    look_at_all(watch, now_ns)
    ahead = find_shown_monitor(large.reader, "large", "7d", now_ns + MINUTE_NS)
    window = cut_past(large.reader, "7d", now_ns).window
    query = SlicesQuery("large", start_ns=window.start_ns, end_ns=window.end_ns)
    findings = find_project_findings(large.reader, "large", now_ns, last="7d")
    assert ahead.made_ns == now_ns
    assert ahead.slices == find_slices(large.reader, query, now_ns)
    assert ahead.slices.runs == 25_000  # each second trace
    assert (ahead.findings, ahead.missing) == (findings.findings, findings.missing)


@at_night
def test_requests_go_first(large: Store) -> None:
    """While requests use the whole process, the poller sends the store no query."""
    is_busy = [True]
    watch = MonitorRefresher(large.reader, lambda: is_busy[0])
    now_ns = NOW_NS + 20 * DAY_NS
    watch.note("large", "24h", now_ns, now_ns - DAY_NS)
    assert count_statements(large, lambda: watch.run_pass(now_ns)) == 0
    is_busy[0] = False
    watch.run_pass(now_ns)
    assert kept_at(large, now_ns) == now_ns


@at_night
def test_few_runs(large: Store) -> None:
    """A page with few runs is dropped, because its answer is computed quickly on request."""
    watch = MonitorRefresher(large.reader, lambda: False, lambda: 0.0)
    watch.run_pass(NOW_NS)
    watch.note("small", "24h", NOW_NS, NOW_NS - DAY_NS)
    assert count_statements(large, lambda: watch.run_pass(NOW_NS)) == 1
    assert count_statements(large, lambda: watch.run_pass(NOW_NS + MINUTE_NS)) == 0


@at_night
def test_most_pages(large: Store) -> None:
    """At most six pages are kept, those that were opened last."""
    watch = MonitorRefresher(large.reader, lambda: False, lambda: 0.0)
    now_ns = NOW_NS + 25 * DAY_NS
    watch.note("large", "1h", now_ns, now_ns - 2 * DAY_NS)
    watch.note("large", "24h", now_ns, now_ns - 2 * DAY_NS)
    for place in range(4):
        watch.note(f"small{place}", "24h", now_ns, now_ns)
    watch.note("large", "1h", now_ns, now_ns - 2 * DAY_NS)
    watch.note("small5", "24h", now_ns, now_ns)
    watch.run_pass(now_ns)
    watch.run_pass(now_ns)
    assert kept_at(large, now_ns, "1h") == now_ns
    assert kept_at(large, now_ns) is None


@at_night
def test_page_that_was_opened(service: Service, large: Store) -> None:
    """Opening the page keeps its answer up to date."""
    watch = service.app.state.services.find(MonitorRefresher)
    now_ns = time.time_ns()
    store_many(large, "large", now_ns - MINUTE_NS)
    later_ns = now_ns + 40 * MINUTE_NS
    page = ask(service.app, "/projects/large/monitor/findings?last=7d").text
    assert "No problems found." in page
    assert kept_at(large, later_ns, "7d") is None
    look_at_all(watch, later_ns)
    assert kept_at(large, later_ns, "7d") == later_ns
