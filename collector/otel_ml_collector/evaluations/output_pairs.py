"""Pairs of runs of two versions that had equal inputs, for pages, API, commands and assistants.

They come from experiments of both versions on one data set, and from production, where both
versions received the same input.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import Field

from otel_ml.counts import write_count
from otel_ml.records import ExperimentRow, ListedExperiment, ListedItemRun
from otel_ml.statistics.comparison import Word
from otel_ml_collector import wording
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.evaluations.experiment_comparison import Show, compare_experiments, items_of
from otel_ml_collector.evaluations.experiment_items import make_rows
from otel_ml_collector.evaluations.experiment_runs import choose_pair
from otel_ml_collector.evaluations.experiments import find_experiments_of
from otel_ml_collector.evaluations.right_answers import (
    EXPECTED_VALUE,
    RightAnswer,
    find_right_answers,
)
from otel_ml_collector.filter.sql import compile_tests
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.runs.answers import RunSummary
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.store.reader import Reader, Row, run_id_of
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.variability import read_shared_inputs
from otel_ml_collector.times import AHEAD_NS, DAY_NS
from otel_ml_collector.windows import Window

SHOWN_PAIRS: Final = 5
MOST_PAIRS: Final = 50
# Inputs that are looked for, and those with the largest change whose runs are read. Runs are read
# in parts, because a filter has at most 4,000 characters.
_MOST_SHARED: Final = 200
_MOST_RANKED: Final = 60
_PAIRS_AT_ONCE: Final = 30
_LOOKBACK_NS: Final = 30 * DAY_NS
_COMPARED_CHARS: Final = 500
_LINE_OF_TEXT: Final = 80
_OUTPUT_WORD: Final = re.compile(r"\w+|[^\w\s]")


class PairedRun(AnswerBody):
    """One of two runs with equal inputs."""

    run_id: str
    version: int | None
    start_time: str = Field(description="RFC 3339, UTC; empty for a run of an experiment")
    outcome: str
    error: str = Field(description="Type and message of the error; empty if there is none")
    outputs: str = Field(description="A preview in plain text")
    latency_ms: float | None
    cost: float | None
    scores: dict[str, float] = Field(description="Scores by name of the judge")
    passed: dict[str, bool] = Field(description="Whether the run passed, by name of the judge")


class OutputPair(AnswerBody):
    """What two versions returned for equal inputs."""

    source: Literal["experiment", "production"]
    item: str = Field(description="ID of the data set item; empty for production")
    inputs: str = Field(description="A preview in plain text")
    before: PairedRun = Field(description="The run of the baseline")
    after: PairedRun = Field(description="The run of the other version")
    right: RightAnswer | None = Field(
        description="What the run of the other version should have returned, or why it is wrong; "
        "null if nothing is known"
    )
    is_changed: bool = Field(
        description="Whether the outputs differ, or only one of the runs failed or passed"
    )
    change: float = Field(
        description="How much the beginnings of the outputs differ, from 0 to 1: for numbers the "
        "relative difference, for other outputs the share of different words"
    )
    text: str = Field(description="Inputs and both outputs in one line")

    def measure_change(
        self, figure: str = "", word: Word | None = None
    ) -> tuple[float, bool, float, float]:
        """Measure the change, for sorting.

        Args:
            figure: Name of a judge. If given, only this judge decides. Otherwise every judge does.
            word: Verdict on the second run's version. If it is worse (or better), pairs whose
                second run is worse (or better) come first.

        Returns:
            Whether the pair agrees with the verdict: 1, 0 if it says nothing, -1 if it disagrees.
            Then whether only one of the runs passed or succeeded, the largest difference of the
            scores of a judge, and how much the outputs differ.
        """
        runs = self.before, self.after
        judges = {figure} if figure else {*runs[0].scores} | {*runs[0].passed}
        flips = len({run.outcome == "ok" for run in runs}) > 1 or any(
            len({run.passed.get(judge, True) for run in runs}) > 1 for judge in judges
        )
        steps = [
            abs(runs[1].scores[judge] - runs[0].scores[judge])
            for judge in judges
            if all(judge in run.scores for run in runs)
        ]
        side = 0.0 if word is None else {Word.WORSE: -1.0, Word.BETTER: 1.0}.get(word, 0.0)
        return side * self._find_direction(judges), flips, max(steps, default=0.0), self.change

    def _find_direction(self, judges: Iterable[str]) -> float:
        """Return 1 if the second run is better, -1 if it is worse, else 0.

        What succeeded decides first, then what passed. Scores without a pass mark do not decide,
        because for some judges lower ones are better.
        """
        before, after = self.before, self.after
        gains = [(after.outcome == "ok") - (before.outcome == "ok")]
        gains.append(
            sum(
                after.passed[judge] - before.passed[judge]
                for judge in judges
                if judge in before.passed and judge in after.passed
            )
        )
        return next((math.copysign(1.0, gain) for gain in gains if gain), 0.0)


class OutputPairs(AnswerBody):
    """Pairs of outputs of two versions for equal inputs."""

    sentence: str = Field(description="How many outputs changed, in words; empty without pairs")
    inputs: int = Field(description="Number of equal inputs that were compared")
    changed: int = Field(description="Number of these inputs with a changed output")
    is_cut: bool = Field(description="Whether there may be more equal inputs than were compared")
    pairs: list[OutputPair] = Field(
        description="Pairs that agree with the verdict first, then those with the largest change"
    )


@dataclass(frozen=True, slots=True)
class PairSides:
    """The runs of two versions between which pairs are looked for.

    Attributes:
        before: Filter of the runs of the baseline.
        after: Filter of the runs of the other version.
        window: Period in which the runs of the other version began. Runs of the baseline can be up
            to 30 days older.
    """

    before: str
    after: str
    window: Window


def find_version_pairs(
    reader: Reader,
    project: str,
    model: str,
    versions: tuple[int, int],
    now_ns: int,
    *,
    where: str = "",
    word: Word | None = None,
    limit: int = SHOWN_PAIRS,
) -> OutputPairs:
    """Find what two versions of a model returned for equal inputs, in experiments and production.

    Args:
        reader: The store.
        project: The project.
        model: Name of the model.
        versions: Number of the baseline, then that of the version that is compared with it.
        now_ns: Current time, in nanoseconds since 1970.
        where: A filter. If given, only recorded runs that match it are compared, and no
            experiments.
        word: Verdict on the version. Pairs that agree with it come first.
        limit: Maximum number of pairs.

    Raises:
        BadInput: The filter is invalid.
    """
    tried = None
    if not where:
        tried = reader.ahead(
            _find_item_pairs, project, model, versions, now_ns, word=word, limit=limit
        )
    end_ns = now_ns + AHEAD_NS
    before, after = (
        narrow(f"model == {quoted(model)} and version == {number}", f"({where})" if where else "")
        for number in versions
    )
    # from the beginning, because a version may have no recent runs
    sides = PairSides(before, after, Window(0, end_ns))
    live = find_live_pairs(
        reader, project, sides, now_ns, versions=versions, word=word, limit=limit
    )
    of_items = tried.result() if tried is not None else NO_PAIRS
    pairs = sorted(
        [*of_items.pairs, *live.pairs],
        key=lambda pair: pair.measure_change(word=word),
        reverse=True,
    )
    inputs, changed = of_items.inputs + live.inputs, of_items.changed + live.changed
    return OutputPairs(
        sentence=_write_sentence(versions, inputs, changed),
        inputs=inputs,
        changed=changed,
        is_cut=of_items.is_cut or live.is_cut,
        pairs=pairs[:limit],
    )


def find_live_pairs(
    reader: Reader,
    project: str,
    sides: PairSides,
    now_ns: int,
    *,
    versions: tuple[int, int],
    figure: str = "",
    word: Word | None = None,
    limit: int = SHOWN_PAIRS,
) -> OutputPairs:
    """Find inputs that both versions received in production, with the newest run of each.

    Args:
        reader: The store.
        project: The project.
        sides: The runs of both versions.
        now_ns: Current time, in nanoseconds since 1970.
        versions: Number of the baseline, then that of the other version.
        figure: Name of the judge by which the change is measured. Empty for all judges.
        word: Verdict on the other version. Pairs that agree with it come first.
        limit: Maximum number of pairs.

    Raises:
        BadInput: A filter is invalid.
    """
    kinds = find_record_kinds(reader, project)
    filters = [sides.before, sides.after]
    condition, (before, after) = compile_tests(reader, project, "", filters, kinds)
    window = sides.window
    windows = Window(max(window.start_ns - _LOOKBACK_NS, 0), window.end_ns), window
    rows = read_shared_inputs(reader, project, (condition, before, after), windows, _MOST_SHARED)
    changed = sum(map(_is_changed, rows))
    ranked = sorted(rows, key=_rank, reverse=True)[:_MOST_RANKED]
    read: list[tuple[OutputPair, RunSummary]] = []
    for first in range(0, len(ranked), _PAIRS_AT_ONCE):
        read += _read_pairs(reader, project, ranked[first : first + _PAIRS_AT_ONCE], now_ns)
    read.sort(key=lambda pair: pair[0].measure_change(figure, word), reverse=True)
    shown = read[:limit]
    right = find_right_answers(reader, [run for _, run in shown], figure, now_ns)
    for pair, run in shown:
        pair.right = right.get(run.run_id)
    return OutputPairs(
        sentence=_write_sentence(versions, len(rows), changed),
        inputs=len(rows),
        changed=changed,
        is_cut=len(rows) == _MOST_SHARED,
        pairs=[pair for pair, _ in shown],
    )


def lay_out_pairs(
    answer: OutputPairs, address_of: Callable[[bool], str], *, every: bool
) -> dict[str, Any]:
    """Describe pairs for the part of a page that shows them.

    Args:
        answer: The pairs.
        address_of: Returns the address of the part with changed pairs only, or with all pairs.
        every: Whether all pairs are shown.
    """
    return {
        "answer": answer,
        "shown": [pair for pair in answer.pairs if every or pair.is_changed],
        "every": every,
        "choices": [
            ("Changed", answer.changed, address_of(False)),
            ("All", answer.inputs, address_of(True)),
        ],
    }


NO_PAIRS: Final = OutputPairs(sentence="", inputs=0, changed=0, is_cut=False, pairs=[])


def _write_sentence(versions: tuple[int, int], inputs: int, changed: int) -> str:
    """Write how many outputs changed. Empty without inputs."""
    if not inputs:
        return ""
    equal = write_count(inputs, "equal input")
    if not changed:
        return f"v{versions[0]} and v{versions[1]} returned the same for {equal}"
    return f"v{versions[1]} returned something else than v{versions[0]} for {changed:,} of {equal}"


def _is_changed(rows: tuple[Row, Row]) -> bool:
    before, after = rows
    return any(before[name] != after[name] for name in ("outcome", "error_type", "answer"))


def _rank(rows: tuple[Row, Row]) -> tuple[bool, bool, float]:
    """Rank two rows by how much their outputs differ, as far as rows show it."""
    before, after = rows
    is_flipped = before["outcome"] != after["outcome"]
    return is_flipped, _is_changed(rows), measure_texts(before["answered"], after["answered"])


def measure_texts(before: str, after: str) -> float:
    """Measure how much two outputs differ, from 0 to 1: their words or, for numbers, their values.

    Only the first 500 characters are compared.
    """
    if before == after:
        return 0.0
    try:
        numbers = float(before), float(after)
    except ValueError:
        pass
    else:
        size = max(map(abs, numbers))
        return min(abs(numbers[1] - numbers[0]) / size, 1.0) if math.isfinite(size) else 1.0
    words = [Counter(_OUTPUT_WORD.findall(text[:_COMPARED_CHARS])) for text in (before, after)]
    every = words[0].total() + words[1].total()
    return 1 - 2 * (words[0] & words[1]).total() / every if every else 1.0


def _read_pairs(
    reader: Reader, project: str, rows: Sequence[tuple[Row, Row]], now_ns: int
) -> list[tuple[OutputPair, RunSummary]]:
    """Read the two runs of each pair. Return the pairs in this order, each with its second run."""
    keys = [(run_id_of(before), run_id_of(after)) for before, after in rows]
    ids = [run_id for pair in keys for run_id in pair]
    started = [row["start_ns"] for pair in rows for row in pair]
    asked = RunsQuery(
        project,
        f"run_id in ({', '.join(map(quoted, ids))},)",
        limit=len(ids),
        start_ns=min(started),
        end_ns=max(started) + 1,
    )
    runs = {run.run_id: run for run in find_runs(reader, asked, now_ns).runs}
    return [
        (
            _make_pair(
                "production",
                runs[two].inputs,
                (_describe_run(runs[one]), _describe_run(runs[two])),
                is_changed=_is_changed(of),
            ),
            runs[two],
        )
        for (one, two), of in zip(keys, rows, strict=True)
        if one in runs and two in runs
    ]


def _describe_run(run: RunSummary) -> PairedRun:
    return PairedRun(
        run_id=run.run_id,
        version=run.version,
        start_time=run.start_time,
        outcome=run.outcome,
        error=wording.write_error(run.error_type, run.error_message),
        outputs=run.outputs or "",
        latency_ms=run.latency_ms,
        cost=run.cost,
        scores=dict(run.scores),
        passed={judge: passed for judge, passed in run.passed.items() if passed is not None},
    )


def _make_pair(
    source: Literal["experiment", "production"],
    inputs: str,
    runs: tuple[PairedRun, PairedRun],
    *,
    is_changed: bool,
    item: str = "",
) -> OutputPair:
    before, after = runs
    texts = [wording.shorten(run.error or run.outputs or "–", _LINE_OF_TEXT) for run in runs]
    pair = OutputPair(
        source=source,
        item=item,
        inputs=inputs,
        before=before,
        after=after,
        right=None,
        is_changed=is_changed,
        change=measure_texts(before.error or before.outputs, after.error or after.outputs),
        text=f"{wording.shorten(inputs, _LINE_OF_TEXT)}: {texts[0]} → {texts[1]}",
    )
    pair.is_changed |= pair.measure_change()[1]
    return pair


def _find_item_pairs(
    reader: Reader,
    project: str,
    model: str,
    versions: tuple[int, int],
    now_ns: int,
    *,
    word: Word | None,
    limit: int,
) -> OutputPairs:
    """Find pairs in the newest experiments of both versions on one data set."""
    before, after = (
        find_experiments_of(reader, project, model, number, now_ns) for number in versions
    )
    pair = choose_pair(before, after)
    if pair is None:
        return NO_PAIRS
    return find_experiment_pairs(reader, project, *pair, word=word, limit=limit)


def find_experiment_pairs(
    reader: Reader,
    project: str,
    before: ListedExperiment,
    after: ListedExperiment,
    *,
    word: Word | None = None,
    limit: int = SHOWN_PAIRS,
) -> OutputPairs:
    """Find items that two experiments share, with the first run of each experiment.

    At most 200 items are compared: those that a judge scores differently come first.

    Raises:
        BadInput: The experiments have too many runs to compare.
    """
    compared = compare_experiments(reader, project, after, before)
    shows: Sequence[Show] = "regression", "fixed", "all"
    items = dict.fromkeys(item for show in shows for item in items_of(compared, show))
    rows = make_rows(reader, project, compared, [*items][:_MOST_SHARED])
    pairs = [
        _pair_items(row, (before.version, after.version))
        for row in rows
        if row.baseline and row.state not in {"new", "changed"}
    ]
    pairs.sort(key=lambda pair: pair.measure_change(word=word), reverse=True)
    changed = sum(pair.is_changed for pair in pairs)
    return OutputPairs(
        sentence=_write_items(before, after, len(pairs), changed),
        inputs=len(pairs),
        changed=changed,
        is_cut=len(items) > _MOST_SHARED,
        pairs=pairs[:limit],
    )


def _write_items(
    before: ListedExperiment, after: ListedExperiment, inputs: int, changed: int
) -> str:
    """Write how many outputs changed between two experiments. Empty without items."""
    if not inputs:
        return ""
    equal = write_count(inputs, "shared item")
    if not changed:
        return f"{after.name} and {before.name} returned the same for {equal}"
    return f"{after.name} returned something else than {before.name} for {changed:,} of {equal}"


def _pair_items(row: ExperimentRow, versions: tuple[int | None, int | None]) -> OutputPair:
    runs = row.baseline[0], row.runs[0]
    before, after = (
        _describe_item_run(run, number) for run, number in zip(runs, versions, strict=True)
    )
    pair = _make_pair(
        "experiment",
        runs[1].inputs or "",
        (before, after),
        is_changed=(before.outcome, before.error, before.outputs)
        != (after.outcome, after.error, after.outputs),
        item=row.item,
    )
    if row.expected:
        pair.right = RightAnswer(EXPECTED_VALUE, row.expected)
    return pair


def _describe_item_run(run: ListedItemRun, version: int | None) -> PairedRun:
    scores = {judge: own for judge, own in run.scores.items() if own.score is not None}
    return PairedRun(
        run_id=run.run_id,
        version=version,
        start_time="",
        outcome=run.outcome,
        error=wording.write_error(run.error_type, run.error_message),
        outputs=run.outputs or "",
        latency_ms=run.latency_ms,
        cost=run.cost,
        scores={judge: own.score for judge, own in scores.items() if own.score is not None},
        passed={judge: own.passed for judge, own in scores.items() if own.passed is not None},
    )
