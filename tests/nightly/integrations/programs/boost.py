"""Train with XGBoost in each of its ways, and print the ids of the runs."""

import json
import sys
from typing import Any

import numpy as np
import xgboost

from otel_ml import Client
from otel_ml.integrations.xgboost import Callback

client = Client()
generator = np.random.default_rng(7)
data = generator.random((200, 4))
kinds = (data.sum(axis=1) > 2).astype(int)
matrix = xgboost.DMatrix(data, kinds)
PARAMS = {"objective": "binary:logistic", "max_depth": 3, "eta": 0.1, "seed": 5}


class Broken(xgboost.callback.TrainingCallback):  # type: ignore[misc]  # its package is not there for the type check
    """Fails in the second round."""

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Raise an error in the second round."""
        if epoch == 1:
            raise RuntimeError("no luck")
        return False


def train() -> dict[str, Any]:
    """Train with early stopping."""
    callback = Callback("trained", client)
    told: dict[str, Any] = {}
    model = xgboost.train(
        {**PARAMS, "eval_metric": ["logloss", "auc"]},
        matrix,
        num_boost_round=30,
        evals=[(matrix, "train")],
        early_stopping_rounds=2,
        evals_result=told,
        callbacks=[callback],
        verbose_eval=False,
    )
    return {"run_id": callback.run.id, "told": told, "best": model.best_iteration}  # type: ignore[union-attr]  # it was opened


def validate() -> dict[str, Any]:
    """Cross-validate with three folds."""
    callback = Callback("validated", client)
    told = xgboost.cv(PARAMS, matrix, 3, nfold=3, callbacks=[callback], as_pandas=False)
    return {"run_id": callback.run.id, "told": told}  # type: ignore[union-attr]  # it was opened


def fit() -> dict[str, Any]:
    """Fit two estimators with one callback."""
    callback, ids = Callback("fitted", client), []
    for depth in (1, 2):
        estimator = xgboost.XGBClassifier(
            n_estimators=2, max_depth=depth, learning_rate=0.05, callbacks=[callback]
        )
        estimator.fit(data, kinds, eval_set=[(data, kinds)], verbose=False)
        ids.append(callback.run.id)  # type: ignore[union-attr]  # it was opened
    return {"run_ids": ids}


def fail() -> dict[str, Any]:
    """Train inside an open run, and fail."""
    run = client.run("given", params={"mine": 1})
    try:
        with run:
            xgboost.train(
                PARAMS,
                matrix,
                3,
                evals=[(matrix, "train")],
                callbacks=[Callback(run=run), Broken()],
                verbose_eval=False,
            )
    except RuntimeError:
        pass
    return {"run_id": run.id}


if __name__ == "__main__":
    found = {case.__name__: case() for case in (train, validate, fit, fail)}
    client.flush()
    sys.stdout.write("\n" + json.dumps(found) + "\n")
