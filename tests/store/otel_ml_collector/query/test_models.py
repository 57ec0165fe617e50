"""Tests of queries for projects, models, versions and metrics."""

import json
import math
from dataclasses import asdict
from typing import Any, Final

import pytest
from pydantic import TypeAdapter

from otel_ml.records import MetricPoint
from otel_ml_collector.curves.plots import MetricSeries
from otel_ml_collector.errors import Missing
from otel_ml_collector.measures.projects import find_projects
from otel_ml_collector.metrics import find_metrics
from otel_ml_collector.span import Span
from otel_ml_collector.versions import find as models
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_span,
)
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import sampled

DEFINITION: Final = '{"source": "def answer(): ...", "signature": "() -> str", "params": {"k": 3}}'


def make_version(digest: str, structure: str, age_s: int, **attributes: Any) -> Span:
    """Make a call of a version. Its latency in milliseconds equals its age in seconds."""
    start_ns = NOW_NS - age_s * SECOND_NS
    own = {
        "otel_ml.model.version": digest,
        "otel_ml.model.output_schema": structure,
        **{f"otel_ml.{name}": value for name, value in attributes.items()},
    }
    return make_call("answer", own, start_ns=start_ns, end_ns=start_ns + age_s * MS_NS)


def test_projects(store: Store, project: str) -> None:
    """A project has its numbers of runs and errors, without plain spans."""
    store.take(project, make_call(start_ns=NOW_NS - 5), make_call(status_code=2), make_span("GET"))
    (found,) = [one for one in find_projects(store.reader) if one.project == project]
    assert (found.runs, found.errors, found.last_start_time) == (
        2,
        1,
        "2026-11-20T07:00:00.000000000Z",
    )


def test_models(store: Store, project: str) -> None:
    """A model has its numbers of runs, errors and versions."""
    store.take(
        project,
        make_version("aa", "s", 3),
        make_version("bb", "s", 2),
        make_version("aa", "", 1),
        make_call("bare", {"otel_ml.kind": "tool"}, status_code=2, start_ns=NOW_NS - SECOND_NS * 9),
    )
    assert [asdict(model) for model in models.find_models(store.reader, project)] == [
        {
            "model": "answer",
            "kind": "model",
            "runs": 3,
            "errors": 0,
            "versions": 2,
            "latest_version": 2,
            "last_start_time": "2026-11-20T06:59:59.000000000Z",
            "experiment_runs": 0,
        },
        {
            "model": "bare",
            "kind": "tool",
            "runs": 1,
            "errors": 1,
            "versions": 0,
            "latest_version": None,
            "last_start_time": "2026-11-20T06:59:51.000000000Z",
            "experiment_runs": 0,
        },
    ]


def test_versions(store: Store, project: str) -> None:
    """Versions are listed newest first, each with its definition, runs, latency and judges."""
    store.take(
        project,
        make_version("aa", "s", 9, **{"model.definition": DEFINITION}),
        make_version("aa", "s", 8, **{"score.j": 0.5, "passed.j": True}),
        make_version("aa", "", 7),
        make_version("bb", "s", 2),
    )
    newest, oldest = models.find_versions(store.reader, project, "answer")
    assert (newest.version, newest.digest, newest.runs, newest.judges) == (2, "bb", 1, [])
    assert newest.definition.model_dump() == {
        "source": None,
        "signature": "",
        "params": None,
        "helpers": {},
        "constants": {},
        "unseen": [],
        "output": None,
        "artifact": None,
    }
    told = TypeAdapter(models.VersionDetail).dump_python(oldest, exclude={"first_seen_time"})
    assert told == {
        "model": "answer",
        "version": 1,
        "digest": "aa",
        "tags": {},
        "logs": [],
        "metrics": {},
        "metric_points": {},
        "metric_sources": {},
        "evaluations": [],
        "artifacts": [],
        "aliases": [],
        "produced_by": [],
        "used_by": [],
        "last_metrics": {},
        "runs": 3,
        "errors": 0,
        # As in statistics: within 1 % of the value at rank share × (runs - 1), rounded down.
        "p50_ms": pytest.approx(8.0, rel=0.01),
        "p95_ms": pytest.approx(8.0, rel=0.01),
        "experiment_runs": 0,
        "judges": [
            {
                "judge": "j",
                "version": None,
                "digest": "",
                "evaluations": 1,
                "failed": 0,
                "mean_score": 0.5,
                "passed": 1,
                "judged": 1,
                "on_request": 0,
            }
        ],
        "definition": {
            "source": "def answer(): ...",
            "signature": "() -> str",
            "params": {"k": 3},
            "helpers": {},
            "constants": {},
            "unseen": [],
            "output": None,
            "artifact": None,
        },
    }


def test_definition_of_another_structure(store: Store, project: str) -> None:
    """A version that arrived without a definition gets that of a version with the same digest."""
    store.take(project, make_version("aa", "s", 9, **{"model.definition": DEFINITION}))
    store.take(project, make_version("aa", "t", 8))
    newest, _ = models.find_versions(store.reader, project, "answer")
    assert (newest.version, newest.definition.source) == (2, "def answer(): ...")


@sampled(1)
@pytest.mark.parametrize("text", ["def answer(): ...", '"text"', "[1]", '{"source": 3}'])
def test_strange_definition(store: Store, project: str, text: str) -> None:
    """A definition in an unknown form is shown unchanged."""
    own_project = f"{project} {text}"
    store.take(own_project, make_version("aa", "s", 9, **{"model.definition": text}))
    assert models.find_version(store.reader, own_project, "answer", 1).definition.source == text


def test_find_version(store: Store, project: str) -> None:
    """A version is found by its number, and an unknown number is not found."""
    store.take(project, make_version("aa", "s", 9), make_version("bb", "s", 8))
    assert models.find_version(store.reader, project, "answer", 2).digest == "bb"
    with pytest.raises(Missing, match=r"^Model 'answer' has no version 3$"):
        models.find_version(store.reader, project, "answer", 3)


def test_unknown_model(store: Store, project: str) -> None:
    """A model without versions is not found."""
    with pytest.raises(Missing, match=f"^Project '{project}' has no version of"):
        models.find_versions(store.reader, project, "answer")


def make_points(call: Span, values: list[float], steps: list[int]) -> Span:
    return make_record(
        "update",
        call,
        {
            "otel_ml.target.start_ns": call.start_ns,
            "otel_ml.metric.names": ["loss"] * len(values),
            "otel_ml.metric.values": values,
            "otel_ml.metric.steps": steps,
            "otel_ml.metric.times": [NOW_NS + place for place in range(len(values))],
        },
    )


def test_series(store: Store, project: str) -> None:
    """A series has its points with step and time, and a gap for a value that is not a number."""
    call = make_call()
    store.take(project, call, make_points(call, [0.5, math.nan, 0.25], [-1, 7, 8]))
    (series,) = find_metrics(store.reader, project, id_of(call)).series
    assert json.loads(series.model_dump_json()) == {
        "run_id": id_of(call),
        "name": "loss",
        "source": "logged",
        "count": 3,
        "points": [
            {"value": 0.5, "step": None, "time_ns": NOW_NS},
            {"value": None, "step": 7, "time_ns": NOW_NS + 1},
            {"value": 0.25, "step": 8, "time_ns": NOW_NS + 2},
        ],
    }


def test_series_by_name(store: Store, project: str) -> None:
    """A series is selected by its name."""
    call = make_call()
    update = make_record(
        "update",
        call,
        {"otel_ml.metric.names": ["loss", "acc"], "otel_ml.metric.values": [0.5, 0.9]},
    )
    store.take(project, update)
    assert find_metrics(store.reader, project, id_of(call), "acc").series == [
        MetricSeries(
            run_id=id_of(call),
            name="acc",
            count=1,
            points=[MetricPoint(value=0.9, step=None, time_ns=NOW_NS)],
        )
    ]


def test_owners(store: Store, project: str) -> None:
    """Runs with metrics are listed with their model, the run that logged last first."""
    early, late = make_call("early", start_ns=NOW_NS - 9), make_call("late", start_ns=NOW_NS - 8)
    store.take(
        project, early, late, make_points(late, [1, 2], [0, 1]), make_points(early, [1], [0])
    )
    owners = find_metrics(store.reader, project).runs
    assert [owner.model_dump() for owner in owners] == [
        {
            "run_id": id_of(late),
            "model": "late",
            "names": ["loss"],
            "points": 2,
            "last_time": "2026-11-20T07:00:00.000000001Z",
        },
        {
            "run_id": id_of(early),
            "model": "early",
            "names": ["loss"],
            "points": 1,
            "last_time": "2026-11-20T07:00:00.000000000Z",
        },
    ]
