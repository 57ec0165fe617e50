"""DigitalHub's project as a thin face of `otel_ml.Client`."""

from otel_ml.client import Client
from otel_ml.compat.digitalhub.entity import Entity


class Project:
    """Where models and runs gather.

    Args:
        name: The project.
        url: Base address of the collector; as in `otel_ml.Client` when not given.

    Attributes:
        client: What sends.
    """

    def __init__(self, name: str, url: str | None = None) -> None:
        self.name = name
        self.client = Client(name, endpoint=url)

    def log_model(self, name: str, kind: str = "model", **params: object) -> Entity:
        """Name a version of a model: another one for other parameters.

        Args:
            name: The model.
            kind: Such as ``mlflow`` or ``sklearn``, a parameter like the others.
            params: What the version is made of, such as all that `from_mlflow_run` returns.
        """
        return Entity(self.client.model(name, params={"kind": kind, **params}))

    def run(self, name: str, **params: object) -> Entity:
        """Open a run of kind training; see `otel_ml.Client.run` for when it ends.

        Args:
            name: Of the run.
            params: Its hyper-parameters.
        """
        return Entity(self.client.run(name, params=params))

    def __repr__(self) -> str:
        return f"Project({self.name!r})"


def get_or_create_project(name: str) -> Project:
    """Name a project; it is made by its first record."""
    return Project(name)
