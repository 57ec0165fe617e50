"""The libraries whose models can be recorded: their classes, and the methods that are runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

PIPELINE_SIGN: Final = " + "


@dataclass(frozen=True, slots=True)
class ModelClass:
    """A class of a library whose objects are models. Its subclasses count too.

    Attributes:
        module: Module that defines the class.
        name: Name of the class.
        calls: Methods that make predictions. The outermost call is a run of kind model.
        trainings: Methods that fit the model. The outermost call is a training run.
    """

    module: str
    name: str
    calls: Sequence[str] = ()
    trainings: Sequence[str] = ()

    def is_base_of(self, kind: type) -> bool:
        """Tell whether a class is this one or derives from it."""
        return any(
            base.__name__ == self.name and base.__module__ == self.module for base in kind.__mro__
        )


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
    """Return an estimator's parameters, those of its parts included. Parts count by their class."""
    return {
        name: class_name(value) if hasattr(value, "get_params") else value
        for name, value in model.get_params().items()
        if name not in _PARTS
    }


@dataclass(frozen=True, slots=True)
class Library:
    """How to record the models of one library.

    Attributes:
        package: Name of the package to import, which is also the name for `Client.instrument`.
        classes: The classes of its models. Importing the module of the first one loads the
            library; the others may be loaded later.
        name_of: Returns the name of a model object.
        params_of: Returns the parameters of a model object.
    """

    package: str
    classes: Sequence[ModelClass]
    name_of: Callable[[Any], str] = class_name
    params_of: Callable[[Any], Mapping[str, object]] = lambda _: {}


_SKIPPED: Final = "passthrough"
_PARTS: Final = frozenset({"steps", "transformers", "transformer_list", "estimators"})
_PREDICTIONS: Final = ("predict", "predict_proba", "decision_function", "score_samples")
_FITS: Final = ("fit", "fit_predict", "fit_transform")

LIBRARIES: Final[Mapping[str, Library]] = {
    library.package: library
    for library in (
        Library(
            "sklearn",
            (
                ModelClass("sklearn.base", "BaseEstimator", _PREDICTIONS, _FITS),
                ModelClass("sklearn.pipeline", "Pipeline", ("transform",)),
            ),
            name_estimator,
            params_of_estimator,
        ),
    )
}
