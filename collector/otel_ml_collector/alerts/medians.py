"""The usual value of a rule's figure: its median in the week before an alert.

It is measured again from stored runs, so every process finds the same number.
See docs/design/069-ends-of-alerts.md.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from otel_ml_collector.alerts.conditions import OF_MONITOR
from otel_ml_collector.alerts.measurement import (
    MeasuredSlices,
    MeasuredWindows,
    Measurement,
    measure,
)
from otel_ml_collector.alerts.rule import RulePlan, SliceKey
from otel_ml_collector.alerts.states import MeasuredSlice, empty_slice, key_of
from otel_ml_collector.errors import StoreTimeout
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, HOUR_NS

_WEEK_NS: Final = 7 * DAY_NS


class WeekMedians:
    """Finds medians of a rule's first figure, and measures each window at most once.

    Of the windows that the rule evaluates, at most one per hour is measured: at most 168 a week, in
    one query. For a rule with `drift` or `excess` it is one per day, because each takes several
    queries. The times of these windows do not depend on the alert.

    Args:
        reader: Reads the store.
        asked: What the rule measures.
        plan: The rule.
        judge_changes: Times at which new versions of the rule's judges began. Scores from before
            the newest one are left out.
        known: Windows that are measured already, by their end.
    """

    def __init__(
        self,
        reader: Reader,
        asked: Measurement,
        plan: RulePlan,
        judge_changes: Sequence[int] = (),
        known: MeasuredSlices | None = None,
    ) -> None:
        self._reader = reader
        self._plan = plan
        self._asked = asked
        self._judge_changes = judge_changes
        self._measured: dict[int, Mapping[SliceKey, MeasuredSlice]] = dict(known or {})
        least_ns = DAY_NS if plan.condition.of(OF_MONITOR) else HOUR_NS
        self._step_ns = -(-least_ns // plan.every_ns) * plan.every_ns

    def find(self, key: SliceKey, before_ns: int) -> float | None:
        """Return the median in the windows with enough runs that ended in the week before a time.

        Args:
            key: The slice.
            before_ns: End of the window with which the alert began, in nanoseconds since 1970.

        Returns:
            The median. None without such a window, or if the store needs too long to measure them.

        Raises:
            BadInput: The filter or a figure is invalid.
            Missing: A figure uses ground truth, and the project has no such prediction target.
            Unavailable: The store does not answer.
        """
        plan, step_ns = self._plan, self._step_ns
        from_ns = max(before_ns - _WEEK_NS, plan.window_ns)
        changed_ns = max((at for at in self._judge_changes if at < before_ns), default=0)
        if changed_ns:
            from_ns = max(from_ns, changed_ns + plan.window_ns)
        ends_ns = range(-(-from_ns // step_ns) * step_ns, before_ns, step_ns)
        try:
            self._measure([end_ns for end_ns in ends_ns if end_ns not in self._measured])
        except StoreTimeout:
            return None
        main = key_of(plan.condition.main)
        values = []
        for end_ns in ends_ns:
            own = self._measured[end_ns].get(key) or empty_slice(plan)
            runs = min(own.runs, own.counts.get(main, own.runs))
            value = own.numbers.get(main, math.nan)
            if runs >= plan.min_runs and math.isfinite(value):
                values.append(value)
        return median(values) if values else None

    def _measure(self, ends_ns: Sequence[int]) -> None:
        """Measure the windows from the first to the last of some ends."""
        if not ends_ns:
            return
        number = (ends_ns[-1] - ends_ns[0]) // self._step_ns + 1
        windows = MeasuredWindows(ends_ns[0], self._step_ns, number, self._plan.window_ns)
        measured = measure(self._reader, self._asked, windows)
        self._measured |= {end_ns: measured.get(end_ns, {}) for end_ns in windows.ends_ns}
