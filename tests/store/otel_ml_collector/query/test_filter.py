"""Tests that a filter in SQL finds the same runs as the same filter in Python."""

import ast
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.sql import compile_filter
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.span import Span, Value
from tests.store.otel_ml_collector.query.filters import (
    ACTUALS,
    JUDGES,
    KINDS,
    MESSAGES,
    MODELS,
    OUTCOMES,
    SESSIONS,
    TAG_VALUES,
    TRUTH,
    Filter,
    filters,
)
from tests.support.examples import examples
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_sign,
    make_span,
    make_start,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.sampling import at_night, sampled

RUNS: Final = 300


def make_runs() -> list[Span]:
    """Make runs of every kind from a fixed random seed."""
    draw = random.Random(20261120)  # noqa: S311 - guards nothing
    spans: list[Span] = []
    for number in range(1, RUNS + 1):
        call = _make_run(draw, number)
        is_open = call.name in MODELS and draw.random() < 0.2
        spans.append(_begin(call, number) if is_open else call)
        if draw.random() < 0.3:
            changed = {f"otel_ml.tag.{draw.choice(['late', 'client'])}": draw.choice(TAG_VALUES)}
            said_ns = draw.choice([NOW_NS, call.start_ns, call.end_ns])  # own tags: at the end
            spans.append(make_record("update", call, changed, start_ns=said_ns))
        if draw.random() < 0.3:
            spans.append(_make_late_score(draw, call))
        if draw.random() < 0.3:
            spans += [_make_truth(draw, {"otel_ml.target.run": id_of(call)}) for _ in range(2)]
    told = [_make_told(draw, number) for number in range(40)]
    told += [
        _make_truth(draw, {target: value})
        for target, value in (
            ("otel_ml.target.trace_key", "key 3"),
            ("otel_ml.target.tag", "client=bigshot"),
            ("otel_ml.target.tag", "late=-7"),
        )
    ]
    return [*spans, *told, make_sign("goodbye", NOW_NS, f"{1:08x}")]


def _make_told(draw: random.Random, number: int) -> Span:
    """Make an update or an evaluation that targets a trace key or a tag."""
    target = draw.choice(
        [
            {"otel_ml.target.trace_key": f"key {draw.randrange(9)}"},
            {"otel_ml.target.tag": f"client={draw.choice(['bigshot', '120', 'true', 'nobody'])}"},
            {"otel_ml.target.tag": f"late={draw.choice(['bigshot', '-7', '0.5'])}"},
        ]
    )
    said_ns = NOW_NS - draw.randrange(RUNS) * SECOND_NS
    if number % 2:
        told: dict[str, Value] = {
            f"otel_ml.tag.{draw.choice(['size', 'client'])}": draw.choice(TAG_VALUES)
        }
        return make_span("update", {"otel_ml.record": "update", **told, **target}, start_ns=said_ns)
    told = {
        "otel_ml.judge.name": draw.choice(JUDGES),
        "otel_ml.source": draw.choice(["human", "actual"]),
        "otel_ml.score.value": draw.choice([0, 0.25, 1]),
        "otel_ml.passed": draw.random() < 0.5,
    }
    return make_span(
        "evaluation", {"otel_ml.record": "evaluation", **told, **target}, start_ns=said_ns
    )


def _make_truth(draw: random.Random, target: dict[str, Value]) -> Span:
    """Make a ground truth record with a value."""
    value = draw.choice(ACTUALS)
    told: dict[str, Value] = {
        "otel_ml.record": "evaluation",
        "otel_ml.judge.name": TRUTH,
        "otel_ml.actual": value,
    }
    start_ns = NOW_NS - draw.randrange(RUNS) * SECOND_NS
    return make_span("evaluation", {**told, **target}, start_ns=start_ns)


def _begin(call: Span, number: int) -> Span:
    """Make the start record of an unfinished run. One of three processes has reported its end."""
    return make_start(call, {**call.attributes, "otel_ml.process": f"{number % 3:08x}"})


def _make_run(draw: random.Random, number: int) -> Span:
    start_ns = NOW_NS - number * SECOND_NS
    fields: dict[str, Any] = {
        "trace_id": trace_id(number),
        "span_id": span_id(number),
        "start_ns": start_ns,
        "end_ns": start_ns + draw.choice([0, 50, 150, 200, 250]) * MS_NS,
    }
    if number % 4 == 0:  # a child of the previous run
        fields |= {"trace_id": trace_id(number - 1), "parent_span_id": span_id(number - 1)}
    kind = draw.choice(KINDS)
    if kind == "span":
        return make_span("GET", **fields)
    attributes: dict[str, Value] = {
        "otel_ml.kind": kind,
        "otel_ml.outcome": draw.choice(OUTCOMES),
        "session.id": draw.choice(SESSIONS),
        "gen_ai.usage.input_tokens": draw.choice([0, 5, 100]),
        "gen_ai.usage.cache_read.input_tokens": number % 2,
    }
    fields |= {"status_code": 2, "status_message": draw.choice(MESSAGES)}
    if draw.random() < 0.8:
        attributes["otel_ml.model.version"] = draw.choice(["aa", "bb", "cc"])
        attributes["otel_ml.model.output_schema"] = draw.choice(["", "s", "t"])
    for tag in ("client", "size", "a b"):
        if draw.random() < 0.6:
            attributes[f"otel_ml.tag.{tag}"] = draw.choice(TAG_VALUES)
    if draw.random() < 0.3:
        attributes["otel_ml.trace_key"] = f"key {draw.randrange(9)}"
    for judge in JUDGES:
        if draw.random() < 0.5:
            attributes[f"otel_ml.score.{judge}"] = draw.choice([0, 0.25, 0.5, 1])
        if draw.random() < 0.5:
            attributes[f"otel_ml.passed.{judge}"] = draw.random() < 0.5
    return make_call(draw.choice(MODELS), attributes, **fields)


def _make_late_score(draw: random.Random, call: Span) -> Span:
    """Make a later evaluation by a newer judge version or by a reviewer."""
    attributes: dict[str, Value] = {"otel_ml.judge.name": draw.choice(JUDGES)}
    source = draw.choice(["judge", "failed judge", "human"])
    if source == "human":
        attributes["otel_ml.source"] = "human"
    else:
        attributes["otel_ml.judge.version"] = "j2"
    if source == "failed judge":
        attributes["error.type"] = "TimeoutError"
    else:
        attributes["otel_ml.score.value"] = draw.choice([0.25, 0.75])
        attributes["otel_ml.passed"] = draw.random() < 0.5
    return make_record("evaluation", call, attributes, start_ns=NOW_NS + SECOND_NS)


class Sample:
    """A store of runs, and the runs in the form that the API returns them."""

    def __init__(self, store: Store, runs: Sequence[Mapping[str, Any]]) -> None:
        self.store = store
        self.runs = runs

    def find(self, where: str) -> set[str]:
        query = RunsQuery("filter", where, limit=1_000, start_ns=1)
        return {run.run_id for run in find_runs(self.store.reader, query, NOW_NS).runs}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    with open_store(tmp_path_factory.mktemp("data")) as store:
        spans = make_runs()
        store.take("filter", *spans)
        everything = RunsQuery("filter", 'kind != "none"', limit=1_000)
        runs = find_runs(store.reader, everything, NOW_NS).runs
        assert len(runs) == RUNS
        assert {run.outcome for run in runs} == set(OUTCOMES)
        keys = _keys_of(spans)
        yield Sample(
            store, [{**asdict(run), "keys": keys.get(run.trace_id, set())} for run in runs]
        )


def _keys_of(spans: Sequence[Span]) -> dict[str, set[str]]:
    """Return the user's own trace keys by trace ID, read from the given spans."""
    keys: dict[str, set[str]] = {}
    for span in spans:
        if "otel_ml.trace_key" in span.attributes:
            keys.setdefault(span.trace_id.hex(), set()).add(
                str(span.attributes["otel_ml.trace_key"])
            )
    return keys


LENGTH: Final = re.compile(r"\b(\d+(?:\.\d+)?)(?:us|ms|s)\b")


@settings(max_examples=examples(80, on_commit=3))
@given(filters)
def test_same_as_python(sample: Sample, made: Filter) -> None:
    """A filter finds exactly the runs for which the same expression holds in Python."""
    where, holds = made
    plain = LENGTH.sub(r"\1", where)  # Python has no duration literals
    names = {node.id for node in ast.walk(ast.parse(plain)) if isinstance(node, ast.Name)}
    expected = {
        run["run_id"]
        for run in sample.runs
        if holds(run) and ("kind" in names or run["kind"] != "span")
    }
    assert sample.find(where) == expected


any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)


@at_night
@settings(max_examples=examples(30, on_commit=5))
@given(any_text, any_text)
def test_any_text_is_found(sample: Sample, name: str, value: str) -> None:
    """A run whose tag and session are any text is found by exactly that text."""
    call = make_call(attributes={f"otel_ml.tag.{name}": value, "session.id": value})
    sample.store.take("texts", call)
    for field in (f"tags[{name!r}]", "session"):
        if "\0" in name + value:
            continue  # Python's own parser rejects NUL
        for where in (f"{field} == {value!r}", f"{field} in ({value!r},)"):
            query = RunsQuery("texts", where, limit=1_000)
            found = find_runs(sample.store.reader, query, NOW_NS).runs
            assert id_of(call) in {run.run_id for run in found}
            assert {run.session for run in found if field == "session"} <= {value}


def take_one(store: Store, project: str, *spans: Span) -> Callable[[str], int]:
    """Store the spans, and return a function that counts the runs that match a filter."""
    store.take(project, *spans)
    return lambda where: len(find_runs(store.reader, RunsQuery(project, where), NOW_NS).runs)


@sampled(2)
@pytest.mark.parametrize(
    ("tag", "where", "found"),
    [
        (3.0, 'tags["n"] == 3', 1),
        (3, 'tags["n"] == 3.0', 1),
        (1e16, 'tags["n"] == 1e16', 1),
        (1e-7, 'tags["n"] == 1e-7', 1),
        (0.1, 'tags["n"] == 0.1', 1),
        ("120", 'tags["n"] > 100', 1),
        ("120", 'tags["n"] == 120', 1),
        (120, 'tags["n"] == "120"', 1),
        (True, 'tags["n"] == True', 1),
        (True, 'tags["n"] == 1', 0),
        ("abc", 'tags["n"] < 5', 0),
        ("abc", 'not tags["n"] < 5', 1),
        ('"5"', 'tags["n"] == 5', 0),
        ('"5"', 'tags["n"] > 4', 0),
    ],
)
def test_tag_value(
    sample: Sample, request: pytest.FixtureRequest, tag: Value, where: str, found: int
) -> None:
    """A tag is compared by its value, whether it arrived as a number or as numeric text."""
    count = take_one(sample.store, request.node.name, make_call(attributes={"otel_ml.tag.n": tag}))
    assert count(where) == found


@sampled(2)
@pytest.mark.parametrize(
    ("where", "found"),
    [
        ('tags["n"] == "a"', 0),
        ('tags["n"] != "a"', 0),
        ('tags["n"] in ("a",)', 0),
        ('tags["n"] not in ("a",)', 0),
        ('tags["n"] < 1', 0),
        ('not tags["n"] == "a"', 1),
        ("version == 1", 0),
        ("version != 1", 0),
        ("not version == 1", 1),
        ("input_tokens != 1", 0),
        ("cost < 1", 0),
        ('scores["j"] != 1', 0),
        ('not scores["j"] == 1', 1),
        ('passed["j"] != True', 0),
        ('passed["j"] == False', 0),
        ('truth["j"] != "a"', 0),
        ('truth["j"] < 1', 0),
        ('truth["j"] not in (1,)', 0),
        ('not truth["j"] == "a"', 1),
        ('label["j"] == "a"', 0),
        ('label["j"] != "a"', 0),
    ],
)
def test_absent_field(sample: Sample, where: str, found: int) -> None:
    """Every comparison with a field that the run does not have is false."""
    count = take_one(sample.store, f"absent in {where}", make_call())
    assert count(where) == found


def test_newer_tag(sample: Sample, project: str) -> None:
    """After a tag is changed, the run is found by the new value and not by the old one."""
    call = make_call(attributes={"otel_ml.tag.colour": "red"})
    late = make_record("update", call, {"otel_ml.tag.colour": "blue"}, start_ns=call.end_ns)
    count = take_one(sample.store, project, call, late)
    assert (count('tags["colour"] == "blue"'), count('tags["colour"] == "red"')) == (1, 0)


def test_judge_that_failed_later(sample: Sample, project: str) -> None:
    """A run whose newest evaluation failed has no score, neither in filters nor on its page."""
    call = make_call(attributes={"otel_ml.score.j": 0.5, "otel_ml.passed.j": True})
    failed = make_record(
        "evaluation",
        call,
        {"otel_ml.judge.name": "j", "otel_ml.judge.version": "2", "error.type": "KeyError"},
        start_ns=NOW_NS + SECOND_NS,
    )
    count = take_one(sample.store, project, call, failed)
    assert (count('scores["j"] > 0'), count('passed["j"] == True')) == (0, 0)


@pytest.mark.parametrize("source", ["human", "actual"])
def test_score_by_a_person(sample: Sample, project: str, source: str) -> None:
    """A filter finds a run by a score from a reviewer or from ground truth."""
    call = make_call()
    feedback = make_record(
        "evaluation",
        call,
        {
            "otel_ml.judge.name": "liked",
            "otel_ml.source": source,
            "otel_ml.score.value": 1,
            "otel_ml.passed": True,
        },
    )
    count = take_one(sample.store, project, call, feedback)
    assert (count('scores["liked"] == 1'), count('passed["liked"] == True')) == (1, 1)


@sampled(2)
@pytest.mark.parametrize(
    "where",
    [
        "latency_ms < 1e400",
        "latency_ms > -1e400",
        "latency_ms < " + "9" * 400,
        "cost == 0.5 or latency_ms >= 0",
        "not " * 400 + "latency_ms >= 0",
        " or ".join(["latency_ms >= 0"] * 120),
        "latency_ms >= 0 and not version == 99999999999999999999999",
        "input_tokens == None or latency_ms >= 0".replace("== None", "== 7"),
    ],
    ids=lambda where: where[:30],
)
def test_hard_filter(sample: Sample, where: str) -> None:
    """Filters with many parts, deep nesting or huge numbers work."""
    ended = [run for run in sample.runs if run["latency_ms"] is not None]
    assert sample.find(where) == {run["run_id"] for run in ended if run["kind"] != "span"}


@sampled(14)
@pytest.mark.parametrize(
    ("where", "message", "column"),
    [
        ("colour == 1", "Unknown field 'colour': expected one of model, version, digest, ", 0),
        ('version == 1 and modle == "a"', "Unknown field 'modle': did you mean model?", 17),
        ("latency > 5", "Expected a length of time such as 200ms or 1.5s, found 5", 10),
        ("duration > 5s", "Unknown field 'duration': did you mean latency?", 0),
        ("pased['a']", "Unknown field 'pased': did you mean passed?", 0),
        ("passed", 'Expected a key as in passed["name"]', 0),
        ("cost > 5s", "Expected a number, found a length of time", 7),
        ("model == 5s", "Expected a text in quotes, found a length of time", 9),
        ('tags["a"] == 5s', "Expected a text, a number, True or False, found a time", 13),
        ("inputs.a == 5s", "Expected a text, a number, True or False, found a time", 12),
        ('model["a"] == "b"', "model has no parts: it is a text", 0),
        ("latency_ms.p50 > 3", "latency_ms has no parts: it is a number", 0),
        ('start.year > "2026"', "start has no parts: it is a time", 0),
        ('start == "2026-11-01"', "Expected < <= > or >=: this is a time", 9),
        ("start > 5", 'Expected a time such as "2026-11-01" or last("24h"), found 5', 8),
        ('start > "soon"', "Invalid time 'soon': expected RFC 3339", 8),
        ('model == last("1h")', "Expected a text in quotes, found a time", 9),
        ('tags["a"] == last("1h")', "Expected a text, a number, True or False, found a time", 13),
        ('inputs.a == last("1h")', "Expected a text, a number, True or False, found a time", 12),
        ('latency_ms > last("1h")', "Expected a number, found a time", 13),
        ('inputs.a > "b"', "Expected a number, found 'b'", 11),
        ('"a" in latency_ms', "Expected == != < <= > >= or in: this is a number", 0),
        ('matches(latency_ms, "5")', "Expected == != < <= > >= or in: this is a number", 20),
        (r'model == "\ud800"', "Expected a text of characters, found half of a character", 9),
        (r'inputs["\ud800"] == 1', "Expected a text of characters, found half of a character", 20),
        ("metrics > 3", 'Expected a key as in metrics["name"]', 0),
        ('metrics["loss"] > "x"', "Expected a number, found 'x'", 18),
        ("model == 1", "Expected a text in quotes, found 1", 9),
        ("model == True", "Expected a text in quotes, found True", 9),
        ('model in ("a", 1)', "Expected a text in quotes, found 1", 9),
        ('model < "a"', "Expected ==, !=, in or matches: texts cannot be ordered here", 8),
        ('latency_ms > "slow"', "Expected a number, found 'slow'", 13),
        ("latency_ms > True", "Expected a number, found True", 13),
        ('version < "1"', "Expected == != or in: an alias has no order", 10),
        ("tags == 1", 'Expected a key as in tags["name"]', 0),
        ("scores > 0.5", 'Expected a key as in scores["name"]', 0),
        ('scores["j"] == "high"', "Expected a number, found 'high'", 15),
        ('tags["a"] > "b"', "Expected a number, found 'b'", 12),
        ('passed["j"] == 1', "Expected == True or == False", 15),
        ('passed["j"] > True', "Expected == True or == False", 14),
        ('passed["j"] in (1,)', "Expected == True or == False", 15),
    ],
)
def test_error(where: str, message: str, column: int) -> None:
    """An invalid filter is rejected with the expected form and the column of the error."""
    with pytest.raises(BadInput) as caught:
        compile_filter(where)
    assert str(caught.value).startswith(message)
    assert (caught.value.field, caught.value.column) == ("where", column)


def test_no_input_in_the_sql() -> None:
    """Values from a filter become SQL parameters and never part of the SQL text."""
    injected = "x') OR 1=1; DROP TABLE runs; --"
    where = " or ".join(
        [
            f"model == {injected!r}",
            f"tags[{injected!r}] == {injected!r}",
            f"tags[{injected!r}] > 1",
            f"scores[{injected!r}] > 1",
            f"passed[{injected!r}] == True",
            f"session in ({injected!r},)",
        ]
    )
    _, condition = compile_filter(where)
    assert "DROP" not in condition.sql
    assert injected in condition.parameters.values()
