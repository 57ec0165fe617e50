"""A piece of a WHERE clause whose values are parameters: SQL text is never built from input."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Condition:
    """SQL that is true or false for a row of `runs`, and the values of its parameters."""

    sql: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_always(self) -> bool:
        """Whether it leaves out nothing."""
        return self.sql == "1"


ALWAYS: Final = Condition("1")


def join(operator: str, conditions: Iterable[Condition]) -> Condition:
    """Join conditions with ``AND`` or ``OR``."""
    parts = list(conditions)
    parameters: dict[str, Any] = {}
    for part in parts:
        parameters.update(part.parameters)
    return Condition(f" {operator} ".join(f"({part.sql})" for part in parts), parameters)
