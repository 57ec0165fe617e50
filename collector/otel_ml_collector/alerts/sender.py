"""Posts a message to a receiver, and only to addresses that the settings allow.

The address that a name stands for is checked where it is connected to, so that a name that means
another machine the next time gains nothing; redirects are not followed, and proxies not used.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import Final

from otel_ml_collector.alerts.messages import AlertRequest
from otel_ml_collector.settings.alert_targets import AlertTarget

_ANSWER_BYTES: Final = 4_096
_REASON_CHARS: Final = 200
_LONGEST_REST_S: Final = 600.0
# A second attempt with the same message cannot succeed.
_REFUSALS: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
# IPv4 addresses that a gateway reaches by IPv6.
# Spec: https://www.rfc-editor.org/rfc/rfc6052#section-2.1
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
_TRANSLATED_HERE: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
_IPV4_BITS: Final = 2**32
# For protocols, and none of a machine's; not every Python knows the whole of it.
# Spec: https://www.iana.org/assignments/iana-ipv4-special-registry
_PROTOCOLS: Final = ipaddress.IPv4Network("192.0.0.0/24")


class Undelivered(Exception):
    """A receiver did not accept a message.

    Args:
        message: What is wrong, without a secret.
        is_final: A second attempt with the same message cannot succeed.
        retry_after_s: When to try again, as the receiver asks.
    """

    def __init__(
        self, message: str, *, is_final: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.is_final = is_final
        self.retry_after_s = retry_after_s


def post(target: AlertTarget, request: AlertRequest) -> None:
    """Post a message; when the call returns, the receiver has accepted it.

    Raises:
        Undelivered: It is not certain that it arrived; the error contains no secret.
    """
    try:
        status, reason, answer, rest_s = _exchange(target, request)
    except Undelivered:
        raise
    except (OSError, http.client.HTTPException, ValueError, UnicodeError) as error:
        reason = target.hide_secrets(_shorten(str(error)))
        raise Undelivered(f"{type(error).__name__}: {reason}".rstrip(": ")) from None
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    shown = target.hide_secrets(_shorten(f"{status} {reason} {answer.decode('utf-8', 'replace')}"))
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise Undelivered(f"{status}: a redirect, which is not followed")
    raise Undelivered(shown, is_final=status in _REFUSALS, retry_after_s=rest_s)


def is_allowed(address: str, *, allow_private: bool) -> bool:
    """Return whether a message can go to an address.

    Args:
        address: An IP address as text.
        allow_private: Whether private addresses are allowed too.
    """
    try:
        there = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    for known in (there, *_embedded(there)):
        if known.is_multicast or known.is_unspecified:
            return False
        if not (allow_private or _is_public(known)):
            return False
    return allow_private or there not in _TRANSLATED_HERE


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and address not in _PROTOCOLS
    return address.is_global and not address.is_site_local


def _embedded(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> Iterator[ipaddress.IPv4Address]:
    """List the IPv4 addresses that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _TRANSLATED:
        yield ipaddress.IPv4Address(int(address) % _IPV4_BITS)


def _exchange(target: AlertTarget, request: AlertRequest) -> tuple[int, str, bytes, float | None]:
    """Send a request and read the start of the response, within the timeout."""
    connection = http.client.HTTPConnection(target.host, target.port, timeout=target.timeout_s)
    with _connected(target) as there:
        connection.sock = there
        headers = {
            "host": target.parts.netloc,
            "user-agent": f"otel-ml/{version('otel-ml')}",
            "content-type": "application/json",
            "connection": "close",
            **dict(target.headers),
            **request.headers,
        }
        connection.request("POST", target.path, request.body, headers)
        answer = connection.getresponse()
        body = answer.read(_ANSWER_BYTES)
    # In seconds; a date is left out, which a clock may misread.
    rest = answer.headers.get("retry-after", "")
    is_number = rest.isascii() and rest.isdecimal()
    rest_s = min(float(rest), _LONGEST_REST_S) if is_number else None
    return answer.status, answer.reason, body, rest_s


@contextmanager
def _connected(target: AlertTarget) -> Iterator[socket.socket]:
    """Connect to the first allowed address, within the timeout of the receiver."""
    with _connect(target) as plain:
        ending = threading.Timer(target.timeout_s, _end, [plain])
        ending.daemon = True
        ending.start()
        try:
            if not target.is_secure:
                yield plain
                return
            context = ssl.create_default_context(cafile=target.tls_ca)
            # The socket stays ours to end: a copy of its number speaks TLS.
            with context.wrap_socket(plain.dup(), server_hostname=target.host) as secure:
                yield secure
        finally:
            ending.cancel()


def _connect(target: AlertTarget) -> socket.socket:
    places = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    allowed = [
        place
        for place in places
        if is_allowed(str(place[4][0]), allow_private=target.allow_private)
    ]
    if not allowed:
        raise Undelivered(
            f"{target.host} has no public address: set allow_private = true to allow a private one"
        )
    trouble: OSError | None = None
    for family, kind, protocol, _, place in allowed:
        there = socket.socket(family, kind, protocol)
        there.settimeout(target.timeout_s)
        try:
            there.connect(place)
        except OSError as error:
            there.close()
            trouble = error
        else:
            return there
    raise trouble or OSError("no address")


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has ended itself
        return


def _shorten(text: str) -> str:
    """Shorten a response to one line of printable characters."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:_REASON_CHARS]
