"""Trains a classifier with several sets of hyperparameters and compares the metrics of the runs.

Start a collector with ``otel-ml serve``, then run ``python examples/trainings.py``. The example
logs its metrics through otel-ml's DigitalHub-compatible API.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from otel_ml.compat.digitalhub import Entity, Project, get_or_create_project
from otel_ml.reader import Reader

RATES = (0.0003, 0.003, 0.03)
PENALTIES = ("l2", "l1")
EPOCHS = 8


def fit(rate: float, penalty: str) -> Iterator[dict[str, float]]:
    """Train on half of the digits. After each epoch, yield loss and accuracy on the other half."""
    images, digits = load_digits(return_X_y=True)
    images, test_images, digits, test_digits = train_test_split(
        images / 16, digits, test_size=0.5, random_state=0
    )
    model = SGDClassifier(
        loss="log_loss", learning_rate="constant", eta0=rate, penalty=penalty, random_state=0
    )
    for _ in range(EPOCHS):
        model.partial_fit(images, digits, classes=np.arange(10))
        loss = log_loss(test_digits, model.predict_proba(test_images))
        yield {"val_loss": loss, "val_accuracy": model.score(test_images, test_digits)}


def train(project: Project, rate: float, penalty: str) -> str:
    """Train once, log the hyperparameters and metrics, and return the run ID."""
    with project.client.run("train-digits", params={"rate": rate, "penalty": penalty}) as run:
        entity = Entity(run)
        for metrics in fit(rate, penalty):
            entity.log_metrics(metrics)
    return run.id


def show(comparison: dict[str, Any]) -> Iterator[str]:
    """Yield a comparison as lines of text: a summary, then one line per training."""
    yield comparison["sentence"]
    for side in comparison["sides"]:
        loss = side["metrics"]["val_loss"]
        params = ", ".join(f"{name} {side['params'][name]}" for name in comparison["differing"])
        yield f"{side['letter']}  {params}: last {loss['last']:.4g}, best {loss['low']:.4g}"


def main() -> None:
    """Train with every combination of hyperparameters and print the comparison."""
    project = get_or_create_project("digits-search")
    ids = [train(project, rate, penalty) for rate, penalty in product(RATES, PENALTIES)]
    project.client.flush()
    with Reader(project.name) as reader:
        for line in show(reader.compare(ids, metric="val_loss")):
            print(line)


if __name__ == "__main__":
    main()
