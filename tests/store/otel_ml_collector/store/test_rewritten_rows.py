"""Tests that rows of `runs` that are written again change no answer before they are merged."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from itertools import cycle
from typing import Any, Final
from urllib.parse import quote

import pytest

from otel_ml_collector.decode.protobuf import decode_traces
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.experiments import count_alike, item_parameters
from otel_ml_collector.store.judging import find_arrived
from otel_ml_collector.store.sql import ALWAYS, Sql
from otel_ml_collector.times import DAY_NS, MINUTE_NS, to_rfc3339
from otel_ml_collector.traces.live import list_recorded
from tests.bench.dataset import Plan
from tests.bench.dataset_full import FullDataset
from tests.store.otel_ml_collector.test_datasets import make_item, make_versions
from tests.store.otel_ml_collector.test_experiments import BEFORE, FIRST, ITEMS, make_runs
from tests.support.examples import examples
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.folded import finish
from tests.support.otel_ml_collector.spans import NOW_NS, id_of, make_call, trace_id
from tests.support.otel_ml_collector.stores import Service, Store, open_service
from tests.support.sampling import at_night, harder

PROJECT: Final = "project 0"
# As a later record of each run does, but with the same values. A higher rank, because of the same
# record.
_AGAIN: Final = Sql("""INSERT INTO runs SELECT * REPLACE (rank + 1 AS rank) FROM runs FINAL
  WHERE project = {project:String} AND ({model:String} = '' OR model = {model:String})""")
# As the collector does while it answers: each row contains the facts that were known now.
_NOW: Final = Sql("""INSERT INTO runs SELECT * REPLACE
    (rank - folded_ns + toUnixTimestamp64Nano(now64(9)) AS rank)
  FROM runs FINAL WHERE project = {project:String}""")
_WRITES: Final = examples(15, on_commit=5)
_FILTERS: Final = (
    "",
    'tags["reviewed"] == "yes"',
    'scores["grounded"] < 0.5',
    'passed["grounded"] == True and tags["client"] != ""',
    'session != "" and kind == "model"',
)
_ORDERS: Final = ("newest", "oldest", "slowest", "lowest:grounded")
_KINDS: Final = ("", "roots=true", "traces=true")
# Paths of answers; `{window}` is the time range of the runs.
_PATHS: Final = (
    *("models", "judges", "metrics", "experiments", "datasets", "sessions"),
    *(
        "stats?group=model&bucket=1d&{window}",
        "stats?group=session&bucket=1d&{window}",
        "slices?{window}",
    ),
    *("judges/grounded/versions", "models/answer/versions", "fields?model=answer"),
    *("sums?group=model&{window}", "sums?group=tags%5B%22client%22%5D&roots=true&{window}"),
    "sums?group=model&traces=true&{window}",
    *("completion?where=model%20%3D%3D%20&{window}", "completion?where=version%20%3D%3D%20"),
    *("completion?where=tags.client%20%3D%3D%20&{window}", "completion?where=tags.&{window}"),
    "export?format=jsonl&{window}",
)


def write_again(store: Store, project: str, model: str = "") -> None:
    """Write the row of each run again twice. It then has three rows, each in a part of its own."""
    client = store.connections.open()
    for _ in range(2):
        client.command(_AGAIN, {"project": project, "model": model})


@contextmanager
def unmerged(store: Store) -> Iterator[None]:
    """Keep the parts of `runs` from being merged."""
    client = store.connections.open()
    client.command(Sql("SYSTEM STOP MERGES runs"))
    try:
        yield
    finally:
        client.command(Sql("SYSTEM START MERGES runs"))


def count_rows_per_run(store: Store, project: str) -> float:
    sql = Sql("""SELECT count() / uniqExact(start_ns, trace_id, span_id) AS rows FROM runs
      WHERE project = {project:String}""")
    [row] = store.reader.rows(sql, {"project": project})
    return float(row["rows"])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A collector whose runs are not merged."""
    with open_service(tmp_path_factory.mktemp("rewritten")) as service, unmerged(service.store):
        yield service


@pytest.fixture(scope="module")
def full(service: Service) -> Service:
    """The same collector, with runs of two weeks, late records, and experiments."""
    store = service.store
    watch = CallResolver(store.connections)
    now_ns = time.time_ns()
    for body, _ in FullDataset(Plan(250, now_ns)).requests(128):
        records = map_spans(decode_traces(body), Filing("default", now_ns))
        store.writer.write(records)
        watch.note(records, store.writer.stamped_ns or 0)
    finish(store, watch)
    client = store.connections.open()
    client.command(Sql("SYSTEM START MERGES runs"))
    client.command(Sql("OPTIMIZE TABLE runs FINAL"))
    client.command(Sql("SYSTEM STOP MERGES runs"))
    return service


def read_answers(service: Service) -> dict[str, Any]:
    """Read the answers of the API, and all pages of lists with several filters."""
    end_ns = time.time_ns() // DAY_NS * DAY_NS + DAY_NS
    window = f"start={to_rfc3339(end_ns - 32 * DAY_NS)}&end={to_rfc3339(end_ns)}"
    paths = [path.format(window=window) for path in _PATHS]
    lists = zip(cycle(_ORDERS), cycle(_KINDS), _FILTERS, strict=False)
    paths += [
        f"runs?limit=7&order={quote(order)}&where={quote(where)}&{kind}"
        for order, kind, where in lists
    ]
    answers: dict[str, Any] = {}
    for path in paths:
        answers[path] = []
        cursor: str | None = ""
        while cursor is not None and len(answers[path]) < 4:
            more = f"&cursor={cursor}" if cursor else ""
            answered = ask(service.app, f"/api/v1/projects/{quote(PROJECT)}/{path}{more}")
            is_json = answered.headers["content-type"].startswith("application/json")
            body = answered.json if is_json else answered.text
            answers[path].append((answered.status, body))
            cursor = body.get("next_cursor") if isinstance(body, dict) else None
    return answers


@at_night
def test_no_answer_changes(full: Service) -> None:
    """A run with three rows is listed and counted once, in every answer of the API."""
    before = read_answers(full)
    write_again(full.store, PROJECT)
    assert count_rows_per_run(full.store, PROJECT) == 3
    after = read_answers(full)
    assert {path for path in before if before[path] != after[path]} == set()
    assert [path for path, pages in before.items() if pages[0][0] != HTTPStatus.OK] == []


def test_common_tags(service: Service) -> None:
    """A tag is common if five items have it, whatever the number of rows of their runs."""
    project, store = "items", service.store
    items = {
        f"q-{place:03}": make_item({"question": place}, topic=f"t{place // 4}")
        for place in range(ITEMS)
    }
    store.take(project, *items.values(), *make_versions("qa", items))
    store.take(project, FIRST, *make_runs(FIRST, BEFORE))
    write_again(store, project)
    asked = item_parameters(project, [id_of(FIRST)], 0)
    rows = count_alike(store.reader, asked, "", most=1)
    assert sum(row["count"] for row in rows) == ITEMS
    assert [row["tags"] for row in rows if row["tags"]] == []


def test_sources(service: Service) -> None:
    """Coverage compares the six models with most runs among the sources of a data set."""
    project, store, now_ns = "sources", service.store, time.time_ns()
    models = ["rare", *(f"usual-{number}" for number in range(6))]
    spans = [
        make_call(
            model,
            {"otel_ml.tag.of": model, "otel_ml.inputs": json.dumps([model, place])},
            start_ns=now_ns - MINUTE_NS,
        )
        for model in models
        for place in range(2 if model != "rare" else 1)
    ]
    store.take(project, *spans, now_ns=now_ns)
    path = f"/api/v1/projects/{project}/datasets/qa"
    headers, body = {"content-type": "application/json"}, [b'{"where": ""}']
    made = ask(service.app, f"{path}/runs", method="POST", headers=headers, body=body)
    assert made.json["version"]["items"] == len(spans)
    write_again(store, project, "rare")
    coverage = ask(service.app, f"{path}/versions/1/coverage").json
    assert sorted(item["value"] for item in coverage["slices"]) == models[1:]


def test_arrived(service: Service) -> None:
    """A job that judges new runs reads each of them once."""
    project, store = "arrived", service.store
    store.take(project, *[make_call() for _ in range(3)])
    write_again(store, project)
    bounds = (0, 0, time.time_ns() + MINUTE_NS)
    arrived = find_arrived(store.reader, project, ALWAYS, bounds, 3)
    assert len({run.run_id for run in arrived}) == 3


@harder
def test_list_while_rows_are_written(service: Service) -> None:
    """No list lacks a run because its row is written again between two queries of the list."""
    project, store = "written meanwhile", service.store
    store.take(project, *[make_call() for _ in range(20)])
    query = RunsQuery(project, 'kind == "model"')
    client = store.connections.open()
    pages = []
    with ThreadPoolExecutor(1) as pool:
        for _ in range(_WRITES):
            written = pool.submit(client.command, _NOW, {"project": project})
            while not written.done():
                pages.append(find_runs(store.reader, query, time.time_ns()))
            written.result()
    assert {len(page.runs) for page in pages} == {20}


def test_live(service: Service) -> None:
    """A stream of new runs gets a run once, even if its row is written again."""
    project, store = "live", service.store
    store.take(project, make_call(), make_call())
    before = list_recorded(store.reader, project, 0, 100)
    write_again(store, project)
    assert len(before) == 2
    assert list_recorded(store.reader, project, 0, 100) == before


def test_trace_page(service: Service) -> None:
    """A page of a trace has as many runs as it should, whatever the number of rows."""
    project, store = "page", service.store
    calls = [make_call(trace_id=trace_id(77), start_ns=NOW_NS + place) for place in range(4)]
    store.take(project, *calls)
    write_again(store, project)
    path = f"/api/v1/traces/{trace_id(77).hex()}"
    first = ask(service.app, f"{path}?limit=3").json
    assert [run["run_id"] for run in first["runs"]] == [id_of(call) for call in calls[:3]]
    rest = ask(service.app, f"{path}?limit=3&cursor={first['next_cursor']}").json
    assert [run["run_id"] for run in rest["runs"]] == [id_of(calls[3])]
    assert rest["next_cursor"] is None
