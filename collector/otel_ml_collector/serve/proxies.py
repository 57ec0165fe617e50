"""What a proxy in front of the collector reports about a request: its client, path and user.

Only the headers of a trusted proxy count. Everyone else could write any address or name into them.

Spec: https://www.rfc-editor.org/rfc/rfc7239
"""

import ipaddress
import re
from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeAlias

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from otel_ml_collector.access import ProxyUser, put_user
from otel_ml_collector.api.problems import ErrorAnswer, headers_of, problem_of
from otel_ml_collector.errors import Rejected, Unauthenticated
from otel_ml_collector.receive.refusals import REFUSALS, Refusal
from otel_ml_collector.settings.sign_on import Network, is_identity
from otel_ml_collector.settings.table import Settings

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

PREFIX: Final = "otel_ml.prefix"
# Address of a client that the proxy does not report. It never counts as this machine.
UNKNOWN: Final = "unknown"
_THIS_MACHINE: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
# A prefix contains only characters that links need not escape.
_PREFIX: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]{1,128}){1,16}/?")
_PARAMETER: Final = re.compile(
    r"""[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;=]+))[ \t]*"""
)
_QUOTED: Final = re.compile(r"\\(.)")
_NODE: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\w+)?|([0-9.]+)(?::\w+)?|([0-9A-Fa-f:.]+)")
_LONGEST: Final = 4_096


def parse_forwarded(text: str) -> list[dict[str, str]] | None:
    """Parse a ``Forwarded`` header.

    Returns:
        The parameters of each proxy by lower-case name, the proxy nearest to the client first.
        None if any part of the header is invalid, or it is too long.

    Spec: https://www.rfc-editor.org/rfc/rfc7239#section-4
    """
    if len(text) > _LONGEST:
        return None
    elements: list[dict[str, str]] = [{}]
    at = 0
    while at < len(text):
        if text[at] in ",; \t":
            if text[at] == ",":
                elements.append({})
            at += 1
            continue
        match = _PARAMETER.match(text, at)
        if match is None or text[match.end() : match.end() + 1] not in {"", ",", ";"}:
            return None
        name, quoted, token = match[1].lower(), match[2], match[3]
        if name in elements[-1]:
            return None
        elements[-1][name] = token if quoted is None else _QUOTED.sub(r"\1", quoted)
        at = match.end()
    return [element for element in elements if element]


def read_node(text: str) -> IpAddress | None:
    """Read an address with or without a port; None for a name, ``unknown`` or anything else."""
    match = _NODE.fullmatch(text.strip())
    if match is None:
        return None
    try:
        return _plain(ipaddress.ip_address(match[1] or match[2] or match[3]))
    except ValueError:
        return None


def _plain(address: IpAddress) -> IpAddress:
    """Return the IPv4 address of an IPv4 client of an IPv6 listener."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


class Proxies:
    """Finds out who sent a request behind a trusted proxy, and refuses forged user headers.

    In its headers, a trusted proxy reports the client's address and the user who is signed in, for
    example. If any other sender uses the headers for the user or the user's groups, the request is
    refused.

    Args:
        app: The application.
        settings: Contains the addresses of the trusted proxies and the names of the user headers.
        count_refusal: Called for each request that is refused.
    """

    def __init__(self, app: ASGIApp, settings: Settings, count_refusal: Callable[[], None]) -> None:
        self._app = app
        self._networks: Collection[Network] = settings.trusted_proxies or _THIS_MACHINE
        self._user_header = settings.auth_header
        self._groups_header = settings.auth_groups_header
        self._count_refusal = count_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with the client, scheme, prefix and user that its proxy reports."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        peer = read_node(client[0]) if client else None
        try:
            scope = self._apply(scope, peer) if self._trusts(peer) else self._check(scope)
        except Rejected as error:
            self._count_refusal()
            where = f"{client[0]}:{client[1]}" if client else ""
            REFUSALS.note(Refusal("http", where, str(error), "refused"))
            status, problem = problem_of(error)
            answer = JSONResponse(
                ErrorAnswer(error=problem).model_dump(), status, headers=headers_of(error)
            )
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _trusts(self, address: IpAddress | None) -> bool:
        return address is not None and any(address in network for network in self._networks)

    def _check(self, scope: Scope) -> Scope:
        """Return a request that did not come from a trusted proxy, unless it names a user.

        Raises:
            Unauthenticated: It has a header that only a trusted proxy may send.
        """
        headers = Headers(scope=scope)
        for name in (self._user_header, self._groups_header):
            if name and name in headers:
                raise Unauthenticated(
                    f"The header {name} is accepted only from an address in trusted_proxies"
                )
        return scope

    def _apply(self, scope: Scope, peer: IpAddress | None) -> Scope:
        """Return the request as the client sent it to the first proxy.

        Raises:
            Rejected: The header of the user is not one name.
        """
        headers = Headers(scope=scope)
        forwarded = parse_forwarded(", ".join(headers.getlist("forwarded")))
        user = self._read_user(headers)
        scope = dict(scope)
        if user is not None:
            put_user(scope, user)
        host = self._find_client(headers, forwarded, peer)
        if user is not None and (not host or _is_loopback(host)):
            host = UNKNOWN  # users of a proxy get no rights of loopback clients
        if host:
            scope["client"] = (host, 0)
        schemes = [headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()]
        schemes += [element.get("proto", "").lower() for element in (forwarded or [])[:1]]
        if scheme := next((scheme for scheme in schemes if scheme in {"http", "https"}), ""):
            scope["scheme"] = scheme
        prefix = headers.get("x-forwarded-prefix", "")
        if _PREFIX.fullmatch(prefix):
            scope[PREFIX] = prefix.rstrip("/")
        return scope

    def _find_client(
        self, headers: Headers, forwarded: list[dict[str, str]] | None, peer: IpAddress | None
    ) -> str:
        """Return the client's address by both headers; empty if the request has neither.

        A proxy often sets one of these headers and passes the other one on as a client wrote it.
        So if they name different clients, the client is unknown.
        """
        found = set()
        # Do not cut a long header: the trusted proxies wrote its end.
        if listed := ",".join(headers.getlist("x-forwarded-for")):
            is_short = len(listed) <= _LONGEST
            found.add(self._find_first(listed.split(","), peer) if is_short else UNKNOWN)
        if forwarded is None:
            found.add(UNKNOWN)
        elif forwarded:
            found.add(self._find_first([element.get("for", "") for element in forwarded], peer))
        return found.pop() if len(found) == 1 else UNKNOWN if found else ""

    def _find_first(self, nodes: Sequence[str], peer: IpAddress | None) -> str:
        """Return the last address that is not a trusted proxy; the first one if all are.

        Only proxies of this machine may report an address of this machine.
        """
        is_here = peer is not None and peer.is_loopback
        host = None
        for node in reversed(nodes):
            host = read_node(node)
            if host is None or (host.is_loopback and not is_here):
                return UNKNOWN
            is_here = host.is_loopback
            if not self._trusts(host):
                break
        return str(host)

    def _read_user(self, headers: Headers) -> ProxyUser | None:
        values = headers.getlist(self._user_header) if self._user_header else []
        if not any(values):
            return None
        name = _decode(values[0]).strip().lower()
        if len(values) > 1 or not is_identity(name):
            raise Rejected(
                f"Invalid {self._user_header}: expected this header once, with the name of one user"
            )
        listed = headers.getlist(self._groups_header) if self._groups_header else []
        groups = (group.strip() for value in listed for group in _decode(value).split(","))
        return ProxyUser(name, frozenset(group for group in groups if group))


def _is_loopback(host: str) -> bool:
    address = read_node(host)
    return address is not None and address.is_loopback


def _decode(value: str) -> str:
    """Decode a header as UTF-8. Invalid bytes become a character that no name contains."""
    return value.encode("latin-1").decode("utf-8", "replace")
