"""Tests of finding runs that record the same call, so that it counts once."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.records import Tokens
from otel_ml_collector.decode.json import decode_json_traces
from otel_ml_collector.fold.traces import resolve_together
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.same_calls import (
    CallFacts,
    CallRun,
    CallShare,
    OtherRecord,
    call_run_of,
    find_shares,
    join_traces,
    may_share,
    name_model,
)
from tests.unit.recorded.test_recorded import filing_of, read

MS: Final = 1_000_000
OWN: Final = "otel_ml"
ANTHROPIC: Final = "com.anthropic.sdk.python"
INFERENCE: Final = "openinference.instrumentation.anthropic"
TRACELOOP: Final = "opentelemetry.instrumentation.anthropic"
OPENAI: Final = "opentelemetry.instrumentation.openai_v2"
LANGCHAIN: Final = "openinference.instrumentation.langchain"
LLAMA: Final = "openinference.instrumentation.llama_index"
BARE: Final[dict[str, Any]] = {"tokens": Tokens()}  # for a run without data of an answer
USED: Final = Tokens(input=50, output=7)
AG2: Final = "opentelemetry.instrumentation.ag2"
MLFLOW: Final = "mlflow.tracing.provider"
M: Final[dict[str, Any]] = {"model": "m"}
ACCOUNT: Final[dict[str, Any]] = {"inputs_preview": ""}  # for a run that reports only usage


def run(
    name: str, parent: str = "", scope: str = OWN, at: tuple[int, int] = (0, 100), **told: Any
) -> CallRun:
    """Make a run of 50 + 7 tokens, from one millisecond to another."""
    said: dict[str, Any] = {"kind": "model", "tokens": USED, "inputs_preview": "why"}
    said |= {"start_ns": at[0] * MS, "end_ns": at[1] * MS, **told}
    return CallRun(name.encode(), parent.encode(), scope=scope, **said)


def around(name: str, parent: str = "", kind: str = "chain", **told: Any) -> CallRun:
    """Make a run without usage."""
    return CallRun(name.encode(), parent.encode(), kind, **told)


def calls_of(runs: Sequence[CallRun]) -> list[str]:
    """Name the calls that count, each with its other records: ``a b c``."""
    shares = find_shares(runs)
    return sorted(
        " ".join([one.span_id.decode(), *(other.span_id.decode() for other in share.others)])
        for one in runs
        if one.kind in {"model", "embedding", "judge"}
        if not (share := shares.get(one.span_id, CallShare())).record_of
    )


# Recorded runs, and the calls that count: each counted run, followed by its other records.
CASES: Final[dict[str, tuple[list[CallRun], list[str]]]] = {
    "anthropic's own span under our decorator": (
        [run("a"), run("b", "a", ANTHROPIC, (1, 99), response_id="msg_1")],
        ["a b"],
    ),
    "a call of a judge's, recorded twice": (
        [
            run("a", kind="judge"),
            run("b", "a", ANTHROPIC, (1, 99), response_id="msg_1", kind="judge"),
        ],
        ["a b"],
    ),
    "anthropic's own span under OpenInference": (
        [run("a", "", INFERENCE), run("b", "a", ANTHROPIC, (1, 99), response_id="msg_1")],
        ["a b"],
    ),
    "traceloop beside anthropic's own": (
        [
            around("r"),
            run("a", "r", TRACELOOP, response_id="msg_1"),
            run("b", "r", ANTHROPIC, (1, 99), response_id="msg_1"),
        ],
        ["a b"],
    ),
    "LangChain beside OpenAI, which alone tells the response": (
        [
            around("r"),
            run("a", "r", LANGCHAIN, provider="openai", model="gpt-4o"),
            run("b", "r", OPENAI, (1, 99), response_id="chatcmpl-1", model="gpt-4o-2024-08-06"),
        ],
        ["a b"],
    ),
    "our decorator around an instrumented client": (
        [
            run("a", response_id="chatcmpl-1"),
            run("b", "a", OPENAI, (1, 9), response_id="chatcmpl-1"),
        ],
        ["a b"],
    ),
    "the same response says it, whatever else they say": (
        [
            run("a", response_id="r1", tokens=Tokens(), provider="x", model="one"),
            run("b", "a", OPENAI, (200, 300), response_id="r1", provider="y", model="two"),
        ],
        ["a b"],
    ),
    "three records of one call": (
        [run("a"), run("b", "a", INFERENCE, (1, 99)), run("c", "b", ANTHROPIC, (2, 98))],
        ["a b c"],
    ),
    "three records, two of them side by side": (
        [run("a"), run("b", "a", LANGCHAIN, (1, 99)), run("c", "a", OPENAI, (2, 98))],
        ["a b c"],
    ),
    "our own record counts, wherever it stands": (
        [run("a", "", LANGCHAIN), run("b", "a", OWN, (1, 99))],
        ["b a"],
    ),
    "wrappers between": (
        [run("a"), around("w", "a", "span"), around("v", "w"), run("b", "v", OPENAI, (1, 99))],
        ["a b"],
    ),
    "an agent between is no wrapper": (
        [run("a"), around("w", "a", "agent"), run("b", "w", OPENAI, (1, 99))],
        ["a", "b"],
    ),
    "a tool between is no wrapper": (
        [run("a"), around("w", "a", "tool"), run("b", "w", OPENAI, (1, 99))],
        ["a", "b"],
    ),
    "a wrapper that is not here": ([run("a"), run("b", "w", OPENAI, (1, 99))], ["a", "b"]),
    "two calls of a loop that cost the same": (
        [around("r"), run("a", "r", OPENAI, (0, 10)), run("b", "r", OPENAI, (11, 20))],
        ["a", "b"],
    ),
    "a loop with two instrumentations": (
        [
            around("r"),
            *(run(f"a{n}", "r", LANGCHAIN, (n * 10, n * 10 + 9)) for n in range(3)),
            *(run(f"b{n}", "r", OPENAI, (n * 10 + 1, n * 10 + 8)) for n in range(3)),
        ],
        ["a0 b0", "a1 b1", "a2 b2"],
    ),
    "calls at the same time, told apart by the response": (
        [
            around("r"),
            *(run(f"a{n}", "r", TRACELOOP, response_id=f"r{n}") for n in range(200)),
            *(run(f"b{n}", "r", ANTHROPIC, (1, 99), response_id=f"r{n}") for n in range(200)),
        ],
        sorted(f"a{n} b{n}" for n in range(200)),
    ),
    "calls at the same time that say no response are as many as they are": (
        [
            around("r"),
            *(run(f"a{n}", "r", LANGCHAIN, (n, 100 + n)) for n in range(2)),
            *(run(f"b{n}", "r", OPENAI, (n + 1, 99 + n)) for n in range(2)),
        ],
        ["a0 b0", "a1 b1"],
    ),
    "a decorator around two calls says the second one's response": (
        [
            run("a", response_id="r2"),
            run("b", "a", OPENAI, (1, 40), response_id="r1"),
            run("c", "a", OPENAI, (50, 99), response_id="r2"),
        ],
        ["a c", "b"],
    ),
    "different responses of the same usage": (
        [run("a", response_id="r1"), run("b", "a", OPENAI, (1, 99), response_id="r2")],
        ["a", "b"],
    ),
    "the same response in two traces' halves, not under one parent": (
        [
            run("a", "x", OWN, response_id="r1"),
            run("b", "y", OPENAI, response_id="r1"),
        ],
        ["a", "b"],
    ),
    "the same response of our own decorators": (
        [run("a", response_id="r1"), run("b", "a", response_id="r1")],
        ["a", "b"],
    ),
    "one scope twice, with the same usage": (
        [run("a", "", MLFLOW, **M), run("b", "a", MLFLOW, (10, 90), model="m-2024-07-18")],
        ["a b"],
    ),
    "one scope twice, with the same response": (
        [
            run("a", "", MLFLOW, model="m", response_id="r1"),
            run("b", "a", MLFLOW, (10, 90), model="m", response_id="r1", tokens=Tokens(50, 9)),
        ],
        ["a b"],
    ),
    "one scope three times": (
        [
            run("a", "", MLFLOW, **M),
            run("b", "a", MLFLOW, (1, 99), **M),
            run("c", "b", MLFLOW, (2, 98), **M),
        ],
        ["a b c"],
    ),
    "one scope twice, with another record inside": (
        [
            run("a", "", MLFLOW, **M),
            run("b", "a", MLFLOW, (1, 99), **M),
            run("c", "b", OPENAI, (2, 98), **M),
        ],
        ["a b c"],
    ),
    "embeddings of one scope twice": (
        [
            run("a", "", MLFLOW, model="m", kind="embedding", tokens=Tokens(input=3)),
            run("b", "a", MLFLOW, (1, 99), model="m", kind="embedding", tokens=Tokens(input=3)),
        ],
        ["a b"],
    ),
    "one scope, of which the outer one tried twice": (
        [
            run("a", "", MLFLOW, **M),
            run("b", "a", MLFLOW, (1, 40), model="m", failed=True, tokens=Tokens()),
            run("c", "a", MLFLOW, (50, 99), **M),
        ],
        ["a c", "b"],
    ),
    "one scope, and two equal calls inside": (
        [
            run("a", "", MLFLOW, **M),
            run("b", "a", MLFLOW, (1, 40), **M),
            run("c", "a", MLFLOW, (50, 99), **M),
        ],
        ["a c", "b"],
    ),
    "one scope, with another usage inside": (
        [run("a", "", MLFLOW, **M), run("b", "a", MLFLOW, (1, 99), model="m", tokens=Tokens(9, 7))],
        ["a", "b"],
    ),
    "one scope, with another model inside": (
        [run("a", "", MLFLOW, **M), run("b", "a", MLFLOW, (1, 99), model="n")],
        ["a", "b"],
    ),
    "one scope, with no model": (
        [run("a", "", MLFLOW), run("b", "a", MLFLOW, (1, 99))],
        ["a", "b"],
    ),
    "one scope, with other responses": (
        [
            run("a", "", MLFLOW, model="m", response_id="r1"),
            run("b", "a", MLFLOW, (1, 99), model="m", response_id="r2"),
        ],
        ["a", "b"],
    ),
    "one scope, with a chain between": (
        [run("a", "", MLFLOW, **M), around("w", "a"), run("b", "w", MLFLOW, (1, 99), **M)],
        ["a", "b"],
    ),
    "one scope side by side": (
        [
            around("r"),
            run("a", "r", MLFLOW, model="m", response_id="r1"),
            run("b", "r", MLFLOW, (1, 99), model="m", response_id="r1"),
        ],
        ["a", "b"],
    ),
    "one scope, with a call that went on behind": (
        [run("a", "", MLFLOW, **M), run("b", "a", MLFLOW, (90, 190), **M)],
        ["a", "b"],
    ),
    "our own decorators inside each other": (
        [run("a", **M), run("b", "a", OWN, (1, 99), **M)],
        ["a", "b"],
    ),
    "a stream whose client ends a little later": (
        [
            run("a", "", INFERENCE, (0, 411)),
            run("b", "a", ANTHROPIC, (2, 413), response_id="msg_1"),
        ],
        ["a b"],
    ),
    "a stream whose client ends much later": (
        [run("a", "", INFERENCE, (0, 100)), run("b", "a", ANTHROPIC, (2, 195))],
        ["a b"],
    ),
    "a call most of which is behind the one around it": (
        [run("a", "", INFERENCE, (0, 100)), run("b", "a", ANTHROPIC, (2, 199))],
        ["a", "b"],
    ),
    "a call half of which is behind the one around it": (
        [run("a", "", INFERENCE, (0, 100)), run("b", "a", ANTHROPIC, (2, 198))],
        ["a", "b"],
    ),
    "a call that starts as the one around it ends": (
        [run("a", "", INFERENCE, (0, 100)), run("b", "a", ANTHROPIC, (100, 110))],
        ["a", "b"],
    ),
    "a call that clocks put before the one around it": (
        [run("a", "", INFERENCE, (1, 100)), run("b", "a", ANTHROPIC, (0, 90))],
        ["a b"],
    ),
    "with one parent, the client ends a little later": (
        [around("r"), run("a", "r", LANGCHAIN, (0, 400)), run("b", "r", OPENAI, (1, 407))],
        ["a b"],
    ),
    "parallel calls with one parent": (
        [around("r"), run("a", "r", LANGCHAIN, (0, 400)), run("b", "r", OPENAI, (5, 420))],
        ["a", "b"],
    ),
    "a cached answer, in the same second": (
        [
            around("r"),
            run("a", "r", LANGCHAIN, response_id="r1"),
            run("b", "r", OPENAI, (1, 99), response_id="r1"),
            run("c", "r", LANGCHAIN, (200, 201), response_id="r1"),
        ],
        ["a b", "c"],
    ),
    "a cached answer, later": (
        [
            around("r"),
            run("a", "r", OPENAI, response_id="r1"),
            run("b", "r", LANGCHAIN, (1_101, 1_102), response_id="r1"),
        ],
        ["a", "b"],
    ),
    "a call with a response and no usage inside one with usage": (
        [
            run("a", "", LANGCHAIN, model="m"),
            run("b", "a", OPENAI, (1, 99), model="m", response_id="r1", tokens=Tokens()),
        ],
        ["a b"],
    ),
    "a wrapper that has the response": (
        [
            run("a", "", LLAMA, model="m", response_id="r1", **BARE),
            run("b", "a", LLAMA, (1, 99), model="m"),
        ],
        ["a b"],
    ),
    "one after the other": (
        [around("r"), run("a", "r", OWN, (0, 10)), run("b", "r", OPENAI, (11, 20))],
        ["a", "b"],
    ),
    "another usage": (
        [run("a"), run("b", "a", OPENAI, (1, 99), tokens=Tokens(input=50, output=8))],
        ["a", "b"],
    ),
    "no usage": (
        [run("a", tokens=Tokens()), run("b", "a", OPENAI, (1, 99), tokens=Tokens())],
        ["a", "b"],
    ),
    "both failed": (
        [
            run("a", tokens=Tokens(), failed=True, model="gpt-missing"),
            run("b", "a", OPENAI, (1, 99), tokens=Tokens(), failed=True, model="gpt-missing"),
        ],
        ["a b"],
    ),
    "an answer that broke off, of which one says what had come": (
        [
            run("a", tokens=Tokens(input=50, output=1), failed=True, model="claude"),
            run("b", "a", ANTHROPIC, (1, 99), tokens=Tokens(input=50), failed=True, model="claude"),
        ],
        ["a b"],
    ),
    "two answers that broke off, of which other amounts had come": (
        [
            run("a", tokens=Tokens(input=50, output=1), failed=True, model="claude"),
            run("b", "a", ANTHROPIC, (1, 99), tokens=Tokens(50, 2), failed=True, model="claude"),
        ],
        ["a", "b"],
    ),
    "one failed, and was tried again": (
        [
            run("a", model="gpt-4o"),
            run("b", "a", OPENAI, (1, 40), tokens=Tokens(), failed=True, model="gpt-4o"),
            run("c", "a", OPENAI, (50, 99), model="gpt-4o"),
        ],
        ["a c", "b"],
    ),
    "both failed, of models that are not known": (
        [
            run("a", tokens=Tokens(), failed=True),
            run("b", "a", OPENAI, (1, 99), tokens=Tokens(), failed=True, model="gpt-4o"),
        ],
        ["a", "b"],
    ),
    "another model": (
        [run("a", model="gpt-4o"), run("b", "a", OPENAI, (1, 99), model="gpt-4o-mini")],
        ["a", "b"],
    ),
    "another provider": (
        [run("a", provider="anthropic"), run("b", "a", OPENAI, (1, 99), provider="openai")],
        ["a", "b"],
    ),
    "a framework for a provider": (
        [run("a", provider="strands-agents"), run("b", "a", OPENAI, (1, 99), provider="openai")],
        ["a b"],
    ),
    "two names of one provider": (
        [run("a", provider="OpenAI"), run("b", "a", OPENAI, (1, 99), provider="openai.chat")],
        ["a b"],
    ),
    "OpenAI's model as Azure serves it": (
        [run("a", provider="azure"), run("b", "a", OPENAI, (1, 99), provider="openai")],
        ["a b"],
    ),
    "an embedding is no answer": (
        [run("a"), run("b", "a", OPENAI, (1, 99), kind="embedding")],
        ["a", "b"],
    ),
    "two records of one embedding": (
        [
            run("a", kind="embedding", tokens=Tokens(input=3)),
            run("b", "a", OPENAI, (1, 99), kind="embedding", tokens=Tokens(input=3, output=0)),
        ],
        ["a b"],
    ),
    "a wrapper of the same scope that says nothing of the answer": (
        [run("a", "", LLAMA, model="m", **BARE), run("b", "a", LLAMA, (1, 99), model="m")],
        ["b a"],
    ),
    "its model dated, and a chain between": (
        [
            run("a", "", LLAMA, model="m", **BARE),
            around("w", "a"),
            run("b", "w", LLAMA, (1, 99), model="m-2024-07-18"),
        ],
        ["b a"],
    ),
    "a wrapper around two calls": (
        [
            run("a", "", LLAMA, model="m", **BARE),
            run("b", "a", LLAMA, (1, 40), model="m"),
            run("c", "a", LLAMA, (50, 99), model="m"),
        ],
        ["b", "c a"],
    ),
    "a wrapper around two calls that say nothing of their answers": (
        [
            run("a", "", LLAMA, model="m", **BARE),
            run("b", "a", LLAMA, (1, 40), model="m", **BARE),
            run("c", "a", LLAMA, (50, 99), model="m", **BARE),
        ],
        ["a c", "b"],
    ),
    "a step inside a call that says nothing of the answer": (
        [
            run("a", "", LLAMA, model="m", kind="embedding"),
            run("b", "a", LLAMA, (1, 99), model="m", kind="embedding", **BARE),
        ],
        ["a b"],
    ),
    "two that say nothing of the answer": (
        [
            run("a", "", LLAMA, model="m", **BARE),
            run("b", "a", LLAMA, (1, 99), model="m", **BARE),
        ],
        ["a b"],
    ),
    "a wrapper, its call, and the client's record of that": (
        [
            run("a", "", LLAMA, model="m", **BARE),
            run("b", "a", LLAMA, (1, 99), model="m"),
            run("c", "b", OPENAI, (2, 98), model="m", response_id="r"),
        ],
        ["b c a"],
    ),
    "a wrapper of another scope": (
        [run("a", "", LANGCHAIN, model="m", **BARE), run("b", "a", OPENAI, (1, 99), model="m")],
        ["b a"],
    ),
    "a wrapper that failed over a call that went well": (
        [
            run("a", "", LLAMA, model="m", failed=True, **BARE),
            run("b", "a", LLAMA, (1, 99), model="m"),
        ],
        ["b a"],
    ),
    "a wrapper of a call that failed": (
        [
            run("a", "", LLAMA, model="m", failed=True, **BARE),
            run("b", "a", LLAMA, (1, 99), model="m", failed=True, **BARE),
        ],
        ["a b"],
    ),
    "a wrapper of another model": (
        [run("a", "", LLAMA, model="m", **BARE), run("b", "a", LLAMA, (1, 99), model="n")],
        ["a", "b"],
    ),
    "our own decorator around a call is a model of its own": (
        [run("a", model="m", **BARE), run("b", "a", OPENAI, (1, 99), model="m")],
        ["a", "b"],
    ),
    "beside a call of the same scope": (
        [
            around("r"),
            run("a", "r", LLAMA, model="m", **BARE),
            run("b", "r", LLAMA, (1, 99), model="m"),
        ],
        ["a", "b"],
    ),
    "a call after the one that it hangs on": (
        [run("a", "", LLAMA, model="m", **BARE), run("b", "a", LLAMA, (110, 120), model="m")],
        ["a", "b"],
    ),
    "the usage of a call, written down beside it": (
        [
            around("r", kind="agent"),
            run("a", "r", AG2, is_client=True),
            run("b", "r", AG2, (101, 101), **ACCOUNT),
        ],
        ["a b"],
    ),
    "the usage of two like calls, written down beside each": (
        [
            around("r", kind="agent"),
            run("a", "r", AG2),
            run("b", "r", AG2, (101, 101), **ACCOUNT),
            run("c", "r", AG2, (102, 140)),
            run("d", "r", AG2, (141, 141), **ACCOUNT),
        ],
        ["a b", "c d"],
    ),
    "the usage of a call, written down in it": (
        [run("a", "", AG2), run("b", "a", AG2, (99, 99), **ACCOUNT)],
        ["a b"],
    ),
    "the usage of a call, written down around it": (
        [run("a", "", AG2, **ACCOUNT), run("b", "a", AG2, (1, 99))],
        ["b a"],
    ),
    "the usage of a call, written down by somebody else": (
        [
            around("r", kind="agent"),
            run("a", "r", INFERENCE),
            run("b", "r", AG2, (101, 101), **ACCOUNT),
        ],
        ["a b"],
    ),
    "the usage of a call whose content nobody keeps": (
        [
            around("r", kind="agent"),
            run("a", "r", AG2, is_client=True, inputs_preview=""),
            run("b", "r", AG2, (101, 101), **ACCOUNT),
        ],
        ["a b"],
    ),
    "the usage of a call that nobody else records": (
        [
            around("r", kind="agent"),
            run("a", "r", AG2),
            run("b", "r", AG2, (101, 101), tokens=Tokens(input=9, output=7), inputs_preview=""),
        ],
        ["a", "b"],
    ),
    "one more usage than calls": (
        [
            around("r", kind="agent"),
            run("a", "r", AG2),
            run("b", "r", AG2, (101, 101), **ACCOUNT),
            run("c", "r", AG2, (103, 103), **ACCOUNT),
        ],
        ["a b", "c"],
    ),
    "the usage of another call of long after": (
        [
            around("r", kind="agent"),
            run("a", "r", AG2),
            run("b", "r", AG2, (5_000, 5_000), **ACCOUNT),
        ],
        ["a", "b"],
    ),
    "calls one after the other whose content nobody keeps": (
        [
            around("r"),
            run("a", "r", LANGCHAIN, **ACCOUNT),
            run("b", "r", LANGCHAIN, (101, 200), **ACCOUNT),
        ],
        ["a", "b"],
    ),
    "spans above each other": ([run("a", "b"), run("b", "a", OPENAI)], ["a b"]),
    "a span that is its own parent": ([run("a", "a"), run("b", "a", OPENAI)], ["a b"]),
}


@pytest.mark.parametrize("case", CASES)
def test_calls(case: str) -> None:
    """Runs that record the same call are found."""
    runs, expected = CASES[case]
    assert calls_of(runs) == expected


@pytest.mark.parametrize("case", CASES)
def test_glance(case: str) -> None:
    """A trace for which `may_share` is false has no shares."""
    runs, _ = CASES[case]
    telling = [one for one in runs if one.has_facts]
    assert may_share(telling) or find_shares(runs) == {}


@pytest.mark.parametrize("case", CASES)
@given(data=st.data())
def test_any_order(case: str, data: st.DataObject) -> None:
    """Runs in any order, or repeated, give the same calls."""
    runs, _ = CASES[case]
    again = data.draw(st.lists(st.sampled_from(runs), max_size=3))
    assert find_shares(data.draw(st.permutations([*runs, *again]))) == find_shares(runs)


def test_shares() -> None:
    """The record with the most data counts, completed from the other record."""
    other = run(
        "b",
        "a",
        OPENAI,
        (1, 99),
        tokens=Tokens(50, 7, 3, 2),
        cost=0.5,
        response_id="r",
        inputs_preview="what",
        outputs_preview="because",
        first_token_ms=9.5,
        stream_chunks=0,
    )
    shares = find_shares([run("a", tokens=Tokens(input=50), response_id="r"), other])
    assert shares == {
        b"a": CallShare(
            others=(OtherRecord(b"b", MS, OPENAI),),
            tokens=Tokens(50, 7, 3, 2),
            cost=0.5,
            facts=CallFacts(
                response_id="r",
                inputs_preview="why",
                outputs_preview="because",
                first_token_ms=9.5,
                stream_chunks=0,
                latency_ns=100 * MS,
            ),
        ),
        b"b": CallShare(record_of=b"a"),
    }


@pytest.mark.parametrize(("scope", "cost"), [(TRACELOOP, 0.3), (OWN, 0.5)])
def test_cost(scope: str, cost: float) -> None:
    """The cost is from the record with the most tokens, but an `otel_ml` cost is kept."""
    outer = run("a", scope=scope, cost=0.5, response_id="r")
    inner = run("b", "a", OPENAI, (1, 99), tokens=Tokens(50, 7, 40), cost=0.3, response_id="r")
    shares = find_shares([outer, inner])
    assert (shares[b"a"].tokens, shares[b"a"].cost) == (Tokens(50, 7, 40), cost)


@pytest.mark.parametrize("kind", ["agent", "chain", "tool", "span"])
def test_totals(kind: str) -> None:
    """The totals of an agent, chain or tool are not added to those of the calls below it."""
    above = run("a", kind=kind, tokens=Tokens(100, 14), cost=2.0)
    runs = [above, around("w", "a", "tool"), run("b", "w", OPENAI, cost=1.0)]
    assert find_shares(runs) == {b"a": CallShare()}
    assert find_shares([above, around("w", "a", "tool")]) == {}


def test_judge_below_a_total() -> None:
    """The usage of a judge below an agent does not reduce the agent's own usage."""
    agent = around("r", kind="agent", tokens=USED, cost=0.25)
    assert find_shares([agent, run("j", "r", ANTHROPIC, kind="judge", cost=0.5)]) == {}


def test_total_of_cost_alone() -> None:
    """An agent's cost counts if the calls below it report only tokens."""
    above = run("a", kind="agent", cost=2.0)
    assert find_shares([above, run("b", "a", OPENAI)]) == {b"a": CallShare(cost=2.0)}


def test_agent_alone() -> None:
    """An agent's tokens count if nothing below it reports tokens."""
    agent = around("a", kind="agent", tokens=USED, scope=LANGCHAIN)
    bare = run("b", "a", LANGCHAIN, model="m", tokens=Tokens())
    assert find_shares([agent, around("t", "a", "tool"), bare]) == {}


def test_agents_below_each_other() -> None:
    """The innermost of several nested agents with tokens counts."""
    runs = [
        around("a", kind="agent", tokens=Tokens(90, 9)),
        around("b", "a", kind="agent", tokens=USED),
        around("c", "b", kind="agent"),
    ]
    assert find_shares(runs) == {b"a": CallShare()}


def parts_of(parent: str = "a", **told: Any) -> list[CallRun]:
    """Make two sequential calls of 50 + 7 and 30 + 4 tokens."""
    second = {"tokens": Tokens(30, 4), **told}
    return [
        run("b", parent, LANGCHAIN, (1, 40), **told),
        run("c", parent, LANGCHAIN, (50, 99), **second),
    ]


SUM: Final = Tokens(80, 11)
# Traces, and the names of the model runs in them that report the sum of those inside.
SUMS: Final[dict[str, tuple[list[CallRun], str]]] = {
    "a wrapper of the same scope": ([run("a", "", LANGCHAIN, tokens=SUM), *parts_of()], "a"),
    "a wrapper of another scope": ([run("a", "", LLAMA, tokens=SUM), *parts_of()], "a"),
    "our own decorator": ([run("a", tokens=SUM), *parts_of()], "a"),
    "a wrapper that divides input and output differently": (
        [run("a", "", LANGCHAIN, tokens=Tokens(85, 6)), *parts_of()],
        "a",
    ),
    "a loop over tool calls, with steps between": (
        [
            run("a", "", LANGCHAIN, tokens=SUM),
            around("s", "a"),
            around("t", "s", "tool"),
            *parts_of("s"),
        ],
        "a",
    ),
    "a router that tried another model before": (
        [
            run("a", "", LANGCHAIN, tokens=USED, model="router"),
            run("b", "a", LANGCHAIN, (1, 40), model="m1", failed=True, **BARE),
            run("c", "a", LANGCHAIN, (50, 99), model="m2"),
        ],
        "a",
    ),
    "a wrapper in a wrapper": (
        [
            run("a", "", LLAMA, tokens=Tokens(100, 15)),
            run("d", "a", LANGCHAIN, (60, 99), tokens=Tokens(20, 4)),
            run("w", "a", LLAMA, (1, 55), tokens=SUM),
            run("b", "w", LANGCHAIN, (1, 20)),
            run("c", "w", LANGCHAIN, (30, 50), tokens=Tokens(30, 4)),
        ],
        "aw",
    ),
    "a wrapper of calls that are recorded twice": (
        [
            run("a", "", LLAMA, tokens=SUM),
            *parts_of(),
            run("d", "b", OPENAI, (2, 39)),
            run("e", "c", OPENAI, (51, 98), tokens=Tokens(30, 4)),
        ],
        "a",
    ),
    "one token more than the sum": (
        [run("a", "", LANGCHAIN, tokens=Tokens(80, 12)), *parts_of()],
        "",
    ),
    "a single call inside, of another model": (
        [run("a", "", LANGCHAIN, model="m1"), run("b", "a", LANGCHAIN, (1, 99), model="m2")],
        "",
    ),
    "calls that end after it": (
        [run("a", "", LANGCHAIN, (0, 60), tokens=SUM), *parts_of()],
        "",
    ),
    "calls next to it": (
        [around("r"), run("a", "r", LANGCHAIN, tokens=SUM), *parts_of("r")],
        "",
    ),
    "no usage at all": (
        [run("a", "", LANGCHAIN, **BARE), *parts_of(**BARE)],
        "",
    ),
    "calls of a judge": (
        [run("a", "", LANGCHAIN, tokens=SUM), around("j", "a", "judge"), *parts_of("j")],
        "",
    ),
}


@pytest.mark.parametrize("case", SUMS)
@given(data=st.data())
def test_sums(case: str, data: st.DataObject) -> None:
    """A model run that reports the sum of the model runs inside it has no tokens of its own."""
    runs, expected = SUMS[case]
    shares = find_shares(data.draw(st.permutations(runs)))
    empty = {
        name
        for name, share in shares.items()
        if share.tokens == Tokens() and not share.record_of and not share.others
    }
    assert empty == {name.encode() for name in expected}
    assert may_share([one for one in runs if one.has_facts]) or not shares


def test_cost_of_a_sum() -> None:
    """The cost of a wrapper counts if the calls inside it report only tokens."""
    runs = [run("a", "", LANGCHAIN, tokens=SUM, cost=0.5), *parts_of()]
    assert find_shares(runs) == {b"a": CallShare(cost=0.5)}


def test_sum_recorded_twice() -> None:
    """Two records of one wrapper stay one call, and its tokens are those of the calls inside."""
    outer = run("a", "", LLAMA, tokens=SUM, **M)
    shares = find_shares([outer, run("w", "a", LANGCHAIN, tokens=SUM, **M), *parts_of("w")])
    assert shares[b"w"] == CallShare(record_of=b"a")
    assert [other.span_id for other in shares[b"a"].others] == [b"w"]
    assert shares[b"a"].tokens == Tokens()


def tool(
    name: str,
    parent: str = "",
    at: tuple[int, int] = (0, 100),
    *,
    is_server: bool = False,
    **told: Any,
) -> CallRun:
    """Make the run of a tool that a client or a server recorded."""
    said: dict[str, Any] = {"kind": "tool", "tool": "search", "scope": "mcp", **told}
    said |= {"start_ns": at[0] * MS, "end_ns": at[1] * MS}
    return CallRun(
        name.encode(), parent.encode(), is_client=not is_server, is_server=is_server, **said
    )


# Traces of tools, and the tool runs that count, each with its other records.
TOOLS: Final[dict[str, tuple[list[CallRun], list[str]]]] = {
    "a client and a server": ([tool("a"), tool("b", "a", (10, 90), is_server=True)], ["a b"]),
    "a client, the SDK that sends, and a server": (
        [
            tool("a"),
            around("s", "a", "span"),
            tool("b", "s", (10, 95), scope="mcp-sdk"),
            tool("c", "b", (20, 90), is_server=True, scope="server"),
        ],
        ["a b c"],
    ),
    "a server that asks another server": (
        [
            tool("a", is_server=True),
            tool("b", "a", (10, 95)),
            tool("c", "b", (20, 90), is_server=True),
        ],
        ["a b c"],
    ),
    "a tool that runs another tool": (
        [tool("a"), tool("b", "a", (10, 90), is_server=True, tool="fetch")],
        ["a", "b"],
    ),
    "a tool that runs a tool through an agent": (
        [tool("a"), around("g", "a", "agent"), tool("b", "g", (10, 90))],
        ["a", "b"],
    ),
    "a tool that is asked twice": (
        [
            tool("a"),
            tool("b", "a", (10, 40), is_server=True),
            tool("c", "a", (50, 90), is_server=True),
        ],
        ["a", "b", "c"],
    ),
    "a tool that goes on after its caller": (
        [tool("a", at=(0, 20)), tool("b", "a", (10, 900), is_server=True)],
        ["a", "b"],
    ),
    "two clients of one agent": (
        [around("g", kind="agent"), tool("a", "g", (0, 40)), tool("b", "g", (10, 50))],
        ["a", "b"],
    ),
    "functions of one process": (
        [
            around("a", kind="tool", tool="search", end_ns=100 * MS),
            around("b", "a", "tool", tool="search", end_ns=90 * MS),
        ],
        ["a", "b"],
    ),
}


@pytest.mark.parametrize("case", TOOLS)
@given(data=st.data())
def test_tools(case: str, data: st.DataObject) -> None:
    """The client, the SDK that sends and the server of one tool call are one tool run."""
    runs, expected = TOOLS[case]
    shares = find_shares(data.draw(st.permutations(runs)))
    counted = sorted(
        " ".join([one.span_id.decode(), *(other.span_id.decode() for other in share.others)])
        for one in runs
        if one.kind == "tool"
        if not (share := shares.get(one.span_id, CallShare())).record_of
    )
    assert counted == expected
    assert may_share([one for one in runs if one.has_facts]) or not shares


def test_words_of_a_tool() -> None:
    """A tool run shows the arguments and the result that only its server recorded."""
    server = tool(
        "b", "a", (10, 90), is_server=True, inputs_preview="words", outputs_preview="three pages"
    )
    facts = find_shares([tool("a"), server])[b"a"].facts
    assert (facts.inputs_preview, facts.outputs_preview) == ("words", "three pages")


# Runs of several traces, by trace, and the calls that count in all of them.
TRACES: Final[dict[str, tuple[dict[str, list[CallRun]], list[str]]]] = {
    "LangChain.js next to OpenAI": (
        {
            "1": [run("a", "", LANGCHAIN, response_id="r1")],
            "2": [run("b", "", OPENAI, (10, 90), response_id="r1", tokens=Tokens(50, 9))],
        },
        ["1a 2b"],
    ),
    "our own decorator in the later trace": (
        {
            "1": [run("a", "", OPENAI, response_id="r1")],
            "2": [run("b", "", OWN, (10, 90), response_id="r1")],
        },
        ["2b 1a"],
    ),
    "two records in each trace": (
        {
            "1": [run("a", "", LANGCHAIN), run("b", "a", MLFLOW, (1, 99), response_id="r1")],
            "2": [
                around("r"),
                run("c", "r", OPENAI, (2, 98), response_id="r1"),
                run("d", "c", INFERENCE, (3, 97)),
            ],
        },
        ["1a 1b 2c 2d"],
    ),
    "three traces": (
        {
            "1": [run("a", "", LANGCHAIN, response_id="r1")],
            "2": [run("b", "", OPENAI, response_id="r1")],
            "3": [run("c", "", MLFLOW, response_id="r1")],
        },
        ["1a 2b 3c"],
    ),
    "within a second": (
        {
            "1": [run("a", "", LANGCHAIN, response_id="r1")],
            "2": [run("b", "", OPENAI, (1_100, 1_110), response_id="r1")],
        },
        ["1a 2b"],
    ),
    "a cached answer, later": (
        {
            "1": [run("a", "", LANGCHAIN, response_id="r1")],
            "2": [run("b", "", OPENAI, (1_101, 1_110), response_id="r1")],
        },
        ["1a", "2b"],
    ),
    "a cached answer of the same scope": (
        {
            "1": [run("a", "", LANGCHAIN, response_id="r1")],
            "2": [run("b", "", LANGCHAIN, (1, 99), response_id="r1")],
        },
        ["1a", "2b"],
    ),
    "a cached answer next to the records of the call": (
        {
            "1": [run("a", "", LANGCHAIN, response_id="r1")],
            "2": [run("b", "", OPENAI, (10, 90), response_id="r1")],
            "3": [run("c", "", LANGCHAIN, (200, 201), response_id="r1")],
        },
        ["1a 2b", "3c"],
    ),
    "a scope in both traces, next to another one": (
        {
            "1": [run("a", "", LANGCHAIN, response_id="r1"), run("b", "a", OPENAI, (1, 99))],
            "2": [run("c", "", OPENAI, (2, 98), response_id="r1")],
        },
        ["1a 1b", "2c"],
    ),
    "other responses": (
        {
            "1": [run("a", "", LANGCHAIN, response_id="r1")],
            "2": [run("b", "", OPENAI, response_id="r2")],
        },
        ["1a", "2b"],
    ),
    "the same usage alone": (
        {"1": [run("a", "", LANGCHAIN, model="m")], "2": [run("b", "", OPENAI, model="m")]},
        ["1a", "2b"],
    ),
    "a judge's call": (
        {
            "1": [run("a", "", LANGCHAIN, response_id="r1", kind="judge")],
            "2": [run("b", "", OPENAI, response_id="r1")],
        },
        ["1a", "2b"],
    ),
    "the same span ID in both traces": (
        {
            "1": [run("a", "", LANGCHAIN, response_id="r1")],
            "2": [run("a", "", OPENAI, (1, 99), response_id="r1")],
        },
        ["1a 2a"],
    ),
}


def shares_of(traces: dict[str, list[CallRun]]) -> dict[bytes, dict[bytes, CallShare]]:
    """Find the shares of traces whose IDs are single letters."""
    return join_traces({name.encode(): runs for name, runs in traces.items()})


@pytest.mark.parametrize("case", TRACES)
def test_traces(case: str) -> None:
    """A call recorded in several traces counts once, by its response ID."""
    traces, expected = TRACES[case]
    shares = shares_of(traces)
    counted = [
        " ".join(
            [
                name + one.span_id.decode(),
                *(
                    (other.trace_id.decode() or name) + other.span_id.decode()
                    for other in share.others
                ),
            ]
        )
        for name, runs in traces.items()
        for one in runs
        if one.kind in {"model", "judge"}
        if not (share := shares[name.encode()].get(one.span_id, CallShare())).record_of
    ]
    assert sorted(counted) == sorted(expected)


@pytest.mark.parametrize("case", TRACES)
@given(data=st.data())
def test_traces_in_any_order(case: str, data: st.DataObject) -> None:
    """The order of traces and runs makes no difference."""
    traces, _ = TRACES[case]
    order = data.draw(st.permutations([*traces]))
    again = {name: data.draw(st.permutations(traces[name])) for name in order}
    assert shares_of(again) == shares_of(traces)


@pytest.mark.parametrize("case", CASES)
def test_single_trace(case: str) -> None:
    """A single trace has the same shares with and without `join_traces`."""
    runs, _ = CASES[case]
    assert shares_of({"1": runs}) == {b"1": find_shares(runs)}


def test_shares_across_traces() -> None:
    """The counted run has the numbers and facts of the call, and the others refer to it."""
    first = run("a", "", LANGCHAIN, tokens=Tokens(input=50), response_id="r1")
    other = run("b", "", OPENAI, (1, 99), tokens=Tokens(50, 7, 3), cost=0.5, response_id="r1")
    agent = around("g", kind="agent", tokens=Tokens(50, 7, 3))
    inner = replace(other, parent_span_id=b"g")
    assert shares_of({"1": [first], "2": [agent, inner]}) == {
        b"1": {
            b"a": CallShare(
                others=(OtherRecord(b"b", MS, OPENAI, b"2"),),
                tokens=Tokens(50, 7, 3),
                cost=0.5,
                facts=CallFacts(response_id="r1", inputs_preview="why", latency_ns=100 * MS),
            )
        },
        b"2": {b"b": CallShare(record_of=b"a", trace_id=b"1"), b"g": CallShare()},
    }


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("models/gemini-1.5-pro-001", "gemini-1.5-pro"),
        ("Claude-3-5-Sonnet-20241022", "claude-3-5-sonnet"),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
        ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku"),
        ("gpt-3.5-turbo-0613", "gpt-3.5-turbo"),
        ("llama-3", "llama-3"),
        ("gpt-5:completions", "gpt-5"),
    ],
)
def test_names_of_models(name: str, plain: str) -> None:
    """Model names are equal with or without folder and date."""
    assert name_model(name) == plain


def test_recorded_usage_beside_calls() -> None:
    """Each AG2 call counts once, although its middleware records the usage in a second span."""
    request = read("ag2.json")["request"]
    spans = decode_json_traces(json.dumps(request).encode())
    runs = map_spans(spans, filing_of(request)).runs
    stored = {run.span_id: run.share for run in resolve_together(runs, ()).runs}
    accounts = {one.span_id for one in runs if one.name.startswith("record_usage")}
    assert len(accounts) == 2
    assert {span_id for span_id, share in stored.items() if share.record_of} == accounts
    counted = [one for one in runs if one.kind == "model" and one.span_id not in accounts]
    assert [(one.input_tokens, one.output_tokens) for one in counted] == [(12, 5), (12, 5)]


def test_recorded() -> None:
    """Each Anthropic call under OpenInference counts once, in a recording of real libraries."""
    request = read("openinference_anthropic.json")["request"]
    spans = decode_json_traces(json.dumps(request).encode())
    runs = [call_run_of(one) for one in map_spans(spans, filing_of(request)).runs]
    shares = find_shares(runs)
    own = {one.span_id for one in runs if one.scope == ANTHROPIC}
    assert len(own) >= 3
    assert {span_id for span_id, share in shares.items() if share.record_of} == own
    counted = [
        shares.get(one.span_id, CallShare(tokens=one.tokens)).tokens.input or 0 for one in runs
    ]
    assert sum(counted) * 2 == sum(one.tokens.input or 0 for one in runs)
