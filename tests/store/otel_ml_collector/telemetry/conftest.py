"""These tests use their own stores, because they change more than their own projects."""

import pytest

from tests.support.otel_ml_collector.stores import Service, Store


@pytest.fixture(scope="module")
def store(own_store: Store) -> Store:
    """Return a separate store, because the collector's metrics cover all projects of a store."""
    return own_store


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """Return a separate service, because the collector's metrics cover all projects of a store."""
    return own_service
