"""The sessions of a project: API, pages, and the data of each turn."""

import html
import json
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import pytest
from markupsafe import escape

from otel_ml_collector.span import Span, Value
from otel_ml_collector.traces.sessions import SessionsQuery, find_sessions
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_start,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import sampled

CHAT: Final = "web 41/\u00e4"  # a name that must be escaped in addresses
MANY: Final = 1_150


def turn(
    number: int, asked: str, answered: str, attributes: dict[str, Value] | None = None
) -> list[Span]:
    """Make a request with a retriever and a model call inside, which do not have the session."""
    start_ns = NOW_NS + number * 10 * SECOND_NS
    trace = trace_id(number)
    told: dict[str, Value] = {
        "otel_ml.kind": "chain",
        "session.id": CHAT,
        "user.id": "ada",
        "otel_ml.inputs": json.dumps(asked),
        "otel_ml.outputs": json.dumps(answered),
        **(attributes or {}),
    }
    root = make_call(
        "ask",
        told,
        trace_id=trace,
        span_id=span_id(1),
        start_ns=start_ns,
        end_ns=start_ns + 40 * MS_NS,
    )
    search = make_call(
        "search",
        {"otel_ml.kind": "retriever", "otel_ml.inputs": '"k=3"'},
        trace_id=trace,
        span_id=span_id(2),
        parent_span_id=span_id(1),
        start_ns=start_ns + MS_NS,
    )
    call = make_call(
        "chat",
        {
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 20,
            "otel_ml.score.grounded": number / 10,
            "otel_ml.passed.grounded": number > 1,
        },
        trace_id=trace,
        span_id=span_id(3),
        parent_span_id=span_id(1),
        start_ns=start_ns + 2 * MS_NS,
    )
    return [call, search, root]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector with a session of three turns, one failed, and a session of one call."""
    failed: dict[str, Value] = {
        "otel_ml.outcome": "error",
        "error.type": "openai.RateLimitError",
        "exception.message": "slow down",
    }
    with open_service(tmp_path_factory.mktemp("sessions")) as service:
        store = service.store
        store.take("a/b", *turn(2, "And a socket?", "Yes."))
        store.take("a/b", *turn(1, "Is it a bug?", "No."), *turn(3, "the of", "", failed))
        other = make_call("ask", {"session.id": "s-2", "user.id": "bob"}, start_ns=NOW_NS)
        store.take("a/b", other, make_call("ask"))
        store.take(
            "many",
            *[
                make_call("ask", {"session.id": "m"}, start_ns=NOW_NS + number)
                for number in range(MANY)
            ],
        )
        yield service


LONG: Final = (
    "## Why\n\n* the *tide*\n* <b>the moon</b>\n\n| a | b |\n| - | - |\n| 1 | 2 |\n" + 300 * "x"
)


def test_markdown_of_answers(service: Service) -> None:
    """The page shows a full answer as Markdown without its own HTML, or raw."""
    path = f"/projects/md/sessions/{quote(CHAT, safe='')}"
    service.store.take("md", *turn(5, "Why?", LONG))
    page = ask(service.app, path).text
    [said] = re.findall('<div class="md".*?</div>', page, re.DOTALL)
    assert "<li>the <em>tide</em></li>" in said
    assert "<li>&lt;b&gt;the moon&lt;/b&gt;</li>" in said
    assert "<td>1</td>" in said
    assert "x" * 300 in said
    assert f'href="{path}?raw=1">Raw</a>' in page
    raw = ask(service.app, f"{path}?raw=1").text
    assert 'class="md"' not in raw
    assert f'<div class="lines">{escape(LONG)}</div>' in raw
    assert ask(service.app, f"{path}?raw=no").status == 400


def get(service: Service, path: str) -> Any:
    answer = ask(service.app, f"/api/v1/projects/{path}")
    assert answer.status == 200, answer.text
    return answer.json


# An image of one pixel.
SENT_PIXEL: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)


def session_of(service: Service) -> Any:
    return get(service, f"a/b/sessions/{quote(CHAT, safe='')}")


def test_list(service: Service) -> None:
    """Sessions are sorted by their latest run, and have the sums of all their runs."""
    found = get(service, "a/b/sessions")
    assert [one["session"] for one in found["sessions"]] == [CHAT, "s-2"]
    first = found["sessions"][0]
    names = ("user", "turns", "runs", "errors", "asked")
    assert [first[name] for name in names] == ["ada", 3, 9, 1, "Is it a bug?"]
    assert (first["tokens"]["input"], first["tokens"]["output"], first["cost"]) == (300, 60, None)
    assert [(one["judge"], one["evaluations"]) for one in first["judges"]] == [("grounded", 3)]


@sampled(2)
@pytest.mark.parametrize(
    ("where", "found"),
    [
        ('user == "bob"', ["s-2"]),
        ('outcome == "error"', [CHAT]),
        ('model == "chat"', [CHAT]),
        ('session == "s-2"', ["s-2"]),
        ("latency > 1s", []),
    ],
)
def test_filter(service: Service, where: str, found: list[str]) -> None:
    """A filter selects sessions with a matching run; their figures count all runs."""
    sessions = get(service, f"a/b/sessions?where={quote(where)}")["sessions"]
    assert [one["session"] for one in sessions] == found
    assert all(one["runs"] in {1, 9} for one in sessions)


def test_cursor(service: Service) -> None:
    """A list continues at its cursor, and an invalid cursor is refused."""
    first = get(service, "a/b/sessions?limit=1")
    second = get(service, f"a/b/sessions?limit=1&cursor={first['next_cursor']}")
    assert [one["session"] for one in (*first["sessions"], *second["sessions"])] == [CHAT, "s-2"]
    assert second["next_cursor"] is None
    assert ask(service.app, "/api/v1/projects/a/b/sessions?cursor=none").status == 400


MINUTE_NS: Final = 60 * SECOND_NS
# Minutes since each session's last run started, and minutes between its root and its last run.
AGES: Final = {
    "a": (1, 0),
    "b": (4, 200),
    "c": (30, 0),
    "d": (61, 5_000),
    "e": (90, 0),
    "f": (2_000, 0),
    "g": (3_000, 60_000),
    "h": (60_000, 0),
    "i": (61_000, 5),
}


@pytest.fixture(scope="module")
def aged(service: Service) -> str:
    """Store sessions of all ages, named on their root only; return the project's name."""
    for number, (name, (age, before)) in enumerate(AGES.items(), 1):
        last_ns = NOW_NS - age * MINUTE_NS
        root = make_call(
            "ask",
            {"session.id": name},
            trace_id=trace_id(100 + number),
            start_ns=last_ns - before * MINUTE_NS - 1,
        )
        child = make_call(
            "chat", trace_id=root.trace_id, parent_span_id=root.span_id, start_ns=last_ns
        )
        service.store.take("aged", root, child)
    return "aged"


@sampled(1)
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 50])
def test_order_of_any_age(service: Service, aged: str, limit: int) -> None:
    """Sessions are sorted by their last run, whatever their age."""
    names: list[str] = []
    cursor = None
    while True:
        query = SessionsQuery(aged, limit=limit, cursor=cursor)
        page = find_sessions(service.store.reader, query, NOW_NS)
        names += [one.session for one in page.sessions]
        assert all((one.turns, one.runs) == (1, 2) for one in page.sessions)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert names == list(AGES)


def test_sessions_of_a_window(service: Service, aged: str) -> None:
    """A window lists sessions with a run that started in it, sorted by the last such run."""
    start_ns, end_ns = NOW_NS - 5_500 * MINUTE_NS, NOW_NS - 61 * MINUTE_NS
    query = SessionsQuery(aged, start_ns=start_ns, end_ns=end_ns)
    page = find_sessions(service.store.reader, query, NOW_NS)
    assert [one.session for one in page.sessions] == ["e", "b", "f", "g", "d"]


def test_a_session_of_many_traces(service: Service) -> None:
    """A session's figures count all its runs, even with thousands of traces."""
    calls = [
        make_call("ask", {"session.id": "long"}, trace_id=trace_id(number), span_id=span_id(1))
        for number in range(1, 2_101)
    ]
    child = make_call("chat", trace_id=trace_id(7), parent_span_id=span_id(1))
    service.store.take("long", *calls, child)
    found = get(service, "long/sessions")["sessions"]
    assert [(one["session"], one["turns"], one["runs"]) for one in found] == [
        ("long", 2_100, 2_101)
    ]


def test_turns(service: Service) -> None:
    """Turns are in order, with question, calls, answer, latency and tokens."""
    session = session_of(service)
    assert (session["turns"], session["tokens"]["input"]) == (3, 300)
    first, _, last = session["conversation"]
    assert (first["asked"], first["answered"], first["outcome"]) == ("Is it a bug?", "No.", "ok")
    assert [(one["name"], one["inputs"]) for one in first["calls"]] == [("search", "k=3")]
    assert (first["runs"], first["latency_ms"], first["tokens"]["output"]) == (3, 40.0, 20)
    assert (first["scores"], first["passed"]) == ({"grounded": 0.1}, {"grounded": False})
    assert (last["outcome"], last["error_type"]) == ("error", "openai.RateLimitError")
    assert first["run_id"] == id_of(turn(1, "", "")[-1])


def test_calls_of_sub_agents(service: Service) -> None:
    """A turn shows all its calls, those of a sub-agent below it, and the image of its question."""
    picture = f"data:image/png;base64,{SENT_PIXEL}"
    image = {"type": "image_url", "image_url": {"url": picture}}
    content = [{"type": "text", "text": "What is this?"}, image]
    asked = json.dumps({"messages": [{"role": "user", "content": content}]})

    def call(number: int, parent: int, kind: str, name: str, **told: Value) -> Span:
        return make_call(
            name,
            {"otel_ml.kind": kind, "session.id": "agents", **told},
            trace_id=trace_id(77),
            span_id=span_id(number),
            parent_span_id=span_id(parent) if parent else b"",
            start_ns=NOW_NS + number * MS_NS,
            end_ns=NOW_NS + 900 * MS_NS,
        )

    service.store.take(
        "agents",
        call(1, 0, "agent", "lead", **{"otel_ml.inputs": asked}),
        call(2, 1, "agent", "scout"),
        call(3, 1, "tool", "plan"),
        call(4, 2, "tool", "fetch"),
        *(call(number, 1, "tool", f"step {number}") for number in range(10, 40)),
    )
    [only] = get(service, "agents/sessions/agents")["conversation"]
    calls = [(one["name"], one["kind"], one["depth"]) for one in only["calls"]]
    assert calls[:3] == [("scout", "agent", 0), ("fetch", "tool", 1), ("plan", "tool", 0)]
    assert len(calls) == 33
    page = html.unescape(ask(service.app, "/projects/agents/sessions/agents").text)
    assert "13 more calls" in page
    assert "step 39" in page
    assert 'class="tool sub1"' in page
    assert f'src="{picture}"' in page


def test_images_among_values(service: Service) -> None:
    """A turn shows the images among its inputs and outputs, and other values without JSON."""
    picture = f"data:image/png;base64,{SENT_PIXEL}"
    asked = {"photo": picture, "meter": "A-17"}
    attributes: dict[str, Value] = {
        "session.id": "meters",
        "otel_ml.inputs": json.dumps(asked),
        "otel_ml.outputs": json.dumps(picture),
    }
    service.store.take("meters", make_call("read", attributes, start_ns=NOW_NS))
    page = html.unescape(ask(service.app, "/projects/meters/sessions/meters").text)
    question, answer = re.findall(r"<h2>(?:User|Assistant)</h2>(.*?)</li>", page, re.DOTALL)
    assert "image · A-17" in question
    assert f'src="{picture}"' in question
    assert f'src="{picture}"' in answer
    assert "1 × 1" in question
    assert "{" not in question


def test_a_turn_that_goes_on(service: Service) -> None:
    """A session without a finished run is found, with its question."""
    root = make_call("ask", start_ns=NOW_NS)
    start = make_start(root, {"session.id": "new", "otel_ml.inputs.preview": "Hello?"})
    service.store.take("open", start)
    session = get(service, "open/sessions/new")
    [only] = session["conversation"]
    assert (session["runs"], only["asked"], only["latency_ms"]) == (0, "Hello?", None)


def test_many_runs(service: Service) -> None:
    """A long session is returned in parts that add up to the whole."""
    first = get(service, "many/sessions/m")
    rest = get(service, f"many/sessions/m?cursor={first['next_cursor']}")
    assert (first["turns"], first["runs"], rest["next_cursor"]) == (MANY, MANY, None)
    runs = [one["run_id"] for part in (first, rest) for one in part["conversation"]]
    assert len(runs) == len(set(runs)) == MANY


def test_nobody(service: Service) -> None:
    """An unknown session gets a 404 response."""
    assert ask(service.app, "/api/v1/projects/a/b/sessions/none").status == 404


def page(service: Service, path: str) -> str:
    answer: Answered = ask(service.app, f"/projects/a/b/{path}")
    assert answer.status == 200, answer.text
    return answer.text


def test_pages(service: Service) -> None:
    """The pages show the API's data, and a run links to its session and its user."""
    address = f"/projects/a%2Fb/sessions/{quote(CHAT, safe='')}"
    listed = page(service, "sessions")
    assert address in listed
    assert "Is it a bug?" in listed
    shown = ask(service.app, address).text
    for words in (
        *("3 turns", "1 turn", "<b>grounded</b>", "RateLimitError"),
        "Yes.",
    ):
        assert words in shown
    below = page(service, f"runs/{id_of(turn(1, '', '')[0])}")
    assert address in below
    assert "Sessions" in page(service, "runs")
    assert "No sessions yet" in ask(service.app, "/projects/none/sessions").text
    assert "No session matches" in page(service, "sessions?where=latency+%3E+9s")
    assert ask(service.app, "/projects/a/b/sessions/none").status == 404


def test_python_of_roots(service: Service) -> None:
    """The Python code below a list lists the same runs: roots or traces."""
    for asked, given in (("roots=1", "roots=True"), ("traces=1", "traces=True")):
        page = ask(service.app, f"/projects/md/runs?{asked}").text
        assert f"reader.runs({given})" in page
