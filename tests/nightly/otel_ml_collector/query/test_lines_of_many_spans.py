"""A trace with many spans, each with a log line, is read fast."""

import time
from typing import Final

from otel_ml_collector.runs.find import find_run
from otel_ml_collector.runs.traces import find_trace
from tests.support.otel_ml_collector.logs import make_log, take
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    id_of,
    make_call,
    make_span,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Store

_SPANS: Final = 50_000
_SHOWN: Final = 10_000
_AT_ONCE: Final = 5_000
_WITHIN_S: Final = 3.0


def test_lines_of_many_spans(store: Store, project: str) -> None:
    """A run above 50,000 spans is read with 10,000 of their lines in under 3 s of CPU time."""
    trace = trace_id(1)
    root = make_call("root", trace_id=trace, span_id=span_id(1))
    below = [
        make_span(trace_id=trace, span_id=span_id(number), parent_span_id=span_id(number // 2))
        for number in range(2, _SPANS + 2)
    ]
    store.take(project, root)
    for first in range(0, _SPANS, _AT_ONCE):
        spans = below[first : first + _AT_ONCE]
        store.take(project, *spans)
        take(store, project, *[make_log(span.span_id.hex(), of=span) for span in spans])
    began = time.process_time()
    run = find_run(store.reader, id_of(root), project, now_ns=NOW_NS)
    took_s = time.process_time() - began
    found = find_trace(store.reader, trace.hex(), project, now_ns=NOW_NS)
    assert len({line.message for line in run.logs}) == _SHOWN
    assert (len(found.runs), found.truncated, found.records) == (_SHOWN, True, [])
    assert took_s < _WITHIN_S
