"""Fixtures for the tests of queries."""

import pytest

from tests.support.otel_ml_collector.query.timeline import Arrivals, Timeline
from tests.support.otel_ml_collector.stores import Store


@pytest.fixture(scope="module")
def store(own_store: Store) -> Store:
    """Return a separate store: a timeline stamps arrivals in the future, which deletions miss."""
    return own_store


@pytest.fixture(scope="module")
def arrivals(store: Store) -> Arrivals:
    """Return the store to which all timelines write."""
    return Arrivals(store)


@pytest.fixture
def line(arrivals: Arrivals, project: str) -> Timeline:
    """Return a project that only this test uses, with a separate time."""
    return Timeline(arrivals, project)
