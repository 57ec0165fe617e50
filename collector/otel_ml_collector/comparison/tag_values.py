"""The figures of two versions by the values of a tag: for whom a version is worse."""

from dataclasses import dataclass
from typing import Final

from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.releases import Release, ReleaseFigure, compare_by_tag
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.web import view

_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class TagValueFigures:
    """A rate of two versions, such as a pass rate, over the compared runs with a value of a tag.

    For example, the pass rates of a new version and its baseline over the runs of one client.

    Attributes:
        name: The value of the tag, such as the client.
        where: The filter that lists the version's runs with this value.
        runs: Number of runs from which the rate was computed, of the baseline and of the version
            that is compared with it.
        before: The rate of the baseline, from 0 to 1.
        after: The rate of the version that is compared with it, from 0 to 1.
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

    The runs are those of the verdict. Which tag is used depends on the verdict, too. If it names
    the slice that got worse the most, such as ``tags["client"] == "Kessler"``, it is the tag of
    this slice. Otherwise it is the tag whose values get the same weight in both versions, so that a
    different mix of clients does not count as a difference (`SidesVerdict.tag`).

    Args:
        reader: The store.
        project: The project.
        release: The comparison of both versions.
        figure: The compared rate, such as the share of failed calls or the pass rate by a judge.
        now_ns: When `release` was computed. Later runs are ignored.

    Returns:
        One row for each value of the tag, the one that got worse the most first. Only the eight
        values with the most runs are compared, and a value needs runs of both versions. Empty if
        there is no such tag, or if the figure is not a rate.
    """
    tag = choose_tag(release, figure)
    if not tag or not figure.is_rate:
        return []
    rows = []
    verdicts = compare_by_tag(
        reader, project, release, now_ns, figure=figure.name, tag=tag, most=_SHOWN
    )
    for token, verdict in verdicts.items():
        name = token.partition("=")[2]
        own = next((item for item in verdict.describe() if item.name == figure.name), None)
        test = f"tags[{quoted(tag)}] == {quoted(name)}"
        is_worst = figure.worst == test
        if is_worst and figure.of_worst is not None:
            own = figure.of_worst
        if own is None or own.baseline is None or own.candidate is None:
            continue
        rows.append(
            TagValueFigures(
                name=name,
                where=narrow(release.candidate.where, test),
                runs=(own.baseline.n, own.candidate.n),
                before=own.baseline.value,
                after=own.candidate.value,
                is_worst=is_worst,
            )
        )
    sign = 1 if figure.lower_is_better else -1
    return sorted(rows, key=lambda row: (-sign * (row.after - row.before), row.name))


def choose_tag(release: Release, figure: ReleaseFigure) -> str:
    """Return the tag of the worst slice, else the tag with equal weights in both versions."""
    return view.split_tag_test(figure.worst)[0] or release.stratum
