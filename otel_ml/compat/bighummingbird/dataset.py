"""BigHummingbird's import path for `Dataset`."""

from collections.abc import Iterable
from typing import Any

from otel_ml.experiments import dataset as datasets

__all__ = ["Dataset"]


class Dataset(datasets.Dataset):
    """A data set with inputs, but without expected outputs.

    Args:
        dataset_name: Name of the data set.
        data: Rows. Each row has the arguments for one call of the function.
        description: What the data set is for.

    Raises:
        ValueError: An argument is invalid.
    """

    def __init__(
        self, dataset_name: str, data: Iterable[Any], description: str | None = None
    ) -> None:
        rows = data if isinstance(data, str | bytes) else ({"inputs": row} for row in data)
        super().__init__(dataset_name, rows, description or "")
