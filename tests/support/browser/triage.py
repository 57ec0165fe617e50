"""Sends the story of two projects to a collector, as shown in the mock-ups.

`triage` answers support tickets. Version 2 of `classify` drops words with umlauts, so it has been
worse for the German client Kessler for three days. Requests of the client Bluebird have failed
often since yesterday. Version 5 of `draft_reply` has used a larger model for six hours: it is
slower and costs more. Version 2 of the judge `grounded` is stricter. `bikes` is an agent with tools
and sessions.

Run ``python -m tests.support.browser.triage http://127.0.0.1:4318`` to send it by hand.
"""

import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from otel_ml_collector.span import Scope, Span, Value
from tests.support.otel_ml_collector.spans import DAY_NS, MS_NS, SECOND_NS, make_record, make_span
from tests.support.otel_ml_collector.wire import encode
from tests.support.waiting import wait_until

HOUR_NS: Final = 3600 * SECOND_NS
DAYS: Final = 9
TICKETS_A_DAY: Final = 700
TALKS_A_DAY: Final = 30
_IN_REQUEST: Final = 1_000


class Client(NamedTuple):
    """A client of `triage`, with its share of the tickets."""

    name: str
    share: float
    region: str
    language: str


@dataclass
class _Story:
    """Makes the spans of a project up to `now_ns`, with a seeded random generator."""

    project: str
    now_ns: int
    seed: int

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)  # noqa: S311 - the same story for a seed
        resource: dict[str, Value] = {
            "service.name": self.project,
            "otel_ml.project": self.project,
            "otel_ml.import": f"story-{self.now_ns}",
        }
        self.scope = Scope(resource, "otel_ml", "1", {})

    def make_span(self, name: str, attributes: dict[str, Value], **fields: object) -> Span:
        return make_span(name, attributes, scope=self.scope, **fields)


_CLIENTS: Final = (
    Client("Nordwind", 0.45, "EU", "en"),
    Client("Tanaka", 0.25, "APAC", "en"),
    Client("Bluebird", 0.17, "NA", "en"),
    Client("Kessler", 0.13, "EU", "de"),
)
_TEXTS: Final = {
    "en": (
        ("Where is my parcel? Order {}", "delivery"),
        ("Invoice {} with VAT number, please", "billing"),
        ("Can I return opened headphones? Order {}", "returns"),
        ("Password reset does not work for account {}", "account"),
    ),
    "de": (
        ("Rückerstattung für Auftrag {} fehlt", "billing"),
        ("Mein Päckchen {} ist nicht angekommen", "delivery"),
        ("Bestätigungscode {} ungültig, dringend", "account"),
        ("Rückgabe geöffneter Kopfhörer, Auftrag {}", "returns"),
    ),
}
_REPLIES: Final = {
    "en": "Thank you for your message. We have checked it and reply within a day.",
    "de": "Guten Tag, wir haben Ihre Nachricht geprüft und antworten innerhalb eines Tages.",
}
_SOURCES: Final = {
    "classify 1": 'def clean(text):\n    return re.findall(r"\\w+", text.lower())\n',
    "classify 2": 'def clean(text):\n    return re.findall(r"[a-z0-9]+", text.lower())\n',
}
_PARAMS: Final = {"4": {"model": "gpt-4o-mini"}, "5": {"model": "gpt-4o"}}
_TOOLS: Final = ("find_bikes", "check_stock", "reserve_bike")


def send(endpoint: str, now_ns: int | None = None, days: int = DAYS) -> None:
    """Send both projects to the collector at this address.

    Args:
        endpoint: Base address, such as ``http://127.0.0.1:4318``.
        now_ns: The end of the story; now if None.
        days: Length of the story in days.
    """
    now_ns = time.time_ns() if now_ns is None else now_ns
    spans = [*make_tickets(now_ns, days), *make_talks(now_ns, days)]
    for begin in range(0, len(spans), _IN_REQUEST):
        body = encode(spans[begin : begin + _IN_REQUEST])
        wait_until(partial(_is_accepted, endpoint, body), 60)


def _is_accepted(endpoint: str, body: bytes) -> bool:
    """Send a request; return whether it is stored, or False if the collector is busy."""
    headers = {"Content-Type": "application/x-protobuf"}
    try:
        with urlopen(Request(f"{endpoint}/v1/traces", body, headers), timeout=180):
            return True
    except HTTPError as error:
        if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        return False


def make_tickets(now_ns: int, days: int = DAYS, seed: int = 1) -> Iterator[Span]:
    """Make the spans of project `triage`."""
    story = _Story("triage", now_ns, seed)
    shares = [client.share for client in _CLIENTS]
    count = TICKETS_A_DAY * days
    length_ns = days * DAY_NS - HOUR_NS // 30
    for number in range(count):
        start_ns = now_ns - days * DAY_NS + length_ns * number // count
        yield from _ticket(story, start_ns, story.draw.choices(_CLIENTS, shares)[0])


def _ticket(story: _Story, start_ns: int, client: Client) -> Iterator[Span]:
    """Make one request: classify, search_kb and draft_reply below ticket, or a failed ticket."""
    draw, age_ns = story.draw, story.now_ns - start_ns
    # 36 hours, so that some failures are from yesterday at any time of day
    fails_often = client.name == "Bluebird" and age_ns < 36 * HOUR_NS
    text, department = draw.choice(_TEXTS[client.language])
    text = text.format(draw.randrange(4_000, 6_000))
    user = f"{client.name[:2].lower()}-{int(draw.triangular(1, 60, 1)):02}"
    shared: dict[str, Value] = {
        "user.id": user,
        "session.id": f"{user}-{start_ns // HOUR_NS}",
        "otel_ml.tag.client": client.name,
        "otel_ml.tag.region": client.region,
        "otel_ml.tag.language": client.language,
    }
    trace_id, root_id = draw.randbytes(16), draw.randbytes(8)
    fails = draw.random() < (0.22 if fails_often else 0.005)
    end_ns = start_ns + MS_NS
    if not fails:
        inside = {"trace_id": trace_id, "parent_span_id": root_id}
        ticket = _Ticket(text, department, client.language, shared, inside)
        for span in _answer(story, end_ns, ticket):
            yield span
            end_ns = max(end_ns, span.end_ns)
    yield story.make_span(
        "ticket",
        {
            **_call("ticket"),
            "otel_ml.inputs": json.dumps({"text": "" if fails else text, "client": client.name}),
            **shared,
            **({"error.type": "ValueError"} if fails else _output(_REPLIES[client.language])),
        },
        trace_id=trace_id,
        span_id=root_id,
        start_ns=start_ns,
        end_ns=end_ns + MS_NS,
        **({"status_code": 2, "status_message": "text is empty"} if fails else {}),
    )


class _Ticket(NamedTuple):
    text: str
    department: str
    language: str
    shared: Mapping[str, Value]
    inside: Mapping[str, Any]


def _answer(story: _Story, start_ns: int, ticket: _Ticket) -> Iterator[Span]:
    """Make the calls below a ticket, one after another."""
    draw, age_ns = story.draw, story.now_ns - start_ns
    is_new, is_large = age_ns < 3 * DAY_NS, age_ns < 6 * HOUR_NS
    loses_words = is_new and ticket.language == "de" and draw.random() < 0.3
    confident = draw.uniform(0.2, 0.55) if loses_words else _draw_score(draw, 0.985, 0.6)
    end_ns = start_ns + int(draw.gauss(6.4 if is_new else 6.1, 0.8) * MS_NS)
    yield story.make_span(
        "classify",
        {
            **_call("classify", "2" if is_new else "1"),
            "otel_ml.inputs": json.dumps({"text": ticket.text}),
            "otel_ml.outputs": json.dumps(ticket.department),
            **_score("confident", confident, 0.6),
            **ticket.shared,
        },
        start_ns=start_ns,
        end_ns=end_ns,
        **ticket.inside,
    )
    start_ns, end_ns = end_ns, end_ns + int(draw.gauss(180, 20) * MS_NS)
    yield story.make_span(
        "search_kb",
        {
            **_call("search_kb"),
            "otel_ml.inputs": json.dumps({"query": ticket.text.lower()}),
            "otel_ml.outputs": json.dumps({"articles": [f"kb-{draw.randrange(431)}"]}),
            **ticket.shared,
        },
        start_ns=start_ns,
        end_ns=end_ns,
        **ticket.inside,
    )
    llm = "gpt-4o" if is_large else "gpt-4o-mini"
    took_s = draw.lognormvariate(1.22 if is_large else 0.74, 0.25)
    grounded = _draw_score(draw, 0.93, 0.5)
    reply = story.make_span(
        "draft_reply",
        {
            **_call("draft_reply", "5" if is_large else "4"),
            "otel_ml.params": json.dumps({"model": llm}),
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": llm,
            "gen_ai.usage.input_tokens": draw.randrange(1_500, 2_100),
            "gen_ai.usage.output_tokens": draw.randrange(150, 260),
            "otel_ml.inputs": json.dumps({"ticket": ticket.text, "articles": 4}),
            **_output(_REPLIES[ticket.language]),
            **_score("grounded", grounded, 0.5),
            **ticket.shared,
        },
        start_ns=end_ns,
        end_ns=end_ns + int(took_s * SECOND_NS),
        **ticket.inside,
    )
    yield reply
    if age_ns < 36 * HOUR_NS:
        yield _judge_again(story, reply, grounded)


def _output(answer: str) -> dict[str, Value]:
    return {"otel_ml.outputs": json.dumps({"answer": answer})}


def _judge_again(story: _Story, reply: Span, score: float) -> Span:
    """Make a score by the stricter second version of `grounded`."""
    attributes: dict[str, Value] = {
        "otel_ml.judge.name": "grounded",
        "otel_ml.judge.version": _name_version("grounded", 2),
        "otel_ml.source": "judge",
        "otel_ml.score.value": score,
        "otel_ml.passed": score >= 0.8,
    }
    at: dict[str, object] = {"start_ns": reply.end_ns, "end_ns": reply.end_ns}
    return make_record("evaluation", reply, attributes, scope=story.scope, **at)


def make_talks(now_ns: int, days: int = DAYS, seed: int = 2) -> Iterator[Span]:
    """Make the spans of project `bikes`: sessions of three turns with tool calls."""
    story = _Story("bikes", now_ns, seed)
    count = TALKS_A_DAY * days
    for number in range(count):
        start_ns = now_ns - days * DAY_NS + (days * DAY_NS - HOUR_NS) * number // count
        user = f"rider-{story.draw.randrange(40):02}"
        shared: dict[str, Value] = {"user.id": user, "session.id": f"talk-{number}"}
        for turn, question in enumerate(("Which bikes are free?", "And a red one?", "Reserve it.")):
            begin_ns = start_ns + turn * 40 * SECOND_NS
            yield from _turn(story, begin_ns, question, _TOOLS[turn], shared)


def _turn(
    story: _Story, start_ns: int, question: str, tool: str, shared: Mapping[str, Value]
) -> Iterator[Span]:
    """Make one turn: the agent asks a model, calls a tool and asks the model again."""
    draw = story.draw
    trace: dict[str, object] = {"trace_id": draw.randbytes(16)}
    root_id = draw.randbytes(8)
    at_ns = start_ns + MS_NS
    call_id = draw.randbytes(4).hex()
    arguments = {"city": "Oslo", "color": "red"}
    request = {"type": "tool_call", "id": call_id, "name": tool, "arguments": arguments}
    result = {"type": "tool_call_response", "id": call_id, "response": {"bikes": ["B-7", "B-9"]}}
    talk = [{"role": "user", "parts": [{"type": "text", "content": question}]}]
    fails = tool == "reserve_bike" and draw.random() < 0.06
    answer = {"role": "assistant", "parts": [{"type": "text", "content": f"{question[:-1]}: B-7."}]}
    for is_last in (False, True):
        output = answer if is_last else {"role": "assistant", "parts": [request]}
        took_ns = int(draw.lognormvariate(-0.3, 0.3) * SECOND_NS)
        yield story.make_span(
            "chat gpt-4o-mini",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.usage.input_tokens": draw.randrange(300, 900),
                "gen_ai.usage.output_tokens": draw.randrange(20, 90),
                "gen_ai.input.messages": json.dumps(talk),
                "gen_ai.output.messages": json.dumps([output]),
                **shared,
            },
            kind=3,
            span_id=draw.randbytes(8),
            parent_span_id=root_id,
            start_ns=at_ns,
            end_ns=at_ns + took_ns,
            **trace,
        )
        at_ns += took_ns + MS_NS
        if is_last:
            break
        talk += [{"role": "assistant", "parts": [request]}, {"role": "tool", "parts": [result]}]
        error: dict[str, Value] = {"error.type": "TimeoutError"} if fails else {}
        yield story.make_span(
            f"execute_tool {tool}",
            {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": tool,
                "gen_ai.tool.call.id": call_id,
                "gen_ai.tool.call.arguments": json.dumps(arguments),
                **({} if fails else {"gen_ai.tool.call.result": json.dumps(result["response"])}),
                **error,
                **shared,
            },
            span_id=draw.randbytes(8),
            parent_span_id=root_id,
            start_ns=at_ns,
            end_ns=at_ns + 80 * MS_NS,
            status_code=2 if fails else 0,
            status_message="no answer within 80 ms" if fails else "",
            **trace,
        )
        at_ns += 81 * MS_NS
    yield story.make_span(
        "invoke_agent rental",
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "rental",
            "gen_ai.input.messages": json.dumps(talk[:1]),
            "gen_ai.output.messages": json.dumps([answer]),
            **shared,
        },
        span_id=root_id,
        start_ns=start_ns,
        end_ns=at_ns,
        **trace,
    )


def _call(name: str, version: str = "1") -> dict[str, Value]:
    """Return the attributes of a call, with the definition of its version."""
    source = _SOURCES.get(f"{name} {version}", f"def {name}(text): ...")
    definition = {"source": source, "signature": "(text)", "params": _PARAMS.get(version, {})}
    return {
        "otel_ml.model.name": name,
        "otel_ml.model.version": hashlib.sha256(f"{name} {version}".encode()).hexdigest()[:16],
        "otel_ml.model.definition": json.dumps(definition),
    }


def _score(judge: str, value: float, needed: float) -> dict[str, Value]:
    return {
        f"otel_ml.score.{judge}": value,
        f"otel_ml.passed.{judge}": value >= needed,
        "otel_ml.judges": json.dumps({judge: {"version": _name_version(judge, 1)}}),
    }


def _name_version(judge: str, number: int) -> str:
    return hashlib.sha256(f"{judge} {number}".encode()).hexdigest()[:16]


def _draw_score(draw: random.Random, passing: float, needed: float) -> float:
    """Draw a score that passes with this probability."""
    if draw.random() < passing:
        return draw.uniform(needed + 0.2, 1.0)
    return draw.uniform(0.1, needed - 0.05)


if __name__ == "__main__":
    send(sys.argv[1])
