"""The model of an MLflow run as plain values: where it lies, what it takes and returns.

Only what MLflow wrote beside a model is read. The model itself, which runs code when it is loaded,
is not.
"""

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlparse

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.models import get_model_info

T = TypeVar("T")

_PYFUNC = "python_function"


def describe_model(client: MlflowClient, run: Run) -> dict[str, Any]:
    """Describe the model that a run logged, the first one of several.

    Returns:
        The keys of `from_mlflow_run`; what there is not is None or empty.
    """
    logged = find_logged_models(client, run)
    uri = f"models:/{logged[0].model_id}" if logged else f"runs:/{run.info.run_id}/model"
    info = _or_none(lambda: get_model_info(uri))
    flavors = {} if info is None else info.flavors
    flavor = next((name for name in flavors if name != _PYFUNC), None)
    signature = None if info is None else info.signature
    location = logged[0].artifact_location if logged else f"{run.info.artifact_uri}/model"
    return {
        "source": urlparse(location).path,
        "framework": flavor,
        "parameters": dict(run.data.params),
        "flavor": flavor,
        "model_config": flavors.get(_PYFUNC, {}).get("config"),
        "input_datasets": describe_datasets(run),
        "signature": {
            part: _schema_json(getattr(signature, part, None))
            for part in ("inputs", "outputs", "params")
        },
    }


def describe_datasets(run: Run) -> list[dict[str, Any]]:
    """Describe the data sets that went into a run; the texts are MLflow's own JSON."""
    inputs = getattr(run, "inputs", None)
    return [
        {
            "name": used.dataset.name,
            "digest": used.dataset.digest,
            "profile": used.dataset.profile,
            "dataset_schema": used.dataset.schema,
            "source": used.dataset.source,
            "source_type": used.dataset.source_type,
        }
        for used in getattr(inputs, "dataset_inputs", None) or ()
    ]


def find_logged_models(client: MlflowClient, run: Run) -> list[Any]:
    """Find the models that a run logged as MLflow 3 does, apart from its artifacts."""
    outputs = getattr(run, "outputs", None)  # not before MLflow 3
    found = [
        _or_none(lambda model_id=output.model_id: client.get_logged_model(model_id))  # type: ignore[misc]  # mypy cannot infer a default
        for output in getattr(outputs, "model_outputs", None) or ()
    ]
    return [model for model in found if model is not None]


def _schema_json(schema: Any) -> str | None:
    """Write a schema as MLflow does; None where there is none."""
    return schema.to_json() if schema else None


def _or_none(read: Callable[[], T]) -> T | None:
    """Read what may be missing."""
    try:
        return read()
    except (MlflowException, OSError):
        return None
