"""Alerts that fire, as messages about a project."""

from typing import Final

from otel_ml_collector.alerts.find import AlertState, find_firing
from otel_ml_collector.alerts.sentences import describe_slice
from otel_ml_collector.problems.news import ProjectFinding
from otel_ml_collector.store.reader import Reader

_FIRING: Final = 20


def find_alert_news(reader: Reader, project: str, now_ns: int) -> list[ProjectFinding]:
    """Describe the first 20 rules that are firing or cannot be evaluated."""
    return [_describe_alert(alert) for alert in find_firing(reader, project, now_ns)[:_FIRING]]


def _describe_alert(alert: AlertState) -> ProjectFinding:
    """Describe a rule that is firing or cannot be evaluated, and whether it is muted."""
    firing = [part for part in alert.slices if part.state == "firing"]
    parts = [alert.rule.when]
    if alert.state == "failed":
        parts = [f"cannot be evaluated: {alert.reason}"]
    elif firing:
        worst = describe_slice(
            alert.rule.plan.condition,
            firing[0].labels,
            firing[0].value,
            alert.rule.window,
            text=firing[0].text,
        )
        more = f", and {len(firing) - 1:,} more" if len(firing) > 1 else ""
        parts = [f"{worst}{more}"]
    if alert.note:
        parts.append(alert.note)
    if alert.is_muted:
        mute = alert.muted or next((part.muted for part in firing if part.muted), None)
        parts.append(f"muted until {mute.until[:16].replace('T', ' ')}" if mute else "muted")
    return ProjectFinding(
        word="firing",
        is_wrong=not alert.is_muted,
        subject=alert.rule.name,
        sentence=", ".join(parts),
        title=f"Alert {alert.rule.name} is {'muted' if alert.is_muted else 'firing'}",
        text=f": {', '.join(parts)}",
        by="alert",
        size=len(firing),
        where=firing[0].where if firing else alert.rule.where,
        runs=firing[0].runs if firing else None,
        time=alert.since,
        run_id="",
    )
