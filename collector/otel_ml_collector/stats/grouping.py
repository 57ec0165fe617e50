"""By what statistics group runs: a field of the filter language, or a tag."""

import re
from typing import Final

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.stats.sql import Grouping
from otel_ml_collector.store.apart import Apart, late_tags
from otel_ml_collector.store.targets import TAG_TEXT

_DAILY: Final = {"model": "model", "kind": "kind", "outcome": "outcome", "digest": "digest"}
_COLUMNS: Final = {
    "name": "name",
    "error_type": "error_type",
    "error_message": "error_message",
    "session": "session",
    "user": "user",
    "environment": "environment",
    "release": "release",
    "provider": "provider",
    "provider_model": "provider_model",
    "span_kind": "span_kind",
    "dialect": "dialect",
}
GROUPS: Final = ("version", *_DAILY, *_COLUMNS, 'tags["name"]')
_TAG: Final = re.compile(r"""tags\[(?:"([^"\\]{1,200})"|'([^'\\]{1,200})')\]""")
_LABEL: Final = "{group:String}"


def make_grouping(group: str, apart: Apart) -> Grouping:
    """Make the grouping that a text names; empty for one group of all.

    Raises:
        BadQuery: Runs cannot be grouped by that.
    """
    if not group:
        return Grouping("''", is_daily=True)
    if group == "version":
        return Grouping("", is_daily=True, is_versions=True)
    column = _DAILY.get(group) or _COLUMNS.get(group)
    if column:
        return Grouping(f"toString({column})", is_daily=group in _DAILY)
    match = _TAG.fullmatch(group)
    if match is None:
        raise BadQuery(
            f"Invalid group {group[:80]!r}: expected one of {', '.join(GROUPS)}", "group"
        )
    return _by_tag(match[1] or match[2], apart)


def _by_tag(name: str, apart: Apart) -> Grouping:
    """Group by the text of a tag: the newest one, also one that came later."""
    value, join = f"tags[{_LABEL}]", ""
    if apart.tags:
        join = f"""
          LEFT JOIN (
            SELECT trace_id AS late_trace, span_id AS late_span, newest, newest_ns
            FROM ({late_tags(_LABEL, apart)})
          ) AS late ON late_trace = trace_id AND late_span = span_id"""  # noqa: S608 - fixed text; values are parameters
        is_newer = f"NOT mapContains(tags, {_LABEL}) OR newest_ns >= start_ns + latency_ns"
        value = f"if(newest != '' AND ({is_newer}), newest, {value})"
    return Grouping(TAG_TEXT.format(value), join=join, parameters={"group": name})
