"""The kinds of values of other libraries, such as pandas tables and NumPy arrays.

This is the only table of their packages and classes. For each kind, `otel_ml.capture.taker` has a
function that takes a snapshot of inputs and outputs, and `otel_ml.types` has a wrapper that stores
logged values. A class is found by its package and name, so that no library is imported.
"""

import enum
from collections.abc import Iterator
from typing import Final

from otel_ml.errors import untrusted


class LibraryKind(enum.Enum):
    """A kind of values: the top-level package, and the names of its classes.

    A subclass has the kind of its first base class that is here.
    """

    NUMPY_ARRAY = ("numpy", "ndarray")
    NUMPY_SCALAR = ("numpy", "generic")
    PANDAS_TABLE = ("pandas", "DataFrame")
    PANDAS_COLUMN = ("pandas", "Series")
    PANDAS_MISSING = ("pandas", "NAType", "NaTType")
    POLARS_TABLE = ("polars", "DataFrame")
    POLARS_COLUMN = ("polars", "Series")
    ARROW_TABLE = ("pyarrow", "Table", "RecordBatch")
    ARROW_COLUMN = ("pyarrow", "Array", "ChunkedArray")
    ARROW_SCALAR = ("pyarrow", "Scalar")
    ARROW_SCHEMA = ("pyarrow", "Schema")
    TORCH_TENSOR = ("torch", "Tensor")
    JAX_ARRAY = ("jaxlib", "ArrayImpl")
    CUPY_ARRAY = ("cupy", "ndarray")
    # the DOK formats derive from dict first
    SPARSE_MATRIX = ("scipy", "dok_array", "dok_matrix", "sparray", "spmatrix")
    PILLOW_IMAGE = ("PIL", "Image")
    MATPLOTLIB_FIGURE = ("matplotlib", "Figure")
    MATPLOTLIB_AXES = ("matplotlib", "Axes")
    PLOTLY_FIGURE = ("plotly", "BaseFigure")


_BY_CLASS: Final = {(kind.value[0], name): kind for kind in LibraryKind for name in kind.value[1:]}
_PACKAGES: Final = frozenset(kind.value[0] for kind in LibraryKind)


def root_of(named: object) -> str:
    """Return the package in which a class or function is defined; empty if it is unknown."""
    module = None
    with untrusted:
        module = named.__module__
    return module.partition(".")[0] if type(module) is str else ""


def kind_of(base: type) -> LibraryKind | None:
    """Return the kind of a class itself, without its base classes. None for other classes."""
    package = root_of(base)
    return _BY_CLASS.get((package, base.__name__)) if package in _PACKAGES else None


def bases(kind: type) -> tuple[type, ...]:
    """Return a type and its base classes, without calling its metaclass."""
    order: tuple[type, ...] = type.__dict__["__mro__"].__get__(kind)
    return order


def find_kinds(kind: type) -> Iterator[LibraryKind]:
    """Yield the kinds of a class and its base classes, in the order of inheritance."""
    for base in bases(kind):
        found = kind_of(base)
        if found is not None:
            yield found


def is_from(package: str, kind: type) -> bool:
    """Tell whether a type, or one of its base classes, belongs to a package."""
    return any(package == root_of(base) for base in bases(kind))
