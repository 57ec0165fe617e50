"""BigHummingbird's import path of `Dataset`; the name is reserved."""

from typing import NoReturn


class Dataset:
    """Reserved for evaluation over data sets."""

    def __new__(cls, dataset_name: str, data: object, description: str | None = None) -> NoReturn:
        """Say that data sets are not built yet.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            f"Dataset({dataset_name!r}): evaluation over data sets is not built yet"
        )
