"""DigitalHub's import path: ``from otel_ml.compat.digitalhub import handler, from_mlflow_run``."""

from otel_ml.compat.digitalhub.entity import Entity
from otel_ml.compat.digitalhub.handler import handler
from otel_ml.compat.digitalhub.mlflow import from_mlflow_run, get_mlflow_model_metrics
from otel_ml.compat.digitalhub.project import Project, get_or_create_project

__all__ = [
    "Entity",
    "Project",
    "from_mlflow_run",
    "get_mlflow_model_metrics",
    "get_or_create_project",
    "handler",
]
