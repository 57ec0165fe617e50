"""The collector is killed while it deletes many runs."""

import json
import threading
from contextlib import suppress
from typing import Final
from urllib.request import Request, urlopen

from otel_ml_collector.span import Span
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.wire import encode
from tests.support.waiting import wait_until

FILED_UNDER: Final = "many-deleted"
FILED_HEADERS: Final = {
    "content-type": "application/x-protobuf",
    "x-otel-ml-project": FILED_UNDER,
}
UNWANTED_RUNS: Final = 10_000
KEPT_RUNS: Final = 5
RUNS_AT_ONCE: Final = 2_000


def test_killed_deletion(own_collector: CollectorProcess) -> None:
    """After a kill, a deletion resumes, and it deletes exactly the requested runs."""
    for _ in range(UNWANTED_RUNS // RUNS_AT_ONCE):
        own_collector.deliver(encode(make_calls("unwanted", RUNS_AT_ONCE)), FILED_HEADERS)
    own_collector.deliver(encode(make_calls("kept", KEPT_RUNS)), FILED_HEADERS)
    assert count_runs(own_collector) == {"unwanted": UNWANTED_RUNS, "kept": KEPT_RUNS}

    asking = threading.Thread(target=ask_to_delete, args=(own_collector,))
    asking.start()
    [deletion] = wait_until(lambda: find_deletions(own_collector))
    own_collector.kill()
    asking.join(60)
    assert (deletion["kind"], deletion["target"]) == ("model", "unwanted")
    assert deletion["state"] in {"waiting", "running"}

    own_collector.restart()
    wait_until(lambda: not find_deletions(own_collector), 60)
    assert count_runs(own_collector) == {"kept": KEPT_RUNS}
    assert (
        own_collector.get(f"/projects/{FILED_UNDER}/runs", where='model == "unwanted"')["runs"]
        == []
    )
    # Repeating the deletion is harmless.
    assert ask_to_delete(own_collector) == "done"
    assert count_runs(own_collector) == {"kept": KEPT_RUNS}


def make_calls(model: str, number: int) -> list[Span]:
    return [make_call(model) for _ in range(number)]


def ask_to_delete(collector: CollectorProcess) -> str:
    """Request the deletion; return its state, or "" if the collector was killed meanwhile."""
    target = f"{collector.endpoint}/api/v1/projects/{FILED_UNDER}/models/unwanted"
    with suppress(OSError), urlopen(Request(target, method="DELETE"), timeout=180) as answer:
        return str(json.load(answer)["state"])
    return ""


def find_deletions(collector: CollectorProcess) -> list[dict[str, object]]:
    deletions: list[dict[str, object]] = collector.get(f"/projects/{FILED_UNDER}/deletions")[
        "deletions"
    ]
    return deletions


def count_runs(collector: CollectorProcess) -> dict[str, int]:
    """Count all recorded runs of each model."""
    window = {"start": "2020-01-01", "end": "2100-01-01", "bucket": "all", "group": "model"}
    stats = collector.get(f"/projects/{FILED_UNDER}/stats", **window)
    return {group["group"]: group["total"]["runs"] for group in stats["groups"]}
