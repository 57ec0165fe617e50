"""Fixtures of the collector's tests."""

from collections.abc import Iterator

import pytest

from tests.otel_ml_collector.stores import Service, Store, open_service, open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store for one module; tests keep apart by their projects."""
    with open_store(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The whole HTTP application over a store, for one module that opens no other store."""
    with open_service(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project of the test's own."""
    name: str = request.node.name
    return name
