"""Traffic as services send it: by default, many small requests are stored in few groups."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.collector import CollectorProcess, running
from tests.support.load import PROTOBUF, make_request, run_ids
from tests.support.sampling import at_night
from tests.support.waiting import elapsed, wait_until

GROUPS = re.compile(r"^otel_ml_commit_seconds_count (\d+)", re.MULTILINE)
SENDERS = 4
SECONDS = 3.0


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Yield a collector that groups requests, as it does by default."""
    with running(tmp_path_factory.mktemp("traffic"), "--collect-ms", "1000") as process:
        yield process


def groups(collector: CollectorProcess) -> int:
    found = GROUPS.search(collector.get_text("/metrics"))
    assert found
    return int(float(found[1]))


def send(collector: CollectorProcess, until: float) -> list[str]:
    """Send one span after the other, ten a second; return the acknowledged runs."""
    ids: list[str] = []
    while time.monotonic() < until:
        request = make_request("traffic", 1)
        collector.deliver(request.SerializeToString(), PROTOBUF)
        ids += run_ids(request)
        wait_until(elapsed(0.1))
    return ids


def test_continuous_traffic_is_few_groups(collector: CollectorProcess) -> None:
    """Requests of several senders are stored once a second, and before they are acknowledged."""
    before = groups(collector)
    until = time.monotonic() + SECONDS
    with ThreadPoolExecutor(SENDERS) as pool:
        sent = [pool.submit(send, collector, until) for _ in range(SENDERS)]
        acknowledged = [run_id for ids in sent for run_id in ids.result()]
    assert sorted(run["run_id"] for run in collector.runs("traffic")) == sorted(acknowledged)
    assert groups(collector) - before <= SECONDS + 2


@at_night
def test_first_request_after_a_pause_is_answered_at_once(collector: CollectorProcess) -> None:
    """The first request after a pause does not wait for others."""
    body = make_request("first", 1).SerializeToString()
    collector.deliver(body, PROTOBUF)
    wait_until(elapsed(1.2))
    began = time.monotonic()
    collector.deliver(make_request("first", 1).SerializeToString(), PROTOBUF)
    assert time.monotonic() - began < 0.9


@at_night
def test_full_batches_do_not_wait(collector: CollectorProcess) -> None:
    """Consecutive full batches of a standard batch processor are stored at once."""
    bodies = [make_request("full", 512).SerializeToString() for _ in range(4)]
    collector.deliver(bodies.pop(), PROTOBUF)
    before = groups(collector)
    for body in bodies:
        collector.deliver(body, PROTOBUF)
    assert groups(collector) - before == 3


def test_feedback_does_not_wait(collector: CollectorProcess) -> None:
    """Feedback is stored at once, also under continuous traffic."""
    request = make_request("people", 1)
    collector.deliver(request.SerializeToString(), PROTOBUF)
    [run_id] = run_ids(request)
    began = time.monotonic()
    for number in range(4):
        status, _, answer = collector.post(
            "/api/v1/projects/people/evaluations",
            b'{"evaluations": [{"run_id": "%s", "judge": "thumbs", "score": %d}]}'
            % (run_id.encode(), number),
            {"content-type": "application/json"},
        )
        assert status == 200, answer
    assert time.monotonic() - began < 3.0
