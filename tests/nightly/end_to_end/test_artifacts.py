"""Slow cases of tests/process/end_to_end/test_artifacts.py."""

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.bench.artifacts import make_document, measure, put
from tests.process.end_to_end.test_artifacts import DOCUMENT, SHA256, begin, path_of, send
from tests.support.collector import CollectorProcess
from tests.support.examples import examples
from tests.support.otel_ml_collector.spans import id_of, make_artifact, make_call
from tests.support.otel_ml_collector.wire import encode
from tests.support.waiting import elapsed, wait_until


def test_kill_in_the_middle(own_collector: CollectorProcess) -> None:
    """If a kill interrupts an upload, the document is missing and can be uploaded again."""
    document = make_document(12_000_000)
    path = path_of("p", hashlib.sha256(document).hexdigest())
    with begin(own_collector, path, len(document), document[:-1]):
        own_collector.kill()
    own_collector.restart()
    assert send(own_collector, "GET", path)[0] == 404
    assert put(own_collector.endpoint, "p", document) == 201
    assert send(own_collector, "GET", path)[2] == document


def test_kill_while_it_is_stored(own_collector: CollectorProcess) -> None:
    """A kill leaves a document complete or missing; an acknowledged document is never missing."""
    for number in range(examples(4, on_commit=2)):
        document = make_document(12_000_000)
        path = path_of("p", hashlib.sha256(document).hexdigest())
        with ThreadPoolExecutor(1) as pool:
            upload = pool.submit(put, own_collector.endpoint, "p", document)
            is_moment = elapsed(0.05 * number)
            wait_until(lambda upload=upload, is_moment=is_moment: upload.done() or is_moment())  # type: ignore[misc]
            own_collector.kill()
        is_stored = upload.exception() is None and upload.result() == 201
        own_collector.restart()
        status, _, body = send(own_collector, "GET", path)
        assert status in ({200} if is_stored else {200, 404})
        assert status == 404 or body == document
        assert put(own_collector.endpoint, "p", document) in {200, 201}
        assert send(own_collector, "GET", path)[2] == document


def test_restart(own_collector: CollectorProcess) -> None:
    """The artifacts of a run are unchanged after a restart and repeated deliveries."""
    now_ns = time.time_ns()
    put(own_collector.endpoint, "p", DOCUMENT)
    events = [make_artifact("sample", sha256=SHA256, at_ns=now_ns)]
    call = make_call(start_ns=now_ns, events=events)
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": "p"}
    for _ in range(2):
        own_collector.deliver(encode([call]), headers)
    own_collector.restart()
    own_collector.deliver(encode([call]), headers)
    run = own_collector.get(f"/projects/p/runs/{id_of(call)}")
    assert [(one["ref"], one["url"]) for one in run["artifacts"]] == [
        ("sample", path_of("p", SHA256))
    ]
    assert own_collector.get("/objects", run_id=id_of(call), ref="sample")["obj_data"] == (
        json.loads(DOCUMENT)
    )


def test_memory(own_collector: CollectorProcess, tmp_path: Path) -> None:
    """Many artifacts raise a collector's memory by less than 300 MB and leave no files."""
    found = measure(own_collector, uploads=12)
    assert found.raised_mb < 300, found
    assert list((tmp_path / "data" / "tmp").iterdir()) == []


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """Return a separate project for the test."""
    name: str = request.node.name
    return name
