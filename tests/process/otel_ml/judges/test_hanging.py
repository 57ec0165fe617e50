"""Cases of tests/unit/otel_ml/judges/test_hanging.py that start processes."""

from pathlib import Path

import pytest

from tests.support.otel_ml.otlp_sink import Sink
from tests.support.otel_ml.scripts import run_script
from tests.support.sampling import sampled


@sampled(1)
@pytest.mark.parametrize(
    "rubric",
    [
        "def rubric(): threading.Event().wait()",
        "async def rubric(): await asyncio.Event().wait()",
        "async def rubric(): threading.Event().wait()",
        "async def rubric():\n"
        "    while True:\n"
        "        try: await asyncio.Event().wait()\n"
        "        except asyncio.CancelledError: pass",
    ],
    ids=["sync", "async", "blocks its loop", "is not cancelled"],
)
@pytest.mark.parametrize("timeout_s", [0.01, 30])
def test_hanging_judges_delay_no_exit(
    tmp_path: Path, sink: Sink, rubric: str, timeout_s: float
) -> None:
    """A script with hanging judges ends within about 2 s, without errors, and delivers its runs."""
    program = f"""
import asyncio, atexit, threading, time
import otel_ml
{rubric}

@otel_ml.assess(otel_ml.Judge("hanging", "", rubric, timeout_s={timeout_s}))
def model(a):
    return a

for number in range(8):
    model(number)
ended = time.monotonic()
"""
    # The function registered first is called last.
    watch = "import atexit, time\nended = time.monotonic()\n"
    tell = "atexit.register(lambda: print(time.monotonic() - ended))\n"
    result = run_script(tmp_path, watch + tell + program, OTEL_ML_ENDPOINT=sink.address)
    assert float(result.stdout) < 4
    assert "Traceback" not in result.stderr
    assert len([span for span in sink.spans if "otel_ml.outputs" in span]) == 8
