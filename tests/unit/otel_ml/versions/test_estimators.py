"""Fitted estimators: their version is their fit, in every process, before and after use."""

import copy
import functools
import hashlib
import sqlite3
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from otel_ml.versions import weights
from otel_ml.versions.definition import define

_X = np.arange(24.0).reshape(12, 2)
_Y = [0, 1] * 6


def _digest(model: Any) -> str:
    return define(_naming(model)).digest


def _naming(model: Any) -> Callable[[], Any]:
    return lambda: model


def test_digests_stay() -> None:
    """Digests of estimators stay the same across releases."""
    line = LogisticRegression(C=0.5)
    line.classes_, line.coef_ = np.array([0, 1]), np.array([[0.5, -1.25]])
    line.intercept_, line.n_iter_ = np.array([0.125]), np.array([7], dtype=np.int32)
    scale = StandardScaler()
    scale.mean_, scale.scale_ = np.array([1.0, 2.0]), np.array([0.5, 4.0])
    scale.n_samples_seen_ = np.int64(12)
    whole = Pipeline([("scale", scale), ("line", line)])
    found = [
        weights.read(model, weights.WEIGHT_KINDS["sklearn", "BaseEstimator"])
        for model in (line, whole)
    ]
    assert [read.digest for _, read in found] == ["9f4186ba5cb26002", "fbccf422cd9369ac"]


def test_two_searches() -> None:
    """Searches with different results are different versions; different timings are not."""
    grids = [{"C": [0.1, 1.0]}, {"C": [0.1, 1.0]}, {"C": [0.01, 1.0]}]
    first, again, other = (GridSearchCV(LogisticRegression(), grid).fit(_X, _Y) for grid in grids)
    again.refit_time_ += 1
    again.cv_results_["mean_fit_time"] += 1
    assert _digest(first) == _digest(again) != _digest(other)


@pytest.mark.parametrize(
    ("function", "other"), [(np.log, np.log1p), (np.mean, np.max), (np.cbrt, FunctionTransformer)]
)
def test_functions_of_libraries(function: Any, other: Any) -> None:
    """Estimators that call different library functions are different versions."""
    assert _digest(FunctionTransformer(function)) != _digest(FunctionTransformer(other))


def _lower(text: str) -> str:
    return text.lower()


def test_own_function_is_a_helper() -> None:
    """A package's function that an estimator calls is a helper of the traced function."""
    found = define(_naming(CountVectorizer(preprocessor=_lower)))
    assert list(found.helpers) == ["_lower"]
    assert found.unseen == ()


class Connected:
    """A callable with an open connection, which counts attempts to pickle it."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:")
        self.pickled = 0

    def __call__(self, text: str) -> str:
        return text

    def __reduce_ex__(self, protocol: object) -> Any:
        self.pickled += 1
        raise TypeError


def test_what_cannot_be_read_is_named() -> None:
    """An open connection in an estimator is listed as unseen, and no user code runs to read it."""
    asked = Connected()
    found = define(_naming(Pipeline([("words", CountVectorizer(preprocessor=asked))])))
    assert [text for text in found.unseen if "connection" in text] == [
        "`model.steps[0][1].preprocessor.connection`, a `sqlite3.Connection`, which cannot be read"
    ]
    assert asked.pickled == 0
    asked.connection.close()


class Remembering(LogisticRegression):  # type: ignore[misc] # it has no types
    """A user's estimator that stores its calls in several ways."""

    def __init__(self, cache_size: int = 3, C: float = 1.0) -> None:  # noqa: N803 - of the library
        super().__init__(C=C)
        self.cache_size = cache_size
        self.memo: dict[object, object] = {}

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Remembering":  # noqa: N803
        super().fit(X, y, sample_weight)
        self.known_: dict[bytes, list[object]] = {}
        self.calls_ = 0
        self._keep_middle(X)
        return self

    def _keep_middle(self, x: Any) -> None:
        self.middle_ = x.mean(axis=0)

    def set_threshold(self, threshold: float) -> None:
        """Change what it answers."""
        self.threshold_ = threshold

    @functools.cached_property
    def norm(self) -> float:
        """A number that follows from the fit."""
        return float(np.abs(self.coef_).sum())

    def predict(self, X: Any) -> Any:  # noqa: N803
        self.calls_ += 1
        self.last_ = X
        memo = self.memo
        memo[len(memo)] = self.norm
        found = super().predict(X)
        self._remember(X, found)
        return found

    def _remember(self, x: Any, found: Any) -> None:
        self.known_.setdefault(x.tobytes(), []).append(found)


def test_own_estimator_that_remembers() -> None:
    """Data that an estimator stores during use is listed as unseen and keeps the version."""
    model = Remembering().fit(_X, _Y)
    before = define(_naming(model))
    model.predict(_X)
    model.predict(_X + 1)
    model = copy.copy(model)  # a copy is read again, even if its mark is unchanged
    after = define(_naming(model))
    assert after.digest == before.digest
    assert [text for text in after.unseen if "model" in text] == [
        "`model.calls_`, which `predict` changes",
        "`model.known_`, which `_remember` changes",
        "`model.last_`, which `predict` changes",
        "`model.memo`, a cache by its name",
    ]
    assert before.unseen == after.unseen


def test_own_estimator_of_another_fit() -> None:
    """A different fit, parameter or setter value is a different version of the same estimator."""
    models = [Remembering() for _ in range(5)]
    models[1].cache_size = 4
    for model in models[:3]:
        model.fit(_X, _Y)
    models[2].set_threshold(0.7)
    models[3].fit(_X * 2, _Y)
    models[4].fit(_X, _Y)
    models[4].middle_ = np.zeros(2)
    assert len({_digest(model) for model in models}) == 5


def test_own_estimator_in_another_one() -> None:
    """Use does not change the version of an estimator in a pipeline or with a cached function."""
    model = Pipeline([("scale", StandardScaler()), ("own", Remembering())]).fit(_X, _Y)
    model.named_steps["own"].double = functools.lru_cache(_double)
    before = _digest(model)
    model.predict(_X)
    model.named_steps["own"].double(3)
    assert _digest(copy.copy(model)) == before


def _double(number: int) -> int:
    return 2 * number


class Own:
    """A user's model class without a library."""

    def fit(self, x: Any) -> "Own":
        self.known: dict[float, float] = {}
        self.middle = float(x.mean())
        return self

    def predict(self, x: float) -> float:
        return self.known.setdefault(x, x - self.middle)


def test_own_class_without_a_library() -> None:
    """Attributes that methods of a plain class change do not count and are listed as unseen."""
    model = Own().fit(_X)
    before = define(_naming(model))
    model.predict(3.0)
    assert define(_naming(model)) == before
    assert before.unseen == (
        "`Own.known`, which functions change",
        "`Own.middle`, which functions change",
    )


SOURCELESS = """
class Typed(LogisticRegression):
    def predict(self, X):
        self.calls_ = getattr(self, "calls_", 0) + 1
        self.known_ = {**getattr(self, "known_", {}), len(X): 1}
        self.seen_[len(X)] = X
        return super().predict(X)

    def fit(self, X, y):
        self.seen_ = {}
        self.size_ = len(X)
        return super().fit(X, y)
"""


def test_own_estimator_without_source() -> None:
    """Use does not change the version of an estimator whose class has no source."""
    names: dict[str, Any] = {"LogisticRegression": LogisticRegression, "__name__": "typed"}
    exec(compile(SOURCELESS, "<typed>", "exec"), names)  # noqa: S102 - as consoles do
    model = names["Typed"]().fit(_X, _Y)
    before = _digest(model)
    model.predict(_X)
    assert _digest(copy.copy(model)) == before
    assert _digest(names["Typed"]().fit(_X[:10], _Y[:10])) != before


@pytest.mark.parametrize("name", ["known", "cached_answers_"])
def test_cache_that_is_not_recognised(name: str) -> None:
    """A cache counts as part of the fit unless its name says that it is a cache."""
    digests = []
    for asked in ({}, {"asked": 1}):
        model = Remembering().fit(_X, _Y)
        setattr(model, name, asked)
        digests.append(_digest(model))
    assert (digests[0] == digests[1]) is (name == "cached_answers_")


class Closed(LogisticRegression):  # type: ignore[misc] # it has no types
    """An estimator whose attributes cannot be read."""

    @property
    def __dict__(self) -> Any:  # type: ignore[override] # it is hostile
        raise OSError


def test_unreadable_model_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """An unreadable model is listed as unseen, and the log names it and the consequence once."""
    closed = Closed()
    found = [define(lambda: closed) for _ in range(2)]
    name = f"`closed`, a `{__name__}.Closed`, which cannot be read (OSError)"
    assert [definition.unseen for definition in found] == [(name,), (name,)]
    assert caplog.messages == [
        f"No new version is created when this part changes: {name}. Declare it with params="
    ]


def test_deep_and_cyclic_objects() -> None:
    """A deeply nested or cyclic object in an estimator has a digest."""
    chains = []
    for last in (1, 2, 1):
        chain: list[Any] = [last]
        for _ in range(5_000):
            chain = [chain]
        model = LogisticRegression()
        model.chain_, model.self_ = chain, model
        chains.append(_digest(model))
    assert chains[0] == chains[2] != chains[1]


def test_order_of_sets_does_not_count() -> None:
    """The order of sets and dicts does not count."""
    words = [(hashlib.sha256(bytes([n])).hexdigest(), n) for n in range(50)]
    models = [CountVectorizer(stop_words=frozenset(order)) for order in (words, words[::-1])]
    for model, order in zip(models, (words, words[::-1]), strict=True):
        model.by_ = {frozenset({word}): word for word in order}
    assert _digest(models[0]) == _digest(models[1])


def test_masked_arrays() -> None:
    """Masked values of an array do not count, and its mask does."""
    digests = []
    for data, hidden in (([1, 2], 1), ([1, 3], 1), ([1, 2], 0), ([4, 2], 1)):
        model = LogisticRegression()
        model.masked_ = np.ma.masked_equal(np.array(data), data[hidden])
        model.masked_.fill_value = 9
        digests.append(_digest(model))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Silence scikit-learn's warnings about small data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
