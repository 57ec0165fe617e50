"""The package's functions use a client that the environment configures."""

from pathlib import Path

from tests.support.otel_ml.otlp_sink import Sink
from tests.support.otel_ml.scripts import run_script

SCRIPT = """
import otel_ml

tag = otel_ml.add_judge(otel_ml.Judge("positive", "", lambda outputs: outputs > 0))

@otel_ml.assess(tag, name="assessed")
def assessed(a):
    otel_ml.current_run().tag(seen=True)
    return a

@otel_ml.trace(name="traced")
def traced(a):
    return assessed(a)

with otel_ml.run("training") as run:
    assert otel_ml.current_run() is run
    traced(1)
print(bool(otel_ml.flush()))
"""


def test_module_s_functions_share_a_client(tmp_path: Path, sink: Sink) -> None:
    """The package's decorators record to the project and endpoint from the environment."""
    result = run_script(
        tmp_path, SCRIPT, OTEL_ML_ENDPOINT=sink.address, OTEL_ML_PROJECT="from environment"
    )
    assert result.stdout == "True\n"
    found = {span["name"]: span for span in sink.spans}
    records = {"otel_ml.start", "otel_ml.goodbye", "otel_ml.update"}  # including the judge's own
    assert set(found) - records == {"assessed", "traced", "training"}
    assert {span["otel_ml.project"] for span in sink.spans} == {"from environment"}
    assert found["assessed"]["otel_ml.passed.positive"] is True
    assert found["assessed"]["otel_ml.tag.seen"] is True


def test_import_alone_sends_nothing(tmp_path: Path, sink: Sink) -> None:
    """A script that only decorates functions starts no thread and sends nothing."""
    result = run_script(
        tmp_path,
        """
        import threading
        import otel_ml

        @otel_ml.trace
        def model(a):
            return a

        print(len(threading.enumerate()))
        """,
        OTEL_ML_ENDPOINT=sink.address,
    )
    assert (result.stdout, sink.requests) == ("1\n", [])
