"""Stores the state of each alert, of which only the newest counts, and all changes of states."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

import orjson

from otel_ml_collector.store.connection import Connections, store_trouble
from otel_ml_collector.store.reader import READABLE, Reader, Row
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS

AlertStateName = Literal["inactive", "pending", "firing", "no data", "failed"]
# Slice name of the row that describes the whole rule.
WHOLE_RULE: Final = ""
_MOST_STATES: Final = 200_000
MOST_EVENTS: Final = 10_000
_KEPT_NS: Final = 400 * DAY_NS  # as long as the activity that shows them
# States that were not evaluated for this time are deleted: their slice or rule no longer exists.
_FORGOTTEN_NS: Final = 90 * DAY_NS
_COLUMNS: Final = Sql("""
  SELECT project, rule, slice, state, since_ns, value, martingale, window_ns, body, evaluator,
    version
  FROM alerts FINAL WHERE """)
_ORDER: Final = Sql(" ORDER BY project, rule, slice LIMIT {limit:UInt32}")
_OF_PROJECT: Final = _COLUMNS + Sql("project = {project:String}") + _ORDER
_OF_ALL: Final = _COLUMNS + READABLE + _ORDER
_EVENTS: Final = Sql("""
  SELECT project, rule, time_ns, slice, state, id, before, value, runs, reason
  FROM alert_events FINAL
  WHERE project = {project:String} AND time_ns >= {start:Int64}
    AND ({rule:String} = '' OR rule = {rule:String})
  ORDER BY time_ns DESC, rule, slice, state LIMIT {limit:UInt32}""")
_OLD_EVENTS: Final = Sql("DELETE FROM alert_events WHERE time_ns < {before:Int64}")
_OLD_NOTIFICATIONS: Final = Sql("DELETE FROM notifications WHERE announced_ns < {before:Int64}")
_OLD_STATES: Final = Sql("""
  DELETE FROM alerts WHERE window_ns < {before:Int64} AND version < {before:UInt64}""")


@dataclass(frozen=True, slots=True)
class AlertRow:
    """The stored state of an alert rule, or of one of its slices, such as `firing`.

    A rule can be evaluated for each value of a tag. The runs with one value, such as all runs of
    one client, are a slice. Each slice has a state of its own.

    Attributes:
        slice: The slice; empty for the state of the whole rule.
        window_ns: End of the last time window that was evaluated.
        body: The other parts of the state, as JSON.
        evaluator: Name of the process that wrote the row.
        version: Time of writing. If several rows describe the same slice, the one with the highest
            version is used.
    """

    project: str
    rule: str
    slice: str
    state: AlertStateName
    since_ns: int
    value: float | None
    martingale: float
    window_ns: int
    body: Mapping[str, Any]
    evaluator: str
    version: int


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """A change of the state of an alert, for example from `pending` to `firing`.

    Attributes:
        time_ns: When the change happened. If a time window caused it, this is the window's end.
        slice: The slice whose state changed, such as the runs of one client (see `AlertRow`).
            Empty if the state of the whole rule changed.
        before: The state before the change.
        reason: Explains changes that the measured value alone does not explain, such as a new
            version of the judge.
    """

    project: str
    rule: str
    time_ns: int
    slice: str
    state: AlertStateName
    before: AlertStateName
    value: float | None
    runs: int
    reason: str = ""

    @property
    def id(self) -> str:
        """Return an ID of the change. If the same change is found again, it has the same ID."""
        change = [self.project, self.rule, self.slice, self.time_ns, self.state]
        return hashlib.sha256(orjson.dumps(change)).hexdigest()[:32]


_ROW_COLUMNS: Final = tuple(field.name for field in fields(AlertRow))
_EVENT_COLUMNS: Final = (*(field.name for field in fields(AlertEvent)), "id", "arrived_ns")


def read_alert_rows(reader: Reader, project: str | None = None) -> list[AlertRow]:
    """Read the states of one project, or of all projects that the caller may read."""
    values: dict[str, Any] = {"limit": _MOST_STATES}
    if project is None:
        return [_row(row) for row in reader.rows(_OF_ALL, values)]
    return [_row(row) for row in reader.rows(_OF_PROJECT, {**values, "project": project})]


def read_alert_events(
    reader: Reader, project: str, start_ns: int, rule: str = "", limit: int = MOST_EVENTS
) -> list[AlertEvent]:
    """Read the changes since a time, newest first, of one rule or of all rules."""
    values = {"project": project, "start": start_ns, "rule": rule, "limit": limit}
    rows = reader.rows(_EVENTS, values)
    return [AlertEvent(**{name: row[name] for name in row if name != "id"}) for row in rows]


def _row(row: Row) -> AlertRow:
    return AlertRow(**{**row, "body": orjson.loads(row["body"] or "{}")})


class AlertStore:
    """Writes states and events. Only one thread at a time may use it."""

    def __init__(self, connections: Connections) -> None:
        self._client = connections.open()

    def write(
        self, rows: Sequence[AlertRow], events: Sequence[AlertEvent], arrived_ns: int
    ) -> None:
        """Store changes of alert states, then the new states. All are on disk on return.

        If the process is killed between the two, the next evaluation finds the same changes again.
        They have the same IDs, so no change is stored twice.

        Raises:
            Unavailable: The store does not answer.
        """
        with store_trouble():
            if events:
                data = [
                    [
                        arrived_ns if name == "arrived_ns" else getattr(event, name)
                        for name in _EVENT_COLUMNS
                    ]
                    for event in events
                ]
                self._client.insert("alert_events", data, column_names=_EVENT_COLUMNS)
            if rows:
                data = [[_value(row, name) for name in _ROW_COLUMNS] for row in rows]
                self._client.insert("alerts", data, column_names=_ROW_COLUMNS)

    def sweep(self, now_ns: int) -> None:
        """Delete events and notifications after 400 days, and states of rules that no longer exist.

        Raises:
            Unavailable: The store does not answer.
        """
        with store_trouble():
            for sql in (_OLD_EVENTS, _OLD_NOTIFICATIONS):
                self._client.command(sql, parameters={"before": now_ns - _KEPT_NS})
            self._client.command(_OLD_STATES, parameters={"before": now_ns - _FORGOTTEN_NS})


def _value(row: AlertRow, name: str) -> Any:
    value = getattr(row, name)
    return orjson.dumps(value).decode() if name == "body" else value
