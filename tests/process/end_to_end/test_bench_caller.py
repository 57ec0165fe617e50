"""The benchmark of a traced call: its receivers, its measurements and its limits."""

import urllib.request
from collections.abc import Iterator

import pytest

from otel_ml import attributes as names
from tests.bench.caller import COLLECTOR, ROWS, STRANGER, cells_of
from tests.bench.sink import count, open_sink
from tests.bench.timed import CALLER, SENDER, Timed, time_contender
from tests.support.collector import CollectorProcess

CALLS = 4_000


def answered(address: str) -> dict[str, str]:
    """Return the otel-ml headers and the body length of the response to an empty OTLP request."""
    request = urllib.request.Request(
        f"{address}/v1/traces",
        data=b"",
        headers={"content-type": "application/x-protobuf"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
        fields = {name.lower(): text for name, text in answer.headers.items()}
    ours = {name: text for name, text in fields.items() if name.startswith("x-otel-ml")}
    return {**ours, "content-length": fields["content-length"]}


@pytest.fixture(scope="module")
def sinks() -> Iterator[dict[str, str]]:
    with open_sink(keep=True) as stranger, open_sink(keep=True, is_as_collector=True) as collector:
        yield {STRANGER: stranger, COLLECTOR: collector}


def test_sink_answers_as_the_collector(sinks: dict[str, str], collector: CollectorProcess) -> None:
    """The collector sink sends a real collector's headers; the other sink sends none."""
    assert answered(sinks[COLLECTOR]) == answered(collector.endpoint)
    assert names.PREVIEWS_HEADER in answered(collector.endpoint)
    assert answered(sinks[STRANGER]) == {"content-length": "0"}


def test_sender_is_counted_for_what_arrived(sinks: dict[str, str]) -> None:
    """CPU time of other threads is divided by the spans that arrived at the sink, not by calls."""
    times = time_contender("ours", "nested", sinks[STRANGER], calls=CALLS)
    assert times.arrived == 1
    assert times.sender_a_span_us == pytest.approx((times.cpu_us - times.thread_us) / 3)
    off = time_contender("sampled out", "tiny", sinks[STRANGER], calls=CALLS)
    assert (off.arrived, off.sender_a_span_us) == (0, 0)
    assert count(sinks[STRANGER]) == (0, 0)


def test_floor_is_held_against_the_median() -> None:
    """A row compares the median ratio with its floor; without arrived spans there is no row."""
    row = next(row for row in ROWS if row.floors.get(CALLER) == 0.18)
    rounds = [(Timed(9, 10.0, 20), Timed(1, cost, 3)) for cost in (1.7, 1.9, 9.0)]
    assert cells_of(row, CALLER, rounds)[2:5] == ["0.19 (from 0.17 to 0.90)", "0.18", "falls short"]
    assert cells_of(row, CALLER, rounds[:1])[2:5] == ["0.17 (from 0.17 to 0.17)", "0.18", "ok"]
    assert cells_of(row, SENDER, rounds) == []
