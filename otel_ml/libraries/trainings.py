"""Records one call of a model's ``fit`` as a training run, with parameters and curves."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Final

from otel_ml import attributes as names
from otel_ml.errors import quiet, untrusted
from otel_ml.libraries.model_calls import ROWS, first_value, rows_of
from otel_ml.libraries.table import Curves, Library, TrainingFunction
from otel_ml.recorder import Recorder
from otel_ml.runs import OpenedRun, open_run

# Attributes of fitted models: those with a number per round, and those with one number per
# training.
_CURVES: Final = (
    *("train_score_", "validation_score_", "oob_scores_", "loss_curve_", "validation_scores_"),
    *("evals_result_",),
)
_SUMS: Final = ("best_score_", "oob_score_")
_DEPTH: Final = 3
# Arguments of training functions that are recorded as parameters, in addition to ``params``.
_SIZES: Final = frozenset({"num_boost_round", "early_stopping_rounds"})


@dataclass(frozen=True, slots=True)
class Training:
    """Records a call that fits a model.

    Attributes:
        recorder: Records the run.
        library: How to read the name, parameters and inputs of the library's models.
        name: Name of the model.
    """

    recorder: Recorder
    library: Library
    name: str

    def record(self, function: FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the method and record the call as a training run."""
        model = args[0]
        run: OpenedRun | None = None
        with quiet("instrument"):
            run = self._open(model, first_value(args, kwargs))
        if run is None:
            return function(*args, **kwargs)
        with run:
            output = function(*args, **kwargs)
            with quiet("instrument"):
                metrics = dict(_metrics_of(model))
                if metrics:
                    run.log_metrics(metrics)
            return output

    def _open(self, model: Any, data: object) -> OpenedRun:
        params: Mapping[str, object] = {}
        with untrusted:  # the code of the user's class runs here
            params = self.library.params_of(model)
        rows = rows_of(data)
        tags = None if rows is None else {ROWS: rows}
        return open_run(self.recorder, self.name, "training", {names.PARAMS: params}, [tags])


def record_function(
    recorder: Recorder,
    trained: TrainingFunction,
    function: FunctionType,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Call a function that trains a model, and record the call as a training run."""
    run: OpenedRun | None = None
    curves: Curves = {}
    with quiet("instrument"):
        given = inspect.signature(function).bind_partial(*args, **kwargs).arguments
        params = {
            **(given.get("params") or {}),
            **{name: value for name, value in given.items() if name in _SIZES},
        }
        data = given.get(trained.data)
        rows = rows_of(data)
        if rows is None:  # LightGBM's data set, which has no rows before it is built
            rows = rows_of(getattr(data, "data", None))
        tags = None if rows is None else {ROWS: rows}
        kwargs, curves = trained.watch(len(args), kwargs)
        run = open_run(recorder, trained.model, "training", {names.PARAMS: params}, [tags])
    if run is None:
        return function(*args, **kwargs)
    with run:
        output = function(*args, **kwargs)
        with quiet("instrument"):
            metrics = {
                name: points
                for key, value in curves.items()
                for name, points in _curves(key, value, 1)
            }
            if metrics:
                run.log_metrics(metrics)
        return output


def _metrics_of(model: Any) -> Iterator[tuple[str, object]]:
    """Yield the curves of a fitted model, including those of a pipeline's last step."""
    for name in _CURVES:
        yield from _curves(name.removesuffix("_"), _attribute(model, name), 0)
    history = _attribute(_attribute(model, "history"), "history")  # set by Keras
    if isinstance(history, Mapping):
        yield from _curves("", history, 0)
    for name in _SUMS:
        if isinstance(_attribute(model, name), float):
            yield name.removesuffix("_"), _attribute(model, name)
    steps = _attribute(model, "steps")
    if isinstance(steps, list) and steps:
        yield from _metrics_of(steps[-1][1])


def _attribute(model: object, name: str) -> Any:
    with untrusted:
        return getattr(model, name, None)
    return None


def _curves(name: str, value: Any, depth: int) -> Iterator[tuple[str, object]]:
    """Yield lists of numbers, also those inside mappings, under the names of all their keys."""
    if isinstance(value, Mapping) and depth < _DEPTH:
        for key, part in value.items():
            yield from _curves(f"{key}" if depth == 0 else f"{name}-{key}", part, depth + 1)
    elif value is not None and getattr(value, "ndim", 1) == 1 and len(value):
        yield name, list(value)
