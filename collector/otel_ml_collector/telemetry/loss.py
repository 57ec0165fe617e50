"""What is missing and what was late in the last 24 hours, by project."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_PROJECTS: Final = 100
_OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Missed:
    """How many spans of a project are missing, and how many were late."""

    missing: int
    late: int


class LossNumbers(Collector):
    """Shows what it was told last: the 100 projects that miss most, the others as one."""

    def __init__(self) -> None:
        self._shown: Mapping[str, Missed] = {}

    def tell(self, missed: Mapping[str, Missed]) -> None:
        """Take the numbers by project."""
        ordered = sorted(missed.items(), key=lambda one: (-one[1].missing, -one[1].late, one[0]))
        shown = dict(ordered[:_PROJECTS])
        rest = [one for _, one in ordered[_PROJECTS:]]
        if rest:
            known = shown.get(_OTHER, Missed(0, 0))
            shown[_OTHER] = Missed(
                known.missing + sum(one.missing for one in rest),
                known.late + sum(one.late for one in rest),
            )
        self._shown = shown

    def collect(self) -> Iterable[Metric]:
        """Make the metrics."""
        missing = GaugeMetricFamily(
            "otel_ml_spans_missing",
            "Spans of the last 24 hours that were sent but are not here (lost, or dropped by "
            "sampling on the way)",
            labels=["project"],
        )
        late = GaugeMetricFamily(
            "otel_ml_spans_late",
            "Spans of the last 24 hours that came more than 5 minutes after they ended",
            labels=["project"],
        )
        for project, one in self._shown.items():
            missing.add_metric([project], one.missing)
            late.add_metric([project], one.late)
        return missing, late
