"""The SDK's data sets and experiments in a real collector."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otel_ml import Client, Dataset, current_run, load_result
from otel_ml.arguments import InvalidArgumentError
from otel_ml.judges.ready import exact
from otel_ml.reader import NotFound, Reader
from otel_ml_collector.cli import main
from tests.support.collector import CollectorProcess
from tests.support.examples import AT_NIGHT
from tests.support.sampling import at_night, harder


def add(a: int, b: int) -> int:
    return a + b


def test_data_set_is_a_version(collector: CollectorProcess) -> None:
    """A saved data set is a complete version 1; saving the same items again adds no version."""
    rows = [{"inputs": {"a": number, "b": 1}, "expected": number + 1} for number in range(5)]
    sums = Dataset("sums", [*rows, {"inputs": {"image": np.arange(4)}}])
    client = Client("saved", endpoint=collector.endpoint, join=False)
    assert client.save(sums) == "sums:v1"
    other = Client("saved", endpoint=collector.endpoint, join=False)
    assert other.save(Dataset("sums", reversed(sums.items))) == "sums:v1"
    assert other.save(Dataset("sums", rows)) == "sums:v2"
    [second, first] = collector.get("/projects/saved/datasets/sums/versions")["versions"]
    assert (first["digest"], second["digest"]) == (sums.digest, Dataset("sums", rows).digest)
    items = collector.get("/projects/saved/datasets/sums/versions/1/items")["items"]
    assert sorted(one["id"] for one in items) == sorted(one.id for one in sums)


def test_experiment_is_stored(collector: CollectorProcess) -> None:
    """An experiment's runs are stored with their scores and not listed among production runs."""
    client = Client("evaluated", endpoint=collector.endpoint, join=False)
    rows = [{"inputs": {"a": number, "b": 1}, "expected": number + 1} for number in range(5)]
    result = client.evaluate(add, Dataset("sums", rows), [exact], concurrency=2)
    delivery = client.flush()
    assert delivery, delivery.reason
    run = collector.get(f"/runs/{result.runs[0].run_id}")
    assert (run["outputs"], run["scores"], run["outcome"]) == (1, {"exact": 1.0}, "ok")
    assert collector.get(f"/runs/{result.experiment.id}")["kind"] == "experiment"
    assert collector.runs("evaluated") == []
    found = collector.runs("evaluated", where='dataset == "sums" and kind != "experiment"')
    assert {one["run_id"] for one in found} == {one.run_id for one in result.runs}


def add_nearly(a: int, b: int) -> int:
    return a + b if a % 4 else -1


SUMS = Dataset(
    "stored",
    [{"inputs": {"a": a, "b": 1}, "expected": a + 1, "tags": {"part": a // 2}} for a in range(40)],
)


@pytest.fixture
def reader(collector: CollectorProcess) -> Iterator[Reader]:
    with Reader("stored", endpoint=collector.endpoint) as reader:
        yield reader


def test_data_set_is_loaded(collector: CollectorProcess) -> None:
    """A data set is loaded with its typed values, and a version by its number."""
    client = Client("loaded", endpoint=collector.endpoint, join=False)
    rows = [
        {"inputs": {"image": np.arange(4)}, "expected": "four", "tags": {"a": 1}, "id": "one"},
        {"inputs": {"text": "é"}, "expected": {"b": [1.5, None]}},
    ]
    first = Dataset("mixed", rows, "of all sorts")
    client.save(first)
    client.save(Dataset("mixed", rows[:1]))
    with Reader("loaded", endpoint=collector.endpoint) as reader:
        found = Dataset.load("mixed:v1", reader=reader)
        assert found == first
        assert found.description == "of all sorts"
        np.testing.assert_array_equal(found["one"].inputs["image"], np.arange(4))
        assert len(Dataset.load("mixed", reader=reader)) == 1
        with pytest.raises(ValueError, match=r"^Data set 'mixed' has no version 3$"):
            Dataset.load("mixed:v3", reader=reader)
        with pytest.raises(NotFound):
            Dataset.load("nothing", reader=reader)


@at_night
def test_cut_inputs_are_no_item(collector: CollectorProcess) -> None:
    """Stored runs with truncated or redacted inputs are left out of a data set, and counted."""
    client = Client("cut", endpoint=collector.endpoint, join=False)

    @client.trace
    def echo(text: object) -> object:
        return text

    for text in ("short", "x" * 100_000, {"password": "x"}):
        echo(text)
    assert client.flush()
    with Reader("cut", endpoint=collector.endpoint) as reader:
        made = Dataset.from_runs("made", reader.runs())
    assert [one.inputs for one in made] == [{"text": "short"}]
    assert made.left_out == {"inputs redacted": 1, "inputs truncated": 1}


@harder
def test_stored_baseline(collector: CollectorProcess, reader: Reader) -> None:
    """A stored experiment can be a baseline, and a loaded result equals the original."""
    client = Client("stored", endpoint=collector.endpoint, join=False)
    client.save(SUMS)
    before = client.evaluate(add, "stored", [exact], name="plain", tags={"baseline": True})
    options: Any = {"margin": {"exact": 0.01}, "cluster": 'tags["part"]', "repeats": 2}
    names = (before.experiment.id, "add:v1", "baseline")
    for named in names if AT_NIGHT else names[-1:]:
        result = client.evaluate(add_nearly, "stored:v1", [exact], baseline=named, **options)
        assert result.verdict == "worse"
        assert result.baseline is not None
        assert result.baseline.experiment.id == before.experiment.id
        assert len(result.regressions) == 10
    assert client.flush()
    again = load_result(result.experiment.id, reader=reader)
    assert (again.judges, again.verdict) == (result.judges, result.verdict)
    assert again.comparison is not None
    assert result.comparison is not None
    assert again.comparison.amounts == result.comparison.amounts
    assert again.comparison.regressions == result.comparison.regressions
    key = {(run.item, run.repeat): run for run in result.runs}
    for run in again.runs:
        known = key[run.item, run.repeat]
        assert (run.outputs, run.tags, run.run_id) == (known.outputs, known.tags, known.run_id)
    path = f"/projects/stored/experiments/{result.experiment.id}"
    [told] = collector.get(path)["verdict"]["judges"]
    change = result.judges["exact"].difference
    assert change is not None
    assert [told["difference"][one] for one in ("value", "low", "high")] == [
        *(change.value, change.low, change.high)
    ]
    report = collector.get_text(f"{path}/markdown")
    assert len(re.findall(r'^\| \[\\\{"a":\d+,"b":\d+\\\}\]', report, re.MULTILINE)) == 5
    assert report == again.to_markdown() == result.to_markdown()
    assert [one.name for one in reader.experiments('tags["baseline"] == True')] == ["plain"]
    assert result.url == f"{collector.endpoint}/projects/stored/experiments/{result.experiment.id}"
    assert collector.status(result.url.removeprefix(collector.endpoint)) == 200


@at_night
def test_no_such_baseline(collector: CollectorProcess) -> None:
    """An unknown baseline or data set is refused before the model is called."""
    client = Client("stored", endpoint=collector.endpoint, join=False)
    for wrong in ("add:v9", "nothing", f"{'1' * 32}-{'1' * 16}"):
        with pytest.raises(InvalidArgumentError, match="Invalid baseline"):
            client.evaluate(add, SUMS, [exact], baseline=wrong)
    with pytest.raises(InvalidArgumentError, match=r"'add:v9'.* on this data set, run it first$"):
        client.evaluate(add, SUMS, [exact], baseline="add:v9")
    with pytest.raises(InvalidArgumentError, match=r"Invalid baseline 'basline'.* mean baseline\?"):
        client.evaluate(add, SUMS, [exact], baseline="basline")
    with pytest.raises(InvalidArgumentError, match="Invalid dataset 'nothing'"):
        client.evaluate(add, "nothing", [exact])
    with pytest.raises(InvalidArgumentError, match="no data set 'storde': did you mean stored"):
        client.evaluate(add, "storde", [exact])


def reply(question: int) -> str:
    return f"{question}!"


def reply_worse(question: int) -> str:
    """Answer each question of every third session wrong, and some of the others."""
    return "" if question // 5 % 3 == 0 or question % 17 == 0 else f"{question}!"


def chat(client: Client) -> None:
    """Ask 100 questions: five in each of 18 sessions, and the last ten without a session."""
    traced = client.trace(reply)

    @client.trace(name="chat")
    def ask(question: int) -> str:
        if question < 90:
            current_run().identify(session=f"chat-{question // 5}")
        return traced(question)

    for question in range(100):
        ask(question)
    assert client.flush()


@at_night
def test_items_of_sessions(
    collector: CollectorProcess,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Sessions form clusters: Python, the command line, the API and the page report one result."""
    project = "talked"
    monkeypatch.setenv("OTEL_ML_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_ML_PROJECT", project)
    client = Client(project, endpoint=collector.endpoint, join=False)
    chat(client)
    with Reader(project, endpoint=collector.endpoint) as reader:
        runs = [*reader.runs('name == "reply"')]  # each run inherits the session of its parent
        questions = Dataset.from_runs("questions", runs, "outputs")
        told = {one.inputs["question"]: one.source_session for one in questions}
        assert told == {at: f"chat-{at // 5}" if at < 90 else "" for at in range(100)}
        bare = Dataset(
            "questions", [{"inputs": one.inputs, "expected": one.outputs} for one in runs]
        )
        assert client.save(bare) == client.save(questions) == "questions:v1"
        before = client.evaluate(reply, questions, [exact])
        now = client.evaluate(reply_worse, "questions", [exact], baseline=before)
        assert client.flush()
        again = load_result(now.experiment.id, reader=reader)
    judge = now.judges["exact"]
    assert judge.difference is not None
    assert (judge.difference.n, judge.difference.clusters) == (100, 28)
    assert judge.sentence.endswith("100 items in 28 sessions)")
    assert (again.judges, again.clustered_by) == (now.judges, "source_session")
    assert main(["compare", before.experiment.id, now.experiment.id]) == 1
    assert judge.sentence in capsys.readouterr().out
    found = collector.get(f"/projects/{project}/experiments/{now.experiment.id}")
    [said] = found["verdict"]["judges"]
    assert (said["sentence"], said["difference"]) == (judge.sentence, asdict(judge.difference))
    assert found["clustered_by"] == now.clustered_by
    page = collector.get_text(f"/projects/{project}/experiments/{now.experiment.id}")
    assert judge.sentence.partition(" (")[0] in page
    assert "<dt>Clusters</dt><dd>28 by session</dd>" in page
    assert main(["dataset", "export", "questions", str(tmp_path / "questions.jsonl")]) == 0
    read = Dataset.read(tmp_path / "questions.jsonl")
    sources = {one.id: (one.source_run, one.source_session) for one in questions}
    assert {one.id: (one.source_run, one.source_session) for one in read} == sources


@at_night
def test_other_clusters(collector: CollectorProcess) -> None:
    """`cluster=` replaces sessions as clusters, in Python and in the API."""
    client = Client("told", endpoint=collector.endpoint, join=False)
    rows = [
        {
            "inputs": {"question": at},
            "expected": f"{at}!",
            "source_session": f"chat-{at // 5}",
            "source_run": f"{at + 1:032x}-{at + 1:016x}",
            "tags": {"half": at % 50},
        }
        for at in range(100)
    ]
    questions = Dataset("questions", rows)
    before = client.evaluate(reply, questions, [exact])
    given: list[tuple[Any, int]] = [
        (None, 20), ('tags["half"]', 50), ("source_run", 100), (lambda run: run.item, 100)
    ]  # fmt: skip
    for cluster, clusters in given:
        result = client.evaluate(reply_worse, questions, [exact], baseline=before, cluster=cluster)
        assert client.flush()
        change = result.judges["exact"].difference
        assert change is not None
        assert change.clusters == clusters
        found = collector.get(f"/projects/told/experiments/{result.experiment.id}")
        [judge] = found["verdict"]["judges"]
        assert judge["difference"] == asdict(change)
        assert found["clustered_by"] == result.clustered_by
        assert judge["sentence"] == result.judges["exact"].sentence
