"""The settings ``forward_otlp`` and ``forward_records``: where the collector sends data on."""

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from otel_ml_collector.settings.values import (
    EVERYWHERE,
    HEADER_NAME,
    HTTP_PORTS,
    NAME,
    Address,
    hide_password,
    problem_of,
    read_flag,
    read_path,
    read_table,
    read_whole,
    readers_of,
)

_MOST_TARGETS: Final = 8
_MOST_HEADERS: Final = 32
_MIB: Final = 2**20
_HEADER_VALUE: Final = re.compile(r"[ -~]{0,4096}")
# Headers that the collector sets itself.
_OUR_HEADERS: Final = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "host", "te"}
    | {"transfer-encoding", "user-agent", "x-otel-ml-passed"}
)
_FORWARDED: Final = frozenset({"traces", "logs"})
_SIGNALS: Final = _FORWARDED | {"metrics"}
_SCHEMES: Final = ("grpc", "grpcs", "http", "https")
_SECURE: Final = frozenset({"grpcs", "https"})
_MEANT: Final = (
    "expected grpc://HOST:PORT or grpcs://HOST:PORT, with :KEY@ before the host if the service "
    "needs a key, and ?ca=FILE after the port if the system does not trust its certificate"
)


def _read_endpoint(value: object) -> str:
    wrong = ValueError(
        "expected SCHEME://HOST:PORT with one of grpc, grpcs, http, https, without a query"
    )
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise wrong
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in _SCHEMES or not parts.hostname or port == 0 or " " in value:
        raise wrong
    if parts.query or parts.fragment or parts.username is not None:
        raise wrong
    if parts.scheme.startswith("grpc"):
        if parts.port is None or parts.path.strip("/"):
            raise ValueError("expected HOST:PORT after grpc://, and no path")
    elif parts.path.rstrip("/").endswith(("/v1/traces", "/v1/logs", "/v1/metrics")):
        raise ValueError("expected the base address: /v1/traces and /v1/logs are appended")
    return value.rstrip("/")


def _read_headers(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or len(value) > _MOST_HEADERS:
        raise ValueError(f"expected a table of at most {_MOST_HEADERS} names and texts")
    headers = []
    for name, text in value.items():
        lower = name.lower()
        if not HEADER_NAME.fullmatch(lower) or lower.endswith("-bin") or lower.startswith("grpc-"):
            raise ValueError(f"{name!r} is not a valid header name over HTTP and gRPC")
        if lower in _OUR_HEADERS:
            raise ValueError(f"{name!r} is a header that the collector sets itself")
        if not isinstance(text, str) or not _HEADER_VALUE.fullmatch(text):
            raise ValueError(f"expected printable ASCII text for {name!r}")
        headers.append((lower, text))
    return tuple(headers)


def _read_signals(value: object) -> frozenset[str]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not _SIGNALS.issuperset(names):
        raise ValueError("expected any of traces, logs and metrics")
    return frozenset(names)


@dataclass(frozen=True, slots=True)
class OtlpTarget:
    """A destination for OTLP.

    In `otel-ml.toml` it can be a table; each attribute except ``name`` is a key of that table.

    Attributes:
        name: Name in the log and in ``/metrics``.
        endpoint: Base address. Its scheme is ``grpc``, ``grpcs``, ``http`` or ``https``.
        required: Whether a sender gets success only after this destination has acknowledged.
        signals: Signals to forward: any of ``traces``, ``logs`` and ``metrics``.
        takes_json: Whether JSON requests are forwarded as JSON. If False, and always over gRPC,
            they are converted to protobuf.
        headers: Names and values of additional request headers.
        timeout_s: Seconds to wait for an answer.
        retry_s: Seconds for which a request is retried before it is dropped.
        queue_bytes: Maximum bytes of queued requests.
        queue_requests: Maximum number of queued requests.
        tls_ca: File of certificates (PEM) to trust instead of the system's.
        tls_cert: File of the client certificate (PEM).
        tls_key: File of the client certificate's private key (PEM).
    """

    name: str
    endpoint: Annotated[str, _read_endpoint]
    required: Annotated[bool, read_flag] = False
    signals: Annotated[frozenset[str], _read_signals] = _FORWARDED
    takes_json: Annotated[bool, read_flag] = True
    headers: Annotated[tuple[tuple[str, str], ...], _read_headers] = field(default=(), repr=False)
    timeout_s: Annotated[int, read_whole("seconds", 1, 60)] = 10
    retry_s: Annotated[int, read_whole("seconds", 1, 86_400)] = 3_600
    queue_bytes: Annotated[int, read_whole("bytes", 1, 2**40)] = 64 * _MIB
    queue_requests: Annotated[int, read_whole("requests", 1, 1_000_000)] = 10_000
    tls_ca: Annotated[Path | None, read_path] = None
    tls_cert: Annotated[Path | None, read_path] = None
    tls_key: Annotated[Path | None, read_path] = None

    @property
    def is_grpc(self) -> bool:
        """Return whether the destination uses gRPC."""
        return self.endpoint.startswith("grpc")

    @property
    def is_secure(self) -> bool:
        """Return whether the destination uses TLS."""
        return urlsplit(self.endpoint).scheme in _SECURE

    @property
    def address(self) -> Address:
        """Return host and port."""
        parts = urlsplit(self.endpoint)
        return Address(parts.hostname or "", parts.port or HTTP_PORTS.get(parts.scheme, 0))

    def is_at(self, listener: Address) -> bool:
        """Return whether the destination is this listener, judging by the addresses alone."""
        there = self.address
        if not listener.port or there.port != listener.port:
            return False
        is_wide = listener.host in EVERYWHERE
        is_near = there.is_loopback or there.host == listener.host
        return is_near and (is_wide or listener.is_loopback or there.host == listener.host)


# For each key of the JSON table, the function that parses its value.
_READERS: Final = readers_of(OtlpTarget)


def read_otlp_targets(text: str) -> tuple[OtlpTarget, ...]:
    """Read destinations from ``name=URL,name=URL`` or from a JSON object.

    The object has an entry for each destination: its name, and an object with its settings.

    Raises:
        ValueError: A destination is invalid. The message says what is expected, without values of
            headers.
    """
    tables = _tables_of(text)
    if len(tables) > _MOST_TARGETS:
        raise ValueError(f"expected at most {_MOST_TARGETS} destinations")
    return tuple(_read_target(name, table) for name, table in tables.items())


def hide_headers(text: str) -> str:
    """Return the text of the setting with passwords and values of headers replaced by ``***``."""
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
    shown = _READERS.keys() - {"headers"}  # a misspelt key can contain a secret
    return {key: value if key in shown else "***" for key, value in table.items()}


def _tables_of(text: str) -> dict[str, Any]:
    if not text.lstrip().startswith("{"):
        pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
        names = [name for name, _, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError("expected each name once")
        return {name: {"endpoint": endpoint} for name, _, endpoint in pairs}
    try:
        tables: dict[str, Any] = json.loads(text)  # text that starts with { is an object
    except ValueError as error:
        raise ValueError(
            "expected NAME=URL,NAME=URL or a JSON object with an object for each name"
        ) from error
    return tables


def _read_target(name: str, table: object) -> OtlpTarget:
    values = read_table(name, table, _READERS, "{endpoint = 'http://tempo:4318'}")
    if "endpoint" not in values:
        raise ValueError(f"{name}: expected an endpoint")
    target = OtlpTarget(name, **values)
    if problem := _tls_problem(target):
        raise ValueError(f"{name}: {problem}")
    return target


def _tls_problem(target: OtlpTarget) -> str:
    files = (target.tls_ca, target.tls_cert, target.tls_key)
    if any(files) and not target.is_secure:
        return "expected https:// or grpcs:// for tls_ca, tls_cert and tls_key"
    if (target.tls_cert is None) != (target.tls_key is None):
        return "expected tls_cert and tls_key together"
    if target.tls_cert and target.tls_key:
        return problem_of(target.tls_cert, target.tls_key)
    return ""


@dataclass(frozen=True, slots=True)
class RecordTarget:
    """A gRPC service that receives records (``RecordService``).

    Attributes:
        address: ``host:port``.
        is_secure: Whether the service uses TLS.
        key: Bearer token; empty sends none.
        ca: File of certificates (PEM) to trust instead of the system's.
        name: Name in the log and in ``/metrics``. Under this name, the store also remembers which
            records the service has received.
    """

    address: str
    is_secure: bool = False
    key: str = field(default="", repr=False)
    ca: Path | None = None
    name: str = ""


def read_record_target(text: str) -> RecordTarget:
    """Read ``grpc://[:key@]host:port``, or ``grpcs`` for TLS with an optional ``?ca=file``.

    Raises:
        ValueError: The text is invalid. The message says what is expected, without the key.
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        raise ValueError(_MEANT) from None
    is_secure = parts.scheme == "grpcs"
    if parts.scheme not in {"grpc", "grpcs"} or not (parts.hostname and port):
        raise ValueError(_MEANT)
    if parts.path not in {"", "/"} or parts.fragment or parts.username:
        raise ValueError(_MEANT)
    key = unquote(parts.password or "")
    if not (key.isascii() and key.isprintable()):
        raise ValueError("expected a key of printable ASCII characters")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return RecordTarget(f"{host}:{port}", is_secure, key, _read_ca(parts, is_secure=is_secure))


def read_record_targets(text: str) -> tuple[RecordTarget, ...]:
    """Read at most eight services, ``name=grpc://...`` separated by commas.

    Raises:
        ValueError: A service is invalid, or two have the same name.
    """
    targets = tuple(_read_named(part.strip()) for part in text.split(",") if part.strip())
    if len({target.name for target in targets}) < len(targets) or len(targets) > _MOST_TARGETS:
        raise ValueError(f"expected at most {_MOST_TARGETS} services, each name once")
    return targets


def _read_named(text: str) -> RecordTarget:
    name, _, address = text.partition("=")
    if not NAME.fullmatch(name):
        raise ValueError("expected NAME=grpc://HOST:PORT with a name of a-z, 0-9, '_', '.' and '-'")
    return replace(read_record_target(address), name=name)


def _read_ca(parts: SplitResult, *, is_secure: bool) -> Path | None:
    options = parse_qs(parts.query, keep_blank_values=True)
    if not options:
        return None
    if set(options) != {"ca"} or not is_secure:
        raise ValueError(_MEANT)
    path = Path(options["ca"][-1]).expanduser()
    if not path.is_file():
        raise ValueError(f"expected a file of certificates (PEM), but {path} is not a file")
    return path
