"""Late ground truth: stored with its value, for any target and at any time."""

import itertools
import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Scope, Span, Value
from otel_ml_collector.store.writer import Writer
from tests.support.examples import examples
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_span,
    map_all,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, sampled

JSON: Final = {"content-type": "application/json"}
WANTED: Final = (
    "expected a text, a finite number of at most 64 bits, True or False, or a list of these, of at "
    "most 16,384 bytes as JSON"
)
VALUES: Final[list[Any]] = ["yes", "", "a/b é\n", 3, 2.5, -(2**63), True, False, ["a", 1, True], []]
WRONG: Final[list[Any]] = [
    float("nan"),
    float("inf"),
    2**63,
    {"a": 1},
    [["a"]],
    [None],
    "x" * 16_383,
    [1] * 16_384,
]


def kind_of(value: object) -> str:
    return type(value).__name__


def tell(target: Span, **told: Value) -> Span:
    named = {f"otel_ml.{name.replace('__', '.')}": value for name, value in told.items()}
    return make_record("evaluation", target, {"otel_ml.judge.name": "churned", **named})


def post(service: Service, project: str, *evaluations: dict[str, Any]) -> Answered:
    body = json.dumps({"evaluations": evaluations}).encode()
    path = f"/api/v1/projects/{quote(project)}/evaluations"
    return ask(service.app, path, method="POST", headers=JSON, body=[body])


def read(service: Service, project: str, run: Span) -> Any:
    return ask(service.app, f"/api/v1/projects/{quote(project)}/runs/{id_of(run)}").json


def find(service: Service, project: str, where: str) -> list[str]:
    path = f"/api/v1/projects/{quote(project)}/runs?where={quote(where)}"
    answered = ask(service.app, path)
    return sorted(run["run_id"] for run in answered.json["runs"])


@sampled(1)
@pytest.mark.parametrize("value", VALUES, ids=kind_of)
def test_value_keeps_its_type(service: Service, project: str, value: Any) -> None:
    """Ground truth is returned with its type and time, and is not a score."""
    call = make_call()
    service.store.take(project, call, tell(call, actual=value))
    run = read(service, project, call)
    [said] = run["evaluations"]
    assert (run["truth"], run["label"], run["scores"]) == ({"churned": value}, {}, {})
    assert (said["actual"], said["source"], said["time"]) == (
        value,
        "actual",
        "2026-11-20T07:00:00.000000000Z",
    )


@sampled(1)
@pytest.mark.parametrize("value", VALUES, ids=kind_of)
def test_value_by_post(service: Service, project: str, value: Any) -> None:
    """Posted ground truth is equal to recorded one; its default name is output."""
    call = make_call()
    service.store.take(project, call)
    answered = post(service, project, {"run_id": id_of(call), "actual": value, "annotator": "ada"})
    run = read(service, project, call)
    assert (answered.status, run["truth"]) == (200, {"output": value})
    assert [one["annotator"] for one in run["evaluations"]] == ["ada"]


@sampled(2)
@pytest.mark.parametrize("value", WRONG, ids=kind_of)
def test_wrong_value(service: Service, project: str, value: Any) -> None:
    """An invalid value is refused with the reason, posted or as a record, and not stored."""
    call = make_call()
    service.store.take(project, call)
    answered = post(service, project, {"run_id": id_of(call), "actual": value})
    problem = answered.json["error"]
    assert (answered.status, problem["message"]) == (400, f"evaluations.0.actual: {WANTED}")
    records = map_all(tell(call, actual=value), project=project)
    assert (records.metrics, records.rejected) == ([], {"invalid_actual": 1})


@sampled(1)
@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"actual": 1, "score": 1}, "expected either actual, or score, passed and label, not both"),
        (
            {"actual": 1, "source": "human"},
            "expected no source, or the source actual, if actual is given",
        ),
        (
            {"actual": None, "judge": "a"},
            "expected at least one of score, passed, label, explanation ",
        ),
        ({"score": 1}, "expected the field judge, or ground truth in the field actual"),
    ],
)
def test_wrong_statement(
    service: Service, project: str, told: dict[str, Any], message: str
) -> None:
    """A request with both ground truth and a score, or with neither, is refused."""
    answered = post(service, project, {"tag": "a=b", **told})
    assert (answered.status, message in answered.json["error"]["message"]) == (400, True)


@sampled(1)
@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"actual": 1, "source": "human"}, "invalid_actual"),
        ({"actual__list": '{"a": 1}'}, "invalid_actual"),
        ({"actual__list": "no JSON"}, "invalid_actual"),
        ({"actual": 1, "judge__name": ""}, "invalid_evaluation"),
    ],
)
def test_wrong_record(told: dict[str, Value], reason: str) -> None:
    """A record with an invalid list, source or name is rejected with the reason."""
    assert map_all(tell(make_call(), **told)).rejected == {reason: 1}


@sampled(1)
@pytest.mark.parametrize(
    ("resource", "told", "annotator"),
    [
        ({"service.name": "billing"}, {}, "billing"),
        ({"service.name": "billing"}, {"annotator": "ada"}, "ada"),
        ({"service.name": "unknown_service:python"}, {}, ""),
        ({}, {}, ""),
    ],
)
def test_who_said_it(resource: dict[str, Value], told: dict[str, Value], annotator: str) -> None:
    """The annotator of ground truth is the one it names, otherwise the service that sent it."""
    span = tell(make_call(), actual="yes", **told)
    span.scope = Scope(resource, "tests", "1", {})
    assert [metric.annotator for metric in map_all(span).metrics] == [annotator]


@sampled(1)
@pytest.mark.parametrize(
    ("told", "value"),
    [
        ({"score__label": "yes", "score__value": 1}, "yes"),
        ({"score__value": 0.5, "passed": False}, 0.5),
        ({"passed": False}, False),
    ],
)
@pytest.mark.parametrize("field", ["label", "truth"])
def test_word_without_a_value(
    service: Service, project: str, told: dict[str, Value], value: Any, field: str
) -> None:
    """A record's value is its label, else its score, else its verdict; a score is still stored."""
    call, source = make_call(), "human" if field == "label" else "actual"
    service.store.take(project, call, tell(call, source=source, **told))
    run = read(service, project, call)
    assert run[field] == {"churned": value}
    assert run["scores"] == ({"churned": told["score__value"]} if "score__value" in told else {})


def test_reason_alone_is_no_word(service: Service, project: str) -> None:
    """A record with only an explanation does not replace earlier ground truth."""
    call = make_call()
    later = make_record(
        "evaluation",
        call,
        {
            "otel_ml.judge.name": "churned",
            "otel_ml.source": "actual",
            "otel_ml.explanation": "they called",
        },
        start_ns=NOW_NS + SECOND_NS,
    )
    service.store.take(project, call, tell(call, actual="yes"), later)
    assert read(service, project, call)["truth"] == {"churned": "yes"}
    assert find(service, project, 'truth["churned"] == "yes"') == [id_of(call)]


def test_truth_hides_no_score(service: Service, project: str) -> None:
    """Ground truth under a judge's name does not hide the judge's scores."""
    call = make_call(attributes={"otel_ml.score.churned": 0.25})
    key: dict[str, Value] = {"otel_ml.target.tag": "order=a"}
    told: dict[str, Value] = {
        "otel_ml.record": "evaluation",
        "otel_ml.judge.name": "churned",
        "otel_ml.actual": 9,
    }
    tagged = make_call(attributes={"otel_ml.score.churned": 0.25, "otel_ml.tag.order": "a"})
    truths = [tell(call, actual=9), make_span("evaluation", {**told, **key}, start_ns=NOW_NS)]
    service.store.take(project, call, tagged, *truths)
    both = sorted([id_of(call), id_of(tagged)])
    assert read(service, project, call)["scores"] == {"churned": 0.25}
    assert find(service, project, 'scores["churned"] == 0.25 and truth["churned"] == 9') == both
    window = "start=2026-11-20T06:00:00Z&end=2026-11-20T08:00:00Z"
    stats = ask(service.app, f"/api/v1/projects/{quote(project)}/stats?{window}").json
    [judge] = stats["groups"][0]["total"]["judges"]
    assert (judge["judge"], judge["evaluations"], judge["mean_score"]) == ("churned", 2, 0.25)


@sampled(1)
@pytest.mark.parametrize("columns", ["run_id,truth,label", "*"])
@pytest.mark.parametrize("has_keys", [False, True])
def test_export(service: Service, project: str, columns: str, has_keys: bool) -> None:
    """An export has the ground truth and labels in effect, as JSON, for any kind of target."""
    call = make_call(attributes={"otel_ml.tag.order": "a"})
    service.store.take(project, call, tell(call, actual=["a/b", 1]))
    thumbs = {"judge": "thumbs", "label": "up"}
    target = {"tag": "order=a"} if has_keys else {"run_id": id_of(call)}
    post(service, project, {**thumbs, **target})
    path = f"/api/v1/projects/{quote(project)}/export?columns={columns}"
    line = json.loads(ask(service.app, path).text)
    assert (line["truth"], line["label"]) == ({"churned": ["a/b", 1]}, {"thumbs": "up"})


@dataclass(frozen=True)
class Told:
    """Randomly drawn ground truth."""

    name: str
    target: str
    value: Any
    at_ns: int


# Counts the examples, because they share a store.
COUNTER: Final = itertools.count()
TOLD: Final = st.builds(
    Told,
    st.sampled_from(["churned", "price"]),
    st.sampled_from(["run", "key", "tag", "other tag"]),
    st.sampled_from(VALUES),
    st.integers(0, 3).map(lambda days: NOW_NS + days * DAY_NS - 3 * DAY_NS),
)


def span_of(told: Told, number: int, project: str) -> Span:
    """Make the record of ground truth; its number is its span id."""
    targets = {
        "run": ("run", f"{trace_id(7).hex()}-{span_id(7).hex()}"),
        "key": ("trace_key", f"{project} 7"),
        "tag": ("tag", "order=a"),
        "other tag": ("tag", "order=b"),
    }
    target, text = targets[told.target]
    attributes: dict[str, Value] = {
        "otel_ml.record": "evaluation",
        "otel_ml.judge.name": told.name,
        "otel_ml.actual": told.value,
        f"otel_ml.target.{target}": text,
    }
    return make_span("evaluation", attributes, span_id=span_id(number), start_ns=told.at_ns)


@at_night
@settings(max_examples=examples(30, on_commit=3))
@given(truths=st.lists(TOLD, min_size=1, max_size=6), data=st.data())
def test_any_order(service: Service, truths: list[Told], data: st.DataObject) -> None:
    """Ground truth is the same in any order, repeated, by two writers and before the run."""
    project = f"order {next(COUNTER)}"
    attributes = {"otel_ml.tag.order": "a", "otel_ml.trace_key": f"{project} 7"}
    run = make_call(attributes=attributes, trace_id=trace_id(7), span_id=span_id(7))
    spans = [run, *(span_of(told, place, project) for place, told in enumerate(truths, 1))]
    again = data.draw(st.lists(st.sampled_from(spans), max_size=3))
    writers = [Writer(service.store.connections), Writer(service.store.connections)]
    for span in data.draw(st.permutations([*spans, *again])):
        writer = data.draw(st.sampled_from(writers))
        writer.write(map_spans([span], Filing(project, NOW_NS)))
    service.store.resolve()
    expected: dict[str, Any] = {}
    for told in sorted(truths, key=lambda told: told.at_ns):  # at equal times, the last wins
        if told.target != "other tag":
            expected[told.name] = told.value
    assert read(service, project, run)["truth"] == expected
    for name in ("churned", "price"):
        assert bool(find(service, project, f"{name!r} in truth")) == (name in expected)
        for value in ("yes", 3, 2.5, True):
            held = find(service, project, f"truth[{name!r}] == {value!r}")
            is_same = name in expected and expected[name] == value
            is_kind = isinstance(expected.get(name), bool) == isinstance(value, bool)
            assert bool(held) == (is_same and is_kind)
