"""Fixtures for both kinds of store: embedded, and over the network (a simulated server)."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from otel_ml_collector.store.migrations import connect
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.writer import Writer
from tests.support.clickhouse import RealServer, Server, clickhouse
from tests.support.collector import CollectorProcess, running
from tests.support.otel_ml_collector.stores import Store

# The address of an existing server for the tests of the network store.
STORE: Final = "OTEL_ML_TEST_STORE"


@dataclass(frozen=True, slots=True)
class Road:
    """A way to a separate store.

    Attributes:
        name: embedded or network.
        run: Runs a collector on it; several collectors can share one network store.
    """

    name: str
    run: Callable[[], AbstractContextManager[CollectorProcess]]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server for all tests; each uses a separate database.

    With `make test-clickhouse` it is the given server, otherwise a stand-in.
    """
    if address := os.environ.get(STORE):
        real = RealServer(address)
        try:
            yield real
        finally:
            real.drop_databases()
        return
    with clickhouse(tmp_path_factory.mktemp("server") / "data") as started:
        yield started


def make_road(name: str, folder: Path, server: Server) -> Road:
    """Make a road to an empty store."""
    if name == "embedded":
        return Road(name, lambda: running(folder / "data"))
    url = server.url(server.make_database())
    return Road(name, lambda: running(folder / "none", "--store", url))


@pytest.fixture(scope="module", params=["embedded", "network"])
def road(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server: Server
) -> Road:
    """Return each kind of road once, to a store that only this module uses."""
    return make_road(request.param, tmp_path_factory.mktemp("road"), server)


@pytest.fixture(scope="module")
def collector(road: Road) -> Iterator[CollectorProcess]:
    """Run a collector on each road for one module; each test uses a separate project."""
    with road.run() as process:
        yield process


@pytest.fixture(params=["embedded", "network"])
def own_collector(
    request: pytest.FixtureRequest, tmp_path: Path, server: Server
) -> Iterator[CollectorProcess]:
    """Run a collector on each road for one test that restarts it."""
    with make_road(request.param, tmp_path, server).run() as process:
        yield process


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    """Open an empty network store in this process."""
    connections = connect(server.url(server.make_database()))
    try:
        yield Store(connections, Writer(connections), Reader(connections))
    finally:
        connections.close()


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """Return a project name that only this test uses."""
    name: str = request.node.name
    return name
