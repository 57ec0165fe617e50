"""Records training with XGBoost as a run, with parameters and metrics by round."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import xgboost

from otel_ml.client import Client
from otel_ml.errors import quiet
from otel_ml.runs import Run

__all__ = ["Callback"]

# Always recorded. XGBoost has 50 parameters; others are recorded only if they were changed.
_ALWAYS: Final = ("booster", "eta", "max_depth", "objective", "seed", "subsample")
# Settings of the computation, values derived from the data, and aliases of other parameters.
_NEVER: Final = frozenset(
    {
        *("device", "fail_on_invalid_gpu_id", "n_jobs", "nthread", "validate_parameters"),
        *("base_score", "num_feature", "num_target"),
        *("learning_rate", "min_split_loss", "random_state", "reg_alpha", "reg_lambda"),
    }
)


class Callback(xgboost.callback.TrainingCallback):  # type: ignore[misc]  # not installed for mypy
    """Records each training of ``xgboost.train``, ``xgboost.cv`` or an estimator as a run.

    The run starts and ends with the training. It contains the parameters of the booster, and the
    metrics of each round under XGBoost's names, such as ``valid-rmse``.

    XGBoost does not report errors to callbacks. To record them, open a run yourself in a ``with``
    block around the training and pass it as `run`.

    Args:
        name: Name of the model.
        client: Client that records the runs. Default: a client configured by the environment.
        run: An open run to add everything to. The callback does not end it.
    """

    def __init__(
        self, name: str = "xgboost", client: Client | None = None, run: Run | None = None
    ) -> None:
        super().__init__()
        self._name = name
        self._client = client
        self._given = run
        self._run = run

    @property
    def run(self) -> Run | None:
        """The run of the most recent training. None before the first."""
        return self._run

    def before_training(self, model: Any) -> Any:
        """Open a run. With several processes only the first one does."""
        if self._given is None and xgboost.collective.get_rank() == 0:
            with quiet("xgboost"):
                if self._client is None:
                    from otel_ml.default import run as open_run  # needed only without a client
                else:
                    open_run = self._client.run
                self._run = open_run(self._name, params=_params(model))
        return model

    def after_iteration(
        self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, list[Any]]]
    ) -> bool:
        """Log the metrics of a round. Never stops the training."""
        if self._run is not None:
            with quiet("xgboost"):
                self._run.log_metrics(dict(_numbers(evals_log)), step=epoch)
        return False

    def after_training(self, model: Any) -> Any:
        """End the run that this callback opened. The best round of early stopping becomes a tag."""
        if self._run is not None:
            with quiet("xgboost"):
                best = getattr(model, "attr", lambda _: None)("best_iteration")
                if best is not None:
                    self._run.tag(best_iteration=int(best))
                if self._given is None:
                    self._run.end()
        return model


def _numbers(logged: Mapping[str, Mapping[str, list[Any]]]) -> Iterator[tuple[str, float]]:
    """Yield the last value of each metric. For cross-validation: its mean and deviation."""
    for data, metrics in logged.items():
        for metric, values in metrics.items():
            last = values[-1]
            if isinstance(last, tuple):
                yield f"{data}-{metric}-mean", last[0]
                yield f"{data}-{metric}-std", last[1]
            else:
                yield f"{data}-{metric}", last


def _params(model: Any) -> dict[str, Any]:
    """Return the parameters in which trainings differ."""
    folds = getattr(model, "cvfolds", None)  # all folds have the same parameters
    settings = _settings(folds[0].bst if folds else model)
    data = xgboost.DMatrix(np.zeros((1, 1)))  # must stay alive: the booster does not keep it
    usual = _settings(xgboost.Booster({}, [data]))
    return {
        name: _value(text)
        for name, text in settings.items()
        if name in _ALWAYS or (name not in _NEVER and usual.get(name) != text)
    }


def _settings(booster: Any) -> dict[str, str]:
    """Return all parameters of a booster by name, as the booster writes them."""
    learner = json.loads(booster.save_config())["learner"]
    return dict(_leaves({name: part for name, part in learner.items() if name != "metrics"}))


def _leaves(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, part in config.items():
        if isinstance(part, Mapping):
            yield from _leaves(part)
        elif isinstance(part, str) and name != "name":  # "name" repeats the objective
            yield name, part


def _value(text: str) -> Any:
    """Convert a written number. XGBoost stores floats with 32 bits."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(str(np.float32(text)))
    except ValueError:
        return text
