"""Cases of tests/unit/otel_ml/test_opened.py that start processes."""

from pathlib import Path

import pytest

from tests.support.otel_ml.otlp_sink import Sink
from tests.support.otel_ml.scripts import run_script

ENDS = {
    "exit": ("", 0, "ok"),
    "sys.exit": ("import sys; sys.exit(3)", 3, "ok"),
    "exception": ("raise RuntimeError('boom')", 1, "error"),
}


@pytest.mark.parametrize("end", ENDS)
def test_run_ends_with_the_process(tmp_path: Path, sink: Sink, end: str) -> None:
    """A run that is open when the process ends is ended, as failed if the process failed."""
    last, status, outcome = ENDS[end]
    script = f"import otel_ml\nrun = otel_ml.run('fit')\nrun.info('began')\n{last}\n"
    run_script(tmp_path, script, status=status, OTEL_ML_ENDPOINT=sink.address)
    [run] = sink.runs
    assert (run["name"], run["otel_ml.outcome"]) == ("fit", outcome)
    assert run.get("error.type") == ("RuntimeError" if outcome == "error" else None)
