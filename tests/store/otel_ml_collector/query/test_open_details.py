"""Tests of the details of runs without an end, and of the figures that exclude them."""

from typing import Any, Final

import pytest

from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.measures import statistics
from otel_ml_collector.measures.projects import find_projects
from otel_ml_collector.metrics import find_metrics
from otel_ml_collector.runs.answers import summary_writer
from otel_ml_collector.runs.find import find_run
from otel_ml_collector.span import Event, Value
from otel_ml_collector.store.sql import ALWAYS
from otel_ml_collector.versions import find as models
from otel_ml_collector.windows import Window
from tests.support.otel_ml_collector.query.timeline import Timeline
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    MS_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_sign,
    make_span,
    make_start,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Store

HOSTILE: Final = "'; DROP TABLE runs; -- {x:String} \\ \" \x00 日本 <b>"


@pytest.fixture(scope="module")
def store(own_store: Store) -> Store:
    """Return a store for this module: records without a process keep all open runs alive."""
    return own_store


def test_running(line: Timeline) -> None:
    """A run that sent its start record is listed with all known fields."""
    run = line.call("train")
    told: dict[str, Value] = {
        "otel_ml.kind": "training",
        "otel_ml.model.version": "00000000000000aa",
        "otel_ml.params": '{"rate": 0.1}',
        "otel_ml.inputs.preview": '{"data": "digits", "rows": 1797}',
        "otel_ml.tag.client": "bigshot",
        "otel_ml.tag.size": 3,
    }
    line.take(make_start(run, told))
    (found,) = line.runs()
    assert summary_writer().dump_python(found) == {
        "run_id": id_of(run),
        "trace_id": run.trace_id.hex(),
        "parent_run_id": None,
        "trace_key": "",
        "project": line.project,
        "kind": "training",
        "name": "train",
        "span_kind": "internal",
        "model": "train",
        "version": 1,
        "digest": "00000000000000aa",
        "start_time": found.start_time,
        "start_ns": run.start_ns,
        "latency_ms": None,
        "outcome": "running",
        "last_heard_ns": found.last_heard_ns,
        "error_type": "",
        "error_message": "",
        "inputs": '{"data": "digits", "rows": 1797}',
        "outputs": None,
        "tags": {"client": "bigshot", "size": 3},
        "scores": {},
        "passed": {},
        "failed_judges": [],
        "truth": {},
        "label": {},
        "agent": {},
        "session": "",
        "user": "",
        "environment": "",
        "release": "",
        "provider": "",
        "provider_model": "",
        "tokens": {
            "input": None,
            "output": None,
            "cached": None,
            "reasoning": None,
            "cache_creation": None,
        },
        "cost": None,
        "cost_note": "",
        "first_token_ms": None,
        "stream_chunks": None,
        "tokens_per_second": None,
        "record_of": None,
        "experiment": "",
        "dataset": "",
        "item": "",
        "item_digest": "",
        "repeat": 0,
        "also_recorded": (),
        "counted": None,
    }
    assert found.last_heard_ns is not None
    assert 0 <= found.last_heard_ns - line.now_ns < MS_NS


def test_page_of_a_running_run(line: Timeline) -> None:
    """A run without an end is read with data from its start record and later updates."""
    run = line.call("train")
    told: dict[str, Value] = {
        "otel_ml.params": '{"rate": 0.1}',
        "otel_ml.inputs.preview": '{"data": "digits"}',
        "otel_ml.tag.client": "bigshot",
        "otel_ml.tags": '{"client": {"type": "label", "group": "who"}}',
        "http.route": "/train",
    }
    update = make_record(
        "update",
        run,
        {
            "otel_ml.tag.late": True,
            "otel_ml.metric.names": ["loss", "loss"],
            "otel_ml.metric.values": [0.5, 0.25],
        },
        start_ns=line.now_ns + SECOND_NS,
        events=[Event("otel_ml.log", run.start_ns + MS_NS, {"otel_ml.log.message": "epoch 1"})],
    )
    judged = make_record(
        "evaluation",
        run,
        {"otel_ml.judge.name": "polite", "otel_ml.score.value": 0.5},
        start_ns=line.now_ns + SECOND_NS,
    )
    line.take(make_start(run, told), update, judged)
    found = line.run(run)
    assert (found.inputs, found.outputs) == ({"data": "digits"}, None)
    assert found.params == {"rate": 0.1}
    assert found.tags == {"client": "bigshot", "late": True}
    assert [(tag.name, tag.type, tag.group) for tag in found.tag_details] == [
        ("late", "", ""),
        ("client", "label", "who"),
    ]
    assert found.metrics == {"loss": [0.5, 0.25]}
    assert [(one.offset_ms, one.message) for one in found.logs] == [(1.0, "epoch 1")]
    assert found.scores == {"polite": 0.5}
    assert found.attributes == {"http.route": "/train"}
    assert (found.latency_ms, found.outcome, found.dialect) == (None, "running", "otel_ml")


def test_bare_running_run(line: Timeline) -> None:
    """A run that sent only its start record has empty parts."""
    run = line.call()
    line.take(make_start(run))
    found = line.run(run)
    assert (found.inputs, found.outputs, found.params, found.version) == (None, None, None, None)
    assert (found.metrics, found.evaluations, found.tag_details, found.logs) == ({}, [], [], [])


def test_statistics(line: Timeline) -> None:
    """A run without an end is excluded from all statistics, counts and histograms."""
    reader, project = line.reader, line.project
    version: dict[str, Value] = {"otel_ml.model.version": "00000000000000aa"}
    ended = line.call("train", attributes=version)

    def answers() -> list[Any]:
        window = Window(line.now_ns - DAY_NS, line.now_ns + DAY_NS)
        return [
            [found for found in find_projects(reader) if found.project == project],
            [model for model in models.find_models(reader, project) if model.runs],
            models.find_versions(reader, project, "train"),
            statistics.bound_runs(reader, project),
            statistics.count_runs(reader, project, ALWAYS, window.cut(DAY_NS)),
            statistics.read_version_runs(reader, project, "train"),
        ]

    line.take(ended)
    before = answers()
    line.take(make_start(line.call(start_ns=line.now_ns - SECOND_NS), version))
    line.take(make_start(line.call("another", start_ns=line.now_ns - 2 * SECOND_NS)))
    assert answers() == before


def test_project_of_open_runs(line: Timeline) -> None:
    """A project with only a run in progress is listed, with zero runs."""
    line.take(make_start(line.call()))
    (found,) = [one for one in find_projects(line.reader) if one.project == line.project]
    assert (found.runs, found.errors, found.other_spans) == (0, 0, 0)
    assert found.last_start_time == line.runs()[0].start_time


def test_version_that_never_ended(line: Timeline) -> None:
    """A version is numbered at its first start record, and keeps the number when the run ends."""
    version: dict[str, Value] = {"otel_ml.model.version": "00000000000000aa"}
    run = line.call("train", attributes={**version, "otel_ml.model.output_schema": "flat"})
    line.take(make_start(run, version))
    line.take(line.call("train", attributes={"otel_ml.model.version": "00000000000000bb"}))
    assert line.run(run).version == 1
    line.take(run)
    assert line.run(run).version == 1


def test_names_of_metric_owners(line: Timeline) -> None:
    """A run without an end that logs metrics is listed with its model."""
    run = line.call("train")
    points: dict[str, Value] = {
        "otel_ml.metric.names": ["loss"],
        "otel_ml.metric.values": [0.5],
        "otel_ml.target.start_ns": line.now_ns,
    }
    unknown = line.call("unknown")
    line.take(
        make_start(run),
        make_record("update", run, points, start_ns=line.now_ns + 1),
        make_record("update", unknown, points, start_ns=line.now_ns),
    )
    owners = find_metrics(line.reader, line.project).runs
    assert [(owner.run_id, owner.model) for owner in owners] == [
        (id_of(run), "train"),
        (id_of(unknown), ""),
    ]


def test_trace(line: Timeline) -> None:
    """A trace contains its ended and open runs, oldest first, with their parents."""
    root = line.call("root", attributes={})
    ids: dict[str, Any] = {"trace_id": root.trace_id, "parent_span_id": root.span_id}
    child = line.call("child", **ids, start_ns=line.now_ns + 1)
    open_child = line.call("open child", **ids, start_ns=line.now_ns + 2)
    line.take(child, make_start(open_child), make_start(root, {"otel_ml.trace_key": line.project}))
    for key in (root.trace_id.hex(), line.project):
        found = line.trace(key).runs
        assert [(run.name, run.outcome, run.parent_run_id) for run in found] == [
            ("root", "running", None),
            ("child", "ok", id_of(root)),
            ("open child", "running", id_of(root)),
        ]


def test_two_projects(line: Timeline) -> None:
    """A run that is open in one project and ended in another has its own state in each."""
    run, other = line.call(), f"{line.project} two"
    line.take(make_start(run))
    line.take(run, project=other)
    assert line.run(run).outcome == "running"
    assert line.run(run, other).outcome == "ok"
    assert [found.outcome for found in line.runs()] == ["running"]
    assert [found.outcome for found in line.runs(project=other)] == ["ok"]
    with pytest.raises(BadInput, match="Several projects have run"):
        find_run(line.reader, id_of(run), now_ns=line.now_ns)


def test_run_of_another_project(line: Timeline) -> None:
    """A run without an end is not found in a project that does not have it."""
    run = line.call()
    line.take(make_start(run))
    with pytest.raises(Missing):
        find_run(line.reader, id_of(run), "another project", now_ns=line.now_ns)
    assert find_run(line.reader, id_of(run), now_ns=line.now_ns).project == line.project


def test_record_in_another_trace(line: Timeline) -> None:
    """A start record sent in a different trace is found in the trace of its run."""
    run = line.call()
    line.take(make_start(run, trace_id=trace_id(987_654), parent_span_id=b""))
    assert [found.run_id for found in line.trace(run.trace_id.hex()).runs] == [id_of(run)]


def test_hostile_values(line: Timeline) -> None:
    """A run without an end keeps hostile text values unchanged."""
    run = line.call(HOSTILE)
    told: dict[str, Value] = {
        "otel_ml.process": HOSTILE[:64],
        "otel_ml.model.version": HOSTILE,
        "otel_ml.params": HOSTILE,
        "otel_ml.inputs.preview": HOSTILE,
        f"otel_ml.tag.{HOSTILE}": HOSTILE,
        "otel_ml.tags": HOSTILE,
        "otel_ml.kind": HOSTILE,
        "otel_ml.trace_key": HOSTILE,
        "otel_ml.seq": HOSTILE,
        "session.id": HOSTILE,
        "user.id": HOSTILE,
    }
    line.take(make_start(run, told), make_sign("goodbye", line.now_ns + 1, HOSTILE[:64]))
    found = line.run(run)
    assert (found.model, found.params, found.inputs) == (HOSTILE, HOSTILE, HOSTILE)
    assert (found.tags, found.session, found.kind) == ({HOSTILE: HOSTILE}, HOSTILE, "model")
    assert [one.outcome for one in line.runs(f"model == {HOSTILE!r}")] == ["crashed"]


def test_odd_values(line: Timeline) -> None:
    """A start record with values of the wrong types is accepted."""
    odd: list[Value] = [None, True, -1, float("nan"), b"\xff", [], {"a": [None]}]
    names = ["model.name", "model.version", "params", "inputs.preview", "tags", "process", "seq"]
    runs = []
    for value in odd:
        runs.append(line.call())
        line.take(make_start(runs[-1], {f"otel_ml.{name}": value for name in names}))
    assert {found.run_id for found in line.runs()} == {id_of(run) for run in runs}
    for run in runs:
        assert line.run(run).outcome == "running"


def test_plain_spans_are_no_open_runs(line: Timeline) -> None:
    """A plain span is not an open run, even if its process is alive."""
    line.take(make_span("GET", {"otel_ml.process": "00000001"}, start_ns=line.now_ns))
    assert (line.names(), line.names('kind == "span"')) == ([], ["GET"])


def test_only_start_of_a_trace(line: Timeline) -> None:
    """An unknown run is not found, even if its trace has an open run."""
    run = line.call()
    line.take(make_start(run))
    unknown = make_call(trace_id=run.trace_id)
    with pytest.raises(Missing):
        line.run(unknown)
