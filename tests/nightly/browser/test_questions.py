"""The pages of a project answer typical questions within four clicks from its overview."""

import re
import time
from collections.abc import Iterator
from typing import Final

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from playwright.sync_api import Browser, Locator, Page, expect

from otel_ml_collector.span import Span
from otel_ml_collector.times import DAY_NS, HOUR_NS, SECOND_NS
from tests.store.otel_ml_collector.monitor.test_releases import make_runs
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.support.collector import CollectorProcess
from tests.support.load import PROTOBUF, make_request
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.wire import encode

PROJECT: Final = "asked"
CLIENT: Final = "atlas"


class Clicks:
    """Clicks and counts the clicks on a page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.count = 0

    def on(self, place: Locator) -> None:
        place.click()
        self.count += 1
        self.page.wait_for_load_state("networkidle")


@pytest.fixture
def clicks(chromium: Browser, own_collector: CollectorProcess) -> Iterator[Clicks]:
    """Open the overview of a project with yesterday's calls of two clients; some calls failed."""
    noon_ns = time.time_ns() // DAY_NS * DAY_NS - 12 * HOUR_NS
    request = make_request(PROJECT, 12)
    spans = request.resource_spans[0].scope_spans[0].spans
    for place, span in enumerate(spans):
        names = {"otel_ml.outputs", "otel_ml.inputs"}
        kept = [one for one in span.attributes if one.key not in names]
        del span.attributes[:]
        span.attributes.extend(kept)
        span.start_time_unix_nano = noon_ns + place * SECOND_NS
        span.end_time_unix_nano = span.start_time_unix_nano + (place + 1) * SECOND_NS
        for name, value in {
            "otel_ml.tag.client": CLIENT if place % 2 else "other",
            "user.id": "ada" if place < 8 else "bob",
            "session.id": f"talk-{place // 6}",
            "otel_ml.inputs": f'"question {place}"',
            "otel_ml.outputs": f'"answer {place}"',
            "gen_ai.request.model": "m1" if place % 3 else "m2",
        }.items():
            span.attributes.add(key=name).value.string_value = value
        span.attributes.add(key="gen_ai.usage.cost").value.double_value = 0.25
        if place in {3, 6, 7}:
            span.status.code = Status.STATUS_CODE_ERROR
            span.attributes.add(key="otel_ml.outcome").value.string_value = "error"
    own_collector.deliver(request.SerializeToString(), PROTOBUF)
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{own_collector.endpoint}/projects/{PROJECT}")
    page.wait_for_load_state("networkidle")
    yield Clicks(page)
    page.close()


def test_slowest_failed_call(clicks: Clicks) -> None:
    """The slowest failed call of a client yesterday is found by filter, day and sorting."""
    page = clicks.page
    clicks.on(page.locator("nav[aria-label=Pages]").get_by_role("link", name="Runs"))
    page.keyboard.press("/")
    box = page.locator("input[role=combobox]")
    box.fill(f'tags["client"] == "{CLIENT}" and outcome == "error"')
    box.press("Enter")
    page.wait_for_url("**where=**")
    page.wait_for_load_state("networkidle")
    clicks.on(page.locator("#time summary"))
    clicks.on(page.locator("#time").get_by_role("link", name="Yesterday"))
    clicks.on(page.locator("table.runs th").get_by_role("link", name="ms"))
    expect(page.locator("tr[data-run] td.asked").first).to_contain_text("question 7")
    assert clicks.count <= 4


@pytest.mark.parametrize(
    ("by", "wanted"),
    [("LLM", {"m1": "2.00", "m2": "1.00"}), ("user", {"ada": "2.00", "bob": "1.00"})],
)
def test_cost_by_group(clicks: Clicks, by: str, wanted: dict[str, str]) -> None:
    """The list of runs can show the cost of each model and each user above it."""
    page = clicks.page
    clicks.on(page.locator("nav[aria-label=Pages]").get_by_role("link", name="Runs"))
    clicks.on(page.locator("#more > summary"))
    clicks.on(page.locator("#by summary"))
    clicks.on(page.locator("#by").get_by_role("link", name=by, exact=True))
    for name, cost in wanted.items():
        row = page.locator("table.by tr", has=page.get_by_role("link", name=name, exact=True))
        expect(row.locator("td").last).to_have_text(cost)
    assert clicks.count <= 4


def open_project(browser: Browser, collector: CollectorProcess, spans: list[Span]) -> Clicks:
    """Send a project's spans, and open its overview."""
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": PROJECT}
    collector.deliver(encode(spans), headers)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{collector.endpoint}/projects/{PROJECT}")
    page.wait_for_load_state("networkidle")
    return Clicks(page)


def test_what_was_said(chromium: Browser, own_collector: CollectorProcess) -> None:
    """A session shows questions and answers by turn, even if its requests have no texts."""
    spans = []
    for place in range(6):
        start_ns = time.time_ns() - HOUR_NS + place * 60 * SECOND_NS
        session = {"session.id": f"talk-{place // 3}", "otel_ml.kind": "chain"}
        turn = make_call("turn", session, start_ns=start_ns)
        told = {
            "otel_ml.inputs": f'{{"question": "question {place}"}}',
            "otel_ml.outputs": f'"answer {place}"',
        }
        ids = {"trace_id": turn.trace_id, "parent_span_id": turn.span_id}
        spans += [turn, make_call("reply", told, start_ns=start_ns + 1, **ids)]
    clicks = open_project(chromium, own_collector, spans)
    page = clicks.page
    clicks.on(page.get_by_role("link", name="talk-1"))
    said = page.locator(".turn .user, .turn .bot").all_inner_texts()
    assert [" ".join(one.split()) for one in said] == [
        words
        for place in (3, 4, 5)
        for words in (f"User question {place}", f"Assistant answer {place}")
    ]
    assert clicks.count <= 2


def test_which_version_got_worse(chromium: Browser, own_collector: CollectorProcess) -> None:
    """The overview names the worse version, with numbers, and the client that it is worse for."""
    now_ns = time.time_ns()
    first_ns, step_ns = now_ns - 6 * HOUR_NS, 80 * SECOND_NS
    spans = [
        tell("a1"),
        *make_runs(
            "answer",
            "v1",
            0.9,
            seed=1,
            first_ns=now_ns - 24 * HOUR_NS,
            step_ns=120 * SECOND_NS,
            runs=400,
            **{"otel_ml.tag.client": lambda place: (CLIENT, "zeta")[place % 2]},
        ),
        *make_runs(
            "answer",
            "v2",
            0.9,
            seed=2,
            first_ns=first_ns,
            step_ns=step_ns,
            runs=200,
            **{"otel_ml.tag.client": lambda _: CLIENT},
        ),
        *make_runs(
            "answer",
            "v2",
            0.4,
            seed=3,
            first_ns=first_ns,
            step_ns=step_ns,
            runs=200,
            **{"otel_ml.tag.client": lambda _: "zeta"},
        ),
    ]
    clicks = open_project(chromium, own_collector, spans)
    worst = clicks.page.locator("#news ol.why li").first
    expect(worst).to_contain_text(
        re.compile(r"answer v2 is worse for client zeta: \d+.% pass, \d+.% with v1")
    )
    expect(worst).to_contain_text(re.compile(r"judge \"grounded\", judge version 1\): −\d+.pts \("))
    clicks.on(worst.get_by_role("link", name="answer v2 is worse for client zeta"))
    expect(clicks.page.locator("h1")).to_have_text("answer v2 is worse for client zeta")
    assert clicks.count <= 3


def test_is_the_new_judge_stricter(chromium: Browser, own_collector: CollectorProcess) -> None:
    """The page of a judge shows the pass rates of both versions and links to the flipped runs."""
    spans = [tell("a1")]
    calls = [
        make_call("answer", start_ns=time.time_ns() - (place + 60) * SECOND_NS)
        for place in range(40)
    ]
    for place, call in enumerate(calls):
        spans += [call, say(call, "a1", 0.9 if place < 36 else 0.1)]
    later = [tell("b2")]
    later += [say(call, "b2", 0.9 if 20 <= place < 37 else 0.1) for place, call in enumerate(calls)]
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": PROJECT}
    own_collector.deliver(encode(spans), headers)
    clicks = open_project(chromium, own_collector, later)
    page = clicks.page
    clicks.on(page.locator("nav[aria-label=Pages]").get_by_role("link", name="Judges"))
    clicks.on(page.locator("#judges").get_by_role("link", name="grounded"))
    sentence = page.locator("#strictness .note")
    expect(sentence).to_contain_text(
        "v2 is stricter: 42 % pass, 90 % with v1. 20 of 40 runs flip to fail, 1 to pass"
    )
    clicks.on(page.locator("#flips").get_by_role("link", name="20", exact=True))
    expect(page.locator("tr[data-run]")).to_have_count(20)
    assert clicks.count <= 3
