"""Retention after a long pause or with a wrong clock: it deletes nothing without evidence."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from otel_ml_collector.clock import ClockTracker, Seen
from otel_ml_collector.errors import Unavailable
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Value
from otel_ml_collector.store.retention import Days, Retention, Wish
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.writer import Writer
from otel_ml_collector.times import HOUR_NS, SECOND_NS, to_rfc3339
from tests.support.otel_ml_collector.deleting import BEGAN_NS
from tests.support.otel_ml_collector.spans import DAY_NS, make_call
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.sampling import at_night, sampled


class Machine:
    """A collector with its own store, a clock that can be set, and the spans it receives."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now_ns = self.true_ns = BEGAN_NS + 40 * DAY_NS
        self.start()

    def start(self) -> None:
        """Start the collector, without memory of earlier spans."""
        self.clocks = ClockTracker(lambda: self.now_ns, lambda: self.true_ns)
        days = Days(records=30)
        connections = self.store.connections
        self.retention = Retention(connections, days, lambda: self.now_ns, self.clocks)

    def arrive(self, days_ago: int, name: str) -> None:
        writer = Writer(self.store.connections, clock=lambda: self.true_ns - days_ago * DAY_NS)
        writer.write(map_spans([make_call(name, start_ns=BEGAN_NS)], Filing("p", BEGAN_NS)))

    def send(self, number: int, end_ns: int, *, is_import: bool = False) -> None:
        """Send spans with the given end time."""
        resource: dict[str, Value] = {"host.name": "a"} | (
            {"otel_ml.import": True} if is_import else {}
        )
        seen: list[Seen] = [(resource, end_ns - 1, end_ns)] * number
        with suppress(Unavailable):
            list(self.clocks.follow(seen, lambda one: one, are_spans=True))

    def names(self) -> list[str]:
        sql = Sql("SELECT model FROM runs WHERE project = 'p' ORDER BY model")
        return [row["model"] for row in self.store.reader.rows(sql, {})]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Open a store after a retention pass, with a record that expires in ten days."""
    with open_store(tmp_path) as store:
        made = Machine(store)
        made.arrive(20, "call")
        made.retention.confirm()
        assert made.retention.sweep().rows == {}
        yield made


@sampled(1)
@pytest.mark.parametrize("days", [365, 3, -365])
def test_clock_has_moved(machine: Machine, days: int) -> None:
    """A collector that starts with a clock far from its last pass deletes nothing and warns."""
    machine.now_ns += days * DAY_NS
    machine.start()
    swept = machine.retention.sweep()
    assert (swept.rows, machine.names(), machine.retention.waits) == ({}, ["call"], True)
    assert machine.retention.trusts_clock is False
    for time_ns in (machine.true_ns, machine.now_ns):
        assert to_rfc3339(time_ns)[:16].replace("T", " ") in swept.error
    assert machine.retention.warning == swept.error
    machine.now_ns = machine.true_ns + HOUR_NS
    assert machine.retention.can_go_on()
    assert (machine.retention.sweep().error, machine.retention.warning) == ("", "")


@at_night
def test_two_days(machine: Machine) -> None:
    """A collector that was stopped for two days continues."""
    machine.true_ns = machine.now_ns = machine.now_ns + 2 * DAY_NS - SECOND_NS
    machine.start()
    assert machine.retention.sweep().error == ""
    assert machine.retention.trusts_clock is True


@at_night
def test_clock_set_while_running(machine: Machine) -> None:
    """A clock that is set ahead between two passes deletes nothing, whatever arrived before."""
    machine.send(200, machine.true_ns)
    machine.now_ns += 365 * DAY_NS
    assert machine.retention.trusts_clock is False
    assert machine.retention.sweep().rows == {}
    assert not machine.retention.can_go_on()
    assert machine.names() == ["call"]


def test_spans_agree(machine: Machine) -> None:
    """After a long pause, a hundred spans that end at the current time re-enable retention."""
    machine.true_ns = machine.now_ns = machine.now_ns + 20 * DAY_NS
    machine.start()
    assert machine.retention.sweep().rows == {}
    machine.send(99, machine.true_ns - HOUR_NS)
    assert not machine.retention.can_go_on()
    machine.send(1, machine.true_ns - HOUR_NS)
    assert machine.retention.can_go_on()
    assert machine.retention.sweep().rows["runs"] == 1
    assert (machine.names(), machine.retention.waits) == ([], False)


def test_spans_disagree(machine: Machine) -> None:
    """Spans that end at the true time, imported spans, and a minority of spans prove nothing."""
    machine.now_ns += 365 * DAY_NS
    machine.start()
    assert machine.retention.sweep().rows == {}
    for number, end_ns, is_import in (
        (200, machine.true_ns, False),
        (500, machine.now_ns, True),
        (150, machine.now_ns, False),
        (200, machine.now_ns - 2 * HOUR_NS, False),
    ):
        machine.send(number, end_ns, is_import=is_import)
        assert not machine.retention.can_go_on()
    assert machine.retention.sweep().rows == {}
    assert machine.names() == ["call"]


def test_confirmed(machine: Machine) -> None:
    """After an operator confirms the clock, retention deletes again, in every collector."""
    machine.true_ns = machine.now_ns = machine.now_ns + 20 * DAY_NS
    machine.start()
    other = Retention(machine.store.connections, Days(30), lambda: machine.now_ns)
    assert machine.retention.sweep().rows == other.sweep().rows == {}
    move = machine.retention.confirm()
    assert move.now_ns == machine.now_ns
    assert move.last_ns == machine.now_ns // SECOND_NS * SECOND_NS - 20 * DAY_NS
    assert machine.retention.can_go_on()
    assert other.can_go_on()
    assert machine.retention.sweep().rows["runs"] == 1
    assert not machine.retention.can_go_on()


@at_night
def test_store_without_a_run(machine: Machine) -> None:
    """Without a recorded last pass, as in older stores, the newest record's time is used."""
    machine.store.connections.open().command(
        Sql("ALTER TABLE store_meta DELETE WHERE name = 'retention_pass'"),
        settings={"mutations_sync": 2},
    )
    machine.now_ns += 365 * DAY_NS
    machine.start()
    assert "its last pass was at" in machine.retention.sweep().error
    assert machine.names() == ["call"]


@at_night
def test_nothing_is_limited(machine: Machine) -> None:
    """Without a limit there is no warning."""
    machine.now_ns += 365 * DAY_NS
    retention = Retention(machine.store.connections, Days(), lambda: machine.now_ns)
    assert (retention.sweep().error, retention.waits) == ("", True)
    retention.set("p", Wish(records=30))
    assert retention.sweep().error == retention.warning != ""
