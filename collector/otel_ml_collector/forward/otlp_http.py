"""Sends OTLP over HTTP, the body as it is.

Spec: https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import ssl
from importlib.metadata import version
from typing import Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from urllib3.exceptions import HTTPError
from urllib3.util import make_headers

from otel_ml_collector.decode.signals import Form, media_type_of
from otel_ml_collector.errors import BadSetting
from otel_ml_collector.forward.otlp_answer import (
    Later,
    Never,
    read_partial,
    read_retry_after,
    shorten,
)
from otel_ml_collector.forward.otlp_request import OtlpRequest
from otel_ml_collector.settings.targets import OtlpTarget

_TAKEN: Final = range(200, 300)
_AGAIN: Final = frozenset({429, 502, 503, 504})
_ABOUT_DATA: Final = frozenset({400, 413, 415, 422})
_ANSWER_BYTES: Final = 64 * 1024


class HttpSender:
    """Sends to one target; from several threads at once.

    Args:
        target: Where to.
        connections: How many are kept.

    Raises:
        BadSetting: The environment names a proxy for it that cannot be one.
    """

    def __init__(self, target: OtlpTarget, connections: int) -> None:
        self._target = target
        self._pools = _open_pools(target, connections)
        self._headers = {"user-agent": f"otel-ml/{version('otel-ml')}"}

    def send(self, request: OtlpRequest) -> str:
        """Send a request; returns what the target says of the part that it has not taken.

        Raises:
            Later: It is not known to be there.
            Never: The target has refused it.
            Unreadable: It cannot be written as the target takes it.
        """
        if not self._target.takes_json:
            request = request.as_protobuf()
        if request.encoding != "gzip":  # of compressions a server need only know that one
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
            told = answer.read(_ANSWER_BYTES, decode_content=False)
            if len(told) == _ANSWER_BYTES:  # the rest is not read
                answer.close()
            answer.release_conn()
        except HTTPError as error:
            raise Later(f"{type(error).__name__}: {shorten(str(error))}") from error
        return _read(answer, told)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._pools.clear()


def _read(answer: urllib3.BaseHTTPResponse, told: bytes) -> str:
    media_type = media_type_of(answer.headers.get("content-type", ""))
    form = Form.JSON if media_type == Form.JSON else Form.PROTOBUF
    if answer.status in _TAKEN:
        return read_partial(told, form)
    said = f"{answer.status} {_message(told, form)}"
    if answer.status in _AGAIN:
        raise Later(said, read_retry_after(answer.headers.get("retry-after")))
    raise Never(said, blames_data=answer.status in _ABOUT_DATA)


def _message(told: bytes, form: Form) -> str:
    if form is Form.PROTOBUF:
        try:
            return shorten(Status.FromString(told).message)
        except DecodeError:
            pass
    return shorten(told.decode("utf-8", "replace"))


def _open_pools(target: OtlpTarget, connections: int) -> urllib3.PoolManager:
    """Open the pool of connections, through the proxy that the environment names for it."""
    tls = _tls(target)
    proxy, headers = _proxy_of(target.endpoint)
    if proxy:
        return urllib3.ProxyManager(
            proxy, maxsize=connections, ssl_context=tls, proxy_headers=headers
        )
    return urllib3.PoolManager(maxsize=connections, ssl_context=tls)


def _proxy_of(endpoint: str) -> tuple[str, dict[str, str]]:
    """Find the address of a proxy, empty for none, and the headers that it wants."""
    there, proxies = urlsplit(endpoint), getproxies()
    said = proxies.get(there.scheme) or proxies.get("all") or ""
    if not said or proxy_bypass(there.netloc):
        return "", {}
    try:
        parts = urlsplit(said if "://" in said else f"http://{said}")
        is_proxy = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_proxy = False
    if not is_proxy:  # its text is not told: it may hold a password
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
