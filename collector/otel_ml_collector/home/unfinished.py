"""Finds what has no end in all projects: how many run, how many crashed, and the newest ones."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.query.answers.runs import RunSummary
from otel_ml_collector.query.shape import summarise
from otel_ml_collector.query.times import HOUR_NS
from otel_ml_collector.store.condition import ALWAYS
from otel_ml_collector.store.open_runs import list_open_keys, list_open_projects, read_open_runs
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.runs import Listing, Window

_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What has no end, in the 50 projects that began something last, 2,000 runs of each.

    Attributes:
        running: How many runs' processes are heard of.
        crashed: How many are not.
        runs: The newest ten of both.
    """

    running: int
    crashed: int
    runs: list[RunSummary]


def find_unfinished(reader: Reader, now_ns: int) -> Unfinished:
    """Find the runs of all projects that have no end.

    Args:
        reader: The store.
        now_ns: By it a run whose process is silent has crashed.
    """
    window = Window(0, now_ns + HOUR_NS)
    rows: list[Row] = []
    for project in list_open_projects(reader):
        listing = Listing(project, ALWAYS, is_filtered=False, after=None, newest_first=True)
        keys = list_open_keys(reader, listing, window)
        rows += read_open_runs(reader, project, keys, now_ns)
    rows.sort(key=lambda row: (row["start_ns"], row["span_id"]), reverse=True)
    outcomes = Counter(row["outcome"] for row in rows)
    newest = [run for row in rows[:_SHOWN] for run in summarise(reader, row["project"], [row])]
    return Unfinished(outcomes["running"], outcomes["crashed"], newest)
