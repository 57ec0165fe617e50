"""A change and its entry in the activity exist together, whenever the collector is killed."""

import http.client
import json
import random
import threading
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.support.collector import CollectorProcess, running
from tests.support.examples import examples
from tests.support.sampling import at_night, harder
from tests.support.waiting import wait_until

KILLS: Final = examples(20, on_commit=5)
_SAVES: Final = 5
_JSON: Final = {"content-type": "application/json"}


def save_rules(endpoint: str, first: int, saved: list[int]) -> None:
    """Save alert rules until the collector does not answer any more; add their numbers."""
    address = urlsplit(endpoint)
    number = first
    while True:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
        body = json.dumps({"when": f"runs > {number}", "window": "1h"})
        try:
            # The names repeat, so that most saves replace a rule.
            path = f"/api/v1/projects/killed/alerts/rule-{number % 7}"
            connection.request("PUT", path, body, _JSON)
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()
        saved.append(number)
        number += 1


def check(collector: CollectorProcess) -> int:
    """Compare the rules with the activity; return the number of entries."""
    entries = collector.get("/projects/killed/activity", kind="alert rule", limit=1_000)["entries"]
    conditions: dict[str, list[str]] = {}
    for entry in reversed(entries):
        when = [item["after"] for item in entry["changes"] if item["field"] == "when"]
        conditions.setdefault(entry["name"], []).extend(when)
    rules = collector.get("/projects/killed/alerts")["alerts"]
    newest = {rule["rule"]["name"]: rule["rule"]["when"] for rule in rules}
    assert {name: whens[-1] for name, whens in conditions.items()} == newest
    # Each version of a rule is one entry.
    versions = sum(rule["rule"]["version"] for rule in rules)
    assert len(entries) == versions
    return len(entries)


@at_night
@harder
def test_kill_between_change_and_entry(tmp_path: Path) -> None:
    """After each kill, every stored version of a rule has one entry, and no other entry exists."""
    dice = random.Random(85)  # noqa: S311 - moments of kills
    count = 0
    with running(tmp_path / "data") as collector:
        for kill in range(KILLS):
            saved: list[int] = []
            first = 10_000 * (kill + 1)
            saver = threading.Thread(target=save_rules, args=(collector.endpoint, first, saved))
            saver.start()
            wait_until(lambda: len(saved) >= _SAVES)  # noqa: B023 - called in this round
            ends_s = time.monotonic() + dice.random() / 20  # any moment of a save
            wait_until(lambda: time.monotonic() >= ends_s)  # noqa: B023 - called in this round
            collector.kill()
            saver.join()
            collector.restart()
            found = check(collector)
            assert found >= count + _SAVES
            count = found
