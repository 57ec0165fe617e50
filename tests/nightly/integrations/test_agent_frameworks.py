"""The recipes of docs/how-to/agent-frameworks.md work with the real packages and a stub."""

import re
from pathlib import Path
from typing import Any, Final

import pytest

from tests.nightly.integrations.test_llm import ALL, find_recipes, start
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT

PAGE: Final = (ROOT / "docs/how-to/agent-frameworks.md").read_text()
RECIPES: Final = find_recipes(PAGE)
# Calls the tool of the recipe, which is started as agents start MCP servers.
CALLER: Final = """
import asyncio, os, sys
from mcp import Client, StdioServerParameters, stdio_client

async def call():
    server = StdioServerParameters(command=sys.executable, args=["recipe.py"], env=dict(os.environ))
    async with Client(stdio_client(server)) as client:
        result = await client.call_tool("find_weather", {"city": "Ghent"})
        print(result.content[0].text)

asyncio.run(call())
"""
# The kinds and names of all runs of each recipe, the request first.
RUNS: Final = {
    "openai-agents": [
        "agent Agent workflow",
        "agent weather",
        "chain Agent workflow",
        "chain turn",
        "model gpt-4o-mini",
    ],
    "crewai": ["chain Crew.kickoff", "agent Forecaster", "model gpt-4o-mini"],
    "adk": ["chain weather", "agent weather", "model gemini-2.5-flash"],
    "claude-agent-sdk": ["agent ClaudeAgentSDK.query"],
    "strands": ["agent weather", "chain execute_event_loop_cycle", "model gpt-4o-mini"],
    "agno": ["agent weather", "model gpt-4o-mini"],
    "smolagents": [
        "agent ToolCallingAgent.run",
        "chain Step 1",
        "model gpt-4o-mini",
        "tool final_answer",
    ],
    "litellm": ["model gpt-4o-mini"],
    "mcp-server": ["tool find_weather"],
}
SERVER: Final = "mcp-server"


def run_recipe(project: str, collector: CollectorProcess, folder: Path) -> list[dict[str, Any]]:
    """Run a recipe with the variables of its section; return its runs, the request first."""
    (folder / "recipe.py").write_text(RECIPES[project])
    (folder / "caller.py").write_text(CALLER)
    [section] = [part for part in PAGE.split("\n## ") if f'Client("{project}")' in part]
    variables = dict(re.findall(r"^export (\w+)=(\S+)$", section, re.MULTILINE))
    is_server = project == SERVER
    program = "caller.py" if is_server else "recipe.py"
    environment = "llm" if is_server else "agents"
    printed = start(["python", program], collector, folder, environment, **variables)
    assert printed.strip() == "Sunny in Ghent"
    runs = collector.runs(project, where=ALL)
    return sorted(runs, key=lambda run: (run["parent_run_id"] is not None, run["kind"]))


@pytest.mark.parametrize("project", RUNS)
def test_recipe(project: str, collector: CollectorProcess, tmp_path: Path) -> None:
    """A recipe prints the answer, and records the agents, calls and tools that its page names."""
    runs = run_recipe(project, collector, tmp_path)
    request, *inside = [f"{run['kind']} {run['model'] or run['name']}" for run in runs]
    assert [request, *sorted(inside)] == [RUNS[project][0], *sorted(RUNS[project][1:])]
    assert len({run["trace_id"] for run in runs}) == 1
    if project == SERVER:
        assert (runs[0]["inputs"], runs[0]["outputs"]) == ("Ghent", "Sunny in Ghent")
        return
    call = next((run for run in runs if run["kind"] == "model"), runs[0])
    whole = collector.get(f"/runs/{call['run_id']}")
    assert "How is the weather in Ghent?" in str(whole["inputs"])
    assert "Sunny in Ghent" in str(whole["outputs"])
    assert call["tokens"]["input"]
    assert call["cost"]


def test_every_recipe_is_run() -> None:
    """This module runs every recipe of the page."""
    assert set(RECIPES) == set(RUNS)
