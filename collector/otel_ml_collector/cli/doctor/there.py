"""What the other end says: what it is, what its clock says, what the key may do, what it takes."""

import json
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import quote, urlsplit

from urllib3.exceptions import HTTPError

from otel_ml.export.attempt import attempt_until
from otel_ml.export.connection import Unusable, open_line
from otel_ml.export.failure import describe, find_root
from otel_ml.export.http import HttpSender
from otel_ml.export.settings import Settings
from otel_ml_collector.cli.doctor.finding import Finding
from otel_ml_collector.cli.doctor.grpc import send_over_grpc
from otel_ml_collector.cli.doctor.here import proxy_of
from otel_ml_collector.cli.doctor.ports import find_listener
from otel_ml_collector.cli.doctor.span import make_span
from otel_ml_collector.setting import Address

_REQUEST_S: Final = 5.0
_READ_BACK_S: Final = 5.0
_MOST_BYTES: Final = 1_000_000
_FAR_S: Final = 5.0
_KEYS: Final = "make one: otel-ml keys add --project {project} --scope ingest,read"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP; status 0 when none came, and then `text` says why."""

    status: int
    text: str
    date: str = ""

    @property
    def json(self) -> Any:
        """The body, None when it is no JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    @property
    def reason(self) -> str:
        """What is wrong, in the collector's words where there are some."""
        content = self.json
        error = content.get("error") if isinstance(content, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        words = " ".join(str(message or self.text).split())[:200]
        return f"{self.status}: {words}" if self.status else words


class Visit:
    """Asks one collector, as the SDK would: its headers, its proxy, its certificates.

    Args:
        settings: Where it is.
        project: Where the test spans go.
        grpc: ``host:port`` of its gRPC; empty when nobody knows.
    """

    def __init__(self, settings: Settings, project: str, grpc: str) -> None:
        self._settings = settings
        self._project = project
        self._grpc = grpc
        self._reads = False

    def find_endpoint(self) -> list[Finding]:
        """Tell whether it is there and what it is."""
        page = self._settings.page
        reply = self._get("/healthz")
        content = reply.json
        if isinstance(content, dict) and content.get("program") == "otel-ml":
            return [Finding("ok", "endpoint", f"{page} is an otel-ml collector")]
        parts = urlsplit(page)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        is_here = Address(parts.hostname or "", 0).is_loopback and not proxy_of(page)
        who = find_listener(port) if is_here else ""
        if reply.status == 0:
            text = f"{page} does not answer: {reply.text}"
            here = f"; {who} listens at port {port}" if who else ""
            todo = _way_to(reply.text, is_here)
            if proxy_of(page):
                todo = (
                    "it is asked through a proxy: does that one answer, or should NO_PROXY name it?"
                )
            return [Finding("fail", "endpoint", text + here, todo)]
        if reply.status == HTTPStatus.FORBIDDEN and "is not called" in reply.text:
            todo = f"start it with --allowed-hosts {parts.hostname}"
            return [Finding("fail", "endpoint", f"{page} refuses this name", todo)]
        text = f"{page} answers and is no otel-ml{f', it is {who}' if who else ''}"
        todo = "name the collector with --endpoint, or stop what is there"
        return [Finding("fail", "endpoint", text, todo)]

    def find_readiness(self) -> list[Finding]:
        """Tell whether it can store."""
        reply = self._get("/readyz")
        if reply.status == HTTPStatus.OK:
            return [Finding("ok", "ready", "It is ready to store")]
        todo = "see the collector's log, disk and store"
        return [Finding("fail", "ready", f"It is not ready, {reply.reason}", todo)]

    def find_clock(self) -> list[Finding]:
        """Compare its clock with this one; it tells whole seconds."""
        before_s = time.time()
        reply = self._get("/healthz")
        middle_s = (before_s + time.time()) / 2
        try:
            theirs_s = parsedate_to_datetime(reply.date).timestamp() + 0.5
        except (TypeError, ValueError):
            return [Finding("warn", "clock", "It does not tell its time")]
        ahead_s = middle_s - theirs_s
        if abs(ahead_s) <= _FAR_S:
            return [
                Finding("ok", "clock", f"Its clock and this one differ by less than {_FAR_S:g} s")
            ]
        way = "ahead of" if ahead_s > 0 else "behind"
        text = f"This clock is {abs(ahead_s):.0f} s {way} the collector's"
        return [Finding("warn", "clock", text, "set both by NTP: runs are filed by this clock")]

    def find_key(self) -> list[Finding]:
        """Tell what the key may do."""
        named = "The key" if "authorization" in self._settings.headers else "No key is sent, which"
        reply = self._get(f"/api/v1/projects/{quote(self._project, safe='')}/runs?limit=1")
        if reply.status == HTTPStatus.OK:
            self._reads = True
            return [Finding("ok", "key", f"{named} is enough to read project {self._project}")]
        todo = _KEYS.format(project=self._project) + ", and set OTEL_ML_API_KEY"
        if reply.status == HTTPStatus.UNAUTHORIZED:
            text = "The key is not valid" if named == "The key" else "A key is needed, none is sent"
            return [Finding("fail", "key", f"{text} (401)", todo)]
        if reply.status == HTTPStatus.NOT_FOUND:  # as if there were none: it is others'
            text = f"The key does not reach project {self._project} (404)"
            return [Finding("fail", "key", text, todo)]
        if reply.status == HTTPStatus.FORBIDDEN:
            text = f"The key may not read project {self._project} (403)"
            return [Finding("warn", "key", text, f"to see its runs {todo}")]
        return [Finding("fail", "key", f"The API does not answer, {reply.reason}")]

    def find_http(self) -> list[Finding]:
        """Send a span over HTTP, and read it back."""
        span = make_span(self._project, "http")
        answer = HttpSender(self._settings).send(span.body, _REQUEST_S)
        if answer.delivered and not answer.rejected:
            return [self._read_back("http", "HTTP", span.run_id)]
        return [_not_taken("http", "HTTP", answer.message, self._project)]

    def find_grpc(self) -> list[Finding]:
        """Send a span over gRPC, and read it back."""
        if not self._grpc:
            text = "gRPC was not tried: its address is not known"
            return [Finding("warn", "grpc", text, "name it with --grpc HOST:PORT")]
        span = make_span(self._project, "grpc")
        try:
            problem = send_over_grpc(self._grpc, self._settings, span.body, _REQUEST_S)
        except ImportError:
            text = "gRPC was not tried: grpcio is not installed here"
            return [Finding("warn", "grpc", text, "pip install 'otel-ml[otlp]', if you need it")]
        if problem:
            return [_not_taken("grpc", f"gRPC at {self._grpc}", problem, self._project)]
        return [self._read_back("grpc", f"gRPC at {self._grpc}", span.run_id)]

    def _read_back(self, check: str, road: str, run_id: str) -> Finding:
        if not self._reads:
            text = f"A span over {road} was taken; the key may not read it back"
            return Finding("warn", check, text)
        started_s = time.monotonic()
        path = f"/api/v1/projects/{quote(self._project, safe='')}/runs/{run_id}"
        while True:
            reply = self._get(path)
            waited_s = time.monotonic() - started_s
            if reply.status == HTTPStatus.OK:
                text = f"A span over {road} was taken, and read back from {self._project}"
                return Finding("ok", check, text)
            if waited_s > _READ_BACK_S:
                text = f"A span over {road} was taken and cannot be read, {reply.reason}"
                return Finding("fail", check, text, "is another collector behind the other port?")
            time.sleep(0.2)

    def _get(self, path: str) -> Reply:
        try:
            with attempt_until(time.monotonic() + _REQUEST_S) as attempt:
                line = open_line(self._settings)
                response = line.pools.urlopen(
                    "GET",
                    self._settings.page + path,
                    headers={**line.headers, "connection": "close"},
                    timeout=attempt.time_left(),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
                text = response.read(_MOST_BYTES).decode("utf-8", "replace")
                return Reply(response.status, text, response.headers.get("date", ""))
        except Unusable as error:
            return Reply(0, str(error))
        except (OSError, HTTPException, HTTPError) as error:
            return Reply(0, describe(find_root(error)))


def _way_to(reason: str, is_here: bool) -> str:
    if "certificate" in reason:
        return "name its certificate in OTEL_EXPORTER_OTLP_CERTIFICATE"
    if "host name" in reason:
        return "mend the name, or name another with --endpoint"
    if reason == "connection refused" and is_here:
        return "start it: otel-ml serve"
    return "is it started, is this its HTTP port, does a firewall stand between?"


def _not_taken(check: str, road: str, reason: str, project: str) -> Finding:
    text = f"A span over {road} was not taken: {reason}"
    if any(word in reason for word in ("401", "403", "not_allowed")):
        return Finding("fail", check, text, _KEYS.format(project=project))
    return Finding("fail", check, text, "see the collector's log")
