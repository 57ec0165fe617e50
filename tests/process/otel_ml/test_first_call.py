"""The first call of a process does not wait for modules that are loaded in the background."""

import re
from pathlib import Path

import pytest

from tests.support.otel_ml.otlp_sink import Sink
from tests.support.otel_ml.scripts import ask_script, run_script
from tests.support.sampling import at_night, sampled

CALL = """
import os, sys, threading
import otel_ml

@otel_ml.trace(name="model")
def model(a):
    return a

model(1)
"""

OURS = """
    import json, sys, time
    import otel_ml

    @otel_ml.trace
    def model(a):
        spent_ns = time.thread_time_ns() - began_ns
        print(json.dumps([spent_ns / 1e6, sorted(sys.modules)]))

    began_ns = time.thread_time_ns()
    model(1)
"""


@sampled(1)
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_what_sends_is_loaded_beside_the_call(tmp_path: Path, sink: Sink, compression: str) -> None:
    """While the body of the first call runs, no module that sends is loaded yet."""
    variables = {
        "OTEL_ML_ENDPOINT": sink.address,
        "OTEL_EXPORTER_OTLP_COMPRESSION": compression,
    }
    _, loaded = ask_script(tmp_path, OURS, **variables)
    sending = re.compile(
        r"urllib3|http\.client|ssl|importlib\.metadata|opentelemetry\.exporter.*"
        r"|otel_ml\.export\.(http|encoder|destination|spool.*)|otel_ml\.versions\.definition"
    )
    assert [name for name in loaded if sending.fullmatch(name)] == []
    assert len(sink.spans) == 1


@sampled(1)
@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('wrong')", 1),
        ("raise KeyboardInterrupt", -2),
    ],
    ids=["end", "exit", "exception", "interrupt"],
)
def test_process_may_end_at_once(tmp_path: Path, sink: Sink, end: str, status: int) -> None:
    """A process that ends right after its first call delivers it, with its usual exit status."""
    run_script(tmp_path, CALL + end, status=status, OTEL_ML_ENDPOINT=sink.address)
    assert [span["otel_ml.outputs"] for span in sink.spans] == ["1"]


def test_sigterm_right_after_the_first_call_loses_nothing(tmp_path: Path, sink: Sink) -> None:
    """A process that gets SIGTERM while the sending modules load delivers its run first."""
    script = """
        import os, signal
        from otel_ml import Client

        Client("shop", flush_on_sigterm=True).trace(name="model")(lambda: 1)()
        os.kill(os.getpid(), signal.SIGTERM)
    """
    run_script(tmp_path, script, status=-15, OTEL_ML_ENDPOINT=sink.address)
    assert [span["otel_ml.outputs"] for span in sink.spans] == ["1"]


# Right away, during the two longest imports, and when everything is loaded.
@sampled(1)
@pytest.mark.parametrize(
    "begun",
    ["otel_ml", "otel_ml.export.http", "urllib3", "urllib3.poolmanager"],
)
def test_child_forked_while_sending_is_loaded(tmp_path: Path, sink: Sink, begun: str) -> None:
    """A child forked while another thread loads the sending modules does not block in an import."""
    script = f"""
        while "{begun}" not in sys.modules:
            pass
        child = os.fork()
        if child == 0:
            import faulthandler
            faulthandler.dump_traceback_later(20, exit=True)
            model(2)
            sys.exit(0)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    lines = CALL + "".join(f"{line[8:]}\n" for line in script.splitlines())
    result = run_script(tmp_path, lines, OTEL_ML_ENDPOINT=sink.address)
    assert result.stderr == ""
    assert sorted(str(span["otel_ml.outputs"]) for span in sink.spans) == ["1", "2"]


@at_night
def test_fork_within_an_import_that_sending_waits_for(tmp_path: Path, sink: Sink) -> None:
    """A module that calls and forks during its import ends, even if sending imports it too."""
    (tmp_path / "gzip.py").write_text(
        """
import os, sys
import otel_ml
from tests.support.sampling import sampled

otel_ml.trace(name="model")(lambda: 1)()
while "otel_ml.export.http" not in sys.modules:  # which imports this very module
    pass
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
"""
    )
    run_script(tmp_path, "import gzip", OTEL_ML_ENDPOINT=sink.address)
    assert [span["otel_ml.outputs"] for span in sink.spans] == ["1"]


def test_child_sends_what_its_parent_never_did(tmp_path: Path, sink: Sink) -> None:
    """A child loads the sending modules itself if its parent has not."""
    script = """
        import os, sys
        import otel_ml

        @otel_ml.trace(name="model")
        def model(a):
            if a == 1:
                child = os.fork()  # within the first call: no thread of ours runs yet
                if child == 0:
                    model(2)
                    sys.exit(0)
                os.waitpid(child, 0)
            return a

        model(1)
    """
    run_script(tmp_path, script, OTEL_ML_ENDPOINT=sink.address)
    found = {str(span["otel_ml.outputs"]) for span in sink.spans if "otel_ml.outputs" in span}
    assert {"1", "2"} <= found
