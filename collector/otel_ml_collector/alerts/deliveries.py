"""Finds what targets of alerts were sent, and what became of it, for API and pages."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, Field

from otel_ml_collector.alerts.find import find_rule, find_rules
from otel_ml_collector.settings.alert_targets import AlertTarget
from otel_ml_collector.store.notifications import DeliveryState, read_deliveries
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.times import to_rfc3339

_SHOWN_DELIVERIES: Final = 20


class NotificationDelivery(BaseModel):
    """A notification on its way to a target."""

    id: str = Field(
        description="Names the change of state; a message that comes twice has it twice"
    )
    rule: str
    status: str = Field(description="firing or resolved")
    state: DeliveryState = Field(
        description="sent: the target has it; failed: it was given up; withdrawn: it was muted or "
        "deleted"
    )
    tries: int
    changed_time: str = Field(description="When the state changed, RFC 3339")
    announced_time: str = Field(description="When it was to be sent first, RFC 3339")
    tried_time: str | None = Field(description="When it was tried last; null before")
    delivered_time: str | None = Field(description="When the target took it; null before")
    trouble: str = Field(description="What was wrong at the last try; empty when it was taken")


class ToldTarget(BaseModel):
    """A target, and the newest notifications for it."""

    name: str
    kind: str = Field(
        description="alertmanager, slack or webhook; empty of one not in the settings"
    )
    waiting: int = Field(description="How many of these it does not have yet")
    failed: int = Field(description="How many of these were given up")
    sent_time: str | None = Field(description="When it took one of these last, RFC 3339")
    trouble: str = Field(description="Of the newest try of these, empty when it was taken")
    deliveries: list[NotificationDelivery] = Field(description="The newest first, at most 20")


class Deliveries(BaseModel):
    """The targets that rules name, by name, each with the newest notifications for it."""

    targets: list[ToldTarget]


def find_deliveries(
    reader: Reader, project: str, targets: Sequence[AlertTarget], rule: str = ""
) -> Deliveries:
    """Find the newest notifications of a project at each target.

    Args:
        reader: The store, held to whoever asks.
        project: The project.
        targets: Those of the settings.
        rule: Only of this rule; empty for all.
    """
    kinds = {target.name: str(target.kind) for target in targets}
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    for row in read_deliveries(reader, project, _SHOWN_DELIVERIES, rule):
        rows[row["target"]].append(row)
    shown = []
    for name in sorted({*kinds, *rows}):
        own = rows[name]
        tried = [row for row in own if row["tried_ns"]]
        newest = max(tried, key=lambda row: row["tried_ns"], default=None)
        sent_ns = max((row["tried_ns"] for row in own if row["state"] == "sent"), default=0)
        shown.append(
            ToldTarget(
                name=name,
                kind=kinds.get(name, ""),
                waiting=sum(row["state"] == "waiting" for row in own),
                failed=sum(row["state"] == "failed" for row in own),
                sent_time=_time(sent_ns),
                trouble=newest["trouble"] if newest else next((row["trouble"] for row in own), ""),
                deliveries=[
                    NotificationDelivery(
                        id=row["id"],
                        rule=row["rule"],
                        status=row["status"],
                        state=row["state"],
                        tries=row["tries"],
                        changed_time=to_rfc3339(row["changed_ns"]),
                        announced_time=to_rfc3339(row["announced_ns"]),
                        tried_time=_time(row["tried_ns"]),
                        delivered_time=_time(row["tried_ns"]) if row["state"] == "sent" else None,
                        trouble=row["trouble"],
                    )
                    for row in own
                ],
            )
        )
    return Deliveries(targets=shown)


def find_deliveries_of(
    reader: Reader, project: str, targets: Sequence[AlertTarget], rule: str = ""
) -> Deliveries:
    """Find the notifications of a project's rules, or of one, at the targets that these name.

    Raises:
        Missing: There is no rule of that name.
    """
    rules = [find_rule(reader, project, rule)] if rule else find_rules(reader, project)
    names = {name for saved in rules for name in saved.notify}
    own = [target for target in targets if target.name in names]
    return find_deliveries(reader, project, own, rule)


def _time(time_ns: int) -> str | None:
    return to_rfc3339(time_ns) if time_ns else None
