"""Settings: flags over ``OTEL_ML_*`` over ``otel-ml.toml`` over defaults, from one table."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from otel_ml_collector.errors import BadSetting
from otel_ml_collector.price import Price, read_prices
from otel_ml_collector.settings.config_file import ConfigFile, read_config_file
from otel_ml_collector.settings.otlp_target import OtlpTarget, hide_headers, read_targets
from otel_ml_collector.settings.record_target import RecordTarget, read_record_targets
from otel_ml_collector.settings.tls import problem_of
from otel_ml_collector.settings.values import (
    Address,
    Setting,
    address_here,
    hide_password,
    one_of,
    read_address,
    read_file,
    read_folder,
    read_name,
    read_names,
    read_origins,
    read_store,
    read_switch,
    read_tags,
    read_trace_url,
    whole_number,
)

__all__ = [
    "DEFAULT_FILE",
    "SDK_VARIABLES",
    "TABLE",
    "Address",
    "Chosen",
    "Settings",
    "address_here",
    "choose",
]
__all__ += ["load", "warnings_of"]

DEFAULT_FILE: Final = "otel-ml.toml"
# What the SDK reads: these are no mistakes in the environment of a collector.
SDK_VARIABLES: Final = (
    "OTEL_ML_API_KEY",
    "OTEL_ML_CAPTURE",
    "OTEL_ML_CAPTURE_SOURCE",
    "OTEL_ML_ENDPOINT",
    "OTEL_ML_PROJECT",
    "OTEL_ML_TRACE",
)
_PREFIX: Final = "OTEL_ML_"
_MAX_ARTIFACT_BYTES: Final = 2**31 - 1
_LEVELS: Final = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Settings:
    """How the collector runs: each row of `TABLE` but ``data_dir``, which `store` says.

    Attributes:
        http: Where OTLP over HTTP, API and pages are.
        grpc: Where OTLP over gRPC is.
        store: Address of the store; see `otel_ml_collector.store.connection`.
        insecure: Listen beyond loopback although everybody there can read and write.
        require_keys: Answer nobody without a key, also while there is none.
        metrics_open: Who reads ``/metrics`` without a key: loopback, everyone or nobody.
        allowed_hosts: Names by which the service may be addressed, besides loopback.
        artifact_limit_bytes: How large an uploaded artifact may be, as a JSON document.
        tls_cert: The certificate of both listeners; None for neither HTTP nor gRPC over TLS.
        tls_key: Its private key.
        cors_origins: Whose pages may send OTLP from a browser.
        metrics_tags: Names of the tags of runs that are labels in ``/metrics``.
        log_level: debug, info, warning or error.
        log_format: text or json.
        min_free_disk_bytes: Free space of the data directory's disk below which nothing is
            taken; 0 for no bound.
        max_connections: How many connections HTTP and gRPC may have each.
        request_timeout_s: How long a request may take to arrive, but for a body that comes fast.
        forward_otlp: Which collectors get the OTLP that is stored, as it came.
        keep_records_days: How long records are kept from their arrival; 0 for ever.
        keep_payloads_days: The same of inputs, outputs, lines of text and logged data.
        forward_records: Which services get the records of what is stored.
        collector_name: Of this collector among those of one ClickHouse server.
        prices: Of models, before those of the kept table.
        project_from: What names the project of what names none: default or service.name.
        trace_url: Where else a trace is shown, with ``{trace_id}`` for its id; empty for nowhere.
    """

    http: Address
    grpc: Address
    store: str
    insecure: bool
    require_keys: bool
    metrics_open: str
    allowed_hosts: tuple[str, ...]
    artifact_limit_bytes: int
    tls_cert: Path | None
    tls_key: Path | None
    cors_origins: tuple[str, ...]
    metrics_tags: tuple[str, ...]
    log_level: str
    log_format: str
    min_free_disk_bytes: int
    max_connections: int
    request_timeout_s: int
    keep_records_days: int
    keep_payloads_days: int
    forward_otlp: tuple[OtlpTarget, ...]
    forward_records: tuple[RecordTarget, ...]
    collector_name: str
    prices: tuple[Price, ...]
    project_from: str
    trace_url: str


TABLE: Final = (
    Setting("data_dir", "otel-ml-data", read_folder, "folder of the embedded store"),
    Setting("http", "127.0.0.1:4318", read_address, "HOST:PORT of OTLP over HTTP, API and pages"),
    Setting("grpc", "127.0.0.1:4317", read_address, "HOST:PORT of OTLP over gRPC"),
    Setting(
        "store", "", read_store, "store instead of --data-dir: clickhouse://user:pw@host:port/db"
    ),
    Setting("allowed_hosts", "", read_names, "names this service may be addressed by, with commas"),
    Setting(
        "insecure",
        "false",
        read_switch,
        "listen beyond loopback although there are no keys: anyone who reaches it reads it",
        is_switch=True,
    ),
    Setting(
        "require_keys",
        "false",
        read_switch,
        "answer nobody without a key, also while there is none",
        is_switch=True,
    ),
    Setting(
        "metrics_open",
        "loopback",
        one_of("loopback", "everyone", "nobody"),
        "who reads /metrics without a key once there are keys: loopback, everyone or nobody",
    ),
    Setting(
        "artifact_limit_bytes",
        "100663296",
        whole_number("bytes", 1, _MAX_ARTIFACT_BYTES),
        "largest artifact, as a JSON document",
    ),
    Setting(
        "min_free_disk_bytes",
        "268435456",
        whole_number("bytes", 0, 2**63 - 1),
        "free disk below which nothing is taken, 0 for no bound",
    ),
    Setting(
        "max_connections",
        "2000",
        whole_number("connections", 1, 1_000_000),
        "connections to HTTP and to gRPC, each",
    ),
    Setting(
        "request_timeout_s",
        "30",
        whole_number("seconds", 1, 3_600),
        "seconds in which a request arrives; one more for each 16 KiB of its body",
    ),
    Setting(
        "keep_records_days",
        "0",
        whole_number("days", 0, 36_500),
        "days that records are kept from their arrival, 0 for ever; a project may have its own",
    ),
    Setting(
        "keep_payloads_days",
        "0",
        whole_number("days", 0, 36_500),
        "days that inputs, outputs, lines and logged data are kept, 0 as long as records",
    ),
    Setting("tls_cert", "", read_file, "file of the certificate (PEM): HTTP and gRPC speak TLS"),
    Setting("tls_key", "", read_file, "file of the certificate's private key (PEM)"),
    Setting(
        "cors_origins", "", read_origins, "pages that may send OTLP from a browser, https://..."
    ),
    Setting("metrics_tags", "", read_tags, "tags of runs that are labels in /metrics, with commas"),
    Setting("log_level", "info", one_of(*_LEVELS), f"one of {', '.join(_LEVELS)}"),
    Setting("log_format", "text", one_of("text", "json"), "text, or json for one object a line"),
    Setting(
        "forward_otlp",
        "",
        read_targets,
        "collectors that get OTLP as it came: NAME=grpc://HOST:PORT or http, with commas",
        takes_table=True,
        show=hide_headers,
    ),
    Setting(
        "forward_records",
        "",
        read_record_targets,
        "services that get the records: NAME=grpc://[:KEY@]HOST:PORT or grpcs, with commas",
    ),
    Setting(
        "collector_name",
        "",
        read_name,
        "name among the collectors of one ClickHouse server, for forward_records",
    ),
    Setting(
        "prices",
        "",
        read_prices,
        'US dollars for a million tokens: {"provider": {"model": {"input": 1, "output": 2}}}',
        takes_table=True,
    ),
    Setting(
        "project_from",
        "default",
        one_of("default", "service.name"),
        "project of what names none: default, or service.name for that of its resource",
    ),
    Setting(
        "trace_url",
        "",
        read_trace_url,
        "where a run's page links to its trace in Jaeger or Tempo: http://HOST/trace/{trace_id}",
    ),
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What one setting says, before it is read.

    Attributes:
        setting: Which one.
        text: What is said.
        source: flag, variable, file or default.
        place: Where it stands, for people; empty when the setting's name says it.
        name: What the setting is called there.
    """

    setting: Setting
    text: str
    source: str
    name: str
    place: str = ""

    @property
    def shown(self) -> str:
        """The text without what is secret in it."""
        return (self.setting.show or hide_password)(self.text)

    @property
    def told_by(self) -> str:
        """Which source it is, and the name that it has there: ``variable OTEL_ML_HTTP``."""
        if self.source == "default":
            return self.source
        return f"{self.source} {self.place.removesuffix(': ') or self.name}"

    def problem(self, error: ValueError) -> str:
        """Say what is wrong with it."""
        return f"{self.place}Invalid {self.name} {self.shown!r}: {error}"


def load(
    flags: Mapping[str, str | None], environment: Mapping[str, str], file: Path | None
) -> Settings:
    """Join the sources and check every value.

    Args:
        flags: Values of the command line by setting's name; None where a flag was not given.
        environment: The process's variables.
        file: A TOML file that must exist, or None to read `DEFAULT_FILE` when it is there.

    Raises:
        BadSetting: A value, a key or the file is wrong; each line of the message names where one
            stands and what would be right.
    """
    chosen, problems = choose(flags, environment, file)
    values: dict[str, Any] = {}
    for name, said in chosen.items():
        try:
            values[name] = said.setting.read(said.text)
        except ValueError as error:
            problems.append(said.problem(error))
    problems += _tls_problems(values, chosen)
    problems += _forward_problems(values, chosen)
    if problems:
        raise BadSetting("\n".join(problems))
    values["store"] = _store(values["store"], values.pop("data_dir"), chosen)
    _check_name(values)
    return Settings(**values)


def choose(
    flags: Mapping[str, str | None], environment: Mapping[str, str], file: Path | None
) -> tuple[dict[str, Chosen], list[str]]:
    """Find which source says each setting, and what is wrong with the file's keys.

    Raises:
        BadSetting: The file cannot be read.
    """
    path = file or Path(DEFAULT_FILE)
    found = read_config_file(path) if file or path.is_file() else ConfigFile(path, {}, {})
    problems = list(_wrong_keys(found))
    chosen = {
        setting.name: _choose(setting, flags.get(setting.name), environment, found)
        for setting in TABLE
    }
    return chosen, problems


def warnings_of(environment: Mapping[str, str]) -> list[str]:
    """Say which variables look like settings and are none."""
    known = (*(setting.variable for setting in TABLE), *SDK_VARIABLES)
    return [
        f"Unknown variable {name}: {_suggestion(name, known)}"
        for name in sorted(environment)
        if name.startswith(_PREFIX) and name not in known
    ]


def _tls_problems(values: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> Iterator[str]:
    """Say why certificate and key, each right by itself, must not stand as they do."""
    if not {"tls_cert", "tls_key"} <= values.keys():
        return
    cert, key = values["tls_cert"], values["tls_key"]
    if cert and key:
        reason = problem_of(cert, key)
    else:
        reason = f"expected tls_{'key' if cert else 'cert'} beside it" if cert or key else ""
    if reason:
        yield chosen["tls_cert" if cert else "tls_key"].problem(ValueError(reason))


def _forward_problems(values: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> Iterator[str]:
    """Say which targets are this very collector."""
    listeners = [values[name] for name in ("http", "grpc") if name in values]
    for target in values.get("forward_otlp", ()):
        if any(target.is_at(listener) for listener in listeners):
            reason = f"{target.name} is this collector itself: expected the address of another one"
            yield chosen["forward_otlp"].problem(ValueError(reason))


def _check_name(values: dict[str, Any]) -> None:
    """Refuse to guess whose records those of a server are: a host's name may change."""
    if values["store"].startswith("chdb:"):  # the only one of its store
        values["collector_name"] = ""
    elif values["forward_records"] and not values["collector_name"]:
        raise BadSetting(
            "forward_records with a ClickHouse server: expected a collector_name, which no other "
            "collector of that server has and which stays when this one starts again"
        )


def _choose(
    setting: Setting, flag: str | None, environment: Mapping[str, str], file: ConfigFile
) -> Chosen:
    if flag is not None:
        return Chosen(setting, flag, "flag", setting.flag)
    if text := environment.get(setting.variable):  # empty means unset, as OpenTelemetry has it
        return Chosen(setting, text, "variable", setting.variable)
    if _is_value(setting, file.content.get(setting.name)):
        text = _as_text(file.content[setting.name])
        return Chosen(setting, text, "file", setting.name, f"{file.place_of(setting.name)}: ")
    return Chosen(setting, setting.default, "default", f"default of {setting.flag}")


def _wrong_keys(file: ConfigFile) -> Iterator[str]:
    known = {setting.name: setting for setting in TABLE}
    for key, value in file.content.items():
        place = file.place_of(key)
        if key not in known:
            yield f"{place}: Unknown key {key!r}: {_suggestion(key, known)}"
        elif not _is_value(known[key], value):
            expected = "one value or a list of them" if known[key].takes_many else "one value"
            expected = "a table" if known[key].takes_table else expected
            yield f"{place}: Invalid {key} {value!r}: expected {expected}"


def _is_value(setting: Setting, value: object) -> bool:
    if isinstance(value, list):
        return setting.takes_many and all(isinstance(item, str) for item in value)
    if isinstance(value, dict):
        return setting.takes_table
    return isinstance(value, str | int | float)


def _as_text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, dict):
        return json.dumps(value, default=str)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _suggestion(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"expected one of {', '.join(sorted(known))}"


def _store(store: str, data_dir: Path, chosen: Mapping[str, Chosen]) -> str:
    """Both say where records are: the one that was said closer to the start wins."""
    closeness = ("default", "file", "variable", "flag")
    said = [closeness.index(chosen[name].source) for name in ("store", "data_dir")]
    if store and said[0] >= said[1]:
        return store
    return f"chdb://{quote(str(data_dir))}"
