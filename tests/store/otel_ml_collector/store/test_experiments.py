"""Tests that runs over items of data sets are excluded from all production figures."""

import random
from itertools import pairwise
from typing import Any, Final
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Scope, Span, Value
from otel_ml_collector.store import rollup
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.retention import Days, Retention
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tombstones import PROJECT, RUN, Tombstones
from otel_ml_collector.store.writer import Writer
from otel_ml_collector.telemetry.runs import RunNumbers
from tests.store.otel_ml_collector.store.test_calls import resolve
from tests.support.examples import examples
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    MS_NS,
    NOW_NS,
    id_of,
    make_call,
    make_record,
    make_span,
    make_start,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, sampled

EXPERIMENT: Final = f"{'e' * 32}-{'e' * 16}"
OPENAI: Final = Scope({}, "opentelemetry.instrumentation.openai", "1", {})
USED: Final[dict[str, Value]] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 50,
    "gen_ai.usage.output_tokens": 7,
    "session.id": "morning",
}
WINDOW: Final = "start=2026-11-01T00:00:00Z&end=2036-12-01T00:00:00Z&bucket=30d"


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """Return a service for this module, because retention acts on every project of a store."""
    return own_service


def make_item_run(number: int, start_ns: int = NOW_NS, repeat: int = 0) -> list[Span]:
    """Make a run over an item, and a call below it that another instrumentation recorded."""
    trace = trace_id(number)
    of_item: dict[str, Value] = {
        "otel_ml.experiment": EXPERIMENT,
        "otel_ml.experiment.dataset": "qa",
        "otel_ml.item.id": f"item {number}",
        "otel_ml.item.digest": f"{number:064x}",
        "otel_ml.item.repeat": repeat,
        "session.id": "morning",
        "otel_ml.score.exact": 0.0,
        "otel_ml.model.version": "bb",
    }
    run = make_call(
        "answer",
        of_item,
        trace_id=trace,
        span_id=span_id(number),
        start_ns=start_ns,
        end_ns=start_ns + 100 * MS_NS,
    )
    call = make_span(
        "chat gpt-4o",
        USED,
        trace_id=trace,
        span_id=span_id(number + 10**6),
        parent_span_id=run.span_id,
        start_ns=start_ns + MS_NS,
        end_ns=start_ns + 90 * MS_NS,
        scope=OPENAI,
    )
    return [run, call]


def make_production(number: int, start_ns: int = NOW_NS) -> list[Span]:
    """Make a production run, and the call below it."""
    run, call = make_item_run(number, start_ns)
    told = {
        key: value
        for key, value in run.attributes.items()
        if not key.startswith(("otel_ml.experiment", "otel_ml.item"))
    }
    run.attributes = {**told, "otel_ml.score.exact": 1.0}
    return [run, call]


def api(service: Service, project: str, path: str) -> Any:
    answered = ask(service.app, f"/api/v1/projects/{quote(project)}/{path}")
    assert answered.status == 200, answered.text
    return answered.json


def count(service: Service, project: str, where: str = "") -> tuple[int, int | None]:
    """Return the number of runs and input tokens in the statistics."""
    total = api(service, project, f"stats?{WINDOW}&where={quote(where)}")["total"]
    return total["runs"], total["tokens"]["input"]


def names(service: Service, project: str, where: str = "") -> list[str]:
    runs = api(service, project, f"runs?where={quote(where)}")["runs"]
    return sorted(run["name"] for run in runs)


def test_fields(service: Service, project: str) -> None:
    """A run has its experiment, data set, item, item digest and repeat."""
    service.store.take(project, *make_item_run(1, repeat=2))
    [run] = api(service, project, "runs?where=" + quote('item == "item 1"'))["runs"]
    found = {name: run[name] for name in ("experiment", "dataset", "item", "item_digest", "repeat")}
    assert found == {
        "experiment": EXPERIMENT,
        "dataset": "qa",
        "item": "item 1",
        "item_digest": f"{1:064x}",
        "repeat": 2,
    }


@sampled(1)
@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("", ["answer", "chat gpt-4o"]),
        ('model == "answer"', ["answer"]),
        (f'experiment == "{EXPERIMENT}"', ["answer"] * 2),
        ('dataset == "qa" and repeat == 1', ["answer"]),
        ('dataset != "qa"', ["answer", *["chat gpt-4o"] * 3]),
        ('item in ["item 1", "x"]', ["answer"]),
        ('"tem" in item', ["answer"] * 2),
        ('kind == "model"', [*["answer"] * 3, *["chat gpt-4o"] * 3]),
        ('kind == "experiment"', ["shorter prompt"]),
    ],
)
def test_filters(service: Service, project: str, where: str, found: list[str]) -> None:
    """Lists exclude experiments, item runs and inner calls unless the filter asks for them."""
    experiment = make_call(
        "shorter prompt", {"otel_ml.kind": "experiment", "otel_ml.experiment.dataset": "qa"}
    )
    spans = [*make_item_run(1), *make_item_run(2, repeat=1), *make_production(3), experiment]
    service.store.take(project, *spans)
    assert names(service, project, where) == sorted(found)


def test_every_answer(service: Service, project: str) -> None:
    """Item runs are absent from all production answers, from statistics to metrics."""
    runs = [span for number in range(1, 5) for span in make_item_run(number)]
    points: dict[str, Value] = {
        "otel_ml.metric.names": ["loss"],
        "otel_ml.metric.values": [1.0],
    }
    logged = make_record("update", runs[0], points)
    production = make_production(9)
    service.store.take(project, *runs, logged, *production)
    assert count(service, project) == (2, 50)
    assert count(service, project, 'item != ""') == (4, 0)
    assert count(service, project, 'kind == "model"') == (10, 250)
    models = {one["model"]: one["runs"] for one in api(service, project, "models")["models"]}
    assert models == {"answer": 1, "gpt-4o": 1}
    [version] = api(service, project, "models/answer/versions")["versions"]
    assert (version["runs"], version["judges"][0]["mean_score"]) == (1, 1.0)
    listed = ask(service.app, "/api/v1/projects").json["projects"]
    assert [one["runs"] for one in listed if one["project"] == project] == [2]
    [judge] = api(service, project, "judges")["judges"]
    assert judge["newest"]["evaluations"] == 1
    [session] = api(service, project, "sessions")["sessions"]
    assert (session["turns"], session["runs"], session["tokens"]["input"]) == (1, 2, 50)
    whole = api(service, project, "sessions/morning")
    assert [turn["run_id"] for turn in whole["conversation"]] == [id_of(production[0])]
    assert api(service, project, "metrics")["runs"] == []


@at_night
@settings(max_examples=examples(15, on_commit=3))
@given(seed=st.integers(0, 2**32))
def test_any_order(service: Service, seed: int) -> None:
    """Item runs are excluded in any order, grouping or repetition, by two writers."""
    project, draw = f"items {seed}", random.Random(seed)  # noqa: S311 - an order, no secret
    runs = [make_item_run(1_000 + number) for number in range(3)]
    starts = [make_start(run, {"otel_ml.experiment": EXPERIMENT}) for run, _ in runs]
    spans = [*(span for run in runs for span in run), *starts, *make_production(2_000)]
    sent = [*spans, *draw.sample(spans, 3)]
    draw.shuffle(sent)
    writers = [Writer(service.store.connections) for _ in range(2)]
    cuts = sorted({0, len(sent), *(draw.randrange(len(sent)) for _ in range(4))})
    for first, last in pairwise(cuts):
        draw.choice(writers).write(map_spans(sent[first:last], Filing(project, NOW_NS)))
        if draw.random() < 0.3:
            resolve(service.store)
    resolve(service.store)
    assert count(service, project) == (2, 50)
    assert names(service, project) == ["answer", "chat gpt-4o"]
    assert count(service, project, 'experiment != ""') == (3, 0)


def test_open_runs(service: Service, project: str) -> None:
    """An item run that has only started is excluded, and so are the calls below it."""
    run, call = make_item_run(5)
    start = make_start(run, {"otel_ml.experiment": EXPERIMENT})
    service.store.take(project, start)
    assert names(service, project) == []
    service.store.take(project, call)
    assert names(service, project) == []
    assert names(service, project, 'experiment != ""') == ["answer"]


@at_night
@pytest.mark.parametrize("is_late", [False, True])
def test_days_that_are_over(
    service: Service, project: str, monkeypatch: pytest.MonkeyPatch, *, is_late: bool
) -> None:
    """A rolled-up day excludes item runs, even if their root arrives after the rollup.

    The run begins shortly before midnight, and the call below it after midnight.
    """
    monkeypatch.setattr(rollup, "_AGAIN_S", 0.0)  # so that the day is recomputed without a delay
    day_ns = NOW_NS // DAY_NS * DAY_NS - 3 * DAY_NS
    run, call = make_item_run(7, day_ns - 10 * MS_NS)
    call.start_ns = day_ns + MS_NS
    spans = [call, *make_production(8, day_ns + MS_NS)]
    service.store.take(project, *spans, *([] if is_late else [run]))
    service.store.compute(project, [day_ns])
    if is_late:
        assert count(service, project) == (3, 100)
        service.store.take(project, run)
        assert count(service, project) == (2, 50)
        service.store.compute(project, [day_ns])
    assert count(service, project) == (2, 50)
    cells = Sql("""SELECT sum(runs) AS runs FROM daily_runs WHERE project = {project:String}
      AND computed_ns = (SELECT max(computed_ns) FROM daily_runs
        WHERE project = {project:String})""")
    assert service.store.reader.rows(cells, {"project": project}) == [{"runs": 2}]
    assert count(service, project, 'kind == "model"') == (4, 100)


@at_night
def test_numbers_for_prometheus(service: Service, project: str) -> None:
    """Prometheus counters exclude item runs, and later calls in their traces."""
    numbers = RunNumbers((), lambda *asked: {})
    experiment = make_call("e", {"otel_ml.kind": "experiment"})
    run, call = make_item_run(11)
    for group in ([run, experiment], [call, *make_production(12)]):
        numbers.count(map_spans(group, Filing(project, NOW_NS)))
    samples = {
        (sample.name, sample.labels["model"]): sample.value
        for metric in numbers.collect()
        for sample in metric.samples
        if sample.name == "otel_ml_runs_total"
    }
    assert samples == {
        ("otel_ml_runs_total", "answer"): 1,
        ("otel_ml_runs_total", "gpt-4o"): 1,
    }


def test_projects_without_pay_nothing(service: Service, project: str) -> None:
    """A project without experiments is remembered as having none."""
    service.store.take(project, *make_production(13)[:1])
    api(service, project, "runs")
    known, is_resolved = service.store.connections.memory.recall(project)
    assert ("experiments" in known, is_resolved) == (False, True)


@at_night
@pytest.mark.parametrize("kind", [RUN, PROJECT])
def test_deletion(service: Service, project: str, kind: str) -> None:
    """The resolutions of a trace are deleted with its last run."""
    run, call = make_item_run(14)
    service.store.take(project, run, call)
    connections = service.store.connections
    deleter = Deleter(connections, Tombstones(connections))
    if kind == RUN:
        deleter.delete(project, RUN, id_of(run))
        assert names(service, project) == []  # the inner call is still not production
        deleter.delete(project, RUN, id_of(call))
    else:
        deleter.delete(project, PROJECT, "")
    sql = Sql("SELECT count() AS rows FROM settled WHERE project = {project:String}")
    assert service.store.reader.rows(sql, {"project": project}) == [{"rows": 0}]


@at_night
def test_retention(service: Service, project: str) -> None:
    """Resolutions of item runs are deleted with their runs by retention."""
    then_ns = NOW_NS - 300 * DAY_NS
    service.store.take(project, *make_item_run(15, then_ns), now_ns=then_ns)
    retention = Retention(service.store.connections, Days(records=1), clock=lambda: 2 * NOW_NS)
    retention.confirm()  # Without confirmation, retention does not trust a clock this far ahead.
    retention.sweep()
    sql = Sql("SELECT count() AS rows FROM settled WHERE project = {project:String}")
    assert service.store.reader.rows(sql, {"project": project}) == [{"rows": 0}]
