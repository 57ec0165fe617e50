"""Records about runs, sent by OTLP in any order and read by the API."""

import itertools
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import quote

import pytest

from otel_ml_collector.span import Event, Span, Value
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_span,
    make_start,
)
from tests.support.otel_ml_collector.stores import Service
from tests.support.otel_ml_collector.wire import encode
from tests.support.sampling import sampled

BEGAN_NS: Final = time.time_ns() - 3600 * SECOND_NS
ENDED_NS: Final = BEGAN_NS + 60 * SECOND_NS
Order = Callable[[Sequence[Span]], list[list[Span]]]

_SHUFFLE: Final = random.Random(3)  # noqa: S311 - guards nothing
# How the same spans are delivered, as a list of requests.
ORDERS: Final[dict[str, Order]] = {
    "at once": lambda spans: [list(spans)],
    "one by one": lambda spans: [[span] for span in spans],
    "reversed": lambda spans: [[span] for span in reversed(spans)],
    "twice": lambda spans: [[span] for span in [*reversed(spans), *spans]],
    "shuffled": lambda spans: [[span] for span in _SHUFFLE.sample(spans, len(spans))],
}
in_any_order = pytest.mark.parametrize("order", ORDERS)


class Api:
    """One project of a collector, accessed by OTLP and the API."""

    numbers = itertools.count()

    def __init__(self, service: Service) -> None:
        self._service = service
        self.project = f"late {next(self.numbers)}"

    def send(self, *spans: Span) -> str:
        """Send spans; return the response, which names rejected ones."""
        answer = ask(
            self._service.app,
            "/v1/traces",
            method="POST",
            headers={
                "content-type": "application/x-protobuf",
                "x-otel-ml-project": self.project,
            },
            body=[encode(spans)],
        )
        assert answer.status == 200
        return answer.body.decode(errors="replace")

    def deliver(self, order: str, *spans: Span) -> None:
        """Send spans in an order, then resolve keys and tags like the collector's job."""
        for request in ORDERS[order](spans):
            self.send(*request)
        self._service.store.resolve()

    def get(self, path: str, **parameters: str) -> Any:
        query = "&".join(f"{name}={quote(value)}" for name, value in parameters.items())
        answer = ask(self._service.app, f"/api/v1/{path}?{query}")
        assert answer.status == 200, answer.text
        return answer.json

    def run(self, span: Span) -> Any:
        return self.get(f"projects/{quote(self.project)}/runs/{id_of(span)}")

    def runs(self, where: str = "") -> Any:
        return self.get(f"projects/{quote(self.project)}/runs", where=where)["runs"]

    def names(self, where: str) -> set[str]:
        return {run["name"] for run in self.runs(where)}

    def page(self, span: Span) -> str:
        target = f"/projects/{quote(self.project)}/runs/{id_of(span)}"
        answer = ask(self._service.app, target)
        assert answer.status == 200
        return answer.text


@pytest.fixture
def api(service: Service) -> Api:
    return Api(service)


def call_of(name: str = "train", told: dict[str, Value] | None = None, **fields: Any) -> Span:
    """Make a run that lasts a minute."""
    return make_call(name, told, **{"start_ns": BEGAN_NS, "end_ns": ENDED_NS, **fields})


def update_of(run: Span, at_ns: int, told: dict[str, Value], *lines: str) -> Span:
    events = [Event("otel_ml.log", at_ns, {"otel_ml.log.message": line}) for line in lines]
    return make_record("update", run, told, start_ns=at_ns, end_ns=at_ns, events=events)


def record_of(record: str, at_ns: int, **told: Value) -> Span:
    """Make a record without a parent, in its own trace; `__` in names becomes a dot."""
    attributes = {f"otel_ml.{name.replace('__', '.')}": value for name, value in told.items()}
    return make_span(record, {"otel_ml.record": record, **attributes}, start_ns=at_ns, end_ns=at_ns)


def feedback_of(at_ns: int, score: float, **target: Value) -> Span:
    """Make a person's score of a target."""
    return record_of(
        "evaluation", at_ns, judge__name="liked", source="human", score__value=score, **target
    )


@sampled(1)
@in_any_order
@pytest.mark.parametrize("is_open", [True, False], ids=["open", "ended"])
def test_update(api: Api, order: str, is_open: bool) -> None:
    """Tags, logs and metrics of updates are in all views of their run, open or ended."""
    run = call_of()
    told = update_of(
        run,
        BEGAN_NS + SECOND_NS,
        {
            "otel_ml.tag.client": "bigshot",
            "otel_ml.tags": '{"client": {"type": "label", "group": "who"}, "n": {"value": 3}}',
            "otel_ml.metric.names": ["loss"],
            "otel_ml.metric.values": [0.5],
        },
        "epoch 1",
    )
    start = make_start(run, {"otel_ml.process": f"p{id_of(run)[:8]}"})
    api.deliver(order, start if is_open else run, told)
    (listed,) = api.runs('tags["client"] == "bigshot" and tags["n"] > 2')
    found = api.run(run)
    assert found["tags"] == listed["tags"] == {"client": "bigshot", "n": 3}
    assert found["outcome"] == listed["outcome"] == ("running" if is_open else "ok")
    assert found["tag_details"] == [
        {"name": "n", "value": 3, "type": "", "group": ""},
        {"name": "client", "value": "bigshot", "type": "label", "group": "who"},
    ]
    assert [(line["message"], line["offset_ms"]) for line in found["logs"]] == [("epoch 1", 1000)]
    assert (found["metrics"], found["metric_points"]) == ({"loss": [0.5]}, {"loss": 1})
    page = api.page(run)
    assert all(text in page for text in ("epoch 1", "bigshot", "loss"))


@sampled(1)
@in_any_order
@pytest.mark.parametrize(
    ("said_ns", "value"),
    [
        (BEGAN_NS + SECOND_NS, "own"),
        (ENDED_NS - 1, "own"),
        (ENDED_NS, "late"),
        (ENDED_NS + SECOND_NS, "late"),
    ],
    ids=["within", "just before the end", "at the end", "after it"],
)
def test_newest_tag(api: Api, order: str, said_ns: int, value: str) -> None:
    """The newest tag wins, and tags on the run's own span count from its end."""
    run = call_of(told={"otel_ml.tag.colour": "own"})
    older = update_of(run, BEGAN_NS, {"otel_ml.tag.colour": "older"})
    late = update_of(run, said_ns, {"otel_ml.tag.colour": "late"})
    api.deliver(order, run, older, late)
    assert api.run(run)["tags"] == {"colour": value}
    for other in ("own", "older", "late"):
        where = f'tags["colour"] == "{other}"'
        assert len(api.runs(where)) == (other == value)
        assert len(api.runs(f"not {where}")) == (other != value)


def test_newest_tag_of_an_open_run(api: Api) -> None:
    """A tag on the start record counts from the start, so a later tag wins."""
    run = call_of()
    api.send(
        update_of(run, BEGAN_NS + 1, {"otel_ml.tag.colour": "late"}),
        make_start(run, {"otel_ml.tag.colour": "start"}),
    )
    assert api.run(run)["tags"] == {"colour": "late"}
    assert api.names('tags["colour"] == "late"') == {"train"}
    assert api.names('tags["colour"] == "start"') == set()


@sampled(1)
@in_any_order
def test_human_and_actual(api: Api, order: str) -> None:
    """A person's scores and the ground truth are all listed, each record once."""
    run = call_of()
    api.deliver(
        order,
        run,
        feedback_of(ENDED_NS, 0.25, target__run=id_of(run)),
        feedback_of(ENDED_NS + 1, 0.75, target__run=id_of(run), explanation="Better"),
        record_of(
            "evaluation",
            ENDED_NS + 2,
            judge__name="churned",
            source="actual",
            passed=True,
            score__label="yes",
            target__run=id_of(run),
        ),
    )
    found = api.run(run)
    assert [
        (one["judge"], one["source"], one["score"], one["passed"], one["explanation"], one["label"])
        for one in found["evaluations"]
    ] == [
        ("liked", "human", 0.25, None, "", ""),
        ("liked", "human", 0.75, None, "Better", ""),
        ("churned", "actual", None, True, "", "yes"),
    ]
    assert (found["scores"], found["passed"]) == ({"liked": 0.75}, {"churned": True})
    assert api.names('scores["liked"] > 0.5 and passed["churned"] == True') == {"train"}


@sampled(1)
@in_any_order
def test_target_by_trace_key(api: Api, order: str) -> None:
    """A record with a trace key is about the root runs of the key's traces."""
    key = f"{api.project}/order 7"
    front = make_span("GET", start_ns=BEGAN_NS, end_ns=ENDED_NS)
    below = {"trace_id": front.trace_id, "parent_span_id": front.span_id}
    root = call_of("root", {"otel_ml.trace_key": key}, **below)
    child = call_of("child", trace_id=root.trace_id, parent_span_id=root.span_id)
    elsewhere = call_of("elsewhere", {"otel_ml.trace_key": key})
    other = call_of("other", {"otel_ml.trace_key": f"{key}0"})
    api.deliver(
        order,
        front,
        root,
        child,
        elsewhere,
        other,
        feedback_of(ENDED_NS, 0.75, target__trace_key=key),
        record_of("update", ENDED_NS, target__trace_key=key, tag__paid="yes"),
    )
    assert api.names('scores["liked"] == 0.75') == {"root", "elsewhere"}
    assert api.names('tags["paid"] == "yes"') == {"root", "elsewhere"}
    for run, scores, tags in (
        (root, {"liked": 0.75}, {"paid": "yes"}),
        (elsewhere, {"liked": 0.75}, {"paid": "yes"}),
        (child, {}, {}),
        (other, {}, {}),
        (front, {}, {}),
    ):
        found = api.run(run)
        assert (found["scores"], found["tags"]) == (scores, tags)
    assert "liked" in api.page(root)


@sampled(1)
@in_any_order
def test_target_by_tag(api: Api, order: str) -> None:
    """A record with a tag is about every run that has the tag, from its span or a later record."""
    spans = [
        call_of("own", {"otel_ml.tag.order": 7}),
        call_of("late"),
        call_of("renamed", {"otel_ml.tag.order": "7"}),
        call_of("other", {"otel_ml.tag.order": 70}),
    ]
    begun = make_start(call_of("begun"), {"otel_ml.tag.order": 7})
    api.deliver(
        order,
        *spans,
        begun,
        update_of(spans[1], ENDED_NS, {"otel_ml.tag.order": 7}),
        update_of(spans[2], ENDED_NS, {"otel_ml.tag.order": 8}),
        feedback_of(ENDED_NS, 0.75, target__tag="order=7"),
        record_of(
            "update",
            ENDED_NS,
            target__tag="order=7",
            tag__paid=True,
            metric__names=["delay"],
            metric__values=[3.0],
            metric__modes=["auto"],
        ),
    )
    about = {"own", "late", "renamed", "begun"}
    assert api.names('scores["liked"] > 0.5') == about
    assert api.names('tags["paid"] == True') == about
    assert {run["name"] for run in api.runs() if run["scores"] == {"liked": 0.75}} == about
    assert api.run(spans[0])["metrics"] == {"delay": 3.0}
    assert api.run(spans[3])["metrics"] == {}


@sampled(1)
@in_any_order
def test_target_by_model(api: Api, order: str) -> None:
    """Records about a model version are shown for that version, even before its first run."""
    told: dict[str, Value] = {"target__model": "churn: v", "target__version": "00000000000000aa"}
    api.deliver(
        order,
        record_of(
            "update",
            BEGAN_NS,
            **told,
            tag__team="blue",
            metric__names=["accuracy", "loss", "loss"],
            metric__values=[0.9, 0.5, 0.25],
            metric__modes=["auto", "append", "append"],
            model__definition='{"source": "def churn(): ..."}',
        ),
        feedback_of(BEGAN_NS, 0.5, **told),
    )
    path = f"projects/{quote(api.project)}/models/{quote('churn: v')}/versions/1"
    version = api.get(path)
    assert version["definition"]["source"] == "def churn(): ..."
    assert (version["runs"], version["digest"]) == (0, "00000000000000aa")
    assert version["tags"] == {"team": "blue"}
    assert version["metrics"] == {"accuracy": 0.9, "loss": [0.5, 0.25]}
    assert version["metric_points"] == {"accuracy": 1, "loss": 2}
    assert [(one["judge"], one["score"]) for one in version["evaluations"]] == [("liked", 0.5)]
    assert api.get(f"projects/{quote(api.project)}/metrics")["runs"] == []


@sampled(2)
@pytest.mark.parametrize(
    "target",
    [
        {"target__trace_key": ""},
        {"target__trace_key": 7},
        {"target__trace_key": "x" * 1_025},
        {"target__tag": "order"},
        {"target__tag": "=7"},
        {"target__model": "churn"},
        {"target__model": "", "target__version": "aa"},
        {"target__run": "nonsense"},
    ],
    ids=str,
)
@pytest.mark.parametrize("record", ["update", "evaluation"])
def test_no_target(api: Api, record: str, target: dict[str, Value]) -> None:
    """A record without a valid target is rejected."""
    answer = api.send(record_of(record, BEGAN_NS, judge__name="j", **target))
    assert "record_without_target 1" in answer


@sampled(1)
@in_any_order
def test_trace_key_of_several_processes(api: Api, order: str) -> None:
    """A key's trace includes all traces that have the key, from their runs or from updates."""
    key = f"{api.project}/case"
    one = call_of("one", {"otel_ml.trace_key": key})
    two = call_of("two", start_ns=BEGAN_NS + 1)
    unkeyed = call_of("other")
    api.deliver(
        order, one, two, unkeyed, update_of(two, ENDED_NS, {"otel_ml.trace_key": key}, "line")
    )
    trace = api.get(f"traces/{quote(key, safe='')}")
    assert ([run["name"] for run in trace["runs"]], trace["records"]) == (["one", "two"], [])
    assert {run["name"]: run["trace_key"] for run in api.runs()} == {
        "one": key,
        "two": key,
        "other": "",
    }
    assert api.run(two)["trace_keys"] == [key]


@sampled(1)
@in_any_order
def test_trace_without_a_run(api: Api, order: str) -> None:
    """A key with records but without runs is a trace."""
    key = f"{api.project}/empty"
    absent = call_of()
    about_run = update_of(
        absent, BEGAN_NS, {"otel_ml.trace_key": key, "otel_ml.tag.a": 1}, "first", "second"
    )
    about_key = record_of("update", BEGAN_NS, target__trace_key=key, tag__b=2)
    api.deliver(order, about_run, about_key, feedback_of(ENDED_NS, 1.0, target__trace_key=key))
    trace = api.get(f"traces/{quote(key, safe='')}")
    assert trace["runs"] == []
    told, run = trace["records"]
    assert (told["run_id"], told["tags"], told["logs"]) == (None, {"b": 2}, [])
    assert [one["judge"] for one in told["evaluations"]] == ["liked"]
    assert (run["run_id"], run["tags"]) == (id_of(absent), {"a": 1})
    assert [line["message"] for line in run["logs"]] == ["first", "second"]


def test_update_with_nothing_but_a_key(api: Api) -> None:
    """An update with only a trace key adds its run to that key's trace."""
    run = call_of()
    key = f"{api.project}/bare"
    api.send(run)
    api.send(update_of(run, ENDED_NS, {"otel_ml.trace_key": key}))
    assert [one["name"] for one in api.get(f"traces/{quote(key, safe='')}")["runs"]] == ["train"]


def test_both_dialects_on_one_span(api: Api) -> None:
    """On a span with both dialects, otel_ml's payload and gen_ai's provider fields are used."""
    run = call_of(
        "answer",
        {
            "otel_ml.kind": "model",
            "otel_ml.inputs": '{"question": "Where?"}',
            "otel_ml.outputs": '{"text": "Here."}',
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-5",
            "gen_ai.response.model": "gpt-5-2026-01-01",
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 20,
            "gen_ai.usage.cache_read.input_tokens": 64,
            "gen_ai.usage.reasoning.output_tokens": 12,
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.input.messages": '[{"role": "user", "parts": []}]',
            "gen_ai.output.messages": '[{"role": "assistant", "parts": []}]',
        },
    )
    api.send(run)
    found = api.run(run)
    assert (found["inputs"], found["outputs"]) == ({"question": "Where?"}, {"text": "Here."})
    assert (found["model"], found["kind"], found["dialect"]) == ("answer", "model", "otel_ml")
    assert (found["provider"], found["provider_model"]) == ("openai", "gpt-5-2026-01-01")
    tokens = {"input": 100, "output": 20, "cached": 64, "reasoning": 12, "cache_creation": None}
    assert found["tokens"] == tokens
    assert found["attributes"]["gen_ai.response.finish_reasons"] == ["stop"]
    assert found["attributes"]["gen_ai.input.messages"] == '[{"role": "user", "parts": []}]'


@sampled(1)
@pytest.mark.parametrize(
    ("told", "capture", "rest"),
    [
        (
            '{"inputs": ["truncated", "redacted"], "outputs": "artifact"}',
            {"inputs": ["truncated", "redacted"], "outputs": ["artifact"]},
            {},
        ),
        ("{}", {}, {}),
        ("truncated", {}, {"otel_ml.capture": "truncated"}),
        ('{"inputs": 3}', {}, {"otel_ml.capture": '{"inputs": 3}'}),
    ],
)
def test_capture(api: Api, told: str, capture: Any, rest: Any) -> None:
    """Omitted parts of a payload are listed; a capture attribute in another format is kept."""
    run = call_of(told={"otel_ml.inputs": "{}", "otel_ml.capture": told})
    api.send(run)
    found = api.run(run)
    assert (found["capture"], found["attributes"]) == (capture, rest)
    assert ("<small>truncated, redacted</small>" in api.page(run)) == ("inputs" in capture)


def test_not_a_number(api: Api) -> None:
    """A NaN metric is null in every response, and an infinite one is text."""
    run = call_of()
    points: dict[str, Value] = {
        "otel_ml.metric.names": ["loss"] * 3,
        "otel_ml.metric.values": [1.0, float("nan"), float("inf")],
        "otel_ml.metric.times": [BEGAN_NS, BEGAN_NS + MS_NS, BEGAN_NS + 2 * MS_NS],
    }
    api.send(run, update_of(run, BEGAN_NS, points))
    assert api.run(run)["metrics"] == {"loss": [1.0, None, "Infinity"]}
    path = f"projects/{quote(api.project)}/metrics"
    (series,) = api.get(path, run_id=id_of(run))["series"]
    assert [point["value"] for point in series["points"]] == [1.0, None, "Infinity"]
    assert "loss" in api.page(run)
