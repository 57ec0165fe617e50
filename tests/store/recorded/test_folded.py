"""Compare `fold` with list rows, for recorded traces of real libraries."""

import json
from dataclasses import fields, replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml_collector.decode.json import decode_json_logs, decode_json_traces
from otel_ml_collector.fold.fold import fold
from otel_ml_collector.fold.rows import Amounts, FoldedRun
from otel_ml_collector.mapping.logs import map_logs
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.records import Records
from otel_ml_collector.runs.answers import Counted, RunSummary
from otel_ml_collector.runs.find import RunsQuery, find_runs
from tests.support.examples import examples
from tests.support.otel_ml_collector.facts import facts_of
from tests.support.otel_ml_collector.folded import finish
from tests.support.otel_ml_collector.stores import Store
from tests.support.otel_ml_collector.worlds import worlds
from tests.support.sampling import at_night, sampled
from tests.unit.recorded.test_recorded import RECORDED, filing_of, read

# Spans of all kinds, and repeated records of a call.
EVERYTHING = 'kind != "" and record_of != "none"'


def records_of(name: str, project: str) -> Records:
    """Map the spans and log records of a recording into the given project."""
    recording = read(f"{name}.json")
    filing = filing_of(recording["request"])
    records = map_spans(decode_json_traces(json.dumps(recording["request"]).encode()), filing)
    logs = decode_json_logs(json.dumps(recording.get("logs", {})).encode())
    records.extend(map_logs(logs, filing))
    for field in fields(records):
        if isinstance(items := getattr(records, field.name), list):
            setattr(records, field.name, [replace(item, project=project) for item in items])
    return records


def shown_by_fold(folded: FoldedRun) -> dict[str, Any]:
    """Return the values of a folded run that a list shows."""
    run = folded.run
    own = folded.counted == Amounts(folded.own.tokens, folded.own.cost)
    return {
        "id": run.run_id,
        "session": folded.session,
        "user": folded.user,
        "experiment": run.experiment,
        "inputs": folded.inputs_preview,
        "outputs": folded.outputs_preview,
        "provider": folded.provider,
        "provider_model": folded.provider_model,
        "first_token_ms": folded.first_token_ms,
        "stream_chunks": folded.stream_chunks,
        "tags": folded.tags,
        "tokens": folded.own.tokens,
        "cost": folded.own.cost,
        "counted": None if own else Counted(folded.counted.tokens, folded.counted.cost),
        "record_of": folded.record_of.run_id if folded.record_of else None,
        "also_recorded": sorted(ref.run_id for ref in folded.others),
        "trace_key": next(iter(folded.trace_keys), ""),
        "scores": folded.late.scores,
        "truth": {name: json.loads(word) for name, word in folded.late.truths.items()},
        "label": {name: json.loads(word) for name, word in folded.late.labels.items()},
    }


def shown_by_list(run: RunSummary) -> dict[str, Any]:
    """Return the same values of a list row."""
    own = run.counted is None or (run.counted.tokens, run.counted.cost) == (run.tokens, run.cost)
    return {
        "id": run.run_id,
        "session": run.session,
        "user": run.user,
        "experiment": run.experiment,
        "inputs": run.inputs,
        "outputs": run.outputs or "",
        "provider": run.provider,
        "provider_model": run.provider_model,
        "first_token_ms": run.first_token_ms,
        "stream_chunks": run.stream_chunks,
        "tags": dict(run.tags),
        "tokens": run.tokens,
        "cost": run.cost,
        "counted": None if own else run.counted,
        "record_of": run.record_of,
        "also_recorded": sorted(other.run_id for other in run.also_recorded),
        "trace_key": run.trace_key,
        "scores": dict(run.scores),
        "truth": dict(run.truth),
        "label": dict(run.label),
    }


def compare(store: Store, project: str, records: Records) -> None:
    """Store the records of a project, and compare its list with the folded rows.

    A list shows no inputs or outputs of other runs of a trace if a run has none of its own.
    """
    store.writer.write(records)
    store.watch.note(records, store.writer.stamped_ns or 0)
    finish(store, store.watch)
    query = RunsQuery(project, EVERYTHING, limit=1_000)
    now_ns = max(run.end_ns for run in (*records.runs, *records.open_runs))
    listed = [shown_by_list(run) for run in find_runs(store.reader, query, now_ns).runs]
    folded = {shown["id"]: shown for shown in map(shown_by_fold, fold_all(records, project))}
    assert len(folded) == len(listed)
    for shown in listed:
        of_other_runs = {name: "" for name in ("inputs", "outputs") if not shown[name]}
        assert folded[shown["id"]] | of_other_runs == shown


def fold_all(records: Records, project: str) -> list[FoldedRun]:
    """Fold the only project of the records."""
    return fold(facts_of(records)[project])


@sampled(2)
@pytest.mark.parametrize("name", RECORDED)
def test_recording(store: Store, name: str) -> None:
    """A folded row has the same values as the run in a list."""
    project = f"folded {name}"
    compare(store, project, records_of(name, project))


NUMBERS = count()


@at_night
@settings(max_examples=examples(100, on_commit=20))
@given(st.data())
def test_drawn(store: Store, data: st.DataObject) -> None:
    """With late records of all kinds, a folded row has the same values as the run in a list."""
    project = f"folded drawn {next(NUMBERS)}"
    records = data.draw(worlds(project))
    compare(store, project, records)
