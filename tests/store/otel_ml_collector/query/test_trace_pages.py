"""Tests of long traces, which are read page by page or level by level."""

from typing import Final

from otel_ml_collector.runs.find import TracePage
from otel_ml_collector.runs.traces import find_trace
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    id_of,
    make_call,
    make_start,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Store

TRACE: Final = trace_id(0x7A)


def test_pages(store: Store, project: str) -> None:
    """The pages of a trace together contain all its runs, including those without an end."""
    spans = [
        make_call(trace_id=TRACE, span_id=span_id(place), start_ns=NOW_NS + place % 4 * MS_NS)
        for place in range(1, 12)
    ]
    store.take(project, *spans[:9], *map(make_start, spans[7:]))
    store.take(project, *spans[:3])
    whole = find_trace(store.reader, TRACE.hex(), project, now_ns=NOW_NS)
    pages, cursor = [], None
    while True:
        page = TracePage(limit=3, cursor=cursor)
        found = find_trace(store.reader, TRACE.hex(), project, now_ns=NOW_NS, page=page)
        pages.append(found.runs)
        cursor = found.next_cursor
        if cursor is None:
            break
    assert (len(whole.runs), whole.next_cursor, len(pages)) == (11, None, 4)
    assert [run for runs in pages for run in runs] == whole.runs


def test_children(store: Store, project: str) -> None:
    """The children of one run can be read alone."""
    trace = trace_id(0x7B)
    root = make_call(trace_id=trace)
    child = make_call("child", trace_id=trace, parent_span_id=root.span_id)
    below = make_call("below", trace_id=trace, parent_span_id=child.span_id)
    store.take(project, root, child, below)
    page = TracePage(parent=id_of(root))
    found = find_trace(store.reader, trace.hex(), project, now_ns=NOW_NS, page=page)
    assert [run.name for run in found.runs] == ["child"]
