"""Sends records to a RecordService as ``records.proto`` messages, in requests of limited size."""

import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.message import Message

from otel_ml.records import columns_of
from otel_ml_collector._proto import records_pb2 as pb
from otel_ml_collector._proto.records_pb2_grpc import RecordServiceStub
from otel_ml_collector.errors import Rejected, Unavailable
from otel_ml_collector.records import (
    ArtifactRecord,
    LateLog,
    LateTag,
    LineRecord,
    Metric,
    ModelVersion,
    Records,
    Run,
    Tag,
    TraceKey,
)
from otel_ml_collector.settings.targets import RecordTarget

# The default limit of a gRPC server is 4 MiB.
_REQUEST_BYTES: Final = 3 * 1024 * 1024
_REQUEST_RECORDS: Final = 2_000
# Overhead of a record in a request: its tag and its length.
_FRAME_BYTES: Final = 6
_CALL_S: Final = 30.0
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 30.0
_SPREAD: Final = secrets.SystemRandom()
_DEFAULT_LIMIT_BYTES: Final = 4 * 1024 * 1024
# Reconnect to a service within seconds, even after hours.
_OPTIONS: Final = (
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.max_send_message_length", -1),
)


class OutgoingRecord(NamedTuple):
    """One record, ready to be sent.

    Attributes:
        kind: Field of the request that holds such records.
        message: The record as a protobuf message.
    """

    kind: str
    message: Message


class Messages:
    """Converts records to protobuf messages. Records that do not fit into one are left out.

    Attributes:
        unfit: Number of records left out, because they have a number beyond 64 bits or an invalid
            text.
    """

    def __init__(self) -> None:
        self.unfit = 0

    def of(self, records: Records) -> Iterator[OutgoingRecord]:
        """Yield a message for each record: versions first, runs last."""
        for kind, (name, make) in _RECORD_KINDS.items():
            for row in getattr(records, name):
                if kind == "trace_keys" and not row.is_own:
                    continue
                try:
                    yield OutgoingRecord(kind, make(row))
                except (ValueError, TypeError):  # a value does not fit the type of its field
                    self.unfit += 1


def requests_of(
    items: Iterable[OutgoingRecord], most_bytes: int = _REQUEST_BYTES
) -> Iterator[list[OutgoingRecord]]:
    """Split records into requests within the size limit. A larger record gets its own request."""
    request: list[OutgoingRecord] = []
    size = 0
    for item in items:
        added = item.message.ByteSize() + _FRAME_BYTES
        if request and (size + added > most_bytes or len(request) >= _REQUEST_RECORDS):
            yield request
            request, size = [], 0
        request.append(item)
        size += added
    if request:
        yield request


def make_request(items: Iterable[OutgoingRecord]) -> pb.PutRecordsRequest:
    """Build one request that contains all the given records."""
    rows: dict[str, list[Message]] = {}
    for item in items:
        rows.setdefault(item.kind, []).append(item.message)
    return pb.PutRecordsRequest(**rows)  # type: ignore[arg-type] # by kind they are what it takes


def _maker(
    record: type,
    message: type[Message],
    more: Callable[[Any], dict[str, Any]] = lambda row: {},
    left_out: Collection[str] = (),
) -> Callable[[Any], Message]:
    """Return a function that converts a record to a message.

    Fields with the same name are copied; `more` returns the other fields. Fields in `left_out` are
    not copied.
    """
    known = set(message.DESCRIPTOR.fields_by_name).difference(left_out)
    names = tuple(field.name for field in fields(record) if field.name in known)
    read = attrgetter(*names)
    return lambda row: message(**dict(zip(names, read(row), strict=True)), **more(row))


def _fields_of(run: Run) -> dict[str, Any]:
    return {"tags": [_tag(tag) for tag in run.tags], "logs": [_line(line) for line in run.logs]}


def _begun(run: Run) -> dict[str, Any]:
    return {**_fields_of(run), "end_ns": run.start_ns}


def _document(artifact: ArtifactRecord) -> dict[str, Any]:
    return {"size": artifact.bytes, "sha256": artifact.sha256 if any(artifact.sha256) else b""}


def _tag(tag: Tag) -> pb.Tag:
    named = pb.Tag(name=tag.name, type=tag.type, group=tag.group)
    if isinstance(tag.value, bool):
        named.bool_value = tag.value
    elif isinstance(tag.value, int):
        named.int_value = tag.value
    elif isinstance(tag.value, float):
        named.double_value = tag.value
    else:
        named.string_value = tag.value
    return named


def _line(line: LineRecord) -> pb.LogLine:
    return pb.LogLine(time_ns=line.time_ns, severity=line.severity, message=line.message)


_LISTS: Final = ("tags", "logs")
# Fields of a run that are only known when it has ended.
_AT_END: Final = {
    name for name, (_, column) in columns_of(Run).items() if column.at_end and name != "outcome"
}
# For each field of the request: the list in `Records`, and the function that converts a record.
# Records that belong to runs come before the runs.
_RECORD_KINDS: Final[Mapping[str, tuple[str, Callable[[Any], Message]]]] = {
    "model_versions": ("versions", _maker(ModelVersion, pb.ModelVersion)),
    "artifacts": ("artifacts", _maker(ArtifactRecord, pb.Artifact, _document, ["sha256"])),
    "logs": (
        "logs",
        _maker(LateLog, pb.LateLog, lambda late: {"line": _line(late.line)}, ["line"]),
    ),
    "tags": ("tags", _maker(LateTag, pb.LateTag, lambda late: {"tag": _tag(late.tag)}, ["tag"])),
    "metrics": ("metrics", _maker(Metric, pb.Metric)),
    "trace_keys": ("trace_keys", _maker(TraceKey, pb.TraceKey)),
    "open_runs": ("open_runs", _maker(Run, pb.Run, _begun, {*_LISTS, *_AT_END, "end_ns"})),
    "runs": ("runs", _maker(Run, pb.Run, _fields_of, _LISTS)),
}


class RecordClient:
    """A connection to a RecordService. Safe to use from several threads.

    Raises:
        ValueError: The certificates cannot be read.
    """

    def __init__(self, target: RecordTarget) -> None:
        self._metadata = (("authorization", f"Bearer {target.key}"),) if target.key else ()
        if target.is_secure:
            try:
                roots = target.ca.read_bytes() if target.ca else None
            except OSError as error:
                raise ValueError(
                    f"The certificates in {target.ca} cannot be read: {error}"
                ) from error
            self._channel = grpc.secure_channel(
                target.address, grpc.ssl_channel_credentials(roots), _OPTIONS
            )
        else:
            self._channel = grpc.insecure_channel(target.address, _OPTIONS)
        self._stub = RecordServiceStub(self._channel)  # type: ignore[no-untyped-call] # generated

    def put(self, items: Sequence[OutgoingRecord], timeout_s: float = _CALL_S) -> int:
        """Send records and wait until the service has acknowledged them.

        Args:
            items: Records to send.
            timeout_s: Seconds to wait for the acknowledgement.

        Returns:
            The number of records that the service refused for good. They are found by splitting the
            request in halves.

        Raises:
            Unavailable: Not all records are known to be stored; send all of them again.
        """
        deadline = time.monotonic() + timeout_s
        try:
            self._call(items, deadline)
        except Rejected:
            if len(items) == 1:
                return 1
            middle = len(items) // 2
            return sum(
                self.put(half, deadline - time.monotonic())
                for half in (items[:middle], items[middle:])
            )
        return 0

    def close(self) -> None:
        """Close the connection. A call in progress fails."""
        self._channel.close()

    def _call(self, items: Sequence[OutgoingRecord], deadline: float) -> None:
        request = make_request(items)
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise Unavailable("The RecordService did not answer in time")
        try:
            self._stub.PutRecords(request, timeout=left_s, metadata=self._metadata)
        except grpc.RpcError as error:
            code = error.code()
            if _is_refusal(code, items, request.ByteSize()):
                raise Rejected(f"The RecordService rejects a record: {code.name}") from error
            raise Unavailable(f"The RecordService answered {code.name}") from error
        except ValueError as error:  # the channel was closed
            raise Unavailable("The connection to the RecordService is closed") from error


class Pauses:
    """Pauses between retries: each is longer than the last, and random to spread out senders."""

    def __init__(self) -> None:
        self._next_s = _FIRST_PAUSE_S

    def reset(self) -> None:
        """Start with the shortest pause again, after a success."""
        self._next_s = _FIRST_PAUSE_S

    def take(self) -> float:
        """Return the next pause in seconds."""
        pause_s = self._next_s * _SPREAD.uniform(0.5, 1.0)
        self._next_s = min(self._next_s * 2, _LONGEST_PAUSE_S)
        return pause_s


def put_until(
    client: RecordClient,
    items: Sequence[OutgoingRecord],
    *,
    deadline: float,
    stopped: threading.Event,
    on_failure: Callable[[Unavailable], None] = lambda error: None,
) -> int:
    """Send records and retry until they are acknowledged.

    Args:
        client: Connection to the service.
        items: Records of one request.
        deadline: Value of `time.monotonic` after which to give up; infinite for never.
        stopped: Give up when this event is set.
        on_failure: Called after each failure.

    Returns:
        The number of records that the service refused for good.

    Raises:
        Unavailable: The records were not acknowledged before the deadline or `stopped`.
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


def _is_refusal(code: grpc.StatusCode, items: Sequence[OutgoingRecord], size: int) -> bool:
    """Return whether retrying cannot help. That includes requests over the service's size limit."""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return len(items) > 1 or size > _DEFAULT_LIMIT_BYTES
    return code is grpc.StatusCode.INVALID_ARGUMENT
