"""Cases of tests/unit/otel_ml_collector/receive/test_grpc.py that start processes."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from otel_ml_collector.errors import BadSetting
from otel_ml_collector.receive.otlp import make_server
from tests.support.otel_ml_collector.receive.senders import Backend, open_backend
from tests.unit.otel_ml_collector.receive.test_grpc import let_in


@pytest.fixture
def backend() -> Iterator[Backend]:
    with open_backend() as opened:
        yield opened


def test_taken_port(backend: Backend) -> None:
    """If the port is taken, the error is one line."""

    async def listen(address: str) -> None:
        make_server(backend.pipeline, backend.telemetry, address, let_in)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(BadSetting, match=f"^The gRPC address {address} cannot be used"):
            asyncio.run(listen(address))
