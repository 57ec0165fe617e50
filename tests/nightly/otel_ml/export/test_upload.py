"""Slow cases of tests/process/otel_ml/export/test_upload.py."""

from collections.abc import Iterator

import pytest

from otel_ml import Client
from tests.process.otel_ml.export.test_upload import opened
from tests.support.otel_ml.otlp_sink import Sink, closed_address


@pytest.fixture
def client(sink: Sink) -> Iterator[Client]:
    with opened(sink.address) as client:
        yield client


def test_calls_are_not_held_up_by_a_full_queue() -> None:
    """Documents beyond 256 MiB are dropped and counted, and no call waits for them."""
    address = closed_address()
    with opened(address) as client:
        with client.run("fit") as run:
            for number in range(6):
                run.log(str(number), str(number) * 50_000_000)
        stats = client.stats()
        assert stats.lost == {"artifact: queue full": 1}
        assert stats.blocked_ms <= 100.0
