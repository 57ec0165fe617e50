"""What the last experiments said of items: which tell versions apart, and which never do."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from otel_ml.records import ListedExperiment
from otel_ml_collector.api.parameters import read_cursor, write_place
from otel_ml_collector.datasets.find import (
    LINES,
    PAGE,
    DatasetItems,
    count_stored,
    find_items,
    make_version,
    read_items,
    read_manifests,
    version_row,
)
from otel_ml_collector.experiments.find import find_experiments
from otel_ml_collector.owners import own_dataset
from otel_ml_collector.store.experiments import (
    MOST_RUNS,
    item_parameters,
    judge_items,
    read_passes,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.web import view

_EXPERIMENTS: Final = 6
Mark = Literal["passed", "failed", "differed", "no word", "not in it"]
Show = Literal["all", "never", "always", "apart", "flaky", "changed", "runs"]

_JUDGED: Final = judge_items(
    Sql("SELECT left(line, length(line) - 65), right(line, 64) FROM ({lines})").fill(lines=LINES)
)
_COUNTS: Final = Sql("""
    SELECT countIf(passed > 0 AND failed = 0) AS always,
      countIf(passed = 0 AND failed > 0) AS never,
      countIf(passed > 0 AND failed > 0) AS apart, countIf(is_flaky) AS flaky
    FROM ({judged})""").fill(judged=_JUDGED)
_SOME: Final = Sql("""
    SELECT item, item_digest FROM ({judged})
    WHERE {which} AND item > {after:String} ORDER BY item LIMIT {limit:UInt32}""")
_WHICH: Final[Mapping[Show, Sql]] = {
    "always": Sql("passed > 0 AND failed = 0"),
    "never": Sql("passed = 0 AND failed > 0"),
    "apart": Sql("passed > 0 AND failed > 0"),
    "flaky": Sql("is_flaky"),
}
_FROM_RUNS: Final = Sql("""
    SELECT left(line, length(line) - 65) AS item, right(line, 64) AS item_digest FROM ({lines})
    WHERE item > {after:String} AND item_digest IN (
      SELECT digest FROM items WHERE project = {project:String} AND source_run != '')
    ORDER BY item LIMIT {limit:UInt32}""").fill(lines=LINES)


class DatasetHistory(BaseModel):
    """What the last experiments on a data set said of the items of one version.

    An item of which several repeats differ counts as one that passes and fails. Runs that no judge
    let pass or fail say nothing.
    """

    experiments: list[ListedExperiment] = Field(
        description="The newest six that have results, the oldest first; fewer of very large ones"
    )
    always: int = Field(description="Items that passed each time")
    never: int = Field(description="Items that failed each time")
    apart: int = Field(description="Items that did both: these tell versions apart")
    flaky: int = Field(description="Items whose repeats differed in one experiment")
    marks: dict[str, list[Mark]] = Field(
        description="Of the items that were asked for, in each experiment, by id"
    )


def find_history(
    reader: Reader,
    project: str,
    name: str,
    number: int,
    now_ns: int,
    *,
    items: Sequence[str] = (),
) -> DatasetHistory:
    """Say what the last experiments said of the items of a version, and of some by name.

    Raises:
        NotFound: There is no such version.
    """
    row = version_row(reader, project, name, number)
    experiments = _find_last(reader, project, name, now_ns)
    if not experiments:
        return DatasetHistory(experiments=[], always=0, never=0, apart=0, flaky=0, marks={})
    parameters = _parameters(project, name, row["digest"], experiments)
    [counts] = reader.rows(_COUNTS, parameters)
    marks = {item: ["not in it"] * len(experiments) for item in items}
    if items:
        digests = read_manifests(reader, project, [row])[row["digest"]]
        ids = [one.run_id for one in experiments]
        for told in read_passes(reader, project, ids, parameters["start"], items):
            if digests.get(told["item"]) == told["item_digest"]:
                place = ids.index(told["experiment"])
                marks[told["item"]][place] = _mark_of(told["passes"], told["fails"])
    return DatasetHistory.model_validate({"experiments": experiments, **counts, "marks": marks})


def find_shown(
    reader: Reader,
    project: str,
    name: str,
    number: int,
    now_ns: int,
    *,
    show: Show = "all",
    limit: int = PAGE,
    cursor: str | None = None,
) -> DatasetItems:
    """Read items of a version of which the last experiments said something, by their ids.

    Args:
        reader: The store.
        project: Whose.
        name: Of the data set.
        number: The small number of the version.
        now_ns: By it an experiment whose process is silent has crashed.
        show: Which, as `DatasetHistory` counts them; ``changed`` are those that the version before
            has not or has otherwise, ``runs`` those that were made of recorded runs.
        limit: How many.
        cursor: Of the page before.

    Raises:
        BadQuery: The cursor is wrong.
        NotFound: There is no such version.
    """
    if show == "all":
        return find_items(reader, project, name, number, limit=limit, cursor=cursor)
    row = version_row(reader, project, name, number)
    (after,) = read_cursor(cursor, str) if cursor else ("",)
    if show == "changed":
        rows = [row]
        if number > 1:
            rows.append(version_row(reader, project, name, number - 1))
        newer, *older = (read_manifests(reader, project, rows)[one["digest"]] for one in rows)
        before = older[0] if older else {}
        differ = [one for one in newer if one > after and before.get(one) != newer[one]]
        lines = [(one, newer[one]) for one in sorted(differ)[: limit + 1]]
    else:
        experiments = [] if show == "runs" else _find_last(reader, project, name, now_ns)
        sql = _FROM_RUNS if show == "runs" else _SOME.fill(judged=_JUDGED, which=_WHICH[show])
        wanted = {"after": after, "limit": limit + 1}
        parameters = _parameters(project, name, row["digest"], experiments) | wanted
        is_known = show == "runs" or experiments
        found = reader.rows(sql, parameters) if is_known else []
        lines = [(one["item"], one["item_digest"]) for one in found]
    return DatasetItems(
        version=make_version(row, count_stored(reader, project, [row])),
        items=read_items(reader, project, lines[:limit]),
        next_cursor=write_place([lines[limit - 1][0]]) if len(lines) > limit else None,
    )


def _find_last(reader: Reader, project: str, name: str, now_ns: int) -> list[ListedExperiment]:
    """List the newest experiments on any version of a data set that have results, oldest first."""
    where = f"dataset == {view.quoted(name)}"
    listed = find_experiments(reader, project, now_ns, where=where, limit=_EXPERIMENTS)
    found: list[ListedExperiment] = []
    for one in listed.experiments:
        if one.done and sum(other.done for other in [*found, one]) <= MOST_RUNS:
            found.insert(0, one)
    return found


def _parameters(
    project: str, name: str, digest: str, experiments: Sequence[ListedExperiment]
) -> dict[str, Any]:
    start_ns = min((one.start_ns for one in experiments), default=0)
    ids = [one.run_id for one in experiments]
    return item_parameters(project, ids, start_ns) | {"owners": [own_dataset(name, digest)]}


def _mark_of(passes: int, fails: int) -> Mark:
    if passes and fails:
        return "differed"
    if fails:
        return "failed"
    return "passed" if passes else "no word"
