"""Evaluate 200 rules of 50 slices each over a full store and print the CPU time of a pass.

``python -m tests.bench.alerts [RUNS] [HOURS]``: RUNS per day (a million); the store has the last
HOURS (24) of them. The printed figure is the CPU time of the process, including the store's
threads, so other programs on the machine do not count.
"""

import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Final

from otel_ml_collector.alerts.evaluation import AlertEvaluator
from otel_ml_collector.alerts.notification import Notification
from otel_ml_collector.alerts.rule import ALERT, WantedAlert, make_plan
from otel_ml_collector.store.alerts import read_alert_rows
from otel_ml_collector.store.documents import Documents
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS, make_call
from tests.support.otel_ml_collector.stores import Store, open_store

RULES: Final = 200
SLICES: Final = 50
_AT_ONCE: Final = 2_000
_KINDS: Final = (
    'pass_rate("grounded") < 0.9',
    "error_share > 0.05",
    "p90(latency_ms) > 2000",
    "share(latency_ms > 1000) > 0.1",
)


class Silent:
    """An announcer that notifies nobody: delivery is measured elsewhere."""

    def announce(self, notification: Notification) -> None:
        """Drop the notification."""

    def withdraw(self, project: str, rule: str) -> None:
        """Do nothing: there is nothing to withdraw."""


def fill(store: Store, a_day: int, hours: float) -> int:
    """Store runs of 50 clients in the last hours, each with a score; return their number."""
    store.take("p", tell("j1"))
    runs = round(a_day * hours / 24)
    for first in range(0, runs, _AT_ONCE):
        spans = []
        for place in range(first, min(first + _AT_ONCE, runs)):
            start_ns = NOW_NS - (runs - place) * DAY_NS // a_day
            run = make_call(
                "answer",
                {
                    "otel_ml.model.version": "v1",
                    "otel_ml.tag.client": f"client-{place % SLICES}",
                },
                start_ns=start_ns,
                end_ns=start_ns + (50 + place % 400) * MS_NS,
            )
            spans += [run, say(run, "j1", float(place % 11 > 0))]
        store.take("p", *spans)
    return runs


def save(store: Store, *, alike: bool) -> None:
    """Save the rules, with one filter for all or a different filter for each."""
    documents = Documents(store.connections)
    for place in range(RULES):
        wanted = WantedAlert(
            where='model == "answer"'
            if alike
            else f'model == "answer" and latency_ms > {place / 10}',
            when=_KINDS[place % len(_KINDS)],
            window="4m",
            by=['tags["client"]'],
            min_runs=0,
        )
        make_plan(wanted)
        documents.save(store.reader, "p", ALERT, f"rule-{place}", wanted.model_dump())


def main() -> None:
    """Measure and print."""
    a_day = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    hours = float(sys.argv[2]) if len(sys.argv) > 2 else 24.0
    for alike in (True, False):
        with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "store") as store:
            runs = fill(store, a_day, hours)
            save(store, alike=alike)
            clock = iter(range(NOW_NS + MINUTE_NS, NOW_NS + HOUR_NS, MINUTE_NS))
            evaluator = AlertEvaluator(
                store.reader, store.connections, Silent(), clock=partial(next, clock)
            )
            evaluator.evaluate()
            for _ in range(2):
                cpu_s, wall_s = time.process_time(), time.monotonic()
                numbers = evaluator.evaluate()
                cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
            rows = len(read_alert_rows(store.reader))
            kind = "the same filter" if alike else "a filter each"
            sys.stdout.write(
                f"{numbers.rules} rules of {kind}, {rows:,} states, {runs:,} runs at "
                f"{a_day:,} a day: {cpu_s:.2f} s of CPU, {wall_s:.2f} s, {numbers.failed} failed\n"
            )


if __name__ == "__main__":
    main()
