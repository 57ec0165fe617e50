"""Records training with PyTorch Lightning as a run, with hyper-parameters and metrics by step."""

import secrets
import sys
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_only

from otel_ml.client import Client
from otel_ml.errors import quiet
from otel_ml.runs import Run

try:  # one framework under two names; each trainer accepts the other's loggers
    from lightning.pytorch.loggers import Logger as _Base
except ImportError:
    from pytorch_lightning.loggers import Logger as _Base

__all__ = ["Logger"]


class Logger(_Base):  # type: ignore[misc]  # the package is not installed for type checking
    """Records PyTorch Lightning training as a run: ``Trainer(logger=Logger("digits"))``.

    The run starts when the trainer starts. It ends after the first ``fit``, ``validate``, ``test``
    or ``predict``. If that raises an error, the run ends with this error. Metrics of a later
    ``test`` are still added to the run.

    The run's params are the hyper-parameters that the model saved. Its metrics are the numbers that
    the trainer logs. With several processes, only the first one records.

    Args:
        name: Name of both the model and the folder for checkpoints. By default, the model is named
            after its class, and the folder is called ``training``.
        client: Client that records the run. Default: a client configured by the environment.
        run: An open run to add params and metrics to. You must end it yourself.
    """

    def __init__(
        self, name: str | None = None, client: Client | None = None, run: Run | None = None
    ) -> None:
        super().__init__()
        self._name = name
        self._client = client
        self._given = run
        self._run = run
        self._params: dict[str, Any] = {}
        # Needed before the run opens. `secrets` does not depend on the trainer's seed.
        self._version = secrets.token_hex(4)

    @property
    def name(self) -> str:
        """Name of the checkpoint folder."""
        return self._name or "training"

    @property
    def version(self) -> str:
        """Name of the subfolder for this run. Also a tag of the run."""
        return self._version

    @property
    def run(self) -> Run | None:
        """The run. None before the trainer starts, and on all processes but the first."""
        return self._run

    @property
    def experiment(self) -> Run | None:
        """The run, as in `run`. Lightning's own loggers use this name."""
        return self._run

    @rank_zero_only  # type: ignore[untyped-decorator]  # as above
    def log_hyperparams(
        self, params: Mapping[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Add params to the run. Once the run has started, they are added as tags instead."""
        with quiet("lightning"):
            given = vars(params) if isinstance(params, Namespace) else params
            new = {
                str(name): value for name, value in given.items() if str(name) not in self._params
            }
            self._params.update(new)
            if self._run is not None and new:
                self._run.tag({name: _plain(value) for name, value in new.items()})

    @rank_zero_only  # type: ignore[untyped-decorator]  # as above
    def log_graph(self, model: Any, *args: Any, **kwargs: Any) -> None:
        """Start the run. Lightning calls this when the model is known."""
        with quiet("lightning"):
            self._open(type(model).__name__)

    @rank_zero_only  # type: ignore[untyped-decorator]  # as above
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log the metrics of a step, without ``epoch``, which Lightning adds."""
        with quiet("lightning"):
            facts = {name: value for name, value in metrics.items() if name != "epoch"}
            if facts:
                self._open(self.name).log_metrics(facts, step=step)

    @rank_zero_only  # type: ignore[untyped-decorator]  # as above
    def finalize(self, status: str) -> None:
        """End the run that this logger opened.

        If the training failed, the run gets its exception.
        """
        with quiet("lightning"):
            if self._given is None and self._run is not None:
                self._run.end(sys.exc_info()[1] if status == "failed" else None)

    def _open(self, name: str) -> Run:
        if self._run is None:
            if self._client is None:
                from otel_ml.default import run as open_run  # needed only without a client
            else:
                open_run = self._client.run
            tags = {"version": self._version}
            self._run = open_run(self._name or name, params=self._params, tags=tags)
        return self._run


def _plain(value: Any) -> Any:
    """Return a value as a tag: numbers and text unchanged, anything else as text."""
    return value if isinstance(value, (bool, int, float, str)) else str(value)
