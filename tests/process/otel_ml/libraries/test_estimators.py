"""Models of scikit-learn are recorded without a decorator, and nothing else changes."""

import pickle
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from otel_ml import Client
from otel_ml.testing import RecordedRun, record
from tests.support.otel_ml.recording import Recording

RANDOM: Final = np.random.default_rng(0)
X: Final = RANDOM.normal(size=(60, 3))
Y: Final = (X[:, 0] > 0).astype(int)


@pytest.fixture
def recorded(client: Client) -> Iterator[Client]:
    """Yield a client that records scikit-learn."""
    client.instrument("sklearn")
    yield client
    client.uninstrument("sklearn")


def fitted(model: Any = None) -> Any:
    return (LogisticRegression() if model is None else model).fit(X, Y)


def all_classes() -> list[type]:
    """Return the classes of all imported estimators, and their bases."""
    kinds: list[type] = [BaseEstimator]
    for kind in kinds:  # the list grows during the loop
        kinds += kind.__subclasses__()
    return [*dict.fromkeys(base for kind in kinds for base in kind.__mro__[:-1])]


def attributes_of_classes() -> dict[type, list[tuple[str, object]]]:
    # pickle stores __slotnames__ on classes
    return {
        kind: [pair for pair in vars(kind).items() if pair[0] != "__slotnames__"]
        for kind in all_classes()
    }


def test_a_prediction_is_a_run(recorded: Client) -> None:
    """The run of a prediction has the model, inputs, outputs, rows, parameters and a version."""
    model = fitted(LogisticRegression(C=2.0))
    with record(recorded) as calls:
        labels = model.predict(X[:2])
    run = calls.run
    assert (run.name, run.kind, run.outcome, run.tags) == (
        "LogisticRegression",
        "model",
        "ok",
        {"rows": 2},
    )
    assert run.inputs["X"]["shape"] == [2, 3]
    assert run.outputs["values"] == labels.tolist()
    assert run.params["C"] == 2.0
    assert run.attributes["otel_ml.model.version"]


def version(run: RecordedRun) -> object:
    return run.attributes["otel_ml.model.version"]


def test_version_is_of_parameters_and_weights(recorded: Client) -> None:
    """All methods share a version; a different fit gives a new one, the same fit does not."""
    model = fitted()
    with record(recorded) as calls:
        model.predict(X)
        model.predict_proba(X[:1])
        fitted().predict(X)
        fitted(LogisticRegression(C=0.1)).predict(X)
        assert len(calls.runs) == 6  # waits until their weights were read
        model.fit(X, 1 - Y)
        model.predict(X)
    versions = [version(run) for run in calls.runs if run.kind == "model"]
    assert versions[0] == versions[1] == versions[2]
    assert len(set(versions)) == 3


def test_only_the_outermost_call_is_a_run(recorded: Client) -> None:
    """Only the outermost call is a run, not those of steps, trees in threads or parent classes."""
    pipeline = fitted(make_pipeline(StandardScaler(), LogisticRegression()))
    forest = fitted(RandomForestClassifier(8, n_jobs=2))
    with record(recorded) as calls:
        pipeline.predict_proba(X)
        forest.predict(X)
        forest.score(X, Y)
    assert [run.name for run in calls.runs] == [
        "StandardScaler + LogisticRegression",
        "RandomForestClassifier",
        "RandomForestClassifier",
    ]


def test_depth_records_calls_inside(client: Client) -> None:
    """With depth=2, the calls that a pipeline makes are its child runs."""
    client.instrument("sklearn", depth=2)
    model = fitted(make_pipeline(StandardScaler(), LogisticRegression()))
    with record(client) as calls:
        model.predict(X)
    client.close()
    outer, inner = calls.runs
    assert (inner.name, inner.parent_id) == ("LogisticRegression", outer.id)


def test_transform_of_a_pipeline_is_a_run(recorded: Client) -> None:
    """The transform of a pipeline is a run, that of a single step is not."""
    model = make_pipeline(StandardScaler(), FunctionTransformer(np.abs)).fit(X)
    with record(recorded) as calls:
        model.transform(X)
        StandardScaler().fit(X)
        model[0].transform(X)
    assert [(run.name, run.kind) for run in calls.runs] == [
        ("StandardScaler + FunctionTransformer", "model"),
        ("StandardScaler", "training"),
    ]


def test_names(client: Client) -> None:
    """Models are named by a mapping or a function; all others keep their default names."""
    churn, other = fitted(), fitted()
    for names in ({churn: "churn"}, lambda model: "churn" if model is churn else None):
        client.instrument("sklearn", names=names)
        with record(client) as calls:
            churn.predict(X)
            other.predict(X)
        client.uninstrument()
        assert [run.name for run in calls.runs] == ["churn", "LogisticRegression"]


def test_a_run_per_row(client: Client) -> None:
    """With rows="each", a call with several rows is recorded as one run per row."""
    table = pd.DataFrame({"age": [31.0, 52.0, 18.0], "plan": ["a", "b", "a"]})
    columns = [("plan", OneHotEncoder(), ["plan"])]
    model = make_pipeline(
        ColumnTransformer(columns, remainder="passthrough"), LogisticRegression()
    ).fit(table, [0, 1, 0])
    client.instrument("sklearn", rows="each")
    with record(client) as calls:
        labels = model.predict(table)
        model.predict(table[:1])
        with pytest.raises(ValueError, match="columns are missing"):
            model.predict(table[["age"]])
    client.uninstrument()
    rows, [single], failed = calls.runs[:3], calls.runs[3:4], calls.runs[4:]
    assert [(run.inputs["X"], run.outputs) for run in rows] == [
        *zip(table.to_dict("records"), labels.tolist(), strict=True)
    ]
    assert {run.parent_id for run in rows} == {None}
    assert single.tags == {"rows": 1}
    assert [run.outcome for run in failed] == ["error"] * 3


def test_a_run_for_each_of_1000_rows(client: Client) -> None:
    """With rows="each", only the first 1,000 rows of a call are recorded."""
    model = fitted()
    many = RANDOM.normal(size=(1_001, 3))
    client.instrument("sklearn", rows="each")
    with record(client) as calls:
        model.predict(many)
    client.uninstrument()
    assert len(calls.runs) == 1_000
    assert calls.runs[-1].inputs["X"]["values"] == many[999].tolist()


def test_a_fit_is_a_training_run(recorded: Client) -> None:
    """The run of a fit has the parameters, including those of steps, and the number of rows."""
    with record(recorded) as calls:
        fitted(make_pipeline(StandardScaler(), LogisticRegression(C=0.5)))
    run = calls.run
    assert (run.kind, run.name, run.tags) == (
        "training",
        "StandardScaler + LogisticRegression",
        {"rows": 60},
    )
    assert run.params["logisticregression__C"] == 0.5
    assert run.params["standardscaler"] == "StandardScaler"
    assert run.inputs is None


@pytest.mark.parametrize(
    ("model", "curves"),
    [
        (GradientBoostingClassifier(n_estimators=5), {"train_score": 5}),
        (
            HistGradientBoostingClassifier(max_iter=4, early_stopping=True, min_samples_leaf=5),
            {"train_score": 5, "validation_score": 5},
        ),
        (
            make_pipeline(
                StandardScaler(),
                MLPClassifier((3,), solver="sgd", max_iter=30, tol=1.0, random_state=0),
            ),
            {"loss_curve": 12},
        ),
    ],
    ids=["boosting", "histograms", "network"],
)
def test_a_fit_has_curves(recorded: Client, model: Any, curves: dict[str, int]) -> None:
    """Values that a library stores per round become metrics of the training run."""
    with record(recorded) as calls:
        fitted(model)
    metrics = calls.run.metrics
    sizes = {name: len(metric) for name, metric in metrics.items() if isinstance(metric, list)}
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    assert sizes == {name: len(getattr(last, f"{name}_")) for name in curves}


def test_without_fit(client: Client) -> None:
    """With fit=False, trainings and the predictions inside them are not recorded."""
    client.instrument("sklearn", fit=False)
    with record(client) as calls:
        model = fitted(
            HistGradientBoostingClassifier(max_iter=2, early_stopping=True, scoring="accuracy")
        )
        model.predict(X)
    client.uninstrument()
    assert [run.kind for run in calls.runs] == ["model"]


def test_errors_are_the_same(recorded: Client, caplog: pytest.LogCaptureFixture) -> None:
    """An error is raised unchanged, and recorded once."""
    model = LogisticRegression()
    model.large = np.zeros(5_000_000)  # still being hashed when the call raises
    with record(recorded) as calls, pytest.raises(NotFittedError, match="not fitted yet"):
        model.predict(X)
    assert (calls.run.outcome, calls.run.error_type) == (
        "error",
        "sklearn.exceptions.NotFittedError",
    )
    assert caplog.text == ""


def test_missing_methods_stay_missing(recorded: Client) -> None:
    """A method that an estimator offers under a condition stays available under that condition."""
    assert not hasattr(make_pipeline(StandardScaler()), "predict")
    assert hasattr(make_pipeline(LogisticRegression()), "predict")
    with pytest.raises(AttributeError, match="has no attribute 'predict'"):
        make_pipeline(StandardScaler()).predict  # noqa: B018 - it raises


def test_inside_a_traced_function(recorded: Client) -> None:
    """A call inside a traced function is a child run."""
    model = fitted()

    @recorded.trace
    def score(row: list[float]) -> int:
        return int(model.predict([row])[0])

    with record(recorded) as calls:
        score([1.0, 2.0, 3.0])
    outer, inner = calls.runs
    assert (outer.name, inner.name, inner.parent_id) == (
        "test_inside_a_traced_function.score",
        "LogisticRegression",
        outer.id,
    )


def test_uninstrument_restores_the_classes(client: Client) -> None:
    """After uninstrumenting, each class has exactly its original attributes."""
    before = attributes_of_classes()
    client.instrument("sklearn")
    assert attributes_of_classes() != before
    client.uninstrument()
    assert attributes_of_classes() == before


def test_close_restores_the_classes(recording: Recording) -> None:
    """Closing the client stops the recording."""
    before = attributes_of_classes()
    recording.client.instrument("sklearn")
    recording.client.close()
    assert attributes_of_classes() == before


def test_classes_of_other_packages(recorded: Client) -> None:
    """A class that is defined later is recorded, including its mixins, and restored."""

    class Words:
        def predict(self, table: Any) -> Any:
            return np.zeros(len(table))

    class Later(Words, TransformerMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        def fit(self, table: Any, y: Any = None) -> "Later":
            self.fitted_ = True
            return self

        def fit_transform(self, table: Any, y: Any = None) -> Any:
            return self.fit(table, y).transform(table)

        def transform(self, table: Any) -> Any:
            return np.asarray(table)

        def get_feature_names_out(self, names: Any = None) -> Any:
            return np.array(["a", "b", "c"])

    class Child(Later):
        def predict(self, table: Any) -> Any:
            return super().predict(table) + 1

    with record(recorded) as calls:
        assert Child().fit(X, Y).predict(X)[0] == 1.0
        assert Words().predict(X)[0] == 0.0
    assert [(run.name, run.kind) for run in calls.runs] == [
        ("Child", "training"),
        ("Child", "model"),
    ]
    recorded.uninstrument()
    for kind, method in ((Words, "predict"), (Later, "fit"), (Child, "predict")):
        assert not hasattr(vars(kind)[method], "__wrapped__")
    frame = Child().set_output(transform="pandas").fit_transform(X)
    assert frame.columns.tolist() == ["a", "b", "c"]


def test_pickles_and_clones_are_the_same(client: Client) -> None:
    """A recorded model has the same pickled bytes, and its clone the same parameters."""
    bare = fitted()
    expected, class_before = pickle.dumps(bare), LogisticRegression
    client.instrument("sklearn")
    model = fitted()
    assert pickle.dumps(model) == expected
    assert pickle.loads(expected).predict(X).tolist() == bare.predict(X).tolist()  # noqa: S301
    assert clone(model).get_params() == bare.get_params()
    assert type(clone(model)) is class_before
    assert pickle.loads(pickle.dumps(LogisticRegression.predict)) is LogisticRegression.predict  # noqa: S301
    client.uninstrument()


def test_a_model_is_not_kept_alive(recorded: Client) -> None:
    """A model without other references is freed once its weights are read."""
    import weakref

    model = fitted()
    with record(recorded) as calls:
        model.predict(X)
        assert len(calls.runs) == 1
    reference = weakref.ref(model)
    del model
    assert reference() is None


def test_settings_apply(recorded: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Capture settings, redacted columns and `disabled` apply to these runs."""
    table = pd.DataFrame(X, columns=["age", "token", "use"])
    model = fitted()
    model.fit(table, Y)
    with record(recorded) as calls, recorded.disabled():
        model.predict(table)
    assert calls.runs == []
    with record(recorded) as calls:
        model.predict(table)
    assert "[redacted]" in str(calls.run.inputs)
    recorded.uninstrument()
    monkeypatch.setenv("OTEL_ML_CAPTURE", "outputs")
    recorded.instrument("sklearn")
    with record(recorded) as calls:
        model.predict(table)
    assert (calls.run.inputs, calls.run.outputs is None) == (None, False)


def test_sampling_applies() -> None:
    """Predictions that the sampler drops are not recorded, and return the same results."""
    spans = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    client = Client("sampled", tracer_provider=provider)
    model = fitted()
    expected = model.predict(X).tolist()
    client.instrument("sklearn")
    assert model.predict(X).tolist() == expected
    provider.sampler = ALWAYS_ON
    client.close()
    kept = Client("kept", tracer_provider=provider)
    kept.instrument("sklearn")
    model.predict(X)
    kept.close()
    assert [span.name for span in spans.get_finished_spans()] == ["LogisticRegression.predict"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": "all"}, "Invalid rows 'all': expected one of"),
        ({"depth": 0}, "Invalid depth 0: expected a whole number from 1 to 100"),
        ({"names": "churn"}, "Invalid names 'churn': expected a mapping of models to names"),
        ({"fit": 1}, "Invalid fit 1"),
        ({"capture": "some"}, "Invalid capture 'some'"),
    ],
)
def test_invalid_options(client: Client, options: Any, message: str) -> None:
    """An invalid option raises an error that names it, and nothing is instrumented."""
    before = attributes_of_classes()
    with pytest.raises(ValueError, match=message):
        client.instrument("sklearn", **options)
    assert attributes_of_classes() == before


def test_invalid_library(client: Client) -> None:
    """Library names are checked first, so that an invalid one leaves nothing instrumented."""
    before = attributes_of_classes()
    wrong: Any = 5
    with pytest.raises(ValueError, match="Invalid libraries 5"):
        client.instrument("sklearn", wrong)
    assert attributes_of_classes() == before


def test_options_are_for_models_only(client: Client) -> None:
    """Options for model libraries are refused for other libraries."""
    with pytest.raises(ValueError, match="Invalid library 'openai' with depth: expected one of"):
        client.instrument("openai", depth=2)


def test_two_clients(recorded: Client, caplog: pytest.LogCaptureFixture) -> None:
    """The first client that records a library keeps doing so; a second one gets a warning."""
    other = Client("other")
    other.instrument("sklearn")
    assert "sklearn is already instrumented: its runs go to another client" in caplog.text
    other.close()
    model = fitted()
    with record(recorded) as calls:
        model.predict(X)
    assert calls.run.name == "LogisticRegression"
