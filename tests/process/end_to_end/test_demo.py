"""The demo, started as a user starts it."""

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.request import urlopen

from examples.demo.checks import find_missing
from examples.demo.records import Records
from tests.support.demo import OUTPUT, usual_ports_taken
from tests.support.folders import ROOT
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

PAGES = re.compile(r"Pages: (http://127\.0\.0\.1:\d+)/ ")
SERVED = re.compile(r"otel-ml is ready: (http://\S+) ")
TIMEOUT_S = 300
# The sentences of the problems that the demo contains begin like this: a device no longer sends a
# field, a version refuses too much, a client's form writes commas.
FIRST = [
    'screen: input "mean texture" is missing in 25 % of runs since ',
    "triage v2 fails in ",
    "triage fails for client lakeview in ",
]


class Demo:
    """``python -m examples.demo`` in its own folder, with its output in a file."""

    def __init__(self, folder: Path, output: Path, arguments: Sequence[str]) -> None:
        self._output = output
        with output.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "examples.demo", "--folder", str(folder), *arguments],
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait(self) -> int:
        """Wait for the demo to end; return its exit status."""
        return self._process.wait(TIMEOUT_S)

    def interrupt(self) -> None:
        """Send SIGINT, as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        """Stop the demo and everything it has started."""
        if self._process.poll() is None:
            self._process.terminate()
            self.wait()


@contextlib.contextmanager
def running_demo(tmp_path: Path, *arguments: str) -> Iterator[Demo]:
    with usual_ports_taken():
        demo = Demo(tmp_path / "demo", tmp_path / "output.txt", arguments)
        try:
            yield demo
        finally:
            demo.stop()


def test_demo_once_shows_what_it_promises(recorded_demo: Path) -> None:
    """The demo exits with status 0 after showing runs, versions, scores, metrics and an address."""
    output = (recorded_demo / OUTPUT).read_text()
    assert PAGES.search(output), output
    for title in ("Newest runs", "Failed runs", "Model versions", "Scores", "Metrics"):
        assert f"\n{title}" in output
    for record in ("answer:v1", "answer:v2", "ValueError", "grounded", "train-digits"):
        assert record in output


def test_demo_records_a_script_without_our_code(recorded_demo: Path) -> None:
    """A script that does not import otel-ml has trainings and predictions with versions."""
    source = (ROOT / "examples/demo/service/flowers.py").read_text()
    imported = re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE)
    assert set(imported) == {"sklearn"}
    output = (recorded_demo / OUTPUT).read_text()
    # two trainings; each model has 38 single predictions and one of everything
    assert re.search(r"^ +flowers +80 +0 +2 *$", output, re.MULTILINE)
    # The longer name needs two lines.
    for model in ("StandardScaler +", "GradientBoostingClassifier:v1"):
        assert re.search(rf"^ +flowers +{re.escape(model)} +39 ", output, re.MULTILINE)


def are_first(address: str) -> bool:
    """Return whether a project's first findings are the demo's problems."""
    with urlopen(address, timeout=120) as answer:
        findings = json.load(answer)["findings"]
    sentences = [finding["sentence"] for finding in findings[: len(FIRST)]]
    return len(sentences) == len(FIRST) and all(map(str.startswith, sentences, FIRST))


def test_records_are_served_again(recorded_demo: Path, tmp_path: Path) -> None:
    """The command that the demo prints last serves its records, with the demo's problems first."""
    *_, command = (recorded_demo / OUTPUT).read_text().splitlines()
    copied = shutil.copytree(recorded_demo / "data", tmp_path / "data", symlinks=True)
    command = command.strip().replace(str(recorded_demo / "data"), str(copied))
    assert command.endswith(f"otel_ml_collector serve --data-dir {copied}")
    environment = {**os.environ, "OTEL_ML_HTTP": "127.0.0.1:0", "OTEL_ML_GRPC": "127.0.0.1:0"}
    output = tmp_path / "output.txt"
    with (
        output.open("w") as file,
        subprocess.Popen(
            shlex.split(command), cwd=ROOT, env=environment, stdout=file, stderr=file
        ) as collector,
    ):
        try:
            wait_until(lambda: SERVED.search(output.read_text()) is not None, TIMEOUT_S)
            served = SERVED.search(output.read_text())
            assert served is not None
            with urlopen(f"{served[1]}/api/v1/projects", timeout=120) as answer:
                runs = {one["project"]: one["runs"] for one in json.load(answer)["projects"]}
            findings = f"{served[1]}/api/v1/projects/breast-cancer/findings"
            wait_until(lambda: are_first(findings), TIMEOUT_S)
            rule = f"{served[1]}/api/v1/projects/breast-cancer/alerts/texture%20missing/check"
            with urlopen(rule, timeout=120) as answer:
                [fired] = json.load(answer)["firings"]
        finally:
            collector.terminate()
    assert runs["docs-search"] >= 300
    # A device sent no texture from midnight until six in the evening. The rule uses `surely`, so it
    # fires at noon, when enough cases are known, and ends when six hours without gaps have passed.
    assert fired["start"][11:16] == "12:00"
    assert fired["end"][11:16] == "00:00"


def test_demo_ends_with_a_verdict(recorded_demo: Path) -> None:
    """The demo says for whom a new version is worse, then the address of its page on a line."""
    *_, blank, verdict, page, ended, _, _ = (recorded_demo / OUTPUT).read_text().splitlines()
    assert not blank
    assert re.fullmatch(
        r"amount v2 is worse for client lakeview: \d\d % are right, \d\d % with v1; elsewhere .+\.",
        verdict.replace("\u202f", " "),
    )
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/projects/forms/models/amount", page)
    assert ended.startswith("The demo has ended.")


def test_demo_fits_a_terminal(recorded_demo: Path) -> None:
    """The tables of the demo fit 80 columns."""
    output = (recorded_demo / OUTPUT).read_text()
    report = output[output.index("\nProjects") : output.index("\nPages: ")]
    assert max(map(len, report.splitlines())) <= 80
    names = set(re.findall(r"forms +(\w+:v\d)", report))
    assert names == {"amount:v1", "amount:v2", "postcode:v1", "postcode:v2"}


def test_demo_edits_once(recorded_demo: Path) -> None:
    """The demo's edit creates one more version of the models that read the edited function only."""
    output = (recorded_demo / OUTPUT).read_text()
    versions = set(re.findall(r"docs-search +((?:ask|answer|rank|retrieve):v\d+)", output))
    edited = {"ask:v1", "ask:v2", "answer:v1", "answer:v2"}
    assert versions == {*edited, "rank:v1", "retrieve:v1"}


@at_night
def test_demo_leaves_the_data_of_a_running_collector(tmp_path: Path) -> None:
    """The demo refuses a folder whose data is in use by another collector."""
    data = tmp_path / "demo" / "data"
    data.mkdir(parents=True)
    (tmp_path / "demo" / "demo.lock").touch()
    lock = os.open(data / "collector.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with running_demo(tmp_path, "--once") as demo:
            assert demo.wait() == 2
            assert "Another demo" in demo.output
        assert (data / "collector.lock").exists()
    finally:
        os.close(lock)


def test_demo_misses_everything_in_an_empty_store() -> None:
    """If the API shows no records, all expected demo records are reported as missing."""
    nothing = Records(
        projects=[],
        models={},
        versions={},
        newest={},
        errors={},
        series=[],
        experiments=[],
        alerts=[],
        releases=[],
    )
    assert find_missing(nothing) == [
        "runs: the API shows 0, expected at least 300",
        "versions of one model: the API shows 0, expected at least 2",
        "errors: the API shows 0, expected at least 1",
        "judges: the API shows 0, expected at least 2",
        "artifacts: the API shows 0, expected at least 2",
        "experiments that got worse: the API shows 0, expected at least 1",
        "versions that are worse for one client: the API shows 0, expected at least 1",
        "alerts that would have fired and ended: the API shows 0, expected at least 1",
        "points of one metric: the API shows 0, expected at least 10",
    ]
