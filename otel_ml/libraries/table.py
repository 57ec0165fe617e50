"""The libraries whose models can be recorded: their classes, and the methods that are runs."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, Final

PIPELINE_SIGN: Final = " + "


@dataclass(frozen=True, slots=True)
class ModelClass:
    """A class of a library whose objects are models. Its subclasses are included.

    Attributes:
        module: Module that defines the class.
        name: Name of the class.
        calls: Methods that make predictions. The outermost call is recorded as a run of kind model.
        trainings: Methods that fit the model. The outermost call is recorded as a training run.
    """

    module: str
    name: str
    calls: Sequence[str] = ()
    trainings: Sequence[str] = ()

    def is_base_of(self, kind: type) -> bool:
        """Return whether a class is this one or derives from it."""
        return any(
            base.__name__ == self.name and base.__module__ == self.module for base in kind.__mro__
        )


Curves = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TrainingFunction:
    """A function of a library that trains a model and returns it, such as ``xgboost.train``.

    Attributes:
        modules: Modules that have the function. The first one defines it.
        name: Name of the function.
        model: Name of the class of the returned models.
        data: Name of the parameter that contains the rows of training data.
        watch: Function that changes the keyword arguments of a call, so that the library stores
            its training curves in a dict. Its arguments are the number of positional arguments and
            a dict of the keyword arguments. It returns the new keyword arguments and this dict.
    """

    modules: Sequence[str]
    name: str
    model: str
    data: str
    watch: Callable[[int, dict[str, Any]], tuple[dict[str, Any], Curves]]


# ``train(params, data, rounds)``. Further positional arguments may be ones that otel-ml would
# change, so the call is then left alone.
_POSITIONAL: Final = 3


def watch_xgboost(positional: int, kwargs: dict[str, Any]) -> tuple[dict[str, Any], Curves]:
    """Ask ``xgboost.train`` for its ``evals_result``, unless the caller does so."""
    given = kwargs.get("evals_result")
    if positional > _POSITIONAL or not kwargs.get("evals"):
        return kwargs, {}
    curves: Curves = {} if given is None else given
    return {**kwargs, "evals_result": curves}, curves


def watch_lightgbm(positional: int, kwargs: dict[str, Any]) -> tuple[dict[str, Any], Curves]:
    """Give ``lightgbm.train`` one more callback, which records the evaluations."""
    if positional > _POSITIONAL or not kwargs.get("valid_sets"):
        return kwargs, {}
    curves: Curves = {}
    record = sys.modules["lightgbm"].record_evaluation(curves)
    return {**kwargs, "callbacks": [*(kwargs.get("callbacks") or ()), record]}, curves


def class_name(model: object) -> str:
    """Return the name of a model's class."""
    return type(model).__name__


def name_estimator(model: Any) -> str:
    """Return an estimator's class. For a pipeline, return the classes of its steps."""
    steps = vars(model).get("steps")
    if not isinstance(steps, list):
        return class_name(model)
    kinds = [class_name(step[1]) for step in steps if step[1] is not None and step[1] != _SKIPPED]
    return PIPELINE_SIGN.join(kinds) or class_name(model)


def params_of_estimator(model: Any) -> dict[str, object]:
    """Return an estimator's parameters, including those of its parts, such as steps of a pipeline.

    The part itself is represented by the name of its class.
    """
    if not hasattr(model, "get_params"):  # a booster, not an estimator
        return {}
    return {
        name: class_name(value) if hasattr(value, "get_params") else value
        for name, value in model.get_params().items()
        if name not in _NESTED_PARAMS
    }


def rows_of_matrix(inputs: dict[str, Any]) -> dict[str, Any]:
    """Replace an XGBoost matrix in the inputs by its first rows.

    Only XGBoost itself could read the matrix.
    """
    return {
        name: value.slice([*range(min(value.num_row(), _SHOWN_ROWS))]).get_data()
        if class_name(value) == "DMatrix"
        else value
        for name, value in inputs.items()
    }


def name_session(model: Any) -> str:
    """Return the name of an ONNX model's file, or of its graph."""
    path = getattr(model, "_model_path", None)
    return Path(path).stem if path else model.get_modelmeta().graph_name or class_name(model)


def feed_of(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of an ONNX model by name."""
    feed = inputs.get("input_feed")
    return {str(name): value for name, value in feed.items()} if feed else inputs


def is_inference(model: Any) -> bool:
    """Return whether a call of a PyTorch module is a prediction, which is recorded as a run.

    False if the module is a loss function, or if it is being trained, traced or compiled.
    """
    torch: Any = sys.modules["torch"]
    if model.training and torch.is_grad_enabled():
        return False
    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False
    return all(kind.__module__ != "torch.nn.modules.loss" for kind in type(model).__mro__)


def forward_of(model: Any, function: FunctionType) -> Callable[..., Any]:
    """Return ``forward`` of a PyTorch module, whose parameters name the inputs."""
    named: Callable[..., Any] = getattr(type(model), "forward", function)
    return named


def params_of_network(model: Any) -> dict[str, object]:
    """Return how a Keras model is trained: its optimizer with its settings, and its loss."""
    optimizer, loss = getattr(model, "optimizer", None), getattr(model, "loss", None)
    params: dict[str, object] = dict(optimizer.get_config()) if optimizer is not None else {}
    if loss is not None:
        params["loss"] = loss if isinstance(loss, str) else getattr(loss, "name", class_name(loss))
    return params


def name_transformer(model: Any) -> str:
    """Return the path or name from which a model or pipeline of transformers was loaded."""
    inner = getattr(model, "model", model)
    path = getattr(getattr(inner, "config", None), "_name_or_path", "")
    name = Path(path).name if path else class_name(inner)
    task = getattr(model, "task", "")
    return f"{name} ({task})" if isinstance(task, str) and task else name


def name_embedder(model: Any) -> str:
    """Return the path or name from which a model of sentence_transformers was loaded."""
    first = next(iter(model.children()), model)
    inner = getattr(first, "auto_model", first)
    path = getattr(getattr(inner, "config", None), "_name_or_path", "")
    return Path(path).name if path else class_name(model)


@dataclass(frozen=True, slots=True)
class Library:
    """How to record the models of one library.

    Attributes:
        package: Name of the package to import, which is also the name for `Client.instrument`.
        classes: The classes of its models.
        name_of: Function that returns the name of a model object.
        params_of: Function that returns the parameters of a model object.
        data: Name of the parameter that contains the rows. Empty for the first parameter.
        inputs_of: Function that takes all arguments by name and returns the inputs to record.
        signature_of: Function that takes a model and its method. It returns the function from
            which the names of the inputs are read: usually the method, but ``forward`` in PyTorch.
        is_use: Function that takes a model and returns whether it now makes predictions, that is,
            whether it is not in training. None if every call is a prediction.
    """

    package: str
    classes: Sequence[ModelClass]
    name_of: Callable[[Any], str] = class_name
    params_of: Callable[[Any], Mapping[str, object]] = lambda _: {}
    data: str = ""
    inputs_of: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    signature_of: Callable[[Any, FunctionType], Callable[..., Any]] = lambda _, function: function
    is_use: Callable[[Any], bool] | None = None
    functions: Sequence[TrainingFunction] = ()


_SKIPPED: Final = "passthrough"
_NESTED_PARAMS: Final = frozenset({"steps", "transformers", "transformer_list", "estimators"})
_SHOWN_ROWS: Final = 400
_PREDICTIONS: Final = ("predict", "predict_proba", "decision_function", "score_samples")
_FITS: Final = ("fit", "fit_predict", "fit_transform")

_LIBRARIES: Final = (
    Library(
        "sklearn",
        (
            ModelClass("sklearn.base", "BaseEstimator", _PREDICTIONS, _FITS),
            ModelClass("sklearn.pipeline", "Pipeline", ("transform",)),
        ),
        name_estimator,
        params_of_estimator,
    ),
    Library(
        "xgboost",
        (
            ModelClass("xgboost.core", "Booster", ("predict", "inplace_predict")),
            ModelClass("xgboost.sklearn", "XGBModel", _PREDICTIONS, _FITS),
        ),
        params_of=params_of_estimator,
        inputs_of=rows_of_matrix,
        functions=(
            TrainingFunction(
                ("xgboost.training", "xgboost"), "train", "Booster", "dtrain", watch_xgboost
            ),
        ),
    ),
    Library(
        "lightgbm",
        (
            ModelClass("lightgbm.basic", "Booster", ("predict",)),
            ModelClass("lightgbm.sklearn", "LGBMModel", _PREDICTIONS, _FITS),
        ),
        params_of=params_of_estimator,
        functions=(
            TrainingFunction(
                ("lightgbm.engine", "lightgbm"), "train", "Booster", "train_set", watch_lightgbm
            ),
        ),
    ),
    Library(
        "catboost",
        (ModelClass("catboost.core", "CatBoost", _PREDICTIONS, _FITS),),
        params_of=params_of_estimator,
    ),
    Library(
        "keras",
        (ModelClass("keras.src.models.model", "Model", ("predict", "predict_on_batch"), ("fit",)),),
        params_of=params_of_network,
    ),
    Library(
        "onnxruntime",
        (
            ModelClass(
                "onnxruntime.capi.onnxruntime_inference_collection", "InferenceSession", ("run",)
            ),
        ),
        name_session,
        data="input_feed",
        inputs_of=feed_of,
    ),
    Library(
        "torch",
        (ModelClass("torch.nn.modules.module", "Module", ("__call__",)),),
        signature_of=forward_of,
        is_use=is_inference,
    ),
    Library(
        "transformers",
        (
            ModelClass("transformers.pipelines.base", "Pipeline", ("__call__",)),
            ModelClass("transformers.generation.utils", "GenerationMixin", ("generate",)),
        ),
        name_transformer,
    ),
    Library(
        "sentence_transformers",
        (
            ModelClass(
                "sentence_transformers.sentence_transformer.model",
                "SentenceTransformer",
                ("encode", "encode_query", "encode_document"),
            ),
            ModelClass(
                "sentence_transformers.cross_encoder.model", "CrossEncoder", ("predict", "rank")
            ),
        ),
        name_embedder,
    ),
)
LIBRARIES: Final[Mapping[str, Library]] = {library.package: library for library in _LIBRARIES}
