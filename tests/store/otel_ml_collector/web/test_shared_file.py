"""Traces, experiments, comparisons and sessions as one HTML file that opens without a server."""

import base64
import json
import re
from hashlib import sha256
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urlencode

from otel_ml_collector.span import Span, Value
from tests.store.otel_ml_collector.test_experiments import AFTER, BEFORE, make_experiment
from tests.store.otel_ml_collector.test_experiments import make_runs as make_item_runs
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    id_of,
    make_artifact,
    make_call,
    make_record,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night

SCRIPT: Final = "</script></style><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"
LINKS: Final = "[a](javascript:alert(1)) ![b](http://evil.example/b.png)"
PIXEL: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
SPANS: Final = 50


class Elements(HTMLParser):
    """Collects the elements of a file, and what its script and style contain."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._tag = tag
        if tag in self.inside:
            self.inside[tag].append("")

    def handle_data(self, data: str) -> None:
        if self._tag in self.inside:
            self.inside[self._tag][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""


def get_file(service: Service, path: str, **parameters: object) -> Answered:
    query = f"?{urlencode(parameters, doseq=True)}" if parameters else ""
    answered = ask(service.app, f"/api/v1/projects/{path}/file{query}")
    assert answered.status == 200, answered.text[:500]
    return answered


def check_safe(text: str) -> Elements:
    """Check that a file runs only our script and requests nothing, also by its policy."""
    elements = Elements(text)
    policy = next(told["content"] for tag, told in elements.found if "http-equiv" in told)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for kind, directive in (("script", "script-src"), ("style", "style-src")):
        (content,) = elements.inside[kind]
        digest = base64.b64encode(sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy
    for tag, told in elements.found:
        assert tag not in {"iframe", "object", "embed", "link", "form", "base", "video", "audio"}
        assert not [name for name in told if name.startswith("on") or name in {"style", "srcset"}]
        assert (told.get("src") or "data:").startswith("data:")
        assert re.match(r"#|https?://|mailto:|\Z", told.get("href") or "")
    return elements


def make_trace(number: int, spans: int, attributes: dict[str, Value]) -> list[Span]:
    number += 86_000  # a trace of another module, in another project, would be part of it
    ids = {"trace_id": trace_id(number)}
    top = make_call(
        "agent", {"otel_ml.kind": "chain", **attributes}, span_id=span_id(number * 1_000), **ids
    )
    return [
        top,
        *(
            make_call(
                f"step {at}",
                attributes,
                span_id=span_id(number * 1_000 + at),
                parent_span_id=top.span_id,
                start_ns=NOW_NS + at * MS_NS,
                **ids,
            )
            for at in range(1, spans)
        ),
    ]


def test_trace(service: Service, project: str) -> None:
    """The file of a trace has its tree, and inputs, outputs and scores of every span, by anchor."""
    asked: dict[str, Value] = {
        "otel_ml.inputs": '{"question":"why?"}',
        "otel_ml.outputs": '"because"',
    }
    spans = make_trace(1, 4, asked)
    score = make_record(
        "evaluation",
        spans[2],
        {
            "otel_ml.judge.name": "grounded",
            "otel_ml.score.value": 0.5,
            "otel_ml.explanation": "half of it is in the sources",
        },
    )
    service.store.take(project, *spans, score)
    answered = get_file(service, f"{project}/runs/{id_of(spans[0])}")
    assert answered.headers["content-disposition"] == 'attachment; filename="agent-v1.html"' or (
        answered.headers["content-disposition"] == 'attachment; filename="agent.html"'
    )
    elements = check_safe(answered.text)
    panes = [told["id"] for _, told in elements.found if "rpane" in (told.get("class") or "")]
    assert panes == [id_of(span) for span in spans]
    links = {told["href"] for tag, told in elements.found if tag == "a" and "href" in told}
    assert {f"#{id_of(span)}" for span in spans} <= links
    assert answered.text.count("because") >= 4
    assert "half of it is in the sources" in answered.text
    assert f"from the project {project} with otel-ml" in answered.text
    assert 'id="cuts"' not in answered.text
    assert "localhost" not in answered.text
    linked = get_file(service, f"{project}/runs/{id_of(spans[0])}", link="1").text
    assert f'href="http://localhost:4318/projects/{project}/runs/{id_of(spans[0])}"' in linked


def test_list(service: Service, project: str) -> None:
    """The file of a list has its first runs, in its order, and says that there are more."""
    spans = make_trace(7, 5, {"otel_ml.inputs": json.dumps(SCRIPT)})
    service.store.take(project, *spans)
    answered = get_file(service, f"{project}/run-list", limit=3, order="oldest", link=1)
    elements = check_safe(answered.text)
    rows = [told["data-run"] for tag, told in elements.found if tag == "tr" and "data-run" in told]
    assert rows == [id_of(span) for span in spans[:3]]
    assert not [tag for tag, _ in elements.found if tag == "img"]
    assert re.search(r"large: runs after the first 3\.", answered.text)
    assert f'href="http://localhost:4318/projects/{project}/runs?order=oldest"' in answered.text
    empty = get_file(service, f"{project}/run-list", where='model == "none"').text
    assert "No run matches" in empty
    assert 'id="cuts"' not in empty


def test_hostile_trace(service: Service, project: str) -> None:
    """Markup in every text of a trace is text in the file."""
    hostile: dict[str, Value] = {
        "otel_ml.inputs": json.dumps({SCRIPT: SCRIPT, "url": "javascript:alert(1)"}),
        "otel_ml.outputs": json.dumps(
            f"[a](javascript:alert(1)) ![b](http://evil.example/b.png) {SCRIPT}"
        ),
        "otel_ml.params": json.dumps({SCRIPT: SCRIPT}),
        "otel_ml.tag.<b>": SCRIPT,
        "session.id": SCRIPT,
        "user.id": SCRIPT,
        "http.route": SCRIPT,
        SCRIPT: SCRIPT,
    }
    call = make_call(
        SCRIPT,
        hostile,
        trace_id=trace_id(2),
        status_code=2,
        status_message=SCRIPT,
        events=[make_artifact(SCRIPT, '{"a":1}', type=SCRIPT, preview=f'"{"<b>"}"')],
    )
    chat = [{"role": role, "content": SCRIPT} for role in ("system", "user", "assistant")]
    talk = make_call(
        f"chat {SCRIPT}",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": SCRIPT,
            "gen_ai.input.messages": json.dumps(chat),
            "gen_ai.output.messages": json.dumps(chat[2:]),
        },
        trace_id=trace_id(2),
        parent_span_id=call.span_id,
    )
    score = make_record(
        "evaluation",
        call,
        {"otel_ml.judge.name": SCRIPT, "otel_ml.score.value": 0.1, "otel_ml.explanation": SCRIPT},
    )
    service.store.take(project, call, talk, score)
    for path in (f"runs/{id_of(call)}", f"runs/{id_of(talk)}"):
        elements = check_safe(get_file(service, f"{project}/{path}").text)
        assert not [tag for tag, _ in elements.found if tag == "img"]
    of = [id_of(call), id_of(talk)]
    check_safe(get_file(service, f"{project}/compare", of=of).text)


@at_night
def test_sizes(service: Service, project: str) -> None:
    """50 spans take at most 300 KB: first attributes are left out, then inputs and outputs."""
    facts: dict[str, Value] = {f"extra.{at}": "x" * 40 for at in range(30)}
    small = make_trace(3, SPANS, {"otel_ml.inputs": '"why?"', "otel_ml.outputs": '"because"'})
    wide = make_trace(4, SPANS, {**facts, "otel_ml.inputs": '"why?"'})
    rows = json.dumps([{"n": at, "text": "word " * 20} for at in range(50)])
    large = make_trace(5, SPANS, {**facts, "otel_ml.inputs": rows, "otel_ml.outputs": rows})
    service.store.take(project, *small, *wide, *large)
    texts = {}
    for name, spans in (("small", small), ("wide", wide), ("large", large)):
        texts[name] = get_file(service, f"{project}/runs/{id_of(spans[0])}").text
        assert len(texts[name].encode()) <= 300_000, name
    cuts = {name: re.findall(r'id="cuts">(.*?)</p>', text) for name, text in texts.items()}
    assert cuts["small"] == []
    assert re.fullmatch(r"Left out, .*: attributes of \d+ spans?\.", cuts["wide"][0])
    assert re.search(r"attributes of 50 spans; inputs and outputs of \d+ spans", cuts["large"][0])
    assert "word word" in texts["large"]  # of the span that was asked for


@at_night
def test_images(service: Service, project: str) -> None:
    """Images are inside the file, and left out last, so that it has at most 5 MB."""
    picture = base64.b64decode(PIXEL)
    one = make_call("draw", {"otel_ml.outputs": json.dumps(f"data:image/png;base64,{PIXEL}")})
    big = picture + bytes(300_000)  # what follows the end of a PNG is not drawn
    shown = json.dumps(f"data:image/png;base64,{base64.b64encode(big).decode()}")
    many = make_trace(6, 20, {"otel_ml.outputs": shown})
    service.store.take(project, one, *many)
    assert PIXEL in get_file(service, f"{project}/runs/{id_of(one)}").text
    text = get_file(service, f"{project}/runs/{id_of(many[0])}").text
    assert 2_000_000 < len(text.encode()) <= 5_000_000
    assert re.search(r"large: \d+ images\.", text)


@at_night
def test_order_of_cuts(service: Service, project: str) -> None:
    """Attributes go first, then inputs and outputs of inner spans, then rows of tables."""
    facts: dict[str, Value] = {f"extra.{at}": "x" * 40 for at in range(30)}
    table = json.dumps([{f"c{n}": "word " * 30 for n in range(60)} for _ in range(50)])
    spans = make_trace(8, 20, {**facts, "otel_ml.outputs": table})
    service.store.take(project, *spans)
    text = get_file(service, f"{project}/runs/{id_of(spans[0])}").text
    assert len(text.encode()) <= 300_000
    [cuts] = re.findall(r'id="cuts">(.*?)</p>', text)
    assert cuts.endswith(
        ": attributes of 20 spans; inputs and outputs of 19 spans; 40 rows of tables."
    )
    assert text.count("word word") >= 10 * 60  # the first ten rows of the span asked for


def test_session(service: Service, project: str) -> None:
    """The file of a session has its turns."""
    turns = [
        make_call(
            "chat",
            {
                "session.id": "s/1",
                "otel_ml.inputs": json.dumps(f"question {at}"),
                "otel_ml.outputs": json.dumps(f"answer {at}"),
            },
            trace_id=trace_id(70 + at),
            start_ns=NOW_NS + at * MS_NS,
        )
        for at in range(3)
    ]
    service.store.take(project, *turns)
    text = get_file(service, f"{project}/sessions/s%2F1").text
    check_safe(text)
    for at in range(3):
        assert f"question {at}" in text
        assert f"answer {at}" in text


@at_night
def test_experiment(service: Service, project: str) -> None:
    """The file of an experiment has the items that got worse; that of two, the verdict."""
    before, after = make_experiment(1), make_experiment(2, "bb")
    service.store.take(
        project, before, *make_item_runs(before, BEFORE), after, *make_item_runs(after, AFTER)
    )
    text = get_file(service, f"{project}/experiments/{id_of(after)}", baseline=id_of(before)).text
    check_safe(text)
    assert "Worse than" in text
    assert re.search(r"95 % interval: \d+ to \d+ pts", text)
    assert text.count('class="diff') == AFTER.count("f") + AFTER.count("x")
    of = [id_of(before), id_of(after)]
    compared = get_file(service, f"{project}/compare", of=of).text
    check_safe(compared)
    assert "worse" in compared
