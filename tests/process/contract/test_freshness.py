"""Tests of how soon late-arriving records are in the rows of the runs that they change."""

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from threading import Event
from typing import Any, Final

import pytest

from otel_ml_collector.span import Scope, Span
from otel_ml_collector.store.migrations import connect
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql
from tests.support.clickhouse import Server
from tests.support.collector import CollectorProcess, running
from tests.support.load import PROTOBUF
from tests.support.otel_ml_collector.spans import MS_NS, id_of, make_call, make_record, make_span
from tests.support.otel_ml_collector.wire import encode
from tests.support.sampling import at_night, sampled
from tests.support.waiting import wait_until

pytestmark = sampled()

JSON: Final = {"content-type": "application/json"}
OTHER_SCOPE: Final = Scope({}, "others", "1", {})
WAITING: Final = re.compile(r"^otel_ml_rows_waiting (\S+)$", re.MULTILINE)
# Number of late records. The fastest one counts, because other processes only add time.
ROUNDS: Final = 8
# How much longer a pass may take than to store and read a run: 25 ms on a machine without load.
PASS: Final = 10


SESSION: Final = Sql("final_session")
SCORE: Final = Sql("toString(final_scores['liked'])")
REGION: Final = Sql("late_tags['region']")


@dataclass(frozen=True, slots=True)
class Served:
    """A collector with a database on a server, whose rows this process can read."""

    collector: CollectorProcess
    reader: Reader

    def send(self, *spans: Span) -> None:
        """Send spans, and wait until they are stored."""
        self.collector.deliver(encode(spans), PROTOBUF)

    def read(self, column: Sql, span: Span) -> str:
        """Read a column of the row of a run."""
        sql = Sql("SELECT {column} AS value FROM runs FINAL WHERE span_id = unhex({span:String})")
        [row] = self.reader.rows(sql.fill(column=column), {"span": span.span_id.hex()})
        return str(row["value"])


@pytest.fixture(scope="module")
def served(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    url = server.url(server.make_database())
    folder = tmp_path_factory.mktemp("served") / "none"
    with running(folder, "--store", url) as collector, closing(connect(url)) as opened:
        yield Served(collector, Reader(opened))


def now(**fields: Any) -> dict[str, Any]:
    return {"start_ns": time.time_ns() - MS_NS, **fields}


def post_score(collector: CollectorProcess, **evaluation: object) -> dict[str, Any]:
    """Send a score through the API; return the response."""
    body = json.dumps({"evaluations": [{"judge": "liked", **evaluation}]}).encode()
    path = "/api/v1/projects/default/evaluations"
    status, _, answer = collector.post(path, body, JSON)
    assert status in {200, 201}, answer
    answered: dict[str, Any] = json.loads(answer)
    return answered


def test_before_the_answer(served: Served) -> None:
    """A run, and feedback for its ID, are in its row before they are answered."""
    root = make_span("root", {"session.id": "s"}, **now())
    of_root = {"trace_id": root.trace_id, "parent_span_id": root.span_id}
    call = make_call("answer", **now(**of_root))
    served.send(root, call)
    assert served.read(SESSION, call) == "s"
    post_score(served.collector, score=0.25, run_id=id_of(call))
    assert served.read(SCORE, call) == "0.25"


def make_late(number: int) -> tuple[Span, Span, Sql, str]:
    """Make a run and a late-arriving record that changes it, with the column that it changes."""
    call = make_call("answer", **now(parent_span_id=number.to_bytes(8)))
    if number % 2:
        tag = make_record("update", call, {"otel_ml.tag.region": "eu"}, **now())
        return call, tag, REGION, '"eu"'
    ids = {"trace_id": call.trace_id, "span_id": call.parent_span_id, "scope": OTHER_SCOPE}
    return call, make_span("root", {"session.id": "s"}, **now(**ids)), SESSION, "s"


@dataclass(frozen=True, slots=True)
class Times:
    """The shortest times of some rounds, in seconds.

    Attributes:
        late_s: From the response to a late-arriving record until it is in its row.
        usual_s: From the request with a run until its row is read.
    """

    late_s: float
    usual_s: float


def time_late(served: Served, numbers: Iterator[int]) -> Times:
    """Send runs, and late-arriving records that change them."""
    late_s: list[float] = []
    usual_s: list[float] = []
    for _ in range(ROUNDS):
        call, late, column, value = make_late(next(numbers))
        begin_s = time.monotonic()
        served.send(call)
        wait_until(lambda: served.read(column, call) != value)  # noqa: B023 - called at once
        usual_s.append(time.monotonic() - begin_s)
        wait_until(idle(served.collector))
        served.send(late)
        begin_s = time.monotonic()
        wait_until(lambda: served.read(column, call) == value)  # noqa: B023 - called at once
        late_s.append(time.monotonic() - begin_s)
    return Times(min(late_s), min(usual_s))


def idle(collector: CollectorProcess) -> Callable[[], bool]:
    """Return a function that tells whether all rows are written."""

    def is_idle() -> bool:
        match = WAITING.search(collector.get_text("/metrics"))
        return match is not None and float(match[1]) == 0

    return is_idle


def test_after_a_pause(served: Served) -> None:
    """A pass begins 0.25 s after a late session or tag was stored, and then it is in the row."""
    times = time_late(served, count(100))
    assert times.late_s < 0.25 + PASS * times.usual_s


@at_night
def test_under_traffic(served: Served) -> None:
    """While other runs arrive all the time, a late session or tag is in the row within 1 s."""
    is_over = Event()

    def send_others() -> None:
        while not is_over.is_set():
            call = make_call("other", **now(scope=OTHER_SCOPE))
            of_call = {"trace_id": call.trace_id}
            served.send(call, *(make_call("other", **now(**of_call)) for _ in range(20)))

    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(send_others)
        try:
            times = time_late(served, count(1_000))
        finally:
            is_over.set()
        others.result()
    assert times.late_s < 0.75 + PASS * times.usual_s


def test_pending_runs(collector: CollectorProcess) -> None:
    """The response to feedback says how many runs of a tag get it later, and they do."""
    calls = [make_call("answer", {"otel_ml.tag.client": "big"}, **now()) for _ in range(1_200)]
    for first in range(0, len(calls), 400):
        collector.deliver(encode(calls[first : first + 400]), PROTOBUF)
    wait_until(idle(collector))
    answer = post_score(collector, score=0.5, tag="client=big")
    assert answer["pending_runs"] == 200
    wait_until(idle(collector))
    answer = post_score(collector, score=0.75, run_id=id_of(calls[0]))
    assert answer["pending_runs"] == 0
    assert len(collector.runs("default", where='scores["liked"] == 0.5')) == 1_199
