"""An experiment whose process was killed resumes in another process."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otel_ml import Client
from otel_ml.judges.ready import exact
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.otel_ml.providers import ApiProvider, Provider, WrappingProvider
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

ITEMS: Final = 60
REPEATS: Final = 2
APP: Final = """
import json, sys

from otel_ml import Client, Dataset
from otel_ml.judges.ready import exact
from tests.support.waiting import elapsed, wait_until

asked = []


def answer(a):
    asked.append(a)
    wait_until(elapsed(0.1))
    if a % 10 == 7:
        raise KeyError(a)
    return a + 1


endpoint, name, resume, temperature = sys.argv[1:]
items = [{"inputs": {"a": a}, "expected": a + 1, "id": f"i{a:02}"} for a in range(60)]
client = Client("resumed", endpoint=endpoint, join=False)
result = client.evaluate(
    answer, Dataset("sums", items), [exact], name=name, repeats=2, concurrency=2,
    resume=resume or False, params={"temperature": float(temperature), "of": (1, 2)},
)
assert client.flush()
rows = [[run.item, run.repeat, run.outputs, run.outcome] for run in result.runs]
print(json.dumps({"id": result.experiment.id, "asked": len(asked), "rows": rows}))
"""


def start(
    folder: Path, collector: CollectorProcess, name: str, resume: str = "", temperature: str = "0.5"
) -> "subprocess.Popen[str]":
    """Start the program in its own folder, as on another machine."""
    folder.mkdir(exist_ok=True)
    (folder / "app.py").write_text(APP)
    return subprocess.Popen(
        [sys.executable, "app.py", collector.endpoint, name, resume, temperature],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def end(process: "subprocess.Popen[str]") -> Any:
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    return json.loads(output.splitlines()[-1])


def found(collector: CollectorProcess, name: str) -> list[Any]:
    experiments = collector.get("/projects/resumed/experiments?limit=100")["experiments"]
    return [one for one in experiments if one["name"] == name]


@at_night
@pytest.mark.parametrize("done", [20, 0, 1, 10, 50])
def test_killed_experiment_goes_on(collector: CollectorProcess, tmp_path: Path, done: int) -> None:
    """After a resume, each item and repeat is in the result once, and few are run twice."""
    name = f"killed {done}"
    process = start(tmp_path / "one", collector, name)
    wait_until(lambda: any(one["done"] >= done for one in found(collector, name)))
    told = kill_and_go_on(process, collector, name, tmp_path)
    assert {
        (output, outcome) for item, _, output, outcome in told["rows"] if item in {"i07", "i08"}
    } == {(None, "error"), (9, "ok")}
    again = end(start(tmp_path / "two", collector, name, "auto"))
    assert (again["asked"], len(found(collector, name))) == (ITEMS * REPEATS, 2)  # new


def kill_and_go_on(
    process: "subprocess.Popen[str]", collector: CollectorProcess, name: str, folder: Path
) -> Any:
    """Kill an experiment and resume it elsewhere; return the second process's result."""
    process.kill()
    process.communicate()
    before = max((one["done"] for one in found(collector, name)), default=0)
    told = end(start(folder / "two", collector, name, "auto"))
    one = next(one for one in found(collector, name) if one["run_id"] == told["id"])
    assert one["outcome"] == "ok"
    assert (one["done"], one["errors"]) == (ITEMS * REPEATS, 6 * REPEATS)
    is_new = before == ITEMS * REPEATS  # it had finished when it was killed
    assert told["asked"] <= ITEMS * REPEATS - (0 if is_new else before)
    wanted = Counter((f"i{a:02}", repeat) for a in range(ITEMS) for repeat in range(REPEATS))
    assert Counter((item, repeat) for item, repeat, *_ in told["rows"]) == wanted
    return told


def test_interrupted_experiment_goes_on(collector: CollectorProcess) -> None:
    """An experiment interrupted by Ctrl-C is resumed to completion under the same id."""
    client = Client("resumed", endpoint=collector.endpoint, join=False)
    interrupt_and_go_on(client, collector, "interrupted")


@at_night
@pytest.mark.parametrize("kind", [TracerProvider, WrappingProvider, ApiProvider])
def test_goes_on_under_a_host_s_provider(collector: CollectorProcess, kind: type[Provider]) -> None:
    """An experiment also resumes under one id if the host's provider creates the spans."""
    provider = kind(resource=Resource({}))
    client = Client("resumed", endpoint=collector.endpoint, tracer_provider=provider)
    interrupt_and_go_on(client, collector, kind.__name__)


def interrupt_and_go_on(client: Client, collector: CollectorProcess, name: str) -> None:
    asked: list[int] = []

    def answer(a: int) -> int:
        asked.append(a)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return a + 1

    rows = [{"inputs": {"a": a}, "expected": a + 1} for a in range(10)]
    first = client.evaluate(answer, rows, [exact], name=name, resume="auto")
    assert (first.is_interrupted, len(first.runs)) == (True, 3)
    second = client.evaluate(answer, rows, [exact], name=name, resume="auto")
    assert (second.is_interrupted, len(second.runs), len(asked)) == (False, 10, 11)
    assert second.experiment.id == first.experiment.id
    assert client.flush()
    [one] = found(collector, name)
    assert (one["run_id"], one["outcome"]) == (first.experiment.id, "ok")
    assert (one["done"], one["doubled"], one["errors"]) == (10, 0, 0)


def test_nothing_to_resume(collector: CollectorProcess) -> None:
    """Without a previous experiment or a collector, `resume="auto"` starts a new one."""
    rows = [{"inputs": {"a": 1}, "expected": 2}]
    for client in (
        Client("resumed", endpoint=collector.endpoint, join=False),
        Client("resumed", exporter=None, join=False, endpoint=collector.endpoint),
    ):
        result = client.evaluate(lambda a: a + 1, rows, [exact], name="new", resume="auto")
        assert len(result.runs) == 1
