"""The command ``otel-ml doctor``: check this machine and the connection to a collector."""

import json
import os
import platform
import secrets
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import click
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags

from otel_ml import attributes as names
from otel_ml.addresses import write_segment
from otel_ml.export.answer import read_partial_success
from otel_ml.export.encoder import encode_spans
from otel_ml.export.http import HttpSender
from otel_ml.export.settings import ExportSettings, resolve
from otel_ml.instrumentations import installed, lost, synchronous, unsampled
from otel_ml_collector.cli.place import HttpReply, fetch
from otel_ml_collector.decode.signals import SERVICES, Signal
from otel_ml_collector.errors import BadSetting
from otel_ml_collector.log import going_on
from otel_ml_collector.settings.sources import load, warnings_of
from otel_ml_collector.settings.values import Address, hide_password

Status = Literal["ok", "warn", "fail"]
PROJECT: Final = "otel-ml-doctor"
_PROJECT_CHARS: Final = 128
_CHECK_S: Final = 15.0
_PORTS: Final = {4318: 4317, 14318: 14317}
_PACKAGES: Final = ("opentelemetry-sdk", "chdb", "grpcio")
_SECRET_WORDS: Final = ("KEY", "HEADERS", "TOKEN", "SECRET", "PASSWORD")
_NO_SECRETS: Final = ("CLIENT_KEY",)  # the value is only the path of a file
_TIGHT: Final = 4
_LEAST_FREE_SHARE: Final = 0.05
_REACH_S: Final = 2.0
# State of a listening socket, see https://docs.kernel.org/networking/proc_net_tcp.html
_LISTENS: Final = "0A"
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_REQUEST_S: Final = 5.0
_READ_BACK_S: Final = 5.0
_DELETE_S: Final = 8.0
_FAR_S: Final = 5.0
_METHOD: Final = f"/{SERVICES[Signal.TRACES]}/Export"
_STATUS_TEXTS: Final = {
    "UNAUTHENTICATED": "the key is missing or invalid (401)",
    "PERMISSION_DENIED": "the key may not write to this project (403)",
    "UNIMPLEMENTED": "the server there does not accept OTLP",
}
_KEYS: Final = "create one: otel-ml keys add --project {project} --scope ingest,read"

# Explains why a sender that waits for each span is slow: see `receive.commit`.
_COLLECTS: Final = "Under continuous traffic the collector answers a request after up to 1 s"
_COLLECTS_TODO: Final = (
    "a synchronous exporter (SimpleSpanProcessor) waits that long for each span: "
    "use BatchSpanProcessor"
)

# Maximum number of reported projects in which no span was recognized as a run.
_UNREAD: Final = 5
_UNREAD_TODO: Final = "docs/dialects.md lists the supported instrumentations and attributes"


@dataclass(frozen=True, slots=True)
class DoctorLine:
    """The result of one check.

    Attributes:
        status: ``ok``, ``warn`` or ``fail``.
        check: The check's name, one word.
        what: What the check found.
        todo: What the user can do about it; empty if there is nothing to do.
    """

    status: Status
    check: str
    what: str
    todo: str = ""

    def __str__(self) -> str:
        """Return the line ``status  finding -> what to do``."""
        return f"{self.status:4}  {self.what}{f' -> {self.todo}' if self.todo else ''}"


@click.command()
@click.argument("function", required=False, metavar="[FILE.py:FUNCTION]")
@click.option(
    "--endpoint",
    metavar="URL",
    help="Address of the collector (default: the address that the SDK would use here)",
)
@click.option(
    "--grpc",
    metavar="HOST:PORT",
    help="Address of the collector for gRPC (default: port 4317 of the same host, if --endpoint "
    "has port 4318)",
)
@click.option(
    "--project", metavar="P", default=PROJECT, help=f"Project for the test spans [{PROJECT}]"
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object")
def doctor(
    function: str | None, endpoint: str | None, grpc: str | None, project: str, *, is_json: bool
) -> int:
    """Find out why runs do not arrive, or which code and data decide the version of a function.

    Without an argument, this checks the connection from this machine to a collector, with the same
    environment variables as the SDK. It sends a test span over HTTP and another one over gRPC,
    reads them back and deletes them. The exit status is 1 if a check fails.

    With a function, such as app.py:answer or shop.model:Model.answer, this imports the file. You
    see which code and data decide its version, and what otel-ml cannot track. You get a warning if
    spans of an installed instrumentation never reach the collector, and if a tracer provider
    samples no traces or waits for the export of each span.
    """
    if function is not None:
        return _explain(function, is_json=is_json)
    if not 0 < len(project) <= _PROJECT_CHARS or not project.isprintable():
        raise BadSetting(f"Invalid --project {project!r}: expected 1 to 128 printable characters")
    items = []
    for finding in find_all(endpoint, grpc, project):
        items.append(finding)
        if not is_json:
            sys.stdout.write(f"{finding}\n")
            sys.stdout.flush()
    failed = any(finding.status == "fail" for finding in items)
    if is_json:
        answer = {"ok": not failed, "checks": [asdict(finding) for finding in items]}
        sys.stdout.write(f"{json.dumps(answer, indent=2)}\n")
    return int(failed)


def _explain(place: str, *, is_json: bool) -> int:
    """Print what makes up a function's version. Runs the user's file to import the function."""
    from otel_ml_collector.cli.explain import NoFunction, explain, find_target, lines_of  # heavy

    try:
        explanation = explain(find_target(place))
    except NoFunction as error:
        raise BadSetting(str(error)) from error
    except Exception as error:  # the user's file may raise any error
        sentence = f"{type(error).__name__}: {error}"
        raise BadSetting(f"{place!r} cannot be imported: {sentence}") from error
    troubles = [*lost(), *unsampled()]
    explanation["lost"] = [f"{what} -> {todo}" for what, todo in troubles]
    explanation["slow"] = [f"{what} -> {todo}" for what, todo in synchronous()]
    text = json.dumps(explanation, indent=2) if is_json else "\n".join(lines_of(explanation))
    sys.stdout.write(f"{text}\n")
    return 0


def find_within(
    name: str, check: Callable[[], Iterable[DoctorLine]], limit_s: float = _CHECK_S
) -> list[DoctorLine]:
    """Run a check on its own thread, with a time limit.

    Args:
        name: The check's name.
        check: The check.
        limit_s: Time limit in seconds. A check that takes longer is left running.

    Returns:
        The check's results. If the check raises or exceeds the limit, a result says so.
    """
    doctor_lines: list[DoctorLine] = []
    errors: list[Exception] = []

    def work() -> None:
        with going_on(errors.append):  # report an error in a check as a result
            doctor_lines.extend(check())

    thread = threading.Thread(target=work, name=f"otel-ml-doctor-{name}", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        return [DoctorLine("fail", name, f"The check {name} took longer than {limit_s:g} s")]
    if errors:
        text = f"The check {name} raised an error: {type(errors[0]).__name__}: {errors[0]}"
        return [*doctor_lines, DoctorLine("fail", name, text, "report this line as a bug")]
    return doctor_lines


def find_versions() -> Iterator[DoctorLine]:
    """Report the versions of otel-ml, Python and the packages that otel-ml needs most."""
    packages = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    python = platform.python_version()
    yield DoctorLine(
        "ok", "versions", f"otel-ml {_version('otel-ml')}, Python {python}, {packages}"
    )


def find_instrumentations() -> Iterator[DoctorLine]:
    """Report the installed instrumentations, and warn about libraries that have several."""
    instrumentations: dict[str, list[str]] = {}
    for library, package in installed():
        instrumentations.setdefault(library, []).append(package)
    if instrumentations:
        todo = "to record them, call client.instrument(...) or start with opentelemetry-instrument"
        shown = ", ".join(
            f"{name} ({' and '.join(them)})" for name, them in instrumentations.items()
        )
        yield DoctorLine(
            "ok", "instrumentations", f"Libraries with an instrumentation: {shown}", todo
        )
    for library, packages in instrumentations.items():
        if len(packages) > 1:
            text = f"{library} has several instrumentations: {' and '.join(packages)}"
            todo = "keep one of them: if several are active, each call is recorded twice"
            yield DoctorLine("warn", "instrumentations", text, todo)


def find_variables(environment: Mapping[str, str]) -> Iterator[DoctorLine]:
    """Report the ``OTEL_`` variables, and warn about unknown ones and ones that stop recording."""
    names = sorted(name for name in environment if name.startswith("OTEL_") and environment[name])
    shown = ", ".join(f"{name}={_hide(name, environment[name])}" for name in names)
    yield DoctorLine("ok", "variables", f"Environment variables: {shown or 'none'}")
    for text in warnings_of(environment):
        what, _, todo = text.partition(": ")
        yield DoctorLine("warn", "variables", what, todo)
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        todo = "unset it to record"
        yield DoctorLine("warn", "variables", "OTEL_SDK_DISABLED=true: nothing is recorded", todo)
    if environment.get("OTEL_TRACES_SAMPLER", "").endswith("always_off"):
        todo = "unset it to record"
        text = f"OTEL_TRACES_SAMPLER={environment['OTEL_TRACES_SAMPLER']}: nothing is recorded"
        yield DoctorLine("warn", "variables", text, todo)


def proxy_of(page: str) -> str:
    """Return the proxy for requests to an address, chosen as in the SDK; empty for none."""
    parts, proxies = urlsplit(page), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    return "" if proxy_bypass(parts.netloc) else proxy


def find_proxy(page: str) -> Iterator[DoctorLine]:
    """Report whether requests to an address go through a proxy."""
    proxy, host = proxy_of(page), urlsplit(page).hostname or ""
    if not proxy:
        yield DoctorLine("ok", "proxy", f"No proxy between here and {host}")
    elif Address(host, 0).is_loopback:
        text = f"Requests to this machine itself go through the proxy {hide_password(proxy)}"
        yield DoctorLine("warn", "proxy", text, f"set NO_PROXY={host}")
    else:
        yield DoctorLine("ok", "proxy", f"Requests go through the proxy {hide_password(proxy)}")


def find_disk(page: str, environment: Mapping[str, str]) -> Iterator[DoctorLine]:
    """Check the settings and the disk of a collector on this machine, which may not tell it."""
    if not Address(urlsplit(page).hostname or "", 0).is_loopback:
        return
    try:
        settings = load({}, environment, None)
    except BadSetting as error:
        for line in str(error).splitlines():
            yield DoctorLine("fail", "settings", line, "correct it, then run otel-ml check")
        return
    folder = settings.data_dir
    if folder is None or not folder.is_dir():
        return
    free, least = shutil.disk_usage(folder).free, settings.min_free_disk_bytes
    text = f"{free / 2**30:.1f} GiB free for the data directory {folder}"
    if free < least:
        todo = f"free disk space: below {least} bytes the collector accepts no data"
        yield DoctorLine("fail", "disk", text, todo)
    elif free < _TIGHT * least or not os.access(folder, os.W_OK):
        todo = (
            "free disk space soon"
            if os.access(folder, os.W_OK)
            else "make it writable for the user of the collector"
        )
        yield DoctorLine("warn", "disk", text, todo)
    else:
        yield DoctorLine("ok", "disk", text)


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"


def find_targets(page: str, environment: Mapping[str, str]) -> Iterator[DoctorLine]:
    """Check that the destinations to which a collector on this machine forwards are reachable."""
    if not Address(urlsplit(page).hostname or "", 0).is_loopback:
        return
    try:
        settings = load({}, environment, None)
    except BadSetting:  # `find_disk` reports this error
        return
    for target in settings.forward_otlp:
        text = f"OTLP is forwarded to {target.name} at {target.address}"
        try:
            socket.create_connection((target.address.host, target.address.port), _REACH_S).close()
        except OSError as error:
            todo = "start it, or correct forward_otlp; until then requests wait or are dropped"
            yield DoctorLine("warn", "forward", f"{text}, which does not answer: {error}", todo)
        else:
            yield DoctorLine("ok", "forward", text)


def find_listener(port: int) -> str:
    """Return the process that listens on a port of this machine, such as ``jaeger (process 41)``.

    Empty if no process is found. Without administrator rights, only the user's own processes are
    found. Works on Linux only.
    """
    sockets = {f"socket:[{inode}]" for table in _TABLES for inode in _listening(table, port)}
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        with suppress(OSError):  # the process ended, or belongs to another user
            if any(_target(file) in sockets for file in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return f"{name} (process {process.name})"
    return ""


def _target(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:  # the file was closed in the meantime
        return ""


def _listening(table: Path, port: int) -> list[str]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:  # only Linux has this file
        return []
    return [
        row[9] for row in rows if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port
    ]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _hide(name: str, value: str) -> str:
    is_secret = any(word in name for word in _SECRET_WORDS)
    return "***" if is_secret and not name.endswith(_NO_SECRETS) else hide_password(value)


@dataclass(frozen=True, slots=True)
class TestSpan:
    """A test span.

    Attributes:
        run_id: ID of the run that the collector makes of the span.
        body: OTLP export request with the span, as protobuf.
    """

    run_id: str
    body: bytes


def make_span(project: str, transport: str) -> TestSpan:
    """Return a test span that starts and ends now.

    Args:
        project: The span's project.
        transport: ``http`` or ``grpc``; recorded as an attribute.
    """
    trace_id, span_id = secrets.randbits(128) | 1, secrets.randbits(64) | 1
    now_ns = time.time_ns()
    span = ReadableSpan(
        name="otel-ml doctor",
        context=SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(1)),
        resource=Resource({"service.name": "otel-ml-doctor", names.PROJECT: project}),
        attributes={names.PROJECT: project, "otel_ml.doctor.transport": transport},
        instrumentation_scope=InstrumentationScope("otel_ml.doctor"),
        start_time=now_ns,
        end_time=now_ns,
    )
    return TestSpan(f"{trace_id:032x}-{span_id:016x}", encode_spans([span]).body)


class Visit:
    """Checks a collector with the headers, proxy and certificates that the SDK would use.

    Args:
        settings: The collector's address, headers and certificates.
        project: Project for the test spans.
        grpc: ``host:port`` of the collector's gRPC server; empty if unknown.
    """

    def __init__(self, settings: ExportSettings, project: str, grpc: str) -> None:
        self._settings = settings
        self._project = project
        self._grpc = grpc
        self._reads = False
        self._is_taken = False

    def find_endpoint(self) -> list[DoctorLine]:
        """Check that an otel-ml collector answers at the endpoint."""
        page = self._settings.page
        reply = self._get("/healthz")
        if reply.is_ours:
            return [DoctorLine("ok", "endpoint", f"{page} is an otel-ml collector")]
        parts = urlsplit(page)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        is_here = Address(parts.hostname or "", 0).is_loopback and not proxy_of(page)
        who = find_listener(port) if is_here else ""
        if reply.status == 0:
            text = f"{page} does not answer: {reply.text}"
            here = f"; {who} listens on port {port}" if who else ""
            todo = _way_to(reply.text, is_here)
            if proxy_of(page):
                todo = "requests go through a proxy: check the proxy, or add the host to NO_PROXY"
            return [DoctorLine("fail", "endpoint", text + here, todo)]
        if reply.status == HTTPStatus.FORBIDDEN and "is not allowed" in reply.text:
            todo = f"start it with --allowed-hosts {parts.hostname}"
            text = f"The collector at {page} does not accept the host name {parts.hostname}"
            return [DoctorLine("fail", "endpoint", text, todo)]
        text = f"The server at {page} is not an otel-ml collector{f', but {who}' if who else ''}"
        todo = "set the collector's address with --endpoint, or stop that server"
        return [DoctorLine("fail", "endpoint", text, todo)]

    def find_readiness(self) -> list[DoctorLine]:
        """Check that the collector can store data."""
        reply = self._get("/readyz")
        if reply.status == HTTPStatus.OK:
            lines = [DoctorLine("ok", "ready", "The collector is ready to store data")]
            content = reply.json
            if isinstance(content, dict) and (warning := content.get("warning")):
                lines.append(DoctorLine("warn", "ready", str(warning)))
            return lines
        todo = "check the collector's log, disk and store"
        return [DoctorLine("fail", "ready", f"The collector is not ready: {reply.reason}", todo)]

    def find_clock(self) -> list[DoctorLine]:
        """Compare the collector's clock with this machine's, to about a second.

        The collector's ``Date`` header has whole seconds.
        """
        before_s = time.time()
        reply = self._get("/healthz")
        middle_s = (before_s + time.time()) / 2
        try:
            theirs_s = parsedate_to_datetime(reply.date).timestamp() + 0.5
        except (TypeError, ValueError):
            return [DoctorLine("warn", "clock", "The collector does not send its time")]
        ahead_s = middle_s - theirs_s
        if abs(ahead_s) <= _FAR_S:
            return [
                DoctorLine(
                    "ok",
                    "clock",
                    f"The clocks of this machine and the collector differ by less than "
                    f"{_FAR_S:g} s",
                )
            ]
        way = "ahead of" if ahead_s > 0 else "behind"
        text = f"The clock of this machine is {abs(ahead_s):.0f} s {way} the collector's"
        todo = "synchronize both with NTP: runs get the time of this machine"
        return [DoctorLine("warn", "clock", text, todo)]

    def find_key(self) -> list[DoctorLine]:
        """Check that the key may read the project."""
        has_key = "authorization" in self._settings.headers
        reply = self._get(f"/api/v1/projects/{write_segment(self._project)}/runs?limit=1")
        if reply.status == HTTPStatus.OK:
            self._reads = True
            named = "The key may read" if has_key else "No key is needed to read"
            return [DoctorLine("ok", "key", f"{named} project {self._project}")]
        todo = _KEYS.format(project=self._project) + ", and set OTEL_ML_API_KEY"
        if reply.status == HTTPStatus.UNAUTHORIZED:
            text = "The key is not valid" if has_key else "The collector requires a key"
            return [DoctorLine("fail", "key", f"{text} (401)", todo)]
        if reply.status == HTTPStatus.NOT_FOUND:  # also if the key has no access to it
            text = f"The key has no access to project {self._project} (404)"
            return [DoctorLine("fail", "key", text, todo)]
        if reply.status == HTTPStatus.FORBIDDEN:
            text = f"The key may not read project {self._project} (403)"
            return [DoctorLine("warn", "key", text, f"if you need a key that may, {todo}")]
        return [DoctorLine("fail", "key", f"The API does not answer: {reply.reason}")]

    def find_disk(self) -> list[DoctorLine]:
        """Report the free space for the collector's data; nothing for a ClickHouse server."""
        reply = self._get("/api/v1/disk") if self._reads else None
        disk = reply.json if reply and reply.status == HTTPStatus.OK else None
        if not isinstance(disk, dict) or disk.get("free_bytes") is None:
            return []
        free, total = int(disk["free_bytes"]), int(disk["total_bytes"])
        text = f"{_gib(free)} of {_gib(total)} free for the collector's data ({disk['folder']})"
        if free < total * _LEAST_FREE_SHARE:
            return [DoctorLine("warn", "disk", text, "free disk space soon")]
        return [DoctorLine("ok", "disk", text)]

    def find_unread(self) -> list[DoctorLine]:
        """Warn about projects that have spans but no recognized run."""
        listed = self._get("/api/v1/projects") if self._reads else None
        projects = listed.json if listed and listed.status == HTTPStatus.OK else None
        silent = [
            project["project"]
            for project in (projects or {}).get("projects", ())
            if not project["runs"] and project["other_spans"]
        ]
        items = [
            (project, reply.json["sentence"])
            for project in silent[:_UNREAD]
            for reply in [self._get(f"/api/v1/projects/{write_segment(project)}/unread")]
            if reply.status == HTTPStatus.OK
        ]
        return [
            DoctorLine("warn", "spans", f"{project}: {sentence}", _UNREAD_TODO)
            for project, sentence in items
            if sentence
        ]

    def find_http(self) -> list[DoctorLine]:
        """Send a test span over HTTP, read it back and delete it."""
        span = make_span(self._project, "http")
        answer = HttpSender(self._settings).post(span.body, _REQUEST_S)
        if answer.delivered and not answer.rejected:
            self._is_taken = True
            return [self._read_back("http", "HTTP", span.run_id)]
        return [_not_taken("http", "HTTP", answer.message, self._project)]

    def find_grpc(self) -> list[DoctorLine]:
        """Send a test span over gRPC, read it back and delete it."""
        if not self._grpc:
            text = "gRPC was not checked: its address is unknown"
            return [DoctorLine("warn", "grpc", text, "set it with --grpc HOST:PORT")]
        span = make_span(self._project, "grpc")
        try:
            problem = _send_over_grpc(self._grpc, self._settings, span.body, _REQUEST_S)
        except ImportError:
            text = "gRPC was not checked: grpcio is not installed"
            return [DoctorLine("warn", "grpc", text, "if you use gRPC, run pip install grpcio")]
        if problem:
            return [_not_taken("grpc", f"gRPC at {self._grpc}", problem, self._project)]
        return [self._read_back("grpc", f"gRPC at {self._grpc}", span.run_id)]

    def find_pace(self) -> list[DoctorLine]:
        """Report how long exporters wait for an answer, and which ones should not wait."""
        return [DoctorLine("ok", "pace", _COLLECTS, _COLLECTS_TODO)] if self._is_taken else []

    def _read_back(self, check: str, road: str, run_id: str) -> DoctorLine:
        if not self._reads:
            text = f"A test span sent over {road} was accepted, but the key may not read it back"
            return DoctorLine("warn", check, text)
        started_s = time.monotonic()
        path = f"/api/v1/projects/{write_segment(self._project)}/runs/{run_id}"
        while True:
            reply = self._get(path)
            waited_s = time.monotonic() - started_s
            if reply.status == HTTPStatus.OK:
                text = f"A test span sent over {road} was stored in {self._project} and read back"
                deleted = fetch(self._settings, path, "DELETE", _DELETE_S)
                if deleted.status not in {HTTPStatus.OK, HTTPStatus.ACCEPTED}:
                    text += f"; it was not deleted ({deleted.reason})"
                return DoctorLine("ok", check, text)
            if waited_s > _READ_BACK_S:
                text = (
                    f"A test span sent over {road} was accepted, but cannot be read back: "
                    f"{reply.reason}"
                )
                todo = "check that the HTTP and gRPC ports belong to the same collector"
                return DoctorLine("fail", check, text, todo)
            time.sleep(0.2)

    def _get(self, path: str) -> HttpReply:
        return fetch(self._settings, path)


def _way_to(reason: str, is_here: bool) -> str:
    if "certificate" in reason:
        return "set OTEL_EXPORTER_OTLP_CERTIFICATE to the file of its certificate"
    if "host name" in reason:
        return "correct the host name, or set another address with --endpoint"
    if reason == "connection refused" and is_here:
        return "start a collector: otel-ml serve"
    return "check that the collector runs, that this is its HTTP port, and that no firewall blocks"


def _not_taken(check: str, road: str, reason: str, project: str) -> DoctorLine:
    text = f"A test span sent over {road} was not accepted: {reason}"
    if any(word in reason for word in ("401", "403", "not_allowed")):
        return DoctorLine("fail", check, text, _KEYS.format(project=project))
    return DoctorLine("fail", check, text, "check the collector's log")


def _send_over_grpc(address: str, settings: ExportSettings, body: bytes, timeout_s: float) -> str:
    """Send an export request over gRPC, with the headers and certificates of the settings.

    Returns:
        The error; empty if the collector accepted the request.

    Raises:
        ImportError: grpcio is not installed.
    """
    import grpc  # slow to import, and optional

    if urlsplit(settings.url).scheme == "https":
        files = (settings.ca_file, settings.client_key_file, settings.client_cert_file)
        parts = [Path(file).read_bytes() if file else None for file in files]
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(*parts))
    else:
        channel = grpc.insecure_channel(address)
    metadata = tuple(settings.headers.items())
    with channel:
        try:
            export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD)
            answer = export(body, timeout_s, metadata)
        except grpc.RpcError as error:
            code = error.code().name
            return _STATUS_TEXTS.get(
                code, f"{code}: {' '.join((error.details() or '').split())[:200]}"
            )
    rejected, message = read_partial_success(answer)
    return message or "the collector rejected it" if rejected else ""


def find_all(endpoint: str | None, grpc: str | None, project: str) -> Iterator[DoctorLine]:
    """Run all checks. If no collector answers, the checks that need one are skipped.

    Args:
        endpoint: The collector's base address; None for the address that the SDK would use.
        grpc: ``host:port`` of the collector's gRPC server; None to derive it from the HTTP port.
        project: Project for the test spans.

    Yields:
        The result of each check, as soon as it is known.
    """
    key = os.environ.get("OTEL_ML_API_KEY")
    settings = resolve(endpoint, project, key, "http/protobuf")
    yield from find_within("versions", find_versions)
    yield from find_within("instrumentations", find_instrumentations)
    yield from find_within("variables", lambda: find_variables(os.environ))
    if not settings.url:
        todo = "set an address such as http://localhost:4318"
        yield DoctorLine("fail", "endpoint", "The endpoint is not a valid address", todo)
        return
    yield from find_within("proxy", lambda: find_proxy(settings.page))
    yield from find_within("forward", lambda: find_targets(settings.page, os.environ))
    visit = Visit(settings, project, grpc or _grpc_address(settings.page))
    reached = find_within("endpoint", visit.find_endpoint)
    yield from reached
    if any(finding.status == "fail" for finding in reached):
        yield from find_within("disk", lambda: find_disk(settings.page, os.environ))
        return
    yield from find_within("ready", visit.find_readiness)
    yield from find_within("clock", visit.find_clock)
    yield from find_within("key", visit.find_key)
    disk = find_within("disk", visit.find_disk)
    yield from disk or find_within("disk", lambda: find_disk(settings.page, os.environ))
    yield from find_within("spans", visit.find_unread)
    yield from find_within("http", visit.find_http)
    yield from find_within("grpc", visit.find_grpc)
    yield from find_within("pace", visit.find_pace)


def _grpc_address(page: str) -> str:
    """Return the gRPC address for a usual HTTP port (4317 for 4318); empty for other ports."""
    parts = urlsplit(page)
    port = _PORTS.get(parts.port or 0)
    host = parts.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{port}" if port else ""
