"""Compare the recorded calls of real libraries with the provider's data, as tables."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from otel_ml_collector.decode.json import decode_json_traces
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.records import Run
from tests.process.recorded.test_programs import (
    CASES as PROGRAM_CASES,
)
from tests.process.recorded.test_programs import (
    expect_cells as expect_program_cells,
)
from tests.process.recorded.test_programs import (
    find_cells as find_program_cells,
)
from tests.support.folders import ROOT
from tests.support.otel_ml_collector.stores import Store
from tests.support.recorded.__main__ import PEOPLE, environment_of
from tests.support.recorded.further import ABOUT_FURTHER, FURTHER_COLUMNS, FURTHER_EMITTERS
from tests.support.recorded.recorders._cases import LATER
from tests.support.recorded.recorders._openai import ASKED
from tests.support.sampling import at_night, sampled
from tests.unit.recorded.test_emitters import (
    ANSWER,
    CASES,
    PRICES,
    TOOL,
    Scenario,
    expect_cells,
    find_cells,
    scenario_of,
)
from tests.unit.recorded.test_recorded import RECORDED, filing_of, read

PAGE: Final = ROOT / "docs/emitters.md"
EXACT: Final = "exact"
STATED: Final = "as stated"
SILENT: Final = "not sent"
NOTHING: Final = "–"
# The provider's token counts: input, output, cached and reasoning.
CHAT: Final = (12, 5, 4, 2)
CLAUDE: Final = (16, 5, 4, 0)  # its input count excludes cached tokens
CLAUDE_CUT: Final = (16, 1, 4, 0)  # the counts before the answer starts
EMBEDDING: Final = (3, 0, 0, 0)
NONE: Final = (0, 0, 0, 0)
# US dollars per million tokens, as published by the providers: input, cached, output.
DOLLARS: Final = {
    CHAT: (0.15, 0.075, 0.6),
    CLAUDE: (3.0, 0.3, 15.0),
    CLAUDE_CUT: (3.0, 0.3, 15.0),
    EMBEDDING: (0.02, 0.02, 0.0),
    NONE: (0.0, 0.0, 0.0),
}
ERRORS: Final = {
    "404": "gpt-missing",
    "429": "ate limit",
    "500": "server had an error",
    "cut stream": "onnection",
}
COLUMNS: Final = ("question", "answer", "tokens", "cost", "session", "first token")


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a recording, and its expected values.

    Attributes:
        case: plain, turn (a later one), stream, tools, reasoning, image (a question with one),
            structured output, embedding, async, 404, 429, 500 or cut stream; a step is an extra
            call that an emitter writes around or inside another one.
        usage: The provider's token counts; most failed calls have none.
        untold: The cells for which the emitter writes nothing.
        stated: Whether the emitter reports its own cost.
        session: The session that the recorder set; empty for none.
        asked, answered: The question that the provider received, and its answer.
        dollars: The price per million tokens, if it does not follow from `usage`.
    """

    case: str
    usage: tuple[int, int, int, int] = CHAT
    untold: frozenset[str] = frozenset()
    stated: bool = False
    session: str = ""
    asked: str = ASKED
    answered: str = ANSWER
    dollars: tuple[float, float, float] | None = None


def calls(*cases: str, untold: str = "", **more: Any) -> list[Call]:
    """Make calls that differ only in their case; `untold` are cells separated by commas."""
    silent = frozenset(filter(None, untold.split(",")))
    usage = {"embedding": EMBEDDING, **dict.fromkeys(ERRORS, NONE)}
    asked = {"turn": LATER}
    answered = {
        **ERRORS,
        "tools": TOOL,
        "stream with tools": TOOL,
        "structured output": FIELDS,
        "embedding": "1 \u00d7 3",
    }
    return [
        Call(
            case,
            untold=silent,
            **{
                "usage": usage.get(case, CHAT),
                "asked": asked.get(case, ASKED),
                "answered": answered.get(case, ANSWER),
                **more,
            },
        )
        for case in cases
    ]


FIELDS: Final = '{"city": "Ghent", "sunny": true}'
FIRST: Final = "first token"
FURTHER: Final = (
    *("turn", "image", "structured output", "reasoning", "stream with tools"),
    *("429", "500", "cut stream", "async", "async stream"),
)
NO_USAGE: Final = "tokens,cost"
# The calls of each recording that count, in the order of their starts.
CALLS: Final[dict[str, list[Call]]] = {
    "ag2": calls("tools", "plain"),
    "ai": calls("plain", "stream", "tools", "embedding", "404", session="session-1"),
    "ai_7": [
        *calls("plain", "stream", "tools"),
        *calls("embedding", untold="question,answer"),
        *calls("404"),
    ],
    "genai_agents": calls("tools", "plain"),
    "genai_agno": calls("tools", "plain"),
    "genai_anthropic": [
        *calls("plain", "stream", "tools", usage=CLAUDE),
        *calls("404"),
    ],
    "genai_bedrock": [
        # Calls of a region cost 10 % more than those of the whole world.
        *calls("plain", "tools", usage=CLAUDE, dollars=(3.3, 0.33, 16.5)),
        *calls("404", answered="The provided model identifier is invalid."),
    ],
    "genai_dspy": calls(
        "plain", asked=f"[[ ## question ## ]] {ASKED}", answered="[[ ## reasoning ## ]]"
    ),
    "genai_langchain": calls("tools", "plain", usage=CLAUDE),
    "genai_llama_index": [
        *calls("plain"),
        *calls("stream", untold=NO_USAGE),
        *calls("tools", "plain"),
    ],
    "genai_openai": [
        *calls("plain", "stream", "tools"),
        *calls("embedding", untold="question,answer"),
        *calls("404"),
    ],
    "genai_smolagents": [
        *calls("tools", asked=f"New task: {ASKED}"),
        *calls("plain", asked="Observation: Ghent: sunny"),
    ],
    "genkit": [
        *calls("plain", "tools", "plain"),
        *calls("stream", untold=FIRST),
        *calls("embedding", untold=NO_USAGE),
        *calls("404"),
    ],
    "google_genai": calls("plain", "stream", dollars=(0.3, 0.03, 2.5)),
    "langfuse": [
        *calls("plain", session="session-1"),
        *calls("stream", "tools"),
        *calls("embedding", untold="cost"),  # no provider, and the model name is ambiguous
        *calls("404", stated=True),
    ],
    "logfire": [
        *calls("plain"),
        *calls("stream", untold=FIRST),
        *calls("tools"),
        *calls("embedding", untold="question,answer"),
        *calls("404"),
    ],
    "mlflow": [
        *calls("plain"),
        *calls("stream", untold=FIRST),
        *calls("tools"),
        *calls("embedding", untold=NO_USAGE),
        *calls("404"),
    ],
    "openai_v2": [
        *calls("plain"),
        *calls("stream", untold=FIRST),
        *calls("tools"),
        *calls("embedding", untold="question,answer"),
        *calls("404"),
    ],
    "openai_v2_cases": [
        *calls("turn"),
        *calls("image", untold="question"),  # the emitter writes no input with several parts
        *calls("structured output", "reasoning"),
        *calls("stream with tools", untold=FIRST),
        *calls("429", "500"),
        *calls("cut stream", untold=FIRST),
        *calls("async"),
        *calls("async stream", untold=FIRST),
    ],
    "openinference_agents": calls("tools", "plain"),
    "openinference_anthropic": [
        *calls("plain", usage=CLAUDE),
        *calls("stream", usage=CLAUDE, untold=FIRST),
        *calls("tools", usage=CLAUDE),
        *calls("404"),
    ],
    "openinference_anthropic_cases": [
        *calls(*FURTHER[:4], usage=CLAUDE, session="session-1"),
        *calls("stream with tools", usage=CLAUDE, untold=FIRST, session="session-1"),
        *calls("429", "500", session="session-1"),
        *calls("cut stream", usage=CLAUDE_CUT, untold=FIRST, session="session-1"),
        *calls("async", usage=CLAUDE, session="session-1"),
        *calls("async stream", usage=CLAUDE, untold=FIRST, session="session-1"),
    ],
    "openinference_dspy": calls(
        "plain",
        untold=NO_USAGE,
        asked=f"[[ ## question ## ]] {ASKED}",
        answered="[[ ## reasoning ## ]]",
    ),
    "openinference_langchain": calls("plain"),
    "openinference_langgraph": calls("tools", "plain"),
    "openinference_llama_index": [
        *calls("embedding", untold=NO_USAGE, asked="2 texts", answered="2 \u00d7 3"),
        *calls("embedding", untold=NO_USAGE),
        *calls("plain", asked="Context information is below."),
        *calls("plain"),
    ],
    "openinference_openai": [
        *calls("plain", "stream", "tools", "embedding", "404"),
        *calls("plain", session="session-1"),
    ],
    "openinference_openai_cases": calls(*FURTHER, session="session-1"),
    "openlit": [
        *calls("plain", "stream", "tools", stated=True),
        *calls("embedding", untold="answer", stated=True),
        *calls("404", untold="question"),
    ],
    # Without being marked as a model call, a decorated function records no tokens.
    "own": [
        *calls("plain", "tools"),
        *calls("stream", untold="tokens,cost,first token", answered="a stream, not followed"),
        *calls("stream", untold=NO_USAGE),
        *calls("plain", untold=NO_USAGE),
        *calls("stream", usage=CLAUDE),
        *calls("plain", untold=NO_USAGE, asked="How is the weather?"),
        *calls("stream", untold=NO_USAGE, asked="How is the weather?"),
    ],
    "own_cases": calls(*FURTHER, session="session-1"),
    "own_cases_anthropic": [
        *calls(*FURTHER[:5], usage=CLAUDE, session="session-1"),
        *calls("429", "500", session="session-1"),
        *calls("cut stream", usage=CLAUDE_CUT, session="session-1"),
        *calls(*FURTHER[8:], usage=CLAUDE, session="session-1"),
    ],
    "own_agents": [
        *calls("embedding", untold=NO_USAGE, asked="2 texts", answered="2 \u00d7 3"),
        *calls("plain", "tools", "429"),
        *calls("reasoning", usage=CLAUDE),
        *calls("reasoning", untold="cost"),  # its model has no price
    ],
    "pydantic_ai": [
        *calls("tools", "plain", session="conversation"),
        *calls("turn", session="conversation"),
        *calls("429", untold="question", session="conversation"),
    ],
    "traceloop": [
        *calls("plain", "stream", "tools", session="session-1"),
        *calls("embedding", untold="answer", session="session-1"),
        *calls("404", session="session-1"),
    ],
    "traceloop_cases": [
        *calls("turn", session="session-1"),
        # The emitter would first upload the image to its vendor, and otherwise writes no input.
        *calls("image", untold="question", session="session-1"),
        *calls(*FURTHER[2:7], session="session-1"),
        # The emitter does not record the error, only the part of the answer that arrived.
        *calls("cut stream", answered="Sunny in", session="session-1"),
        *calls("async", "async stream", session="session-1"),
    ],
    "traceloop_langchain": calls("tools", "plain", "plain"),
}
ALL: Final = [(name, place) for name, made in CALLS.items() for place in range(len(made))]


def counted_of(name: str) -> list[Run]:
    """Map a recording; return the calls that count, each once, in the order of their starts."""
    request = read(f"{name}.json")["request"]
    spans = decode_json_traces(json.dumps(request).encode())
    filing = replace(filing_of(request), prices=PRICES)
    runs = sorted(map_spans(spans, filing).runs, key=lambda run: run.start_ns)
    return Scenario([], runs).counted()


def judge(call: Call, run: Run) -> dict[str, str]:
    """Compare each cell with the provider's data; a different value is returned as it is."""
    question = EXACT if run.inputs_preview.startswith(call.asked) else run.inputs_preview
    place = run.outputs_preview.find(call.answered)
    fits = place >= 0 if call.case in ERRORS else place == 0
    session = run.session
    if call.session == "conversation" and len(session) == 36:
        session = call.session
    return {
        "question": question or SILENT,
        "answer": EXACT if fits else run.outputs_preview or SILENT,
        "tokens": _judge_tokens(call, run),
        "cost": _judge_cost(call, run),
        "session": (EXACT if session else NOTHING) if session == call.session else str(session),
        "first token": _judge_first(call, run),
    }


def _judge_tokens(call: Call, run: Run) -> str:
    told = (run.input_tokens, run.output_tokens, run.cached_tokens, run.reasoning_tokens)
    if told == (None,) * 4:
        return NOTHING if call.usage == NONE else SILENT
    # Details may be missing, and an embedding has no output count.
    are = [one in (None, there) for one, there in zip(told, call.usage, strict=True)]
    is_whole = told[0] is not None and (told[1] is not None or call.usage == EMBEDDING)
    return EXACT if all(are) and is_whole else str(told)


def _judge_cost(call: Call, run: Run) -> str:
    if call.stated:
        return STATED if run.cost is not None else SILENT
    if run.cost is None:
        return NOTHING if call.usage == NONE else SILENT
    given, out, cached, _ = call.usage
    into, kept, answered = call.dollars or DOLLARS[call.usage]
    of_cache = cached if run.cached_tokens else 0
    cost = ((given - of_cache) * into + of_cache * kept + out * answered) / 1e6
    return EXACT if run.cost == pytest.approx(cost, rel=1e-12) else str(run.cost)


def _judge_first(call: Call, run: Run) -> str:
    took_ms = (run.end_ns - run.start_ns) / 1e6
    if run.first_token_ms is None:
        return SILENT if "stream" in call.case else NOTHING
    return EXACT if 0 < run.first_token_ms <= took_ms else str(run.first_token_ms)


def expect(call: Call) -> dict[str, set[str]]:
    """Return the allowed words for each cell."""
    streams = "stream" in call.case
    wanted = {
        "question": {EXACT},
        "answer": {EXACT},
        "tokens": {NOTHING if call.usage == NONE else EXACT},
        "cost": {STATED if call.stated else NOTHING if call.usage == NONE else EXACT},
        "session": {EXACT if call.session else NOTHING},
        # OpenLIT writes it for every call.
        "first token": {EXACT} if streams else {NOTHING, EXACT},
    }
    return wanted | {cell: {SILENT} for cell in call.untold}


@sampled(60)
@pytest.mark.parametrize(("name", "place"), ALL)
def test_call(name: str, place: int) -> None:
    """Each cell of a call equals the provider's data, or the emitter does not write it."""
    call = CALLS[name][place]
    found = judge(call, counted_of(name)[place])
    sys.stdout.write(f"\n{row_of(name, call.case, [found[cell] for cell in COLUMNS])}\n")
    assert {cell: said for cell, said in found.items() if said not in expect(call)[cell]} == {}


@sampled(12)
@pytest.mark.parametrize("name", CALLS)
def test_no_other_call(name: str) -> None:
    """The number of counted calls equals the number of calls that the library made or reported."""
    assert len(counted_of(name)) == len(CALLS[name])


def test_every_library_is_here() -> None:
    """Each recording is in one of the two tables, or contains reviewers' labels of runs."""
    people = {name for name in RECORDED if name.endswith(PEOPLE)}  # api/test_agreement.py
    assert sorted({*CALLS, *(name for name, _ in CASES)} | people) == RECORDED


def row_of(*cells: str | Sequence[str]) -> str:
    """Format a row of a table."""
    flat = [one for cell in cells for one in ([cell] if isinstance(cell, str) else cell)]
    return f"| {' | '.join(flat)} |"


EMITTER_COLUMNS: Final = (
    *("calls", "tokens", "cost", "question", "answer", "tool call", "names", "session", "error"),
)


def judge_cell(cell: str, found: Mapping[str, object], expected: Mapping[str, object]) -> str:
    """Compare a cell with the data that was sent; a cell that is not expected was not sent."""
    if cell not in found:
        return NOTHING
    if cell not in expected:
        return SILENT
    return EXACT if found[cell] == expected[cell] else str(found[cell])


BEGINNING: Final = """\
# What otel-ml reads from each library

Look up what otel-ml can read from the spans of your library. The tests run each library against a
provider with fixed answers, and record its spans. They then compare each run in otel-ml with what
the provider sent. [Dialects](dialects.md) lists the attributes that are read.

| cell | meaning |
| --- | --- |
| **exact** | equal to what the provider sent; tokens and cost to the last digit |
| **not sent** | the library does not put this information on its spans |
| **as stated** | the library reports its own cost, and otel-ml uses that |
| **–** | this case has no such information |

The tests run on every commit. `make recorded` records the spans again, and
`OTEL_ML_WRITE_TABLE=1 python -m pytest tests/store/recorded/test_calls.py` writes this page."""


def make_page(store: Store) -> str:
    """Write the page with all tables."""
    parts = [BEGINNING, "## Calls of libraries, each counted once"]
    rows = [row_of("library", "case", COLUMNS), row_of(["---"] * (len(COLUMNS) + 2))]
    for name in sorted(CALLS, key=environment_of):
        for call, run in zip(CALLS[name], counted_of(name), strict=True):
            found, library = judge(call, run), f"`{environment_of(name)}`"
            rows.append(row_of(library, call.case, [found[cell] for cell in COLUMNS]))
    parts += ["\n".join(rows), "## Scenarios of frameworks and gateways"]
    rows = [row_of("emitter", "scenario", EMITTER_COLUMNS)]
    rows.append(row_of(["---"] * (len(EMITTER_COLUMNS) + 2)))
    for name, scenario in sorted(CASES):
        told = scenario_of(name, scenario)
        cells, wanted = find_cells(name, scenario, told), expect_cells(name, scenario, told)
        wanted = {cell: said for cell, said in wanted.items() if cell in cells}
        rows.append(
            row_of(
                f"`{name}`",
                scenario,
                [judge_cell(cell, cells, wanted) for cell in EMITTER_COLUMNS],
            )
        )
    parts += ["\n".join(rows), "## Command-line agents, each with and without traces"]
    rows = [row_of("program", "sent", EMITTER_COLUMNS)]
    rows.append(row_of(["---"] * (len(EMITTER_COLUMNS) + 2)))
    for name, order in PROGRAM_CASES:
        cells = find_program_cells(store, f"page of {name} {order}", name, order)
        wanted = expect_program_cells(name)
        rows.append(
            row_of(
                f"`{name}`",
                order,
                [judge_cell(cell, cells, wanted) for cell in EMITTER_COLUMNS],
            )
        )
    parts += ["\n".join(rows), "## Further emitters", ABOUT_FURTHER]
    rows = [row_of(FURTHER_COLUMNS), row_of(["---"] * len(FURTHER_COLUMNS))]
    rows += [row_of(cells) for cells in FURTHER_EMITTERS]
    versions = [
        row_of(
            f"`{name}`",
            ", ".join(f"{one} {is_}" for one, is_ in read(f"{name}.json")["versions"].items()),
        )
        for name in RECORDED
        if name == environment_of(name)
    ]
    parts += ["\n".join(rows), "## Versions"]
    parts += ["\n".join([row_of("library", "packages"), row_of("---", "---"), *versions])]
    return "\n\n".join(parts) + "\n"


@at_night
def test_page(store: Store) -> None:
    """The page in the repository equals the generated page."""
    written = make_page(store)
    if os.environ.get("OTEL_ML_WRITE_TABLE"):
        PAGE.write_text(written)
    assert PAGE.read_text() == written
