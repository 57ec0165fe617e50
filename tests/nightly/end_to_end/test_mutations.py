"""A collector that is sent broken requests in their thousands."""

from tests.bench.mutated import measure
from tests.support.examples import examples

REQUESTS = examples(20_000, on_commit=500)
MEMORY_MB = 2_000  # merges of the engine come on top of what the bench holds it to


def test_mutated_requests() -> None:
    """Each broken request is answered by OTLP's rules; all that was stored can be read."""
    found = measure(REQUESTS)
    assert found.is_right, found
    assert found.answers.total() == REQUESTS
    assert found.readable > REQUESTS * 0.4
    assert found.peak_mb < MEMORY_MB
