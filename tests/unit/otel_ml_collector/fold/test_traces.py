"""Tests of what runs get from the other runs of their traces."""

from collections import defaultdict
from operator import attrgetter

import pytest
from hypothesis import given

from otel_ml_collector.fold.traces import TraceRuns, fold_traces, resolve_together
from otel_ml_collector.records import Records
from otel_ml_collector.resolution import NOTHING, Resolution, TraceId, naming_run_of
from otel_ml_collector.same_calls import CallRun, call_run_of, has_facts
from tests.support.otel_ml_collector.worlds import worlds
from tests.unit.recorded.test_folded_rows import records_of
from tests.unit.recorded.test_recorded import RECORDED

RunKey = tuple[TraceId, bytes]


def resolve_all(records: Records) -> dict[RunKey, Resolution]:
    """Resolve all runs of all traces; none is left out because it cannot depend on others."""
    ended: defaultdict[TraceId, dict[bytes, CallRun]] = defaultdict(dict)
    named: defaultdict[TraceId, dict[bytes, CallRun]] = defaultdict(dict)
    for run in sorted(records.open_runs, key=attrgetter("rank")):
        named[run.project, run.trace_id][run.span_id] = naming_run_of(run)
    for run in sorted(records.runs, key=attrgetter("rank")):
        key = (run.project, run.trace_id)
        ended[key][run.span_id] = call_run_of(run) if has_facts(run) else naming_run_of(run)
    traces = {
        key: TraceRuns(ended[key].values(), (named[key] | ended[key]).values())
        for key in ended.keys() | named.keys()
    }
    return {
        (key, span_id): resolution
        for key, of_trace in fold_traces(traces).items()
        for span_id, resolution in of_trace.items()
        if resolution != NOTHING
    }


def resolve_batch(records: Records) -> dict[RunKey, Resolution]:
    """Resolve the same runs as the writer does."""
    group = resolve_together(records.runs, records.open_runs)
    assert group.is_complete
    return {
        ((run.project, run.trace_id), run.span_id): run.resolution
        for run in group.runs
        if run.resolution != NOTHING
    }


@given(worlds("folded traces"))
def test_writer_leaves_out_nothing(records: Records) -> None:
    """The writer looks only at traces in which a run may depend on others, and misses none."""
    assert resolve_batch(records) == resolve_all(records)


@pytest.mark.parametrize("name", RECORDED)
def test_recording(name: str) -> None:
    """The same is true of recordings of real libraries."""
    records = records_of(name)
    assert resolve_batch(records) == resolve_all(records)
