"""DigitalHub's readers of MLflow runs; MLflow is loaded by the call."""

from typing import Any


def from_mlflow_run(run_id: str) -> dict[str, Any]:
    """Read what an MLflow run tells of its model, see `otel_ml.integrations.mlflow`."""
    from otel_ml.integrations.mlflow import from_mlflow_run  # who calls it needs MLflow

    return from_mlflow_run(run_id)


def get_mlflow_model_metrics(run_id: str) -> dict[str, float]:
    """Read the last value of each metric of an MLflow run, see `otel_ml.integrations.mlflow`.

    Their history is imported by `otel_ml.integrations.mlflow.import_mlflow_run`.
    """
    from otel_ml.integrations.mlflow import get_mlflow_model_metrics  # as above

    return get_mlflow_model_metrics(run_id)
