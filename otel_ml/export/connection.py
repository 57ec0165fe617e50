"""Kept connections to the address that spans go to: pools, proxies and TLS."""

import queue
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from otel_ml.export.attempt import connect, create_tls
from otel_ml.export.failure import describe
from otel_ml.export.settings import Settings

if TYPE_CHECKING:
    from ssl import SSLContext

    from urllib3 import HTTPConnectionPool, PoolManager

_KEPT_CONNECTIONS: Final = 2

# Describe the body, which is ours, or the answer that we can read.
_OUR_HEADERS: Final = frozenset(
    {"accept-encoding", "content-encoding", "content-length", "content-type", "transfer-encoding"}
)


class Unusable(Exception):
    """The settings cannot work: sending again cannot help."""


@dataclass(frozen=True, slots=True)
class Line:
    """Kept connections to the address, through a proxy or not, and what each request carries."""

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


def open_line(settings: Settings) -> Line:
    """Prepare the pools of connections; opens none, each request does when it needs one.

    Raises:
        Unusable: The address, the proxy's or a certificate file cannot be used.
    """
    # Inside, with all that it brings: takes 40 ms, which a process that sends nothing, and the
    # host's first call, need not pay (python -X importtime -c "import urllib3").
    import encodings.idna  # noqa: F401 - the look-up of a host's name would import it

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
        "user-agent": _user_agent(),
        **{name: text for name, text in settings.headers.items() if name not in _OUR_HEADERS},
        "content-type": "application/x-protobuf",
    }
    if settings.compression == "gzip":
        headers["content-encoding"] = "gzip"
    return Line(pools, pool, headers)


def _user_agent() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"otel-ml/{version('otel-ml')}"
    except PackageNotFoundError:  # run from a source tree
        return "otel-ml/unknown"


def _open_pools(url: str, tls: "SSLContext | None") -> "PoolManager":
    import urllib3
    from urllib3.connection import HTTPConnection, HTTPSConnection

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain
        QueueCls = _KeptConnections

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure
        QueueCls = _KeptConnections

    proxy, proxy_headers = _proxy(url)
    if proxy:
        proxy_tls = create_tls(None) if proxy.startswith("https:") else None
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


def _client_tls(settings: Settings) -> "SSLContext":
    files = (settings.ca_file, settings.client_cert_file, settings.client_key_file)
    try:
        tls = create_tls(settings.ca_file)
        if settings.client_cert_file is not None:
            # An encrypted key is an error: without a password OpenSSL would ask at the terminal.
            tls.load_cert_chain(settings.client_cert_file, settings.client_key_file, password="")
    except (OSError, ValueError) as error:
        named = ", ".join(file for file in files if file)
        raise Unusable(f"Unusable certificate files ({named}): {describe(error)}") from error
    return tls
