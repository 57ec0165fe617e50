"""Slow cases of tests/process/otel_ml/test_process_end.py."""

from pathlib import Path

from tests.process.otel_ml.test_process_end import CALLS, outputs
from tests.support.otel_ml.otlp_sink import Received, Reply, Sink
from tests.support.otel_ml.scripts import run_script
from tests.support.waiting import elapsed, wait_until


def test_slow_collector_gets_all_at_exit(tmp_path: Path, sink: Sink) -> None:
    """At its end, a script waits for a collector that takes long for each request."""

    def reply(_: Received) -> Reply:
        wait_until(elapsed(2.5))
        return Reply()

    sink.reply = reply
    run_script(
        tmp_path,
        CALLS,
        OTEL_ML_ENDPOINT=sink.address,
        OTEL_BSP_SCHEDULE_DELAY="60000",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="400",
    )
    assert (len(sink.requests), outputs(sink)) == (3, list(range(1_000)))
