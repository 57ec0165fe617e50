"""Judging stored runs: the comparison shown before scores are stored, and storing them once."""

import inspect
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from html import unescape
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

import otel_ml
from otel_ml import Client, Dataset, Judge, Score, load_result
from otel_ml.attributes import JUDGING_RUN
from otel_ml.judges.ready import exact
from otel_ml.reader import Reader
from otel_ml.reader.api import Api, Question
from otel_ml.statistics.intervals import newcombe_paired
from otel_ml_collector.cli import main
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.sampling import at_night
from tests.support.waiting import elapsed, wait_until

RUNS: Final = 60


def is_short(outputs: str) -> bool:
    return len(outputs) <= 30


def is_very_short(outputs: str) -> bool:
    return len(outputs) <= 20


FIRST: Final = Judge("brief", "At most 30 characters.", is_short)
SECOND: Final = Judge("brief", "At most 20 characters.", is_very_short)


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    return name


@pytest.fixture
def client(collector: CollectorProcess, project: str) -> Iterator[Client]:
    """Yield a client whose project has 60 judged answers of 1 to 60 characters."""
    client = Client(project, endpoint=collector.endpoint, join=False)
    tag = client.add_judge(FIRST)

    @client.assess(tag, name="answer")
    def answer(size: int) -> str:
        return "x" * size

    for size in range(1, RUNS + 1):
        answer(size)
    assert client.flush()
    yield client
    client.close()


def export_runs(collector: CollectorProcess, project: str, columns: str) -> list[dict[str, Any]]:
    """Return the given columns of all runs of a project."""
    path = f"/api/v1/projects/{project}/export"
    lines = collector.get_text(path, format="jsonl", columns=columns).splitlines()
    return [json.loads(line) for line in lines]


def describe_error(collector: CollectorProcess, project: str) -> list[tuple[str, int, bool]]:
    """List the scores of a project's runs: judge, version, passed."""
    return sorted(
        (score["judge"], score["version"], score["passed"])
        for run in export_runs(collector, project, "evaluations")
        for score in run["evaluations"]
    )


def test_shown_before_it_is_written(
    client: Client, collector: CollectorProcess, project: str
) -> None:
    """The change between versions is shown before scores are stored; writing twice is safe."""
    with Reader(project, endpoint=collector.endpoint) as reader:
        change = client.judge(reader.runs('model == "answer"'), SECOND)
    assert change.change is not None
    assert change.change.comparison.difference == newcombe_paired(20, 10, 0, 30)
    assert change.change.table == {(True, True): 20, (True, False): 10, (False, False): 30}
    assert [run.turn for run in change.flips] == ["to fail"] * 10
    assert str(change).splitlines()[1] == (
        "  it is stricter: 33 % pass, 50 % with v1. 10 of 60 runs flip to fail, none to pass "
        "(pass rate 17 pts lower; 95 % interval: 7 to 26 pts; κ 0.67)"
    )
    assert change.url == f"{collector.endpoint}/projects/{project}/judges/brief"
    before = describe_error(collector, project)
    assert {version for _, version, _ in before} == {1}
    for _ in range(2):
        assert change.write()
        after = describe_error(collector, project)
        assert len(after) == 2 * RUNS
        assert [one for one in after if one[1] == 1] == before
        assert sum(passed for _, version, passed in after if version == 2) == 20


def test_first_of_many_flips(client: Client, tmp_path: Path) -> None:
    """A report lists ten flipped runs and how many there are; the JSON file has all of them."""
    change = client.judge("", Judge("brief", "At most 5.", lambda outputs: len(outputs) <= 5))
    lines = str(change).splitlines()
    assert sum(line.startswith("  to fail: ") for line in lines) == 10
    assert lines[-1] == "  the first 10 of 25; flips, or --json FILE, has all"
    change.save(tmp_path / "change.json")
    written = (tmp_path / "change.json").read_text()
    assert written == change.to_json()
    report = json.loads(written)
    assert [flip["run_id"] for flip in report["flips"]] == [run.run_id for run in change.flips]
    assert [run["run_id"] for run in report["runs"]] == [run.run_id for run in change.runs]
    assert (len(report["flips"]), report["judged"]) == (25, RUNS)


def is_short_or_round(outputs: str) -> bool:
    return len(outputs) <= 25 or not len(outputs) % 10


ROUND: Final = Judge("brief", "At most 25 characters, or tens of them.", is_short_or_round)
TO_FAIL: Final = {26, 27, 28, 29}
TO_PASS: Final = {40, 50, 60}


@at_night
def test_links_reach_the_flipped_runs(
    client: Client, collector: CollectorProcess, project: str
) -> None:
    """Each link of a report opens a flipped run; the judge's page and API list the same runs."""
    sizes = {
        run["run_id"]: len(run["outputs"])
        for run in export_runs(collector, project, "run_id,outputs")
    }
    change = client.judge("", ROUND)
    links = re.findall(r"^  (to \w+): (\S+)$", str(change), re.MULTILINE)
    reached: dict[str, list[int]] = {"to fail": [], "to pass": []}
    for turn, link in links:
        with urlopen(link) as answer:
            page = answer.read().decode()
        run_id = answer.url.rpartition("/")[2]
        assert link == answer.url == f"{collector.endpoint}/projects/{project}/runs/{run_id}"
        assert "x" * sizes[run_id] in page
        reached[turn].append(sizes[run_id])
    assert [turn for turn, _ in links] == ["to fail"] * 4 + ["to pass"] * 3
    assert {turn: {*those} for turn, those in reached.items()} == {
        "to fail": TO_FAIL,
        "to pass": TO_PASS,
    }
    flips = json.loads(change.to_json())["flips"]
    assert [
        (flip["turn"], f"{collector.endpoint}/projects/{project}/runs/{flip['run_id']}")
        for flip in flips
    ] == links
    assert change.write()
    check_stored_flips(collector, project, sizes)


def check_stored_flips(collector: CollectorProcess, project: str, sizes: Mapping[str, int]) -> None:
    """Check that the judge's page links to the API's filters, which list only flipped runs."""
    strictness = collector.get(f"/projects/{project}/judges/brief/versions/2/strictness?against=1")
    page = collector.get_text(f"/projects/{project}/judges/brief")
    for name, expected in (("flipped_to_fail", TO_FAIL), ("flipped_to_pass", TO_PASS)):
        where = strictness[name]["where"]
        assert {sizes[run["run_id"]] for run in collector.runs(project, where=where)} == expected
        links = re.findall(r'<a class="go" href="([^"]+)"', page)
        [link] = [
            link
            for link in map(unescape, links)
            if parse_qs(urlsplit(link).query)["where"] == [where]
        ]
        listed = re.findall(r'data-run="([^"]+)"', collector.get_text(link))
        assert {sizes[run_id] for run_id in listed} == expected


@at_night
def test_what_is_stored_is_not_judged_again(client: Client) -> None:
    """A second call reuses the scores that the first one stored."""
    assert client.judge("", SECOND, limit=25, write=True).write()
    asked: list[str] = []

    def count(outputs: str) -> bool:
        asked.append(outputs)
        return is_very_short(outputs)

    judge = Judge("brief", "", count)
    judge.definition = SECOND.definition  # counts calls, but is the same version
    again = client.judge("", judge)
    assert len(asked) == RUNS - 25
    assert sum(run.is_stored for run in again.runs) == 25
    assert again.change is not None
    assert again.change.runs == RUNS


@at_night
def test_same_without_history(client: Client) -> None:
    """A judge without earlier scores has a pass rate, and no change to report."""
    change = client.judge("", Judge("long", "", lambda outputs: len(outputs) > 15))
    assert change.change is None
    assert str(change).splitlines()[1] == "  75.0 % of 60 pass"
    with pytest.raises(ValueError, match=r"expected a version of judge 'brief': .*v1"):
        client.judge("", SECOND, against="v7")


@at_night
def test_runs_of_a_page_are_read_together(
    client: Client, collector: CollectorProcess, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs are read page by page, not one request per run."""
    asked: list[str] = []
    send = Api._send

    def count(api: Api, question: Question, *more: Any) -> Any:
        asked.append("/".join(question.path))
        return send(api, question, *more)

    monkeypatch.setattr(Api, "_send", count)
    assert len(client.judge("", SECOND).runs) == RUNS
    assert len(asked) <= 5, asked


@at_night
def test_progress(client: Client) -> None:
    """Progress is called once per run, as soon as the run is judged or known to be."""
    assert client.judge("", SECOND, limit=10, write=True).write()
    asked: list[str] = []
    told: list[tuple[str, bool, int]] = []

    def count(outputs: str) -> bool:
        asked.append(outputs)
        return is_very_short(outputs)

    judge = Judge("brief", "", count)
    judge.definition = SECOND.definition  # counts calls, but is the same version
    change = client.judge(
        "",
        judge,
        concurrency=2,
        progress=lambda run: told.append((run.run_id, run.is_stored, len(asked))),
    )
    assert {run_id for run_id, _, _ in told} == {run.run_id for run in change.runs}
    assert (len(told), sum(is_stored for _, is_stored, _ in told)) == (RUNS, 10)
    # No more than two runs are judged at once, so progress is never reported late.
    assert all(asked <= place + 3 - 10 for place, (_, _, asked) in enumerate(told) if place >= 10)


@at_night
def test_sample_and_limit(client: Client) -> None:
    """A sample contains the same runs each time; a limit keeps the newest of them."""
    some = [run.run_id for run in client.judge("", SECOND, sample=0.5).runs]
    assert 10 < len(some) < 50
    assert [run.run_id for run in client.judge("", SECOND, sample=0.5, limit=5).runs] == some[:5]


@at_night
def test_left_out_by_reason(collector: CollectorProcess, project: str) -> None:
    """Runs that failed, or whose values are truncated or redacted, are counted but not judged."""
    client = Client(project, endpoint=collector.endpoint, join=False)

    @client.trace
    def work(text: Any) -> Any:
        if text == "fail":
            raise ValueError(text)
        return text

    @client.trace(capture="outputs")
    def hidden(text: str) -> str:
        return text

    for text in ("a", "b" * 2_000_000, {"password": "x"}):
        work(text)
    with pytest.raises(ValueError, match="fail"):
        work("fail")
    hidden("secret")
    assert client.flush()
    change = client.judge("", Judge("any", "", lambda outputs: True))
    assert len(change.runs) == 1
    assert change.left_out == {
        "without inputs": 1,
        "ended with error": 1,
        "inputs redacted": 1,
        "inputs truncated": 1,
    }
    client.close()


@at_night
def test_truth_and_items_are_expected(collector: CollectorProcess, project: str) -> None:
    """A rubric's `expected` argument is the run's ground truth, or the item's expected value."""
    client = Client(project, endpoint=collector.endpoint, join=False)

    @client.trace
    def double(n: int) -> int:
        return 2 * n if n % 3 else -1

    for n in range(1, 25):
        with client.run(f"call {n}") as run:
            double(n)
            run.tag({"n": n})
        client.about(tag=("n", n)).actual(2 * n)
    rows = [{"inputs": {"n": n}, "expected": 2 * n} for n in range(1, 25)]
    client.evaluate(double, Dataset("doubles", rows), [])
    assert client.flush()
    items = client.judge('dataset == "doubles" and kind != "experiment"', exact)
    assert (len(items.runs), sum(bool(run.after.passed) for run in items.runs)) == (24, 16)
    client.close()


@at_night
def test_baseline_of_another_version(
    client: Client, collector: CollectorProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If no judge version scored both experiments, the printed command fixes the verdict."""

    def write(size: int) -> str:
        return "x" * size

    def write_more(size: int) -> str:
        return "x" * (size + 8)

    sizes = Dataset("sizes", [{"inputs": {"size": size}} for size in range(1, 61)])
    before = client.evaluate(write, sizes, [FIRST], name="before")
    after = client.evaluate(write_more, sizes, [SECOND], name="after", baseline=before)
    assert after.verdict == "not enough data"
    [note] = [line for line in after.notes if "otel-ml judge" in line]
    assert note in after.to_markdown().replace("\\", "")
    assert client.flush()
    command = shlex.split(note[note.index("otel-ml judge") :])[1:]
    command[1] = f"{tmp_path / 'brief.py'}:brief"
    source = inspect.getsource(is_very_short)
    (tmp_path / "brief.py").write_text(f"from otel_ml import Judge\n{source}\n{SECOND_BRIEF}")
    place = ["--project", client.project, "--endpoint", collector.endpoint]
    assert main([*command, *place]) == 0, capsys.readouterr()
    with Reader(client.project, endpoint=collector.endpoint) as reader:
        again = load_result(after.experiment.id, before.experiment.id, reader=reader)
    told = collector.get(
        f"/projects/{client.project}/experiments/{after.experiment.id}"
        f"?baseline={before.experiment.id}"
    )["verdict"]["judges"][0]
    assert again.verdict == "worse"
    assert told["sentence"] == again.judges["brief"].sentence
    assert not [line for line in again.notes if "otel-ml judge" in line]


def test_judge_that_fails_or_hangs(client: Client) -> None:
    """A failing judge counts as an error, not as a score; a hanging judge times out."""

    def rubric(outputs: str) -> bool:
        if len(outputs) % 2:
            raise RuntimeError("no answer")
        if len(outputs) == 40:
            over.wait(60)
        return True

    over = threading.Event()
    change = client.judge("", Judge("odd", "", rubric, timeout_s=0.5))
    over.set()
    assert (len(change.runs), change.errors) == (RUNS, 31)
    assert "it failed on 31, first:" in str(change)


@at_night
def test_rate_and_concurrency(client: Client) -> None:
    """Rate and concurrency of the judge's calls are limited."""
    at_once, most = 0, 0
    lock = threading.Lock()

    def rubric(outputs: str) -> Score:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        wait_until(elapsed(0.3))  # long enough for an extra call to start
        with lock:
            at_once -= 1
        return Score(1.0)

    began = time.monotonic()
    client.judge("", Judge("slow", "", rubric), limit=8, rate=600.0)
    assert time.monotonic() - began >= 7 * 0.1 + 0.3
    most = 0
    client.judge("", Judge("slow", "", rubric), limit=24, concurrency=12)
    assert 8 <= most <= 12


@at_night
def test_calls_of_the_judge_are_its_own(client: Client, collector: CollectorProcess) -> None:
    """Model calls that a rubric makes are recorded as judge calls about the judged run."""

    @client.trace(kind="model")
    def ask(text: str) -> bool:
        return len(text) > 3

    change = client.judge("", Judge("asks", "", lambda outputs: ask(text=outputs)), limit=1)
    assert client.flush()
    [run] = change.runs
    calls = collector.runs(client.project, where='kind == "judge"')
    assert [call["tags"][JUDGING_RUN] for call in calls] == [run.run_id]


@at_night
def test_wrong_arguments(client: Client) -> None:
    """Invalid arguments are refused before any judge is called."""
    pairs = Judge("pairs", "", lambda outputs, baseline: 0, pairwise=True)
    with pytest.raises(ValueError, match="a pairwise judge compares two outputs"):
        client.judge("", pairs)
    for name, value in (("rate", 0), ("concurrency", 0), ("limit", 0), ("against", 1.5)):
        with pytest.raises(ValueError, match=f"Invalid {name}"):
            client.judge("", SECOND, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Invalid runs"):
        client.judge([object()], SECOND)  # type: ignore[list-item]
    with pytest.raises(TypeError, match="unexpected keyword argument 'rates'"):
        client.judge("", SECOND, rates=1)  # type: ignore[call-arg]
    assert otel_ml.judge.__func__ is Client.judge  # type: ignore[attr-defined]


JUDGES: Final = """
from otel_ml import Judge
from tests.support.waiting import elapsed, wait_until

def is_very_short(outputs):
    wait_until(elapsed(0.02))
    return len(outputs) <= 20

brief = Judge("brief", "At most 20 characters.", is_very_short)
"""


SECOND_BRIEF: Final = 'brief = Judge("brief", "At most 20 characters.", is_very_short)\n'


@pytest.fixture
def judges(tmp_path: Path) -> str:
    (tmp_path / "rubrics.py").write_text(JUDGES)
    return f"{tmp_path / 'rubrics.py'}:brief"


@at_night
def test_command(
    client: Client,
    collector: CollectorProcess,
    judges: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command announces the work, shows the change, and stores scores only with `--write`."""
    place = ["--project", client.project, "--endpoint", collector.endpoint]
    report = tmp_path / "change.json"
    where = ["judge", judges, "--where", 'model == "answer"']
    assert main([*where, "--rate", "100/s", "--json", str(report), *place]) == 0
    out, err = capsys.readouterr()
    assert "60 runs match; 60 will be scored, 4 at a time; at least 1 min at 6000 per minute" in err
    assert (
        "10 of 60 runs flip to fail, none to pass "
        "(pass rate 17 pts lower; 95 % interval: 7 to 26 pts" in out
    )
    assert "Nothing was stored: use --write to store the scores" in err
    told = json.loads(report.read_text())
    assert (told["word"], told["judged"], len(told["flips"])) == ("stricter", 60, 10)
    assert {version for _, version, _ in describe_error(collector, client.project)} == {1}
    assert main([*where, "--write", *place]) == 0
    assert "60 scores stored" in capsys.readouterr().err
    assert len(describe_error(collector, client.project)) == 2 * RUNS
    assert main([*where, "--write", *place]) == 0
    assert "judged 60 runs, 60 of them earlier" in capsys.readouterr().out
    for wrong, message in (
        (["--where", "model =="], "model =="),
        (["--where", "", "--rate", "fast"], "Invalid --rate 'fast'"),
        (["--where", "", "--against", "v9"], "Invalid against 'v9'"),
    ):
        assert main(["judge", judges, *wrong, *place]) == 2
        assert message in capsys.readouterr().err


@at_night
def test_progress_on_a_terminal(client: Client, collector: CollectorProcess, judges: str) -> None:
    """On a terminal, the command repeatedly shows how many of the runs are scored."""
    place = ["--project", client.project, "--endpoint", collector.endpoint]
    command = [sys.executable, "-m", "otel_ml_collector", "judge", judges, "--where", "", *place]
    ours, terminal = pty.openpty()
    with subprocess.Popen(
        [*command, "--concurrency", "1"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        process.communicate(timeout=120)
    shown = re.findall(r"([0-9]+) of 60 runs scored", read_all(ours))
    assert process.returncode == 0
    assert len(shown) > 2
    assert shown == sorted(shown, key=int)
    assert shown[-1] == "60"


def read_all(terminal: int) -> str:
    """Return everything written to a terminal whose other end is closed."""
    parts = []
    with suppress(OSError):  # Linux raises it when the other end is closed
        while part := os.read(terminal, 65_536):
            parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode()


PRICED: Final = """
from otel_ml import Judge, Score

def rate(outputs):
    return Score(1.0, cost=0.25)

priced = Judge("priced", "Says its price.", rate)
"""


def test_cost_is_said_beforehand(
    client: Client,
    collector: CollectorProcess,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The expected cost is printed beforehand, based on the cost of stored scores."""
    (tmp_path / "priced.py").write_text(PRICED)
    place = ["--project", client.project, "--endpoint", collector.endpoint]
    command = ["judge", f"{tmp_path / 'priced.py'}:priced", "--where", 'model == "answer"', *place]
    assert main([*command, "--limit", "4", "--write"]) == 0
    assert "in total" not in capsys.readouterr().err
    assert main([*command, "--sample", "0.5", "--concurrency", "2"]) == 0
    message = "30 will be scored, 2 at a time; about $ 7.50 in total ($ 0.25 per run so far)"
    assert message in capsys.readouterr().err


# Judges HELD runs, then blocks unless the file `again` exists.
HELD: Final = """
import pathlib, threading
from otel_ml import Judge

here = pathlib.Path(__file__).parent

def is_very_short(outputs):
    with (here / "asked.txt").open("a") as file:
        file.write(f"{len(outputs)}\\n")
    if len((here / "asked.txt").read_text().split()) > HELD and not (here / "again").exists():
        threading.Event().wait()
    return len(outputs) <= 20

brief = Judge("brief", "At most 20 characters.", is_very_short)
"""


def hold_after(runs: int, folder: Path, client: Client, endpoint: str) -> list[str]:
    """Write the HELD judge; return the command that scores the runs and stores the scores."""
    (folder / "rubrics.py").write_text(HELD.replace("HELD", str(runs)))
    return [
        *(sys.executable, "-m", "otel_ml_collector", "judge", f"{folder / 'rubrics.py'}:brief"),
        *("--where", 'model == "answer"', "--concurrency", "1", "--write"),
        *("--project", client.project, "--endpoint", endpoint),
    ]


def count_stored(client: Client, collector: CollectorProcess) -> int:
    """Count the runs that the second version of the judge has scored."""
    newest = 'judge_version["brief"] == 2'
    return len(collector.runs(client.project, where=newest, limit=RUNS))


@at_night
def test_interrupted_and_begun_again(
    client: Client, collector: CollectorProcess, tmp_path: Path
) -> None:
    """Scores given before Ctrl-C are stored; the same command scores the remaining runs once."""
    command = hold_after(30, tmp_path, client, collector.endpoint)
    environment = {**os.environ, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        wait_until(lambda: process.poll() is not None or count_stored(client, collector) >= 3, 60)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert 3 <= count_stored(client, collector) <= 30
    (tmp_path / "again").touch()
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
    after = describe_error(collector, client.project)
    assert sum(version == 2 for _, version, _ in after) == RUNS
    assert len(after) == 2 * RUNS


@at_night
@pytest.mark.parametrize("held", [30, 59])
def test_killed_and_begun_again(
    client: Client,
    collector: CollectorProcess,
    tmp_path: Path,
    held: int,
) -> None:
    """Scores given before a kill are stored; the same command scores the remaining runs once."""
    asked = tmp_path / "asked.txt"
    command = hold_after(held, tmp_path, client, collector.endpoint)
    environment = {**os.environ, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        # All scores given so far are stored, and the judge is blocked on the next run.
        wait_until(lambda: asked.exists() and len(asked.read_text().split()) == held + 1, 60)
        wait_until(lambda: count_stored(client, collector) == held, 60)
        process.kill()
        assert process.wait(30) == -signal.SIGKILL
    assert count_stored(client, collector) == held
    (tmp_path / "again").touch()
    again = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True, timeout=120
    )
    assert f"judged 60 runs, {held} of them earlier" in again.stdout
    words = Counter(
        (score["version"], run["run_id"])
        for run in export_runs(collector, client.project, "run_id,evaluations")
        for score in run["evaluations"]
    )
    assert (len(words), {*words.values()}) == (2 * RUNS, {1})
    # Only the run in progress when the process was killed is judged twice.
    sizes = Counter(map(int, asked.read_text().split()))
    assert {*sizes} == {*range(1, RUNS + 1)}
    assert sizes.total() == RUNS + 1
