"""Sends records to a RecordService, and says what became of them."""

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import grpc

from otel_ml_collector._proto.records_pb2_grpc import RecordServiceStub
from otel_ml_collector.errors import Refused, Unavailable
from otel_ml_collector.forward.record_messages import Item, make_request
from otel_ml_collector.settings.targets import RecordTarget

_CALL_S: Final = 30.0
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 30.0
_SPREAD: Final = secrets.SystemRandom()
_DEFAULT_LIMIT_BYTES: Final = 4 * 1024 * 1024
# A service that comes back is found within seconds, also after hours.
_OPTIONS: Final = (
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.max_send_message_length", -1),
)


class RecordClient:
    """A connection to a RecordService; safe to use from several threads.

    Raises:
        ValueError: Its certificates cannot be read.
    """

    def __init__(self, target: RecordTarget) -> None:
        self._metadata = (("authorization", f"Bearer {target.key}"),) if target.key else ()
        if target.is_secure:
            self._channel = grpc.secure_channel(target.address, _credentials(target), _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(target.address, _OPTIONS)
        self._stub = RecordServiceStub(self._channel)  # type: ignore[no-untyped-call] # generated

    def put(self, items: Sequence[Item], timeout_s: float = _CALL_S) -> int:
        """Send records; when this returns, the service has acknowledged them.

        Returns:
            How many the service refused for good: what is wrong was found by halves.

        Raises:
            Unavailable: Not all of them are known to be stored: send all of them again.
        """
        deadline = time.monotonic() + timeout_s
        try:
            self._call(items, deadline)
        except Refused:
            if len(items) == 1:
                return 1
            middle = len(items) // 2
            return sum(
                self.put(half, deadline - time.monotonic())
                for half in (items[:middle], items[middle:])
            )
        return 0

    def close(self) -> None:
        """Let the connection go; a call under way fails."""
        self._channel.close()

    def _call(self, items: Sequence[Item], deadline: float) -> None:
        request = make_request(items)
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise Unavailable("The RecordService did not answer in time")
        try:
            self._stub.PutRecords(request, timeout=left_s, metadata=self._metadata)
        except grpc.RpcError as error:
            code = error.code()
            if _is_refusal(code, items, request.ByteSize()):
                raise Refused(f"The RecordService refuses a record: {code.name}") from error
            raise Unavailable(f"The RecordService answers {code.name}") from error
        except ValueError as error:  # the channel was closed
            raise Unavailable("The connection to the RecordService is closed") from error


class Pauses:
    """How long to wait after each failure: longer each time, and never the same for two senders."""

    def __init__(self) -> None:
        self._next_s = _FIRST_PAUSE_S

    def reset(self) -> None:
        """Begin again after a success."""
        self._next_s = _FIRST_PAUSE_S

    def take(self) -> float:
        """Return the next one, in seconds."""
        pause_s = self._next_s * _SPREAD.uniform(0.5, 1.0)
        self._next_s = min(self._next_s * 2, _LONGEST_PAUSE_S)
        return pause_s


def put_until(
    client: RecordClient,
    items: Sequence[Item],
    *,
    deadline: float,
    stopped: threading.Event,
    on_failure: Callable[[Unavailable], None] = lambda error: None,
) -> int:
    """Send records again and again until they are acknowledged.

    Args:
        client: The service.
        items: The records of one request.
        deadline: `time.monotonic` after which it ends, infinite for never.
        stopped: When it is set, it ends too.
        on_failure: Is told of each failure.

    Returns:
        How many the service refused for good.

    Raises:
        Unavailable: It ended before they were acknowledged.
    """
    pauses = Pauses()
    while True:
        left_s = deadline - time.monotonic()
        try:
            return client.put(items, min(_CALL_S, max(left_s, 0.0)))
        except Unavailable as error:
            on_failure(error)
            pause_s = pauses.take()
            if pause_s >= deadline - time.monotonic() or stopped.wait(pause_s):
                raise


def _is_refusal(code: grpc.StatusCode, items: Sequence[Item], size: int) -> bool:
    """Tell what coming again cannot help: also a request beyond what the service's gRPC takes."""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return len(items) > 1 or size > _DEFAULT_LIMIT_BYTES
    return code is grpc.StatusCode.INVALID_ARGUMENT


def _credentials(target: RecordTarget) -> grpc.ChannelCredentials:
    try:
        roots = target.ca.read_bytes() if target.ca else None
    except OSError as error:
        raise ValueError(f"The certificates in {target.ca} cannot be read: {error}") from error
    return grpc.ssl_channel_credentials(roots)
