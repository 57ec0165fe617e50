"""A program ends with its own status, and calls in its exit handlers are recorded."""

from pathlib import Path

import pytest

from tests.support.otel_ml.exits import end_often
from tests.support.otel_ml.otlp_sink import Sink, closed_address
from tests.support.otel_ml.scripts import run_script
from tests.support.sampling import at_night, sampled

PROGRAM = """
import numpy, pyarrow
import otel_ml

weights = numpy.ones(32 * 1024 * 1024)
table = pyarrow.table({f"c{number}": numpy.ones(100_000) for number in range(20)})

class BaseEstimator:  # read like an estimator of scikit-learn, which takes long to import
    __module__ = "sklearn.base"

    def __init__(self):
        self.parts = [weights[::2], weights]

model = BaseEstimator()

@otel_ml.trace
def predict(x):
    otel_ml.current_run().log("table", table.slice(0, 10_000))
    return len(model.parts)

for _ in range(30):
    predict(table)
"""


@sampled(1)
@pytest.mark.parametrize("is_there", [True, False], ids=["collector", "no collector"])
def test_status_of_an_exit(sink: Sink, is_there: bool) -> None:
    """A program that ends while NumPy and PyArrow work in the background ends with status 0."""
    assert end_often(PROGRAM, sink.address if is_there else closed_address()) == []


HANDLERS = """
import atexit, multiprocessing.util, os, weakref

class Kept:
    pass

kept = Kept()
for name in ("first", "second"):
    atexit.register(lambda name=name: work(f"atexit, {name}"))
weakref.finalize(kept, lambda: work("finalize"))
multiprocessing.util.Finalize(None, lambda: work("Finalize"), exitpriority=1)

from otel_ml import Client

client = Client("exits")
atexit.register(lambda: work("atexit, after the import"))

@client.trace(name="model")
def work(where):
    return where

work("main")
atexit.register(lambda: work("atexit, after the first call"))
"""
WHERE = {
    *("main", "atexit, first", "atexit, second", "finalize", "Finalize"),
    *("atexit, after the import", "atexit, after the first call"),
}


def test_calls_in_exit_handlers(tmp_path: Path, sink: Sink) -> None:
    """A call in an exit handler is delivered, no matter when the handler was registered."""
    result = run_script(tmp_path, HANDLERS, OTEL_ML_ENDPOINT=sink.address)
    runs = [span for span in sink.spans if span["name"] == "model"]
    assert sorted(span["otel_ml.outputs"].strip('"') for span in runs) == sorted(WHERE)
    assert result.stderr == ""


@at_night
def test_calls_in_exit_handlers_without_collector(tmp_path: Path) -> None:
    """Calls in exit handlers that cannot be delivered are counted in a line about all calls."""
    address = closed_address()
    script = """
        import atexit
        import otel_ml

        @otel_ml.trace(name="model")
        def work(where):
            return where

        atexit.register(lambda: (work("1"), work("2")))
        work("main")
    """
    result = run_script(tmp_path, script, OTEL_ML_ENDPOINT=address)
    assert result.stderr.splitlines()[-1] == (
        f"3 spans could not be delivered to {address}: connection refused; "
        "Client(spool=DIR) keeps them"
    )


@at_night
def test_late_calls_without_collector(tmp_path: Path) -> None:
    """Calls in a handler registered before the import are reported if they are lost."""
    address = closed_address()
    script = """
        import atexit

        atexit.register(lambda: [work(number) for number in range(100)])

        import otel_ml

        @otel_ml.trace(name="model")
        def work(where):
            return where

        work("main")
    """
    result = run_script(tmp_path, script, OTEL_ML_ENDPOINT=address)
    assert result.stderr.splitlines()[-2:] == [
        f"1 span could not be delivered to {address}: connection refused; "
        "Client(spool=DIR) keeps them",
        "1 span that ended after the delivery at exit could not be delivered to "
        f"{address}: connection refused; later ones are only counted",
    ]


def test_first_call_in_an_exit_handler(tmp_path: Path, sink: Sink) -> None:
    """If the first call of all is in a late exit handler, its loss is reported in one line."""
    script = """
        import atexit

        atexit.register(lambda: work(1))

        import otel_ml

        @otel_ml.trace(name="model")
        def work(a):
            return a
    """
    result = run_script(tmp_path, script, OTEL_ML_ENDPOINT=sink.address)
    assert result.stderr.splitlines() == [
        "Telemetry error in trace (RuntimeError): your call is not affected, further errors are "
        "only counted"
    ]
