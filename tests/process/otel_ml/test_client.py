"""Cases of tests/unit/otel_ml/test_client.py that start processes."""

import pytest

from otel_ml import Client
from tests.support.otel_ml.otlp_sink import Sink


def test_empty_key_is_none(monkeypatch: pytest.MonkeyPatch, sink: Sink) -> None:
    """An empty API key counts as no key."""
    monkeypatch.setenv("OTEL_ML_API_KEY", "")
    client = Client("shop", "", sink.address)
    client.trace(lambda: 1)()
    assert client.flush()
    client.close()
    assert "authorization" not in sink.requests[0].headers
