"""What was acknowledged is there, once, whatever happens to the collector."""

import secrets
import threading
from collections import Counter
from collections.abc import Callable
from http.client import HTTPException

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.collector import CollectorProcess, wait_until
from tests.support.load import PROTOBUF, make_request, run_ids

KILLS = 4
SENDERS = 4
BATCH = 64


class Senders:
    """Threads that send requests until they are stopped, and note what was acknowledged."""

    def __init__(self, collector: CollectorProcess, project: str) -> None:
        self._collector = collector
        self._project = project
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]
        self.acknowledged: list[str] = []
        self.unanswered: list[ExportTraceServiceRequest] = []
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        while not self._stopped.is_set():
            request = make_request(self._project, BATCH)
            try:
                status, _, _ = self._collector.post(
                    "/v1/traces", request.SerializeToString(), PROTOBUF
                )
            except (OSError, HTTPException):
                status = 0
            with self._lock:
                if status == 200:
                    self.acknowledged += run_ids(request)
                else:
                    self.unanswered.append(request)
            if status != 200:
                return


def acknowledged_more_than(senders: Senders, number: int) -> Callable[[], bool]:
    return lambda: len(senders.acknowledged) > number


def test_kill_loses_nothing_acknowledged(own_collector: CollectorProcess) -> None:
    """After each of several kills every acknowledged span is there once, also when sent again."""
    project = "killed"
    acknowledged: list[str] = []
    unanswered: list[ExportTraceServiceRequest] = []
    for _ in range(KILLS):
        senders = Senders(own_collector, project)
        wait_until(acknowledged_more_than(senders, 1000 + secrets.randbelow(1500)), 60)
        own_collector.kill()
        senders.stop()
        acknowledged += senders.acknowledged
        unanswered += senders.unanswered
        own_collector.restart()
        counts = Counter(run["run_id"] for run in own_collector.runs(project))
        assert [run_id for run_id in acknowledged if counts[run_id] != 1] == []
    assert len(acknowledged) >= KILLS * 1000

    for request in unanswered:  # the senders would send again what nobody answered
        status, _, _ = own_collector.post("/v1/traces", request.SerializeToString(), PROTOBUF)
        assert status == 200
    expected = {*acknowledged, *(run_id for request in unanswered for run_id in run_ids(request))}
    counts = Counter(run["run_id"] for run in own_collector.runs(project))
    assert counts == Counter(expected)
    [model] = own_collector.get(f"/projects/{project}/models")["models"]
    assert model["runs"] == len(expected)


def test_same_request_twice_is_one_set_of_records(collector: CollectorProcess) -> None:
    """A request that is sent twice changes no answer."""
    project = "twice"
    body = make_request(project, 200).SerializeToString()
    answers = []
    for _ in range(2):
        status, _, answer = collector.post("/v1/traces", body, PROTOBUF)
        assert (status, answer) == (200, b"")
        answers.append(
            (
                collector.runs(project),
                collector.get(f"/projects/{project}/models"),
                collector.get(f"/projects/{project}/models/load/versions"),
                [
                    one
                    for one in collector.get("/projects")["projects"]
                    if one["project"] == project
                ],
            )
        )
    assert answers[0] == answers[1]
    assert len(answers[0][0]) == 200


def test_answer_means_queryable(collector: CollectorProcess) -> None:
    """A request that is answered with success can be read at once, payload and score included."""
    request = make_request("at once", 1)
    status, _, _ = collector.post("/v1/traces", request.SerializeToString(), PROTOBUF)
    assert status == 200
    [run_id] = run_ids(request)
    run = collector.get(f"/runs/{run_id}")
    assert (run["inputs"], run["scores"]) == ({"question": "question 0"}, {"length": 0.0})
