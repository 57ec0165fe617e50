"""Tests of questions and answers that runs inherit from other runs of their trace."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.records import Tokens
from otel_ml_collector.resolution import (
    InheritedContent,
    complete_calls,
    find_inherited_contents,
)
from otel_ml_collector.same_calls import (
    OWN_SCOPE,
    CallFacts,
    CallRun,
    CallShare,
    OtherRecord,
    find_shares,
)

MASTRA: Final = "@mastra/otel-exporter"
ASKED: Final = "Which tram goes to the fish market?"
ANSWERED: Final = "Line 13, from platform B."
ARGUMENTS: Final = '{"line": "M7", "zones": 3}'


def span(
    name: str, parent: str = "", kind: str = "chain", start_ns: int = 0, **more: Any
) -> CallRun:
    """Make a run as recorded by Mastra's exporter."""
    said: dict[str, Any] = {"scope": MASTRA, "start_ns": start_ns, "end_ns": 100, **more}
    return CallRun(name.encode(), parent.encode(), kind, **said)


def asked(*more: CallRun) -> list[CallRun]:
    """Make a call with an answer, inside a step with a question, inside an agent."""
    return [
        span("r", kind="agent", inputs_preview="all", outputs_preview="done"),
        span("s", "r", start_ns=1, inputs_preview=ASKED, outputs_preview=ANSWERED),
        span("c", "s", "model", 2, outputs_preview=ANSWERED),
        *more,
    ]


def lent(asked_in: str = "", answer: str = "") -> InheritedContent:
    """Make the usual inherited question, from one run, and an inherited answer."""
    return InheritedContent(ASKED if asked_in else "", answer, asked_in.encode())


# Runs of a trace, and the contents that some of them inherit, by name.
CASES: Final[dict[str, tuple[list[CallRun], dict[str, InheritedContent]]]] = {
    "the question on the step around a call": (asked(), {"c": lent("s")}),
    "with an empty step between": (
        [
            span("s", inputs_preview=ASKED, outputs_preview=ANSWERED),
            span("t", "s", "span"),
            span("c", "t", "model", 2, outputs_preview=ANSWERED),
        ],
        {"c": lent("s")},
    ),
    "a step with a second call": (asked(span("d", "s", "model", 3, inputs_preview="x")), {}),
    "a step of another scope": (
        [
            span("s", scope="app", inputs_preview=ASKED, outputs_preview=ANSWERED),
            span("c", "s", "model", 2, outputs_preview=ANSWERED),
        ],
        {},
    ),
    "a call of our own decorators": (
        [
            span("s", scope=OWN_SCOPE, inputs_preview=ASKED, outputs_preview=ANSWERED),
            span("c", "s", "model", 2, scope=OWN_SCOPE, outputs_preview=ANSWERED),
        ],
        {},
    ),
    "a step beyond an agent": (
        [
            span("s", inputs_preview=ASKED, outputs_preview=ANSWERED),
            span("a", "s", "agent"),
            span("c", "a", "model", 2, outputs_preview=ANSWERED),
        ],
        {},
    ),
    "a call of which nothing was recorded": (
        [span("s", inputs_preview=ASKED, outputs_preview=ANSWERED), span("c", "s", "model", 2)],
        {},
    ),
    "the tool calls of an answer as runs": (
        [
            span("c", "x", "model", inputs_preview=ASKED),
            span("t", "c", "tool", 1, tool="fare", inputs_preview=ARGUMENTS),
            span("u", "c", "tool", 2, tool="clock", outputs_preview="10:05"),
        ],
        {"c": InheritedContent("", 'fare(line="M7", zones=3), clock()')},
    ),
    "a call that failed": (
        [
            span("c", "x", "model", inputs_preview=ASKED, failed=True),
            span("t", "c", "tool", 1, tool="fare", inputs_preview=ARGUMENTS),
        ],
        {},
    ),
    "an answer next to the tool calls": (
        [
            span("c", "x", "model", inputs_preview=ASKED, outputs_preview=ANSWERED),
            span("t", "c", "tool", 1, tool="fare", inputs_preview=ARGUMENTS),
        ],
        {},
    ),
    "a request without words": (
        [
            span("r"),
            span("a", "r", "agent", 1),
            span("c", "a", "model", 2, inputs_preview=ASKED, outputs_preview="fare()"),
            span("t", "a", "tool", 3, inputs_preview=ARGUMENTS, outputs_preview="42.50 kr"),
            span("d", "a", "model", 4, inputs_preview="42.50 kr", outputs_preview=ANSWERED),
            span("e", "a", "tool", 5, outputs_preview="saved"),
            span("j", "r", "judge", 6, inputs_preview="rate", outputs_preview="1"),
        ],
        {"r": lent("c", ANSWERED)},
    ),
    "a request whose parent is elsewhere": (
        [span("r", "x", "span"), span("c", "r", "model", 2, inputs_preview=ASKED)],
        {"r": lent("c")},
    ),
    "a request with an answer of its own": (
        [
            span("r", outputs_preview="done"),
            span("c", "r", "model", 2, inputs_preview=ASKED, outputs_preview=ANSWERED),
        ],
        {"r": lent("c")},
    ),
    "a request that failed": (
        [
            span("r", failed=True),
            span("c", "r", "model", 2, inputs_preview=ASKED, outputs_preview=ANSWERED),
        ],
        {"r": lent("c")},
    ),
    "a request that only a tool answered": (
        [span("r"), span("t", "r", "tool", 1, outputs_preview=ANSWERED)],
        {"r": lent("", ANSWERED)},
    ),
    "spans above each other": (
        [
            span("a", "b", outputs_preview=ANSWERED),
            span("b", "a", "model", outputs_preview=ANSWERED),
        ],
        {},
    ),
}


@pytest.mark.parametrize("case", CASES)
@given(data=st.data())
def test_contents(case: str, data: st.DataObject) -> None:
    """A run inherits the expected question and answer, whatever the order of the runs."""
    runs, expected = CASES[case]
    contents = find_inherited_contents(data.draw(st.permutations(runs)), {})
    assert {span_id.decode(): content for span_id, content in contents.items()} == expected


def test_repeats() -> None:
    """A second record of a call is not a second call, and the call uses its question."""
    other = span("d", "c", "model", 3, scope="openai", inputs_preview="own", response_id="r")
    runs = [*asked(other)]
    runs[2].response_id = "r"
    shares = find_shares(runs)
    assert shares[b"d"] == CallShare(record_of=b"c")
    assert find_inherited_contents(runs, shares) == {}
    silent = {**shares, b"c": CallShare(facts=CallFacts())}
    assert find_inherited_contents(runs, silent) == {b"c": lent("s")}


@given(data=st.data())
def test_completed_call(data: st.DataObject) -> None:
    """A call that inherits a question has a share with its own tokens, and all its facts."""
    runs = asked()
    call = runs[2]
    call.tokens, call.cost, call.model = Tokens(61, 18), 0.5, "gpt-4o-mini"
    facts = CallFacts(
        provider_model="gpt-4o-mini",
        inputs_preview=ASKED,
        outputs_preview=ANSWERED,
        latency_ns=98,
    )
    share = CallShare(tokens=Tokens(61, 18), cost=0.5, facts=facts)
    assert complete_calls(data.draw(st.permutations(runs)), {}) == {b"c": share}


def test_completed_records() -> None:
    """A call that two instrumentations recorded inherits a question once for both."""
    other = span("d", "c", "model", 3, scope="openai", response_id="r", outputs_preview=ANSWERED)
    runs = asked(other)
    runs[2].response_id = "r"
    shares = complete_calls(runs, find_shares(runs))
    assert shares[b"d"] == CallShare(record_of=b"c")
    assert shares[b"c"].others == (OtherRecord(b"d", 3, "openai"),)
    assert shares[b"c"].facts.inputs_preview == ASKED


def test_sums_inherit_nothing() -> None:
    """A model run that reports the sum of other calls keeps its share."""
    runs = asked()
    runs[2].tokens = Tokens(61, 18)
    sums = {b"c": CallShare()}
    assert complete_calls(runs, sums) == sums
