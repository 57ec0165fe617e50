"""Log valid and invalid torch and jax values as metrics, and print the errors of each call."""

import json
import sys
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
import torch

from otel_ml import Client, InvalidMetricError

TAKEN: Final[dict[str, Any]] = {
    "tensor": torch.tensor(0.5),
    "tensor of one": torch.tensor([0.5]),
    "tensor of 1 x 1": torch.tensor([[0.5]]),
    "tensor that learns": torch.tensor([0.5], requires_grad=True),
    "parameter": torch.nn.Parameter(torch.tensor(0.5)),
    "bfloat16": torch.tensor(0.5, dtype=torch.bfloat16),
    "row": torch.tensor([0.5, 1.5, 2.5]),
    "row that learns": torch.tensor([0.5, 1.5], requires_grad=True),
    "row of integers": torch.tensor([1, 2]),
    "list of tensors": [torch.tensor(0.5), torch.tensor([1.5])],
    "array": jnp.float32(0.5),
    "array of one": jnp.array([0.5]),
    "array of 1 x 1": jnp.array([[0.5]]),
    "array of integers": jnp.array([1, 2, 3]),
    "array of bfloat16": jnp.array([0.5, 1.5], dtype=jnp.bfloat16),
    "list of arrays": [jnp.float32(0.5), jnp.array([1.5])],
}
WRONG: Final[dict[str, Any]] = {
    "matrix": torch.ones(2, 3),
    "list of rows": [torch.ones(2)],
    "truth": torch.tensor(True),
    "truths": torch.tensor([True, False]),
    "complex": torch.tensor(1j),
    "sparse": torch.tensor([0.0, 1.0]).to_sparse(),
    "without values": torch.empty(2, device="meta"),
    "matrix of jax": jnp.ones((2, 3)),
    "truth of jax": jnp.array(True),
    "complex of jax": jnp.array(1j),
}


def raised(call: Callable[..., object], *arguments: object) -> str:
    """Return the error message of a call with the given arguments, or an empty string."""
    try:
        call(*arguments)
    except InvalidMetricError as error:
        return f"ValueError: {error}" if isinstance(error, ValueError) else str(error)
    return ""


def log(client: Client) -> dict[str, list[str]]:
    """Log the values for runs and a model, alone and together, and return the errors by name."""
    refused: dict[str, list[str]] = {}
    with client.run("each") as each, client.run("all") as together:
        model = client.model("net", {"layers": 2})

        def refuse(name: str, value: object) -> None:
            refused[name] = [
                raised(each.log_metric, name, value),
                raised(together.log_metrics, {"not logged": 1, name: value}),
                raised(model.log_metrics, {"not logged": 1, name: value}),
            ]

        for name, value in WRONG.items():
            refuse(name, value)
        jax.jit(lambda value: refuse("traced", value))(1.0)  # has no value during tracing
        for name, value in TAKEN.items():
            each.log_metric(name, value, single_value=True)
        together.log_metrics(TAKEN)
        model.log_metrics(TAKEN)
    return refused


if __name__ == "__main__":
    made = Client("metrics")
    told = log(made)
    made.close()
    sys.stdout.write(f"{json.dumps(told)}\n")
