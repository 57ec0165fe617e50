"""Tests that log records are stored with the right run or trace, in any order of arrival."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from otel_ml_collector.export import ExportQuery, export_runs
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.runs.answers import Run, Trace
from otel_ml_collector.runs.find import RunsQuery, find_run, find_runs
from otel_ml_collector.runs.logs import RunLine
from otel_ml_collector.runs.roots import find_roots
from otel_ml_collector.runs.traces import find_trace
from otel_ml_collector.span import Event, Log, Span, Value
from otel_ml_collector.store.record_kinds import CONTENTS as SQL_OF_CONTENTS
from otel_ml_collector.store.writer import Writer
from tests.support.examples import examples
from tests.support.otel_ml_collector.logs import make_log, take
from tests.support.otel_ml_collector.logs import map_all as map_logs
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_span,
    make_start,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import at_night, sampled

TRACE: Final = trace_id(7)
HEX: Final = TRACE.hex()
CHAT: Final[dict[str, Value]] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o",
}
DETAILS: Final = "gen_ai.client.inference.operation.details"
EVALUATION: Final = "gen_ai.evaluation.result"
JUDGED: Final[dict[str, Value]] = {
    "gen_ai.evaluation.name": "relevance",
    "gen_ai.evaluation.score.value": 0.5,
}


# The questions and answers of two calls in one request.
DETAILS_OF_TALK: Final[Sequence[dict[str, Value]]] = [
    {
        "gen_ai.input.messages": json.dumps([{"role": "user", "content": asked}]),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "content": answered}]),
    }
    for asked, answered in (("Where?", "I look."), ("So?", "In Bergen."))
]


def place(number: int, parent: int = 0) -> dict[str, Any]:
    """Return the IDs of a span in the test trace."""
    return {
        "trace_id": TRACE,
        "span_id": span_id(number),
        "parent_span_id": span_id(parent) if parent else b"",
    }


def read_run(store: Store, project: str, span: Span) -> Run:
    return find_run(store.reader, id_of(span), project, now_ns=NOW_NS)


def read_trace(store: Store, project: str, key: str = HEX) -> Trace:
    return find_trace(store.reader, key, project, now_ns=NOW_NS)


def lines_of(lines: Sequence[RunLine]) -> list[str]:
    return [line.message for line in lines]


def loose_of(trace: Trace) -> dict[str | None, list[str]]:
    """Return the lines of a trace that belong to no run, by span."""
    return {record.run_id: lines_of(record.logs) for record in trace.records}


def test_line_of_a_run(store: Store, project: str) -> None:
    """A line contains all fields of the log record, and its offset from the run's start."""
    run = make_call(**place(1))
    log = make_log("Slow.", {"retry": 2}, of=run, time_ns=NOW_NS + 2 * MS_NS, event="cache.miss")
    store.take(project, run)
    take(store, project, log)
    assert read_run(store, project, run).logs == [
        RunLine(
            time_ns=NOW_NS + 2 * MS_NS,
            offset_ms=2.0,
            severity="info",
            message="Slow.",
            event="cache.miss",
            attributes={"retry": 2, "otel.scope.name": "tests"},
        )
    ]


def test_every_sort_of_line(store: Store, project: str) -> None:
    """Lines from log records, span events and updates are merged in order of time."""
    told = {"otel_ml.log.message": "second"}
    run = make_call(**place(1), events=[Event("otel_ml.log", NOW_NS + 2, told)])
    update = make_record(
        "update", run, events=[Event("otel_ml.log", NOW_NS, {"otel_ml.log.message": "first"})]
    )
    store.take(project, run, update)
    take(
        store,
        project,
        *[
            make_log(text, of=run, time_ns=NOW_NS + at)
            for text, at in [("third", 3), ("between", 1)]
        ],
    )
    found = read_run(store, project, run)
    assert lines_of(found.logs) == ["first", "between", "second", "third"]


def test_nearest_run(store: Store, project: str) -> None:
    """Lines of a span that is not a run belong only to the nearest run above the span."""
    outer = make_call("outer", **place(1))
    server = make_span("server", **place(2, 1))
    inner = make_call("inner", **place(3, 2))
    client = make_span("client", **place(4, 3))
    deep = make_span("deep", **place(5, 4))
    spans = [outer, server, inner, client, deep]
    take(
        store,
        project,
        *[make_log(span.name, of=span, time_ns=NOW_NS + at) for at, span in enumerate(spans)],
    )
    store.take(project, *spans)
    assert lines_of(read_run(store, project, outer).logs) == ["outer", "server"]
    assert lines_of(read_run(store, project, inner).logs) == ["inner", "client", "deep"]
    assert lines_of(read_run(store, project, client).logs) == ["client"]
    assert read_trace(store, project).records == []


@at_night
def test_late_parent(store: Store, project: str) -> None:
    """A line belongs to its trace until the run above its span arrives, then to that run."""
    run, client = make_call(**place(1)), make_span("client", **place(2, 1))
    take(store, project, make_log("text", of=client))
    assert loose_of(read_trace(store, project)) == {id_of(client): ["text"]}
    store.take(project, client)
    assert loose_of(read_trace(store, project)) == {id_of(client): ["text"]}
    store.take(project, run)
    assert loose_of(read_trace(store, project)) == {}
    assert lines_of(read_run(store, project, run).logs) == ["text"]


def test_nearer_run_comes_late(store: Store, project: str) -> None:
    """A line belongs to the nearest run that has arrived, and moves if a nearer run arrives."""
    outer, inner = make_call("outer", **place(1)), make_call("inner run", **place(2, 1))
    client = make_span("client", **place(3, 2))
    store.take(project, outer, make_span("inner", **place(2, 1), end_ns=NOW_NS), client)
    take(store, project, make_log("text", of=client))
    assert lines_of(read_run(store, project, outer).logs) == ["text"]
    store.take(project, inner)  # the longer delivery of this span makes it a run
    assert lines_of(read_run(store, project, outer).logs) == []
    assert lines_of(read_run(store, project, inner).logs) == ["text"]


def test_open_run(store: Store, project: str) -> None:
    """A run without an end has its own lines and those of the spans below it."""
    run, client = make_call(**place(1)), make_span("client", **place(2, 1))
    store.take(project, make_start(run), client)
    take(store, project, make_log("own", of=run), make_log("below", of=client, time_ns=NOW_NS + 1))
    assert lines_of(read_run(store, project, run).logs) == ["own", "below"]


def test_no_run_above(store: Store, project: str) -> None:
    """Lines of spans without a run above them belong to the trace and appear on the span's page."""
    server, client = make_span("server", **place(1)), make_span("client", **place(2, 1))
    lost = make_span("lost", **place(3, 9))
    run = make_call(**place(4, 1))
    store.take(project, server, client, lost, run)
    logs = [make_log(span.name, of=span) for span in (server, client, lost, run)]
    take(store, project, *logs)
    assert loose_of(read_trace(store, project)) == {
        id_of(server): ["server"],
        id_of(client): ["client"],
        id_of(lost): ["lost"],
    }
    assert lines_of(read_run(store, project, server).logs) == ["server"]


@at_night
def test_circle(store: Store, project: str) -> None:
    """Spans that are each other's parents have no run above them."""
    first, second = make_span("first", **place(1, 2)), make_span("second", **place(2, 1))
    store.take(project, first, second)
    take(store, project, make_log("a", of=first), make_log("b", of=second))
    assert loose_of(read_trace(store, project)) == {id_of(first): ["a"], id_of(second): ["b"]}


def test_line_of_a_trace(store: Store, project: str) -> None:
    """A line without a span belongs to the trace, and appears on the trace's root runs."""
    root = make_call("root", {"otel_ml.trace_key": project}, **place(1))
    child = make_call("child", **place(2, 1))
    take(store, project, make_log("text", of=root, span_id=b""))
    assert loose_of(read_trace(store, project)) == {None: ["text"]}
    store.take(project, root, child)
    for key in (HEX, project):
        assert loose_of(read_trace(store, project, key)) == {None: ["text"]}
    assert lines_of(read_run(store, project, root).logs) == ["text"]
    assert lines_of(read_run(store, project, child).logs) == []


@at_night
def test_many_lines_above(store: Store, project: str) -> None:
    """Lines of 110 stored runs do not displace the lines of runs that have not arrived."""
    runs = [make_call(**place(number)) for number in range(1, 121)]
    store.take(project, *runs[:110])
    take(store, project, *[make_log("text", of=run) for run in runs])
    found = loose_of(read_trace(store, project))
    assert found == {id_of(run): ["text"] for run in runs[110:]}


@at_night
def test_other_project(store: Store, project: str) -> None:
    """A line belongs only to the run of its own project."""
    run = make_call(**place(1))
    store.take(project, run)
    store.take(f"{project} b", run)
    take(store, f"{project} b", make_log("text", of=run))
    assert read_run(store, project, run).logs == []
    assert lines_of(read_run(store, f"{project} b", run).logs) == ["text"]


def test_evaluation(store: Store, project: str) -> None:
    """A score from a log record appears on its run in lists, filters and the run's details."""
    run = make_call(**place(1))
    store.take(project, run)
    take(store, project, make_log(None, JUDGED, of=run, event=EVALUATION))
    (listed,) = find_runs(
        store.reader, RunsQuery(project, 'scores["relevance"] == 0.5'), NOW_NS
    ).runs
    (told,) = read_run(store, project, run).evaluations
    assert listed.scores == {"relevance": 0.5}
    assert (told.judge, told.score, told.source, told.error) == ("relevance", 0.5, "judge", "")


@at_night
def test_evaluation_twice(store: Store, project: str) -> None:
    """A score that arrives both as a span event and as a log record counts once."""
    run = make_call(**place(1), events=[Event(EVALUATION, NOW_NS, JUDGED)])
    log = make_log(None, JUDGED, of=run, event=EVALUATION)
    store.take(project, run)
    take(store, project, log)
    take(store, project, log)
    assert [one.score for one in read_run(store, project, run).evaluations] == [0.5]


@at_night
@pytest.mark.parametrize("ids", [{}, {"trace_id": b""}], ids=["trace", "no trace"])
@pytest.mark.parametrize("is_late", [False, True], ids=["before", "after"])
def test_evaluation_of_a_response(
    store: Store, project: str, ids: dict[str, bytes], is_late: bool
) -> None:
    """A score for a response ID belongs to the run that received the response, in either order."""
    run = make_span("chat", {**CHAT, "gen_ai.response.id": "r-1"}, **place(1))
    other = make_span("chat", {**CHAT, "gen_ai.response.id": "r-2"}, **place(2))
    told = {**JUDGED, "gen_ai.response.id": "r-1"}
    log = make_log(None, told, of=run, event=EVALUATION, **{"span_id": b"", **ids})
    if is_late:
        store.take(project, run, other)
    take(store, project, log)
    if not is_late:
        store.take(project, run, other)
    query = RunsQuery(project, 'scores["relevance"] == 0.5')
    assert [one.run_id for one in find_runs(store.reader, query, NOW_NS).runs] == [id_of(run)]
    assert read_run(store, project, run).scores == {"relevance": 0.5}
    assert read_run(store, project, other).scores == {}


@at_night
def test_evaluation_of_a_trace(store: Store, project: str) -> None:
    """A score for a trace appears on its root run and in the API response for the trace."""
    root, child = make_call("root", **place(1)), make_call("child", **place(2, 1))
    store.take(project, root, child)
    take(store, project, make_log(None, JUDGED, of=root, span_id=b"", event=EVALUATION))
    query = RunsQuery(project, 'scores["relevance"] == 0.5')
    assert [one.name for one in find_runs(store.reader, query, NOW_NS).runs] == ["root"]
    assert read_run(store, project, root).scores == {"relevance": 0.5}
    (record,) = read_trace(store, project).records
    assert (record.run_id, [one.score for one in record.evaluations]) == (None, [0.5])


def chat(told: dict[str, Value] | None = None) -> Span:
    return make_span("chat gpt-4o", {**CHAT, **(told or {})}, **place(1))


def said(
    run: Span,
    name: str,
    body: Value = None,
    told: dict[str, Value] | None = None,
    at: int = 0,
) -> Log:
    """Make a log record with an event about a run."""
    return make_log(body, told, of=run, event=name, time_ns=NOW_NS + at)


def test_messages(store: Store, project: str) -> None:
    """Messages from log records become the inputs and outputs of their run."""
    run = chat()
    logs = [
        said(run, "gen_ai.choice", {"index": 0, "message": {"content": "Here."}}, at=2),
        said(run, "gen_ai.user.message", {"content": "Where?"}, {"gen_ai.system": "openai"}, at=1),
        said(run, "gen_ai.system.message", {"content": "Be brief."}),
    ]
    take(store, project, *logs)
    store.take(project, run)
    found = read_run(store, project, run)
    assert found.inputs == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where?"},
    ]
    assert found.outputs == [{"role": "assistant", "content": "Here."}]
    assert [line.event for line in found.logs] == [log.event for log in reversed(logs)]


def test_details(store: Store, project: str) -> None:
    """The details event of a call provides payloads and token counts that the span lacks."""
    run = chat({"gen_ai.usage.output_tokens": 1, "gen_ai.output.messages": '"own"'})
    asked: list[Value] = [{"role": "user", "parts": [{"type": "text", "content": "Where?"}]}]
    told: dict[str, Value] = {
        "gen_ai.input.messages": asked,
        "gen_ai.output.messages": [],
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 9,
    }
    store.take(project, run)
    take(store, project, said(run, DETAILS, None, told))
    found = read_run(store, project, run)
    assert (found.inputs, found.outputs) == (asked, "own")
    assert (found.tokens.input, found.tokens.output) == (3, 1)


@at_night
def test_exception(store: Store, project: str) -> None:
    """The exception event of a failed call provides its error if the span has none."""
    told: dict[str, Value] = {"exception.type": "Timeout", "exception.message": "60 s"}
    name = "gen_ai.client.operation.exception"
    failed = make_span("chat", CHAT, **place(1), status_code=2)
    fine = make_span("chat", CHAT, **place(2))
    store.take(project, failed, fine)
    take(store, project, *[said(run, name, None, told) for run in (failed, fine)])
    found = read_run(store, project, failed)
    assert (found.error_type, found.error_message) == ("Timeout", "60 s")
    assert [(line.message, line.event) for line in found.logs] == [("Timeout: 60 s", name)]
    assert read_run(store, project, fine).error_type == ""


@at_night
def test_exception_in_lists(store: Store, project: str) -> None:
    """Lists show the error that arrived as an event, in place of the type alone."""
    told: dict[str, Value] = {"exception.type": "Timeout", "exception.message": "60 s"}
    attributes: dict[str, Value] = {**CHAT, "error.type": "timeout", "gen_ai.prompt": "Where?"}
    span = make_span("chat", attributes, status_code=2)
    store.take(project, span)
    take(store, project, make_log(None, told, of=span, event="gen_ai.client.operation.exception"))
    (run,) = find_runs(store.reader, RunsQuery(project), NOW_NS).runs
    assert (run.error_type, run.error_message, run.outputs) == ("timeout", "60 s", "60 s")


def test_content_of_other_spans(store: Store, project: str) -> None:
    """Messages about a span below a run are lines of the run, but not its inputs or outputs."""
    run, client = chat(), make_span("client", **place(2, 1))
    store.take(project, run, client)
    take(store, project, said(client, "gen_ai.user.message", {"content": "Where?"}))
    found = read_run(store, project, run)
    assert (found.inputs, lines_of(found.logs)) == (None, ['{"content":"Where?"}'])


# A trace whose parts can all arrive late: two runs, spans below and above them, a span whose
# parent never arrives, and lines, messages, scores and tags for them.
OUTER: Final = make_call("outer", **place(1, 5), end_ns=NOW_NS + SECOND_NS)
INNER: Final = make_span("chat", {**CHAT, "gen_ai.response.id": "r-1"}, **place(2, 1))
CLIENT: Final = make_span("client", **place(3, 2))
LOST: Final = make_span("lost", **place(4, 9))
SERVER: Final = make_span("server", **place(5))
UNKNOWN: Final = make_span("unknown", **place(6))
SPANS: Final = [
    OUTER,
    INNER,
    CLIENT,
    LOST,
    SERVER,
    make_start(OUTER),
    make_record("update", INNER, {"otel_ml.tag.late": 1}, trace_id=TRACE, span_id=span_id(11)),
    make_record(
        "evaluation",
        OUTER,
        {"otel_ml.judge.name": "j", "otel_ml.score.value": 1.0},
        span_id=span_id(12),
    ),
]
LOGS: Final = [
    *[make_log(span.name, of=span) for span in (OUTER, INNER, CLIENT, LOST, SERVER, UNKNOWN)],
    make_log("of the trace", of=OUTER, span_id=b""),
    said(INNER, "gen_ai.user.message", {"content": "Where?"}),
    said(INNER, "gen_ai.choice", {"message": {"content": "Here."}}),
    said(INNER, EVALUATION, None, JUDGED),
    make_log(
        None,
        {**JUDGED, "gen_ai.evaluation.name": "by response", "gen_ai.response.id": "r-1"},
        trace_id=b"",
        span_id=b"",
        event=EVALUATION,
    ),
]
Part = tuple[Sequence[Span], Sequence[Log], int]
_NUMBERS: Final = itertools.count()


@st.composite
def deliveries(draw: st.DrawFn) -> list[Part]:
    """Split spans and logs into requests to two writers, in any order, some of them twice."""
    items: list[Span | Log] = [*SPANS, *LOGS]
    items = draw(st.permutations([*items, *draw(st.lists(st.sampled_from(items), max_size=6))]))
    cuts = sorted(draw(st.sets(st.integers(1, len(items) - 1), max_size=3)))
    return [
        (
            [item for item in part if isinstance(item, Span)],
            [item for item in part if isinstance(item, Log)],
            draw(st.integers(0, 1)),
        )
        for start, end in itertools.pairwise([0, *cuts, len(items)])
        for part in (items[start:end],)
    ]


@pytest.fixture(scope="module")
def ask(store: Store) -> Callable[[list[Part]], Any]:
    """Return a function that stores the parts in a new project and reads all answers about it."""
    writers = [store.writer, Writer(store.connections)]

    def answer(parts: list[Part]) -> Any:
        project = f"any order {next(_NUMBERS)}"
        for spans, logs, writer in parts:
            records = map_spans(spans, Filing(project, NOW_NS))
            records.extend(map_logs(*logs, project=project))
            writers[writer].write(records)
        trace = read_trace(store, project)
        runs = [read_run(store, project, span) for span in (OUTER, INNER)]
        found = find_runs(store.reader, RunsQuery(project, 'scores["relevance"] == 0.5'), NOW_NS)
        answers = [trace, *runs, found]
        return [to_json(one).decode().replace(project, "") for one in answers]

    return answer


@pytest.fixture(scope="module")
def in_order(ask: Callable[[list[Part]], Any]) -> Any:
    """Return the answers after everything arrived at once, in order."""
    return ask([(SPANS, LOGS, 0)])


@at_night
@settings(max_examples=examples(8, on_commit=2))
@given(parts=deliveries())
def test_any_order(ask: Callable[[list[Part]], Any], in_order: Any, parts: list[Part]) -> None:
    """Spans and log records give the same answers in any order, repetition and split."""
    assert ask(parts) == in_order


@at_night
def test_answers_in_order(store: Store, project: str) -> None:
    """The in-order answers, the reference for the test above, assign each record correctly."""
    store.take(project, *SPANS)
    take(store, project, *LOGS)
    outer, inner = read_run(store, project, OUTER), read_run(store, project, INNER)
    assert lines_of(outer.logs) == ["outer", "of the trace"]
    assert sorted(lines_of(inner.logs)) == [
        "chat",
        "client",
        '{"content":"Where?"}',
        '{"message":{"content":"Here."}}',
    ]
    assert (inner.inputs, inner.outputs) == (
        [{"role": "user", "content": "Where?"}],
        [{"role": "assistant", "content": "Here."}],
    )
    assert (inner.scores, inner.tags) == ({"relevance": 0.5, "by response": 0.5}, {"late": 1})
    assert outer.scores == {"j": 1.0}
    assert loose_of(read_trace(store, project)) == {
        None: ["of the trace"],
        id_of(UNKNOWN): ["unknown"],
        id_of(LOST): ["lost"],
        id_of(SERVER): ["server"],
    }


ASKED: Final[Value] = {"content": "Where is it?"}
CHOSEN: Final[Value] = {
    "index": 0,
    "finish_reason": "stop",
    "message": {"role": "assistant", "content": "In Kyoto."},
}
# The content of one call in the forms that instrumentations send.
CONTENTS: Final = {
    "messages": [
        make_log({"content": "Be short."}, event="gen_ai.system.message"),
        make_log(ASKED, event="gen_ai.user.message"),
        make_log(CHOSEN, event="gen_ai.choice"),
    ],
    "details": [
        make_log(
            None,
            {
                "gen_ai.system_instructions": [{"type": "text", "content": "Be short."}],
                "gen_ai.input.messages": [
                    {"role": "user", "parts": [{"type": "text", "content": "Where is it?"}]}
                ],
                "gen_ai.output.messages": (
                    '[{"role":"assistant","parts":[{"type":"text","content":"In Kyoto."}]}]'
                ),
            },
            event=DETAILS,
        )
    ],
    "bare": [
        make_log("Where is it?", event="gen_ai.user.message"),
        make_log(None, {"message": "In Kyoto.", "gen_ai.system": "x"}, event="gen_ai.choice"),
    ],
    "texts": [
        make_log(
            None,
            {"gen_ai.event.content": '{"content":"Where is it?"}'},
            event="gen_ai.user.message",
        ),
        make_log(
            None,
            {"gen_ai.event.content": '{"message":{"content":"In Kyoto."}}'},
            event="gen_ai.choice",
        ),
    ],
}
FOUND_BY: Final = [
    *('"Where is" in input', '"Kyoto" in output', "inputs[-1] != 7", "outputs[0].role != 7"),
    'outputs[0].role == "assistant"',
]
MISSED_BY: Final = ['"Nara" in input', '"Kyoto" in input', 'outputs[0].role == "user"']


def content_of(form: str, span: Span) -> list[Log]:
    return [
        replace(log, trace_id=span.trace_id, span_id=span.span_id, time_ns=NOW_NS + at)
        for at, log in enumerate(CONTENTS[form])
    ]


@sampled(1)
@pytest.mark.parametrize("form", CONTENTS)
@pytest.mark.parametrize("is_first", [False, True], ids=["after", "before"])
def test_content_in_lists(store: Store, project: str, form: str, *, is_first: bool) -> None:
    """The list shows a call's content from log records, whether they arrive before or after it."""
    run = make_call(**place(1), attributes=CHAT)
    logs = content_of(form, run)
    if is_first:
        take(store, project, *logs)
    store.take(project, run)
    if not is_first:
        take(store, project, *logs)
    (listed,) = find_runs(store.reader, RunsQuery(project), NOW_NS).runs
    assert (listed.inputs, listed.outputs) == ("Where is it?", "In Kyoto.")


@at_night
@pytest.mark.parametrize("form", CONTENTS)
def test_content_in_filters(store: Store, project: str, form: str) -> None:
    """Filters find a run by the inputs and outputs from log records."""
    run, other = (make_call(**place(number), attributes=CHAT) for number in (1, 2))
    store.take(project, run, other)
    take(store, project, *content_of(form, run))
    found = {
        where: [
            one.run_id for one in find_runs(store.reader, RunsQuery(project, where), NOW_NS).runs
        ]
        for where in [*FOUND_BY, *MISSED_BY]
    }
    expected = {where: [id_of(run)] for where in FOUND_BY} | {where: [] for where in MISSED_BY}
    assert found == expected


@at_night
@pytest.mark.parametrize("form", CONTENTS)
def test_content_is_the_same_in_a_filter(store: Store, project: str, form: str) -> None:
    """The content that a filter reads from log records equals the JSON on the run's page."""
    run = make_call(**place(1), attributes=CHAT)
    store.take(project, run)
    take(store, project, *content_of(form, run))
    window = {"project": project, "start": NOW_NS - SECOND_NS, "end": NOW_NS + SECOND_NS}
    (row,) = store.reader.rows(SQL_OF_CONTENTS, window)
    told = read_run(store, project, run)
    assert [json.loads(row[f"logged_{name}"]) for name in ("inputs", "outputs")] == [
        told.inputs,
        told.outputs,
    ]


@at_night
@pytest.mark.parametrize("form", CONTENTS)
def test_content_in_exports(store: Store, project: str, form: str) -> None:
    """An export contains the content and the previews from log records."""
    run = make_call(**place(1), attributes=CHAT)
    store.take(project, run)
    take(store, project, *content_of(form, run))
    columns = ["inputs", "outputs", "inputs_preview", "outputs_preview"]
    query = ExportQuery(project, "", NOW_NS - SECOND_NS, NOW_NS + SECOND_NS, columns, True)
    (row,) = [row for batch in export_runs(store.reader, query) for row in batch.to_pylist()]
    told = read_run(store, project, run)
    assert [*map(json.loads, (row["inputs"], row["outputs"])), *list(row.values())[2:]] == [
        *(told.inputs, told.outputs),
        *("Where is it?", "In Kyoto."),
    ]


def test_request(store: Store, project: str) -> None:
    """A request shows the first question and the last answer from log records."""
    root = make_span("workflow", {"gen_ai.operation.name": "invoke_workflow"}, **place(1))
    calls = [
        make_span("chat", CHAT, **place(number, 1), start_ns=NOW_NS + number) for number in (2, 3)
    ]
    store.take(project, root, *calls)
    take(
        store,
        project,
        *[
            make_log(None, {**DETAILS_OF_TALK[number], "user.id": "liv"}, of=call, event=DETAILS)
            for number, call in enumerate(calls)
        ],
    )
    page = find_roots(store.reader, RunsQuery(project, roots=True), NOW_NS)
    (inside,) = (page.inside or {}).values()
    assert (inside.asked, inside.asked_run_id) == ("Where?", id_of(calls[0]))
    assert (inside.answered, inside.answered_run_id) == ("In Bergen.", id_of(calls[1]))
    runs = find_runs(store.reader, RunsQuery(project), NOW_NS).runs
    assert [run.user for run in runs if run.kind == "model"] == ["liv", "liv"]
