"""The alert for the demo's missing field fires once, at the right time, is sent and resolved."""

import json
import multiprocessing
import shutil
import time
from pathlib import Path
from typing import Final

from otel_ml_collector.alerts.evaluation import AlertEvaluator
from otel_ml_collector.alerts.rule import ALERT
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.store.alerts import read_alert_events
from otel_ml_collector.store.documents import Documents, list_all_documents
from otel_ml_collector.store.notifications import NotificationBox
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, from_rfc3339, to_rfc3339
from tests.process.otel_ml_collector.alerts.test_delivery import delivering
from tests.support.otel_ml_collector.alerts.world import make_target
from tests.support.otel_ml_collector.stores import open_store
from tests.support.otlp_sink import http_sink
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

_FORKING: Final = multiprocessing.get_context("forkserver")
_PROJECT: Final = "breast-cancer"
_RULE: Final = "texture missing"
_WATCHED: Final = "texture missing, watched"
_TIMEOUT_S: Final = 300
# From noon of the day before until the next midnight, every 90 minutes, when a window ends.
_LOOKS_NS: Final = range(-12 * HOUR_NS, 25 * HOUR_NS, 3 * HOUR_NS // 2)


def watch(folder: Path, address: str) -> None:
    """Evaluate the demo's own rule as a collector running at that time would have."""
    target = make_target("webhook", address, "/hook")
    with open_store(folder) as store:
        asked = RunsQuery(_PROJECT, 'model == "screen"', limit=1)
        [newest] = find_runs(store.reader, asked, time.time_ns()).runs
        midnight_ns = from_rfc3339(newest.start_time, "start_time") // DAY_NS * DAY_NS
        [rule] = [
            document.body
            for project, document in list_all_documents(store.reader, ALERT)
            if (project, document.name) == (_PROJECT, _RULE)
        ]
        # The demo's collector has stored states under the rule's name, so a copy is used.
        watched = {**rule, "notify": [target.name]}
        Documents(store.connections).save(store.reader, _PROJECT, ALERT, _WATCHED, watched)
        clock = [midnight_ns]
        with delivering(store, target, clock=lambda: clock[0]) as announcer:
            evaluator = AlertEvaluator(
                store.reader, store.connections, announcer, clock=lambda: clock[0]
            )
            kept = NotificationBox(store.connections)
            for look_ns in _LOOKS_NS:
                clock[0] = midnight_ns + look_ns + MINUTE_NS
                evaluator.evaluate()
                wait_until(lambda: not kept.count_waiting(target.name), _TIMEOUT_S)
        events = [
            (event.before, event.state, to_rfc3339(event.time_ns))
            for event in read_alert_events(store.reader, _PROJECT, 0, _WATCHED)
        ]
    (folder / "events").write_text(json.dumps([to_rfc3339(midnight_ns), events[::-1]]))


@at_night
def test_seeded_fall(recorded_demo: Path, tmp_path: Path) -> None:
    """A device sends no texture from midnight on: the alert fires once and is resolved.

    One in three of the day's 150 cases lacks texture, until six in the evening. At 01:30, 4 of 38
    cases lack it, which is more than a tenth but can be chance. At noon it is certain. At the end
    of the day, the last six hours have no such case.
    """
    folder = tmp_path / "data"
    shutil.copytree(recorded_demo / "data", folder, symlinks=True)
    with http_sink(takes_otlp=False) as sink:
        process = _FORKING.Process(target=watch, args=(folder, sink.address))
        process.start()
        process.join(_TIMEOUT_S)
        assert process.exitcode == 0
        messages = [json.loads(sent.body) for sent in sink.requests]
    midnight, events = json.loads((folder / "events").read_text())
    start_ns = from_rfc3339(midnight, "midnight")
    noon, end = (to_rfc3339(start_ns + hours * HOUR_NS) for hours in (12, 24))
    assert events == [
        ["inactive", "firing", noon],
        ["firing", "inactive", end],
    ]
    assert [
        (message["rule"], message["status"], message["changed_at"], message["severity"])
        for message in messages
    ] == [
        (_WATCHED, "firing", noon, "page"),
        (_WATCHED, "resolved", end, "page"),
    ]
