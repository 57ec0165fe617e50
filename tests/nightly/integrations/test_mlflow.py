"""Real MLflow runs with autolog can be read, and imported into a collector."""

import math
from typing import Any

import pytest

from otel_ml.reader import NotFound, Reader
from tests.nightly.integrations.conftest import Tracking
from tests.support.collector import CollectorProcess


def find(collector: CollectorProcess, project: str, key: str) -> dict[str, Any]:
    """Return the full record of the run with a trace key."""
    [run_id] = [run["run_id"] for run in collector.runs(project) if run["trace_key"] == key]
    found: dict[str, Any] = collector.get(f"/projects/{project}/runs/{run_id}")
    return found


def find_series(collector: CollectorProcess, project: str, run_id: str) -> dict[str, Any]:
    """Return the points of all metrics of a run."""
    answer = collector.get(f"/projects/{project}/metrics", run_id=run_id, points=5000)
    return {one["name"]: one["points"] for one in answer["series"]}


def find_artifacts(collector: CollectorProcess, project: str, run_id: str) -> dict[str, int]:
    """Return names and sizes of all artifacts of a run."""
    found: dict[str, int] = {}
    cursor: dict[str, str] = {}
    while True:
        page = collector.get(f"/projects/{project}/objects", run_id=run_id, limit=100, **cursor)
        found |= {one["ref"]: one["bytes"] for one in page["objects"]}
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def everything(collector: CollectorProcess, project: str) -> list[Any]:
    """Return all data of a project, except its name and the process that sent it."""
    found = []
    for run in collector.runs(project):
        whole = collector.get(f"/projects/{project}/runs/{run['run_id']}")
        del whole["last_heard_ns"]  # changes for an open run with each import
        for nameless in (whole, whole["resource"], whole["scope"].get("attributes", {})):
            nameless.pop("project", None)
            nameless.pop("otel_ml.project", None)
            nameless.pop("service.name", None)  # equals the project if no service is given
            nameless.pop("service.instance.id", None)
        series = find_series(collector, project, run["run_id"])
        found.append((whole, series, find_artifacts(collector, project, run["run_id"])))
    return found


def test_model_is_described(tracking: Tracking) -> None:
    """`from_mlflow_run` describes a model with the field names of the original."""
    run, model = tracking.runs["first"], dict(tracking.recorded["model"])
    source = model.pop("source")
    [dataset] = run["datasets"]
    dataset["dataset_schema"] = dataset.pop("schema")
    tensor = '[{{"type": "tensor", "tensor-spec": {{"dtype": "{}", "shape": {}}}}}]'
    assert model == {
        "framework": "sklearn",
        "flavor": "sklearn",
        "parameters": run["params"],
        "model_config": None,
        "input_datasets": [dataset],
        "signature": {
            "inputs": tensor.format("float64", "[-1, 3]"),
            "outputs": tensor.format("int64", "[-1]"),
            "params": None,
        },
    }
    assert source.startswith(str(tracking.folder))


def test_source_is_where_the_model_lies(tracking: Tracking) -> None:
    """The source of a model is the folder with its files."""
    assert "MLmodel" in {
        path.name
        for path in tracking.folder.joinpath(tracking.recorded["model"]["source"]).iterdir()
    }


def test_run_without_a_model_is_described(tracking: Tracking) -> None:
    """Missing parts of a run are None or empty, under the same names."""
    model = dict(tracking.recorded["without_model"])
    assert model.pop("source").endswith("/artifacts/model")
    assert model == {
        "framework": None,
        "flavor": None,
        "parameters": {"depth": "3", "api_token": "s3cr3t"},
        "model_config": None,
        "input_datasets": [],
        "signature": {"inputs": None, "outputs": None, "params": None},
    }


def test_last_metrics(tracking: Tracking) -> None:
    """`get_mlflow_model_metrics` returns the last value of each metric."""
    last = tracking.recorded["last"]
    assert math.isnan(last.pop("odd"))
    told = dict(tracking.runs["first"]["last"])
    del told["odd"]
    assert last == told
    assert (last["loss"], last["many"]) == (0.2, 2499 / 7)


def test_all_runs_are_imported(tracking: Tracking, imported: list[dict[str, Any]]) -> None:
    """An experiment's runs are imported one by one, the oldest first."""
    order = ("first", "parent", "child", "failed", "killed", "open")
    assert [done["source"] for done in imported] == [tracking.runs[n]["run_id"] for n in order]
    assert all(done["whole"] and done["delivered"] == done["records"] for done in imported)


def test_run_is_whole(
    tracking: Tracking, imported: list[dict[str, Any]], collector: CollectorProcess
) -> None:
    """An imported run has the name, times, user, params, tags and data sets of the MLflow run."""
    told = tracking.runs["first"]
    run = find(collector, "once", told["run_id"])
    [dataset] = [dict(one) for one in told["datasets"]]
    dataset["dataset_schema"] = dataset.pop("schema", dataset.get("dataset_schema"))
    assert {
        key: run[key] for key in ("run_id", "name", "model", "kind", "outcome", "user", "start_ns")
    } == {
        "run_id": imported[0]["run_id"],
        "name": "first",
        "model": "iris",
        "kind": "training",
        "outcome": "ok",
        "user": told["user"],
        "start_ns": told["start_ms"] * 10**6,
    }
    assert run["latency_ms"] == told["end_ms"] - told["start_ms"]
    assert (run["params"].keys(), run["tags"]) == (told["params"].keys(), told["tags"])
    assert (run["inputs"], run["capture"]) == ({"datasets": [dataset]}, {})


def test_params_are_typed(imported: list[dict[str, Any]], collector: CollectorProcess) -> None:
    """Params are imported as numbers and booleans, so that filters can compare them."""
    [run] = collector.runs("once", where='params["C"] > 0.5 and params["fit_intercept"] == True')
    params = collector.get(f"/runs/{run['run_id']}")["params"]
    wanted = {"C": 1.0, "max_iter": 100, "fit_intercept": True, "solver": "lbfgs"}
    assert {name: params[name] for name in wanted} == wanted
    assert params["class_weight"] is None


def test_model_of_a_run_is_a_version(
    tracking: Tracking, imported: list[dict[str, Any]], collector: CollectorProcess
) -> None:
    """A run's logged model becomes a version with flavor, signature and metrics."""
    with Reader("once", endpoint=collector.endpoint) as reader:
        [version] = reader.versions("iris")
    params = version.definition["params"]
    assert params["flavor"] == "sklearn"
    assert params["signature"] == tracking.recorded["model"]["signature"]
    assert params["parameters"]["C"] == 1.0
    last = tracking.runs["first"]["last"]
    assert version.metrics["training_score"] == last["training_score"]
    assert version.metrics["loss"] == last["loss"]
    assert [one["run_id"] for one in version.produced_by] == [imported[0]["run_id"]]


def test_contents_are_taken_up_to_a_limit(tracking: Tracking, collector: CollectorProcess) -> None:
    """With `content_bytes`, contents of small files are imported; those of larger files are not."""
    first = tracking.runs["first"]["run_id"]
    [done] = tracking.bring("contents", first, "contents", collector.endpoint)
    assert done["whole"], done
    with Reader("contents", endpoint=collector.endpoint) as reader:
        assert reader.artifact("texts/299.txt", run_id=done["run_id"]) == b"x" * 299
        told = reader.artifact("model/MLmodel", run_id=done["run_id"])
        assert b"sklearn" in told
        with pytest.raises(NotFound):
            reader.artifact("texts/0.txt", run_id=done["run_id"])


def test_history_is_whole(
    tracking: Tracking, imported: list[dict[str, Any]], collector: CollectorProcess
) -> None:
    """Every point of every metric is imported, in order, with its step and time."""
    told = tracking.runs["first"]
    expected = {
        name: [
            {
                "value": None if math.isnan(value) else value,
                "step": step,
                "time_ns": at_ms * 10**6,
            }
            for value, step, at_ms in points
        ]
        for name, points in told["history"].items()
    }
    assert find_series(collector, "once", imported[0]["run_id"]) == expected
    assert len(expected["many"]) == 2_500


def test_artifacts_are_listed(
    tracking: Tracking, imported: list[dict[str, Any]], collector: CollectorProcess
) -> None:
    """Every file of a run and its model is listed with its size."""
    told = tracking.runs["first"]["artifacts"]
    assert find_artifacts(collector, "once", imported[0]["run_id"]) == told
    assert {"model/MLmodel", "texts/299.txt"} <= told.keys()


def test_outcomes(
    tracking: Tracking, imported: list[dict[str, Any]], collector: CollectorProcess
) -> None:
    """Failed, killed and open runs have the matching outcome."""
    found = {
        name: find(collector, "once", tracking.runs[name]["run_id"])["outcome"]
        for name in ("failed", "killed", "open")
    }
    assert found == {"failed": "error", "killed": "cancelled", "open": "running"}


def test_nested_run_is_below_its_parent(
    tracking: Tracking, imported: list[dict[str, Any]], collector: CollectorProcess
) -> None:
    """A nested run becomes a child in the same trace."""
    ids = {done["source"]: done["run_id"] for done in imported}
    child = next(
        run
        for run in collector.runs("once")
        if run["run_id"] == ids[tracking.runs["child"]["run_id"]]
    )
    assert child["parent_run_id"] == ids[tracking.runs["parent"]["run_id"]]


def test_secrets_are_hidden(
    tracking: Tracking, imported: list[dict[str, Any]], collector: CollectorProcess
) -> None:
    """Secrets are redacted in imported runs as in recorded ones."""
    ids = {done["source"]: done["run_id"] for done in imported}
    run = collector.get(f"/runs/{ids[tracking.runs['child']['run_id']]}")
    assert run["params"]["depth"] == 3
    assert "s3cr3t" not in str(run)


def test_second_import_changes_nothing(
    tracking: Tracking, imported: list[dict[str, Any]], collector: CollectorProcess
) -> None:
    """Importing an experiment twice stores it once."""
    before = everything(collector, "once")
    assert tracking.bring("experiment", "iris", "once", collector.endpoint) == imported
    assert everything(collector, "once") == before


def test_interrupted_import_is_completed(
    tracking: Tracking, imported: list[dict[str, Any]], collector: CollectorProcess
) -> None:
    """An interrupted import leaves no run, and a second import completes the run."""
    run_id = tracking.runs["first"]["run_id"]
    [part] = tracking.bring("part", run_id, "interrupted", collector.endpoint)
    assert (part["delivered"], collector.runs("interrupted")) == (280, [])
    [whole] = tracking.bring("run", run_id, "interrupted", collector.endpoint)
    assert whole == imported[0]
    [expected] = [one for one in everything(collector, "once") if one[0]["name"] == "first"]
    assert everything(collector, "interrupted") == [expected]


def test_missing_collector_is_told(tracking: Tracking) -> None:
    """An import stops and reports failure if the collector is unreachable."""
    run_id = tracking.runs["first"]["run_id"]
    [done] = tracking.bring("run", run_id, "nowhere", "http://127.0.0.1:9")
    assert (done["whole"], done["delivered"], done["records"]) == (False, 0, 256)


def test_provider_of_somebody_else_is_refused(tracking: Tracking) -> None:
    """A tracer provider that cannot set span ids is refused with a hint."""
    run_id = tracking.runs["child"]["run_id"]
    [message] = tracking.bring("joined", run_id, "joined", "http://127.0.0.1:9")
    assert "expected Client(join=False)" in message


def test_old_run_is_told_to_be_refused(tracking: Tracking, collector: CollectorProcess) -> None:
    """A run that the collector rejects because of its age is reported as lost."""
    [done] = tracking.bring("run", tracking.recorded["old"], "old", collector.endpoint)
    assert (done["whole"], done["delivered"], done["lost"]) == (False, 0, {"rejected": 1})
