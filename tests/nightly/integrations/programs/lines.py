"""Train a line with PyTorch Lightning under both package names, and print the run ids."""

import json
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from otel_ml import Client
from otel_ml.integrations.lightning import Logger

EPOCHS = 5
client = Client()
numbers = torch.linspace(-1, 1, 32).unsqueeze(1)
data = DataLoader(TensorDataset(numbers, 3 * numbers + 1), batch_size=8)


def make_model(lightning: Any, fails_at: int | None = None) -> Any:
    """Return a linear model of the given Lightning package."""

    class Line(lightning.LightningModule):  # type: ignore[misc]  # its package is not there for the type check
        def __init__(self, rate: float) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: Any) -> Any:
            if self.global_step == fails_at:
                raise RuntimeError("no luck")
            loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def test_step(self, batch: Any) -> None:
            self.log("test_loss", torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=self.hparams.rate)

    return Line(0.1)


def make_trainer(lightning: Any, folder: str, logger: Logger) -> Any:
    """Return a trainer that logs every step."""
    return lightning.Trainer(
        default_root_dir=folder,
        logger=logger,
        max_epochs=EPOCHS,
        log_every_n_steps=1,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def train(package: str) -> dict[str, Any]:
    """Train and test."""
    lightning = import_module(package)
    logger = Logger(client=client)
    trainer, model = make_trainer(lightning, package, logger), make_model(lightning)
    before = logger.run
    trainer.fit(model, data)
    tested = trainer.test(model, data, verbose=False)
    checkpoints = list(Path(package).glob("training/*/checkpoints"))
    return {
        "before": before,
        "run_id": logger.run.id,  # type: ignore[union-attr]  # it was opened
        "tested": tested[0]["test_loss"],
        "folders": [one.parent.name for one in checkpoints],
    }


def fail() -> dict[str, Any]:
    """Train with an error in the third step."""
    lightning = import_module("lightning.pytorch")
    logger = Logger("failed", client)
    with suppress(RuntimeError):
        make_trainer(lightning, "failed", logger).fit(make_model(lightning, fails_at=2), data)
    return {"run_id": logger.run.id}  # type: ignore[union-attr]  # it was opened


def train_in_a_run() -> dict[str, Any]:
    """Train inside an open run that continues afterwards."""
    lightning = import_module("lightning.pytorch")
    with client.run("given", params={"mine": 1}) as run:
        make_trainer(lightning, "given", Logger(run=run)).fit(make_model(lightning), data)
        run.tag(after="the training")
    return {"run_id": run.id}


if __name__ == "__main__":
    found = {
        "lightning.pytorch": train("lightning.pytorch"),
        "pytorch_lightning": train("pytorch_lightning"),
        "fail": fail(),
        "train_in_a_run": train_in_a_run(),
    }
    client.flush()
    sys.stdout.write("\n" + json.dumps(found) + "\n")
