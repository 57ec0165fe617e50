"""Fixtures of the tests of questions."""

import pytest

from tests.support.otel_ml_collector.query.timeline import Arrivals, Timeline
from tests.support.otel_ml_collector.stores import Store


@pytest.fixture(scope="module")
def store(own_store: Store) -> Store:
    """A store of its own: a timeline stamps arrivals ahead of the clock, which deletions miss."""
    return own_store


@pytest.fixture(scope="module")
def arrivals(store: Store) -> Arrivals:
    """Where everything arrives."""
    return Arrivals(store)


@pytest.fixture
def line(arrivals: Arrivals, project: str) -> Timeline:
    """A project of the test's own, at a time of its own."""
    return Timeline(arrivals, project)
