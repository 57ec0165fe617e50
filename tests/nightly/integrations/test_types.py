"""Values of frameworks that CI does not install are captured in the documented form.

``pytest tests/nightly/integrations/test_types.py -k table -s`` prints the table.
"""

import sys
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml.reader import Reader
from tests.nightly.integrations.environment import ask
from tests.nightly.integrations.test_pages import run_blocks
from tests.support.collector import CollectorProcess
from tests.support.otel_ml.types.kept import Row, write_table

TAKEN: Final[dict[str, float | list[float]]] = {
    **dict.fromkeys(["tensor", "tensor of one", "tensor of 1 x 1", "tensor that learns"], 0.5),
    **dict.fromkeys(["parameter", "bfloat16", "array", "array of one", "array of 1 x 1"], 0.5),
    "row that learns": [0.5, 1.5],
    "list of tensors": [0.5, 1.5],
    "array of bfloat16": [0.5, 1.5],
    "list of arrays": [0.5, 1.5],
    "row": [0.5, 1.5, 2.5],
    "row of integers": [1.0, 2.0],
    "array of integers": [1.0, 2.0, 3.0],
}
# The part of each value that the error message names.
WRONG: Final = {
    "matrix": "of type torch.Tensor with shape (2, 3)",
    "list of rows": "of type torch.Tensor with shape (2,)",
    "truth": "of type torch.Tensor with shape ()",
    "truths": "True",
    "complex": "of type torch.Tensor with shape ()",
    "sparse": "of type torch.Tensor with shape (2,)",
    "without values": "of type torch.Tensor with shape (2,)",
    "matrix of jax": "of type jaxlib._jax.ArrayImpl with shape (2, 3)",
    "truth of jax": "of type jaxlib._jax.ArrayImpl with shape ()",
    "complex of jax": "of type jaxlib._jax.ArrayImpl with shape ()",
    "traced": "of type jax._src.interpreters.partial_eval.DynamicJaxprTracer with shape ()",
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the program, and return its output."""
    found: dict[str, Any] = ask("typed_values", folder=tmp_path_factory.mktemp("types"))
    return found


def test_table(told: dict[str, Any]) -> None:
    """Tensors of every dtype and layout are restored; unsupported values are recorded as text."""
    rows = [Row(**row) for row in told["rows"]]
    sys.stdout.write(f"\n{write_table(rows)}\n{len(rows)} values\n")
    assert [row for row in rows if not row.is_true] == []
    assert len(rows) >= 60


def test_state_is_a_file_of_safetensors(told: dict[str, Any]) -> None:
    """A state_dict is stored as exactly the file that safetensors writes."""
    assert told["safetensors"] == {"same bytes": True, "read": True, "same document": True}


def test_methods_of_libraries(told: dict[str, Any]) -> None:
    """A method is named after its class, and OpenAI's "not given" values are not inputs."""
    assert told["named"] == [
        ["LogisticRegression.predict", {"X": [[0.5]]}],
        [
            "Completions.create",
            {
                "messages": [],
                "model": "gpt",
                "extra_headers": None,
                "extra_query": None,
                "extra_body": None,
            },
        ],
    ]


def test_figures_are_pictures(tmp_path: Path) -> None:
    """Figures of matplotlib and plotly are restored as images."""
    found = ask("typed_values", "pictures", folder=tmp_path)["pictures"]
    assert found == [
        {"type": "otel_ml.types.Image", "of": "matplotlib.figure.Figure", "size": [200, 150]},
        {"type": "otel_ml.types.Image", "of": "matplotlib.axes._axes.Axes", "size": [200, 150]},
        {
            "type": "otel_ml.types.Image",
            "of": "plotly.graph_objs._figure.Figure",
            "size": [700, 500],
        },
        {"drawn twice": "the same bytes"},
    ]


def test_block_of_the_docs(collector: CollectorProcess, tmp_path: Path) -> None:
    """The docs' block about safetensors runs."""
    assert run_blocks("data.md", collector, tmp_path) == []


def test_metrics(collector: CollectorProcess, tmp_path: Path) -> None:
    """Tensors and arrays are metrics: numbers with one element, lists with one dimension.

    Other shapes raise a ValueError that names metric and value, and nothing is logged.
    """
    refused = ask("metric_values", folder=tmp_path, OTEL_ML_ENDPOINT=collector.endpoint)
    wanted = "expected a number or a list of numbers"
    assert refused == {
        name: [f"ValueError: Invalid value {value} of metric {name!r}: {wanted}"] * 3
        for name, value in WRONG.items()
    }
    with Reader("metrics", endpoint=collector.endpoint) as reader:
        logged = {run.model: run.metrics for run in reader.runs()}
    assert logged == {"each": TAKEN, "all": TAKEN}
    [version] = collector.get("/projects/metrics/models/net/versions")["versions"]
    assert version["metrics"] == TAKEN
