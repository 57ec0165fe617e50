"""Tests that documented code runs, and that the docs name what a collector reports."""

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.sampling import at_night

README = ROOT / "README.md"
REFERENCE = ROOT / "docs/reference.md"
TUTORIAL = ROOT / "docs/tutorial.md"
SCIKIT_LEARN = ROOT / "docs/how-to/scikit-learn.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "deploy/README.md"]
# Blocks fenced as `python integrations` need frameworks: tests/nightly/integrations runs them.
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL = re.compile(r"^```bash\n(.*?)^```$", re.DOTALL | re.MULTILINE)
DELAY = re.compile(r" is busy |^Waiting for .* accepts nothing now|^Delivery to .* works again")
HERE = "http://127.0.0.1:4318"


def test_every_metric_is_documented(collector: CollectorProcess) -> None:
    """Every metric of the collector is in the docs under its Prometheus name."""
    page = collector.get_text("/metrics")
    named = re.findall(r"^# TYPE (otel_ml_\w+(?<!_created)) ", page, re.MULTILINE)
    assert {"otel_ml_runs_total", "otel_ml_commit_seconds"} <= set(named)
    text = (ROOT / "docs/prometheus.md").read_text()
    assert [name for name in named if f"`{name}`" not in text] == []


def run_blocks(page: Path, collector: CollectorProcess, folder: Path) -> None:
    """Run a page's blocks one after another, each as a separate program."""
    environment = {
        **os.environ,
        "OTEL_ML_ENDPOINT": collector.endpoint,
        "OTEL_ML_PROJECT": page.stem,
    }
    for number, block in enumerate(PYTHON.findall(page.read_text())):
        script = folder / f"block_{number}.py"
        script.write_text(block.replace(HERE, collector.endpoint))
        ended = subprocess.run(
            [sys.executable, str(script)],
            check=False,
            capture_output=True,
            text=True,
            timeout=180,
            env=environment,
            cwd=folder,
        )
        said = [line for line in ended.stderr.splitlines() if not DELAY.search(line)]
        assert (ended.returncode, said) == (0, []), block


@at_night
@pytest.mark.parametrize(
    "page",
    [
        page
        for page in PAGES
        if page not in {REFERENCE, TUTORIAL, README, SCIKIT_LEARN}
        and PYTHON.search(page.read_text())
    ],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_python_blocks_run(page: Path, collector: CollectorProcess, tmp_path: Path) -> None:
    """Every Python block in the docs is a complete program that runs without warnings."""
    run_blocks(page, collector, tmp_path)


@at_night
def test_shell_leaves_a_run(collector: CollectorProcess) -> None:
    """The shell command of the page on OTLP stores a run."""
    block = SHELL.search((ROOT / "docs/how-to/send-with-any-otlp-client.md").read_text())
    assert block is not None
    command = block[1].replace(HERE, collector.endpoint).replace(": shop'", ": from a shell'")
    ended = subprocess.run(
        ["bash", "-c", command], check=False, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "{}", "")
    [run] = collector.runs("from a shell")
    assert (run["name"], run["model"], run["latency_ms"], run["tokens"]["input"]) == (
        "chat gpt-4o-mini",
        "gpt-4o-mini",
        250.0,
        12,
    )
    assert collector.get(f"/runs/{run['run_id']}")["resource"] == {"service.name": "shell"}


def read_first_page(page: Path, collector: CollectorProcess) -> str:
    """Read the page that readers open after their first program."""
    (address,) = re.findall(rf"^Open <{HERE}(\S*)>", page.read_text(), re.MULTILINE)
    with urlopen(collector.endpoint + address) as answered:
        return unescape(answered.read().decode())


def test_readme_leaves_runs(collector: CollectorProcess, tmp_path: Path) -> None:
    """The first program of the README stores one run with version, input and output."""
    run_blocks(README, collector, tmp_path)
    [answer] = collector.runs("my-project")
    assert (answer["model"], answer["version"], answer["inputs"], answer["outputs"]) == (
        "answer",
        1,
        "What is a span?",
        "You asked: What is a span?",
    )
    assert "You asked: What is a span?" in read_first_page(README, collector)


@at_night
def test_tutorial_leaves_what_it_speaks_of(collector: CollectorProcess, tmp_path: Path) -> None:
    """The programs of the tutorial store the models, versions and scores that it mentions."""
    run_blocks(TUTORIAL, collector, tmp_path)
    runs = reversed(collector.runs("tutorial"))
    assert [(run["model"], run["version"], run["scores"]) for run in runs] == [
        ("classify", 1, {}),
        ("classify", 1, {}),
        ("classify", 1, {"brief": 1.0}),
        ("classify", 1, {"brief": 0.0}),
        ("classify", 2, {}),
        ("fit-spam", None, {}),
        ("explain", 1, {}),
        ("ask", 1, {}),
        ("classify", 3, {"correct": 0.0}),
    ]
    assert "Free tickets, click here" in read_first_page(TUTORIAL, collector)


@at_night
def test_scikit_learn_leaves_trainings(collector: CollectorProcess, tmp_path: Path) -> None:
    """The scikit-learn page stores three trainings with params and curves, and a best one."""
    run_blocks(SCIKIT_LEARN, collector, tmp_path)
    trained = [run["run_id"] for run in collector.runs("scikit-learn")[2::-1]]
    asked = urlencode({"of": trained}, doseq=True)
    found = collector.get(f"/projects/scikit-learn/compare?{asked}")
    assert found["differing"] == ["eta0"]
    assert found["same"]["loss"] == "log_loss"
    assert [side["params"]["eta0"] for side in found["sides"]] == [0.001, 0.01, 0.1]
    assert [side["metrics"]["loss"]["count"] for side in found["sides"]] == [10, 10, 10]
    assert found["sentence"].startswith("C has the lowest loss")


@at_night
def test_scikit_learn_leaves_a_model(collector: CollectorProcess, tmp_path: Path) -> None:
    """The scikit-learn page records which training made a version, and its prediction."""
    run_blocks(SCIKIT_LEARN, collector, tmp_path)
    called, trained = collector.runs("scikit-learn-flowers")[:2]
    [version] = collector.get("/projects/scikit-learn-flowers/models/flowers/versions")["versions"]
    assert called["outputs"] == "0"
    assert version["definition"]["params"]["n_estimators"] == 20
    assert trained["run_id"] in [run["run_id"] for run in version["produced_by"]]
