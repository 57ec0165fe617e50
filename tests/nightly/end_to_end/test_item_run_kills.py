"""Runs over items never count as production runs, even if the collector is killed meanwhile."""

import random
import threading
from http.client import HTTPException
from pathlib import Path
from typing import Final

from otel_ml_collector.span import Span
from tests.store.otel_ml_collector.store.test_experiments import make_item_run, make_production
from tests.support.collector import CollectorProcess, running
from tests.support.examples import examples
from tests.support.load import PROTOBUF
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS
from tests.support.otel_ml_collector.wire import encode
from tests.support.waiting import wait_until

KILLS: Final = examples(10, on_commit=1)
ITEMS: Final = 40
PROJECT: Final = "item-kills"


def send(collector: CollectorProcess, span: Span) -> bool:
    """Send one span, and return whether it was acknowledged."""
    span.attributes = {**span.attributes, "otel_ml.project": PROJECT}
    try:
        status, _, _ = collector.post("/v1/traces", encode([span]), PROTOBUF)
    except (OSError, HTTPException):
        return False
    return status == 200


def names_of(collector: CollectorProcess) -> list[str]:
    return sorted(run["name"] for run in collector.runs(PROJECT))


def test_no_item_run_is_production(tmp_path: Path) -> None:
    """Calls below an item run that arrive separately never count as production, despite kills."""
    draw = random.Random(21)  # noqa: S311 - the same each time
    with running(tmp_path) as collector:
        production = make_production(9_000)
        assert all(send(collector, span) for span in production)
        for kill in range(KILLS):
            numbers = range(kill * ITEMS + 1, (kill + 1) * ITEMS + 1)
            spans = [
                span
                for number in numbers
                for span in make_item_run(number, NOW_NS + number * MS_NS)
            ]
            draw.shuffle(spans)
            death = threading.Timer(draw.uniform(0.05, 1.0), collector.kill)
            death.start()
            left = [span for span in spans if not send(collector, span)]
            death.join()
            collector.restart()
            for span in left:
                assert send(collector, span)
            # Late records are resolved a moment after their response.
            wait_until(lambda: names_of(collector) == ["answer", "chat gpt-4o"])
            of_items = collector.runs(PROJECT, where='dataset == "qa"')
            assert len({run["item"] for run in of_items}) == len(of_items) == (kill + 1) * ITEMS
