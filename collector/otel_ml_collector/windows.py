"""Windows of time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time: from `start_ns`, which is in, to `end_ns`, which is not."""

    start_ns: int
    end_ns: int
