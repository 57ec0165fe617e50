"""Stores of their own: what these tests run acts on more than their projects."""

import pytest

from tests.support.otel_ml_collector.stores import Service, Store


@pytest.fixture(scope="module")
def store(own_store: Store) -> Store:
    """Alert rules are evaluated in every project of a store."""
    return own_store


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """Alert rules are evaluated in every project of a store."""
    return own_service
