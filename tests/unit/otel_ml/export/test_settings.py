"""Export settings from arguments and from the environment."""

import logging
from string import printable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.util.re import parse_env_headers

from otel_ml.export.settings import ExportSettings, is_endpoint_named, resolve

NAMES = (
    "ENDPOINT",
    "HEADERS",
    "TIMEOUT",
    "COMPRESSION",
    "CERTIFICATE",
    "CLIENT_CERTIFICATE",
    "CLIENT_KEY",
    "PROTOCOL",
)


@pytest.fixture(autouse=True)
def _no_standard_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_TRACES_{name}", raising=False)


def url(endpoint: str | None = None) -> str:
    return resolve(endpoint, "shop", None).url


def test_defaults() -> None:
    """Without arguments and variables, spans go uncompressed to port 4318 of this machine."""
    assert resolve(None, "shop", None) == ExportSettings(
        url="http://localhost:4318/v1/traces",
        page="http://localhost:4318",
        headers={"x-otel-ml-project": "shop"},
        timeout_s=10.0,
        compression="none",
        ca_file=None,
        client_cert_file=None,
        client_key_file=None,
        protocol="http/protobuf",
    )


def test_every_standard_variable_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The general variables determine all settings."""
    for name, text in {
        "ENDPOINT": "https://collector:4318",
        "HEADERS": "x-tenant=a",
        "TIMEOUT": "2.5",
        "COMPRESSION": "gzip",
        "CERTIFICATE": "/tls/ca.pem",
        "CLIENT_CERTIFICATE": "/tls/client.pem",
        "CLIENT_KEY": "/tls/client.key",
        "PROTOCOL": "http/protobuf",
    }.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", text)
    assert resolve(None, "shop", "sk-1") == ExportSettings(
        url="https://collector:4318/v1/traces",
        page="https://collector:4318",
        headers={"x-tenant": "a", "x-otel-ml-project": "shop", "authorization": "Bearer sk-1"},
        timeout_s=2.5,
        compression="gzip",
        ca_file="/tls/ca.pem",
        client_cert_file="/tls/client.pem",
        client_key_file="/tls/client.key",
        protocol="http/protobuf",
    )


@pytest.mark.parametrize("name", NAMES)
def test_variable_for_traces_wins(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The variable for traces takes precedence over the general variable."""
    texts = {
        "ENDPOINT": ("http://a", "http://b"),
        "HEADERS": ("x=a", "x=b"),
        "TIMEOUT": ("1", "2"),
        "COMPRESSION": ("gzip", "none"),
        "PROTOCOL": ("http/protobuf", "grpc"),
    }
    wanted, other = texts.get(name, ("/a", "/b"))
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_TRACES_{name}", wanted)
    alone = resolve(None, "shop", None)
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", other)
    assert resolve(None, "shop", None) == alone
    monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_TRACES_{name}")
    assert resolve(None, "shop", None) != alone


def test_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is empty or blank counts as unset."""
    for name in NAMES:
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", "")
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_TRACES_{name}", " ")
    monkeypatch.setenv("OTEL_ML_ENDPOINT", "\n")
    assert (url(), is_endpoint_named(" ")) == ("http://localhost:4318/v1/traces", False)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("http://localhost:4318", "http://localhost:4318/v1/traces"),
        ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
        (" http://localhost:4318\n", "http://localhost:4318/v1/traces"),
        ("localhost:4318", "http://localhost:4318/v1/traces"),
        ("//localhost:4318", "http://localhost:4318/v1/traces"),
        ("[::1]:4318", "http://[::1]:4318/v1/traces"),
        ("https://host/base", "https://host/base/v1/traces"),
        ("https://host/base/v1/traces", "https://host/base/v1/traces"),
        ("https://host/v1/traces/", "https://host/v1/traces"),
        ("https://user:word@host:1/a?b=c", "https://host:1/a/v1/traces?b=c"),
    ],
)
def test_base_address_becomes_the_traces_address(
    monkeypatch: pytest.MonkeyPatch, base: str, expected: str
) -> None:
    """The path for traces is added once to a base address, from any source."""
    assert url(base) == expected
    for variable in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_ML_ENDPOINT"):
        monkeypatch.setenv(variable, base)
        assert url() == expected


@pytest.mark.parametrize(
    ("exact", "expected"),
    [
        ("http://host:1/own/path", "http://host:1/own/path"),
        ("http://host:1", "http://host:1"),
        ("http://host:1/", "http://host:1/"),
        ("https://word@host/v1/traces?b=c", "https://host/v1/traces?b=c"),
        ("host:1/own", "http://host:1/own"),
    ],
)
def test_address_of_traces_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch, exact: str, expected: str
) -> None:
    """Nothing is added to an address in the variable for traces."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", exact)
    assert url() == expected


def test_precedence_of_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of argument, own variable, traces variable and general variable wins."""
    found = []
    for variable, text in (
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces"),
        ("OTEL_ML_ENDPOINT", "http://own"),
    ):
        monkeypatch.setenv(variable, text)
        found.append(url())
    assert [*found, url("http://argument")] == [
        "http://general/v1/traces",
        "http://traces",
        "http://own/v1/traces",
        "http://argument/v1/traces",
    ]


@pytest.mark.parametrize(
    "variable",
    ["OTEL_ML_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"],
)
def test_environment_names_an_endpoint(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """An endpoint counts as named by argument or variable, but not by default."""
    assert not is_endpoint_named(None)
    assert is_endpoint_named("http://localhost:4318")
    monkeypatch.setenv(variable, "http://localhost:4318")
    assert is_endpoint_named(None)


@pytest.mark.parametrize(
    ("endpoint", "page"),
    [
        ("http://host:1", "http://host:1"),
        ("http://host:1/v1/traces", "http://host:1"),
        ("https://user:word@host/base/?key=word#word", "https://host/base"),
    ],
)
def test_page_is_the_base_address(endpoint: str, page: str) -> None:
    """The address in log lines is the base address without possible secrets."""
    assert resolve(endpoint, "shop", None).page == page


@pytest.mark.parametrize(
    "endpoint",
    ["http://[::1", "http://host:port", "http://host:0", "http://", "ftp://host", "http://:4318"],
)
def test_invalid_endpoint_goes_nowhere(endpoint: str) -> None:
    """An invalid address is not replaced by the default."""
    settings = resolve(endpoint, "shop", None)
    assert (settings.url, settings.page) == ("", "(invalid endpoint)")


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        (None, "http://localhost:4317"),
        ("http://host:4317", "http://host:4317"),
        ("host:4317", "host:4317"),
        ("unix:/run/otel", "unix:/run/otel"),
    ],
)
def test_grpc_takes_addresses_as_they_are(
    monkeypatch: pytest.MonkeyPatch, endpoint: str | None, expected: str
) -> None:
    """With gRPC, no path is added, and the default port is 4317."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    settings = resolve(endpoint, "shop", None)
    assert (settings.url, settings.page, settings.protocol) == (expected, expected, "grpc")


def headers(
    project: str = "shop", api_key: str | None = None, endpoint: str = "h"
) -> dict[str, str]:
    return resolve(endpoint, project, api_key).headers


def test_key_displaces_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API key replaces an authorization header of the environment, in upper or lower case."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20abc")
    assert headers()["authorization"] == "Basic abc"
    assert headers(api_key="sk-1") == {
        "authorization": "Bearer sk-1",
        "x-otel-ml-project": "shop",
    }


def test_line_feed_of_a_key_is_left_out() -> None:
    """A line feed at the end of a key, as read from a file, is removed."""
    assert headers(api_key="sk-1\n")["authorization"] == "Bearer sk-1"


def test_project_displaces_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's project replaces the project in the environment's headers."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "X-Otel-ML-Project=other")
    assert headers() == {"x-otel-ml-project": "shop"}


@pytest.mark.parametrize("project", ["épicerie", "a\nb", ""])
def test_project_that_is_no_header(project: str) -> None:
    """A project that a header cannot contain is not sent."""
    assert headers(project) == {}


def test_login_of_an_address_becomes_a_header() -> None:
    """User and password of an address authenticate, unless there is an API key."""
    # printf 'me:p@ss' | base64
    assert headers(endpoint="http://me:p%40ss@h")["authorization"] == "Basic bWU6cEBzcw=="
    assert headers(endpoint="http://me:p%40ss@h", api_key="sk")["authorization"] == "Bearer sk"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1, B = 2 ,", {"a": "1", "b": "2"}),
        ("a=1,a=2", {"a": "2"}),
        ("a=b=c==", {"a": "b=c=="}),
        ("a=1%2C2%20%C3%A9", {"a": "1,2 é"}),
        ("a=1 2%20", {"a": "1 2%20"}),
        ("a=", {"a": ""}),
        (",,,a=b%0d%0aset-cookie:%20c", {}),
        (",,,,a=%E2%82%AC", {}),
        (",,,,,a b=c", {}),
        (",,,,,,=c", {}),
        (",,,,,,,c", {}),
        (',,,,,,,,a="c"', {}),
    ],
)
def test_headers_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: dict[str, str]
) -> None:
    """Headers are parsed like in the SDK; headers that cannot be sent are left out."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", text)
    assert headers(project="") == expected


@given(text=st.text(st.sampled_from(printable + "é%,=="), max_size=40))
def test_headers_are_those_of_the_sdk(text: str) -> None:
    """Any text yields the headers that the SDK parses, except those that cannot be sent."""
    theirs = {
        name: value
        for name, value in parse_env_headers(text, liberal=True).items()
        if value.isprintable() and value.isascii() and name.isprintable() and " " not in name
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_HEADERS", text)
        ours = headers(project="")
    assert {name: ours.get(name) for name in theirs} == theirs


@pytest.mark.parametrize("text", ["ten", "nan", "inf", "-1", "0", "1e999"])
def test_bad_timeout_is_the_default(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """An invalid timeout is logged once and replaced by 10 seconds."""
    caplog.set_level(logging.WARNING, "otel_ml")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", text)
    assert [resolve(None, "shop", None).timeout_s for _ in range(2)] == [10.0, 10.0]
    assert caplog.messages == [
        f"Invalid OTEL_EXPORTER_OTLP_TIMEOUT {text!r}: expected seconds above 0, using 10"
    ]


@pytest.mark.parametrize("text", ["deflate", "br"])
def test_unknown_compression_is_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """An unknown compression is logged once and replaced by none."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", text)
    assert [resolve(None, "shop", None).compression for _ in range(2)] == ["none", "none"]
    assert caplog.messages == [
        f"Unknown OTEL_EXPORTER_OTLP_COMPRESSION {text!r}: expected gzip or none, using none"
    ]


def test_case_and_blanks_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The case of words and blanks around them are ignored."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", " GZip ")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", " gRPC ")
    settings = resolve(None, "shop", None)
    assert (settings.compression, settings.protocol) == ("gzip", "grpc")


def test_settings_show_no_secret() -> None:
    """The repr of settings contains no key, password or query."""
    settings = resolve("https://me:secret@host/?key=secret", "shop", "secret")
    assert "secret" not in repr(settings)


@pytest.mark.parametrize("quoted", ['"http://x:4318"', "'http://x:4318'", ' " http://x:4318 " '])
@pytest.mark.parametrize(
    "name",
    ["endpoint", "OTEL_ML_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"],
)
def test_quoted_endpoint(monkeypatch: pytest.MonkeyPatch, name: str, quoted: str) -> None:
    """An endpoint in quotes is read without them, as an argument and from the environment."""
    if name != "endpoint":
        monkeypatch.setenv(name, quoted)
    settings = resolve(quoted if name == "endpoint" else None, "shop", None)
    assert settings.url == "http://x:4318/v1/traces"


@pytest.mark.parametrize(
    ("name", "given", "shown"),
    [
        ("OTEL_ML_ENDPOINT", "http://", "http://"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "htp://host", "htp://host"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://host:portx", "http://host:portx"),
        ("OTEL_ML_ENDPOINT", "http://me:hid#den@host:p?key=hidden", "http://host:p"),
    ],
)
def test_invalid_endpoint_is_named(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    given: str,
    shown: str,
) -> None:
    """An invalid endpoint is reported with its variable and value, without secrets."""
    monkeypatch.setenv(name, given)
    assert resolve(None, "shop", None).url == ""
    assert caplog.messages == [
        f"Invalid {name} {shown!r}: expected an address such as http://localhost:4318"
    ]
