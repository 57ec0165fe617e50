"""Records one call of a model object, such as ``LogisticRegression.predict``, as a run."""

import inspect
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import time_ns
from types import FunctionType
from typing import Any, Final

from otel_ml import attributes as names
from otel_ml.calls import UNOPENED, Call, Hooks, new
from otel_ml.errors import quiet, untrusted
from otel_ml.functions import Options, TracedFunction
from otel_ml.libraries.table import Library
from otel_ml.recorder import Recorder
from otel_ml.spans import RunSpan
from otel_ml.versions import definition as definitions
from otel_ml.versions import weights
from otel_ml.versions.parts import digest
from otel_ml.versions.values import Weighed
from otel_ml.versions.version_on import PARTS

ROWS: Final = "rows"
_ROWS_KEY: Final = names.TAG_PREFIX + ROWS
MOST_ROWS: Final = 1_000


class TracedModel(TracedFunction):
    """A method of one model object, with its name and the settings of what to record.

    The model version is a digest of the model's parameters and weights. This object does not keep
    the model alive: it can still be garbage-collected.

    Args:
        recorder: Records the calls.
        function: The method as its class defines it: a function whose first argument is the model.
        model: The model object.
        library: How to read the name, parameters and inputs of this library's models.
        options: The name of the model, and what to record.
    """

    def __init__(
        self,
        recorder: Recorder,
        function: FunctionType,
        model: object,
        library: Library,
        options: Options,
    ) -> None:
        super().__init__(recorder, function, {**options, "version_on": PARTS - {"output"}})
        is_named = not function.__name__.startswith("_")  # private names and `__call__` add nothing
        self.span_name = f"{self.name}.{function.__name__}" if is_named else self.name
        self._model = _reference(model)
        self._kept: object = None  # keeps the model alive while its weights are hashed
        self._library = library
        signature = library.signature_of(model, function)
        parameters = _parameters(signature)
        self.bind = partial(_bind, parameters, library.inputs_of)
        name = library.data or next(iter(parameters), "")
        self._data = 1 + (parameters.index(name) if name in parameters else 0), name

    def data(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> object:
        """Return the argument that contains the rows of data. None if it was not passed."""
        place, name = self._data
        return args[place] if len(args) > place else kwargs.get(name)

    def with_data(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], row: object
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return a call's arguments, with `row` in place of the argument that contains the rows."""
        place, name = self._data
        if len(args) > place:
            return (*args[:place], row, *args[place + 1 :]), kwargs
        return args, {**kwargs, name: row}

    def forget_version(self) -> None:
        """Compute the version again at the next call, because the model was fitted."""
        self._versions, self._definition, self._marks = {}, None, None

    def _define(self, *, skips: bool = False) -> "definitions.Definition":
        model = self._model()
        params: dict[str, object] = {}
        with untrusted:  # the code of the user's class runs here
            params = definitions.plain_params(dict(self._library.params_of(model)))
        shown = Weighed(type=type(model).__qualname__)
        kind = weights.kind_of(model)
        unseen: list[str] = []
        marks = None
        lines = [type(model).__qualname__]
        if kind is None or skips:
            lines.append(definitions.params_text(params))
            why = "which cannot be read" if kind is None else "which were not read in time"
            unseen.append(f"weights of `{self.name}`, {why}")
        else:  # the weights include the parameters
            read = weights.weights_of(model, kind)
            if isinstance(read, weights.WeightsJob):
                self._kept = model
                raise weights.WeightsPending([read])
            shown["weights"] = read.digest
            unseen += [f"`{self.name}{gap.path}`, {gap.reason}" for gap in read.gaps]
            lines.append(read.digest)
            marks = weights.WeightMarks([self._find_model])
            self._kept = None
        return definitions.Definition(
            digest(lines), None, "", params, {}, {"model": shown}, tuple(unseen), marks=marks
        )

    def _find_model(self) -> Sequence[object]:
        model = self._model()
        return () if model is None else (model,)


def _parameters(function: Callable[..., Any]) -> Sequence[str]:
    """Return the names of a method's positional parameters, without ``self``."""
    with untrusted:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(function).parameters.values()
        return [parameter.name for parameter in parameters if parameter.kind in kinds][1:]
    return []


def _bind(
    parameters: Sequence[str],
    inputs_of: Callable[[dict[str, Any]], dict[str, Any]] | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> dict[str, Any]:
    """Return the given arguments by name. Defaults of a library's method are left out."""
    given = args[1:]
    inputs: dict[str, Any] = dict(zip(parameters, given, strict=False))
    if len(given) > len(parameters):
        inputs["args"] = list(given[len(parameters) :])
    if kwargs:
        inputs.update(kwargs)
    if inputs_of is not None:
        with untrusted:  # the library's own code runs here
            return inputs_of(inputs)
    return inputs


def _reference(model: object) -> Callable[[], object]:
    try:
        return weakref.ref(model)
    except TypeError:  # a class with __slots__ has no weak references
        return lambda: model


class ModelCall(Call):
    """The run of one call of a model's method, with its number of rows."""

    __slots__ = ()

    def count_rows(self, rows: int) -> None:
        """Record the number of rows as a tag."""
        span = self._span
        if self._recorder is None:
            return
        if self._unasked and type(span) is RunSpan:  # the fast path
            span.variables = {**span.variables, _ROWS_KEY: rows}
        else:
            self._tags = {**(self._tags or {}), ROWS: rows}

    def began_before(self, took_ns: int) -> None:
        """Move the start of the run back, because the call that it records is over."""
        if self._recorder is not None:
            self._start_ns = time_ns() - took_ns
            if type(self._span) is RunSpan:
                self._span._start_time = self._start_ns


def record_call(traced: TracedModel, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the method and record the call as one run."""
    function = traced.function
    call: Any = new(ModelCall)
    call.stage, token = UNOPENED, None
    try:
        if call.open(traced, args, kwargs):
            with quiet("instrument"):
                rows = rows_of(traced.data(args, kwargs))
                if rows is not None:
                    call.count_rows(rows)
            token = Hooks.attach(call.context)
            output = function(*args, **kwargs)
            try:
                Hooks.reset(token)
            except Hooks.ELSEWHERE as error:
                Hooks.reraise_host_error(error)
            call.finish(output)
            return output
    except BaseException as error:
        try:
            call.fail(error, token)
        finally:  # again, in case a signal handler raised in the first call
            call.fail(error, token)
        raise
    return function(*args, **kwargs)


def record_rows(traced: TracedModel, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the method and record one run per row, for the first 1,000 rows."""
    rows = rows_of(traced.data(args, kwargs))
    if rows is None or rows <= 1 or traced.recorder.active() is None:
        return record_call(traced, args, kwargs)
    began_ns = time_ns()
    try:
        output = traced.function(*args, **kwargs)
    except BaseException as error:
        failed = partial(_fail, error)
        _record_each(traced, args, kwargs, time_ns() - began_ns, failed)
        raise
    took_ns = time_ns() - began_ns
    with quiet("instrument"):
        outputs = _split(output, rows)
        _record_each(traced, args, kwargs, took_ns, lambda call, n: call.finish(outputs[n]))
    return output


def _fail(error: BaseException, call: ModelCall, _: int) -> None:
    call.fail(error)


@quiet("instrument")
def _record_each(
    traced: TracedModel,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    took_ns: int,
    end: Callable[[ModelCall, int], object],
) -> None:
    value = traced.data(args, kwargs)
    for number, row in enumerate(_split(value, rows_of(value) or 0)):
        call: Any = new(ModelCall)
        call.stage = UNOPENED
        if call.open(traced, *traced.with_data(args, kwargs, row)):
            call.began_before(took_ns)
            end(call, number)


def _split(value: Any, rows: int) -> Sequence[object]:
    """Return the first 1,000 rows of a value; a value with another number of rows for each row."""
    most = min(rows, MOST_ROWS)
    is_by_column = isinstance(value, list | tuple) and all(rows_of(part) == rows for part in value)
    if is_by_column and (isinstance(value, tuple) or len(value) != rows):
        return [*zip(*(_split(part, rows) for part in value), strict=True)]
    if rows_of(value) != rows:
        return [value] * most
    if isinstance(value, dict):
        parts = [_split(part, rows) for part in value.values()]
        return [dict(zip(value, row, strict=True)) for row in zip(*parts, strict=True)]
    if hasattr(value, "iloc") and hasattr(value, "columns"):
        records: list[object] = value.iloc[:most].to_dict("records")
        return records
    if hasattr(value, "to_dicts"):  # polars
        named: list[object] = value.head(most).to_dicts()
        return named
    if len(getattr(value, "shape", (0, 0))) == 1 and hasattr(value, "tolist"):
        numbers: list[object] = value[:most].tolist()
        return numbers
    return [value[number] for number in range(most)]


def first_value(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> object:
    """Return the first argument of a method after ``self``, by position or by name."""
    return args[1] if len(args) > 1 else next(iter(kwargs.values()), None)


def rows_of(value: Any) -> int | None:
    """Return the number of rows of a table, array or list. None for other values."""
    if type(value) in (list, tuple):
        return len(value)
    if isinstance(value, dict) and value:  # columns of a table, or inputs of a network
        return rows_of(next(iter(value.values())))
    with untrusted:
        shape = getattr(value, "shape", None)
        if shape is not None:
            return int(shape[0]) if len(shape) > 0 else None
        if hasattr(value, "num_row"):  # XGBoost's matrix
            return int(value.num_row())
    return None
