"""Compares the stored runs of each scenario of real frameworks with the provider's data."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from otel_ml_collector.decode.json import decode_json_traces
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.records import Run
from otel_ml_collector.same_calls import CALLS, call_run_of, find_shares
from tests.support.recorded.recorders._openai import ASKED
from tests.unit.recorded.test_recorded import RECORDED, filing_of, read

PRICES: Final = Prices()
ANSWER: Final = "Sunny in Ghent"
ERRORS: Final = {"429": "ate limit", "failing-tool": "no weather in Ghent"}
TOOL: Final = 'find_weather(city="Ghent")'
# The tool call by which the model hands its task on.
HANDOFFS: Final = {
    "haystack": 'ask_forecaster(city="Ghent")',
    "openinference_haystack": 'ask_forecaster(city="Ghent")',
    "openinference_crewai": "delegate_work_to_coworker("
    'task="How is the weather in Ghent?", context="Today.", coworker="Forecaster")',
}
# Emitters that record only calls: their callers run the tools, which have no spans.
GATEWAYS: Final = {"litellm", "litellm_async", "litellm_proxy", "litellm_proxy_v2"}
# US dollars per million tokens, as the provider publishes them: input, cached, output.
DOLLARS: Final = {"chat": (0.15, 0.075, 0.6), "embedding": (0.02, 0.02, 0.0)}
# Emitters that report cached input tokens, in tokens or in their cost.
CACHED: Final = {
    *("haystack", "openinference_crewai", *GATEWAYS),
}
# Data that an emitter does not write, so that it cannot be read.
NO_USAGE: Final = {
    ("haystack", "session"): {"session"},
    ("litellm", "session"): {"session"},
    ("litellm_async", "session"): {"session"},
    ("litellm_async", "embedding"): {"answer"},
    ("litellm_proxy", "session"): {"session"},
    ("openinference_haystack", "plain"): {"answer"},  # its roots have the texts of Python objects
    ("openinference_haystack", "tool"): {"question", "answer"},
    ("openinference_haystack", "stream"): {"answer"},
    ("openinference_haystack", "failing-tool"): {"question", "answer", "error"},
    ("openinference_haystack", "session"): {"answer"},
    ("openinference_haystack", "handoff"): {"question", "answer"},
    ("openinference_haystack", "second"): {"answer"},
}
CHAT: Final = "model gpt-4o-mini"
DATED: Final = "model gpt-4o-mini-2024-07-18"
CREW: Final = {"chain Crew.kickoff", "agent Forecaster"}
AGENT: Final = {
    *("chain haystack.pipeline.run", "chain forecaster", "agent haystack.agent.run"),
    *("chain haystack.agent.step", DATED),
}
STEPS: Final = {*AGENT, "tool find_weather"}
PIPE: Final = {"chain haystack.pipeline.run", "chain prompt"}
SEEN: Final = {"chain Pipeline.run", "chain ChatPromptBuilder.run"}
# For a proxy, only the calls are runs. Routes, dependencies and its own steps are plain spans.
PROXY: Final = {
    **{key: {CHAT} for key in ("plain", "tool", "stream", "failing-tool", "session", "second")},
    "429": {"model gpt-busy"},
}
LITELLM: Final = {**PROXY, "responses": {CHAT}}
# The kinds and names of all runs.
NAMES: Final[Mapping[str, Mapping[str, set[str]]]] = {
    "haystack": {
        "plain": {*PIPE, DATED},
        "tool": STEPS,
        "stream": {*PIPE, DATED},
        "429": {*PIPE, "model llm"},
        "failing-tool": STEPS,
        "session": {*PIPE, DATED},
        "handoff": {*AGENT, "tool ask_forecaster"},
        "second": {*PIPE, DATED, CHAT},
    },
    "litellm": LITELLM,
    "litellm_async": {**LITELLM, "embedding": {"embedding text-embedding-3-small"}},
    "litellm_proxy": PROXY,
    "litellm_proxy_v2": PROXY,
    "openinference_crewai": {
        "plain": {*CREW, CHAT},
        "tool": {*CREW, CHAT, "tool find_weather"},
        "stream": {*CREW, CHAT},
        "429": {*CREW, "model gpt-busy"},
        "failing-tool": {*CREW, CHAT, "tool find_weather"},
        "session": {*CREW, CHAT},
        "handoff": {
            *("chain Crew.kickoff", "agent Coordinator"),
            *(CHAT, "tool Delegate work to coworker"),
        },
        "second": {*CREW, CHAT},
    },
    "openinference_haystack": {
        "plain": {*SEEN, DATED},
        "tool": {*SEEN, "chain Agent.run", DATED},
        "stream": {*SEEN, DATED},
        "429": {*SEEN, "model OpenAIChatGenerator.run"},
        "failing-tool": {*SEEN, "chain Agent.run", DATED},
        "session": {*SEEN, DATED},
        "handoff": {*SEEN, "chain Agent.run", DATED},
        "second": {*SEEN, DATED, CHAT},
    },
}
CASES: Final = [(name, scenario) for name, those in NAMES.items() for scenario in those]


@dataclass(frozen=True, slots=True)
class Scenario:
    """The provider's responses in a scenario, and the runs that are stored."""

    usages: Sequence[Mapping[str, Any] | None]
    runs: Sequence[Run]

    def counted(self) -> list[Run]:
        """Return the calls that count, each once."""
        shares = find_shares(map(call_run_of, self.runs))
        calls = (run for run in self.runs if run.kind in CALLS)
        return [
            run for run in calls if not (run.span_id in shares and shares[run.span_id].record_of)
        ]


def scenario_of(name: str, scenario: str) -> Scenario:
    """Map the spans of one scenario of a stored recording."""
    return scenario_in(read(f"{name}.json"), scenario)


def scenario_in(recording: Mapping[str, Any], scenario: str) -> Scenario:
    """Map the spans of one scenario of a recording."""
    groups, begun = recording["request"]["resourceSpans"], recording["scenarios"]
    place = next(at for at, one in enumerate(begun) if one["name"] == scenario)
    ends = [*(one["resourceSpans"] for one in begun[1:]), len(groups)]
    request = {"resourceSpans": groups[begun[place]["resourceSpans"] : ends[place]]}
    spans = decode_json_traces(json.dumps(request).encode())
    filing = replace(filing_of(recording["request"]), prices=PRICES)
    runs = sorted(map_spans(spans, filing).runs, key=lambda run: run.start_ns)
    return Scenario([call["usage"] for call in begun[place]["calls"]], runs)


def cost_of(usage: Mapping[str, Any], *, is_cached: bool) -> float:
    """Compute the cost of a call from the provider's price list."""
    given, answered = tokens_of(usage)
    into, cached, out = DOLLARS["chat" if answered else "embedding"]
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    kept = details.get("cached_tokens", 0) if is_cached else 0
    return ((given - kept) * into + kept * cached + answered * out) / 1e6


def tokens_of(usage: Mapping[str, Any]) -> tuple[int, int]:
    """Read the provider's token counts, from either of its APIs."""
    return (
        usage.get("prompt_tokens", usage.get("input_tokens", 0)),
        usage.get("completion_tokens", usage.get("output_tokens", 0)),
    )


def find_cells(name: str, scenario: str, found: Scenario) -> dict[str, object]:
    """Return the stored values of a scenario, by cell of the table."""
    counted = list(found.counted())
    inner = {run.span_id for run in found.runs if run.kind != "span"}
    roots = [run for run in found.runs if run.span_id in inner and run.parent_span_id not in inner]
    failed = [run.outputs_preview for run in found.runs if run.outcome == "error"]
    cells: dict[str, object] = {
        "calls": len(counted),
        "tokens": (
            sum(run.input_tokens or 0 for run in counted),
            sum(run.output_tokens or 0 for run in counted),
        ),
        "cost": round(sum(run.cost or 0 for run in counted), 12),
        "question": roots[0].inputs_preview,
        "answer": roots[-1].outputs_preview,
        "names": {f"{run.kind} {run.model}" for run in found.runs if run.kind != "span"},
    }
    if "tool" in scenario or scenario == "handoff":
        cells["tool call"] = counted[0].outputs_preview
    if scenario == "session":
        cells["session"] = {run.session for run in counted}
    if scenario == "429":
        del cells["answer"]
    if scenario == "429" or (scenario in ERRORS and name not in GATEWAYS):
        cells["error"] = any(ERRORS[scenario] in line for line in failed)
    return cells


def expect_cells(name: str, scenario: str, found: Scenario) -> dict[str, object]:
    """Return the expected values of a scenario, computed from the provider's data."""
    answered = [usage for usage in found.usages if usage]
    tokens = [tokens_of(usage) for usage in answered]
    costs = [cost_of(usage, is_cached=name in CACHED) for usage in answered]
    cells: dict[str, object] = {
        "calls": len(found.usages),
        "tokens": (sum(given for given, _ in tokens), sum(said for _, said in tokens)),
        "cost": round(sum(costs), 12),
        "question": ASKED,
        "answer": ANSWER,
        "names": NAMES[name][scenario],
        "tool call": HANDOFFS[name] if scenario == "handoff" else TOOL,
        "session": {"session-1"},
        "error": True,
    }
    return {
        cell: said for cell, said in cells.items() if cell not in NO_USAGE.get((name, scenario), ())
    }


@pytest.mark.parametrize(("name", "scenario"), CASES)
def test_scenario(name: str, scenario: str) -> None:
    """Each cell of a scenario matches the provider's data, unless the emitter does not write it."""
    check_scenario(name, scenario, scenario_of(name, scenario))


def check_scenario(name: str, scenario: str, told: Scenario) -> None:
    """Print the row of a scenario, and compare each cell with the provider's data."""
    found, expected = find_cells(name, scenario, told), expect_cells(name, scenario, told)
    untold = sorted(NO_USAGE.get((name, scenario), ()))
    cells = [
        f"{cell} {'exact' if found[cell] == expected[cell] else 'WRONG'}"
        for cell in found
        if cell in expected
    ]
    cells += [f"{cell} not sent" for cell in untold]
    sys.stdout.write(f"\n| {name} | {scenario} | {' | '.join(cells)} |\n")
    assert {cell: found[cell] for cell in found if cell in expected} == {
        cell: expected[cell] for cell in found if cell in expected
    }


def test_delegated_agent() -> None:
    """If a CrewAI agent delegates a task, the tool run names the other agent and holds its call."""
    runs = scenario_of("openinference_crewai", "handoff").runs
    assert {run.model for run in runs if run.kind == "agent"} == {"Coordinator"}
    [tool] = [run for run in runs if run.kind == "tool"]
    assert '"coworker": "Forecaster"' in tool.inputs_preview
    [inside] = [run for run in runs if run.parent_span_id == tool.span_id]
    assert (inside.kind, inside.input_tokens) == ("model", 12)
    assert "You are Forecaster" in inside.inputs


def test_every_emitter_is_here() -> None:
    """Each recording with scenarios is in the table, with all its scenarios."""
    recorded = {
        name: {one["name"] for one in read(f"{name}.json").get("scenarios", ())}
        for name in RECORDED
    }
    assert {name: told for name, told in recorded.items() if told} == {
        name: set(those) for name, those in NAMES.items()
    }
