"""Fit every scikit-learn estimator: ``python -m tests.support.otel_ml.versions.estimators``.

Prints a table with a row for each. It shows whether a function that uses the estimator has the same
version in two processes that fit it, before and after use, and loaded from files; and whether other
data change the version if they change the predictions. Arguments select rows. The exit status is
not 0 if a promise is broken.
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils._test_common.instance_generator import _construct_instances
from sklearn.utils.discovery import all_estimators
from sklearn.utils.estimator_checks import _enforce_estimator_tags_X, _enforce_estimator_tags_y

from otel_ml.versions.definition import define
from tests.support.folders import ROOT

# How the estimator of a process was made.
WAYS: Final = ("fitted", "again", "used", "loaded", "mapped", "other")
_MODULE: Final = "tests.support.otel_ml.versions.estimators"
_ROWS: Final = 60
_USES: Final = (
    *("predict", "predict_proba", "predict_log_proba", "decision_function", "transform"),
    *("score_samples", "kneighbors", "radius_neighbors", "apply", "decision_path"),
)
_WORDS: Final = ("span", "trace", "model", "run", "judge", "score", "data", "item", "tag", "log")
_PLACES: Final = {"LabelEncoder", "LabelBinarizer"}
_MISSING: Final = {"MissingIndicator", "SimpleImputer", "KNNImputer", "IterativeImputer"}
# One thread per process: many at once take many times as long.
_THREADS: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Fitted:
    """An estimator in one process: its version, unseen parts, and predictions."""

    name: str
    version: str = ""
    unseen: tuple[str, ...] = ()
    answers: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """An estimator in all processes, by the way in which it was made."""

    name: str
    fitted: dict[str, Fitted]

    @property
    def error(self) -> str:
        """The error if it could not be fitted."""
        return next((fitted.error for fitted in self.fitted.values() if fitted.error), "")

    def is_same(self, way: str) -> bool:
        """Return whether its version equals that of the first process."""
        return self.fitted[way].version == self.fitted["fitted"].version

    @property
    def depends_on_data(self) -> bool:
        """Return whether its predictions change when it is fitted to other data."""
        return self.fitted["other"].answers != self.fitted["fitted"].answers

    def faults(self) -> list[str]:
        """Return the promises that it breaks."""
        if self.error:
            return []
        broken = [f"another version {way}" for way in WAYS[1:-1] if not self.is_same(way)]
        if self.depends_on_data and self.is_same("other"):
            broken.append("other data are not seen")
        broken += [f"not seen: {gap}" for gap in self.fitted["fitted"].unseen]
        return broken


def make_all() -> Iterator[tuple[str, Any]]:
    """Make each estimator as scikit-learn's own tests do, and compositions of several."""
    for name, kind in all_estimators():
        if name == "FrozenEstimator":  # needs a fitted estimator
            continue
        for number, model in enumerate(_construct_instances(kind)):
            yield (f"{name} {number + 1}" if number else name), model
    texts = Pipeline([("count", CountVectorizer()), ("logistic", LogisticRegression())])
    yield "Pipeline of texts", texts
    yield "GridSearchCV of texts", GridSearchCV(texts, {"count__ngram_range": [(1, 1), (1, 2)]})
    yield (
        "FeatureUnion of texts",
        FeatureUnion([("c", CountVectorizer()), ("t", TfidfVectorizer())]),
    )
    yield "ColumnTransformer of texts", ColumnTransformer([("words", TfidfVectorizer(), 0)])
    yield "KNeighborsClassifier by balls", KNeighborsClassifier(algorithm="ball_tree")
    yield "NearestNeighbors by kd", NearestNeighbors(algorithm="kd_tree")
    members = [("near", KNeighborsClassifier()), ("line", LogisticRegression())]
    yield "VotingClassifier of two", VotingClassifier(members)
    steps = [
        ("log", FunctionTransformer(np.cbrt)),
        ("scale", StandardScaler()),
        ("k", KMeans(3, random_state=0)),
    ]
    yield "Pipeline of numbers", Pipeline(steps)


def fit(name: str, model: Any, seed: int) -> Any:
    """Fit an estimator to suitable data; return data for predictions."""
    first, probe = _data(name, model, seed), _data(name, model, 0)
    settings = {"random_state": 0, "min_resources": _ROWS // 2}
    known = settings.keys() & model.get_params(deep=False)
    model.set_params(**{setting: settings[setting] for setting in known})
    if name in _PLACES or name == "MultiLabelBinarizer":
        model.fit(first[0])
    else:
        model.fit(*first)
    return probe[0]


def _data(name: str, model: Any, seed: int) -> tuple[Any, Any]:
    """Make data that differ by seed, with all classes and words."""
    x, classes = make_classification(
        _ROWS, 4, n_informative=3, n_redundant=1, random_state=seed, class_sep=1.5, shift=seed
    )
    x[: 4 + seed, 0] += 5  # a few far away
    random = np.random.RandomState(seed)
    texts = [" ".join(random.choice(_WORDS[seed:], 4)) for _ in range(_ROWS)]
    tags = model.__sklearn_tags__()
    is_regressor = tags.regressor_tags is not None
    y = _enforce_estimator_tags_y(model, x @ [1.0, -2.0, 0.5, 0.1] if is_regressor else classes)
    if name == "ColumnTransformer of texts":
        forms: Any = np.array(texts, dtype=object).reshape(-1, 1)
    elif "of texts" in name or (tags.input_tags.string and not tags.input_tags.two_d_array):
        forms = texts
    elif name in _PLACES:
        forms = classes + seed
    elif name == "MultiLabelBinarizer":
        forms = [text.split() for text in texts]
    elif tags.input_tags.dict:
        forms = [{"word": text.split()[0], "size": len(text)} for text in texts]
    elif tags.input_tags.three_d_array and not tags.input_tags.two_d_array:
        forms = x.reshape(-1, 4, 4)
    elif name == "SparseCoder":  # its dictionary has three columns
        forms = x[:, :3]
    elif name in _MISSING:
        x[1, seed] = np.nan
        forms = x
    else:
        forms = _enforce_estimator_tags_X(model, x)
    return forms, y


def ask(model: Any, probe: Any) -> str:
    """Return a digest of all results of an estimator for some data."""
    found = sha256()
    for use in _USES:
        try:
            answer = getattr(model, use)(probe)
        except Exception:  # noqa: BLE001, S112 - it lacks the method, or needs other data
            continue
        found.update(repr([use, _rounded(answer)]).encode())
    return found.hexdigest()[:16]


def _rounded(answer: Any) -> object:
    if hasattr(answer, "tocsr"):
        answer = answer.tocsr()
        return [_rounded(part) for part in (answer.indptr, answer.indices, answer.data)]
    if isinstance(answer, float):
        return round(answer, 6)
    if isinstance(answer, np.ndarray | tuple | list):
        return [_rounded(part) for part in answer]
    return answer


def fit_all(way: str, names: Sequence[str]) -> Iterator[Fitted]:
    """Fit the estimators in this process; yield the versions of functions that use them."""
    for name, model in make_all():
        if names and name not in names:
            continue
        try:
            probe = fit(name, model, 2 if way == "other" else 1)
        except Exception as error:  # noqa: BLE001 - the table shows it
            yield Fitted(name, error=f"{type(error).__name__}: {error}"[:80])
            continue
        if way == "used":
            ask(model, probe), ask(model, probe), repr(model), model._repr_html_()
        named = model
        if way in {"loaded", "mapped"}:
            named = _from_file(model, "r" if way == "mapped" else None)
        definition = define(_naming(named))
        yield Fitted(name, definition.digest, definition.unseen, ask(named, probe))


def _from_file(model: Any, mmap_mode: str | None) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        joblib.dump(model, Path(folder, "model"))
        return joblib.load(Path(folder, "model"), mmap_mode=mmap_mode)


def _naming(model: Any) -> Any:
    def predict(question: Any) -> Any:
        return model.predict(question)

    return predict


def survey(names: Sequence[str] = ()) -> list[Row]:
    """Fit the estimators in a process for each way, each with a different hash seed."""
    command = [sys.executable, "-W", "ignore", "-m", _MODULE, "--way"]
    processes = {
        way: subprocess.Popen(
            [*command, way, *names],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **_THREADS, "PYTHONHASHSEED": str(number)},
        )
        for number, way in enumerate(WAYS)
    }
    rows: dict[str, dict[str, Fitted]] = {}
    for way, process in processes.items():
        written, _ = process.communicate(timeout=600)
        assert process.returncode == 0
        for line in written.splitlines():
            told = json.loads(line)
            fitted = Fitted(**{**told, "unseen": tuple(told["unseen"])})
            rows.setdefault(fitted.name, {})[way] = fitted
    return [Row(name, fitted) for name, fitted in rows.items()]


def write(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the table and its totals."""
    yield f"{'estimator':32}{'elsewhere':>11}{'used':>6}{'loaded':>8}{'mapped':>8}  other data"
    for row in rows:
        if row.error:
            yield f"{row.name:32}not fitted: {row.error}"
            continue
        same = ["same" if row.is_same(way) else "OTHER" for way in WAYS[1:-1]]
        data = "same answers" if not row.depends_on_data else "other answers"
        version = "same version" if row.is_same("other") else "other version"
        marks = "".join(f"{text:>{width}}" for text, width in zip(same, (11, 6, 8, 8), strict=True))
        yield f"{row.name:32}{marks}  {version}, {data}"
    fitted = [row for row in rows if not row.error]
    kinds = len({row.name.partition(" ")[0] for row in fitted})
    yield ""
    yield f"{len(fitted)} of {len(rows)} are fitted, {kinds} classes; of these have one version"
    for way, words in zip(
        WAYS[1:-1],
        ("in two processes", "after use", "from a file", "mapped from a file"),
        strict=True,
    ):
        yield f"  {sum(row.is_same(way) for row in fitted)} {words}"
    depending = [row for row in fitted if row.depends_on_data]
    seen = sum(not row.is_same("other") for row in depending)
    yield f"{len(depending)} answer otherwise of other data, {seen} have another version then"


def main() -> int:
    """Print the table, or in a child process the versions of its way."""
    if sys.argv[1:2] == ["--way"]:
        warnings.simplefilter("ignore")
        for fitted in fit_all(sys.argv[2], sys.argv[3:]):
            sys.stdout.write(f"{json.dumps(asdict(fitted))}\n")
        return 0
    rows = survey(sys.argv[1:])
    sys.stdout.write("".join(f"{line}\n" for line in write(rows)))
    return any(row.faults() for row in rows)


if __name__ == "__main__":
    sys.exit(main())
