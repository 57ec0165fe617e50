"""Versions of functions whose models are still being read."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from otel_ml import Client, testing
from otel_ml_collector.cli.explain import explain
from tests.support.otel_ml.recording import Recording, attributes


class Weight:
    """A parameter of 8 MB with a counter of in-place changes."""

    _version = 0
    device = SimpleNamespace(type="cpu")

    def data_ptr(self) -> int:
        return 1

    def numel(self) -> int:
        return 2_000_000

    def element_size(self) -> int:
        return 4


class Module:
    """A model that is read like a PyTorch module once its gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.weight = Weight()

    def parameters(self) -> list[Any]:
        return [self.weight]

    def modules(self) -> list[Any]:
        return []

    named_modules = modules

    def state_dict(self) -> dict[str, Any]:
        self.gate.wait(20)
        return {}


Module.__module__ = "torch.nn.modules.module"


@pytest.fixture
def model() -> Iterator[Module]:
    """Yield a model whose weights are not read yet, and open its gate at the end."""
    made = Module()
    yield made
    made.gate.set()


def test_recording_waits_for_weights(model: Module) -> None:
    """Inside `record`, reading runs waits for weights that are read after the call."""
    client = Client("shop")

    @client.trace
    def predict(value: int) -> int:
        return value if model else 0

    with testing.record(client) as records:
        predict(7)
        threading.Timer(0.1, model.gate.set).start()
        assert records.run.outputs == 7


def test_flush_sends_runs_without_weights(model: Module) -> None:
    """A flush waits 2 s for weights. Then it sends the run with the version of the code."""
    recording = Recording()

    @recording.client.trace
    def predict(value: int) -> int:
        return value if model else 0

    predict(7)
    recording.client.flush(10)
    run = attributes(recording.run())
    assert orjson.loads(run["otel_ml.capture"]) == {"version": ["weights_pending"]}
    assert run["otel_ml.model.version"]
    unseen = orjson.loads(run["otel_ml.model.definition"])["unseen"]
    assert "weights of `model`, which were not read in time" in unseen


def test_weights_that_change_before_they_are_read(model: Module) -> None:
    """A call whose weights changed before they were read has no version that includes them."""
    client = Client("shop")

    @client.trace
    def predict(value: int) -> int:
        return value if model else 0

    with testing.record(client) as records:
        predict(7)
        model.weight._version += 1
        predict(8)
        model.gate.set()
        changed, same = records.runs
    assert orjson.loads(changed.attributes["otel_ml.capture"]) == {"version": ["weights_changed"]}
    assert "otel_ml.capture" not in same.attributes
    versions = [run.attributes["otel_ml.model.version"] for run in (changed, same)]
    assert versions[0] != versions[1]


def test_explanation_waits_for_weights(model: Module) -> None:
    """`otel-ml doctor FILE.py:F` explains a function that reads a model."""
    client = Client("shop")

    @client.trace
    def predict(value: int) -> int:
        return value if model else 0

    threading.Timer(0.1, model.gate.set).start()
    assert explain(predict)["digest"]


def test_first_calls_at_once_compute_one_version() -> None:
    """Threads that make the first calls at the same time compute the definition once."""
    computed: list[str] = []

    def see(frame: Any, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_name == "define" and "versions" in code.co_filename:
            computed.append(threading.current_thread().name)

    recording = Recording()
    barrier = threading.Barrier(8)

    @recording.client.trace
    def predict(value: int) -> int:
        barrier.wait(20)
        return value

    threading.setprofile(see)
    try:
        threads = [threading.Thread(target=predict, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    finally:
        threading.setprofile(None)
    assert len(computed) == 1
    assert len({attributes(run)["otel_ml.model.version"] for run in recording.runs()}) == 1
    assert len(recording.runs()) == 8
