"""Parse the text of settings. Each reader raises ValueError with the expected form."""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_type_hints
from urllib.parse import SplitResult, urlsplit

MOST_DAYS: Final = 36_500
_MAX_PORT: Final = 65_535
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_ORIGIN: Final = re.compile(r"https?://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
HEADER_NAME: Final = re.compile(r"[a-z0-9!#$&'*+.^_`|~-]{1,128}")
_URL: Final = re.compile(r"[!-~]{1,2000}")
HTTP_PORTS: Final = {"http": 80, "https": 443}
_TRACE_ID: Final = "{trace_id}"
_NO_LABEL: Final = re.compile(r"[^A-Za-z0-9_]")
_MAX_TAGS: Final = 5
_SECRET_CHARS: Final = 32
_MAX_PROJECTS: Final = 1_000
_MAX_TABLES: Final = 500
EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound, only replaced
_PASSWORD: Final = re.compile(r"(?<=://)([^/?#]*?):[^/?#]*@")


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port to listen on. Port 0 lets the system choose a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return ``host:port``, with brackets around an IPv6 host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Return whether only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def address_here(address: Address) -> Address:
    """Return the address at which this machine reaches a listener: 0.0.0.0 becomes 127.0.0.1."""
    return Address(EVERYWHERE.get(address.host, address.host), address.port)


def hide_password(text: str) -> str:
    """Return the text with passwords in addresses replaced by ``***``."""
    return _PASSWORD.sub(r"\1:***@", text)


def hide_text(text: str) -> str:
    """Return ``***`` for a secret; empty if there is none."""
    return "***" if text else ""


def read_secret(text: str) -> str:
    """Read a secret of at least 32 characters, or empty text."""
    if text and (len(text) < _SECRET_CHARS or not text.isprintable()):
        raise ValueError(f"expected at least {_SECRET_CHARS} visible characters")
    return text


def read_address(text: str) -> Address:
    """Read ``host:port``. An IPv6 host needs brackets."""
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (separator and _is_host(host) and port.isdecimal() and int(port) <= _MAX_PORT):
        raise ValueError("expected HOST:PORT with a port from 0 to 65535")
    return Address(host, int(port))


def read_switch(text: str) -> bool:
    """Read ``true``, ``false``, ``1`` or ``0``."""
    if text.lower() not in {"true", "false", "1", "0"}:
        raise ValueError("expected true or false")
    return text.lower() in {"true", "1"}


def read_names(text: str) -> tuple[str, ...]:
    """Read names separated by commas. They are converted to lower case."""
    return tuple(name.strip().lower() for name in text.split(",") if name.strip())


def read_name(text: str) -> str:
    """Read a name of at most 64 characters, or empty text."""
    if text and not NAME.fullmatch(text):
        raise ValueError("expected a name of 1 to 64 of a-z, 0-9, '_', '.' and '-'")
    return text


def read_origins(text: str) -> tuple[str, ...]:
    """Read web page origins separated by commas, such as ``https://shop.example``."""
    origins = read_names(text)
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError("expected SCHEME://HOST[:PORT], such as https://shop.example")
    return origins


def read_tags(text: str) -> tuple[str, ...]:
    """Read at most five tag names separated by commas; upper and lower case stay."""
    tags = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if len(tags) > _MAX_TAGS or len({label_of(tag) for tag in tags}) < len(tags):
        raise ValueError(
            f"expected at most {_MAX_TAGS} names that differ in letters, digits or underscores"
        )
    return tags


def read_projects(text: str) -> tuple[str, ...]:
    """Read project names separated by commas, or ``*`` for all projects."""
    projects = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if len(projects) > _MAX_PROJECTS or ("*" in projects and len(projects) > 1):
        raise ValueError(f"expected at most {_MAX_PROJECTS} names of projects, or * for all")
    return projects


def label_of(tag: str) -> str:
    """Return the Prometheus label of a tag, such as ``tag_client``."""
    return f"tag_{_NO_LABEL.sub('_', tag)}"


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Whether this collector evaluates alert rules.

    Attributes:
        evaluate: False turns the evaluation off. If several collectors share a store, only one of
            them evaluates.
    """

    evaluate: bool = True


def read_alerts(text: str) -> AlertSettings:
    """Read ``evaluate=true`` or ``evaluate=false``, or the same as a JSON object."""
    wrong = ValueError("expected evaluate=true or evaluate=false")
    if not text.lstrip().startswith("{"):
        name, _, value = text.partition("=")
        if name.strip() != "evaluate":
            raise wrong
        return AlertSettings(read_switch(value.strip()))
    try:
        table = json.loads(text)
    except ValueError:
        raise wrong from None
    if table.keys() - {"evaluate"} or not isinstance(table.get("evaluate", True), bool):
        raise wrong
    return AlertSettings(**table)


def read_tables(text: str) -> tuple[Mapping[str, Any], ...]:
    """Read a JSON list of objects. Empty text gives an empty tuple."""
    wrong = ValueError(f"expected a JSON list of at most {_MAX_TABLES} objects")
    try:
        tables = json.loads(text) if text else []
    except ValueError:
        raise wrong from None
    if not isinstance(tables, list) or len(tables) > _MAX_TABLES:
        raise wrong
    if not all(isinstance(table, dict) for table in tables):
        raise wrong
    return tuple(tables)


def read_folder(text: str) -> Path:
    """Read the path of a folder. The folder need not exist."""
    if not text or not text.isprintable() or "?" in text:  # chDB reads options after it
        raise ValueError("expected the path of a folder, without a question mark")
    return _path(text)


def read_file(text: str) -> Path | None:
    """Read the path of a readable file. Empty text gives None."""
    if not text:
        return None
    path = _path(text)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ValueError(f"expected a readable file ({error.strerror})") from error


def read_store(text: str) -> str:
    """Read the address of a store. Empty text means the data directory."""
    wrong = ValueError(
        "expected chdb:///absolute/path or clickhouse://user:password@host:port/database"
    )
    parts = _split(text, wrong)
    is_server = parts.scheme in {"clickhouse", "clickhouses"} and parts.hostname
    is_folder = parts.scheme == "chdb" and parts.path not in {"", "/"} and not parts.netloc
    if text and not is_server and not is_folder:
        raise wrong
    return text


def read_trace_url(text: str) -> str:
    """Read an address that contains ``{trace_id}``, or empty text."""
    wrong = ValueError(
        "expected the address of a trace with {trace_id} for its id, without a password, such as "
        "http://jaeger:16686/trace/{trace_id}"
    )
    parts = _split(text, wrong)
    is_address = parts.scheme in {"http", "https"} and parts.hostname
    is_plain = _URL.fullmatch(text) and "@" not in parts.netloc
    has_id = _TRACE_ID in text and _TRACE_ID not in parts.netloc
    if text and not (is_address and is_plain and has_id):
        raise wrong
    return text


def read_public_url(text: str) -> str:
    """Read the address at which users open the pages, or empty text for the listener's."""
    wrong = ValueError("expected http://HOST or https://HOST, with the path of the pages")
    parts = _split(text, wrong)
    is_address = parts.scheme in {"http", "https"} and parts.hostname
    is_plain = _URL.fullmatch(text) and "@" not in parts.netloc
    if text and not (is_address and is_plain and not parts.query and not parts.fragment):
        raise wrong
    return text.rstrip("/")


class RequestAddress:
    """A setting with a ``url`` that requests are sent to: its parts."""

    __slots__ = ()
    url: str

    @property
    def parts(self) -> SplitResult:
        """Return the parsed ``url``."""
        return urlsplit(self.url)

    @property
    def is_secure(self) -> bool:
        """Return whether the server uses TLS."""
        return self.parts.scheme == "https"

    @property
    def host(self) -> str:
        """Return the host name or IP address. It is not a secret, unlike path and query."""
        return self.parts.hostname or ""

    @property
    def port(self) -> int:
        """Return the port, by default 80 or 443."""
        return self.parts.port or HTTP_PORTS[self.parts.scheme]


def read_request_url(value: object) -> str:
    """Read the address of a server that requests are sent to."""
    wrong = ValueError(
        "expected http://HOST/PATH or https://HOST/PATH without a user, a password or a fragment"
    )
    if not isinstance(value, str) or not _URL.fullmatch(value):
        raise wrong
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise wrong from None
    is_address = parts.scheme in HTTP_PORTS and parts.hostname and port != 0
    if not is_address or "@" in parts.netloc or parts.fragment or "\\" in value:
        raise wrong
    return value


def problem_of(cert: Path, key: Path) -> str:
    """Return why a certificate and its key cannot be used for TLS; empty if they can.

    Args:
        cert: File of the certificate (PEM), optionally followed by its chain.
        key: File of the private key (PEM, without a password).
    """
    import ssl  # few settings need it

    def refuse() -> str:  # otherwise OpenSSL asks for a password at the terminal
        raise ValueError("the key has a password")

    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, refuse)
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return (
            f"expected a certificate and its private key without a password, both PEM, "
            f"in {cert} and {key} ({reason})"
        )
    return ""


def whole_number(unit: str, least: int, most: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from ``least`` to ``most``, both included."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise ValueError(f"expected a number of {unit} from {least} to {most}")
        return int(text)

    return read


def one_of(*words: str) -> Callable[[str], str]:
    """Return a reader that accepts one of these words in any case, and returns lower case."""

    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"expected one of {', '.join(words)}")
        return text.lower()

    return read


def table_of(place: str, value: object, example: str = "") -> Mapping[str, Any]:
    """Return the value if it is a table, else raise ValueError with the place and an example."""
    if isinstance(value, dict):
        return value
    raise ValueError(f"{place}: expected a table{example}")


def _split(text: str, wrong: ValueError) -> SplitResult:
    """Parse an address. Raises the given error if its port is invalid."""
    try:
        parts = urlsplit(text)
        if parts.port == 0:
            raise wrong
    except ValueError:
        raise wrong from None
    return parts


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser().resolve()
    except RuntimeError as error:  # the user after ~ does not exist
        raise ValueError("expected a path without ~: this user has no home folder") from error


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOST_NAME.fullmatch(text) is not None
    return True


def read_flag(value: object) -> bool:
    """Return a boolean of a table.

    Raises:
        ValueError: The value is not a boolean.
    """
    if value is True or value is False:
        return value
    raise ValueError("expected true or false")


def read_whole(unit: str, least: int, most: int) -> Callable[[object], int]:
    """Return a reader of a whole number in a table, from ``least`` to ``most``."""
    read = whole_number(unit, least, most)
    return lambda entry: read(str(entry))


def read_path(value: object) -> Path | None:
    """Read the path of a readable file in a table."""
    return read_file(str(value))


def readers_of(target: type) -> Mapping[str, Callable[[object], Any]]:
    """Return the reader of each key of a table, from the annotations of a dataclass."""
    return {
        name: kind.__metadata__[0]
        for name, kind in get_type_hints(target, include_extras=True).items()
        if name != "name"
    }


def read_table(
    name: str, table: object, readers: Mapping[str, Callable[[object], Any]], example: str
) -> dict[str, Any]:
    """Parse one named table of the settings, such as ``[forward_otlp.tempo]``.

    Args:
        name: Name of the table.
        table: Value from the file or from JSON.
        readers: Reader of each allowed key.
        example: A valid table, for the error message.

    Returns:
        The parsed values by key. Keys that are absent are left out.

    Raises:
        ValueError: The name, a key or a value is wrong. The message says what is expected.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r}: expected a name of 1 to 64 of a-z, 0-9, '_', '.' and '-'")
    values: dict[str, Any] = {}
    for key, value in table_of(name, table, f" such as {example}").items():
        if key not in readers:
            near = get_close_matches(key, readers, n=1)
            right = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(readers)}"
            raise ValueError(f"{name}: unknown key {key!r}: {right}")
        try:
            values[key] = readers[key](value)
        except ValueError as error:
            raise ValueError(f"{name}.{key}: {error}") from error
    return values
