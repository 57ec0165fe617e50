"""Starts and stops the demo's processes: collector, scripts, service and evaluations."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from examples.demo.errors import DemoError

_HOST: Final = "127.0.0.1"
_COLLECTOR_READY: Final = re.compile(r"otel-ml is ready: (http://\S+) ")
_SERVICE_READY: Final = re.compile(r"Uvicorn running on (http://\S+) ")
_READY_S: Final = 60
_STOP_S: Final = 30
_TAIL: Final = 15


class Process:
    """A Python process in the demo's folder. It is stopped at the end of its ``with`` block.

    Each process has its own process group, so that Ctrl-C reaches only the demo, which then stops
    its processes in order. The output goes to ``<name>.log``.

    Attributes:
        address: The URL that it listens on, set after `wait_ready`.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        folder: Path,
        *,
        ready: re.Pattern[str] | None = None,
        endpoint: str | None = None,
        starter: Sequence[str] = (),
        **variables: str,
    ) -> None:
        self.address = ""
        self._name = name
        self._log = folder / f"{name}.log"
        self._ready = ready
        self._ready_or_exited = threading.Event()
        self._process = subprocess.Popen(  # noqa: S603 - the current Python with fixed arguments
            [*starter, sys.executable, "-m", *arguments],
            cwd=folder,
            env=_environment(endpoint) | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> "Process":
        """Return the process, which is already running."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        """Stop the process, and kill it after a timeout."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._reader.join()

    def wait_ready(self) -> None:
        """Wait until the process listens.

        Raises:
            DemoError: The process exited, or did not listen within a minute.
        """
        self._ready_or_exited.wait(_READY_S)
        if not self.address:
            raise self._failure("is not ready")

    def wait_end(self, *good: int) -> None:
        """Wait until the process exits by itself.

        Args:
            good: Exit statuses other than 0 that are not failures.

        Raises:
            DemoError: The process failed.
        """
        status = self._process.wait()
        self._reader.join()
        if status not in {0, *good}:
            raise self._failure(f"exited with status {status}")

    def _read(self) -> None:
        """Copy the output to the log and find the address in it."""
        assert self._process.stdout is not None
        with self._process.stdout as output, self._log.open("w", encoding="utf-8") as log:
            for line in output:
                log.write(line)
                log.flush()
                found = self._ready.search(line) if self._ready else None
                if found:
                    self.address = found[1]
                    self._ready_or_exited.set()
        self._ready_or_exited.set()

    def _failure(self, what: str) -> DemoError:
        tail = "\n".join(self._log.read_text("utf-8").splitlines()[-_TAIL:])
        return DemoError(f"The {self._name} process {what}; last lines of {self._log}:\n{tail}")


def start_collector(folder: Path, model_url: str) -> Process:
    """Start ``otel-ml serve`` with a store in the folder, on the default ports if they are free.

    Args:
        folder: The folder of the demo.
        model_url: The base URL of the language model for judges.
    """
    connection = {
        "kind": "openai",
        "url": model_url,
        "allow_private": True,
        "projects": ["docs-search"],
    }
    arguments = [
        *("otel_ml_collector", "serve", "--data-dir", "data"),
        *("--http", _address(4318), "--grpc", _address(4317)),
        *("--collect-ms", "0"),  # the scripts flush 20 times and wait for each response
        *("--judge-connections", json.dumps({"demo": connection})),
        *("--judges", '{"quiet_s": 5}'),
    ]
    return Process("collector", arguments, folder, ready=_COLLECTOR_READY)


def start_script(folder: Path, endpoint: str, module: str) -> Process:
    """Run a module of the copy of the service. The process exits by itself."""
    return Process(module, [f"service.{module}"], folder, endpoint=endpoint)


def start_plain(folder: Path, endpoint: str, module: str) -> Process:
    """Run a module that does not import otel-ml. Environment variables turn recording on."""
    return Process(
        module,
        [f"service.{module}"],
        folder,
        endpoint=endpoint,
        starter=[str(Path(sys.executable).with_name("opentelemetry-instrument"))],
        OTEL_ML_PROJECT=module,
        OTEL_ML_INSTRUMENT="sklearn",
    )


def start_service(folder: Path, endpoint: str) -> Process:
    """Start the copy of the service on a free port."""
    arguments = [
        *("uvicorn", "service.app:app", "--host", _HOST, "--port", "0"),
        *("--workers", "1", "--no-access-log"),
    ]
    return Process("service", arguments, folder, ready=_SERVICE_READY, endpoint=endpoint)


def start_evaluation(folder: Path, endpoint: str, name: str, baseline: str = "") -> Process:
    """Evaluate the copy of the service on the questions. Exits with 1 if a judge finds it worse."""
    arguments = [
        *("otel_ml_collector", "evaluate", "service.evaluated:reply"),
        *("--dataset", "questions.jsonl", "--project", "docs-search", "--name", name),
        *("--judge", "service.evaluated:exact", "--judge", "service.evaluated:brief"),
        *(("--baseline", baseline) if baseline else ()),
    ]
    return Process(name.replace(" ", "-"), arguments, folder, endpoint=endpoint)


def _address(port: int) -> str:
    """Return an address with this port if it is free, else with port 0 (any free port)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return f"{_HOST}:0"
    return f"{_HOST}:{port}"


def _environment(endpoint: str | None) -> dict[str, str]:
    """Return the environment without variables that redirect telemetry or requests."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith("OTEL_") and not name.upper().endswith("_PROXY")
    }
    variables["PYTHONUNBUFFERED"] = "1"
    if endpoint is not None:
        variables["OTEL_ML_ENDPOINT"] = endpoint
    return variables
