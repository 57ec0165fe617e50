"""Jaeger and otel-ml's Jaeger API give the same responses for the same spans."""

import os
import time
from collections.abc import Iterable
from typing import Any, Final

import pytest

from tests.nightly.neighbours.conftest import Both
from tests.nightly.neighbours.programs import fetch
from tests.nightly.neighbours.questions import GROUPS, Question
from tests.nightly.neighbours.table import PAGE, Asked, all_questions, make_page

# The fields of spans that otel-ml or Jaeger adds or changes, and why.
FILED: Final = "otel-ml adds project, kind and outcome to every span"
BLANKS: Final = "otel-ml stores JSON without whitespace"
LINE: Final = "otel-ml shows the one-line preview of its lists, next to the whole value"
ENDS: Final = "Jaeger changes a span of zero length to 1 ns and adds a warning; otel-ml keeps 0"
NO_NAME: Final = "Jaeger uses the name `missing-service-name` for spans without a service"
SCHEMAS: Final = "Jaeger does not store schema URLs; otel-ml returns those of resource and scope"
DIFFERENCES: Final = {
    "otel_ml.kind": FILED,
    "otel_ml.outcome": FILED,
    "otel_ml.project": FILED,
    "otel_ml.inputs": BLANKS,
    "otel_ml.params": BLANKS,
    "otel_ml.judges": BLANKS,
    "otel_ml.inputs.preview": LINE,
    "otel_ml.outputs.preview": LINE,
    "warnings": ENDS,
    "endTimeUnixNano": ENDS,
    "@jaeger@warnings": ENDS,
    "serviceName": NO_NAME,
    "service.name": NO_NAME,
    "schemaUrl": SCHEMAS,
}


Spans = dict[tuple[str, Any], dict[str, Any]]


def ask(both: Both, question: Question) -> Asked:
    """Send a request to both programs; placeholders are times of the story."""
    start = both.story[0].start_ns // 1_000
    times = {
        "{start}": start,
        "{after}": start + 1,
        "{before}": start - 1,
        "{later}": start + 3_000_000,
        "{now_ms}": time.time_ns() // 10**6,
    }
    asked = {
        name: times.get(value, value) if isinstance(value, str) else value
        for name, value in question.asked.items()
    }
    theirs, ours = (fetch(api + question.path, **asked) for api in (both.theirs, both.ours))
    return Asked(question, question.reads(theirs), question.reads(ours))


@pytest.mark.parametrize("question", all_questions(), ids=lambda question: question.text)
def test_question(both: Both, question: Question) -> None:
    """Both responses are equal, unless the request has a reason for a difference."""
    asked = ask(both, question)
    assert asked.is_same is (question.reason == ""), (asked.theirs, asked.ours)


def test_questions_are_many() -> None:
    """No request is repeated, and there are at least sixty."""
    texts = [question.text for question in all_questions()]
    assert len(set(texts)) == len(texts) >= 60


def test_page(both: Both) -> None:
    """The page in the repository equals the generated page."""
    groups = {title: [ask(both, one) for one in group] for title, group in GROUPS.items()}
    written = make_page(groups, ((f"`{name}`", why) for name, why in sorted(DIFFERENCES.items())))
    if os.environ.get("OTEL_ML_WRITE_TABLE"):
        PAGE.write_text(written)
    assert PAGE.read_text() == written


def old_spans(answer: dict[str, Any]) -> Spans:
    """Return the spans of a trace in API version 1, by id and start, with process and tags."""
    spans: Spans = {}
    for trace in answer["data"]:
        for span in trace["spans"]:
            process = trace["processes"][span.pop("processID")]
            pairs = [*span.pop("tags"), *process["tags"]]
            tags = {pair["key"]: (pair["type"], pair["value"]) for pair in pairs}
            assert len(tags) == len(pairs)
            logs = sorted(span.pop("logs"), key=lambda log: log["timestamp"])
            told = {**span, "logs": logs, "serviceName": process["serviceName"]}
            spans[span["spanID"], span["startTime"]] = {**told, **tags}
    return spans


def new_spans(answer: dict[str, Any]) -> Spans:
    """Return the spans of a trace in API version 3, in the same form."""
    spans: Spans = {}
    for resource in answer["result"]["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                pairs = [*span.pop("attributes"), *resource["resource"]["attributes"]]
                events = sorted(span.pop("events", []), key=lambda event: event["timeUnixNano"])
                attributes = {pair["key"]: pair["value"] for pair in pairs}
                assert len(attributes) == len(pairs)
                told = {**span, "events": events, "scope": scope["scope"]}
                told["schemaUrl"] = (resource.get("schemaUrl"), scope.get("schemaUrl"))
                told["lost"] = resource["resource"].get("droppedAttributesCount")
                spans[span["spanId"], span["startTimeUnixNano"]] = {**told, **attributes}
    return spans


def differences(theirs: Spans, ours: Spans) -> Iterable[str]:
    """Yield the names of the fields in which spans differ."""
    assert theirs.keys() == ours.keys()
    nothing = object()
    for span_id, told in theirs.items():
        for name in sorted({*told, *ours[span_id]}):
            if told.get(name, nothing) != ours[span_id].get(name, nothing):
                yield name


@pytest.mark.parametrize("version", ["/api/traces", "/api/v3/traces"])
def test_same_trace(both: Both, version: str) -> None:
    """Every span has the same fields in both programs, except the documented differences."""
    read = new_spans if "v3" in version else old_spans
    for trace_id in sorted({span.trace_id.hex() for span in both.story}):
        theirs, ours = (fetch(f"{api}{version}/{trace_id}") for api in (both.theirs, both.ours))
        assert set(differences(read(theirs.body), read(ours.body))) <= DIFFERENCES.keys()


def test_differences_are_there(both: Both) -> None:
    """Every documented difference exists."""
    found: set[str] = set()
    for trace_id in sorted({span.trace_id.hex() for span in both.story}):
        for path, read in (("/api/traces", old_spans), ("/api/v3/traces", new_spans)):
            theirs, ours = (fetch(f"{api}{path}/{trace_id}") for api in (both.theirs, both.ours))
            found.update(differences(read(theirs.body), read(ours.body)))
    assert found == DIFFERENCES.keys()
