"""Tests that a call recorded by several instrumentations counts once everywhere."""

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.runs.answers import add_up
from otel_ml_collector.runs.traces import find_outline
from otel_ml_collector.span import Scope, Span, Value
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.retention import Days, Retention
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tombstones import RUN, Tombstones
from otel_ml_collector.store.writer import Writer
from otel_ml_collector.telemetry.runs import RunNumbers
from tests.support.examples import AT_NIGHT, examples
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.folded import finish
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    MS_NS,
    NOW_NS,
    SECOND_NS,
    id_of,
    make_record,
    make_span,
    make_start,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service, Store
from tests.support.sampling import at_night, harder, sampled

OWN: Final = Scope({}, "otel_ml", "1", {})
ANTHROPIC: Final = Scope({}, "com.anthropic.sdk.python", "2.11", {})
TRACELOOP: Final = Scope({}, "opentelemetry.instrumentation.anthropic", "1", {})
AG2: Final = Scope({}, "opentelemetry.instrumentation.ag2", "", {})
MLFLOW: Final = Scope({}, "mlflow.tracing.provider", "", {})
USED: Final[dict[str, Value]] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "anthropic",
    "gen_ai.request.model": "claude-sonnet-4-5",
    "gen_ai.response.model": "claude-sonnet-4-5",
    "gen_ai.usage.input_tokens": 50,
    "gen_ai.usage.output_tokens": 7,
    "gen_ai.usage.cost": 0.25,
}
KEPT: Final = "gen_ai.provider.name"
ONCE: Final = (1, 50, 7, 0.25)
WINDOW: Final = "start=2026-11-01T00:00:00Z&end=2036-12-01T00:00:00Z&bucket=30d"


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """Return a service for this module, because other modules make traces with the same IDs."""
    return own_service


def make_answer(number: int, start_ns: int = NOW_NS, *, response_id: str = "msg_1") -> list[Span]:
    """Make three records of one call below a chain: by our decorator, traceloop and anthropic."""
    trace = trace_id(number)
    ids = [span_id(number * 10 + place) for place in range(4)]
    own: dict[str, Value] = {"otel_ml.model.name": "answer", "otel_ml.kind": "model"}
    return [
        make_span(
            "work",
            {"otel_ml.model.name": "work", "otel_ml.kind": "chain"},
            trace_id=trace,
            span_id=ids[0],
            start_ns=start_ns,
            end_ns=start_ns + 100 * MS_NS,
            scope=OWN,
        ),
        make_span(
            "answer",
            {**own, **USED, "otel_ml.inputs": '"why"'},
            trace_id=trace,
            span_id=ids[1],
            parent_span_id=ids[0],
            start_ns=start_ns + MS_NS,
            end_ns=start_ns + 90 * MS_NS,
            scope=OWN,
        ),
        make_span(
            "anthropic.chat",
            {**USED, "gen_ai.response.id": response_id},
            trace_id=trace,
            span_id=ids[2],
            parent_span_id=ids[1],
            start_ns=start_ns + 2 * MS_NS,
            end_ns=start_ns + 80 * MS_NS,
            scope=TRACELOOP,
        ),
        make_span(
            "anthropic.messages.create",
            {**USED, "gen_ai.response.id": response_id},
            trace_id=trace,
            span_id=ids[3],
            parent_span_id=ids[1],
            start_ns=start_ns + 3 * MS_NS,
            end_ns=start_ns + 70 * MS_NS,
            scope=ANTHROPIC,
        ),
    ]


def resolve(store: Store) -> None:
    """Resolve all stored runs that are not resolved yet."""
    store.resolve()


def api(service: Service, project: str, path: str) -> Any:
    answered = ask(service.app, f"/api/v1/projects/{quote(project)}/{path}")
    assert answered.status == 200, answered.text
    return answered.json


def used(figures: Any) -> tuple[int, int, int, float]:
    tokens = figures["tokens"]
    return figures["runs"], tokens["input"], tokens["output"], figures["cost"]


def count(service: Service, project: str, where: str = 'kind == "model"') -> Any:
    """Return the call statistics of a project."""
    return used(api(service, project, f"stats?{WINDOW}&where={quote(where)}")["total"])


def names(service: Service, project: str, where: str = "") -> list[str]:
    runs = api(service, project, f"runs?where={quote(where)}")["runs"]
    return sorted(run["name"] for run in runs)


def test_together(service: Service, project: str) -> None:
    """Records of one call in one batch count once immediately."""
    service.store.take(project, *make_answer(1))
    assert count(service, project) == ONCE
    assert names(service, project) == ["answer", "work"]


@at_night
def test_apart(service: Service, project: str) -> None:
    """Records of one call in separate batches count once after a pass, in any order."""
    for span in reversed(make_answer(2)):
        service.store.take(project, span)
    resolve(service.store)
    assert count(service, project) == ONCE
    assert names(service, project) == ["answer", "work"]


# With these seeds, two batches with runs of one call are each resolved before they are stored.
@example(seed=8)
@example(seed=104)
@settings(max_examples=examples(20, on_commit=2))
@given(seed=st.integers(0, 2**32))
def test_any_order(service: Service, seed: int) -> None:
    """Records in any order, grouping or repetition, by two writers, count as one call."""
    project, draw = f"order {seed}", random.Random(seed)  # noqa: S311 - an order, no secret
    calls = [make_answer(1_000 + number) for number in range(2)]
    spans = [span for call in calls for span in call]
    sent = [*spans, *draw.sample(spans, 3)]
    draw.shuffle(sent)
    writers = [Writer(service.store.connections) for _ in range(2)]
    cuts = sorted({0, len(sent), *(draw.randrange(len(sent)) for _ in range(4))})
    for first, last in pairwise(cuts):
        draw.choice(writers).write(map_spans(sent[first:last], Filing(project, NOW_NS)))
        if draw.random() < 0.3:
            resolve(service.store)
    resolve(service.store)
    assert count(service, project) == (2, 100, 14, 0.5)
    found = api(service, project, "runs?where=" + quote('record_of != ""'))["runs"]
    assert {(run["run_id"], run["record_of"]) for run in found} == {
        (id_of(other), id_of(own)) for _, own, *others in calls for other in others
    }


@sampled(1)
@pytest.mark.parametrize("order", ["together", "outer first", "inner first"])
def test_wrapper_of_its_own_scope(service: Service, project: str, order: str) -> None:
    """A call wrapped in a run without an answer by the same library counts once, in any order."""
    outer, inner = make_answer(30)[1:3]
    bare = {name: value for name, value in USED.items() if ".usage." not in name}
    spans = [replace(outer, attributes=bare, scope=TRACELOOP), inner]
    watch = CallResolver(service.store.connections)
    for group in {
        "together": [spans],
        "outer first": [spans[:1], spans[1:]],
        "inner first": [spans[1:], spans[:1]],
    }[order]:
        watch.run_pass()
        service.store.take(project, *group)
        records = map_spans(group, Filing(project, NOW_NS))
        assert project in watch.note(records, time.time_ns())
    finish(service.store, watch)
    assert count(service, project) == ONCE
    [other] = api(service, project, "runs?where=" + quote('record_of != ""'))["runs"]
    assert (other["run_id"], other["record_of"]) == (id_of(outer), id_of(inner))


@at_night
@pytest.mark.parametrize("order", ["together", "outer first", "inner first", "restarted"])
def test_scope_that_records_a_call_twice(service: Service, project: str, order: str) -> None:
    """A call recorded by one scope in two nested spans counts once, in any order."""
    outer, inner = (replace(span, scope=MLFLOW) for span in make_answer(40)[1:3])
    outer = replace(outer, attributes=USED, parent_span_id=b"")
    groups = {
        "together": [[outer, inner]],
        "outer first": [[outer], [inner]],
        "inner first": [[inner], [outer]],
        "restarted": [[outer], [inner]],
    }[order]
    watch = CallResolver(service.store.connections)
    for group in groups:
        watch.run_pass()
        if order == "restarted":
            watch = CallResolver(service.store.connections)
        service.store.take(project, *group)
        watch.note(map_spans(group, Filing(project, NOW_NS)), time.time_ns())
    finish(service.store, watch)
    assert count(service, project) == ONCE
    [other] = api(service, project, "runs?where=" + quote('record_of != ""'))["runs"]
    assert (other["run_id"], other["record_of"]) == (id_of(inner), id_of(outer))


@at_night
@pytest.mark.parametrize("order", ["together", "outer first", "inner first", "restarted"])
def test_sum_of_the_calls_inside(service: Service, project: str, order: str) -> None:
    """A model run with the tokens of the calls inside it adds nothing to totals, in any order."""
    start_ns, ids = NOW_NS, [span_id(60 + place) for place in range(4)]
    usage = [(80, 11), (50, 7), (30, 4)]
    outer, first, last = (
        make_span(
            "chat",
            {
                **{name: value for name, value in USED.items() if "cost" not in name},
                "gen_ai.usage.input_tokens": used[0],
                "gen_ai.usage.output_tokens": used[1],
            },
            trace_id=trace_id(60),
            span_id=ids[place],
            parent_span_id=ids[3] if place else b"",
            start_ns=start_ns + 30 * place * MS_NS,
            end_ns=start_ns + (200 if not place else 30 * place + 20) * MS_NS,
            scope=TRACELOOP,
        )
        for place, used in enumerate(usage)
    )
    step = make_span(
        "step",
        {"openinference.span.kind": "CHAIN"},
        trace_id=trace_id(60),
        span_id=ids[3],
        parent_span_id=ids[0],
        start_ns=start_ns,
        end_ns=start_ns + 200 * MS_NS,
        scope=TRACELOOP,
    )
    groups = {
        "together": [[outer, step, first, last]],
        "outer first": [[outer, step], [first], [last]],
        "inner first": [[last, first], [step], [outer]],
        "restarted": [[outer], [step, first], [last]],
    }[order]
    take_in_turn(service, project, groups, is_restarted=order == "restarted")
    tokens = api(service, project, f"stats?{WINDOW}")["total"]["tokens"]
    assert (tokens["input"], tokens["output"]) == (80, 11)


MASTRA: Final = Scope({}, "@mastra/otel-exporter", "1", {})
QUESTION: Final = "Which tram goes to the fish market?"
SAYING: Final = "Line 13."


def make_step() -> tuple[Span, Span]:
    """Make a step with a question, and the call inside it, whose span only has the answer."""
    step = make_span(
        "step",
        {"mastra.span.type": "model_step", "mastra.model_step.input": QUESTION},
        trace_id=trace_id(90),
        span_id=span_id(91),
        parent_span_id=span_id(90),
        end_ns=NOW_NS + 100 * MS_NS,
        scope=MASTRA,
    )
    answered: dict[str, Value] = {
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "content": SAYING}])
    }
    call = make_span(
        "chat",
        {**USED, **answered, "mastra.span.type": "model_inference"},
        trace_id=trace_id(90),
        span_id=span_id(92),
        parent_span_id=span_id(91),
        start_ns=NOW_NS + MS_NS,
        end_ns=NOW_NS + 90 * MS_NS,
        scope=MASTRA,
    )
    return step, call


def make_tool_call() -> tuple[Span, Span]:
    """Make a call whose answer is not on its span, and the tool that it called below it."""
    call = make_span(
        "chat",
        {**USED, "gen_ai.prompt": QUESTION},
        trace_id=trace_id(90),
        span_id=span_id(91),
        parent_span_id=span_id(90),
        end_ns=NOW_NS + 100 * MS_NS,
        scope=TRACELOOP,
    )
    tool = make_span(
        "tool_call.lines",
        {
            "openinference.span.kind": "TOOL",
            "tool.name": "lines",
            "input.value": '{"to": "market", "zones": 3}',
        },
        trace_id=trace_id(90),
        span_id=span_id(92),
        parent_span_id=span_id(91),
        start_ns=NOW_NS + MS_NS,
        end_ns=NOW_NS + 90 * MS_NS,
        scope=MLFLOW,
    )
    return call, tool


@at_night
@pytest.mark.parametrize("order", ["together", "outer first", "inner first", "restarted"])
@pytest.mark.parametrize(
    ("make", "is_outer", "answer"),
    [(make_step, False, SAYING), (make_tool_call, True, 'lines(to="market", zones=3)')],
)
def test_words_of_another_span(
    service: Service,
    project: str,
    make: Callable[[], tuple[Span, Span]],
    order: str,
    answer: str,
    *,
    is_outer: bool,
) -> None:
    """A call shows the question or the tool calls of another span, in any order."""
    outer, inner = make()
    call, other = (outer, inner) if is_outer else (inner, outer)
    groups = {
        "together": [[outer, inner]],
        "outer first": [[outer], [inner]],
        "inner first": [[inner], [outer]],
        "restarted": [[inner], [outer]],
    }[order]
    take_in_turn(service, project, groups, is_restarted=order == "restarted")
    assert count(service, project) == ONCE
    [shown] = api(service, project, 'runs?where=kind == "model"')["runs"]
    assert (shown["run_id"], shown["counted"]) == (id_of(call), None)
    assert (shown["inputs"], shown["outputs"]) == (QUESTION, answer)
    page = ask(service.app, f"/projects/{quote(project)}/runs/{id_of(call)}").text
    _, _, conversation = page.partition('id="conversation"')
    assert f'/runs/{id_of(other)}">' in conversation.partition("</ol>")[0]
    before = resolved(service, project)
    service.store.take(project, inner, outer)
    resolve(service.store)
    assert resolved(service, project) == before
    connections = service.store.connections
    Deleter(connections, Tombstones(connections)).delete(project, RUN, id_of(other))
    resolve(service.store)  # writes the row of the call again
    [shown] = api(service, project, 'runs?where=kind == "model"')["runs"]
    assert "" in {shown["inputs"], shown["outputs"]}


@at_night
@pytest.mark.parametrize("order", ["together", "client first", "server first", "restarted"])
def test_tool_of_another_process(service: Service, project: str, order: str) -> None:
    """MCP's spans of a client and of a server are one run of the tool, in any order."""
    called: dict[str, Value] = {"mcp.method.name": "tools/call", "gen_ai.tool.name": "search"}
    result = {"gen_ai.tool.call.arguments": '{"words": 3}', "gen_ai.tool.call.result": "found"}
    client, server = (
        make_span(
            "tools/call search",
            called | (result if is_server else {}),
            trace_id=trace_id(70),
            span_id=span_id(71 + is_server),
            parent_span_id=span_id(71) if is_server else b"",
            start_ns=NOW_NS + is_server * MS_NS,
            end_ns=NOW_NS + (90 - is_server) * MS_NS,
            kind=2 if is_server else 3,
            scope=TRACELOOP,
        )
        for is_server in (False, True)
    )
    groups = {
        "together": [[client, server]],
        "client first": [[client], [server]],
        "server first": [[server], [client]],
        "restarted": [[client], [server]],
    }[order]
    take_in_turn(service, project, groups, is_restarted=order == "restarted")
    [tool] = api(service, project, "runs")["runs"]
    assert (tool["run_id"], tool["outputs"]) == (id_of(client), "found")
    [other] = api(service, project, "runs?where=" + quote('record_of != ""'))["runs"]
    assert (other["run_id"], other["record_of"]) == (id_of(server), id_of(client))


@at_night
@pytest.mark.parametrize("order", ["together", "ours first", "theirs first", "restarted"])
@pytest.mark.parametrize("has_words", [False, True])
def test_call_in_two_traces(service: Service, project: str, order: str, *, has_words: bool) -> None:
    """A call that two instrumentations record in two traces counts once, in any order."""
    ours, theirs = make_two_traces(has_words=has_words)
    groups = {
        "together": [[ours, theirs]],
        "ours first": [[ours], [theirs]],
        "theirs first": [[theirs], [ours]],
        "restarted": [[ours], [theirs]],
    }[order]
    take_in_turn(service, project, groups, is_restarted=order == "restarted")
    assert count(service, project) == ONCE
    [call] = api(service, project, "runs")["runs"]
    assert call["run_id"] == id_of(ours)
    assert [other["run_id"] for other in call["also_recorded"]] == [id_of(theirs)]
    where = f'record_of == "{id_of(ours)}"'
    [other] = api(service, project, "runs?where=" + quote(where))["runs"]
    assert (other["run_id"], other["record_of"]) == (id_of(theirs), id_of(ours))
    run = api(service, project, f"runs/{id_of(ours)}")
    assert ("Kyoto" in str(run["outputs"])) is has_words
    found = api(service, project, "runs?where=" + quote('"Kyoto" in output'))["runs"]
    assert [item["run_id"] for item in found] == [id_of(ours)] * has_words


def make_two_traces(
    number: int = 80, start_ns: int = NOW_NS, *, has_words: bool = False
) -> tuple[Span, Span]:
    """Make a call by our decorator, and its record by a client in a trace of its own."""
    answered: dict[str, Value] = {**USED, "gen_ai.response.id": f"answer {number}"}
    said: dict[str, Value] = {
        "gen_ai.output.messages": '[{"role": "assistant", "content": "In Kyoto."}]'
    }
    ours = make_span(
        "answer",
        {**answered, "otel_ml.model.name": "answer", "otel_ml.kind": "model"},
        trace_id=trace_id(10 * number),
        span_id=span_id(10 * number),
        start_ns=start_ns,
        end_ns=start_ns + 90 * MS_NS,
        scope=OWN,
    )
    theirs = make_span(
        "anthropic.chat",
        answered | (said if has_words else {}),
        trace_id=trace_id(10 * number + 1),
        span_id=span_id(10 * number + 1),
        start_ns=start_ns + 2 * MS_NS,
        end_ns=start_ns + 80 * MS_NS,
        scope=TRACELOOP,
    )
    return ours, theirs


@at_night
@pytest.mark.parametrize("is_ours", [False, True])
def test_deleted_trace_of_two(service: Service, project: str, *, is_ours: bool) -> None:
    """If one of two traces with records of a call is deleted, the other record counts."""
    ours, theirs = make_two_traces()
    service.store.take(project, ours, theirs)
    assert count(service, project) == ONCE
    deleted, left = (ours, theirs) if is_ours else (theirs, ours)
    connections = service.store.connections
    Deleter(connections, Tombstones(connections)).delete(project, RUN, id_of(deleted))
    service.store.resolve()
    assert count(service, project) == ONCE
    [run] = api(service, project, "runs")["runs"]
    assert (run["run_id"], run["record_of"], run["also_recorded"]) == (id_of(left), None, [])


def take_in_turn(
    service: Service, project: str, groups: Sequence[list[Span]], *, is_restarted: bool
) -> None:
    """Store groups of spans one after the other, and resolve them in between."""
    watch = CallResolver(service.store.connections)
    for group in groups:
        watch.run_pass()
        if is_restarted:
            watch = CallResolver(service.store.connections)
        service.store.take(project, *group)
        watch.note(map_spans(group, Filing(project, NOW_NS)), time.time_ns())
    watch.run_pass()


@at_night
@pytest.mark.parametrize("order", ["together", "call first", "usage first", "older"])
def test_usage_beside_its_call(service: Service, project: str, order: str) -> None:
    """A run that repeats the usage of a call from its own scope is not a second call."""
    spent = {name: value for name, value in USED.items() if "operation" not in name}
    asked = {"gen_ai.output.messages": '[{"role": "assistant", "content": "In Kyoto."}]'}
    call = make_span(
        "chat", {**USED, **asked}, trace_id=trace_id(50), span_id=span_id(51), kind=3, scope=AG2
    )
    call = replace(call, parent_span_id=span_id(59))
    usage = replace(
        call,
        span_id=span_id(52),
        name="record_usage",
        start_ns=call.end_ns + 600_000,
        end_ns=call.end_ns + 620_000,
        attributes=spent,
        kind=1,
    )
    groups = {
        "together": [[call, usage]],
        "call first": [[call], [usage]],
        "usage first": [[usage], [call]],
        "older": [[call], [usage]],
    }[order]
    watch = CallResolver(service.store.connections)
    for group in groups:
        service.store.take(project, *group)
        if order != "older":
            watch.note(map_spans(group, Filing(project, NOW_NS)), time.time_ns())
            watch.run_pass()
    resolve(service.store)
    assert count(service, project) == ONCE
    [other] = api(service, project, "runs?where=" + quote('record_of != ""'))["runs"]
    assert (other["run_id"], other["record_of"]) == (id_of(usage), id_of(call))


def test_every_answer(service: Service, project: str) -> None:
    """A call counts once in statistics, models, versions, projects, traces and lists."""
    spans = make_answer(3)
    service.store.take(project, *spans)
    models = {one["model"]: one["runs"] for one in api(service, project, "models")["models"]}
    assert models == {"answer": 1, "work": 1}
    listed = ask(service.app, "/api/v1/projects").json["projects"]
    assert [one["runs"] for one in listed if one["project"] == project] == [2]
    trace = ask(service.app, f"/api/v1/traces/{spans[0].trace_id.hex()}?project={quote(project)}")
    assert len(trace.json["runs"]) == 4
    page = ask(service.app, f"/projects/{quote(project)}/runs/{id_of(spans[1])}").text
    assert "Also recorded by" in page
    assert "com.anthropic.sdk.python" in page
    page = ask(service.app, f"/projects/{quote(project)}/runs/{id_of(spans[3])}").text
    assert f"/runs/{id_of(spans[1])}" in page
    assert "counted once" in page


@at_night
@pytest.mark.parametrize("order", ["newest", "oldest", "slowest"])
def test_pages_are_full(service: Service, project: str, order: str) -> None:
    """Pages of a list are full, without duplicates, if half of the runs are second records."""
    for number in range(6):
        service.store.take(project, *make_answer(70 + number, NOW_NS + number * SECOND_NS))
    listed: list[str] = []
    cursor = ""
    while True:
        more = f"&cursor={quote(cursor)}" if cursor else ""
        page = api(service, project, f"runs?limit=5&order={order}{more}")
        listed += [run["run_id"] for run in page["runs"]]
        if (cursor := page["next_cursor"]) is None:
            break
        assert len(page["runs"]) == 5
    whole = {id_of(span) for number in range(6) for span in make_answer(70 + number)[:2]}
    assert (len(listed), {*listed}) == (12, whole)


def test_trace_and_session(service: Service, project: str) -> None:
    """The totals of a trace and a session include a call once, but the tree has all spans."""
    spans = make_answer(20)
    spans[0].attributes["session.id"] = "morning"  # type: ignore[index]
    service.store.take(project, *spans)
    outline = find_outline(service.store.reader, spans[0].trace_id.hex())
    assert outline is not None
    assert len(outline) == 4
    total = add_up(outline)
    assert (total.tokens.input, total.tokens.output, total.cost) == (50, 7, 0.25)
    [session] = api(service, project, "sessions")["sessions"]
    assert used(session) == (2, 50, 7, 0.25)
    whole = api(service, project, "sessions/morning")
    assert [(turn["tokens"]["input"], turn["cost"]) for turn in whole["conversation"]] == [
        (50, 0.25)
    ]


def test_run_says_its_records(service: Service, project: str) -> None:
    """The run that counts lists its other records, and each of these refers to it."""
    _, own, beside, last = make_answer(4)
    service.store.take(project, *make_answer(4))
    run = api(service, project, f"runs/{id_of(own)}")
    assert [(one["run_id"], one["scope"]) for one in run["also_recorded"]] == [
        (id_of(beside), TRACELOOP.name),
        (id_of(last), ANTHROPIC.name),
    ]
    assert run["record_of"] is None
    other = api(service, project, f"runs/{id_of(last)}")
    assert (other["record_of"], other["also_recorded"]) == (id_of(own), [])
    assert other["counted"]["cost"] is None


def test_content_of_whichever_has_it(service: Service, project: str) -> None:
    """A run that counts shows the answer, tokens and cost from another record of the call."""
    chain, own, _, last = make_answer(5)
    for name in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cost"):
        del own.attributes[name]  # type: ignore[attr-defined]
    own.attributes["gen_ai.response.id"] = "msg_1"  # type: ignore[index]
    message = [{"role": "assistant", "parts": [{"type": "text", "content": "because"}]}]
    last.attributes["gen_ai.output.messages"] = json.dumps(message)  # type: ignore[index]
    service.store.take(project, chain, own, last)
    run = api(service, project, f"runs/{id_of(own)}")
    assert (run["tokens"]["input"], run["tokens"]["output"], run["cost"]) == (50, 7, 0.25)
    assert (run["inputs"], "because" in json.dumps(run["outputs"])) == ("why", True)
    listed = {one["name"]: one for one in api(service, project, "runs")["runs"]}
    assert (listed["answer"]["cost"], "because" in listed["answer"]["outputs"]) == (0.25, True)
    assert count(service, project) == ONCE


def resolved(service: Service, project: str) -> list[Any]:
    """Return the resolutions of runs, except those that only repeat the runs' own rows."""
    sql = Sql("""
        SELECT settled.* EXCEPT (project, rank) FROM settled FINAL
        INNER JOIN (
          SELECT trace_id, span_id, input_tokens, output_tokens, cost FROM runs FINAL
          WHERE project = {project:String}
        ) AS run USING (trace_id, span_id)
        WHERE project = {project:String} AND (record_of != toFixedString('', 8)
          OR others NOT IN ('', '[]') OR settled.session != '' OR settled.user != ''
          OR settled.experiment != '' OR notEmpty(owners) OR (counts AND
          (settled.input_tokens, settled.output_tokens, settled.cost) IS DISTINCT FROM
          (run.input_tokens, run.output_tokens, run.cost)))
        ORDER BY trace_id, span_id""")
    return [[*row.values()] for row in service.store.reader.rows(sql, {"project": project})]


@at_night
@settings(max_examples=examples(8, on_commit=2))
@given(seed=st.integers(0, 2**32))
def test_settled_as_new(service: Service, seed: int) -> None:
    """Redelivered, late-targeted and partly deleted runs resolve as if they were new."""
    project, draw = f"settled {seed}", random.Random(seed)  # noqa: S311 - an order, no secret
    number = 2_000 + draw.randrange(100_000)
    spans = [span for place in range(2) for span in make_answer(number + place)]
    for span in draw.sample(spans, 3):
        span.attributes |= TOLD_BY_ONE  # type: ignore[operator]
    for name in NAMED:
        for span in draw.sample(spans, draw.randrange(4)):
            span.attributes |= {name: f"{name} of {span.name}"}  # type: ignore[operator]
    item = draw.choice(spans)
    item.attributes |= {"otel_ml.experiment": EXPERIMENT}  # type: ignore[operator]
    item.attributes |= {"otel_ml.trace_key": f"order {number}"}  # type: ignore[operator]
    for span in draw.sample(spans, 3):
        span.attributes |= {"otel_ml.tag.client": "acme"}  # type: ignore[operator]
    told = [
        *make_told(spans[0], f"order {number}", "client=acme", "client=bigshot"),
        make_record("update", item, {"otel_ml.tag.client": "bigshot"}, span_id=b"late tag"),
    ]
    begun = [
        make_start(span, {name: span.attributes[name] for name in NAMED if name in span.attributes})
        for span in draw.sample(spans, 3)
    ]
    shorter = [
        replace(span, attributes={**span.attributes, **dict.fromkeys(USED.keys() - {KEPT}, "")})
        for span in draw.sample(spans, 2)
    ]
    sent = [*spans, *shorter, *begun, *told, *draw.sample(spans, 3)]
    draw.shuffle(sent)
    writers = [Writer(service.store.connections) for _ in range(2)]
    cuts = sorted({0, len(sent), *(draw.randrange(len(sent)) for _ in range(4))})
    for first, last in pairwise(cuts):
        draw.choice(writers).write(map_spans(sent[first:last], Filing(project, NOW_NS)))
        if draw.random() < 0.4:
            resolve(service.store)
    service.store.take(project, make_record("evaluation", spans[1], {"otel_ml.judge.name": "j"}))
    resolve(service.store)
    # A trace keeps its experiment even if the run that named it is deleted.
    deleted = draw.choice([span for span in spans if span is not item])
    connections = service.store.connections
    Deleter(connections, Tombstones(connections)).delete(project, RUN, id_of(deleted))
    anew = f"{project} anew"
    service.store.take(
        anew,
        *(span for span in [*spans, *shorter] if span.span_id != deleted.span_id),
        *(start for start in begun if start.parent_span_id != deleted.span_id),
        *told,
    )
    resolve(service.store)
    assert {owner for row in resolved(service, anew) for owner in row[-1]} >= {
        f"key:order {number}",
        "tag:client=bigshot",
    }
    assert resolved(service, project) == resolved(service, anew)


def make_told(near: Span, key: str, *tags: str) -> list[Span]:
    """Make evaluations that target runs by trace key or tag."""
    owners: list[tuple[str, Value]] = [("trace_key", key), *(("tag", tag) for tag in tags)]
    return [
        make_record(
            "evaluation",
            near,
            {
                "otel_ml.judge.name": "j",
                "otel_ml.score.value": 0.5,
                f"otel_ml.target.{name}": owner,
            },
            span_id=b"told %03d" % place,
        )
        for place, (name, owner) in enumerate(owners)
    ]


@sampled(1)
@pytest.mark.parametrize("order", ["told first", "told last", "read from the store"])
def test_told_of_keys_and_tags(service: Service, project: str, order: str) -> None:
    """Evaluations of a key or tag apply to exactly the matching runs, in any order of arrival."""
    chain, own, *others = make_answer(61)
    chain.attributes |= {"otel_ml.trace_key": project}  # type: ignore[operator]
    own.attributes |= {"otel_ml.tag.client": project}  # type: ignore[operator]
    told = make_told(chain, project, f"client={project}", "client=nobody")
    calls = [chain, own, *others]
    for spans in (told, calls) if order == "told first" else (calls, told):
        records = map_spans(spans, Filing(project, NOW_NS))
        service.store.writer.write(records)
        if order != "read from the store":
            service.store.watch.note(records, service.store.writer.stamped_ns or 0)
            service.store.watch.run_pass()
    resolve(service.store)
    runs = {id_of(chain): [f"key:{project}"], id_of(own): [f"tag:client={project}"]}
    sql = Sql("""SELECT concat(lower(hex(trace_id)), '-', lower(hex(span_id))) AS run_id, owners
      FROM settled FINAL WHERE project = {project:String} AND notEmpty(owners)""")
    rows = service.store.reader.rows(sql, {"project": project})
    assert {row["run_id"]: row["owners"] for row in rows} == runs
    scored = api(service, project, "runs?where=scores%5B%22j%22%5D+%3E+0")["runs"]
    assert {run["run_id"] for run in scored} == {*runs}


@at_night
def test_projects_at_once(service: Service, project: str) -> None:
    """A pass over many projects needs as many queries as over a few, with equal results."""
    asked = list[int]()
    for projects in (3, 60):
        watch = CallResolver(service.store.connections)
        watch.run_pass()
        for place in range(projects):
            records = map_spans(make_answer(71), Filing(f"{project} {projects} {place}", NOW_NS))
            service.store.writer.write(replace(records, runs=[records.runs[0]]))
            service.store.writer.write(replace(records, runs=records.runs[1:]))
            watch.note(records, service.store.writer.stamped_ns or 0)
        before = count_questions(service)
        watch.run_pass()
        asked.append(count_questions(service) - before)
    alone = resolved(service, f"{project} 3 0")
    assert alone != []
    assert [resolved(service, f"{project} 60 {place}") for place in range(60)] == [alone] * 60
    assert asked[1] < asked[0] + 5


def count_questions(service: Service) -> int:
    """Return the number of queries that the engine has run so far."""
    sql = Sql("SELECT sum(value) AS asked FROM system.events WHERE event = 'SelectQuery'")
    [row] = service.store.reader.rows(sql, {})
    return int(row["asked"])


NAMED: Final = ("session.id", "user.id")
EXPERIMENT: Final = f"{'e' * 32}-{'e' * 16}"
TOLD_BY_ONE: Final[dict[str, Value]] = {
    "gen_ai.response.finish_reasons": ["length"],
    "gen_ai.response.time_to_first_chunk": 0.009,
    "otel_ml.stream.chunks": 12,
    "gen_ai.usage.cache_read.input_tokens": 40,
    "gen_ai.usage.reasoning.output_tokens": 3,
    "gen_ai.output.messages": json.dumps(
        [{"role": "assistant", "parts": [{"type": "text", "content": "because of the tide"}]}]
    ),
}
FOUND: Final = (
    'finish_reason == "length"',
    'response_id == "msg_1"',
    'response_id != "" and "msg" in response_id',
    "first_token_ms > 8 and first_token_ms < 10",
    "stream_chunks == 12",
    "tokens_per_second > 1",
    "cached_tokens == 40",
    "reasoning_tokens == 3",
    "cost == 0.25 and input_tokens == 50",
    'provider == "anthropic"',
    'provider_model != ""',
    '"tide" in outputs',
    '"why" in inputs and "tide" in outputs and finish_reason == "length"',
    'not finish_reason == "stop" and name == "answer"',
)
NOT_FOUND: Final = (
    'finish_reason != "length"',
    "first_token_ms > 10",
    "not stream_chunks == 12",
    'provider_model == ""',
    'response_id == ""',
    '"tide" not in outputs',
)
EXPORTED: Final[dict[str, Any]] = {
    "finish_reason": "length",
    "response_id": "msg_1",
    "first_token_ms": 9.0,
    "stream_chunks": 12,
    "cached_tokens": 40,
    "reasoning_tokens": 3,
    "input_tokens": 50,
    "cost": 0.25,
    "provider": "anthropic",
    "provider_model": "claude-sonnet-4-5",
    "inputs": "why",
    "outputs_preview": "because of the tide",
}


ORDERS: Final = ("together", "outer first", "inner first", "twice", "two writers")


@harder
@sampled(1)
@pytest.mark.parametrize("order", ORDERS)
def test_what_one_record_alone_tells(service: Service, project: str, order: str) -> None:
    """Values that only a second record has appear on the page and in lists, filters and exports."""
    chain, own, beside, last = make_answer(30)
    for name in USED.keys() - {"gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"}:
        del own.attributes[name]  # type: ignore[attr-defined]
    last.attributes |= TOLD_BY_ONE  # type: ignore[operator]
    groups = {
        "together": [[chain, own, beside, last]],
        "outer first": [[chain], [own], [beside], [last]],
        "inner first": [[last], [beside], [own], [chain]],
        "twice": [[last, own], [own], [beside, last], [chain, last]],
        "two writers": [[last, beside], [own, chain]],
    }[order]
    writers = [service.store.writer, Writer(service.store.connections)]
    for place, group in enumerate(groups):
        writer = writers[place % 2 if order == "two writers" else 0]
        writer.write(map_spans(group, Filing(project, NOW_NS)))
    resolve(service.store)
    one_by_one = AT_NIGHT and order == ORDERS[0]
    for where in FOUND if one_by_one else [" and ".join(f"({one})" for one in FOUND)]:
        assert names(service, project, where) == ["answer"], where
    for where in NOT_FOUND if one_by_one else [" or ".join(NOT_FOUND)]:
        assert names(service, project, f"name == 'answer' and ({where})") == [], where
    [listed] = api(service, project, "runs?where=" + quote("name == 'answer'"))["runs"]
    run = api(service, project, f"runs/{id_of(own)}")
    for shown in (listed, run):
        assert (shown["first_token_ms"], shown["stream_chunks"]) == (9.0, 12)
        assert shown["tokens"] == {
            "input": 50,
            "output": 7,
            "cached": 40,
            "reasoning": 3,
            "cache_creation": None,
        }
        assert shown["tokens_per_second"] == pytest.approx(7 / 0.08)
    assert (run["finish_reason"], run["response_id"]) == ("length", "msg_1")
    assert "gen_ai.response.finish_reasons" not in run["attributes"]
    page = ask(service.app, f"/projects/{quote(project)}/runs/{id_of(own)}").text
    assert "<dd>length</dd>" in page
    assert "<dd>msg_1</dd>" in page
    where = quote("name == 'answer' and 'tide' in outputs")
    columns = ",".join(EXPORTED)
    path = f"/api/v1/projects/{quote(project)}/export?format=jsonl&columns={columns}"
    assert ask(service.app, f"{path}&where={where}").json == EXPORTED
    other = 'record_of != "" and stream_chunks == 12'
    assert names(service, project, other) == ["anthropic.messages.create"]
    assert count(service, project) == (1, 50, 7, 0.25)


@at_night
@pytest.mark.parametrize("late", ["arrival", "look"])
def test_clock_that_was_set_back(service: Service, project: str, late: str) -> None:
    """Records that arrive, or are resolved, after the clock was set back are still resolved."""
    chain, own, *others = make_answer(60)
    behind = Writer(service.store.connections, lambda: time.time_ns() - 20 * SECOND_NS)
    behind.write(map_spans([make_answer(61)[0]], Filing(project, NOW_NS)))
    service.store.take(project, chain, *others)
    resolve(service.store)
    if late == "look":
        client = service.store.connections.open()
        ahead = Sql("""INSERT INTO settled SELECT * REPLACE ({ahead:UInt64} AS rank)
            FROM settled FINAL WHERE project = {project:String}""")
        client.command(ahead, {"project": project, "ahead": time.time_ns() + DAY_NS})
        service.store.take(project, own)
    else:
        behind.write(map_spans([own], Filing(project, NOW_NS)))
    resolve(service.store)
    assert count(service, project) == ONCE


def test_two_calls_of_a_loop(service: Service, project: str) -> None:
    """Two equal calls, one after the other, count as two."""
    first, second = make_answer(6), make_answer(6, NOW_NS + 200 * MS_NS)
    calls = [first[0], first[3]]
    second[3].span_id, second[3].parent_span_id = span_id(77), first[0].span_id
    first[3].parent_span_id = first[0].span_id
    service.store.take(project, *calls, second[3])
    resolve(service.store)
    assert count(service, project) == (2, 100, 14, 0.5)


@sampled(1)
@pytest.mark.parametrize("is_late", [False, True])
def test_days_that_are_over(service: Service, project: str, is_late: bool) -> None:
    """A rolled-up day counts a call once, even if another record of it arrives later."""
    start_ns = NOW_NS - 3 * DAY_NS
    spans = make_answer(7, start_ns)
    service.store.take(project, *(spans[:2] if is_late else spans))
    day_ns = start_ns // DAY_NS * DAY_NS
    service.store.compute(project, [day_ns])
    if is_late:
        service.store.take(project, *spans[2:])
        resolve(service.store)
        assert count(service, project) == ONCE
        service.store.compute(project, [day_ns])
    cells = Sql("""
        SELECT model, sum(runs), sum(input_tokens), toFloat64(sum(cost)) / 1e15 FROM daily_runs
        WHERE project = {project:String} AND computed_ns = (
          SELECT max(computed_ns) FROM daily_runs WHERE project = {project:String})
        GROUP BY model ORDER BY model""")
    rows = service.store.connections.open().query(cells, {"project": project}).result_rows
    assert [*map(tuple, rows)] == [("answer", 1, 50, 0.25), ("work", 1, 0, 0.0)]
    assert count(service, project) == ONCE


def test_agent_beside_its_calls(service: Service, project: str) -> None:
    """An agent's total usage is not added to that of its calls."""
    chain, own, *_ = make_answer(8)
    total: dict[str, Value] = {
        "otel_ml.kind": "agent",
        "gen_ai.usage.input_tokens": 50,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cost": 0.25,
    }
    chain.attributes |= total  # type: ignore[operator]
    service.store.take(project, own)
    service.store.take(project, chain)
    resolve(service.store)
    assert count(service, project, "") == (2, 50, 7, 0.25)


@at_night
@pytest.mark.parametrize("has_usage", [True, False], ids=["calls report", "agent alone"])
def test_agent_of_another_library(service: Service, project: str, has_usage: bool) -> None:
    """The usage of an agent counts if no call inside it reports any."""
    chain, _, call, *_ = make_answer(9)
    agent = replace(chain, attributes={**USED, "gen_ai.operation.name": "invoke_agent"})
    bare = {name: value for name, value in USED.items() if ".usage." not in name}
    call = replace(
        call,
        parent_span_id=agent.span_id,
        attributes=call.attributes if has_usage else bare,
    )
    for span in (replace(call, scope=TRACELOOP), replace(agent, scope=TRACELOOP)):
        service.store.take(project, span)
    resolve(service.store)
    assert count(service, project, "") == (2, 50, 7, 0.25)


@at_night
def test_deleted_run_counts_no_more(service: Service, project: str) -> None:
    """If the run that counts is deleted, another record of its call counts."""
    spans = make_answer(9)
    service.store.take(project, *spans)
    connections = service.store.connections
    deleter = Deleter(connections, Tombstones(connections))
    deleter.delete(project, RUN, id_of(spans[1]))
    service.store.resolve()
    assert names(service, project) == ["anthropic.chat", "work"]
    assert count(service, project) == ONCE
    rows = service.store.reader.rows(
        Sql("""SELECT lower(hex(span_id)) AS span FROM settled FINAL
          WHERE project = {project:String}"""),
        {"project": project},
    )
    assert {row["span"] for row in rows} == {span.span_id.hex() for span in spans[2:]}


@at_night
def test_retention(service: Service, project: str) -> None:
    """Resolutions are deleted with their runs by retention."""
    service.store.take(
        project, *make_answer(10, NOW_NS - 300 * DAY_NS), now_ns=NOW_NS - 300 * DAY_NS
    )
    days = Retention(service.store.connections, Days(records=1), clock=lambda: 2 * NOW_NS)
    days.confirm()  # Without confirmation, retention does not trust a clock this far ahead.
    days.sweep()
    sql = Sql("SELECT count() AS rows FROM settled WHERE project = {project:String}")
    assert service.store.reader.rows(sql, {"project": project}) == [{"rows": 0}]


@at_night
def test_no_question_is_longer(service: Service, project: str) -> None:
    """A project without second records is remembered as having none."""
    service.store.take(project, make_answer(11)[1])
    api(service, project, "runs")
    known, is_resolved = service.store.connections.memory.recall(project)
    # Each of these says that the project has no records of a sort.
    nothing = {"quiet", "unscored", "unlabelled", "no truths", "no reports", "untagged"}
    assert (known - nothing, is_resolved) == (frozenset(), True)


@sampled(1)
@pytest.mark.parametrize("order", ["together", "outer first", "inner first"])
def test_numbers_for_prometheus(service: Service, project: str, order: str) -> None:
    """Prometheus metrics count a call once, in any order of arrival, and never decrease."""
    watch = CallResolver(service.store.connections)
    numbers = RunNumbers((), lambda *asked: {}, watch.resolve)
    chain, *calls = make_answer(12)
    priced = {"gen_ai.usage.cost": 0.25}
    spans = [chain, *(replace(call, attributes={**call.attributes, **priced}) for call in calls)]
    groups = {
        "together": [spans],
        "outer first": [spans[:2], spans[2:]],
        "inner first": [spans[3:], spans[2:3], spans[:2]],
    }[order]
    writer = Writer(service.store.connections)
    seen = []
    for group in groups:
        records = map_spans(group, Filing(project, NOW_NS))
        writer.write(records)
        numbers.count(records, watch.note(records, writer.stamped_ns or 0))
        seen.append(samples(numbers, project))
    assert seen[-1] == {"runs": 2.0, "input": 50.0, "output": 7.0, "cost": 0.25}
    assert [one["runs"] for one in seen] == sorted(one["runs"] for one in seen)


def samples(numbers: RunNumbers, project: str) -> dict[str, float]:
    found = {"runs": 0.0, "input": 0.0, "output": 0.0, "cost": 0.0}
    for metric in numbers.collect():
        for sample in metric.samples:
            if sample.labels.get("project") == project:
                if sample.name == "otel_ml_runs_total":
                    found["runs"] += sample.value
                if sample.name == "otel_ml_run_cost_usd_total":
                    found["cost"] += sample.value
                if sample.name == "otel_ml_run_tokens_total":
                    found[sample.labels["type"]] += sample.value
    return found
