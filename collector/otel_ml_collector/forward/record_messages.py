"""Records as messages of ``records.proto``, in requests of bounded size."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message

from otel_ml.records import columns_of
from otel_ml_collector._proto import records_pb2 as pb
from otel_ml_collector.records import (
    Artifact,
    LateLog,
    LateTag,
    LogLine,
    Metric,
    ModelVersion,
    Records,
    Run,
    Tag,
    TraceKey,
)

# A gRPC server takes 4 MiB when it is told nothing else.
_REQUEST_BYTES: Final = 3 * 1024 * 1024
_REQUEST_RECORDS: Final = 2_000
# Around a record in a request: its field, and its length.
_FRAME_BYTES: Final = 6


def _same(record: type, message: type[Message], *left_out: str) -> tuple[str, ...]:
    """Name the fields of a record that its message has by the same name and type."""
    known = set(message.DESCRIPTOR.fields_by_name).difference(left_out)
    return tuple(one.name for one in fields(record) if one.name in known)


_RUN: Final = _same(Run, pb.Run, "tags", "logs")
# What is known of a run only once it has ended.
_AT_END: Final = {
    name for name, (_, column) in columns_of(Run).items() if column.at_end and name != "outcome"
}
_OPEN_RUN: Final = tuple(name for name in _RUN if name not in _AT_END)
_VERSION: Final = _same(ModelVersion, pb.ModelVersion)
_METRIC: Final = _same(Metric, pb.Metric)
_LATE_LOG: Final = _same(LateLog, pb.LateLog, "line")
_ARTIFACT: Final = _same(Artifact, pb.Artifact, "sha256")


class Item(NamedTuple):
    """One record, ready to be put in a request.

    Attributes:
        kind: The request's field that takes it.
    """

    kind: str
    message: Message


class Messages:
    """Makes messages of records, and leaves out what no message can hold.

    Attributes:
        unfit: How many records were left out: a number beyond 64 bits, a text that is none.
    """

    def __init__(self) -> None:
        self.unfit = 0

    def of(self, records: Records) -> Iterator[Item]:
        """Make a message of each record: versions first, runs last."""
        keys = [key for key in records.trace_keys if key.is_own]
        yield from self._make("model_versions", _version, records.versions)
        yield from self._make("artifacts", _artifact, records.artifacts)
        yield from self._make("logs", _late_log, records.logs)
        yield from self._make("tags", _late_tag, records.tags)
        yield from self._make("metrics", _metric, records.metrics)
        yield from self._make("trace_keys", _trace_key, keys)
        yield from self._make("open_runs", _open_run, records.open_runs)
        yield from self._make("runs", _run, records.runs)

    def _make(
        self, kind: str, make: Callable[[Any], Message], rows: Sequence[Any]
    ) -> Iterator[Item]:
        for row in rows:
            try:
                yield Item(kind, make(row))
            except (ValueError, TypeError):  # what the type of a field does not take
                self.unfit += 1


def requests_of(items: Iterable[Item], most_bytes: int = _REQUEST_BYTES) -> Iterator[list[Item]]:
    """Cut records into requests: none is larger, but for one of a single record that is."""
    request: list[Item] = []
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


def make_request(items: Iterable[Item]) -> pb.PutRecordsRequest:
    """Put records into one request."""
    rows: dict[str, list[Message]] = {}
    for item in items:
        rows.setdefault(item.kind, []).append(item.message)
    return pb.PutRecordsRequest(**rows)  # type: ignore[arg-type] # by kind they are what it takes


def _run(run: Run) -> pb.Run:
    return pb.Run(**_fields(run, _RUN), **_told(run))


def _open_run(run: Run) -> pb.Run:
    return pb.Run(**{**_fields(run, _OPEN_RUN), "end_ns": run.start_ns}, **_told(run))


def _told(run: Run) -> dict[str, Any]:
    return {"tags": [_tag(tag) for tag in run.tags], "logs": [_line(line) for line in run.logs]}


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


def _line(line: LogLine) -> pb.LogLine:
    return pb.LogLine(time_ns=line.time_ns, severity=line.severity, message=line.message)


def _version(version: ModelVersion) -> pb.ModelVersion:
    return pb.ModelVersion(**_fields(version, _VERSION))


def _metric(metric: Metric) -> pb.Metric:
    return pb.Metric(**_fields(metric, _METRIC))


def _late_tag(late: LateTag) -> pb.LateTag:
    return pb.LateTag(
        project=late.project,
        owner=late.owner,
        tag=_tag(late.tag),
        time_ns=late.time_ns,
        record_id=late.record_id,
    )


def _late_log(late: LateLog) -> pb.LateLog:
    return pb.LateLog(**_fields(late, _LATE_LOG), line=_line(late.line))


def _artifact(artifact: Artifact) -> pb.Artifact:
    sha256 = artifact.sha256 if any(artifact.sha256) else b""
    return pb.Artifact(**_fields(artifact, _ARTIFACT), size=artifact.bytes, sha256=sha256)


def _trace_key(key: TraceKey) -> pb.TraceKey:
    return pb.TraceKey(project=key.project, trace_id=key.trace_id, key=key.key)


def _fields(record: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return dict(zip(names, attrgetter(*names)(record), strict=True))
