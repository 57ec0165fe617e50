"""Import runs of MLflow; the first argument selects how."""

import json
import sys
from itertools import islice
from typing import Any

from mlflow import MlflowClient

from otel_ml import Client
from otel_ml.integrations.mlflow import (
    Imported,
    MlflowRun,
    import_mlflow_experiment,
    import_mlflow_run,
    send,
)
from otel_ml.redaction import Redaction


def experiment(name: str) -> list[dict[str, Any]]:
    """Import an experiment."""
    return [_tell(done) for done in import_mlflow_experiment(name)]


def run(run_id: str) -> list[dict[str, Any]]:
    """Import one run."""
    return [_tell(import_mlflow_run(run_id, timeout_s=2))]


def contents(run_id: str) -> list[dict[str, Any]]:
    """Import one run with the contents of files of at most 100 kB."""
    return [_tell(import_mlflow_run(run_id, content_bytes=100_000))]


def part(run_id: str) -> list[dict[str, Any]]:
    """Import a run, and stop after some of its records."""
    tracking, client = MlflowClient(), Client(join=False)
    records = MlflowRun(tracking, tracking.get_run(run_id), Redaction(), "iris").records()
    sent, delivery = send(client, islice(records, 280), 10)
    return [_tell(Imported(run_id, "", sent, delivery))]


def joined(run_id: str) -> list[str]:
    """Try to import through a tracer provider that is not otel-ml's, and return the errors."""
    from opentelemetry.sdk.trace import TracerProvider

    class Provider(TracerProvider):
        """A provider of another library."""

    try:
        import_mlflow_run(run_id, Client(tracer_provider=Provider()))
    except ValueError as error:
        return [str(error)]
    return []


def _tell(done: Imported) -> dict[str, Any]:
    return {
        "source": done.source_id,
        "run_id": done.run_id,
        "records": done.records,
        "delivered": done.delivery.delivered,
        "whole": bool(done),
        "lost": dict(done.delivery.lost),
    }


if __name__ == "__main__":
    how = {
        "experiment": experiment,
        "run": run,
        "contents": contents,
        "part": part,
        "joined": joined,
    }
    sys.stdout.write("\n" + json.dumps(how[sys.argv[1]](sys.argv[2])) + "\n")
