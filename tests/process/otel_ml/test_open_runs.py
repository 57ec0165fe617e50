"""Cases of tests/unit/otel_ml/test_open_runs.py that start processes."""

from pathlib import Path

import pytest

from otel_ml import Client
from tests.support.otel_ml.otlp_sink import Sink
from tests.support.otel_ml.scripts import run_script
from tests.support.sampling import sampled


def records(sink: Sink) -> list[tuple[str, str]]:
    """Return the kinds of records about runs and the process, each with its model, in order."""
    return [
        (span["otel_ml.record"], span.get("otel_ml.model.name", ""))
        for span in sink.spans
        if "otel_ml.record" in span
    ]


def test_run_that_is_not_recorded_is_not_told(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the SDK is disabled, no record about an opened run is sent."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    client = Client("shop", endpoint=sink.address)
    with client.run("fit"):
        client.flush()
    client.close()
    assert sink.requests == []


def test_goodbye_of_a_client(sink: Sink) -> None:
    """A client that has sent a start record sends a goodbye when it closes, with the drop count."""
    client = Client("a project of its own", endpoint=sink.address)
    run = client.run("fit")
    client.close()
    assert run.is_recorded
    [goodbye] = [span for span in sink.spans if span.get("otel_ml.record") == "goodbye"]
    del goodbye["otel_ml.process"]
    assert goodbye == {
        "name": "otel_ml.goodbye",
        "otel_ml.record": "goodbye",
        "otel_ml.project": "a project of its own",
        "otel_ml.seq": 3,
        "otel_ml.dropped": 0,
    }


def test_short_calls_say_nothing(sink: Sink) -> None:
    """A client with short calls only sends neither a start nor a goodbye record."""
    client = Client("shop", endpoint=sink.address)
    traced = client.trace(lambda: 1)
    for _ in range(10):
        traced()
    client.close()
    assert records(sink) == []


def test_process_that_ends_says_goodbye(tmp_path: Path, sink: Sink) -> None:
    """A script that ends with an open run ends the run and sends a goodbye record."""
    script = """
        import otel_ml

        run = otel_ml.run("fit")
    """
    run_script(tmp_path, script, OTEL_ML_ENDPOINT=sink.address)
    assert records(sink) == [("start", "fit"), ("goodbye", "")]
    assert [(run["name"], run["otel_ml.outcome"]) for run in sink.runs] == [("fit", "ok")]


def test_child_is_silent_about_its_parent_s_runs(tmp_path: Path, sink: Sink) -> None:
    """A forked child that ends sends neither an end nor a goodbye for its parent's open runs."""
    script = """
        import os, sys
        import otel_ml

        @otel_ml.trace(name="model")
        def model(who):
            return who

        run = otel_ml.run("fit")
        child = os.fork()
        if child == 0:
            model("child")
            sys.exit(0)
        os.waitpid(child, 0)
        run.end()
    """
    run_script(tmp_path, script, OTEL_ML_ENDPOINT=sink.address)
    assert sorted(records(sink)) == [("goodbye", ""), ("start", "fit")]
    assert sorted(run["name"] for run in sink.runs) == ["fit", "model"]


WITHIN_A_RUN = """
import os, sys
import otel_ml

def fork():
    child = os.fork()
    if child == 0:
        sys.exit(0)
    os.waitpid(child, 0)
"""


OPENED = "with otel_ml.run('fit'): fork()"


TRACED = "otel_ml.trace(name='fit')(fork)()"


STREAMED = "list(otel_ml.trace(name='fit')(lambda: (yield fork()))())"


@sampled(1)
@pytest.mark.parametrize("within", [OPENED, TRACED, STREAMED], ids=["run", "call", "stream"])
def test_child_does_not_end_its_parent_s_run(tmp_path: Path, sink: Sink, within: str) -> None:
    """A child forked inside a run does not end the run when it exits; the parent does."""
    run_script(tmp_path, WITHIN_A_RUN + within, OTEL_ML_ENDPOINT=sink.address)
    assert [(run["name"], run["otel_ml.outcome"]) for run in sink.runs] == [("fit", "ok")]
