"""Slow cases of tests/process/end_to_end/test_otlp_forward.py."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status

from tests.process.end_to_end.test_otlp_forward import (
    PROTOBUF,
    forwarding,
    numbers,
    send,
    send_grpc,
)
from tests.support.collector import CollectorProcess, running
from tests.support.load import make_request, run_ids
from tests.support.otlp_sink import http_sink
from tests.support.ports import free_port
from tests.support.waiting import wait_until


def test_killed_target(tmp_path: Path) -> None:
    """A destination that is killed and restarted gets all queued requests, once each."""
    places = ("--http", f"127.0.0.1:{free_port()}", "--grpc", f"127.0.0.1:{free_port()}")
    second = CollectorProcess(tmp_path / "second", *places)
    try:
        second.wait_ready()
        targets = forwarding(
            http={"endpoint": second.endpoint}, rpc={"endpoint": f"grpc://{second.grpc}"}
        )
        with running(tmp_path / "first", *targets) as first:
            requests = [make_request("shop", 5) for _ in range(9)]
            for number, request in enumerate(requests):
                if number == 3:
                    second.kill()
                assert send(first, request.SerializeToString()) == 200
            second.restart()
            sent = sorted(run_id for request in requests for run_id in run_ids(request))
            wait_until(lambda: not numbers(first, "forward_queue_requests"))
            found = [run["run_id"] for run in second.runs("shop")]
            assert sorted(found) == sent
            assert numbers(first, "forward_dropped_total") == {}
            assert numbers(first, "forwarded_total") == {
                'signal="traces",target="http"': 9,
                'signal="traces",target="rpc"': 9,
            }
    finally:
        second.kill()


def refused_over_grpc(collector: CollectorProcess, body: bytes) -> Any:
    """Send a request that must be refused, and return the error."""
    with pytest.raises(grpc.RpcError) as caught:
        send_grpc(collector, body)
    return caught.value


def test_required(tmp_path: Path) -> None:
    """While a required destination is down, senders must retry; then both have all runs once."""
    place = ("--http", f"127.0.0.1:{free_port()}")
    with http_sink() as other:
        targets = forwarding(
            needed={"endpoint": f"http://{place[1]}", "required": True},
            other={"endpoint": f"http://{other.address}"},
        )
        with running(tmp_path / "first", *targets) as first:
            request = make_request("shop", 5)
            body, sent = request.SerializeToString(), sorted(run_ids(request))
            with ThreadPoolExecutor() as pool:
                over_http = pool.submit(first.post, "/v1/traces", body, {"content-type": PROTOBUF})
                over_grpc = pool.submit(refused_over_grpc, first, body)
            status, headers, answer = over_http.result()
            assert (status, headers["retry-after"]) == (503, "2")
            message = Status.FromString(answer).message
            assert message == "Not acknowledged yet by the destination needed"
            error = over_grpc.result()
            assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, message)
            assert other.requests == []
            with running(tmp_path / "second", *place) as second:
                wait_until(lambda: send(first, body) == 200)
                assert send_grpc(first, body) == b""
                assert sorted(run["run_id"] for run in second.runs("shop")) == sent
                assert sorted(run["run_id"] for run in first.runs("shop")) == sent
                assert numbers(first, "forwarded_total")['signal="traces",target="needed"'] == 1
