"""Metrics: logged points, and the values and series they add up to."""

import numbers
import operator
import time
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from otel_ml import attributes as names
from otel_ml.arguments import check_text, show
from otel_ml.errors import InvalidMetricError, reraise_host_error
from otel_ml.wire import Attributes

Metric = float | list[float]

# Limits of the metrics that a process keeps in memory. The collector stores all of them.
MOST_POINTS: Final = 10_000
MOST_NAMES: Final = 1_000

_INT64_MAX: Final = 2**63 - 1
_SERIES: Final = frozenset({"append", "restart"})
_CUTTING: Final = frozenset({"replace", "restart"})
_NUMBER_TYPES: Final = frozenset({int, float, bool, type(None)})
# Errors that arrays and tensors raise if they are not numbers, for example while JAX traces them.
NO_NUMBER: Final = (ValueError, TypeError, ArithmeticError, RuntimeError, AttributeError)


class LoggedPoint(NamedTuple):
    """One logged value of a metric.

    Attributes:
        step: Step of the value, such as an epoch. -1 if none was given.
        mode: How the value changes the metric. ``append`` adds it to a series. ``replace`` makes it
            the only value. ``restart`` starts a new series. All modes are in docs/wire.md.
        source: ``data`` if `data_metrics` computed the value, else ``logged``.
    """

    name: str
    value: float
    step: int
    time_ns: int
    mode: str
    source: str = "logged"


class MetricValues:
    """Computes the current value of each metric from its logged points.

    It keeps the last 10,000 points of each series and at most 1,000 metrics.
    """

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[str, float | array[float]] = {}

    def add(self, points: Iterable[LoggedPoint]) -> None:
        """Add points in the order in which they were logged."""
        values = self._found
        for name, value, _, _, mode, _ in points:
            before = values.get(name)
            if mode == "clear":
                if before is not None or len(values) < MOST_NAMES:
                    values[name] = array("d")
            elif before is None:
                if len(values) < MOST_NAMES:
                    values[name] = array("d", (value,)) if mode in _SERIES else value
            elif mode in _CUTTING:
                values[name] = array("d", (value,)) if mode in _SERIES else value
            elif mode != "single":
                if isinstance(before, float):
                    values[name] = before = array("d", (before,))
                before.append(value)
                # delete half at once, so that most points cost nothing
                if len(before) >= 2 * MOST_POINTS:
                    del before[:-MOST_POINTS]

    def values(self) -> dict[str, Metric]:
        """Return each metric by name: a number for a single value, or a list for a series."""
        return {
            name: value if isinstance(value, float) else value[-MOST_POINTS:].tolist()
            for name, value in self._found.items()
        }


def resolve(points: Iterable[LoggedPoint]) -> dict[str, Metric]:
    """Return the value of each metric from all its points, oldest first.

    The collector follows the same rules, see ``docs/wire.md``.
    """
    metrics = MetricValues()
    metrics.add(points)
    return metrics.values()


def make_points(
    values: Mapping[str, object],
    step: int | None,
    mode: str,
    *,
    overwrite: bool = False,
    at_ns: int | None = None,
) -> list[LoggedPoint]:
    """Check metric values and convert them to points.

    Args:
        values: Numbers or lists of numbers, by name. Lists are always added to a series.
        step: Step of all points, such as an epoch. None for no step.
        mode: How to store a single number. ``append`` adds it to a series. ``single`` stores one
            value. ``auto`` stores one value at first, and turns it into a series when there is a
            second one.
        overwrite: Whether to replace earlier points of each name. With an empty list, all points
            are removed.
        at_ns: Time of the points, in ns since the epoch. None for now.

    Raises:
        InvalidMetricError: A value is not a number. The message names metric and value.
    """
    now_ns = time.time_ns() if at_ns is None else at_ns
    at = -1 if step is None else _step(step)
    points = []
    for name, value in values.items():
        check_text("name of a metric", name)
        is_list = issubclass(type(value), list | tuple)
        series: Any = value if is_list else _series(value)
        if series is None:
            logged_points = [LoggedPoint(name, number(name, value), at, now_ns, mode)]
        else:
            # a list may span several records, which are ordered by the times of their points
            logged_points = [
                LoggedPoint(name, number(name, item), at, now_ns + place, "append")
                for place, item in enumerate(series)
            ]
        if overwrite and not logged_points:
            logged_points = [LoggedPoint(name, 0.0, at, now_ns, "clear")]
        elif overwrite:
            first = "restart" if logged_points[0].mode == "append" else "replace"
            logged_points[0] = logged_points[0]._replace(mode=first)
        points += logged_points
    return points


def make_data_points(values: Mapping[str, float]) -> list[LoggedPoint]:
    """Convert the result of `data_metrics`, numbers by metric name, to points at the current time.

    The points have the source ``data``. A metric that is logged several times becomes a series.
    """
    return [point._replace(source="data") for point in make_points(values, None, "auto")]


def point_attributes(points: Sequence[LoggedPoint]) -> Attributes:
    """Convert metric points to the attributes of the `update` record that sends them."""
    attributes: Attributes = {
        names.METRIC_NAMES: tuple(point.name for point in points),
        names.METRIC_VALUES: tuple(point.value for point in points),
        names.METRIC_STEPS: tuple(point.step for point in points),
        names.METRIC_TIMES: tuple(point.time_ns for point in points),
        names.METRIC_MODES: tuple(point.mode for point in points),
    }
    sources = tuple(point.source for point in points)
    if {*sources} - {"logged"}:
        attributes = {**attributes, names.METRIC_SOURCES: sources}
    return attributes


def _step(step: Any) -> int:
    whole = None
    if issubclass(type(step), float):
        whole = int(step) if step.is_integer() else None
    else:
        try:
            whole = operator.index(step)  # also accepts tensors and arrays with one integer
        except NO_NUMBER as error:
            reraise_host_error(error)
    if whole is None:
        raise InvalidMetricError(f"Invalid step {show(step)}: expected a whole number")
    if not -_INT64_MAX - 1 <= whole <= _INT64_MAX:
        raise InvalidMetricError(f"Invalid step {step!r}: expected a 64-bit number")
    return whole


def number(name: str, value: object, text: str = "value {} of metric {}") -> float:
    """Convert the value of a metric to a float.

    Args:
        name: Name of the metric, for the error message.
        value: A number, or an array or tensor with one element.
        text: Text for the error message, with two placeholders: the value, then the name.

    Raises:
        InvalidMetricError: The value is not a number. The message names metric and value.
    """
    plain = value
    try:
        if type(value) not in _NUMBER_TYPES and not issubclass(type(value), str):
            plain = listed(value)
            while plain is not value and type(plain) is list and len(plain) == 1:
                plain = plain[0]  # a tensor with one element, in any number of dimensions
        if type(plain) is not bool and issubclass(type(plain), numbers.Real):
            return float(plain)  # type: ignore[arg-type]  # just checked
    except NO_NUMBER as error:
        reraise_host_error(error)
    sentence = text.format(show(value) + _shape(value), repr(name))
    raise InvalidMetricError(f"Invalid {sentence}: expected a number or a list of numbers")


def _series(value: object) -> list[object] | None:
    """Return the elements of a one-dimensional array or tensor; None for anything else."""
    if type(value) in _NUMBER_TYPES or issubclass(type(value), str):
        return None
    try:
        points = listed(value)
    except NO_NUMBER as error:
        reraise_host_error(error)
        return None
    return points if type(points) is list and len(points) != 1 else None


def listed(value: Any) -> object:
    """Convert an array or tensor to a list or number. Other values are returned unchanged."""
    kind = type(value)
    shape = getattr(value, "shape", ())
    if isinstance(shape, tuple) and sum(size != 1 for size in shape) > 1:
        raise ValueError("a matrix")
    if hasattr(kind, "tolist"):
        return value.tolist()
    if hasattr(kind, "__array__"):
        return value.__array__().tolist()
    return value.item() if hasattr(kind, "item") else value


def _shape(value: object) -> str:
    try:
        shape = getattr(value, "shape", None)
        return f" with shape {tuple(map(int, shape))}" if isinstance(shape, tuple) else ""
    except NO_NUMBER as error:
        reraise_host_error(error)
        return ""
