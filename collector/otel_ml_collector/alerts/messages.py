"""Writes the messages about a notification in the format of each kind of receiver.

Everything in a notification is plain text. Nothing in it becomes a template, a mention or a header.
"""

import base64
import hashlib
import hmac
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import orjson

from otel_ml_collector.alerts.notification import AlertedSlice, Notification
from otel_ml_collector.settings.alert_targets import AlertTarget
from otel_ml_collector.times import MINUTE_NS, SECOND_NS, to_rfc3339
from otel_ml_collector.wording import number

# An Alertmanager resolves an alert after this time without a message.
LASTS_NS: Final = 5 * MINUTE_NS
_MOST_ANNOTATIONS: Final = 20
_LABEL_NAME_CHARS: Final = 200
_ANNOTATION_CHARS: Final = 4_000
# Spec: https://docs.slack.dev/reference/block-kit/blocks/header-block
_SLACK_HEADER_CHARS: Final = 150
# Spec: https://docs.slack.dev/reference/block-kit/composition-objects/text-object
_SLACK_TEXT_CHARS: Final = 3_000
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LINK_CHARS: Final = ":/?&=%#+,;~!*()$-._"
# Labels of alerts that do not describe a slice.
_OWN_LABELS: Final = frozenset({"alertname", "project", "severity"})


@dataclass(frozen=True, slots=True)
class AlertRequest:
    """A request to a receiver.

    Attributes:
        body: JSON.
        headers: Headers in addition to those of the receiver.
    """

    body: bytes
    headers: Mapping[str, str]


def make_alert_request(
    target: AlertTarget, notification: Notification, public_url: str, now_ns: int
) -> AlertRequest:
    """Make the HTTP request that sends a notification to a receiver, in the receiver's format.

    Args:
        target: The receiver: an Alertmanager, Slack or a webhook.
        notification: The notification.
        public_url: Address of the collector's web pages, such as ``https://otel-ml.example``. Links
            in the message start with it.
        now_ns: The time of this attempt, in nanoseconds since 1970.
    """
    if target.kind == "alertmanager":
        return AlertRequest(_write(make_alerts(notification, public_url, now_ns)), {})
    if target.kind == "slack":
        return AlertRequest(_write(make_slack_message(notification, public_url)), {})
    body = _write(make_webhook_document(notification, public_url))
    return AlertRequest(body, sign(target.secret, notification.id, body, now_ns // SECOND_NS))


def make_alerts(notification: Notification, public_url: str, now_ns: int) -> list[dict[str, Any]]:
    """Write a notification as the JSON alerts that an Alertmanager accepts, one per slice.

    A slice is the runs with one value of the rule's `by`, such as one client. Without slices, there
    is one alert for the whole rule. The end time of a firing alert is five minutes from now, so the
    Alertmanager resolves it by itself if it is not sent again. The end time of a resolved alert is
    in the past.

    Spec: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
    """
    alerts = []
    for alerted in notification.slices or (AlertedSlice({}, None, notification.changed_ns),):
        started_ns = min(alerted.since_ns, now_ns - 1)
        ended_ns = max(min(notification.changed_ns, now_ns), started_ns + 1)
        ends_ns = now_ns + LASTS_NS if notification.status == "firing" else ended_ns
        labels = {
            "alertname": _clean(notification.rule),
            "project": _clean(notification.project),
            "severity": _clean(notification.severity),
        }
        for name, value in alerted.labels.items():
            labels[_label_name(name, labels)] = _clean(value)
        texts = [
            *_annotations(notification),
            ("value", _number(alerted.value)),
            ("condition", _clean(notification.when)),
            ("window", _clean(notification.window)),
            ("runs", _link(public_url, alerted.path)),
        ]
        annotations: dict[str, str] = {}
        for name, text in texts:
            if text:
                annotations[_label_name(name, annotations)] = text
        alert: dict[str, Any] = {
            "labels": {name: value for name, value in labels.items() if value},
            "annotations": annotations,
            "startsAt": to_rfc3339(started_ns),
            "endsAt": to_rfc3339(ends_ns),
        }
        if link := _link(public_url, notification.path):
            alert["generatorURL"] = link
        alerts.append(alert)
    return alerts


def make_slack_message(notification: Notification, public_url: str) -> dict[str, Any]:
    """Make the message of an incoming webhook of Slack, within its limits.

    Spec: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
    """
    title = f"{notification.status.upper()}: {notification.rule}"
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain_text(title, _SLACK_HEADER_CHARS)},
        *(
            {"type": "section", "text": _plain_text(text, _SLACK_TEXT_CHARS)}
            for text in _list_annotations(notification)
        ),
    ]
    for alerted in notification.slices:
        name = ", ".join(f"{key} = {value}" for key, value in alerted.labels.items()) or "all runs"
        value = alerted.text or _number(alerted.value) or "no value"
        since = to_rfc3339(alerted.since_ns)[:16].replace("T", " ")
        text = f"{name}: {value}, since {since} UTC "
        link_to_runs = _markdown(text, _link(public_url, alerted.path), "runs")
        blocks.append({"type": "section", "text": link_to_runs})
    more = notification.more_slices
    facts = [
        f"{notification.when} over {notification.window}" if notification.when else "",
        f"and {more} more slice{'s' if more > 1 else ''}" if more else "",
        f"project {notification.project}",
        f"severity {notification.severity}",
    ]
    elements = [_plain_text(fact, _SLACK_TEXT_CHARS) for fact in facts if fact]
    blocks.append({"type": "context", "elements": elements})
    if link := _link(public_url, notification.path):
        blocks.append({"type": "section", "text": _markdown("", link, "Open the rule")})
    summary = next(iter(_list_annotations(notification)), "")
    fallback = f"{title}: {summary}" if summary else title
    return {
        "text": _fit(_clean(fallback), _SLACK_TEXT_CHARS, _escape_slack),
        "blocks": blocks,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def make_webhook_document(notification: Notification, public_url: str) -> dict[str, Any]:
    """Make the JSON document of a webhook."""
    return {
        "id": notification.id,
        "status": notification.status,
        "project": _clean(notification.project),
        "rule": _clean(notification.rule),
        "severity": _clean(notification.severity),
        "when": _clean(notification.when),
        "window": _clean(notification.window),
        "changed_at": to_rfc3339(notification.changed_ns),
        "annotations": dict(_annotations(notification)),
        "slices": [
            {
                "labels": {_clean(name): _clean(text) for name, text in alerted.labels.items()},
                "value": alerted.value,
                "since": to_rfc3339(alerted.since_ns),
                "runs": _link(public_url, alerted.path),
            }
            for alerted in notification.slices
        ],
        "more_slices": notification.more_slices,
        "url": _link(public_url, notification.path),
    }


def sign(secret: bytes | None, message_id: str, body: bytes, now_s: int) -> dict[str, str]:
    """Make the headers that identify a message to a webhook and prove where it comes from.

    If a message is sent again, it keeps its ID, so the receiver can recognize it. The time and the
    signature are new for each attempt.

    Args:
        secret: The key that signs the message. If None, the message gets no signature.
        message_id: ID of the notification.
        body: The body of the request.
        now_s: The time of this attempt, in seconds since 1970.

    Spec: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    headers = {"webhook-id": message_id, "webhook-timestamp": str(now_s)}
    if secret is not None:
        signed = f"{message_id}.{now_s}.".encode() + body
        digest = hmac.new(secret, signed, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _write(document: object) -> bytes:
    return orjson.dumps(document)


def _clean(text: str, most_chars: int = _ANNOTATION_CHARS) -> str:
    """Replace control characters and lone surrogates, which JSON does not accept."""
    whole = text[:most_chars].encode("utf-8", "replace").decode()
    return _CONTROL.sub(" ", whole)


def _annotations(notification: Notification) -> list[tuple[str, str]]:
    named = list(notification.annotations.items())[:_MOST_ANNOTATIONS]
    return [(_clean(name, _LABEL_NAME_CHARS), _clean(text)) for name, text in named]


def _link(public_url: str, path: str) -> str:
    """Write the address of a page; empty for a path that leads to another host."""
    if not path.startswith("/") or path.startswith("//"):
        return ""
    return public_url + quote(path.encode("utf-8", "replace"), safe=_LINK_CHARS)


def _label_name(name: str, taken: Mapping[str, str]) -> str:
    """Make a name for a label or annotation that an Alertmanager accepts and that is not taken."""
    plain = _NOT_IN_NAMES.sub("_", name[:_LABEL_NAME_CHARS]).strip("_")
    if not plain or plain[0].isdigit() or plain in _OWN_LABELS:
        plain = f"slice_{plain}"
    free = plain
    number = 2
    while free in taken:
        free = f"{plain}_{number}"
        number += 1
    return free


def _number(value: float | None) -> str:
    return number(value, 4) if value is not None and math.isfinite(value) else ""


def _list_annotations(notification: Notification) -> list[str]:
    """Write the annotations: first the summary, without its name."""
    named = _annotations(notification)
    named.sort(key=lambda item: item[0] != "summary")
    return [
        text if name == "summary" else f"{name}: {text}" for name, text in named if text.strip()
    ]


def _plain_text(text: str, most_chars: int) -> dict[str, Any]:
    """Write text in which Slack finds no mention, link or image."""
    shown = _fit(_clean(text), most_chars, str) or " "
    return {"type": "plain_text", "text": shown, "emoji": False}


def _markdown(text: str, link: str, name: str) -> dict[str, Any]:
    """Write text followed by a link."""
    linked = (
        f"<{link}|{name}>" if link and len(link) < _SLACK_TEXT_CHARS - _LABEL_NAME_CHARS else ""
    )
    room = _SLACK_TEXT_CHARS - len(linked)
    shown = _fit(_clean(text), room, _escape_slack) + linked
    return {"type": "mrkdwn", "text": shown or " ", "verbatim": True}


def _escape_slack(text: str) -> str:
    """Escape the characters that begin a mention or a link.

    Spec: https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _fit(text: str, most_chars: int, escape: Callable[[str], str]) -> str:
    """Escape a text and shorten it to a length, without cutting an escape."""
    escaped = escape(text)
    if len(escaped) <= most_chars:
        return escaped
    cut = ""
    for piece in map(escape, text):
        if len(cut) + len(piece) >= most_chars:
            break
        cut += piece
    return f"{cut}…"
