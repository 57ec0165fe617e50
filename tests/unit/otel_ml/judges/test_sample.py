"""The share of runs that is judged, and several judges of one function."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import otel_ml
from otel_ml import Client, Judge
from otel_ml.judges.judge import is_in_sample
from tests.support.otel_ml.recording import Recording, attributes, judged, span_id

ids = st.integers(1, 2**64 - 1)
ONE = Judge("one", "", lambda: 1)


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("sample", [0, 0.3, 1])
def test_share_of_the_runs_is_judged(recording: Recording, inline: bool, sample: float) -> None:
    """Runs are judged if their span id is in the sample.

    Other runs have no score, and no judge is recorded as lost.
    """
    model = recording.client.assess(ONE, inline=inline, sample=sample)(lambda: 1)
    for _ in range(60):
        model()
    spans = recording.runs()
    assert len(spans) == 60
    for span in spans:
        found = {key for key in attributes(span) if "judge" in key or "score" in key}
        expected = {"otel_ml.judges", "otel_ml.score.one"}
        assert found == (expected if is_in_sample(span_id(span), sample) else set())
    assert recording.records("evaluation") == []


def test_whole_share_is_everyone() -> None:
    """A sample of 1 contains all ids and a sample of 0 none, including the extreme ids."""
    for number in (0, 1, 2**63, 2**64 - 1):
        assert (is_in_sample(number, 1), is_in_sample(number, 0)) == (True, False)


@pytest.mark.parametrize("step", [1, 2**32, 6_364_136_223_846_793_005])
def test_share_is_what_was_asked_for(step: int) -> None:
    """About the requested share of many ids is judged, even if the ids are consecutive."""
    found = sum(is_in_sample(number * step % 2**64, 0.25) for number in range(1, 40_001))
    assert 9_600 < found < 10_400


@given(ids, st.floats(0, 1), st.floats(0, 1))
def test_larger_share_holds_the_smaller_one(number: int, one: float, other: float) -> None:
    """A run that is judged at one share is judged at every larger share."""
    assert is_in_sample(number, min(one, other)) <= is_in_sample(number, max(one, other))


@pytest.mark.parametrize("sample", [-0.1, 1.1, float("nan"), float("inf"), True, "0.5", None])
def test_impossible_share_is_refused(client: Client, sample: object) -> None:
    """A share that is not a number from 0 to 1 raises an error that shows the value."""
    text = re.escape(f"Invalid sample {sample!r}: expected a number from 0 to 1")
    with pytest.raises(ValueError, match=f"^{text}$"):
        client.assess(ONE, sample=sample)  # type: ignore[arg-type]  # on purpose


def test_default_client_takes_them_too() -> None:
    """The `assess` of the default client also accepts a share and inline judging."""
    with pytest.raises(ValueError, match="Invalid sample"):
        otel_ml.assess(ONE, inline=True, sample=2)


def test_judges_of_one_function_all_speak(recording: Recording) -> None:
    """Sync and async judges of one function all score each of its runs."""

    async def half(outputs: int) -> float:
        return outputs / 2

    async def is_whole(score: float) -> bool:
        return score == int(score)

    judges = [
        Judge("double", "", lambda outputs: outputs * 2, lambda score: score > 2),
        Judge("half", "", half, is_whole),
        Judge("share", "", lambda a, outputs: (a / outputs, "a part")),
    ]
    model = recording.client.assess(*judges)(lambda a: a + 1)
    model(1)
    found = attributes(recording.run())
    scores = {
        key.removeprefix("otel_ml."): item
        for key, item in found.items()
        if key.startswith(("otel_ml.score.", "otel_ml.passed."))
    }
    assert scores == {
        "score.double": 4.0,
        "passed.double": True,
        "score.half": 1.0,
        "passed.half": True,
        "score.share": 0.5,
    }
    assert judged(recording.run()) == {
        "double": {"version": judges[0].version},
        "half": {"version": judges[1].version},
        "share": {"version": judges[2].version, "explanation": "a part"},
    }


def test_judge_that_is_named_twice_speaks_once(recording: Recording) -> None:
    """A judge that is given both directly and by its tag scores a run once."""
    calls: list[int] = []

    def rubric(outputs: int) -> float:
        calls.append(outputs)
        return 1.0

    counted = Judge("counted", "", rubric)
    recording.client.assess(counted, recording.client.add_judge(counted))(lambda: 1)()
    assert attributes(recording.run())["otel_ml.score.counted"] == 1.0
    assert calls == [1]


def test_two_judges_of_one_name_are_refused(client: Client) -> None:
    """Two judges with the same name raise an error that shows the names."""
    other = Judge("one", "", lambda: 2)
    with pytest.raises(
        ValueError, match=r"^Invalid judges \['one', 'one'\]: expected a different name for each$"
    ):
        client.assess(ONE, other)
