"""Tests of alert receivers in the settings file and the environment."""

import json
from pathlib import Path
from typing import Any

import pytest

from otel_ml_collector.errors import BadSetting
from otel_ml_collector.settings.alert_targets import (
    AlertTarget,
    hide_alert_targets,
    read_alert_targets,
)
from otel_ml_collector.settings.sources import load

ONCALL: dict[str, Any] = {"kind": "alertmanager", "url": "http://alertmanager:9093"}


def read(**keys: object) -> AlertTarget:
    """Read a single Alertmanager receiver with some keys changed."""
    [target] = read_alert_targets(json.dumps({"oncall": {**ONCALL, **keys}}))
    return target


def test_defaults() -> None:
    """An address and a kind are sufficient."""
    assert read() == AlertTarget("oncall", "alertmanager", "http://alertmanager:9093")


def test_every_key() -> None:
    """A webhook may have a secret, headers, a timeout, a CA and access to private addresses."""
    target = read(
        kind="webhook",
        url="https://hooks.example:8443/a/b?c=d",
        secret="whsec_MDEyMzQ1Njc4OWFiY2RlZg==",
        headers={"Authorization": "Bearer abc"},
        allow_private=True,
        timeout_s=3,
        tls_ca=__file__,
    )
    assert target == AlertTarget(
        "oncall",
        "webhook",
        "https://hooks.example:8443/a/b?c=d",
        b"0123456789abcdef",
        (("authorization", "Bearer abc"),),
        allow_private=True,
        timeout_s=3,
        tls_ca=Path(__file__).resolve(),
    )
    assert (target.host, target.port, target.path) == ("hooks.example", 8443, "/a/b?c=d")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://am:9093", "/api/v2/alerts"),
        ("http://am:9093/", "/api/v2/alerts"),
        ("https://am.example/team/", "/team/api/v2/alerts"),
    ],
)
def test_alertmanager_path(url: str, path: str) -> None:
    """The path of Alertmanager's API is appended to the base address."""
    assert read(url=url).path == path


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ({"kind": "email"}, "expected one of alertmanager, slack, webhook"),
        ({"url": "ftp://host/"}, "expected http://HOST/PATH"),
        ({"url": "file:///etc/passwd"}, "expected http://HOST/PATH"),
        ({"url": "gopher://host/_x"}, "expected http://HOST/PATH"),
        ({"url": "http://user:pw@host/"}, "without a user"),
        ({"url": "http://host@other/"}, "without a user"),
        ({"url": "http://host/#x"}, "fragment"),
        ({"url": "http://host\\@other/"}, "expected http://HOST/PATH"),
        ({"url": "http://host/a\r\nX-Evil: 1"}, "expected http://HOST/PATH"),
        ({"url": "http://host/a b"}, "expected http://HOST/PATH"),
        ({"url": "http://host:99999/"}, "expected http://HOST/PATH"),
        ({"url": "http:///path"}, "expected http://HOST/PATH"),
        ({"url": 7}, "expected http://HOST/PATH"),
        ({"headers": {"host": "other"}}, "not a header name that you can set"),
        ({"headers": {"webhook-id": "1"}}, "not a header name that you can set"),
        ({"headers": {"x y": "1"}}, "not a header name that you can set"),
        ({"headers": {"x": "a\r\nY: 1"}}, "expected printable ASCII text"),
        ({"headers": "x"}, "expected a table"),
        ({"secret": "0123456789abcdef"}, "expected it only for kind 'webhook'"),
        ({"kind": "webhook", "secret": "short"}, "at least 16 bytes"),
        ({"kind": "webhook", "secret": "whsec_!"}, "at least 16 bytes"),
        ({"allow_private": "yes"}, "expected true or false"),
        ({"timeout_s": 61}, "from 1 to 60"),
        ({"tls_ca": __file__}, "expected an https://"),
        ({"ulr": "http://x"}, "did you mean url?"),
    ],
)
def test_refused(keys: dict[str, object], wrong: str) -> None:
    """An invalid receiver is rejected with the expected form."""
    with pytest.raises(ValueError, match="oncall") as refused:
        read(**keys)
    assert wrong in str(refused.value)


def test_too_many() -> None:
    """More than eight receivers are rejected."""
    with pytest.raises(ValueError, match="at most 8"):
        read_alert_targets(json.dumps({f"t{number}": ONCALL for number in range(9)}))


def test_tables_of_the_file(tmp_path: Path) -> None:
    """In the settings file, a receiver is a table."""
    file = tmp_path / "otel-ml.toml"
    file.write_text('[alert_targets.oncall]\nkind = "alertmanager"\nurl = "http://am:9093"\n')
    assert load({}, {}, file).alert_targets == (
        AlertTarget("oncall", "alertmanager", "http://am:9093"),
    )


@pytest.mark.parametrize("key", ["url", "secret", "headers", "scret"])
def test_no_secret_is_shown(key: str) -> None:
    """Webhook addresses, secrets and headers are never shown."""
    text = json.dumps({"oncall": {"kind": "slack", key: "https://hooks.example/T0/s3cret"}})
    assert json.loads(hide_alert_targets(text)) == {"oncall": {"kind": "slack", key: "***"}}


def test_no_secret_in_an_error() -> None:
    """The error about an invalid setting does not show the address of a webhook."""
    text = json.dumps({"a": {"kind": "slack", "url": "https://h.example/s3cret#x"}})
    with pytest.raises(BadSetting) as refused:
        load({"alert_targets": text}, {}, None)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("text", ["x", "[1]", "{", '{"a": 1}'])
def test_no_table(text: str) -> None:
    """A text that is not an object of tables is refused."""
    with pytest.raises(ValueError, match=r"expected a (JSON object|table)"):
        read_alert_targets(text)


def test_repr_has_no_secret() -> None:
    """The repr of a receiver contains no secret."""
    target = read(kind="webhook", url="http://h/s3cret", secret="0123456789abcdef")
    assert "s3cret" not in repr(target)
    assert "0123456789" not in repr(target)
