"""Tests of the ready rubrics and their labelled examples."""

import json
from pathlib import Path
from typing import Final

import pytest

from otel_ml.rubric import read_rubric
from otel_ml_collector.errors import Missing
from otel_ml_collector.judges import ready_rubrics
from otel_ml_collector.judges.ready_rubrics import READY_RUBRICS, read_ready_rubric
from otel_ml_collector.judges.rubric_judge import WantedRubricJudge

FOLDER: Final = Path(ready_rubrics.__file__).with_name("rubrics")


def test_names() -> None:
    """There is a ready rubric for each common question."""
    assert (
        *("conciseness", "correctness", "groundedness", "language", "refusal", "toxicity"),
    ) == READY_RUBRICS


def test_unknown_name() -> None:
    """The error for a misspelt name suggests the closest one."""
    with pytest.raises(Missing, match="'langage': did you mean language"):
        read_ready_rubric("langage")


@pytest.mark.parametrize("name", READY_RUBRICS)
def test_document(name: str) -> None:
    """Each document is a judge that can be saved once its placeholders are replaced."""
    ready = read_ready_rubric(name)
    judge = WantedRubricJudge(**ready.document)
    assert (judge.model, judge.connection, judge.is_on) == ("MODEL", "CONNECTION", False)
    placeholders = {"inputs", "outputs"} | ({"expected"} if name == "correctness" else set())
    assert {*judge.rubric.placeholders} == placeholders
    assert ready.description


@pytest.mark.parametrize("name", READY_RUBRICS)
def test_examples(name: str) -> None:
    """Each rubric has 40 different examples, whose labels are valid in the rubric."""
    ready = read_ready_rubric(name)
    rubric = read_rubric(ready.document)
    labels = [example.label for example in ready.examples]
    assert {*labels} == {*(rubric.labels or ("pass", "fail"))}
    passed = sum(label in (rubric.pass_labels or ("pass",)) for label in labels)
    assert 16 <= passed <= 24
    texts = {json.dumps([example.inputs, example.outputs]) for example in ready.examples}
    assert len(texts) == len(labels) == 40
    assert all(rubric.write_prompt(example.shown).data for example in ready.examples)
    assert any("Ignore" in str(example.outputs) for example in ready.examples) or any(
        "AI systems" in str(example.inputs) for example in ready.examples
    )


@pytest.mark.parametrize("name", READY_RUBRICS)
def test_size(name: str) -> None:
    """The files of a rubric are smaller than 25 kB, because they are part of each installation."""
    sizes = [file.stat().st_size for file in FOLDER.glob(f"{name}.*")]
    assert len(sizes) == 2
    assert max(sizes) < 25_000
