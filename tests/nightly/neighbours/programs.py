"""Find, start and kill real programs on loopback, and read their versions."""

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.ports import free_port
from tests.support.waiting import wait_until

# Folders of `make neighbours`: for programs that it builds, and for Debian packages it unpacks.
_BUILT: Final = ROOT / ".cache/neighbours"
_UNPACKED: Final = ROOT / ".cache/prometheus/usr/bin"
PROGRAMS: Final = {
    "jaeger": _BUILT / "jaeger",
    "otelcol": _BUILT / "otelcol",
    "telemetrygen": _BUILT / "telemetrygen",
    "prometheus": _UNPACKED / "prometheus",
    "alertmanager": _UNPACKED / "prometheus-alertmanager",
}
DEPLOYED: Final = ROOT / "deploy/otelcol/config.yaml"
_JAEGER: Final = Path(__file__).with_name("jaeger.yaml")
# The port of the collector's own metrics, 8888, is fixed; two collectors could not run at once.
NO_METRICS: Final = ("--config", "yaml:service::telemetry::metrics::level: none")
_READY_S: Final = 60.0
_STOP_S: Final = 30
# Go writes a program's module and its dependencies into the binary.
_MODULE: Final = re.compile(rb"\n(mod|dep)\t([^\t\n]+)\t([^\t\n]+)")
_CORE: Final = "go.opentelemetry.io/collector/service"


def find_program(name: str) -> Path:
    """Return the path of a program, or skip the test if it is missing."""
    found = PROGRAMS[name]
    if not found.exists():
        pytest.skip(f"There is no {name}: make neighbours")
    return found


def version_of(name: str) -> str:
    """Return a program's module and version, and its OpenTelemetry Collector version.

    Debian's programs contain no module data; their `--version` output is used.
    """
    told = _MODULE.findall(find_program(name).read_bytes())
    if not told:
        return f"{name}: {run_to_end(name, '--version').stdout.partition(' (')[0]}"
    modules = {kind: (path.decode(), version.decode()) for kind, path, version in told[:1]}
    core = {path.decode(): version.decode() for _, path, version in told}.get(_CORE)
    module, version = modules.get("mod", (name, "(devel)"))
    return f"{name}: {module} {version}" + (f", OpenTelemetry Collector {core}" if core else "")


@dataclass(frozen=True, slots=True)
class Answer:
    """A program's response: the status, and the body, parsed if it is JSON."""

    status: int
    body: Any


def fetch(address: str, **parameters: object) -> Answer:
    """Send a GET request, and return the response with any status."""
    query = f"?{urlencode(parameters, doseq=True)}" if parameters else ""
    try:
        with urlopen(address + query, timeout=30) as response:
            status, text = response.status, response.read().decode()
    except HTTPError as error:
        status, text = error.code, error.read().decode()
    try:
        return Answer(status, json.loads(text))
    except json.JSONDecodeError:
        return Answer(status, text)


class Program:
    """A program that listens; it can be killed and restarted at the same addresses.

    Args:
        name: The program.
        folder: The folder for its configuration and its output.
        config: The text of its configuration.
        ports: The ports on which it listens once it is ready.
        more: More arguments.
        option: The name of the option for the configuration.
        launcher: Words before the command.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        config: str,
        *ports: int,
        more: Sequence[str] = (),
        option: str = "--config",
        launcher: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._name, self._ports, self._more = name, ports, more
        self._option, self._launcher = option, launcher
        self._config = folder / f"{name}.yaml"
        self._config.write_text(config)
        self._output = folder / f"{name}.log"
        self._process = self._start()

    @property
    def output(self) -> str:
        """The output of the program so far."""
        return self._output.read_text(errors="replace")

    def wait_ready(self) -> None:
        """Wait until the program listens."""

        def listens() -> bool:
            assert self._process.poll() is None, f"{self._name} ended:\n{self.output[-3000:]}"
            return all(map(is_open, self._ports))

        wait_until(listens, _READY_S)

    def kill(self) -> None:
        """Kill the program, as a crash would."""
        self._process.kill()
        self._process.wait(_STOP_S)

    def stop(self) -> None:
        """Ask the program to end, and wait for its end."""
        self._process.terminate()
        self._process.wait(_STOP_S)

    def restart(self) -> None:
        """Start the program again after its end."""
        self._process = self._start()
        self.wait_ready()

    def _start(self) -> subprocess.Popen[bytes]:
        program: list[str | Path] = [*self._launcher, find_program(self._name)]
        with self._output.open("ab") as output:
            return subprocess.Popen(
                [*program, self._option, self._config, *self._more],
                stdout=output,
                stderr=output,
                env={**os.environ, "OTEL_TRACES_SAMPLER": "always_off"},  # its own traces
            )


def is_open(port: int) -> bool:
    """Return whether a port of this machine is open."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def replaced(text: str, places: Mapping[str, str]) -> str:
    """Replace addresses in a configuration; each must occur in the text."""
    for old, new in places.items():
        assert old in text, f"{old!r} is not in the configuration"
        text = text.replace(old, new)
    return text


class Jaeger(Program):
    """Jaeger with an empty store in memory.

    Attributes:
        api: The address of its query API.
        grpc: ``host:port`` of OTLP over gRPC.
        endpoint: The address of OTLP over HTTP.
    """

    def __init__(self, folder: Path) -> None:
        query, inside, health, grpc, http = (free_port() for _ in range(5))
        places = {"16686": query, "16685": inside, "13133": health, "4317": grpc, "4318": http}
        config = replaced(
            _JAEGER.read_text(),
            {f"127.0.0.1:{old}": f"127.0.0.1:{new}" for old, new in places.items()},
        )
        self.api = f"http://127.0.0.1:{query}"
        self.grpc, self.endpoint = f"127.0.0.1:{grpc}", f"http://127.0.0.1:{http}"
        super().__init__("jaeger", folder, config, query, health, grpc, http)


class Otelcol(Program):
    """The stock collector with the configuration of ``deploy/`` and replaced addresses.

    Args:
        folder: The folder for its queue.
        ours: otel-ml's collector.
        theirs: Jaeger.
        added: Text that a test inserts, by the text that follows it.
    """

    def __init__(
        self,
        folder: Path,
        ours: CollectorProcess,
        theirs: Jaeger,
        added: Mapping[str, str] | None = None,
    ) -> None:
        grpc, http, health = free_port(), free_port(), free_port()
        queue = folder / "queue"
        queue.mkdir(parents=True)
        config = deployed_config(
            queue,
            ours=ours.grpc,
            theirs=theirs.grpc,
            grpc=grpc,
            http=http,
            health=health,
        )
        config = replaced(config, {old: new + old for old, new in (added or {}).items()})
        self.grpc, self.endpoint = f"127.0.0.1:{grpc}", f"http://127.0.0.1:{http}"
        self.health = f"http://127.0.0.1:{health}"
        super().__init__("otelcol", folder, config, grpc, http, health, more=NO_METRICS)


def deployed_config(
    queue: Path, *, ours: str, theirs: str, grpc: int, http: int, health: int
) -> str:
    """Return the configuration of ``deploy/`` with replaced addresses and no other changes."""
    return replaced(
        DEPLOYED.read_text(),
        {
            "0.0.0.0:13133": f"127.0.0.1:{health}",
            "0.0.0.0:4317": f"127.0.0.1:{grpc}",
            "0.0.0.0:4318": f"127.0.0.1:{http}",
            "directory: /queue": f"directory: {queue}",
            "endpoint: otel-ml:4317": f"endpoint: {ours}",
            "endpoint: jaeger:4317": f"endpoint: {theirs}",
        },
    )


@contextmanager
def running(program: Program) -> Iterator[None]:
    """Wait until a program is ready, and kill it at the end of the block."""
    try:
        program.wait_ready()
        yield
    finally:
        program.kill()


def run_to_end(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [find_program(name), *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def count_spans(jaeger: Jaeger, service: str) -> list[str]:
    """List ``trace id/span id`` of each span of a service in Jaeger."""
    found = fetch(f"{jaeger.api}/api/traces", service=service, limit=100_000, lookback="1h")
    assert found.status == HTTPStatus.OK, found
    return [
        f"{span['traceID']}/{span['spanID']}"
        for trace in found.body["data"]
        for span in trace["spans"]
    ]
