"""A filter as the condition of a statement: on model calls, unless it speaks of kinds."""

from typing import Final

from otel_ml_collector.query.filter import check_patterns, compile_filter
from otel_ml_collector.query.language import fields_of
from otel_ml_collector.store.apart import NOTHING, Apart, find_apart
from otel_ml_collector.store.condition import Condition, all_of
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql

_MODEL_CALLS: Final = Condition(Sql("kind != 'span'"))


def compile_where(
    reader: Reader,
    project: str,
    where: str,
    *,
    is_bounded: bool = False,
    apart: Apart | None = None,
) -> tuple[Condition, bool]:
    """Compile a filter on recorded runs; the second value tells whether it leaves out much.

    Args:
        reader: The store.
        project: Whose runs.
        where: The filter.
        is_bounded: Whether the question has a bound in time beside it.
        apart: What of the project came apart from its runs; None where that is not known yet.

    Raises:
        BadQuery: The filter is wrong.
    """
    if apart is None:
        apart = find_apart(reader, project) if where else NOTHING
    tree, condition = compile_filter(where, apart)
    check_patterns(reader, project, tree, is_bounded=is_bounded)
    if "kind" in fields_of(tree):
        return condition, True
    return all_of([_MODEL_CALLS, condition]), tree is not None
