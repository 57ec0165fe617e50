"""Fixtures: a store of MLflow with runs in it, and the collector that they are imported into."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.nightly.integrations.environment import ask
from tests.support.collector import CollectorProcess


@dataclass(frozen=True)
class Tracking:
    """A tracking store of MLflow.

    Attributes:
        folder: Where it is.
        told: What MLflow says of its runs, and our functions of one of them.
    """

    folder: Path
    told: dict[str, Any]

    @property
    def runs(self) -> dict[str, dict[str, Any]]:
        """What MLflow says of each run, by a name of ours."""
        runs: dict[str, dict[str, Any]] = self.told["runs"]
        return runs

    def bring(self, how: str, what: str, project: str, endpoint: str) -> list[Any]:
        """Import into a project, as a process of its own."""
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
    """Runs of MLflow in an SQLite store."""
    folder = tmp_path_factory.mktemp("mlflow")
    told = ask("mlflow_train", folder=folder, MLFLOW_TRACKING_URI=_address(folder))
    return Tracking(folder, told)


@pytest.fixture(scope="module")
def imported(tracking: Tracking, collector: CollectorProcess) -> list[dict[str, Any]]:
    """What the import of the whole experiment, into the project ``once``, tells."""
    return tracking.bring("experiment", "iris", "once", collector.endpoint)


def _address(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"
