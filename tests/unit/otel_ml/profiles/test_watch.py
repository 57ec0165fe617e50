"""`Client.profile`: runs are validated after their call, and their tags are sent as updates."""

import json
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from otel_ml import InputComponent, ModelProfile, OutputComponent
from tests.support.otel_ml.recording import Recording, attributes


def profile_of_ages(**more: Any) -> ModelProfile:
    profile = ModelProfile(
        "churn",
        "1.0.0",
        components=[
            InputComponent("age", dtype="INT", low=0, high=120, **more),
            InputComponent("digits", extractor=lambda told: len(str(told["age"])), dtype="INT"),
            OutputComponent("label", path="outputs.label", dtype="CAT"),
        ],
    )
    profile.build([{"age": age} for age in range(10, 90)], [{"label": "yes"}, {"label": "no"}] * 40)
    return profile


def tags_of(span: ReadableSpan) -> dict[str, Any]:
    prefix = "otel_ml.tag."
    told = attributes(span)
    return {name.removeprefix(prefix): told[name] for name in told if name.startswith(prefix)}


def about_runs(recording: Recording) -> dict[str, dict[str, Any]]:
    """Return the tags of each run from the updates about it."""
    return {
        attributes(span)["otel_ml.target.run"]: tags_of(span)
        for span in recording.records("update")
        if "otel_ml.target.run" in attributes(span)
    }


def test_each_run_of_the_model_is_validated() -> None:
    """Calls return as without a profile, and invalid values are tagged afterwards."""
    recording = Recording()
    assert recording.client.profile(profile_of_ages(), action="predict") == "churn@1.0.0"
    ids = []

    @recording.client.trace(name="predict")
    def predict(age: Any) -> dict[str, str]:
        ids.append(recording.client.current_run().id)
        return {"label": "perhaps" if age == 3 else "yes"}

    @recording.client.trace(name="other")
    def other(age: int) -> int:
        return age

    assert [predict(40), predict(500), predict("40"), predict(3)] == [
        {"label": "yes"},
        {"label": "yes"},
        {"label": "yes"},
        {"label": "perhaps"},
    ]
    other(900)
    assert about_runs(recording) == dict(
        zip(
            ids,
            [
                {"digits": 2},
                {"age-error": "UpperBoundError", "digits": 3, "digits-error": "UpperBoundError"},
                {"age-error": "DataException", "digits": 2},
                {
                    "digits": 1,
                    "digits-error": "LowerBoundError",
                    "label-error": "Domain Error",
                },
            ],
            strict=True,
        )
    )


def test_tags_have_type_and_group() -> None:
    """A profile's tags have its group, and error tags have their own type."""
    recording = Recording()
    recording.client.profile(profile_of_ages(), action="predict")
    with recording.client.run("predict", kind="model", inputs={"age": -1}):
        pass
    [update] = [
        span for span in recording.records("update") if "otel_ml.target.run" in attributes(span)
    ]
    assert json.loads(attributes(update)["otel_ml.tags"])["age-error"] == {
        "type": "profile-input-error",
        "group": "churn@1.0.0",
    }


def test_the_profile_travels_as_a_version() -> None:
    """A profile is sent once, as a version with the digest of its content."""
    recording = Recording()
    profile = profile_of_ages()
    recording.client.profile(profile, action="predict")
    recording.client.profile(profile, action="predict")
    [told] = [
        attributes(span)
        for span in recording.records("update")
        if attributes(span).get("otel_ml.target.kind") == "profile"
    ]
    assert (told["otel_ml.target.model"], told["otel_ml.target.version"]) == (
        "churn",
        profile.digest,
    )
    assert ModelProfile.from_dict(json.loads(told["otel_ml.model.definition"])).tag == "churn@1.0.0"


def test_failed_runs_have_no_output_to_look_at() -> None:
    """If a call raised, only its inputs are validated, and the error reaches the caller."""
    recording = Recording()
    recording.client.profile(profile_of_ages(), action="predict")

    @recording.client.trace(name="predict")
    def predict(age: int) -> dict[str, str]:
        raise LookupError(str(age))

    with pytest.raises(LookupError, match="200"):
        predict(200)
    [tags] = about_runs(recording).values()
    assert tags == {"age-error": "UpperBoundError", "digits": 3, "digits-error": "UpperBoundError"}


def test_what_is_not_recorded_is_not_looked_at() -> None:
    """Inputs that are not recorded do not count as missing values."""
    recording = Recording()
    recording.client.profile(profile_of_ages(), action="predict")

    @recording.client.trace(name="predict", capture="outputs")
    def predict(age: int) -> dict[str, str]:
        return {"label": "maybe"}

    predict(900)
    assert [*about_runs(recording).values()] == [{"label-error": "Domain Error"}]


def test_an_extractor_that_raises_costs_the_call_nothing() -> None:
    """If a user's extractor raises, only the run's tags have an error, and the call returns."""

    def refuse(told: Any) -> int:
        if told["age"] == 7:
            raise SystemExit(7)
        return 1

    profile = ModelProfile(components=[InputComponent("odd", extractor=refuse, dtype="INT")])
    profile.build([{"age": 1}])
    recording = Recording()
    recording.client.profile(profile, action="predict")

    @recording.client.trace(name="predict")
    def predict(age: int) -> int:
        return age

    assert (predict(7), predict(8)) == (7, 8)
    assert [*about_runs(recording).values()] == [{"odd-error": "DataException"}, {"odd": 1}]


def test_a_newer_profile_takes_the_place() -> None:
    """The last profile given for a name and version applies; building it again has no effect."""
    recording = Recording()
    wide = profile_of_ages()
    recording.client.profile(profile_of_ages(), action="predict")
    recording.client.profile(wide, action="predict")
    wide.build([{"age": 1_000}], [{"label": "no"}])
    with recording.client.run("predict", kind="model", inputs={"age": 500}):
        pass
    assert [*about_runs(recording).values()] == [
        {"age-error": "UpperBoundError", "digits": 3, "digits-error": "UpperBoundError"}
    ]


@pytest.mark.parametrize("given", ["churn", ModelProfile("a", components=[InputComponent("b")])])
def test_only_built_profiles_are_taken(given: Any) -> None:
    """An object that is not a profile, or a profile that was not built, is refused."""
    with pytest.raises(ValueError, match="a ModelProfile that was built"):
        Recording().client.profile(given, action="predict")
