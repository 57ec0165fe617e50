"""Data metrics of any table, checked against pandas, scikit-learn and fairlearn's formulas."""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import polars as pl
import pyarrow as pa
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import iqr, wasserstein_distance
from sklearn.metrics import recall_score
from sklearn.model_selection import cross_val_predict
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import otel_ml
from otel_ml import Dataset, InputComponent, ModelProfile
from otel_ml.metrics import Metric
from tests.support.otel_ml.recording import Recording, attributes

ROWS: Final = 2_000
RANDOM: Final = np.random.default_rng(11)
SEX: Final = RANDOM.choice(["f", "m", "x"], ROWS, p=[0.45, 0.54, 0.01])
AGE: Final = RANDOM.normal(40, 12, ROWS).round(1)
TRUTH: Final = (RANDOM.random(ROWS) < np.where(SEX == "m", 0.5, 0.35)).astype(int)
SAID: Final = np.where(RANDOM.random(ROWS) < 0.8, TRUTH, 1 - TRUTH)
FRAME: Final = pd.DataFrame(
    {
        "age": np.where(RANDOM.random(ROWS) < 0.1, np.nan, AGE),
        "sex": SEX,
        "note": [None if place % 4 == 0 else f"n{place % 7}" for place in range(ROWS)],
        "site": "north",
        "said": SAID,
        "churned": TRUTH,
    }
)
MAKES: Final[dict[str, Callable[[], Any]]] = {
    "pandas": lambda: FRAME,
    "polars": lambda: pl.from_pandas(FRAME),
    "pyarrow": lambda: pa.Table.from_pandas(FRAME),
    "rows": lambda: FRAME.to_dict("records"),
    "numpy": lambda: FRAME.to_records(index=False),
}


@pytest.fixture(scope="module")
def found() -> dict[str, float]:
    return otel_ml.data_metrics(
        FRAME, label="churned", sensitive="sex", prediction="said", positive=1
    )


def test_missing_and_distinct_are_those_of_pandas(found: dict[str, float]) -> None:
    """Missing shares, distinct counts and constant columns match pandas."""
    for column in FRAME:
        assert found[f"missing.{column}"] == pytest.approx(FRAME[column].isna().mean())
        assert found[f"distinct.{column}"] == FRAME[column].nunique()
    assert found["constant"] == (FRAME.nunique() <= 1).sum() == 1
    assert (found["rows"], found["columns"]) == (ROWS, 6)


def test_duplicates_are_those_of_pandas() -> None:
    """The share of rows that repeat an earlier row matches pandas, including missing values."""
    frame = pd.DataFrame({"a": [1, 1, 2, None, None, 1], "b": ["x", "x", "x", None, None, "y"]})
    assert otel_ml.data_metrics(frame)["duplicates"] == pytest.approx(frame.duplicated().mean())


def test_balance_is_entropy_over_its_maximum(found: dict[str, float]) -> None:
    """A label's balance is the entropy of its shares divided by the maximum entropy."""
    shares = FRAME["churned"].value_counts(normalize=True)
    entropy = -(shares * np.log(shares)).sum() / np.log(len(shares))
    assert found["balance.churned"] == pytest.approx(entropy)
    assert found["balance.churned.smallest"] == pytest.approx(shares.min())


def by_sex(values: "pd.Series[Any]", of: "pd.Series[bool]") -> "pd.Series[float]":
    judged = FRAME["sex"] != "x"  # x has about 20 rows, too few
    rates: pd.Series[float] = values[judged & of].groupby(FRAME["sex"]).mean()
    return rates


def test_bias_is_that_of_fairlearn(found: dict[str, float]) -> None:
    """Parity difference and disparate impact match fairlearn: highest vs lowest group rate."""
    rates = by_sex(FRAME["said"], FRAME["said"] >= 0)
    recalls = {
        sex: recall_score(rows["churned"], rows["said"])
        for sex, rows in FRAME[FRAME["sex"] != "x"].groupby("sex")
    }
    assert found["bias.sex.parity_difference"] == pytest.approx(rates.max() - rates.min())
    assert found["bias.sex.disparate_impact"] == pytest.approx(rates.min() / rates.max())
    gap = max(recalls.values()) - min(recalls.values())
    assert found["bias.sex.equal_opportunity_difference"] == pytest.approx(gap)
    assert found["bias.sex.rate.f"] == pytest.approx(rates["f"])


def test_small_groups_are_not_judged(found: dict[str, float]) -> None:
    """A group of fewer than 30 rows is counted but not compared."""
    assert 0 < (FRAME["sex"] == "x").sum() < 30
    assert found["bias.sex.count.x"] == (FRAME["sex"] == "x").sum()
    assert "bias.sex.rate.x" not in found
    assert (found["bias.sex.groups"], found["bias.sex.groups_not_judged"]) == (2, 1)


def test_intervals_are_those_of_newcombe(found: dict[str, float]) -> None:
    """The interval of a difference is Newcombe's (1998), method 10, computed here by hand."""
    counts = FRAME[FRAME["sex"] != "x"].groupby("sex")["said"].agg(["sum", "count"])

    def bounds(passed: float, n: float) -> tuple[float, float, float]:
        z, p = 1.959963984540054, passed / n
        middle = (p + z * z / 2 / n) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n) / (1 + z * z / n)
        return p, middle - half, middle + half

    (p1, l1, u1), (p2, l2, u2) = sorted(bounds(*counts.loc[sex]) for sex in ("f", "m"))
    low = (p2 - p1) - math.sqrt((p2 - l2) ** 2 + (u1 - p1) ** 2)
    high = (p2 - p1) + math.sqrt((u2 - p2) ** 2 + (p1 - l1) ** 2)
    name = "bias.sex.parity_difference"
    assert (found[f"{name}.low"], found[f"{name}.high"]) == pytest.approx((low, high))
    assert found[f"{name}.n"] == counts["count"].sum()
    assert found["bias.sex.disparate_impact.low"] < found["bias.sex.disparate_impact"]


def test_interval_of_a_ratio_covers() -> None:
    """For 300 tables without bias, the ratio's interval contains 1 in about 95 % of them."""
    held = 0
    for _ in range(300):
        said = RANDOM.random(400) < 0.3
        rows = [{"g": place % 2, "y": bool(value)} for place, value in enumerate(said)]
        told = otel_ml.data_metrics(rows, label="y", sensitive="g")
        # The ratio is the lower rate over the higher, so 1 can only lie above the interval.
        held += told["bias.g.disparate_impact.high"] >= 1
    assert 0.92 <= held / 300 <= 0.985


def test_ratio_of_a_group_without_any() -> None:
    """A group whose rate is 0 has a ratio of 0 with an upper bound below 1."""
    rows = [{"g": "a", "y": place < 20} for place in range(40)]
    rows += [{"g": "b", "y": False} for _ in range(40)]
    told = otel_ml.data_metrics(rows, label="y", sensitive="g")
    assert told["bias.g.disparate_impact"] == told["bias.g.disparate_impact.low"] == 0
    assert 0 < told["bias.g.disparate_impact.high"] < 1


def test_leaks_are_found() -> None:
    """A copy of the label leaks almost all of it, a column that is right for 90 % leaks 0.64."""
    label = RANDOM.integers(0, 2, 20_000)
    frame = pd.DataFrame(
        {
            "label": label,
            "copy": np.where(label == 1, "yes", "no"),
            "shifted": label * 10.0 + RANDOM.random(20_000),
            "often": np.where(RANDOM.random(20_000) < 0.9, label, 1 - label),
            "id": np.arange(20_000),
            "noise": RANDOM.normal(size=20_000),
        }
    )
    told = otel_ml.data_metrics(frame, label="label")
    assert told["leak.copy"] > 0.999
    assert told["leak.shifted"] > 0.95
    assert told["leak.often"] == pytest.approx(0.64, abs=0.02)  # (2 · 0.9 - 1)²
    assert told["leak.id"] < 0.01
    assert told["leak.noise"] < 0.01
    assert "leak.label" not in told


def test_leak_of_numbers_is_that_of_a_tree() -> None:
    """The leak of a numeric column matches the cross-validated skill of scikit-learn's trees."""
    x = RANDOM.normal(size=5_000)
    y = x + RANDOM.normal(size=5_000)
    told = otel_ml.data_metrics(pd.DataFrame({"x": x, "y": y}), label="y")
    tree = DecisionTreeRegressor(min_samples_leaf=80)
    guess = cross_val_predict(tree, x[:, None], y, cv=5)
    assert told["leak.x"] == pytest.approx(1 - ((y - guess) ** 2).mean() / y.var(), abs=0.03)

    high = y > 0
    told = otel_ml.data_metrics(pd.DataFrame({"x": x, "y": high}), label="y")
    trees = DecisionTreeClassifier(min_samples_leaf=80)
    shares = cross_val_predict(trees, x[:, None], high, cv=5, method="predict_proba")[:, 1]
    skill = 1 - ((high - shares) ** 2).mean() / high.var()
    assert told["leak.x"] == pytest.approx(skill, abs=0.03)


@pytest.mark.parametrize("make", MAKES)
def test_tables_of_any_make_say_the_same(make: str, found: dict[str, float]) -> None:
    """A table gives the same metrics in every library."""
    table = MAKES[make]()
    told = otel_ml.data_metrics(
        table, label="churned", sensitive=["sex"], prediction="said", positive=1
    )
    assert told == pytest.approx(found)


def test_any_cell_is_counted() -> None:
    """Lists, dicts, decimals, dates and arrays are counted like other values."""
    rows = [
        {"a": [1, 2], "b": {"x": 1}, "c": Decimal("NaN"), "d": np.datetime64("NaT"), "e": pd.NA},
        {"a": [1, 2], "b": {"x": 2}, "c": Decimal(1), "d": np.datetime64("2026-01-01"), "e": 1},
        {"a": np.array([1]), "b": None, "c": np.float32("nan"), "f": float("inf")},
    ]
    told = otel_ml.data_metrics(rows)
    assert [told[f"distinct.{name}"] for name in "abcdef"] == [2, 2, 1, 1, 1, 1]
    assert [told[f"missing.{name}"] for name in "abcdef"] == pytest.approx(
        [0, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3]
    )


def test_empty_tables() -> None:
    """A table without rows has only row and column counts."""
    assert otel_ml.data_metrics([]) == {"rows": 0.0, "columns": 0.0}
    assert otel_ml.data_metrics(FRAME.head(0), label="churned", sensitive="sex") == {
        "rows": 0.0,
        "columns": 6.0,
    }


def test_wide_tables_are_bounded() -> None:
    """With more than 200 columns, only the first ones and named columns have their own metrics."""
    told = otel_ml.data_metrics([{f"c{place}": place for place in range(300)}], label="c299")
    names = [name for name in told if name.startswith("missing.")]
    assert (len(names), names[-1], told["columns"]) == (200, "missing.c299", 300)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label": "nothing"}, "Invalid label 'nothing': expected one of the columns"),
        ({"sensitive": ["sex", "b"]}, "Invalid sensitive 'b': expected one of the columns"),
        ({"sensitive": "sex"}, "Invalid sensitive 'sex': expected label or prediction to be"),
        ({"sensitive": "sex", "label": "note"}, "Invalid positive None: expected the favourable"),
        (
            {"sensitive": "sex", "label": "said", "positive": 2},
            "Invalid positive 2: expected a value of 'said'",
        ),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], said: str) -> None:
    """An unknown column or an incomplete request raises an error that names the expected value."""
    with pytest.raises(ValueError, match="^" + said.replace("(", r"\(")):
        otel_ml.data_metrics(FRAME, **options)


# Drift compared with a reference.

MOVED: Final = FRAME.assign(
    age=FRAME["age"] + 6,
    sex=np.where(np.arange(ROWS) % 5 == 0, "x", FRAME["sex"]),
    said=FRAME["said"].astype(str) + "?",
)


def shares_of(values: "pd.Series[Any]", domain: list[Any]) -> list[float]:
    return [float((values == value).sum()) / values.notna().sum() for value in domain]


def test_drift_is_that_of_scipy() -> None:
    """Numbers drift by Wasserstein distance over the IQR, codes by Jensen-Shannon distance."""
    told = otel_ml.data_metrics(MOVED, reference=FRAME)
    ages = FRAME["age"].dropna()
    assert told["drift.age"] == pytest.approx(
        wasserstein_distance(ages, ages + 6) / iqr(ages), abs=0.03
    )
    shares = [shares_of(frame["sex"], ["f", "m", "x"]) for frame in (FRAME, MOVED)]
    assert told["drift.sex"] == pytest.approx(jensenshannon(*shares, base=2), abs=1e-6)
    assert told["drift.said"] == pytest.approx(1)  # the two sides share no values
    assert (told["drift.site"], told["drift.churned"]) == (0, 0)
    assert (told["drifted"], told["drift_not_judged"]) == (3, 0)


def test_no_drift_between_halves() -> None:
    """Two halves of one table do not drift, and a table with few rows is not judged."""
    drawn = np.random.default_rng(0).permutation(ROWS)
    told = otel_ml.data_metrics(
        FRAME.iloc[drawn[: ROWS // 2]], reference=FRAME.iloc[drawn[ROWS // 2 :]]
    )
    assert told["drifted"] == 0
    few = otel_ml.data_metrics(FRAME[:50], reference=FRAME)
    assert (few["drifted"], few["drift_not_judged"]) == (0, 6)
    assert not [name for name in few if name.startswith("drift.")]


def test_what_breaks_is_drift() -> None:
    """A column whose values go missing or become text counts as drifted."""
    numbers = pd.DataFrame({"a": AGE, "b": AGE})
    broken = [
        {"a": None if place % 4 == 0 else value, "b": str(value)}
        for place, value in enumerate(AGE.tolist())
    ]
    told = otel_ml.data_metrics(broken, reference=numbers)
    assert told["drift.a"] == pytest.approx(jensenshannon([1, 0], [0.75, 0.25], base=2))
    assert told["drift.b"] == pytest.approx(1)
    assert told["drifted"] == 2


@pytest.mark.parametrize("rows", [600, 30])
def test_column_of_one_side_is_drift(rows: int) -> None:
    """A removed, renamed or new column has a drift of 1, however few rows there are."""
    before = [{"age": row % 40, "income": row} for row in range(rows)]
    gone = otel_ml.data_metrics([{"age": row["age"]} for row in before], reference=before)
    assert (gone["drift.income"], gone["drifted"]) == (1, 1)
    new = otel_ml.data_metrics([{**row, "city": "Ghent"} for row in before], reference=before)
    assert (new["drift.city"], new["drifted"]) == (1, 1)
    renamed = pd.DataFrame(before).rename(columns={"income": "Income"})
    both = otel_ml.data_metrics(renamed, reference=pd.DataFrame(before))
    assert (both["drift.income"], both["drift.Income"], both["drifted"]) == (1, 1, 2)


def test_column_without_values_or_a_profile_is_no_new_column() -> None:
    """A new column counts as drift only if it has values and the reference is a table."""
    before = [{"age": value} for value in AGE.tolist()]
    after = [{"age": value, "empty": None} for value in AGE.tolist()]
    assert otel_ml.data_metrics(after, reference=before)["drifted"] == 0
    profile = ModelProfile(components=[InputComponent("age", path="inputs.age")])
    profile.build(inputs=before)
    after = [{"age": value, "label": "a"} for value in AGE.tolist()]
    assert otel_ml.data_metrics(after, reference=profile)["drifted"] == 0
    gone = otel_ml.data_metrics([{"label": "a"}] * 200, reference=profile)
    assert (gone["drift.age"], gone["drifted"]) == (1, 1)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([[None, 1], [None, 2], [3, 3]] * 10, columns=["a", "a"]),
        pa.Table.from_arrays(
            [pa.array([None, None, 3] * 10), pa.array([1, 2, 3] * 10)], ["a", "a"]
        ),
        [{1: None, "1": 1}, {1: None, "1": 2}, {1: 3, "1": 3}] * 10,
    ],
    ids=["pandas", "pyarrow", "keys"],
)
def test_columns_with_one_name_are_both_measured(frame: Any) -> None:
    """A second column with the same name is measured under that name with a number."""
    told = otel_ml.data_metrics(frame)
    [name] = {key.split(".")[1] for key in told if key.startswith("missing.")}
    assert told["columns"] == 2
    assert told[f"missing.{name}"] == pytest.approx(2 / 3)
    assert told[f"missing.{name}.2"] == 0


def test_reference_of_any_make() -> None:
    """The reference can be a data set, rows, a profile or a table."""
    rows = [{"inputs": {"age": value}, "expected": "a"} for value in AGE.tolist()]
    profile = ModelProfile(components=[InputComponent("age", path="inputs.age")])
    profile.build([row["inputs"] for row in rows])
    moved = [{"age": value + 6} for value in AGE.tolist()]
    told = [
        otel_ml.data_metrics(moved, reference=reference)["drift.age"]
        for reference in (Dataset("ages", rows), profile, pd.DataFrame({"age": AGE}))
    ]
    assert told == pytest.approx([told[0]] * 3)
    with pytest.raises(ValueError, match=r"^Invalid reference 'FRAME': expected a table"):
        otel_ml.data_metrics(FRAME, reference="FRAME")


# Where data metrics are logged.


def points(recording: Recording) -> dict[str, tuple[str, float]]:
    told: dict[str, tuple[str, float]] = {}
    for update in recording.records("update"):
        said = attributes(update)
        names, values = said.get("otel_ml.metric.names", ()), said.get("otel_ml.metric.values", ())
        sources = said.get("otel_ml.metric.sources", ["logged"] * len(names))
        told.update(zip(names, zip(sources, values, strict=True), strict=True))
    return told


def test_run_logs_them(recording: Recording) -> None:
    """Inside a run, data metrics are logged to the run with the source ``data``."""
    with recording.client.run("fit") as run:
        run.log_metric("loss", 0.5)
        told = recording.client.data_metrics(FRAME)
    assert points(recording) == {
        "loss": ("logged", 0.5),
        **{name: ("data", value) for name, value in told.items()},
    }
    metrics: dict[str, Metric] = {**told, "loss": [0.5]}
    assert run.metrics == metrics


def test_model_logs_them(recording: Recording) -> None:
    """A model's handle logs data metrics to that model version."""
    model = recording.client.model("churn", {"rate": 0.1})
    told = model.data_metrics(FRAME, label="churned")
    assert model.metrics == told
    assert points(recording) == {name: ("data", value) for name, value in told.items()}


def test_nothing_is_logged_elsewhere(recording: Recording) -> None:
    """Outside a run, data metrics are only returned."""
    recording.client.data_metrics(FRAME)
    assert recording.spans() == []


def test_data_set_logs_them(recording: Recording) -> None:
    """Data metrics of a data set are logged to its version, and the version is saved with them."""
    dataset = Dataset("qa", [{"inputs": {"q": place % 3}, "expected": "a"} for place in range(9)])
    told = recording.client.data_metrics(dataset, label="expected")
    assert (told["rows"], told["distinct.q"], told["distinct.expected"]) == (9, 3, 1)
    assert points(recording) == {name: ("data", value) for name, value in told.items()}
    *_, update = recording.records("update")
    said = attributes(update)
    assert (said["otel_ml.target.kind"], said["otel_ml.target.model"]) == ("dataset", "qa")
    assert said["otel_ml.target.version"] == dataset.digest
    assert len(recording.records("item")) == 9
