"""A mypy plugin that accepts only literals as SQL. mypy itself treats `LiteralString` as `str`.

It checks the parameters of `otel_ml_collector.store.sql` that are annotated with `LiteralString`.
"""

from collections.abc import Callable
from typing import Final

from mypy.plugin import FunctionContext, Plugin
from mypy.types import Instance, LiteralType, ProperType, Type, UnionType, get_proper_type

# The index of the parameter to check, by function.
_LITERAL: Final = {
    "otel_ml_collector.store.sql.Sql": 0,
    "otel_ml_collector.store.sql.parameter": 1,
}


class LiteralSql(Plugin):
    """Rejects SQL that is not a literal, because it could contain user input."""

    def get_function_hook(self, fullname: str) -> Callable[[FunctionContext], Type] | None:
        """Return the check for calls of a function, or None if it takes no SQL."""
        index = _LITERAL.get(fullname)
        return None if index is None else lambda context: _check(context, index)


def _check(context: FunctionContext, index: int) -> Type:
    for found in context.arg_types[index]:
        if not _is_literal(get_proper_type(found)):
            context.api.fail(
                f"SQL is built from literals only: expected one, found {found}", context.context
            )
    return context.default_return_type


def _is_literal(found: ProperType) -> bool:
    if isinstance(found, UnionType):
        return all(_is_literal(get_proper_type(item)) for item in found.items)
    return isinstance(found, LiteralType) or (
        isinstance(found, Instance) and found.last_known_value is not None
    )


def plugin(_version: str) -> type[Plugin]:
    """Return the plugin class. mypy calls this function."""
    return LiteralSql
