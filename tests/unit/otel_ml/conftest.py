"""Fixtures for the SDK tests."""

from tests.support.otel_ml.fixtures import _no_environment, client, recording

__all__ = ["_no_environment", "client", "recording"]
