"""A real collector process on free ports, for tests that use it as users do."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from tests.support.forked import Forked
from tests.support.new_store import lay
from tests.support.waiting import wait_until

READY = re.compile(r"otel-ml is ready: (https?://\S+) .*gRPC (\S+)")
_READY_S = 180
_STOP_S = 60
_ANSWER_S = 120
_DELIVER_S = 180
_DELIVER_AGAIN_S = 1


class CollectorProcess:
    """``otel-ml serve`` over a data directory that outlives it.

    Args:
        data_dir: The directory.
        arguments: Further command-line arguments.
        launcher: A prefix of the command.
        forked: Whether to fork it from a process that has already imported most of the program.

    Attributes:
        endpoint: Base address of OTLP over HTTP, API and pages.
        grpc: ``host:port`` of OTLP over gRPC.
    """

    def __init__(
        self,
        data_dir: Path,
        *arguments: str,
        launcher: Sequence[str] = (),
        forked: bool = False,
    ) -> None:
        self._data_dir = data_dir
        self._launcher = launcher
        self._arguments = arguments
        self._forked = forked
        self._output: list[str] = []
        self._ready = threading.Event()
        self.endpoint = ""
        self.grpc = ""
        self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """The output so far, of both streams."""
        return "".join(self._output)

    def wait_ready(self) -> None:
        assert self._ready.wait(_READY_S), f"the collector is not ready:\n{self.output}"
        assert self.endpoint, f"the collector ended:\n{self.output}"

    def kill(self) -> None:
        """Kill the collector, as in a crash."""
        self._process.kill()
        self._process.wait(_STOP_S)

    def stop(self) -> int:
        """Stop the collector with SIGTERM; return its exit status."""
        self.ask_to_end()
        return self.wait_end()

    def ask_to_end(self) -> None:
        """Send SIGTERM, as a service manager does, without waiting."""
        self._process.send_signal(signal.SIGTERM)

    def wait_end(self) -> int:
        """Wait until the collector has exited; return its exit status."""
        return self._process.wait(_STOP_S)

    def restart(self) -> None:
        """Start the collector again over the same data."""
        if self._process.poll() is None:
            self.stop()
        self._ready = threading.Event()  # the old process's reader sets the old event
        self.endpoint = ""
        self._process = self._start()
        self.wait_ready()

    def get(self, path: str, **parameters: object) -> Any:
        """Send a GET request to the API; return the decoded response of any status."""
        return json.loads(self.get_text(f"/api/v1{path}", **parameters))

    def get_text(self, path: str, **parameters: object) -> str:
        """Return the response of any path as text, whatever its status."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        try:
            with urlopen(self.endpoint + path + query, timeout=_ANSWER_S) as response:
                text: str = response.read().decode()
        except HTTPError as error:
            text = error.read().decode()
        return text

    def status(self, path: str) -> int:
        """Return the response status of any path."""
        try:
            with urlopen(self.endpoint + path, timeout=_ANSWER_S) as response:
                status: int = response.status
        except HTTPError as error:
            error.close()
            status = error.code
        return status

    @property
    def peak_mb(self) -> float:
        """The peak resident memory."""
        return self._memory("VmHWM:")

    @property
    def resident_mb(self) -> float:
        """The current resident memory."""
        return self._memory("VmRSS:")

    def _memory(self, name: str) -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        [size] = [line.split()[1] for line in lines if line.startswith(name)]
        return int(size) / 1024

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send bytes; return status, headers and body of the response."""
        request = Request(self.endpoint + path, body, dict(headers), method="POST")
        try:
            with urlopen(request, timeout=_ANSWER_S) as response:
                return response.status, dict(response.headers), response.read()
        except HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def deliver(self, body: bytes, headers: Mapping[str, str], is_whole: bool = True) -> None:
        """Send spans as exporters do: retry while the collector is busy.

        Args:
            body: The request.
            headers: The request headers.
            is_whole: Whether every span must be accepted.
        """
        due_s = 0.0

        def offer() -> tuple[int, bytes] | None:
            nonlocal due_s
            if time.monotonic() < due_s:
                return None
            status, _, answer = self.post("/v1/traces", body, headers)
            due_s = time.monotonic() + _DELIVER_AGAIN_S
            return None if status == HTTPStatus.SERVICE_UNAVAILABLE else (status, answer)

        status, answer = wait_until(offer, _DELIVER_S, about=f"room for {len(body)} bytes")
        assert (status, not answer.strip(b"{}")) == (HTTPStatus.OK, is_whole), answer

    def runs(self, project: str, **parameters: object) -> list[dict[str, Any]]:
        """Return all recorded runs of a project, over all pages, newest first."""
        runs: list[dict[str, Any]] = []
        cursor: dict[str, object] = {}
        while True:
            path = f"/projects/{quote(project)}/runs"
            page = self.get(path, **{"limit": 1000, **parameters, **cursor})
            assert "runs" in page, page
            runs += page["runs"]
            if page["next_cursor"] is None:
                return runs
            cursor = {"cursor": page["next_cursor"]}

    def command(self) -> list[str]:
        """Return the command line of the collector."""
        return [*self._launcher, sys.executable, "-m", "otel_ml_collector", *self._serve()]

    def _serve(self) -> list[str]:
        return [
            *("serve", "--data-dir", str(self._data_dir)),
            *("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"),
            *self._arguments,
        ]

    def _start(self) -> subprocess.Popen[str] | Forked:
        process: subprocess.Popen[str] | Forked
        if self._forked:
            process = Forked(self._serve(), os.environ)
        else:
            process = subprocess.Popen(
                self.command(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",  # clients may send anything, and some of it is logged
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        threading.Thread(target=self._read, args=(process, self._ready), daemon=True).start()
        return process

    def _read(self, process: subprocess.Popen[str] | Forked, ready: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._output.append(line)
            match = READY.search(line)
            if match:
                self.endpoint, self.grpc = match.groups()
                ready.set()
        process.stdout.close()
        ready.set()


@contextmanager
def running(
    data_dir: Path, *arguments: str, forked: bool = "PYTEST_VERSION" in os.environ
) -> Iterator[CollectorProcess]:
    """Start a collector (forked in tests), yield it once it is ready, and kill it at the end."""
    if "--store" not in arguments:
        lay(data_dir)
    # Tests send requests sequentially and wait for each.
    process = CollectorProcess(data_dir, "--collect-ms", "0", *arguments, forked=forked)
    try:
        process.wait_ready()
        yield process
    finally:
        process.kill()
