"""Each notification reaches its receivers at least once, under one id, even after a kill."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from otel_ml_collector.alerts.deliveries import find_deliveries
from otel_ml_collector.alerts.delivery import NO_TARGET, AlertDelivery
from otel_ml_collector.settings.alert_targets import AlertTarget
from otel_ml_collector.store.notifications import NotificationBox, read_deliveries
from otel_ml_collector.telemetry.service import AlertSendNumbers
from otel_ml_collector.times import HOUR_NS
from tests.support.otel_ml_collector.alerts.world import FALLS, make_target
from tests.support.otel_ml_collector.stores import Store
from tests.support.otlp_sink import Reply, Sink, http_sink
from tests.support.ports import free_port
from tests.support.waiting import wait_until

RESOLVED: Final = replace(FALLS, status="resolved", changed_ns=FALLS.changed_ns + HOUR_NS)


@contextmanager
def delivering(
    store: Store, *targets: AlertTarget, numbers: AlertSendNumbers | None = None, **options: Any
) -> Iterator[AlertDelivery]:
    """Run the delivery of a store's notifications with short pauses."""
    numbers = numbers or AlertSendNumbers()
    box = NotificationBox(store.connections)
    delivery = AlertDelivery(targets, box, numbers, **{"first_rest_s": 0.01, **options})
    delivery.start()
    try:
        yield delivery
    finally:
        delivery.close()


def ids_of(sink: Sink) -> list[str]:
    """List the ids of the messages that a webhook received, in order."""
    return [json.loads(sent.body)["id"] for sent in sink.requests]


def states_of(store: Store, project: str, target: str = "oncall") -> list[str]:
    """List the states of a project's notifications for a receiver, newest first."""
    rows = read_deliveries(store.reader, project, 100)
    return [row["state"] for row in rows if row["target"] == target]


def test_sent_once(store: Store, project: str) -> None:
    """A notification that is announced in every pass is sent once."""
    falls = replace(FALLS, project=project)
    with (
        http_sink(takes_otlp=False) as sink,
        delivering(store, make_target("webhook", sink.address)) as delivery,
    ):
        for value in (0.7, 0.6, 0.5):
            alerted = replace(falls.slices[0], value=value)
            delivery.announce(replace(falls, slices=(alerted,)))
        wait_until(lambda: states_of(store, project) == ["sent"])
        assert ids_of(sink) == [falls.id]
    with (
        http_sink(takes_otlp=False) as sink,
        delivering(store, make_target("webhook", sink.address)) as delivery,
    ):
        delivery.announce(falls)
        delivery.announce(replace(RESOLVED, project=project))
        wait_until(lambda: states_of(store, project) == ["sent", "sent"])
        assert ids_of(sink) == [replace(RESOLVED, project=project).id]


def test_retried_under_one_id(store: Store, project: str) -> None:
    """A notification that a receiver does not accept is sent again under the same id."""
    falls = replace(FALLS, project=project)
    numbers = AlertSendNumbers()
    with http_sink(takes_otlp=False) as sink:
        sink.replies += [Reply(500), Reply(302), Reply(429)]
        with delivering(store, make_target("webhook", sink.address), numbers=numbers) as delivery:
            delivery.announce(falls)
            wait_until(lambda: states_of(store, project) == ["sent"])
    assert ids_of(sink) == [falls.id] * 4
    [row] = read_deliveries(store.reader, project, 10)
    assert (row["tries"], row["trouble"]) == (4, "")
    samples = {
        (sample.name, sample.labels.get("state", "")): sample.value
        for metric in numbers.collect()
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }
    assert samples == {
        ("otel_ml_alert_notifications_total", "sent"): 1,
        ("otel_ml_alert_notifications_total", "failed"): 0,
        ("otel_ml_alert_notification_failures_total", ""): 3,
        ("otel_ml_alert_notifications_untargeted_total", ""): 0,
        ("otel_ml_alert_notifications_waiting", ""): 0,
    }


def test_given_up(store: Store, project: str) -> None:
    """A notification is given up after an hour and shown with the receiver's error."""
    now_ns = time.time_ns()
    ticks = iter(range(100))
    with http_sink(takes_otlp=False) as sink:
        sink.replies += [Reply(503, body=b"down")] * 100
        target = make_target("webhook", sink.address)
        # Every third read of the clock is an hour later.
        with delivering(
            store, target, clock=lambda: now_ns + next(ticks) * HOUR_NS // 3
        ) as delivery:
            delivery.announce(replace(FALLS, project=project))
            wait_until(lambda: states_of(store, project) == ["failed"])
    [row] = read_deliveries(store.reader, project, 10)
    assert row["tries"] == 3
    assert row["trouble"].startswith("503")
    assert row["trouble"].endswith("down")


def test_refused_for_good(store: Store, project: str) -> None:
    """A notification that a receiver refuses for good fails at once and blocks no other."""
    other = replace(FALLS, project=project, rule="other")
    with http_sink(takes_otlp=False) as sink:
        sink.replies.append(Reply(400))
        with delivering(store, make_target("webhook", sink.address)) as delivery:
            delivery.announce(replace(FALLS, project=project))
            wait_until(lambda: states_of(store, project) == ["failed"])
            delivery.announce(other)
            wait_until(lambda: states_of(store, project) == ["sent", "failed"])


def test_order_of_a_rule(store: Store, project: str) -> None:
    """A resolved notification follows its firing notification, even if the receiver was down."""
    falls, resolved = (replace(change, project=project) for change in (FALLS, RESOLVED))
    with http_sink(takes_otlp=False) as sink:
        sink.replies += [Reply(500)] * 3
        target = make_target("webhook", sink.address)
        with delivering(store, target, first_rest_s=0.05) as delivery:
            delivery.announce(falls)
            delivery.announce(resolved)
            wait_until(lambda: states_of(store, project) == ["sent", "sent"])
    assert ids_of(sink)[-2:] == [falls.id, resolved.id]


def test_resolved_alone(store: Store, project: str) -> None:
    """A resolved notification is not sent to receivers that did not get the firing one."""
    with (
        http_sink(takes_otlp=False) as sink,
        delivering(store, make_target("webhook", sink.address)) as delivery,
    ):
        delivery.announce(replace(RESOLVED, project=project))
        assert read_deliveries(store.reader, project, 10) == []
        assert sink.requests == []


def test_resolved_goes_to_those_who_heard(store: Store, project: str) -> None:
    """A resolved notification goes to the receivers of the firing one, even if the rule changed."""
    with (
        http_sink(takes_otlp=False) as sink,
        delivering(store, make_target("webhook", sink.address)) as delivery,
    ):
        delivery.announce(replace(FALLS, project=project))
        delivery.announce(replace(RESOLVED, project=project, notify=("another",)))
        wait_until(lambda: states_of(store, project) == ["sent", "sent"])
        assert len(sink.requests) == 2


def test_unknown_target(store: Store, project: str) -> None:
    """A receiver that is missing from the settings is shown as missing, and counted."""
    numbers = AlertSendNumbers()
    with delivering(store, numbers=numbers) as delivery:
        delivery.announce(replace(FALLS, project=project))
    [row] = read_deliveries(store.reader, project, 10)
    assert (row["state"], row["trouble"]) == (
        "failed",
        "There is no receiver of this name in the settings",
    )
    values = [sample.value for metric in numbers.collect() for sample in metric.samples]
    assert 1 in values


def test_found_by_target(store: Store, project: str) -> None:
    """A page finds the newest notifications of each receiver, and receivers without any."""
    falls = replace(FALLS, project=project, notify=("oncall", "nobody"))
    with http_sink(takes_otlp=False) as sink:
        sink.replies.append(Reply(503, body=b"down"))
        target = make_target("webhook", sink.address)
        quiet = replace(target, name="quiet")
        with delivering(store, target, quiet, first_rest_s=60) as delivery:
            delivery.announce(falls)
            wait_until(lambda: read_deliveries(store.reader, project, 9)[-1]["tries"] == 1)
            targets = find_deliveries(store.reader, project, delivery.targets).targets
    shown = [
        (target.name, target.kind, target.waiting, target.failed, target.sent_time, target.trouble)
        for target in targets
    ]
    assert shown == [
        ("nobody", "", 0, 1, None, NO_TARGET),
        ("oncall", "webhook", 1, 0, None, "503 Service Unavailable down"),
        ("quiet", "webhook", 0, 0, None, ""),
    ]
    [delivered] = targets[1].deliveries
    assert (delivered.id, delivered.rule, delivered.state) == (falls.id, falls.rule, "waiting")
    other = find_deliveries(store.reader, project, [], rule="another rule")
    assert other.targets == []


def test_other_targets_go_on(store: Store, project: str) -> None:
    """A receiver that is down does not delay another one."""
    falls = replace(FALLS, project=project, notify=("oncall", "away"))
    with http_sink(takes_otlp=False) as sink:
        away = replace(make_target("webhook", f"127.0.0.1:{free_port()}"), name="away")
        with delivering(store, away, make_target("webhook", sink.address)) as delivery:
            delivery.announce(falls)
            wait_until(lambda: states_of(store, project) == ["sent"])
            wait_until(lambda: states_of(store, project, "away") == ["waiting"])


def test_withdrawn(store: Store, project: str) -> None:
    """A muted rule sends nothing until it is announced again, under the same id."""
    falls = replace(FALLS, project=project)
    with http_sink(takes_otlp=False) as sink:
        sink.may_answer.clear()
        sink.replies.append(Reply(500))
        target = make_target("webhook", sink.address)
        with delivering(store, target, first_rest_s=60) as delivery:
            delivery.announce(falls)
            wait_until(lambda: len(sink.requests) == 1)
            sink.may_answer.set()
            wait_until(lambda: read_deliveries(store.reader, project, 1)[0]["tries"] == 1)
            delivery.withdraw(project, falls.rule)
            assert states_of(store, project) == ["withdrawn"]
        with delivering(store, target) as delivery:
            delivery.announce(falls)
            wait_until(lambda: states_of(store, project) == ["sent"])
    assert ids_of(sink) == [falls.id] * 2


def test_deleted_while_firing(store: Store, project: str) -> None:
    """A deleted rule is resolved only at the receivers that got its firing notification."""
    falls = replace(FALLS, project=project, notify=("oncall", "away"))
    with http_sink(takes_otlp=False) as sink:
        target = make_target("webhook", sink.address)
        away = replace(make_target("webhook", f"127.0.0.1:{free_port()}"), name="away")
        with delivering(store, target, away, first_rest_s=60) as delivery:
            delivery.announce(falls)
            wait_until(lambda: states_of(store, project) == ["sent"])
            delivery.withdraw(project, falls.rule)
            delivery.announce(replace(RESOLVED, project=project))
            wait_until(lambda: states_of(store, project) == ["sent", "withdrawn"])
        assert states_of(store, project, "away") == ["withdrawn"]
    assert [json.loads(sent.body)["status"] for sent in sink.requests] == ["firing", "resolved"]


def alerts_of(sink: Sink, project: str) -> list[dict[str, Any]]:
    """List a project's alerts that an Alertmanager received, in order."""
    alerts = [alert for sent in [*sink.requests] for alert in json.loads(sent.body)]
    return [alert for alert in alerts if alert["labels"]["project"] == project]


def test_told_again_while_firing(store: Store, project: str) -> None:
    """An Alertmanager gets a firing alert again and again until it is resolved."""
    falls, resolved = (replace(change, project=project) for change in (FALLS, RESOLVED))
    with (
        http_sink(takes_otlp=False) as sink,
        delivering(store, make_target("alertmanager", sink.address), again_s=0.05) as delivery,
    ):
        delivery.announce(falls)
        wait_until(lambda: len(alerts_of(sink, project)) >= 4)
        delivery.announce(resolved)
        wait_until(lambda: states_of(store, project) == ["sent", "sent"])
        *firing, last = alerts_of(sink, project)
        delivery.announce(replace(falls, rule="next"))
        wait_until(lambda: len(alerts_of(sink, project)) >= len(firing) + 4)
        later = alerts_of(sink, project)[len(firing) + 1 :]
    assert last["endsAt"] == "2026-11-24T13:00:00.000000000Z"
    assert sorted({alert["endsAt"] for alert in firing}) == [alert["endsAt"] for alert in firing]
    assert {alert["labels"]["alertname"] for alert in later} == {"next"}


def test_told_no_more_when_withdrawn(store: Store, project: str) -> None:
    """An Alertmanager gets no further messages about a muted rule."""
    falls, other = (replace(FALLS, project=project, rule=rule) for rule in ("a", "b"))
    with (
        http_sink(takes_otlp=False) as sink,
        delivering(store, make_target("alertmanager", sink.address), again_s=0.05) as delivery,
    ):
        delivery.announce(falls)
        delivery.announce(other)
        wait_until(lambda: states_of(store, project) == ["sent", "sent"])
        delivery.withdraw(project, "a")
        before = len(alerts_of(sink, project)) + 2  # requests in flight
        wait_until(lambda: len(alerts_of(sink, project)) >= before + 3)
        later = alerts_of(sink, project)[before:]
    assert {alert["labels"]["alertname"] for alert in later} == {"b"}
