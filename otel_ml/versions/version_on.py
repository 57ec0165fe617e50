"""What a decorator is told of versions: the parts that count, and declared parameters."""

from collections.abc import Callable, Collection, Mapping
from typing import Final, Literal, get_args

Part = Literal["source", "signature", "params", "helpers", "constants", "output"]
Params = Mapping[str, object] | Callable[[], Mapping[str, object]]

PARTS: Final[frozenset[Part]] = frozenset(get_args(Part))


def check_version_on(parts: Collection[Part]) -> frozenset[Part]:
    """Return the parts of a definition that a version counts.

    Raises:
        ValueError: There is none, or one is unknown.
    """
    if isinstance(parts, str) or not parts or not PARTS.issuperset(parts):
        told = parts if isinstance(parts, str) else sorted(map(str, parts))
        raise ValueError(
            f"Invalid version_on {told!r}: expected a collection of some of {sorted(PARTS)}"
        )
    return frozenset(parts)
