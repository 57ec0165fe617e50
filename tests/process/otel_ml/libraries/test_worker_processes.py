"""Workers of grid searches and other pools record nothing, and return the same results.

Each case is a program, because worker processes inherit their parent's state.
"""

from pathlib import Path
from typing import Final

import pytest

from tests.support.otel_ml.scripts import ask_script
from tests.support.sampling import at_night

# A class defined in a script is pickled by value, with its methods.
PREAMBLE: Final = """
import json, sys
import joblib
import numpy as np
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from otel_ml import Client

random = np.random.default_rng(0)
x = random.normal(size=(40, 3))
y = (x[:, 0] > 0).astype(int)
spans = InMemorySpanExporter()
client = Client("search", exporter=spans)

class Own(ClassifierMixin, BaseEstimator):
    def __init__(self, c=1.0):
        self.c = c

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        self.inner_ = LogisticRegression(C=self.c).fit(x, y)
        return self

    def predict(self, x):
        return self.inner_.predict(x)

def find_runs():
    client.flush()
    return sorted(
        [span.attributes["otel_ml.model.name"], span.attributes["otel_ml.kind"]]
        for span in spans.get_finished_spans()
        if "otel_ml.record" not in span.attributes
    )

def is_patched(method):
    return hasattr(method, "__wrapped__"), "otel_ml" in sys.modules
"""


@at_night
@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
@pytest.mark.parametrize("model", ["LogisticRegression", "Own"])
def test_grid_search(model: str, backend: str, tmp_path: Path) -> None:
    """A grid search with two workers is one training run, with the same result as unrecorded."""
    name = "C" if model == "LogisticRegression" else "c"
    found = ask_script(
        tmp_path,
        f"""{PREAMBLE}
def search():
    with joblib.parallel_backend("{backend}"):
        found = GridSearchCV({model}(), {{"{name}": [0.01, 1.0]}}, n_jobs=2, cv=3).fit(x, y)
    return [found.best_params_, found.cv_results_["mean_test_score"].tolist()]

if __name__ == "__main__":
    bare = search()
    client.instrument("sklearn")
    recorded = search()
    print(json.dumps([bare == recorded, find_runs()]))
""",
    )
    assert found == [True, [["GridSearchCV", "training"]]]


@at_night
def test_worker_of_a_class_by_value(tmp_path: Path) -> None:
    """A class of a script pickled by value works in a process without otel-ml."""
    found = ask_script(
        tmp_path,
        f"""{PREAMBLE}
def ask(model):
    import sys
    return type(model).predict(model, x).tolist(), "otel_ml" in sys.modules

if __name__ == "__main__":
    client.instrument("sklearn")
    model = Own().fit(x, y)
    [answer] = joblib.Parallel(n_jobs=2)([joblib.delayed(ask)(model)])
    print(json.dumps([answer == (model.predict(x).tolist(), False), find_runs()]))
""",
    )
    assert found == [True, [["Own", "model"], ["Own", "training"]]]


def test_workers_that_are_forked(tmp_path: Path) -> None:
    """A forked worker of joblib records nothing; a worker of the program's own pool records."""
    found = ask_script(
        tmp_path,
        f"""{PREAMBLE}
import multiprocessing

def ask(model):
    model.predict(x)
    return client.stats().sequence  # of the runs and records of this process

if __name__ == "__main__":
    model = LogisticRegression().fit(x, y)
    client.instrument("sklearn")
    tasks = [joblib.delayed(ask)(model) for _ in range(2)]
    ours = joblib.Parallel(n_jobs=2, backend="multiprocessing")(tasks)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        own = pool.map(ask, [model])
    print(json.dumps([ours, [count > 0 for count in own]]))
""",
    )
    assert found == [[0, 0], [True]]


@at_night
def test_calls_in_threads_of_a_pool(tmp_path: Path) -> None:
    """Calls that the program itself makes in a pool of threads are each a run."""
    found = ask_script(
        tmp_path,
        f"""{PREAMBLE}
if __name__ == "__main__":
    model = LogisticRegression().fit(x, y)
    client.instrument("sklearn")
    tasks = [joblib.delayed(model.predict)(x) for _ in range(3)]
    joblib.Parallel(n_jobs=2, prefer="threads")(tasks)
    print(json.dumps(find_runs()))
""",
    )
    assert found == [["LogisticRegression", "model"]] * 3


@at_night
def test_a_service_that_forks(tmp_path: Path) -> None:
    """A server's forked worker records its predictions."""
    found = ask_script(
        tmp_path,
        f"""{PREAMBLE}
import os
if __name__ == "__main__":
    model = LogisticRegression().fit(x, y)
    client.instrument("sklearn")
    if os.fork() == 0:
        model.predict(x)
        print(json.dumps(find_runs()), flush=True)
        os._exit(0)
    os.wait()
""",
    )
    assert found == [["LogisticRegression", "model"]]
