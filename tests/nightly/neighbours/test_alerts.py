"""A real Alertmanager accepts alert notifications, groups them, and resolves them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml_collector.alerts.notification import AlertedSlice, Notification
from otel_ml_collector.times import HOUR_NS
from tests.nightly.neighbours.programs import running
from tests.nightly.neighbours.prometheus import Alertmanager, Inbox
from tests.nightly.neighbours.test_prometheus import collecting, watching
from tests.process.otel_ml_collector.alerts.test_delivery import delivering, states_of
from tests.support.collector import CollectorProcess
from tests.support.load import PROTOBUF
from tests.support.otel_ml_collector.alerts.world import (
    CHANGED_NS,
    FALLS,
    PUBLIC_URL,
    SINCE_NS,
    make_target,
)
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.otel_ml_collector.wire import encode
from tests.support.waiting import wait_until
from tests.unit.otel_ml_collector.alerts.test_messages import NASTY, make_nasty

_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Desk:
    """An Alertmanager, the inbox that it notifies, and the store of a collector."""

    alertmanager: Alertmanager
    inbox: Inbox
    store: Store


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Start an Alertmanager and open a store."""
    folder = tmp_path_factory.mktemp("desk")
    inbox = Inbox()
    alertmanager = Alertmanager(folder / "alertmanager", inbox)
    try:
        with running(alertmanager), open_store(folder / "store") as store:
            yield Desk(alertmanager, inbox, store)
    finally:
        inbox.close()


def make_falls(rule: str, *clients: str, status: Any = "firing") -> Notification:
    """Return a notification of a rule that fires for some clients."""
    slices = tuple(
        AlertedSlice({'tags["client"]': client}, 0.5, SINCE_NS, "/projects/shop/runs")
        for client in clients
    )
    changed_ns = CHANGED_NS + (HOUR_NS if status == "resolved" else 0)
    return replace(FALLS, rule=rule, slices=slices, status=status, changed_ns=changed_ns)


def clients_of(desk: Desk, rule: str, status: str) -> set[str]:
    """List the clients in the alerts that the Alertmanager sent."""
    return {alert["labels"]["tags_client"] for alert in desk.inbox.told(rule, status)}


def test_fires_and_ends(desk: Desk) -> None:
    """Each slice of a rule is an alert; all are grouped by rule, and resolve with the rule."""
    clients = {"Remax", "acme"}
    target = make_target("alertmanager", desk.alertmanager.address)
    with delivering(desk.store, target, again_s=0.5, public_url=PUBLIC_URL) as delivery:
        delivery.announce(make_falls("falls", *clients))
        wait_until(lambda: clients_of(desk, "falls", "firing") == clients, _PATIENCE_S)
        alerts = [
            alert for alert in desk.alertmanager.alerts() if alert["labels"]["alertname"] == "falls"
        ]
        assert {alert["labels"]["tags_client"] for alert in alerts} == clients
        assert {alert["annotations"]["summary"] for alert in alerts} == {"Remax: 0.71 over 1h"}
        assert {alert["generatorURL"] for alert in alerts} == {
            "https://ml.example/projects/shop/alerts/grounded%20falls"
        }
        # Slices of a rule are in one group; a different rule has a separate group.
        delivery.announce(make_falls("rises", "Remax"))
        wait_until(lambda: clients_of(desk, "rises", "firing") == {"Remax"}, _PATIENCE_S)
        grouped = {
            group["labels"]["alertname"]: [
                alert["labels"]["tags_client"] for alert in group["alerts"]
            ]
            for group in desk.alertmanager.groups()
        }
        assert len(desk.alertmanager.groups()) == len(grouped)
        assert {rule: sorted(grouped[rule]) for rule in ("falls", "rises")} == {
            "falls": ["Remax", "acme"],
            "rises": ["Remax"],
        }
        delivery.announce(make_falls("falls", *clients, status="resolved"))
        wait_until(lambda: clients_of(desk, "falls", "resolved") == clients, _PATIENCE_S)
    assert states_of(desk.store, FALLS.project)[:3] == ["sent", "sent", "sent"]


def test_collector_that_is_gone_and_back(desk: Desk) -> None:
    """A rule that the next collector announces again is the same alert, sent once."""
    target = make_target("alertmanager", desk.alertmanager.address)
    with delivering(desk.store, target, again_s=0.2) as delivery:
        delivery.announce(make_falls("again", "Remax"))
        wait_until(lambda: clients_of(desk, "again", "firing") == {"Remax"}, _PATIENCE_S)
    with delivering(desk.store, target, again_s=0.2) as delivery:
        delivery.announce(make_falls("again", "Remax"))
        delivery.announce(make_falls("again", "Remax", status="resolved"))
        wait_until(lambda: clients_of(desk, "again", "resolved") == {"Remax"}, _PATIENCE_S)
    fingerprints = {alert["fingerprint"] for alert in desk.inbox.told("again", "firing")}
    assert len(fingerprints) == 1


def send_failures(collector: CollectorProcess) -> None:
    """Send runs of two clients; all runs of one client fail."""
    spans = [
        make_call(
            "answer",
            {"otel_ml.project": "shop", "otel_ml.tag.client": client},
            start_ns=time.time_ns(),
            status_code=2 if client == "acme" else 0,
        )
        for _ in range(300)
        for client in ("acme", "other")
    ]
    collector.deliver(encode(spans), PROTOBUF)


def test_slice_fires_in_prometheus(tmp_path: Path) -> None:
    """A rule of ``deploy/`` about the collector's findings fires in a real Prometheus."""
    with (
        collecting(tmp_path / "data") as collector,
        watching(tmp_path, collector) as watch,
    ):
        send_failures(collector)
        name = "OtelMlSliceLosesRuns"
        wait_until(lambda: bool(watch.inbox.told(name, "firing")), 4 * _PATIENCE_S)
        [alert] = watch.inbox.told(name, "firing")[:1]
        assert alert["labels"] == {
            "alertname": name,
            "model": "answer",
            "project": "shop",
            "severity": "warning",
            "slice": "client = acme",
        }
        assert alert["annotations"]["summary"] == (
            "client = acme does worse than all other runs of answer in project shop"
        )


@pytest.mark.parametrize("text", NASTY, ids=lambda text: repr(text[:20]))
def test_nasty_texts(desk: Desk, text: str) -> None:
    """The Alertmanager accepts alerts with any text in names and annotations."""
    project = f"nasty {NASTY.index(text)}"
    target = make_target("alertmanager", desk.alertmanager.address)
    with delivering(desk.store, target) as delivery:
        nasty = replace(make_nasty(text), project=project, notify=("oncall",))
        nasty = replace(nasty, rule=nasty.rule.encode("utf-8", "replace").decode() or "empty")
        delivery.announce(nasty)
        wait_until(lambda: states_of(desk.store, project) == ["sent"], _PATIENCE_S)
