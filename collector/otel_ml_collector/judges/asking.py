"""Judges one run by a rubric, and writes the result as spans like those of any other judge."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml.records import Tokens
from otel_ml.rubric import JudgedRun, MissingPart, Rubric, RubricVerdict, UnusableReply
from otel_ml_collector.feedback import identify, make_request, make_span
from otel_ml_collector.judges.judge_store import DueRun
from otel_ml_collector.judges.provider import ModelAnswer, ModelCaller, NoAnswer
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.settings.connections import Connection
from otel_ml_collector.store.judging import BACKFILL

_MOST_ERROR_CHARS: Final = 1_024
TRIAL: Final = "trial"
_COST: Final = "gen_ai.usage.cost"
# For an estimate: English prose has 4 bytes per token, JSON and other languages have fewer.
_BYTES_PER_TOKEN: Final = 3.5
_REPLY_TOKENS: Final = 80
_CallTag = tuple[str, str | bool | None]


@dataclass(frozen=True, slots=True)
class RubricAnswer:
    """The result of asking a model about data: a verdict, or an error.

    Attributes:
        verdict: The score, and whether the data passed, as read from the model's reply. None if
            there was an error.
        answer: The model's reply; None if the model did not reply.
        cost: Cost of the call in US dollars; None if the cost is unknown.
        error: Why there is no verdict; empty if there is a verdict.
    """

    verdict: RubricVerdict | None
    answer: ModelAnswer | None
    cost: float | None
    error: str = ""

    @property
    def latency_ms(self) -> float | None:
        """How long the answer took; None without one."""
        if self.answer is None:
            return None
        return (self.answer.end_ns - self.answer.start_ns) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class RubricJudgement(RubricAnswer):
    """The result of judging one run."""

    run: DueRun


@dataclass(frozen=True, slots=True)
class RubricAsking:
    """A judge with everything that it needs to ask its language model about runs.

    Attributes:
        name: Name of the judge.
        rubric: The instructions to the model, and how to read its replies.
        connection: Address and key of the model's provider.
        prices: Prices of tokens, to compute the cost of a call.
        caller: Sends the requests.
    """

    project: str
    name: str
    rubric: Rubric
    connection: Connection
    prices: Prices
    caller: ModelCaller

    def judge(self, run: DueRun) -> RubricJudgement:
        """Ask the model about a run, and read its reply.

        A problem with only this run is not raised, but returned in `error` of the result: for
        example, an unusable reply.

        Raises:
            NoAnswer: No run can be judged now, because the connection is misconfigured.
        """
        answer = self.ask(_show(run))
        return RubricJudgement(answer.verdict, answer.answer, answer.cost, answer.error, run=run)

    def list_parts(self, run: DueRun) -> dict[str, str]:
        """Return the parts of a run that the model sees, by heading; none if one is missing."""
        try:
            return self.rubric.list_parts(_show(run))
        except MissingPart:
            return {}

    def estimate(self, run: DueRun) -> Tokens:
        """Estimate the tokens of asking about a run from the size of the prompt."""
        try:
            size = len(self.rubric.write_prompt(_show(run)).text.encode())
        except MissingPart:
            return Tokens(0, 0)
        return Tokens(math.ceil(size / _BYTES_PER_TOKEN), _REPLY_TOKENS)

    def price(self, tokens: Tokens, now_ns: int) -> float | None:
        """Return the cost of a call in US dollars; None if the price is unknown."""
        return self.prices.cost(self.connection.provider_name, self.rubric.model, tokens, now_ns)

    def ask(self, shown: JudgedRun) -> RubricAnswer:
        """Ask the model about data, and read its reply.

        Raises:
            NoAnswer: Nothing can be judged now, because the connection is misconfigured.
        """
        try:
            prompt = self.rubric.write_prompt(shown)
            answer = self.caller.ask(self.connection, self.rubric, prompt)
        except MissingPart as error:
            return RubricAnswer(None, None, None, str(error))
        except NoAnswer as error:
            if error.is_for_all:
                raise
            return RubricAnswer(None, None, None, str(error)[:_MOST_ERROR_CHARS])
        cost = self.prices.cost(
            self.connection.provider_name,
            answer.model or self.rubric.model,
            answer.tokens,
            answer.start_ns,
        )
        if cost is None:  # the provider may report a name that no table has
            cost = self.price(answer.tokens, answer.start_ns)
        try:
            return RubricAnswer(self.rubric.read(answer.text), answer, cost)
        except UnusableReply as error:
            return RubricAnswer(None, answer, cost, f"unusable reply: {error}")


def _show(run: DueRun) -> JudgedRun:
    return JudgedRun(
        inputs=run.inputs,
        outputs=run.outputs,
        expected=run.expected,
        conversation=run.conversation,
        tags=run.tags,
        cut=run.cut,
        steps=run.steps,
        documents=run.documents,
    )


def write_calls(
    asking: RubricAsking,
    judgements: Sequence[RubricJudgement],
    *,
    is_trial: bool = False,
    backfill: str = "",
) -> bytes:
    """Write an OTLP request that records the model call of each judgement as a run of kind judge.

    Judgements without an answer from the model are left out. The prompt and the reply are not
    recorded, so that no copy of a run's data is left when the run is deleted.

    Args:
        asking: The judge and its connection to the model.
        judgements: The results of judging runs.
        is_trial: Whether to tag the calls with `trial`.
        backfill: ID of the backfill to tag the calls with; empty if they belong to none.
    """
    tag: _CallTag = (BACKFILL, backfill) if backfill else (TRIAL, True if is_trial else None)
    spans = [
        _write_call(asking, judgement, judgement.answer, judgement.run.run_id, tag)
        for judgement in judgements
        if judgement.answer is not None
    ]
    return orjson.dumps(make_request(spans))


def write_scores(asking: RubricAsking, judgements: Sequence[RubricJudgement], now_ns: int) -> bytes:
    """Write an OTLP request that records the score of each judgement."""
    digest = asking.rubric.digest
    spans = [_write_score(asking, judgement, digest, now_ns) for judgement in judgements]
    return orjson.dumps(make_request(spans))


def write_trial_calls(asking: RubricAsking, answers: Sequence[RubricAnswer]) -> bytes:
    """Write an OTLP request that records the model calls of a trial on examples, not on runs."""
    spans = [
        _write_call(asking, answer, answer.answer, None, (TRIAL, True))
        for answer in answers
        if answer.answer is not None
    ]
    return orjson.dumps(make_request(spans))


def _write_call(
    asking: RubricAsking,
    asked: RubricAnswer,
    answer: ModelAnswer,
    run_id: str | None,
    tag: _CallTag,
) -> dict[str, Any]:
    tokens = answer.tokens
    facts: dict[str, object] = {
        names.PROJECT: asking.project,
        names.JUDGING: asking.name,
        names.JUDGING_RUN: run_id,
        names.JUDGING_VERSION: asking.rubric.digest,
        names.GEN_AI_OPERATION: "chat",
        names.GEN_AI_PROVIDER: asking.connection.provider_name,
        names.GEN_AI_REQUEST_MODEL: asking.rubric.model,
        names.GEN_AI_RESPONSE_MODEL: answer.model or None,
        names.GEN_AI_RESPONSE_ID: answer.response_id or None,
        names.GEN_AI_INPUT_TOKENS: tokens.input,
        names.GEN_AI_OUTPUT_TOKENS: tokens.output,
        names.GEN_AI_CACHE_READ_TOKENS: tokens.cached,
        names.GEN_AI_CACHE_WRITE_TOKENS: tokens.cache_creation,
        names.GEN_AI_REASONING_TOKENS: tokens.reasoning,
        _COST: asked.cost,
        f"{names.TAG_PREFIX}{tag[0]}": tag[1],
    }
    span = make_span(
        f"chat {asking.rubric.model}", identify(asking.project, ""), answer.start_ns, facts
    )
    span["endTimeUnixNano"] = str(answer.end_ns)
    return span


def _write_score(
    asking: RubricAsking, judgement: RubricJudgement, digest: str, now_ns: int
) -> dict[str, Any]:
    verdict = judgement.verdict
    facts: dict[str, object] = {
        names.RECORD: "evaluation",
        names.PROJECT: asking.project,
        names.TARGET_RUN: judgement.run.run_id,
        names.TARGET_START_NS: judgement.run.start_ns,
        names.JUDGE_NAME: asking.name,
        names.JUDGE_VERSION: digest,
        names.SOURCE: "judge",
        names.SCORE_VALUE: None if verdict is None else float(verdict.score),
        names.PASSED: None if verdict is None else verdict.passed,
        names.SCORE_LABEL: None if verdict is None else verdict.label,
        names.EXPLANATION: None if verdict is None else verdict.explanation,
        names.ERROR_TYPE: judgement.error or None,
        names.LATENCY_MS: judgement.latency_ms,
        names.MODEL_DEFINITION: orjson.dumps(asking.rubric.describe()).decode(),
    }
    # The same for every attempt, so that a run that is judged again after a crash has one score.
    identity = identify(asking.project, f"{asking.name} {digest} {judgement.run.run_id}")
    return make_span("evaluation", identity, now_ns, facts)
