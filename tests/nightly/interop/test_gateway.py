"""LiteLLM's proxy works with the settings of docs/how-to/gateway.md."""

import json
from pathlib import Path

import pytest

from tests.support.collector import running
from tests.support.interop.gateway import PROGRAMS, call_through

# 12 input tokens, 4 of them cached according to the proxy's price list, and 5 output tokens.
COST = (8 * 0.15 + 4 * 0.075 + 5 * 0.6) / 1e6


def test_page(tmp_path: Path) -> None:
    """The page's settings record the call once, with question, answer, tokens and cost."""
    if not PROGRAMS.exists():
        pytest.skip("There is no proxy: make .venv-litellm/stamp")
    with running(tmp_path / "data") as collector:
        said = json.loads(call_through("gateway", collector, tmp_path))
        [run] = collector.runs("default")
        whole = collector.get(f"/runs/{run['run_id']}")
    assert said["choices"][0]["message"]["content"] == "Sunny in Ghent"
    assert (run["kind"], run["model"], run["outcome"]) == ("model", "gpt-4o-mini", "ok")
    assert (run["inputs"], run["outputs"]) == ("How is the weather in Ghent?", "Sunny in Ghent")
    assert (run["tokens"]["input"], run["tokens"]["output"]) == (12, 5)
    assert run["cost"] == pytest.approx(COST, rel=1e-9)
    stated = whole["attributes"]["gen_ai.cost.total_cost"]
    assert run["cost"] == pytest.approx(stated, rel=1e-9)
