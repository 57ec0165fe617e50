"""Which filters look at few runs, and whether their regular expressions can be used."""

import re
from typing import Final

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.query.filter.payloads import is_indexed
from otel_ml_collector.query.language import Both, Comparison, Either, Tree, comparisons_of
from otel_ml_collector.query.language.names import FIELD_NAMES, Kind
from otel_ml_collector.query.language.source import bad
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql

_WORD: Final = re.compile("[0-9A-Za-z]{4}")
_KEYS: Final = frozenset({"run_id", "trace_id", "parent_run_id", "trace_key"})
_PROBE: Final = Sql("SELECT match({project:String}, {pattern:String}) AS one")


def check_patterns(reader: Reader, project: str, tree: Tree | None, *, is_bounded: bool) -> None:
    """Refuse regular expressions that cannot be read, or that would be tried on every run.

    Args:
        reader: The store, whose engine reads them.
        project: Whose runs.
        tree: The filter.
        is_bounded: Whether the question has a bound in time already.

    Raises:
        BadQuery: One of them is wrong, or stands alone.
    """
    patterns = [one for one in comparisons_of(tree) if one.operator == "matches"]
    if not patterns:
        return
    if tree is not None and not (is_bounded or is_narrow(tree)):
        raise bad(
            'matches would read every run: expected a bound such as last("24h"), or a condition '
            'such as tags["client"] == "bigshot", that must hold too',
            patterns[0].field.column,
        )
    for pattern in patterns:
        try:
            reader.rows(_PROBE, {"project": project, "pattern": pattern.value})
        except BadQuery as error:
            raise bad(str(error), pattern.column) from error


def is_narrow(tree: Tree) -> bool:
    """Tell whether a filter can only hold for runs that an index, or their time, finds."""
    if isinstance(tree, Comparison):
        return _is_narrow(tree)
    if isinstance(tree, Both):
        return any(is_narrow(part) for part in tree.parts)
    return isinstance(tree, Either) and all(is_narrow(part) for part in tree.parts)


def _is_narrow(tree: Comparison) -> bool:
    if tree.field.name == "start":
        return tree.operator in {">", ">="}
    if tree.field.name in _KEYS or FIELD_NAMES[tree.field.name].kind is Kind.TAG:
        return tree.operator in {"==", "in"}
    return (
        FIELD_NAMES[tree.field.name].kind is Kind.PAYLOAD
        and is_indexed(tree)
        and _WORD.search(str(tree.value)) is not None
    )
