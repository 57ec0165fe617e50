"""The recorded form of values from libraries that tests of a commit do not install.

`tests.nightly.integrations.programs.captured_kinds` makes these values. The unit tests check that
each library has a row.
"""

from typing import Any, Final

_TENSOR: Final = {"type": "torch.Tensor", "device": "cpu"}
_JAX: Final = {"type": "jax.Array", "device": "cpu:0"}
_TENSORFLOW: Final = {"type": "tensorflow.Tensor", "device": "CPU:0"}
_PLOT: Final = "plotly.graph_objs._figure.Figure"
_HEAD: Final = [*range(8)]

# by the library's name in `otel_ml.capture.taker`, then by kind
LIBRARY_KINDS: Final[dict[str, dict[str, Any]]] = {
    "torch": {
        "small": {**_TENSOR, "dtype": "float32", "shape": [2], "values": [1.0, 2.0]},
        "bfloat16": {
            **_TENSOR,
            "dtype": "bfloat16",
            "shape": [2, 2],
            "values": [[1.0, 1.0], [1.0, 1.0]],
        },
        "large": {
            **_TENSOR,
            "dtype": "int64",
            "shape": [20, 30],
            "head": _HEAD,
            "sample": [
                [30 * row + column for column in range(0, 30, 2)] for row in range(0, 20, 2)
            ],
        },
        "sparse": {**_TENSOR, "dtype": "float32", "shape": [2, 2]},
        "meta": {**_TENSOR, "dtype": "float32", "shape": [3], "device": "meta"},
        "nested": {**_TENSOR, "dtype": "float32", "shape": [2, None], "nested": True},
        "list": [
            {**_TENSOR, "dtype": "float32", "shape": [3], "device": "meta"},
            {**_TENSOR, "dtype": "int64", "shape": [], "values": 1},
        ],
    },
    "jaxlib": {
        "array": {**_JAX, "dtype": "float32", "shape": [2], "values": [1.0, 2.0]},
        "large array": {**_JAX, "dtype": "int32", "shape": [20, 30], "head": _HEAD},
        "array without dimensions": {**_JAX, "dtype": "float32", "shape": [], "values": 0.5},
    },
    "matplotlib": {
        "figure": {
            "type": "matplotlib.figure.Figure",
            "attributes": {"size": [200, 150], "axes": 2},
        },
    },
    "plotly": {
        "plot": {"type": _PLOT, "attributes": {"traces": 2, "kinds": ["scatter", "bar"]}},
        "plot without traces": {"type": _PLOT, "attributes": {"traces": 0, "kinds": []}},
    },
    "tensorflow": {
        "eager": {**_TENSORFLOW, "dtype": "float32", "shape": [2], "values": [1.0, 2.0]},
        "large eager": {**_TENSORFLOW, "dtype": "int32", "shape": [20, 30], "head": _HEAD},
        "eager without dimensions": {
            **_TENSORFLOW,
            "dtype": "int32",
            "shape": [],
            "values": 3,
        },
        "strings": {**_TENSORFLOW, "dtype": "string", "shape": [2]},
        "variable": {**_TENSORFLOW, "dtype": "float32", "shape": [2]},
        "sparse tensor": {"type": "tensorflow.Tensor", "dtype": "float32", "shape": [1, 2]},
        "ragged": {"type": "tensorflow.Tensor", "dtype": "int32", "shape": [2, None]},
    },
}
