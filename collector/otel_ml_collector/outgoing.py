"""Posts requests to other servers, and only to addresses that the settings allow.

The address is checked when the connection is made. So a host name that resolves to a different
machine the second time cannot bypass the check. Redirects are not followed, and proxies are not
used.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

_LONGEST_REST_S: Final = 600.0
# IPv6 prefix of IPv4 addresses that a gateway translates. Spec:
# https://www.rfc-editor.org/rfc/rfc6052#section-2.1
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
_TRANSLATED_HERE: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
_IPV4_BITS: Final = 2**32
# Reserved for protocols, so no machine has such an address. Not every Python version knows the
# whole range. Spec: https://www.iana.org/assignments/iana-ipv4-special-registry
_PROTOCOLS: Final = ipaddress.IPv4Network("192.0.0.0/24")


@dataclass(frozen=True, slots=True)
class OutgoingPeer:
    """A server to send requests to, and which of its addresses are allowed.

    Attributes:
        host: Host name or IP address.
        netloc: Host and port as in the URL.
        is_secure: Whether the server uses TLS.
        tls_ca: File with certificates (PEM) to trust. If None, those of the system are trusted.
        timeout_s: Maximum seconds for one request, from connecting to the end of the answer.
        allow_private: Whether requests can also go to private addresses, such as `10.0.0.1`.
        allow_link_local: Whether link-local addresses count as private addresses. If false, no
            request goes to a link-local address.
    """

    host: str
    port: int
    netloc: str
    is_secure: bool
    tls_ca: Path | None
    timeout_s: float
    allow_private: bool
    allow_link_local: bool = True


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """The answer of a server to a request.

    Attributes:
        body: The start of the answer, up to the requested number of bytes.
        rest_s: Seconds to wait before the next request, from the header `Retry-After`. At most 600.
            None if the answer has no such header, or if the header contains a date.
    """

    status: int
    reason: str
    body: bytes
    rest_s: float | None


class AddressRefused(Exception):
    """A host has no address that the settings allow. The message contains no secret."""


def post_to(
    peer: OutgoingPeer, path: str, body: bytes, headers: Mapping[str, str], *, limit_bytes: int
) -> PeerAnswer:
    """Post JSON to a server, and read the start of the answer.

    Args:
        peer: The server.
        path: Path and query.
        body: The JSON document.
        headers: Further headers.
        limit_bytes: How much of the answer is read.

    Raises:
        AddressRefused: The host has no allowed address.
        OSError: The server cannot be reached, or does not answer in time.
        http.client.HTTPException: The answer is not HTTP.
    """
    connection = http.client.HTTPConnection(peer.host, peer.port, timeout=peer.timeout_s)
    with _connected(peer) as there:
        connection.sock = there
        sent = {
            "host": peer.netloc,
            "user-agent": f"otel-ml/{version('otel-ml')}",
            "content-type": "application/json",
            "connection": "close",
            **headers,
        }
        connection.request("POST", path, body, sent)
        answer = connection.getresponse()
        text = answer.read(limit_bytes)
    # Retry-After in seconds. A date is ignored, because it depends on our clock.
    rest = answer.headers.get("retry-after", "")
    is_number = rest.isascii() and rest.isdecimal()
    rest_s = min(float(rest), _LONGEST_REST_S) if is_number else None
    return PeerAnswer(answer.status, answer.reason, text, rest_s)


def is_allowed(address: str, *, allow_private: bool, allow_link_local: bool = True) -> bool:
    """Return whether a request can go to an address.

    Args:
        address: An IP address as text.
        allow_private: Whether private addresses are allowed too.
        allow_link_local: Whether link-local addresses count as private ones. Cloud providers serve
            the machine's credentials at such an address.
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
        if known.is_link_local and not allow_link_local:
            return False
    return allow_private or there not in _TRANSLATED_HERE


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and address not in _PROTOCOLS
    return address.is_global and not address.is_site_local


def _embedded(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> Iterator[ipaddress.IPv4Address]:
    """List the IPv4 addresses that are embedded in an IPv6 address."""
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


@contextmanager
def _connected(peer: OutgoingPeer) -> Iterator[socket.socket]:
    """Connect to the first allowed address, within the timeout of the server."""
    with _connect(peer) as plain:
        ending = threading.Timer(peer.timeout_s, _end, [plain])
        ending.daemon = True
        ending.start()
        try:
            if not peer.is_secure:
                yield plain
                return
            context = ssl.create_default_context(cafile=peer.tls_ca)
            # TLS uses a duplicate of the socket, so that the timer can still shut down the
            # original.
            with context.wrap_socket(plain.dup(), server_hostname=peer.host) as secure:
                yield secure
        finally:
            ending.cancel()


def _connect(peer: OutgoingPeer) -> socket.socket:
    places = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
    allowed = [
        place
        for place in places
        if is_allowed(
            str(place[4][0]),
            allow_private=peer.allow_private,
            allow_link_local=peer.allow_link_local,
        )
    ]
    if not allowed:
        raise AddressRefused(
            f"{peer.host} has no public address: set allow_private = true to allow a private one"
        )
    trouble: OSError | None = None
    for family, kind, protocol, _, place in allowed:
        there = socket.socket(family, kind, protocol)
        there.settimeout(peer.timeout_s)
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
    except OSError:  # already closed
        return
