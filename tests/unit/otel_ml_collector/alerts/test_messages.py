"""Messages about alerts: their content, and the size limits of each receiver."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.alerts.messages import (
    make_alert_request,
    make_alerts,
    make_slack_message,
    make_webhook_document,
    sign,
)
from otel_ml_collector.alerts.notification import AlertedSlice, Notification
from tests.support.otel_ml_collector.alerts.world import (
    CHANGED_NS,
    FALLS,
    NOW_NS,
    PUBLIC_URL,
    SINCE_NS,
    make_target,
)

RULE_PAGE: Final = "https://ml.example/projects/shop/alerts/grounded%20falls"
RUNS_PAGE: Final = "https://ml.example/projects/shop/runs?where=a%20b"
# Texts with characters that have a special meaning in some format.
NASTY: Final = (
    "{{ .Labels }}{% raw %}${HOME}",
    "<!channel>",
    "<!here|x> <@U0123> <#C0123>",
    "<https://evil.example|click>",
    "@channel @here",
    "a\r\nX-Evil: 1",
    "\x00\x1b[31m\x7f",
    "\u202egnp.exe",
    "half \ud800 a character",
    '"};alert(1)//',
    "'; DROP TABLE notifications; --",
    "&lt;!channel&gt;",
    "x" * 100_000,
    "<" * 100_000,
    "",
)


def make_nasty(text: str) -> Notification:
    """Put a text into every text field of a notification."""
    return replace(
        FALLS,
        project=text,
        rule=text,
        severity=text,
        annotations={text: text, "summary": text},
        slices=(AlertedSlice({text: text, "client": text}, 0.5, SINCE_NS, text),) * 10,
        when=text,
        window=text,
        path=text,
    )


def test_alerts() -> None:
    """Alertmanager gets one alert per slice, which expires five minutes after its last update."""
    assert make_alerts(FALLS, PUBLIC_URL, NOW_NS) == [
        {
            "labels": {
                "alertname": "grounded falls",
                "project": "shop",
                "severity": "page",
                "client": "Remax",
            },
            "annotations": {
                "runbook": "https://runbooks.example/1",
                "summary": "Remax: 0.71 over 1h",
                "value": "0.7123",
                "condition": 'surely(pass_rate("grounded") < 0.9)',
                "window": "1h",
                "runs": RUNS_PAGE,
            },
            "startsAt": "2026-11-24T11:30:00.000000000Z",
            "endsAt": "2026-11-24T12:06:00.000000000Z",
            "generatorURL": RULE_PAGE,
        }
    ]


def test_resolved_alerts() -> None:
    """A resolved alert ends when its state changed, and keeps the labels of the firing alert."""
    [firing] = make_alerts(FALLS, PUBLIC_URL, NOW_NS)
    [resolved] = make_alerts(replace(FALLS, status="resolved"), PUBLIC_URL, NOW_NS)
    assert resolved["endsAt"] == "2026-11-24T12:00:00.000000000Z"
    assert resolved["labels"] == firing["labels"]


@pytest.mark.parametrize("since_ns", [NOW_NS + 10**12, CHANGED_NS])
@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_alerts_end_after_they_start(status: Any, since_ns: int) -> None:
    """An alert ends after it starts, even if the clock was set back."""
    alerted = replace(FALLS.slices[0], since_ns=since_ns)
    notification = replace(FALLS, status=status, slices=(alerted,))
    [alert] = make_alerts(notification, PUBLIC_URL, CHANGED_NS)
    assert alert["startsAt"] < alert["endsAt"]


def test_rule_without_slices() -> None:
    """A rule without slices is sent as a single alert."""
    [alert] = make_alerts(replace(FALLS, slices=()), PUBLIC_URL, NOW_NS)
    assert alert["labels"] == {
        "alertname": "grounded falls",
        "project": "shop",
        "severity": "page",
    }


def test_labels_of_slices() -> None:
    """Slice labels become valid Alertmanager label names, and never overwrite another label."""
    labels = {'tags["client"]': "a", "tags.client": "b", "alertname": "c", "7d": "d", "é": "e"}
    [alert] = make_alerts(
        replace(FALLS, slices=(AlertedSlice(labels, None, SINCE_NS),)), PUBLIC_URL, NOW_NS
    )
    assert alert["labels"] == {
        "alertname": "grounded falls",
        "project": "shop",
        "severity": "page",
        "tags_client": "a",
        "tags_client_2": "b",
        "slice_alertname": "c",
        "slice_7d": "d",
        "slice_": "e",
    }


def test_slack() -> None:
    """The Slack message lists the slices, each with a link to its runs."""
    assert make_slack_message(FALLS, PUBLIC_URL) == {
        "text": "FIRING: grounded falls: Remax: 0.71 over 1h",
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": [
            {"type": "header", "text": plain("FIRING: grounded falls")},
            {"type": "section", "text": plain("Remax: 0.71 over 1h")},
            {"type": "section", "text": plain("runbook: https://runbooks.example/1")},
            {
                "type": "section",
                "text": {
                    "type": "mrkdwn",
                    "verbatim": True,
                    "text": "client = Remax: 0.7123, since 2026-11-24 11:30 UTC "
                    f"<{RUNS_PAGE}|runs>",
                },
            },
            {
                "type": "context",
                "elements": [
                    plain('surely(pass_rate("grounded") < 0.9) over 1h'),
                    plain("and 2 more slices"),
                    plain("project shop"),
                    plain("severity page"),
                ],
            },
            {
                "type": "section",
                "text": {
                    "type": "mrkdwn",
                    "verbatim": True,
                    "text": f"<{RULE_PAGE}|Open the rule>",
                },
            },
        ],
    }


def plain(text: str) -> dict[str, Any]:
    """Return a Slack text object of type `plain_text`, in which mentions are not parsed."""
    return {"type": "plain_text", "text": text, "emoji": False}


def test_webhook() -> None:
    """A webhook gets a JSON document, with the id, the time and a signature in its headers."""
    target = make_target("webhook", "127.0.0.1:1", secret=b"0123456789abcdef")
    request = make_alert_request(target, FALLS, PUBLIC_URL, NOW_NS)
    assert json.loads(request.body) == {
        "id": FALLS.id,
        "status": "firing",
        "project": "shop",
        "rule": "grounded falls",
        "severity": "page",
        "when": 'surely(pass_rate("grounded") < 0.9)',
        "window": "1h",
        "changed_at": "2026-11-24T12:00:00.000000000Z",
        "annotations": {
            "runbook": "https://runbooks.example/1",
            "summary": "Remax: 0.71 over 1h",
        },
        "slices": [
            {
                "labels": {"client": "Remax"},
                "value": 0.7123,
                "since": "2026-11-24T11:30:00.000000000Z",
                "runs": RUNS_PAGE,
            }
        ],
        "more_slices": 2,
        "url": RULE_PAGE,
    }
    seconds = str(NOW_NS // 10**9)
    signed = f"{FALLS.id}.{seconds}.".encode() + request.body
    digest = hmac.new(b"0123456789abcdef", signed, hashlib.sha256).digest()
    assert request.headers == {
        "webhook-id": FALLS.id,
        "webhook-timestamp": seconds,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def test_signature_of_the_standard() -> None:
    """The signature matches the example of the Standard Webhooks specification."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1614265330)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_no_signature_without_a_secret() -> None:
    """A request to a webhook without a secret has an id and a timestamp, but no signature."""
    request = make_alert_request(make_target("webhook", "127.0.0.1:1"), FALLS, "", NOW_NS)
    assert request.headers.keys() == {"webhook-id", "webhook-timestamp"}


@pytest.mark.parametrize("path", ["@evil.example/", "//evil.example/", "https://evil.example/", ""])
def test_links_stay_here(path: str) -> None:
    """A path that leads to another host does not become a link."""
    assert make_webhook_document(replace(FALLS, path=path), PUBLIC_URL)["url"] == ""


def texts_of(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the text objects of a Slack message."""
    if isinstance(value, dict):
        if value.get("type") in {"plain_text", "mrkdwn"}:
            yield value
        for part in value.values():
            yield from texts_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts_of(part)


def check_slack(notification: Notification) -> None:
    """Check that a message is within Slack's published limits and mentions nobody."""
    message = make_slack_message(notification, PUBLIC_URL)
    assert 0 < len(message["blocks"]) <= 50
    assert message["blocks"][0]["type"] == "header"
    assert 0 < len(message["blocks"][0]["text"]["text"]) <= 150
    for block in message["blocks"]:
        assert block["type"] in {"header", "section", "context"}
        assert len(block.get("elements", ())) <= 10
    for text in texts_of(message):
        assert 0 < len(text["text"]) <= 3_000
    marked = [text["text"] for text in texts_of(message) if text["type"] == "mrkdwn"]
    for text in (message["text"], *marked):
        # Only our own links have angle brackets. An ampersand starts an entity or a parameter.
        bare = re.sub(r"<https://ml\.example/[!-;=?-{}~]*\|(runs|Open the rule)>$", "", text)
        assert "<" not in bare
        assert ">" not in bare
        assert re.sub(r"&(amp|lt|gt);", "", bare).count("&") == 0
    assert len(message["text"]) <= 3_000


@pytest.mark.parametrize("text", NASTY, ids=lambda text: repr(text[:20]))
def test_slack_takes_any_text(text: str) -> None:
    """The message stays within Slack's limits for any text in a rule or a slice."""
    check_slack(make_nasty(text))


@given(st.text(st.characters(), max_size=200), st.integers(0, 10))
def test_slack_limits(text: str, slices: int) -> None:
    """The message stays within Slack's limits for any text and any number of slices."""
    check_slack(replace(make_nasty(text), slices=make_nasty(text).slices[:slices]))


@pytest.mark.parametrize("text", NASTY, ids=lambda text: repr(text[:20]))
@pytest.mark.parametrize("kind", ["alertmanager", "slack", "webhook"])
def test_nasty_texts_stay_text(kind: Any, text: str) -> None:
    """Texts of a rule or a slice appear in a JSON body of bounded size, and never in a header."""
    target = make_target(kind, "127.0.0.1:1", secret=b"0123456789abcdef")
    request = make_alert_request(target, make_nasty(text), PUBLIC_URL, NOW_NS)
    assert len(request.body) < 1_000_000
    json.loads(request.body)
    for value in request.headers.values():
        assert re.fullmatch(r"[0-9A-Za-z+/=,]+", value)
    shown = request.body.decode()
    assert "\\u0000" not in shown
    assert "\\r" not in shown


@pytest.mark.parametrize("text", NASTY, ids=lambda text: repr(text[:20]))
def test_names_of_labels(text: str) -> None:
    """Label and annotation names are valid in Alertmanager, and no value is empty."""
    for alert in make_alerts(make_nasty(text), PUBLIC_URL, NOW_NS):
        for named in (alert["labels"], alert["annotations"]):
            assert all(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name) for name in named)
            assert all(named.values())


def test_braces_are_not_replaced() -> None:
    """Template braces in a name are not expanded."""
    rule = "{{ project }} {{ .Values }}"
    assert make_webhook_document(replace(FALLS, rule=rule), "")["rule"] == rule


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_no_value(value: float | None) -> None:
    """A value that is missing, NaN or infinite is sent as null."""
    alerted = replace(FALLS.slices[0], value=value)
    target = make_target("webhook", "127.0.0.1:1")
    request = make_alert_request(target, replace(FALLS, slices=(alerted,)), "", NOW_NS)
    assert json.loads(request.body)["slices"][0]["value"] is None
