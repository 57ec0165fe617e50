"""Settings: their sources, and the messages about invalid ones."""

import re
from collections.abc import Mapping
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import pytest

import otel_ml
from otel_ml_collector.access import ADMIN, READ, Access, ProxyUser
from otel_ml_collector.errors import BadSetting
from otel_ml_collector.margins import Margins
from otel_ml_collector.price import Price
from otel_ml_collector.settings.connections import JudgeSettings, RedactionRules
from otel_ml_collector.settings.sign_on import find_access
from otel_ml_collector.settings.sources import SDK_VARIABLES, load, warnings_of
from otel_ml_collector.settings.table import TABLE, Setting, Settings
from otel_ml_collector.settings.targets import OtlpTarget, RecordTarget
from otel_ml_collector.settings.values import Address, AlertSettings
from otel_ml_collector.store.migrations import connect
from tests.support.folders import ROOT
from tests.support.sampling import sampled

PAGE: Final = ROOT / "docs/configuration.md"

# A setting's name, its text in the three sources, and the parsed values.
SOURCES: Final[list[tuple[str, list[str], list[Any]]]] = [
    (
        "http",
        ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"],
        [Address("127.0.0.1", 1), Address("127.0.0.1", 2), Address("127.0.0.1", 3)],
    ),
    (
        "grpc",
        ["localhost:1", "localhost:2", "[::1]:3"],
        [Address("localhost", 1), Address("localhost", 2), Address("::1", 3)],
    ),
    (
        "store",
        ["clickhouse://a", "clickhouse://b", "clickhouse://c"],
        ["clickhouse://a", "clickhouse://b", "clickhouse://c"],
    ),
    (
        "data_dir",
        ["/flag", "/variable", "/file"],
        [Path("/flag"), Path("/variable"), Path("/file")],
    ),
    ("allowed_hosts", ["a, B", "b", ""], [("a", "b"), ("b",), ()]),
    ("artifact_limit_bytes", ["1", "2147483647", "3"], [1, 2_147_483_647, 3]),
    ("min_free_disk_bytes", ["0", "9223372036854775807", "5"], [0, 2**63 - 1, 5]),
    ("max_connections", ["1", "1000000", "3"], [1, 1_000_000, 3]),
    ("request_timeout_s", ["1", "3600", "3"], [1, 3_600, 3]),
    ("metrics_open", ["nobody", "everyone", "loopback"], ["nobody", "everyone", "loopback"]),
    ("no_mcp", ["true", "false", "true"], [True, False, True]),
    ("mcp_writes", ["true", "false", "true"], [True, False, True]),
    (
        "alert",
        ['[{"name": "a"}]', '[{"name": "b"}, {}]', ""],
        [({"name": "a"},), ({"name": "b"}, {}), ()],
    ),
    (
        "alerts",
        ["evaluate=false", '{"evaluate": true}', "evaluate=false"],
        [AlertSettings(evaluate=False), AlertSettings(), AlertSettings(evaluate=False)],
    ),
    ("metrics_tags", ["a, B", "b", ""], [("a", "B"), ("b",), ()]),
    ("sampled_projects", ["shop, Bank", "*", ""], [("shop", "Bank"), ("*",), ()]),
    (
        "project_from",
        ["service.name", "Default", "service.name"],
        ["service.name", "default", "service.name"],
    ),
    (
        "trace_url",
        ["http://j/trace/{trace_id}", "https://t:3000/explore?q={trace_id}", ""],
        ["http://j/trace/{trace_id}", "https://t:3000/explore?q={trace_id}", ""],
    ),
    (
        "trusted_proxies",
        ["10.0.0.0/8, ::1", "127.0.0.1", ""],
        [(ip_network("10.0.0.0/8"), ip_network("::1")), (ip_network("127.0.0.1"),), ()],
    ),
    ("log_level", ["DEBUG", "warning", "Error"], ["debug", "warning", "error"]),
    ("log_format", ["JSON", "text", "json"], ["json", "text", "json"]),
    (
        "forward_records",
        ["a=grpc://a:1", "b=grpc://b:2", ""],
        [(RecordTarget("a:1", name="a"),), (RecordTarget("b:2", name="b"),), ()],
    ),
    (
        "forward_otlp",
        ["a=grpc://a:1", "b=http://b", ""],
        [(OtlpTarget("a", "grpc://a:1"),), (OtlpTarget("b", "http://b"),), ()],
    ),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to an empty folder without a settings file."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def flags(**given: str) -> dict[str, str | None]:
    return {setting.name: given.get(setting.name) for setting in TABLE}


def load_file(folder: Path, content: str) -> Settings:
    (folder / "otel-ml.toml").write_text(content)
    return load(flags(), {}, None)


def message_of(
    given: Mapping[str, str | None], environment: Mapping[str, str], file: Path | None = None
) -> str:
    with pytest.raises(BadSetting) as caught:
        load(given, environment, file)
    return str(caught.value)


def test_defaults(folder: Path) -> None:
    """By default the collector listens on loopback, with its store in the current folder."""
    assert load(flags(), {}, None) == Settings(
        http=Address("127.0.0.1", 4318),
        grpc=Address("127.0.0.1", 4317),
        store=f"chdb://{folder}/otel-ml-data",
        data_dir=folder / "otel-ml-data",
        insecure=False,
        store_wait_s=600,
        allowed_hosts=(),
        require_keys=False,
        session_secret="",
        metrics_open="loopback",
        no_mcp=False,
        mcp_writes=False,
        artifact_limit_bytes=100_663_296,
        min_free_disk_bytes=268_435_456,
        max_connections=2_000,
        request_timeout_s=30,
        keep_records_days=0,
        keep_payloads_days=0,
        tls_cert=None,
        tls_key=None,
        cors_origins=(),
        metrics_tags=(),
        collect_ms=1000,
        log_level="info",
        log_format="text",
        forward_otlp=(),
        prices=(),
        forward_records=(),
        collector_name="",
        project_from="default",
        sampled_projects=(),
        metrics="leave",
        alert_targets=(),
        public_url="",
        trusted_proxies=(),
        auth_header="",
        auth_groups_header="",
        auth_access=(),
        auth_sign_out="",
        audit_reads=False,
        trace_url="",
        alert=(),
        alerts=AlertSettings(evaluate=True),
        judge_connections=(),
        judge_redact=RedactionRules(),
        judge=(),
        judges=JudgeSettings(),
        margins=Margins(),
    )


@sampled(8)
@pytest.mark.parametrize(("name", "texts", "values"), SOURCES, ids=[row[0] for row in SOURCES])
def test_precedence(folder: Path, name: str, texts: list[str], values: list[Any]) -> None:
    """A flag overrides a variable, and a variable overrides the file."""
    (folder / "otel-ml.toml").write_text(f'{name} = "{texts[2]}"')
    variable = {f"OTEL_ML_{name.upper()}": texts[1]}
    found = [
        load(flags(**{name: texts[0]}), variable, None),
        load(flags(), variable, None),
        load(flags(), {}, None),
    ]
    assert [getattr(settings, name) for settings in found] == values
    if name == "data_dir":
        assert [settings.store for settings in found] == [f"chdb://{value}" for value in values]


@pytest.mark.parametrize(
    ("given", "environment", "store"),
    [
        ({"store": "clickhouse://a"}, {}, "clickhouse://a"),
        ({}, {"OTEL_ML_STORE": "clickhouse://a"}, "clickhouse://a"),
        ({"data_dir": "/d"}, {"OTEL_ML_STORE": "clickhouse://a"}, "chdb:///d"),
        ({"store": "clickhouse://a"}, {"OTEL_ML_DATA_DIR": "/d"}, "clickhouse://a"),
        ({"store": "clickhouse://a", "data_dir": "/d"}, {}, "clickhouse://a"),
    ],
)
def test_store_or_folder(given: dict[str, str], environment: dict[str, str], store: str) -> None:
    """If a store and a folder are set, the source with the higher precedence counts."""
    assert load(flags(**given), environment, None).store == store


@sampled(2)
@pytest.mark.parametrize("name", ["a folder", "100%", "a%41", "#1", "ü"])
def test_folder_of_any_name(folder: Path, name: str) -> None:
    """The store is created in the given folder, whatever the folder's name."""
    settings = load(flags(data_dir=str(folder / name)), {}, None)
    connect(settings.store).close()
    assert [path.name for path in folder.iterdir()] == [name]


def test_file(folder: Path) -> None:
    """A file can set everything; lists and switches use TOML's types."""
    settings = load_file(
        folder,
        """
        http = "0.0.0.0:80"
        data_dir = "/data"
        insecure = true
        allowed_hosts = ["otel.example", "OTHER.example"]
        """,
    )
    assert (settings.http, settings.store) == (Address("0.0.0.0", 80), "chdb:///data")  # noqa: S104
    assert (settings.insecure, settings.allowed_hosts) == (True, ("otel.example", "other.example"))


def test_named_file(folder: Path) -> None:
    """A named file is read instead of the default file."""
    (folder / "otel-ml.toml").write_text('log_level = "error"')
    (folder / "other.toml").write_text('log_level = "debug"')
    assert load(flags(), {}, folder / "other.toml").log_level == "debug"


@pytest.mark.parametrize("text", ["true", "TRUE", "1"])
def test_switch_on(text: str) -> None:
    """A switch is turned on by true or 1."""
    assert load(flags(), {"OTEL_ML_INSECURE": text}, None).insecure is True


def test_empty_variable_is_unset() -> None:
    """An empty variable counts as unset."""
    assert load(flags(), {"OTEL_ML_HTTP": ""}, None).http == Address("127.0.0.1", 4318)


@pytest.mark.parametrize("text", ["false", "False", "0"])
def test_switch_off(text: str) -> None:
    """A switch is turned off by false or 0."""
    assert load(flags(), {"OTEL_ML_INSECURE": text}, None).insecure is False


@sampled(8)
@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        *[
            ("http", text, "expected HOST:PORT with a port from 0 to 65535")
            for text in ("4318", "localhost", ":4318", "localhost:", "localhost:65536", "h:-1")
        ],
        ("grpc", "h:http", "expected HOST:PORT with a port from 0 to 65535"),
        ("http", "http://localhost:4318", "expected HOST:PORT with a port from 0 to 65535"),
        ("insecure", "yes", "expected true or false"),
        ("log_level", "loud", "expected one of debug, info, warning, error"),
        ("http", "a b:1", "expected HOST:PORT with a port from 0 to 65535"),
        ("max_connections", "0", "expected a number of connections from 1 to 1000000"),
        ("request_timeout_s", "1.5", "expected a number of seconds from 1 to 3600"),
        ("log_format", "xml", "expected one of text, json"),
        ("data_dir", "~nobody-here/a", "expected a path without ~: this user has no home folder"),
        ("data_dir", "a?b", "expected the path of a folder, without a question mark"),
        ("metrics_open", "all", "expected one of loopback, everyone, nobody"),
        *[
            (
                "trace_url",
                text,
                "expected the address of a trace with {trace_id} for its id, without a password, "
                "such as http://jaeger:16686/trace/{trace_id}",
            )
            for text in (
                "http://jaeger:16686/trace/",
                "jaeger:16686/trace/{trace_id}",
                "javascript:alert('{trace_id}')",
                "ftp://jaeger/{trace_id}",
                "http:///trace/{trace_id}",
                "http://{trace_id}.example/",
                "http://jaeger:99999/{trace_id}",
                "http://a b/{trace_id}",
            )
        ],
        (
            "tls_cert",
            "/missing.pem",
            "expected a readable file (No such file or directory)",
        ),
    ],
)
def test_bad_value(folder: Path, name: str, text: str, expected: str) -> None:
    """An invalid value is reported with its source, the value and the expected one."""
    flag, variable = f"--{name.replace('_', '-')}", f"OTEL_ML_{name.upper()}"
    assert message_of(flags(**{name: text}), {}) == f"Invalid {flag} {text!r}: {expected}"
    assert message_of(flags(), {variable: text}) == f"Invalid {variable} {text!r}: {expected}"
    (folder / "otel-ml.toml").write_text(f'{name} = "{text}"')
    assert message_of(flags(), {}) == f"otel-ml.toml:1: Invalid {name} {text!r}: {expected}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n\nhttpp = 3", "otel-ml.toml:3: Unknown key 'httpp': did you mean http?"),
        ("http = 4318", "otel-ml.toml:1: Invalid http '4318': expected HOST:PORT"),
        ("[http]\nhost = 'a'", "otel-ml.toml:1: Invalid http (a table): expected one value"),
        ("http = ['a:1']", "otel-ml.toml:1: Invalid http ['a:1']: expected one value"),
        (
            "\nallowed_hosts = [1]",
            "otel-ml.toml:2: Invalid allowed_hosts [1]: expected one value or a list of them",
        ),
        ("paint = 3", "otel-ml.toml:1: Unknown key 'paint': expected one of al"),
        ("http =", "The file otel-ml.toml cannot be read: Invalid value (at end of document)"),
        ("\udcff", "The file otel-ml.toml cannot be read: 'utf-8' codec can't decode"),
    ],
)
def test_bad_file(folder: Path, content: str, message: str) -> None:
    """An invalid file is reported with the problem and, if known, its line."""
    (folder / "otel-ml.toml").write_bytes(content.encode(errors="surrogateescape"))
    assert message_of(flags(), {}).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[forward_records.a]\nkey = 'hush'", "Invalid forward_records (a table): expected one"),
        ("session_secret = ['hush']", "Invalid session_secret ['***']: expected one value"),
    ],
)
def test_secret_of_wrong_type(folder: Path, content: str, message: str) -> None:
    """A value of the wrong type is not shown if the setting can contain a secret."""
    (folder / "otel-ml.toml").write_text(content)
    told = message_of(flags(), {})
    assert told.startswith(f"otel-ml.toml:1: {message}")
    assert "hush" not in told


def test_all_problems(folder: Path) -> None:
    """All problems of all sources are reported at once, one per line."""
    (folder / "otel-ml.toml").write_text('colour = 1\n# a comment\n"log_level" = "loud"\n')
    given = message_of(flags(http="h"), {"OTEL_ML_GRPC": "g"})
    names = ", ".join(sorted(flags())[:30])  # the message lists at most 30 names
    assert given.splitlines() == [
        f"otel-ml.toml:1: Unknown key 'colour': expected one of {names} …",
        "Invalid --http 'h': expected HOST:PORT with a port from 0 to 65535",
        "Invalid OTEL_ML_GRPC 'g': expected HOST:PORT with a port from 0 to 65535",
        "otel-ml.toml:3: Invalid log_level 'loud': expected one of debug, info, warning, error",
    ]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("mysql://me:hush@db/x", "mysql://me:***@db/x"),
        ("mysql://me:hu@sh@db/x", "mysql://me:***@db/x"),
        ("mysql://:hush@db/x", "mysql://:***@db/x"),
        ("mysql://me@db/x", "mysql://me@db/x"),
    ],
)
def test_password(said: str, shown: str) -> None:
    """A message never shows a password."""
    assert message_of(flags(store=said), {}) == (
        f"Invalid --store {shown!r}: expected chdb:///absolute/path or "
        "clickhouse://user:password@host:port/database"
    )


def test_password_of_a_link() -> None:
    """An address that is shown to many people must not contain a password."""
    told = message_of(flags(trace_url="https://me:hush@jaeger/{trace_id}"), {})
    assert told.startswith("Invalid --trace-url 'https://me:***@jaeger/{trace_id}': expected the")


@pytest.mark.parametrize(
    ("name", "warnings"),
    [
        ("OTEL_ML_HTPP", ["Unknown variable OTEL_ML_HTPP: did you mean OTEL_ML_HTTP?"]),
        ("OTEL_ML_API_KEYS", ["Unknown variable OTEL_ML_API_KEYS: did you mean OTEL_ML_API_KEY?"]),
        ("OTEL_ML_PROJECT", []),
        ("OTEL_ML_MAX_CONNECTIONS", []),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", []),
        ("XOTEL_ML_HTTP", []),
    ],
)
def test_unknown_variable(name: str, warnings: list[str]) -> None:
    """An unknown variable is reported with the closest known name."""
    assert warnings_of({name: "1"}) == warnings


def test_variables_of_the_sdk() -> None:
    """The collector knows all variables that the SDK reads."""
    sources = [path.read_text() for path in Path(otel_ml.__path__[0]).rglob("*.py")]
    read = {name for source in sources for name in re.findall(r"OTEL_ML_[A-Z_]+[A-Z]", source)}
    assert read == set(SDK_VARIABLES)


def test_missing_file(folder: Path) -> None:
    """A named file must exist."""
    file = folder / "missing.toml"
    assert message_of(flags(), {}, file).startswith(f"The file {file} cannot be read: ")


def test_tables(folder: Path) -> None:
    """Destinations and prices can be tables in the file, and JSON in other sources."""
    content = """
        [forward_otlp.tempo]
        endpoint = "http://tempo"
        headers = { authorization = "hush" }
        [prices.openai]
        "gpt-4o" = { input = 1, output = 2.5 }
    """
    found = load_file(folder, content)
    tempo = OtlpTarget("tempo", "http://tempo", headers=(("authorization", "hush"),))
    assert (found.forward_otlp, found.prices) == ((tempo,), (Price("openai", "gpt-4o", 1, 2.5),))
    given = '{"tempo": {"endpoint": "http://tempo", "headers": {"authorization": "hush"}}}'
    assert load(flags(forward_otlp=given), {}, None).forward_otlp == (tempo,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "[forward_otlp.tempo]\nendpoint = 'tempo'\nheaders = {a = 'hush'}",
            'otel-ml.toml:1: Invalid forward_otlp \'{"tempo": {"endpoint": "tempo", "headers": '
            '"***"}}\': tempo.endpoint: expected SCHEME://HOST:PORT with one of grpc, grpcs, http, '
            "https, without a query",
        ),
        (
            "[forward_otlp]\nme = {endpoint = 'http://localhost:4318'}",
            'otel-ml.toml:1: Invalid forward_otlp \'{"me": {"endpoint": "http://localhost:4318"}}'
            "': me is this collector itself: expected the address of another one",
        ),
        ("forward_otlp = 1", "otel-ml.toml:1: Invalid forward_otlp '1': 1.endpoint: expected SCH"),
        ("[prices]\nopenai = 1", "otel-ml.toml:1: Invalid prices '{\"openai\": 1}': openai: exp"),
    ],
)
def test_bad_tables(folder: Path, content: str, message: str) -> None:
    """An error in a table is reported with its place, without the values of headers."""
    (folder / "otel-ml.toml").write_text(content)
    assert message_of(flags(), {}).startswith(message)


@pytest.mark.parametrize(
    ("text", "address", "is_loopback"),
    [
        ("127.0.0.1:0", Address("127.0.0.1", 0), True),
        ("127.8.8.8:1", Address("127.8.8.8", 1), True),
        ("localhost:65535", Address("localhost", 65_535), True),
        ("[::1]:4318", Address("::1", 4318), True),
    ],
)
def test_address(text: str, address: Address, is_loopback: bool) -> None:
    """An address is parsed, including IPv6 in brackets, and is formatted unchanged."""
    found = load(flags(http=text), {}, None).http
    assert (found, str(found), found.is_loopback) == (address, text, is_loopback)


@sampled(12)
@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.name)
def test_names(setting: Setting) -> None:
    """A setting has the same name as key, flag and variable."""
    words = setting.name.split("_")
    assert setting.flag == f"--{'-'.join(words)}"
    assert setting.variable == f"OTEL_ML_{'_'.join(words).upper()}"


def test_documented() -> None:
    """The settings page has a row for each setting, in order, with its names and default."""
    table = [line.split("|")[1:5] for line in PAGE.read_text().splitlines() if "| `--" in line]
    assert [[cell.strip().strip("`") for cell in row] for row in table] == [
        [setting.flag, setting.variable, setting.name, setting.default] for setting in TABLE
    ]


def test_short_session_secret() -> None:
    """A session secret that is too short is refused, and not shown."""
    with pytest.raises(BadSetting) as caught:
        load({"session_secret": "hush" * 7}, {}, None)
    assert str(caught.value) == (
        "Invalid --session-secret '***': expected at least 32 visible characters"
    )


SIGN_ON: Final = {
    "auth_header": "X-Forwarded-Email",
    "trusted_proxies": "10.0.0.5",
    "auth_access": '{"ada@example.com": {"scopes": ["read"], "projects": ["*"]}}',
}


@sampled(6)
@pytest.mark.parametrize(
    ("changed", "name", "reason"),
    [
        ({"trusted_proxies": ""}, "auth-header", "expected trusted_proxies too"),
        ({"auth_access": ""}, "auth-header", "expected auth_access too"),
        ({"trusted_proxies": "0.0.0.0/0"}, "trusted-proxies", "expected the addresses of your"),
        ({"trusted_proxies": "proxy"}, "trusted-proxies", "expected IP addresses or networks"),
        ({"trusted_proxies": "10.0.0.5/8"}, "trusted-proxies", "expected IP addresses or networks"),
        ({"auth_header": ""}, "auth-access", "expected auth_header too"),
        ({"auth_header": "Authorization"}, "auth-header", "expected the name of a header"),
        ({"auth_header": "X User"}, "auth-header", "expected the name of a header"),
        ({"auth_groups_header": "x-forwarded-email"}, "auth-groups-header", "expected a header"),
        (
            {"auth_access": '{"group:ml": {"scopes": ["read"], "projects": ["*"]}}'},
            "auth-access",
            "expected auth_groups_header too",
        ),
        (
            {"auth_access": '{"Group:ml": {"scopes": ["read"], "projects": ["*"]}}'},
            "auth-access",
            "'Group:ml': expected an email address, or group: and a name",
        ),
        ({"auth_access": "{"}, "auth-access", "expected a JSON object"),
        ({"auth_access": '{"a@x": {"scopes": ["read"]}}'}, "auth-access", "a@x: expected scopes"),
        (
            {"auth_access": '{"a@x": {"scopes": ["root"], "projects": ["*"]}}'},
            "auth-access",
            "a@x.scopes: expected a list of some of ingest",
        ),
        (
            {"auth_access": '{"a@x": {"scopes": ["read"], "projects": ["*", "b"]}}'},
            "auth-access",
            "a@x.projects: expected a list of 1 to 100 names",
        ),
        (
            {
                "auth_access": '{"a@x": {"scopes": ["read"], "projects": ["*"]}, '
                '"A@x": {"scopes": ["read"], "projects": ["*"]}}'
            },
            "auth-access",
            "expected each user or group once",
        ),
        ({"auth_sign_out": "//evil.example"}, "auth-sign-out", "expected a path or an address"),
        ({"auth_sign_out": "javascript:x"}, "auth-sign-out", "expected a path or an address"),
    ],
)
def test_unsafe_sign_on(changed: dict[str, str], name: str, reason: str) -> None:
    """Unsafe or useless single sign-on settings are refused, with one line each."""
    load(flags(**SIGN_ON), {}, None)
    [line] = message_of(flags(**{**SIGN_ON, **changed}), {}).splitlines()
    assert line.startswith(f"Invalid --{name} ")
    assert reason in line


def test_access_of_users(folder: Path) -> None:
    """The table `auth_access` in the file defines the access of users and groups."""
    settings = load_file(
        folder,
        """
        auth_header = "X-Forwarded-Email"
        auth_groups_header = "X-Forwarded-Groups"
        trusted_proxies = ["10.0.0.5"]
        [auth_access]
        "Ada@Example.com" = { scopes = ["read", "admin"], projects = ["*"] }
        "group:ML" = { scopes = ["read"], projects = ["shop", "bank"] }
        "group:ops" = { scopes = ["ingest"], projects = ["shop"] }
        """,
    )
    find = partial(find_access, settings.auth_access)
    ada = find(ProxyUser("ada@example.com", frozenset({"ML"})))
    assert ada == Access("user:ada@example.com", "ada@example.com", frozenset({READ, ADMIN}), None)
    bo = find(ProxyUser("bo", frozenset({"ops", "ML"})))
    assert bo == Access("user:bo", "bo", frozenset({READ}), ("shop", "bank"))
    assert find(ProxyUser("bo", frozenset({"ml"}))) is None
    assert find(ProxyUser("group:ops")) is None
