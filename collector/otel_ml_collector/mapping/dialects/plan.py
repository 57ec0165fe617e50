"""What the names of a span's attributes alone decide, worked out once for each set of names.

A sender names the attributes of its spans alike: looking for every name of every dialect on each
span cost more than reading what is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.mapping.dialects import gen_ai, own, plain
from otel_ml_collector.mapping.dialects.order import DIALECTS, Dialect
from otel_ml_collector.mapping.dialects.table import Names, find_names
from otel_ml_collector.span import Value

_PLANS: Final = 1_000
_MAX_NAMES: Final = 128
_MAX_CHARS: Final = 8_192


@dataclass(frozen=True, slots=True)
class Plan:
    """How spans with the same attribute names are read.

    Attributes:
        own: Names of our own, None when there are none.
        gen_ai: Names of the GenAI conventions, None when there are none.
        rest: Those that stay attributes unless their value fills a field, sorted.
        dialects: The more specific dialects that are there, by precedence, with their names.
    """

    own: own.Names | None
    gen_ai: gen_ai.Names | None
    rest: tuple[str, ...]
    dialects: tuple[tuple[Dialect, Names], ...] = ()


class Plans:
    """The plans of the last sets of names; any thread may ask."""

    def __init__(self) -> None:
        self._plans: dict[tuple[str, ...], Plan] = {}

    def __len__(self) -> int:
        """Count the plans that are kept."""
        return len(self._plans)

    def find(self, attributes: Mapping[str, Value]) -> Plan:
        """Find the plan of a span, or make it; of names that are many or long none is kept."""
        keys = tuple(attributes)
        plan = self._plans.get(keys)
        if plan is None:
            plan = _make_plan(keys)
            if len(keys) <= _MAX_NAMES and sum(map(len, keys)) <= _MAX_CHARS:
                if len(self._plans) >= _PLANS:
                    self._plans.clear()
                self._plans[keys] = plan
        return plan


def _make_plan(keys: tuple[str, ...]) -> Plan:
    held = own.held_names(keys) | plain.HELD
    return Plan(
        own.find_names(keys),
        gen_ai.find_names(keys),
        tuple(sorted(key for key in keys if key not in held)),
        tuple(
            (one, there) for one in DIALECTS if (there := find_names(one.table, keys)) is not None
        ),
    )
