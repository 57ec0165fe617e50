"""Finds the notifications that were sent to the receivers of alerts, for API and pages."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from pydantic import Field

from otel_ml_collector.alerts.find import find_rule, find_rules
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.settings.alert_targets import AlertTarget
from otel_ml_collector.store.notifications import DeliveryState, read_deliveries
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.times import to_rfc3339

_SHOWN_DELIVERIES: Final = 20


class NotificationDelivery(AnswerBody):
    """A notification to a receiver."""

    id: str = Field(
        description="ID of the state change that the message is about. If the message is sent "
        "again, its ID stays the same"
    )
    rule: str
    status: str = Field(description="firing or resolved")
    state: DeliveryState = Field(
        description="`waiting`, `sent` (the receiver accepted it), `failed` (there are no more "
        "attempts) or `withdrawn` (its rule was muted or deleted)"
    )
    tries: int
    changed_time: str = Field(description="When the state changed, RFC 3339")
    announced_time: str = Field(description="When the first attempt was due, RFC 3339")
    tried_time: str | None = Field(description="Time of the last attempt; null before the first")
    delivered_time: str | None = Field(
        description="When the receiver accepted it; null if it has not"
    )
    trouble: str = Field(description="Error of the last attempt; empty after a success")


class ReceiverDeliveries(AnswerBody):
    """A receiver with its newest notifications."""

    name: str
    kind: str = Field(
        description="`alertmanager`, `slack` or `webhook`; empty if the receiver is no longer in "
        "the settings"
    )
    waiting: int = Field(description="Number of listed notifications that are not delivered yet")
    failed: int = Field(description="Number of listed notifications that failed")
    sent_time: str | None = Field(
        description="When the receiver last accepted a listed notification, RFC 3339"
    )
    trouble: str = Field(description="Error of the newest attempt; empty after a success")
    deliveries: list[NotificationDelivery] = Field(
        description="The notifications, newest first, at most 20"
    )


class Deliveries(AnswerBody):
    """The receivers that rules name, by name, each with its newest notifications."""

    targets: list[ReceiverDeliveries]


def find_deliveries(
    reader: Reader, project: str, targets: Sequence[AlertTarget], rule: str = ""
) -> Deliveries:
    """Find the newest notifications of a project for each receiver.

    Args:
        reader: The store, limited to what the caller may read.
        project: The project.
        targets: Receivers of the settings.
        rule: Name of a rule; empty for all rules.
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
            ReceiverDeliveries(
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
    """Find the notifications of a project, for the receivers that its rules name in `notify`.

    Args:
        reader: The store, limited to what the caller may read.
        project: The project.
        targets: All receivers of the settings.
        rule: Name of a rule, to find only its notifications and receivers; empty for all rules.

    Raises:
        Missing: There is no rule of that name.
    """
    rules = [find_rule(reader, project, rule)] if rule else find_rules(reader, project)
    names = {name for saved in rules for name in saved.notify}
    own = [target for target in targets if target.name in names]
    return find_deliveries(reader, project, own, rule)


def _time(time_ns: int) -> str | None:
    return to_rfc3339(time_ns) if time_ns else None
