"""A judge that asks a language model to score a run by a rubric in plain words."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import orjson

from otel_ml.arguments import (
    check_callable,
    check_integer,
    check_mapping,
    check_number,
    check_text,
    invalid,
)
from otel_ml.capture.values import encode
from otel_ml.judges.answer import JudgeError, Score
from otel_ml.judges.judge import Criteria, Judge
from otel_ml.judges.steps import Steps
from otel_ml.late import late
from otel_ml.rubric import (
    BOTH,
    DATA,
    INSTRUCTION_CHARS,
    PART_BYTES,
    JudgedRun,
    MissingPart,
    NumberScale,
    Rubric,
    Scale,
    UnusableReply,
    WordScale,
    read_reply,
    read_rubric,
    write_data,
    write_task,
)

if TYPE_CHECKING:
    from otel_ml.versions import definition as definitions
    from otel_ml.versions.definition import Definition
else:
    definitions = late("versions.definition")

Ask = Callable[[str], str | Awaitable[str]]

_MAX_RETRIES: Final = 10

_AGAIN: Final = """
Your last reply could not be used: {why}. Reply with the JSON object alone.
"""
# Template of the data in a prompt. It is part of the judge's version. It has no expected answer.
_FRAME: Final = DATA.replace("{names}", BOTH).replace(
    "{sections}", "--- {mark} inputs ---\n{inputs}\n--- {mark} outputs ---\n{outputs}"
)


class LLMJudge(Judge):
    """Scores the output of a run by asking a language model.

    A new version of the judge is created if you change the rubric, the scale, the code of `ask` or
    the passing criterion. A new release of otel-ml can create one too, if it changes the prompt.

    Args:
        name: Name of the judge. Its scores and versions share the name.
        rubric: Describes in words what to check and which score to give.
        ask: Function that takes a prompt and returns the model's reply as text, sync or async. If
            it raises, the judge has failed; there is no retry.
        minimum: Lowest score.
        maximum: Highest score.
        labels: Answers to choose from instead of a number, such as ``{"good": 1, "bad": 0}``, with
            their scores.
        passing_criteria: Function that takes the score and returns whether the run passed.
        description: What the judge checks. Shown on its web page. Default: the rubric.
        retries: How often to ask again if the reply has the wrong format, from 0 to 10. The new
            prompt says what was wrong. If the last reply is also wrong, the judge has failed.
        timeout_s: Time limit in seconds for all attempts together.
        cache: Whether to remember the scores of the last 1,024 inputs and outputs. On by default,
            because asking a model costs money.
        lower_is_better: Whether lower scores are better. With None, it is derived from which scores
            pass.

    Raises:
        ValueError: An argument is invalid: `minimum` is not below `maximum`, or `retries` is not
            from 0 to 10.
    """

    def __init__(  # noqa: PLR0913 - a judge is set up once, by keyword
        self,
        name: str,
        rubric: str,
        ask: Ask,
        *,
        minimum: float = 0.0,
        maximum: float = 1.0,
        labels: Mapping[str, float] | None = None,
        passing_criteria: Criteria | None = None,
        description: str | None = None,
        retries: int = 2,
        timeout_s: float = 30.0,
        cache: bool = True,
        lower_is_better: bool | None = None,
    ) -> None:
        check_text("rubric", rubric, INSTRUCTION_CHARS)
        check_callable("ask", ask, "a function of a prompt")
        super().__init__(
            name,
            rubric if description is None else description,
            ask,
            passing_criteria,
            timeout_s=timeout_s,
            cache=cache,
            lower_is_better=lower_is_better,
        )
        check_number("minimum", minimum)
        check_number("maximum", maximum)
        if not minimum < maximum:
            raise invalid("maximum", maximum, f"a number above the minimum {minimum!r}")
        if labels is not None:
            expected = "a mapping of words to scores"
            check_mapping("labels", labels, expected)
            if not labels:
                raise invalid("labels", labels, expected)
            for word, score in labels.items():
                check_text("labels", word)
                check_number("labels", score)
        check_integer("retries", retries, 0, _MAX_RETRIES)
        self._retries = retries
        self._scale: Scale = NumberScale(minimum, maximum) if labels is None else WordScale(labels)
        self._task = write_task(rubric, self._scale)

    @classmethod
    def from_rubric(
        cls,
        name: str,
        rubric: Mapping[str, object],
        ask: Ask,
        *,
        retries: int = 0,
        timeout_s: float = 30.0,
        cache: bool = True,
    ) -> "LLMJudge":
        """Create a judge from a rubric that is saved in the collector.

        Use it to score experiments and tests with the same judge version as live traffic. `ask`
        should call the model that the rubric names; this is not checked.

        Args:
            name: Name of the judge.
            rubric: The saved rubric, as the API returns it: ``instruction``, ``model``, ``answer``
                and the other fields.
            ask: Function that takes a prompt and returns the model's reply as text, sync or async.
            retries: How often to ask again if the reply has the wrong format, from 0 to 10.
            timeout_s: Time limit in seconds for all attempts together.
            cache: Whether to remember the scores of the last 1,024 inputs and outputs.

        Raises:
            ValueError: An argument or a field of the rubric is invalid.
        """
        check_mapping("rubric", rubric, "a saved rubric")
        return _SavedJudge(
            name, read_rubric(rubric), ask, retries=retries, timeout_s=timeout_s, cache=cache
        )

    def _read_parameters(self) -> Mapping[str, bool]:
        return {}  # `ask` gets the prompt, not the values of a run

    def _define_rubric(self) -> "Definition":
        texts = {"task": self._task, "data": _FRAME, "again": _AGAIN}
        asked = definitions.define(self.scoring_rubric, texts)
        helpers = asked.helpers if asked.source is None else {**asked.helpers, "ask": asked.source}
        return replace(asked, source=self._task, params={}, helpers=helpers)

    def _score(
        self, inputs: Mapping[str, object], outputs: object, more: Mapping[str, object]
    ) -> Steps[tuple[Score, bool | None]]:
        prompt = asked = self._write_prompt(inputs, outputs, more)
        why = ""
        for _ in range(self._retries + 1):
            reply = yield partial(self.scoring_rubric, asked)
            if not isinstance(reply, str):
                raise JudgeError(f"ask returned {type(reply).__name__}: expected text")
            try:
                return self._read(reply)
            except UnusableReply as problem:
                why = str(problem)
                asked = prompt + _AGAIN.format(why=why)
        tries = "1 try" if not self._retries else f"{self._retries + 1} tries"
        raise JudgeError(f"no usable reply in {tries}: {why}")

    def _write_prompt(
        self, inputs: Mapping[str, object], outputs: object, more: Mapping[str, object]
    ) -> str:
        return self._task + _show(inputs, outputs, more.get("expected"))

    def _read(self, reply: str) -> tuple[Score, bool | None]:
        answer = read_reply(reply, self._scale)
        return Score(answer.score, answer.label, answer.explanation), None


class _SavedJudge(LLMJudge):
    """A judge with a rubric of the collector, whose digest is its version."""

    def __init__(
        self, name: str, rubric: Rubric, ask: Ask, *, retries: int, timeout_s: float, cache: bool
    ) -> None:
        super().__init__(
            name,
            rubric.instruction,
            ask,
            retries=retries,
            timeout_s=timeout_s,
            cache=cache,
            lower_is_better=rubric.lower_is_better,
        )
        self._rubric = rubric

    def _define_rubric(self) -> "Definition":
        rubric = self._rubric
        return definitions.Definition(
            digest=rubric.digest,
            source=rubric.task,
            signature="",
            params=rubric.definition,
            helpers={},
            constants={},
        )

    def _write_prompt(
        self, inputs: Mapping[str, object], outputs: object, more: Mapping[str, object]
    ) -> str:
        shown = [dict(inputs), outputs, more.get("expected")]
        values = [orjson.loads(encode(value).text) for value in shown]
        try:
            return self._rubric.write_prompt(JudgedRun(*values)).text
        except MissingPart as error:
            raise JudgeError(str(error)) from None

    def _read(self, reply: str) -> tuple[Score, bool | None]:
        verdict = self._rubric.read(reply)
        return Score(verdict.score, verdict.label, verdict.explanation), verdict.passed


def _show(inputs: Mapping[str, object], outputs: object, expected: object) -> str:
    """Write inputs, outputs and the expected answer for the prompt, one line each."""
    shown = {"inputs": dict(inputs), "outputs": outputs}
    if expected is not None:
        shown["expected"] = expected
    return write_data({name: encode(part, PART_BYTES).text for name, part in shown.items()})
