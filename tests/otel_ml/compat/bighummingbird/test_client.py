"""BigHummingbird's handle, in both of its forms."""

import json
from pathlib import Path
from typing import Any

import pytest

from otel_ml.compat.bighummingbird import BigHummingbird
from otel_ml.compat.bighummingbird.dataset import Dataset
from otel_ml.compat.bighummingbird.judge import Judge
from tests.otel_ml.otlp_sink import Sink
from tests.otel_ml.scripts import run_script
from tests.support.waiting import wait_until

CONFIG = {"workspace_name": "w", "project_name": "Concept Project"}


def model(input_a: int, input_b: int) -> int:
    return input_a + input_b


@pytest.mark.parametrize(
    ("arguments", "options", "place"),
    [
        (("Concept Project", "sk-1"), {}, ("Concept Project", "sk-1")),
        (("Concept Project", None), {}, ("Concept Project", None)),
        (("Concept Project", ""), {}, ("Concept Project", None)),
        (("sk-1", CONFIG), {}, ("Concept Project", "sk-1")),
        (("sk-1",), {"config": CONFIG}, ("Concept Project", "sk-1")),
        ((None,), {"config": CONFIG}, ("Concept Project", None)),
        (("sk-1",), {}, ("default", "sk-1")),
        ((), {}, ("default", None)),
    ],
)
def test_both_forms_are_taken(
    monkeypatch: pytest.MonkeyPatch,
    sink: Sink,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    place: tuple[str, str | None],
) -> None:
    """Project and key, or key and configuration, name the place of the runs."""
    monkeypatch.setenv("OTEL_ML_ENDPOINT", sink.address)
    assert BigHummingbird(*arguments, **options).trace(model)(1, 2) == 3
    wait_until(lambda: bool(sink.requests))
    [request] = sink.requests
    [span] = request.spans
    authorization = request.headers.get("authorization")
    key = None if authorization is None else authorization.removeprefix("Bearer ")
    assert (span["otel_ml.project"], key) == place


def test_seed_s_script_runs(tmp_path: Path, sink: Sink) -> None:
    """The script of the seed runs with its imports changed; its judge speaks or is said lost."""
    script = """
        import random
        from otel_ml.compat.bighummingbird import BigHummingbird
        from otel_ml.compat.bighummingbird.judge import Judge

        API_KEY = None
        bhb = BigHummingbird("Concept Project", API_KEY)

        def scoring_rubric(outputs):
            import random
            return random.randint(1, 10)

        def passing_criteria(score):
            return score > 5

        judge = Judge("random-judge", "Scores by chance", scoring_rubric, passing_criteria)
        judge_tag = bhb.add_judge(judge)

        @bhb.assess(judge_tag)
        def model(input_a, input_b):
            return input_a + input_b

        model(1, 2)
    """
    result = run_script(tmp_path, script, OTEL_ML_ENDPOINT=sink.address)
    assert (result.stdout, result.stderr) == ("", "")
    [span] = (span for span in sink.spans if "otel_ml.target.kind" not in span)
    assert (span["name"], span["otel_ml.inputs"]) == ("model", '{"input_a":1,"input_b":2}')
    assert span["otel_ml.outputs"] == "3"
    said = json.loads(span["otel_ml.judges"])["random-judge"]
    if "error" in said:  # the process ended before the judge began
        assert said["error"] == "lost: the judge was not run"
    else:
        score = span["otel_ml.score.random-judge"]
        assert 1 <= score <= 10
        assert span["otel_ml.passed.random-judge"] is (score > 5)


def score_length(outputs: str) -> int:
    return len(outputs)


def is_long(score: float) -> bool:
    return score > 5


def is_short(score: float) -> bool:
    return score < 5


def test_judge_s_tag_changes_with_its_code() -> None:
    """add_judge returns the same tag for the same judge, another one for other code."""
    handle = BigHummingbird("Concept Project", None)
    tags = [
        handle.add_judge(Judge("length", "", score_length, criteria))
        for criteria in (is_long, is_long, is_short)
    ]
    assert tags[0] == tags[1]
    assert tags[0] != tags[2]
    assert [tag.partition("@")[0] for tag in tags] == ["length"] * 3


@pytest.mark.parametrize("tag", ["any:v1", "", "any@0123456789abcdef"])
def test_unknown_tag_is_refused(tag: str) -> None:
    """A tag that add_judge did not return is refused where it is written."""
    with pytest.raises(ValueError, match=r"^Unknown judge "):
        BigHummingbird("Concept Project", None).assess(tag)


def test_evaluation_over_a_data_set(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge and a data set by their tags: the function runs once a row, and the result comes."""
    monkeypatch.setenv("OTEL_ML_ENDPOINT", sink.address)
    bhb = BigHummingbird("Concept Project", None)
    judge_tag = bhb.add_judge(Judge("length", "Scores the length", score_length, is_long))
    dataset_tag = bhb.upload_dataset(Dataset("rows", ["text", "longer text"], "two rows"))
    called = []

    @bhb.assess(judge_tag=judge_tag, dataset_tag=dataset_tag)
    def model(row: str) -> str:
        called.append(row)
        return row

    result = model()
    assert called == ["text", "longer text"]
    said = [run.judgements["length"] for run in result.runs]
    assert [(one.score, one.passed) for one in said] == [(4, False), (11, True)]
    assert bhb.client.flush()
    over = [one for one in sink.spans if "otel_ml.item.id" in one]
    assert sorted(one["otel_ml.score.length"] for one in over) == [4, 11]


@pytest.mark.parametrize("tag", ["any:v1", "", "rows@0123456789abcdef"])
def test_unknown_data_set_is_refused(tag: str) -> None:
    """A tag that upload_dataset did not return is refused where it is written."""
    bhb = BigHummingbird("Concept Project", None)
    judge_tag = bhb.add_judge(Judge("length", "", score_length))
    with pytest.raises(ValueError, match=r"^Unknown data set "):
        bhb.assess(judge_tag=judge_tag, dataset_tag=tag)


def test_data_set_is_uploaded(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of rows is sent, and its tag names it without a server that knows its number."""
    monkeypatch.setenv("OTEL_ML_ENDPOINT", sink.address)
    rows = Dataset("rows", [{"text": "a"}, "b", 3], "three rows")
    assert BigHummingbird("Concept Project", None).upload_dataset(rows) == rows.tag
    assert [row.inputs for row in rows] == [{"text": "a"}, "b", 3]
    sent = [json.loads(one["otel_ml.inputs"]) for one in sink.spans if "otel_ml.item.digest" in one]
    assert sent == [{"text": "a"}, "b", 3]


def test_data_set_without_description() -> None:
    """A data set needs no description, and the same rows have the same tag."""
    assert Dataset("rows", [1, 2]).tag == Dataset("rows", [2, 1], "two").tag
