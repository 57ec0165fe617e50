"""An example backend that stores the records of a collector or an application in SQLite.

Start it with ``python backend.py records.db 127.0.0.1:4319 [KEY]``. To see the records, run
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

# You can also generate these two modules from records.proto with protoc.
from otel_ml_collector._proto import records_pb2 as pb
from otel_ml_collector._proto import records_pb2_grpc

# For each kind, the fields that identify a record and the field that ranks duplicates. Of two
# records with the same identity, the one with the higher rank is kept.
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
    """The service. It responds once the records are on disk; duplicates change nothing."""

    def __init__(self, path: str, key: str) -> None:
        self._key = f"Bearer {key}" if key else ""
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = WAL")
        # A response means that the records survive a power cut.
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute(TABLE)

    def PutRecords(  # noqa: N802 - the name in records.proto
        self, request: pb.PutRecordsRequest, context: grpc.ServicerContext
    ) -> pb.PutRecordsResponse:
        """Store all records of a request in one transaction."""
        sent_key = dict(context.invocation_metadata()).get("authorization", "")
        if not hmac.compare_digest(str(sent_key).encode(), self._key.encode()) and self._key:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "a bearer key is needed")
        # INVALID_ARGUMENT tells the collector never to send these runs again.
        if not all(run.trace_id and run.span_id for run in request.runs):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "expected a run with ids")
        with self._lock, self._database:
            for kind in IDENTITIES:
                for record in getattr(request, kind):
                    self._put(kind, record)
        return pb.PutRecordsResponse()

    def _put(self, kind: str, record: Message) -> None:
        fields, rank = IDENTITIES[kind]
        identity = "\x1f".join(text_of(record, field) for field in fields)
        if isinstance(record, pb.ModelVersion):  # its fields arrive in several records
            where = "SELECT body FROM records WHERE kind = ? AND identity = ?"
            for (body,) in self._database.execute(where, (kind, identity)):
                old = Parse(body, pb.ModelVersion())
                record.definition = record.definition or old.definition
                firsts = [v for v in (old.first_arrived_ns, record.first_arrived_ns) if v]
                record.first_arrived_ns = min(firsts, default=0)
                record.last_seen_ns = max(old.last_seen_ns, record.last_seen_ns)
        body = MessageToJson(record, preserving_proto_field_name=True, indent=None)
        # As padded text, because a rank can be too large for SQLite's integers.
        order = f"{int(getattr(record, rank)):020}" if rank else ""
        self._database.execute(PUT, (kind, identity, order, body))


def text_of(record: Message, path: str) -> str:
    """Return a field as text. A dotted path reads a field of a nested message."""
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
