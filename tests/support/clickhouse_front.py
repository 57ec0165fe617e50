"""A stand-in for a ClickHouse server: its HTTP interface as our client uses it, before chDB.

Run as ``python -m tests.support.clickhouse_front FOLDER PORT [CERTIFICATE KEY]``; it prints its
port when it listens. With ``INSERT_BYTES_PER_S`` in the environment it stores no faster than that,
as a slow disk does. Each request has settings of its own, as on a server, whose limits hold too,
and so does what Replicated tables ask of a deletion:
https://clickhouse.com/docs/interfaces/http, https://clickhouse.com/docs/operations/settings.
"""

import base64
import binascii
import gzip
import os
import re
import ssl
import sys
import tempfile
import threading
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

import chdb
import lz4.frame  # type: ignore[import-untyped]  # it carries no types
from backports import zstd

from tests.support.folders import ROOT
from tests.support.waiting import elapsed, wait_until

USER: Final = "otel"
PASSWORD: Final = "geheim:@/ü"
# A server's own: http_max_uri_size, http_max_field_value_size.
_MOST_URI: Final = 1024 * 1024
_MOST_FIELD: Final = 128 * 1024
# The profile of `deploy/` for a cluster, and what a server's may say otherwise than the engine:
# nothing of it may change answers.
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
# Parameters of a request that are no settings.
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
# What Replicated tables refuse without a setting.
_ASKING_MUTATION: Final = re.compile(
    rb"\s*(DELETE\s+FROM|ALTER\s+TABLE\s+\S+\s+(DELETE|UPDATE))\b.*\(\s*SELECT\b",
    re.IGNORECASE | re.DOTALL,
)
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


class Failure(Exception):
    """What a server answers with an error.

    Args:
        code: The engine's own.
        text: As a server says it.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, read."""

    query: bytes
    fields: Mapping[str, str]
    parameters: Mapping[str, str] = field(default_factory=dict)


class Engine:
    """Runs each statement on a connection of its own, whose settings are gone with it."""

    def __init__(self, folder: Path) -> None:
        self._address = str(folder)
        self._bytes_per_s = int(os.environ.get("INSERT_BYTES_PER_S", "0"))
        self._disk = threading.Lock()
        self._held = chdb.connect(self._address)  # type: ignore[no-untyped-call]  # it carries no types
        self._held.query("CREATE DATABASE IF NOT EXISTS default ENGINE = Atomic")

    def run(self, asked: Asked) -> tuple[bytes, str]:
        """Run a statement; return its result and the result's format."""
        settings = {
            **_PROFILE,
            **{name: value for name, value in asked.fields.items() if name not in _TRANSPORT},
        }
        allows = settings.get("allow_nondeterministic_mutations") == "1"
        if _ASKING_MUTATION.match(asked.query) and not allows:
            text = "statement with subquery may be nondeterministic"
            raise Failure(36, f"Code: 36. DB::Exception: {text}. (BAD_ARGUMENTS)")
        connection = chdb.connect(self._address)  # type: ignore[no-untyped-call]  # it carries no types
        try:
            connection.query(f"USE {_quoted(asked.fields.get('database', 'default'), '`')}")
            for name, value in settings.items():
                if re.fullmatch(r"\w+", name):
                    connection.query(f"SET {name} = {_quoted(value)}")
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


def _quoted(text: str, mark: str = "'") -> str:
    escaped = text.replace("\\", "\\\\").replace(mark, "\\" + mark)
    return f"{mark}{escaped}{mark}"


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    engine: Engine

    def handle_one_request(self) -> None:
        """Read and answer one request, whose first line may be as long as a server's."""
        self.raw_requestline = self.rfile.readline(_MOST_URI + 65_536)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if self.parse_request():
            self._answer()
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        body = self._read_body()
        if self.path.endswith("/ping"):
            self._send(200, b"Ok.\n", {})
            return
        try:
            self._check_user()
            asked = self._read(body)
            result, told = self.engine.run(asked)
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
        """Read a request: fields of its address and form, and the query that they and it make."""
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
    """Answers each connection on a thread of its own."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""
        if not isinstance(sys.exception(), (OSError, ssl.SSLError)):
            super().handle_error(request, client_address)


def main(folder: str, port: str, *certificate: str) -> None:
    """Serve until the process is killed."""
    Handler.engine = Engine(Path(folder))
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
