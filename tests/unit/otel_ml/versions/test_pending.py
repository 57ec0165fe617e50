"""Versions of functions whose models are still being read."""

import threading
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from otel_ml import Client, testing
from otel_ml_collector.cli.explain import explain
from tests.support.otel_ml.recording import Recording, attributes


class Module:
    """It is read like a module of PyTorch, as soon as its gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def parameters(self) -> list[Any]:
        return []

    named_modules = modules = parameters

    def state_dict(self) -> dict[str, Any]:
        self.gate.wait(20)
        return {}


Module.__module__ = "torch.nn.modules.module"


@pytest.fixture
def model() -> Iterator[Module]:
    """A model that nobody has read; its gate is opened at the end."""
    made = Module()
    yield made
    made.gate.set()


def test_recording_waits_for_weights(model: Module) -> None:
    """Inside `record`, runs are there although the weights are read after the call."""
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
    assert "weights that were not read within the time that a flush may take" in unseen


def test_explanation_waits_for_weights(model: Module) -> None:
    """`otel-ml doctor FILE.py:F` explains a function that reads a model."""
    client = Client("shop")

    @client.trace
    def predict(value: int) -> int:
        return value if model else 0

    threading.Timer(0.1, model.gate.set).start()
    assert explain(predict)["digest"]
