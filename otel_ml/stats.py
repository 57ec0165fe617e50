"""What a client has done in this process, in numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters of one client in this process.

    Attributes:
        configuration: What is in force, by name: provider, endpoint, bounds of the queue.
        sequence: The highest number that a run or record of the project got.
        delivered: Spans that the receiver took, and data that was uploaded apart from them.
        lost: Spans that are gone for good, by reason; data under ``artifact: ...``.
        retries: Requests that had to be sent again.
        blocked_ms: How long calls waited for room in the queue, all together.
        queued: Spans that wait for delivery, in memory or on disk.
        held: Calls whose judges have not spoken.
        open_runs: Runs that have not ended.
        trouble: Trouble of ours that the host never saw, by place.
        cost_p50_us: What the SDK itself cost a call, median of the last 1,024, in microseconds;
            None before the first call.
        cost_p99_us: The same, of which one in a hundred costs more.
    """

    configuration: Mapping[str, object] = field(default_factory=dict)
    sequence: int = 0
    delivered: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)
    retries: int = 0
    blocked_ms: float = 0.0
    queued: int = 0
    held: int = 0
    open_runs: int = 0
    trouble: Mapping[str, int] = field(default_factory=dict)
    cost_p50_us: float | None = None
    cost_p99_us: float | None = None
