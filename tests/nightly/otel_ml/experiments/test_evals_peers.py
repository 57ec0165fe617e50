"""Slow cases of tests/unit/otel_ml/experiments/test_evals_peers.py."""

from tests.bench.evals_peers import OURS, measure, rows_of, words_of
from tests.unit.otel_ml.experiments.test_evals_peers import documented


def test_ours() -> None:
    """otel-ml's rates, counts, failures, verdicts, intervals and texts are those in the docs."""
    said = measure(OURS)["said"]
    assert documented(OURS) == [*rows_of(OURS, said), *words_of(OURS, said)]
