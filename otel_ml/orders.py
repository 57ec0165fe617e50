"""Sort orders of a list of runs, shared by the reader, the API, the command line and the pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ListOrder:
    """A sort order for a list of runs, such as ``newest`` or ``slowest``.

    Attributes:
        name: Name of the order. ``JUDGE`` in it is a placeholder for a judge's name, as in
            ``worst:JUDGE``.
        about: Which runs come first, as text for help messages.
        column: Field of the run by which the list is sorted.
        is_ascending: True if the smallest value comes first.
    """

    name: str
    about: str
    column: str
    is_ascending: bool = False


JUDGE: Final = "JUDGE"
ORDERS: Final[Sequence[ListOrder]] = (
    ListOrder("newest", "the last start", "start"),
    ListOrder("oldest", "the first start", "start", is_ascending=True),
    ListOrder("slowest", "the highest latency", "latency_ms"),
    ListOrder("costliest", "the highest cost", "cost"),
    ListOrder("most_tokens", "most tokens, in and out", "tokens"),
    ListOrder(f"worst:{JUDGE}", "the worst score of a judge", "scores"),
    ListOrder(f"best:{JUDGE}", "the best score of a judge", "scores"),
    ListOrder(f"lowest:{JUDGE}", "the lowest score of a judge", "scores", is_ascending=True),
    ListOrder(f"highest:{JUDGE}", "the highest score of a judge", "scores"),
)
WORST: Final = "worst"
BEST: Final = "best"
LOWEST: Final = "lowest"
HIGHEST: Final = "highest"
# Orders that mean lowest or highest first, depending on whether lower is better for the judge.
BY_WORTH: Final = frozenset({WORST, BEST})
NEWEST: Final = "newest"
OLDEST: Final = "oldest"
# Sorted by time, a list contains all runs. Otherwise it contains only ended runs with a value.
BY_TIME: Final = frozenset({NEWEST, OLDEST})
ORDER_NAMES: Final = ", ".join(order.name for order in ORDERS)
ORDER_CHARS: Final = 300


def resolve_order(order: str, *, lower_is_better: bool) -> str:
    """Replace the sort orders ``worst`` and ``best`` of a judge by ``lowest`` or ``highest``.

    For example, ``worst:toxicity`` becomes ``highest:toxicity`` if lower scores are better.

    Args:
        order: Name of a sort order. If it is not ``worst`` or ``best``, it is returned unchanged.
        lower_is_better: Whether lower scores of this judge are better.
    """
    way, _, judge = order.partition(":")
    if not judge or way not in BY_WORTH:
        return order
    return f"{HIGHEST if (way == WORST) == lower_is_better else LOWEST}:{judge}"


def read_order(text: str) -> str:
    """Return the name of an order, unchanged if it is one.

    Raises:
        ValueError: There is no such order.
    """
    if any(text == order.name for order in ORDERS if JUDGE not in order.name):
        return text
    way, colon, judge = text.partition(":")
    known = {order.name.partition(":")[0] for order in ORDERS if JUDGE in order.name}
    if colon and way in known and judge and len(text) <= ORDER_CHARS:
        return text
    raise ValueError(f"Invalid order {text[:80]!r}: expected one of {ORDER_NAMES}")
