"""Trains models on iris flowers and uses them. Nothing in this file records anything.

The demo starts it with ``opentelemetry-instrument`` and ``OTEL_ML_INSTRUMENT=sklearn``. So each
training and each prediction is a run.
"""

from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    """Train two models, ask each about single flowers, and about all at once."""
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
