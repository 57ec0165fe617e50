"""Settings: flags over ``OTEL_ML_*`` over ``otel-ml.toml`` over defaults, from one table."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import tomllib

from otel_ml_collector.errors import BadSetting

DEFAULT_FILE: Final = "otel-ml.toml"
_MAX_PORT: Final = 65_535
_MAX_ARTIFACT_BYTES: Final = 2**31 - 1
_LEVELS: Final = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen at; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        """``host:port``, with brackets around an IPv6 host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Settings:
    """How the collector runs.

    Attributes:
        http: Where OTLP over HTTP, API and pages are.
        grpc: Where OTLP over gRPC is.
        store: Address of the store; see `otel_ml_collector.store.connection`.
        insecure: Listen beyond loopback although everybody there can read and write.
        allowed_hosts: Names by which the service may be addressed, besides loopback.
        artifact_limit_bytes: How large an uploaded artifact may be, as a JSON document.
        log_level: debug, info, warning or error.
    """

    http: Address
    grpc: Address
    store: str
    insecure: bool
    allowed_hosts: tuple[str, ...]
    artifact_limit_bytes: int
    log_level: str


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table: flag ``--the-name``, variable ``OTEL_ML_THE_NAME``, key in the file."""

    name: str
    default: str
    read: Callable[[str], Any]
    help: str
    is_switch: bool = False

    @property
    def flag(self) -> str:
        """The command line's name of it."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """The environment's name of it."""
        return f"OTEL_ML_{self.name.upper()}"


def _address(text: str) -> Address:
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or "/" in host or not port.isdecimal() or int(port) > _MAX_PORT:
        raise ValueError("expected HOST:PORT with a port from 0 to 65535")
    return Address(host, int(port))


def _switch(text: str) -> bool:
    if text.lower() not in {"true", "false", "1", "0"}:
        raise ValueError("expected true or false")
    return text.lower() in {"true", "1"}


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in text.split(",") if name.strip())


def _bytes(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _MAX_ARTIFACT_BYTES:
        raise ValueError(f"expected a number of bytes from 1 to {_MAX_ARTIFACT_BYTES}")
    return int(text)


def _level(text: str) -> str:
    if text.lower() not in _LEVELS:
        raise ValueError(f"expected one of {', '.join(_LEVELS)}")
    return text.lower()


TABLE: Final = (
    Setting("data_dir", "otel-ml-data", str, "folder of the embedded store"),
    Setting("http", "127.0.0.1:4318", _address, "HOST:PORT of OTLP over HTTP, API and pages"),
    Setting("grpc", "127.0.0.1:4317", _address, "HOST:PORT of OTLP over gRPC"),
    Setting("store", "", str, "store instead of --data-dir: clickhouse://user:pw@host:port/db"),
    Setting("allowed_hosts", "", _names, "names this service may be addressed by, with commas"),
    Setting(
        "insecure",
        "false",
        _switch,
        "listen beyond loopback although there are no keys: anyone who reaches it reads it",
        is_switch=True,
    ),
    Setting(
        "artifact_limit_bytes",
        "100663296",
        _bytes,
        "largest artifact, as a JSON document",
    ),
    Setting("log_level", "info", _level, f"one of {', '.join(_LEVELS)}"),
)


def load(
    flags: Mapping[str, str | None], environment: Mapping[str, str], file: Path | None
) -> Settings:
    """Join the sources and check every value.

    Args:
        flags: Values of the command line by setting's name; None where a flag was not given.
        environment: The process's variables.
        file: A TOML file that must exist, or None to read `DEFAULT_FILE` when it is there.

    Raises:
        BadSetting: A value, a key or the file is wrong; the message names where it stands and
            what would be right.
    """
    content = _read_file(file)
    values: dict[str, Any] = {}
    precedence: dict[str, int] = {}
    for setting in TABLE:
        text, source, precedence[setting.name] = _choose(setting, flags, environment, content)
        try:
            values[setting.name] = setting.read(text)
        except ValueError as error:
            raise BadSetting(f"Invalid {source} {text!r}: {error}") from error
    # Both say where records are: the one that was said closer to the start wins.
    names_store = values["store"] and precedence["store"] >= precedence["data_dir"]
    data_dir = Path(values["data_dir"]).expanduser().resolve()
    settings = Settings(
        http=values["http"],
        grpc=values["grpc"],
        store=values["store"] if names_store else f"chdb://{quote(str(data_dir))}",
        insecure=values["insecure"],
        allowed_hosts=values["allowed_hosts"],
        artifact_limit_bytes=values["artifact_limit_bytes"],
        log_level=values["log_level"],
    )
    for address in (settings.http, settings.grpc):
        if not address.is_loopback and not settings.insecure:
            raise BadSetting(
                f"Listening at {address} would let anyone who reaches it read and write: "
                "listen at 127.0.0.1, or say --insecure"
            )
    return settings


def _choose(
    setting: Setting,
    flags: Mapping[str, str | None],
    environment: Mapping[str, str],
    content: Mapping[str, str],
) -> tuple[str, str, int]:
    """Return the text, where it stands, and how much that counts."""
    flag = flags.get(setting.name)
    if flag is not None:
        return flag, setting.flag, 3
    if environment.get(setting.variable):  # empty means unset, as OpenTelemetry has it
        return environment[setting.variable], setting.variable, 2
    if setting.name in content:
        return content[setting.name], f"{setting.name} in the file", 1
    return setting.default, f"default of {setting.flag}", 0


def _read_file(file: Path | None) -> dict[str, str]:
    path = file or Path(DEFAULT_FILE)
    if file is None and not path.is_file():
        return {}
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSetting(f"The file {path} cannot be read: {error}") from error
    known = {setting.name for setting in TABLE}
    for key in content:
        if key not in known:
            raise BadSetting(
                f"Unknown key {key!r} in {path}: expected one of {', '.join(sorted(known))}"
            )
        if isinstance(content[key], dict):
            raise BadSetting(f"Invalid {key} in the file {content[key]!r}: expected one value")
    return {key: _as_text(value) for key, value in content.items()}


def _as_text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
