"""The pytest plugin, in real sessions of pytest."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tomllib

from tests.support.folders import ROOT
from tests.support.otel_ml.otlp_sink import Sink
from tests.support.sampling import at_night, sampled

QA = """\
{"inputs": {"a": 1}, "expected": 2, "id": "one"}
{"inputs": {"a": 5}, "expected": 7, "id": "five"}
"""
TESTS = """
import otel_ml
import pytest


@otel_ml.trace
def answer(a):
    return a + 1


@pytest.mark.otel_ml(dataset="qa.jsonl"{more})
def test_answer(item):
    assert answer(**item.inputs) == item.expected


def test_other():
    pass
"""


def run(folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    named = {
        name: text for name, text in os.environ.items() if not name.startswith(("OTEL", "PYTEST"))
    }
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest"),
            *("-p", "no:cacheprovider", "-q", *arguments),
        ],
        cwd=folder,
        env={**named, **variables},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def write(folder: Path, tests: str, **files: str) -> Path:
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    (folder / "qa.jsonl").write_text(QA)
    (folder / "test_app.py").write_text(tests)
    return folder


def runs_of(sink: Sink) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """Return the experiment's run, and the runs of its items by id and repeat."""
    whole = [span for span in sink.spans if "otel_ml.record" not in span]
    [experiment] = [span for span in whole if span["otel_ml.kind"] == "experiment"]
    over = [span for span in whole if "otel_ml.item.id" in span]
    return experiment, sorted(
        over, key=lambda span: (span["otel_ml.item.id"], span["otel_ml.item.repeat"])
    )


@sampled(1)
@pytest.mark.parametrize("workers", [0, 2])
def test_one_test_an_item(tmp_path: Path, sink: Sink, workers: int) -> None:
    """Each item is a test and a scored run; pytest workers share one experiment."""
    write(tmp_path, TESTS.replace("{more}", ""))
    options = ("-n", str(workers)) if workers else ()
    ended = run(tmp_path, *options, OTEL_ML_ENDPOINT=sink.address)
    assert ended.returncode == 1, ended.stdout
    assert "1 failed, 2 passed" in ended.stdout
    assert "test_answer on qa: 1 of 2 passed" in ended.stdout
    experiment, [five, one] = runs_of(sink)
    assert (one["test.case.result.status"], one["otel_ml.score.test"]) == ("pass", 1.0)
    assert (five["test.case.result.status"], five["otel_ml.passed.test"]) == ("fail", False)
    assert (experiment["otel_ml.experiment.items"], five["otel_ml.outcome"]) == (2, "ok")
    assert one["otel_ml.inputs"] == '{"a":1}'


@at_night
def test_repeats(tmp_path: Path, sink: Sink) -> None:
    """Each repeat is a separate test."""
    write(tmp_path, TESTS.replace("{more}", ", repeats=2"))
    ended = run(tmp_path, OTEL_ML_ENDPOINT=sink.address)
    assert "2 failed, 3 passed" in ended.stdout
    _, over = runs_of(sink)
    assert [(span["otel_ml.item.id"], span["otel_ml.item.repeat"]) for span in over] == [
        ("five", 0),
        ("five", 1),
        ("one", 0),
        ("one", 1),
    ]


@at_night
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TESTS.replace("qa.jsonl", "none.jsonl").replace("{more}", ""), "none.jsonl"),
        (TESTS.replace("{more}", ", repeats=0"), "Invalid marker otel_ml of"),
        (TESTS.replace("{more}", "").replace("(item)", "()"), "has no parameter item"),
    ],
)
def test_wrong_markers(tmp_path: Path, text: str, message: str) -> None:
    """An invalid marker is reported before any test runs."""
    ended = run(write(tmp_path, text), OTEL_SDK_DISABLED="true")
    assert ended.returncode != 0
    assert message in ended.stdout + ended.stderr


WHOLE = """
import os
from otel_ml.judges.ready import exact

CHANGED = bool(os.environ.get("CHANGED"))
ROWS = [{"inputs": {"a": number}, "expected": number} for number in range(60)]


def answer(a):
    return -1 if CHANGED and a % 2 else a


def test_no_regression(otel_ml_evaluate):
    result = otel_ml_evaluate(answer, ROWS, judges=[exact], baseline=os.environ.get("BASELINE"))
    if CHANGED:
        result.assert_not("worse", "errors")
    else:
        result.save("baseline.jsonl")
"""


def test_one_test_for_the_whole(tmp_path: Path) -> None:
    """A fixture evaluates a whole data set, and its verdict fails the test with the table."""
    write(tmp_path, WHOLE)
    off = {"OTEL_SDK_DISABLED": "true"}
    assert run(tmp_path, **off).returncode == 0
    ended = run(tmp_path, CHANGED="1", BASELINE="baseline.jsonl", **off)
    assert ended.returncode == 1
    assert "The result is worse" in ended.stdout
    assert "30 worse than before" in ended.stdout


def test_nothing_is_loaded_before_it_is_used(tmp_path: Path) -> None:
    """A session without a marked test loads only the plugin's modules of otel-ml."""
    text = (
        "import sys\n\ndef test_modules():\n"
        "    ours = {name for name in sys.modules if name.startswith('otel_ml.')}\n"
        "    assert ours == {'otel_ml.integrations', 'otel_ml.integrations.pytest_plugin'}\n"
        "    assert 'opentelemetry' not in sys.modules\n"
    )
    ended = run(write(tmp_path, text))
    assert ended.returncode == 0, ended.stdout


def test_pytest_finds_the_plugin() -> None:
    """The package registers the plugin with pytest."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        told = tomllib.load(file)["project"]["entry-points"]["pytest11"]
    assert told == {"otel_ml": "otel_ml.integrations.pytest_plugin"}
