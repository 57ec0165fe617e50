"""One store with the same data on each machine: a fixed clock, a seed, and four small projects.

The clock and the source of random IDs of the whole process are replaced, so only a process of its
own may open this store, and before it imports otel-ml: defaults such as ``clock=time.time_ns`` then
take the fixed clock, too.
"""

import random
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from tests.support.otel_ml_collector.stores import Service

# 2026-11-20T08:30:00Z: 90 minutes after the clock of other tests, so their records are recent.
READ_NS: Final = 1_795_163_400 * 10**9
_MINUTE_NS: Final = 60 * 10**9
_SEED: Final = 83
_OTHER: Final = 50_000
_FIRST_OTHER: Final = 1_000


def fix_clock(*, ticks: bool) -> None:
    """Set the clock of this process, which stands still, or ticks while records are sent."""
    if ticks:
        ticking = count(READ_NS - _MINUTE_NS, 1_000)
        time.time_ns = lambda: next(ticking)
    else:
        time.time_ns = lambda: READ_NS
    time.time = lambda: time.time_ns() / 1e9


def seed_ids() -> None:
    """Draw the random IDs of this process from a seed."""
    draw = random.Random(_SEED)  # noqa: S311 - guards nothing
    secrets.token_bytes = lambda nbytes=None: draw.randbytes(nbytes or 16)
    secrets.token_hex = lambda nbytes=None: draw.randbytes(nbytes or 16).hex()


class Story(NamedTuple):
    """The application over the story's store, and the names that addresses need."""

    service: "Service"
    places: Mapping[str, str]


@contextmanager
def open_story(folder: Path) -> Iterator[Story]:
    """Open the store: a shop with one record of each kind, its desk, its orders, and houses."""
    fix_clock(ticks=True)
    seed_ids()
    from tests.support.otel_ml_collector.api.world import fill, send
    from tests.support.otel_ml_collector.desk import PROJECT, make_desk
    from tests.support.otel_ml_collector.houses import TARGET, make_houses
    from tests.support.otel_ml_collector.spans import trace_id
    from tests.support.otel_ml_collector.stores import open_service

    with open_service(folder) as service:
        places = fill(service)
        # Its traces have the IDs of the shop's.
        desk = [
            replace(span, trace_id=trace_id(_OTHER + int.from_bytes(span.trace_id)))
            if int.from_bytes(span.trace_id) < _FIRST_OTHER
            else span
            for span in make_desk(READ_NS)
        ]
        service.store.take(PROJECT, *desk, now_ns=READ_NS)
        for who, label in (("ann", "Yes"), ("bob", "No")):
            answer = {"run_id": places["run_id"], "label": label, "annotator": who}
            answered = send(
                service, "POST", "/api/v1/projects/shop/queues/grounded/answers", answer
            )
            assert answered.status == 200, answered.text
        service.store.take("houses", *make_houses(READ_NS), now_ns=READ_NS)
        answered = send(service, "PUT", "/api/v1/projects/houses/targets/price", TARGET)
        assert answered.status == 200, answered.text
        fix_clock(ticks=False)
        yield Story(service, places)
