"""The days that the Monitor page has checked for drifted fields."""

import time
from typing import Final

import pytest

from otel_ml_collector.findings.drift import CheckedDays
from otel_ml_collector.findings.find import find_checked_days, find_monitor, find_shown_monitor
from otel_ml_collector.stats import Past
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS
from tests.store.otel_ml_collector.monitor.test_fields import TODAY_NS, sketch_days
from tests.store.otel_ml_collector.monitor.test_findings import store_many
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, sampled

NOW_NS: Final = time.time_ns()
MARK_DAY: Final = Sql("""
    INSERT INTO daily (project, day_ns, marked_ns)
    SELECT {project:String}, {day_ns:Int64}, toUnixTimestamp64Nano(now64(9))""")


def import_day(service: Service, project: str, day: int, runs: int = 50_001) -> None:
    """Store a day of runs, `day` days ago; by default more than are read without sketches."""
    day_ns = TODAY_NS - day * DAY_NS
    store_many(service.store, project, day_ns + DAY_NS - 1, runs)
    service.store.connections.open().command(
        MARK_DAY, parameters={"project": project, "day_ns": day_ns}
    )


def test_checks_that_wait_are_shown(service: Service, project: str) -> None:
    """After a large import the page shows how many days are checked, and later the findings."""
    store, path = service.store, f"/projects/{project}/monitor"
    store.take(project, make_call("buy", start_ns=TODAY_NS - 3 * DAY_NS))
    sketch_days(store.connections, project, range(3, 4))
    before = find_monitor(store.reader, project, "24h", NOW_NS)
    assert before.checked == CheckedDays(1, 1)
    import_day(service, project, 1)
    assert find_shown_monitor(store.reader, project, "24h", NOW_NS).checked == CheckedDays(1, 2)
    page = ask(service.app, f"{path}/findings").text
    assert "<b>Still checking fields:</b> 1 of 2 days are done" in page
    assert "No problems found." in page
    assert "1 of 2 days are done" in ask(service.app, f"{path}/progress").text
    sketch_days(store.connections, project, range(1, 2))
    assert "fresh=true" in ask(service.app, f"{path}/progress").text
    page = ask(service.app, f"{path}/findings?fresh=true").text
    assert "Still checking" not in page


@at_night
def test_import_into_a_checked_day_is_waited_for(service: Service, project: str) -> None:
    """A day that was checked is checked again after an import into it."""
    store = service.store
    import_day(service, project, 1)
    sketch_days(store.connections, project, range(1, 2))
    first = find_shown_monitor(store.reader, project, "24h", NOW_NS)
    assert first.checked == CheckedDays(1, 1)
    import_day(service, project, 1)
    assert find_shown_monitor(store.reader, project, "24h", NOW_NS).checked == CheckedDays(0, 1)


@at_night
def test_answer_of_fewer_runs_follows_the_checks(service: Service, project: str) -> None:
    """In a project whose answer changes with each delivery, each checked day changes it too."""
    store = service.store
    import_day(service, project, 1, runs=25_000)
    assert find_shown_monitor(store.reader, project, "24h", NOW_NS).checked == CheckedDays(0, 1)
    sketch_days(store.connections, project, range(1, 2))
    assert find_shown_monitor(store.reader, project, "24h", NOW_NS).checked == CheckedDays(1, 1)


@sampled(2)
@pytest.mark.parametrize("last", ["1h", "7d", "30d"])
def test_day_that_is_not_over_is_not_waited_for(service: Service, project: str, last: Past) -> None:
    """Today's runs are not waited for, however many there are."""
    store_many(service.store, project, NOW_NS - 1)
    assert find_checked_days(service.store.reader, project, last, NOW_NS).is_complete
