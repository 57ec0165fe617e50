"""The recipes of docs/how-to/llm.md work with the real libraries and a stub provider."""

import re
from pathlib import Path
from typing import Any, Final

import pytest

from tests.nightly.integrations.environment import run
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.recorded.server import serving
from tests.support.recorded.sink import Sink


def find_recipes(page: str) -> dict[str, str]:
    """Return the programs of a page by the projects of their clients."""
    blocks = re.findall(r"^```python llm\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return {re.findall(r'Client\("(.*)"\)', block)[0]: block for block in blocks}


PAGE: Final = (ROOT / "docs/how-to/llm.md").read_text()
RECIPES: Final = find_recipes(PAGE)
HERE: Final = "http://127.0.0.1:4318"
ALL: Final = 'kind in ("agent", "chain", "embedding", "model", "retriever", "span", "tool")'
# The root span of each recipe's trace.
ROOTS: Final = {
    "openai": "ChatCompletion",
    "anthropic": "messages.create",
    "langgraph": "LangGraph",
    "llamaindex": "OpenAI.chat",
    "pydantic-ai": "invoke_agent weather",
    "dspy": "Predict.forward",
}


# Each instruments OpenAI's client, also under the name "openai". The value is its spans' scope.
INSTRUMENTORS: Final = {
    "openinference-instrumentation-openai": "openinference.instrumentation.openai",
    "opentelemetry-instrumentation-openai": "opentelemetry.instrumentation.openai.v1",
    "opentelemetry-instrumentation-genai-openai": "opentelemetry.instrumentation.genai.openai",
}
# The official instrumentation needs this to record messages, see the page.
WITH_MESSAGES: Final = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY"}


def start(
    command: list[str],
    collector: CollectorProcess,
    folder: Path,
    environment: str = "llm",
    **variables: str,
) -> str:
    """Run a command with a stub provider that the environment sets for every library."""
    with serving(Sink()) as provider:
        return run(
            command,
            folder,
            environment=environment,
            **variables,
            OTEL_ML_ENDPOINT=collector.endpoint,
            OPENAI_API_KEY="none",
            OPENAI_BASE_URL=f"{provider}/v1",
            OPENAI_API_BASE=f"{provider}/v1",
            ANTHROPIC_API_KEY="none",
            GOOGLE_API_KEY="none",
            GOOGLE_GEMINI_BASE_URL=provider,
            HOME=str(folder),  # Claude Code keeps its settings there
            IS_SANDBOX="1",  # it does not run as root otherwise
            CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
            DSPY_CACHEDIR=str(folder / "dspy"),  # DSPy caches responses
            ANTHROPIC_BASE_URL=provider,
        )


def calls_of_models(collector: CollectorProcess, project: str) -> list[Any]:
    """Return the only model call of a project, and its output tokens."""
    [call] = [run for run in collector.runs(project, where=ALL) if run["tokens"]["input"]]
    return [collector.get(f"/runs/{call['run_id']}"), call["tokens"]["output"]]


@pytest.mark.parametrize("project", sorted(ROOTS))
def test_recipe(project: str, collector: CollectorProcess, tmp_path: Path) -> None:
    """A recipe prints the answer and records a trace with question, answer and tokens."""
    (tmp_path / "recipe.py").write_text(RECIPES[project])
    assert start(["python", "recipe.py"], collector, tmp_path) == "Sunny in Ghent\n"
    found = collector.runs(project, where=ALL)
    roots = [one["name"] for one in found if one["parent_run_id"] is None]
    assert roots == [ROOTS[project]]
    called, tokens = calls_of_models(collector, project)
    assert tokens == 5
    assert "How is the weather in Ghent?" in str(called["inputs"])
    assert "Sunny in Ghent" in str(called["outputs"])


def instrument(
    named: str, project: str, collector: CollectorProcess, folder: Path
) -> list[dict[str, Any]]:
    """Run the OpenAI recipe with other instrumentations, and return the counted runs."""
    recipe = RECIPES["openai"].replace('Client("openai")', f'Client("{project}")')
    (folder / "recipe.py").write_text(
        recipe.replace('instrument("openai")', f"instrument({named})")
    )
    said = start(["python", "recipe.py"], collector, folder, "instrumentors", **WITH_MESSAGES)
    assert said == "Sunny in Ghent\n"
    return collector.runs(project)


@pytest.mark.parametrize("package", INSTRUMENTORS)
def test_each_instrumentation(package: str, collector: CollectorProcess, tmp_path: Path) -> None:
    """`client.instrument` with each package records question, answer and tokens."""
    assert package in PAGE
    [run] = instrument(f'"{package}"', package, collector, tmp_path)
    whole = collector.get(f"/runs/{run['run_id']}")
    assert (run["kind"], run["model"], run["inputs"], run["outputs"]) == (
        "model",
        "gpt-4o-mini",
        "How is the weather in Ghent?",
        "Sunny in Ghent",
    )
    assert (run["tokens"]["output"], run["also_recorded"]) == (5, [])
    assert whole["scope"]["name"] == INSTRUMENTORS[package]
    assert whole["finish_reason"] == "stop"


def test_name_of_the_library(collector: CollectorProcess, tmp_path: Path) -> None:
    """The library's name selects the first of three instrumentations: OpenInference."""
    [run] = instrument('"openai"', "by-name", collector, tmp_path)
    whole = collector.get(f"/runs/{run['run_id']}")
    assert whole["scope"]["name"] == "openinference.instrumentation.openai"


def test_all_at_once(collector: CollectorProcess, tmp_path: Path) -> None:
    """A call that three instrumentations record counts once in all sums."""
    named = ", ".join(f'"{package}"' for package in INSTRUMENTORS)
    [run] = instrument(named, "all-three", collector, tmp_path)
    assert len(run["also_recorded"]) == 2
    [one] = instrument('"openai"', "one-alone", collector, tmp_path)
    assert (run["tokens"], run["cost"]) == (one["tokens"], one["cost"])
    sums = [
        collector.get(f"/projects/{project}/stats")["total"]
        for project in ("all-three", "one-alone")
    ]
    assert [(total["runs"], total["tokens"], total["cost"]) for total in sums] == [
        (1, {name: count or 0 for name, count in one["tokens"].items()}, one["cost"])
    ] * 2


def test_every_recipe_is_run() -> None:
    """This module runs every recipe of the page."""
    assert set(RECIPES) == set(ROOTS)


def test_without_a_change_of_the_code(collector: CollectorProcess, tmp_path: Path) -> None:
    """A program without telemetry code is recorded as documented."""
    [block] = re.findall(r"^```sh llm\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    lines = RECIPES["openai"].splitlines(keepends=True)
    (tmp_path / "app.py").write_text("".join(one for one in lines if "client" not in one))
    (tmp_path / "block").write_text(block.replace(HERE, collector.endpoint))
    assert start(["sh", "block"], collector, tmp_path).startswith("Sunny in Ghent")
    assert calls_of_models(collector, "zero")[1] == 5
