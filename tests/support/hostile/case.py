"""One case: a function, its arguments, how it is used, and its runs."""

import dataclasses
from collections.abc import Callable
from typing import Any


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


@dataclasses.dataclass(frozen=True)
class Case:
    """A use of a function that is run twice: untraced, then traced.

    Attributes:
        name: The name of the case and of its model.
        function: The function that is traced the second time.
        arguments: Makes new arguments for each use.
        use: Uses the function; its result or exception is compared.
        runs: How many runs it leaves; `None` if that depends on timing.
        outcome: The outcome of each run.
        inputs: The recorded inputs of each run, if the case is about them.
    """

    name: str
    function: Callable[..., Any]
    arguments: Callable[[], tuple[Any, ...]] = tuple
    use: Callable[..., Any] = call
    runs: int | None = 1
    outcome: str = "ok"
    inputs: object = None
