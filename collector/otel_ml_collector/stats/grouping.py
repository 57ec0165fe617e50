"""By what statistics group runs: a field of the filter language, or a tag."""

import re
from typing import Final

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.stats.sql import Grouping
from otel_ml_collector.store.apart import Apart, late_tags
from otel_ml_collector.store.sql import EMPTY, Sql, identifier
from otel_ml_collector.store.targets import TAG_TEXT

_DAILY: Final = ("model", "kind", "outcome", "digest")
_COLUMNS: Final = (
    *_DAILY,
    *("name", "error_type", "error_message", "session", "user", "environment", "release"),
    *("provider", "provider_model", "span_kind", "dialect"),
)
GROUPS: Final = ("version", *_COLUMNS, 'tags["name"]')
_TAG: Final = re.compile(r"""tags\[(?:"([^"\\]{1,200})"|'([^'\\]{1,200})')\]""")
_LABEL: Final = Sql("{group:String}")


def make_grouping(group: str, apart: Apart) -> Grouping:
    """Make the grouping that a text names; empty for one group of all.

    Raises:
        BadQuery: Runs cannot be grouped by that.
    """
    if not group:
        return Grouping(Sql("''"), is_daily=True)
    if group == "version":
        return Grouping(EMPTY, is_daily=True, is_versions=True)
    if group in _COLUMNS:
        column = identifier(group, _COLUMNS)
        return Grouping(Sql("toString({column})").fill(column=column), is_daily=group in _DAILY)
    match = _TAG.fullmatch(group)
    if match is None:
        raise BadQuery(
            f"Invalid group {group[:80]!r}: expected one of {', '.join(GROUPS)}", "group"
        )
    return _by_tag(match[1] or match[2], apart)


def _by_tag(name: str, apart: Apart) -> Grouping:
    """Group by the text of a tag: the newest one, also one that came later."""
    value, join = Sql("tags[{label}]").fill(label=_LABEL), EMPTY
    if apart.tags:
        join = Sql("""
          LEFT JOIN (
            SELECT trace_id AS late_trace, span_id AS late_span, newest, newest_ns
            FROM ({late_tags})
          ) AS late ON late_trace = trace_id AND late_span = span_id""").fill(
            late_tags=late_tags(_LABEL, apart)
        )
        is_newer = Sql("NOT mapContains(tags, {label}) OR newest_ns >= start_ns + latency_ns").fill(
            label=_LABEL
        )
        value = Sql("if(newest != '' AND ({is_newer}), newest, {value})").fill(
            is_newer=is_newer, value=value
        )
    return Grouping(TAG_TEXT.fill(value=value), join=join, parameters={"group": name})
