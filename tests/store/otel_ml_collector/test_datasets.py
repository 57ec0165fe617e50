"""Data sets: items and versions that arrive in any order, reading them, and new versions."""

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.items import digest_item, digest_version, split_manifest, write_manifest
from otel_ml_collector.errors import Missing
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Span, Value
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.retention import Days, Retention
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tombstones import PROJECT, RUN, SESSION, Tombstones
from otel_ml_collector.store.writer import Writer
from tests.support.examples import examples
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    id_of,
    make_artifact,
    make_call,
    make_span,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, sampled

QUESTION: Final = {"question": "2+2"}


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """Return a separate service, because retention affects all projects of a store."""
    return own_service


def make_item(
    inputs: object, expected: object = None, told: Mapping[str, Value] | None = None, **tags: Value
) -> Span:
    """Make the record of an item."""
    attributes: dict[str, Value] = {
        "otel_ml.record": "item",
        "otel_ml.item.digest": digest_item(inputs, expected, tags),
        "otel_ml.inputs": orjson.dumps(inputs).decode(),
        "otel_ml.item.expected": orjson.dumps(expected).decode(),
        **{f"otel_ml.tag.{name}": value for name, value in tags.items()},
    }
    return make_span("item", {**attributes, **(told or {})}, end_ns=NOW_NS)


def digest_of(item: Span) -> str:
    return str(item.attributes["otel_ml.item.digest"])


def make_versions(name: str, items: Mapping[str, Span], a_record: int = 8) -> list[Span]:
    """Make the records of a version of a data set."""
    digests = {item_id: digest_of(item) for item_id, item in items.items()}
    parts = split_manifest(write_manifest(digests))
    definition = {"items": len(items), "parts": len(parts), "description": "sums"}
    told: dict[str, Value] = {
        "otel_ml.record": "update",
        "otel_ml.target.kind": "dataset",
        "otel_ml.target.model": name,
        "otel_ml.target.version": digest_version(digests),
        "otel_ml.model.definition": orjson.dumps(definition).decode(),
    }
    return [
        make_span(
            "update",
            told,
            end_ns=NOW_NS,
            events=[
                make_artifact(f"items.{place}", orjson.dumps(part).decode())
                for place, part in enumerate(parts[first : first + a_record], first)
            ],
        )
        for first in range(0, len(parts), a_record)
    ]


def call(
    service: Service,
    project: str,
    path: str,
    body: object = None,
    status: int = 200,
    *,
    base: str = "",
) -> Any:
    address = f"/api/v1/projects/{quote(project)}/datasets{path}"
    sent = {} if body is None else {"content-type": "application/json"}
    answered = ask(
        service.app,
        address,
        method="GET" if body is None else "POST",
        headers={**sent, **({"if-match": base} if base else {})},
        body=[b"" if body is None else orjson.dumps(body)],
    )
    assert answered.status == status, answered.text
    return answered.json


def listed(service: Service, project: str) -> list[tuple[str, int, int, int, bool]]:
    """Return each data set's name, version, items, stored items, and whether it is complete."""
    found = call(service, project, "")["datasets"]
    names = ("name", "version", "items", "stored", "is_complete")
    return [tuple(one[name] for name in names) for one in found]


def contents(service: Service, project: str, name: str, number: int) -> dict[str, Any]:
    items = call(service, project, f"/{name}/versions/{number}/items")["items"]
    return {one["id"]: one for one in items}


def test_read_back(service: Service, project: str) -> None:
    """An item is returned as it was sent: inputs, expected output, tags and source run."""
    source = f"{'a' * 32}-{'b' * 16}"
    inputs = {"question": "2+2", "big": 2**60, "half": 0.5, "none": None, "text": "é"}
    item = make_item(
        inputs, ["4", 4], {"otel_ml.item.source_run": source}, topic="sums", hard=True, n=2, x=0.5
    )
    service.store.take(project, item, *make_versions("qa", {"first": item}))
    assert call(service, project, "/qa/versions/1/items")["items"] == [
        {
            "id": "first",
            "digest": digest_of(item),
            "inputs": inputs,
            "expected": ["4", 4],
            "tags": {"topic": "sums", "hard": True, "n": 2, "x": 0.5},
            "source_run": source,
            "source_session": None,
            "is_here": True,
            "is_whole": True,
            "left_out": {},
        }
    ]
    [version] = call(service, project, "/qa/versions")["versions"]
    assert (version["description"], version["added"], version["digest"]) == (
        "sums",
        1,
        digest_version({"first": digest_of(item)}),
    )


@at_night
@settings(max_examples=examples(40, on_commit=6))
@given(seed=st.integers(0, 2**32))
def test_any_order(service: Service, seed: int) -> None:
    """Records give the same data set in any order, twice, in any groups, by two writers."""
    project, draw = f"sets {seed}", random.Random(seed)  # noqa: S311 - an order, no secret
    items = {f"item {number}": make_item({"q": number}) for number in range(5)}
    sent = [*items.values(), *make_versions("qa", items)]
    sent += draw.sample(sent, 3)
    draw.shuffle(sent)
    writers = [Writer(service.store.connections) for _ in range(2)]
    cuts = sorted({0, len(sent), *(draw.randrange(len(sent)) for _ in range(3))})
    for first, last in pairwise(cuts):
        draw.choice(writers).write(map_spans(sent[first:last], Filing(project, NOW_NS)))
    assert listed(service, project) == [("qa", 1, 5, 5, True)]
    found = contents(service, project, "qa", 1)
    assert {item_id: one["inputs"]["q"] for item_id, one in found.items()} == {
        f"item {number}": number for number in range(5)
    }


def test_incomplete(service: Service, project: str) -> None:
    """An incomplete version reports how many items are stored."""
    items = {f"{number:04}": make_item({"q": number}) for number in range(1_500)}
    first, second = make_versions("qa", items, a_record=1)
    service.store.take(project, first, *list(items.values())[:3])
    assert listed(service, project) == [("qa", 1, 1_500, 3, False)]
    service.store.take(project, second)
    assert listed(service, project) == [("qa", 1, 1_500, 3, False)]
    [*_, last] = call(service, project, "/qa/versions/1/items?limit=4")["items"]
    assert (last["id"], last["is_here"], last["inputs"]) == ("0003", False, None)
    service.store.take(project, *list(items.values())[3:])
    assert listed(service, project) == [("qa", 1, 1_500, 1_500, True)]


@sampled(1)
@pytest.mark.parametrize("limit", [1, 7, 799, 1_000])
def test_pages(service: Service, limit: int) -> None:
    """Pages list each item once, in the order of ids, for any page size."""
    project = "pages"
    if not listed(service, project):
        items = {f"{number:04} é": make_item({"q": number}) for number in range(1_700)}
        service.store.take(project, *items.values(), *make_versions("qa", items))
    found: list[str] = []
    cursor = ""
    most = 5 * limit if limit < 100 else 10_000
    while cursor is not None and len(found) < most:
        path = f"/qa/versions/1/items?limit={limit}" + (f"&cursor={cursor}" if cursor else "")
        page = call(service, project, path)
        found += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
    wanted = [f"{number:04} é" for number in range(1_700)]
    assert found == wanted[: len(found)]
    assert len(found) == min(most, 1_700)


def test_numbers_and_diff(service: Service, project: str) -> None:
    """Versions are numbered as they arrive, and the same content is the same version."""
    one, two, other = make_item({"q": 1}), make_item({"q": 2}), make_item({"q": 3})
    versions = [{"a": one, "b": two}, {"a": one, "b": other, "c": two}, {"c": two}]
    for items in versions:
        service.store.take(project, *items.values(), *make_versions("qa", items))
    service.store.take(project, *make_versions("qa", versions[0]))
    found = call(service, project, "/qa/versions")["versions"]
    assert [(v["version"], v["added"], v["removed"], v["changed"]) for v in found] == [
        (3, 0, 2, 0),
        (2, 1, 0, 1),
        (1, 2, 0, 0),
    ]
    page = call(service, project, "/qa/versions?limit=1")
    rest = call(service, project, f"/qa/versions?limit=5&cursor={page['next_cursor']}")
    assert [*page["versions"], *rest["versions"]] == found
    diff = call(service, project, "/qa/versions/2/diff?against=1")
    assert diff == {
        "name": "qa",
        "version": 2,
        "against": 1,
        "added": 1,
        "removed": 0,
        "changed": 1,
        "items": [
            {"id": "b", "digest": digest_of(other), "before": digest_of(two)},
            {"id": "c", "digest": digest_of(two), "before": None},
        ],
    }
    call(service, project, "/qa/versions/2/diff?against=9", status=404)
    call(service, project, "/none/versions", status=404)


@sampled(1)
@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"otel_ml.item.digest": "x"}, "invalid_item"),
        ({"otel_ml.inputs": "{"}, "invalid_item"),
        ({"otel_ml.item.source_run": "x"}, "invalid_item"),
    ],
)
def test_rejected(service: Service, project: str, told: dict[str, Value], reason: str) -> None:
    """An invalid item is rejected and counted."""
    records = service.store.take(project, make_item(QUESTION, None, told))
    assert dict(records.rejected) == {reason: 1}


@at_night
def test_left_out(service: Service, project: str) -> None:
    """An item that was cut or redacted can be read, and is marked as not runnable.

    If the complete item arrives too, it is used, in any order of arrival.
    """
    whole = make_item(QUESTION)
    cut = make_item(
        QUESTION,
        None,
        {
            "otel_ml.inputs": '{"question":"[redacted]"}',
            "otel_ml.capture": '{"inputs":["redacted"]}',
        },
    )
    service.store.take(project, cut, *make_versions("qa", {"a": cut}))
    found = contents(service, project, "qa", 1)["a"]
    assert (found["is_whole"], found["left_out"]) == (False, {"inputs": ["redacted"]})
    for item in (whole, cut):
        service.store.take(project, item)
    found = contents(service, project, "qa", 1)["a"]
    assert (found["is_whole"], found["inputs"]) == (True, QUESTION)


def test_typed_values(service: Service, project: str) -> None:
    """The document of a typed value can be read by its hash."""
    document = '{"type":"otel_ml.types.Numpy","params":{}}'
    digest = hashlib.sha256(document.encode()).hexdigest()
    value = {"otel_ml.artifact.type": "otel_ml.types.Numpy", "otel_ml.artifact.sha256": digest}
    item = make_item({"image": value})
    item.events.append(make_artifact("inputs.image", document))  # type: ignore[attr-defined]
    service.store.take(project, item, *make_versions("qa", {"a": item}))
    assert contents(service, project, "qa", 1)["a"]["inputs"] == {"image": value}
    path = f"/api/v1/projects/{quote(project)}/artifacts/{digest}"
    assert ask(service.app, path).text == document


def test_new_versions(service: Service, project: str) -> None:
    """A new version is made from the newest one by adding, replacing and removing items."""
    items = [{"inputs": QUESTION, "expected": "4"}, {"id": "b", "inputs": {"question": "1+1"}}]
    made = call(service, project, "/qa/items", {"items": items, "description": "sums"})
    start = hashlib.sha256(b'{"question":"2+2"}').hexdigest()[:16]
    assert (made["version"], made["items"], made["is_complete"]) == (1, 2, True)
    assert [*contents(service, project, "qa", 1)] == sorted([start, "b"])
    changed = [{"id": "b", "inputs": {"question": "1+1"}, "expected": "2", "tags": {"n": 1}}]
    body = {"items": changed, "remove": [start]}
    made = call(service, project, "/qa/items", body, base='"1"')
    assert (made["version"], made["items"], made["description"]) == (2, 1, "sums")
    [item] = contents(service, project, "qa", 2).values()
    assert (item["id"], item["expected"], item["tags"]) == ("b", "2", {"n": 1})
    again = call(service, project, "/qa/items", {"items": changed})
    assert again["version"] == 2
    call(service, project, "/qa/items", {"items": items}, 412, base='"1"')
    call(service, project, "/new/items", {"items": items}, 412, base='"1"')
    made = call(service, project, "/new/items", {"items": items}, base='"0"')
    assert made["version"] == 1


@sampled(1)
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"remove": ["none"]}, "remove.0"),
        ({"items": [{"id": "a", "inputs": 1}, {"id": "a", "inputs": 2}]}, "items.1.id"),
        ({"items": [{"id": "a\nb", "inputs": 1}]}, "items.0.id"),
        ({"items": [{"inputs": 1, "more": 2}]}, "items.0.more"),
        ({"items": [{"inputs": 1, "source_run": "x"}]}, "items.0.source_run"),
    ],
)
def test_wrong_versions(service: Service, project: str, body: object, field: str) -> None:
    """An invalid version is refused with the field that is wrong, and nothing is stored."""
    told = call(service, project, "/qa/items", body, 400)
    assert told["error"]["field"] == field
    assert listed(service, project) == []


def rows(service: Service, project: str, tables: Sequence[str]) -> list[int]:
    found = []
    for table in tables:
        sql = Sql("SELECT count() AS rows FROM {table} WHERE project = {project:String}")
        sql = sql.fill(table=Sql("items") if table == "items" else Sql("objects"))
        found += [row["rows"] for row in service.store.reader.rows(sql, {"project": project})]
    return found


def test_session_of_an_item(service: Service, project: str) -> None:
    """A record with the item's session wins, in any order, twice, and through two writers."""
    source: dict[str, Value] = {"otel_ml.item.source_run": f"{'a' * 32}-{'b' * 16}"}
    silent = make_item(QUESTION, None, source)
    item = make_item(QUESTION, None, {**source, "otel_ml.item.source_session": "morning"})
    assert digest_of(item) == digest_of(silent)
    other = Writer(service.store.connections)
    version = make_versions("qa", {"sum": item})
    sessions = []
    for place, sent in enumerate(([silent, item], [item, silent], [item, item], [silent, silent])):
        of = f"{project}-{place}"
        service.store.take(of, *version, sent[0])
        other.write(map_spans([sent[1]], Filing(of, NOW_NS)))
        found = call(service, of, "/qa/versions/1/items")
        assert found["version"]["digest"] == digest_version({"sum": digest_of(item)})
        assert found["version"]["is_complete"]
        sessions.append([one["source_session"] for one in found["items"]])
    assert sessions == [["morning"], ["morning"], ["morning"], [None]]


@at_night
def test_deletion_of_a_session(service: Service, project: str) -> None:
    """Deleting a session deletes its items from data sets, even if their run is already gone."""
    run = make_call("answer", {"otel_ml.inputs": "1", "session.id": "evening"})
    of_run = make_item(1, None, {"otel_ml.item.source_run": id_of(run)})
    orphan, other = (
        make_item(name, None, {"otel_ml.item.source_session": name})
        for name in ("morning", "evening")
    )
    version = make_versions("qa", {"a": of_run, "b": orphan, "c": other})
    service.store.take(project, run, of_run, orphan, other, *version)
    connections = service.store.connections
    tombstones = Tombstones(connections)
    deleter = Deleter(connections, tombstones)
    for session, left in (("morning", [1, "evening"]), ("evening", [])):
        deleter.delete(project, SESSION, session)
        writer = Writer(connections, tombstones=tombstones)
        writer.write(
            map_spans([of_run, orphan, other] if not left else [orphan], Filing(project, NOW_NS))
        )
        found = call(service, project, "/qa/versions/1/items")["items"]
        assert [one["inputs"] for one in found if one["is_here"]] == left
    with pytest.raises(Missing):
        deleter.delete(project, SESSION, "never")


def test_page_of_a_run_names_its_data_sets(service: Service, project: str) -> None:
    """A run's page lists the data sets with an item made from the run, and no others."""
    run = make_call("answer", {"otel_ml.inputs": '{"question":"2+2"}'})
    item = make_item(QUESTION, None, {"otel_ml.item.source_run": id_of(run)})
    other = make_item({"question": "own"})
    sets = (
        *make_versions("qa", {"first": item, "b": other}),
        *make_versions("nightly", {"q-1": item}),
        *make_versions("others", {"b": other}),
    )
    service.store.take(project, run, item, other, *sets)
    page = ask(service.app, f"/projects/{quote(project)}/runs/{id_of(run)}").text
    (told,) = re.findall(r"<dt>In data sets</dt><dd>(.*?)</dd>", page)
    named = re.findall(r'<a href="([^"]+)">([^<]+)</a> <small>as ([^<]+)</small>', told)
    here = f"/projects/{quote(project)}/datasets"
    assert named == [(f"{here}/nightly", "nightly", "q-1"), (f"{here}/qa", "qa", "first")]


@sampled(1)
@pytest.mark.parametrize("kind", [RUN, PROJECT])
def test_deletion(service: Service, project: str, kind: str) -> None:
    """Deleting a run deletes the item made from it, and the item cannot return."""
    run = make_call("answer", {"otel_ml.inputs": '{"question":"2+2"}'})
    item = make_item(QUESTION, None, {"otel_ml.item.source_run": id_of(run)})
    other = make_item({"question": "own"})
    sent = [run, item, other, *make_versions("qa", {"a": item, "b": other})]
    service.store.take(project, *sent)
    connections = service.store.connections
    tombstones = Tombstones(connections)
    deleter = Deleter(connections, tombstones)
    if kind == RUN:
        deleter.delete(project, RUN, id_of(run))
        writer = Writer(connections, tombstones=tombstones)
        writer.write(map_spans([item], Filing(project, NOW_NS)))
        assert listed(service, project) == [("qa", 1, 2, 1, False)]
    else:
        deleter.delete(project, PROJECT, "")
        assert rows(service, project, ["items", "objects"]) == [0, 0]
        assert listed(service, project) == []


@at_night
def test_retention(service: Service, project: str) -> None:
    """Data sets are never removed by retention, like versions of models."""
    item = make_item(QUESTION)
    service.store.take(project, item, *make_versions("qa", {"a": item}))
    days = Days(records=1, payloads=1)
    retention = Retention(service.store.connections, days, clock=lambda: 2 * NOW_NS)
    retention.confirm()  # such a clock must be confirmed first
    retention.sweep()
    assert listed(service, project) == [("qa", 1, 1, 1, True)]


def test_other_projects(service: Service, project: str) -> None:
    """Items of another project cannot be read."""
    item = make_item({"question": "secret"})
    service.store.take(f"{project} other", item)
    service.store.take(project, *make_versions("qa", {"a": item}))
    assert listed(service, project) == [("qa", 1, 1, 0, False)]


def page(service: Service, project: str, path: str, status: int = 200) -> str:
    answered = ask(service.app, f"/projects/{quote(project)}/datasets{path}")
    assert answered.status == status, answered.text
    return answered.text


def test_pages_of_a_project(service: Service, project: str) -> None:
    """The pages show versions with their changes, and items with their source run."""
    assert "No data sets yet" in page(service, project, "")
    source = f"{'a' * 32}-{'b' * 16}"
    first = make_item(QUESTION, "<b>4</b>", {"otel_ml.item.source_run": source}, topic="sums")
    second = make_item({"question": "1+1"}, 2)
    service.store.take(project, first, *make_versions("qa", {"sum": first}))
    service.store.take(project, *make_versions("qa", {"sum": first, "other": second}))
    listing = page(service, project, "")
    assert "incomplete (1 of 2)" in listing
    whole = page(service, project, "/qa")
    assert "&lt;b&gt;4&lt;/b&gt;" in whole
    assert f"/runs/{source}" in whole
    assert '<td class="n">1</td><td class="n">–</td><td class="n">–</td>' in whole
    assert "not arrived" in whole
    assert "not arrived" not in page(service, project, "/qa?version=1")
    page(service, project, "/none", 404)


def make_asked(number: int, told: Mapping[str, Value] | None = None, **more: Any) -> Span:
    """Make a run with a question and an answer."""
    attributes: dict[str, Value] = {
        "otel_ml.inputs": orjson.dumps({"question": f"{number}+1"}).decode(),
        "otel_ml.outputs": orjson.dumps(str(number + 1)).decode(),
        "otel_ml.tag.topic": "sums",
        **(told or {}),
    }
    return make_call(
        "answer", attributes, trace_id=trace_id(number + 1), span_id=span_id(number + 1), **more
    )


def test_runs_become_items(service: Service, project: str) -> None:
    """Runs become items that expect their output, their ground truth, or a given value."""
    runs = [make_asked(number) for number in range(3)]
    cut = make_asked(3, {"otel_ml.capture": '{"inputs": ["truncated"]}'})
    failed = make_asked(4, {"otel_ml.outcome": "error"})
    empty = make_call("answer", trace_id=trace_id(60), span_id=span_id(60))
    service.store.take(project, *runs, cut, failed, empty)
    wanted = {"where": 'model == "answer"', "expected": "outputs"}
    saved = call(service, project, "/kept/runs", wanted)
    assert (saved["items"], saved["version"]["version"], saved["version"]["items"]) == (3, 1, 3)
    assert saved["left_out"] == {
        "with inputs truncated": 1,
        "without a whole output": 1,
        "without inputs": 1,
    }
    found = call(service, project, "/kept/versions/1/items")["items"]
    assert {one["source_run"]: (one["inputs"], one["expected"], one["tags"]) for one in found} == {
        id_of(run): ({"question": f"{number}+1"}, str(number + 1), {"topic": "sums"})
        for number, run in enumerate(runs)
    }
    edited = {"run_ids": [id_of(runs[1])], "expected": "given", "given": {"sum": 2}}
    saved = call(service, project, "/kept/runs", edited)
    assert (saved["version"]["version"], saved["version"]["items"]) == (2, 3)
    items = call(service, project, "/kept/versions/2/items")["items"]
    assert [one["expected"] for one in items if one["source_run"] == id_of(runs[1])] == [{"sum": 2}]
    again = call(service, project, "/kept/runs", edited)
    assert again["version"] == saved["version"]
    # The session is named by a run below, and the item was first stored without it.
    below = {"session.id": "morning"}
    service.store.take(
        project, make_call("chat", below, trace_id=runs[0].trace_id, span_id=span_id(90))
    )
    saved = call(service, project, "/kept/runs", wanted)
    items = call(service, project, f"/kept/versions/{saved['version']['version']}/items")["items"]
    assert {one["source_run"]: one["source_session"] for one in items} == {
        id_of(runs[0]): "morning", id_of(runs[1]): None, id_of(runs[2]): None
    }  # fmt: skip
    nothing = call(service, project, "/bare/runs", {"run_ids": [id_of(failed)]})
    assert (nothing["items"], nothing["left_out"]) == (1, {})


@sampled(1)
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ('"department" in truth', "billing"),
        ('model == "answer" and "department" in truth', "billing"),
        ('"department" in truth and truth["department"] == "billing"', "billing"),
        ('"urgent" in truth', "yes"),
        ('not "other" in truth and truth["urgent"] == "yes"', "yes"),
        ("", "about a bill"),
    ],
)
def test_truth_of_a_filter(service: Service, project: str, where: str, expected: str) -> None:
    """Items expect the ground truth that the filter names, otherwise that of the output."""
    run = make_asked(1)
    service.store.take(project, run)
    truths = {"department": "billing", "urgent": "yes", "output": "about a bill"}
    evaluations = [
        {"run_id": id_of(run), "actual": value, **({"judge": name} if name != "output" else {})}
        for name, value in truths.items()
    ]
    answered = ask(
        service.app,
        f"/api/v1/projects/{quote(project)}/evaluations",
        method="POST",
        headers={"content-type": "application/json"},
        body=[orjson.dumps({"evaluations": evaluations})],
    )
    assert answered.status == 200, answered.text
    saved = call(service, project, "/qa/runs", {"where": where, "expected": "actual"})
    assert (saved["items"], saved["left_out"]) == (1, {})
    [item] = contents(service, project, "qa", 1).values()
    assert item["expected"] == expected


@sampled(2)
@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"run_ids": ["no id"]}, 400),
        ({"run_ids": [f"{'1' * 32}-{'1' * 16}"]}, 404),
        ({"where": 'model == "nobody"'}, 400),
        ({"where": "model =="}, 400),
        ({"start": "yesterday"}, 400),
        ({"expected": "anything"}, 400),
        ({"run_ids": [id_of(make_asked(1))], "expected": "actual"}, 400),
    ],
)
def test_runs_that_are_no_items(
    service: Service, project: str, wanted: dict[str, Any], status: int
) -> None:
    """A request without any run that can be an item is refused, and no version is made."""
    service.store.take(project, make_asked(1))
    call(service, project, "/none/runs", wanted, status)
    assert listed(service, project) == []


def test_reason(service: Service, project: str) -> None:
    """A version keeps its reason; making the same content again adds no version."""
    one, other = ({"id": name, "inputs": name} for name in ("one", "other"))
    call(service, project, "/why/items", {"items": [one], "reason": "the first"})
    call(service, project, "/why/items", {"items": [other], "reason": "a second, ü"})
    told = call(service, project, "/why/items", {"remove": ["other"], "reason": "zzz"})
    assert (told["version"], told["reason"]) == (1, "the first")
    call(service, project, "/why/items", {"items": [other | {"expected": 1}]})
    versions = call(service, project, "/why/versions")["versions"]
    assert [one["reason"] for one in versions] == ["", "a second, ü", "the first"]
    call(service, project, "/why/items", {"items": [one], "reason": "n" * 1_001}, 400)
