"""Test notifications, which show whether a receiver accepts alerts."""

from collections.abc import Sequence
from typing import Final

from otel_ml_collector.alerts.messages import make_alert_request
from otel_ml_collector.alerts.notification import AlertedSlice, Notification
from otel_ml_collector.alerts.sender import Undelivered, post
from otel_ml_collector.api.receivers import TestedReceiver
from otel_ml_collector.errors import Missing, suggest
from otel_ml_collector.settings.alert_targets import AlertTarget

_SUMMARY: Final = "This is a test from otel-ml. Nothing is wrong; this receiver gets alerts."


def make_trial(target: str, now_ns: int) -> Notification:
    """Make a test notification, which belongs to no rule.

    Args:
        target: Name of the receiver.
        now_ns: Current time, in nanoseconds since 1970. The ID of the notification depends on the
            time, so receivers do not mistake a second test for a repetition of the first.
    """
    return Notification(
        project="otel-ml",
        rule="trial",
        severity="none",
        status="firing",
        changed_ns=now_ns,
        notify=(target,),
        annotations={"summary": _SUMMARY},
        slices=(AlertedSlice({}, None, now_ns),),
    )


def send_trial(
    targets: Sequence[AlertTarget], name: str, page_url: str, now_ns: int
) -> TestedReceiver:
    """Send a test notification to a receiver.

    Args:
        targets: The receivers of the settings.
        name: Name of the receiver.
        page_url: Address of the collector's pages, for the links in the notification.
        now_ns: The time.

    Raises:
        Missing: The settings have no such receiver.
    """
    receivers = {target.name: target for target in targets}
    receiver = receivers.get(name)
    if receiver is None:
        near = suggest(name[:80], receivers)
        raise Missing(f"There is no receiver {name[:80]!r} in the settings: {near}")
    trial = make_trial(name, now_ns)
    trouble = ""
    try:
        post(receiver, make_alert_request(receiver, trial, page_url, now_ns))
    except Undelivered as error:
        trouble = str(error)
    return TestedReceiver(receiver=name, host=receiver.host, notification=trial.id, trouble=trouble)
