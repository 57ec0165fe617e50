"""MLflow and pydantic-evals give the results in docs/benchmarks.md for the same items."""

import pytest

from tests.bench.evals_peers import PEERS_PYTHON, measure, rows_of, words_of
from tests.unit.otel_ml.experiments.test_evals_peers import documented


@pytest.mark.parametrize("name", ["mlflow", "pydantic-evals"])
def test_theirs(name: str) -> None:
    """The results of the pinned version of another library are those in the docs."""
    if not PEERS_PYTHON.exists():
        pytest.skip("There is no .venv-evals: make .venv-evals/stamp")
    said = measure(name)["said"]
    assert documented(name) == [*rows_of(name, said), *words_of(name, said)]
