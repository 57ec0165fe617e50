"""The values of a filter as parameters of its SQL, checked against what they are compared with."""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from otel_ml_collector.query.language import Ago, Comparison, Constant, Duration
from otel_ml_collector.query.language.source import bad
from otel_ml_collector.store.sql import Sql, parameter

SqlType = Literal["String", "Int64", "Float64", "Bool", "Array(String)", "Array(Float64)"]
SIGNS: Final = {
    "==": Sql("="),
    "!=": Sql("!="),
    "<": Sql("<"),
    "<=": Sql("<="),
    ">": Sql(">"),
    ">=": Sql(">="),
    "in": Sql("IN"),
    "not in": Sql("NOT IN"),
}
EQUALITY: Final = frozenset({"==", "!=", "in", "not in"})
NEGATIVE: Final = frozenset({"!=", "not in", "not contains"})
CONTAINS: Final = frozenset({"contains", "not contains"})


@dataclass(slots=True)
class Values:
    """Gives each value a parameter of its own."""

    parameters: dict[str, Any] = field(default_factory=dict)

    def add(self, sql_type: SqlType, value: object) -> Sql:
        """Take a value; returns its place in the SQL."""
        name = f"f{len(self.parameters)}"
        self.parameters[name] = value
        return parameter(name, sql_type)


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


def compare_number(values: Values, tree: Comparison) -> Sql:
    """Write operator and value behind a number.

    Raises:
        BadQuery: The value is none.
    """
    if tree.operator in CONTAINS or tree.operator == "matches":
        raise bad("Expected == != < <= > >= or in: this is a number", tree.column)
    found = [_number(tree, value) for value in values_of(tree)]
    is_list = tree.operator in {"in", "not in"}
    value = values.add("Array(Float64)", found) if is_list else values.add("Float64", found[0])
    return Sql("{sign} {value}").fill(sign=SIGNS[tree.operator], value=value)


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


def shown(value: Constant) -> str:
    """Write a value for an error."""
    if isinstance(value, Duration):
        return "a length of time"
    return "a time" if isinstance(value, Ago) else repr(value)[:60]


def like(text: str) -> str:
    r"""Write the pattern of LIKE that finds a text anywhere: ``%``, ``_`` and ``\`` are escaped."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
