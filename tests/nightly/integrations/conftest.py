"""Fixtures: an MLflow store with runs, and a collector that imports them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.nightly.integrations.environment import ask
from tests.support.collector import CollectorProcess


@dataclass(frozen=True)
class Tracking:
    """An MLflow tracking store.

    Attributes:
        folder: The folder of the store.
        recorded: MLflow's data of its runs, and the results of otel-ml's functions for a run.
    """

    folder: Path
    recorded: dict[str, Any]

    @property
    def runs(self) -> dict[str, dict[str, Any]]:
        """Return MLflow's data of each run, by a short name."""
        runs: dict[str, dict[str, Any]] = self.recorded["runs"]
        return runs

    def bring(self, how: str, what: str, project: str, endpoint: str) -> list[Any]:
        """Import into a project in a separate process."""
        done: list[Any] = ask(
            *("mlflow_import", how, what),
            folder=self.folder,
            MLFLOW_TRACKING_URI=_address(self.folder),
            OTEL_ML_ENDPOINT=endpoint,
            OTEL_ML_PROJECT=project,
        )
        return done


@pytest.fixture(scope="session")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    """Create runs with MLflow in an SQLite store."""
    folder = tmp_path_factory.mktemp("mlflow")
    recorded = ask("mlflow_train", folder=folder, MLFLOW_TRACKING_URI=_address(folder))
    return Tracking(folder, recorded)


@pytest.fixture(scope="module")
def imported(tracking: Tracking, collector: CollectorProcess) -> list[dict[str, Any]]:
    """Import the whole experiment into the project ``once``, and return the results."""
    return tracking.bring("experiment", "iris", "once", collector.endpoint)


def _address(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"
