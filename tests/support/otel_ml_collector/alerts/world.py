"""A notification and receivers for the tests of delivery."""

import json
from typing import Any, Final

from otel_ml_collector.alerts.notification import AlertedSlice, Notification
from otel_ml_collector.settings.alert_targets import AlertTarget, AlertTargetKind
from otel_ml_collector.times import MINUTE_NS, from_rfc3339

CHANGED_NS: Final = from_rfc3339("2026-11-24T12:00:00Z", "changed")
SINCE_NS: Final = from_rfc3339("2026-11-24T11:30:00Z", "since")
NOW_NS: Final = CHANGED_NS + MINUTE_NS
PUBLIC_URL: Final = "https://ml.example"
FALLS: Final = Notification(
    project="shop",
    rule="grounded falls",
    severity="page",
    status="firing",
    changed_ns=CHANGED_NS,
    notify=("oncall",),
    annotations={"runbook": "https://runbooks.example/1", "summary": "Remax: 0.71 over 1h"},
    slices=(AlertedSlice({"client": "Remax"}, 0.7123, SINCE_NS, "/projects/shop/runs?where=a b"),),
    more_slices=2,
    when='surely(pass_rate("grounded") < 0.9)',
    window="1h",
    path="/projects/shop/alerts/grounded falls",
)


def targets_of(*names: str) -> str:
    """Return the setting `alert_targets` with receivers to which no test sends."""
    return json.dumps(
        {
            name: {"kind": "alertmanager", "url": "http://alertmanager.example:9093"}
            for name in names
        }
    )


def make_target(kind: AlertTargetKind, address: str, path: str = "", **keys: Any) -> AlertTarget:
    """Make a receiver on this machine."""
    return AlertTarget("oncall", kind, f"http://{address}{path}", allow_private=True, **keys)
