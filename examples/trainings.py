"""Trains a classifier with sets of hyper-parameters, and compares the metrics of the trainings.

Start a collector with ``otel-ml serve``, then run ``python examples/trainings.py``. It is written
with DigitalHub's calls: the metrics of its entities are compared.
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
    """Train on the digits; gives loss and accuracy of the other half after each epoch."""
    images, digits = load_digits(return_X_y=True)
    images, others, digits, targets = train_test_split(
        images / 16, digits, test_size=0.5, random_state=0
    )
    model = SGDClassifier(
        loss="log_loss", learning_rate="constant", eta0=rate, penalty=penalty, random_state=0
    )
    for _ in range(EPOCHS):
        model.partial_fit(images, digits, classes=np.arange(10))
        loss = log_loss(targets, model.predict_proba(others))
        yield {"val_loss": loss, "val_accuracy": model.score(others, targets)}


def train(project: Project, rate: float, penalty: str) -> str:
    """Log a training under its hyper-parameters; returns the id of its run."""
    with project.client.run("train-digits", params={"rate": rate, "penalty": penalty}) as run:
        entity = Entity(run)
        for metrics in fit(rate, penalty):
            entity.log_metrics(metrics)
    return run.id


def show(found: dict[str, Any]) -> Iterator[str]:
    """Write a comparison as lines: what is to be said, then each training."""
    yield found["sentence"]
    for side in found["sides"]:
        loss = side["metrics"]["val_loss"]
        params = ", ".join(f"{name} {side['params'][name]}" for name in found["differing"])
        yield f"{side['letter']}  {params}: last {loss['last']:.4g}, best {loss['low']:.4g}"


def main() -> None:
    """Train with all of them, and compare."""
    project = get_or_create_project("digits-search")
    ids = [train(project, rate, penalty) for rate, penalty in product(RATES, PENALTIES)]
    project.client.flush()
    with Reader(project.name) as reader:
        for line in show(reader.compare(ids, metric="val_loss")):
            print(line)


if __name__ == "__main__":
    main()
