"""The request under way: its deadline, and sockets that keep to it."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context

if TYPE_CHECKING:
    from ssl import SSLContext

    from urllib3.connection import HTTPConnection

# Private to the API; the instrumentations also look for the plain name.
_SUPPRESS: Final = getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation")


@dataclass(slots=True)
class Attempt:
    """The request under way on this thread.

    Attributes:
        deadline: When it has to be over, by the monotonic clock.
        connected: It opened a connection, as opposed to taking a kept one.
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
    ours = _ATTEMPT.set(attempt)
    token = context.attach(context.set_value(_SUPPRESS, True))
    try:
        yield attempt
    finally:
        context.detach(token)
        _ATTEMPT.reset(ours)


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


def connect(connection: "HTTPConnection") -> socket.socket:
    """Connect to the first address that answers; each gets its share of the time that is left."""
    attempt = _ATTEMPT.get()
    attempt.connected = attempt.is_out_of_reach = True
    host = connection.host.strip("[]")
    try:
        found = socket.getaddrinfo(host, connection.port, type=socket.SOCK_STREAM)
    except UnicodeError:  # no name has so long a part, or an empty one
        raise socket.gaierror(socket.EAI_NONAME, "Name not known") from None
    for number, (family, kind, protocol, _, address) in enumerate(found):
        endpoint = None
        try:
            endpoint = _TimedSocket(family, kind, protocol)
            for option in connection.socket_options or ():
                endpoint.setsockopt(*option)
            endpoint.settimeout(attempt.time_left() / (len(found) - number))
            endpoint.connect(address)
        except OSError:
            if endpoint is not None:
                endpoint.close()
            if number == len(found) - 1:
                raise
        else:
            attempt.is_out_of_reach = False
            return endpoint
    raise socket.gaierror(socket.EAI_NONAME, "No address")


def create_tls(ca_file: str | None) -> "SSLContext":
    """Trust a file of authorities, or the system's, on sockets that keep to the deadline."""
    import ssl

    class TimedTlsSocket(_TimedSocket, ssl.SSLSocket):
        def do_handshake(self, *args: Any, **options: Any) -> None:
            self._limit()
            super().do_handshake(*args, **options)

    tls = ssl.create_default_context(cafile=ca_file)
    tls.sslsocket_class = TimedTlsSocket
    return tls
