"""Runs of MLflow: read as plain values, or imported whole."""

from collections.abc import Iterator
from typing import Any, Final

from mlflow import MlflowClient
from mlflow.entities import Run

from otel_ml.client import Client
from otel_ml.integrations.importing import Imported, send
from otel_ml.integrations.mlflow_model import describe_model
from otel_ml.integrations.mlflow_records import MlflowRun

__all__ = [
    "Imported",
    "from_mlflow_run",
    "get_mlflow_model_metrics",
    "import_mlflow_experiment",
    "import_mlflow_run",
]

_TIMEOUT_S: Final = 60.0
_PAGE: Final = 1_000


def from_mlflow_run(run_id: str) -> dict[str, Any]:
    """Read the model of an MLflow run: what it is, what it was made with and from.

    The model itself is not loaded. A run without a model, a signature or data sets is no error.

    Args:
        run_id: As MLflow names the run, at its tracking address in force.

    Returns:
        ``source`` (the path of the model's files), ``framework`` and ``flavor``, ``parameters``,
        ``model_config``, ``input_datasets``, and ``signature`` with ``inputs``, ``outputs`` and
        ``params`` as MLflow's own JSON.

    Raises:
        MlflowException: There is no such run.
    """
    client = MlflowClient()
    return describe_model(client, client.get_run(run_id))


def get_mlflow_model_metrics(run_id: str) -> dict[str, float]:
    """Read the last value of each metric of an MLflow run.

    Raises:
        MlflowException: There is no such run.
    """
    return dict(MlflowClient().get_run(run_id).data.metrics)


def import_mlflow_run(
    run_id: str,
    client: Client | None = None,
    *,
    name: str | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> Imported:
    """Import an MLflow run: params, tags, data sets, metrics with their history, artifacts' names.

    Times are MLflow's, and ids are derived from its run id: a run that is imported again is
    stored once, and one whose import was interrupted is completed. Artifacts stay where they
    are. A run that is nested in another one is below it in one trace.

    Args:
        run_id: As MLflow names the run, at its tracking address in force.
        client: Where it goes, one with ``join=False``; one that the environment sets up when
            not given.
        name: The model that it is filed under; the experiment's name when not given.
        timeout_s: For the delivery of some hundred records.

    Returns:
        What became of it.

    Raises:
        MlflowException: There is no such run.
        ValueError: The client's spans are made by a provider of the service's.
    """
    tracking = MlflowClient()
    run = tracking.get_run(run_id)
    target = client or Client(join=False)
    try:
        return _import(tracking, run, target, name or _experiment_name(tracking, run), timeout_s)
    finally:
        if client is None:
            target.close()


def import_mlflow_experiment(
    name_or_id: str,
    client: Client | None = None,
    *,
    name: str | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> list[Imported]:
    """Import all runs of an MLflow experiment but the deleted ones, as `import_mlflow_run` does.

    Args:
        name_or_id: The experiment.
        client: See `import_mlflow_run`.
        name: See `import_mlflow_run`.
        timeout_s: See `import_mlflow_run`.

    Returns:
        What became of each run, the oldest first; the first that is not delivered is the last.

    Raises:
        MlflowException: There is no such experiment.
        ValueError: See `import_mlflow_run`.
    """
    tracking = MlflowClient()
    experiment = tracking.get_experiment_by_name(name_or_id) or tracking.get_experiment(name_or_id)
    target = client or Client(join=False)
    done: list[Imported] = []
    try:
        for run in _runs_of(tracking, experiment.experiment_id):
            done.append(_import(tracking, run, target, name or experiment.name, timeout_s))
            if not done[-1]:
                break
    finally:
        if client is None:
            target.close()
    return done


def _import(
    tracking: MlflowClient, run: Run, client: Client, name: str, timeout_s: float
) -> Imported:
    found = MlflowRun(tracking, run, client._recorder.redaction, name)
    sent, delivery = send(client, found.records(), timeout_s)
    return Imported(run.info.run_id, found.identity.run_id, sent, delivery)


def _experiment_name(tracking: MlflowClient, run: Run) -> str:
    return str(tracking.get_experiment(run.info.experiment_id).name)


def _runs_of(tracking: MlflowClient, experiment_id: str) -> Iterator[Run]:
    token: str | None = None
    while True:
        page = tracking.search_runs(
            [experiment_id],
            order_by=["attributes.start_time ASC"],
            max_results=_PAGE,
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return
