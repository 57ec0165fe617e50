"""Pickles of traced functions and clients, and the objects they unpickle to.

Tests in tests/process/interop/test_pickles.py run such functions in other processes.
"""

import gc
import pickle
import threading
from collections.abc import Callable
from typing import Any

import cloudpickle  # type: ignore[import-untyped]  # it has no types
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client, Judge
from otel_ml.outlet import Route
from otel_ml.pickling import can_pickle
from otel_ml.wrappers import traced_of
from tests.support.otel_ml.recording import Recording, inputs, outputs


def send(value: Any) -> Any:
    """Pickle a value as if it were sent to another process, and unpickle it."""
    return pickle.loads(cloudpickle.dumps(value))  # noqa: S301 - our own bytes


def test_unpickled_function_is_recorded_by_its_client(recording: Recording) -> None:
    """An unpickled function is recorded like the original if its client is in the process."""

    @recording.client.trace(tags={"a": 1})
    def model(x: int) -> int:
        return x + 1

    assert send(model)(1) == 2
    run = recording.run()
    assert (run.name, inputs(run), outputs(run)) == (
        "test_unpickled_function_is_recorded_by_its_client.model",
        {"x": 1},
        2,
    )


def test_version_needs_no_source(recording: Recording) -> None:
    """An unpickled function has the same definition as the original, with source and params."""
    lock = threading.Lock()

    @recording.client.trace(params=lambda: {"weight": 2, "lock": str(type(lock))})
    def model(x: int) -> int:
        return x * 2

    there = send(model)
    home, away = traced_of(model), traced_of(there)
    assert home is not None
    assert away is not None
    assert away.definition == home.definition
    assert away.definition.source is not None
    assert away.definition.params == {"weight": 2, "lock": "<class '_thread.lock'>"}


def test_function_that_calls_itself_comes_back(recording: Recording) -> None:
    """A traced recursive function can be pickled, and so can the bare function in it."""

    @recording.client.trace
    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    bare = factorial.__wrapped__  # type: ignore[attr-defined]  # as functools.wraps sets it
    assert (send(factorial)(4), send(bare)(4)) == (24, 24)
    assert len(recording.runs()) == 4 + 3


def test_judge_that_cannot_be_pickled_stays_behind(
    recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    """A judge that cannot be pickled is left out; the function's other judges still score."""
    lock = threading.Lock()

    def locked(outputs: int) -> float:
        with lock:
            return 0.0

    judges = Judge("behind", "", locked), Judge("along", "", lambda outputs: 1.0)
    model = recording.client.assess(*judges)(lambda x: x)
    assert send(model)(1) == 1
    attributes = recording.run().attributes or {}
    assert attributes["otel_ml.score.along"] == 1.0
    assert "otel_ml.score.behind" not in attributes
    assert "Judge behind cannot be pickled" in caplog.text


def test_judge_that_calls_its_function_comes_along(recording: Recording) -> None:
    """A judge that calls its own judged function is pickled together with that function."""

    def ask(outputs: int) -> float:
        return float(model.__wrapped__(1) == outputs)  # type: ignore[attr-defined]  # as above

    @recording.client.assess(Judge("again", "", ask))
    def model(x: int) -> int:
        return x

    assert send(model)(1) == 1
    assert (recording.run().attributes or {})["otel_ml.score.again"] == 1.0


def test_client_comes_back_with_its_judges(recording: Recording) -> None:
    """An unpickled client has the same project, and the judges that were added to it."""
    tag = recording.client.add_judge(Judge("same", "", lambda outputs: 1.0))
    again = send(recording.client)
    assert again.project == "shop"
    assert again.assess(tag)(lambda: 1)() == 1
    with again.run("by hand"):
        pass
    assert {run.name for run in recording.runs()} == {
        "test_client_comes_back_with_its_judges.<lambda>",
        "by hand",
    }


def test_key_is_never_pickled() -> None:
    """A pickle of a client or traced function does not contain its API key."""
    client = Client("with a key", "key-that-is-secret", "http://127.0.0.1:9")
    model = client.trace(lambda x: x)
    assert b"key-that-is-secret" not in cloudpickle.dumps([client, model])


def unpicklable() -> Callable[[str], str]:
    """Return a `redact` function that no pickler can write."""
    lock = threading.Lock()
    return lambda text: f"{text}{lock.locked()}"


def forgotten(make: Callable[[], Client]) -> bytes:
    """Return a pickle of a traced function whose client is gone, as in another process."""
    pickled = bytes(cloudpickle.dumps(make().trace(lambda x: x + 1)))
    gc.collect()
    return pickled


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Client("other-1", exporter=InMemorySpanExporter()), "a Client of this project"),
        (lambda: Client("other-2", "secret"), "OTEL_ML_API_KEY"),
        (lambda: Client("other-3", redact=unpicklable()), "a Client of this project"),
    ],
    ids=["exporter", "key", "redact"],
)
def test_call_that_cannot_be_recorded_is_made(
    make: Callable[[], Client], expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A call that its process cannot record still works, and a log line names what is missing."""
    function = pickle.loads(forgotten(make))  # noqa: S301 - our own bytes
    assert function(1) == 2
    assert f"expected {expected} in this process" in caplog.text


def test_key_of_the_other_process_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unpickled function of a client with a key uses the API key of its own process."""
    pickled = forgotten(lambda: Client("other-4", "secret", "http://127.0.0.1:9", spool="spool"))
    monkeypatch.setenv("OTEL_ML_API_KEY", "theirs")
    traced = traced_of(pickle.loads(pickled))  # noqa: S301 - our own bytes
    assert traced is not None
    assert traced.recorder.enabled
    assert traced.recorder.route == Route("other-4", "theirs", "http://127.0.0.1:9", spool="spool")


def test_trial_is_made_with_the_pickler_at_work() -> None:
    """`can_pickle` tries the running pickler: cloudpickle can write a lambda, pickle cannot."""

    class Asks:
        def __getstate__(self) -> dict[str, bool]:
            return {"can": can_pickle(lambda: 1)}

    asks = Asks()
    assert cloudpickle.loads(cloudpickle.dumps(asks)).can is True
    assert can_pickle(lambda: 1) is False
    assert can_pickle(len) is True
