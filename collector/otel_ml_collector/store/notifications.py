"""Stores the notifications for receivers and their results. They are kept for 400 days."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Any, Final, Literal

from otel_ml_collector.store.connection import Connections, store_trouble
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.sql import Sql, identifier, join_sql

# `withdrawn`: muted or deleted before delivery, or between two attempts.
DeliveryState = Literal["waiting", "sent", "failed", "withdrawn"]


@dataclass(frozen=True, slots=True)
class StoredNotification:
    """A message to one receiver: an alert rule began to fire, or stopped.

    Attributes:
        project: Project of the rule.
        target: Name of the receiver.
        id: Identifies the change of the rule's status. It is the same for all receivers.
        rule: Name of the rule.
        status: The new status of the rule, ``firing`` or ``resolved``.
        changed_ns: When the status changed.
        announced_ns: When the notification was first stored.
        state: Whether it is waiting, was sent, failed for good, or was withdrawn because the rule
            was muted or deleted.
        tries: Number of attempts.
        tried_ns: Time of the last attempt; 0 before the first.
        trouble: Why the last attempt failed, or that the receiver does not exist; empty after
            success.
        body: The notification as JSON.
        version: Increases by one with every change of this row.
    """

    project: str
    target: str
    id: str
    rule: str
    status: str
    changed_ns: int
    announced_ns: int
    state: DeliveryState
    tries: int
    tried_ns: int
    trouble: str
    body: str
    version: int = 1


_NOTIFICATION_COLUMNS: Final = tuple(field.name for field in fields(StoredNotification))
_ALL: Final = join_sql(
    ", ", [identifier(name, _NOTIFICATION_COLUMNS) for name in _NOTIFICATION_COLUMNS]
)
_CHANGE: Final = Sql("""
SELECT {all} FROM notifications FINAL
WHERE project = {project:String} AND id = {id:String} ORDER BY target""").fill(all=_ALL)
# Other queries find the keys first, so that bodies are read only for these rows.
_OF_KEYS: Final = Sql("""
SELECT {all} FROM notifications FINAL
WHERE (project, target, id) IN ({keys})
ORDER BY tried_ns, changed_ns""")
# The oldest notification of each rule, because resolved must follow firing. The rule that was not
# tried for the longest time comes first.
_WAITING: Final = Sql("""
SELECT project, target, id FROM (
  SELECT project, target, id, tried_ns, changed_ns FROM notifications FINAL
  WHERE target = {target:String} AND state = 'waiting'
  ORDER BY changed_ns LIMIT 1 BY project, rule)
ORDER BY tried_ns, changed_ns LIMIT {limit:UInt32}""")
_FIRING: Final = Sql("""
SELECT project, {target:String} AS target, newest.1 AS id FROM (
  SELECT project, argMax((id, status, state), (changed_ns, announced_ns)) AS newest
  FROM notifications FINAL
  WHERE target = {target:String}
  GROUP BY project, rule)
WHERE newest.2 = 'firing' AND newest.3 IN ('sent', 'failed')
LIMIT {limit:UInt32}""")
_NEWEST_OF_RULE: Final = Sql("""
SELECT {all} FROM notifications FINAL
WHERE project = {project:String} AND rule = {rule:String}
ORDER BY changed_ns DESC, announced_ns DESC LIMIT 1 BY target""").fill(all=_ALL)
_OPEN: Final = Sql("""
SELECT {all} FROM notifications FINAL
WHERE project = {project:String} AND rule = {rule:String}
  AND (state = 'waiting' OR (status = 'firing' AND state != 'withdrawn'))
ORDER BY changed_ns DESC LIMIT {limit:UInt32}""").fill(all=_ALL)
_COUNT: Final = Sql("""
SELECT count() AS number FROM notifications FINAL
WHERE target = {target:String} AND state = 'waiting'""")
_RECENT: Final = Sql("""
SELECT target, id, rule, status, changed_ns, announced_ns, state, tries, tried_ns, trouble
FROM notifications FINAL
WHERE project = {project:String}{of_rule}
ORDER BY announced_ns DESC, target LIMIT {limit:UInt32} BY target""")
_OF_RULE: Final = Sql(" AND rule = {rule:String}")
_MOST_OPEN: Final = 100


class NotificationBox:
    """Writes and reads notifications. Any thread may call it.

    Each method raises `Unavailable` if the store does not answer.
    """

    def __init__(self, connections: Connections) -> None:
        self._client = connections.open()
        self._lock = threading.Lock()

    def put(self, notifications: Sequence[StoredNotification]) -> None:
        """Store notifications with their state; durable on return."""
        rows = [list(astuple(notification)) for notification in notifications]
        with self._lock, store_trouble():
            self._client.insert("notifications", rows, column_names=_NOTIFICATION_COLUMNS)

    def change(self, notification: StoredNotification, **changes: Any) -> StoredNotification:
        """Store the new state of a notification, and return it."""
        changed = replace(notification, version=notification.version + 1, **changes)
        self.put([changed])
        return changed

    def of_change(self, project: str, change_id: str) -> list[StoredNotification]:
        """Read the notifications of a change, by target."""
        return self._read(_CHANGE, {"project": project, "id": change_id})

    def newest(self, project: str, rule: str) -> list[StoredNotification]:
        """Read the newest notification of a rule for each receiver."""
        return self._read(_NEWEST_OF_RULE, {"project": project, "rule": rule})

    def open(self, project: str, rule: str) -> list[StoredNotification]:
        """Read the notifications of a rule that wait, or that report firing."""
        return self._read(_OPEN, {"project": project, "rule": rule, "limit": _MOST_OPEN})

    def waiting(self, target: str, limit: int) -> list[StoredNotification]:
        """Read the notifications to send next: the oldest of each rule."""
        sql = _OF_KEYS.fill(all=_ALL, keys=_WAITING)
        return self._read(sql, {"target": target, "limit": limit})

    def firing(self, target: str, limit: int) -> list[StoredNotification]:
        """Read the newest notifications of rules that a receiver knows as firing."""
        sql = _OF_KEYS.fill(all=_ALL, keys=_FIRING)
        return self._read(sql, {"target": target, "limit": limit})

    def count_waiting(self, target: str) -> int:
        """Count the notifications that a receiver has not accepted yet."""
        with self._lock, store_trouble():
            return int(self._client.query(_COUNT, {"target": target}).result_rows[0][0])

    def _read(self, sql: Sql, values: Mapping[str, Any]) -> list[StoredNotification]:
        with self._lock, store_trouble():
            rows = list(self._client.query(sql, dict(values)).named_results())
        return [StoredNotification(**row) for row in rows]


def read_deliveries(reader: Reader, project: str, limit: int, rule: str = "") -> list[Row]:
    """Read the newest alert notifications of a project, without the text that is sent.

    Args:
        reader: The store, with the rights of the caller.
        project: The project.
        limit: Maximum number of notifications for each receiver.
        rule: Name of an alert rule, to read only its notifications. If empty, those of all rules
            are read.
    """
    sql = _RECENT.fill(of_rule=_OF_RULE if rule else Sql(""))
    return reader.rows(sql, {"project": project, "rule": rule, "limit": limit})
