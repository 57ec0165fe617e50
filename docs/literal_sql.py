"""A plugin of mypy: text of SQL is a literal, as `LiteralString` says, which mypy takes for `str`.

Checked are those parameters of `otel_ml_collector.store.sql` that are a `LiteralString`.
"""

from collections.abc import Callable
from typing import Final

from mypy.plugin import FunctionContext, Plugin
from mypy.types import Instance, LiteralType, ProperType, Type, UnionType, get_proper_type

# The place of that parameter among those of the function.
_LITERAL: Final = {
    "otel_ml_collector.store.sql.Sql": 0,
    "otel_ml_collector.store.sql.parameter": 1,
}


class LiteralSql(Plugin):
    """Refuses text of SQL that may have come from outside."""

    def get_function_hook(self, fullname: str) -> Callable[[FunctionContext], Type] | None:
        """Return what checks the calls of a function, where it takes a literal."""
        place = _LITERAL.get(fullname)
        return None if place is None else lambda context: _check(context, place)


def _check(context: FunctionContext, place: int) -> Type:
    for found in context.arg_types[place]:
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
    """Return the plugin, as mypy asks for it."""
    return LiteralSql
