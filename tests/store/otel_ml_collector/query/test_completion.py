"""Tests of filter completion: suggestions, their counts, and the text they insert."""

from collections.abc import Mapping
from typing import Final

import pytest

from otel_ml_collector.completion import (
    Completion,
    CompletionQuery,
    Want,
    explain_names,
    find_completion,
    read_caret,
)
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.sql import compile_filter
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.span import Value
from otel_ml_collector.windows import Window
from tests.support.otel_ml_collector.spans import DAY_NS, NOW_NS, SECOND_NS, make_call, make_record
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import sampled

ALL: Final = Window(0, NOW_NS + SECOND_NS)
LENGTHS: Final = ("15m", "1h", "24h", "7d", "30d", "today", "yesterday")


@pytest.fixture(scope="module")
def filled(store: Store) -> Store:
    """Return a store with a few runs in one project."""
    common: Mapping[str, Value] = {
        "otel_ml.tag.client": "bigshot",
        "otel_ml.tag.a b": 3,
        "otel_ml.inputs": '{"question":"why?","items":[{"sku":7}],"odd key":true}',
        "otel_ml.score.grounded": 0.5,
        "otel_ml.model.version": "aa",
        "session.id": "s-1",
    }
    other: Mapping[str, Value] = {**common, "otel_ml.tag.client": 'O\'Neill "x"'}
    calls = [make_call(attributes=common, start_ns=NOW_NS - n * SECOND_NS) for n in range(3)]
    late = make_record("update", calls[0], {"otel_ml.tag.late": "yes"})
    update: Mapping[str, Value] = {"otel_ml.metric.names": ["loss"], "otel_ml.metric.values": [0.5]}
    logged = make_record("update", calls[0], {**update, "otel_ml.metric.steps": [1]})
    old = make_call("elder", other, start_ns=NOW_NS - 40 * DAY_NS)
    store.take("completion", *calls, late, logged, make_call("search", other), old)
    return store


def complete(store: Store, where: str, window: Window = ALL, limit: int = 100) -> Completion:
    return find_completion(store.reader, CompletionQuery("completion", where, window, limit))


def told(found: Completion) -> dict[str, int | None]:
    return {item.text: item.count for item in found.items}


@sampled(12)
@pytest.mark.parametrize(
    ("where", "items"),
    [
        ("model == ", {"answer": 3, "elder": 1, "search": 1}),
        ('model == "A', {"answer": 3}),
        ('model in ("x", \'se', {"search": 1}),
        ('model not in ["', {"answer": 3, "elder": 1, "search": 1}),
        ('session == "', {"s-1": 5}),
        ("tags[", {"a b": 5, "client": 5, "late": 1}),
        ('tags["cl', {"client": 5}),
        ("tags.cl", {"client": 5}),
        ('tags["client"] == ', {"bigshot": 3, 'O\'Neill "x"': 2}),
        ('tags["a b"] == ', {"3": 5}),
        ('tags["late"] == "y', {"yes": 1}),
        ('scores["', {"grounded": 5}),
        ('passed["gr', {"grounded": 5}),
        ('metrics["', {"loss": 1}),
        ("inputs.", {"items": 5, "odd key": 5, "question": 5}),
        ("inputs.items[0].", {"sku": 5}),
        ("inputs.items[0].sku == ", {"7": 5}),
        ('input.question == "', {"why?": 5}),
        ('kind == "to', {"tool": 0}),
        ("version == ", {"1": 5}),
        ('model == "search" and version == ', {"1": 1}),
        ("not passed.grounded == T", {"True": None}),
        ("model ", dict.fromkeys(["==", "!=", "in", "not in"])),
        ("passed.grounded ", dict.fromkeys(["==", "!="])),
        ("latency_ms >= 5 ", dict.fromkeys(["and", "or"])),
        ("latency_ms >= 5 a", {"and": None}),
        ("(lat", {"latency": None, "latency_ms": None}),
        ("latency > ", dict.fromkeys(["10ms", "100ms", "1s", "10s", "1m"])),
        ("latency >= 10", dict.fromkeys(["10ms", "100ms", "10s"])),
        ("not cac", dict.fromkeys(["cached", "cache_creation_tokens"])),
        ('"x" ', dict.fromkeys(["in", "not in"])),
        ('last("2', {"24h": None}),
        ("start > ", {f'last("{text}")': None for text in LENGTHS}),
        ("latency_ms > ", {}),
        ("colour == ", {}),
        ("tags[1].", {}),
        ("model == $", {}),
    ],
)
def test_completion(filled: Store, where: str, items: dict[str, int | None]) -> None:
    """Suggestions come from the newest runs, the most frequent first."""
    assert list(told(complete(filled, where)).items()) == list(items.items())


def test_fields(filled: Store) -> None:
    """All fields are suggested at the start of a condition, each with a description."""
    items = complete(filled, 'model == "a" and ').items
    assert {"model", "tags", "input", "parent", "last", "not"} <= {item.text for item in items}
    assert next(item for item in items if item.text == "cost").about == "the cost of the run"


def test_searched_fields(filled: Store) -> None:
    """After a text and ``in``, only fields that can contain text are suggested."""
    found = told(complete(filled, '"refund" in '))
    assert "input" in found
    assert "latency_ms" not in found


@sampled(2)
@pytest.mark.parametrize(
    "where",
    [
        "mod",
        "model == ",
        'tags["cl',
        "tags.a",
        'tags["client"] == "O',
        "inputs.o",
        "tags.client ==",
    ],
)
def test_insert(filled: Store, where: str) -> None:
    """Accepting suggestions one after another produces a filter that finds runs."""
    for _ in range(4):
        found = complete(filled, where)
        assert found.end == len(where)
        where = where[: found.start] + found.items[0].insert
        try:
            compile_filter(where)
        except BadInput:
            where += " "
        else:
            break
    runs = find_runs(filled.reader, RunsQuery("completion", where), NOW_NS).runs
    assert runs != []


def test_window(filled: Store) -> None:
    """Only runs inside the time window are counted."""
    found = complete(filled, "model == ", Window(NOW_NS - DAY_NS, NOW_NS + 1))
    assert told(found) == {"answer": 3, "search": 1}


def test_limit(filled: Store) -> None:
    """The number of suggestions does not exceed the limit."""
    assert told(complete(filled, "model == ", limit=1)) == {"answer": 3}


@sampled(3)
@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", Want.FIELD),
        ("model in (", Want.VALUE),
        ('matches(model, "', Want.NOTHING),
        ("matches(mo", Want.FIELD),
        ('model == "a"', Want.JOIN),
        ('model == "a" and not ', Want.FIELD),
        ('tags["a"] < 5 or (', Want.FIELD),
        ("model in ", Want.NOTHING),
        (")", Want.JOIN),
    ],
)
def test_caret(text: str, want: Want) -> None:
    """The text before the caret determines the kind of suggestion."""
    assert read_caret(text).want is want


NOBODY: Final = "No run of the last 30 days has "


@sampled(3)
@pytest.mark.parametrize(
    ("where", "hints"),
    [
        ("", []),
        ('tags["client"] == "bigshot" and latency > 9h', []),
        ('tags["clint"] == "x"', [NOBODY + 'tags["clint"]: did you mean client?']),
        (
            'tags["client"] == "bigshott"',
            [NOBODY + 'tags["client"] == "bigshott": did you mean bigshot?'],
        ),
        ('tags["client"] != "nobody"', []),
        ('model == "anser"', [NOBODY + 'model == "anser": did you mean answer?']),
        ('scores["ground"] < 1', [NOBODY + 'scores["ground"]: did you mean grounded?']),
        ('metrics["los"] < 1', [NOBODY + 'metrics["los"]: did you mean loss?']),
        ('"churned" in truth', [NOBODY + 'truth["churned"]: there is none']),
        ('inputs.quest == "x"', []),
    ],
)
def test_unknown_names(filled: Store, where: str, hints: list[str]) -> None:
    """Names and values in a filter that no run has are reported with the nearest known ones."""
    assert explain_names(filled.reader, "completion", where, NOW_NS) == hints
