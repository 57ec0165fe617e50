"""Recorded data is read back as objects, as tables and as the logged values."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote
from urllib.request import Request, urlopen

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from otel_ml import Client, Judge, current_run
from otel_ml.reader import BadQuery, Inside, NotFound, Reader, Run, Tokens, WorstScore
from tests.support.collector import CollectorProcess
from tests.support.sampling import at_night

PROJECT: Final = "reader/shop"
ARRAY: Final = np.arange(6, dtype=">f4").reshape(2, 3)
TABLE: Final = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
IMAGE: Final = Image.new("RGB", (2, 2), (1, 2, 3))
LARGE: Final = np.random.default_rng(1).random(40_000)


def brief(outputs: dict[str, str]) -> int:
    return len(outputs["text"])


@pytest.fixture(scope="module")
def reader(collector: CollectorProcess) -> Iterator[Reader]:
    """Yield a reader of a project with a two-run model, a training and logged data."""
    client = Client(PROJECT, endpoint=collector.endpoint)

    @client.assess(Judge("brief", "", brief, lambda score: score < 5), name="answer", inline=True)
    def answer(question: str, /, *, n: int = 1) -> dict[str, str]:
        current_run().tag(client="acme")
        current_run().info("asked")
        return {"text": question * n}

    answer("ab", n=2)
    answer("much too long")
    with client.run("fit", params={"rate": 0.1}, trace_key="t-1") as run:
        for step in range(3):
            run.log_metrics({"loss": 1 / (step + 1)}, step=step)
        for ref, value in (("array", ARRAY), ("table", TABLE), ("image", IMAGE), ("big", LARGE)):
            run.log(ref, value)
    client.model("weights", params={"rate": 0.1}).log_metrics({"accuracy": 0.5}, step=7)
    assert client.flush()
    client.close()
    with Reader(PROJECT, endpoint=collector.endpoint) as made:
        yield made


def training(reader: Reader) -> Run:
    [run] = reader.runs('kind == "training"')
    return run


def test_runs_are_objects(reader: Reader) -> None:
    """A run has everything that was recorded, whichever attribute is read first."""
    long, short = reader.runs('model == "answer"')
    assert (short.inputs, short.outputs) == ({"question": "ab", "n": 2}, {"text": "abab"})
    assert (long.inputs_preview, long.inputs) == (
        "much too long",
        {"question": "much too long", "n": 1},
    )
    assert (short.tags, short.scores, short.passed) == (
        {"client": "acme"},
        {"brief": 4.0},
        {"brief": True},
    )
    assert [(line.severity, line.message) for line in short.logs] == [("info", "asked")]
    assert [(one.judge, one.score, one.source) for one in short.evaluations] == [
        ("brief", 4.0, "judge")
    ]
    assert (short.project, short.model, short.version, short.kind) == (
        PROJECT,
        "answer",
        1,
        "model",
    )
    assert short.tokens == Tokens()
    assert abs(datetime.now(UTC) - short.start) < timedelta(minutes=5)


def test_run_shows_itself_in_a_line(reader: Reader) -> None:
    """The repr of a run has its id, its model and its outcome."""
    run = training(reader)
    assert repr(run).startswith(f"<Run {run.run_id} {run.model} ok ")


def test_run_by_its_id_is_that_of_the_list(reader: Reader) -> None:
    """A run read by its id has the same attributes as in a list."""
    listed = training(reader)
    run = reader.run(listed.run_id)
    for name in ("start_ns", "inputs", "outputs", "params", "metrics", "resource", "tags"):
        assert getattr(run, name) == getattr(listed, name)
    assert (run.params, run.metrics) == ({"rate": 0.1}, {"loss": [1.0, 0.5, 1 / 3]})


def make_version(collector: CollectorProcess, name: str, **body: Any) -> dict[str, Any]:
    """Create a version of a data set through the API."""
    request = Request(
        f"{collector.endpoint}/api/v1/projects/{quote(PROJECT)}/datasets/{name}/items",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urlopen(request, timeout=180) as answer:
        told: dict[str, Any] = json.load(answer)
    return told


def test_data_sets(reader: Reader, collector: CollectorProcess) -> None:
    """Data sets, their versions, items and changes are read, with typed values unchanged."""
    [array] = [one for one in training(reader).artifacts if one.ref == "array"]
    typed = {"otel_ml.artifact.type": array.type, "otel_ml.artifact.sha256": array.sha256}
    tags = {"topic": "sums"}
    items = [
        {"id": "a", "inputs": {"x": [typed, 1]}, "expected": typed, "tags": tags},
        {"id": "b", "inputs": {"x": 2}},
    ]
    make_version(collector, "qa", items=items, description="sums")
    made = make_version(collector, "qa", items=[{"id": "c", "inputs": 1}], remove=["b"])
    [newest] = reader.datasets()
    assert (newest.name, newest.version, newest.digest) == ("qa", 2, made["digest"])
    assert (newest.items, newest.is_complete, newest.description) == (2, True, "sums")
    changes = [(one.version, one.added, one.removed) for one in reader.dataset_versions("qa")]
    assert changes == [(2, 1, 1), (1, 2, 0)]
    first, second = reader.dataset_items("qa", 1)
    assert (first.id, first.tags, first.is_whole) == ("a", tags, True)
    value, one = first.inputs["x"]
    for found in (value, first.expected):
        assert (found.dtype, found.tolist()) == (ARRAY.dtype, ARRAY.tolist())
    assert (one, second.inputs, second.expected) == (1, {"x": 2}, None)
    diff = reader.dataset_diff("qa", 2, against=1)
    assert (diff.added, diff.removed, diff.changed) == (1, 1, 0)
    assert [(one.id, one.before is None) for one in diff.items] == [("b", False), ("c", True)]
    with pytest.raises(NotFound):
        reader.dataset_versions("none")


def test_filter_and_times(reader: Reader) -> None:
    """Lists of runs accept the API's filters, times as texts or datetimes, and an order."""
    now, hour = datetime.now(UTC), timedelta(hours=1)

    def models(where: str = "", **bounds: Any) -> list[str]:
        return [run.model for run in reader.runs(where, **bounds)]

    assert models('scores["brief"] > 5') == ["answer"]
    assert models(order="oldest") == ["answer", "answer", "fit"]
    assert models(start=now - hour, end=(now + hour).isoformat(), limit=2) == ["fit", "answer"]
    assert models(start=(now + hour).replace(tzinfo=None)) == []
    assert models(limit=0) == []


def test_trace(reader: Reader) -> None:
    """A trace is read by its id and by the user's key."""
    run = training(reader)
    for key in (run.trace_id, "t-1"):
        trace = reader.trace(key)
        assert ([one.run_id for one in trace.runs], trace.truncated) == ([run.run_id], False)
        assert trace.runs[0].params == {"rate": 0.1}


def test_a_trace_yields_its_runs_in_order_of_start(reader: Reader) -> None:
    """A trace can be iterated like its runs, without naming them."""
    trace = reader.trace(training(reader).trace_id)
    assert [*trace] == sorted(trace.runs, key=lambda run: run.start_ns) != []


def test_values_are_what_was_logged(reader: Reader) -> None:
    """Arrays, tables and images are read back with type, dtype, shape and content."""
    run = training(reader)
    array = reader.artifact("array", run_id=run.run_id)
    assert (array.dtype, array.tolist()) == (ARRAY.dtype, ARRAY.tolist())
    pd.testing.assert_frame_equal(reader.artifact("table", trace="t-1"), TABLE)
    image = reader.artifact("image", trace=run.trace_id)
    assert (image.mode, image.tobytes()) == (IMAGE.mode, IMAGE.tobytes())
    loaded = {one.ref: one.load() for one in run.artifacts}
    assert set(loaded) == {"array", "table", "image", "big"}
    assert np.array_equal(loaded["big"], LARGE)
    listed = {one.ref: one.load() for one in reader.artifacts(trace="t-1")}
    assert np.array_equal(listed["array"], ARRAY)
    with pytest.raises(ValueError, match="Expected either run_id or trace"):
        reader.artifact("array")


def test_models_versions_and_projects(reader: Reader) -> None:
    """Models, versions with their source, and projects are read as objects."""
    assert {(one.model, one.runs, one.versions) for one in reader.models()} == {
        ("answer", 2, 1),
        ("fit", 1, 0),
        ("weights", 0, 1),
    }
    [version] = reader.versions("answer")
    assert (version.version, version.runs, version.judges[0]["mean_score"]) == (1, 2, 8.5)
    assert "def answer(question: str" in version.definition["source"]
    assert reader.version("answer", 1) == version
    [judge] = reader.judges()
    html = getattr(reader.judges(), "_repr_html_")()  # noqa: B009 - the name is IPython's
    assert "<td>v1</td><td>2</td><td>50.0 %</td><td>8.5</td><td>0</td>" in html
    [told] = reader.judge_versions(judge["judge"])
    assert (judge["newest"]["mean_score"], told["mean_score"], told["version"]) == (8.5, 8.5, 1)
    assert told["definition"]["source"]
    assert len(list(reader.runs(told["where"]))) == told["evaluations"] == 2
    alone = reader.judge_strictness(judge["judge"], 1, 1)
    assert (alone["word"], alone["version"], alone["against"]) == ("not enough data", 1, 1)
    assert [one.project for one in reader.projects("reader/shop")] == [PROJECT]


def test_metrics(reader: Reader) -> None:
    """A metric has its points in order, and converts to a pandas table."""
    loss = reader.metrics(training(reader).run_id, "loss")["loss"]
    assert (loss.count, loss.values) == (3, [1.0, 0.5, 1 / 3])
    frame = loss.to_pandas()
    assert frame["step"].tolist() == [0, 1, 2]
    assert str(frame["time"].dt.tz) == "UTC"


def test_metrics_of_a_version(reader: Reader) -> None:
    """The metrics of a version have their steps."""
    accuracy = reader.metrics(model="weights", version=1)["accuracy"]
    assert (accuracy.values, accuracy.to_pandas()["step"].tolist()) == ([0.5], [7])
    with pytest.raises(NotFound, match="no version 2"):
        reader.metrics(model="weights", version=2)
    with pytest.raises(ValueError, match="Expected either run_id, or model and version"):
        reader.metrics(model="weights")


def test_tables(reader: Reader) -> None:
    """A list converts to an Arrow or pandas table, in its order, with the selected columns."""
    listed = [run.run_id for run in reader.runs()]
    whole = reader.runs().to_arrow()
    assert whole["run_id"].to_pylist() == listed
    assert whole.schema.field("scores").type == pa.map_(pa.string(), pa.float64())
    assert reader.runs(order="oldest").to_arrow()["run_id"].to_pylist() == listed[::-1]
    few = reader.runs(limit=2).to_arrow("model,outputs")
    assert (few.column_names, few["model"].to_pylist()) == (["model", "outputs"], ["fit", "answer"])
    frame = reader.runs('model == "answer"').to_pandas()
    assert frame["tags"].tolist() == [{"client": "acme"}] * 2
    assert str(frame["start_time"].dtype) == "datetime64[ns, UTC]"
    assert reader.runs('model == "none"', limit=1).to_pandas("model").empty


def test_export(reader: Reader, tmp_path: Any) -> None:
    """An export yields the parts of a file."""
    file = tmp_path / "runs.parquet"
    with file.open("wb") as out:
        out.writelines(reader.export("parquet", 'kind == "training"', columns="model,params"))
    assert pq.read_table(file).to_pylist() == [{"model": "fit", "params": '{"rate":0.1}'}]


def test_feedback(reader: Reader) -> None:
    """Feedback on a run is stored once when the call returns, even if repeated."""
    run = training(reader)
    for _ in range(2):
        told = reader.feedback(
            "thumbs", run_id=run.run_id, passed=True, label="up", statement_id="s-1"
        )
    truth = reader.feedback("churned", trace_key="t-1", score=1, source="actual")
    assert len({told, truth}) == 2
    found = {
        (one.judge, one.passed, one.score, one.label, one.source)
        for one in reader.run(run.run_id).evaluations
    }
    assert found == {
        ("thumbs", True, None, "up", "human"),
        ("churned", None, 1.0, "", "actual"),
    }


@at_night
def test_roots(collector: CollectorProcess) -> None:
    """With `roots=True`, child runs are excluded from a list, its length and its table."""
    client = Client("nested", endpoint=collector.endpoint, join=False)

    @client.trace(name="inner")
    def inner() -> None:
        """Stand inside."""

    @client.trace(name="outer")
    def outer() -> None:
        inner()

    for _ in range(3):
        outer()
    inner()
    assert client.flush()
    client.close()
    with Reader("nested", endpoint=collector.endpoint) as reader:
        assert len(reader.runs()) == 7
        roots = reader.runs(roots=True)
        assert [run.model for run in roots] == ["inner", "outer", "outer", "outer"]
        assert (len(roots), roots[0].model) == (4, "inner")
        assert roots.to_arrow("model")["model"].to_pylist() == [run.model for run in roots]
        with pytest.raises(ValueError, match="Invalid roots 1"):
            reader.runs(roots=1)  # type: ignore[arg-type]


@at_night
def test_what_is_inside_a_root(collector: CollectorProcess) -> None:
    """A root without inputs and outputs has those and the worst score of the calls inside it.

    This also holds for a root read by its id. A run that is not a root has no such summary.
    """
    client = Client("silent roots", endpoint=collector.endpoint, join=False)

    def length(outputs: str) -> int:
        return len(outputs)

    @client.assess(Judge("brief", "", length), name="ask", inline=True)
    def ask(question: str) -> str:
        return question.upper()

    with client.run("turn"):
        ask("where?")
        ask("when, then?")
    assert client.flush()
    client.close()
    with Reader("silent roots", endpoint=collector.endpoint) as reader:
        [root] = reader.runs(roots=True)
        last, first = reader.runs('model == "ask"')
        for one in (root, reader.run(root.run_id)):
            assert one.inside == Inside(
                calls=2,
                tokens=Tokens(),
                cost=None,
                is_least=False,
                asked="where?",
                answered="WHEN, THEN?",
                asked_run_id=first.run_id,
                answered_run_id=last.run_id,
                scores={"brief": WorstScore(first.run_id, 6.0)},
            )
        assert first.inside is None
        assert "WHEN, THEN?" in reader.runs(roots=True)._repr_html_()


@at_night
def test_sums(reader: Reader, collector: CollectorProcess) -> None:
    """A list's sums ignore its limit and equal its page's, and each group's filter lists its runs.

    An unknown group is refused.
    """
    answered = reader.runs('model == "answer"', limit=1)
    assert (answered.sums().runs, answered.sums().errors) == (2, 0)
    assert (
        collector.get("/projects/reader%2Fshop/sums", where='model == "answer"')["total"]["runs"]
        == 2
    )
    sums = reader.runs().by("model")
    assert {one.label: one.total.runs for one in sums.groups} == {"answer": 2, "fit": 1}
    assert (sums.total.runs, sums.left, sums.rest) == (3, 0, None)
    for one in sums.groups:
        assert len(reader.runs(one.where)) == one.total.runs
    clients = reader.runs().by('tags["client"]')
    assert {one.label: one.total.runs for one in clients.groups} == {"acme": 2, "": 1}
    with pytest.raises(BadQuery, match="group"):
        reader.runs().by("nothing")
    assert Reader("nobody", endpoint=collector.endpoint).runs().sums().runs == 0
