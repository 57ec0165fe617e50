"""Measure throughput of artifacts through a collector, and its memory meanwhile."""

import base64
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.bench.table import print_table
from tests.support.collector import CollectorProcess

UPLOADS: Final = 40
RAW_BYTES: Final = 19_660_800  # slightly over 25 MiB as JSON
AT_ONCE: Final = 4
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_EVERY_S: Final = 0.05
_PART_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Passed:
    """The result of many uploads.

    Attributes:
        stored_bytes: Total size of all documents.
        took_s: From the first upload to the last response.
        before_mb: Resident memory of the collector after a first small upload.
        most_mb: The highest resident memory until all documents were read back.
    """

    stored_bytes: int
    took_s: float
    before_mb: float
    most_mb: float

    @property
    def raised_mb(self) -> float:
        """By how much the uploads raised resident memory."""
        return self.most_mb - self.before_mb


def make_document(raw_bytes: int) -> bytes:
    """Make the document of an array of random bytes, which does not compress."""
    data = base64.b64encode(os.urandom(raw_bytes)).decode()
    params = f'{{"dtype":"|u1","shape":[{raw_bytes}],"data":"{data}"}}'
    return f'{{"type":"otel_ml.types.Numpy","params":{params}}}'.encode()


def put(endpoint: str, project: str, document: bytes) -> int:
    """Upload a document; return the status of the response."""
    path = _path(project, hashlib.sha256(document).hexdigest())
    with closing(HTTPConnection(urlsplit(endpoint).netloc, timeout=120)) as connection:
        connection.request("PUT", path, document, {"content-type": "application/json"})
        return connection.getresponse().status


def read_size(endpoint: str, project: str, sha256: str) -> int:
    """Read a document in parts; return its size in bytes."""
    with closing(HTTPConnection(urlsplit(endpoint).netloc, timeout=120)) as connection:
        connection.request("GET", _path(project, sha256))
        response = connection.getresponse()
        return sum(len(part) for part in iter(lambda: response.read(_PART_BYTES), b""))


def measure(collector: CollectorProcess, uploads: int = UPLOADS) -> Passed:
    """Upload documents of 25 MiB, four at a time, read them back, and watch the memory."""
    assert put(collector.endpoint, "bench", make_document(1_000)) == 201
    before_mb = resident_mb(collector.pid)
    with Watch(lambda: resident_mb(collector.pid)) as watch, ThreadPoolExecutor(AT_ONCE) as pool:
        began_s = time.perf_counter()
        uploaded = list(pool.map(lambda _: _upload(collector.endpoint), range(uploads)))
        took_s = time.perf_counter() - began_s
        for size in pool.map(lambda one: read_size(collector.endpoint, "bench", one[0]), uploaded):
            assert size == uploaded[0][1]
    return Passed(sum(size for _, size in uploaded), took_s, before_mb, watch.most)


def resident_mb(pid: int) -> float:
    """Return the current resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 1e6


class Watch:
    """Polls a number and keeps the maximum."""

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.most = read()

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self.most = max(self.most, self._read())


def report(uploads: int = UPLOADS) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        collector = CollectorProcess(Path(folder) / "data")
        try:
            collector.wait_ready()
            found = measure(collector, uploads)
        finally:
            collector.kill()
    heads = ("artifacts", "MB", "MB/s", "collector before, MB", "most, MB", "raised by, MB")
    size_mb = found.stored_bytes / 1e6
    row = (
        *(str(uploads), f"{size_mb:,.0f}", f"{size_mb / found.took_s:.0f}"),
        *(f"{found.before_mb:.0f}", f"{found.most_mb:.0f}", f"{found.raised_mb:.0f}"),
    )
    print_table(heads, [row])


def _upload(endpoint: str) -> tuple[str, int]:
    document = make_document(RAW_BYTES)
    assert put(endpoint, "bench", document) == 201
    return hashlib.sha256(document).hexdigest(), len(document)


def _path(project: str, sha256: str) -> str:
    return f"/api/v1/projects/{project}/artifacts/{sha256}"


if __name__ == "__main__":
    report()
