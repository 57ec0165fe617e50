"""Export settings: resolved once from arguments and environment variables.

Spec: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

import base64
import logging
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from otel_ml import attributes as names
from otel_ml.addresses import strip_quotes

Protocol: TypeAlias = Literal["http/protobuf", "grpc"]
Compression: TypeAlias = Literal["gzip", "none"]
W = TypeVar("W", bound=str)

DEFAULT_ENDPOINT: Final = "http://localhost:4318"
_DEFAULT_GRPC_ENDPOINT: Final = "http://localhost:4317"
_DEFAULT_TIMEOUT_S: Final = 10.0
_OWN_ENDPOINT: Final = "OTEL_ML_ENDPOINT"
_TRACES_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_GENERAL_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_TRACES_PROTOCOL: Final = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
_GENERAL_PROTOCOL: Final = "OTEL_EXPORTER_OTLP_PROTOCOL"
_ENDPOINTS: Final = (_OWN_ENDPOINT, _TRACES_ENDPOINT, _GENERAL_ENDPOINT)
_SHOWN_CHARS: Final = 100
TRACES_PATH: Final = "/v1/traces"

# syntax of a header name: https://www.rfc-editor.org/rfc/rfc9110#name-tokens
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# a header value in the environment is percent-encoded; the Python SDK also allows blanks
_ENCODED: Final = re.compile(r"[!#-+\--:<-\[\]-~]*")
_LIBERAL: Final = re.compile(r"[ !#-+\--:<-\[\]-~]*")
# allowed header values: https://www.rfc-editor.org/rfc/rfc9110#name-field-values
_SENDABLE: Final = re.compile(r"[\t -~\xa0-\xff]*")

_logger = logging.getLogger(__name__)
_logged: set[str] = set()


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """Settings of the export: where spans are sent, and how.

    Attributes:
        url: Request URL without user and password; empty if the given address is invalid. Hidden in
            `repr`, because the query may contain a key.
        page: Base URL without secrets, to show in messages.
        headers: Headers of each request, by lower-case name. Hidden in `repr`, because they contain
            keys.
        timeout_s: Maximum time for a request, in seconds.
        compression: Compression of request bodies.
        ca_file: CA certificates to trust instead of the system's.
        client_cert_file: Client certificate, for servers that require one.
        client_key_file: Key of the client certificate, if it is in a separate file.
        protocol: OTLP protocol, such as ``http/protobuf``.
    """

    url: str = field(repr=False)
    page: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = _DEFAULT_TIMEOUT_S
    compression: Compression = "none"
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    protocol: Protocol = "http/protobuf"


def own_version() -> str:
    """Return the installed version of otel-ml; ``0`` when run from a source tree."""
    from importlib.metadata import PackageNotFoundError, version  # takes 15 ms

    try:
        return version("otel-ml")
    except PackageNotFoundError:
        return "0"


def is_endpoint_named(endpoint: str | None) -> bool:
    """Tell whether an argument or environment variable sets the endpoint.

    If not, the default is used.
    """
    return bool(
        (endpoint or "").strip()
        or any(map(_variable, (_OWN_ENDPOINT, _TRACES_ENDPOINT, _GENERAL_ENDPOINT)))
    )


def find_grpc_variable() -> str:
    """Return the environment variable that selects gRPC, or an empty text if none does."""
    named = next(filter(_variable, (_TRACES_PROTOCOL, _GENERAL_PROTOCOL)), "")
    return named if _variable(named).lower() == "grpc" else ""


def resolve(
    endpoint: str | None, project: str, api_key: str | None, protocol: Protocol | None = None
) -> ExportSettings:
    """Return the export settings, from arguments and environment variables. Never raises.

    Invalid values are logged once. Headers, timeout and similar settings come from the variables
    ``OTEL_EXPORTER_OTLP_*``.

    Args:
        endpoint: Base URL such as ``http://localhost:4318``. None uses ``OTEL_ML_ENDPOINT``, else
            OpenTelemetry's variables such as ``OTEL_EXPORTER_OTLP_ENDPOINT``, else the default.
        project: Name of the project, for the header ``x-otel-ml-project``. It is left out if the
            header cannot contain it.
        api_key: Sent as a bearer token in the header ``authorization``, instead of a value from the
            environment.
        protocol: OTLP protocol. None uses the environment.
    """
    protocol = protocol or _protocol()
    parts = _address(endpoint, protocol)
    return ExportSettings(
        url="" if parts is None else urlunsplit(_without_login(parts)),
        page="(invalid endpoint)" if parts is None else _page(parts),
        headers=_headers(project, api_key, parts),
        timeout_s=_timeout_s(),
        compression=_choice("COMPRESSION", ("gzip", "none"), "none"),
        ca_file=_standard("CERTIFICATE") or None,
        client_cert_file=_standard("CLIENT_CERTIFICATE") or None,
        client_key_file=_standard("CLIENT_KEY") or None,
        protocol=protocol,
    )


def _address(endpoint: str | None, protocol: Protocol) -> SplitResult | None:
    given = {
        "endpoint": strip_quotes(endpoint or ""),
        **{name: strip_quotes(_variable(name)) for name in _ENDPOINTS},
    }
    default = _DEFAULT_GRPC_ENDPOINT if protocol == "grpc" else DEFAULT_ENDPOINT
    source, address = next(((name, text) for name, text in given.items() if text), ("", default))
    parts = _parse(address, protocol, source)
    if parts is None or protocol == "grpc" or source == _TRACES_ENDPOINT:
        return parts
    return _below_base(parts)


def _parse(address: str, protocol: Protocol, source: str) -> SplitResult | None:
    """Parse an address. Returns None, after one warning, if requests cannot be sent there.

    Args:
        address: The address.
        protocol: OTLP protocol.
        source: Argument or environment variable that has the address, for the warning.
    """
    if "://" not in address and protocol != "grpc":
        address = f"http://{address.lstrip('/')}"
    try:
        parts = urlsplit(address)
        if protocol == "grpc":  # gRPC has address formats of its own, such as unix:///socket
            return parts
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts
    except ValueError:  # invalid port or IPv6 host; do not show it, it may contain a password
        pass
    shown = _shown(address)
    _log_once(f"Invalid {source} {shown!r}: expected an address such as http://localhost:4318")
    return None


def _shown(address: str) -> str:
    """Return an invalid address without its login and query, which may contain secrets."""
    scheme, separator, rest = address.partition("://")
    place = re.split("[?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    return f"{scheme if scheme.isalpha() else ''}{separator}{place}"[:_SHOWN_CHARS]


def _below_base(parts: SplitResult) -> SplitResult:
    """Append ``/v1/traces`` to a base URL, unless it is there already."""
    return parts._replace(path=parts.path.rstrip("/").removesuffix(TRACES_PATH) + TRACES_PATH)


def _without_login(parts: SplitResult) -> SplitResult:
    return parts._replace(netloc=parts.netloc.rpartition("@")[2])


def _page(parts: SplitResult) -> str:
    path = parts.path.rstrip("/").removesuffix(TRACES_PATH).rstrip("/")
    return urlunsplit(_without_login(parts)._replace(path=path, query="", fragment=""))


def _headers(project: str, api_key: str | None, parts: SplitResult | None) -> dict[str, str]:
    """Merge the headers of the environment with our own, which take precedence."""
    headers = _environment_headers(_standard("HEADERS"))
    if project and project.isascii() and project.isprintable():
        headers[names.PROJECT_HEADER] = project
    if parts is not None and "@" in parts.netloc:
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        headers["authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    key = (api_key or "").strip()  # a key read from a file ends with a line feed
    if key and key.isascii() and key.isprintable():
        headers["authorization"] = f"Bearer {key}"
    elif key:
        _log_once("The API key is not sent: expected printable ASCII")
    return headers


def _environment_headers(text: str) -> dict[str, str]:
    """Parse ``name=value,name=value`` like the Python SDK, but without logging invalid headers.

    The SDK logs the whole header, which may be a key.
    """
    headers: dict[str, str] = {}
    for number, item in enumerate(text.split(","), start=1):
        name, equals, value = (part.strip(" \t") for part in item.strip().partition("="))
        if not (name or equals):
            continue
        if _ENCODED.fullmatch(value):
            name, value = unquote(name).strip(), unquote(value).strip()
        elif not _LIBERAL.fullmatch(value):
            equals = ""
        if equals and _TOKEN.fullmatch(name) and _SENDABLE.fullmatch(value):
            headers[name.lower()] = value
        else:
            _log_once(
                f"Header {number} of OTEL_EXPORTER_OTLP_HEADERS is not sent: "
                "expected name=value, the value percent-encoded"
            )
    return headers


def _timeout_s() -> float:
    text = _standard("TIMEOUT")
    if not text:
        return _DEFAULT_TIMEOUT_S
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = math.nan
    if 0 < timeout_s < math.inf:
        return timeout_s
    _log_once(
        f"Invalid OTEL_EXPORTER_OTLP_TIMEOUT {text!r}: expected seconds above 0, "
        f"using {_DEFAULT_TIMEOUT_S:g}"
    )
    return _DEFAULT_TIMEOUT_S


def _protocol() -> Protocol:
    if _standard("PROTOCOL").lower() == "http/json":
        _log_once("OTEL_EXPORTER_OTLP_PROTOCOL asks for http/json: http/protobuf is sent instead")
        return "http/protobuf"
    return _choice("PROTOCOL", ("http/protobuf", "grpc"), "http/protobuf")


def _choice(name: str, known: Sequence[W], default: W) -> W:
    """Read a standard variable with a fixed set of values."""
    text = _standard(name).lower() or default
    for word in known:
        if word == text:
            return word
    variable = f"OTEL_EXPORTER_OTLP_{name}"
    _log_once(f"Unknown {variable} {text!r}: expected {' or '.join(known)}, using {default}")
    return default


def _standard(name: str) -> str:
    """Read a standard variable; the one for traces takes precedence. Empty if unset."""
    return _variable(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or _variable(f"OTEL_EXPORTER_OTLP_{name}")


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()


def _log_once(text: str) -> None:
    """Log a warning once per process. All clients read the same environment."""
    if text not in _logged:
        _logged.add(text)
        _logger.warning("%s", text)
