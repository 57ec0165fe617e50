"""Model calls made by judges are linked to the judged run, and their cost counts separately."""

import re
from html import unescape
from typing import Any

import pytest

from otel_ml import Client, LLMJudge
from tests.support.collector import CollectorProcess
from tests.support.waiting import wait_until

PROJECT = "judged"
# Used with 1,000 input and 10 output tokens, which costs far more than the judged call.
VERDICT = '{"score": 1, "explanation": "as it should be"}'


def reply(text: str, tokens: int) -> dict[str, Any]:
    """Return a response in OpenAI's format."""
    return {
        "choices": [{"message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": tokens, "completion_tokens": 10},
    }


@pytest.fixture(scope="module")
def judged(collector: CollectorProcess) -> dict[str, Any]:
    """Record a call and a judge that calls a model to score it; return the judge's call."""
    client = Client(PROJECT, endpoint=collector.endpoint)

    @client.trace(kind="chat", provider="openai", model="gpt-4o-mini")
    def ask_model(prompt: str) -> dict[str, Any]:
        return reply(VERDICT, 1_000) if prompt else {}

    def ask(prompt: str) -> str:
        return str(ask_model(prompt)["choices"][0]["message"]["content"])

    @client.assess(LLMJudge("grounded", "Is it so?", ask), name="answer", kind="chat")
    def answer(question: str) -> dict[str, Any]:
        return {"model": "gpt-4o-mini", **reply(question, 10)}

    answer("Where?")
    assert client.flush()
    client.close()
    where = 'kind == "judge"'
    wait_until(lambda: bool(collector.runs(PROJECT, where=where)))
    wait_until(lambda: bool(collector.runs(PROJECT, where='scores["grounded"] == 1')))
    [call] = collector.runs(PROJECT, where=where)
    return call


def test_a_judge_s_call_is_linked(collector: CollectorProcess, judged: dict[str, Any]) -> None:
    """A judge's call links to the judged run, and appears in its filter and on its page."""
    [run] = collector.runs(PROJECT, where='model == "answer"')
    where = f'tags["otel_ml.judging.run"] == "{run["run_id"]}" and kind == "judge"'
    assert [one["run_id"] for one in collector.runs(PROJECT, where=where)] == [judged["run_id"]]
    page = unescape(collector.get_text(f"/projects/{PROJECT}/runs/{run['run_id']}"))
    link = f'<a href="/projects/{PROJECT}/runs/{judged["run_id"]}">gpt-4o-mini</a>'
    assert f"“grounded” with {link} for $ 0.00016" in page
    back = collector.get_text(f"/projects/{PROJECT}/runs/{judged['run_id']}")
    assert f'<dd class="mono"><a href="/projects/{PROJECT}/runs/{run["run_id"]}">' in back


def test_the_cost_stands_with_the_judge(
    collector: CollectorProcess, judged: dict[str, Any]
) -> None:
    """The cost of a judge's calls counts for the judge, not for the judged run or its model."""
    [one] = collector.get(f"/projects/{PROJECT}/judges")["judges"]
    assert (one["judge"], one["newest"]["cost"], one["newest"]["priced"]) == (
        *("grounded", judged["cost"]),
        1,
    )
    page = collector.get_text(f"/projects/{PROJECT}/judges")
    assert re.search(r'<td class="n opt">0\.0002</td></tr>', page)
    [run] = collector.runs(PROJECT, where='model == "answer"')
    trace = collector.get(f"/traces/{run['trace_id']}")
    assert [one["run_id"] for one in trace["runs"]] == [run["run_id"]]
    stats = collector.get(f"/projects/{PROJECT}/stats", group="provider_model")
    assert (stats["total"]["runs"], stats["total"]["cost"]) == (1, run["cost"])
