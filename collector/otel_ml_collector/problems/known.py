"""Problems that a user marked as known: pages list them, but do not count them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.stats import Past
from otel_ml_collector.store.documents import Document, DocumentKind, list_documents
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, HOUR_NS, from_rfc3339, to_rfc3339
from otel_ml_collector.verdicts.verdicts import Interval

KNOWN: Final = DocumentKind(
    "known problem", most=500, limit_bytes=16 * 1024, noted_as="known problem"
)
# A mark ends, so that a problem that comes back much later is shown again.
_MARKED_NS: Final = 30 * DAY_NS
# Standard errors of a 95 % interval.
_Z: Final = 1.96
# The end of an interval without one. JSON has no infinity.
_UNBOUNDED: Final = 1e12


@dataclass(frozen=True, slots=True)
class Harm:
    """How bad a problem is, as an interval: a difference, or affected runs per day."""

    least: float
    most: float


class KnownProblem(AnswerBody):
    """A problem that a user marked as known."""

    name: str = Field(description="Name of the mark")
    problem: str = Field(description="Name of the problem in the address of its page")
    title: str = Field(description="The problem in one sentence, as it was when it was marked")
    who: str = Field(description="Name of the key that marked it; empty without keys")
    marked_time: str = Field(description="When it was marked, RFC 3339 in UTC")
    end_time: str = Field(description="When the mark ends, RFC 3339 in UTC")
    most: dict[Past, float] = Field(
        description="Size of the problem when it was marked, by time range: the upper bound of "
        "the difference, or of affected runs per day. If the problem certainly "
        "becomes larger, it counts again"
    )

    def hides(self, harm: Harm, last: Past, since_ns: int | None, now_ns: int) -> bool:
        """Return whether the mark "known" still applies to a problem that was found again.

        The mark does not apply in any of these cases:

        * The mark is older than 30 days.
        * The problem began again after a user marked it.
        * The problem is larger now. That is, even the lowest estimate of its size is above the
          highest estimate from the time of the mark.
        * When a user marked the problem, it did not exist in the time range `last`.

        Args:
            harm: How bad the problem is now.
            last: Time range in which the problem is found now, such as the last 24 hours.
            since_ns: When the problem began, in nanoseconds since 1970; None if unknown.
            now_ns: Current time, in nanoseconds since 1970.
        """
        marked_ns = from_rfc3339(self.marked_time, "marked_time")
        is_new = since_ns is not None and since_ns > marked_ns
        most = self.most.get(last)
        has_ended = now_ns >= marked_ns + _MARKED_NS
        return not has_ended and not is_new and most is not None and harm.least <= most


def find_known(reader: Reader, project: str) -> Mapping[str, KnownProblem]:
    """Find the marks of a project by name, those that have ended included."""
    return {item.name: make_known(item) for item in list_documents(reader, project, KNOWN)}


def make_known(document: Document) -> KnownProblem:
    """Read a mark from its document."""
    return KnownProblem(
        name=document.name,
        marked_time=to_rfc3339(document.saved_ns),
        end_time=to_rfc3339(document.saved_ns + _MARKED_NS),
        **document.body,
    )


def measure_difference(difference: Interval, neutral: float) -> Harm:
    """Return how large a problem is: the smallest and the largest size of a difference.

    The direction does not count: for a neutral value of 0, an interval from -3 to -1 gives 1 to 3.
    If the interval contains the neutral value, the smallest size is 0.

    Args:
        difference: The difference between the runs with the problem and the runs that they are
            compared with, and its confidence interval.
        neutral: The value that means no difference: 0 for a difference, 1 for a ratio.
    """
    low = -_UNBOUNDED if difference.low is None else difference.low - neutral
    high = _UNBOUNDED if difference.high is None else difference.high - neutral
    least, most = sorted((abs(low), abs(high)))
    return Harm(0.0 if low < 0 < high else least, most)


def measure_runs(runs: float, length_ns: int) -> Harm:
    """Return the size of a problem as a range: a low and a high estimate of affected runs per day.

    Args:
        runs: Number of affected runs.
        length_ns: Length of the time in which these runs began.
    """
    days = max(length_ns, HOUR_NS) / DAY_NS
    spread = _Z * math.sqrt(runs)
    return Harm(max(runs - spread, 0.0) / days, (runs + spread) / days)
