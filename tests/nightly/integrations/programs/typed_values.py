"""Print the captured form of values of torch, jax, matplotlib, plotly and openai as table rows."""

import base64
import json
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import openai
import plotly.graph_objects as go
import safetensors.torch
import torch
from matplotlib.figure import Figure
from openai.resources.chat.completions import Completions
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sklearn.linear_model import LogisticRegression

from otel_ml import Client
from otel_ml.types import dump, load, wrap
from tests.support.otel_ml.types.kept import Sample, rows_of
from tests.support.otel_ml.types.trips import same

_TORCH: Final = (
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "bfloat16", "float32", "float64", "complex32", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"),
)
_JAX: Final = (
    *("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32"),
    *("float64", "complex64", "complex128", "float8_e4m3fn", "int4"),
)


def same_tensor(left: Any, right: Any) -> bool:
    """Return whether tensors have equal dtype, layout, shape, gradient flag and bits."""
    if (left.dtype, left.layout, left.shape) != (right.dtype, right.layout, right.shape):
        return False
    if left.requires_grad != right.requires_grad:
        return False
    if left.layout is torch.sparse_coo and left.is_coalesced() != right.is_coalesced():
        return False
    if left.layout is not torch.strided:
        left, right = left.to_dense(), right.to_dense()
    return bool(_bits(left) == _bits(right))


def _bits(tensor: Any) -> Any:
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return plain.view(torch.uint8).tolist() if plain.numel() else []


def same_state(left: Any, right: Any) -> bool:
    """Return whether dicts have the same names in the same order, with the same tensors."""
    return [*left] == [*right] and all(
        type(left[name]) is type(right[name]) and same_tensor(left[name], right[name])
        for name in right
    )


def same_jax(left: Any, right: Any) -> bool:
    """Return whether arrays of jax have equal dtype, shape and bits."""
    left, right = np.asarray(left), np.asarray(right)
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and bool(left.tobytes() == right.tobytes())
    )


def _optimizer() -> Any:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def same_tree(left: Any, right: Any) -> bool:
    """Return whether nested dicts and lists with tensors are the same."""
    if isinstance(right, torch.Tensor):
        return same_tensor(left, right)
    if isinstance(right, dict):
        return [*left] == [*right] and all(same_tree(left[key], right[key]) for key in right)
    if isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same_tree, left, right))
    return same(left, right)


def _model() -> Any:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


def _torch() -> Iterator[Sample]:
    def of(name: str) -> Callable[[], Any]:
        return lambda: torch.arange(6).reshape(2, 3).to(getattr(torch, name))

    for name in _TORCH:
        yield Sample(f"torch: tensor of {name}", of(name), equals=same_tensor)
    csr = torch.tensor([[0, 1.5], [2, 0]])
    tensors: dict[str, Callable[[], Any]] = {
        "without dimensions": lambda: torch.tensor(3.5),
        "without elements": lambda: torch.empty(0, 3),
        "with gaps": lambda: torch.arange(12).reshape(3, 4).T[::2],
        "with NaN and infinities": lambda: torch.tensor([float("nan"), float("inf")]),
        "conjugated": lambda: torch.tensor([1 + 2j]).conj(),
        "that requires a gradient": lambda: torch.ones(2, requires_grad=True),
        "of a graph": lambda: torch.ones(2, requires_grad=True) * 2,
        "parameter": lambda: torch.nn.Parameter(torch.ones(2)),
        "frozen parameter": lambda: torch.nn.Parameter(torch.ones(2), requires_grad=False),
        "sparse COO": csr.to_sparse,
        "sparse COO, not coalesced": lambda: torch.sparse_coo_tensor(
            [[0, 0], [1, 1]], [1.0, 2.0], (2, 2), check_invariants=True
        ),
        "sparse COO of bfloat16": lambda: csr.bfloat16().to_sparse(),
        "sparse CSR": csr.to_sparse_csr,
        "sparse CSC": csr.to_sparse_csc,
        "sparse BSR": lambda: csr.to_sparse_bsr((1, 1)),
        "sparse BSC": lambda: csr.to_sparse_bsc((1, 1)),
    }
    for name, make in tensors.items():
        yield Sample(f"torch: tensor {name}", make, equals=same_tensor)
    half = {"a": torch.ones(2, dtype=torch.bfloat16), "b": torch.ones(1)}
    states: dict[str, Callable[[], Any]] = {
        "state_dict": lambda: OrderedDict(_model().state_dict()),
        "named parameters": lambda: dict(_model().named_parameters()),
        "state_dict of bfloat16 and float32": lambda: half,
    }
    for name, make in states.items():
        yield Sample(f"torch: {name}", make, equals=same_state)
    yield Sample("torch: state of an optimizer", _optimizer, equals=same_tree)
    yield Sample("torch: tensors in a list", lambda: [torch.ones(2)], equals=same_tree)
    yield Sample("torch: size", lambda: torch.Size([1, 2]), (1, 2), "a tuple")
    for name, make in {
        "tensor on meta": lambda: torch.zeros(2, device="meta"),
        "nested tensor": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "module": _model,
        "dtype": lambda: torch.float32,
        "device": lambda: torch.device("cpu"),
    }.items():
        yield Sample(f"torch: {name}", make, None, "text")


def _jax() -> Iterator[Sample]:
    def of(name: str) -> Callable[[], Any]:
        def make() -> Any:
            with jax.enable_x64(True):
                return jnp.arange(6).reshape(2, 3).astype(name)

        return make

    for name in _JAX:
        yield Sample(f"jax: array of {name}", of(name), equals=same_jax)
    yield Sample("jax: array without dimensions", lambda: jnp.float32(2), equals=same_jax)
    yield Sample("jax: key", lambda: jax.random.key(0), None, "text")
    for name in ("bfloat16", "float8_e5m2", "int4"):
        yield Sample(
            f"numpy: array of {name}",
            lambda name=name: np.arange(3).astype(getattr(ml_dtypes, name)),  # type: ignore[misc]
        )


def draw() -> Figure:
    """Return a figure with a line."""
    figure = Figure(figsize=(4, 3), dpi=50)
    figure.subplots().plot([1, 2, 4])
    return figure


def _pictures() -> list[dict[str, Any]]:
    """Return the restored form of figures, and whether drawing one twice gives the same bytes."""
    figure = draw()
    plot = go.Figure(go.Scatter(x=[1, 2], y=[3, 4]))
    found = []
    for value in (figure, figure.axes[0], plot):
        form = json.loads(dump(wrap(value)))
        image = load(form).data
        found.append({"type": form["type"], "of": form["params"]["of"], "size": image.size})
    again = dump(wrap(draw())) == dump(wrap(draw()))
    return [*found, {"drawn twice": "the same bytes" if again else "other bytes"}]


def _safetensors() -> dict[str, Any]:
    """Return whether the safetensors file equals the library's, and whether that can read it."""
    state = _model().state_dict()
    raw = base64.b64decode(json.loads(dump(wrap(state)))["params"]["data"])
    return {
        "same bytes": raw == safetensors.torch.save(dict(state)),
        "read": same_state({name: safetensors.torch.load(raw)[name] for name in state}, state),
        "same document": dump(wrap(state)) == dump(wrap(_model().state_dict())),
    }


def _named() -> list[Any]:
    """Return the recorded names and inputs of a scikit-learn and an OpenAI method."""
    spans = InMemorySpanExporter()
    client = Client("named", exporter=spans)
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    client.trace(model.predict)([[0.5]])
    offline = openai.OpenAI(api_key="none", base_url="http://127.0.0.1:9", max_retries=0)
    completions: Completions = offline.chat.completions
    with suppress(openai.APIConnectionError):
        client.trace(completions.create)(model="gpt", messages=[], seed=openai.omit)
    client.flush()
    client.close()
    return [
        [span.name, json.loads(str((span.attributes or {})["otel_ml.inputs"]))]
        for span in spans.get_finished_spans()
    ]


def main() -> None:
    """Print the table rows and related results as JSON, or the results for figures."""
    if "pictures" in sys.argv:
        sys.stdout.write(json.dumps({"pictures": _pictures()}))
        return
    warnings.simplefilter("ignore")  # torch warns that sparse tensors are new, among other things
    rows = [asdict(row) for row in rows_of([*_torch(), *_jax()])]
    sys.stdout.write(json.dumps({"rows": rows, "safetensors": _safetensors(), "named": _named()}))


if __name__ == "__main__":
    main()
