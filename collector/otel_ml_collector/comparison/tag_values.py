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
    """A rate of the runs with one value of a tag, by both versions.

    Attributes:
        name: The value of the tag, such as a client.
        where: The filter that lists the new version's runs with this value.
        runs: Number of runs with this figure, of the baseline and of the new version.
        before: The rate of the baseline, from 0 to 1.
        after: The rate of the new version.
        is_worst: Whether the verdict names this value as the one that got worst.
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

    If the verdict names a slice that got worst, such as `client == "Kessler"`, the tag is that of
    the slice. Otherwise it is the tag whose mix the comparison corrects for (`SidesVerdict.tag`).

    Returns:
        A row for each value that both versions have, the largest deterioration first. Empty if
        there is no such tag, or if the figure is not a rate.
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
