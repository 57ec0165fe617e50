"""BigHummingbird's import path of `Dataset`."""

from collections.abc import Iterable
from typing import Any

from otel_ml.experiments import dataset as datasets

__all__ = ["Dataset"]


class Dataset(datasets.Dataset):
    """A data set of inputs alone: each row holds the arguments of a call.

    Args:
        dataset_name: The data set's name.
        data: Rows: the function's inputs.
        description: Its purpose.

    Raises:
        ValueError: An argument is invalid.
    """

    def __init__(
        self, dataset_name: str, data: Iterable[Any], description: str | None = None
    ) -> None:
        rows = data if isinstance(data, str | bytes) else ({"inputs": row} for row in data)
        super().__init__(dataset_name, rows, description or "")
