"""One case: a function, its arguments, how it is used, and what it leaves."""

import dataclasses
from collections.abc import Callable
from typing import Any


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


@dataclasses.dataclass(frozen=True)
class Case:
    """What is done twice, with the function as it is and with the function traced.

    Attributes:
        name: Of the case, and of the model.
        function: It is traced for the second time.
        arguments: Makes the arguments, anew each time.
        use: Uses the function; what it returns, or raises, is compared.
        runs: How many it leaves; `None` where that is a matter of time.
        outcome: Of each of them.
        inputs: What is recorded of the arguments of each, when the case is about that.
    """

    name: str
    function: Callable[..., Any]
    arguments: Callable[[], tuple[Any, ...]] = tuple
    use: Callable[..., Any] = call
    runs: int | None = 1
    outcome: str = "ok"
    inputs: object = None
