"""Traces the functions that an environment variable names, without code changes."""

import inspect
import logging
import os
from collections.abc import Iterable
from types import ModuleType
from typing import Any, Final

from otel_ml.errors import quiet

_VARIABLE: Final = "OTEL_ML_TRACE"

_logger = logging.getLogger(__name__)


class Instrumentor:
    """Traces the functions named by ``OTEL_ML_TRACE``, such as ``shop:predict,shop:Ranker.rank``.

    Start your program with ``opentelemetry-instrument`` to use it. Each function is replaced right
    after its module is imported, so ``from shop.model import predict`` gets the traced function.
    Functions of the started script (``__main__``) cannot be traced this way. If the variable is not
    set, nothing is traced.
    """

    _active = False
    _patched: Final[list[tuple[Any, str, Any]]] = []

    def instrument(self, **kwargs: Any) -> None:
        """Trace the functions. Never raises. A second call does nothing."""
        kind = type(self)
        if kind._active:
            return
        kind._active = True
        with quiet("instrument"):
            for module, functions in _read(os.environ.get(_VARIABLE, "")).items():
                self._trace_in(module, functions)

    def uninstrument(self, **kwargs: Any) -> None:
        """Restore the original functions.

        Code that imported a function by name earlier keeps the traced one.
        """
        kind = type(self)
        kind._active = False
        while kind._patched:
            owner, name, original = kind._patched.pop()
            setattr(owner, name, original)

    def _trace_in(self, module: str, functions: Iterable[str]) -> None:
        from wrapt import register_post_import_hook  # comes with opentelemetry-instrument

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
