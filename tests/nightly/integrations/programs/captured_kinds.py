"""Print the captured form of each kind of value of one library: `python -m … jaxlib`."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from otel_ml.redaction import Redaction

Values = dict[str, Any]


def make_tensors() -> Values:
    """Return PyTorch tensors with each layout."""
    import torch

    return {
        "small": torch.tensor([1.0, 2.0]),
        "bfloat16": torch.ones(2, 2, dtype=torch.bfloat16, requires_grad=True),
        "large": torch.arange(600).reshape(20, 30),
        "sparse": torch.eye(2).to_sparse(),
        "meta": torch.empty(3, device="meta"),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "list": [torch.empty(3, device="meta"), torch.tensor(1)],
    }


def make_jax_arrays() -> Values:
    """Return JAX arrays."""
    import jax.numpy as jnp

    return {
        "array": jnp.array([1.0, 2.0]),
        "large array": jnp.arange(600).reshape(20, 30),
        "array without dimensions": jnp.float32(0.5),
    }


def make_matplotlib_figures() -> Values:
    """Return a Matplotlib figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3), dpi=50)
    figure.subplots(1, 2)
    return {"figure": figure}


def make_plots() -> Values:
    """Return plotly figures."""
    import plotly.graph_objects as go

    plot = go.Figure([go.Scatter(x=[1, 2], y=[3, 4]), go.Bar(x=[1], y=[2])])
    return {"plot": plot, "plot without traces": go.Figure()}


def make_tensorflow_tensors() -> Values:
    """Return TensorFlow tensors."""
    import tensorflow as tf  # only in .venv-tensorflow

    return {
        "eager": tf.constant([1.0, 2.0]),
        "large eager": tf.reshape(tf.range(600), (20, 30)),
        "eager without dimensions": tf.constant(3),
        "strings": tf.constant(["a", "b"]),
        "variable": tf.Variable([1.0, 2.0]),
        "sparse tensor": tf.sparse.from_dense([[0.0, 1.0]]),
        "ragged": tf.ragged.constant([[1, 2], [3]]),
    }


MAKERS: Final[Mapping[str, Callable[[], Values]]] = {
    "torch": make_tensors,
    "jaxlib": make_jax_arrays,
    "matplotlib": make_matplotlib_figures,
    "plotly": make_plots,
    "tensorflow": make_tensorflow_tensors,
}


def described(value: object) -> Any:
    """Return the captured form of a value, parsed from JSON."""
    captured = Redaction().capture({"x": value})
    text = captured if isinstance(captured, str) else captured.encode().text
    return json.loads(text)["x"]


if __name__ == "__main__":
    values = MAKERS[sys.argv[1]]()
    sys.stdout.write(json.dumps({name: described(value) for name, value in values.items()}))
