"""Exports: every run once, in each format, complete or not at all."""

import csv
import io
import json
from typing import Any
from urllib.parse import urlencode

import pyarrow.parquet as pq
import pytest

from otel_ml_collector.export import TYPES, ExportQuery, export_runs
from otel_ml_collector.filter.fields import FIELD_NAMES
from otel_ml_collector.span import Event, Link, Scope, Span, Value
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    SECOND_NS,
    id_of,
    make_artifact,
    make_call,
    make_record,
    make_span,
    make_start,
)
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import sampled

LATE = ("trace_key", "session", "tags", "scores", "passed", "failed_judges", "label", "agent")


def download(service: Service, project: str, **asked: str) -> Answered:
    answered = ask(service.app, f"/api/v1/projects/{project}/export?{urlencode(asked)}")
    assert answered.status == 200, answered.text
    return answered


def lines(service: Service, project: str, **asked: str) -> list[dict[str, Any]]:
    text = download(service, project, **asked).text
    return [json.loads(line) for line in text.splitlines()]


def make_answer(number: int, **told: Any) -> Span:
    attributes = {
        "otel_ml.inputs": json.dumps({"number": number}),
        "otel_ml.outputs": '"=1+1"',
        "otel_ml.model.version": "aa",
        "otel_ml.tag.client": "bigshot",
        "otel_ml.tag.size": number,
        "otel_ml.score.grounded": 0.5,
        "otel_ml.passed.grounded": True,
        **told,
    }
    return make_call("answer", attributes, start_ns=NOW_NS + number * SECOND_NS)


def test_as_lists(service: Service, project: str) -> None:
    """A line has the same fields and values as a run in lists and on its own."""
    answer = make_answer(1, **{"otel_ml.trace_key": "order-17", "gen_ai.usage.input_tokens": 3})
    service.store.take(project, answer)
    (line,) = lines(service, project, columns="*")
    shown = ask(service.app, f"/api/v1/projects/{project}/runs/{id_of(answer)}").json
    tokens = shown.pop("tokens")
    whole = ("inputs", "outputs", "resource", "scope", "metrics", "artifacts", "evaluations")
    short = [name for name in shown if name in line and name not in TOLD_OTHERWISE]
    assert {name: line[name] for name in short} == {name: shown[name] for name in short}
    assert set(whole) <= set(short)
    assert (line["input_tokens"], line["output_tokens"]) == (tokens["input"], tokens["output"])
    assert set(line) == set(TYPES)


# Null in a line but empty in a run, or also set by records of other spans.
TOLD_OTHERWISE = {"logs", "events", "links", "attributes", "params", "tag_details"}


def test_order_of_all(service: Service, project: str) -> None:
    """All ended model calls are exported once, oldest first, in any order of delivery."""
    answers = [make_answer(number) for number in range(7)]
    service.store.take(project, *reversed(answers), make_span("GET /ask"))
    service.store.take(project, *answers[2:5], make_start(make_call("open")))
    assert [line["run_id"] for line in lines(service, project)] == [id_of(a) for a in answers]


def test_one_instant(service: Service, project: str) -> None:
    """Runs with the same start are exported once, also if a batch ends between them."""
    answers = [make_call("answer") for _ in range(1_200)]
    service.store.take(project, *answers)
    found = [line["run_id"] for line in lines(service, project, columns="run_id")]
    assert found == sorted(id_of(answer) for answer in answers)


def test_written_meanwhile(service: Service, project: str) -> None:
    """A run that is stored during an export appears in it at most once."""
    answers = [make_answer(number) for number in range(0, 2_000, 2)]
    store = service.store
    store.take(project, *answers)
    query = ExportQuery(project, "", 0, 2 * NOW_NS, ["run_id"], json_tags=False)
    batches = export_runs(store.reader, query)
    found = next(batches)["run_id"].to_pylist()
    later = [make_answer(number) for number in range(1, 3_000, 2)]
    store.take(project, *later, *answers[::3])
    for batch in batches:
        found += batch["run_id"].to_pylist()
    assert len(found) == len(set(found))
    ahead = {id_of(answer) for answer in later if answer.start_ns > answers[-1].start_ns}
    assert {id_of(answer) for answer in answers} | ahead <= set(found)


def test_filter(service: Service, project: str) -> None:
    """Only runs that match the filter and started in the interval are exported."""
    service.store.take(project, *[make_answer(number) for number in range(6)])
    found = lines(
        service,
        project,
        where='tags["size"] >= 2',
        start="2026-11-20T07:00:01Z",
        end="2026-11-20T07:00:05Z",
        columns="start_ns",
    )
    assert found == [{"start_ns": NOW_NS + n * SECOND_NS} for n in (2, 3, 4)]


@sampled(1)
@pytest.mark.parametrize("columns", ["", "*"])
def test_told_later(service: Service, project: str, columns: str) -> None:
    """Tags and scores from later records are the same in an export and in a list."""
    first, second = make_answer(1, **{"otel_ml.trace_key": "key"}), make_answer(2)
    above = make_call(
        "above", {"session.id": "s1"}, trace_id=second.trace_id, start_ns=second.start_ns + 1
    )
    key: dict[str, Value] = {"otel_ml.target.trace_key": "key"}
    report = {"otel_ml.judge.name": "bot", "otel_ml.source": "agent", "otel_ml.score.label": "ok"}
    judged: dict[str, Value] = {
        "otel_ml.judge.name": "thumbs",
        "otel_ml.score.value": 1.0,
        "otel_ml.passed": True,
    }
    service.store.take(
        project,
        *(first, second, make_record("update", second, {"otel_ml.tag.late": "x"})),
        above,
        make_record("update", first, {**key, "otel_ml.tag.told": 5}),
        make_record("evaluation", first, {**key, **report}),
        make_record("evaluation", second, {**judged, "otel_ml.source": "human"}),
    )
    shown = ask(service.app, f"/api/v1/projects/{project}/runs?order=oldest").json["runs"]
    assert [{name: run[name] for name in LATE} for run in shown] == [
        {name: line[name] for name in LATE} for line in lines(service, project, columns=columns)
    ]
    assert shown[1]["scores"] == {"grounded": 0.5, "thumbs": 1.0}
    assert (shown[0]["tags"]["told"], shown[0]["agent"]) == (5, {"bot": "ok"})
    assert shown[1]["session"] == "s1"


def test_whole(service: Service, project: str) -> None:
    """Metrics and artifacts of a run are in its line if the request asks for them."""
    answer = make_answer(1)
    answer.events = [make_artifact("table", "[1]", type="otel_ml.types.Native")]
    points: dict[str, Value] = {
        "otel_ml.metric.names": ["a", "a"],
        "otel_ml.metric.values": [1.0, 2.0],
    }
    service.store.take(project, answer, make_record("update", answer, points), make_answer(2))
    first, second = lines(service, project, columns="metrics,artifacts")
    assert first["metrics"] == {"a": [1.0, 2.0]}
    assert [artifact["ref"] for artifact in first["artifacts"]] == ["table"]
    assert second == {"metrics": {}, "artifacts": []}


def test_beside_attributes(service: Service, project: str) -> None:
    """Trace state, flags, schema URLs and dropped counts are exported unchanged."""
    answer = make_call(
        "answer",
        scope=Scope({"service.name": "shop"}, "lib", "1", {}, "url/scope", 1, "url/resource", 2),
        events=[Event("retry", NOW_NS, {}, 3)],
        links=[Link(bytes(15) + b"\1", bytes(7) + b"\2", {}, "vendor=there", 0x301, 4)],
        otlp={"trace_state": "vendor=here", "flags": 0x101, "dropped_links_count": 5},
    )
    service.store.take(project, answer)
    (line,) = lines(service, project, columns="attributes,events,links,scope")
    otlp = {"trace_state": "vendor=here", "flags": 0x101, "dropped_links_count": 5}
    link = {
        "trace_id": f"{1:032x}",
        "span_id": f"{2:016x}",
        "attributes": {},
        "trace_state": "vendor=there",
        "flags": 0x301,
        "dropped_attributes_count": 4,
    }
    scope = {
        "name": "lib",
        "version": "1",
        "schema_url": "url/scope",
        "dropped_attributes_count": 1,
        "resource": {"schema_url": "url/resource", "dropped_attributes_count": 2},
    }
    event = {"name": "retry", "time_ns": NOW_NS, "attributes": {}, "dropped_attributes_count": 3}
    assert line == {
        "attributes": {"otel_ml.otlp": otlp},
        "events": [event],
        "links": [link],
        "scope": scope,
    }
    run = ask(service.app, f"/api/v1/projects/{project}/runs/{id_of(answer)}").json
    assert (run["attributes"], run["otlp"], run["scope"]) == ({}, otlp, scope)


def test_parquet(service: Service, project: str) -> None:
    """A Parquet file has typed columns, and maps for tags, scores and verdicts."""
    service.store.take(project, make_answer(1), make_call("plain"))
    file = io.BytesIO(download(service, project, format="parquet").body)
    plain, answer = pq.read_table(file).to_pylist()
    assert dict(answer["tags"]) == {"client": "bigshot", "size": "1"}
    assert (dict(answer["scores"]), dict(answer["passed"])) == (
        {"grounded": 0.5},
        {"grounded": True},
    )
    assert (answer["version"], plain["version"], plain["scores"]) == (1, None, [])
    assert answer["start_time"].value == NOW_NS + SECOND_NS


def test_csv(service: Service, project: str) -> None:
    """Text that a spreadsheet would evaluate is prefixed with an apostrophe; numbers are not."""
    answer = make_answer(-3, **{"otel_ml.outputs.preview": "=1+1", "session.id": "@now"})
    service.store.take(project, answer)
    columns = "session,outputs_preview,tags,start_time,latency_ms"
    text = download(service, project, format="csv", columns=columns).text
    assert list(csv.reader(io.StringIO(text))) == [
        columns.split(","),
        ["'@now", "'=1+1", '{"client":"bigshot","size":-3}', "2026-11-20T06:59:57.000000000Z", "1"],
    ]


FIELDS = {
    'params["lr"]': 0.1,
    'params["a,b"]': "x, y",
    "params.deep[0].x": True,
    'tags["client"]': "bigshot",
    'tags["size"]': 7,
    'tags["none"]': None,
    'scores["grounded"]': 0.5,
    'passed["grounded"]': True,
    'failed["grounded"]': False,
    'failed["nobody"]': None,
    'judge_version["grounded"]': 1,
    'judge_version["nobody"]': None,
    "inputs.number": 7,
    "inputs.number[0]": None,
    'truth["churned"]': "yes",
    'metrics["loss"]': [1.0, 0.5],
    'attributes["http.route"]': "/ask",
    "start": "2026-11-20T07:00:07.000000000Z",
    "end": "2026-11-20T07:00:07.001000000Z",
    "latency": 1.0,
    "input": {"number": 7},
    "cached": None,
    "parent": None,
    "model": "answer",
}
# Values that are not plain are JSON text in CSV; values of any type are text.
CSV = {
    **{name: "" if value is None else str(value) for name, value in FIELDS.items()},
    "params.deep[0].x": "true",
    'passed["grounded"]': "true",
    'failed["grounded"]': "false",
    'metrics["loss"]': "[1.0,0.5]",
    "latency": "1",
    "input": '{"number":7}',
}


def take_fields(service: Service, project: str) -> str:
    told = {"lr": 0.1, "a,b": "x, y", "deep": [{"x": True}]}
    judges = {"grounded": {"version": "00000000000000bb"}}
    more = {"otel_ml.params": json.dumps(told), "otel_ml.judges": json.dumps(judges)}
    answer = make_answer(7, **more, **{"http.route": "/ask"})
    points: dict[str, Value] = {
        "otel_ml.metric.names": ["loss", "loss"],
        "otel_ml.metric.values": [1.0, 0.5],
    }
    truth: dict[str, Value] = {"otel_ml.judge.name": "churned", "otel_ml.actual": "yes"}
    records = [make_record("update", answer, points), make_record("evaluation", answer, truth)]
    service.store.take(project, answer, *records)
    return ",".join(FIELDS)


def test_fields_of_filters(service: Service, project: str) -> None:
    """Every filter field can be a column; in JSON lines each value keeps its type."""
    columns = take_fields(service, project)
    assert lines(service, project, columns=columns) == [FIELDS]


def test_fields_of_filters_in_files(service: Service, project: str) -> None:
    """CSV and Parquet have the same columns, as text if a column can have any type."""
    columns = take_fields(service, project)
    (row,) = csv.DictReader(
        io.StringIO(download(service, project, format="csv", columns=columns).text)
    )
    assert row == CSV
    table = pq.read_table(
        io.BytesIO(download(service, project, format="parquet", columns=columns).body)
    )
    [found] = table.to_pylist()
    assert list(found) == list(FIELDS)
    assert (found['params["lr"]'], found['tags["size"]']) == ("0.1", "7")
    assert (found['scores["grounded"]'], found['passed["grounded"]']) == (0.5, True)
    assert (found['truth["churned"]'], found["latency"], found["cached"]) == ("yes", 1.0, None)
    assert found["start"].isoformat() == "2026-11-20T07:00:07+00:00"


def test_every_field_is_a_column() -> None:
    """Each filter field is a column of the same name, or is derived from columns."""
    assert set(FIELD_NAMES) - set(TYPES) == {
        *("start", "end", "latency"),
        *("failed", "judge_version", "inputs_digest"),
    }


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_nothing(service: Service, project: str, form: str) -> None:
    """An export without runs is a valid file without rows."""
    body = download(service, project, format=form, columns="run_id,tags").body
    if form == "parquet":
        assert pq.read_table(io.BytesIO(body)).column_names == ["run_id", "tags"]
    else:
        assert body == {"jsonl": b"", "csv": b'"run_id","tags"\n'}[form]


@sampled(2)
@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"where": "nothing"}, "where"),
        ({"columns": "run_id,colour"}, "columns"),
        ({"columns": "run_id,run_id"}, "columns"),
        ({"format": "xml"}, "format"),
        ({"start": "soon"}, "start"),
    ],
)
def test_wrong(service: Service, project: str, asked: dict[str, str], field: str) -> None:
    """An invalid request is refused before the response starts, with the field that is wrong."""
    service.store.take(project, make_answer(1))
    answered = ask(service.app, f"/api/v1/projects/{project}/export?{urlencode(asked)}")
    assert (answered.status, answered.json["error"]["field"]) == (400, field)
