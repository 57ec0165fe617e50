"""The programs of others: found, asked for their version, started on loopback, killed."""

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

# Where `make neighbours` puts them: what it builds, and the packages of Debian that it unpacks.
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
# The port of its own metrics, 8888, is fixed: two of them would not start on one machine.
NO_METRICS: Final = ("--config", "yaml:service::telemetry::metrics::level: none")
_READY_S: Final = 60.0
_STOP_S: Final = 30
# What Go writes into a program: the module that it is of, and those that it is linked from.
_MODULE: Final = re.compile(rb"\n(mod|dep)\t([^\t\n]+)\t([^\t\n]+)")
_CORE: Final = "go.opentelemetry.io/collector/service"


def find_program(name: str) -> Path:
    """Find a program; a test that has none is skipped."""
    found = PROGRAMS[name]
    if not found.exists():
        pytest.skip(f"There is no {name}: make neighbours")
    return found


def version_of(name: str) -> str:
    """Read a program's module and version out of it, and those of the collector within it.

    Those of Debian name no module: they are asked.
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
    """What a program answered: the status and the body, as JSON where it is JSON."""

    status: int
    body: Any


def fetch(address: str, **parameters: object) -> Answer:
    """Ask for an address; every status is an answer."""
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
    """A program that listens: it can be killed and started again at the same addresses.

    Args:
        name: The program.
        folder: Where its configuration and its output are.
        config: The text of its configuration.
        ports: Those at which it listens once it is ready.
        more: More of the command line.
        option: The name of the option that takes the configuration.
        launcher: What to put before the command.
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
        """What it wrote until now."""
        return self._output.read_text(errors="replace")

    def wait_ready(self) -> None:
        """Wait until it listens."""

        def listens() -> bool:
            assert self._process.poll() is None, f"{self._name} ended:\n{self.output[-3000:]}"
            return all(map(is_open, self._ports))

        wait_until(listens, _READY_S)

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait(_STOP_S)

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._process.terminate()
        self._process.wait(_STOP_S)

    def restart(self) -> None:
        """Start it again after its end."""
        self._process = self._start()
        self.wait_ready()

    def _start(self) -> subprocess.Popen[bytes]:
        program: list[str | Path] = [*self._launcher, find_program(self._name)]
        with self._output.open("ab") as output:
            return subprocess.Popen(
                [*program, self._option, self._config, *self._more],
                stdout=output,
                stderr=output,
                env={**os.environ, "OTEL_TRACES_SAMPLER": "always_off"},  # traces of its own
            )


def is_open(port: int) -> bool:
    """Tell whether somebody listens at a port of this machine."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def replaced(text: str, places: Mapping[str, str]) -> str:
    """Replace addresses in a configuration; each must stand in it."""
    for old, new in places.items():
        assert old in text, f"{old!r} is not in the configuration"
        text = text.replace(old, new)
    return text


class Jaeger(Program):
    """Jaeger with an empty store in memory.

    Attributes:
        api: The address of its query API.
        grpc: ``host:port`` of OTLP over gRPC. endpoint: The address of OTLP over HTTP.
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
    """The stock collector with the configuration of ``deploy/``, of which addresses are replaced.

    Args:
        folder: Where its queue is.
        ours: Our collector.
        theirs: Jaeger.
        added: What a test puts in, by the text in front of which it stands.
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
    """Read the configuration of ``deploy/`` with other addresses, and nothing else changed."""
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
    """Wait until a program is ready; kill it at the end."""
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
    """List ``trace id/span id`` of each span of a service that Jaeger has."""
    found = fetch(f"{jaeger.api}/api/traces", service=service, limit=100_000, lookback="1h")
    assert found.status == HTTPStatus.OK, found
    return [
        f"{span['traceID']}/{span['spanID']}"
        for trace in found.body["data"]
        for span in trace["spans"]
    ]
