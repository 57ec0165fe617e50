"""`otel-ml alerts` and the reader's methods, with a collector whose rule fires."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final
from urllib.request import Request, urlopen

import pytest

from otel_ml.reader import NotFound, Reader
from otel_ml_collector.alerts.evaluation import AlertEvaluator
from otel_ml_collector.alerts.rule import ALERT, WantedAlert
from otel_ml_collector.alerts.topic import AlertParts
from otel_ml_collector.cli import main
from otel_ml_collector.store.documents import Documents
from otel_ml_collector.store.notifications import read_deliveries
from otel_ml_collector.times import HOUR_NS, MINUTE_NS
from tests.support.collector import CollectorProcess, running
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.otlp_sink import http_sink
from tests.support.waiting import wait_until

# The end of a full hour. All runs of the two hours before it fail.
HOUR_END_NS: Final = (time.time_ns() - MINUTE_NS) // HOUR_NS * HOUR_NS
FIRED_NS: Final = HOUR_END_NS - HOUR_NS
PASSWORD: Final = "/hook/not-to-be-shown"
RULE: Final = {
    "when": "error_share > 0.5",
    "window": "1h",
    "every": "1h",
    "hold": "1 of 1",
    "min_runs": 5,
    "keep": "1d",  # otherwise the alert ends without runs if an hour ends during the test
    "by": ['tags["client"]'],
    "notify": ["desk"],
}


def write_time(time_ns: int) -> str:
    at = datetime.fromtimestamp(time_ns / 1e9, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.000000000Z")


def fire(service: Service) -> None:
    """Store four hours of runs that fail in the last two, and evaluate their rule."""
    store = service.store
    for hour in range(4, 0, -1):
        runs = [
            make_call(
                "answer",
                {"otel_ml.tag.client": "acme"},
                start_ns=HOUR_END_NS - hour * HOUR_NS + place * MINUTE_NS,
                status_code=2 if hour <= 2 else 0,
            )
            for place in range(10)
        ]
        store.take("shop", *runs, now_ns=HOUR_END_NS)
    rule = WantedAlert.model_validate(RULE)
    Documents(store.connections).save(store.reader, "shop", ALERT, "errors", rule.model_dump())
    delivery = service.app.state.services.find(AlertParts).delivery
    now_ns = FIRED_NS + MINUTE_NS
    AlertEvaluator(store.reader, store.connections, delivery, clock=lambda: now_ns).evaluate()
    wait_until(
        lambda: [row["state"] for row in read_deliveries(store.reader, "shop", 9)] == ["sent"]
    )


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    folder = tmp_path_factory.mktemp("alerts")
    with http_sink() as sink:
        desk = {"kind": "webhook", "url": f"http://{sink.address}{PASSWORD}", "allow_private": True}
        with open_service(folder, alert_targets=json.dumps({"desk": desk})) as service:
            fire(service)
    with running(folder) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _meant(collector: CollectorProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_ML_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_ML_PROJECT", "shop")


@pytest.fixture
def reader(collector: CollectorProcess) -> Iterator[Reader]:
    with Reader("shop", endpoint=collector.endpoint) as opened:
        yield opened


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that succeeds, and return its output."""
    assert main(["alerts", *arguments]) == 0
    return capsys.readouterr().out


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    """Rules are listed with their states and the slices they fire for."""
    shown = run(capsys, "list", "--format", "csv", "--columns", "state,name,for,fired")
    assert shown == "state,name,for,fired\nfiring,errors,client = acme,1\n"
    [alert] = json.loads(run(capsys, "list", "--json"))["alerts"]
    assert alert["rule"]["when"] == RULE["when"]
    assert alert["slices"][0]["since"] == write_time(FIRED_NS)


def test_check(capsys: pytest.CaptureFixture[str]) -> None:
    """`check` lists when the rule would have fired, for which slice, and the worst value."""
    columns = ("--format", "csv", "--columns", "start,end,slice,worst")
    shown = run(capsys, "check", "errors", "--since", "6h", *columns)
    assert shown == f"start,end,slice,worst\n{write_time(FIRED_NS)},,client = acme,1.0\n"
    assert main(["alerts", "check", "errors", "--since", "6h"]) == 0
    assert "The rule would have fired once in the last 6 hours." in capsys.readouterr().err
    assert main(["alerts", "check", "nothing"]) == 5
    assert "nothing" in capsys.readouterr().err
    assert main(["alerts", "check", "errors", "--since", "soon"]) == 2


def test_check_with_too_few_runs(
    collector: CollectorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """If no window has enough runs, the command prints the reason instead of zero alerts."""
    rules: dict[str, tuple[dict[str, object], str]] = {
        "rare": ({"min_runs": 1_000_000}, '"client"'),
        "none": ({"by": []}, "no run matches"),
    }
    for name, (rule, reason) in rules.items():
        body = json.dumps({**RULE, "notify": [], **rule})
        request = Request(
            f"{collector.endpoint}/api/v1/projects/quiet/alerts/{name}",
            body.encode(),
            {"content-type": "application/json"},
            method="PUT",
        )
        with urlopen(request, timeout=120) as answer:
            assert answer.status == 200
        main(["alerts", "check", name, "--project", "quiet", "--since", "6h"])
        message = capsys.readouterr().err
        assert f"{name}: " in message
        assert reason in message
        assert "ould have fired" not in message


def test_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """Sent notifications are listed with their number of tries and without receivers' secrets."""
    shown = run(capsys, "sent", "--format", "csv", "--columns", "target,rule,status,tries,trouble")
    assert shown == "target,rule,status,tries,trouble\ndesk,errors,firing,1,\n"
    whole = run(capsys, "sent", "errors", "--json")
    [target] = json.loads(whole)["targets"]
    assert target["deliveries"][0]["delivered_time"] == target["sent_time"] is not None
    assert "not-to-be-shown" not in whole
    assert main(["alerts", "sent", "nothing"]) == 5


def test_mute(capsys: pytest.CaptureFixture[str]) -> None:
    """A mute has an end, an author and a reason, and shows in the list of rules."""
    words = ("--where", 'client == "acme"', "--last", "2h", "--who", "mira", "--why", "known")
    mute = json.loads(run(capsys, "mute", "errors", *words, "--json"))
    assert [mute[name] for name in ("rule", "where", "who", "why")] == [
        *("errors", 'client == "acme"', "mira", "known")
    ]
    until_s = datetime.fromisoformat(mute["until"]).timestamp()
    assert until_s - time.time() == pytest.approx(7_200, abs=120)
    shown = run(capsys, "list", "--format", "csv", "--columns", "state")
    assert shown == 'state\n"firing, muted"\n'
    for version, why in enumerate(("known", "still known"), 1):
        again = json.loads(run(capsys, "mute", "errors", "--as", "cut", "--why", why, "--json"))
        assert (again["name"], again["version"], again["why"]) == ("cut", version, why)
    assert [(before["version"], before["why"]) for before in again["earlier"]] == [(1, "known")]
    assert main(["alerts", "mute", "errors", "--last", "soon"]) == 2
    assert main(["alerts", "mute", "nothing"]) == 5
    assert main(["alerts", "mute", "errors", "--where", "client >"]) == 2


def test_settings(reader: Reader) -> None:
    """A reader returns the receivers, the retention and the sizes of its project."""
    settings = reader.settings()
    assert settings["receivers"] == []
    assert settings["retention"]["holds_record_days"] == 0
    assert settings["bytes"] > 0
    assert settings["prices"] == []


def test_reader(reader: Reader) -> None:
    """A reader lists rules, past firings and sent notifications, and saves a rule."""
    [alert] = reader.alerts()["alerts"]
    assert (alert["rule"]["name"], alert["state"]) == ("errors", "firing")
    assert reader.check_alert("errors", since="6h")["firings"][0]["start"] == write_time(FIRED_NS)
    [target] = reader.alert_deliveries("errors")["targets"]
    assert (target["name"], target["deliveries"][0]["status"]) == ("desk", "firing")
    wanted: dict[str, Any] = {**RULE, "when": "error_share > 2", "min_runs": 7, "notify": []}
    saved = reader.save_alert("other", **wanted)
    assert (saved["name"], saved["version"], saved["min_runs"]) == ("other", 1, 7)
    assert [item["rule"]["name"] for item in reader.alerts()["alerts"]] == ["errors", "other"]
    assert reader.alert_deliveries("other")["targets"] == []
    for ask in (reader.check_alert, reader.alert_deliveries):
        with pytest.raises(NotFound):
            ask("nothing")
