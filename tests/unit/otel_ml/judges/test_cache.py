"""Cached scores: a score is reused only for equal judge version, inputs and outputs."""

import datetime
import enum
import pickle
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml import Judge
from otel_ml.judges.judge import Judgement, ScoreCache, cache_key
from tests.support.otel_ml.hostile import Hostile
from tests.support.otel_ml.recording import Recording, attributes, judged

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.floats(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


class Counting:
    """A rubric that counts its calls and answers with their number."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, outputs: Any) -> float:
        self.calls += 1
        if outputs == "wrong":
            raise ValueError("wrong")
        return float(self.calls)


def score(judge: Judge, outputs: object, inputs: Mapping[str, object] | None = None) -> Any:
    found = judge.evaluate(inputs or {}, outputs)
    return found.score, found.cached


def test_cached_score_says_so(recording: Recording) -> None:
    """A second call with equal inputs and outputs gets the first score, recorded as cached."""
    judge = Judge("counted", "", Counting(), cache=True)
    model = recording.client.assess(judge)(lambda a: a)
    for _ in range(2):
        model("same")
        recording.client.flush()
    first, second = recording.runs()
    assert attributes(first)["otel_ml.score.counted"] == 1.0
    assert attributes(second)["otel_ml.score.counted"] == 1.0
    assert judged(first) == {"counted": {"version": judge.version}}
    assert judged(second) == {"counted": {"version": judge.version, "cached": True}}


def test_nothing_is_cached_unasked() -> None:
    """Without ``cache=True``, a judge runs each time, because its answers may differ."""
    judge = Judge("counted", "", Counting())
    assert [score(judge, "same") for _ in range(2)] == [(1.0, False), (2.0, False)]


def test_other_inputs_are_another_score() -> None:
    """Calls with different inputs or outputs are scored separately."""
    judge = Judge("counted", "", Counting(), cache=True)
    found = [score(judge, "a", {"x": 1}), score(judge, "b", {"x": 1}), score(judge, "a", {"x": 2})]
    assert found == [(1.0, False), (2.0, False), (3.0, False)]
    assert score(judge, "b", {"x": 1}) == (2.0, True)


def test_errors_are_not_cached() -> None:
    """A judge that failed runs again."""
    counting = Counting()
    judge = Judge("counted", "", counting, cache=True)
    assert judge.evaluate({}, "wrong").error == judge.evaluate({}, "wrong").error
    assert counting.calls == 2


def test_cache_is_bounded() -> None:
    """The cache keeps the 1,024 most recently used scores."""
    judge = Judge("counted", "", Counting(), cache=True)
    for number in range(1_024):
        score(judge, number)
    assert score(judge, 0) == (1.0, True)
    score(judge, "one more")
    assert score(judge, 0) == (1.0, True)
    assert score(judge, 1) == (1_026.0, False)


def test_cache_keeps_no_error() -> None:
    """The cache does not keep a judgement with an error."""
    cache = ScoreCache()
    cache.keep(b"key", Judgement("any", "", error="wrong"))
    assert cache.find(b"key") is None


def test_cache_stands_many_threads() -> None:
    """Threads that use the cache at the same time receive their own scores."""
    judge = Judge("same", "", same, cache=True)

    def work(first: int) -> bool:
        return all(score(judge, number)[0] == number for number in range(first, first + 1_500))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, range(0, 400, 100))) == [True] * 4


def same(outputs: float) -> float:
    return outputs


def test_judge_with_a_cache_can_be_pickled() -> None:
    """A judge with a cache can be pickled like any other judge."""
    judge = pickle.loads(pickle.dumps(Judge("same", "", same, cache=True)))  # noqa: S301 - our own
    assert [score(judge, 1), score(judge, 1)] == [(1.0, False), (1.0, True)]


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Answer:
    text: str


@pytest.mark.parametrize(
    "value",
    [
        "x" * 70_000,
        np.zeros(1_000),
        np.zeros(2),
        np.float64(1),
        b"bytes",
        object(),
        Hostile(),
        float("nan"),
        [1, [float("inf")]],
        (1, 2),
        {"a": (1,)},
        {1: 2},
        {1, 2},
        Answer("a"),
        Colour.RED,
        uuid.UUID(int=1),
        datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        2**70,
        "lone \ud800",
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_does_not_say_is_not_cached(value: object) -> None:
    """A value that is truncated, opaque or changed by JSON has no cache key."""
    assert cache_key("v", {}, value) is None
    assert cache_key("v", {"a": value}, 1) is None


def test_order_of_keys_does_not_count() -> None:
    """The order of keys in inputs and outputs does not change the cache key."""
    one = cache_key("v", {"a": 1, "b": 2}, {"c": 3, "d": 4})
    assert one is not None
    assert cache_key("v", {"b": 2, "a": 1}, {"d": 4, "c": 3}) == one


def test_version_counts() -> None:
    """Different versions of a judge have different cache keys."""
    assert cache_key("v", {}, 1) != cache_key("w", {}, 1)


@given(plain, plain)
def test_key_tells_values_apart(one: object, other: object) -> None:
    """Two values with the same cache key are equal; 1, 1.0 and True have different keys."""
    first, second = cache_key("v", {"a": one}, other), cache_key("v", {"a": other}, one)
    if first is not None and first == second:
        assert one == other
