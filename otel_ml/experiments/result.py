"""The result of an experiment: runs, scores with intervals, and the verdict against a baseline."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

import orjson

from otel_ml.arguments import check_one_of
from otel_ml.attributes import RECORDED
from otel_ml.experiments.compare import (
    ALIKE,
    ComparisonOptions,
    estimate_alone,
    find_flaky,
    has_clusters,
    verdict_of,
)
from otel_ml.experiments.rows import Experiment, ItemRun, by_item, read_file, write_file
from otel_ml.experiments.value_text import describe_value, write_value
from otel_ml.notebook import Card, HasCard, show_unseen, table
from otel_ml.reader import Reader
from otel_ml.reader.display import FileSource, show_file
from otel_ml.statistics.comparison import FigureComparison, Word
from otel_ml.statistics.report import (
    NAMED,
    NAMED_IN_MARKDOWN,
    JudgeResult,
    Report,
    WorseItem,
    cut_cell,
    furthest_fall,
    judge_results,
    label_item,
    write_change,
    write_figure,
    write_label,
)
from otel_ml.statistics.sentences import list_reasons, write_sentence
from otel_ml.statistics.verdict import (
    ItemChange,
    Verdict,
)

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]  # it carries no types

# Characters that XML 1.0 does not allow, https://www.w3.org/TR/xml/#charsets
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Regression:
    """An item of the data set that got worse than in the baseline. See `Result.regressions`.

    Attributes:
        item: Id of the item.
        inputs: Inputs of the item.
        judge: Judge with the largest drop. Empty if the call failed and no judge scored it.
        before: Mean score by this judge in the baseline, over all repeats of the item. Passed
            counts as 1, failed as 0.
        after: The same mean in this experiment.
        change: The judges whose result got worse, with the change, such as ``exact pass → fail``.
        outputs: Output in this experiment, from the first repeat.
        baseline_outputs: Output in the baseline, from the first repeat.
        error: Error message of a failed call in this experiment. Empty if no call failed.
        scores: Scores by judge in this experiment.
        run_id: Run id of the first repeat in this experiment.
        baseline_run_id: Run id of the first repeat in the baseline.
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
    """Result of an experiment, from `evaluate` or `load_result`: runs, scores and verdict.

    Attributes:
        experiment: Name, function, data set and start time of the experiment.
        runs: All finished runs, one for each item and repeat, in the order of the data set.
        baseline: The earlier result that this one is compared with. None if there is no baseline.
        first_errors: Traceback of the first error of each exception type, by type.
        is_interrupted: Whether the experiment was interrupted before all runs finished.
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
        open_stored: "Callable[[], Reader] | None" = None,
    ) -> None:
        self.experiment = experiment
        self.runs = tuple(runs)
        self.baseline = baseline
        self.first_errors = dict(first_errors or {})
        self.is_interrupted = is_interrupted
        self._comparison = comparison
        self._path = path
        self._open_stored = open_stored  # opens the collector that has it; None for a file

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the collector, which may have an API key."""
        return {**self.__dict__, "_open_stored": None}

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Result":
        """Read a result from a file that `save` wrote.

        Raises:
            ValueError: The file is not a saved result.
            OSError: The file cannot be read.
        """
        experiment, runs = read_file(path)
        return cls(experiment, runs, path=os.fspath(path))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result to a JSON lines file, to use it as a baseline later.

        Raises:
            OSError: The file cannot be written.
        """
        write_file(path, self.experiment, self.runs)

    @property
    def url(self) -> str:
        """Address of the experiment's web page. Empty if it has none."""
        return self.experiment.page

    @property
    def label(self) -> str:
        """Text that identifies the result in comparisons: its name, file or run id, and date."""
        experiment = self.experiment
        return write_label(experiment.name, self._path or self.stored_id, experiment.start_ns)

    @property
    def stored_id(self) -> str:
        """Run id of the experiment. Empty if it is not stored in a collector."""
        return "" if self.experiment.id == RECORDED else self.experiment.id

    @property
    def wanted(self) -> int:
        """Number of runs that a complete experiment has: items times repeats."""
        return self.experiment.items * self.experiment.repeats

    @property
    def errors(self) -> int:
        """Number of runs that failed or timed out."""
        return sum(run.outcome != "ok" for run in self.runs)

    @property
    def cost(self) -> float:
        """Cost of runs and judges in US dollars. Runs without a known cost count as 0."""
        judged = (
            judgement.cost or 0.0 for run in self.runs for judgement in run.judgements.values()
        )
        return sum(run.cost or 0.0 for run in self.runs) + sum(judged)

    @cached_property
    def comparison(self) -> Verdict | None:
        """Comparison with the baseline, including slices and latency. None without a baseline."""
        if self.baseline is None:
            return None
        return verdict_of(self.runs, self.baseline.runs, self._comparison)

    @cached_property
    def judges(self) -> Mapping[str, JudgeResult]:
        """Pass rate or mean score of each judge, with confidence interval and baseline value."""
        alone = estimate_alone(self.runs, self._comparison)
        lower = self._comparison.lower_is_better
        return judge_results(self.experiment.judges, alone, self.comparison, lower)

    @cached_property
    def verdict(self) -> str:
        """The overall verdict: ``better``, ``worse``, ``no difference`` or ``not enough data``.

        * ``worse`` if more calls failed, whatever the judges say
        * else ``not enough data`` if the experiments have too few items in common
        * else ``better`` if fewer calls failed and no judge has the verdict ``worse``
        * else the worst verdict of any judge; ``not enough data`` is worse than ``no difference``

        Empty without a baseline, or if there are no judges and the share of failed calls did not
        change.
        """
        return (
            ""
            if self.comparison is None
            else self.comparison.word_of([judge.word for judge in self.judges.values()])
        )

    @property
    def failures(self) -> FigureComparison | None:
        """Change of the share of failed calls. None without a baseline, or if no call failed."""
        return None if self.comparison is None else self.comparison.failures

    @property
    def have_failures_risen(self) -> bool:
        """Whether the share of failed calls has risen, which makes the verdict ``worse``."""
        return self.failures is not None and self.failures.word == Word.WORSE

    @cached_property
    def regressions(self) -> list[Regression]:
        """Items that are worse than in the baseline according to any judge, the worst first."""
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
        """What groups items into clusters, such as ``tags["document"]``. Empty without clusters."""
        return self._comparison.clustered_by if has_clusters(self.runs, self._comparison) else ""

    @property
    def sentence(self) -> str:
        """The verdict in one sentence, with the numbers it is based on."""
        return self._report.sentence

    @property
    def notes(self) -> list[str]:
        """Warnings about the result, for example flaky items, failed judges, changed items."""
        return self._report.notes

    @cached_property
    def _firsts(self) -> Mapping[str, ItemRun]:
        """The first run of each item."""
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
            failures=self.failures,
            shared=None if shared is None else shared.counts,
            flaky=[_label(self._firsts[item]) for item in self.flaky[:NAMED]],
            flaky_count=len(self.flaky),
            url=self.url,
            is_interrupted=self.is_interrupted,
            baseline_id="" if self.baseline is None else self.baseline.stored_id,
            left_out=self.left_out,
            duplicates=self._comparison.duplicates,
            judge_errors={
                judgement.judge: judgement.error
                for run in reversed(self.runs)
                for judgement in run.judgements.values()
                if judgement.error
            },
        )

    @property
    def left_out(self) -> Mapping[str, int]:
        """Number of recorded runs that a replay left out, by reason. Empty if this is no replay."""
        return self._comparison.left_out

    @cached_property
    def flaky(self) -> list[str]:
        """Ids of flaky items: some repeats pass and others fail."""
        return find_flaky(self.runs)

    def assert_not(self, *words: str) -> None:
        """Make a test fail if the verdict of this result is ``worse``, or another that you name.

        Example: ``result.assert_not("worse", "not enough data")``.

        Args:
            words: Verdicts that fail the test: ``worse``, ``not enough data``, ``no difference`` or
                ``better``. With ``errors``, the test fails if any call failed. Default: ``worse``.

        Raises:
            AssertionError: The verdict is one of `words`. The message has the complete result.
            ValueError: A word is unknown.
        """
        for word in words or (Word.WORSE,):
            check_one_of("words", word, {*map(str, Word), "errors"})
        names = {word for word in words or (Word.WORSE,) if word == self.verdict}
        if "errors" in words and self.errors:
            names.add("errors")
        if names:
            raise AssertionError(f"The result is {' and '.join(sorted(names))}:\n{self}")

    def to_pandas(self) -> "pd.DataFrame":
        """Return the runs as a pandas table: one row per run, with columns for each judge and tag.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd  # optional

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
            "judges": {name: _describe_judge(judge) for name, judge in self.judges.items()},
            "failures": None if self.failures is None else _describe(self.failures),
            "regressions": [
                {
                    **{
                        key: getattr(regression, key)
                        for key in ("item", "judge", "before", "after")
                    },
                    **{key: getattr(regression, key) for key in ("change", "error")},
                    **{key: getattr(regression, key) for key in ("run_id", "baseline_run_id")},
                    "inputs": describe_value(regression.inputs),
                    "outputs": describe_value(regression.outputs),
                    "baseline_outputs": describe_value(regression.baseline_outputs),
                }
                for regression in self.regressions
            ],
        }
        return orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode()

    def to_markdown(self) -> str:
        """Return the result as Markdown.

        It has the verdict in one sentence, a table of judges with intervals, and up to five
        regressions with both outputs.
        """
        worse = [
            WorseItem(
                _label(self._firsts[regression.item]),
                regression.change,
                regression.error or _cell(regression.outputs),
                _cell(regression.baseline_outputs),
                self._address(regression.run_id),
            )
            for regression in self.regressions[:NAMED_IN_MARKDOWN]
        ]
        count = len(self.regressions)
        return replace(self._report, worse=worse, worse_count=count).to_markdown()

    def to_junit(self) -> str:
        """Return the runs as a JUnit XML test suite with one test case per run."""
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
                    f"{judgement.explanation or judgement.label or write_figure(judgement.score)}"
                    for judgement in judgements
                )
                failure = ET.SubElement(case, "failure", message=_xml(text))
                failure.text = _xml(_cell(run.outputs))
        ET.indent(suite)
        head = '<?xml version="1.0" encoding="UTF-8"?>'
        return f"{head}\n{ET.tostring(suite, encoding='unicode')}\n"

    def __str__(self) -> str:
        """Return the result as text: the verdict, a line per judge, regressions and errors."""
        heads, rows = self._report.table
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        opening = self._report.opening
        lines = [opening] if opening else []
        lines += [self.experiment.name, self.sentence, ""]
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
        plain = table(heads, [("", row) for row in rows])
        source = self._find_file()
        if source is None:
            return self._card.html + plain
        return show_file(source, self._card, lambda: plain)

    def _find_file(self) -> FileSource | None:
        """Find where the file of the experiment is read. None if no collector has it."""
        if self._open_stored is None or not self.stored_id:
            return None
        try:
            reader = self._open_stored()
        except LookupError:  # it is sent to another backend
            return None
        other = self.baseline
        baseline = None if other is None or other._open_stored is None else other.stored_id or None
        path = (reader.project, "experiments", self.stored_id)
        return FileSource(reader._api, path, {"baseline": baseline})

    def _address(self, run_id: str) -> str:
        base = self.url.rpartition("/experiments/")[0]
        return f"{base}/runs/{run_id}" if base and run_id else ""


def _describe_judge(judge: JudgeResult) -> dict[str, Any]:
    """Return the result of a judge as JSON, with the comparison if there is a baseline."""
    return {
        "version": judge.version,
        "is_rate": judge.is_rate,
        "lower_is_better": judge.lower_is_better,
        "value": judge.value,
        "failed": judge.failed,
        "word": "",
        **({} if judge.comparison is None else _describe(judge.comparison)),
    }


def _describe(comparison: FigureComparison) -> dict[str, Any]:
    """Return a comparison with the baseline as JSON."""
    return {
        "word": comparison.word,
        "sentence": write_sentence(comparison),
        "baseline": comparison.baseline.estimate,
        "candidate": comparison.candidate.estimate,
        "difference": comparison.difference,
        "margin": comparison.margin,
        "reasons": list_reasons(comparison),
        "needed": comparison.basis.needed,
        "has_other_version": comparison.has_other_version,
    }


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
    """Return the label of an item: its inputs if they are known, else its id."""
    return label_item(run.item, "" if run.inputs is None else _cell(run.inputs))


def _cell(value: object) -> str:
    """Return a value as one short line of text."""
    return cut_cell(show_unseen(value if isinstance(value, str) else write_value(value)))


def _xml(text: str) -> str:
    """Replace characters that XML 1.0 does not allow."""
    return _NO_XML.sub("\ufffd", text)
