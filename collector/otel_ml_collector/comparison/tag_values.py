"""The figures of two versions by the values of a tag: for whom a new version is worse."""

from dataclasses import dataclass
from typing import Final

from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.findings.releases import Release, ReleaseFigure
from otel_ml_collector.stats import RunFigures, StatsQuery, find_stats
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.verdicts.verdicts import ERRORS
from otel_ml_collector.web import view
from otel_ml_collector.windows import Window

_BEFORE_NS: Final = 7 * DAY_NS
_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class TagValueFigures:
    """The pass rate or error rate of two versions, over the runs with one value of a tag.

    For example, the pass rates of a new version and its baseline over the runs of one client.

    Attributes:
        name: The value of the tag, such as the client.
        where: The filter that lists the new version's runs with this value.
        runs: Number of runs from which the rate was computed, of the baseline and of the new
            version.
        before: The rate of the baseline, from 0 to 1.
        after: The rate of the new version, from 0 to 1.
        is_worst: Whether the verdict names this value as the one that got worse the most.
    """

    name: str
    where: str
    runs: tuple[int, int]
    before: float
    after: float
    is_worst: bool


def find_tag_values(
    reader: Reader, project: str, release: Release, figure: ReleaseFigure, now_ns: int
) -> list[TagValueFigures]:
    """Compare a rate of two versions separately for each value of a tag, such as each client.

    Which tag is used depends on the verdict on the new version. If the verdict names the slice that
    got worse the most, such as ``tags["client"] == "Kessler"``, it is the tag of this slice.
    Otherwise it is the tag whose values get the same weight in both versions, so that a different
    mix of clients does not count as a difference (`SidesVerdict.tag`).

    Args:
        reader: The store.
        project: The project.
        release: The new version and its baseline.
        figure: The compared rate, such as the share of failed calls or the pass rate by a judge.
        now_ns: Current time, in nanoseconds since 1970.

    Returns:
        One row for each value of the tag, the one that got worse the most first. Only the eight
        values with the most runs of each version are read, and a value needs runs of both versions.
        Empty if there is no such tag, or if the figure is not a rate.
    """
    tag = choose_tag(release, figure)
    if not tag or not figure.is_rate:
        return []
    group = f"tags[{quoted(tag)}]"
    window = Window(max(release.began_ns - _BEFORE_NS, 0), now_ns + 1)
    before, after = (
        {
            item.group: item.total
            for item in find_stats(
                reader, StatsQuery(project, side.where, group, window, None, _SHOWN)
            ).groups
        }
        for side in (release.baseline, release.candidate)
    )
    rows = []
    for name, own in after.items():
        (old_rate, old_runs), (rate, runs) = (
            _read_rate(figure, side) for side in (before.get(name), own)
        )
        if not name or old_rate is None or rate is None:
            continue
        test = f"{group} == {quoted(name)}"
        rows.append(
            TagValueFigures(
                name=name,
                where=f"{release.candidate.where} and {test}",
                runs=(old_runs, runs),
                before=old_rate,
                after=rate,
                is_worst=figure.worst == test,
            )
        )
    sign = 1 if figure.lower_is_better else -1
    return sorted(rows, key=lambda row: (-sign * (row.after - row.before), row.name))


def choose_tag(release: Release, figure: ReleaseFigure) -> str:
    """Return the tag of the worst slice, else the tag with equal weights in both versions."""
    return view.split_tag_test(figure.worst)[0] or release.stratum


def _read_rate(figure: ReleaseFigure, figures: RunFigures | None) -> tuple[float | None, int]:
    """Return a rate, and the number of runs that have it."""
    if figures is None:
        return None, 0
    if figure.name == ERRORS:
        return figures.error_share, figures.runs
    for judge in figures.judges:
        if (judge.judge, judge.digest) == (figure.name, figure.judge_version):
            value = judge.mean_score if judge.pass_rate is None else judge.pass_rate
            return value, judge.evaluations
    return None, 0
