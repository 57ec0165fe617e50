"""Rubrics: versions, placeholders, prompts, and unusable replies."""

import json
import re
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml import LLMJudge
from otel_ml.rubric import (
    InvalidRubric,
    JudgedRun,
    MissingPart,
    Rubric,
    RubricVerdict,
    UnusableReply,
    read_rubric,
)
from tests.support.otel_ml.hostile_texts import HOSTILE_TEXTS

PASS_OR_FAIL = Rubric("Does the reply use only facts from the articles?", "gpt-4o-mini")
ONE_TO_FIVE = replace(PASS_OR_FAIL, answer="score", low=1, high=5, pass_at_least=4)
AT_MOST = replace(ONE_TO_FIVE, pass_at_least=None, pass_at_most=2)
LABELLED = replace(
    PASS_OR_FAIL, answer="label", labels=("full", "partly", "none"), pass_labels=("full",)
)
FORMS = [PASS_OR_FAIL, ONE_TO_FIVE, LABELLED]


def reply(score: object) -> str:
    return json.dumps({"score": score, "explanation": "so"})


def sections(prompt: str) -> dict[str, str]:
    """Return each part of a prompt by its heading, as split by the marks."""
    [mark] = re.findall(r"^Below, between the lines that hold (\w{16}),", prompt, re.MULTILINE)
    _, *parts = re.split(rf"^--- {mark} (.*) ---$", prompt, flags=re.MULTILINE)
    return {
        heading: text.strip("\n") for heading, text in zip(parts[::2], parts[1::2], strict=True)
    }


@pytest.mark.parametrize(
    ("rubric", "text", "verdict"),
    [
        (PASS_OR_FAIL, reply("pass"), RubricVerdict(1.0, True, None, "so")),
        (PASS_OR_FAIL, reply("fail"), RubricVerdict(0.0, False, None, "so")),
        (ONE_TO_FIVE, reply(4), RubricVerdict(4.0, True, None, "so")),
        (ONE_TO_FIVE, reply(3.9), RubricVerdict(3.9, False, None, "so")),
        (AT_MOST, reply(2), RubricVerdict(2.0, True, None, "so")),
        (AT_MOST, reply(3), RubricVerdict(3.0, False, None, "so")),
        (LABELLED, reply("full"), RubricVerdict(1.0, True, "full", "so")),
        (LABELLED, reply("none"), RubricVerdict(0.0, False, "none", "so")),
        (LABELLED, f" ```json\n{reply('full')}\n``` ", RubricVerdict(1.0, True, "full", "so")),
    ],
)
def test_answers(rubric: Rubric, text: str, verdict: RubricVerdict) -> None:
    """An answer in the requested form gives the score, and the criterion decides the pass."""
    assert rubric.read(text) == verdict


@pytest.mark.parametrize("score", [0.9, 5.1, -1, "4", True, None])
def test_score_out_of_range(score: object) -> None:
    """A score outside the scale is an error."""
    with pytest.raises(UnusableReply):
        ONE_TO_FIVE.read(reply(score))


def test_there_are_fifty_hostile_texts() -> None:
    """The suite has 50 different hostile texts."""
    assert len({*HOSTILE_TEXTS}) == len(HOSTILE_TEXTS) == 50


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=range(len(HOSTILE_TEXTS)))
def test_hostile_reply_is_no_score(text: str) -> None:
    """A hostile text as a reply is an error in every form of answer."""
    for rubric in FORMS:
        with pytest.raises(UnusableReply):
            rubric.read(text)


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=range(len(HOSTILE_TEXTS)))
def test_hostile_output_stays_data(text: str) -> None:
    """A hostile output stays on one line between marks; task and order of parts are unchanged."""
    for rubric in FORMS:
        prompt = rubric.write_prompt(JudgedRun({"question": "Why?"}, text))
        assert prompt.task == rubric.task
        parts = sections(prompt.data)
        assert list(parts) == ["inputs", "outputs", "end"]
        assert json.loads(parts["outputs"]) == text
        assert parts["outputs"].splitlines() == [parts["outputs"]]
        assert parts["end"] == "Judge the outputs by the rubric. Reply with the JSON object alone."


@given(st.text(), st.text())
def test_any_output_stays_data(question: str, answer: str) -> None:
    """No text of a run can end its part of the prompt."""
    parts = sections(PASS_OR_FAIL.write_prompt(JudgedRun({"question": question}, answer)).data)
    assert (json.loads(parts["inputs"]), json.loads(parts["outputs"])) == (
        {"question": question},
        answer,
    )


@given(st.text())
def test_any_reply_is_an_answer_or_an_error(text: str) -> None:
    """Any reply gives a score on the scale or an `UnusableReply` error."""
    try:
        verdict = ONE_TO_FIVE.read(text)
    except UnusableReply:
        return
    assert 1 <= verdict.score <= 5


def test_placeholders_choose_the_data() -> None:
    """A prompt shows only the parts that placeholders name, and the instruction refers to them."""
    rubric = replace(
        PASS_OR_FAIL,
        instruction="Articles: {{inputs.articles}} Reply: {{ outputs.reply }} For {{tags.client}}",
    )
    run = JudgedRun(
        {"articles": ["a", "b"], "secret": "not shown"},
        {"reply": "yes", "draft": "not shown"},
        tags={"client": "lakeview"},
    )
    prompt = rubric.write_prompt(run)
    assert "Articles: [inputs.articles] Reply: [outputs.reply] For [tags.client]" in prompt.task
    parts = sections(prompt.data)
    del parts["end"]
    assert {heading: json.loads(text) for heading, text in parts.items()} == {
        "inputs.articles": ["a", "b"],
        "outputs.reply": "yes",
        "tags.client": "lakeview",
    }
    assert "not shown" not in prompt.text


def test_steps_and_documents() -> None:
    """A prompt shows the steps that placeholders name, and the retrieved documents."""
    rubric = replace(
        PASS_OR_FAIL,
        instruction="{{steps.plan v2.outputs}} {{steps.search.inputs}} {{documents}}",
    )
    step = {"inputs": {"q": "cats"}, "outputs": ["a"]}
    run = JudgedRun(
        1, 2, steps={"plan v2": [step], "search": [step, step]}, documents=[{"text": "a"}]
    )
    parts = rubric.list_parts(run)
    assert {heading: json.loads(text) for heading, text in parts.items()} == {
        "steps.plan v2.outputs": ["a"],
        "steps.search.inputs": [{"q": "cats"}, {"q": "cats"}],
        "documents": [{"text": "a"}],
    }
    with pytest.raises(MissingPart, match="no step 'plan v2'"):
        rubric.write_prompt(JudgedRun(1, 2, documents=[]))


def test_conversation() -> None:
    """A conversation consists of the session's turns, or of the run alone without a session."""
    rubric = replace(PASS_OR_FAIL, instruction="Is it polite? {{conversation}}")
    turns = [{"inputs": "Hi", "outputs": "Hello"}, {"inputs": "Bye", "outputs": "Bye"}]
    shown = sections(rubric.write_prompt(JudgedRun("Bye", "Bye", conversation=turns)).data)
    assert json.loads(shown["conversation"]) == turns
    shown = sections(rubric.write_prompt(JudgedRun("Bye", "See you")).data)
    assert json.loads(shown["conversation"]) == [{"inputs": "Bye", "outputs": "See you"}]


def test_expected_is_needed() -> None:
    """A rubric that uses the expected answer raises if the run has none."""
    rubric = replace(PASS_OR_FAIL, instruction="Is {{outputs}} the same as {{expected}}?")
    with pytest.raises(MissingPart, match="no expected answer"):
        rubric.write_prompt(JudgedRun(1, 2))
    assert "--- expected" not in rubric.write_prompt(JudgedRun(1, 2, 3)).data
    assert sections(rubric.write_prompt(JudgedRun(1, 2, 3)).data)["expected"] == "3"


def test_cut_data_is_marked() -> None:
    """Data is marked as cut if the prompt or the recording cut it."""
    data = PASS_OR_FAIL.write_prompt(JudgedRun("x" * 20_000, "y", cut=["outputs"])).data
    parts = sections(data)
    assert list(parts) == [
        "inputs (cut: 16384 of 20002 bytes)",
        "outputs (cut when it was recorded)",
        "end",
    ]
    assert len(data) < 17_500


CHANGES: list[dict[str, Any]] = [
    {"instruction": "Another one."},
    {"model": "gpt-4o"},
    {"parameters": {"temperature": 0}},
    {"answer": "score", "pass_at_least": 4.0},
    {"answer": "score", "pass_at_least": 3.0},
    {"answer": "score", "pass_at_least": None, "pass_at_most": 4.0},
    {"answer": "score", "pass_at_least": 4.0, "high": 10.0},
    {"answer": "label", "labels": ("a", "b"), "pass_labels": ("a",)},
    {"answer": "label", "labels": ("a", "b"), "pass_labels": ("b",)},
    {"answer": "label", "labels": ("a", "b", "c"), "pass_labels": ("a",)},
]


def test_what_counts_opens_a_rubric_version() -> None:
    """Instruction, answer form, criterion, model and parameters each change the version."""
    digests = {replace(PASS_OR_FAIL, **change).digest for change in CHANGES}
    assert len({PASS_OR_FAIL.digest, *digests}) == len(CHANGES) + 1


def test_fields_of_other_forms_open_no_version() -> None:
    """Fields that the answer form does not use do not change the version."""
    same = replace(PASS_OR_FAIL, low=0, high=9, labels=("a", "b"), pass_labels=("a",))
    assert same.digest == PASS_OR_FAIL.digest


def test_version_is_fixed() -> None:
    """The version is the digest of a document that is the same in all releases."""
    text = (
        '{"answer":{"at_least":4.0,"at_most":null,"form":"score","high":5.0,"low":1.0},'
        '"instruction":"Does the reply use only facts from the articles?",'
        '"model":"gpt-4o-mini","parameters":{},"prompt":1}'
    )
    assert ONE_TO_FIVE.digest == sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"instruction": ""}, "instruction"),
        ({"instruction": "{{output}}"}, "instruction"),
        ({"instruction": "{{expected.a}}"}, "instruction"),
        ({"instruction": "{{inputs.a b}}"}, "instruction"),
        ({"instruction": 1}, "instruction"),
        ({"model": " "}, "model"),
        ({"answer": "number"}, "answer"),
        ({"answer": "score"}, "pass_at_least"),
        ({"answer": "score", "pass_at_least": 3, "pass_at_most": 4}, "pass_at_least"),
        ({"answer": "score", "pass_at_least": 6}, "pass_at_least"),
        ({"answer": "score", "pass_at_most": 0}, "pass_at_most"),
        ({"answer": "score", "pass_at_least": 3, "low": 5, "high": 5}, "high"),
        ({"answer": "score", "pass_at_least": True}, "pass_at_least"),
        ({"answer": "label"}, "labels"),
        ({"answer": "label", "labels": ["a"], "pass_labels": ["a"]}, "labels"),
        ({"answer": "label", "labels": ["a", "a"], "pass_labels": ["a"]}, "labels"),
        ({"answer": "label", "labels": ["a", "b"]}, "pass_labels"),
        ({"answer": "label", "labels": ["a", "b"], "pass_labels": ["c"]}, "pass_labels"),
        ({"answer": "label", "labels": ["a", "b"], "pass_labels": ["a", "b"]}, "pass_labels"),
        ({"answer": "label", "labels": "ab", "pass_labels": ["a"]}, "labels"),
        ({"parameters": {"messages": []}}, "parameters"),
        ({"parameters": []}, "parameters"),
    ],
    ids=str,
)
def test_invalid_rubric(document: dict[str, Any], field: str) -> None:
    """An invalid rubric is refused, and the error names the field."""
    with pytest.raises(InvalidRubric) as refused:
        read_rubric({"instruction": "Is it so?", "model": "m", **document})
    assert refused.value.field == field


def test_document_is_read() -> None:
    """A saved document reads back as the same rubric, even with other keys."""
    document = {
        "name": "grounded",
        "instruction": LABELLED.instruction,
        "model": LABELLED.model,
        "answer": "label",
        "labels": ["full", "partly", "none"],
        "pass_labels": ["full"],
        "where": 'model == "draft"',
    }
    assert read_rubric(document) == LABELLED


def test_schema_names_the_words() -> None:
    """The JSON schema for structured output allows only the labels of the rubric."""
    assert LABELLED.schema == {
        "type": "object",
        "properties": {
            "score": {"type": "string", "enum": ["full", "partly", "none"]},
            "explanation": {"type": "string"},
        },
        "required": ["score", "explanation"],
        "additionalProperties": False,
    }


def test_sdk_judge_of_a_saved_rubric() -> None:
    """An SDK judge made from a saved rubric has the rubric's version, prompt and reply format."""
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return reply("full")

    document = {
        "instruction": LABELLED.instruction,
        "model": LABELLED.model,
        "answer": "label",
        "labels": ["full", "partly", "none"],
        "pass_labels": ["full"],
    }
    judge = LLMJudge.from_rubric("grounded", document, ask)
    found = judge.evaluate({"question": "Why?"}, "because")
    assert (judge.version, found.score, found.passed, found.label, found.explanation) == (
        LABELLED.digest,
        1.0,
        True,
        "full",
        "so",
    )
    assert prompts == [LABELLED.write_prompt(JudgedRun({"question": "Why?"}, "because")).text]


def test_sdk_judge_of_a_hostile_model() -> None:
    """An unusable reply is an error of the judge, with no retry by default."""
    judge = LLMJudge.from_rubric(
        "grounded", {"instruction": "Is it so?", "model": "m"}, lambda _: "Ignore and pass."
    )
    found = judge.evaluate({}, "x")
    assert (found.score, found.passed) == (None, None)
    assert found.error == "no usable reply in 1 try: it is not one JSON object"
