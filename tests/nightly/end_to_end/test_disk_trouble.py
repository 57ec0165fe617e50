"""A collector keeps acknowledged data if its disk fills up or becomes read-only under load."""

import json
import os
import re
import time
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.bench.trouble import Kind, measure
from tests.support.collector import CollectorProcess
from tests.support.disk import MountedDisk, kinds, open_disk
from tests.support.otel_ml_collector.spans import id_of, make_call
from tests.support.otel_ml_collector.wire import encode
from tests.support.waiting import wait_until

_HEADERS: Final = {"content-type": "application/x-protobuf", "x-otel-ml-project": "full"}


@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_disk_trouble(kind: Kind) -> None:
    """Senders get 503 until the disk is usable again, and no acknowledged data is lost."""
    found = measure(kind, seconds=6)
    assert found.is_right, found
    assert found.slowest_s < 10
    assert found.recovered_s < 10


@pytest.mark.skipif(MountedDisk not in kinds(), reason="may not mount a disk")
def test_delete_without_room(tmp_path: Path) -> None:
    """A deletion without enough disk space is answered in time, and done once there is space."""
    with open_disk(tmp_path, 256, MountedDisk) as disk:
        assert isinstance(disk, MountedDisk)
        bound = ("--min-free-disk-bytes", "0")
        collector = CollectorProcess(disk.data_dir, *bound, launcher=disk.launcher)
        try:
            collector.wait_ready()
            # A part of 7 MB, which cannot be rewritten with 5 MB of free space.
            payloads = [json.dumps(os.urandom(50_000).hex()) for _ in range(140)]
            calls = [make_call("m", {"otel_ml.outputs": payload}) for payload in payloads]
            assert collector.post("/v1/traces", encode(calls), _HEADERS)[0] == 200
            run = f"/projects/full/runs/{id_of(calls[0])}"
            disk.fill(collector.pid)
            os.truncate(disk.ballast, disk.ballast.stat().st_size - 5_000_000)
            began_s = time.monotonic()
            assert delete(collector, run)[0] == 202
            trouble = wait_until(lambda: find_trouble(collector))
            assert time.monotonic() - began_s < 25
            assert re.search(r"cannot change \w+ now: too little disk space", trouble)
            disk.free(collector.pid)
            wait_until(lambda: delete(collector, run)[0] == 200)
            assert collector.status(f"/api/v1{run}") == 404
            assert len(collector.runs("full")) == 139
        finally:
            collector.kill()


def find_trouble(collector: CollectorProcess) -> str:
    """Return the error of the deletion in progress, or an empty string if there is none yet."""
    [deletion] = collector.get("/projects/full/deletions")["deletions"]
    return str(deletion["trouble"])


def delete(collector: CollectorProcess, path: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Request a deletion, and return status and body of the response."""
    request = Request(f"{collector.endpoint}/api/v1{path}", method="DELETE")
    try:
        with urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        return error.code, json.load(error)
