"""An OTLP request that is forwarded unchanged, and how it is sent to a destination.

Requests are sent over HTTP or gRPC. The destination accepts a request fully or in part, or refuses
it temporarily or for good. Spec: https://opentelemetry.io/docs/specs/otlp/#failures
"""

import base64
import hashlib
import ssl
import time
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from http.client import responses
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import grpc
import orjson
import urllib3
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError, TimeoutError
from urllib3.util import make_headers

from otel_ml import attributes as names
from otel_ml_collector.decode.compression import decompress
from otel_ml_collector.decode.json import JsonObject, parse
from otel_ml_collector.decode.signals import SERVICES, Form, Signal, media_type_of
from otel_ml_collector.errors import BadSetting, Rejected
from otel_ml_collector.settings.targets import OtlpTarget

# Ids of the collectors that have forwarded the request, separated by commas.
PASSED_HEADER: Final = "x-otel-ml-passed"
# No limit: the size was checked when the request was received.
_ANY_SIZE: Final = 2**31
_MESSAGES: Final[dict[Signal, type[Message]]] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
}
_ID_FIELDS: Final = frozenset({"traceId", "spanId", "parentSpanId"})
_LISTS: Final = (
    *("resourceSpans", "scopeSpans", "spans", "links"),
    *("resourceLogs", "scopeLogs", "logRecords"),
    *("resourceMetrics", "scopeMetrics", "metrics", "dataPoints", "exemplars"),
)
# Fields of a metric that hold data points.
_POINT_FIELDS: Final = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")
_ANSWER_CHARS: Final = 300
_MOST_DELAY_S: Final = 300.0
_REJECTED: Final = ("rejectedSpans", "rejectedLogRecords", "rejectedDataPoints")
_AGAIN_GRPC: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_DATA_GRPC: Final = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
)
_DETAILS: Final = "grpc-status-details-bin"
# This module does its own retries and its own pauses between connection attempts.
_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
_TAKEN: Final = range(200, 300)
# Login pages and web servers answer any request with one and 200. Nothing is stored then.
_WEB_PAGE: Final = "text/html"
_AGAIN_HTTP: Final = frozenset({429, 502, 503, 504})
_DATA_HTTP: Final = frozenset({400, 413, 415, 422})
_ANSWER_BYTES: Final = 64 * 1024


class Unreadable(Exception):
    """A request cannot be converted to the form that a destination accepts."""


@dataclass(frozen=True, slots=True)
class OtlpRequest:
    """An export request as it was received.

    Attributes:
        body: OTLP bytes, possibly compressed.
        encoding: Compression; an entry of `decode.compression.ENCODINGS`.
        signal: Traces, logs or metrics.
        form: Protobuf or JSON.
        project: Project for records that name none; None if the request names none.
        passed: Ids of the collectors that forwarded it, including this one, separated by commas.
    """

    body: bytes
    encoding: str
    signal: Signal
    form: Form
    project: str | None
    passed: str

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers or gRPC metadata to send with the body."""
        project = self.project or ""
        may_travel = project and project.isascii() and project.isprintable()
        headers = {names.PROJECT_HEADER: project} if may_travel else {}
        return {PASSED_HEADER: self.passed, **headers}

    def digest(self) -> bytes:
        """Return a digest that is equal for the same request sent again."""
        about = f"{self.signal}|{self.form}|{self.encoding}|{self.project}|"
        named = hashlib.blake2b(about.encode(), digest_size=16)
        named.update(self.body)  # may be large: avoid a copy
        return named.digest()

    def plain(self) -> "OtlpRequest":
        """Return the request with its body decompressed."""
        body = decompress(self.body, self.encoding, _ANY_SIZE)
        return replace(self, body=body, encoding="identity")

    def as_protobuf(self) -> "OtlpRequest":
        """Return the request converted from JSON to protobuf; unchanged if it is protobuf.

        Raises:
            Unreadable: The body cannot be converted.
        """
        if self.form is Form.PROTOBUF:
            return self
        message = _MESSAGES[self.signal]()
        try:
            document = parse(self.plain().body, message.DESCRIPTOR.name)
            _spell_ids(document)
            ParseDict(document, message, ignore_unknown_fields=True)
        except (Rejected, ParseError, ValueError) as error:
            raise Unreadable(str(error)) from error
        body = message.SerializeToString()
        return replace(self, body=body, encoding="identity", form=Form.PROTOBUF)


def _spell_ids(json_object: JsonObject) -> None:
    """Convert ids from hex (OTLP) to base64, which protobuf's JSON parser expects."""
    for key in _ID_FIELDS & json_object.keys():
        text = json_object[key]
        if isinstance(text, str):
            json_object[key] = base64.b64encode(bytes.fromhex(text)).decode()
    for key in _LISTS:
        within = json_object.get(key)
        for item in within if isinstance(within, list) else ():
            if isinstance(item, dict):
                _spell_ids(item)
    for key in _POINT_FIELDS:
        points = json_object.get(key)
        if isinstance(points, dict):
            _spell_ids(points)


class Later(Exception):
    """The destination is unreachable or busy; send the request again later.

    Args:
        message: What is wrong.
        delay_s: Seconds to wait, if the destination says so; else None.
    """

    def __init__(self, message: str, delay_s: float | None = None) -> None:
        super().__init__(message)
        self.delay_s = delay_s


class Never(Exception):
    """The destination refused the request; do not send it again.

    Args:
        message: What is wrong.
        blames_data: Whether the request itself is invalid, rather than the key or the address.
    """

    def __init__(self, message: str, *, blames_data: bool) -> None:
        super().__init__(message)
        self.blames_data = blames_data


class OtlpHttpSender:
    """Sends requests to one destination over HTTP. Safe to use from several threads.

    Raises:
        BadSetting: The environment names an invalid proxy for the destination.
    """

    def __init__(self, target: OtlpTarget, connections: int) -> None:
        self._target = target
        self._pools = _open_pools(target, connections)
        self._headers = {"user-agent": f"otel-ml/{version('otel-ml')}"}

    def send(self, request: OtlpRequest) -> str:
        """Send a request.

        Returns:
            The destination's message about the part that it rejected; empty if it accepted
            everything.

        Raises:
            Later: The request may not have arrived.
            Never: The destination refused the request.
            Unreadable: The request cannot be converted to the form that the destination accepts.
        """
        if not self._target.takes_json:
            request = request.as_protobuf()
        if request.encoding != "gzip":  # servers only have to support gzip
            request = request.plain()
        headers = {**self._headers, **request.headers, **dict(self._target.headers)}
        headers["content-type"] = request.form
        if request.encoding != "identity":
            headers["content-encoding"] = request.encoding
        try:
            answer = self._pools.request(
                "POST",
                f"{self._target.endpoint}/v1/{request.signal}",
                body=request.body,
                headers=headers,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(self._target.timeout_s),
                preload_content=False,
            )
            body = answer.read(_ANSWER_BYTES, decode_content=False)
            if len(body) == _ANSWER_BYTES:  # the answer is longer: drop the connection
                answer.close()
            answer.release_conn()
        except HTTPError as error:
            raise Later(_reason_of(error, self._target.timeout_s)) from error
        return _read_answer(answer, body)

    def close(self) -> None:
        """Close idle connections."""
        self._pools.clear()


class OtlpGrpcSender:
    """Sends requests to one destination over gRPC. Safe to use from several threads."""

    def __init__(self, target: OtlpTarget) -> None:
        self._target = target
        self._channel = _open_channel(target)
        self._calls: dict[Signal, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {
            signal: self._channel.unary_unary(f"/{service}/Export")
            for signal, service in SERVICES.items()
        }

    def send(self, request: OtlpRequest) -> str:
        """Send a request.

        A request that was received compressed is compressed again, because gRPC has its own framing
        for compressed messages.

        Returns:
            The destination's message about the part that it rejected; empty if it accepted
            everything.

        Raises:
            Later: The request may not have arrived.
            Never: The destination refused the request.
            Unreadable: The request cannot be converted to the form that the destination accepts.
        """
        packed = grpc.Compression.Gzip if request.encoding != "identity" else None
        message = request.as_protobuf().plain()
        headers = {**request.headers, **dict(self._target.headers)}
        try:
            answer = self._calls[request.signal](
                message.body,
                timeout=self._target.timeout_s,
                metadata=tuple(headers.items()),
                compression=packed,
            )
        except grpc.RpcError as error:
            raise _read_error(error) from error
        return read_partial(answer, Form.PROTOBUF)

    def close(self) -> None:
        """End the calls in progress."""
        self._channel.close()


def _read_answer(answer: urllib3.BaseHTTPResponse, body: bytes) -> str:
    media_type = media_type_of(answer.headers.get("content-type", ""))
    form = Form.JSON if media_type == Form.JSON else Form.PROTOBUF
    phrase = f"{answer.status} {responses.get(answer.status, '')}".rstrip()
    if answer.status in _TAKEN:
        if media_type == _WEB_PAGE:
            raise Never(
                f"{phrase} with an HTML page, so this is not an OTLP endpoint: check the address",
                blames_data=False,
            )
        return read_partial(body, form)
    message = _message(body, form)
    text = f"{answer.status} {message}" if message else phrase
    if answer.status in _AGAIN_HTTP:
        raise Later(text, read_retry_after(answer.headers.get("retry-after")))
    raise Never(text, blames_data=answer.status in _DATA_HTTP)


def _reason_of(error: HTTPError, timeout_s: float) -> str:
    """Return in words why a destination did not answer."""
    if isinstance(error, NewConnectionError):
        cause = error.__cause__
        reason = cause.strerror if isinstance(cause, OSError) else ""
        return f"it cannot be reached ({_shorten(reason or str(error))})"
    if isinstance(error, TimeoutError):
        return f"it did not answer within {timeout_s:g} s"
    if isinstance(error, ProtocolError):
        return f"it ended the connection without an HTTP answer ({_shorten(str(error))})"
    return f"{type(error).__name__}: {_shorten(str(error))}"


def _message(text: bytes, form: Form) -> str:
    if form is Form.PROTOBUF:
        try:
            return _shorten(Status.FromString(text).message)
        except DecodeError:
            pass
    return _shorten(text.decode("utf-8", "replace"))


def _open_pools(target: OtlpTarget, connections: int) -> urllib3.PoolManager:
    """Return a connection pool for a destination. Uses the proxy in the environment, if any."""
    tls = _tls(target)
    proxy, headers = _proxy_of(target.endpoint)
    if proxy:
        return urllib3.ProxyManager(
            proxy, maxsize=connections, ssl_context=tls, proxy_headers=headers
        )
    return urllib3.PoolManager(maxsize=connections, ssl_context=tls)


def _proxy_of(endpoint: str) -> tuple[str, dict[str, str]]:
    """Return the address of the proxy for an endpoint (empty for none) and its headers."""
    there, proxies = urlsplit(endpoint), getproxies()
    proxy = proxies.get(there.scheme) or proxies.get("all") or ""
    if not proxy or proxy_bypass(there.netloc):
        return "", {}
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        is_proxy = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_proxy = False
    if not is_proxy:  # do not print it: it may contain a password
        raise BadSetting(f"Invalid proxy for {endpoint}: expected one such as http://proxy:3128")
    login, _, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{host}", make_headers(proxy_basic_auth=unquote(login) or None)


def _tls(target: OtlpTarget) -> ssl.SSLContext | None:
    if not target.is_secure:
        return None
    context = ssl.create_default_context(cafile=target.tls_ca)
    if target.tls_cert is not None:
        context.load_cert_chain(target.tls_cert, target.tls_key)
    return context


def _read_error(error: grpc.RpcError) -> Later | Never:
    """Convert the error of a gRPC call: `Later` if a retry can help, else `Never`."""
    call: Any = error  # grpc raises the call itself as the error
    code = call.code()
    text = f"{code.name} {_shorten(call.details() or '')}"
    delay_s = None
    for key, value in call.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            delay_s = read_retry_info(value)
    if code in _AGAIN_GRPC or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and delay_s is not None):
        return Later(text, delay_s)
    return Never(text, blames_data=code in _DATA_GRPC)


def _open_channel(target: OtlpTarget) -> grpc.Channel:
    options = (*_OPTIONS, ("grpc.primary_user_agent", f"otel-ml/{version('otel-ml')}"))
    address = str(target.address)
    if not target.is_secure:
        return grpc.insecure_channel(address, options)
    files = (target.tls_ca, target.tls_key, target.tls_cert)
    ca, key, cert = (file.read_bytes() if file else None for file in files)
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    return grpc.secure_channel(address, credentials, options)


def read_partial(body: bytes, form: Form) -> str:
    """Return the destination's message about the part that it rejected; empty if there is none."""
    try:
        if form is Form.JSON:
            return _json_partial(orjson.loads(body)) if body else ""
        # Responses for logs and metrics have the same field numbers with other names.
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except (DecodeError, orjson.JSONDecodeError):
        return ""
    number, text = partial.rejected_spans, partial.error_message
    return f"{number} rejected: {_shorten(text)}" if number else ""


def _json_partial(answer: object) -> str:
    partial = answer.get("partialSuccess") if isinstance(answer, dict) else None
    if not isinstance(partial, dict):
        return ""
    counts = (partial.get(name) for name in _REJECTED)
    number = next(filter(None, counts), 0)
    return f"{number} rejected: {_shorten(str(partial.get('errorMessage', '')))}" if number else ""


def read_retry_after(text: str | None) -> float | None:
    """Return the delay of a ``Retry-After`` header in seconds; None if unusable.

    The header may hold seconds or a date.
    """
    if not text:
        return None
    if text.strip().isdecimal():
        return min(float(text), _MOST_DELAY_S)
    try:
        there_s = parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None
    return min(max(there_s - time.time(), 0.0), _MOST_DELAY_S)


def read_retry_info(details: bytes) -> float | None:
    """Return the retry delay in seconds of a ``google.rpc.Status``; None if it has none."""
    try:
        status = Status.FromString(details)
        for detail in status.details:
            info = RetryInfo()
            if detail.Unpack(info):
                delay_s: float = info.retry_delay.ToNanoseconds() / 1e9
                return min(max(delay_s, 0.0), _MOST_DELAY_S)
    except DecodeError:
        pass
    return None


def _shorten(text: str) -> str:
    """Shorten a destination's message to one printable line of 300 characters."""
    line = " ".join(text.split())[:_ANSWER_CHARS]
    return "".join(part if part.isprintable() else "\N{REPLACEMENT CHARACTER}" for part in line)
