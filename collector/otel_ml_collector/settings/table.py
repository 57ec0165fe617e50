"""The settings of the collector: each is declared once, as a field of `Settings`."""

# ruff: noqa: RUF009 - what `setting` returns is a field

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from otel_ml_collector.price import Price, read_prices
from otel_ml_collector.settings.alert_targets import (
    AlertTarget,
    hide_alert_targets,
    read_alert_targets,
)
from otel_ml_collector.settings.targets import (
    OtlpTarget,
    RecordTarget,
    hide_headers,
    read_otlp_targets,
    read_record_targets,
)
from otel_ml_collector.settings.values import (
    MOST_DAYS,
    Address,
    AlertSettings,
    address_here,
    hide_password,
    one_of,
    read_address,
    read_alerts,
    read_file,
    read_folder,
    read_name,
    read_names,
    read_origins,
    read_projects,
    read_public_url,
    read_store,
    read_switch,
    read_tables,
    read_tags,
    read_trace_url,
    whole_number,
)

_LEVELS: Final = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: flag ``--the-name``, variable ``OTEL_ML_THE_NAME``, key ``the_name`` in a file.

    Attributes:
        default: What it is when nothing says it, as text.
        read: Makes the value of a text, or raises ValueError with what would be right.
        help: What it is for.
        takes_table: In the file it may be a table; as text that is a JSON object.
        takes_tables: In the file it may be several tables of its name; as text a JSON list.
        show: Makes of its text what may be shown, without what is secret in it.
        name: The key in the file: its field in `Settings`.
    """

    default: str
    read: Callable[[str], Any]
    help: str
    takes_table: bool = False
    show: Callable[[str], str] = hide_password
    takes_tables: bool = False
    name: str = ""

    @property
    def flag(self) -> str:
        """The command line's name of it."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """The environment's name of it."""
        return f"OTEL_ML_{self.name.upper()}"

    @property
    def is_switch(self) -> bool:
        """Whether its flag stands alone, without a value."""
        return self.read is read_switch

    @property
    def takes_many(self) -> bool:
        """Whether it has any number of values, with commas or as a list."""
        return isinstance(self.read(self.default), tuple)


def setting(
    default: str,
    read: Callable[[str], Any],
    about: str,
    *,
    takes_table: bool = False,
    show: Callable[[str], str] = hide_password,
    takes_tables: bool = False,
) -> Any:
    """Declare a field of `Settings`; the arguments are those of `Setting`."""
    return field(
        metadata={"setting": Setting(default, read, about, takes_table, show, takes_tables)}
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """How the collector runs.

    `load` fills it: `store` is always an address, and `data_dir` is the folder of the embedded
    store, None when the store is a server.
    """

    data_dir: Path | None = setting("otel-ml-data", read_folder, "folder of the embedded store")
    http: Address = setting(
        "127.0.0.1:4318", read_address, "HOST:PORT of OTLP over HTTP, API and pages"
    )
    grpc: Address = setting("127.0.0.1:4317", read_address, "HOST:PORT of OTLP over gRPC")
    store: str = setting(
        "", read_store, "store instead of --data-dir: clickhouse://user:pw@host:port/db"
    )
    allowed_hosts: tuple[str, ...] = setting(
        "", read_names, "names this service may be addressed by, with commas"
    )
    insecure: bool = setting(
        "false",
        read_switch,
        "listen beyond loopback although there are no keys: anyone who reaches it reads it",
    )
    require_keys: bool = setting(
        "false", read_switch, "answer nobody without a key, also while there is none"
    )
    metrics_open: str = setting(
        "loopback",
        one_of("loopback", "everyone", "nobody"),
        "who reads /metrics without a key once there are keys: loopback, everyone or nobody",
    )
    artifact_limit_bytes: int = setting(
        "100663296", whole_number("bytes", 1, 2**31 - 1), "largest artifact, as a JSON document"
    )
    min_free_disk_bytes: int = setting(
        "268435456",
        whole_number("bytes", 0, 2**63 - 1),
        "free disk below which nothing is taken, 0 for no bound",
    )
    max_connections: int = setting(
        "2000", whole_number("connections", 1, 1_000_000), "connections to HTTP and to gRPC, each"
    )
    request_timeout_s: int = setting(
        "30",
        whole_number("seconds", 1, 3_600),
        "seconds in which a request arrives; one more for each 16 KiB of its body",
    )
    keep_records_days: int = setting(
        "0",
        whole_number("days", 0, MOST_DAYS),
        "days that records are kept from their arrival, 0 for ever; a project may have its own",
    )
    keep_payloads_days: int = setting(
        "0",
        whole_number("days", 0, MOST_DAYS),
        "days that inputs, outputs, lines and logged data are kept, 0 as long as records",
    )
    tls_cert: Path | None = setting(
        "", read_file, "file of the certificate (PEM): HTTP and gRPC speak TLS"
    )
    tls_key: Path | None = setting("", read_file, "file of the certificate's private key (PEM)")
    cors_origins: tuple[str, ...] = setting(
        "", read_origins, "pages that may send OTLP from a browser, https://..."
    )
    metrics_tags: tuple[str, ...] = setting(
        "", read_tags, "tags of runs that are labels in /metrics, with commas"
    )
    log_level: str = setting("info", one_of(*_LEVELS), "one of debug, info, warning, error")
    log_format: str = setting("text", one_of("text", "json"), "text, or json for one object a line")
    forward_otlp: tuple[OtlpTarget, ...] = setting(
        "",
        read_otlp_targets,
        "collectors that get OTLP as it came: NAME=grpc://HOST:PORT or http, with commas",
        takes_table=True,
        show=hide_headers,
    )
    forward_records: tuple[RecordTarget, ...] = setting(
        "",
        read_record_targets,
        "services that get the records: NAME=grpc://[:KEY@]HOST:PORT or grpcs, with commas",
    )
    collector_name: str = setting(
        "", read_name, "name among the collectors of one ClickHouse server, for forward_records"
    )
    prices: tuple[Price, ...] = setting(
        "",
        read_prices,
        'US dollars for a million tokens: {"provider": {"model": {"input": 1, "output": 2}}}',
        takes_table=True,
    )
    project_from: str = setting(
        "default",
        one_of("default", "service.name"),
        "project of what names none: default, or service.name for that of its resource",
    )
    sampled_projects: tuple[str, ...] = setting(
        "",
        read_projects,
        "projects of which a sampler on the way drops spans, with commas, or * for all",
    )
    metrics: str = setting(
        "leave",
        one_of("leave", "refuse"),
        "OTLP metrics that are not forwarded: leave them out with success, or refuse them",
    )
    no_mcp: bool = setting("false", read_switch, "do not answer assistants at /mcp")
    mcp_writes: bool = setting(
        "false", read_switch, "let assistants add feedback and save runs as tests"
    )
    alert_targets: tuple[AlertTarget, ...] = setting(
        "",
        read_alert_targets,
        'who is told of alerts: {"name": {"kind": "alertmanager", "url": "http://HOST:9093"}}',
        takes_table=True,
        show=hide_alert_targets,
    )
    public_url: str = setting(
        "",
        read_public_url,
        "where people reach these pages, for links in messages: https://otel-ml.example",
    )
    alert: tuple[Mapping[str, Any], ...] = setting(
        "",
        read_tables,
        "rules of alerts, each a table [[alert]] of the file, or a JSON list of objects",
        takes_tables=True,
    )
    alerts: AlertSettings = setting(
        "evaluate=true",
        read_alerts,
        "evaluate=false: rules of alerts are not looked at here, but by another collector",
        takes_table=True,
    )
    trace_url: str = setting(
        "",
        read_trace_url,
        "where a run's page links to its trace in Jaeger or Tempo: http://HOST/trace/{trace_id}",
    )

    @property
    def page_url(self) -> str:
        """The address that links in messages begin with."""
        scheme = "https" if self.tls_cert else "http"
        return self.public_url or f"{scheme}://{address_here(self.http)}"


TABLE: Final[tuple[Setting, ...]] = tuple(
    replace(field_.metadata["setting"], name=field_.name) for field_ in fields(Settings)
)
