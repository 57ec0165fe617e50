"""Raymon's profiles: the calls in raymon 0.0.39's own profile tests and documentation."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest
from PIL import Image
from scipy.stats import entropy

import otel_ml
from otel_ml.compat.raymon import (
    ActualComponent,
    CategoricStats,
    DataType,
    EvalComponent,
    FloatStats,
    InputComponent,
    IntStats,
    ModelProfile,
    OutputComponent,
)
from otel_ml.compat.raymon.extractors import (
    AbsoluteRegressionError,
    AvgIntensity,
    ClassificationEntropyExtractor,
    ClassificationErrorType,
    ClassificationMarginExtractor,
    ElementExtractor,
    Extractor,
    MaxScoreElementExtractor,
    SequenceEvalExtractor,
    SequenceSimpleExtractor,
    Sharpness,
    SimpleExtractor,
    SquaredRegressionError,
)
from otel_ml.compat.raymon.profiling import (
    MeanScore,
    PrecisionScore,
    RecallScore,
    filter_errors,
    flatten_jcr,
    generate_components,
)
from otel_ml.profiles import DataException, ProfileStateException

ROWS = 992
RANDOM = np.random.default_rng(5)
HOUSES = pd.DataFrame(
    {
        "LotArea": RANDOM.integers(1_300, 20_000, ROWS),
        "LotShape": RANDOM.choice(["Reg", "IR1", "IR2"], ROWS),
        "1stFlrSF": RANDOM.normal(1_000, 200, ROWS).round(1),
    }
)
PRICES = RANDOM.normal(150_000, 30_000, ROWS).round()
COLUMNS = pd.DataFrame({"num1": list(range(10)), "cat1": ["a"] * 5 + ["b"] * 5})
WHOLE = {
    "min": 0,
    "max": 1,
    "mean": 0.5,
    "std": 0.02,
    "invalids": 0,
    "percentiles": list(range(101)),
    "samplesize": 10,
}


def house_profile() -> ModelProfile:
    profile = ModelProfile(
        name="HousePricesCheap",
        version="3.0.0",
        components=[
            *generate_components(HOUSES.dtypes, complass=InputComponent),
            OutputComponent(name="prediction", extractor=ElementExtractor(element=0)),
            ActualComponent(name="actual", extractor=ElementExtractor(element=0)),
            EvalComponent(name="abs_error", extractor=AbsoluteRegressionError()),
        ],
        scores=[MeanScore(name="MAE", inputs=["abs_error"], preference="low", result=None)],
    )
    profile.build(input=HOUSES, output=(PRICES * 0.9)[:, None], actual=PRICES[:, None])
    return profile


@pytest.fixture(scope="module", name="houses")
def _houses() -> ModelProfile:
    return house_profile()


def test_components_of_a_table() -> None:
    """Each column gets a component with the type and the statistics of its values."""
    frame = COLUMNS.assign(num2=[0.2] * 10)
    components = generate_components(dtypes=frame.dtypes, complass=InputComponent)
    assert [type(one.stats) for one in components] == [IntStats, CategoricStats, FloatStats]


def test_build_measures_the_columns() -> None:
    """A built profile has range, mean and shares; an unbuilt profile cannot validate."""
    profile = ModelProfile(components=generate_components(dtypes=COLUMNS.dtypes))
    assert not profile.is_built()
    with pytest.raises(ProfileStateException):
        profile.validate_input({})
    profile.build(input=COLUMNS)
    numbers, words = (profile.components[name].stats for name in ("num1", "cat1"))
    assert (numbers.min, numbers.max, numbers.mean, numbers.samplesize) == (0, 9, 4.5, 10)
    assert (words.frequencies, words.invalids) == ({"a": 0.5, "b": 0.5}, 0)
    assert profile.is_built()


def test_percentiles_are_those_of_numpy(houses: ModelProfile) -> None:
    """Percentiles, mean and deviation equal NumPy's.

    A percentile between two values is the higher of the two.
    """
    stats = houses.components["lotarea"].stats
    wanted = np.percentile(HOUSES["LotArea"], range(101), method="higher")
    assert stats.percentiles == wanted.tolist()
    assert (stats.mean, stats.std) == pytest.approx(
        (HOUSES["LotArea"].mean(), HOUSES["LotArea"].std(ddof=0))
    )


def test_nothing_but_nan_is_refused() -> None:
    """Building a profile from a column with only NaN raises ValueError."""
    frame = pd.DataFrame({"num1": [np.nan] * 10})
    with pytest.raises(ValueError, match="num1"):
        ModelProfile(components=generate_components(dtypes=frame.dtypes)).build(input=frame)


def test_errors_of_nothing_but_nan_are_refused() -> None:
    """If every error is NaN, build raises an error that names outputs and actuals."""
    error = EvalComponent("model_abs_error", AbsoluteRegressionError())
    with pytest.raises(DataException, match=r"'model_abs_error' in outputs and actuals: expected"):
        ModelProfile(components=[error]).build(output=[np.nan], actual=[1.0])


@pytest.mark.parametrize(
    ("complass", "part", "kind"),
    [
        (InputComponent, "input", "profile-input"),
        (OutputComponent, "output", "profile-output"),
        (ActualComponent, "actual", "profile-actual"),
    ],
)
def test_validate_gives_tags(complass: Any, part: str, kind: str) -> None:
    """Validating a part of a run returns one tag per component, in the profile's group."""
    profile = ModelProfile(components=generate_components(COLUMNS.dtypes, complass=complass))
    profile.build(**{part: COLUMNS})
    validate = getattr(profile, f"validate_{part}")
    tags = validate(**{part: pd.Series([1, "b"], index=["num1", "cat1"])})
    assert tags == [
        {"type": kind, "name": "num1", "value": 1, "group": "default@0.0.0"},
        {"type": kind, "name": "cat1", "value": "b", "group": "default@0.0.0"},
    ]
    errors = validate(**{part: pd.Series([np.nan, np.nan], index=["num1", "cat1"])})
    assert [(tag["type"], tag["value"]) for tag in errors] == [(f"{kind}-error", "Value NaN")] * 2


def test_tags_in_three_forms(houses: ModelProfile) -> None:
    """Tags are returned as dicts, as `Tag` objects or by name, and `filter_errors` reads each."""
    house = HOUSES.iloc[0].copy()
    house["1stFlrSF"] = 10_000
    dicts = houses.validate_input(house)
    assert [tag["value"] for tag in filter_errors(dicts)] == ["UpperBoundError"]
    assert [tag.name for tag in filter_errors(houses.validate_input(house, "tag"))] == [
        "1stflrsf-error"
    ]
    assert houses.validate_input(house, tag_format="simple") == flatten_jcr(dicts)
    assert filter_errors(dicts, "simple") == {"1stflrsf-error": "UpperBoundError"}


def test_scores_of_lists() -> None:
    """Outputs and actuals may be lists of lists with one value each."""
    outputs = np.array([2, 1, 2, 0, 1])[:, None].tolist()
    actuals = np.array([0, 1, 2, 1, 2])[:, None].tolist()
    error = EvalComponent("model_abs_error", AbsoluteRegressionError(), dtype=DataType.FLOAT)
    profile = ModelProfile(components=[error])
    profile.build(output=outputs, actual=actuals)
    [tag] = profile.validate_eval(output=outputs[0][0], actual=actuals[0][0])
    assert (tag["type"], tag["value"]) == ("profile-score", 2)


@pytest.mark.parametrize(
    "part",
    [lambda v: v[:, None], lambda v: v[:, None].tolist(), lambda v: pd.Series(v).to_frame(name=0)],
)
def test_tables_of_three_kinds(part: Any) -> None:
    """An array, a list and a pandas table produce the same profile."""
    profile = house_profile()
    profile.build(input=HOUSES, output=part(PRICES * 0.9), actual=part(PRICES), silent=False)
    assert {profile.components[name].stats.samplesize for name in profile.components} == {ROWS}
    assert profile.scores["mae"].result == pytest.approx(np.abs(PRICES * 0.1).mean())


def test_contrast_keeps_the_keys(houses: ModelProfile) -> None:
    """Reports have raymon's keys, and thresholds mute alerts as in raymon's documentation."""
    expensive = copy.deepcopy(houses)
    expensive.name = "HousePricesExpensive"
    expensive.build(
        input=HOUSES.assign(LotArea=HOUSES["LotArea"] * 2),
        output=(PRICES * 1.5)[:, None],
        actual=(PRICES * 2)[:, None],
    )
    report = houses.contrast(expensive, thresholds={})
    drift = report["health_reports"]["lotarea"]
    assert {"drift", "drift_xvalue", "alert", "valid"} <= drift["drift"].keys()
    assert {"invalids", "alert", "valid"} <= drift["invalids"].keys()
    assert (drift["drift"]["alert"], drift["invalids"]["alert"]) == (True, False)
    assert report["score_reports"]["mae"]["alert"]
    thresholds = {"components": {"lotarea": {"drift": 9.0}}, "scores": {"mae": 99}}
    muted = houses.contrast(expensive, thresholds=thresholds)
    assert not muted["health_reports"]["lotarea"]["drift"]["alert"]
    assert not muted["score_reports"]["mae"]["alert"]


def test_contrast_of_alternatives(houses: ModelProfile) -> None:
    """A comparison has one report per component and per score that both profiles have."""
    contrast = houses.contrast_alternatives(alternativeA=houses, alternativeB=house_profile())
    assert (len(contrast["health_reports"]), len(contrast["score_reports"])) == (6, 1)
    small = ModelProfile("small", components=generate_components(HOUSES.dtypes))
    small.build(input=HOUSES)
    missing = houses.contrast(small)
    assert [*missing["health_reports"]] == ["lotarea", "lotshape", "1stflrsf"]
    assert missing["score_reports"] == {}


def test_domains_limit_and_widen() -> None:
    """A domain determines which values are valid, whatever values the data contains."""
    profile = house_profile()
    profile.build(
        input=HOUSES,
        output=PRICES[:, None],
        actual=PRICES[:, None],
        domains={"lotarea": (0, None), "lotshape": ["Reg", "IR1"]},
    )
    assert profile.components["lotarea"].stats.min == 0
    assert profile.components["lotshape"].stats.invalids == pytest.approx(
        (HOUSES["LotShape"] == "IR2").mean()
    )


def test_saved_and_loaded(houses: ModelProfile, tmp_path: Path) -> None:
    """A file in raymon's format loads with the same components in raymon's and otel-ml's class."""
    houses.save(str(tmp_path))
    path = tmp_path / "housepricescheap@3.0.0.json"
    jcr = json.loads(path.read_text())
    assert jcr["components"]["lotarea"]["class"] == "raymon.profiling.components.InputComponent"
    extractor = jcr["components"]["lotarea"]["state"]["extractor"]
    assert extractor["class"] == "raymon.profiling.extractors.structured.element.ElementExtractor"
    loaded = ModelProfile().load(str(path))
    assert loaded.to_jcr() == jcr
    assert loaded.validate_input(HOUSES.iloc[0]) == houses.validate_input(HOUSES.iloc[0])
    ours = otel_ml.ModelProfile.load(path)
    assert [*ours.components] == [*houses.components]
    row = {"LotArea": 10**6, "LotShape": "Reg", "1stFlrSF": 1_000.0}
    errors = {tag.name for tag in ours.validate_input(row) if tag.name.endswith("-error")}
    assert errors == {"lotarea-error"}
    report = ours.contrast(otel_ml.ModelProfile.load(path))
    assert report.alerts == []


def test_files_choose_no_code(tmp_path: Path) -> None:
    """A file that names an unknown class is refused, and nothing is imported for it."""
    path = tmp_path / "a@1.json"
    state = {
        "name": "a",
        "dtype": "FLOAT",
        "stats": FloatStats(**WHOLE).to_jcr(),
        "extractor": {"class": "os.system", "state": {}},
    }
    component = {"class": "raymon.profiling.components.InputComponent", "state": state}
    path.write_text(json.dumps({"name": "a", "version": "1", "components": {"a": component}}))
    with pytest.raises(ValueError, match=r"Unknown extractor 'os\.system'"):
        ModelProfile.load(path)
    assert otel_ml.ModelProfile.load(path).components["a"].bounds == (0, 1)


def test_own_extractors_are_known() -> None:
    """A user's own extractor class can be serialized and is found again by its path."""

    class Length(SimpleExtractor):
        def extract(self, data: Any) -> int:
            return len(data)

    told = json.loads(json.dumps(Length().to_jcr()))
    assert Extractor.from_jcr(told).extract("abc") == 3
    assert Length().extract_multiple(["a", "bc"]) == [1, 2]


def test_statistics_are_built_when_whole() -> None:
    """Statistics with a missing part are not built."""
    assert FloatStats(**WHOLE).is_built()
    for name in WHOLE:
        assert not FloatStats(**{**WHOLE, name: None}).is_built()
    assert FloatStats().to_jcr()["state"] == dict.fromkeys(WHOLE)
    whole = {"frequencies": {"a": 0.5, "b": 0.5}, "invalids": 0.1, "samplesize": 10}
    assert CategoricStats(**whole).is_built()
    assert not CategoricStats(**{**whole, "samplesize": None}).is_built()
    with pytest.raises(DataException):
        FloatStats(mean=float("nan"))


def test_given_statistics_make_a_profile() -> None:
    """A component with complete statistics is built and validates against them."""
    stats = IntStats(**{**WHOLE, "max": 100, "samplesize": 1_000})
    component = InputComponent("n", ElementExtractor("n"), DataType.INT, stats)
    profile = ModelProfile(name="Testing", version="1.0.0", components=[component, component])
    assert profile.is_built()
    assert profile.validate_input({"n": 101}, "simple")["n-error"] == "UpperBoundError"
    with pytest.raises(DataException):
        InputComponent("n", ElementExtractor("n"), DataType.CAT, stats)


def test_classification() -> None:
    """Class probabilities produce margin, entropy, prediction, error types and scores."""
    names = ["a", "b", "c"]
    truth = RANDOM.integers(0, 3, 300)
    shares = np.eye(3)[truth] * 0.5 + RANDOM.dirichlet([1, 1, 1], 300) * 0.5
    profile = ModelProfile(
        "Iris",
        components=[
            OutputComponent("class_margin", ClassificationMarginExtractor()),
            OutputComponent("entropy", ClassificationEntropyExtractor()),
            OutputComponent("prediction", MaxScoreElementExtractor(np.array(names)), DataType.CAT),
            ActualComponent("actual", ElementExtractor(0), DataType.CAT),
            EvalComponent(
                "a_errortype",
                SequenceEvalExtractor(
                    prep_output=[MaxScoreElementExtractor(categories=names)],
                    prep_actual=[],
                    eval_extractor=ClassificationErrorType(positive="a"),
                ),
                dtype=DataType.CAT,
            ),
        ],
        scores=[
            PrecisionScore(name="a_precision", inputs=["a_errortype"]),
            RecallScore(name="a_recall", inputs=["a_errortype"]),
            MeanScore(name="mean_margin", inputs=["class_margin"], preference="high"),
        ],
    )
    profile.build(output=shares, actual=np.array(names)[truth][:, None])
    said, is_a = shares.argmax(axis=1) == 0, truth == 0
    assert profile.scores["a_precision"].result == pytest.approx((said & is_a).sum() / said.sum())
    assert profile.scores["a_recall"].result == pytest.approx((said & is_a).sum() / is_a.sum())
    assert profile.components["entropy"].stats.mean == pytest.approx(entropy(shares, axis=1).mean())
    again = ModelProfile.from_jcr(profile.to_jcr())
    assert again.to_jcr() == profile.to_jcr()


def test_prepared_data() -> None:
    """A sequence calls the object that prepares the data, but does not store it in the file."""

    class Doubling:
        def transform(self, data: Any) -> Any:
            return {"n": data["n"] * 2}

    extractor = SequenceSimpleExtractor(prep=Doubling(), extractor=ElementExtractor("n"))
    assert extractor.extract({"n": 4}) == 8
    assert "prep" not in extractor.to_jcr()["state"]
    with pytest.raises(DataException):
        SequenceSimpleExtractor(prep=Doubling(), extractor=ElementExtractor("n"), func="fit")


def test_pictures() -> None:
    """Brightness is the mean of the grey levels, and a uniform image is less sharp."""
    grey = RANDOM.integers(0, 255, (32, 32)).astype("uint8")
    picture = Image.fromarray(grey)
    assert AvgIntensity().extract(picture) == pytest.approx(grey.mean())
    flat = Image.new("L", (32, 32), 100)
    assert Sharpness().extract(flat) == pytest.approx(0, abs=25)
    assert Sharpness().extract(picture) > Sharpness().extract(flat)
    assert SquaredRegressionError().extract(np.array([3.0]), [1.0]) == 4


def test_pages(houses: ModelProfile, tmp_path: Path) -> None:
    """Views are written as files to the given folder, and no browser opens."""
    tags = houses.validate_input(HOUSES.iloc[0])
    page = houses.view(poi=tags, mode="file", outdir=tmp_path)
    both = houses.view_contrast(houses, mode="file", outdir=tmp_path)
    assert "Profile housepricescheap@3.0.0" in page.read_text()
    assert " vs " in both.read_text()


def test_mocked_extractors(houses: ModelProfile) -> None:
    """A profile that is loaded without its extractors can still be compared."""
    mocked = ModelProfile.from_jcr(houses.to_jcr(), mock_extractors=True)
    assert not houses.contrast(mocked)["health_reports"]["lotshape"]["drift"]["alert"]
