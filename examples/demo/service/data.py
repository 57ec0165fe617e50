"""Loads data sets that ship with scikit-learn, split into a train and a test part."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split

_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of features and their targets."""

    features: np.ndarray[Any, np.dtype[np.float64]]
    targets: np.ndarray[Any, np.dtype[np.int64]]

    def first(self, count: int) -> "Part":
        """Return the first `count` rows."""
        return Part(self.features[:count], self.targets[:count])


@dataclass(frozen=True, slots=True)
class Data:
    """A data set with its two parts and the names of its features and targets."""

    train: Part
    test: Part
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]


def load_digit_images() -> Data:
    """Load 1,797 handwritten digits, each with 64 pixels from 0 (paper) to 1 (ink)."""
    return _cut(load_digits(), scale=1 / 16)


def load_tumours() -> Data:
    """Load 569 tumours, malignant or benign, each with 30 measurements."""
    return _cut(load_breast_cancer(), scale=1.0)


def _cut(bunch: Any, *, scale: float) -> Data:
    train_x, test_x, train_y, test_y = train_test_split(
        bunch.data * scale, bunch.target, random_state=_SEED, stratify=bunch.target
    )
    return Data(
        train=Part(train_x, train_y),
        test=Part(test_x, test_y),
        feature_names=tuple(str(name) for name in bunch.feature_names),
        target_names=tuple(str(name) for name in bunch.target_names),
    )
