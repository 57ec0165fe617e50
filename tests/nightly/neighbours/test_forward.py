"""The collector forwards spans to Jaeger."""

from collections import Counter
from pathlib import Path

import pytest

from tests.nightly.neighbours.programs import Jaeger, count_spans, running
from tests.nightly.neighbours.test_chain import SERVICE, make_batch, send, stored
from tests.support.collector import running as collecting
from tests.support.waiting import wait_until


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_forward(tmp_path: Path, protocol: str) -> None:
    """Stored spans are forwarded to Jaeger once, over gRPC or HTTP."""
    jaeger = Jaeger(tmp_path / "jaeger")
    with running(jaeger):
        target = f"grpc://{jaeger.grpc}" if protocol == "grpc" else jaeger.endpoint
        with collecting(tmp_path / "data", "--forward-otlp", f"jaeger={target}") as collector:
            body, ids = make_batch("forwarded")
            send(collector.endpoint, body)
            wait_until(lambda: len(count_spans(jaeger, SERVICE)) >= len(ids))
            assert stored(collector, "forwarded") == Counter(ids)
            expected = Counter(one.replace("-", "/") for one in ids)
            assert Counter(count_spans(jaeger, SERVICE)) == expected
