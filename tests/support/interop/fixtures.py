"""Fixtures: the SDK versions, and servers that spans are sent to."""

from collections.abc import Iterator

import pytest

from tests.support.interop.environments import SDKS
from tests.support.interop.receiver import Receiver, open_receiver


@pytest.fixture(scope="module", params=SDKS)
def sdk(request: pytest.FixtureRequest) -> str:
    """The environment of an SDK version that we run with."""
    name: str = request.param
    return name


@pytest.fixture
def theirs() -> Iterator[Receiver]:
    """The backend of somebody else."""
    with open_receiver() as receiver:
        yield receiver


@pytest.fixture
def ours() -> Iterator[Receiver]:
    """The collector that a client of ours names."""
    with open_receiver() as receiver:
        yield receiver
