"""Cases of tests/unit/otel_ml/compat/bighummingbird/test_client.py that start processes."""

import json
from pathlib import Path
from typing import Any

import pytest

from otel_ml.compat.bighummingbird import BigHummingbird
from otel_ml.compat.bighummingbird.dataset import Dataset
from otel_ml.compat.bighummingbird.judge import Judge
from tests.support.otel_ml.otlp_sink import Sink
from tests.support.otel_ml.scripts import run_script
from tests.support.waiting import wait_until
from tests.unit.otel_ml.compat.bighummingbird.test_client import is_long, score_length

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
    """Project and key, or key and configuration, set the project and key of the runs."""
    monkeypatch.setenv("OTEL_ML_ENDPOINT", sink.address)
    assert BigHummingbird(*arguments, **options).trace(model)(1, 2) == 3
    wait_until(lambda: bool(sink.requests))
    [request] = sink.requests
    [span] = request.spans
    authorization = request.headers.get("authorization")
    key = None if authorization is None else authorization.removeprefix("Bearer ")
    assert (span["otel_ml.project"], key) == place


def test_seed_s_script_runs(tmp_path: Path, sink: Sink) -> None:
    """BigHummingbird's script runs with changed imports; its judge scores or counts as lost."""
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
    if "error" in said:  # the process ended before the judge started
        assert said["error"] == "lost: the judge was not run"
    else:
        score = span["otel_ml.score.random-judge"]
        assert 1 <= score <= 10
        assert span["otel_ml.passed.random-judge"] is (score > 5)


def test_evaluation_over_a_data_set(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge and a data set given by tag: the function runs once per row and is scored."""
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


def test_data_set_is_uploaded(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of rows is sent, and its tag is known without a server."""
    monkeypatch.setenv("OTEL_ML_ENDPOINT", sink.address)
    rows = Dataset("rows", [{"text": "a"}, "b", 3], "three rows")
    assert BigHummingbird("Concept Project", None).upload_dataset(rows) == rows.tag
    assert [row.inputs for row in rows] == [{"text": "a"}, "b", 3]
    sent = [json.loads(one["otel_ml.inputs"]) for one in sink.spans if "otel_ml.item.digest" in one]
    assert sent == [{"text": "a"}, "b", 3]
