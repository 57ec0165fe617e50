"""Use a library's models unrecorded and recorded: ``python -m …recorded_models LIBRARY``.

Prints as JSON whether both gave the same results, the runs as name, kind and rows, and whether the
classes were restored.
"""

import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

ROWS = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
LABELS = (ROWS[:, 0] > 0).astype(int)


def use_xgboost() -> list[Any]:
    import xgboost

    model = xgboost.XGBClassifier(n_estimators=4, n_jobs=1)
    model.fit(ROWS, LABELS, eval_set=[(ROWS, LABELS)], verbose=False)
    matrix = xgboost.DMatrix(ROWS, LABELS)
    told = {"objective": "binary:logistic", "nthread": 1}
    booster = xgboost.train(told, matrix, 3, evals=[(matrix, "fit")], verbose_eval=False)
    return [
        model.predict(ROWS),
        model.predict_proba(ROWS[:2]),
        booster.predict(matrix),
        booster.inplace_predict(ROWS),
    ]


def use_lightgbm() -> list[Any]:
    import lightgbm

    settings = {"n_estimators": 4, "n_jobs": 1, "verbose": -1, "min_child_samples": 2}
    model = lightgbm.LGBMClassifier(**settings)
    model.fit(ROWS, LABELS, eval_X=ROWS, eval_y=LABELS)
    whole = lightgbm.Dataset(ROWS, LABELS)
    told = {"objective": "binary", "num_threads": 1, "verbose": -1}
    booster = lightgbm.train(told, whole, 3, valid_sets=[whole], valid_names=["fit"])
    return [model.predict(ROWS), model.predict_proba(ROWS[:2]), booster.predict(ROWS)]


def use_catboost() -> list[Any]:
    import catboost

    settings = {"iterations": 4, "thread_count": 1, "random_seed": 1}
    model = catboost.CatBoostClassifier(**settings, verbose=False, allow_writing_files=False)
    model.fit(ROWS, LABELS, eval_set=[(ROWS, LABELS)])
    pool = catboost.Pool(ROWS, LABELS)
    return [model.predict(ROWS), model.predict_proba(ROWS[:2]), model.predict(pool)]


def use_keras() -> list[Any]:
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4, activation="relu"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(optimizer="sgd", loss="mse")
    model.fit(ROWS, LABELS, epochs=2, verbose=0)
    return [model.predict(ROWS, verbose=0), model.predict_on_batch(ROWS[:2])]


def use_onnxruntime() -> list[Any]:
    import onnx
    import onnxruntime

    info, make = onnx.helper.make_tensor_value_info, onnx.helper
    value = make.make_tensor("w", onnx.TensorProto.FLOAT, [3, 1], [1.0, 2.0, 3.0])
    sides = [
        [info(name, onnx.TensorProto.FLOAT, [None, size])] for name, size in (("x", 3), ("y", 1))
    ]
    graph = make.make_graph([make.make_node("MatMul", ["x", "w"], ["y"])], "score", *sides, [value])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return [*session.run(None, {"x": ROWS}), *session.run(["y"], input_feed={"x": ROWS[:1]})]


def use_torch() -> list[Any]:
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    rows, labels = torch.tensor(ROWS), torch.tensor(LABELS, dtype=torch.float32)[:, None]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):  # training steps are not runs
        optimizer.zero_grad()
        torch.nn.BCEWithLogitsLoss()(net(rows), labels).backward()
        optimizer.step()
    net.eval()
    answers = [net(rows)]
    with torch.inference_mode():
        net.train()
        answers.append(net(rows[:2]))
        answers.append(torch.nn.MSELoss()(rows, rows + 1))  # a loss is not a run
    net.eval()
    traced = torch.jit.trace(net, rows)
    exported = torch.export.export(net, (rows,)).module()
    compiled = torch.compile(net, backend="eager")
    answers += [traced(rows), exported(rows), compiled(rows)]
    return [answer.detach().numpy() for answer in answers]


def use_transformers() -> list[Any]:
    import tokenizers
    import torch
    import transformers

    torch.manual_seed(0)
    sizes = {"vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(**sizes, intermediate_size=8)
    )
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "[UNK]": 1}, "[UNK]"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words)
    classify = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    config = transformers.GPT2Config(vocab_size=8, n_positions=8, n_embd=8, n_layer=1, n_head=1)
    writer = transformers.GPT2LMHeadModel(config).eval()
    tokens = torch.tensor([[1, 2]])
    written = writer.generate(
        tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=2, pad_token_id=0
    )
    return [classify("a"), classify(["a", "b"]), written.tolist()]


def use_sentence_transformers() -> list[Any]:
    import tokenizers
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding

    torch.manual_seed(0)
    words = tokenizers.models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, "[UNK]")
    model = SentenceTransformer(
        modules=[StaticEmbedding(tokenizers.Tokenizer(words), embedding_dim=4)], device="cpu"
    )
    return [model.encode(["a", "b"]), model.encode("a")]


USES: dict[str, Callable[[], list[Any]]] = {
    name.removeprefix("use_"): use for name, use in globals().items() if name.startswith("use_")
}


def members() -> dict[str, list[tuple[str, object]]]:
    """Return the attributes of the library's classes, and its training functions."""
    from otel_ml.libraries.table import LIBRARIES

    kinds: dict[str, list[tuple[str, object]]] = {}
    for function in LIBRARIES[sys.argv[1]].functions:
        for module in function.modules:
            kinds[module] = [(function.name, getattr(sys.modules[module], function.name))]
    for model_class in LIBRARIES[sys.argv[1]].classes:
        kind = getattr(sys.modules[model_class.module], model_class.name)
        for base in kind.__mro__[:-1]:
            kinds[f"{base.__module__}.{base.__name__}"] = [*vars(base).items()]
    return kinds


def main() -> None:
    """Print the comparison."""
    from otel_ml import Client
    from otel_ml.testing import record

    warnings.simplefilter("ignore")
    client = Client("models")
    bare = USES[sys.argv[1]]()
    client.instrument(sys.argv[1])
    client.uninstrument()  # the calls load all modules of the library
    before = members()
    client.instrument(sys.argv[1])
    with record(client) as calls:
        recorded = USES[sys.argv[1]]()
        runs = [
            [run.name, run.kind, run.tags.get("rows"), "otel_ml.model.version" in run.attributes]
            for run in calls.runs
        ]
        digests = {str(run.attributes.get("otel_ml.model.version", "")) for run in calls.runs}
        curves = sorted(name for run in calls.runs for name in run.metrics)
        inputs = sorted({name for run in calls.runs for name in run.inputs or ()})
    client.uninstrument()
    same = all(
        np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b
        for a, b in zip(bare, recorded, strict=True)
    )
    told = {"same": same, "runs": runs, "curves": curves, "inputs": inputs}
    told["versions"] = sorted(digests)
    sys.stdout.write(json.dumps({**told, "restored": members() == before}) + "\n")


if __name__ == "__main__":
    main()
