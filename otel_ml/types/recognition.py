"""Values of numpy, pandas and Pillow, recognised by their types' names: no package is loaded."""

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from otel_ml.types.data import Data

_PACKAGES: Final = frozenset({"numpy", "pandas", "PIL"})

_wrappers: dict[tuple[str, str], type[Data]] = {}

Wrapper = TypeVar("Wrapper", bound=type[Data])


def wraps(package: str, *names: str) -> Callable[[Wrapper], Wrapper]:
    """Make the decorated wrapper the one for these types of a package and their subclasses."""

    def decorate(cls: Wrapper) -> Wrapper:
        _wrappers.update(dict.fromkeys(((package, name) for name in names), cls))
        return cls

    return decorate


def find_wrapper(kind: type) -> type[Data] | None:
    """Return the wrapper for values of a type of another package's, or None."""
    for package, base in _foreign_bases(kind):
        found = _wrappers.get((package, base.__name__))
        if found is not None:
            return found
    return None


def is_from(package: str, kind: type) -> bool:
    """Tell whether a type, or a base of it, is a package's."""
    return any(package == found for found, _base in _foreign_bases(kind))


def bases(kind: type) -> tuple[type, ...]:
    """Return a type and its bases; its metaclass, which may be the host's, is not asked."""
    found: tuple[type, ...] = type.__dict__["__mro__"].__get__(kind)
    return found


def _foreign_bases(kind: type) -> Iterator[tuple[str, type]]:
    for base in bases(kind):
        module = base.__module__
        package = module.partition(".")[0] if isinstance(module, str) else ""
        if package in _PACKAGES:
            yield package, base
