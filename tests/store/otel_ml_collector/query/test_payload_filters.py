"""Tests that payload filters find the same runs as the same filter in Python."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.span import Scope, Span, Value
from tests.store.otel_ml_collector.query.filters import Filter, joined
from tests.support.examples import examples
from tests.support.otel_ml_collector.spans import NOW_NS, SECOND_NS, id_of, make_call, make_start
from tests.support.otel_ml_collector.stores import Store

RUNS: Final = 200
WORDS: Final = [
    "refund",
    "please refund me",
    "refunded: 100% of under_score",
    'say "hi"',
    "a\nb\ttab",
    "back\\slash",
    "it's 日本 text",
    "",
]
LEAVES: Final[list[Any]] = [*WORDS, 0, 1, 3, -2.5, 1e20, True, False, None]
NEEDLES: Final = [*WORDS, "fund", "efun", "REFUND", "%", "_", "\\", '"', "日", "zzz", "3", "sku"]
PATTERNS: Final = ["refund(ed)?", "^a.b", "(?i)REFUND", "\\d+%", "日本|hi", "^$", "[\"']"]
FIELDS: Final = {
    "inputs": ("inputs",),
    "inputs.question": ("inputs", "question"),
    'input["question"]': ("inputs", "question"),
    "inputs.items[0]": ("inputs", "items", 0),
    "inputs.items[-1]": ("inputs", "items", -1),
    "inputs[0]": ("inputs", 0),
    "inputs.items": ("inputs", "items"),
    "output": ("outputs",),
    "outputs.items[1].sku": ("outputs", "items", 1, "sku"),
    'outputs.deep["a b"]': ("outputs", "deep", "a b"),
    "outputs[1]": ("outputs", 1),
    "params.lr": ("params", "lr"),
    'params["n"]': ("params", "n"),
    'attributes["shop.name"]': ("attributes", "shop.name"),
    "params": ("params",),
}
ABSENT: Final = object()


def make_payload(draw: random.Random) -> Any:
    """Make a nested value, a list or a leaf."""

    def leaf() -> Any:
        return draw.choice(LEAVES)

    nested = {
        "question": leaf(),
        "items": [leaf(), {"sku": leaf()}, leaf()][: draw.randrange(4)],
        "deep": {"a b": leaf(), "n": [leaf()]},
    }
    return draw.choice([nested, nested, nested, [leaf(), leaf()], leaf()])


class Sample:
    """Stored runs, and the values each was made from."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.made: dict[str, Mapping[str, Any]] = {}
        draw = random.Random(8)  # noqa: S311 - guards nothing
        store.take("payload-filters", *(self._make(draw, number) for number in range(RUNS)))

    def _make(self, draw: random.Random, number: int) -> Span:
        made: dict[str, Any] = {"inputs": make_payload(draw)}
        if draw.random() < 0.7:
            made["params"] = {"lr": draw.choice(LEAVES), "n": draw.choice(LEAVES)}
        told: dict[str, Value] = {
            f"otel_ml.{name}": orjson.dumps(value).decode() for name, value in made.items()
        }
        if draw.random() < 0.5:
            made["attributes"] = {"shop.name": draw.choice([*WORDS, 3, True])}
            told |= made["attributes"]
        is_open = draw.random() < 0.2
        if not is_open:
            made["outputs"] = make_payload(draw)
            told["otel_ml.outputs"] = orjson.dumps(made["outputs"]).decode()
        call = make_call(attributes=told, start_ns=NOW_NS - number * SECOND_NS)
        self.made[id_of(call)] = made
        return make_start(call, call.attributes) if is_open else call

    def find(self, where: str) -> set[str]:
        query = RunsQuery("payload-filters", where, limit=1_000, start_ns=1)
        return {run.run_id for run in find_runs(self.store.reader, query, NOW_NS).runs}


@pytest.fixture(scope="module")
def sample(store: Store) -> Sample:
    return Sample(store)


def part(made: Mapping[str, Any], path: Sequence[str | int]) -> Any:
    """Return the value at a path of a run's data. Null counts as absent."""
    value: Any = made
    for step in path:
        is_key = isinstance(value, Mapping) and isinstance(step, str) and step in value
        places = range(-len(value), len(value)) if isinstance(value, list) else ()
        if is_key or (isinstance(step, int) and step in places):
            value = value[step]
        else:
            return ABSENT
    return ABSENT if value is None else value


def is_same(value: Any, wanted: Any) -> bool:
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    return not isinstance(value, list | dict) and bool(value == wanted)


def has(made: Mapping[str, Any], path: Sequence[str | int], needle: str) -> bool:
    """Search a whole payload as JSON text, and a part as Python's ``in`` would."""
    value = part(made, path)
    if path in (("inputs",), ("outputs",)):
        inner = orjson.dumps(needle)[1:-1]
        return path[0] in made and inner in orjson.dumps(made[str(path[0])])
    if isinstance(value, list):
        return any(isinstance(item, str) and item == needle for item in value)
    return isinstance(value, str | dict) and needle in value


def found(made: Mapping[str, Any], path: Sequence[str | int], pattern: str) -> bool:
    value = part(made, path)
    if path in (("inputs",), ("outputs",)) and path[0] in made and not isinstance(value, str):
        value = orjson.dumps(made[str(path[0])]).decode()
    return isinstance(value, str) and re.search(pattern, value, re.DOTALL) is not None


ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_there(made: Mapping[str, Any], path: Sequence[str | int]) -> bool:
    return part(made, path) is not ABSENT or (
        path in (("inputs",), ("outputs",)) and path[0] in made
    )


def compare(field: str, operator: str, value: Any) -> Filter:
    path = FIELDS[field]

    def holds(run: Mapping[str, Any]) -> bool:
        stored = part(run, path)
        if stored is ABSENT:
            return False
        if operator in ORDER:
            return is_number(stored) and ORDER[operator](stored, value)
        wanted = value if operator in {"in", "not in"} else [value]
        return any(is_same(stored, one) for one in wanted) != (operator in {"!=", "not in"})

    return f"{field} {operator} {value!r}", holds


def search(field: str, needle: str, *, is_in: bool) -> Filter:
    path = FIELDS[field]

    def holds(run: Mapping[str, Any]) -> bool:
        return is_there(run, path) and has(run, path, needle) == is_in

    return f"{needle!r} {'in' if is_in else 'not in'} {field}", holds


def match(field: str, pattern: str) -> Filter:
    return f"matches({field}, {pattern!r})", lambda run: found(run, FIELDS[field], pattern)


def truth(field: str) -> Filter:
    def holds(run: Mapping[str, Any]) -> bool:
        stored = part(run, FIELDS[field])
        return stored is not ABSENT and bool(stored)

    return field, holds


fields = st.sampled_from(sorted(FIELDS))
constants = st.sampled_from([value for value in LEAVES if value is not None])
numbers = st.sampled_from([value for value in LEAVES if is_number(value)])
comparisons = st.one_of(
    st.builds(compare, fields, st.sampled_from(["==", "!="]), constants),
    st.builds(compare, fields, st.sampled_from(["in", "not in"]), st.lists(constants, max_size=3)),
    st.builds(compare, fields, st.sampled_from(sorted(ORDER)), numbers),
    st.builds(search, fields, st.sampled_from(NEEDLES), is_in=st.booleans()),
    st.builds(match, fields, st.sampled_from(PATTERNS)),
    st.builds(truth, fields),
)


@settings(max_examples=examples(100, on_commit=5))
@given(joined(comparisons))
def test_same_as_python(sample: Sample, made: Filter) -> None:
    """A filter finds the runs for whose payloads the same expression holds in Python."""
    where, holds = made
    assert sample.find(where) == {run_id for run_id, run in sample.made.items() if holds(run)}


def test_beside_another_condition(sample: Sample) -> None:
    """A payload condition joined with a run condition finds the runs that match both."""
    both = sample.find("inputs.question == 3 and latency_ms >= 0")
    assert both == sample.find("inputs.question == 3") & sample.find("latency_ms >= 0")
    assert both != set()


def test_beyond_the_preview(store: Store, project: str) -> None:
    """A filter finds a word at the end of a long input, beyond the preview."""
    told: dict[str, Value] = {"otel_ml.inputs": orjson.dumps("x" * 5_000 + " tail").decode()}
    store.take(project, make_call(attributes=told))
    found_runs = find_runs(store.reader, RunsQuery(project, '"x tail" in input'), NOW_NS).runs
    assert len(found_runs) == 1


def test_resource(store: Store, project: str) -> None:
    """A filter finds a run by a resource attribute of its process."""
    call = make_call(scope=Scope({"service.name": "shop"}, "tests", "1", {}))
    store.take(project, call, make_call())
    query = RunsQuery(project, 'resource["service.name"] == "shop"')
    runs = find_runs(store.reader, query, NOW_NS).runs
    assert [run.run_id for run in runs] == [id_of(call)]
