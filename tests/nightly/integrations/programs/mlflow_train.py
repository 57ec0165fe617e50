"""Create runs like users of MLflow do, and print MLflow's data of each run."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric
from sklearn.linear_model import LogisticRegression

from otel_ml.integrations.mlflow import from_mlflow_run, get_mlflow_model_metrics

POINTS = 2_500
FILES = 300


def train() -> str:
    """Train with autolog as in MLflow's documentation, and log more metrics and files."""
    mlflow.sklearn.autolog(log_datasets=True)
    numbers = np.random.default_rng(0).normal(size=(80, 3))
    with mlflow.start_run(run_name="first") as run:
        LogisticRegression().fit(numbers, (numbers[:, 0] > 0).astype(int))
        for epoch in range(5):
            mlflow.log_metric("loss", 1 / (epoch + 1), step=epoch)
        mlflow.log_metric("odd", float("nan"))
        start_ms = run.info.start_time
        many = [Metric("many", n / 7, start_ms + n // 10, n) for n in range(POINTS)]
        MlflowClient().log_batch(run.info.run_id, many[:1000])
        MlflowClient().log_batch(run.info.run_id, many[1000:2000])
        MlflowClient().log_batch(run.info.run_id, many[2000:])
        for number in range(FILES):
            mlflow.log_text("x" * number, f"texts/{number}.txt")
    mlflow.sklearn.autolog(disable=True)
    return str(run.info.run_id)


def nest() -> tuple[str, str]:
    """Create a nested run."""
    with (
        mlflow.start_run(run_name="parent") as parent,
        mlflow.start_run(run_name="child", nested=True) as child,
    ):
        mlflow.log_params({"depth": 3, "api_token": "s3cr3t"})
    return parent.info.run_id, child.info.run_id


def fail() -> str:
    """Create a run that fails."""
    with suppress(RuntimeError), mlflow.start_run(run_name="failed") as run:
        raise RuntimeError("no luck")
    return str(run.info.run_id)


def stop() -> str:
    """Create a run that is killed."""
    run = mlflow.start_run(run_name="killed")
    mlflow.end_run("KILLED")
    return str(run.info.run_id)


def leave_open() -> str:
    """Create a run that stays open."""
    run = MlflowClient().create_run(_experiment_id(), run_name="open")
    MlflowClient().log_metric(run.info.run_id, "loss", 0.5)
    return str(run.info.run_id)


def make_old() -> str:
    """Create a run with a start time 500 days ago, in a separate experiment."""
    start_ms = int((time.time() - 500 * 24 * 3600) * 1e3)
    client = MlflowClient()
    run = client.create_run(client.create_experiment("old"), start_time=start_ms)
    client.set_terminated(run.info.run_id, end_time=start_ms + 1)
    return str(run.info.run_id)


def tell(run_id: str) -> dict[str, Any]:
    """Return all of MLflow's data about a run."""
    client = MlflowClient()
    run = client.get_run(run_id)
    return {
        "run_id": run_id,
        "name": run.info.run_name,
        "user": run.info.user_id,
        "start_ms": run.info.start_time,
        "end_ms": run.info.end_time,
        "params": run.data.params,
        "tags": run.data.tags,
        "last": run.data.metrics,
        "datasets": [used.dataset.to_dictionary() for used in run.inputs.dataset_inputs],
        "history": {
            name: [[m.value, m.step, m.timestamp] for m in client.get_metric_history(run_id, name)]
            for name in run.data.metrics
        },
        "artifacts": dict(_files(client, run_id, None)) | dict(_files(client, run_id, "model")),
    }


def _files(client: MlflowClient, run_id: str, folder: str | None) -> Iterator[tuple[str, int]]:
    for found in client.list_artifacts(run_id, folder):
        if found.is_dir:
            yield from _files(client, run_id, found.path)
        else:
            yield found.path, found.file_size


def _experiment_id() -> str:
    return str(mlflow.get_experiment_by_name("iris").experiment_id)


def main() -> None:
    """Create the runs, and print all data about them."""
    mlflow.set_experiment("iris")
    first = train()
    parent, child = nest()
    ids = {
        "first": first,
        "parent": parent,
        "child": child,
        "failed": fail(),
        "killed": stop(),
        "open": leave_open(),
    }
    found = {
        "runs": {name: tell(run_id) for name, run_id in ids.items()},
        "model": from_mlflow_run(first),
        "without_model": from_mlflow_run(child),
        "old": make_old(),
        "last": get_mlflow_model_metrics(first),
    }
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
