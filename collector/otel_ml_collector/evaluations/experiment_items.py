"""Lists the items of an experiment, with their runs in the experiment and in the baseline."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from otel_ml import attributes as names
from otel_ml.records import (
    ExperimentRow,
    ItemScore,
    JudgedChange,
    ListedItemRun,
)
from otel_ml.statistics.report import (
    write_change,
    write_step,
)
from otel_ml.statistics.scored_runs import (
    ItemGroup,
    is_flaky,
)
from otel_ml.statistics.verdict import ItemChange, Verdict
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import read_cursor, write_place
from otel_ml_collector.evaluations.experiment_comparison import (
    Compared,
    Show,
    compare_sides,
    count_items,
    items_of,
    work_out,
)
from otel_ml_collector.evaluations.experiment_runs import AskedExperiment, find_pair, sides_of
from otel_ml_collector.store.experiments import (
    MOST_RUNS,
    list_items,
    read_item_content,
    read_item_runs,
)
from otel_ml_collector.store.reader import Reader, Row, load_json, run_id_of

ROWS: Final = 100
_NO_CONTENT: Final = {
    "tags": "",
    "source_run": "",
    "source_session": "",
    "expected": "",
    "cut": "",
}


class ExperimentRows(AnswerBody):
    """Items of an experiment."""

    rows: list[ExperimentRow]
    next_cursor: str | None


def find_rows(
    reader: Reader,
    asked: AskedExperiment,
    *,
    show: Show = "all",
    judge: str = "",
    limit: int = ROWS,
    cursor: str | None = None,
) -> ExperimentRows:
    """List the data set items of an experiment: all of them, or only those of one kind.

    Args:
        reader: The store.
        asked: The experiment and its baseline.
        show: ``all``, ordered by item ID; ``regression`` or ``fixed`` (items that got worse or
            better than in the baseline), the largest change first; ``flaky`` (repeated runs pass
            and fail) or ``error`` (a call failed).
        judge: For ``regression`` and ``fixed``: name of the only judge whose scores are compared.
            If empty, the scores of all judges are compared.
        limit: Maximum number of items.
        cursor: The `next_cursor` of the previous page; None for the first page.

    Raises:
        Missing: The experiment or the baseline does not exist.
        BadInput: An ID or the cursor is invalid.
    """
    project = asked.project
    experiment, other = find_pair(reader, asked)
    if show != "all" or other is not None:
        most = first_of(cursor) + limit + 1
        compared = compare_sides(reader, project, experiment, other, most=most)
        return cut_rows(
            reader, project, compared, show=show, judge=judge, limit=limit, cursor=cursor
        )
    (after,) = read_cursor(cursor, str) if cursor else ("",)
    items = list_items(
        reader, project, asked.run_id, experiment.start_ns, after=after, limit=limit + 1
    )
    shown = items[:limit]
    outcome = work_out(reader, project, experiment, None, most=limit, items=shown)
    compared = Compared(experiment, None, *outcome)
    return ExperimentRows(
        rows=make_rows(reader, project, compared, shown),
        next_cursor=write_place([shown[-1]]) if len(items) > limit else None,
    )


def first_of(cursor: str | None) -> int:
    """Return how many items the pages before the cursor contain.

    Raises:
        BadInput: The cursor is invalid.
    """
    (first,) = read_cursor(cursor, int) if cursor else (0,)
    return max(min(first, MOST_RUNS), 0)


def cut_rows(
    reader: Reader,
    project: str,
    compared: Compared,
    *,
    show: Show,
    judge: str = "",
    limit: int,
    cursor: str | None,
) -> ExperimentRows:
    """List one page of the items of one kind, such as regressions, starting at a cursor."""
    first = first_of(cursor)
    shown = items_of(compared, show, judge)[first : first + limit]
    more = first + limit < count_items(compared, show, judge)
    return ExperimentRows(
        rows=make_rows(reader, project, compared, shown),
        next_cursor=write_place([first + limit]) if more else None,
    )


def make_rows(
    reader: Reader, project: str, compared: Compared, items: Sequence[str]
) -> list[ExperimentRow]:
    """Read some items, with the runs on each item in the experiment and in the baseline."""
    if not items:
        return []
    now, before = compared.now, compared.before
    ids, start_ns, window = sides_of(before, now)
    rows, item_runs = read_item_runs(reader, project, ids, start_ns, items, recorded=window)
    content = read_item_content(reader, project, (row["item_digest"] for row in rows))
    scores: defaultdict[tuple[str, str], dict[str, ItemScore]] = defaultdict(dict)
    for row in item_runs:
        if row["judge_version"] in compared.chosen.get(row["judge"], ()):
            scores[row["trace_id"], row["span_id"]][row["judge"]] = ItemScore(
                digest=row["judge_version"],
                score=row["score"],
                passed=row["passed"],
                failed=bool(row["failed"]),
            )
    sides: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        sides[row["experiment"], row["item"]].append(row)
    groups = _find_groups(reader, project, compared, items)
    states = _states(compared.verdict)
    verdict = compared.verdict
    changes = (
        {regression.item: regression for regression in (*verdict.regressions, *verdict.fixed)}
        if verdict
        else {}
    )
    made = []
    for item in items:
        runs = sides[now.run_id, item]
        if not runs or item not in groups:  # deleted meanwhile
            continue
        digest, group = runs[0]["item_digest"], groups[item]
        value = content.get(digest, _NO_CONTENT)
        change = changes.get(group.name)
        baseline_rows = sides[before.run_id, item] if before else []
        made.append(
            ExperimentRow(
                item=item,
                digest=digest,
                tags=load_json(value["tags"], {}),
                source_run=item if names.RUN_ID.fullmatch(item) else value["source_run"],
                source_session=value["source_session"],
                state=states.get(group.name, "same") if before else "",
                is_flaky=is_flaky(group.after),
                runs=[_make_run(row, scores) for row in runs],
                baseline=[_make_run(row, scores) for row in baseline_rows],
                expected=_preview(value),
                change=write_change(change) if change else "",
                changes=_make_changes(change) if change else [],
            )
        )
    return made


def _preview(expected: Mapping[str, Any]) -> str:
    """Write an item's expected value as plain text, or the beginning of its JSON if it is long."""
    if expected["cut"]:
        return f"{expected['cut']}…"
    value = load_json(expected["expected"])
    if isinstance(value, str):
        return value
    return "" if value is None else str(expected["expected"])


def _make_changes(change: ItemChange) -> list[JudgedChange]:
    named = change.judges
    return [
        JudgedChange(
            judge=judge,
            is_rate=step.is_rate,
            before=step.before,
            after=step.after,
            change=step.change,
            score_before=step.scores[0],
            score_after=step.scores[1],
            text=write_step(step),
        )
        for judge in (*named, *sorted(change.steps.keys() - named))
        for step in (change.steps[judge],)
    ]


def _find_groups(
    reader: Reader, project: str, compared: Compared, items: Sequence[str]
) -> dict[str, ItemGroup]:
    """Find the group of each item. Items whose IDs were not read before are counted again."""
    wanted = {*items}
    groups = {
        item: compared.groups[name]
        for name, of in compared.items.items()
        for item in wanted.intersection(of)
    }
    left = [item for item in items if item not in groups]
    if left:
        both = compared.now, compared.before
        again, named, *_ = work_out(reader, project, *both, most=len(left), items=left)
        known = {_results_of(group): group for group in compared.groups.values()}
        for name, value in again.items():
            for item in named[name]:
                if (group := known.get(_results_of(value))) is not None:
                    groups[item] = group
    return groups


def _results_of(item_group: ItemGroup) -> str:
    """Write the results of a group's runs as text that can be compared."""
    sides = (
        [replace(run, item="", cluster="", tags={}) for run in side]
        for side in (item_group.before, item_group.after)
    )
    return repr([*sides])


def _states(verdict: Verdict | None) -> dict[str, str]:
    """Return the states of groups: new, changed, fixed or regression."""
    if verdict is None or verdict.shared is None:
        return {}
    facts = dict.fromkeys(verdict.shared.new, "new") | dict.fromkeys(
        verdict.shared.changed, "changed"
    )
    facts |= {item.item: "fixed" for item in verdict.fixed}
    return facts | {regression.item: "regression" for regression in verdict.regressions}


def _make_run(row: Row, scores: Mapping[tuple[str, str], Mapping[str, ItemScore]]) -> ListedItemRun:
    return ListedItemRun(
        run_id=run_id_of(row),
        repeat=row["repeat"],
        outcome=row["outcome"],
        error_type=row["error_type"],
        error_message=row["error_message"],
        latency_ms=row["latency_ns"] / 1e6,
        tokens=row["tokens"] or None,
        cost=row["paid"],
        inputs=row["inputs_preview"],
        outputs=row["outputs_preview"],
        scores=dict(scores.get((row["trace_id"], row["span_id"]), {})),
    )
