"""One OTLP request over HTTP, within its time, over kept connections, proxies and TLS.

urllib3 does the work. Three promises it does not keep, which `_TimedSocket`, `_connect` and
`_KeptConnections` add: a request ends when its time is over, also with a receiver that sends a
byte now and then; whether a request is still connecting is known at the end of a process; a
forked child closes its copies of the connections without waiting for a lock.

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
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from opentelemetry import context

from otel_ml.export.answer import REFUSED, Answer, read_answer
from otel_ml.export.settings import ExportSettings, own_version
from otel_ml.loading import LOADING
from otel_ml.spans import SUPPRESS_KEY

if TYPE_CHECKING:
    from ssl import SSLContext

    from urllib3 import HTTPConnectionPool, PoolManager
    from urllib3.connection import HTTPConnection

# Level 6, the usual, takes several times as long and leaves somewhat less. The processor is the
# host's, so the network pays.
_GZIP_LEVEL: Final = 1

# A document is sent as it is: its hash is that of the body.
_JSON_HEADERS: Final = {"content-type": "application/json", "content-encoding": "identity"}

_KEPT_CONNECTIONS: Final = 2

# Describe the body, which is ours, or the answer that we can read.
_OUR_HEADERS: Final = frozenset(
    {"accept-encoding", "content-encoding", "content-length", "content-type", "transfer-encoding"}
)


class HttpSender:
    """Sends request bodies to an address over kept-alive connections; never tries again later.

    Safe to use from several threads.

    Attributes:
        page: The base address, as people know it.
    """

    def __init__(self, settings: ExportSettings) -> None:
        self.page = settings.page
        self._settings = settings
        self._connections: HttpConnections | None = None
        self._latest: Attempt | None = None

    @property
    def is_out_of_reach(self) -> bool:
        """Whether the latest request is still connecting, or ended without an answer."""
        return self._latest is not None and self._latest.is_out_of_reach

    def post(self, body: bytes, timeout_s: float) -> Answer:
        """Send a request.

        Args:
            body: An encoded ``ExportTraceServiceRequest``.
            timeout_s: How long all of it may take, but for the look-up of the host's name, which
                the operating system bounds.

        Returns:
            The outcome. Sending again is worth it (``retry``) when no answer came, which
            includes a certificate that was not accepted, and on 429, 502, 503 and 504.
        """
        if self._settings.compression == "gzip":
            body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        return self._exchange("POST", self._settings.url, body, {}, timeout_s)

    def put(self, url: str, document: bytes, timeout_s: float) -> Answer:
        """Store a JSON document at another address of the same receiver; otherwise as `post`."""
        return self._exchange("PUT", url, document, _JSON_HEADERS, timeout_s)

    def open(self) -> None:
        """Load the modules that sending needs, while the host still runs; opens no connection.

        At the end of a process an import may run code that makes the interpreter forget that it
        ends by KeyboardInterrupt, and its exit status with it.
        """
        with suppress(Unusable):  # each send says so
            self._open()

    def close(self) -> None:
        """Close the connections; a later send opens them again, a second call does nothing."""
        connections, self._connections = self._connections, None
        if connections is not None:
            connections.pool.close()

    def after_fork(self) -> None:
        """Forget, in a forked child, the connections of the parent, which stay open for it."""
        self.close()  # closes the child's copies alone, and takes no lock: see `_KeptConnections`

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

            # A receiver may close a kept connection just when we use it: that is no failure, and
            # the second try opens a new one, which is put on top where the closed one was.
            for _ in range(2):
                try:
                    response = connections.pools.urlopen(
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


# The request under way: its deadline, and sockets that keep to it.


@dataclass(slots=True)
class Attempt:
    """The request under way on this thread.

    Attributes:
        deadline: When it has to be over, by the monotonic clock.
        connected: It opened a connection, as opposed to reusing a kept connection.
        is_out_of_reach: It is connecting, or over without an answer.
        used: The socket that it used last.
    """

    deadline: float
    connected: bool = False
    is_out_of_reach: bool = False
    used: "_TimedSocket | None" = None

    def time_left(self) -> float:
        """Count the seconds that are left; raises `TimeoutError` when there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def abandon(self) -> None:
        """Close the socket, of which a proxy that broke off leaves a file open in older Pythons."""
        descriptor = -1 if self.used is None else self.used.detach()
        if descriptor >= 0:
            socket.close(descriptor)


_ATTEMPT: Final[ContextVar[Attempt]] = ContextVar("otel_ml_attempt")


@contextmanager
def attempt_until(deadline: float) -> Iterator[Attempt]:
    """Set the deadline of this thread's sockets, and keep instrumentations off the request."""
    attempt = Attempt(deadline)
    entries = _ATTEMPT.set(attempt)
    token = context.attach(context.set_value(SUPPRESS_KEY, True))
    try:
        yield attempt
    finally:
        context.detach(token)
        _ATTEMPT.reset(entries)


class _TimedSocket(socket.socket):
    """A socket whose calls share the time of the request under way.

    The timeout of a socket counts anew for each call, and so would wait for ever for a receiver
    that sends a byte now and then. Under gevent and eventlet the base class is theirs, which calls
    these methods with options of its own.
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
    """Connect to the first address that answers; each gets its share of the time that is left."""
    attempt = _ATTEMPT.get()
    attempt.connected = attempt.is_out_of_reach = True
    host = connection.host.strip("[]")
    try:
        addresses = socket.getaddrinfo(host, connection.port, type=socket.SOCK_STREAM)
    except UnicodeError:  # no name has so long a part, or an empty one
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
    """Trust a file of authorities, or the system's, on sockets that keep to the deadline."""
    import ssl

    class TimedTlsSocket(_TimedSocket, ssl.SSLSocket):
        def do_handshake(self, *args: Any, **options: Any) -> None:
            self._limit()
            super().do_handshake(*args, **options)

    tls = ssl.create_default_context(cafile=ca_file)
    tls.sslsocket_class = TimedTlsSocket
    return tls


# Kept connections.


class Unusable(Exception):
    """The settings cannot work: sending again cannot help."""


@dataclass(frozen=True, slots=True)
class HttpConnections:
    """Kept connections to the address, through a proxy or not, and the headers of each request."""

    pools: "PoolManager"
    pool: "HTTPConnectionPool"
    headers: dict[str, str]


class _KeptConnections(queue.LifoQueue[Any]):
    """A queue without a lock, which the methods of a list do not need.

    A child that is forked while another thread holds the lock hangs when it closes its copies of
    the connections: 2 of 400 did under `test_child_of_a_thread_that_sends`.
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
    """Prepare the pools of connections; opens none, each request does when needed.

    Raises:
        Unusable: The address, the proxy's or a certificate file cannot be used.
    """
    # Inside, with all that it brings: takes 40 ms, which a process that sends nothing, and the
    # host's first call, need not pay (python -X importtime -c "import urllib3").
    import_module("encodings.idna")  # the look-up of a host's name would import it
    from urllib3.exceptions import LocationValueError

    tls = _client_tls(settings) if settings.url.startswith("https:") else None
    pools = _open_pools(settings.url, tls)
    try:
        pool = pools.connection_from_url(settings.url)
    except LocationValueError:  # its text holds the address, which may hold a key
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
            ssl_context=tls or proxy_tls,  # urllib3 before 2.8 takes this one to such a proxy
            maxsize=_KEPT_CONNECTIONS,
        )
    else:
        pools = urllib3.PoolManager(ssl_context=tls, maxsize=_KEPT_CONNECTIONS)
    pools.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return pools


def _proxy(url: str) -> tuple[str, dict[str, str]]:
    """Find the proxy's address, empty for none, and the headers that it wants."""
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
    except ValueError:  # its text holds what is wrong, which may be a password
        pass
    raise Unusable("Unsupported proxy: expected an address such as http://proxy:3128")


def _client_tls(settings: ExportSettings) -> "SSLContext":
    files = (settings.ca_file, settings.client_cert_file, settings.client_key_file)
    try:
        tls = _create_tls(settings.ca_file)
        if settings.client_cert_file is not None:
            # An encrypted key is an error: without a password OpenSSL would ask at the terminal.
            tls.load_cert_chain(settings.client_cert_file, settings.client_key_file, password="")
    except (OSError, ValueError) as error:
        named = ", ".join(file for file in files if file)
        raise Unusable(f"Unusable certificate files ({named}): {describe(error)}") from error
    return tls


# Failures in words.


def _find_root(error: BaseException) -> BaseException:
    """Find the cause in an error of urllib3, which carries it as an argument.

    Not its context: that goes on to whatever the caller was handling.
    """
    inner = next((item for item in error.args if isinstance(item, BaseException)), None)
    return error if inner is None else _find_root(inner)


def _is_hang_up(error: BaseException) -> bool:
    """Tell whether the other end closed the connection."""
    import ssl

    return isinstance(error, (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError))


def describe(error: BaseException) -> str:
    """Say why a request got no answer, in words that hold no secret and are the same each time."""
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
