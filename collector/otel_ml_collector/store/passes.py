"""Stops retention from deleting if the clock has moved too far since the last retention pass.

A wrong clock can make everything look old. So the store keeps the time of the last pass. If the
clock is more than two days away from it, there was a long pause, or the clock is wrong.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.clock import ClockTracker
from otel_ml_collector.store.sql import Sql, StoreClient
from otel_ml_collector.times import DAY_NS, SECOND_NS, format_time

MOST_PAUSE_NS: Final = 2 * DAY_NS
# A pass is stored as one integer: its number, then its time in seconds in the lower 34 bits. The
# store keeps the largest value, so the last pass wins.
_TIME_BITS: Final = 34
_ROW_NAME: Final = "retention_pass"
_LAST: Final = Sql("SELECT max(value) FROM store_meta WHERE name = {name:String}")
# Used as the last pass if retention never ran.
_NEWEST_ARRIVAL: Final = Sql("SELECT max(arrived_ns) FROM runs")


@dataclass(frozen=True, slots=True)
class ClockMove:
    """A clock that is far from the time of the last pass.

    Attributes:
        last_ns: Time of the last pass.
        now_ns: Time of the clock.
    """

    last_ns: int
    now_ns: int

    def __str__(self) -> str:
        """Return the warning, with both times."""
        return (
            f"Retention deletes nothing: its last pass was at {format_time(self.last_ns)} UTC, and "
            f"this machine's clock shows {format_time(self.now_ns)} UTC. Set the clock if it is "
            "wrong. Retention deletes again when 100 arriving spans agree with the clock, or "
            "after otel-ml retention --confirm"
        )


class Passes:
    """Decides whether retention may delete now, and remembers when it last did.

    If the clock is more than two days away from the last pass, retention waits. It deletes again
    when 100 arriving spans agree with the clock, or when an operator confirms the clock.

    Use it from one thread at a time. Its methods raise the errors of the store's client.

    Args:
        client: The store.
        clocks: Compares this machine's clock with the times of arriving spans.
        clock: Returns the time of this machine's clock, in nanoseconds since 1970.

    Attributes:
        move: Time of the last pass and of the clock, if retention waits because they are too far
            apart; None if it does not wait.
        is_confirmed: Whether an operator has confirmed the clock since the last pass.
    """

    def __init__(
        self, client: StoreClient, clocks: ClockTracker, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._client = client
        self._clocks = clocks
        self._clock = clock
        self._last_ns = 0
        self.move: ClockMove | None = None
        self.is_confirmed = False

    @property
    def is_close(self) -> bool:
        """Whether the clock is within two days of the last pass that this process knows."""
        return abs(self._clock() - self._last_ns) <= MOST_PAUSE_NS

    def admit(self, now_ns: int) -> bool:
        """Return whether a pass may delete now. If it may, store its time as the last pass."""
        if not self.is_right(now_ns):
            return False
        number, _ = self._read()
        self._note(number + 1, now_ns)
        self.is_confirmed = False
        return True

    def is_right(self, now_ns: int) -> bool:
        """Return whether the clock of this machine can be trusted.

        The clock is trusted if it is at most two days away from the time of the last retention
        pass, or from the newest run's arrival if there was no pass. Otherwise, it could be wrong,
        and retention could delete new records. It is trusted again after 100 spans have arrived
        whose times agree with it. Only spans count that arrive after the doubt began.

        Args:
            now_ns: The time of the clock, in nanoseconds since 1970.
        """
        _, self._last_ns = self._read()
        before_ns = self._last_ns or int(self._client.query(_NEWEST_ARRIVAL).result_rows[0][0])
        if not before_ns or abs(now_ns - before_ns) <= MOST_PAUSE_NS:
            return True
        if self.move is not None and self._clocks.spans_agree:
            return True
        if self.move is None:
            self._clocks.forget_spans()
        self.move = ClockMove(before_ns, now_ns)
        return False

    def confirm(self, now_ns: int) -> ClockMove:
        """Accept the clock as right, so that the next retention pass deletes old records again.

        Returns:
            The times of the last pass and of the clock. `last_ns` is 0 if there was no pass.
        """
        number, last_ns = self._read()
        self._note(number + 1, now_ns)
        self.is_confirmed = True
        return ClockMove(last_ns, now_ns)

    def _read(self) -> tuple[int, int]:
        """Return the number and the time of the last pass; 0 and 0 before the first one."""
        rows = self._client.query(_LAST, {"name": _ROW_NAME}).result_rows
        number, seconds = divmod(int(rows[0][0]), 1 << _TIME_BITS)
        return number, seconds * SECOND_NS

    def _note(self, number: int, now_ns: int) -> None:
        value = (number << _TIME_BITS) | (now_ns // SECOND_NS)
        self._client.insert("store_meta", [[_ROW_NAME, value]], column_names=["name", "value"])
        self._last_ns, self.move = now_ns, None
