"""Cases of tests/unit/otel_ml/versions/test_estimators.py that start processes."""

import warnings
from typing import Any

import pytest

from tests.support.examples import AT_NIGHT
from tests.support.otel_ml.versions.estimators import survey, write
from tests.support.sampling import harder

# One estimator for each case in which loading or use once changed the version, and controls.
_FEW = (
    *("CountVectorizer", "TfidfVectorizer", "HashingVectorizer", "MultiLabelBinarizer"),
    *("KNeighborsClassifier", "KNeighborsClassifier by balls", "KernelDensity", "Isomap"),
    *("GridSearchCV", "HalvingRandomSearchCV", "GridSearchCV of texts", "Pipeline of texts"),
    *("ColumnTransformer of texts", "HistGradientBoostingClassifier", "RandomForestClassifier"),
)


def _check(names: tuple[str, ...]) -> int:
    rows = survey(names)
    assert {row.name: row.faults() for row in rows if row.faults()} == {}, "\n".join(write(rows))
    assert [row.error for row in rows if row.error] == []
    return len(rows)


@harder
def test_few_estimators() -> None:
    """An estimator keeps its version when refitted, used or loaded; other data give another one."""
    few = _FEW if AT_NIGHT else _FEW[::2]
    assert _check(few) == len(few)


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Ignore scikit-learn's warnings about small data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
