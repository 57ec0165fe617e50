"""Records functions and libraries that environment variables name, without code changes."""

import inspect
import logging
import os
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any, Final

from otel_ml.errors import quiet
from otel_ml.libraries.table import LIBRARIES

_VARIABLE: Final = "OTEL_ML_TRACE"
_LIBRARIES: Final = "OTEL_ML_INSTRUMENT"

_logger = logging.getLogger(__name__)


class Instrumentor:
    """Records the functions in ``OTEL_ML_TRACE`` and the libraries in ``OTEL_ML_INSTRUMENT``.

    To use it, start your program with ``opentelemetry-instrument``.

    ``OTEL_ML_TRACE`` lists functions, such as ``shop:predict,shop:Ranker.rank``. They are traced
    from the moment their module is imported. Functions of the script that you start (``__main__``)
    cannot be traced this way.

    ``OTEL_ML_INSTRUMENT`` lists libraries, such as ``sklearn``. See `Client.instrument` for their
    names.
    """

    _active = False
    _patched: Final[list[tuple[Any, str, Any]]] = []
    _libraries: Final[list[str]] = []

    def instrument(self, **kwargs: Any) -> None:
        """Record the functions and libraries. Never raises. A second call does nothing."""
        kind = type(self)
        if kind._active:
            return
        kind._active = True
        with quiet("instrument"):
            for module, functions in _read(os.environ.get(_VARIABLE, "")).items():
                self._trace_in(module, functions)
        with quiet("instrument"):
            for library in filter(None, map(str.strip, os.environ.get(_LIBRARIES, "").split(","))):
                self._record(library)

    def uninstrument(self, **kwargs: Any) -> None:
        """Restore the original functions and classes.

        Code that imported a traced function by name earlier still calls the traced one.
        """
        kind = type(self)
        kind._active = False
        while kind._patched:
            owner, name, original = kind._patched.pop()
            setattr(owner, name, original)
        if kind._libraries:
            from otel_ml.default import uninstrument  # loaded when a library was recorded

            uninstrument(*kind._libraries)
            kind._libraries.clear()

    def _record(self, library: str) -> None:
        """Record a library. Models are recorded when the library is imported.

        Inherited variables do not count in workers of joblib: their parent records the call.
        """
        if library in LIBRARIES:
            if _is_joblib_worker():
                return
            from wrapt import register_post_import_hook  # installed with opentelemetry-instrument

            known = LIBRARIES[library]
            modules = [model_class.module for model_class in known.classes]
            for module in (*modules, *(function.modules[0] for function in known.functions)):
                register_post_import_hook(lambda _: self._instrument(library), module)
        else:
            self._instrument(library)

    def _instrument(self, library: str) -> None:
        if not type(self)._active:
            return
        if library in type(self)._libraries:
            from otel_ml.libraries.patches import PATCHES  # loaded with the first of its modules

            PATCHES.refresh()
            return
        from otel_ml.default import instrument  # imported only if the variable names libraries

        try:
            instrument(library)
            type(self)._libraries.append(library)
        except ValueError as error:
            _logger.warning("Invalid %s: %s", _LIBRARIES, error)

    def _trace_in(self, module: str, functions: Iterable[str]) -> None:
        from wrapt import register_post_import_hook  # installed with opentelemetry-instrument

        def patch(loaded: ModuleType) -> None:
            if not type(self)._active:
                return
            for function in functions:
                with quiet("instrument"):  # an exception must not break the host's import
                    self._trace(loaded, function)

        register_post_import_hook(patch, module)

    def _trace(self, module: ModuleType, function: str) -> None:
        """Replace a function or method by its traced form."""
        from otel_ml.default import trace  # imported only if the variable names functions

        *path, name = function.split(".")
        owner: Any = module
        for part in path:
            owner = getattr(owner, part, None)
        original = inspect.getattr_static(owner, name, None)
        if original is None:
            _logger.warning(
                "Nothing to trace: %s names %s:%s, which does not exist",
                *(_VARIABLE, module.__name__, function),
            )
            return
        setattr(owner, name, trace(original))
        type(self)._patched.append((owner, name, original))


def _is_joblib_worker() -> bool:
    """Return whether joblib started this process, for example for a grid search."""
    return any(argument.startswith("LokyProcess-") for argument in sys.orig_argv)


def _read(text: str) -> dict[str, list[str]]:
    """Parse the variable. Returns function names by module."""
    entries: dict[str, list[str]] = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        module, colon, function = entry.partition(":")
        if module and colon and function:
            entries.setdefault(module, []).append(function)
        else:
            _logger.warning("Invalid %s %r: expected module:function", _VARIABLE, entry)
    return entries
