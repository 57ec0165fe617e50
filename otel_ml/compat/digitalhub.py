"""DigitalHub's import path: ``from otel_ml.compat.digitalhub import handler, from_mlflow_run``."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from otel_ml.client import Client
from otel_ml.metrics import Metric
from otel_ml.runs import Run, current_run
from otel_ml.targets import TargetModel

__all__ = [
    "Entity",
    "Project",
    "from_mlflow_run",
    "get_mlflow_model_metrics",
    "get_or_create_project",
    "handler",
]

P = ParamSpec("P")
R = TypeVar("R")

Number = float | int


class Entity:
    """A model or a run, with the methods for metrics that DigitalHub's have.

    Args:
        handle: The run or model version, as `otel_ml.Client` returns it.

    Attributes:
        handle: It has steps, tags, text and data, too.
    """

    def __init__(self, handle: Run | TargetModel) -> None:
        self.handle = handle

    def log_metric(
        self,
        key: str,
        value: Number | Sequence[Number],
        overwrite: bool = False,
        single_value: bool = False,
    ) -> None:
        """Append a number or a list to a series; see `otel_ml.Run.log_metric`.

        Raises:
            InvalidMetricError: The value is no number; nothing is logged.
        """
        self.handle.log_metric(key, value, overwrite=overwrite, single_value=single_value)

    def log_metrics(
        self, metrics: Mapping[str, Number | Sequence[Number]], overwrite: bool = False
    ) -> None:
        """Log several metrics of the same moment; see `otel_ml.Run.log_metrics`.

        Raises:
            InvalidMetricError: A value is no number; then none of them is logged.
        """
        self.handle.log_metrics(metrics, overwrite=overwrite)

    @property
    def metrics(self) -> dict[str, Metric]:
        """The logged metrics: a number, or the numbers of a series, by name.

        Of a model the metrics of all processes, see `otel_ml.targets.TargetModel.metrics`; of a
        run those of this process.
        """
        return self.handle.metrics


class Project:
    """Where models and runs gather.

    Args:
        name: The project.
        url: Base address of the collector; as in `otel_ml.Client` when not given.

    Attributes:
        client: What sends.
    """

    def __init__(self, name: str, url: str | None = None) -> None:
        self.name = name
        self.client = Client(name, endpoint=url)

    def log_model(self, name: str, kind: str = "model", **params: object) -> Entity:
        """Name a version of a model: other parameters make another version.

        Args:
            name: The model.
            kind: Such as ``mlflow`` or ``sklearn``, a parameter like the others.
            params: What the version is made of, such as all that `from_mlflow_run` returns.
        """
        return Entity(self.client.model(name, params={"kind": kind, **params}))

    def get_model(self, name: str) -> Entity:
        """Name the newest version of a model, by any process; logged values continue it."""
        return Entity(self.client.model(name))

    def run(self, name: str, **params: object) -> Entity:
        """Open a run of kind training; see `otel_ml.Client.run` for when it ends.

        Args:
            name: Of the run.
            params: Its hyper-parameters.
        """
        return Entity(self.client.run(name, params=params))

    def __repr__(self) -> str:
        return f"Project({self.name!r})"


def get_or_create_project(name: str) -> Project:
    """Name a project; it is made by its first record."""
    return Project(name)


def handler(outputs: Sequence[str] | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Record every call of a function as a run of kind training, see `otel_ml.trace`.

    The run is filed under the `Project` that the call is given, as any argument; a call without
    a project under that of the environment. The function returns what it returns; the names are for
    the record.

    Args:
        outputs: Names of the results: of the only value, or of the items of a tuple.
    """
    named = tuple(outputs or ())

    def record(function: Callable[P, R]) -> Callable[P, R]:
        filed: Callable[P, R] = _filing(_naming(function, named))
        return filed

    return record


def _filing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Record each call under the project that it is given, and stay a function of its kind."""
    from otel_ml.default import trace  # only where something is handled

    by_default = trace(kind="training")(function)
    by_client = WeakKeyDictionary[Client, Callable[..., Any]]()

    def choose(*given: object) -> Callable[..., Any]:
        project = _project_among(given)
        if project is None:
            return by_default
        client = project.client
        if client not in by_client:
            by_client[client] = client.trace(kind="training")(function)
        return by_client[client]

    call: Callable[..., Any]
    if inspect.iscoroutinefunction(function):

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await choose(*args, *kwargs.values())(*args, **kwargs)

    elif inspect.isgeneratorfunction(function):

        def call(*args: Any, **kwargs: Any) -> Any:
            return (yield from choose(*args, *kwargs.values())(*args, **kwargs))

    elif inspect.isasyncgenfunction(function):
        return by_default  # what is sent into it has no simple way through another one
    else:

        def call(*args: Any, **kwargs: Any) -> Any:
            return choose(*args, *kwargs.values())(*args, **kwargs)

    return functools.wraps(function)(call)


def _project_among(given: Sequence[object]) -> Project | None:
    """Return the first project among some arguments; their types alone are looked at."""
    for argument in given:
        if issubclass(type(argument), Project):
            project: Project = argument  # type: ignore[assignment]  # just checked
            return project
    return None


def _naming(function: Callable[..., Any], named: Sequence[str]) -> Callable[..., Any]:
    """Make a function say its outputs by name, to the run that its call is."""
    if not named:
        return function
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def say_later(*args: Any, **kwargs: Any) -> Any:
            returned = await function(*args, **kwargs)
            current_run().set_output(name_outputs(named, returned))
            return returned

        return say_later

    @functools.wraps(function)
    def say(*args: Any, **kwargs: Any) -> Any:
        returned = function(*args, **kwargs)
        current_run().set_output(name_outputs(named, returned))
        return returned

    return say


def name_outputs(named: Sequence[str], returned: object) -> Mapping[str, object] | object:
    """Name returned values; values that the names do not fit stay as they are."""
    if len(named) == 1:
        return {named[0]: returned}
    if isinstance(returned, tuple | list) and len(returned) == len(named):
        return dict(zip(named, returned, strict=True))
    return returned


def from_mlflow_run(run_id: str) -> dict[str, Any]:
    """Read the model of an MLflow run, see `otel_ml.integrations.mlflow`."""
    from otel_ml.integrations.mlflow import from_mlflow_run  # who calls it needs MLflow

    return from_mlflow_run(run_id)


def get_mlflow_model_metrics(run_id: str) -> dict[str, float]:
    """Read the last value of each metric of an MLflow run, see `otel_ml.integrations.mlflow`.

    Their history is imported by `otel_ml.integrations.mlflow.import_mlflow_run`.
    """
    from otel_ml.integrations.mlflow import get_mlflow_model_metrics  # as above

    return get_mlflow_model_metrics(run_id)
