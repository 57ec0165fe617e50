"""A collector handles thousands of broken requests."""

import pytest

from tests.bench.mutated import measure
from tests.support.examples import examples

pytestmark = pytest.mark.measures

REQUESTS = examples(20_000, on_commit=500)
MEMORY_MB = 2_000  # above the limit of the benchmark, because merges of the engine come on top


def test_mutated_requests() -> None:
    """Each broken request gets a response that follows OTLP, and all stored runs can be read."""
    found = measure(REQUESTS)
    assert found.is_right, found
    assert found.answers.total() == REQUESTS
    assert found.readable > REQUESTS * 0.4
    assert found.peak_mb < MEMORY_MB
