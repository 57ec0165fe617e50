"""Sends OTLP requests over HTTP: with time limits, connection reuse, proxies and TLS.

It uses urllib3 and adds three guarantees in `_TimedSocket`, `_connect` and `_KeptConnections`. A
request ends when its time is over, even if the receiver sends single bytes now and then. When a
process ends, `HttpSender.is_out_of_reach` tells whether a request is still connecting. A forked
child closes its copies of the connections without waiting for a lock.

Spec: https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import gzip
import os
import queue
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from opentelemetry import context

from otel_ml.export.answer import REFUSED, Answer, read_answer
from otel_ml.export.settings import TRACES_PATH, ExportSettings, own_version
from otel_ml.loading import LOADING
from otel_ml.worker import away

if TYPE_CHECKING:
    from ssl import SSLContext

    from urllib3 import BaseHTTPResponse, HTTPConnectionPool, PoolManager
    from urllib3.connection import HTTPConnection

# The default level 6 takes several times as long and saves little. CPU time of the user's process
# matters more than bandwidth.
_GZIP_LEVEL: Final = 1

# documents are sent uncompressed, because they are identified by the hash of the body
_FILE_HEADERS: Final = {"content-type": "application/octet-stream", "content-encoding": "identity"}
_JSON_HEADERS: Final = {"content-type": "application/json", "content-encoding": "identity"}

_KEPT_CONNECTIONS: Final = 2

# context key that turns instrumentations off; they also accept the plain name
_SUPPRESS_KEY: Final = getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation")

# headers that users cannot set: they describe our body, or the response that we can read
_OUR_HEADERS: Final = frozenset(
    {"accept-encoding", "content-encoding", "content-length", "content-type", "transfer-encoding"}
)


class HttpSender:
    """Sends requests to the collector over persistent connections. Thread-safe.

    It sends each request once; the caller retries.

    Attributes:
        page: Base URL for display.
    """

    def __init__(self, settings: ExportSettings) -> None:
        self.page = settings.page
        self._settings = settings
        self._connections: HttpConnections | None = None
        self._latest: Attempt | None = None

    @property
    def is_out_of_reach(self) -> bool:
        """Whether the latest request is still connecting, or ended without a response."""
        return self._latest is not None and self._latest.is_out_of_reach

    def post(self, body: bytes, timeout_s: float) -> Answer:
        """Send encoded spans to the receiver.

        Args:
            body: An encoded ``ExportTraceServiceRequest``.
            timeout_s: Maximum time for the whole request in seconds, without DNS lookup.

        Returns:
            Whether the receiver accepted the spans. ``retry`` is True for status 429, 502, 503 and
            504, and if there is no response.
        """
        if self._settings.compression == "gzip":
            body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        return self._exchange("POST", self._settings.url, body, {}, timeout_s)

    def put(self, url: str, document: bytes, timeout_s: float) -> Answer:
        """Store a file at another address of the same receiver. Works like `post`."""
        return self._exchange("PUT", url, document, _FILE_HEADERS, timeout_s)

    def post_json(self, url: str, document: bytes, timeout_s: float) -> Answer:
        """Send a JSON document to another address of the same receiver. Works like `post`."""
        return self._exchange("POST", url, document, _JSON_HEADERS, timeout_s)

    def open(self) -> None:
        """Import the modules that sending needs, without opening a connection. Call it early."""
        # early, because importing at exit can change the exit status after Ctrl-C
        with suppress(Unusable):  # each request reports the error
            self._open()

    def close(self) -> None:
        """Close the connections. The next request opens them again. A second call does nothing."""
        connections, self._connections = self._connections, None
        if connections is not None:
            connections.pool.close()

    def after_fork(self) -> None:
        """Drop the parent's connections in a forked child. They stay open in the parent."""
        self.close()  # closes only the child's copies, without a lock: see `_KeptConnections`

    def _exchange(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> Answer:
        with attempt_until(time.monotonic() + timeout_s) as attempt:
            self._latest = attempt
            try:
                connections = self._connections or self._open()
            except Unusable as error:
                return Answer(delivered=False, message=str(error))
            from http.client import HTTPException

            from urllib3.exceptions import HTTPError

            # The receiver may close a persistent connection just as we use it. That is not a
            # failure: the second attempt opens a new connection, which replaces the closed one.
            for _ in range(2):
                try:
                    with away():
                        response = connections.urlopen(
                            method,
                            url,
                            body=body,
                            headers={**connections.headers, **headers},
                            timeout=attempt.time_left(),
                            retries=False,
                            redirect=False,
                            preload_content=False,
                            decode_content=False,
                        )
                except (OSError, HTTPException, HTTPError) as error:
                    attempt.abandon()
                    answer = Answer(delivered=False, retry=True, message=describe(error))
                    if attempt.connected or not _is_hang_up(_find_root(error)):
                        break
                else:
                    return read_answer(response, self._settings.headers)
            attempt.is_out_of_reach = True
            return answer

    def _open(self) -> "HttpConnections":
        return self._connections or LOADING.load(self._open_once)

    def _open_once(self) -> "HttpConnections":
        with LOADING.once:
            if self._connections is None:
                self._connections = open_connections(self._settings)
            return self._connections


# The current request: its deadline, and sockets that respect it.


@dataclass(slots=True)
class Attempt:
    """State of the HTTP request that the current thread is sending.

    Attributes:
        deadline: When the request must be complete, as a value of `time.monotonic`.
        connected: Whether the request opened a new connection instead of reusing one.
        is_out_of_reach: Whether the receiver cannot be reached. True while the request is
            connecting, and after connecting failed.
        used: Socket that the request used last.
    """

    deadline: float
    connected: bool = False
    is_out_of_reach: bool = False
    used: "_TimedSocket | None" = None

    def time_left(self) -> float:
        """Return the remaining seconds; raise `TimeoutError` if there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def abandon(self) -> None:
        """Close the socket of a request that failed.

        Older Pythons leave it open if a proxy fails.
        """
        descriptor = -1 if self.used is None else self.used.detach()
        if descriptor >= 0:
            socket.close(descriptor)


_ATTEMPT: Final[ContextVar[Attempt]] = ContextVar("otel_ml_attempt")


@contextmanager
def attempt_until(deadline: float) -> Iterator[Attempt]:
    """Limit the time of all requests that this thread sends inside the ``with`` block.

    These requests are not recorded as spans, even if the program instruments its HTTP library.

    Args:
        deadline: When the requests must be complete, as a value of `time.monotonic`.
    """
    attempt = Attempt(deadline)
    entries = _ATTEMPT.set(attempt)
    token = context.attach(context.set_value(_SUPPRESS_KEY, True))
    try:
        yield attempt
    finally:
        context.detach(token)
        _ATTEMPT.reset(entries)


class _TimedSocket(socket.socket):
    """A socket that limits each call to the remaining time of the current request.

    A normal socket timeout applies to each call, so a receiver that sends single bytes could block
    forever. With gevent and eventlet, the base class is theirs and calls these methods with extra
    options.
    """

    def _limit(self) -> None:
        attempt = _ATTEMPT.get()
        attempt.used = self
        self.settimeout(attempt.time_left())

    def recv(self, *args: Any, **options: Any) -> bytes:
        self._limit()
        return super().recv(*args, **options)

    def recv_into(self, *args: Any, **options: Any) -> int:
        self._limit()
        return super().recv_into(*args, **options)

    def send(self, *args: Any, **options: Any) -> int:
        self._limit()
        return super().send(*args, **options)

    def sendall(self, *args: Any, **options: Any) -> None:
        self._limit()
        super().sendall(*args, **options)


def _connect(connection: "HTTPConnection") -> socket.socket:
    """Connect to the first address that responds.

    Each address gets an equal share of the remaining time.
    """
    attempt = _ATTEMPT.get()
    attempt.connected = attempt.is_out_of_reach = True
    host = connection.host.strip("[]")
    try:
        addresses = socket.getaddrinfo(host, connection.port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label of the host name is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "Name not known") from None
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        endpoint = None
        try:
            endpoint = _TimedSocket(family, kind, protocol)
            for option in connection.socket_options or ():
                endpoint.setsockopt(*option)
            endpoint.settimeout(attempt.time_left() / (len(addresses) - number))
            endpoint.connect(address)
        except OSError:
            if endpoint is not None:
                endpoint.close()
            if number == len(addresses) - 1:
                raise
        else:
            attempt.is_out_of_reach = False
            return endpoint
    raise socket.gaierror(socket.EAI_NONAME, "No address")


def _create_tls(ca_file: str | None) -> "SSLContext":
    """Return a TLS context with sockets that respect the deadline.

    It trusts the certificates in `ca_file`, or those of the system.
    """
    import ssl

    class TimedTlsSocket(_TimedSocket, ssl.SSLSocket):
        def do_handshake(self, *args: Any, **options: Any) -> None:
            self._limit()
            super().do_handshake(*args, **options)

    tls = ssl.create_default_context(cafile=ca_file)
    tls.sslsocket_class = TimedTlsSocket
    return tls


# Persistent connections.


class Unusable(Exception):
    """The export settings cannot work, for example an invalid address. Retrying does not help."""


@dataclass(frozen=True, slots=True)
class HttpConnections:
    """Open connections to the receiver, direct or through a proxy, and the headers to send."""

    pools: "PoolManager"
    pool: "HTTPConnectionPool"
    headers: dict[str, str]
    _targets: dict[str, str] = field(default_factory=dict)

    def urlopen(self, method: str, url: str, **options: Any) -> "BaseHTTPResponse":
        """Send a request to the receiver, such as a collector."""
        # reuse the pool: finding it by address takes a tenth of the time of a small request
        if self.pools.proxy is not None:
            return self.pools.urlopen(method, url, **options)
        target = self._targets.get(url)
        if target is None:
            target = urlunsplit(urlsplit(url)._replace(scheme="", netloc=""))
            if url.endswith(TRACES_PATH):  # not for documents: each has its own URL
                self._targets[url] = target
        return self.pool.urlopen(method, target, **options)


class _KeptConnections(queue.LifoQueue[Any]):
    """A queue of idle connections without a lock, because methods of a list need none.

    A child process that is forked while another thread holds a lock would hang when it closes its
    copies of the connections. This happened in 2 of 400 runs of
    `test_child_of_a_thread_that_sends`.
    """

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return self.queue.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if len(self.queue) >= self.maxsize:
            raise queue.Full
        self.queue.append(item)


def open_connections(settings: ExportSettings) -> HttpConnections:
    """Create a pool of connections to the collector. Connecting happens with the first request.

    Raises:
        Unusable: The address, the proxy address or a certificate file is invalid.
    """
    # imported here because it takes 40 ms, which the user's first call should not wait for (python
    # -X importtime -c "import urllib3")
    import_module("encodings.idna")  # otherwise DNS lookup would import it
    from urllib3.exceptions import LocationValueError

    tls = _client_tls(settings) if settings.url.startswith("https:") else None
    pools = _open_pools(settings.url, tls)
    try:
        pool = pools.connection_from_url(settings.url)
    except LocationValueError:  # not shown, because the address may contain a key
        raise Unusable(
            "Invalid endpoint: expected an address such as http://localhost:4318"
        ) from None
    headers = {
        "user-agent": f"otel-ml/{own_version()}",
        **{name: text for name, text in settings.headers.items() if name not in _OUR_HEADERS},
        "content-type": "application/x-protobuf",
    }
    if settings.compression == "gzip":
        headers["content-encoding"] = "gzip"
    return HttpConnections(pools, pool, headers)


def _open_pools(url: str, tls: "SSLContext | None") -> "PoolManager":
    import urllib3
    from urllib3.connection import HTTPConnection, HTTPSConnection

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain
        QueueCls = _KeptConnections

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure
        QueueCls = _KeptConnections

    proxy, proxy_headers = _proxy(url)
    if proxy:
        proxy_tls = _create_tls(None) if proxy.startswith("https:") else None
        pools: urllib3.PoolManager = urllib3.ProxyManager(
            proxy,
            proxy_headers=proxy_headers,
            proxy_ssl_context=proxy_tls,
            ssl_context=tls or proxy_tls,  # urllib3 before 2.8 uses this context for the proxy
            maxsize=_KEPT_CONNECTIONS,
        )
    else:
        pools = urllib3.PoolManager(ssl_context=tls, maxsize=_KEPT_CONNECTIONS)
    pools.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return pools


def _proxy(url: str) -> tuple[str, dict[str, str]]:
    """Return the proxy's address, empty for none, and the headers it needs."""
    from urllib.request import getproxies, proxy_bypass

    from urllib3.util import make_headers

    target, proxies = urlsplit(url), getproxies()
    address = proxies.get(target.scheme) or proxies.get("all") or ""
    if not address or proxy_bypass(target.netloc):
        return "", {}
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            login, _, host = parts.netloc.rpartition("@")
            headers = make_headers(proxy_basic_auth=unquote(login)) if login else {}
            return urlunsplit((parts.scheme, host, "", "", "")), headers
    except ValueError:  # not shown, because it may contain a password
        pass
    raise Unusable("Unsupported proxy: expected an address such as http://proxy:3128")


def _client_tls(settings: ExportSettings) -> "SSLContext":
    files = (settings.ca_file, settings.client_cert_file, settings.client_key_file)
    try:
        tls = _create_tls(settings.ca_file)
        if settings.client_cert_file is not None:
            # the empty password makes an encrypted key an error; otherwise OpenSSL would ask for
            # one
            tls.load_cert_chain(settings.client_cert_file, settings.client_key_file, password="")
    except (OSError, ValueError) as error:
        named = ", ".join(file for file in files if file)
        raise Unusable(f"Unusable certificate files ({named}): {describe(error)}") from error
    return tls


# Messages for failures.


def _find_root(error: BaseException) -> BaseException:
    """Return the root cause of a urllib3 error, which is one of its arguments.

    ``__context__`` is not used, because it includes errors that the caller was handling.
    """
    inner = next((item for item in error.args if isinstance(item, BaseException)), None)
    return error if inner is None else _find_root(inner)


def _is_hang_up(error: BaseException) -> bool:
    """Tell whether the other side closed the connection."""
    import ssl

    return isinstance(error, (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError))


def describe(error: BaseException) -> str:
    """Explain why a request got no response.

    The text is always the same for the same cause, and contains no secrets.
    """
    import ssl
    from http.client import HTTPException

    from urllib3.exceptions import InvalidHeader
    from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

    error = _find_root(error)
    for kinds, words in (
        ((TimeoutError, Urllib3TimeoutError), "timed out"),
        (ConnectionRefusedError, REFUSED),
        (socket.gaierror, "host name not found"),
    ):
        if isinstance(error, kinds):
            return words
    if _is_hang_up(error):
        return "connection closed by the receiver"
    if isinstance(error, (HTTPException, InvalidHeader)):
        return "no HTTP answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'unknown').lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    refusal = re.match(r"Tunnel connection failed: (\d{3})\b", str(error))
    return f"proxy answered {refusal[1]}" if refusal else type(error).__name__
