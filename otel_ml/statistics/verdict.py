"""Compares two sets of scored runs: better, worse, no difference or not enough data, and why.

`compare_items` compares two experiments: it pairs the runs of the same items. `compare_groups`
takes the same data as counts, as a store returns them. Two versions in production are compared by
`otel_ml.statistics.release`. The functions only compute; they do no input or output.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import Final, Literal, TypeVar

from otel_ml.counts import write_number
from otel_ml.statistics import floats
from otel_ml.statistics.exact import exact_difference, least_units, show_least, sign_flip_p
from otel_ml.statistics.intervals import (
    CONFIDENCE,
    ClusterSum,
    ClusterSums,
    Estimate,
    benjamini_hochberg,
    cluster_mean,
    cluster_p,
    cluster_rate,
    count_clusters,
    detectable,
    exponential,
    mcnemar_mid_p,
    needed,
    newcombe_paired,
    sum_counted,
    sum_logs,
    wilson,
)

Word = Literal["better", "worse", "no difference", "not enough data"]

RATE_MARGIN: Final = 0.02
# The share of failed calls is worse from 2 points on. The 1e-9 allows for rounding.
_FAILURE_MARGIN: Final = 0.02 - 1e-9
SCORE_MARGIN: Final = 0.1  # in standard deviations of the baseline
AMOUNT_MARGIN: Final = 0.05
# Smaller relative differences of scores are rounding: 0.1 + 0.2 is not quite 0.3.
_ROUNDING: Final = 1e-9
# Smaller differences per run in latency (ms) or cost ($) do not matter, even if they are a large
# share.
LEAST_AMOUNTS: Final[Mapping[str, float]] = {"latency": 10.0, "cost": 0.0001}
# Number of a cluster's runs that passed both times, only before, only now, and never.
PassCounts = tuple[int, int, int, int]
# Counts for a cluster of one run, by whether it passed before and now.
_ALONE: Final[Mapping[tuple[int, int], PassCounts]] = {
    (1, 1): (1, 0, 0, 0),
    (1, 0): (0, 1, 0, 0),
    (0, 1): (0, 0, 1, 0),
    (0, 0): (0, 0, 0, 1),
}
LEAST_ITEMS: Final = 20
LEAST_CLUSTERS: Final = 12
LEAST_RUNS: Final = 100
LEAST_IN_COMMON: Final = 0.9
MOST_MISSING: Final = 0.05
AMOUNTS: Final = ("latency", "tokens", "cost")
_AMOUNT_OF: Final = {name: attrgetter(name) for name in AMOUNTS}
# The default cluster key, and the names of cluster keys in sentences.
DEFAULT_CLUSTER: Final = "source_session"
SOURCE_CLUSTERS: Final[Mapping[str, str]] = {DEFAULT_CLUSTER: "session", "source_run": "source run"}
_TAG: Final = re.compile(r"""tags\[(?:"([^"]+)"|'([^']+)')\]""")
_FALSE_DISCOVERIES: Final = 0.05
_DECIDED: Final = ("worse", "better")
_FEW_POINTS: Final = 0.1  # smaller differences are shown with a decimal
_CLOSE_RATES: Final = 0.05  # rates that differ by less are shown with a decimal
_EXTREME_RATE: Final = 0.01  # rates closer to 0 or 1 are shown with a decimal
_MANY_TIMES: Final = 3  # from this factor on, a ratio is written as such (12×)
_SIZE_WORDS: Final = {"latency": ("longer", "shorter", "long")}
WORST_FIRST: Final[tuple[Word, ...]] = ("worse", "not enough data", "no difference", "better")
FAILED_CALLS: Final = "failed calls"


@dataclass(frozen=True, slots=True)
class JudgeScore:
    """One judge's result for one run.

    Attributes:
        passed: Whether the run passed. None if the judge only gives scores.
        score: The score, in the judge's own range.
        version: Version of the judge that scored the run.
        failed: Whether the judge itself raised an error.
    """

    passed: bool | None = None
    score: float | None = None
    version: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRun:
    """One run with its scores: the input of `compare_items`.

    If an item was run several times, each repeat is a separate `ScoredRun`.

    Attributes:
        item: Id of the data set's item. Empty for production runs.
        digest: Hash of the item's content. It shows whether the item was edited between two
            experiments.
        cluster: Name of the run's cluster, such as a session. Runs of the same cluster depend on
            each other. Empty for an independent run.
        tags: Tags of the item.
        is_error: Whether the call raised or timed out.
        scores: Scores by judge name.
        latency: Duration, in the same unit for all runs.
        tokens: Total number of tokens.
        cost: Cost in US dollars.
    """

    item: str = ""
    digest: str = ""
    cluster: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    is_error: bool = False
    scores: Mapping[str, JudgeScore] = field(default_factory=dict)
    latency: float | None = None
    tokens: float | None = None
    cost: float | None = None

    def amount(self, name: str) -> float | None:
        """Return the latency, tokens or cost, chosen by name.

        None if the run failed or the value is not above 0.
        """
        value: float | None = _AMOUNT_OF[name](self)
        return None if self.is_error or value is None or not value > 0 else value


@dataclass(frozen=True, slots=True)
class ItemGroup:
    """One item of an experiment, or several items with equal scores that are stored as one.

    The baseline is the earlier experiment. The candidate is the experiment that is compared with
    the baseline.

    Attributes:
        name: Id of the item, or name of the group.
        before: Runs of one item in the baseline, without latency, tokens and cost, which are in
            `amounts`. Empty if the item is not in the baseline.
        after: Runs of one item in the candidate, in the same form.
        count: Number of items in the group.
        amounts: Latency, tokens and cost of the items, by the keys `latency`, `tokens` and `cost`.
            Each item has one pair: its mean in the baseline and its mean in the candidate. An item
            that lacks one of the means is left out.
    """

    name: str
    before: Sequence[ScoredRun]
    after: Sequence[ScoredRun]
    count: int = 1
    amounts: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)

    @property
    def cluster(self) -> str | None:
        """Group that the items share, such as a session. None if each item is independent."""
        runs = self.after or self.before
        return runs[0].cluster or (self.before[0].cluster if self.before else "") or None

    @property
    def is_pair(self) -> bool:
        """Whether baseline and candidate ran the item with the same content."""
        return bool(self.before and self.after) and self.before[0].digest == self.after[0].digest


@dataclass(frozen=True, slots=True)
class SharedItems:
    """Which items are in both the baseline and the candidate, and which are not.

    Two items are the same if their ids and their contents are equal.

    Attributes:
        common: Ids of the items that both have.
        new: Ids that only the candidate has.
        gone: Ids that only the baseline has.
        changed: Ids that both have, but with different content.
    """

    common: Sequence[str]
    new: Sequence[str]
    gone: Sequence[str]
    changed: Sequence[str]

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Number of shared, new, removed and changed items, in this order."""
        return len(self.common), len(self.new), len(self.gone), len(self.changed)

    @property
    def share(self) -> float:
        """Share of all items that are in both baseline and candidate, from 0 to 1."""
        every = sum(self.counts)
        return len(self.common) / every if every else 0.0


@dataclass(frozen=True)
class JudgeVerdict:
    """Whether a candidate is better or worse than its baseline, according to one judge.

    Attributes:
        judge: Name of the judge.
        word: ``better``, ``worse``, ``no difference`` or ``not enough data``.
        is_rate: Whether the values are pass rates from 0 to 1. If False, they are mean scores.
        baseline: Pass rate or mean score of the baseline.
        candidate: Pass rate or mean score of the candidate.
        difference: Candidate minus baseline, with a confidence interval. If there are several
            judges, the interval is wider, to correct for multiple comparisons.
        margin: Smallest difference that matters.
        lower_is_better: Whether lower values are better.
        versions: Two lists: the versions of the judge that scored the baseline, and those that
            scored the candidate.
        confidence: Confidence level of the interval of `difference`, such as 0.95.
        n: Sample size as text, such as `150` items or `150 in 34 clusters by session`. For two
            independent samples both sizes: `150/150`.
        reasons: Why there is not enough data, such as too few items. Empty if only the confidence
            interval decided.
        p: p-value of the difference.
        directions: Words to use in sentences in place of "better" and "worse", such as "more
            lenient" and "stricter".
        passing: Verb for sentences about a rate: "69 % pass" or "31 % fail".
        noun: What a score is in sentences, such as `mean` or `mean error`.
        sides: Words for the baseline and the candidate in sentences, such as "with v1" and "with
            v2".
        least: Smallest difference that an exact test of so few items shows with 80 % power. None
            if there are enough items for a confidence interval of the usual kind, or too few for
            any difference.
        counted: Which runs `n` counts, such as `scored runs`.
    """

    judge: str
    word: Word
    is_rate: bool
    baseline: Estimate | None
    candidate: Estimate | None
    difference: Estimate | None
    margin: float
    lower_is_better: bool
    versions: tuple[Sequence[str], Sequence[str]]
    confidence: float
    n: str
    reasons: Sequence[str]
    p: float = 1.0
    directions: tuple[str, str] = ("better", "worse")
    passing: str = "pass"
    sides: tuple[str, str] = ("before", "now")
    least: float | None = None
    counted: str = "runs"
    noun: str = "mean"

    @property
    def detectable(self) -> float | None:
        """Smallest difference that this sample size detects with 80 % power. None if unknown."""
        if self.least is not None:
            return self.least
        if self.difference is None or not math.isfinite(self.difference.high):
            return None
        return detectable(self.difference, confidence=self.confidence)

    @property
    def needed(self) -> int | None:
        """Number of items (or runs of both sides) needed to detect the margin with 80 % power.

        None if unknown.
        """
        if self.difference is None:
            return None
        return needed(self.difference, self.margin, confidence=self.confidence)

    @property
    def has_other_version(self) -> bool:
        """Whether different versions of the judge scored baseline and candidate."""
        return is_other_version(*self.versions)

    @cached_property
    def sentence(self) -> str:
        """The verdict in words: the claim, then the evidence in parentheses."""
        return add_evidence(self.claim, self.evidence)

    @cached_property
    def claim(self) -> str:
        """The verdict in words, with at most three numbers."""
        change, figures = self.difference, self._write_figures()
        if change is None or self.word == "not enough data":
            return write_open(self.reasons or self._plan())
        if self.word == "no difference":
            return f"{self.word} ({self.most}): {figures}"
        size = self._write_size(abs(change.value))
        direction = self.directions[(change.value < 0) != self.lower_is_better]
        return f"{figures}: {size}{self._points} {direction}"

    @cached_property
    def evidence(self) -> str:
        """The confidence interval and the sample size in words. Empty if nothing was compared."""
        if self.difference is None:
            return ""
        figures = self._write_figures() if self.word == "not enough data" else ""
        count = _write_sample_size(self.n, self.sides, self.counted)
        parts = [figures, self.write_interval(), count]
        return "; ".join(filter(None, parts))

    def write_interval(self) -> str:
        """Return the confidence interval of the difference in words. Empty if it has no bounds."""
        change = self.difference
        if change is None or not math.isfinite(change.high - change.low):
            return ""
        low, high = change.low, change.high
        if self.word in _DECIDED:
            low, high = (-high, -low) if change.value < 0 else (low, high)
        elif self._write_value(self.baseline) == self._write_value(self.candidate):
            return f"± {self._numbers((high - low) / 2)[0]}{self._points}"
        ends = self._numbers(low, high)
        return f"{ends[0]} to {ends[1]}{self._points}"

    @property
    def _points(self) -> str:
        return " pts" if self.is_rate else ""

    @property
    def is_sure(self) -> bool:
        """Whether the confidence interval leaves no doubt about the direction."""
        change = self.difference
        return change is not None and (change.low > 0 or change.high < 0)

    @property
    def most(self) -> str:
        """The largest difference that the confidence interval allows, as in `at most 1.8 pts`."""
        change = self.difference
        if change is None or not math.isfinite(change.high - change.low):
            return ""
        return f"at most {self._numbers(max(-change.low, change.high))[0]}{self._points}"

    def _plan(self) -> list[str]:
        """Return about how many more items or runs would show a difference as large as the margin.

        Empty if there are as many already: then the difference is close to the margin.
        """
        n = 0 if self.difference is None else self.difference.n
        return count_missing(n, self.needed, "runs" if "/" in self.n else "items")

    def _write_figures(self) -> str:
        """Return the values of both sides, such as ``69 % pass, 94 % before``."""
        now, before = (self._write_value(part) for part in (self.candidate, self.baseline))
        mean = "" if self.is_rate else f"{self.noun} "
        if now == before:
            return f"{mean}{now} both"
        verb = f" {self.passing}" if self.is_rate else ""
        return f"{mean}{now}{verb}, {before} {self.sides[0]}"

    def _write_value(self, of: Estimate | None) -> str:
        if of is None:
            return "–"
        if not self.is_rate:
            return write_number(of.value, 4).replace("-", "−")
        return f"{100 * of.value:.{0 if of.value in {0, 1} else self._digits}f} %"

    def _write_size(self, size: float) -> str:
        return f"{100 * size:.{self._digits}f}" if self.is_rate else write_number(size)

    @property
    def _digits(self) -> int:
        """Number of decimal places of the two rates, in per cent."""
        sides = (self.baseline, self.candidate)
        return count_digits([part.value for part in sides if part is not None])

    def _numbers(self, *numbers: float) -> list[str]:
        if not self.is_rate:
            return [write_number(number).replace("-", "−") for number in numbers]
        few = max(max(numbers) - min(numbers), *map(abs, numbers)) < _FEW_POINTS
        return [_number(100 * number, 1 if few else 0) for number in numbers]


def write_open(reasons: Sequence[str]) -> str:
    """Return the claim of a verdict without enough data, with the reasons or what is missing."""
    return ": ".join(filter(None, ["not enough data", "; ".join(reasons)]))


def count_missing(n: int, needed: int | None, noun: str) -> list[str]:
    """Return how many more items or runs are needed, such as `about 420 more items`.

    Empty if no number is known, or if there are as many already.
    """
    more = (needed or 0) - n
    if more <= 0:
        return []
    return [f"about {round_count(more):,} more {noun.removesuffix('s') if more == 1 else noun}"]


def add_evidence(claim: str, evidence: str) -> str:
    """Join a claim and its evidence. Web pages split them again, to show the evidence smaller."""
    return f"{claim} ({evidence})" if evidence else claim


def count_digits(rates: Sequence[float]) -> int:
    """Return how many decimals rates in per cent need, so that different rates look different.

    Args:
        rates: Rates in one sentence, from 0 to 1.
    """
    is_extreme = any(0 < rate < _EXTREME_RATE or 0 < 1 - rate < _EXTREME_RATE for rate in rates)
    shown_as_equal = 0.0005
    is_close = shown_as_equal <= max(rates) - min(rates) < _CLOSE_RATES
    return 1 if is_extreme or is_close else 0


def _write_sample_size(n: str, sides: tuple[str, str], counted: str = "runs") -> str:
    """Return a sample size in words, such as ``150 items`` or ``948 runs before, 577 now``.

    Args:
        n: The sample size, from `JudgeVerdict.n`.
        sides: Words for baseline and candidate, such as "before" and "now".
        counted: Which runs are counted, such as "scored runs".
    """
    before, is_two, now = n.partition("/")
    if is_two:
        return f"{before} {counted} {sides[0]}, {now} {sides[1]}"
    items, has_clusters, clusters = n.partition(" in ")
    for noun in SOURCE_CLUSTERS.values():
        clusters = clusters.replace(f" clusters by {noun}", f" {noun}s")
    noun = "item" if items == "1" else "items"
    return f"{items} {noun} in {clusters}" if has_clusters else f"{items} {noun}"


def round_count(count: int) -> int:
    """Round a number of runs to two significant digits. Numbers below 1,000 are not rounded."""
    return round(count, 2 - len(str(count))) if count >= 1_000 else count  # noqa: PLR2004


@dataclass(frozen=True)
class FailureVerdict(JudgeVerdict):
    """Whether more or fewer calls fail than in the baseline.

    `word` is ``worse`` if the share of failed calls has risen, and ``better`` if it has fallen.
    `baseline` and `candidate` are the two shares, from 0 to 1. For the other attributes, see
    `JudgeVerdict`.

    Attributes:
        calls: For the baseline and for the candidate, the number of failed calls and the number of
            all calls.
        repaired: Two counts: the items that failed in the baseline and pass now, and all items that
            failed in the baseline. Both are 0 if baseline and candidate did not run the same items.
    """

    calls: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    repaired: tuple[int, int] = (0, 0)

    @cached_property
    def claim(self) -> str:
        """The change in words."""
        (failed_before, calls_before), (failed, calls) = self.calls
        if self.word == "worse" and failed == calls:
            before = f"{failed_before:,} of {calls_before:,}" if failed_before else "none"
            return f"all {calls:,} calls fail, {before} {self.sides[0]}"
        passing, failures = self.repaired
        if self.word == "better" and failures:
            return f"{passing:,} of {failures:,} failures pass now"
        return super().claim

    @cached_property
    def evidence(self) -> str:
        """The confidence interval and the sample size in words.

        Empty if the verdict's sentence already contains the counts.
        """
        failed, calls = self.calls[1]
        is_counted = (self.word == "worse" and failed == calls) or (
            self.word == "better" and self.repaired[1] > 0
        )
        return "" if is_counted else super().evidence


@dataclass(frozen=True, slots=True)
class JudgeOutcome:
    """The result of one judge in an experiment, compared with the baseline if there is one.

    Attributes:
        version: Version of the judge. Empty if the scores of all versions are used.
        is_rate: Whether the values are pass rates from 0 to 1. If False, they are mean scores.
        value: Pass rate or mean score over all items. None if no item has a score.
        baseline: Pass rate or mean score of the baseline. None if there is none.
        difference: Experiment minus baseline, measured on the items that both have. If there are
            several judges, its interval is wider, to correct for multiple comparisons.
        margin: Smallest difference that matters.
        word: ``better``, ``worse``, ``no difference`` or ``not enough data``. Empty without a
            baseline.
        why: Why there is not enough data, such as too few items.
        lower_is_better: Whether lower scores are better.
        sentence: The verdict in words. Empty without a baseline.
        failed: Number of runs on which the judge itself raised an error.
        has_other_version: Whether a different version of the judge scored the baseline.
    """

    version: str
    is_rate: bool
    value: Estimate | None
    baseline: Estimate | None = None
    difference: Estimate | None = None
    margin: float = 0.0
    word: str = ""
    why: str = ""
    lower_is_better: bool = False
    sentence: str = ""
    failed: int = 0
    has_other_version: bool = False

    @property
    def rate(self) -> float | None:
        """Share of runs that passed. None if the judge gives scores."""
        return self.value.value if self.is_rate and self.value is not None else None

    @property
    def score(self) -> float | None:
        """Mean score over items. None if no item has one."""
        return None if self.value is None else self.value.value

    @property
    def is_no_worse(self) -> bool:
        """Whether the interval rules out a loss of more than the margin."""
        if self.difference is None:
            return False
        if self.lower_is_better:
            return self.difference.high <= self.margin
        return self.difference.low >= -self.margin


def is_other_version(before: Sequence[str], after: Sequence[str]) -> bool:
    """Return whether more than one version of a judge scored the runs of baseline and candidate.

    Scores of different versions cannot be compared. The result is False if the judge scored only
    one of the two.

    Args:
        before: Versions of the judge that scored the baseline.
        after: Versions of the judge that scored the candidate.
    """
    return bool(before and after) and len({*before, *after}) > 1


def write_versions(before: Iterable[str], after: Iterable[str]) -> str:
    """Return a sentence that lists the judge versions that scored baseline and candidate.

    The sentence explains why baseline and candidate cannot be compared: no version scored both.

    Args:
        before: Versions of the judge that scored the baseline.
        after: Versions of the judge that scored the candidate.
    """
    names = [", ".join(item[:12] or "none" for item in sorted(side)) for side in (before, after)]
    return (
        f"no version of the judge scored both: {names[0]} scored the baseline, {names[1]} the "
        "candidate"
    )


def judge_outcomes(
    versions: Mapping[str, str],
    alone: Mapping[str, JudgeOutcome],
    compared: "Verdict | None",
    lower_is_better: Iterable[str] = (),
) -> dict[str, JudgeOutcome]:
    """Return the result of each judge in an experiment, compared with the baseline if there is one.

    Args:
        versions: Version of each judge, by judge name.
        alone: Results without a comparison, from `estimate_judges`. Judges without a score may be
            missing.
        compared: The comparison with the baseline. None if there is no baseline.
        lower_is_better: Judges for which lower scores are better.

    Returns:
        The results by judge name.
    """
    lower = set(lower_is_better)
    silent = {
        name: JudgeOutcome(version, False, None, lower_is_better=name in lower)
        for name, version in versions.items()
    }
    return {
        name: _with_comparison(alone.get(name, silent[name]), version, name, compared)
        for name, version in versions.items()
    }


def _with_comparison(
    alone: JudgeOutcome, version: str, name: str, compared: "Verdict | None"
) -> JudgeOutcome:
    own = replace(alone, version=version)
    if compared is None:
        return own
    judge = compared.judges.get(name)
    if judge is None:
        return replace(own, word="not enough data", why="the judge has not scored both yet")
    return replace(
        own,
        is_rate=judge.is_rate,
        # If every call failed, only the baseline shows that the judge passes or fails.
        value=judge.candidate if own.value is None else own.value,
        baseline=judge.baseline,
        difference=judge.difference,
        margin=judge.margin,
        word=judge.word,
        why="; ".join(judge.reasons),
        sentence=judge.sentence,
        has_other_version=judge.has_other_version,
    )


@dataclass(frozen=True, slots=True)
class AmountVerdict:
    """Whether a candidate has better (lower) or worse (higher) latency, tokens or cost.

    Attributes:
        name: ``latency``, ``tokens`` or ``cost``.
        word: ``better``, ``worse``, ``no difference`` or ``not enough data``.
        ratio: Candidate divided by baseline, over successful calls. 1.1 means 10 % more.
        margin: Smallest relative change that matters. 0.05 means 5 %.
        n: Sample size as text, such as `150 items`.
        reasons: Reasons for the verdict ``not enough data``, such as too few runs. Empty if the
            confidence interval is the only reason.
        means: Geometric means of the baseline and of the candidate. None if not computed.
        sides: Words for the baseline and the candidate in sentences.
        counted: Which runs `n` counts, such as `successful runs`.
        sizes: Number of runs of the baseline and of the candidate. None for items that both have.
    """

    name: str
    word: Word
    ratio: Estimate
    margin: float
    n: str
    reasons: Sequence[str]
    means: tuple[float, float] | None = None
    sides: tuple[str, str] = ("before", "now")
    counted: str = "runs"
    sizes: tuple[int, int] | None = None

    @property
    def sentence(self) -> str:
        """The verdict in words: the claim, then the evidence in parentheses."""
        return add_evidence(self.claim, self.evidence)

    @property
    def claim(self) -> str:
        """The verdict in words, such as ``12 % longer``."""
        if self.word == "not enough data":
            noun = "runs" if "/" in self.n else "items"
            return write_open(self.reasons or count_missing(self.ratio.n, self.needed, noun))
        change = self._write_change()
        return change if self.word in _DECIDED else f"{self.word} ({self.most}): {change}"

    def _write_change(self) -> str:
        more, less, much = _SIZE_WORDS.get(self.name, ("more", "less", "much"))
        if self.ratio.value >= _MANY_TIMES:
            return f"{write_number(self.ratio.value)}× as {much}"
        change = _number(100 * abs(self.ratio.value - 1), 0)
        return f"{change} % {less if self.ratio.value < 1 else more}"

    @property
    def most(self) -> str:
        """The largest change that the confidence interval allows, as in `at most 4 %`.

        It is an amount, as in `at most 9 ms`, if a change of this many per cent may be small.
        """
        low, high = self.ratio.low, self.ratio.high
        change = max(1 - low, high - 1)
        if self.means is not None and self.margin > AMOUNT_MARGIN and low > 0:
            # The same amount if baseline and candidate are swapped.
            size = (max(1 / low, high) - 1) * math.sqrt(self.means[0] * self.means[1])
            amount = self._write_amount(size)
            if amount:
                return f"at most {amount}"
        return f"at most {_number(100 * change, 0 if change >= _EXTREME_RATE else 1)} %"

    def _write_amount(self, size: float) -> str:
        match self.name:
            case "latency":
                return f"{write_number(size, 2)} ms"
            case "cost":
                return f"$ {write_number(size, 2)}"
        return ""

    def _write_margin(self) -> str:
        """Write the absolute margin, if a certain change decides nothing because of it."""
        is_small = AMOUNT_MARGIN <= abs(self.ratio.value - 1) < self.margin
        if self.word != "not enough data" or self.means is None or not (is_small and self.is_sure):
            return ""
        amount = self._write_amount(self.margin * self.means[0])
        return amount and f"changes below {amount} do not count"

    @property
    def needed(self) -> int | None:
        """Number of items (or runs of both sides) needed to detect the margin with 80 % power.

        None if unknown.
        """
        if not (self.ratio.low > 0 and math.isfinite(self.ratio.high)):
            return None
        change, low, high = map(math.log, (self.ratio.value, self.ratio.low, self.ratio.high))
        logs = Estimate(change, low, high, self.ratio.n, self.ratio.clusters)
        return needed(logs, math.log1p(self.margin))

    @property
    def is_sure(self) -> bool:
        """Whether the confidence interval leaves no doubt about the direction."""
        return self.ratio.low > 1 or self.ratio.high < 1

    @property
    def evidence(self) -> str:
        """The confidence interval and the sample size in words."""
        change = self._write_change() if self.word == "not enough data" else ""
        count = _write_sample_size(self.n, self.sides, self.counted)
        parts = [change, self._write_interval(), self._write_margin(), count]
        return "; ".join(filter(None, parts))

    def _write_interval(self) -> str:
        low, high = self.ratio.low, self.ratio.high
        if not math.isfinite(high - low):
            return ""
        if self.ratio.value >= _MANY_TIMES:
            return f"{write_number(low)}× to {write_number(high)}×"
        low, high = 100 * (low - 1), 100 * (high - 1)
        if self.word in _DECIDED and self.ratio.value < 1:
            low, high = -high, -low
        return f"{_number(low, 0)} to {_number(high, 0)} %"


@dataclass(frozen=True, slots=True)
class SliceVerdict:
    """How one judge's result changed in a slice, such as all items with the tag lang = de.

    Attributes:
        tag: Name of the tag.
        value: Value of the tag.
        judge: Name of the judge.
        difference: Candidate minus baseline, with a 95 % interval. The interval is not corrected
            for the number of slices.
        word: ``better`` or ``worse`` if the change is at least the margin, and is still significant
            after correction for the number of slices. Otherwise None.
    """

    tag: str
    value: str
    judge: str
    difference: Estimate
    word: Word | None


@dataclass(frozen=True, slots=True)
class ItemStep:
    """One judge's result for one item in the baseline and in the candidate.

    If an item was run several times, the values are means over these repeats.

    Attributes:
        is_rate: True if the judge passes or fails runs. `before` and `after` are then shares of
            repeats that passed. If False, they are mean scores.
        before: Value in the baseline.
        after: Value in the candidate.
        change: Change of the value. Below 0 is worse. For scores, the unit is the standard
            deviation of the baseline, and changes below the margin are 0.
        scores: Mean scores in the baseline and in the candidate. None if there is no score.
        fall: Change of the mean score, in the judge's own unit. Below 0 is worse. It is also set
            for judges that pass or fail runs. Positive or negative infinity if only one of the two
            experiments has a score.
    """

    is_rate: bool
    before: float
    after: float
    change: float
    scores: tuple[float | None, float | None] = (None, None)
    fall: float = 0.0


@dataclass(frozen=True, slots=True)
class ItemChange:
    """An item with a better or worse result than in the baseline.

    Either a judge's result changed, or the share of failed calls.

    Attributes:
        item: ID of the item, or name of a group of items with identical results.
        steps: Results in the baseline and in the candidate, by judge.
        errors: Share of failed calls in the baseline, and in the candidate.
        change: The largest deterioration, as a number below 0. If nothing got worse, the largest
            improvement.
        count: Number of items in the group.
    """

    item: str
    steps: Mapping[str, ItemStep]
    errors: tuple[float, float]
    change: float
    count: int = 1

    @property
    def judges(self) -> list[str]:
        """Judges whose result changed in the direction of `change`, the largest change first."""
        sign = -1 if self.change < 0 else 1
        changed = [name for name, step in self.steps.items() if step.change * sign > 0]

        def place(name: str) -> tuple[float, float, str]:
            step = self.steps[name]
            return -sign * step.change, -sign * step.fall, name

        return sorted(changed, key=place)

    @property
    def order(self) -> tuple[float, float]:
        """Sort key that puts the largest change first.

        If regressions are equal, the one whose score dropped most comes first.
        """
        named = self.judges
        fall = self.steps[named[0]].fall if named else 0.0
        return (self.change, fall) if self.change < 0 else (-self.change, -fall)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a candidate is better or worse than its baseline, overall and for each judge.

    Attributes:
        word: The overall verdict. ``worse`` if more calls fail than in the baseline. Else
            ``not enough data`` if there are `reasons`. Else ``better`` if fewer calls fail and no
            judge is worse. Else the verdict of the worst judge, in the order worse, not enough
            data, no difference, better.
        reasons: Why the whole comparison has not enough data, such as too few shared items.
        judges: Verdicts by judge.
        amounts: Verdicts under the keys ``latency``, ``tokens`` and ``cost``.
        failures: Change of the share of failed calls. None if no call failed.
        shared: Which items baseline and candidate have in common. None for two independent samples.
        slices: Verdicts for each tag value and judge.
        regressions: Items that are worse for any judge, the worst first.
        fixed: Items that are better, and not worse for any judge, the best first.
        flaky: Ids of items with mixed results in the candidate: some repeats pass, others fail.
    """

    word: Word
    reasons: Sequence[str]
    judges: Mapping[str, JudgeVerdict]
    amounts: Mapping[str, AmountVerdict]
    failures: FailureVerdict | None = None
    shared: SharedItems | None = None
    slices: Sequence[SliceVerdict] = ()
    regressions: Sequence[ItemChange] = ()
    fixed: Sequence[ItemChange] = ()
    flaky: Sequence[str] = ()

    @property
    def sentences(self) -> list[str]:
        """The comparison in words: general reasons, failed calls, each judge, then the amounts."""
        reasons = [*self.reasons]
        if self.failures is not None:
            reasons.append(f"{FAILED_CALLS}: {self.failures.sentence}")
        reasons += [f"{judge}: {value.sentence}" for judge, value in self.judges.items()]
        return reasons + [f"{name}: {amount.sentence}" for name, amount in self.amounts.items()]

    def word_of(self, judges: Iterable[JudgeOutcome]) -> Word | Literal[""]:
        """Return the verdict from failed calls and the given judges, without the other judges.

        Empty if there are no judges and the share of failed calls did not change significantly.
        """
        words = [judge.word for judge in judges]
        is_decided = self.failures is not None and self.failures.word in _DECIDED
        return _decide_overall(words, self.failures, self.reasons) if words or is_decided else ""


def compare_items(
    baseline: Iterable[ScoredRun],
    candidate: Iterable[ScoredRun],
    *,
    margin: Mapping[str, float] | None = None,
    lower_is_better: Iterable[str] = (),
    partial: bool = False,
    cluster: str = "",
) -> Verdict:
    """Decide whether a candidate is better than its baseline, from the items that both ran.

    Args:
        baseline: Runs of the baseline.
        candidate: Runs of the candidate.
        margin: Smallest difference that matters, by judge name or for `latency`, `tokens`, `cost`.
            Default: 0.02 for a pass rate, a tenth of the baseline's standard deviation for a score,
            and 5 % for latency, tokens and cost. Unless you set a margin, differences of less than
            10 ms or $ 0.0001 per run do not matter either.
        lower_is_better: Judges for which lower scores are better.
        partial: Whether to give a verdict even if less than 90 % of the items are shared.
        cluster: Name of the key by which runs are grouped, such as ``source_session``. It is only
            used in sentences such as ``150 in 34 clusters by session``. The cluster of each run is
            `ScoredRun.cluster`.

    Spec: evaluations, section 4: Verdict.
    """
    return compare_groups(
        _group(_by_item(baseline), _by_item(candidate)),
        margin=margin,
        lower_is_better=lower_is_better,
        partial=partial,
        cluster=cluster,
    )


def compare_groups(
    groups: Sequence[ItemGroup],
    *,
    margin: Mapping[str, float] | None = None,
    lower_is_better: Iterable[str] = (),
    partial: bool = False,
    cluster: str = "",
    least: Mapping[str, float] = LEAST_AMOUNTS,
    time_share: float = 0.0,
) -> Verdict:
    """Compare two experiments whose items are already grouped by equal scores.

    Gives the same result as `compare_items`, but is faster if many items have equal scores.

    Args:
        groups: The items of baseline and candidate, grouped by equal scores.
        margin: Smallest difference that matters, see `compare_items`.
        lower_is_better: Judges for which lower scores are better.
        partial: Whether to give a verdict even if less than 90 % of the items are shared.
        cluster: Name of the key by which runs are grouped, such as ``source_session``. It is
            only named in sentences, see `compare_items`.
        least: Smallest difference that matters in `latency` (ms) and `cost` ($). A value in
            `margin` takes precedence.
        time_share: Smallest relative difference in latency that matters: 0.1 means 10 %. Not used
            if `margin` has a value for `latency`.
    """
    by = f" by {SOURCE_CLUSTERS.get(cluster, cluster)}" if cluster else ""
    shared = _share(groups)
    pairs = [group for group in groups if group.is_pair]
    sides = (
        [(run, partner.count) for partner in pairs for run in partner.before],
        [(run, partner.count) for partner in pairs for run in partner.after],
    )
    names = _judges(*sides)
    margins, lower = margin or {}, set(lower_is_better)
    confidence = 1 - (1 - CONFIDENCE) / max(len(names), 1)
    setups = [_Judged.of(name, *sides, name in lower, margins.get(name)) for name in names]
    judges = {setup.judge: _paired(setup, pairs, confidence, by) for setup in setups}
    failures = _paired_failures(groups, pairs, by)
    reasons: list[str] = []
    if shared.share < LEAST_IN_COMMON and not partial:
        common, new, gone, changed = shared.counts
        reasons.append(
            f"{common} of {sum(shared.counts)} items are shared ({new} new, {gone} removed, "
            f"{changed} changed), 90 % are needed"
        )
        judges = {name: _leave_open(judge) for name, judge in judges.items()}
        if failures is not None and failures.word != "worse":
            failures = _leave_open(failures)
    amounts = _paired_amounts(pairs, margins, least, time_share, by)
    worse, better = _changes(setups, pairs)
    return Verdict(
        _decide_overall([judge.word for judge in judges.values()], failures, reasons),
        reasons,
        judges,
        amounts,
        failures,
        shared,
        _slices(setups, judges, pairs),
        worse,
        better,
        [
            name
            for partner in pairs
            if is_flaky(partner.after)
            for name in [partner.name] * partner.count
        ],
    )


def compare_passes(
    judge: str,
    clusters: Mapping[PassCounts, int],
    *,
    margin: float | None = None,
    missing: tuple[float, float] = (0.0, 0.0),
) -> JudgeVerdict:
    """Compare the pass rates of two versions of a judge on the same runs, from counts of runs.

    Gives the same result as a comparison of single runs, but needs no list of runs.

    Args:
        judge: Name of the judge.
        clusters: Number of clusters, such as sessions, by their results. The results of a cluster
            are four counts of its runs: passed with both versions, only with the old one, only with
            the new one, with neither. ``{(2, 1, 0, 0): 5}`` means: in five clusters, two runs each
            passed with both versions and one run only with the old version. An independent run is
            a cluster of one run.
        margin: Smallest difference that matters. Default: 0.02.
        missing: Share of the runs without a pass or fail, for the old and for the new version.
    """
    sums = [Counter[ClusterSum](), Counter[ClusterSum](), Counter[ClusterSum]()]
    for (both, first, second, neither), count in clusters.items():
        n = both + first + second + neither
        for of, value in zip(sums, (both + first, both + second, second - first), strict=True):
            of[float(value), n] += count
    is_clustered = any(sum(content) > 1 for content in clusters)
    table = {
        cell: clusters.get(content, 0)
        for cell, content in _ALONE.items()
        if not is_clustered and clusters
    }
    judged = _Judged(
        judge=judge,
        is_rate=True,
        lower_is_better=False,
        versions=(("",), ("",)),
        of_failed=0.0,
        margin=RATE_MARGIN if margin is None else margin,
        missing=missing,
    )
    before, after, change = sums
    return _weigh(judged, _PairSums(before, after, change, table, is_clustered), CONFIDENCE, "")


def compare_scores(
    judge: str,
    sums: tuple[ClusterSums, ClusterSums, ClusterSums],
    *,
    deviation: float,
    is_clustered: bool,
    margin: float | None = None,
    missing: tuple[float, float] = (0.0, 0.0),
) -> JudgeVerdict:
    """Compare the scores of two versions of a judge on the same runs, from sums of scores.

    Gives the same result as a comparison of single runs, but needs no list of runs.

    Args:
        judge: Name of the judge.
        sums: Three lists: for the old scores, the new scores, and their differences. Each has one
            entry per cluster (such as a session): the sum over its runs, and the number of runs.
        deviation: Standard deviation of the old version's scores.
        is_clustered: Whether any cluster has several runs.
        margin: Smallest difference that matters. Default: a tenth of `deviation`.
        missing: Share of the runs without a score, for the old and for the new version.
    """
    judged = _Judged(
        judge=judge,
        is_rate=False,
        lower_is_better=False,
        versions=(("",), ("",)),
        of_failed=None,
        margin=score_margin(deviation, _mean_of_sums(sums[0])) if margin is None else margin,
        missing=missing,
    )
    return _weigh(judged, _PairSums(*sums, {}, is_clustered), CONFIDENCE, "")


def estimate_judges(
    runs: Iterable[ScoredRun], *, lower_is_better: Iterable[str] = ()
) -> dict[str, JudgeOutcome]:
    """Return the pass rate or mean score of each judge in one experiment, without a baseline.

    Args:
        runs: The runs. If an item has several runs, their mean counts.
        lower_is_better: Judges for which lower scores are better.

    Spec: evaluations, section 4.3: one experiment alone.
    """
    return estimate_groups(_group({}, _by_item(runs)), lower_is_better=lower_is_better)


def estimate_groups(
    groups: Sequence[ItemGroup], *, lower_is_better: Iterable[str] = ()
) -> dict[str, JudgeOutcome]:
    """Return the pass rate or mean score of each judge in one experiment.

    It returns the same as `estimate_judges`, but takes groups of items with equal results instead
    of single runs.
    """
    every, lower = (
        [(run, group.count) for group in groups for run in group.after],
        set(lower_is_better),
    )
    items: list[tuple[Sequence[ScoredRun], int]] = []
    for group in groups:
        if len({run.digest for run in group.after}) <= 1:
            items.append((group.after, group.count))
            continue
        of: defaultdict[str, list[ScoredRun]] = defaultdict(list)
        for run in group.after:
            of[run.digest].append(run)
        items += [(runs, group.count) for runs in of.values()]
    entries = {}
    for name in _judges(every):
        judged = _Judged.of(name, every, every, name in lower)
        values = [
            (runs[0].cluster or None, mean, count)
            for runs, count in items
            if (mean := judged.mean(runs)) is not None
        ]
        value = estimate_mean(sum_clusters(values), is_rate=judged.is_rate) if values else None
        failed = sum(
            count for run, count in every if name in run.scores and run.scores[name].failed
        )
        entries[name] = JudgeOutcome(
            "", judged.is_rate, value, lower_is_better=name in lower, failed=failed
        )
    return entries


def is_flaky(runs: Sequence[ScoredRun]) -> bool:
    """Return whether some repeats of an item pass and others fail, by a judge or by an error."""
    if len({run.is_error for run in runs}) > 1:
        return True
    entries: defaultdict[str, set[bool]] = defaultdict(set)
    for run in runs:
        for judge, score in run.scores.items():
            if score.passed is not None and not score.failed:
                entries[judge].add(score.passed)
    return any(len(words) > 1 for words in entries.values())


def read_cluster(text: str) -> Callable[[Mapping[str, object], str, str], str] | None:
    """Parse the key that groups dependent items into clusters.

    ``tags["name"]`` groups items by the value of this tag. ``source_run`` and ``source_session``
    group items by the recorded run or session that they were made from.

    Returns:
        A function that returns an item's cluster, from its tags, source run and source session. The
        cluster is empty for an independent item. If the key is invalid, None is returned instead of
        a function.
    """
    if text in SOURCE_CLUSTERS:
        return lambda tags, run, session: session if text == DEFAULT_CLUSTER else run
    name = tag_of_cluster(text)
    if not name:
        return None
    return lambda tags, run, session: "" if tags.get(name) is None else str(tags[name])


def tag_of_cluster(text: str) -> str:
    """Return the tag name of a cluster key: ``name`` for ``tags["name"]``. Empty for other keys."""
    match = _TAG.fullmatch(text.strip())
    return "" if match is None else match[1] or match[2]


def decide(change: Estimate, margin: float, *, lower_is_better: bool = False) -> Word:
    """Turn a confidence interval and a margin into a verdict.

    * Better: the whole interval is above 0 and the estimate is at least the margin.
    * Worse: the whole interval is below 0 and the estimate is at most minus the margin.
    * No difference: the whole interval lies between minus and plus the margin.
    * Not enough data: everything else.

    Args:
        change: Candidate minus baseline, with its interval.
        margin: Smallest difference that matters.
        lower_is_better: Whether a decrease is an improvement. Then better and worse are swapped.
    """
    value, low, high = change.value, change.low, change.high
    if lower_is_better:
        value, low, high = -value, -high, -low
    if low > 0 and value >= margin:
        return "better"
    if high < 0 and value <= -margin:
        return "worse"
    return "no difference" if low >= -margin and high <= margin else "not enough data"


def score_margin(deviation: float, *means: float) -> float:
    """Return the smallest difference between two mean scores that matters.

    It is a tenth of the standard deviation. If all scores are equal, it is a billionth of the mean,
    so that rounding does not count as a difference.

    Args:
        deviation: Standard deviation of the scores.
        means: Mean scores that are compared.
    """
    return max(SCORE_MARGIN * deviation, _ROUNDING * max(map(abs, means), default=0.0))


_Compared = TypeVar("_Compared", bound=JudgeVerdict)
_NO_ESTIMATE: Final = (None, None, None)
_Items = Mapping[str, Sequence[ScoredRun]]
_Counted = Sequence[tuple[ScoredRun, int]]
_Pairs = Sequence[ItemGroup]


@dataclass(frozen=True, slots=True)
class _Judged:
    """How to read the values of one judge from runs, and how many of them are missing."""

    judge: str
    is_rate: bool
    lower_is_better: bool
    versions: tuple[Sequence[str], Sequence[str]]
    of_failed: float | None
    margin: float = 0.0
    deviation: float = 1.0
    missing: tuple[float, float] = (0.0, 0.0)
    answered: tuple[bool, bool] = (True, True)

    @classmethod
    def of(
        cls,
        judge: str,
        before: _Counted,
        after: _Counted,
        lower_is_better: bool,
        margin: float | None = None,
    ) -> "_Judged":
        items = [
            [run.scores[judge] for run, _ in runs if judge in run.scores]
            for runs in (before, after)
        ]
        every = [item for side in items for item in side]
        is_rate = any(item.passed is not None for item in every)
        versions = [tuple(sorted({item.version for item in side})) for side in items]
        of_failed = float(lower_is_better) if is_rate else None
        made = cls(judge, is_rate, lower_is_better, (versions[0], versions[1]), of_failed)
        answered = [any(not run.is_error for run, _ in runs) for runs in (before, after)]
        values = [
            [(made.value(run), count) for run, count in runs if is_rate or not run.is_error]
            for runs in (before, after)
        ]
        missing = [
            sum(count for value, count in side if value is None) / sum(count for _, count in side)
            if side
            else 1.0
            for side in values
        ]
        known = [(value, count) for value, count in values[0] if value is not None]
        deviation = _deviation(known)
        if margin is None:
            margin = RATE_MARGIN if is_rate else score_margin(deviation, _counted_mean(known))
        return replace(
            made,
            margin=margin,
            deviation=deviation or 1.0,
            missing=(missing[0], missing[1]),
            answered=(answered[0], answered[1]),
        )

    def value(self, run: ScoredRun) -> float | None:
        """Return the judge's value of a run. A failed call has not passed and has no score."""
        if run.is_error:
            return self.of_failed
        score = run.scores.get(self.judge)
        if score is None or score.failed:
            return None
        if self.is_rate:
            return None if score.passed is None else float(score.passed)
        return score.score

    def mean(self, runs: Sequence[ScoredRun]) -> float | None:
        """Return the mean value over the repeats of an item."""
        values = [value for run in runs if (value := self.value(run)) is not None]
        return floats.mean(values) if values else None

    def step(self, before: Sequence[ScoredRun], after: Sequence[ScoredRun]) -> ItemStep | None:
        """Return how an item changed. None if the baseline or the candidate has no value."""
        first, second = self.mean(before), self.mean(after)
        if first is None or second is None:
            return None
        change = self.turned(second - first)
        if not self.is_rate and abs(second - first) < self.margin:
            change = 0.0
        scores = self._score(before), self._score(after)
        down = -1.0 if self.lower_is_better else 1.0
        if scores[0] is None or scores[1] is None:
            fall = 0.0 if scores[0] is scores[1] else math.copysign(math.inf, change)
        else:
            fall = down * (scores[1] - scores[0])
        return ItemStep(self.is_rate, first, second, change, scores, fall)

    def _score(self, runs: Sequence[ScoredRun]) -> float | None:
        """Return the mean score over the repeats of an item."""
        scores = [run.scores[self.judge] for run in runs if self.judge in run.scores]
        return _mean(
            [score.score for score in scores if score.score is not None and not score.failed]
        )

    def turned(self, change: float) -> float:
        """Return a change as a number below 0 if it is for the worse.

        For scores it is in standard deviations of the baseline.
        """
        return (-change if self.lower_is_better else change) / (
            1.0 if self.is_rate else self.deviation
        )

    def unlike(self) -> list[str]:
        """Return why the judge's versions cannot be compared. Empty if they can."""
        before, after = self.versions
        for side, versions, answered in zip(
            ("baseline", "candidate"), self.versions, self.answered, strict=True
        ):
            if not versions and answered:
                return [f"the judge has not scored the {side} yet"]
            if not versions and not self.is_rate:
                return [f"every call of the {side} failed"]
        if is_other_version(before, after):
            return [write_versions(before, after)]
        return []

    @property
    def unit(self) -> str:
        """The unit of a change in sentences."""
        return " points" if self.is_rate else ""

    def result(
        self,
        word: Word,
        estimates: Sequence[Estimate | None],
        *,
        confidence: float,
        n: str,
        reasons: Sequence[str],
        p: float = 1.0,
        least: float | None = None,
    ) -> JudgeVerdict:
        before, after, change = estimates
        return JudgeVerdict(
            judge=self.judge,
            word=word,
            is_rate=self.is_rate,
            baseline=before,
            candidate=after,
            difference=change,
            margin=self.margin,
            lower_is_better=self.lower_is_better,
            versions=self.versions,
            confidence=confidence,
            n=n,
            reasons=reasons,
            p=p,
            least=least,
        )


def _by_item(runs: Iterable[ScoredRun]) -> _Items:
    scored_runs: defaultdict[str, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        scored_runs[run.item].append(run)
    return scored_runs


def _group(before: _Items, after: _Items) -> list[ItemGroup]:
    """Return one `ItemGroup` per item. Items of the candidate come first."""
    item_groups = []
    for item in dict.fromkeys((*after, *before)):
        sides = before.get(item, ()), after.get(item, ())
        amounts = {}
        for name in AMOUNTS:
            means = [
                _mean([amount for run in runs if (amount := run.amount(name))]) for runs in sides
            ]
            if means[0] and means[1]:
                amounts[name] = [(means[0], means[1])]
        item_groups.append(ItemGroup(item, *sides, amounts=amounts))
    return item_groups


def _share(groups: Sequence[ItemGroup]) -> SharedItems:
    entries: defaultdict[str, list[str]] = defaultdict(list)
    for group in groups:
        if group.is_pair:
            what = "common"
        elif not group.before:
            what = "new"
        else:
            what = "changed" if group.after else "gone"
        entries[what] += [group.name] * group.count
    return SharedItems(*(entries[what] for what in ("common", "new", "gone", "changed")))


def _judges(*sides: _Counted) -> list[str]:
    return list(dict.fromkeys(judge for side in sides for run, _ in side for judge in run.scores))


def _paired(judged: _Judged, pairs: _Pairs, confidence: float, by: str) -> JudgeVerdict:
    sums = _PairSums.of(_values(judged.mean, pairs), is_rate=judged.is_rate)
    return _weigh(judged, sums, confidence, by)


@dataclass(frozen=True, slots=True)
class _PairSums:
    """The values of pairs, summed per cluster.

    Attributes:
        table: Number of pairs by pass before and after, if all are independent passes. Else empty.
        is_clustered: Whether the pairs have clusters.
    """

    before: ClusterSums
    after: ClusterSums
    change: ClusterSums
    table: Mapping[tuple[int, int], int]
    is_clustered: bool

    @classmethod
    def of(cls, values: "_Values", *, is_rate: bool) -> "_PairSums":
        before, after = (
            sum_clusters((cluster, pair[side], count) for cluster, _, count, *pair in values)
            for side in (0, 1)
        )
        change, table = _sum_change(values, is_rate=is_rate)
        return cls(before, after, change, table, any(cluster is not None for cluster, *_ in values))


def _paired_failures(groups: _Pairs, pairs: _Pairs, by: str) -> FailureVerdict | None:
    """Compare the shares of failed calls on the items that both have. None if no call failed.

    If both have no item in common, failures have risen only if every call of the candidate failed.
    """
    sides = attrgetter("before"), attrgetter("after")
    before, after = (
        _count_failed((run, part.count) for part in pairs or groups for run in side(part))
        for side in sides
    )
    if not before[0] + after[0]:
        return None
    sums = _PairSums.of(_values(_failed_share, pairs), is_rate=True)
    change: Estimate | None = None
    own: tuple[Estimate | None, Estimate | None] = None, None
    p = 1.0
    if sums.change:
        change, p = _pair_difference(sums.change, sums.table, CONFIDENCE, is_rate=True)
        own = (estimate_mean(sums.before, is_rate=True), estimate_mean(sums.after, is_rate=True))
    word: Word = "not enough data"
    if _has_all_failed(after, before):
        word = "worse"
    elif pairs and _has_all_failed(before, after):
        word = "better"
    elif change is not None:
        word = _decide_pairs(change, _FAILURE_MARGIN, lower_is_better=True)
    failed = [part for part in pairs if any(run.is_error for run in part.before)]
    repaired = [part for part in failed if all(map(_has_passed, part.after))]
    return _failure_verdict(
        word,
        (*own, change),
        calls=(before, after),
        repaired=(sum(part.count for part in repaired), sum(part.count for part in failed)),
        n="0" if change is None else _count(change, by if sums.is_clustered else None),
        reasons=_explain_failures(word, change, by),
        p=p,
    )


def _failure_verdict(
    word: Word,
    estimates: tuple[Estimate | None, Estimate | None, Estimate | None],
    *,
    calls: tuple[tuple[int, int], tuple[int, int]],
    n: str,
    repaired: tuple[int, int] = (0, 0),
    reasons: Sequence[str] = (),
    p: float = 1.0,
) -> FailureVerdict:
    before, after, change = estimates
    return FailureVerdict(
        judge=FAILED_CALLS,
        word=word,
        is_rate=True,
        baseline=before,
        candidate=after,
        difference=change,
        margin=RATE_MARGIN,
        lower_is_better=True,
        versions=((), ()),
        confidence=CONFIDENCE,
        n=n,
        reasons=list(reasons),
        p=p,
        passing="fail",
        calls=calls,
        repaired=repaired,
    )


def _count_failed(runs: Iterable[tuple[ScoredRun, int]]) -> tuple[int, int]:
    """Return the number of failed calls, and of all calls."""
    failed = calls = 0
    for run, count in runs:
        failed += count * run.is_error
        calls += count
    return failed, calls


def _has_all_failed(side: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether every call of a side failed, and at least one of the other side did not."""
    return 0 < side[0] == side[1] and other[0] < other[1]


def _failed_share(runs: Sequence[ScoredRun]) -> float:
    return sum(run.is_error for run in runs) / len(runs)


def _has_passed(run: ScoredRun) -> bool:
    """Return whether a call was answered, and no judge with pass/fail failed the answer."""
    return not run.is_error and all(score.passed is not False for score in run.scores.values())


def _weigh(judged: _Judged, sums: _PairSums, confidence: float, by: str) -> JudgeVerdict:
    """Decide by the sums of all pairs whether the candidate is better or worse, for one judge."""
    reasons = judged.unlike()
    reasons += [
        f"the judge scored {100 * (1 - share):.0f} % of the {side}'s runs, 95 % are needed"
        for side, share in zip(("baseline", "candidate"), judged.missing, strict=True)
        if share > MOST_MISSING and not reasons
    ]
    if not sums.change or judged.unlike():
        return judged.result(
            "not enough data",
            _NO_ESTIMATE,
            confidence=confidence,
            n="0",
            reasons=reasons or ["no shared items"],
        )
    change, p = _pair_difference(sums.change, sums.table, confidence, is_rate=judged.is_rate)
    own = [estimate_mean(side, is_rate=judged.is_rate) for side in (sums.before, sums.after)]
    word: Word = "not enough data"
    if not reasons:
        word = _decide_pairs(change, judged.margin, lower_is_better=judged.lower_is_better)
    least = _show_least(change, confidence, is_rate=judged.is_rate) if _is_few(change) else None
    if word == "not enough data" and _is_few(change):
        reasons = [*reasons, _write_least(change, least, confidence, by, unit=judged.unit)]
    return judged.result(
        word,
        (*own, change),
        confidence=confidence,
        n=_count(change, by if sums.is_clustered else None),
        reasons=reasons,
        p=p,
        least=least,
    )


def _count(of: Estimate, by: str | None) -> str:
    """Return the number of items, and the number of clusters if there are any, in words."""
    return f"{of.n:,}" if by is None else f"{of.n:,} in {of.clusters:,} clusters{by}"


_Values = Sequence[tuple[str | None, bool, int, float, float]]


def _values(mean: Callable[[Sequence[ScoredRun]], float | None], pairs: _Pairs) -> _Values:
    """Return one tuple for each pair that has a value on both sides.

    It has the cluster, whether both sides have only one run, the number of equal items, the value
    before and the value after.
    """
    items = []
    for partner in pairs:
        first, second = mean(partner.before), mean(partner.after)
        if first is not None and second is not None:
            is_single = len(partner.before) == len(partner.after) == 1
            items.append((partner.cluster, is_single, partner.count, first, second))
    return items


def _are_independent(values: _Values) -> bool:
    """Return whether no two items share a cluster."""
    clustered = [(cluster, count) for cluster, _, count, *_ in values if cluster is not None]
    return len({cluster for cluster, _ in clustered}) == sum(count for _, count in clustered)


def _sum_change(
    values: _Values, *, is_rate: bool
) -> tuple[ClusterSums, Mapping[tuple[int, int], int]]:
    """Sum the changes per cluster.

    Also count the passes of both sides if all items are independent.
    """
    table: Counter[tuple[int, int]] = Counter()
    if is_rate and all(is_single for _, is_single, *_ in values) and _are_independent(values):
        for _, _, count, first, second in values:
            table[round(first), round(second)] += count
    sums = sum_clusters(
        (cluster, second - first, count) for cluster, _, count, first, second in values
    )
    return sums, table


def _pair_difference(
    change: ClusterSums,
    table: Mapping[tuple[int, int], int],
    confidence: float,
    *,
    is_rate: bool,
) -> tuple[Estimate, float]:
    counts = count_clusters(change)
    n, clusters = sum(of * count for (_, of), count in counts.items()), sum(counts.values())
    if n < LEAST_ITEMS or clusters < LEAST_CLUSTERS:
        exact = exact_difference(change, confidence=confidence, of_rates=is_rate)
        return exact, sign_flip_p(change)
    if table:
        both, first, second, neither = (table.get(cell, 0) for cell in _ALONE)
        paired = newcombe_paired(both, first, second, neither, confidence=confidence)
        return paired, mcnemar_mid_p(first, second)
    mean = cluster_mean(change, confidence=confidence, of_rates=is_rate)
    return mean, cluster_p(change, of_rates=is_rate)


def estimate_mean(sums: ClusterSums, *, is_rate: bool, confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of clustered values with its interval.

    For independent passes, this is Wilson's interval. Otherwise it is computed by `cluster_rate` or
    `cluster_mean`.
    """
    if not is_rate:
        return cluster_mean(sums, confidence=confidence)
    counts = count_clusters(sums)
    if all(of == 1 and total in (0.0, 1.0) for total, of in counts):
        passed = sum(count for (name, _), count in counts.items() if name)
        return wilson(passed, sum(counts.values()), confidence=confidence)
    return cluster_rate(counts, confidence=confidence)


def sum_clusters(values: Iterable[tuple[Hashable | None, float, int]]) -> Counter[ClusterSum]:
    """Count how many clusters have the same sum and size.

    A value without a cluster counts as a cluster of its own.
    """
    entries: Counter[ClusterSum] = Counter()
    clusters: defaultdict[Hashable, list[tuple[float, int]]] = defaultdict(list)
    for cluster, value, count in values:
        if cluster is None:
            entries[value, 1] += count
        else:
            clusters[cluster].append((value, count))
    for of in clusters.values():
        if len(of) == 1 and of[0][1] == 1:
            entries[of[0]] += 1
            continue
        counts = [count for _, count in of]
        entries[sum_counted((value for value, _ in of), counts), sum(counts)] += 1
    return entries


def _paired_amounts(
    pairs: _Pairs,
    margins: Mapping[str, float],
    least: Mapping[str, float],
    time_share: float,
    by: str,
) -> dict[str, AmountVerdict]:
    amounts = {}
    for name in AMOUNTS:
        paired_amounts = [
            (cluster, *means)
            for partner in pairs
            for cluster in (partner.cluster,)
            for means in partner.amounts.get(name, ())
        ]
        if paired_amounts:
            sums = sum_logs(paired_amounts)
            logs_changed, _ = _pair_difference(sums, {}, CONFIDENCE, is_rate=False)
            ratio = exponential(logs_changed)
            logs = [math.log(first) for _, first, _ in paired_amounts]
            before = floats.exp(floats.mean(logs))
            share = time_share if name == "latency" else 0.0
            margin = max(AMOUNT_MARGIN, share, least.get(name, 0.0) / before)
            n = _count(
                ratio, by if any(cluster is not None for cluster, *_ in paired_amounts) else None
            )
            amount = _amount(name, ratio, margins.get(name, margin), n, by)
            amounts[name] = replace(amount, means=(before, before * ratio.value))
    return amounts


def _amount(name: str, ratio: Estimate, margin: float, n: str, by: str) -> AmountVerdict:
    change = Estimate(ratio.value - 1, ratio.low - 1, ratio.high - 1, ratio.n, ratio.clusters)
    word = _decide_pairs(change, margin, lower_is_better=True)
    reasons = []
    if word == "not enough data" and _is_few(ratio):
        least = None
        if ratio.low > 0 and math.isfinite(ratio.high):
            half = math.log(ratio.high / ratio.low) / 2
            logs = Estimate(0.0, -half, half, ratio.n, ratio.clusters)
            least = math.expm1(detectable(logs))
        reasons = [_write_least(ratio, least, CONFIDENCE, by, unit=" %")]
    return AmountVerdict(name, word, ratio, margin, n, reasons)


def _is_few(of: Estimate) -> bool:
    """Return whether there are so few pairs or clusters that an exact test decides."""
    return of.n < LEAST_ITEMS or of.clusters < LEAST_CLUSTERS


def _decide_pairs(change: Estimate, margin: float, *, lower_is_better: bool) -> Word:
    """Turn the interval of paired values into a verdict. Few pairs never show "no difference"."""
    word = decide(change, margin, lower_is_better=lower_is_better)
    return "not enough data" if word == "no difference" and _is_few(change) else word


def _explain_failures(word: Word, change: Estimate | None, by: str) -> list[str]:
    """Return why there is not enough data to compare the shares of failed calls."""
    if change is None:
        return ["no shared items"]
    if word != "not enough data" or not _is_few(change):
        return []
    least = show_least(change.clusters)
    return [_write_least(change, least, CONFIDENCE, by, unit=" points")]


def _show_least(change: Estimate, confidence: float, *, is_rate: bool) -> float | None:
    """Return the smallest change that few pairs show with 80 % power. None if they show none."""
    if is_rate:
        return show_least(change.clusters, confidence=confidence)
    shown = detectable(change, confidence=confidence)
    return shown if math.isfinite(shown) else None


def _write_least(
    of: Estimate, least: float | None, confidence: float, by: str, *, unit: str
) -> str:
    """Return which change so few items or clusters can show.

    Args:
        of: The difference.
        least: The smallest change that they show with 80 % power. None if they can show none.
        confidence: Confidence level of the interval of the difference.
        by: What groups items into clusters, such as ` by session`.
        unit: Unit of the change: ` points`, ` %` or empty.
    """
    noun, key = "item", ""
    if of.clusters < of.n:
        name = by.removeprefix(" by ")
        noun, key = (name, "") if name in SOURCE_CLUSTERS.values() else ("cluster", by)
    units = f"{of.clusters:,} {noun}{'' if of.clusters == 1 else 's'}{key}"
    if least is None:
        return f"{units} cannot show any change, at least {least_units(confidence)} are needed"
    if not least:  # all items changed by the same amount
        return f"{of.n} of {LEAST_ITEMS} items"
    size = f"{100 * least:.0f}" if unit else write_number(least, 2)
    return f"{units} can show a change of {size}{unit} or more"


def _slices(
    setups: Sequence[_Judged], judges: Mapping[str, JudgeVerdict], pairs: _Pairs
) -> list[SliceVerdict]:
    """Compare the items of each tag value, corrected for all slices and judges together."""
    by_tag: defaultdict[tuple[str, str], list[ItemGroup]] = defaultdict(list)
    for pair in pairs:
        for tag in pair.after[0].tags.items():
            by_tag[tag].append(pair)
    items: list[tuple[SliceVerdict, _Judged, float]] = []
    for (name, text), tagged in sorted(by_tag.items()):
        for judged in setups:
            if judges[judged.judge].difference is None:
                continue
            values = _values(judged.mean, tagged)
            clusters = len({cluster for cluster, *_ in values if cluster is not None})
            clusters += sum(count for cluster, _, count, *_ in values if cluster is None)
            if sum(count for _, _, count, *_ in values) < LEAST_ITEMS or clusters < LEAST_CLUSTERS:
                continue
            sums = _sum_change(values, is_rate=judged.is_rate)
            change, p = _pair_difference(*sums, CONFIDENCE, is_rate=judged.is_rate)
            items.append((SliceVerdict(name, text, judged.judge, change, None), judged, p))
    adjusted = benjamini_hochberg([p for *_, p in items])
    slices = []
    for (slice_verdict, judged, _), p in zip(items, adjusted, strict=True):
        turned = judged.turned(slice_verdict.difference.value)
        if (
            p <= _FALSE_DISCOVERIES
            and abs(slice_verdict.difference.value) >= judged.margin
            and turned
        ):
            slice_verdict = replace(slice_verdict, word="better" if turned > 0 else "worse")  # noqa: PLW2901
        slices.append(slice_verdict)
    return slices


def _changes(setups: Sequence[_Judged], pairs: _Pairs) -> tuple[list[ItemChange], list[ItemChange]]:
    """Return the items that got worse and those that got better.

    Scores must change by their margin.
    """
    worse: list[ItemChange] = []
    better: list[ItemChange] = []
    comparable = [setup for setup in setups if not setup.unlike()]
    for pair in pairs:
        steps = {
            item.judge: step for item in comparable if (step := item.step(pair.before, pair.after))
        }
        errors = tuple(
            sum(run.is_error for run in runs) / len(runs) for runs in (pair.before, pair.after)
        )
        changes = [errors[0] - errors[1], *(step.change for step in steps.values())]
        change = min(changes) if min(changes) < 0 else max(changes)
        if change:
            item_change = ItemChange(pair.name, steps, (errors[0], errors[1]), change, pair.count)
            (worse if change < 0 else better).append(item_change)
    for changed in (worse, better):
        changed.sort(key=lambda entry: (entry.order, entry.item))
    return worse, better


def _leave_open(verdict: _Compared) -> _Compared:
    """Return a verdict without a decision, because too few items are shared."""
    return replace(
        verdict, word="not enough data", reasons=[*verdict.reasons, "too few shared items"]
    )


def _decide_overall(
    words: Sequence[str], failures: FailureVerdict | None, reasons: Sequence[str]
) -> Word:
    """Return the overall verdict from those of the judges and of the failed calls."""
    change = None if failures is None else failures.word
    if change == "worse":
        return "worse"
    if reasons:
        return "not enough data"
    worst: Word = next((word for word in WORST_FIRST if word in words), "not enough data")
    return "better" if change == "better" and worst != "worse" else worst


def _mean(values: Sequence[float]) -> float | None:
    return floats.mean(values) if values else None


def _counted_mean(values: Sequence[tuple[float, int]]) -> float:
    """Return the mean of counted values. 0 for none."""
    counts = [count for _, count in values]
    n = sum(counts)
    return sum_counted((value for value, _ in values), counts) / n if n else 0.0


def _mean_of_sums(sums: ClusterSums) -> float:
    """Return the mean of clustered values. 0 for none."""
    clusters = count_clusters(sums)
    n = sum(of * count for (_, of), count in clusters.items())
    totals = sum_counted((total for total, _ in clusters), clusters.values())
    return totals / n if n else 0.0


def _deviation(values: Sequence[tuple[float, int]]) -> float:
    """Return the standard deviation of counted values. 0 for fewer than two values."""
    counts = [count for _, count in values]
    n = sum(counts)
    if n <= 1:
        return 0.0
    mean = sum_counted((value for value, _ in values), counts) / n
    return math.sqrt(
        sum_counted((floats.square(value - mean) for value, _ in values), counts) / (n - 1)
    )


def _number(number: float, digits: int) -> str:
    text = f"{number:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.replace("-", "")
