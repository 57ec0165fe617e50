"""Drop-in replacement for ``from bighummingbird import BigHummingbird``.

Use ``from otel_ml.compat.bighummingbird import BigHummingbird``.
"""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from otel_ml.arguments import show
from otel_ml.client import Client
from otel_ml.judges.judge import Judge

if TYPE_CHECKING:
    from otel_ml.experiments.dataset import Dataset
    from otel_ml.experiments.result import Result

__all__ = ["BigHummingbird"]

P = ParamSpec("P")
R = TypeVar("R")


class BigHummingbird:
    """A replacement for the client of the BigHummingbird package that records to otel-ml.

    Call it as ``BigHummingbird(project, key)``, or as ``BigHummingbird(key, config)`` like the
    published package.

    Args:
        first: Name of the project. If you also pass a config, the API key instead.
        second: The API key, or the config ``{"workspace_name": ..., "project_name": ...}``.
        config: The same config, passed by name instead of as the second argument.

    Attributes:
        client: The `otel_ml.Client` that records.
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
        self._datasets: dict[str, Dataset] = {}

    def trace(self, function: Callable[P, R]) -> Callable[P, R]:
        """Record every call of the decorated function. See `Client.trace`."""
        return self.client.trace(function)

    def add_judge(self, judge: Judge) -> str:
        """Register a judge and return its tag, ``name@version``. See `Client.add_judge`."""
        return self.client.add_judge(judge)

    @overload
    def assess(self, judge_tag: str) -> Callable[[Callable[P, R]], Callable[P, R]]: ...

    @overload
    def assess(
        self, judge_tag: str, dataset_tag: str
    ) -> "Callable[[Callable[..., Any]], Callable[..., Result]]": ...

    def assess(
        self, judge_tag: str, dataset_tag: str | None = None
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Record and score every call of the decorated function. See `Client.assess`.

        With a data set, calling the function runs an experiment instead: the original function is
        called once per row, and the result of the experiment is returned. Arguments of the call are
        ignored. See `Client.evaluate`.

        Args:
            judge_tag: Tag of the judge, as `add_judge` returned it.
            dataset_tag: Tag of the data set, as `upload_dataset` returned it.

        Raises:
            ValueError: The tag does not come from `add_judge` or `upload_dataset`.
        """
        if dataset_tag is None:
            return self.client.assess(judge_tag)
        judge, dataset = self.client._judge(judge_tag), self._dataset(dataset_tag)

        def over_rows(function: Callable[..., Any]) -> "Callable[..., Result]":
            @functools.wraps(function)
            def run(*_: object, **__: object) -> "Result":
                return self.client.evaluate(function, dataset, [judge])

            return run

        return over_rows

    def upload_dataset(self, dataset: "Dataset") -> str:
        """Save a data set and return its tag, to pass to `assess`.

        The tag is ``name:vN``, or ``name@digest`` if no collector answers.

        Raises:
            ValueError: The argument is not a data set.
        """
        tag = self.client.save(dataset)
        self._datasets[tag] = dataset
        return tag

    def _dataset(self, tag: str) -> "Dataset":
        known = self._datasets.get(tag)
        if known is None:
            raise ValueError(
                f"Unknown data set {show(tag)}: expected a tag that upload_dataset returned"
            )
        return known
