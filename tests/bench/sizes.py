"""Measure a collector with many users, many projects and many runs to delete, and its exit.

The store is synthetic and loaded over OTLP, which takes some minutes.
"""

import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.request import Request, urlopen

from otel_ml_collector.times import HOUR_NS
from tests.bench.dataset import constant, field, make_request, number, text, times
from tests.bench.dataset_load import send_all
from tests.bench.pace import pace
from tests.bench.process import wait_idle
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess

USERS: Final = 300_000
RUNS: Final = 600_000
PROJECTS: Final = 10_000
_DAY: Final = "day"
_MODEL: Final = "answer"
_SPANS: Final = 2_000
_TRIES: Final = 5
_POLL_S: Final = 0.5
_OVERVIEW_S: Final = 1.0
_ANSWER_S: Final = 5.0
_STOP_S: Final = 10.0
_ANSWER_KB: Final = 500.0


def report() -> None:
    """Load, measure and print."""
    rows: list[tuple[str, str, str, str]] = []

    def add(title: str, value: float, most: float, unit: str) -> None:
        rows.append((title, f"{value:,.2f} {unit}", f"{most:g} {unit}", verdict(value <= most)))

    with tempfile.TemporaryDirectory() as folder:
        collector = CollectorProcess(Path(folder) / "data")
        collector.wait_ready()
        send_all(collector.endpoint, _make_requests(_make_day()))
        send_all(collector.endpoint, _make_requests(_make_projects()))
        wait_idle(collector.pid)
        overview_s = min(
            _ask(collector, f"/api/v1/projects/{_DAY}/overview")[0] for _ in range(_TRIES)
        )
        add(f"overview of a day with {USERS:,} users", overview_s, _OVERVIEW_S, "s")
        for path in ("/metrics", "/api/v1/storage"):
            size = _ask(collector, path)[1]
            add(f"{path} with {PROJECTS:,} projects", size / 1e3, _ANSWER_KB, "kB")
        asked_s = time.perf_counter()
        _delete(collector)
        title = f"deletion of a model with {RUNS * 5 // 6:,} runs"
        add(f"{title}, answer", time.perf_counter() - asked_s, _ANSWER_S, "s")
        while collector.get(f"/projects/{_DAY}/deletions")["deletions"]:
            pace(_POLL_S)  # the deletion continues in the background
        rows.append((f"{title}, done", f"{time.perf_counter() - asked_s:,.2f} s", "", ""))
        asked_s = time.perf_counter()
        collector.stop()
        add("stopping the collector", time.perf_counter() - asked_s, _STOP_S, "s")
    print_table(("sizes", "measured", "floor", ""), rows)


def _ask(collector: CollectorProcess, path: str) -> tuple[float, int]:
    """Request a path once; return the response time in seconds and the response size in bytes."""
    asked_s = time.perf_counter()
    body = collector.get_text(path)
    return time.perf_counter() - asked_s, len(body.encode())


def _delete(collector: CollectorProcess) -> None:
    target = f"{collector.endpoint}/api/v1/projects/{_DAY}/models/{_MODEL}"
    with urlopen(Request(target, method="DELETE"), timeout=600) as answer:
        json.load(answer)


def _make_requests(spans: Iterator[bytes]) -> Iterator[tuple[bytes, int]]:
    batch: list[bytes] = []
    for span in spans:
        batch.append(span)
        if len(batch) == _SPANS:
            yield make_request(batch), len(batch)
            batch = []
    if batch:
        yield make_request(batch), len(batch)


def _make_day() -> Iterator[bytes]:
    """Make runs of the last 23 hours; five in six belong to the model that is deleted."""
    chance, end_ns = random.Random(5), time.time_ns()  # noqa: S311 - guards nothing
    for place in range(RUNS):
        start_ns = end_ns - 23 * HOUR_NS + place * (23 * HOUR_NS // RUNS)
        attributes = [
            *_name_run(_DAY, _MODEL if place % 6 else "retrieve"),
            text("user.id", b"user-%d" % chance.randrange(USERS)),
            text("session.id", b"session-%d" % (place // 2)),
            text("otel_ml.inputs", b'{"question":"what is %d"}' % place),
            text("otel_ml.outputs", b'"it is %d"' % place),
            constant("otel_ml.outcome", "ok" if chance.random() < 0.95 else "error"),
            constant("gen_ai.usage.input_tokens", chance.randrange(400)),
            number("gen_ai.usage.cost", chance.randrange(1_000) * 2**-20),
        ]
        if chance.random() < 0.3:
            score = chance.random()
            attributes += [
                number("otel_ml.score.grounded", score),
                constant("otel_ml.passed.grounded", score >= 0.5),
                constant("otel_ml.judges", '{"grounded":{"version":"00000000000000aa"}}'),
            ]
        latency_ns = int(chance.lognormvariate(6.5, 0.9) * 10**6)
        yield _make_span(chance, start_ns, latency_ns, attributes)


def _make_projects() -> Iterator[bytes]:
    chance, start_ns = random.Random(6), time.time_ns() - HOUR_NS  # noqa: S311 - guards nothing
    for place in range(3 * PROJECTS):
        attributes = list(_name_run(f"project-{place % PROJECTS}", _MODEL))
        yield _make_span(chance, start_ns + place, 10**8, attributes)


def _name_run(project: str, model: str) -> Iterator[bytes]:
    yield constant("otel_ml.project", project)
    yield constant("otel_ml.kind", "model")
    yield constant("otel_ml.model.name", model)
    yield constant("otel_ml.model.version", "00000000000000aa")
    yield constant("otel_ml.model.output_schema", "5ca1ab1e")


def _make_span(
    chance: random.Random, start_ns: int, latency_ns: int, attributes: list[bytes]
) -> bytes:
    head = field(1, chance.randbytes(16)) + field(2, chance.randbytes(8))
    return field(2, head + times("answer", start_ns, latency_ns) + b"".join(attributes))
