"""Trains and uses models of iris flowers. This file contains no code that records runs.

The demo starts it with ``opentelemetry-instrument`` and ``OTEL_ML_INSTRUMENT=sklearn``, which
records each training and each prediction as a run.
"""

from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    """Train two models. With each, predict flowers one by one, then all at once."""
    parts = train_test_split(*load_iris(return_X_y=True, as_frame=True), random_state=0)
    train, test, kinds, _ = parts
    for model in (
        make_pipeline(StandardScaler(), LogisticRegression()),
        GradientBoostingClassifier(n_estimators=20, random_state=0),
    ):
        model.fit(train, kinds)
        for place in range(len(test)):
            model.predict(test[place : place + 1])
        model.predict_proba(test)


if __name__ == "__main__":
    main()
