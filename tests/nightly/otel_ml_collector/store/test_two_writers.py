"""Two collectors with one store keep each record once, in any order of arrival."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from otel_ml_collector.findings.find import find_project_findings
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.receive.commit import Commit
from otel_ml_collector.records import Records
from otel_ml_collector.span import Span
from otel_ml_collector.store.writer import Writer
from otel_ml_collector.telemetry.service import Telemetry
from tests.store.otel_ml_collector.store.test_sketches import make_runs, read, sketch
from tests.store.otel_ml_collector.store.test_writer import answers, make_story
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS, make_call, trace_id
from tests.support.otel_ml_collector.stores import Store, open_store

WAIT_S = 60


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open a store for one test, so that the next test can open another."""
    with open_store(tmp_path) as opened:
        yield opened


def deliver(
    store: Store, project: str, orders: Sequence[Sequence[Span]], now_ns: int = NOW_NS
) -> None:
    """Send the spans of each order one by one through a separate commit and writer."""

    def send(spans: Sequence[Span]) -> None:
        commit = Commit(Writer(store.connections).write, Telemetry(), collect_s=0)
        waiting: list[Future[Counter[str]]] = [
            commit.submit(map_spans([span], Filing(project, now_ns)), time.monotonic() + WAIT_S)
            for span in spans
        ]
        errors.extend(answer.exception(WAIT_S) for answer in waiting)
        commit.close(WAIT_S)

    errors: list[BaseException | None] = []
    threads = [threading.Thread(target=send, args=(spans,)) for spans in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert errors == [None] * sum(map(len, orders))


def test_two_writers_sketch_alike(store: Store) -> None:
    """Runs that two writers received and sketched have the same findings as with one writer."""
    now_ns = time.time_ns()
    today = make_bad_client(now_ns)
    story = make_runs(21) + today
    other = random.Random(6).sample(story, len(story))  # noqa: S311 - guards nothing
    deliver(store, "both", [story, other], now_ns)
    store.take("once", *story, now_ns=now_ns)
    errors: list[BaseException] = []

    def sketch_both() -> None:
        try:
            sketch(store, "both")
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=sketch_both) for _ in range(2)]
    for thread in threads:
        thread.start()
    sketch(store, "once")
    for thread in threads:
        thread.join(WAIT_S)
    assert not errors
    assert read(store, "both") == read(store, "once") != {}
    assert read(store, "both", hourly=True) == read(store, "once", hourly=True)
    findings = [
        find_project_findings(store.reader, project, now_ns).findings
        for project in ("both", "once")
    ]
    assert findings[0] == findings[1]
    assert findings[0][0].title.endswith(" fails for client bad")


def make_bad_client(now_ns: int) -> list[Span]:
    """Return runs of the last hour in which one client fails every second time."""
    return [
        make_call(
            "buy",
            {
                "otel_ml.tag.client": "bad" if place % 2 else "good",
                "otel_ml.outcome": "error" if place % 4 == 1 else "ok",
            },
            trace_id=trace_id(90_000 + place),
            start_ns=now_ns - (place + 1) * 10_000 * MS_NS,
            end_ns=now_ns - (place + 1) * 10_000 * MS_NS + MS_NS,
        )
        for place in range(240)
    ]


@pytest.mark.parametrize("order", ["records and children first", "shuffled"])
def test_two_writers_at_once(store: Store, order: str) -> None:
    """Spans that two writers receive twice, in different orders, read as if received once.

    Scores, tags, text and metrics arrive before or after their runs, and children before or after
    their parents and roots.
    """
    story = make_story()
    versions = map_spans(story, Filing("both", NOW_NS)).versions
    store.writer.write(Records(versions=versions))  # numbers are ranks of first arrival
    other = {
        "records and children first": sorted(story, key=lambda span: span.span_id, reverse=True),
        "shuffled": random.Random(5).sample(story, len(story)),  # noqa: S311 - guards nothing
    }[order]
    deliver(store, "both", [story + story, other + other])
    store.take("once", *story)
    once, both = answers(store, "once", story), answers(store, "both", story)
    assert {name: both[name] == answer for name, answer in once.items()} == dict.fromkeys(
        once, True
    )
