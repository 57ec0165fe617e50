"""Trains the classifiers and saves them to files: ``python -m service.train``."""

from typing import Final

import numpy as np
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import confusion_matrix, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from otel_ml import Client

from .data import load_digit_images, load_tumours  # noqa: TID252 - see the package
from .kept import DIGITS, TUMOURS, keep  # noqa: TID252
from .screened import screen  # noqa: TID252
from .triage import triage  # noqa: TID252

_EPOCHS: Final = 30
_RATE: Final = 0.001
_TUMOURS_C: Final = 1.0
_SEED: Final = 0


def train_digits(client: Client) -> None:
    """Train on the digits, log the metrics of each epoch, and save and register the model."""
    data = load_digit_images()
    order = np.random.default_rng(_SEED)
    model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=_RATE, random_state=_SEED)
    params = {"epochs": _EPOCHS, "rate": _RATE, "images": len(data.train.targets)}
    with client.run("train-digits", kind="training", params=params) as run:
        for epoch in range(1, _EPOCHS + 1):
            rows = order.permutation(len(data.train.targets))
            features, targets = data.train.features[rows], data.train.targets[rows]
            model.partial_fit(features, targets, classes=np.arange(10))
            loss = log_loss(data.test.targets, model.predict_proba(data.test.features))
            accuracy = model.score(data.test.features, data.test.targets)
            run.log_metrics({"loss": loss, "accuracy": accuracy}, step=epoch)
        run.info(f"Trained on {len(data.train.targets)} images, tested on the others")
        predicted = model.predict(data.test.features)
        run.log("confusion", confusion_matrix(data.test.targets, predicted))
        is_misread = predicted != data.test.targets
        run.log("a digit that was misread", data.test.features[is_misread][:1])
    keep(model, DIGITS)
    version = client.model("digits-sgd", {"epochs": _EPOCHS, "rate": _RATE}, artifact=DIGITS)
    version.log_metrics({"loss": loss, "accuracy": accuracy})


def train_tumours(client: Client) -> None:
    """Train on the tumours in one step and save the model."""
    data = load_tumours()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=_TUMOURS_C))
    with client.run("train-tumours", kind="training", params={"C": _TUMOURS_C}) as run:
        model.fit(data.train.features, data.train.targets)
        accuracy = model.score(data.test.features, data.test.targets)
        run.log_metrics({"accuracy": accuracy})
    keep(model, TUMOURS)


if __name__ == "__main__":
    train_digits(Client("digits"))
    tumours = Client("breast-cancer")
    train_tumours(tumours)
    screen(tumours)
    triage(tumours)
