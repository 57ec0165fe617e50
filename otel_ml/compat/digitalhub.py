"""Drop-in replacement for DigitalHub: ``from otel_ml.compat.digitalhub import handler``."""

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
    """A model or run of otel-ml with DigitalHub's methods for metrics.

    Args:
        handle: The run or model version of `otel_ml.Client` to log to.

    Attributes:
        handle: The same object. Use it to log what DigitalHub cannot: steps, tags, text and data.
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
        """Log a number or a list of numbers to a metric.

        By default, the new numbers are appended to the earlier ones.

        Args:
            key: Name of the metric.
            value: A number or a list of numbers.
            overwrite: Whether to replace all earlier numbers.
            single_value: Whether to store a single number instead of a series. If the metric has a
                value already, the new number is ignored unless you also set `overwrite`.

        Raises:
            InvalidMetricError: The value is not a number. Nothing is logged.
        """
        self.handle.log_metric(key, value, overwrite=overwrite, single_value=single_value)

    def log_metrics(
        self, metrics: Mapping[str, Number | Sequence[Number]], overwrite: bool = False
    ) -> None:
        """Log several metrics at once, such as loss and accuracy after an epoch.

        Args:
            metrics: A number or a list of numbers for each metric name.
            overwrite: True to replace the numbers logged so far. By default, numbers are appended.

        Raises:
            InvalidMetricError: A value is not a number. Nothing is logged.
        """
        self.handle.log_metrics(metrics, overwrite=overwrite)

    @property
    def metrics(self) -> dict[str, Metric]:
        """The logged metrics by name. A metric is a single number, or a list for a series.

        For a model, these are the metrics that any process logged. For a run, these are only the
        metrics that this process logged.
        """
        return self.handle.metrics


class Project:
    """A project with DigitalHub's methods. It creates models and runs, and records them in otel-ml.

    Args:
        name: Name of the project.
        url: Base address of the otel-ml collector. Default: as for `otel_ml.Client`.

    Attributes:
        client: The `otel_ml.Client` that sends the records.
    """

    def __init__(self, name: str, url: str | None = None) -> None:
        self.name = name
        self.client = Client(name, endpoint=url)

    def log_model(self, name: str, kind: str = "model", **params: object) -> Entity:
        """Create a version of a model. The same type and parameters give the same version.

        Args:
            name: Name of the model.
            kind: Type of the model, such as ``mlflow`` or ``sklearn``.
            params: Parameters that identify the version, such as all values that `from_mlflow_run`
                returns.
        """
        return Entity(self.client.model(name, params={"kind": kind, **params}))

    def get_model(self, name: str) -> Entity:
        """Return the newest version of a model, whichever process created it.

        Metrics that you log are appended to the existing series of this version.
        """
        return Entity(self.client.model(name))

    def run(self, name: str, **params: object) -> Entity:
        """Open a training run. See `otel_ml.Client.run` for when it ends.

        Args:
            name: Name of the run.
            params: Hyper-parameters of the run.
        """
        return Entity(self.client.run(name, params=params))

    def __repr__(self) -> str:
        return f"Project({self.name!r})"


def get_or_create_project(name: str) -> Project:
    """Return a project. A new one appears in the collector with its first record."""
    return Project(name)


def handler(outputs: Sequence[str] | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Record every call of the decorated function as a training run.

    If you pass a `Project` as an argument of the call, the run is recorded in it. Otherwise it is
    recorded in the project that the environment variables select. The function still returns the
    same value.

    Args:
        outputs: Names under which to record the returned value. Give one name for a single value,
            or one per item of a returned tuple.
    """
    named = tuple(outputs or ())

    def record(function: Callable[P, R]) -> Callable[P, R]:
        filed: Callable[P, R] = _filing(_naming(function, named))
        return filed

    return record


def _filing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Record each call under the project that it gets.

    The result is a function of the same kind.
    """
    from otel_ml.default import trace  # imported only when a handler is used

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
        return by_default  # a wrapper could not pass on values that are sent into the generator
    else:

        def call(*args: Any, **kwargs: Any) -> Any:
            return choose(*args, *kwargs.values())(*args, **kwargs)

    return functools.wraps(function)(call)


def _project_among(given: Sequence[object]) -> Project | None:
    """Return the first project among the arguments. Only their types are checked."""
    for argument in given:
        if issubclass(type(argument), Project):
            project: Project = argument  # type: ignore[assignment]  # just checked
            return project
    return None


def _naming(function: Callable[..., Any], named: Sequence[str]) -> Callable[..., Any]:
    """Make a function record its outputs by name in the current run."""
    if not named:
        return function
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def record_later(*args: Any, **kwargs: Any) -> Any:
            returned = await function(*args, **kwargs)
            current_run().set_output(name_outputs(named, returned))
            return returned

        return record_later

    @functools.wraps(function)
    def record(*args: Any, **kwargs: Any) -> Any:
        returned = function(*args, **kwargs)
        current_run().set_output(name_outputs(named, returned))
        return returned

    return record


def name_outputs(named: Sequence[str], returned: object) -> Mapping[str, object] | object:
    """Return a function's results as a dictionary by name.

    If there are more or fewer names than results, return the results unchanged.
    """
    if len(named) == 1:
        return {named[0]: returned}
    if isinstance(returned, tuple | list) and len(returned) == len(named):
        return dict(zip(named, returned, strict=True))
    return returned


def from_mlflow_run(run_id: str) -> dict[str, Any]:
    """Return parameters that describe the model of an MLflow run, for `Project.log_model`.

    See `otel_ml.integrations.mlflow`.
    """
    from otel_ml.integrations.mlflow import from_mlflow_run  # MLflow is optional

    return from_mlflow_run(run_id)


def get_mlflow_model_metrics(run_id: str) -> dict[str, float]:
    """Return the last value of each metric of an MLflow run.

    To import the whole history of the metrics, use `otel_ml.integrations.mlflow.import_mlflow_run`.
    """
    from otel_ml.integrations.mlflow import get_mlflow_model_metrics  # MLflow is optional

    return get_mlflow_model_metrics(run_id)
