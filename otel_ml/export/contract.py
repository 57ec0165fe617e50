"""What stands between the end of a span and its delivery: a source that holds, a destination."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from otel_ml.export.answer import Answer


@dataclass(frozen=True, slots=True)
class Pace:
    """How many spans go in one request, and how long the first of them waits for the others."""

    batch_spans: int = 2_048
    delay_s: float = 0.2


class Batch(Protocol):
    """Spans on their way."""

    @property
    def count(self) -> int:
        """How many."""

    def halves(self) -> "Sequence[Any]":
        """Split it, for a receiver that finds it too large."""


B = TypeVar("B", bound=Batch)
B_contra = TypeVar("B_contra", bound=Batch, contravariant=True)


class Source(Protocol[B]):
    """Holds spans until they are settled: in memory, or on disk. One thread takes and settles."""

    @property
    def pending(self) -> int:
        """How many spans are neither delivered nor given up."""

    @property
    def look_every_s(self) -> float | None:
        """How often to take though none is pending; None where others cannot bring any.

        Such a source outlives its process: what is not delivered is not lost.
        """

    def put(self, item: Any, /) -> bool:
        """Take a span in, or whatever else it holds; False when there is no room."""

    def hold(self, item: Any, /) -> None:
        """Keep a span for the case that this process ends before it is put."""

    def take(self, max_spans: int, max_bytes: int) -> B | None:
        """Take the next spans."""

    def settle(self, batch: B) -> None:
        """Forget spans that were taken: they are delivered, or refused for good."""

    def leave(self, batch: B) -> int:
        """Stop trying; returns how many spans are lost by that."""

    def close(self) -> int:
        """Stop holding; returns how many spans are lost by that."""

    def clear(self) -> None:
        """Begin empty in a forked child."""


class Destination(Protocol[B_contra]):
    """Where spans go."""

    @property
    def page(self) -> str:
        """Its name for people."""

    @property
    def is_out_of_reach(self) -> bool:
        """Whether it is not there: it is being connected to, or the last request got no answer.

        False where that is not known.
        """

    def send(self, batch: B_contra, timeout_s: float) -> Answer:
        """Send once."""

    def close(self) -> None:
        """Let connections go."""

    def after_fork(self) -> None:
        """Forget the parent's connections in a forked child."""
