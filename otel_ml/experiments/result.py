"""The result of an experiment: rows, scores with intervals, and the verdict against a baseline."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

import orjson

from otel_ml.arguments import check_one_of
from otel_ml.attributes import RECORDED
from otel_ml.experiments.compare import (
    ALIKE,
    WORDS,
    ComparisonOptions,
    estimate_alone,
    find_flaky,
    has_clusters,
    verdict_of,
)
from otel_ml.experiments.dataset import content_of
from otel_ml.experiments.rows import Experiment, ItemRun, by_item, read_file, write_file
from otel_ml.notebook import Card, HasCard, show_unseen, table
from otel_ml.statistics.report import (
    NAMED,
    Report,
    WorseItem,
    cut_cell,
    furthest_fall,
    label_item,
    write_change,
    write_label,
    write_number,
)
from otel_ml.statistics.verdict import (
    WORST_FIRST,
    ItemChange,
    JudgeOutcome,
    Verdict,
    judge_outcomes,
)

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]  # it carries no types

# What no XML 1.0 document holds, https://www.w3.org/TR/xml/#charsets
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Regression:
    """An item that is worse than it was.

    Attributes:
        item: The item's id.
        inputs: Of the item.
        judge: By which judge it fell furthest; empty where its calls fail and no judge saw that.
        before: Its value there in the baseline: the mean over repeats, 1 for passed.
        after: Its value now.
        change: By which judges it fell, and from what to what, such as ``exact pass → fail``.
        outputs: What came out now, of the first repeat.
        baseline_outputs: What came out then.
        error: Why it failed now; empty where it did not.
        scores: By judge, now.
        run_id: Of the first repeat now.
        baseline_run_id: Of the first repeat then.
    """

    item: str
    inputs: Any
    judge: str
    before: float
    after: float
    change: str
    outputs: Any
    baseline_outputs: Any
    error: str
    scores: Mapping[str, float]
    run_id: str
    baseline_run_id: str


class Result(HasCard):
    """The result of an experiment: its items, scores and verdict.

    Attributes:
        experiment: What was run, on what, and when.
        runs: The runs over items, in the order of the data set; of an interrupted one those that
            ended.
        baseline: What it is compared with; None where nothing was named.
        first_errors: The traceback of the first error of each kind.
        is_interrupted: Whether somebody ended it before all was done.
    """

    def __init__(
        self,
        experiment: Experiment,
        runs: Sequence[ItemRun],
        baseline: "Result | None" = None,
        comparison: ComparisonOptions = ALIKE,
        *,
        path: str = "",
        first_errors: Mapping[str, str] | None = None,
        is_interrupted: bool = False,
    ) -> None:
        self.experiment = experiment
        self.runs = tuple(runs)
        self.baseline = baseline
        self.first_errors = dict(first_errors or {})
        self.is_interrupted = is_interrupted
        self._comparison = comparison
        self._path = path

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Result":
        """Read a file that `save` wrote.

        Raises:
            ValueError: It is no such file.
            OSError: It cannot be read.
        """
        experiment, runs = read_file(path)
        return cls(experiment, runs, path=os.fspath(path))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result into a file (JSON lines), to compare with it later.

        Raises:
            OSError: It cannot be written.
        """
        write_file(path, self.experiment, self.runs)

    @property
    def url(self) -> str:
        """The address of its page; empty where there is none."""
        return self.experiment.page

    @property
    def label(self) -> str:
        """What it is called where something is compared with it: name, file or run, and date."""
        experiment = self.experiment
        return write_label(experiment.name, self._path or self.stored_id, experiment.start_ns)

    @property
    def stored_id(self) -> str:
        """Its run id; empty where it is no experiment that a collector has."""
        return "" if self.experiment.id == RECORDED else self.experiment.id

    @property
    def wanted(self) -> int:
        """How many runs there were to be."""
        return self.experiment.items * self.experiment.repeats

    @property
    def errors(self) -> int:
        """How many runs failed or took too long."""
        return sum(run.outcome != "ok" for run in self.runs)

    @property
    def cost(self) -> float:
        """The cost of judges, and of runs as far as it is known."""
        judged = (
            judgement.cost or 0.0 for run in self.runs for judgement in run.judgements.values()
        )
        return sum(run.cost or 0.0 for run in self.runs) + sum(judged)

    @cached_property
    def comparison(self) -> Verdict | None:
        """The verdict beside the baseline, with slices and latency; None without one."""
        if self.baseline is None:
            return None
        return verdict_of(self.runs, self.baseline.runs, self._comparison)

    @cached_property
    def judges(self) -> Mapping[str, JudgeOutcome]:
        """The outcome of each judge: value, interval, and the baseline's value."""
        alone = estimate_alone(self.runs, self._comparison)
        lower = self._comparison.lower_is_better
        return judge_outcomes(self.experiment.judges, alone, self.comparison, lower)

    @cached_property
    def verdict(self) -> str:
        """``better``, ``worse``, ``no different`` or ``inconclusive``, of the worst judge.

        It is empty without a baseline, and without judges.
        """
        words = {judge.word for judge in self.judges.values()}
        return next((word for word in WORST_FIRST if word in words), "")

    @cached_property
    def regressions(self) -> list[Regression]:
        """Items that are worse than in the baseline by some judge, the worst first."""
        if self.baseline is None or self.comparison is None:
            return []
        now = {key[0]: runs for key, runs in by_item(self.runs).items()}
        before = {key[0]: runs for key, runs in by_item(self.baseline.runs).items()}
        return [
            _regression(regression, now[regression.item], before[regression.item])
            for regression in self.comparison.regressions
        ]

    @property
    def clustered_by(self) -> str:
        """The key that groups items into clusters; empty where each stands alone."""
        return self._comparison.clustered_by if has_clusters(self.runs, self._comparison) else ""

    @property
    def sentence(self) -> str:
        """The verdict in one sentence, with what it rests on."""
        return self._report.sentence

    @property
    def notes(self) -> list[str]:
        """What must be known beside the table: items that differ, flaky ones, failed judges."""
        return self._report.notes

    @cached_property
    def _firsts(self) -> Mapping[str, ItemRun]:
        """The first run over each item."""
        return {run.item: run for run in reversed(self.runs)}

    @cached_property
    def _report(self) -> Report:
        """The report without the regressions."""
        shared = None if self.comparison is None else self.comparison.shared
        return Report(
            name=self.experiment.name,
            baseline=None if self.baseline is None else self.baseline.label,
            runs=len(self.runs),
            wanted=self.wanted,
            errors=self.errors,
            word=self.verdict,
            judges=self.judges,
            shared=None if shared is None else shared.counts,
            flaky=[_label(self._firsts[item]) for item in self.flaky[:NAMED]],
            flaky_count=len(self.flaky),
            url=self.url,
            is_interrupted=self.is_interrupted,
            baseline_id="" if self.baseline is None else self.baseline.stored_id,
            left_out=self.left_out,
        )

    @property
    def left_out(self) -> Mapping[str, int]:
        """How many recorded runs were not replayed, by reason; empty but for a replay."""
        return self._comparison.left_out

    @cached_property
    def flaky(self) -> list[str]:
        """The ids of items whose repeats differ: in failing or passing."""
        return find_flaky(self.runs)

    def assert_not(self, *words: str) -> None:
        """Fail a test when the verdict is one of these words.

        Args:
            words: Such as ``worse`` or ``inconclusive``; ``errors`` when a call has failed.

        Raises:
            AssertionError: It is; the message is the whole result.
            ValueError: A word is none of these.
        """
        for word in words or ("worse",):
            check_one_of("words", word, {*WORDS, "errors"})
        names = {word for word in words or ("worse",) if word == self.verdict}
        if "errors" in words and self.errors:
            names.add("errors")
        if names:
            raise AssertionError(f"Expected not {' or '.join(sorted(names))}:\n{self}")

    def to_pandas(self) -> "pd.DataFrame":
        """Return the runs as a table: one row a run, a column for each judge and tag.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd  # only for who asks for it

        return pd.DataFrame([_row(run) for run in self.runs])

    def to_json(self) -> str:
        """Return the verdict, the judges and the regressions as JSON text."""
        about = asdict(self.experiment)
        facts = {
            "experiment": about,
            "baseline": None if self.baseline is None else self.baseline.label,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "clustered_by": self.clustered_by,
            "runs": len(self.runs),
            "wanted": self.wanted,
            "errors": self.errors,
            "left_out": dict(self.left_out),
            "flaky": self.flaky,
            "judges": {name: asdict(judge) for name, judge in self.judges.items()},
            "regressions": [
                {
                    **{
                        key: getattr(regression, key)
                        for key in ("item", "judge", "before", "after")
                    },
                    **{key: getattr(regression, key) for key in ("change", "error")},
                    **{key: getattr(regression, key) for key in ("run_id", "baseline_run_id")},
                    "inputs": content_of(regression.inputs, []),
                    "outputs": content_of(regression.outputs, []),
                    "baseline_outputs": content_of(regression.baseline_outputs, []),
                }
                for regression in self.regressions
            ],
        }
        return orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode()

    def to_markdown(self) -> str:
        """Return one table, the verdict in a sentence and the first ten regressions, with links."""
        worse = [
            WorseItem(
                _label(self._firsts[regression.item]),
                regression.change,
                regression.error or _cell(regression.outputs),
                _cell(regression.baseline_outputs),
                self._address(regression.run_id),
            )
            for regression in self.regressions[:NAMED]
        ]
        count = len(self.regressions)
        return replace(self._report, worse=worse, worse_count=count).to_markdown()

    def to_junit(self) -> str:
        """Return the runs as a test suite in JUnit's XML: one test case a run."""
        suite = ET.Element(
            "testsuite",
            name=_xml(self.experiment.name),
            tests=str(len(self.runs)),
            failures=str(sum(run.outcome == "ok" and run.passed is False for run in self.runs)),
            errors=str(self.errors),
            time=f"{sum(run.latency_ms or 0.0 for run in self.runs) / 1e3:.3f}",
        )
        for run in self.runs:
            name = run.item if self.experiment.repeats == 1 else f"{run.item} [{run.repeat}]"
            case = ET.SubElement(
                suite,
                "testcase",
                classname=_xml(self.experiment.dataset),
                name=_xml(name),
                time=f"{(run.latency_ms or 0.0) / 1e3:.3f}",
            )
            if run.outcome != "ok":
                error = ET.SubElement(
                    case, "error", type=_xml(run.error_type), message=_xml(run.error)
                )
                error.text = _xml(self.first_errors.get(run.error_type, ""))
            elif run.passed is False:
                judgements = [
                    judgement for judgement in run.judgements.values() if judgement.passed is False
                ]
                text = "; ".join(
                    f"{judgement.judge}: "
                    f"{judgement.explanation or judgement.label or write_number(judgement.score)}"
                    for judgement in judgements
                )
                failure = ET.SubElement(case, "failure", message=_xml(text))
                failure.text = _xml(_cell(run.outputs))
        ET.indent(suite)
        head = '<?xml version="1.0" encoding="UTF-8"?>'
        return f"{head}\n{ET.tostring(suite, encoding='unicode')}\n"

    def __str__(self) -> str:
        """Say what came of it: the verdict, a line for each judge, regressions, errors."""
        heads, rows = self._report.table
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        lines = [self.experiment.name, self.sentence, ""]
        for row in (heads, *rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            lines.append("  ".join(cells).rstrip())
        lines += self.notes
        if self.regressions:
            lines += ["", f"{len(self.regressions)} worse than before:"]
            for regression in self.regressions[:NAMED]:
                now = regression.error or _cell(regression.outputs)
                label = _label(self._firsts[regression.item])
                lines.append(
                    f"  {label}  {regression.change}  {_cell(regression.baseline_outputs)} → {now}"
                )
            if (left := len(self.regressions) - NAMED) > 0:
                lines.append(f"  and {left:,} more, not shown here")
        for name, text in self.first_errors.items():
            count = sum(run.error_type == name for run in self.runs)
            lines += ["", f"{count} failed with {name}, the first:", text.rstrip()]
        if self.url:
            lines += ["", self.url]
        return "\n".join(lines)

    @property
    def _card(self) -> Card:
        return Card(
            "Result", self.experiment.name, (self.verdict or "", self._report.count), self.url
        )

    def _repr_html_(self) -> str:
        heads, rows = self._report.table
        return self._card.html + table(heads, [("", row) for row in rows])

    def _address(self, run_id: str) -> str:
        base = self.url.rpartition("/experiments/")[0]
        return f"{base}/runs/{run_id}" if base and run_id else ""


def _regression(
    change: ItemChange, now: Sequence[ItemRun], before: Sequence[ItemRun]
) -> Regression:
    return Regression(
        change.item,
        now[0].inputs,
        *furthest_fall(change),
        write_change(change),
        now[0].outputs,
        before[0].outputs,
        next((run.error for run in now if run.error), ""),
        now[0].scores,
        now[0].run_id,
        before[0].run_id,
    )


def _row(run: ItemRun) -> dict[str, Any]:
    facts: dict[str, Any] = {
        name: getattr(run, name)
        for name in ("item", "repeat", "outputs", "outcome", "error", "latency_ms", "run_id")
    }
    for name, judgement in run.judgements.items():
        facts |= {f"score.{name}": judgement.score, f"passed.{name}": judgement.passed}
    return facts | {f"tag.{name}": value for name, value in run.tags.items()}


def _label(run: ItemRun) -> str:
    """Name an item by its inputs, where they are known."""
    return label_item(run.item, "" if run.inputs is None else _cell(run.inputs))


def _cell(value: object) -> str:
    """Write a value in one short line."""
    text = value if isinstance(value, str) else orjson.dumps(content_of(value, [])).decode()
    return cut_cell(show_unseen(text))


def _xml(text: str) -> str:
    """Leave out what XML has no form for."""
    return _NO_XML.sub("\ufffd", text)
