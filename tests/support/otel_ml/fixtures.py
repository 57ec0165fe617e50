"""Fixtures of the SDK's tests."""

from collections.abc import Iterator

import pytest

from otel_ml import Client
from tests.support.otel_ml.otlp_sink import Sink, open_sink
from tests.support.otel_ml.recording import Recording


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all variables that configure the SDK; tests set those they need."""
    for variable in (
        "OTEL_ML_API_KEY",
        "OTEL_ML_ENDPOINT",
        "OTEL_ML_PROJECT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_SDK_DISABLED",
        "OTEL_TRACES_SAMPLER",
    ):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def recording() -> Iterator[Recording]:
    """Return a new client for each test."""
    recording = Recording()
    yield recording
    recording.client.close()


@pytest.fixture
def client(recording: Recording) -> Client:
    return recording.client


@pytest.fixture
def sink() -> Iterator[Sink]:
    with open_sink() as sink:
        yield sink
