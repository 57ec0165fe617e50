"""What the settings say of a place that OTLP is forwarded to, read from text."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from otel_ml_collector.settings.tls import problem_of
from otel_ml_collector.settings.values import Address, hide_password, read_file, whole_number

_MOST_TARGETS: Final = 8
_MOST_HEADERS: Final = 32
_MIB: Final = 2**20
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_HEADER: Final = re.compile(r"[a-z0-9!#$&'*+.^_`|~-]{1,128}")
_HEADER_VALUE: Final = re.compile(r"[ -~]{0,4096}")
# What the transport says itself.
_OUR_HEADERS: Final = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "host", "te"}
    | {"transfer-encoding", "user-agent", "x-otel-ml-passed"}
)
_FORWARDED: Final = frozenset({"traces", "logs"})
_SCHEMES: Final = ("grpc", "grpcs", "http", "https")
_SECURE: Final = frozenset({"grpcs", "https"})
_HTTP_PORTS: Final = MappingProxyType({"http": 80, "https": 443})


@dataclass(frozen=True, slots=True)
class OtlpTarget:
    """A place that OTLP is forwarded to.

    Attributes:
        name: What it is called in the log and in ``/metrics``.
        endpoint: Its base address; the scheme says how it is spoken to.
        required: Success is answered only when it has acknowledged too.
        signals: Which of ``traces`` and ``logs`` it gets.
        takes_json: A request in JSON goes there as it came; else as protobuf. Not over gRPC.
        headers: What each request carries.
        timeout_s: How long it may take to answer.
        retry_s: How long a request waits for it before it is dropped.
        queue_bytes: How many bytes wait for it at most.
        queue_requests: How many requests wait for it at most.
        tls_ca: Certificates to trust instead of the system's.
        tls_cert: A certificate to show, with its key.
        tls_key: Its private key.
    """

    name: str
    endpoint: str
    required: bool = False
    signals: frozenset[str] = _FORWARDED
    takes_json: bool = True
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout_s: int = 10
    retry_s: int = 3_600
    queue_bytes: int = 64 * _MIB
    queue_requests: int = 10_000
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def is_grpc(self) -> bool:
        """Whether it is spoken to over gRPC."""
        return self.endpoint.startswith("grpc")

    @property
    def is_secure(self) -> bool:
        """Whether it is spoken to over TLS."""
        return urlsplit(self.endpoint).scheme in _SECURE

    @property
    def address(self) -> Address:
        """Where it listens."""
        parts = urlsplit(self.endpoint)
        return Address(parts.hostname or "", parts.port or _HTTP_PORTS.get(parts.scheme, 0))

    def is_at(self, listener: Address) -> bool:
        """Tell whether it is what listens at an address of this machine, as far as that shows."""
        there = self.address
        if not listener.port or there.port != listener.port:
            return False
        is_wide = listener.host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not listened at
        is_near = there.is_loopback or there.host == listener.host
        return is_near and (is_wide or listener.is_loopback or there.host == listener.host)


def read_targets(text: str) -> tuple[OtlpTarget, ...]:
    """Read targets: ``name=URL`` with commas between, or a JSON object of their tables by name.

    Raises:
        ValueError: With what would be right; values of headers are not told.
    """
    tables = _tables_of(text)
    if len(tables) > _MOST_TARGETS:
        raise ValueError(f"expected at most {_MOST_TARGETS} targets")
    return tuple(_read_target(name, table) for name, table in tables.items())


def hide_headers(text: str) -> str:
    """Show the text of targets without the values of their headers."""
    try:
        tables = _tables_of(text)
    except ValueError:
        return "***" if text.lstrip().startswith("{") else hide_password(text)
    if not text.lstrip().startswith("{"):
        return hide_password(text)
    shown = {name: _shown(table) for name, table in tables.items()}
    return hide_password(json.dumps(shown))


def _shown(table: object) -> object:
    if not isinstance(table, dict):
        return table
    shown = _READERS.keys() - {"headers"}  # a key that is misspelt may hold a secret too
    return {key: said if key in shown else "***" for key, said in table.items()}


def _tables_of(text: str) -> dict[str, Any]:
    if not text.lstrip().startswith("{"):
        pairs = [one.strip().partition("=") for one in text.split(",") if one.strip()]
        names = [name for name, _, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError("expected each name once")
        return {name: {"endpoint": endpoint} for name, _, endpoint in pairs}
    try:
        tables: dict[str, Any] = json.loads(text)  # what begins with a brace is an object
    except ValueError as error:
        raise ValueError("expected NAME=URL,NAME=URL or a JSON object of tables") from error
    return tables


def _read_target(name: str, table: object) -> OtlpTarget:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r}: expected a name of 1 to 64 of a-z, 0-9, '_', '.' and '-'")
    if not isinstance(table, dict):
        raise ValueError(f"{name}: expected a table such as {{endpoint = 'http://tempo:4318'}}")  # noqa: TRY004 - it is the text that is wrong
    values: dict[str, Any] = {}
    for key, said in table.items():
        if key not in _READERS:
            near = get_close_matches(key, _READERS, n=1)
            right = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(_READERS)}"
            raise ValueError(f"{name}: unknown key {key!r}: {right}")
        try:
            values[key] = _READERS[key](said)
        except ValueError as error:
            raise ValueError(f"{name}.{key}: {error}") from error
    if "endpoint" not in values:
        raise ValueError(f"{name}: expected an endpoint")
    target = OtlpTarget(name, **values)
    if problem := _tls_problem(target):
        raise ValueError(f"{name}: {problem}")
    return target


def _tls_problem(target: OtlpTarget) -> str:
    files = (target.tls_ca, target.tls_cert, target.tls_key)
    if any(files) and not target.is_secure:
        return "expected https:// or grpcs:// where tls_ca, tls_cert or tls_key stands"
    if (target.tls_cert is None) != (target.tls_key is None):
        return "expected tls_cert and tls_key together"
    if target.tls_cert and target.tls_key:
        return problem_of(target.tls_cert, target.tls_key)
    return ""


def _read_endpoint(said: object) -> str:
    wrong = ValueError(
        "expected SCHEME://HOST:PORT with one of grpc, grpcs, http, https, without a query"
    )
    if not isinstance(said, str) or not said.isascii() or not said.isprintable():
        raise wrong
    try:
        parts = urlsplit(said)
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in _SCHEMES or not parts.hostname or port == 0 or " " in said:
        raise wrong
    if parts.query or parts.fragment or parts.username is not None:
        raise wrong
    return _read_place(said, parts)


def _read_place(said: str, parts: SplitResult) -> str:
    if parts.scheme.startswith("grpc"):
        if parts.port is None or parts.path.strip("/"):
            raise ValueError("expected HOST:PORT after grpc://, and no path")
    elif parts.path.rstrip("/").endswith(("/v1/traces", "/v1/logs")):
        raise ValueError("expected the base address: /v1/traces and /v1/logs are added")
    return said.rstrip("/")


def _read_headers(said: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(said, dict) or len(said) > _MOST_HEADERS:
        raise ValueError(f"expected a table of at most {_MOST_HEADERS} names and texts")
    headers = []
    for name, text in said.items():
        lower = name.lower()
        if not _HEADER.fullmatch(lower) or lower.endswith("-bin") or lower.startswith("grpc-"):
            raise ValueError(f"{name!r} is no name that a header may have over HTTP and gRPC")
        if lower in _OUR_HEADERS:
            raise ValueError(f"{name!r} is a header that is set here")
        if not isinstance(text, str) or not _HEADER_VALUE.fullmatch(text):
            raise ValueError(f"expected printable ASCII text for {name!r}")
        headers.append((lower, text))
    return tuple(headers)


def _read_signals(said: object) -> frozenset[str]:
    names = said.split(",") if isinstance(said, str) else said
    if not isinstance(names, list) or not names or not _FORWARDED.issuperset(names):
        raise ValueError("expected one or both of traces and logs; metrics are not forwarded")
    return frozenset(names)


def _read_bool(said: object) -> bool:
    if not isinstance(said, bool):
        raise ValueError("expected true or false")  # noqa: TRY004 - the text is wrong
    return said


def _number(unit: str, least: int, most: int) -> Callable[[object], int]:
    read = whole_number(unit, least, most)
    return lambda said: read(str(said))


def _read_path(said: object) -> Path | None:
    return read_file(str(said))


_READERS: Final[Mapping[str, Callable[[object], object]]] = {
    "endpoint": _read_endpoint,
    "required": _read_bool,
    "signals": _read_signals,
    "takes_json": _read_bool,
    "headers": _read_headers,
    "timeout_s": _number("seconds", 1, 60),
    "retry_s": _number("seconds", 1, 86_400),
    "queue_bytes": _number("bytes", 1, 2**40),
    "queue_requests": _number("requests", 1, 1_000_000),
    "tls_ca": _read_path,
    "tls_cert": _read_path,
    "tls_key": _read_path,
}
