"""Slow cases of tests/process/otel_ml/test_multiprocessing.py."""

import signal
from pathlib import Path

from tests.process.otel_ml.test_multiprocessing import ENDLESS, terminate
from tests.process.otel_ml.test_sigterm import END_S, LIMIT_S, hanging
from tests.support.otel_ml.otlp_sink import Sink


def test_hanging_collector_costs_two_seconds(tmp_path: Path, sink: Sink) -> None:
    """A child process ends within 2 s of SIGTERM, even if its collector does not respond."""
    with hanging(sink):
        status, took_s = terminate(tmp_path, sink, f"model(1)\nready.set()\n{ENDLESS}")
    assert status == -signal.SIGTERM
    assert took_s < LIMIT_S + END_S
