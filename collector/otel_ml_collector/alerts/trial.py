"""The trial that shows whether a target hears of alerts."""

from typing import Final

from otel_ml_collector.alerts.notification import AlertedSlice, Notification

_SUMMARY: Final = "A trial of otel-ml: nothing is wrong, and this target hears of alerts"


def make_trial(target: str, now_ns: int) -> Notification:
    """Make the notification of a trial, of no project's rule.

    Args:
        target: The name of the target.
        now_ns: The time; another trial is another message.
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
