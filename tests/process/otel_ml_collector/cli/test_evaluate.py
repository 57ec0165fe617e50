"""`otel-ml evaluate`: its output, its files and its exit status, case by case."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from otel_ml_collector.cli import main
from tests.support.sampling import sampled

APP = """
import os

CHANGED = os.environ.get("CHANGED", "")


def answer(a, b):
    if CHANGED == "error" and a % 5 == 0:
        raise KeyError(a)
    if CHANGED == "broken" or (CHANGED == "half" and a % 2):
        raise KeyError(a)
    if CHANGED == "worse" and a % 3 == 0:
        return -1
    if CHANGED == "flaky" and a == 1:
        answer.asked += 1
        return answer.asked
    return a + b


answer.asked = 0
number = 5


def right(outputs, expected):
    return outputs == expected


def size(outputs):
    return float(outputs)


def broken(outputs):
    raise ValueError("broken")
"""
ROWS = [
    {"inputs": {"a": number, "b": 1}, "expected": number + 1, "id": f"i{number:02}"}
    for number in range(60)
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a program, items and two baselines; nothing is recorded."""
    from otel_ml_collector.cli import experiments

    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "qa.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    (tmp_path / "odd.jsonl").write_text("no\n")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "raises.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setenv("OTEL_ML_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "path", [*sys.path])
    experiments.import_named.cache_clear()
    sys.modules.pop("app", None)
    assert run(monkeypatch, "", "--save", "baseline.jsonl") == 0
    assert run(monkeypatch, "", "--judge", "app.py:size", "--save", "sizes.jsonl") == 0
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, changed: str, *arguments: str) -> int:
    from otel_ml_collector.cli import experiments

    monkeypatch.setenv("CHANGED", changed)
    experiments.import_named.cache_clear()
    sys.modules.pop("app", None)
    judges = [] if "--judge" in arguments else ["--judge", "app.py:right"]
    named = [] if arguments[:1] and arguments[0].startswith("app") else ["app.py:answer"]
    told = [] if "--dataset" in arguments else ["--dataset", "qa.jsonl"]
    return main(["evaluate", *named, *arguments, *told, *judges])


BASE = ("--baseline", "baseline.jsonl")
SIZED = ("--baseline", "sizes.jsonl", "--judge", "app.py:size")
FAIL = "--fail-if"


@sampled(6)
@pytest.mark.parametrize(
    ("changed", "arguments", "status"),
    [
        ("", (), 0),
        ("", BASE, 0),
        ("worse", (), 0),
        ("worse", BASE, 1),
        ("error", BASE, 1),
        ("half", SIZED, 1),
        ("broken", BASE, 1),
        ("broken", SIZED, 1),
        ("half", (*SIZED, FAIL, "maybe-worse"), 1),
        ("broken", (*BASE, FAIL, 'worse and pass_rate["right"] == 0'), 1),
        ("broken", (FAIL, 'pass_rate["right"] < 0.9'), 1),
        ("broken", ("--judge", "app.py:size", FAIL, 'score["size"] < 1'), 2),
        ("worse", (*BASE, FAIL, "errors > 0"), 0),
        ("error", (FAIL, "errors > 0"), 1),
        ("error", (FAIL, "errors > 12"), 0),
        ("error", (FAIL, "errors >= 12"), 1),
        ("worse", (FAIL, 'pass_rate["right"] < 0.9'), 1),
        ("", (FAIL, 'pass_rate["right"] < 0.9'), 0),
        ("worse", (*BASE, FAIL, "regressions > 5"), 1),
        ("", (*BASE, FAIL, "regressions > 0"), 0),
        ("worse", (*BASE, FAIL, 'difference["right"] < -0.1'), 1),
        ("worse", (*BASE, FAIL, 'not difference["right"] < -0.1'), 0),
        ("flaky", ("--repeats", "2", FAIL, "flaky > 0"), 1),
        ("", ("--repeats", "2", FAIL, "flaky > 0"), 0),
        ("", (FAIL, "errors == 0 and runs == 60"), 1),
        ("", (FAIL, "errors > 0 or runs < 60"), 0),
        ("", (*BASE, FAIL, "maybe-worse"), 1),
        ("", (*BASE, "--margin", "right=0.2", FAIL, "maybe-worse"), 0),
        ("", (*BASE, FAIL, "not-enough-data"), 1),
        ("", (*BASE, FAIL, "worse or not-enough-data"), 1),
        ("", (*BASE, "--margin", "right=0.2", FAIL, "not-enough-data"), 0),
        ("worse", (*BASE, FAIL, "not-enough-data"), 0),
        ("", (*BASE, "--limit", "9", "--partial", FAIL, "not-enough-data"), 1),
        ("", ("--limit", "5", FAIL, "runs != 5"), 0),
        ("", (*BASE, "--limit", "5"), 0),
        ("worse", (*BASE, "--lower-is-better", "right"), 0),
        ("", ("--judge", "app.py:broken", FAIL, 'score["broken"] < 1'), 0),
        ("", ("--judge", "app.py:size", FAIL, 'score["size"] > 30'), 1),
        ("", (FAIL, "worse"), 2),
        ("", (FAIL, "not-enough-data"), 2),
        ("", (FAIL, "speed > 1"), 2),
        ("", (FAIL, "errors >"), 2),
        ("", (FAIL, 'pass_rate["other"] < 1'), 2),
        ("", ("--baseline", "none.jsonl"), 2),
        ("", ("--baseline", "odd.jsonl"), 2),
        ("", ("--dataset", "none.jsonl"), 2),
        ("", ("--dataset", "odd.jsonl"), 2),
        ("", ("--dataset", "empty.jsonl"), 2),
        ("", ("app.py:missing",), 2),
        ("", ("app.py:number",), 2),
        ("", ("app.py",), 2),
        ("", ("--judge", "raises.py:right"), 2),
        ("", ("--judge", "exact", "--judge", "exact"), 2),
        ("", ("--margin", "right"), 2),
    ],
)
def test_exit_status(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: str,
    arguments: tuple[str, ...],
    status: int,
) -> None:
    """The status is 0 for success, 1 if a condition holds, 2 if the evaluation cannot run."""
    assert run(monkeypatch, changed, *arguments) == status


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("app.py:anser",), "app.py has no anser: did you mean answer?"),
        (("app.py:zzz",), "app.py has no zzz: expected one of "),
        (("--judge", "exakt"), "Invalid judge 'exakt': did you mean exact?"),
        (("--judge", "app.py:rigt"), "app.py has no rigt: did you mean right?"),
    ],
)
def test_near_names(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    """For an unknown function or judge, the error suggests a similar name."""
    assert run(monkeypatch, "", *arguments) == 2
    assert message in capsys.readouterr().err


def test_reports(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table is printed; Markdown, JUnit and JSON have the same results and can be parsed."""
    reports = ("--markdown", "report.md", "--junit", "report.xml", "--json", "report.json")
    assert run(monkeypatch, "worse", *BASE, *reports) == 1
    printed = capsys.readouterr()
    assert "worse" in printed.out
    assert "20 worse than before" in printed.out
    assert re.search(
        r'^  i\d\d: \{"a":\d+,"b":\d+\}  right pass → fail  ', printed.out, re.MULTILINE
    )
    assert "\n  and 10 more, not shown here\n" in printed.out
    assert printed.err == "otel-ml: --fail-if worse\n"
    suite = ET.parse(folder / "report.xml").getroot()  # noqa: S314 - our own
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("60", "20", "0")
    told = json.loads((folder / "report.json").read_text())
    assert (told["verdict"], len(told["regressions"])) == ("worse", 20)
    text = (folder / "report.md").read_text()
    assert "| right |" in text
    assert len(re.findall(r"^\| i\d\d: [^|]+ \| right pass → fail \|", text, re.MULTILINE)) == 5


def test_interrupted(folder: Path) -> None:
    """After Ctrl-C the status is 130, and the results so far are printed."""
    (folder / "slow.py").write_text(
        "import os, signal\n\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n\n"
        "def answer(a, b):\n"
        "    a == 3 and os.kill(os.getpid(), signal.SIGINT)\n"
        "    return a + b\n"
    )
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "otel_ml_collector",
            "evaluate",
            "slow.py:answer",
            "--dataset",
            "qa.jsonl",
        ],
        env={**os.environ},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (130, b"")
    assert b"3 of 60 runs, interrupted" in ended.stdout


def test_nothing_of_the_collector_is_loaded(folder: Path) -> None:
    """The command works in the light install: it imports none of the collector's packages."""
    program = """
import sys
from otel_ml_collector.cli import main

named = ["app.py:answer", "--dataset", "qa.jsonl", "--judge", "exact"]
assert main(["evaluate", *named]) == 0
heavy = {"fastapi", "starlette", "pydantic", "chdb", "uvicorn", "rich", "pyarrow", "pandas"}
assert not heavy & {*sys.modules}, heavy & {*sys.modules}
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=120, check=False
    )
    assert (ended.returncode, ended.stderr.decode()) == (0, "")
