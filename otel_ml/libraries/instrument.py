"""Starts and stops the recording of a library's models, see `Client.instrument`."""

import importlib
import logging
import sys
import weakref
from collections.abc import Mapping
from functools import partial
from types import FunctionType
from typing import Any, Final

from otel_ml.arguments import show
from otel_ml.errors import quiet, untrusted
from otel_ml.functions import Options
from otel_ml.libraries.model_calls import TracedModel, record_call, record_rows
from otel_ml.libraries.options import ModelOptions
from otel_ml.libraries.patches import HERE, INNERMOST, PATCHES, WORKERS, Patched
from otel_ml.libraries.table import LIBRARIES, Library, TrainingFunction
from otel_ml.libraries.trainings import Training, record_function
from otel_ml.recorder import Recorder

_logger = logging.getLogger(__name__)
_MOST_TRACED: Final = 10_000


class ModelRecorder:
    """Records the models of one library.

    Args:
        library: The library.
        recorder: Records the runs.
        options: Options that `check_model_options` accepted.
    """

    def __init__(self, library: Library, recorder: Recorder, options: ModelOptions) -> None:
        self._library = library
        self._recorder = recorder
        self._options = options
        self._names = options.get("names")
        self._records_fits = options.get("fit", True)
        self._record = record_rows if options.get("rows") == "each" else record_call
        self._traced: dict[tuple[int, FunctionType], tuple[Any, TracedModel]] = {}
        depth = options.get("depth", 1)
        functions = [partial(self._record_function, known) for known in library.functions]
        self._patched = Patched(library, depth, self._record_call, self._record_training, functions)

    def start(self) -> None:
        """Replace the methods of the library."""
        PATCHES.add(self._patched)

    def uninstrument(self) -> None:
        """Restore the methods of the library exactly. A second call does nothing."""
        PATCHES.remove(self._patched)

    def _record_call(
        self, function: FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        traced = None
        known = self._traced.get((id(args[0]), function)) if args else None
        if known is not None and known[0]() is args[0]:
            traced = known[1]
        elif args:
            with quiet("instrument"):
                traced = self._find(function, args[0])
        if traced is None or WORKERS.is_worker:
            return function(*args, **kwargs)
        before = HERE.depth
        try:
            if self._library.is_use is not None and not self._is_use(args[0]):
                HERE.depth = INNERMOST
                return function(*args, **kwargs)
            HERE.depth = before + 1
            return self._record(traced, args, kwargs)
        finally:
            HERE.depth = before

    def _record_training(
        self, function: FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if not args or not self._is_model(args[0]) or WORKERS.is_worker:
            return function(*args, **kwargs)
        before, HERE.depth = HERE.depth, INNERMOST
        try:
            if not self._records_fits:
                return function(*args, **kwargs)
            name = self._name(args[0])
            training = Training(self._recorder, self._library, name)
            return training.record(function, args, kwargs)
        finally:
            HERE.depth = before
            self._forget_versions(args[0])

    def _record_function(
        self,
        trained: TrainingFunction,
        function: FunctionType,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if WORKERS.is_worker:
            return function(*args, **kwargs)
        before, HERE.depth = HERE.depth, INNERMOST
        try:
            if not self._records_fits:
                return function(*args, **kwargs)
            return record_function(self._recorder, trained, function, args, kwargs)
        finally:
            HERE.depth = before

    def _find(self, function: FunctionType, model: Any) -> TracedModel | None:
        if not self._is_model(model):
            return None
        key = id(model), function
        options: Options = {"name": self._name(model), "capture": self._options.get("capture")}
        traced = TracedModel(self._recorder, function, model, self._library, options)
        try:
            reference = weakref.ref(model, lambda _: self._traced.pop(key, None))
        except TypeError:  # a class with __slots__ has no weak references
            return traced
        if len(self._traced) >= _MOST_TRACED:
            self._traced.clear()
        self._traced[key] = reference, traced
        return traced

    def _is_use(self, model: object) -> bool:
        is_use = self._library.is_use
        with untrusted:  # the library's own code runs here
            return is_use is None or is_use(model)
        return False

    def _is_model(self, value: object) -> bool:
        """Return whether a value is a model. A method may be of a mixin that other classes have."""
        return any(kind.is_base_of(type(value)) for kind in self._library.classes)

    def _name(self, model: Any) -> str:
        name: object = None
        with untrusted:  # the user's function and class run here
            if isinstance(self._names, Mapping):
                name = next((text for key, text in self._names.items() if key is model), None)
            elif self._names is not None:
                name = self._names(model)
            name = name or self._library.name_of(model)
        return name if isinstance(name, str) and name else type(model).__name__

    def _forget_versions(self, model: object) -> None:
        for (number, _), (reference, traced) in [*self._traced.items()]:
            if number == id(model) and reference() is model:
                traced.forget_version()


def instrument_models(
    library: str, recorder: Recorder, options: ModelOptions
) -> ModelRecorder | None:
    """Record the predictions and trainings of a library's models.

    Args:
        library: A key of `LIBRARIES`.
        recorder: Records the runs.
        options: The keyword arguments that the user passed.

    Returns:
        Object that can stop the recording. None if another client records the library already.

    Raises:
        ValueError: The library is not installed.
    """
    known = LIBRARIES[library]
    try:
        # Skip this while the library is being imported: only some of its modules can be imported
        # then.
        if not _is_importing(library):
            for model_class in known.classes:
                importlib.import_module(model_class.module)
    except ModuleNotFoundError as error:
        raise ValueError(f"Invalid library {show(library)}: expected it to be installed") from error
    if PATCHES.is_active(known):
        _logger.warning("%s is already instrumented: its runs go to another client", library)
        return None
    made = ModelRecorder(known, recorder, options)
    made.start()
    return made


def _is_importing(package: str) -> bool:
    specification = getattr(sys.modules.get(package), "__spec__", None)
    return bool(getattr(specification, "_initializing", False))
