"""Train a tiny language model with a real `Trainer`, and print the trainer's log."""

import json
import logging
import sys
from typing import Any

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

import otel_ml
from otel_ml import Client
from otel_ml.integrations.transformers import Callback

logger = logging.getLogger(__name__)
_STEPS = 6


class Witness(TrainerCallback):  # type: ignore[misc]  # its package is not there for the type check
    """Keeps the values that the trainer logs."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, Any]]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Store the logged values."""
        self.logged.append((state.global_step, dict(logs)))


# Copied from DigitalHub's documentation.
class LoggingCallback(TrainerCallback):  # type: ignore[misc]  # see above
    def __init__(self, run):  # type: ignore[no-untyped-def]
        self.run = run

    def on_log(self, args, state, control, logs, model=None, **kwargs):  # type: ignore[no-untyped-def]
        metrics = {}
        for k, v in logs.items():
            if isinstance(v, (int, float)):
                metrics[k] = v
            elif isinstance(v, torch.Tensor) and v.numel() == 1:
                metrics[k] = v.item()
            else:
                logger.warning(
                    f'Trainer is attempting to log a value of "{v}" of type {type(v)} for key "{k}" as a metric. '  # noqa: E501, G004
                    "MLflow's log_metric() only accepts float and int types so we dropped this attribute."  # noqa: E501
                )
        self.run.log_metrics(metrics)


class Numbers(torch.utils.data.Dataset):  # type: ignore[misc]  # see above
    """A few sequences."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Any]:
        ids = torch.arange(8) % 16
        return {"input_ids": ids, "labels": ids}


class Broken(Numbers):
    """Sequences that cannot be read to the end."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        raise RuntimeError("no luck")


def make_trainer(*callbacks: TrainerCallback, data: Numbers | None = None) -> Trainer:
    """Return a trainer for a model with one layer."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0
    )
    arguments = TrainingArguments(
        output_dir="out",
        max_steps=_STEPS,
        per_device_train_batch_size=2,
        learning_rate=0.01,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        hub_token="s3cr3t",
    )
    return Trainer(
        model=GPT2LMHeadModel(config),
        args=arguments,
        train_dataset=data or Numbers(),
        eval_dataset=Numbers(),
        callbacks=list(callbacks),
    )


def train() -> dict[str, Any]:
    """Train and evaluate with the callback alone."""
    witness, callback = Witness(), Callback()
    trainer = make_trainer(witness, callback)
    before = callback.run
    trainer.train()
    trainer.evaluate()
    assert callback.run is not None
    return {"before": before, "run_id": callback.run.id, "logged": witness.logged}


def train_in_a_run() -> dict[str, Any]:
    """Train inside an open run, and fail."""
    client = Client()
    run = client.run("given", kind="training")
    try:
        with run:
            make_trainer(Callback(client, run=run), data=Broken()).train()
    except RuntimeError:
        pass
    client.flush()
    return {"run_id": run.id}


def train_as_digitalhub() -> dict[str, Any]:
    """Train with the callback of DigitalHub's documentation."""
    witness = Witness()
    with otel_ml.run("digitalhub") as run:
        make_trainer(witness, LoggingCallback(run)).train()  # type: ignore[no-untyped-call]  # it is the origin's
    return {"run_id": run.id, "logged": witness.logged}


def log_often() -> dict[str, Any]:
    """Let a trainer's loop log 1,000 times, including tensors and other values."""
    callback = Callback(name="often")
    trainer = make_trainer()
    control = TrainerControl()
    state = TrainerState(is_world_process_zero=True)
    trainer.model.train()
    callback.on_train_begin(trainer.args, state, control, model=trainer.model)
    for step in range(1, 1_001):
        state.global_step = step
        logs = {"loss": torch.tensor(1 / step), "rate": step, "note": "text", "all": torch.ones(2)}
        callback.on_log(trainer.args, state, control, logs=logs)
    state.is_world_process_zero = False
    callback.on_log(trainer.args, state, control, logs={"loss": 7.0})
    callback.on_train_end(trainer.args, state, control)
    assert callback.run is not None
    return {"run_id": callback.run.id}


if __name__ == "__main__":
    cases = (train, train_in_a_run, train_as_digitalhub, log_often)
    found = {case.__name__: case() for case in cases}
    otel_ml.flush()
    sys.stdout.write("\n" + json.dumps(found) + "\n")
