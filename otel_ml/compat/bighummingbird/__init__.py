"""BigHummingbird's import path: ``from otel_ml.compat.bighummingbird import BigHummingbird``."""

from collections.abc import Callable, Mapping
from typing import NoReturn, ParamSpec, TypeVar

from otel_ml.client import Client
from otel_ml.judges.judge import Judge

__all__ = ["BigHummingbird"]

P = ParamSpec("P")
R = TypeVar("R")


class BigHummingbird:
    """Takes both forms: ``(project, key)``, and ``(key, config)`` of the published package.

    Args:
        first: The project, when a key (or None) follows; else the key.
        second: The key, or ``{"workspace_name": ..., "project_name": ...}``.
        config: The same as a mapping for `second`, by keyword.

    Attributes:
        client: What records.
    """

    def __init__(
        self,
        first: str | None = None,
        *second: str | Mapping[str, str] | None,
        config: Mapping[str, str] | None = None,
    ) -> None:
        follows = second[0] if second else config or {}
        if isinstance(follows, Mapping):
            self.client = Client(follows.get("project_name"), first)
        else:
            self.client = Client(first, follows)

    def trace(self, function: Callable[P, R]) -> Callable[P, R]:
        """Record every call of a function; see `Client.trace`."""
        return self.client.trace(function)

    def add_judge(self, judge: Judge) -> str:
        """Make a judge known; returns its tag, ``name@version``. See `Client.add_judge`."""
        return self.client.add_judge(judge)

    def assess(
        self, judge_tag: str, dataset_tag: str | None = None
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Record and score every call of a function; see `Client.assess`.

        Raises:
            NotImplementedError: A data set is given: evaluation over data sets is not built yet.
        """
        if dataset_tag is not None:
            _refuse("assess(dataset_tag=...)")
        return self.client.assess(judge_tag)

    def upload_dataset(self, dataset: object) -> NoReturn:
        """Reserved for data sets.

        Raises:
            NotImplementedError: Always.
        """
        _refuse("upload_dataset")


def _refuse(call: str) -> NoReturn:
    raise NotImplementedError(f"{call}: evaluation over data sets is not built yet")
