"""The page of a session in the browser: every call, those of sub-agents, and images."""

import json
import re
from typing import Final

import pytest
from playwright.sync_api import expect

from otel_ml_collector.span import Span
from tests.support.browser.fixtures import Tab
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS, make_call, span_id, trace_id
from tests.support.otel_ml_collector.wire import encode

PROJECT: Final = "session-page"
PIXEL: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwAD"
    "hgGAWjR9awAAAABJRU5ErkJggg=="
)


def _call(number: int, parent: int, kind: str, name: str, given: object = "x") -> Span:
    return make_call(
        name,
        {
            "otel_ml.kind": kind,
            "session.id": "photos",
            "otel_ml.inputs": json.dumps(given),
            "otel_ml.outputs": json.dumps(f"result {number}"),
        },
        trace_id=trace_id(84),
        span_id=span_id(number),
        parent_span_id=span_id(parent) if parent else b"",
        start_ns=NOW_NS + number * MS_NS,
        end_ns=NOW_NS + 900 * MS_NS,
    )


@pytest.fixture
def session(demo: CollectorProcess) -> str:
    """A session of one turn: an agent that is asked about a photo, a sub-agent, and 31 tools."""
    calls = [
        _call(1, 0, "agent", "lead", {"photo": PIXEL, "question": "Which meter is this?"}),
        _call(2, 1, "agent", "scout"),
        _call(3, 2, "tool", "fetch"),
        *(_call(number, 1, "tool", f"step {number}") for number in range(10, 40)),
    ]
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": PROJECT}
    demo.deliver(encode(calls), headers)
    return f"/projects/{PROJECT}/sessions/photos"


def test_calls_and_images(tab: Tab, session: str) -> None:
    """A turn shows its image and all calls; a call opens the run."""
    page = tab.open(session)
    question = page.locator(".turn .user")
    expect(question).to_contain_text("Which meter is this?")
    assert "{" not in question.inner_text()
    image = question.get_by_role("img", name="Image that was sent")
    image.scroll_into_view_if_needed()
    page.wait_for_function("image => image.naturalWidth === 1", arg=image.element_handle())
    agent = page.get_by_role("link", name="scout").bounding_box()
    inner = page.get_by_role("link", name="fetch").bounding_box()
    assert agent is not None
    assert inner is not None
    assert agent["x"] < inner["x"]
    last = page.get_by_role("link", name="step 39")
    expect(last).to_be_hidden()
    page.get_by_text("12 more calls").click()
    last.click()
    expect(page.locator("h1")).to_contain_text("lead")
    expect(page.locator("#span h2").first).to_contain_text(re.compile("step 39"))
