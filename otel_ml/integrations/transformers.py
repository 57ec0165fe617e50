"""Records training with Hugging Face transformers as a run, with arguments and metrics by step."""

import numbers
from typing import Any, Final

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from otel_ml.client import Client
from otel_ml.errors import quiet
from otel_ml.runs import Run

__all__ = ["Callback"]

# Always recorded. The other arguments, more than 100, are recorded only if they were changed.
_ALWAYS: Final = (
    "learning_rate",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "lr_scheduler_type",
    "optim",
    "weight_decay",
    "seed",
)
# Paths and output settings do not describe the model. Tokens are secrets.
_NEVER: Final = frozenset(
    {"output_dir", "logging_dir", "run_name", "report_to", "hub_token", "push_to_hub_token"}
)


class Callback(TrainerCallback):  # type: ignore[misc]  # not installed for type checking
    """Records each training of a Hugging Face ``Trainer`` as a run.

    The run starts and ends with the training. Its params are the training arguments, and its
    metrics are the numbers that the trainer logs.

    The trainer does not report errors to callbacks. To record them, open a run yourself in a
    ``with`` block around ``trainer.train()`` and pass it as `run`. Otherwise the run of a failed
    training ends late and without the error.

    Args:
        client: Client that records the runs. Default: a client configured by the environment.
        run: An open run to add everything to. The callback does not end it.
        name: Name of the model. Default: the class of the trained model.
    """

    def __init__(
        self, client: Client | None = None, run: Run | None = None, name: str | None = None
    ) -> None:
        super().__init__()
        self._client = client
        self._given = run
        self._name = name
        self._run = run

    @property
    def run(self) -> Run | None:
        """The run of the most recent training. None before the first."""
        return self._run

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Open a run. With several processes only the first one does."""
        if self._given is not None or not state.is_world_process_zero:
            return
        with quiet("transformers"):
            model = kwargs.get("model")
            if self._client is None:
                from otel_ml.default import run as open_run  # needed only without a client
            else:
                open_run = self._client.run
            self._run = open_run(
                self._name or type(model).__name__, params=_params(args), tags=_tags(args, model)
            )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Log the metrics of a step. Values that are not numbers are left out."""
        if self._run is None or not state.is_world_process_zero:
            return
        with quiet("transformers"):
            facts = {name: _number(value) for name, value in (logs or {}).items()}
            points = {name: value for name, value in facts.items() if value is not None}
            self._run.log_metrics(points, step=state.global_step)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """End the run that this callback opened. A later evaluation is still added to it."""
        if self._given is None and self._run is not None:
            self._run.end()


def _number(value: Any) -> float | None:
    """Return a number, also from a tensor or array with one element. None for anything else."""
    if getattr(value, "size", None) is not None and hasattr(value, "item"):
        try:
            value = value.item()
        except (ValueError, RuntimeError):  # more than one element
            return None
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return float(value) if is_number else None


def _params(args: TrainingArguments) -> dict[str, Any]:
    """Return the arguments in which trainings differ."""
    params: dict[str, Any] = args.to_sanitized_dict()
    usual = {field.name: field.default for field in args.__dataclass_fields__.values()}
    return {
        name: value
        for name, value in params.items()
        if name in _ALWAYS
        or (name not in _NEVER and name in usual and value != _plain(usual[name]))
    }


def _plain(default: Any) -> Any:
    """Return a default as the arguments write it. An enum member becomes its value."""
    return getattr(default, "value", default)


def _tags(args: TrainingArguments, model: Any) -> dict[str, Any]:
    """Return tags that describe the trained model."""
    config = getattr(model, "config", None)
    facts = {
        "model_type": getattr(config, "model_type", None),
        "base_model": getattr(config, "_name_or_path", None),
        "run_name": args.run_name,
    }
    return {name: value for name, value in facts.items() if value}
