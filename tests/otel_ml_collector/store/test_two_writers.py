"""Two collectors before one store: whatever comes to both, in whatever order, is there once."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.receive.commit import Commit
from otel_ml_collector.records import Records
from otel_ml_collector.span import Span
from otel_ml_collector.store.writer import Writer
from otel_ml_collector.telemetry.service import Telemetry
from tests.otel_ml_collector.spans import NOW_NS
from tests.otel_ml_collector.store.test_writer import answers, make_story
from tests.otel_ml_collector.stores import Store, open_store

WAIT_S = 60


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store for one test, so that the next one may open another."""
    with open_store(tmp_path) as opened:
        yield opened


def deliver(store: Store, project: str, orders: Sequence[Sequence[Span]]) -> None:
    """Send the spans of each order one by one through a commit and a writer of its own."""

    def send(spans: Sequence[Span]) -> None:
        commit = Commit(Writer(store.connections).write, Telemetry())
        waiting: list[Future[None]] = [
            commit.submit(map_spans([span], Filing(project, NOW_NS)), time.monotonic() + WAIT_S)
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


@pytest.mark.parametrize("order", ["records and children first", "shuffled"])
def test_two_writers_at_once(store: Store, order: str) -> None:
    """A story that comes twice, to two writers at once, each in its order, reads as if told once.

    Its scores, tags, text and metrics come before or after their runs, children before or after
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
