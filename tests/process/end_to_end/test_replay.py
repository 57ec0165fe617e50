"""Replays of recorded runs with current code: the runs replayed or left out, and the verdict."""

import asyncio
import datetime
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # without stubs
import pytest
from PIL import Image

from otel_ml import Client, Judge, Score, load_result
from otel_ml.arguments import InvalidArgumentError
from otel_ml.experiments.replay import plan_replay
from otel_ml.experiments.result import Result
from otel_ml.judges.ready import as_judge
from otel_ml.reader import Reader
from otel_ml.statistics.sentences import write_sentence
from tests.support.collector import CollectorProcess
from tests.support.sampling import at_night, sampled
from tests.support.waiting import run_other_tasks, wait_until

RUNS = 40
DAY = datetime.date(2026, 11, 24)


def length(outputs: str) -> bool:
    """Judge an answer by its length."""
    return len(outputs) > 3


def answer(question: str) -> str:
    return f"{question} because"


def answer_worse(question: str) -> str:
    return "no" if int(question.split()[1]) % 2 else f"{question} because"


def record(collector: CollectorProcess, project: str, *judges: Judge) -> list[str]:
    """Record production runs of a project; return their ids, oldest first."""
    client = Client(project, endpoint=collector.endpoint, join=False)
    traced = client.assess(*judges, inline=True, name="answer")(answer)
    for number in range(RUNS):
        traced(f"why {number}")
    return deliver(client, collector, project)


def deliver(client: Client, collector: CollectorProcess, project: str) -> list[str]:
    delivery = client.flush()
    assert delivery, delivery.reason
    client.close()
    return [run["run_id"] for run in reversed(collector.runs(project))]


def page_says_the_same(client: Client, collector: CollectorProcess, result: Result) -> None:
    """Check that the API, the page and a loaded result agree with the SDK's result."""
    assert client.flush()
    path = f"/projects/{client.project}/experiments/{result.experiment.id}"
    told = collector.get(path)
    assert told["verdict"]["word"] == result.verdict
    assert told["verdict"]["baseline"]["run_id"] == "recorded"
    assert (told["verdict"]["failures"] or {}).get("sentence") == (
        write_sentence(result.failures) if result.failures else None
    )
    assert told["verdict"]["regressions"] == len(result.regressions)
    [judge] = told["verdict"]["judges"]
    mine = result.judges[judge["name"]]
    assert mine.difference is not None
    for name in ("value", "low", "high"):
        assert judge["difference"][name] == pytest.approx(getattr(mine.difference, name))
    rows = collector.get(f"{path}/rows?show=regression")["rows"]
    assert {(row["item"], row["baseline"][0]["run_id"], row["source_run"]) for row in rows} == {
        (one.item, one.baseline_run_id, one.item) for one in result.regressions
    }
    with Reader(client.project, endpoint=collector.endpoint) as reader:
        read = load_result(result.experiment.id, reader=reader)
    assert (read.verdict, read.sentence) == (result.verdict, result.sentence)
    assert read.to_markdown() == result.to_markdown()
    assert told["notes"] == result.notes
    with urlopen(result.url) as page:
        html = page.read().decode()
    assert "recorded runs" in html
    compare_says_the_same(collector, client.project, result)
    with urlopen(f"{result.url}/markdown") as page:
        assert page.read().decode() == result.to_markdown()


def compare_says_the_same(collector: CollectorProcess, project: str, result: Result) -> None:
    """Check that a comparison with the recorded runs gives the same verdict, and has a page."""
    sides = f"of={result.experiment.id}&of=recorded"
    compared = collector.get(f"/projects/{project}/compare?{sides}")
    assert compared["baseline"] == "recorded"
    replayed, recorded = (side["experiment"] for side in compared["sides"])
    assert replayed["verdict"]["word"] == result.verdict
    [judge] = recorded["judges"]
    assert judge["value"] == replayed["verdict"]["judges"][0]["baseline"]
    with urlopen(f"{collector.endpoint}/projects/{project}/compare?{sides}") as page:
        assert "recorded runs" in page.read().decode()
    for wrong in (f"{sides}&baseline={result.experiment.id}", "of=answer:v1&of=recorded"):
        with pytest.raises(HTTPError, match="400"):
            urlopen(f"{collector.endpoint}/api/v1/projects/{project}/compare?{wrong}")


@pytest.fixture
def client(collector: CollectorProcess, request: pytest.FixtureRequest) -> Iterator[Client]:
    made = Client(request.node.name, endpoint=collector.endpoint, join=False)
    yield made
    made.close()


def test_worse_code_is_worse(collector: CollectorProcess) -> None:
    """Code with worse answers than the recorded ones gets the verdict worse, with regressions."""
    ids = record(collector, "replayed", as_judge(length))
    client = Client("replayed", endpoint=collector.endpoint, join=False)
    same = client.replay(answer, 'model == "answer"', [as_judge(length)], margin={"length": 0.2})
    assert (same.verdict, same.errors, same.left_out) == ("no difference", 0, {})
    assert sorted(run.item for run in same.runs) == sorted(ids)
    worse = client.replay(answer_worse, 'model == "answer"', [as_judge(length)])
    assert worse.verdict == "worse"
    assert {one.baseline_run_id for one in worse.regressions} == {ids[n] for n in range(1, RUNS, 2)}
    first = worse.regressions[0]
    assert first.baseline_outputs == answer(**first.inputs)
    assert "recorded runs (20" in worse.sentence
    for result in (same, worse):
        page_says_the_same(client, collector, result)
    deliver(client, collector, "replayed")
    assert len(collector.runs("replayed")) == RUNS  # replayed runs are not production runs
    evaluations = collector.get(f"/projects/replayed/runs/{ids[0]}")["evaluations"]
    assert len(evaluations) == 1  # the existing score is reused


@at_night
def test_judge_speaks_of_recorded_runs(collector: CollectorProcess, client: Client) -> None:
    """A judge scores recorded runs that it has not scored yet, once for all replays."""
    asked: list[str] = []

    def careful(outputs: str) -> Score:
        asked.append(outputs)
        return Score(float(len(outputs)), "long", cost=0.5)

    ids = record(collector, client.project)
    judge = as_judge(careful)
    plan = plan_replay(client._recorder.in_force, answer, 'model == "answer"', [judge], {})
    assert [*plan.unspoken] == ["careful"]
    assert "careful has not judged 40 of the recorded runs" in str(plan)
    result = plan.run()
    assert (len(asked), len(result.runs)) == (2 * RUNS, RUNS)
    assert result.judges["careful"].difference is not None
    assert result.judges["careful"].difference.value == 0
    assert client.flush()
    [said] = collector.get(f"/projects/{client.project}/runs/{ids[0]}")["evaluations"]
    assert (said["score"], said["label"], said["source"]) == (13.0, "long", "judge")
    client.replay(answer, 'model == "answer"', [judge], concurrency=3)
    assert len(asked) == 3 * RUNS


@at_night
def test_runs_are_left_out_by_reason(collector: CollectorProcess, client: Client) -> None:
    """Runs that cannot be replayed are counted by reason, and the result reports them."""

    def take(x: Any, day: datetime.date | None = None) -> str:
        return type(x).__name__

    traced = client.trace(name="take")(take)
    for x in (1, np.arange(3), np.arange(100), object(), "long " * 20_000, {"password": "s3cret"}):
        traced(x)
    traced(1, DAY)
    traced(1, "yesterday")  # type: ignore[arg-type]  # as hosts do
    client.trace(name="take", capture="outputs")(take)(1)
    with client.run("take", inputs={"x": 1}, kind="chain"):
        pass
    assert client.flush()
    result = client.replay(take, 'model == "take"', name="some")
    assert sorted(run.outputs for run in result.runs) == ["int", "int", "int", "ndarray"]
    assert result.left_out == {
        "inputs not kept as numpy.ndarray": 1,
        "inputs not kept as builtins.object": 1,
        "inputs not kept as date | NoneType": 1,
        "inputs truncated": 1,
        "inputs redacted": 1,
        "inputs off": 1,
    }
    assert "6 runs left out: 1 inputs" in str(result)
    with pytest.raises(ValueError, match="None of the runs can be replayed: 1 run left out"):
        client.replay(take, 'model == "take" and "long" in input')
    with pytest.raises(InvalidArgumentError, match="a filter that matches at least one run"):
        client.replay(take, 'model == "nothing"')


async def take_later(day: datetime.date) -> str:
    await run_other_tasks()
    return f"{day:%Y}"


def take_parts(day: datetime.date) -> Iterator[str]:
    yield f"{day:%Y}"
    yield "!"


def take_now(day: datetime.date) -> str:
    return f"{day:%Y}"


@sampled(1)
@pytest.mark.parametrize(
    ("function", "wanted"), [(take_now, "2026"), (take_later, "2026"), (take_parts, "2026!")]
)
def test_all_sorts_of_functions(client: Client, function: Callable[..., Any], wanted: str) -> None:
    """Functions, coroutines and generators are replayed, with dates as they were passed."""
    client.trace(name="year")(take_now)(DAY)
    assert client.flush()
    result = client.replay(function, 'model == "year"', concurrency=2)
    assert [(run.outputs, run.inputs) for run in result.runs] == [(wanted, {"day": DAY})]


@at_night
def test_experiments_are_no_sources(client: Client) -> None:
    """Runs of experiments are replayed only if the filter mentions them."""
    traced = client.trace(name="year")(take_now)
    traced(DAY)
    experiment = client.evaluate(traced, [{"day": DAY}])
    assert client.flush()
    first = client.replay(traced, 'model == "year"')
    assert len(first.runs) == 1
    again = client.replay(traced, f'experiment == "{experiment.experiment.id}"')
    assert [run.item for run in again.runs] == [experiment.runs[0].run_id]
    with Reader(client.project, endpoint=client._recorder.route.endpoint) as reader:
        assert len(client.replay(traced, reader.runs('model == "year"')).runs) == 1


@at_night
def test_recorded_failure_is_fixed(collector: CollectorProcess, client: Client) -> None:
    """A failed recorded call counts as not passed, and its replay as fixed."""

    def raises(question: str) -> str:
        raise KeyError(question)

    with pytest.raises(KeyError):
        client.trace(name="answer")(raises)("why 1")
    assert client.flush()
    result = client.replay(answer, 'model == "answer"', [as_judge(length)])
    assert result.baseline is not None
    assert [(run.outcome, run.error_type) for run in result.baseline.runs] == [
        ("error", "KeyError")
    ]
    assert [run.passed for run in result.runs] == [True]
    assert result.verdict == "better"
    assert "1 of 1 failures pass now" in result.sentence
    page_says_the_same(client, collector, result)


APP = """
import os

def answer(question):
    if os.environ.get("CHANGED"):
        return "no"
    return f"{question} because"

def length(outputs):
    return len(outputs) > 3
"""


@pytest.fixture(scope="module")
def program(
    collector: CollectorProcess, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Return a function that runs ``otel-ml replay`` in a folder with an app and recorded runs."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "app.py").write_text(APP)
    record(collector, "program")

    def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "otel_ml_collector", "replay", *arguments],
            cwd=folder,
            env={
                "PATH": "/usr/bin:/bin",
                "OTEL_ML_ENDPOINT": collector.endpoint,
                "OTEL_ML_PROJECT": "program",
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return run


WHERE = ("--where", 'model == "answer"', "--judge", "app.py:length")


@sampled(1)
@pytest.mark.parametrize(
    ("arguments", "changed", "status"),
    [
        (("app.py:answer", *WHERE), "", 0),
        (("app.py:answer", *WHERE), "yes", 1),
        (("app.py:answer", *WHERE, "--fail-if", "errors > 0"), "yes", 0),
        (("app.py:answer", *WHERE, "--limit", "30", "--fail-if", "runs != 30"), "", 0),
        (("app.py:answer", "--where", 'model == "none"'), "", 2),
        (("app.py:answer", "--where", "model = 1"), "", 2),
        (("app.py:answer", *WHERE, "--endpoint", "http://127.0.0.1:9"), "", 2),
        (("app.py:answer",), "", 2),
        (("app.py:nothing", *WHERE), "", 2),
    ],
)
def test_exit_status(
    program: Callable[..., "subprocess.CompletedProcess[str]"],
    arguments: tuple[str, ...],
    changed: str,
    status: int,
) -> None:
    """The exit status is that of an experiment with a baseline."""
    ended = program(*arguments, CHANGED=changed)
    assert (ended.returncode, "Traceback" in ended.stderr) == (status, False), ended.stderr


def test_program_says_what_it_will_do(
    program: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    """The command announces the number of runs to replay, and writes the report."""
    report = str(tmp_path / "report.json")
    ended = program("app.py:answer", *WHERE, "--margin", "length=0.2", "--json", report)
    assert ended.stderr.startswith("40 recorded runs: 40 to replay\n")
    told = json.loads(Path(report).read_text())
    assert (told["verdict"], told["runs"], told["left_out"]) == ("no difference", 40, {})


@at_night
def test_interrupted(collector: CollectorProcess, tmp_path: Path) -> None:
    """Ctrl-C ends a replay with status 130; the finished runs are kept."""
    record(collector, "interrupted")
    (tmp_path / "app.py").write_text(HELD)
    command = [sys.executable, "-m", "otel_ml_collector", "replay", "app.py:answer"]
    environment = {
        "PATH": "/usr/bin:/bin",
        "OTEL_ML_ENDPOINT": collector.endpoint,
        "OTEL_ML_PROJECT": "interrupted",
    }
    begun = subprocess.Popen(
        [*command, "--where", 'model == "answer"', "--concurrency", "1"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    asked = tmp_path / "asked.txt"
    wait_until(lambda: asked.exists() and len(asked.read_text().splitlines()) > RUNS // 2)
    begun.send_signal(signal.SIGINT)
    _, told = begun.communicate(timeout=180)
    assert begun.returncode == 130, told
    [listed] = collector.get("/projects/interrupted/experiments")["experiments"]
    assert listed["outcome"] == "cancelled"
    assert 0 < listed["done"] < listed["items"] == RUNS


@at_night
def test_logged_inputs(client: Client) -> None:
    """Long arrays and tables are taken from the data logged under the parameter's name."""

    def total(array: Any, table: Any) -> float:
        return float(array.sum() + table["x"].sum())

    @client.trace(name="total")
    def production(array: Any, table: Any, *, logged: float) -> float:
        client.current_run().log("array", array + logged)
        client.current_run().log("table", table)
        return total(array, table)

    table = pd.DataFrame({"x": range(100)})
    expected = [
        production(np.arange(900.0) + number, table, logged=0.0 if number < 2 else 1.0)
        for number in range(3)
    ]
    assert client.flush()

    def today(array: Any, table: Any, logged: float) -> float:
        assert type(array).__name__ == "ndarray"
        return total(array, table)

    result = client.replay(today, 'model == "total"')
    assert sorted(run.outputs for run in result.runs) == expected[:2]
    # The third run logged a different array under the parameter's name.
    assert result.left_out == {"inputs not kept as numpy.ndarray": 1}


@at_night
def test_logged_image(client: Client) -> None:
    """An image is taken from the data logged under the parameter's name, pixel by pixel."""

    @client.trace(name="brightest")
    def production(image: Image.Image) -> int:
        client.current_run().log("image", image)
        return int(np.asarray(image).max())

    for brightest in (90, 200):
        pixels = np.arange(brightest + 1, dtype="uint8")[-48:].reshape(6, 8)
        production(Image.fromarray(pixels))
    assert client.flush()

    def today(image: Image.Image) -> int:
        return int(np.asarray(image).max()) + 1

    result = client.replay(today, 'model == "brightest"')
    assert sorted(run.outputs for run in result.runs) == [91, 201]
    assert result.left_out == {}


# Arguments of the real calls.

CALLED: list[str] = []


def make_app(client: Client) -> Callable[[str], Any]:
    """Return an app of traced functions that record their real calls."""
    CALLED.clear()

    @client.trace(name="search")
    def search(query: str, day: datetime.date = DAY) -> list[datetime.date]:
        CALLED.append(query)
        if query == "raise":
            raise KeyError("none")
        return [day] * len(CALLED)

    @client.trace(name="later")
    async def later(query: str) -> str:
        CALLED.append(query)
        return f"{query} {len(CALLED)}"

    @client.trace(name="parts")
    def parts(query: str) -> Iterator[str]:
        CALLED.append(query)
        yield query
        yield "!"

    @client.trace(name="parts later")
    async def parts_later(query: str) -> AsyncIterator[str]:
        CALLED.append(query)
        yield query
        yield "?"

    async def ask_later(query: str) -> list[str]:
        return [await later(query), *[part async for part in parts_later(query)]]

    @client.trace(name="app")
    def app(question: str) -> Any:
        if question == "raise":
            try:
                search("raise")
            except KeyError as error:
                return f"{type(error).__name__} {error}"
        if question == "threads":
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(search, "a").result()
        days = [search("a"), search("a")]
        return [[len(day), *{str(one) for one in day}] for day in days] + [
            *parts("b"),
            *asyncio.run(ask_later("c")),
        ]

    return app


STUBS = ("search", "later", "parts", "parts later")


def test_stubbed_functions_are_not_called(collector: CollectorProcess, client: Client) -> None:
    """Stubbed functions return their recorded results, in order and typed, without being called."""
    app = make_app(client)
    recorded = app("why")
    assert CALLED == ["a", "a", "b", "c", "c"]
    assert client.flush()
    CALLED.clear()
    result = client.replay(app, 'model == "app"', stub=STUBS)
    assert (result.runs[0].error, result.runs[0].outputs) == ("", recorded)
    assert CALLED == []
    delivery = client.flush()
    assert delivery, delivery.reason
    trace = collector.get(f"/traces/{result.runs[0].run_id.partition('-')[0]}")["runs"]
    children = [run for run in trace if run["model"] in STUBS]
    assert len(children) == 5
    assert {run["experiment"] for run in children} == {result.experiment.id}
    sources = {
        collector.get(f"/runs/{run['run_id']}")["attributes"]["otel_ml.stubbed_from"]
        for run in children
    }
    production = {run["run_id"] for run in collector.runs(client.project)}
    assert sources < production
    assert len(sources) == 5


@at_night
def test_stub_that_was_not_asked_raises(client: Client) -> None:
    """A call that was not recorded raises, or is made for real with `on_miss="call"`."""
    app = make_app(client)
    app("why")
    assert client.flush()
    CALLED.clear()

    @client.trace(name="search")
    def search(query: str) -> str:
        CALLED.append(query)
        return "for real"

    def changed(question: str) -> str:
        return search("another")

    result = client.replay(changed, 'model == "app"', stub=["search"])
    [run] = result.runs
    assert run.error_type.endswith("StubMissError")
    assert "search() is stubbed, but the recorded run did not call it with these" in run.error
    assert CALLED == []
    result = client.replay(changed, 'model == "app"', stub=["search"], on_miss="call")
    assert (result.runs[0].outputs, CALLED) == ("for real", ["another"])
    with pytest.raises(InvalidArgumentError, match="did you mean search"):
        client.replay(changed, 'model == "app"', stub=["serch"])
    with pytest.raises(InvalidArgumentError, match="on_miss"):
        client.replay(changed, 'model == "app"', stub=["search"], on_miss="skip")  # type: ignore[arg-type]


@at_night
def test_stub_raises_what_was_raised(client: Client) -> None:
    """A stubbed function whose recorded call failed raises the recorded error."""
    app = make_app(client)
    app("raise")
    assert client.flush()
    CALLED.clear()
    result = client.replay(app, 'model == "app"', stub=["search"])
    assert (result.runs[0].outputs, CALLED) == ("KeyError \"'none'\"", [])


@at_night
def test_stub_on_an_unknown_thread_is_not_called(client: Client) -> None:
    """A stubbed function in a thread without the run's context raises and is not called."""
    app = make_app(client)
    app("threads")
    app("why")
    assert client.flush()
    CALLED.clear()
    result = client.replay(app, 'model == "app"', stub=["search"], repeats=2)
    errors = {run.inputs["question"]: run.error for run in result.runs}
    assert "in a thread without the run's context" in errors["threads"]
    assert "a" not in CALLED


@at_night
def test_judges_call_for_real(client: Client) -> None:
    """Functions called by a judge run for real, even if they are stubbed."""
    app = make_app(client)
    app("why")
    assert client.flush()

    @client.trace(name="search")
    def search(query: str) -> str:
        CALLED.append(query)
        return "for real"

    def asks(outputs: Any) -> float:
        return float(len(search("judge")))

    CALLED.clear()
    result = client.replay(
        app,
        'model == "app"',
        [asks],
        stub=STUBS,
    )
    assert [one.score for one in result.runs[0].judgements.values()] == [8.0]
    assert CALLED == ["judge", "judge"]


# A killed replay.

# Answers half of the questions, then blocks unless the file `resumed` exists.
HELD: Final = """
import os, threading

def answer(question):
    with open("asked.txt", "a") as file:
        file.write(f"{question}\\n")
    if count_asked() > 20 and not os.path.exists("resumed"):
        threading.Event().wait()
    return f"{question} because"

def count_asked():
    with open("asked.txt") as file:
        return len(file.readlines())
"""


@at_night
def test_killed_replay_goes_on(collector: CollectorProcess, tmp_path: Path) -> None:
    """A killed replay resumes with its original runs, even if newer ones exist."""
    recorded = record(collector, "killed")
    (tmp_path / "app.py").write_text(HELD)
    command = [sys.executable, "-m", "otel_ml_collector", "replay", "app.py:answer"]
    where = ["--where", 'model == "answer"', "--limit", "40", "--fail-if", "errors > 0"]
    environment = {
        "PATH": "/usr/bin:/bin",
        "OTEL_ML_ENDPOINT": collector.endpoint,
        "OTEL_ML_PROJECT": "killed",
    }
    begun = subprocess.Popen([*command, *where], cwd=tmp_path, env=environment)

    def done() -> int:
        return sum(
            one["done"] for one in collector.get("/projects/killed/experiments")["experiments"]
        )

    wait_until(lambda: done() >= 10)
    begun.kill()
    assert begun.wait() == -signal.SIGKILL
    before = done()
    assert 10 <= before <= RUNS // 2
    (tmp_path / "resumed").touch()
    record(collector, "killed")
    ended = subprocess.run(
        [*command, *where, "--resume", "auto"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    [experiment] = collector.get("/projects/killed/experiments")["experiments"]
    assert tuple(experiment[name] for name in ("outcome", "done", "items", "doubled")) == (
        "ok",
        40,
        40,
        0,
    )
    asked = (tmp_path / "asked.txt").read_text().splitlines()
    assert {*asked} == {f"why {number}" for number in range(40)}
    assert len(asked) <= 80 - before
    path = f"/projects/killed/experiments/{experiment['run_id']}/rows"
    rows = collector.get(path, limit=100)["rows"]
    answers = {row["source_run"]: [run["outcome"] for run in row["runs"]] for row in rows}
    assert answers == {run_id: ["ok"] for run_id in recorded}
