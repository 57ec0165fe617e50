"""Tests of a receiver's notifications on the page of a rule and in the API."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from otel_ml_collector.alerts.topic import AlertParts
from otel_ml_collector.store.notifications import read_deliveries
from otel_ml_collector.times import HOUR_NS
from tests.store.otel_ml_collector.alerts.test_evaluation import RULE, call
from tests.support.otel_ml_collector.alerts.world import FALLS
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.stores import open_service
from tests.support.otlp_sink import Reply, http_sink
from tests.support.waiting import wait_until

SECRETS: Final = ("not-to-be-shown", "0123456789abcdef")


def test_sent(tmp_path: Path) -> None:
    """A rule's page and the API show sent and failed notifications, and no secret of a receiver."""
    with http_sink() as sink:
        sink.replies += [Reply(400, body=b"no such channel")]
        desk = {
            "kind": "webhook",
            "url": f"http://{sink.address}/hook/{SECRETS[0]}",
            "secret": SECRETS[1],
            "allow_private": True,
        }
        unnamed = {**desk, "url": f"http://{sink.address}/another"}
        targets = json.dumps({"desk": desk, "unnamed": unnamed})
        with open_service(tmp_path, alert_targets=targets) as service:
            rule = {**RULE, "notify": ["desk"]}
            assert call(service, "PUT", "shop/alerts/falls", rule)["status"] == 200
            assert call(service, "PUT", "shop/alerts/other", rule)["status"] == 200
            delivery = service.app.state.services.find(AlertParts).delivery
            falls = replace(FALLS, rule="falls", notify=("desk",))
            for change_ns in (0, HOUR_NS):
                delivery.announce(replace(falls, changed_ns=falls.changed_ns + change_ns))
                wait_until(
                    lambda: (
                        "waiting"
                        not in {
                            row["state"] for row in read_deliveries(service.store.reader, "shop", 9)
                        }
                    )
                )
            answer = call(service, "GET", "shop/alert-deliveries?rule=falls")
            page = ask(service.app, "/projects/shop/alerts/falls").text
            quiet = ask(service.app, "/projects/shop/alerts/other").text
            assert call(service, "GET", "shop/alert-deliveries?rule=nothing")["status"] == 404
    [target] = answer["targets"]
    assert (target["name"], target["kind"], target["failed"]) == ("desk", "webhook", 1)
    sent, failed = target["deliveries"]
    assert (sent["state"], sent["tries"], sent["trouble"]) == ("sent", 1, "")
    assert sent["delivered_time"] == sent["tried_time"] is not None
    assert (failed["state"], failed["delivered_time"]) == ("failed", None)
    assert failed["trouble"] == "400 Bad Request no such channel"
    shown = page.partition('id="sent"')[2].partition("</table>")[0]
    assert shown.count("<tr>") == 3
    assert "400 Bad Request no such channel" in shown
    assert ">failed<" in shown
    assert 'id="sent"' in quiet
    assert "none yet" in quiet
    for secret in SECRETS:
        assert secret not in page + json.dumps(answer)
