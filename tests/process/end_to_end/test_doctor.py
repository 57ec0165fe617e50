"""``otel-ml doctor``, run as users run it, against real collectors."""

import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_ml.attributes import PROJECT_HEADER
from tests.support.certificates import make_certificate
from tests.support.collector import CollectorProcess, running
from tests.support.keys import run_keys
from tests.support.otel_ml.otlp_sink import closed_address
from tests.support.program import otel_ml
from tests.support.sampling import at_night

PROJECT = "otel-ml-doctor"
KEYS = f"create one: otel-ml keys add --project {PROJECT} --scope ingest,read"
OK_THERE = [
    ("ok", "The collector is ready to store data", ""),
    ("ok", "The clocks of this machine and the collector differ by less than 5 s", ""),
]
DISK = "free for the collector's data"
PACE = (
    "ok",
    "Under continuous traffic the collector answers a request after up to 1 s",
    "a synchronous exporter (SimpleSpanProcessor) waits that long for each span: "
    "use BatchSpanProcessor",
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    status: int
    lines: list[tuple[str, str, str]]


def ask_doctor(*arguments: str, **variables: str) -> Diagnosis:
    """Run the doctor; return its exit status and its results after the versions."""
    done = otel_ml("doctor", "--json", *arguments, **variables)
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["ok"] is (done.returncode == 0)
    lines = [
        (row["status"], row["what"], row["todo"])
        for row in answer["checks"]
        if DISK not in row["what"]  # differs between machines
    ]
    assert lines[0][1].startswith("otel-ml ")
    return Diagnosis(done.returncode, lines[1:])


def there(diagnosis: Diagnosis) -> list[tuple[str, str, str]]:
    """Remove the results about this machine: variables and proxy."""
    return [line for line in diagnosis.lines if not line[1].startswith(("Environment", "No proxy"))]


def both_taken(grpc: str, stays: str = "") -> list[tuple[str, str, str]]:
    """Return the results for spans accepted over both transports, and why they were kept."""
    taken = [
        ("ok", f"A test span sent {over} was stored in {PROJECT} and read back{stays}", "")
        for over in ("over HTTP", f"over gRPC at {grpc}")
    ]
    return [*taken, PACE]


def test_instrumentations(tmp_path: Path) -> None:
    """Instrumentations are listed, with a warning if two instrument the same library."""
    for package in ("acme-tracing", "other-tracing"):
        about = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        entry = "[opentelemetry_instrumentor]\nacme = acme:Instrumentor\n"
        (about / "entry_points.txt").write_text(entry)
    found = ask_doctor("--endpoint", closed_address(), PYTHONPATH=str(tmp_path))
    assert found.lines[:2] == [
        (
            "ok",
            "Libraries with an instrumentation: acme (acme-tracing and other-tracing)",
            "to record them, call client.instrument(...) or start with opentelemetry-instrument",
        ),
        (
            "warn",
            "acme has several instrumentations: acme-tracing and other-tracing",
            "keep one of them: if several are active, each call is recorded twice",
        ),
    ]


def test_all_well(collector: CollectorProcess) -> None:
    """Against a working collector all checks succeed, over both transports."""
    found = ask_doctor("--endpoint", collector.endpoint, "--grpc", collector.grpc)
    assert found == Diagnosis(
        0,
        [
            ("ok", "Environment variables: none", ""),
            ("ok", "No proxy between here and 127.0.0.1", ""),
            ("ok", f"{collector.endpoint} is an otel-ml collector", ""),
            *OK_THERE,
            ("ok", f"No key is needed to read project {PROJECT}", ""),
            *both_taken(collector.grpc),
        ],
    )


@at_night
def test_nothing_is_left(collector: CollectorProcess) -> None:
    """The doctor deletes the spans it sent, and the project created for them."""
    found = ask_doctor("--endpoint", collector.endpoint, "--grpc", collector.grpc)
    assert there(found)[-3:] == both_taken(collector.grpc)
    projects = collector.get("/projects")["projects"]
    assert PROJECT not in [one["project"] for one in projects]


def test_lines(collector: CollectorProcess) -> None:
    """The text output has a line for each check."""
    done = otel_ml("doctor", "--endpoint", collector.endpoint, "--project", "a b")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    [disk] = [line for line in lines if DISK in line]
    assert re.fullmatch(r"ok    [\d,.]+ GiB of [\d,.]+ GiB free for .*data \(/.+\)", disk)
    assert [line for line in lines[1:] if line != disk] == [
        "ok    Environment variables: none",
        "ok    No proxy between here and 127.0.0.1",
        f"ok    {collector.endpoint} is an otel-ml collector",
        "ok    The collector is ready to store data",
        "ok    The clocks of this machine and the collector differ by less than 5 s",
        "ok    No key is needed to read project a b",
        "ok    A test span sent over HTTP was stored in a b and read back",
        "warn  gRPC was not checked: its address is unknown -> set it with --grpc HOST:PORT",
        "{}    {} -> {}".format(*PACE),
    ]


def test_variables(collector: CollectorProcess) -> None:
    """The doctor lists OpenTelemetry variables, hides secrets, and reports unknown variables."""
    found = ask_doctor(
        OTEL_ML_ENDPOINT=collector.endpoint,
        OTEL_ML_PROJCT="p",
        OTEL_ML_API_KEY="hush",
        OTEL_EXPORTER_OTLP_HEADERS="a=hush",
        OTEL_SDK_DISABLED="true",
        OTEL_TRACES_SAMPLER="always_off",
    )
    assert found.status == 0
    unset = "unset it to record"
    assert found.lines[:4] == [
        (
            "ok",
            "Environment variables: OTEL_EXPORTER_OTLP_HEADERS=***, OTEL_ML_API_KEY=***, "
            f"OTEL_ML_ENDPOINT={collector.endpoint}, OTEL_ML_PROJCT=p, OTEL_SDK_DISABLED=true, "
            "OTEL_TRACES_SAMPLER=always_off",
            "",
        ),
        ("warn", "Unknown variable OTEL_ML_PROJCT", "did you mean OTEL_ML_PROJECT?"),
        ("warn", "OTEL_SDK_DISABLED=true: nothing is recorded", unset),
        ("warn", "OTEL_TRACES_SAMPLER=always_off: nothing is recorded", unset),
    ]


def test_nobody_there() -> None:
    """If nothing listens on the port, the doctor describes how to start a collector."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        page = f"http://127.0.0.1:{server.getsockname()[1]}"
    found = ask_doctor("--endpoint", page)
    text = f"{page} does not answer: connection refused"
    assert (found.status, there(found)) == (1, [("fail", text, "start a collector: otel-ml serve")])


@at_night
def test_silent_server() -> None:
    """A server that never responds is reported within seconds, with its process."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = ask_doctor("--endpoint", f"http://127.0.0.1:{port}")
    [(status, what, _)] = there(found)
    assert (found.status, status) == (1, "fail")
    who = Path("/proc/self/comm").read_text().strip() if Path("/proc").exists() else ""
    told = f"; {who} (process {os.getpid()}) listens on port {port}" if who else ""
    assert what == f"http://127.0.0.1:{port} does not answer: timed out{told}"


@at_night
def test_other_server() -> None:
    """A server that is not a collector is reported, with its process."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = ask_doctor("--endpoint", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    [(status, what, todo)] = there(found)
    assert (found.status, status) == (1, "fail")
    assert what.startswith(
        f"The server at http://127.0.0.1:{server.server_port} is not an otel-ml collector"
    )
    assert todo == "set the collector's address with --endpoint, or stop that server"


@at_night
def test_unknown_host() -> None:
    """An unknown host is reported."""
    found = ask_doctor("--endpoint", "http://nowhere.invalid:4318")
    assert found.status == 1
    assert there(found) == [
        (
            "fail",
            "http://nowhere.invalid:4318 does not answer: host name not found",
            "correct the host name, or set another address with --endpoint",
        )
    ]


@at_night
def test_bad_endpoint() -> None:
    """An invalid endpoint is reported."""
    found = ask_doctor("--endpoint", "http://a:b")
    todo = "set an address such as http://localhost:4318"
    assert (found.status, there(found)) == (
        1,
        [("fail", "The endpoint is not a valid address", todo)],
    )


@at_night
def test_proxy_to_this_machine(collector: CollectorProcess) -> None:
    """A proxy used for requests to this machine is reported without its password."""
    found = ask_doctor("--endpoint", collector.endpoint, HTTP_PROXY="http://me:hush@127.0.0.1:9")
    assert found.status == 1
    assert there(found) == [
        (
            "warn",
            "Requests to this machine itself go through the proxy http://me:***@127.0.0.1:9",
            "set NO_PROXY=127.0.0.1",
        ),
        (
            "fail",
            f"{collector.endpoint} does not answer: connection refused",
            "requests go through a proxy: check the proxy, or add the host to NO_PROXY",
        ),
    ]


@at_night
def test_bad_project(collector: CollectorProcess) -> None:
    """An invalid project name is refused."""
    done = otel_ml("doctor", "--endpoint", collector.endpoint, "--project", "a\nb")
    expected = "otel-ml: Invalid --project 'a\\nb': expected 1 to 128 printable characters\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


@dataclass(frozen=True, slots=True)
class Keyed:
    """A collector over TLS that requires keys, and some keys for it."""

    process: CollectorProcess
    certificate: Path
    full: str
    ingest: str
    two: str

    def ask(self, key: str) -> Diagnosis:
        return ask_doctor(
            *("--endpoint", self.process.endpoint, "--grpc", self.process.grpc),
            OTEL_EXPORTER_OTLP_CERTIFICATE=str(self.certificate),
            OTEL_ML_API_KEY=key,
        )


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """Yield a collector over TLS that requires keys."""
    folder = tmp_path_factory.mktemp("keyed")
    data, made = folder / "data", make_certificate(folder)
    given = [(PROJECT, "ingest,read"), (PROJECT, "ingest"), (f"{PROJECT},two", "ingest,read")]
    keys = [
        run_keys("add", "--data-dir", str(data), "--project", projects, "--scope", scopes)
        for projects, scopes in given
    ]
    with running(data, "--tls-cert", str(made.cert), "--tls-key", str(made.key)) as process:
        yield Keyed(process, made.cert, *(done.stdout.strip() for done in keys))


@at_night
@pytest.mark.parametrize(
    ("key", "said"),
    [("", "The collector requires a key (401)"), ("wrong", "The key is not valid (401)")],
    ids=["none", "wrong"],
)
def test_no_valid_key(keyed: Keyed, key: str, said: str) -> None:
    """A missing or invalid key is reported with the command that creates one."""
    found = keyed.ask(key)
    grpc = f"A test span sent over gRPC at {keyed.process.grpc} was not accepted: "
    assert (found.status, there(found)[3:]) == (
        1,
        [
            ("fail", said, f"{KEYS}, and set OTEL_ML_API_KEY"),
            ("fail", "A test span sent over HTTP was not accepted: 401 Unauthorized", KEYS),
            ("fail", f"{grpc}the key is missing or invalid (401)", KEYS),
        ],
    )


@at_night
def test_key_that_may_not_read(keyed: Keyed) -> None:
    """A key that may only ingest is sufficient for a program: missing read access is a warning."""
    found = keyed.ask(keyed.ingest)
    accepted = "was accepted, but the key may not read it back"
    assert (found.status, there(found)[3:]) == (
        0,
        [
            (
                "warn",
                f"The key may not read project {PROJECT} (403)",
                f"if you need a key that may, {KEYS}, and set OTEL_ML_API_KEY",
            ),
            ("warn", f"A test span sent over HTTP {accepted}", ""),
            ("warn", f"A test span sent over gRPC at {keyed.process.grpc} {accepted}", ""),
            PACE,
        ],
    )


@at_night
def test_key_of_another_project(keyed: Keyed) -> None:
    """If a key has no access to the project, the doctor reports that reads and writes fail."""
    found = ask_doctor(
        *("--endpoint", keyed.process.endpoint, "--grpc", keyed.process.grpc),
        *("--project", "other"),
        OTEL_EXPORTER_OTLP_CERTIFICATE=str(keyed.certificate),
        OTEL_ML_API_KEY=keyed.two,
    )
    todo = KEYS.replace(PROJECT, "other")
    reason = (
        "Spans rejected for good: project_not_allowed 1: the key may not write to the project that "
        "they name"
    )
    assert (found.status, there(found)[3:]) == (
        1,
        [
            (
                "fail",
                "The key has no access to project other (404)",
                f"{todo}, and set OTEL_ML_API_KEY",
            ),
            ("fail", f"A test span sent over HTTP was not accepted: {reason}", todo),
            (
                "fail",
                f"A test span sent over gRPC at {keyed.process.grpc} was not accepted: {reason}",
                todo,
            ),
        ],
    )


@at_night
def test_unknown_certificate(keyed: Keyed) -> None:
    """An untrusted certificate is reported with the variable to set."""
    found = ask_doctor("--endpoint", keyed.process.endpoint)
    [(status, what, todo)] = there(found)
    assert (found.status, status) == (1, "fail")
    assert what.startswith(f"{keyed.process.endpoint} does not answer: certificate not accepted")
    assert todo == "set OTEL_EXPORTER_OTLP_CERTIFICATE to the file of its certificate"


@at_night
def test_spans_that_nobody_reads(tmp_path: Path) -> None:
    """A project without recognized model calls is reported with the scope that sent its spans."""
    with running(tmp_path) as collector:
        provider = TracerProvider()
        exporter = OTLPSpanExporter(
            f"{collector.endpoint}/v1/traces", headers={PROJECT_HEADER: "shop"}
        )
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        with provider.get_tracer("acme-tracer").start_as_current_span("step"):
            pass
        provider.shutdown()
        found = there(ask_doctor("--endpoint", collector.endpoint, "--grpc", collector.grpc))
    assert (
        "warn",
        "shop: 1 span by acme-tracer, none recognized as a model call",
        "docs/dialects.md lists the supported instrumentations and attributes",
    ) in found
