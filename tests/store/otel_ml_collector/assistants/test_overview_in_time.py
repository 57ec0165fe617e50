"""The tool overview answers in time, and names the parts that it left out."""

import threading
import time
from typing import Any, Final

import pytest

from otel_ml_collector.assistants.definitions import OVERVIEW_S
from otel_ml_collector.assistants.protocol import answer
from otel_ml_collector.errors import StoreTimeout
from otel_ml_collector.store.sql import Sql
from tests.support.otel_ml_collector.assistants.fixtures import ASKED_NS
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night

PARTS: Final = [
    *("versions", "firing", "errors", "experiments", "releases"),
    *("fields", "slices", "failures and cost", "new values of tags"),
]
HINT: Final = f"not_looked_at took longer than {OVERVIEW_S:g} s or failed: call overview again"
POOL: Final = 4
_SLACK_S: Final = 10.0  # for a busy machine


def ask_overview(service: Service, arrived_s: float | None = None, **given: Any) -> dict[str, Any]:
    arrived_s = time.monotonic() if arrived_s is None else arrived_s
    reader = service.store.reader
    return answer("overview", given, reader, "http://here", ASKED_NS, arrived_s=arrived_s)


@at_night
def test_whole_overview(service: Service) -> None:
    """An answer in time has all parts."""
    found = ask_overview(service, time.monotonic() + 60, project="shop")
    assert "not_looked_at" not in found
    assert "hint" not in found
    assert {"totals", "versions", "errors", "experiments"} <= found.keys()


def test_request_that_waited(service: Service) -> None:
    """The time before the call counts: without time left, all parts are named at once."""
    began_s = time.monotonic()
    found = ask_overview(service, began_s - OVERVIEW_S, project="shop")
    assert sorted(found["not_looked_at"]) == sorted(PARTS)
    assert found["hint"] == HINT
    assert "totals" not in found
    assert found["url"].startswith("http://here/projects/shop/runs")
    assert time.monotonic() - began_s < _SLACK_S


@at_night
@pytest.mark.parametrize("given", [{"project": "shop"}, {}], ids=["project", "projects"])
def test_busy_threads(service: Service, given: dict[str, Any]) -> None:
    """If other work keeps all threads busy, the answer still comes, and the next one is whole."""
    is_over, reader = threading.Event(), service.store.reader
    others = [reader.ahead(lambda _: is_over.wait(60)) for _ in range(POOL)]
    began_s = time.monotonic()
    try:
        found = ask_overview(service, None, **given)
    finally:
        is_over.set()
    assert OVERVIEW_S <= time.monotonic() - began_s < OVERVIEW_S + _SLACK_S
    assert sorted(found["not_looked_at"]) == (sorted(PARTS) if given else ["projects", "runs"])
    assert all(other.result() for other in others)
    assert "not_looked_at" not in ask_overview(service, time.monotonic() + 60, **given)


def test_no_query_after_the_time_limit(service: Service) -> None:
    """A limited reader starts queries before the limit only; other readers are not affected."""
    reader, one = service.store.reader, Sql("SELECT 1 AS one")
    assert reader.until(time.monotonic() + 60).rows(one, {}) == [{"one": 1}]
    late = reader.until(time.monotonic() - 1).until(time.monotonic() + 60)
    for ask in (late.rows, late.arrow, late.blob):
        with pytest.raises(StoreTimeout, match="in time"):
            ask(one, {})
    assert reader.rows(one, {}) == [{"one": 1}]
