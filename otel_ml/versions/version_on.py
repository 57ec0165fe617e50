"""Decorator options for versions: which parts count, and declared parameters."""

from collections.abc import Callable, Collection, Mapping
from typing import Final, Literal, get_args

from otel_ml.arguments import invalid
from otel_ml.capture.description import text_of

Part = Literal["source", "signature", "params", "helpers", "constants", "output"]
Params = Mapping[str, object] | Callable[[], Mapping[str, object]]

PARTS: Final[frozenset[Part]] = frozenset(get_args(Part))


def check_version_on(parts: Collection[Part]) -> frozenset[Part]:
    """Check the decorator option `version_on`: the parts whose change creates a new version.

    Raises:
        ValueError: The collection is empty or contains an unknown part.
    """
    is_one = issubclass(type(parts), Collection) and not issubclass(type(parts), str)
    texts = sorted(map(text_of, parts)) if is_one else parts
    if not is_one or not texts or not PARTS.issuperset(texts):
        raise invalid("version_on", texts, f"a collection of some of {sorted(PARTS)}")
    return frozenset(parts)
