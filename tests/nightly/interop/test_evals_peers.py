"""MLflow and pydantic-evals say of the same items and failures what docs/benchmarks.md says."""

import pytest

from tests.bench.evals_peers import PEERS_PYTHON, measure, rows_of, words_of
from tests.unit.otel_ml.experiments.test_evals_peers import documented


@pytest.mark.parametrize("name", ["mlflow", "pydantic-evals"])
def test_theirs(name: str) -> None:
    """What the pinned version of another library says is what stands in the docs."""
    if not PEERS_PYTHON.exists():
        pytest.skip("There is no .venv-evals: make .venv-evals/stamp")
    said = measure(name)["said"]
    assert documented(name) == [*rows_of(name, said), *words_of(name, said)]
