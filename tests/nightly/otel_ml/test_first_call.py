"""Slow cases of tests/process/otel_ml/test_first_call.py."""

from pathlib import Path

from tests.process.otel_ml.test_first_call import CALL, OURS
from tests.support.folders import ROOT
from tests.support.otel_ml.otlp_sink import Sink
from tests.support.otel_ml.scripts import ask_script, run_script

# Both start with a decorator's imports. OpenTelemetry's SDK is loaded for otel-ml too.
BY_HAND = """
    import json, sys, time
    from opentelemetry.sdk.trace import TracerProvider

    began_ns = time.thread_time_ns()
    from tests.bench.by_hand import ByHand

    def model(a):
        spent_ns = time.thread_time_ns() - began_ns
        print(json.dumps([spent_ns / 1e6, sorted(sys.modules)]))

    ByHand("http://127.0.0.1:9").trace(model)(1)
"""


ROUNDS = 3


MOST = 0.3  # measured: 0.05 to 0.1


def test_first_call_waits_for_little(tmp_path: Path, sink: Sink) -> None:
    """Before its body, the first call costs at most 30 % of a hand-written span."""
    root = str(ROOT)
    ours, by_hand = (
        min(
            ask_script(tmp_path, text, OTEL_ML_ENDPOINT=sink.address, PYTHONPATH=root)[0]
            for _ in range(ROUNDS)
        )
        for text in (OURS, BY_HAND)
    )
    assert ours <= MOST * by_hand, (ours, by_hand)


def test_slow_disk_loses_nothing(tmp_path: Path, sink: Sink) -> None:
    """A process that ends while its sender is still loading waits for the sender."""
    # Longer than the wait for a delivery without progress, shorter than the end of a process.
    loading = "from tests.support.waiting import elapsed, wait_until\n\nwait_until(elapsed(6))\n"
    (tmp_path / "gzip.py").write_text(loading)
    run_script(tmp_path, CALL, OTEL_ML_ENDPOINT=sink.address, PYTHONPATH=str(ROOT))
    assert [span["otel_ml.outputs"] for span in sink.spans] == ["1"]
