"""The calls of raymon 0.0.39's own profile tests, with their data, through `compat.raymon`.

``profile_facts.json`` contains the results of raymon 0.0.39 itself on Python 3.9. raymon cannot be
installed on any Python version that otel-ml supports, because it requires onnxruntime 1.8.0, which
was built for none of them. Its tests are not in its package. `NOT_BUILT` lists the names that these
tests use and otel-ml does not provide.
"""

import importlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest
from PIL import Image
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_score, recall_score

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
    Sharpness,
    YoloConfidenceExtractor,
)
from otel_ml.compat.raymon.profiling import (
    MeanScore,
    PrecisionScore,
    RecallScore,
    generate_components,
)
from otel_ml.compat.raymon.tag import normalize
from tests.support.folders import ROOT

FACTS: Final = json.loads((Path(__file__).parent / "profile_facts.json").read_text())
TABLE: Final = pd.DataFrame(
    {
        "num1": list(range(10)),
        "cat1": ["a"] * 5 + ["b"] * 5,
        "cat2": ["c"] * 5 + ["d"] * 5,
        "num2": [0.2] * 10,
    }
)
OUTPUTS: Final = [[2], [1], [2], [0], [1]]
ACTUALS: Final = [[0], [1], [2], [1], [2]]
CLASSES: Final = np.array(["a", "b"])
EXTRACTORS: Final[tuple[Extractor, ...]] = (
    ElementExtractor(3),
    ClassificationErrorType(positive=1),
    Sharpness(),
    AvgIntensity(),
    YoloConfidenceExtractor(),
    MaxScoreElementExtractor(categories=CLASSES),
    SequenceEvalExtractor(
        prep_output=[MaxScoreElementExtractor(categories=CLASSES)],
        prep_actual=[],
        eval_extractor=ClassificationErrorType(positive="a"),
    ),
)
NOT_BUILT: Final = (
    "DN2AnomalyScorer",
    "FixedSubpatchSimilarity",
    "IsolationForestOutlierScorer",
    "KMeansOutlierScorer",
)
WHOLE: Final = {
    "min": 0,
    "max": 1,
    "mean": 0.5,
    "std": 0.02,
    "percentiles": range(101),
    "invalids": 0,
    "samplesize": 10,
}


@pytest.fixture(scope="module", name="images")
def _images() -> list[Image.Image]:
    random = np.random.default_rng(3)
    return [
        Image.fromarray(random.integers(0, 255, (48, 64, 3)).astype("uint8")) for _ in range(10)
    ]


def kept(profile: ModelProfile) -> dict[str, Any]:
    """Return each component of a profile's saved form, in the shape of the facts."""
    components = profile.to_jcr()["components"]
    return {
        name: {
            "class": component["class"],
            "dtype": component["state"]["dtype"],
            "stats": component["state"]["stats"]["state"],
            "extractor": component["state"]["extractor"],
        }
        for name, component in json.loads(json.dumps(components)).items()
    }


def assert_as_raymon(profile: ModelProfile) -> None:
    """Assert that each component equals raymon's own, with numbers equal to within 1e-12."""
    for name, component in kept(profile).items():
        facts = FACTS["components"][name]
        assert {part: component[part] for part in ("class", "dtype", "extractor")} == {
            part: facts[part] for part in ("class", "dtype", "extractor")
        }
        assert component["stats"].keys() == facts["stats"].keys()
        for part, value in facts["stats"].items():
            assert component["stats"][part] == pytest.approx(value, rel=1e-12), (name, part)


# test_features


def test_columns_are_built_as_by_raymon() -> None:
    """Four columns get raymon's types, ranges, deviations, percentiles and shares."""
    components = generate_components(dtypes=TABLE.dtypes, complass=InputComponent)
    assert all(isinstance(component, InputComponent) for component in components)
    assert [type(component.stats) for component in components] == [
        IntStats,
        CategoricStats,
        CategoricStats,
        FloatStats,
    ]
    profile = ModelProfile(components=components)
    assert not profile.is_built()
    profile.build(input=TABLE)
    assert profile.is_built()
    assert all(component.is_built() for component in profile.components.values())
    assert_as_raymon(profile)


def test_one_column_of_an_array() -> None:
    """A component reads the only element of each row of an array."""
    component = InputComponent(
        name="predicted_price", extractor=ElementExtractor(element=0), dtype=DataType.INT
    )
    profile = ModelProfile(components=[component])
    assert not profile.is_built()
    profile.build(input=np.array([1, 2, 3, 4, 5])[:, None])
    assert_as_raymon(profile)


def test_nothing_but_nan_is_a_value_error() -> None:
    """Building a profile from a table with only NaN raises ValueError, as in raymon."""
    table = pd.DataFrame({"num1": [np.nan] * 10, "cat1": [np.nan] * 10})
    profile = ModelProfile(components=generate_components(dtypes=table.dtypes))
    with pytest.raises(ValueError, match="num1"):
        profile.build(input=table)


# test_validate


def test_tags_are_those_of_raymon() -> None:
    """A valid row and a row with only NaN produce raymon's own tags, in raymon's order."""
    profile = ModelProfile(components=generate_components(TABLE.dtypes, complass=InputComponent))
    profile.build(input=TABLE)
    row = pd.Series([1, "b", "c", 0.2], index=[*TABLE])
    assert profile.validate_input(input=row) == FACTS["tags"]["valid"]
    nothing = pd.Series([np.nan] * 4, index=[*TABLE])
    assert profile.validate_input(input=nothing) == FACTS["tags"]["missing"]


def test_three_parts_under_prefixes() -> None:
    """Prefixes distinguish inputs, outputs and actuals with the same columns in one profile."""
    parts = {"input": InputComponent, "output": OutputComponent, "actual": ActualComponent}
    components = [
        component
        for part, kind in parts.items()
        for component in generate_components(
            dtypes=TABLE[["num1", "cat1"]].dtypes, complass=kind, name_prefix=f"{part}_"
        )
    ]
    profile = ModelProfile(components=components)
    profile.build(input=TABLE, output=TABLE, actual=TABLE)
    row = pd.Series([1, "b"], index=["num1", "cat1"])
    for part in parts:
        tags = getattr(profile, f"validate_{part}")(**{part: row})
        assert [(tag["type"], tag["name"], tag["value"]) for tag in tags] == [
            (f"profile-{part}", f"{part}_num1", 1),
            (f"profile-{part}", f"{part}_cat1", "b"),
        ]


def test_an_error_is_a_score() -> None:
    """The error component of nested lists has raymon's statistics and raymon's tag."""
    component = EvalComponent(
        name="model_abs_error", extractor=AbsoluteRegressionError(), dtype=DataType.FLOAT
    )
    profile = ModelProfile(components=[component])
    profile.build(output=OUTPUTS, actual=ACTUALS)
    assert profile.is_built()
    assert_as_raymon(profile)
    tags = profile.validate_eval(output=OUTPUTS[0][0], actual=ACTUALS[0][0])
    assert tags == FACTS["tags"]["error"]


# test_buildable and test_serializable


@pytest.mark.parametrize("absent", [*WHOLE])
def test_statistics_without_a_part_are_not_built(absent: str) -> None:
    """Statistics and their component are built only if every part is set."""
    for parts, is_built in ((WHOLE, True), ({**WHOLE, absent: None}, False)):
        stats = FloatStats(**parts)
        component = InputComponent(name="a", extractor=Sharpness(), stats=stats)
        profile = ModelProfile(name="Testing", version="1.0.0", components=[component, component])
        assert (stats.is_built(), component.is_built(), profile.is_built()) == (is_built,) * 3


def test_statistics_keep_what_they_are_given() -> None:
    """Serialized statistics contain each part by name, with None for unknown parts."""
    parts = {**WHOLE, "percentiles": [*range(101)]}
    assert FloatStats(**parts).to_jcr()["state"] == parts
    assert FloatStats().to_jcr()["state"] == dict.fromkeys(FloatStats._attrs)


def test_a_profile_that_is_not_built_has_a_form() -> None:
    """A profile with incomplete statistics can be serialized and loaded again."""
    stats = FloatStats(**{**WHOLE, "invalids": None, "samplesize": None})
    names = ("testcomponent", "testcomponent2")
    components = [
        InputComponent(name=name, extractor=ElementExtractor(0), stats=stats) for name in names
    ]
    form = ModelProfile(name="Testing", version="1.0.0", components=components).to_jcr()
    again = ModelProfile.from_jcr(json.loads(json.dumps(form)))
    assert ((again.name, again.version), [*again.components]) == (("testing", "1.0.0"), [*names])
    assert again.to_jcr() == form


@pytest.mark.parametrize("extractor", EXTRACTORS, ids=lambda value: type(value).__name__)
def test_extractors_have_the_form_of_raymon(extractor: Any, images: list[Image.Image]) -> None:
    """An extractor has raymon's class and state, loads from that state, and needs no data."""
    form = json.loads(json.dumps(extractor.to_jcr()))
    assert form == FACTS["extractors"][type(extractor).__name__]
    again = extractor.from_jcr(form["state"])
    assert (type(again), again.to_jcr()) == (type(extractor), form)
    assert extractor.build(images) is None
    assert extractor.is_built()


def test_pictures_are_saved_and_loaded(images: list[Image.Image], tmp_path: Path) -> None:
    """A profile can be built from a list of images, and its saved file loads unchanged."""
    profile = ModelProfile(
        name="retinopathy",
        version="2.0.0",
        components=[
            InputComponent(name="sharpness", extractor=Sharpness(), dtype=DataType.FLOAT),
            InputComponent(name="intensity", extractor=AvgIntensity(), dtype=DataType.FLOAT),
        ],
    )
    profile.build(input=images)
    profile.save(str(tmp_path))
    loaded = ModelProfile().load(str(tmp_path) + f"/{profile.group_idfr}.json")
    assert (loaded.name, loaded.version) == ("retinopathy", "2.0.0")
    assert loaded.to_jcr() == profile.to_jcr()
    assert profile.from_jcr(loaded.to_jcr()).to_jcr() == profile.to_jcr()
    assert loaded.validate_input(images[0]) == profile.validate_input(images[0])


def test_a_column_is_saved_and_loaded(tmp_path: Path) -> None:
    """The name of a component may differ from the column that it reads."""
    component = InputComponent(
        name="actual", extractor=ElementExtractor(element="num1"), dtype=DataType.INT
    )
    profile = ModelProfile(name="vector", version="1.0.0", components=[component])
    profile.build(input=TABLE)
    profile.save(str(tmp_path))
    loaded = ModelProfile().load(str(tmp_path) + "/vector@1.0.0.json").to_jcr()
    assert loaded["components"]["actual"]["state"]["extractor"]["state"]["element"] == "num1"
    assert ModelProfile.from_jcr(loaded).to_jcr() == profile.to_jcr()


# test_element, test_intensity, test_sharpness


def test_an_element_can_be_replaced() -> None:
    """The element of an extractor can be set and read, and appears in its text."""
    extractor = ElementExtractor(3)
    extractor.element = 4
    assert extractor.element == 4
    assert str(ElementExtractor(3)) == "ElementExtractor(element=3)"
    assert ElementExtractor(2).extract(np.array([[10], [20], [30]])) == [30]
    assert ElementExtractor("cat1").extract(TABLE.iloc[0, :]) == "a"


@pytest.mark.parametrize("extractor", [AvgIntensity(), Sharpness()])
def test_pictures_give_numbers(extractor: Any, images: list[Image.Image]) -> None:
    """One image produces a float; a list of images produces a list of floats."""
    values = extractor.extract_multiple(images)
    assert isinstance(values, list)
    assert [type(value) for value in values] == [float] * 10
    assert values[0] == extractor.extract(images[0])


# test_lazy


def test_iris() -> None:
    """Precision and recall per class equal scikit-learn's, and one run produces eleven tags."""
    bunch = load_iris()
    names = bunch.target_names
    actuals = names[bunch.target]
    shares = LogisticRegression(max_iter=200).fit(bunch.data, actuals).predict_proba(bunch.data)
    profile = ModelProfile(
        name="Iris",
        version="1.0.0",
        components=[
            *(
                InputComponent(name=normalize(name), extractor=ElementExtractor(element=place))
                for place, name in enumerate(bunch.feature_names)
            ),
            *(
                EvalComponent(
                    name=f"{name}_errortype",
                    extractor=SequenceEvalExtractor(
                        prep_output=[MaxScoreElementExtractor(categories=names)],
                        prep_actual=[],
                        eval_extractor=ClassificationErrorType(positive=name),
                    ),
                    dtype=DataType.CAT,
                )
                for name in names
            ),
            OutputComponent(name="class_margin", extractor=ClassificationMarginExtractor()),
            OutputComponent(name="entropy", extractor=ClassificationEntropyExtractor()),
            OutputComponent(
                name="prediction",
                extractor=MaxScoreElementExtractor(categories=names),
                dtype=DataType.CAT,
            ),
            ActualComponent(name="actual", extractor=ElementExtractor(0), dtype=DataType.CAT),
        ],
        scores=[
            *(
                PrecisionScore(name=f"{name}_precision", inputs=[f"{name}_errortype"])
                for name in names
            ),
            *(RecallScore(name=f"{name}_recall", inputs=[f"{name}_errortype"]) for name in names),
            MeanScore(name="mean_margin", inputs=["class_margin"], preference="high"),
        ],
    )
    profile.build(input=bunch.data, output=shares, actual=actuals[:, None])
    tags = profile.validate_all(
        input=bunch.data[0, :], output=shares[0, :], actual=actuals[0, None]
    )
    assert len(tags) == 11
    predictions = names[shares.argmax(axis=1)]
    for kind, oracle in (("precision", precision_score), ("recall", recall_score)):
        wanted = oracle(actuals, predictions, labels=names, average=None)
        results = [profile.scores[f"{name}_{kind}"].result for name in names]
        assert results == pytest.approx(wanted.tolist())
    assert ModelProfile.from_jcr(profile.to_jcr()).to_jcr() == profile.to_jcr()


def test_boxes_of_pictures(images: list[Image.Image]) -> None:
    """The confidence of boxes is the mean of their fifth number, or its minimum."""
    boxes = [np.random.default_rng(place).random((5, 85)) for place in range(10)]
    profile = ModelProfile(
        name="Yolo",
        version="1.0.0",
        components=[
            InputComponent(name="sharpness", dtype=DataType.FLOAT, extractor=Sharpness()),
            OutputComponent(name="confidence", extractor=YoloConfidenceExtractor()),
        ],
        scores=[MeanScore(name="mean_confidence", inputs=["confidence"], preference="high")],
    )
    profile.build(input=images, output=boxes, silent=False)
    [confidence] = profile.validate_output(output=boxes[0])
    assert confidence["value"] == pytest.approx(boxes[0][:, 4].mean())
    assert profile.scores["mean_confidence"].result == pytest.approx(
        np.mean([picture[:, 4].mean() for picture in boxes])
    )
    assert len(profile.validate_input(input=images[0])) == 1
    assert YoloConfidenceExtractor("min").extract(boxes[0]) == boxes[0][:, 4].min()
    assert np.isnan(YoloConfidenceExtractor().extract([]))
    with pytest.raises(ValueError, match="max"):
        YoloConfidenceExtractor("max")


# test_anomaly, test_similarity, and the parts of test_lazy and test_profiles with a fitted model


@pytest.mark.parametrize("name", NOT_BUILT)
def test_what_is_not_built_says_what_takes_its_place(name: str) -> None:
    """Importing an unavailable class names its replacement, and the guide lists the class."""
    with pytest.raises(ImportError, match=rf"{name} is not available: use a subclass"):
        getattr(importlib.import_module("otel_ml.compat.raymon.extractors"), name)
    guide = ROOT / "docs" / "how-to" / "from-raymon.md"
    [line] = [line for line in guide.read_text().splitlines() if "not built" in line]
    assert f"`{name}`" in line
