"""A program that ends while the weights of a PyTorch model are read ends with its own status."""

import pytest

from tests.support.folders import ROOT
from tests.support.otel_ml.exits import end_often
from tests.support.otel_ml.otlp_sink import closed_address, open_sink

PROGRAM = """
import torch
import otel_ml

weights = torch.nn.ParameterList(
    [torch.nn.Parameter(torch.rand(16 * 1024 * 1024), requires_grad=False) for _ in range(8)]
)

@otel_ml.trace
def predict(x):
    return x + (1 if weights is None else 0)

predict(1)
"""


@pytest.mark.parametrize("is_there", [True, False], ids=["collector", "no collector"])
def test_status_of_an_exit(is_there: bool) -> None:
    """A program that ends while PyTorch works in the background ends with status 0."""
    python = str(ROOT / ".venv-integrations" / "bin" / "python")
    with open_sink() as sink:
        assert end_often(PROGRAM, sink.address if is_there else closed_address(), python) == []
