"""The settings of the collector: each one is a field of `Settings`.

The help text of a setting is written here only. ``--help`` prints it, and a test compares it with
``docs/configuration.md``.
"""

# ruff: noqa: RUF009 - what `setting` returns is a field

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from otel_ml_collector.margins import Margins, read_margins
from otel_ml_collector.price import Price, read_prices
from otel_ml_collector.settings.alert_targets import (
    AlertTarget,
    hide_alert_targets,
    read_alert_targets,
)
from otel_ml_collector.settings.connections import (
    Connection,
    JudgeSettings,
    RedactionRules,
    read_connections,
    read_judges,
    read_redaction,
)
from otel_ml_collector.settings.sign_on import (
    AccessEntry,
    Network,
    read_access,
    read_header_name,
    read_networks,
    read_sign_out,
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
    hide_text,
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
    read_secret,
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
        default: Default value, as text.
        read: Converts text to the value. Raises ValueError with the expected form.
        help: One line for ``--help``, without a full stop.
        takes_table: Whether the file may contain a table. As text, a table is a JSON object.
        takes_tables: Whether the file may contain several tables of this name. As text, they are a
            JSON list.
        show: Returns the text without secrets, for logs and ``otel-ml check``.
        name: Key in the file, which is also the field in `Settings`.
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
        """Return the flag, such as ``--data-dir``."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Return the environment variable, such as ``OTEL_ML_DATA_DIR``."""
        return f"OTEL_ML_{self.name.upper()}"

    @property
    def is_switch(self) -> bool:
        """Return whether the flag takes no value."""
        return self.read is read_switch

    @property
    def takes_many(self) -> bool:
        """Return whether the setting is a list: text with commas, or a list in the file."""
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
    """Declare a field of `Settings`. The arguments are the attributes of `Setting`."""
    return field(
        metadata={"setting": Setting(default, read, about, takes_table, show, takes_tables)}
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one collector, as `load` returns them.

    `store` is always an address, also for the embedded store. `data_dir` is the folder of the
    embedded store, or None if the store is a ClickHouse server.
    """

    data_dir: Path | None = setting("otel-ml-data", read_folder, "Folder of the embedded store")
    http: Address = setting(
        "127.0.0.1:4318",
        read_address,
        "Address for pages, API and OTLP over HTTP, HOST:PORT",
    )
    grpc: Address = setting("127.0.0.1:4317", read_address, "Address for OTLP over gRPC, HOST:PORT")
    store: str = setting(
        "",
        read_store,
        "ClickHouse server to use instead of --data-dir: "
        "clickhouse://user:password@host:port/database",
    )
    store_wait_s: int = setting(
        "600",
        whole_number("seconds", 0, 86_400),
        "Maximum seconds to wait for the store when the collector starts. If the store does not "
        "answer by then, the collector exits with status 1",
    )
    allowed_hosts: tuple[str, ...] = setting(
        "",
        read_names,
        "Host names that the collector accepts in the Host header of requests, separated by commas",
    )
    insecure: bool = setting(
        "false",
        read_switch,
        "Listen on addresses beyond loopback even without API keys. Anyone who can connect can "
        "then read the data",
    )
    require_keys: bool = setting(
        "false", read_switch, "Refuse requests without an API key, even if there are no keys yet"
    )
    session_secret: str = setting(
        "",
        read_secret,
        "Secret that signs the session cookies of signed-in users, at least 32 characters. All "
        "collectors that share a ClickHouse server need the same secret",
        show=hide_text,
    )
    metrics_open: str = setting(
        "loopback",
        one_of("loopback", "everyone", "nobody"),
        "Who can read /metrics without an API key, once the collector has keys: loopback (only "
        "this machine), everyone or nobody",
    )
    artifact_limit_bytes: int = setting(
        "100663296",
        whole_number("bytes", 1, 2**31 - 1),
        "Maximum bytes of an uploaded artifact, counted in its JSON form",
    )
    min_free_disk_bytes: int = setting(
        "268435456",
        whole_number("bytes", 0, 2**63 - 1),
        "Stop accepting data when the disk has less than this many bytes free; 0 turns this check "
        "off",
    )
    max_connections: int = setting(
        "2000",
        whole_number("connections", 1, 1_000_000),
        "Maximum number of open HTTP connections; the same limit applies to gRPC connections",
    )
    request_timeout_s: int = setting(
        "30",
        whole_number("seconds", 1, 3_600),
        "Maximum seconds for an HTTP request to arrive. Each 16 KiB of its body adds one second",
    )
    keep_records_days: int = setting(
        "0",
        whole_number("days", 0, MOST_DAYS),
        "Days to keep records after they arrive; 0 keeps them forever",
    )
    keep_payloads_days: int = setting(
        "0",
        whole_number("days", 0, MOST_DAYS),
        "Days to keep inputs, outputs, log lines and logged data; 0 keeps them as long as the "
        "run itself",
    )
    tls_cert: Path | None = setting(
        "", read_file, "Certificate file (PEM) that turns on TLS for HTTP and gRPC"
    )
    tls_key: Path | None = setting(
        "", read_file, "Private key file of the certificate (PEM, without a password)"
    )
    cors_origins: tuple[str, ...] = setting(
        "",
        read_origins,
        "Origins of web pages that may send OTLP from a browser, such as https://app.example, "
        "separated by commas",
    )
    metrics_tags: tuple[str, ...] = setting(
        "",
        read_tags,
        "Tags of runs to use as labels in /metrics, at most five, separated by commas",
    )
    collect_ms: int = setting(
        "1000",
        whole_number("milliseconds", 0, 1_000),
        "Maximum milliseconds that a request waits, so that the collector can store several "
        "requests together. 0 stores each request at once, which uses more CPU and disk",
    )
    log_level: str = setting(
        "info", one_of(*_LEVELS), "Least severe level to log: debug, info, warning or error"
    )
    log_format: str = setting(
        "text", one_of("text", "json"), "Format of the log: text, or json for one object per line"
    )
    forward_otlp: tuple[OtlpTarget, ...] = setting(
        "",
        read_otlp_targets,
        "Destinations for a copy of all OTLP, at most eight: NAME=grpc://HOST:PORT or "
        "NAME=http://HOST:PORT, separated by commas",
        takes_table=True,
        show=hide_headers,
    )
    forward_records: tuple[RecordTarget, ...] = setting(
        "",
        read_record_targets,
        "Services to which the collector forwards stored records, at most eight: "
        "NAME=grpc://[:KEY@]HOST:PORT, separated by commas",
    )
    collector_name: str = setting(
        "",
        read_name,
        "Unique name of this collector. Do not change it later. Required if you use "
        "--forward-records with a ClickHouse server",
    )
    prices: tuple[Price, ...] = setting(
        "",
        read_prices,
        'Prices of models in US dollars per million tokens: {"provider": {"model": {"input": 1, '
        '"output": 2}}}',
        takes_table=True,
    )
    project_from: str = setting(
        "default",
        one_of("default", "service.name"),
        "Project of spans and log records that do not name a project: default (the project with "
        "the name default) or service.name (a project with the name of their service)",
    )
    sampled_projects: tuple[str, ...] = setting(
        "",
        read_projects,
        "Projects with a sampler that drops spans before they reach the collector, separated by "
        "commas, or * for all. In these projects, spans that do not arrive are reported as "
        "sampled, not as missing",
    )
    metrics: str = setting(
        "leave",
        one_of("leave", "refuse"),
        "What to do with OTLP metrics that are not about model calls and are not forwarded to a "
        "destination: leave (accept and drop them) or refuse (reject them)",
    )
    no_mcp: bool = setting(
        "false", read_switch, "Turn off /mcp, the address to which AI assistants connect"
    )
    mcp_writes: bool = setting(
        "false", read_switch, "Let AI assistants add feedback and save runs as tests"
    )
    alert_targets: tuple[AlertTarget, ...] = setting(
        "",
        read_alert_targets,
        'Receivers of alerts, at most eight: {"name": {"kind": "alertmanager", "url": '
        '"http://HOST:9093"}}',
        takes_table=True,
        show=hide_alert_targets,
    )
    public_url: str = setting(
        "",
        read_public_url,
        "Address at which users open the web pages, such as https://otel-ml.example. Links in "
        "alert notifications start with this address",
    )
    trusted_proxies: tuple[Network, ...] = setting(
        "",
        read_networks,
        "Addresses or networks of trusted proxies, separated by commas. The collector uses their "
        "headers X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Prefix and Forwarded. Without "
        "this setting, the collector trusts proxies on this machine",
    )
    auth_header: str = setting(
        "",
        read_header_name,
        "Header in which a trusted proxy names the signed-in user, such as X-Forwarded-Email; "
        "needs --trusted-proxies and --auth-access",
    )
    auth_groups_header: str = setting(
        "",
        read_header_name,
        "Header in which a trusted proxy lists the groups of the signed-in user, separated by "
        "commas, such as X-Forwarded-Groups",
    )
    auth_access: tuple[AccessEntry, ...] = setting(
        "",
        read_access,
        'Scopes and projects that users and groups may use: {"ada@example.com": {"scopes": '
        '["read"], "projects": ["*"]}, "group:ml": {"scopes": ["read"], "projects": ["shop"]}}',
        takes_table=True,
    )
    auth_sign_out: str = setting(
        "",
        read_sign_out,
        "Path or address at which the proxy signs users out, such as /oauth2/sign_out",
    )
    alert: tuple[Mapping[str, Any], ...] = setting(
        "",
        read_tables,
        "Alert rules: [[alert]] tables in the settings file, or a JSON list of objects",
        takes_tables=True,
    )
    alerts: AlertSettings = setting(
        "evaluate=true",
        read_alerts,
        "evaluate=false turns off the evaluation of alert rules in this collector",
        takes_table=True,
    )
    judge_connections: tuple[Connection, ...] = setting(
        "",
        read_connections,
        'Language models that judges can call, at most 32: {"name": {"kind": "openai", "url": '
        '"https://api.openai.com/v1", "key_env": "OPENAI_API_KEY", "projects": ["PROJECT"]}}',
        takes_table=True,
    )
    judge_redact: RedactionRules = setting(
        "",
        read_redaction,
        'What to remove from a run before a judge sends it to a language model: {"keys": '
        '["email"], "patterns": ["[0-9]{16}"]}',
        takes_table=True,
    )
    judge: tuple[Mapping[str, Any], ...] = setting(
        "",
        read_tables,
        "Rubric judges, which are language models that score runs by written instructions: "
        "[[judge]] tables in the settings file, or a JSON list of objects",
        takes_tables=True,
    )
    judges: JudgeSettings = setting(
        '{"run": true, "threads": 4}',
        read_judges,
        "How this collector runs rubric judges, which are language models that score runs by "
        "written instructions. run turns them on or off. threads is the maximum number of calls "
        "to language models at the same time",
        takes_table=True,
    )
    margins: Margins = setting(
        "",
        read_margins,
        "Smallest differences in time and cost that count as better or worse: "
        '{"time_ms": 10, "time_share": 0.02, "cost": 0.0001}. time_ms is in milliseconds. '
        "time_share is a share of the duration of the whole request (in an experiment, of the "
        "call). The larger of time_ms and time_share applies. cost is in US dollars per run",
        takes_table=True,
    )
    audit_reads: bool = setting(
        "false",
        read_switch,
        "Add to the activity of a project who read inputs, outputs and logged data",
    )
    trace_url: str = setting(
        "",
        read_trace_url,
        "Address of a trace in Jaeger or Tempo, for the link on the page of a run: "
        "http://HOST/trace/{trace_id}",
    )

    @property
    def page_url(self) -> str:
        """Return the base address for links in messages, without a trailing slash."""
        scheme = "https" if self.tls_cert else "http"
        return self.public_url or f"{scheme}://{address_here(self.http)}"

    @property
    def base_path(self) -> str:
        """Return the path below which users reach the pages, such as ``/otel-ml``; mostly empty."""
        return unquote(urlsplit(self.public_url).path)


TABLE: Final[tuple[Setting, ...]] = tuple(
    replace(field_.metadata["setting"], name=field_.name) for field_ in fields(Settings)
)
