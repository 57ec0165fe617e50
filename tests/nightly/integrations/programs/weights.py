"""Print digests of real models' weights in each library; two processes give equal digests."""

import contextlib
import importlib.util
import json
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from otel_ml.versions.weights import kind_of, read

ROWS: Any = np.random.RandomState(0).rand(80, 3).astype("float32")
Made = tuple[Any, Callable[[], Any]]


def labels(at: float) -> Any:
    return (ROWS[:, 0] > at).astype(int)


def make_sklearn() -> Made:
    """Return a pipeline and a function that refits it differently."""
    from sklearn.ensemble import (
        HistGradientBoostingClassifier,
        RandomForestClassifier,
        StackingClassifier,
    )
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inner = [
        ("forest", RandomForestClassifier(5, random_state=0)),
        ("trees", HistGradientBoostingClassifier(max_iter=5, random_state=0)),
    ]
    model = make_pipeline(StandardScaler(), StackingClassifier(inner, LogisticRegression(), cv=2))
    model.fit(ROWS, labels(0.5))
    return model, lambda: model.fit(ROWS, labels(0.3))


def make_torch(dtype: str = "float32") -> Made:
    """Return a module and a function that changes it by one step."""
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)
    )
    model = model.to(getattr(torch, dtype)).eval()

    def change() -> Any:
        with torch.no_grad():
            model[2].weight.add_(1)
        return model

    return model, change


def make_xgboost() -> Made:
    """Return a booster and a function that returns one with more trees."""
    import xgboost

    data = xgboost.DMatrix(ROWS, label=labels(0.5))
    params = {"max_depth": 2, "seed": 0, "nthread": 1}
    model = xgboost.train(params, data, 3)
    return model, lambda: xgboost.train(params, data, 2, xgb_model=model)


def make_xgboost_estimator() -> Made:
    """Return an XGBoost estimator and a function that refits it differently."""
    import xgboost

    model = xgboost.XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1).fit(ROWS, labels(0.5))
    return model, lambda: model.fit(ROWS, labels(0.3))


def make_lightgbm() -> Made:
    """Return a booster and a function that continues its training."""
    import lightgbm

    data = lightgbm.Dataset(ROWS, labels(0.5), free_raw_data=False)
    params = {"verbose": -1, "num_threads": 1, "deterministic": True}
    model = lightgbm.train(params, data, 3, keep_training_booster=True)

    def change() -> Any:
        model.update()
        return model

    return model, change


def make_lightgbm_estimator() -> Made:
    """Return a LightGBM estimator and a function that refits it differently."""
    import lightgbm

    model = lightgbm.LGBMClassifier(n_estimators=3, n_jobs=1, verbose=-1).fit(ROWS, labels(0.5))
    return model, lambda: model.fit(ROWS, labels(0.3))


def make_onnx() -> Made:
    """Return a session of a model in memory, and a function for one of a different model file."""
    import onnx
    import onnxruntime

    def graph(weight: float) -> bytes:
        info = onnx.helper.make_tensor_value_info
        value = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [weight])
        node = onnx.helper.make_node("Mul", ["x", "w"], ["y"])
        sides = [[info(name, onnx.TensorProto.FLOAT, [1])] for name in "xy"]
        whole = onnx.helper.make_graph([node], "g", *sides, [value])
        opset = [onnx.helper.make_opsetid("", 17)]
        model = onnx.helper.make_model(whole, opset_imports=opset, ir_version=9)
        return bytes(model.SerializeToString())

    Path("model.onnx").write_bytes(graph(2))
    session = onnxruntime.InferenceSession(graph(1), providers=["CPUExecutionProvider"])
    return session, lambda: onnxruntime.InferenceSession(
        "model.onnx", providers=["CPUExecutionProvider"]
    )


def make_transformers() -> Made:
    """Return a pipeline with a tiny random model and a function that changes its weights."""
    import tokenizers
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=8,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
    )
    model = transformers.BertForSequenceClassification(config)
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "[UNK]": 1}, "[UNK]"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words)
    whole = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)

    def change() -> Any:
        with torch.no_grad():
            next(model.parameters()).add_(1)
        return whole

    return whole, change


MAKERS: dict[str, tuple[str, Callable[[], Made]]] = {
    "sklearn": ("sklearn", make_sklearn),
    "torch": ("torch", make_torch),
    "torch bf16": ("torch", lambda: make_torch("bfloat16")),
    "xgboost": ("xgboost", make_xgboost),
    "xgboost estimator": ("xgboost", make_xgboost_estimator),
    "lightgbm": ("lightgbm", make_lightgbm),
    "lightgbm estimator": ("lightgbm", make_lightgbm_estimator),
    "onnxruntime": ("onnx", make_onnx),
    "transformers": ("transformers", make_transformers),
}


def tell(make: Callable[[], Made]) -> dict[str, Any]:
    """Digest a model twice, after pickling, and after a change."""
    model, change = make()
    kind = kind_of(model)
    assert kind is not None
    first = read(model, kind)
    told = {"first": first[1].digest, "again": read(model, kind) == first, "copied": True}
    with contextlib.suppress(Exception):  # a session and some pipelines cannot be pickled
        told["copied"] = read(pickle.loads(pickle.dumps(model)), kind)[1] == first[1]  # noqa: S301
    changed = change()
    other = read(changed, kind)
    is_marked = changed is not model or kind.mark(changed) != first[0]
    return {**told, "is_marked": is_marked, "changed": other[1].digest}


def found() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the results of each installed library."""
    for name, (library, make) in MAKERS.items():
        if importlib.util.find_spec(library) is not None:
            yield name, tell(make)


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(dict(found()))}\n")
