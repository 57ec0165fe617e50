"""The values of a filter as parameters of its SQL, checked against what they are compared with."""

from dataclasses import dataclass, field
from typing import Any, Final

from otel_ml_collector.query.language import Ago, Comparison, Constant, Duration
from otel_ml_collector.query.language.source import bad

_SIGNS: Final = {"==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
EQUALITY: Final = frozenset({"==", "!=", "in", "not in"})
NEGATIVE: Final = frozenset({"!=", "not in", "not contains"})
CONTAINS: Final = frozenset({"contains", "not contains"})


@dataclass(slots=True)
class Values:
    """Gives each value a parameter of its own."""

    parameters: dict[str, Any] = field(default_factory=dict)

    def add(self, sql_type: str, value: object) -> str:
        """Take a value; returns its place in the SQL."""
        name = f"f{len(self.parameters)}"
        self.parameters[name] = value
        return f"{{{name}:{sql_type}}}"


def values_of(tree: Comparison) -> tuple[Constant, ...]:
    """Return the constants that a field is compared with."""
    return tree.value if isinstance(tree.value, tuple) else (tree.value,)


def text_of(tree: Comparison) -> str:
    """Return the one text of a comparison.

    Raises:
        BadQuery: It is none.
    """
    (value,) = values_of(tree)
    check_text(value, tree.column)
    return str(value)


def compare_number(values: Values, tree: Comparison) -> str:
    """Write operator and value behind a number.

    Raises:
        BadQuery: The value is none.
    """
    if tree.operator in CONTAINS or tree.operator == "matches":
        raise bad("Expected == != < <= > >= or in: this is a number", tree.column)
    found = [_number(tree, value) for value in values_of(tree)]
    if tree.operator in {"in", "not in"}:
        return f"{tree.operator.upper()} {values.add('Array(Float64)', found)}"
    return f"{_SIGNS[tree.operator]} {values.add('Float64', found[0])}"


def _number(tree: Comparison, value: Constant) -> float:
    """Return the number that a field is compared with: of a length of time its milliseconds."""
    if isinstance(value, Duration) and tree.field.name in {"latency", "latency_ms"}:
        return value.length_ns / 1e6
    if tree.field.name == "latency":
        raise bad(
            f"Expected a length of time such as 200ms or 1.5s, found {shown(value)}", tree.column
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad(f"Expected a number, found {shown(value)}", tree.column)
    return value


def check_text(value: Constant, column: int) -> None:
    """Refuse what is no text.

    Raises:
        BadQuery: It is none.
    """
    if not isinstance(value, str):
        raise bad(f"Expected a text in quotes, found {shown(value)}", column)


def sign_of(tree: Comparison) -> str:
    """Return the operator as SQL has it."""
    return _SIGNS[tree.operator]


def shown(value: Constant) -> str:
    """Write a value for an error."""
    if isinstance(value, Duration):
        return "a length of time"
    return "a time" if isinstance(value, Ago) else repr(value)[:60]


def like(text: str) -> str:
    r"""Write the pattern of LIKE that finds a text anywhere: ``%``, ``_`` and ``\`` are escaped."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
