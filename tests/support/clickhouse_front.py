"""Simulates a ClickHouse server: the HTTP interface that our client uses, over chDB.

Run as ``python -m tests.support.clickhouse_front FOLDER PORT [CERTIFICATE KEY]``; it prints its
port once it listens. With ``INSERT_BYTES_PER_S`` in the environment it writes no faster than that,
like a slow disk. As on a server, each request has separate settings, their limits are enforced,
and so are the requirements of Replicated tables for deletions:
https://clickhouse.com/docs/interfaces/http, https://clickhouse.com/docs/operations/settings.

It can also simulate replicas: several such processes, each with a separate chDB. The first replica
executes writes and sends them in order to the others. The others forward the writes that they
receive to the first. The statement ``SIMULATE {...}`` sets the fields of `Simulation`.
"""

import base64
import binascii
import gzip
import json
import os
import queue
import re
import socket
import ssl
import sys
import tempfile
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

import chdb
import lz4.frame  # type: ignore[import-untyped]  # has no types
from backports import zstd

from tests.support.folders import ROOT
from tests.support.waiting import elapsed, wait_until

USER: Final = "otel"
PASSWORD: Final = "geheim:@/ü"
# Defaults of a server: http_max_uri_size, http_max_field_value_size.
_MOST_URI: Final = 1024 * 1024
_MOST_FIELD: Final = 128 * 1024
# The profile of `deploy/` for a cluster, and settings in which a server may differ from the
# embedded engine: none of them may change results.
_CLUSTER: Final = ROOT / "deploy/clickhouse/users.xml"
_PROFILE: Final = {
    **{
        setting.tag: setting.text or ""
        for setting in next(ElementTree.parse(_CLUSTER).iter("otel_ml"))  # noqa: S314 - a file of ours
    },
    "join_use_nulls": "1",
    "transform_null_in": "1",
    "group_by_use_nulls": "1",
    "aggregate_functions_null_for_empty": "1",
    "async_insert": "1",
    "wait_for_async_insert": "0",
}
# Parameters of a request that are not settings.
_TRANSPORT: Final = frozenset(
    {"query", "database", "query_id", "session_id", "wait_end_of_query", "buffer_size"}
    | {"client_protocol_version", "default_format", "compress", "decompress"}
)
_BAD_REQUEST: Final = frozenset({6, 26, 27, 33, 38, 41, 43, 53, 62, 69, 72, 117, 457})
_NOT_FOUND: Final = frozenset({46, 47, 50, 56, 60, 73, 81, 115})
_STATUS: Final = (
    dict.fromkeys(_BAD_REQUEST, 400)
    | dict.fromkeys(_NOT_FOUND, 404)
    | {159: 408, 516: 403, 48: 501}
)
_CODE: Final = re.compile(r"Code: (\d+)\.")
_FORMAT: Final = re.compile(rb"\sFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_INSERT: Final = re.compile(
    rb"\s*(INSERT\s+INTO\s.*?)\sFORMAT\s+(\w+)[ \n]", re.IGNORECASE | re.DOTALL
)
# Statements that Replicated tables refuse without a setting.
_ASKING_MUTATION: Final = re.compile(
    rb"\s*(DELETE\s+FROM|ALTER\s+TABLE\s+\S+\s+(DELETE|UPDATE))\b.*\(\s*SELECT\b",
    re.IGNORECASE | re.DOTALL,
)
_TABLE: Final = re.compile(rb"\s*INSERT\s+INTO\s+(?:TABLE\s+)?[`\w.]*?(\w+)`?[\s(]", re.IGNORECASE)
_SIMULATE: Final = re.compile(rb"\s*SIMULATE\s+(\{.*\})\s*(?:FORMAT\s+\w+\s*)?$", re.DOTALL)
# Header of a request from the first replica, with the number of the ordered insert into a table.
_FETCHED: Final = "X-Fetched"
_PEER_S: Final = 60.0
_RESULT: Final = re.compile(rb"\s*(SELECT|WITH|SHOW|DESC|DESCRIBE|EXPLAIN|EXISTS)\b", re.IGNORECASE)
_UNPACK: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "lz4": lz4.frame.decompress,
    "zstd": zstd.decompress,
}
_PACK: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "lz4": lz4.frame.compress,
    "zstd": zstd.compress,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}


@dataclass(slots=True)
class Simulation:
    """The behaviour of a replica that a single server lacks.

    Attributes:
        replicas: Of the first replica, the ports of the others, which receive its writes.
        leader: Port of the first replica; 0 for the first one itself, and for a single server.
        fetch_s: How long a replica takes to fetch an insert.
        live: How many replicas are alive, for the quorum.
        cut_inserts: How many inserts into a table are followed by a cut connection, by table.
    """

    replicas: list[int] = field(default_factory=list)
    leader: int = 0
    fetch_s: float = 0.0
    live: int = 100
    cut_inserts: dict[str, int] = field(default_factory=dict)


class Failure(Exception):
    """An error response of a server.

    Args:
        code: The engine's error code.
        text: The message, as a server formats it.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Asked:
    """A parsed request."""

    query: bytes
    fields: Mapping[str, str]
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings of the profile, overridden by those of the request."""
        own = {name: value for name, value in self.fields.items() if name not in _TRANSPORT}
        return {**_PROFILE, **own}


class Engine:
    """Runs each statement on a separate connection, so its settings end with it."""

    def __init__(self, folder: Path) -> None:
        # Compiling expressions costs more than it saves, because tests have few rows.
        self._address = f"{folder}?compile_expressions=0&compile_aggregate_expressions=0"
        self._bytes_per_s = int(os.environ.get("INSERT_BYTES_PER_S", "0"))
        self._disk = threading.Lock()
        self._held = chdb.connect(self._address)  # type: ignore[no-untyped-call]  # has no types
        self._held.query("CREATE DATABASE IF NOT EXISTS default ENGINE = Atomic")

    def run(self, asked: Asked) -> tuple[bytes, str]:
        """Run a statement; return its result and the result's format."""
        settings = asked.settings
        allows = settings.get("allow_nondeterministic_mutations") == "1"
        if _ASKING_MUTATION.match(asked.query) and not allows:
            text = "statement with subquery may be nondeterministic"
            raise Failure(36, f"Code: 36. DB::Exception: {text}. (BAD_ARGUMENTS)")
        connection = chdb.connect(self._address)  # type: ignore[no-untyped-call]  # has no types
        try:
            connection.query(f"USE {_quoted(asked.fields.get('database', 'default'), '`')}")
            changes = [
                f"{name} = {_quoted(value)}"
                for name, value in settings.items()
                if re.fullmatch(r"\w+", name)
            ]
            if changes:
                connection.query(f"SET {', '.join(changes)}")
            if self._bytes_per_s and _INSERT.match(asked.query):
                with self._disk:
                    takes_s = len(asked.query) / self._bytes_per_s
                    wait_until(elapsed(takes_s), takes_s + 20)
            return _run(connection, asked)
        except RuntimeError as error:
            text = str(error)
            code = _CODE.search(text)
            raise Failure(int(code[1]) if code else 1002, text) from error
        finally:
            connection.close()


def _run(connection: Any, asked: Asked) -> tuple[bytes, str]:
    insert = _INSERT.match(asked.query)
    if insert:
        with tempfile.NamedTemporaryFile(suffix=".insert") as file:
            file.write(asked.query[insert.end() :])
            file.flush()
            connection.query(
                insert[1].decode()
                + f" FROM INFILE {_quoted(file.name)} FORMAT {insert[2].decode()}"
            )
        return b"", ""
    named = _FORMAT.search(asked.query)
    result = connection.query(asked.query, "TabSeparated", params=dict(asked.parameters)).bytes()
    told = named[1].decode() if named else "TabSeparated"
    return result or b"", told if named or _RESULT.match(asked.query) else ""


class Replica:
    """Simulates the behaviour of a replica in addition to its engine.

    Inserts with a quorum that is not parallel are ordered: they are numbered by table.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.simulation = Simulation()
        self._guard = threading.Lock()
        # By table: the number of the last ordered insert on the first replica, and of the last
        # fetched insert on the others.
        self.ordered: dict[str, int] = {}
        self._unfinished: set[str] = set()
        self._queues: dict[int, queue.Queue[Callable[[], None]]] = {}

    def simulate(self, fields: Mapping[str, Any]) -> None:
        """Change the simulated behaviour."""
        for name, value in fields.items():
            setattr(self.simulation, name, value)

    def write(self, asked: Asked, request: "Sent") -> tuple[bytes, str]:
        """Execute a write on the first replica and on as many others as its quorum needs."""
        match = _TABLE.match(asked.query)
        table = match[1].decode() if match else ""
        quorum = int(asked.settings.get("insert_quorum", "0")) if table else 0
        is_ordered = quorum > 1 and asked.settings.get("insert_quorum_parallel", "1") == "0"
        if quorum > self.simulation.live:
            raise _failure(285, f"{self.simulation.live} live replicas", "TOO_FEW_LIVE_REPLICAS")
        with self._guard:
            if is_ordered and table in self._unfinished:
                name = "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE"
                raise _failure(286, f"an insert into {table} is not finished", name)
            number = self.ordered.get(table, 0) + 1 if is_ordered else 0
            if is_ordered:
                self._unfinished.add(table)
        try:
            result = self.engine.run(asked)
            if is_ordered:
                self.ordered[table] = number
            fetched = self._send(request, f"{number} {table}")
            self._wait(fetched, quorum, float(asked.settings.get("insert_quorum_timeout", "0")))
        finally:
            self._unfinished.discard(table)
        return result

    def _send(self, request: "Sent", number: str) -> list[threading.Event]:
        """Send a request to the other replicas, in the order in which this one executed it."""
        fetched = []
        for port in self.simulation.replicas:
            done = threading.Event()

            def fetch(port: int = port, done: threading.Event = done) -> None:
                fetch_s = self.simulation.fetch_s
                wait_until(elapsed(fetch_s), fetch_s + 20)
                wait_until(lambda: _is_fetched(request, port, number), _PEER_S)
                done.set()

            if port not in self._queues:
                self._queues[port] = queue.Queue()
                threading.Thread(target=self._work, args=(port,), daemon=True).start()
            self._queues[port].put(fetch)
            fetched.append(done)
        return fetched

    def _work(self, port: int) -> None:
        while True:
            self._queues[port].get()()

    def _wait(self, fetched: Sequence[threading.Event], quorum: int, timeout_ms: float) -> None:
        """Wait for a quorum; without other replicas, wait as long as a fetch takes."""
        if quorum > 1 and not fetched:
            wait_until(elapsed(self.simulation.fetch_s), self.simulation.fetch_s + 20)
        ends_s = time.monotonic() + timeout_ms / 1_000
        while quorum > 1 and fetched and sum(map(threading.Event.is_set, fetched)) < quorum - 1:
            if time.monotonic() > ends_s:
                raise _failure(319, "no quorum in time", "UNKNOWN_STATUS_OF_INSERT")
            fetched[0].wait(0.01)

    def check_order(self, asked: Asked, request: "Sent") -> None:
        """Refuse a sequentially consistent read on a replica that lacks ordered inserts."""
        if self.simulation.leader and asked.settings.get("select_sequential_consistency") == "1":
            _, _, body = request.send(self.simulation.leader, {}, b"SIMULATE {}")
            lacking = {
                table
                for table, number in json.loads(body)["ordered"].items()
                if self.ordered.get(table, 0) < number
            }
            if lacking:
                raise _failure(289, f"it lacks {sorted(lacking)}", "REPLICA_IS_NOT_IN_QUORUM")

    def is_cut(self, asked: Asked) -> bool:
        """Return whether the connection is cut after this insert."""
        match = _TABLE.match(asked.query)
        table = match[1].decode() if match else ""
        with self._guard:
            left = self.simulation.cut_inserts.get(table, 0)
            if left:
                self.simulation.cut_inserts[table] = left - 1
        return left > 0


@dataclass(frozen=True, slots=True)
class Sent:
    """A received request, to be forwarded to another replica."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def send(
        self, port: int, more: Mapping[str, str], statement: bytes | None = None
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Forward the request, or a statement in its place; return status, headers and body."""
        dropped = {"host", "content-length", "transfer-encoding", "accept-encoding", "connection"}
        dropped |= {"content-encoding", "content-type"} if statement is not None else set()
        kept = {name: text for name, text in self.headers.items() if name.lower() not in dropped}
        with closing(HTTPConnection("127.0.0.1", port, timeout=_PEER_S)) as line:
            path, body = ("/", statement) if statement is not None else (self.path, self.body)
            line.request("POST", path, body, {**kept, **more})
            answer = line.getresponse()
            return answer.status, answer.getheaders(), answer.read()


def _is_fetched(request: Sent, port: int, number: str) -> bool:
    """Send a request to another replica; return False while that replica is down."""
    try:
        request.send(port, {_FETCHED: number})
    except OSError:
        return False
    return True


def _failure(code: int, what: str, name: str) -> Failure:
    return Failure(code, f"Code: {code}. DB::Exception: {what}. ({name})")


def _quoted(text: str, mark: str = "'") -> str:
    escaped = text.replace("\\", "\\\\").replace(mark, "\\" + mark)
    return f"{mark}{escaped}{mark}"


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    replica: Replica

    def handle_one_request(self) -> None:
        """Read and answer one request; its first line may be as long as a server allows."""
        self.raw_requestline = self.rfile.readline(_MOST_URI + 65_536)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if self.parse_request():
            self._answer()
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def _answer(self) -> None:
        body = self._read_body()
        if self.path.endswith("/ping"):
            self._send(200, b"Ok.\n", {})
            return
        try:
            self._check_user()
            asked = self._read(body)
            answered = self._run(asked, Sent(self.path, dict(self.headers), body))
            if answered is None:
                return
            result, told = answered
        except Failure as error:
            headers = {"X-ClickHouse-Exception-Code": str(error.code)}
            text = f"{error} (version 26.9.2.1)\n".encode()
            self._send(_STATUS.get(error.code, 500), text, headers)
            return
        headers = {
            "X-ClickHouse-Query-Id": str(uuid.uuid4()),
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Summary": "{}",
        }
        if told:
            headers["X-ClickHouse-Format"] = told
        if asked.fields.get("enable_http_compression") == "1" and result:
            result, coding = self._pack(result)
            headers |= {"Content-Encoding": coding} if coding else {}
        self._send(200, result, headers)

    def _run(self, asked: Asked, request: Sent) -> tuple[bytes, str] | None:
        """Run a statement; return None if the connection is cut or already has its response."""
        replica = self.replica
        if simulate := _SIMULATE.match(asked.query):
            replica.simulate(json.loads(simulate[1]))
            state = {"ordered": replica.ordered, "cut_inserts": replica.simulation.cut_inserts}
            return json.dumps(state).encode(), ""
        if number := self.headers.get(_FETCHED):
            result = replica.engine.run(asked)
            count, _, table = number.partition(" ")
            replica.ordered[table] = int(count) or replica.ordered.get(table, 0)
            return result
        if _RESULT.match(asked.query):
            replica.check_order(asked, request)
            return replica.engine.run(asked)
        if replica.simulation.leader:
            status, headers, answer = request.send(replica.simulation.leader, {})
            own = {"content-length", "connection", "date", "server"}
            self._send(status, answer, {k: v for k, v in headers if k.lower() not in own})
            return None
        result = replica.write(asked, request)
        if replica.is_cut(asked):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        return result

    def _read_body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("content-length", "0")))

    def _read(self, body: bytes) -> Asked:
        """Parse a request: the fields of its address and form, and the resulting query."""
        if len(self.path) > _MOST_URI:
            raise Failure(1000, "Code: 1000. DB::Exception: URI Too Long. (POCO_EXCEPTION)")
        fields = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        body = _UNPACK[self.headers.get("content-encoding", "")](body)
        kind = self.headers.get("content-type", "")
        if kind.startswith("multipart/form-data"):
            head = f"Content-Type: {kind}\r\n\r\n".encode()
            for part in message_from_bytes(head + body, policy=HTTP).iter_parts():
                name = str(part.get_param("name", header="content-disposition"))
                payload = part.get_payload(decode=True)
                assert isinstance(payload, bytes)
                fields[name] = payload.decode()
            body = b""
        for name, value in fields.items():
            if len(value.encode()) > _MOST_FIELD:
                text = "HTML Form Exception: Field value too long"
                raise Failure(1000, f"Code: 1000. DB::Exception: {text}: {name}. (POCO_EXCEPTION)")
        query = fields.get("query", "").encode()
        parameters = {
            name.removeprefix("param_"): fields[name]
            for name in fields
            if name.startswith("param_")
        }
        settings = {name: value for name, value in fields.items() if not name.startswith("param_")}
        return Asked(
            query + b"\n" + body if query and body else query or body, settings, parameters
        )

    def _check_user(self) -> None:
        kind, _, text = self.headers.get("authorization", "").partition(" ")
        try:
            told = base64.b64decode(text).decode() if kind == "Basic" else ""
        except (binascii.Error, UnicodeDecodeError):
            told = ""
        if told != f"{USER}:{PASSWORD}":
            raise Failure(
                516,
                "Code: 516. DB::Exception: Authentication failed: password is incorrect, or there "
                "is no user with such name. (AUTHENTICATION_FAILED)",
            )

    def _pack(self, result: bytes) -> tuple[bytes, str]:
        wanted = self.headers.get("accept-encoding", "").replace(" ", "").split(",")
        coding = next((name for name in wanted if name in _PACK), "")
        return (_PACK[coding](result), coding) if coding else (result, "")

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Handles each connection in a separate thread."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect."""
        if not isinstance(sys.exception(), (OSError, ssl.SSLError)):
            super().handle_error(request, client_address)


def main(folder: str, port: str, *certificate: str) -> None:
    """Serve until the process is killed."""
    Handler.replica = Replica(Engine(Path(folder)))
    server = Server(("127.0.0.1", int(port)), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=server.serve_forever).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
