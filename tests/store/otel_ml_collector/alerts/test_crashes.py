"""Alerts on crashed runs: runs whose process disappeared before they ended."""

import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from otel_ml_collector.store.open_runs import SILENT_AFTER_NS
from otel_ml_collector.times import HOUR_NS, MINUTE_NS
from tests.store.otel_ml_collector.alerts.test_evaluation import Told, call, look
from tests.support.otel_ml_collector.alerts.world import targets_of
from tests.support.otel_ml_collector.spans import make_call, make_start
from tests.support.otel_ml_collector.stores import Service, open_service

CRASHES: Final = {
    "when": "crashed > 0",
    "window": "1h",
    "every": "5m",
    "hold": "1 of 1",
    "notify": ["oncall"],
}


@pytest.fixture(scope="module")
def heard_ns() -> int:
    """Return the time of the process's last signal, which the store stamps with the real time."""
    return time.time_ns()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, heard_ns: int) -> Iterator[Service]:
    """Open a service with a training that started two hours before its process's last signal."""
    with open_service(tmp_path_factory.mktemp("crashes"), alert_targets=targets_of("oncall")) as it:
        run = make_call("train", start_ns=heard_ns - 2 * HOUR_NS)
        it.store.take("crashes", make_start(run), now_ns=heard_ns)
        yield it


def test_fires(service: Service, heard_ns: int) -> None:
    """A rule fires once when the process has been silent for too long, and is resolved later.

    Usually nothing crashes. That is the limit itself, so the alert ends after three good windows.
    """
    assert call(service, "PUT", "crashes/alerts/crashed runs", CRASHES)["status"] == 200
    told = Told("crashes")
    counts = []
    for minute in (1, 4, 20, 30, 60, 120, 180, 200):
        look(service, told, heard_ns + minute * MINUTE_NS)
        counts.append(len(told.notifications))
    assert counts == [0, 0, 1, 1, 1, 1, 1, 2]
    assert [item.status for item in told.notifications.values()] == ["firing", "resolved"]
    [part] = next(iter(told.notifications.values())).slices
    assert (part.text, part.value) == ("1 crashed", 1.0)
    assert part.path == "/projects/crashes/runs?where=outcome+%3D%3D+%22crashed%22"
    assert SILENT_AFTER_NS == 5 * MINUTE_NS


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"when": "crashed > 0 and runs > 0"}, "when"),
        ({"when": 'crashed > previous("1d")'}, "when"),
        ({"where": 'model == "train"'}, "where"),
        ({"by": 'tags["client"]'}, "by"),
    ],
)
def test_invalid(service: Service, change: dict[str, Any], field: str) -> None:
    """A rule on crashes counts all runs and has no other condition, filter or group."""
    answer = call(service, "PUT", "crashes/alerts/wrong", {**CRASHES, **change})
    assert (answer["status"], answer["error"]["field"]) == (400, field), answer
