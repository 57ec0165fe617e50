"""Model profiles: built from tables, validating runs, saved, and compared with each other."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import polars as pl
import pyarrow as pa
import pytest
from scipy.stats import iqr, wasserstein_distance
from sklearn.metrics import precision_score, recall_score

from otel_ml import (
    ActualComponent,
    EvalComponent,
    InputComponent,
    MeanScore,
    ModelProfile,
    OutputComponent,
    PrecisionScore,
    RecallScore,
    Tag,
)
from otel_ml.profiles import (
    ClassPrecisionScore,
    ClassRecallScore,
    Component,
    DataException,
    ProfileScore,
    ProfileStateException,
)
from otel_ml.statistics.fields import FieldSketch
from otel_ml.statistics.sketches import sketch_values

ROWS: Final = 2_000
RANDOM: Final = np.random.default_rng(3)
AGES: Final = RANDOM.normal(40, 12, ROWS).round(1)
CITIES: Final = RANDOM.choice(["Ghent", "Lund", "Oslo"], ROWS, p=[0.5, 0.3, 0.2])
LABELS: Final = RANDOM.choice(["no", "yes"], ROWS, p=[0.7, 0.3])
TRUTHS: Final = np.where(RANDOM.random(ROWS) < 0.9, LABELS, "yes")
INPUTS: Final = pd.DataFrame({"age": AGES, "city": CITIES})
MAKES: Final[dict[str, Callable[[], Any]]] = {
    "pandas": lambda: INPUTS,
    "polars": lambda: pl.from_pandas(INPUTS),
    "pyarrow": lambda: pa.Table.from_pandas(INPUTS),
    "rows": lambda: INPUTS.to_dict("records"),
    "columns": lambda: {"age": AGES.tolist(), "city": CITIES.tolist()},
    "numpy": lambda: INPUTS.to_records(index=False),
}


def kind_of_error(output: str, actual: str) -> str:
    return ("T" if output == actual else "F") + ("P" if output == "yes" else "N")


def make_profile(**options: Any) -> ModelProfile:
    return ModelProfile(
        "churn",
        "1.0.0",
        components=[
            InputComponent("age", path="inputs.age", dtype="FLOAT", **options),
            InputComponent("city", dtype="CAT"),
            OutputComponent("prediction", path="outputs.label", dtype="CAT"),
            ActualComponent("churned", dtype="CAT"),
            EvalComponent("error", kind_of_error, dtype="CAT", output="outputs.label"),
        ],
        scores=[
            PrecisionScore("precision", "error"),
            RecallScore("recall", "error"),
            MeanScore("mean age", "age", preference="low"),
            ClassPrecisionScore("of no", ["prediction", "churned"], positive="no"),
            ClassRecallScore("found no", ["prediction", "churned"], positive="no"),
        ],
    )


def build(profile: ModelProfile, inputs: Any = INPUTS) -> ModelProfile:
    outputs = [{"label": label} for label in LABELS.tolist()]
    profile.build(inputs, outputs, TRUTHS.tolist())
    return profile


def tags(found: list[Tag]) -> dict[str, object]:
    return {tag.name: tag.value for tag in found}


@pytest.fixture(scope="module", name="built")
def _built() -> ModelProfile:
    return build(make_profile())


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_tables_of_any_make_are_the_same_profile(make: Any, built: ModelProfile) -> None:
    """A profile of the same values has the same digest, whatever kind of table they are in."""
    assert build(make_profile(), make()).digest == built.digest


def test_sketches_know_the_values(built: ModelProfile) -> None:
    """Range, mean and shares of a sketch match numpy and pandas."""
    age, city = (built.components[name].sketch for name in ("age", "city"))
    assert age is not None
    assert city is not None
    assert (age.number.low, age.number.high, age.n) == (AGES.min(), AGES.max(), ROWS)
    assert age.number.mean == pytest.approx(AGES.mean(), rel=1e-5)
    assert dict(city.category.values) == pd.Series(CITIES).value_counts().to_dict()


def test_scores_are_those_of_sklearn(built: ModelProfile) -> None:
    """Precision and recall match scikit-learn, both from errors and from classes."""
    wanted = [
        precision_score(TRUTHS, LABELS, pos_label="yes"),
        recall_score(TRUTHS, LABELS, pos_label="yes"),
        AGES.mean(),
        precision_score(TRUTHS, LABELS, pos_label="no"),
        recall_score(TRUTHS, LABELS, pos_label="no"),
    ]
    assert [score.result for score in built.scores.values()] == pytest.approx(wanted)


def test_all_tags_of_a_good_run(built: ModelProfile) -> None:
    """A valid run gets a tag for each component, in the profile's group."""
    found = built.validate_all({"age": 41, "city": "Oslo"}, {"label": "yes"}, "yes")
    assert found == [
        Tag("age", 41, "profile-input", "churn@1.0.0"),
        Tag("city", "Oslo", "profile-input", "churn@1.0.0"),
        Tag("prediction", "yes", "profile-output", "churn@1.0.0"),
        Tag("churned", "yes", "profile-actual", "churn@1.0.0"),
        Tag("error", "TP", "profile-score", "churn@1.0.0"),
    ]


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({"age": 200, "city": "Oslo"}, {"age": 200, "age-error": "UpperBoundError"}),
        ({"age": -9, "city": "Oslo"}, {"age": -9, "age-error": "LowerBoundError"}),
        ({"age": None, "city": "Oslo"}, {"age-error": "Value None"}),
        ({"city": "Oslo"}, {"age-error": "Value None"}),
        ({"age": math.nan, "city": "Oslo"}, {"age-error": "Value NaN"}),
        ({"age": pd.NA, "city": "Oslo"}, {"age-error": "Value NaN"}),
        ({"age": "41", "city": "Oslo"}, {"age-error": "DataException"}),
        ({"age": True, "city": "Oslo"}, {"age-error": "DataException"}),
        ({"age": 41, "city": "Rome"}, {"age": 41, "city": "Rome", "city-error": "Domain Error"}),
        ({"age": 41, "city": ["Oslo"]}, {"age": 41, "city-error": "DataException"}),
    ],
)
def test_what_is_wrong_is_a_tag(
    built: ModelProfile, inputs: dict[str, Any], error: dict[str, Any]
) -> None:
    """A value that is out of bounds, missing, of another type or new gets an error tag."""
    wanted = error if "city-error" in error else {**error, "city": "Oslo"}
    assert tags(built.validate_input(inputs)) == wanted


def test_own_bounds_come_before_those_of_the_table() -> None:
    """`low`, `high` and `values` decide which values are valid, whatever the table contains."""
    profile = ModelProfile(
        components=[
            InputComponent("age", low=0, high=120, dtype="INT"),
            InputComponent("plan", dtype="CAT", values=["free", "paid"]),
        ]
    )
    profile.build(
        [{"age": age, "plan": plan} for age, plan in [(1, "free"), (130, "old"), (2.5, None)]]
    )
    assert [profile.components[name].invalid for name in ("age", "plan")] == [2, 2]
    assert tags(profile.validate_input({"age": 119, "plan": "old"})) == {
        "age": 119,
        "plan": "old",
        "plan-error": "Domain Error",
    }


def test_an_extractor_that_raises_is_an_error_of_the_run() -> None:
    """If an extractor raises, validation still returns and tags the component with an error."""
    profile = ModelProfile(
        components=[InputComponent("share", extractor=lambda told: 1 / told["all"])]
    )
    profile.build([{"all": 1}, {"all": 4}])
    assert tags(profile.validate_input({"all": 0})) == {"share-error": "DataException"}
    assert tags(profile.validate_input({"all": 2})) == {"share": 0.5}


def test_an_unbuilt_profile_validates_nothing() -> None:
    """Validating with a profile that was not built raises."""
    with pytest.raises(ProfileStateException, match=r"churn@1\.0\.0 was not built"):
        make_profile().validate_input({})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((INPUTS,), "outputs None: expected a table, because component 'prediction'"),
        ((INPUTS, LABELS.tolist()[:3], TRUTHS.tolist()), "equal numbers of rows"),
        (("text", [1], [2]), "inputs of type str"),
        (({"age": 5}, [1], [2]), "inputs with a column of type int"),
        (({"city": "Oslo"}, [1], [2]), "inputs with a column of type str"),
        (({"age": [5, 6], "city": ["Oslo"]}, [1], [2]), "inputs: expected columns of equal length"),
        ((pd.DataFrame({"age": ["x"], "city": ["y"]}), [{"label": "a"}], ["a"]), "'age'"),
    ],
)
def test_wrong_tables_are_refused(given: tuple[Any, ...], message: str) -> None:
    """Building from a missing, misshapen or mistyped table raises and names the part."""
    with pytest.raises(ValueError, match=message):
        make_profile().build(*given)


@pytest.mark.parametrize(
    "make",
    [
        lambda: InputComponent("", dtype="CAT"),
        lambda: InputComponent("a", dtype="FLAOT"),
        lambda: InputComponent("a", dtype="CAT", low=1),
        lambda: InputComponent("a", low=2, high=1),
        lambda: InputComponent("a", path="inputs.a", extractor=len),
        lambda: InputComponent("a", values=[1]),
        lambda: EvalComponent("a", 1),  # type: ignore[arg-type]  # that is what is tried
        lambda: MeanScore("a", ["b", "c"]),
        lambda: MeanScore("a", "b", preference="middle"),
        lambda: ModelProfile("a@b"),
        lambda: ModelProfile("a", components=["b"]),  # type: ignore[list-item]  # likewise
        lambda: ModelProfile("a", components=[InputComponent("b"), OutputComponent("b")]),
    ],
)
def test_wrong_arguments_are_refused(make: Callable[[], object]) -> None:
    """Invalid components, scores and profiles are refused when they are made."""
    with pytest.raises(ValueError, match="Invalid"):
        make()


def test_a_saved_profile_is_the_same(built: ModelProfile, tmp_path: Path) -> None:
    """A loaded profile has the same content and tags; only its functions must be given again."""
    path = built.save(tmp_path)
    assert path.name == "churn@1.0.0.json"
    whole = ModelProfile.load(path, {"error": kind_of_error})
    assert whole.digest == built.digest
    run = ({"age": 500, "city": "Rome"}, {"label": "no"}, "yes")
    assert whole.validate_all(*run) == built.validate_all(*run)
    without = ModelProfile.load(path)
    assert tags(without.validate_eval({"label": "no"}, "yes")) == {"error-error": "DataException"}
    assert without.contrast(built).alerts == []


def test_an_older_profile(built: ModelProfile) -> None:
    """A profile of an older version, which stores no types of values, is compared without them."""
    document = built.to_dict()
    age, city = document["components"][:2]
    age["sketch"] = sketch_values(AGES.tolist(), kind="number").to_dict()
    city["sketch"] = sketch_values(CITIES.tolist(), kind="category").to_dict()
    older = ModelProfile.from_dict(document)
    assert older.components["age"].bounds == built.components["age"].bounds
    assert older.components["city"].domain == built.components["city"].domain
    assert older.contrast(built).alerts == []


@pytest.mark.parametrize("text", ["[", "{}", "[]", '{"type": "other"}', '{"type": "profile"}'])
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    """A file that is not a profile is refused with a message."""
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="Invalid"):
        ModelProfile.load(path)


def test_nothing_changed_is_no_alert(built: ModelProfile) -> None:
    """A second sample of the same values gives no alert, and distances near 0."""
    half = make_profile()
    half.build(
        INPUTS[::2], [{"label": label} for label in LABELS[::2].tolist()], TRUTHS[::2].tolist()
    )
    report = built.contrast(half)
    assert report.alerts == []
    assert [*report["health_reports"]] == [*built.components]
    assert all(told["drift"]["valid"] for told in report["health_reports"].values())


def test_drift_is_that_of_scipy(built: ModelProfile) -> None:
    """Shifted numbers are drift, by Wasserstein distance over the interquartile range."""
    moved = build(make_profile(), INPUTS.assign(age=AGES + 6))
    report = built.contrast(moved)
    drift = report["health_reports"]["age"]["drift"]
    assert drift["drift"] == pytest.approx(
        wasserstein_distance(AGES, AGES + 6) / iqr(AGES), abs=0.03
    )
    assert (drift["alert"], drift["valid"]) == (True, True)
    median = drift["sentence"].partition(",")[0].removeprefix("median ")
    medians = [float(word) for word in median.split(" → ")]
    assert medians == pytest.approx([np.median(AGES), np.median(AGES) + 6], rel=0.01)
    assert report["score_reports"]["mean age"]["alert"]  # a low mean age is preferred
    assert report.alerts == ["age", "mean age"]


def test_thresholds_mute() -> None:
    """A threshold of a component or score replaces the default threshold."""
    first, second = (
        build(make_profile(low=0, high=100)),
        build(make_profile(low=0, high=100), INPUTS.assign(age=AGES + 6)),
    )
    thresholds = {"components": {"age": {"drift": 1.0}}, "scores": {"mean age": 0.5}}
    assert first.contrast(second, thresholds).alerts == []
    assert first.contrast(second).alerts == ["age", "mean age"]
    with pytest.raises(ValueError, match="thresholds"):
        first.contrast(second, {"components": {"age": {"drift": "much"}}})


@pytest.mark.parametrize(
    ("thresholds", "name"),
    [
        ({"components": {"agee": {"drift": 1.0}}}, "agee"),
        ({"components": {"age": {"drifts": 1.0}}}, "drifts"),
        ({"scores": {"mean agee": 0.5}}, "mean agee"),
        ({"component": {}}, "component"),
    ],
)
def test_unknown_thresholds(
    built: ModelProfile, thresholds: dict[str, dict[str, Any]], name: str
) -> None:
    """A threshold for a name that neither profile has is refused by its name."""
    with pytest.raises(ValueError, match=f"Invalid .* {name!r} in thresholds"):
        built.contrast(built, thresholds)


def test_missing_values_are_an_alert(built: ModelProfile) -> None:
    """If values are missing in one run of ten, the report has an alert for invalid values."""
    broken = INPUTS.assign(age=[None if place % 10 == 0 else age for place, age in enumerate(AGES)])
    report = built.contrast(build(make_profile(), broken))
    told = report["health_reports"]["age"]["invalids"]
    assert told["invalids"] == pytest.approx(0.1)
    assert told["alert"]
    assert report["health_reports"]["age"]["drift"]["sentence"] == "missing 0 → 10 %"


def test_a_new_value_is_named(built: ModelProfile) -> None:
    """A value that is not in the reference is named with its share."""
    cities = ["Rome" if place % 5 == 0 else city for place, city in enumerate(CITIES)]
    report = built.contrast(build(make_profile(), INPUTS.assign(city=cities)))
    drift = report["health_reports"]["city"]["drift"]
    assert drift["alert"]
    assert drift["drift_idx"] == "Rome"
    assert drift["sentence"].startswith('new value "Rome": 20 %')


def test_few_values_are_not_judged() -> None:
    """Drift of fewer than 100 values is not judged."""
    first, second = (ModelProfile(components=[InputComponent("a")]) for _ in range(2))
    first.build([{"a": 1.0}, {"a": 2.0}])
    second.build([{"a": 100.0}, {"a": 200.0}])
    told = first.contrast(second)["health_reports"]["a"]["drift"]
    assert (told["valid"], told["alert"]) == (False, False)


def test_components_of_one_side_are_left_out(built: ModelProfile) -> None:
    """A component or score that only one profile has is not in the report."""
    small = ModelProfile("small", components=[InputComponent("age")])
    small.build(INPUTS)
    report = built.contrast(small)
    assert ([*report["health_reports"]], report["score_reports"]) == (["age"], {})


def test_a_page_is_escaped_and_needs_nothing_else(tmp_path: Path) -> None:
    """Names and values are escaped on the page, and the page loads and runs nothing."""
    bad = "<script>alert(1)</script>"
    profile = ModelProfile("a/../b", components=[InputComponent(bad, dtype="CAT")])
    profile.build([{bad: bad}] * 200)
    page = profile.view(tmp_path, tags=profile.validate_input({bad: "<img>"}))
    other = profile.contrast(profile).view(tmp_path / "both.html")
    for path in (page, other):
        text = path.read_text()
        assert path.parent == tmp_path
        assert "&lt;script&gt;" in text
        assert "<script" not in text
        assert "<img" not in text
        assert "http:" not in text.replace("http-equiv", "")
        assert "https:" not in text


def read_cells(page: Path) -> dict[str, list[str]]:
    """Read the tables of a page: the texts of each row, by the text of its first cell."""
    rows = re.findall("<tr>(<td>.*?)</tr>", page.read_text())
    cells = [re.findall("<td>(.*?)</td>", row) for row in rows]
    return {row[0]: row[1:] for row in cells}


def test_page_of_a_profile(tmp_path: Path) -> None:
    """The page has typical and valid values, the share of invalid ones, and those of a run."""
    profile = make_profile(low=18)
    build(profile, INPUTS.assign(age=[*range(101), *[50] * (ROWS - 101)]))
    tags = profile.validate_input({"age": 12, "city": "Rome"})
    cells = read_cells(profile.view(tmp_path, tags=tags))
    share = f"{(CITIES == 'Ghent').mean():.0%}".replace("%", " %")
    assert cells["age"] == [
        "input",
        "FLOAT",
        "inputs.age",
        "50",
        "18 to 100",
        "0.9 %",
        "12",
        "LowerBoundError",
    ]
    assert cells["city"][3:] == [
        f"Ghent {share}",
        "Ghent, Lund, Oslo",
        "0 %",
        "Rome",
        "Domain Error",
    ]
    assert cells["error"][2] == "kind_of_error"
    assert cells["mean age"] == ["MeanScore", "age", "50"]
    without = read_cells(profile.view(tmp_path))
    assert [len(without[name]) for name in ("age", "city")] == [6, 6]


def test_page_of_a_comparison(built: ModelProfile, tmp_path: Path) -> None:
    """The page has both typical values, and distance, sentence and alerts of the report."""
    moved = build(make_profile(), INPUTS.assign(age=AGES + 30))
    report = built.contrast(moved)
    cells = read_cells(report.view(tmp_path))
    drift = report["health_reports"]["age"]["drift"]
    before, after = (round(float(np.median(AGES)) + gap) for gap in (0, 30))
    assert [round(float(text)) for text in cells["age"][:2]] == [before, after]
    assert cells["age"][2:4] == [f"{drift['drift']:.3f}", drift["sentence"]]
    assert cells["age"][5] == "drift"
    assert cells["city"][5] == ""
    assert [cells[name][2] for name in ("mean age", "precision")] == ["worse", ""]


def test_sketches_by_field_are_plain(built: ModelProfile) -> None:
    """Sketches of inputs and outputs read by path are stored by field, like in the statistics."""
    assert [*built.sketches] == ["inputs.age", "inputs.city", "outputs.label"]
    told = {one["field"]: one["sketch"] for one in built.to_dict()["components"] if "field" in one}
    assert FieldSketch.from_dict(told["inputs.age"]) == built.sketches["inputs.age"]


def test_a_component_keeps_what_it_is(built: ModelProfile) -> None:
    """Components, scores and profiles have a one-line ``repr``."""
    component: Component = built.components["age"]
    score: ProfileScore = built.scores["precision"]
    assert (repr(component), repr(score)) == (
        "InputComponent('age', dtype='FLOAT')",
        "PrecisionScore('precision', ['error'])",
    )
    assert repr(built) == "<ModelProfile churn@1.0.0 of 5 components>"


def test_data_exception_is_a_value_error() -> None:
    """DataException can be caught as ValueError."""
    assert issubclass(DataException, ValueError)
