"""Each scenario of real gateways and frameworks, run again, matches what its provider sent.

CI checks recorded spans in `tests/support/recorded`. Here the packages themselves run, in the
environments that `requirements/` pins.
"""

import json
from functools import lru_cache
from typing import Any

import pytest

from tests.support.collector import CollectorProcess
from tests.support.recorded.__main__ import ENVIRONMENTS, find_python, record
from tests.unit.recorded.test_emitters import (
    CASES,
    NAMES,
    check_scenario,
    scenario_in,
    tokens_of,
)

ALL = 'kind in ("agent", "chain", "embedding", "model", "tool")'


@lru_cache(1)  # the cases of one emitter run one after another
def run_anew(name: str) -> dict[str, Any]:
    """Run all scenarios of an emitter, or skip the test if its environment is missing."""
    if not find_python(name).exists():
        stamp = f".venv-{ENVIRONMENTS[name]}/stamp"
        pytest.skip(f"There is no environment of {name}: make {stamp}")
    return record(name)


@pytest.mark.parametrize(("name", "scenario"), CASES)
def test_scenario(name: str, scenario: str) -> None:
    """Each cell of a scenario is the provider's value, unless the emitter does not write it."""
    check_scenario(name, scenario, scenario_in(run_anew(name), scenario))


@pytest.mark.parametrize("name", NAMES)
def test_collector(name: str, collector: CollectorProcess) -> None:
    """A collector counts the calls and tokens that the emitter's provider reported."""
    recording = run_anew(name)
    headers = {"content-type": "application/json", "x-otel-ml-project": f"new-{name}"}
    collector.deliver(json.dumps(recording["request"]).encode(), headers)
    calls = [call for one in recording["scenarios"] for call in one["calls"]]
    told = [tokens_of(call["usage"]) for call in calls if call["usage"]]
    found = [run for run in collector.runs(f"new-{name}", where=ALL) if not run["record_of"]]
    counted = [run["tokens"] for run in found if run["kind"] in {"model", "embedding"}]
    assert len(counted) == len(calls)
    assert sum(one["input"] or 0 for one in counted) == sum(given for given, _ in told)
    assert sum(one["output"] or 0 for one in counted) == sum(said for _, said in told)
