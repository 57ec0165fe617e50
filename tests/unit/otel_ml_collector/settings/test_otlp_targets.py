"""Tests of the settings of OTLP destinations."""

import json
from typing import Any

import pytest

from otel_ml_collector.settings.targets import OtlpTarget, hide_headers, read_otlp_targets
from otel_ml_collector.settings.values import Address


def test_short() -> None:
    """A name and an address per destination are sufficient."""
    assert read_otlp_targets("") == ()
    assert read_otlp_targets("jaeger=grpc://jaeger:4317, tempo=https://tempo.example/otlp/") == (
        OtlpTarget("jaeger", "grpc://jaeger:4317"),
        OtlpTarget("tempo", "https://tempo.example/otlp"),
    )


NO_URL = "expected SCHEME://HOST:PORT with one of grpc, grpcs, http, https, without a query"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected NAME=URL,NAME=URL or a JSON object with an object for each name"),
        ("a", "a.endpoint: " + NO_URL),
        ("a=", "a.endpoint: " + NO_URL),
        ("a=tempo:4318", "a.endpoint: " + NO_URL),
        ("a=ftp://tempo", "a.endpoint: " + NO_URL),
        ("a=http://me:hush@tempo", "a.endpoint: " + NO_URL),
        ("a=http://tempo?x=1", "a.endpoint: " + NO_URL),
        ("a=http://tempo:99999", "a.endpoint: " + NO_URL),
        ("a=grpc://tempo", "a.endpoint: expected HOST:PORT after grpc://, and no path"),
        ("a=grpc://tempo:1/x", "a.endpoint: expected HOST:PORT after grpc://, and no path"),
        (
            "a=http://tempo/v1/traces",
            "a.endpoint: expected the base address: /v1/traces and /v1/logs are appended",
        ),
        ("a=http://b,a=http://c", "expected each name once"),
        ("A=http://b", "'A': expected a name of 1 to 64 of a-z, 0-9, '_', '.' and '-'"),
        (
            ",".join(f"{name}=http://b" for name in "abcdefghi"),
            "expected at most 8 destinations",
        ),
        ('{"a": {}}', "a: expected an endpoint"),
        ('{"a": 1}', "a: expected a table such as {endpoint = 'http://tempo:4318'}"),
    ],
)
def test_bad_text(text: str, message: str) -> None:
    """An invalid text is rejected with the expected form."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its text is compared
        read_otlp_targets(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"header": {}}, "a: unknown key 'header': did you mean headers?"),
        ({"headers": "x"}, "a.headers: expected a table of at most 32 names and texts"),
        ({"headers": {"a b": "x"}}, "a.headers: 'a b' is not a valid header name over "),
        ({"headers": {"x-bin": "x"}}, "a.headers: 'x-bin' is not a valid header name "),
        (
            {"headers": {"Host": "x"}},
            "a.headers: 'Host' is a header that the collector sets itself",
        ),
        ({"headers": {"x": "a\nb"}}, "a.headers: expected printable ASCII text for 'x'"),
        ({"headers": {"x": 1}}, "a.headers: expected printable ASCII text for 'x'"),
        ({"required": "yes"}, "a.required: expected true or false"),
        ({"signals": []}, "a.signals: expected any of traces, logs and metrics"),
        ({"signals": ["profiles"]}, "a.signals: expected any of traces, logs and metrics"),
        ({"timeout_s": 0}, "a.timeout_s: expected a number of seconds from 1 to 60"),
        ({"queue_bytes": 1.5}, "a.queue_bytes: expected a number of bytes from 1 to "),
        ({"tls_ca": "/missing"}, "a.tls_ca: expected a readable file (No such file"),
        ({"tls_ca": __file__}, "a: expected https:// or grpcs:// for tls_ca, tls_cert and "),
        (
            {"tls_key": __file__, "endpoint": "https://tempo"},
            "a: expected tls_cert and tls_key together",
        ),
        (
            {"tls_key": __file__, "tls_cert": __file__, "endpoint": "https://tempo"},
            "a: expected a certificate and its private key without a password, both PEM",
        ),
    ],
    ids=str,
)
def test_bad_table(options: dict[str, Any], message: str) -> None:
    """The error about an invalid table names its place, and never a header's value."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its text is compared
        read_otlp_targets(json.dumps({"a": {"endpoint": "http://tempo:4318", **options}}))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a=http://b", "a=http://b"),
        ("a=http://me:hush@b", "a=http://me:***@b"),
        ('{"a": {"headers": {"x": "hush"}}}', '{"a": {"headers": "***"}}'),
        ('{"a": {"header": {"x": "hush"}}}', '{"a": {"header": "***"}}'),
        ('{"a": {"endpoint": "http://me:hush@b"}}', '{"a": {"endpoint": "http://me:***@b"}}'),
        ('{"a": "hush"', "***"),
        ('{"a": 1}', '{"a": 1}'),
    ],
)
def test_shown(text: str, shown: str) -> None:
    """Headers, and any value that may contain one, are not shown."""
    assert hide_headers(text) == shown


@pytest.mark.parametrize(
    ("endpoint", "listener", "expected"),
    [
        ("http://127.0.0.1:4318", Address("127.0.0.1", 4318), True),
        ("grpc://localhost:4318", Address("127.0.0.1", 4318), True),
        ("http://[::1]:4318", Address("0.0.0.0", 4318), True),  # noqa: S104 - compared only
        ("http://10.0.0.1:4318", Address("10.0.0.1", 4318), True),
        ("http://10.0.0.1:4318", Address("0.0.0.0", 4318), False),  # noqa: S104 - compared only
        ("http://127.0.0.1:4318", Address("10.0.0.1", 4318), False),
        ("http://127.0.0.1:4319", Address("127.0.0.1", 4318), False),
        ("http://tempo:4318", Address("127.0.0.1", 4318), False),
        ("http://localhost", Address("127.0.0.1", 80), True),
    ],
)
def test_itself(endpoint: str, listener: Address, expected: bool) -> None:
    """A destination that is this collector itself is recognized by its address, if possible."""
    assert OtlpTarget("a", endpoint).is_at(listener) is expected
