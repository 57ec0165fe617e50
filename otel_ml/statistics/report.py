"""Writes the report of an experiment as text, for the SDK, the command line and the web page."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Final

from otel_ml.counts import write_count, write_number
from otel_ml.statistics.comparison import (
    FAILED_CALLS,
    Caveat,
    CaveatKind,
    FigureComparison,
    Unit,
    Word,
    leave_out,
)
from otel_ml.statistics.intervals import Estimate
from otel_ml.statistics.paired import ItemStep
from otel_ml.statistics.sentences import write_comparison, write_sentence
from otel_ml.statistics.verdict import ItemChange, JudgeEstimate, Verdict

# Maximum number of regressions and flaky items that are listed.
NAMED: Final = 10
# Maximum number of regressions in Markdown, which is often a comment on a pull request.
NAMED_IN_MARKDOWN: Final = 5
CELL_CHARS: Final = 120
# An automatic item id, made from the inputs; see `otel_ml.items.name_items`.
_OWN_ID: Final = re.compile(r"[0-9a-f]{16}(~\d+)?")
_PREPOSITIONS: Final[Mapping[str, str]] = {
    Word.BETTER: "than",
    Word.WORSE: "than",
    Word.NO_DIFFERENCE: "from",
}
# Special characters of Markdown and HTML.
_MARKUP: Final = re.compile(r"[\\`*_{}\[\]<>|#]")


@dataclass(frozen=True, slots=True)
class JudgeResult:
    """The result of one judge in an experiment, compared with the baseline if there is one.

    Attributes:
        version: Version of the judge. Empty if the scores of all versions are used.
        is_rate: Whether the values are pass rates from 0 to 1. If False, they are mean scores.
        lower_is_better: Whether lower scores are better.
        value: Pass rate or mean score over all items. None if no item has a score.
        failed: Number of runs on which the judge itself raised an error.
        comparison: The comparison with the baseline, on the items that both have. If there are
            several judges, its interval is wider, to correct for multiple comparisons. None without
            a baseline.
    """

    version: str
    is_rate: bool
    lower_is_better: bool
    value: Estimate | None
    failed: int
    comparison: FigureComparison | None

    @property
    def rate(self) -> float | None:
        """Share of runs that passed. None if the judge gives scores."""
        return self.value.value if self.is_rate and self.value is not None else None

    @property
    def score(self) -> float | None:
        """Mean score over items. None if no item has one."""
        return None if self.value is None else self.value.value

    @property
    def word(self) -> str:
        """The verdict. Empty without a baseline."""
        return "" if self.comparison is None else self.comparison.word

    @property
    def difference(self) -> Estimate | None:
        """Experiment minus baseline. None without a baseline, or without scores of both."""
        return None if self.comparison is None else self.comparison.difference

    @property
    def sentence(self) -> str:
        """The verdict in words. Empty without a baseline."""
        return "" if self.comparison is None else write_sentence(self.comparison)

    @property
    def is_no_worse(self) -> bool:
        """Whether the interval rules out a loss of more than the margin."""
        return self.comparison is not None and self.comparison.is_no_worse


def judge_results(
    versions: Mapping[str, str],
    alone: Mapping[str, JudgeEstimate],
    compared: Verdict | None,
    lower_is_better: Iterable[str] = (),
) -> dict[str, JudgeResult]:
    """Return the result of each judge in an experiment, compared with the baseline if there is one.

    Args:
        versions: Version of each judge, by judge name.
        alone: Values of the experiment, from `estimate_judges`. Judges without a score may be
            missing.
        compared: The comparison with the baseline. None if there is no baseline.
        lower_is_better: Judges for which lower scores are better.

    Returns:
        The results by judge name.
    """
    lower, silent = {*lower_is_better}, JudgeEstimate(False, None, 0)
    results = {}
    for name, version in versions.items():
        own = alone.get(name, silent)
        is_rate, value, comparison = own.is_rate, own.value, None
        if compared is not None:
            unit = Unit.PASSES if is_rate else Unit.SCORE
            comparison = compared.judges.get(name) or leave_out(
                name, unit, Caveat(CaveatKind.NOT_SCORED_BOTH)
            )
            # If every call failed, only the baseline shows that the judge passes or fails.
            is_rate = comparison.is_rate
            value = comparison.candidate.estimate if value is None else value
        results[name] = JudgeResult(version, is_rate, name in lower, value, own.failed, comparison)
    return results


@dataclass(frozen=True, slots=True)
class WorseItem:
    """One row in the report of an experiment: an item that got worse than in the baseline.

    Attributes:
        item: Id and inputs of the item, from `label_item`.
        change: Judges by which it got worse, with the change, such as ``exact pass → fail``.
        now: Output or error in this experiment, as one short line.
        then: Output in the baseline, as one short line.
        address: Web address of the item's first run. Empty if there is none.
    """

    item: str
    change: str
    now: str
    then: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The contents of an experiment's report: progress, verdict and regressions.

    Attributes:
        name: Name of the experiment.
        baseline: Name, run id and time of the baseline, from `write_label`. None without a
            baseline.
        runs: Number of finished runs.
        wanted: Number of planned runs.
        errors: Number of failed runs.
        word: The overall verdict, such as ``worse``. Empty without a baseline.
        judges: Result of each judge, by name.
        failures: Change of the share of failed calls. None without a baseline, or if none failed.
        shared: Four counts of items: in both experiments, only in this one, only in the baseline,
            and in both with changed content. None without a baseline.
        flaky: Names of the first flaky items: some repeats pass and others fail.
        flaky_count: Number of all flaky items.
        worse: The first regressions, the worst first.
        worse_count: Number of all regressions.
        url: Address of the experiment's web page. Empty if there is none.
        is_interrupted: Whether the experiment was interrupted before all runs finished.
        baseline_id: Run id of the baseline. Empty if it is not stored in a collector.
        left_out: For a replay: number of recorded runs that were not replayed, by reason.
        judge_errors: The first error of each judge that failed, by judge.
        duplicates: Ids of items that the data set had more than once.
    """

    name: str
    baseline: str | None
    runs: int
    wanted: int
    errors: int
    word: str
    judges: Mapping[str, JudgeResult]
    failures: FigureComparison | None = None
    shared: tuple[int, int, int, int] | None = None
    flaky: Sequence[str] = ()
    flaky_count: int = 0
    worse: Sequence[WorseItem] = ()
    worse_count: int = 0
    url: str = ""
    is_interrupted: bool = False
    baseline_id: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)
    judge_errors: Mapping[str, str] = field(default_factory=dict)
    duplicates: Sequence[str] = ()

    @property
    def count(self) -> str:
        """The progress in words, such as ``40 of 100 runs`` or ``40 of 100 runs, interrupted``."""
        text = f"{self.runs:,} of {write_count(self.wanted, 'run')}"
        return f"{text}, interrupted" if self.is_interrupted else text

    @property
    def opening(self) -> str:
        """What so few data can show, to be printed first. Empty if they gave a verdict."""
        if self.word != Word.NOT_ENOUGH_DATA:
            return ""
        figures = [*self._compared.values()]
        figures += [] if self.failures is None else [self.failures]
        claims = [write_comparison(figure).claim for figure in figures if figure.word == self.word]
        text = "; ".join(dict.fromkeys(claims)) or self.word
        return f"{text[0].upper()}{text[1:]}"

    @property
    def _compared(self) -> Mapping[str, FigureComparison]:
        """The comparison with the baseline by each judge."""
        return {
            name: judge.comparison
            for name, judge in self.judges.items()
            if judge.comparison is not None
        }

    @property
    def sentence(self) -> str:
        """The verdict in one sentence, with the numbers it is based on."""
        if self.baseline is None:
            return f"{self.count}, {self.errors:,} failed; no baseline"
        items = [f"{name}: {write_sentence(judge)}" for name, judge in self._compared.items()]
        items = items or ["no judges"]
        if self.failures is not None:
            items.insert(0, f"{FAILED_CALLS}: {write_sentence(self.failures)}")
        reasons = "; ".join(items)
        word = self.word or "no verdict"
        return f"{word} {_PREPOSITIONS.get(word, 'compared with')} {self.baseline}. {reasons}"

    @property
    def claim(self) -> str:
        """The verdict in one sentence, with the numbers of the figure that decides it."""
        if self.baseline is None or not self.word:
            return self.sentence
        word = f"{self.word} {_PREPOSITIONS.get(self.word, 'compared with')} {self.baseline}"
        failures = self.failures
        if failures is not None and failures.word == self.word:
            return f"{word}: {FAILED_CALLS}: {write_sentence(failures)}"
        return next(
            (
                f"{word}: {name}: {write_sentence(judge)}"
                for name, judge in self._compared.items()
                if judge.word == self.word
            ),
            word,
        )

    @property
    def notes(self) -> list[str]:
        """Remarks below the table, such as flaky items, failed judges and changed items."""
        notes = []
        if self.is_interrupted or self.runs < self.wanted:
            notes.append(f"{self.count}: missing runs are not counted")
        if self.shared is not None and any(self.shared[1:]):
            common, new, gone, changed = self.shared
            notes.append(
                f"{common:,} shared items; {new:,} new, {gone:,} removed, {changed:,} changed"
            )
        if self.errors:
            known = [judge for judge in self.judges.values() if judge.value is not None]
            notes.append(write_failed(self.errors, {judge.is_rate for judge in known}))
        notes += [
            write_judge_failed(name, judge.failed, self.judge_errors.get(name, ""))
            for name, judge in self.judges.items()
            if judge.failed
        ]
        notes += advise_judging(self._compared, self.baseline_id)
        if self.left_out:
            notes.append(write_left_out(self.left_out))
        if self.duplicates:
            notes.append(write_duplicates(self.duplicates))
        if self.flaky:
            left = self.flaky_count - len(self.flaky)
            more = f" and {left:,} more" if left > 0 else ""
            notes.append(f"flaky: {', '.join(self.flaky)}{more}")
        return notes

    @property
    def table(self) -> tuple[list[str], list[list[str]]]:
        """The table of judges as text: the head and the rows."""
        heads = ["judge", "value", "items"]
        if self.baseline is not None:
            heads += ["baseline", "difference", "verdict"]
        rows = []
        for name, judge in self.judges.items():
            count = "0" if judge.value is None else f"{judge.value.n:,}"
            row = [name, _shown(judge.value, judge.is_rate), count]
            if judge.comparison is not None:
                row += _write_compared(judge.comparison)
            rows.append(row)
        if (failures := self.failures) is not None:
            value = _shown(failures.candidate.estimate, True)
            count = f"{failures.candidate.count:,}"
            rows.append([FAILED_CALLS, value, count, *_write_compared(failures)])
        return heads, rows

    def to_markdown(self) -> str:
        """Return the report as Markdown.

        It has the verdict in one sentence, a table of judges, and the regressions with links.
        """
        lines = [f"{_escape(self.opening)}.", ""] if self.opening else []
        lines += [f"**{_escape(self.name)}**: {_escape(self.claim)}", ""]
        heads, rows = self.table
        lines += write_table(heads, rows)
        if self.notes:
            lines += ["", *(f"* {_escape(note)}" for note in self.notes)]
        if self.worse:
            lines += [
                "",
                "| worse | by | output now | before |",
                f"|{' --- |' * 4}",
            ]
            for entry in self.worse:
                cells = " | ".join(map(_escape, (entry.change, entry.now, entry.then)))
                item = _escape(entry.item)
                lines.append(
                    f"| {f'[{item}]({entry.address})' if entry.address else item} | {cells} |"
                )
            left = self.worse_count - len(self.worse)
            if left > 0:
                lines += ["", f"and {left:,} more"]
        if self.url:
            lines += ["", f"[the experiment]({self.url})"]
        return "\n".join(lines) + "\n"


def write_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table. The texts of the rows are escaped."""
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    return lines + [f"| {' | '.join(map(_escape, row))} |" for row in rows]


def write_judges(judges: Iterable[FigureComparison]) -> list[str]:
    """Return the lines of a Markdown table of judges, compared with a baseline."""
    return write_table(
        ["judge", "value", "baseline", "difference", "verdict"],
        [
            [
                judge.subject,
                _shown(judge.candidate.estimate, judge.is_rate),
                *_write_compared(judge),
            ]
            for judge in judges
        ],
    )


def _write_compared(of: FigureComparison) -> list[str]:
    """Return three cells: the value of the baseline, the difference, and the verdict."""
    return [
        _shown(of.baseline.estimate, of.is_rate),
        _shown(of.difference, of.is_rate, signed=True),
        of.word,
    ]


def advise_judging(judges: Mapping[str, FigureComparison], baseline_id: str) -> list[str]:
    """Return hints on how to score the baseline again with the judge versions of this experiment.

    There is one hint, with a shell command, for each judge whose version has changed since the
    baseline. Scores of different versions cannot be compared.
    """
    where = f'experiment == "{baseline_id}" and item != ""'
    return [
        f"{name}: for a verdict by one judge version, score the baseline's runs again: "
        f"otel-ml judge FILE.py:{name} --where '{where}' --write"
        for name, judge in judges.items()
        if judge.has_other_version and baseline_id
    ]


def write_failed(errors: int, kinds: Collection[bool]) -> str:
    """Return in words how many calls failed, and how that affects the results of the judges.

    For example, a failed call counts as not passed in a pass rate, but is left out of a mean score.

    Args:
        errors: Number of failed calls.
        kinds: Kinds of the judges' results: True for a pass rate, False for a mean score.
    """
    effects = {True: "counts as not passed", False: "has no score"}
    failed_parts = " and ".join(text for is_rate, text in effects.items() if is_rate in kinds)
    return f"{write_count(errors, 'run')} failed{f', which {failed_parts}' if failed_parts else ''}"


def write_judge_failed(judge: str, failed: int, error: str) -> str:
    """Return in words on how many runs a judge itself failed, with its first error if known."""
    note = f"{judge} raised an error on {write_count(failed, 'run')}: no score there"
    text = " ".join(error.split())
    return f"{note}. The first error: {text[:CELL_CHARS]}" if text else note


def write_left_out(left_out: Mapping[str, int]) -> str:
    """Return in words how many recorded runs were skipped and why.

    The most frequent reason comes first.
    """
    reasons = sorted(left_out.items(), key=lambda entry: (-entry[1], entry[0]))
    text = ", ".join(f"{count:,} {reason}" for reason, count in reasons)
    return f"{write_count(sum(left_out.values()), 'run')} left out: {text}"


def write_duplicates(items: Sequence[str]) -> str:
    """Return in words which items a data set had more than once."""
    more = f" and {len(items) - NAMED:,} more" if len(items) > NAMED else ""
    return f"left out as duplicates, with the same id and content: {', '.join(items[:NAMED])}{more}"


def write_label(name: str, run_id: str, start_ns: int) -> str:
    """Return an experiment's name with its run id and start time, to tell experiments apart."""
    at = datetime.fromtimestamp(start_ns / 1e9, timezone.utc)
    return f"{name} ({', '.join(filter(None, (run_id, f'{at:%Y-%m-%d %H:%M} UTC')))})"


def furthest_fall(change: ItemChange) -> tuple[str, float, float]:
    """Return the judge with the largest drop for an item, and the item's values before and after.

    If only the share of failed calls changed, the name of the judge is empty, and the values are
    the shares of calls that succeeded.
    """
    judge = next(iter(change.judges), "")
    if not judge:  # no judge scored it, but its calls fail
        return "", 1 - change.errors[0], 1 - change.errors[1]
    return judge, change.steps[judge].before, change.steps[judge].after


def write_step(step: ItemStep) -> str:
    """Return an item's change for one judge in words, such as ``pass → fail`` or ``0.9 → 0.4``."""
    return f"{_write_value(step.before, step)} → {_write_value(step.after, step)}"


def _write_value(value: float, step: ItemStep) -> str:
    if not step.is_rate:
        return write_figure(value)
    return {0.0: "fail", 1.0: "pass"}.get(value) or f"{100 * value:.0f} % pass"


def write_change(change: ItemChange) -> str:
    """Return in words how the judges' results for an item changed.

    For example, ``exact, brief pass → fail`` means that the item passed the judges `exact` and
    `brief` before, and fails them now. The largest change comes first. If no judge's result
    changed, the text is about the share of failed calls.
    """
    by_words: dict[str, list[str]] = {}
    for judge in change.judges:
        by_words.setdefault(write_step(change.steps[judge]), []).append(judge)
    if not by_words:
        before, after = change.errors
        outcomes = {0.0: "passed", 1.0: "failed"}
        if before in outcomes and after in outcomes:
            return f"{outcomes[before]} → {outcomes[after]}"
        return f"failed in {100 * before:.0f} → {100 * after:.0f} % of calls"
    return "; ".join(f"{', '.join(judges)} {words}" for words, judges in by_words.items())


def label_item(item: str, inputs: str) -> str:
    """Return the name of an item: its id and its inputs. The id is left out if it is generated."""
    shown = cut_cell(inputs)
    if _OWN_ID.fullmatch(item) and shown:
        return shown
    return f"{item}: {shown}" if shown else item


def cut_cell(text: str) -> str:
    """Shorten a text for a table cell."""
    return text if len(text) <= CELL_CHARS else f"{text[: CELL_CHARS - 1]}…"


def write_figure(value: float | None) -> str:
    """Format a number with four significant digits. A missing number becomes a dash."""
    return "–" if value is None else write_number(value, 4)


def _shown(estimate: Estimate | None, is_rate: bool, *, signed: bool = False) -> str:
    """Return a number with its interval as text. Rates are in percent."""
    if estimate is None:
        return "–"
    sign = "+" if signed else ""

    def write(number: float) -> str:
        if is_rate:
            return f"{number:{sign}.1%}"
        return (sign if number >= 0 else "") + write_number(number, 4)

    return f"{write(estimate.value)} ({write(estimate.low)} to {write(estimate.high)})"


def _escape(text: str) -> str:
    """Escape a text for a cell of a Markdown table."""
    return _MARKUP.sub(r"\\\g<0>", text).replace("\n", " ")
