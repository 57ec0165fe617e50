"""How the versions of a model did over time: volume, errors, latency, and what judges said."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from otel_ml_collector.query.answers.stats import Figures, StatsBucket
from otel_ml_collector.query.times import DAY_NS, HOUR_NS
from otel_ml_collector.stats.find import StatsQuery, find_stats
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.runs import Window
from otel_ml_collector.web.spark import spark
from otel_ml_collector.web.view import quoted

_SPANS: Final = {
    "1h": (HOUR_NS, HOUR_NS // 60),
    "24h": (DAY_NS, HOUR_NS),
    "7d": (7 * DAY_NS, 6 * HOUR_NS),
    "30d": (30 * DAY_NS, DAY_NS),
}
_VERSIONS: Final = 6
_JUDGES: Final = 3


@dataclass(frozen=True, slots=True)
class Curve:
    """A figure of a version over time, as SVG points, with its value over all of it."""

    points: str
    value: float | None


@dataclass(frozen=True, slots=True)
class VersionCurves:
    """The curves of one version; `judges` are pass rates, or mean scores where nothing passes."""

    version: str
    total: Figures
    runs: str
    errors: str
    latency: str
    judges: Sequence[Curve]


@dataclass(frozen=True, slots=True)
class Curves:
    """The curves of the versions with most runs, and the judges that they are told for."""

    judges: Sequence[str]
    versions: Sequence[VersionCurves]


def find_curves(reader: Reader, project: str, model: str, last: str, now_ns: int) -> Curves:
    """Find how the versions of a model did in the last hour, 24 hours, 7 or 30 days."""
    length_ns, step_ns = _SPANS[last]
    end_ns = -(-now_ns // step_ns) * step_ns
    window = Window(end_ns - length_ns, end_ns)
    where = f"model == {quoted(model)}"
    query = StatsQuery(project, where, "version", window, step_ns, _VERSIONS)
    stats = find_stats(reader, query)
    judges = [judge.judge for judge in stats.total.judges[:_JUDGES]]

    def curve(buckets: Sequence[StatsBucket], of: Callable[[Figures], float | None]) -> str:
        values: list[float | None] = [None] * (length_ns // step_ns)
        for bucket in buckets:
            values[(bucket.start_ns - window.start_ns) // step_ns] = of(bucket)
        return spark(values)

    return Curves(
        judges,
        [
            VersionCurves(
                version=group.group,
                total=group.total,
                runs=curve(group.buckets, lambda figures: figures.runs),
                errors=curve(group.buckets, lambda figures: figures.error_share),
                latency=curve(group.buckets, lambda figures: figures.p90_ms),
                judges=[
                    Curve(curve(group.buckets, partial(_said, judge)), _said(judge, group.total))
                    for judge in judges
                ],
            )
            for group in stats.groups
        ],
    )


def _said(judge: str, figures: Figures) -> float | None:
    """Return a judge's pass rate, or its mean score where it says nothing of passing."""
    for one in figures.judges:
        if one.judge == judge:
            return one.mean_score if one.pass_rate is None else one.pass_rate
    return None
