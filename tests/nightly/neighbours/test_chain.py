"""Spans pass through the chain of deploy/: application, stock collector, Jaeger and otel-ml."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from otel_ml import Client
from tests.nightly.neighbours.programs import (
    DEPLOYED,
    Jaeger,
    Otelcol,
    count_spans,
    deployed_config,
    fetch,
    replaced,
    run_to_end,
    running,
)
from tests.support.collector import CollectorProcess
from tests.support.load import PROTOBUF, make_request, run_ids
from tests.support.ports import free_port
from tests.support.waiting import wait_until

REQUESTS: Final = 40
SPANS: Final = 25
SERVICE: Final = "chain"
PLAIN: Final = 'kind == "span"'
_PATIENCE_S: Final = 90.0


@dataclass(frozen=True, slots=True)
class Chain:
    """The programs of deploy/compose.yaml that carry spans."""

    collector: CollectorProcess
    jaeger: Jaeger
    otelcol: Otelcol


@contextmanager
def chained(
    folder: Path, *arguments: str, added: Mapping[str, str] | None = None
) -> Iterator[Chain]:
    """Start the programs; otel-ml's collector keeps its addresses when it restarts.

    Args:
        folder: The folder for their data.
        arguments: More arguments for otel-ml's collector.
        added: Text that a test inserts into the configuration, by the text that follows it.
    """
    grpc, http = free_port(), free_port()
    addresses = ("--grpc", f"127.0.0.1:{grpc}", "--http", f"127.0.0.1:{http}")
    collector = CollectorProcess(folder / "data", *addresses, *arguments)
    with ExitStack() as stack:
        stack.callback(collector.kill)
        collector.wait_ready()
        jaeger = Jaeger(folder / "jaeger")
        stack.enter_context(running(jaeger))
        otelcol = Otelcol(folder / "otelcol", collector, jaeger, added)
        stack.enter_context(running(otelcol))
        yield Chain(collector, jaeger, otelcol)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Start one chain for the tests that stop nothing."""
    with chained(tmp_path_factory.mktemp("chain")) as started:
        yield started


def send(address: str, body: bytes) -> None:
    """Send a request until it is accepted, as an exporter does."""

    def is_taken() -> bool:
        request = Request(f"{address}/v1/traces", body, PROTOBUF)
        try:
            with urlopen(request, timeout=10) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    wait_until(is_taken, _PATIENCE_S)


def make_batch(project: str) -> tuple[bytes, list[str]]:
    """Return a request and the ids of its runs."""
    request = make_request(project, SPANS)
    named = request.resource_spans[0].resource.attributes.add(key="service.name")
    named.value.string_value = SERVICE
    return request.SerializeToString(), list(run_ids(request))


def stored(collector: CollectorProcess, project: str, where: str = "") -> Counter[str]:
    """Count the runs of a project by id; a filter can include spans that are not calls."""
    answer = collector.get("/projects", limit=1000)
    if project not in {one["project"] for one in answer.get("projects", [])}:
        return Counter()
    asked = {"where": where} if where else {}
    return Counter(run["run_id"] for run in collector.runs(project, **asked))


def test_health(chain: Chain) -> None:
    """The stock collector is ready with the configuration of deploy/, without warnings."""
    assert fetch(chain.otelcol.health).status == 200
    lines = [line for line in chain.otelcol.output.splitlines() if "\twarn\t" in line]
    assert lines == []


def test_both_stores_have_every_span_once(chain: Chain) -> None:
    """Every span that the stock collector accepted is in both stores once."""
    sent: list[str] = []
    for _ in range(4):
        body, ids = make_batch("once")
        send(chain.otelcol.endpoint, body)
        sent += ids
    wait_until(lambda: sum(stored(chain.collector, "once").values()) >= len(sent), _PATIENCE_S)
    wait_until(lambda: len(count_spans(chain.jaeger, SERVICE)) >= len(sent), _PATIENCE_S)
    assert stored(chain.collector, "once") == Counter(sent)
    assert Counter(count_spans(chain.jaeger, SERVICE)) == Counter(
        one.replace("-", "/") for one in sent
    )


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_telemetrygen(chain: Chain, protocol: str) -> None:
    """All spans of telemetrygen pass through the chain, over gRPC and HTTP."""
    project = f"generated over {protocol}"
    address = chain.otelcol.grpc
    sending = ["--otlp-http"] if protocol == "http" else []
    if protocol == "http":
        address = chain.otelcol.endpoint.removeprefix("http://")
    ended = run_to_end(
        *("telemetrygen", "traces", "--otlp-insecure", "--otlp-endpoint", address, *sending),
        *("--traces", "40", "--child-spans", "4", "--workers", "2", "--rate", "0"),
        *("--otlp-attributes", f'otel_ml.project="{project}"', "--service", project),
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    expected = 2 * 40 * 5
    wait_until(lambda: len(stored(chain.collector, project, PLAIN)) >= expected, _PATIENCE_S)
    found = stored(chain.collector, project, PLAIN)
    assert (len(found), found.total()) == (expected, expected)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_telemetrygen_without_a_chain(chain: Chain, protocol: str) -> None:
    """otel-ml's collector accepts all spans of telemetrygen directly, over gRPC and HTTP."""
    project = f"straight over {protocol}"
    address = chain.collector.grpc
    sending = ["--otlp-http"] if protocol == "http" else []
    if protocol == "http":
        address = chain.collector.endpoint.removeprefix("http://")
    ended = run_to_end(
        *("telemetrygen", "traces", "--otlp-insecure", "--otlp-endpoint", address, *sending),
        *("--traces", "40", "--child-spans", "4", "--workers", "2", "--rate", "0"),
        *("--otlp-attributes", f'otel_ml.project="{project}"', "--service", project),
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = stored(chain.collector, project, PLAIN)
    assert (len(found), found.total()) == (400, 400)


def test_kills(tmp_path: Path) -> None:
    """If each program is killed in turn while spans arrive, every span is stored exactly once."""
    sent: list[str] = []
    with chained(tmp_path) as chain:
        kills: dict[int, Callable[[], None]] = {
            8: lambda: restart(chain.otelcol),
            16: chain.collector.kill,
            20: chain.collector.restart,
            26: lambda: restart(chain.jaeger),
            32: lambda: restart(chain.otelcol),
        }
        late: list[str] = []
        for number in range(REQUESTS):
            killing = None
            if act := kills.get(number):
                killing = threading.Thread(target=act)
                killing.start()
            body, ids = make_batch("kills")
            send(chain.otelcol.endpoint, body)
            sent += ids
            if killing is not None:
                killing.join(_PATIENCE_S)
            if number > 32:
                late += ids
        wait_until(lambda: len(stored(chain.collector, "kills")) >= len(sent), _PATIENCE_S)
        assert stored(chain.collector, "kills") == Counter(sent)
        # Jaeger's store is in memory and was lost: it has the spans after the last kill.
        expected = {one.replace("-", "/") for one in late}
        wait_until(lambda: expected <= set(count_spans(chain.jaeger, SERVICE)), _PATIENCE_S)


def restart(program: Otelcol | Jaeger) -> None:
    """Kill a program and start it again."""
    program.kill()
    program.restart()


def test_stopped_collector(tmp_path: Path) -> None:
    """While otel-ml is down, the stock collector accepts spans and delivers them later."""
    with chained(tmp_path) as chain:
        chain.collector.kill()
        sent: list[str] = []
        for _ in range(4):
            body, ids = make_batch("down")
            send(chain.otelcol.endpoint, body)
            sent += ids
        restart(chain.otelcol)
        chain.collector.restart()
        wait_until(lambda: len(stored(chain.collector, "down")) >= len(sent), _PATIENCE_S)
        assert stored(chain.collector, "down") == Counter(sent)


@pytest.mark.parametrize("is_told", [True, False])
def test_tail_sampling(tmp_path: Path, is_told: bool) -> None:
    """After a tail sampler, gaps count as *sampled* if the setting is on, else as *missing*."""
    sampler = {
        "\nexporters:": "\n  tail_sampling: {decision_wait: 1s, policies: [{name: failed, "
        "type: status_code, status_code: {status_codes: [ERROR]}}, {name: records, type: "
        "string_attribute, string_attribute: {key: otel_ml.record, values: [goodbye]}}]}\n",
        "]\n      exporters: [otlp_grpc/otel_ml, otlp_grpc/jaeger]": ", tail_sampling",
    }
    project = "sampled" if is_told else "lossy"  # a process numbers the spans of each project
    setting = ("--sampled-projects", project) if is_told else ()
    with chained(tmp_path, *setting, added=sampler) as chain:
        client = Client(project, endpoint=chain.otelcol.endpoint)
        for number in range(80):
            with suppress(ValueError), client.run("answer"):
                if number % 4 == 0:
                    raise ValueError(number)
        assert client.flush()
        client.close()
        wait_until(lambda: len(stored(chain.collector, project)) == 20, _PATIENCE_S)
        gaps = 120  # start and end of the 60 runs that did not fail
        found = (0, gaps) if is_told else (gaps, 0)
        wait_until(lambda: read_gaps(chain.collector, project) == found, _PATIENCE_S)
        chain.collector.restart()  # gaps are detected at the start
        page = chain.collector.get_text(f"/projects/{project}/runs")
        words = "were left out by sampling" if is_told else "are missing"
        assert f"{gaps} spans of the last 24 hours {words}" in " ".join(page.split())
        name = "otel_ml_spans_sampled" if is_told else "otel_ml_spans_missing"
        assert f'{name}{{project="{project}"}} {gaps}.0' in chain.collector.get_text("/metrics")


def read_gaps(collector: CollectorProcess, project: str) -> tuple[int, int]:
    """Return how many spans of a project are missing, and how many were sampled."""
    totals = collector.get(f"/projects/{project}/loss")["totals"]
    return totals["missing"], totals["sampled"]


def validate(folder: Path, config: str) -> tuple[int, str]:
    """Validate a configuration with the stock collector, and return status and output."""
    file = folder / "config.yaml"
    file.write_text(config)
    ended = run_to_end("otelcol", "validate", "--config", str(file))
    return ended.returncode, ended.stdout + ended.stderr


def test_validate(tmp_path: Path) -> None:
    """The stock collector accepts the configuration, with a different folder for the queue."""
    text = replaced(DEPLOYED.read_text(), {"directory: /queue": f"directory: {tmp_path}"})
    assert validate(tmp_path, text) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_elapsed_time", "max_elapsd_time", "max_elapsd_time"),
        ("exporters: [otlp_grpc/otel_ml,", "exporters: [otlp_grpc/otelml,", "otelml"),
        ("sizer: bytes", "sizer: byte", "byte"),
    ],
)
def test_validate_refuses(old: str, new: str, said: str, tmp_path: Path) -> None:
    """A broken copy of the configuration is refused, and the message names the wrong word."""
    text = replaced(DEPLOYED.read_text(), {"directory: /queue": f"directory: {tmp_path}", old: new})
    status, output = validate(tmp_path, text)
    assert status == 1
    assert said in output


def test_only_addresses_are_replaced() -> None:
    """The tested configuration differs from deploy/ only in addresses and folders."""
    ran = deployed_config(Path("/q"), ours="o:1", theirs="j:2", grpc=1, http=2, health=3)
    pairs = zip(DEPLOYED.read_text().splitlines(), ran.splitlines(), strict=True)
    changed = [new.strip() for old, new in pairs if old != new]
    assert changed == [
        *("endpoint: 127.0.0.1:3", "directory: /q", "directory: /q"),
        *("endpoint: 127.0.0.1:1", "endpoint: 127.0.0.1:2", "endpoint: o:1", "endpoint: j:2"),
    ]
