"""Measure by how much judges without code slow ingest and pages."""

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.load import Load, send_load
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess
from tests.support.language_model import LanguageModel, language_model
from tests.support.otel_ml_collector.judge_workers import connected, save_fitting

SECONDS: Final = 30
ROUNDS: Final = 3
_PROJECT: Final = "judging"
_SENDERS: Final = 4
_SPANS: Final = 100
_PAGE_EVERY_S: Final = 0.25
_PAGES: Final = (f"/projects/{_PROJECT}", f"/projects/{_PROJECT}/runs")
# A judge with the default limit, and one without, which calls as fast as the model responds.
_RATES: Final = {"60 calls per minute": 60, "no limit": 100_000}
_WITHOUT: Final = "no judge"
# Minimum ingest speed with a judge at the default limit, as a share of the speed without.
_LEAST: Final = 0.95


@dataclass(frozen=True, slots=True)
class JudgedLoad:
    """The results of a round.

    Attributes:
        spans_per_s: Spans stored per second.
        page_s: Response time of each page request, in seconds.
        calls: Calls of the model.
    """

    spans_per_s: float
    page_s: list[float]
    calls: int


def measure(model: LanguageModel, rate: int | None, seconds: float) -> JudgedLoad:
    """Send to a fresh collector and request its pages meanwhile.

    Args:
        model: The model that judges call.
        rate: Calls of the model per minute; None for no judge.
        seconds: How long to send.
    """
    model.requests.clear()
    with tempfile.TemporaryDirectory() as folder:
        settings = connected(model, json.dumps({"quiet_s": 0}))
        collector = CollectorProcess(Path(folder) / "data", *settings)
        try:
            collector.wait_ready()
            if rate is not None:
                save_fitting(collector, _PROJECT, calls_per_minute=rate)
            load = Load(collector.endpoint, _PROJECT, _SENDERS, _SPANS, seconds, is_short=True)
            with _reading(collector) as page_s:
                sent = send_load(load)
        finally:
            collector.kill()
    return JudgedLoad(sent.accepted / sent.took_s, page_s, len(model.requests))


@contextmanager
def _reading(collector: CollectorProcess) -> Iterator[list[float]]:
    """Request pages sequentially during the block; the list has the seconds of each."""
    page_s: list[float] = []
    is_over = threading.Event()

    def read() -> None:
        while not is_over.wait(_PAGE_EVERY_S):
            for page in _PAGES:
                begun_s = time.perf_counter()
                collector.get_text(page)
                page_s.append(time.perf_counter() - begun_s)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield page_s
    finally:
        is_over.set()
        reader.join()


def _p95_ms(found: list[JudgedLoad]) -> float:
    return statistics.quantiles([s for each in found for s in each.page_s], n=20)[-1] * 1e3


def report(seconds: float = SECONDS, rounds: int = ROUNDS) -> None:
    """Measure all kinds in turns and print."""
    kinds = {_WITHOUT: None, **_RATES}
    found: dict[str, list[JudgedLoad]] = {kind: [] for kind in kinds}
    with language_model() as model:
        for _ in range(rounds):
            for kind, rate in kinds.items():
                found[kind].append(measure(model, rate, seconds))
    print(f"load average {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
    rows = []
    for kind, measured in found.items():
        ratios = [
            each.spans_per_s / without.spans_per_s
            for each, without in zip(measured, found[_WITHOUT], strict=True)
        ]
        ratio = statistics.median(ratios)
        is_bound = kind not in {_WITHOUT, "no limit"}
        rows.append(
            (
                kind,
                f"{statistics.median(each.spans_per_s for each in measured):,.0f}",
                f"{ratio:.2f} (from {min(ratios):.2f} to {max(ratios):.2f})",
                f"≥ {_LEAST}" if is_bound else "",
                verdict(ratio >= _LEAST) if is_bound else "",
                f"{_p95_ms(measured):.0f} ms",
                f"{_p95_ms(measured) / _p95_ms(found[_WITHOUT]):.2f}",
                f"{statistics.median(each.calls for each in measured):,.0f}",
            )
        )
    heads = ("judge", "spans/s", "÷ without", "floor", "", "page, p95", "÷ without", "calls")
    print_table(heads, rows)
