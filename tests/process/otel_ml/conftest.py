"""Fixtures of the SDK's tests."""

from tests.support.otel_ml.fixtures import _no_environment, client, recording, sink

__all__ = ["_no_environment", "client", "recording", "sink"]
