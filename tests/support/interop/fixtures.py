"""Fixtures: the SDK versions, and servers that receive spans."""

from collections.abc import Iterator

import pytest

from tests.support.interop.environments import SDKS
from tests.support.interop.receiver import Receiver, open_receiver


@pytest.fixture(scope="module", params=SDKS)
def sdk(request: pytest.FixtureRequest) -> str:
    """Return the environment of a supported SDK version."""
    name: str = request.param
    return name


@pytest.fixture
def theirs() -> Iterator[Receiver]:
    """Open a receiver that acts as another vendor's backend."""
    with open_receiver() as receiver:
        yield receiver


@pytest.fixture
def ours() -> Iterator[Receiver]:
    """Open a receiver that acts as the collector of an otel-ml client."""
    with open_receiver() as receiver:
        yield receiver
