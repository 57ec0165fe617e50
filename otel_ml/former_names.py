"""Former spellings of public Python names. Code that still uses them keeps working.

A field's former name is a property of its class. A former name of a module is found by the
module's ``__getattr__``, which calls `find_renamed`.
"""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Final

FORMER_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "otel_ml.reader.Told": "otel_ml.reader.UnmatchedRecords",
        "otel_ml.recorder.Stats.held": "otel_ml.recorder.Stats.pending",
    }
)


def find_renamed(module: str, name: str) -> object:
    """Return an object of a module by a name that it had in an earlier version of otel-ml.

    With it, code that uses the old name still works.

    Args:
        module: The module, such as ``otel_ml.reader``.
        name: The old name.

    Raises:
        AttributeError: The module never had this name.
    """
    current = FORMER_NAMES.get(f"{module}.{name}")
    if current is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    home, _, new = current.rpartition(".")
    return getattr(import_module(home), new)
