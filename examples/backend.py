"""A backend of one's own: takes the records of a collector or of an application into SQLite.

Start it with ``python backend.py records.db 127.0.0.1:4319 [KEY]``, then look at what came with
``sqlite3 records.db "SELECT body ->> 'name', body ->> 'outputs' FROM records"``.
"""

import hmac
import signal
import sqlite3
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message

# Or what protoc makes of records.proto.
from otel_ml_collector._proto import records_pb2 as pb
from otel_ml_collector._proto import records_pb2_grpc

# What makes two records of a kind one, and which of the two holds: the one with the higher rank.
IDENTITIES = {
    "model_versions": (("project", "kind", "name", "digest", "structure"), "last_seen_ns"),
    "artifacts": (("project", "owner", "record_id", "position"), "rank"),
    "logs": (("project", "owner", "record_id", "position"), ""),
    "tags": (("project", "owner", "tag.name", "record_id"), "time_ns"),
    "metrics": (
        ("project", "owner", "name", "source", "judge_version", "record_id", "position"),
        "time_ns",
    ),
    "trace_keys": (("project", "trace_id", "key"), ""),
    "open_runs": (("project", "trace_id", "span_id"), "rank"),
    "runs": (("project", "trace_id", "span_id"), "rank"),
}
TABLE = """CREATE TABLE IF NOT EXISTS records (
  kind TEXT, identity TEXT, rank TEXT, body TEXT, PRIMARY KEY (kind, identity)) WITHOUT ROWID"""
PUT = """INSERT INTO records VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
  SET rank = excluded.rank, body = excluded.body WHERE excluded.rank >= records.rank"""


class Backend(records_pb2_grpc.RecordServiceServicer):
    """Answers once the records of a request are on disk; the same ones again change nothing."""

    def __init__(self, path: str, key: str) -> None:
        self._key = f"Bearer {key}" if key else ""
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")  # a commit is on disk
        self._database.execute(TABLE)

    def PutRecords(  # noqa: N802 - the service's name of it
        self, request: pb.PutRecordsRequest, context: grpc.ServicerContext
    ) -> pb.PutRecordsResponse:
        """Store the records of a request, all of them or none."""
        said = dict(context.invocation_metadata()).get("authorization", "")
        if not hmac.compare_digest(str(said).encode(), self._key.encode()) and self._key:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "a bearer key is needed")
        if not all(run.trace_id and run.span_id for run in request.runs):  # never to be stored
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "expected a run with ids")
        with self._lock, self._database:  # one transaction
            for kind in IDENTITIES:
                for record in getattr(request, kind):
                    self._put(kind, record)
        return pb.PutRecordsResponse()

    def _put(self, kind: str, record: Message) -> None:
        fields, rank = IDENTITIES[kind]
        identity = "\x1f".join(text_of(record, field) for field in fields)
        if isinstance(record, pb.ModelVersion):  # what is known of it comes piece by piece
            where = "SELECT body FROM records WHERE kind = ? AND identity = ?"
            for (body,) in self._database.execute(where, (kind, identity)):
                old = Parse(body, pb.ModelVersion())
                record.definition = record.definition or old.definition
                firsts = [v for v in (old.first_arrived_ns, record.first_arrived_ns) if v]
                record.first_arrived_ns = min(firsts, default=0)
                record.last_seen_ns = max(old.last_seen_ns, record.last_seen_ns)
        body = MessageToJson(record, preserving_proto_field_name=True, indent=None)
        order = f"{int(getattr(record, rank)):020}" if rank else ""  # beyond SQLite's integers
        self._database.execute(PUT, (kind, identity, order, body))


def text_of(record: Message, path: str) -> str:
    """Write a field as text; a path leads into a message."""
    value: object = record
    for name in path.split("."):
        value = getattr(value, name)
    return value.hex() if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    path, address, key = (*sys.argv[1:], "")[:3]
    server = grpc.server(ThreadPoolExecutor(4))
    records_pb2_grpc.add_RecordServiceServicer_to_server(Backend(path, key), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port(address)
    signal.signal(signal.SIGTERM, lambda *_: server.stop(5))
    server.start()
    print(f"ready: {port}", flush=True)
    server.wait_for_termination()
