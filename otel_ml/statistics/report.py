"""The report of an experiment as text: one for the SDK, the command line and the page."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Final

from otel_ml.statistics.intervals import Estimate
from otel_ml.statistics.verdict import ItemChange, ItemStep, JudgeOutcome, JudgeVerdict

# How many regressions and flaky items are named.
NAMED: Final = 10
CELL_CHARS: Final = 120
# The id of an item that nobody gave one: of its inputs, see `otel_ml.items.name_items`.
_OWN_ID: Final = re.compile(r"[0-9a-f]{16}(~\d+)?")
_PREPOSITIONS: Final = {"better": "than", "worse": "than", "no different": "from"}
# Marks of Markdown and of HTML within it.
_MARKUP: Final = re.compile(r"[\\`*_{}\[\]<>|#]")


@dataclass(frozen=True, slots=True)
class WorseItem:
    """An item that is worse than it was, in words.

    Attributes:
        item: What it is called, by `label_item`.
        change: By which judges it fell, and from what to what.
        now: What came out now, or why it failed, in one short line.
        then: What came out in the baseline.
        address: Of its first run; empty where there is none.
    """

    item: str
    change: str
    now: str
    then: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is told of an experiment.

    Attributes:
        baseline: What it was compared with, by `write_label`; None without one.
        runs: How many runs over items there are.
        wanted: How many there were to be.
        errors: How many failed.
        word: Of the worst judge; empty without a baseline.
        shared: How many items are in common, new, gone and changed; None without a baseline.
        flaky: Items whose repeats differ, the first ones, as they are called.
        flaky_count: How many there are.
        worse: The first regressions, the worst first.
        worse_count: How many there are.
        url: The address of its page; empty where there is none.
        baseline_id: The run id of the baseline; empty where it is no stored experiment.
        left_out: How many recorded runs gave no item, by reason.
    """

    name: str
    baseline: str | None
    runs: int
    wanted: int
    errors: int
    word: str
    judges: Mapping[str, JudgeOutcome]
    shared: tuple[int, int, int, int] | None = None
    flaky: Sequence[str] = ()
    flaky_count: int = 0
    worse: Sequence[WorseItem] = ()
    worse_count: int = 0
    url: str = ""
    is_interrupted: bool = False
    baseline_id: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def count(self) -> str:
        """How far it is, in words."""
        text = f"{self.runs:,} of {self.wanted:,} runs"
        return f"{text}, interrupted" if self.is_interrupted else text

    @property
    def sentence(self) -> str:
        """The verdict in one sentence, with what it rests on."""
        if self.baseline is None:
            return f"{self.count}, {self.errors:,} failed; no baseline"
        items = [f"{name}: {judge.sentence or judge.why}" for name, judge in self.judges.items()]
        reasons = "; ".join(items) or "no judge was asked"
        word = self.word or "no verdict"
        return f"{word} {_PREPOSITIONS.get(word, 'against')} {self.baseline}. {reasons}"

    @property
    def notes(self) -> list[str]:
        """What must be known beside the table: items that differ, flaky ones, failed judges."""
        notes = []
        if self.is_interrupted or self.runs < self.wanted:
            notes.append(f"{self.count}: what is missing counts nowhere")
        if self.shared is not None and any(self.shared[1:]):
            common, new, gone, changed = self.shared
            notes.append(
                f"{common:,} items in common; {new:,} new, {gone:,} gone, {changed:,} changed"
            )
        if self.errors:
            notes.append(f"{_runs(self.errors)} failed, which counts as not passed")
        notes += [
            f"{name} failed on {_runs(judge.failed)}: no value of it there"
            for name, judge in self.judges.items()
            if judge.failed
        ]
        notes += [
            f"{name}: {judge.why}"
            for name, judge in self.judges.items()
            if judge.why not in judge.sentence  # which is printed above them
        ]
        notes += advise_judging(self.judges, self.baseline_id)
        if self.left_out:
            notes.append(write_left_out(self.left_out))
        if self.flaky:
            left = self.flaky_count - len(self.flaky)
            more = f" and {left:,} more" if left > 0 else ""
            notes.append(f"flaky: {', '.join(self.flaky)}{more}")
        return notes

    @property
    def table(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows of the table of judges."""
        heads = ["judge", "value", "items"]
        if self.baseline is not None:
            heads += ["baseline", "difference", "verdict"]
        rows = []
        for name, judge in self.judges.items():
            count = "0" if judge.value is None else f"{judge.value.n:,}"
            row = [name, _shown(judge.value, judge.is_rate), count]
            if self.baseline is not None:
                row += [
                    _shown(judge.baseline, judge.is_rate),
                    _shown(judge.difference, judge.is_rate, signed=True),
                    judge.word,
                ]
            rows.append(row)
        return heads, rows

    def to_markdown(self) -> str:
        """Return one table, the verdict in a sentence and the first ten regressions, with links."""
        lines = [f"**{_escape(self.name)}**: {_escape(self.sentence)}", ""]
        heads, rows = self.table
        lines.append(f"| {' | '.join(heads)} |")
        lines.append(f"|{' --- |' * len(heads)}")
        lines += [f"| {' | '.join(map(_escape, row))} |" for row in rows]
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


def advise_judging(
    judges: Mapping[str, JudgeOutcome] | Mapping[str, JudgeVerdict], baseline_id: str
) -> list[str]:
    """Say how the baseline is judged by the newer version of the judges that have no verdict."""
    where = f'experiment == "{baseline_id}" and item != ""'
    return [
        f"{name}: for a verdict by one version of it, judge the baseline's runs anew: "
        f"otel-ml judge FILE.py:{name} --where '{where}' --write"
        for name, judge in judges.items()
        if judge.has_other_version and baseline_id
    ]


def write_left_out(left_out: Mapping[str, int]) -> str:
    """Write how many recorded runs gave no item, and why, the most frequent reason first."""
    reasons = sorted(left_out.items(), key=lambda entry: (-entry[1], entry[0]))
    text = ", ".join(f"{count:,} {reason}" for reason, count in reasons)
    return f"{_runs(sum(left_out.values()))} left out: {text}"


def write_label(name: str, run_id: str, start_ns: int) -> str:
    """Return what an experiment is called where something is compared with it."""
    at = datetime.fromtimestamp(start_ns / 1e9, timezone.utc)
    return f"{name} ({', '.join(filter(None, (run_id, f'{at:%Y-%m-%d %H:%M} UTC')))})"


def furthest_fall(change: ItemChange) -> tuple[str, float, float]:
    """Return by which judge an item fell furthest, and its values before and now."""
    judge = next(iter(change.judges), "")
    if not judge:  # no judge saw it, but its calls fail
        return "", 1 - change.errors[0], 1 - change.errors[1]
    return judge, change.steps[judge].before, change.steps[judge].after


def write_step(step: ItemStep) -> str:
    """Write what became of an item by a judge, such as ``pass → fail`` or ``0.9 → 0.4``."""
    return f"{_write_value(step.before, step)} → {_write_value(step.after, step)}"


def _write_value(value: float, step: ItemStep) -> str:
    if not step.is_rate:
        return write_number(value)
    return {0.0: "fail", 1.0: "pass"}.get(value) or f"{100 * value:.0f} % pass"


def write_change(change: ItemChange) -> str:
    """Name the judges by which an item changed, the largest change first, and what they say.

    Such as ``exact, brief pass → fail``; without a judge that its calls fail, or no longer do.
    """
    by_words: dict[str, list[str]] = {}
    for judge in change.judges:
        by_words.setdefault(write_step(change.steps[judge]), []).append(judge)
    if not by_words:
        before, after = change.errors
        return f"failed {100 * before:.0f} → {100 * after:.0f} % of its calls"
    return "; ".join(f"{', '.join(judges)} {words}" for words, judges in by_words.items())


def label_item(item: str, inputs: str) -> str:
    """Return what an item is called: by its inputs, behind its id where somebody chose that."""
    shown = cut_cell(inputs)
    if _OWN_ID.fullmatch(item) and shown:
        return shown
    return f"{item}: {shown}" if shown else item


def cut_cell(text: str) -> str:
    """Cut a text for a cell."""
    return text if len(text) <= CELL_CHARS else f"{text[: CELL_CHARS - 1]}…"


def write_number(value: float | None) -> str:
    """Write a value of an item."""
    return "–" if value is None else f"{value:.4g}"


def _runs(count: int) -> str:
    return f"{count:,} run{'s' * (count != 1)}"


def _shown(estimate: Estimate | None, is_rate: bool, *, signed: bool = False) -> str:
    """Write a number with its interval, rates in percent."""
    if estimate is None:
        return "–"
    sign = "+" if signed else ""
    form = f"{sign}.1%" if is_rate else f"{sign}.4g"
    return f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"


def _escape(text: str) -> str:
    """Write a text in a cell of Markdown, where it marks up nothing."""
    return _MARKUP.sub(r"\\\g<0>", text).replace("\n", " ")
