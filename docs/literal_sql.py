"""A mypy plugin that checks the literals of SQL statements.

It accepts only literals as SQL: mypy itself treats `LiteralString` as `str`. It checks the
parameters of `otel_ml_collector.store.sql` that are annotated with `LiteralString`.

In the collector, only `store` and `fold` may read and write the tables of facts. The plugin refuses
a literal that names such a table in any other file.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Final

from mypy.plugin import FunctionContext, Plugin
from mypy.types import Instance, LiteralType, ProperType, Type, UnionType, get_proper_type

# Tables of facts. Any file may read `runs` and `open_runs`: `fold` puts the final values there.
FACT_TABLES: Final = frozenset(
    {"late_logs", "late_tags", "metrics", "scores", "settled", "trace_keys"}
)
_ANY_TABLE: Final = "|".join(sorted(FACT_TABLES))
# A table in a statement, or alone, to be inserted into a statement.
_NAMES_FACTS: Final = re.compile(
    rf"\b(?:FROM|JOIN|INTO)\s+({_ANY_TABLE})\b|\A\s*({_ANY_TABLE})(?:\s+FINAL)?\s*\Z", re.IGNORECASE
)
_COLLECTOR: Final = ("collector", "otel_ml_collector")
_OWN_FACTS: Final = frozenset({"store", "fold"})
# The index of the parameter to check, by function.
_LITERAL: Final = {
    "otel_ml_collector.store.sql.Sql": 0,
    "otel_ml_collector.store.sql.parameter": 1,
}


class LiteralSql(Plugin):
    """Rejects SQL that could contain user input, and SQL that names a table of facts."""

    def get_function_hook(self, fullname: str) -> Callable[[FunctionContext], Type] | None:
        """Return the check for calls of a function, or None if it takes no SQL."""
        index = _LITERAL.get(fullname)
        return None if index is None else lambda context: _check(context, index)


def _check(context: FunctionContext, index: int) -> Type:
    for found in map(get_proper_type, context.arg_types[index]):
        if not _is_literal(found):
            context.api.fail(
                f"SQL is built from literals only: expected one, found {found}", context.context
            )
        elif not _may_name_facts(context.api.path):
            for table in _find_fact_tables(found):
                context.api.fail(
                    f"Only store and fold may name the table of facts {table!r}: call a function "
                    "of otel_ml_collector.store instead, such as one of store.facts",
                    context.context,
                )
    return context.default_return_type


def _is_literal(found: ProperType) -> bool:
    if isinstance(found, UnionType):
        return all(_is_literal(get_proper_type(item)) for item in found.items)
    return isinstance(found, LiteralType) or (
        isinstance(found, Instance) and found.last_known_value is not None
    )


def _may_name_facts(path: str) -> bool:
    """Return whether a file is in `store` or `fold`, or not in the collector at all."""
    parts = PurePath(path).parts
    rooms = [
        parts[place + len(_COLLECTOR)]
        for place in range(len(parts) - len(_COLLECTOR))
        if parts[place : place + len(_COLLECTOR)] == _COLLECTOR
    ]
    return not rooms or rooms[-1] in _OWN_FACTS


def _find_fact_tables(found: ProperType) -> Iterator[str]:
    """Yield the tables of facts that the literals of a type name."""
    if isinstance(found, UnionType):
        for item in found.items:
            yield from _find_fact_tables(get_proper_type(item))
    elif isinstance(found, Instance) and found.last_known_value is not None:
        yield from _find_fact_tables(found.last_known_value)
    elif isinstance(found, LiteralType):
        for match in _NAMES_FACTS.finditer(str(found.value)):
            yield match[1] or match[2]


def plugin(_version: str) -> type[Plugin]:
    """Return the plugin class. mypy calls this function."""
    return LiteralSql
