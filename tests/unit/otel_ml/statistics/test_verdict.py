"""All rules of a verdict: pairs, units, intervals, words, slices, and two samples."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from otel_ml.counts import write_number
from otel_ml.statistics.comparison import (
    Basis,
    CaveatKind,
    Direction,
    FigureComparison,
    FigureSide,
    Method,
    Unit,
    Word,
    decide,
    make_additive,
    make_unbounded,
)
from otel_ml.statistics.intervals import Estimate, needed, newcombe_paired, wilson
from otel_ml.statistics.scored_runs import AMOUNTS, ItemGroup, JudgeScore, ScoredRun, is_flaky
from otel_ml.statistics.sentences import (
    list_reasons,
    list_verdict_reasons,
    write_sample,
    write_sentence,
)
from otel_ml.statistics.verdict import (
    Verdict,
    compare_groups,
    compare_items,
    estimate_groups,
    estimate_judges,
)


def items(
    passes: str, *, version: str = "a", cluster: int = 0, judges: Sequence[str] = ("exact",)
) -> list[ScoredRun]:
    """Make one run per item: `+` passed, `-` failed, `x` the call raised, `?` the judge failed."""
    return [
        ScoredRun(
            item=f"i{place:04}",
            digest="d",
            cluster=f"{place // cluster}" if cluster else "",
            is_error=sign == "x",
            scores={}
            if sign == "x"
            else {
                judge: JudgeScore(
                    None if sign == "?" else sign == "+", version=version, failed=sign == "?"
                )
                for judge in judges
            },
        )
        for place, sign in enumerate(passes)
    ]


def words(verdict: Verdict) -> dict[str, Word]:
    return {name: one.word for name, one in verdict.judges.items()}


@pytest.mark.parametrize(
    ("value", "low", "high", "word"),
    [
        (0.03, 0.01, 0.05, "better"),
        (-0.03, -0.05, -0.01, "worse"),
        (0.015, 0.005, 0.025, "not enough data"),  # above 0, below the margin
        (0.015, 0.011, 0.019, "no difference"),
        (0.0, -0.02, 0.02, "no difference"),
        (0.0, -0.021, 0.02, "not enough data"),
        (0.1, 0.0, 0.2, "not enough data"),
        (-0.02, -0.03, -0.001, "worse"),
    ],
)
def test_words(value: float, low: float, high: float, word: Word) -> None:
    """Interval and margin give the word, reversed for a judge whose lower scores are better."""
    turned = {Word.BETTER: Word.WORSE, Word.WORSE: Word.BETTER}
    estimate = Estimate(value, low, high, 100, 100)
    assert decide(estimate, 0.02) == word
    assert decide(estimate, 0.02, lower_is_better=True) == turned.get(word, word)


def test_one_repeat_is_newcombes_pair() -> None:
    """For single repeats without clusters the verdict has Newcombe's paired interval."""
    before, after = items("+" * 143 + "-" * 7), items("+" * 103 + "-" * 47)
    found = compare_items(before, after).judges["exact"]
    assert found.difference == newcombe_paired(103, 40, 0, 7)
    assert found.word == "worse"
    assert write_sentence(found) == "69 % pass, 95 % before: 27 pts worse (20 to 34 pts; 150 items)"


def test_failed_call_is_not_passed() -> None:
    """A failed call counts as not passed and is not left out."""
    found = compare_items(items("+" * 40), items("+" * 20 + "x" * 20))
    judge = found.judges["exact"]
    assert judge.candidate.estimate is not None
    assert (judge.candidate.value, judge.candidate.count, judge.word) == (0.5, 40, "worse")
    assert [one.item for one in found.regressions] == [f"i{place:04}" for place in range(20, 40)]


def test_pairs_have_the_same_digest() -> None:
    """New, removed and changed items are listed, and only unchanged items are compared in pairs."""
    before, after = items("+" * 30), items("+" * 31)
    after[3] = ScoredRun(item="i0003", digest="other", scores=after[3].scores)
    del after[5]
    found = compare_items(before, after)
    assert found.shared is not None
    assert (found.shared.new, found.shared.gone, found.shared.changed) == (
        ["i0030"], ["i0005"], ["i0003"],
    )  # fmt: skip
    assert len(found.shared.common) == 28
    assert write_sample(found.judges["exact"]) == "28 items"


def test_too_little_in_common() -> None:
    """With under 90 % of items in common there is no verdict, unless `partial` is set."""
    before, after = items("+" * 80), items("-" * 100)
    found = compare_items(before, after)
    assert (found.word, words(found)) == ("not enough data", {"exact": "not enough data"})
    assert list_verdict_reasons(found) == [
        "80 of 100 items are shared (20 new, 0 removed, 0 changed), 90 % are needed"
    ]
    assert compare_items(before, after, partial=True).word == "worse"


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (
            items("+" * 5),
            items("-" * 5),
            "5 items cannot show any change, at least 6 are needed",
        ),
        (
            items("+" * 30),
            items("-" * 30, version="b"),
            "no version of the judge scored both: a scored the baseline, b the candidate",
        ),
        (
            items("+" * 40),
            items("-" * 37 + "???"),
            "the judge scored 92 % of the candidate's runs, 95 % are needed",
        ),
        (items("+" * 40), items("-" * 40, judges=()), "the judge has not scored the candidate yet"),
    ],
)  # fmt: skip
def test_not_enough_data(before: list[ScoredRun], after: list[ScoredRun], reason: str) -> None:
    """Too few or too different runs are not enough data, with the reason."""
    found = compare_items(before, after)
    assert found.word == "not enough data"
    assert list_reasons(found.judges["exact"]) == [reason]
    assert reason in write_sentence(found.judges["exact"])


def test_few_items_show_large_changes() -> None:
    """The reason has the smallest change that so few items can show."""
    judge = compare_items(items("+" * 9), items("-" * 3 + "+" * 6)).judges["exact"]
    assert [caveat.kind for caveat in judge.reasons] == [CaveatKind.FEW_UNITS]
    assert judge.least == pytest.approx(0.73, abs=0.005)
    [reason] = list_reasons(judge)
    assert re.findall(r"\d+", reason) == ["9", "73"]
    assert reason in write_sentence(judge)


@pytest.mark.parametrize(
    ("cluster", "reason"),
    [
        ("source_session", "11 sessions"),
        ("source_run", "11 source runs"),
        ('tags["client"]', '11 clusters by tags["client"]'),
    ],
)
def test_too_few_clusters_are_named(cluster: str, reason: str) -> None:
    """The reason names the kind of cluster that there are too few of."""
    before, after = items("+" * 33, cluster=3), items("-" * 3 + "+" * 30, cluster=3)
    found = compare_items(before, after, cluster=cluster)
    # Six of 11 clusters get worse with a probability of 80 % if each does with one of 62 %.
    assert found.judges["exact"].least == pytest.approx(0.62, abs=0.005)
    [shown] = list_reasons(found.judges["exact"])
    assert shown.startswith(f"{reason} ")
    assert " 62 " in shown


@pytest.mark.parametrize(
    ("before", "after", "word", "p"),
    [
        ("+" * 9, "-" * 8 + "+", "worse", 0.0078),
        ("-" * 8 + "+", "+" * 9, "better", 0.0078),
        ("+" * 9, "-" * 3 + "+" * 6, "not enough data", 0.25),
        ("+" * 5, "-" * 5, "not enough data", 0.0625),
        ("+" * 6, "-" * 6, "worse", 0.0312),
        ("+" * 19, "+" * 19, "not enough data", 1.0),  # never "no difference"
    ],
)
def test_few_items_are_tested_exactly(before: str, after: str, word: Word, p: float) -> None:
    """With fewer than 20 items, the sign test decides, and the interval agrees with it."""
    found = compare_items(items(before), items(after))
    judge = found.judges["exact"]
    assert (found.word, judge.word) == (word, word)
    assert judge.difference is not None
    assert (judge.difference.low > 0 or judge.difference.high < 0) == (p < 0.05)


def test_two_judges_share_the_level() -> None:
    """Six of six broken items are worse for one judge, and undecided if there are two."""
    judges = ("exact", "brief")
    found = compare_items(items("+" * 6, judges=judges), items("-" * 6, judges=judges))
    assert found.word == "not enough data"
    assert list_reasons(found.judges["exact"]) == [
        "6 items cannot show any change, at least 7 are needed"
    ]


def test_few_failed_calls() -> None:
    """Few failed calls are tested in the same way: six of nine are worse, five are not."""
    six, five = (compare_items(items("+" * 9), items("x" * n + "+" * (9 - n))) for n in (6, 5))
    assert six.failures is not None
    assert five.failures is not None
    assert (six.failures.word, six.word) == ("worse", "worse")
    assert (five.failures.word, five.word) == ("not enough data", "not enough data")


def test_how_many_would_narrow_it() -> None:
    """If only the interval is too wide, the sentence says how many items would narrow it."""
    found = compare_items(items("+-" * 20), items("-+" * 20)).judges["exact"]
    assert (found.word, found.reasons) == ("not enough data", [])
    assert found.detectable is not None
    assert found.basis.needed is not None
    assert found.difference is not None
    half = 100 * (found.difference.high - found.difference.low) / 2
    assert write_sentence(found) == (
        f"not enough data: about 18,000 more items (50 % both; ± {half:.0f} pts; 40 items)"
    )
    assert found.basis.needed == pytest.approx(40 * (found.detectable / 0.02) ** 2, rel=0.001)


def test_judges_share_the_confidence() -> None:
    """Several judges share the 5 % by Bonferroni, and the worst judge decides the whole verdict."""
    names = ["one", "two", "three", "four", "five"]
    before, after = items("+" * 60, judges=names), items("+" * 50 + "-" * 10, judges=names)
    found = compare_items(before, after)
    expected = newcombe_paired(50, 10, 0, 0, confidence=0.99)
    assert [one.difference for one in found.judges.values()] == [expected] * 5
    assert found.word == "worse"


def test_margin_is_told() -> None:
    """A given margin replaces the default of two points."""
    before, after = items("+" * 600), items("+" * 580 + "-" * 20)
    assert compare_items(before, after).word == "worse"
    assert compare_items(before, after, margin={"exact": 0.06}).word == "no difference"


def test_unit_is_the_mean_of_repeats() -> None:
    """Repeats are averaged to one value per item, and items whose repeats differ are flaky."""
    before = [*items("+" * 25), *items("+" * 25)]
    after = [*items("+" * 25), *items("-" + "+" * 24)]
    found = compare_items(before, after)
    change = found.judges["exact"].difference
    assert change is not None
    assert change.value == pytest.approx(-0.5 / 25)
    assert change.n == 25
    assert found.flaky == ["i0000"]


def scored(values: Sequence[float], latency: float = 1.0) -> list[ScoredRun]:
    return [
        ScoredRun(
            item=f"i{place}",
            scores={"s": JudgeScore(score=value)},
            latency=latency * (1 + place % 3),
        )
        for place, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("before", "after", "margin", "word"),
    [
        (1.0, 2.0, None, "no difference"),  # less than 10 ms
        (100.0, 200.0, None, "worse"),
        (1.0, 2.0, {"latency": 0.05}, "worse"),  # a given margin applies to small differences too
    ],
)
def test_least_amount(
    before: float, after: float, margin: dict[str, float] | None, word: str
) -> None:
    """A doubled latency matters only if the difference is at least 10 ms."""
    sides = [scored([1.0] * 30, latency=latency) for latency in (before, after)]
    latency = compare_items(*sides, margin=margin).amounts["latency"]
    assert latency.word == word
    assert latency.difference is not None
    assert latency.difference.value == pytest.approx(2.0)
    assert latency.candidate.value == pytest.approx(2 * latency.baseline.value)


@pytest.mark.parametrize(("time_share", "word"), [(0.02, "worse"), (0.3, "no difference")])
def test_time_share(time_share: float, word: str) -> None:
    """A latency 20 % longer is worse with a `time_share` of 0.02, no difference with 0.3."""
    groups = [
        ItemGroup(run.item, [run], [run], amounts={"latency": [(1_000.0, 1_200.0)]})
        for run in scored([1.0] * 30)
    ]
    latency = compare_groups(groups, time_share=time_share).amounts["latency"]
    assert latency.word == word


def test_scores() -> None:
    """Scores have Student's interval of paired differences and a margin of 0.1 deviations."""
    before = [place / 30 for place in range(30)]
    after = [value + 0.05 + (place % 2) / 50 for place, value in enumerate(before)]
    found = compare_items(scored(before, latency=100.0), scored(after, latency=200.0))
    judge = found.judges["s"]
    expected = stats.t.interval(0.95, 29, 0.06, stats.sem([0.05, 0.07] * 15))
    assert judge.difference is not None
    assert (judge.difference.low, judge.difference.high) == pytest.approx(expected)
    assert judge.margin == pytest.approx(0.1 * stats.tstd(before))
    assert judge.word == "better"
    assert compare_items(scored(before), scored(after), lower_is_better=["s"]).word == "worse"
    assert write_sentence(found.amounts["latency"]) == "100 % longer (100 to 100 %; 30 items)"


@pytest.mark.parametrize(("now", "word"), [(0.3, "no difference"), (0.31, "better")])
def test_rounding_is_no_difference(now: float, word: Word) -> None:
    """If all scores of the baseline are equal, a difference in the last digit does not matter."""
    before = [0.1 + 0.2] * 30
    found = compare_items(scored(before), scored([now] * 30))
    assert found.word == word
    assert len(found.regressions) == 0
    assert len(found.fixed) == (30 if word == "better" else 0)


def test_slices() -> None:
    """A tag value with at least 20 items has its own verdict, corrected for all slices."""

    def tagged(runs: list[ScoredRun]) -> list[ScoredRun]:
        return [
            ScoredRun(
                item=run.item,
                digest=run.digest,
                scores=run.scores,
                tags={"topic": "ab"[place < 30]},
            )
            for place, run in enumerate(runs)
        ]

    found = compare_items(tagged(items("+" * 80)), tagged(items("-" * 15 + "+" * 65)))
    assert [(one.tag, one.value, one.judge, one.word) for one in found.slices] == [
        ("topic", "a", "exact", None),
        ("topic", "b", "exact", "worse"),
    ]


def test_nothing() -> None:
    """Without runs there is not enough data."""
    assert compare_items([], []).word == "not enough data"


def with_failed(*scores: float | None) -> list[ScoredRun]:
    """Make one run per item with a score; None means that the call failed."""
    return [
        ScoredRun(
            item=f"i{place:04}",
            digest="d",
            is_error=score is None,
            scores={} if score is None else {"close": JudgeScore(score=score)},
        )
        for place, score in enumerate(scores)
    ]


@pytest.mark.parametrize("lower", [(), ("close",)])
def test_means_leave_out_failed_calls(lower: Sequence[str]) -> None:
    """A score judge compares answered calls only, without a score for failed calls."""
    before = with_failed(*[0.5, 1.0] * 15)
    after = with_failed(*[0.5, 0.75] * 10, *[None] * 10)
    found = compare_items(before, after, lower_is_better=lower).judges["close"]
    only = compare_items(before[:20], after[:20], lower_is_better=lower).judges["close"]
    assert (found.baseline, found.candidate, found.difference) == (
        only.baseline,
        only.candidate,
        only.difference,
    )
    assert not found.reasons
    alone = estimate_judges(after, lower_is_better=lower)["close"].value
    assert alone is not None
    assert (alone.value, alone.n) == (0.625, 20)


@pytest.mark.parametrize(
    ("before", "after", "failures", "word"),
    [
        # Half of the calls raise, and all answers are equal.
        ([1.0] * 200, [1.0, None] * 100, "worse", "worse"),
        # Better answers do not compensate for failed calls.
        ([0.1, 0.2] * 100, [0.8, None] * 100, "worse", "worse"),
        # Below the minimum of 20 items.
        ([1.0] * 10, [1.0] * 4 + [None] * 6, "worse", "worse"),
        # Every call raises: with few items, with one, and if some failed before.
        ([1.0] * 40, [None] * 40, "worse", "worse"),
        ([1.0], [None], "worse", "worse"),
        ([None, None, 1.0], [None] * 3, "worse", "worse"),
        # One failure of 200 may be chance, and so may two of five.
        ([1.0] * 200, [1.0] * 199 + [None], "not enough data", "no difference"),
        ([1.0] * 5, [1.0] * 3 + [None] * 2, "not enough data", "not enough data"),
        # Fixed code is better: all failures fixed, one of five fixed, or half of the calls fixed.
        ([None] * 47, [1.0] * 47, "better", "better"),
        ([None] * 5, [1.0] + [None] * 4, "better", "better"),
        ([None, 1.0] * 100, [1.0] * 200, "better", "better"),
        # This does not hold if the answers are worse.
        ([1.0, 0.9] * 50 + [None] * 50, [0.2, 0.1] * 75, "better", "worse"),
        # Every call fails on both sides.
        ([None] * 30, [None] * 30, "not enough data", "not enough data"),
    ],
)
def test_failed_calls_decide(
    before: list[float | None], after: list[float | None], failures: Word, word: Word
) -> None:
    """More failed calls are worse whatever the scores are, and fewer are better."""
    found = compare_items(with_failed(*before), with_failed(*after))
    assert found.failures is not None
    assert (found.failures.word, found.word) == (failures, word)


def test_every_call_fails() -> None:
    """If every call fails, a judge with pass/fail counts all of them as not passed."""
    found = compare_items(items("+" * 40), items("x" * 40))
    exact = found.judges["exact"]
    assert exact.candidate is not None
    assert (found.word, exact.word, exact.candidate.value) == ("worse", "worse", 0.0)
    assert found.failures is not None
    assert write_sentence(found.failures) == "all 40 calls fail, none before"
    assert len(found.regressions) == 40


def test_repaired_failures_are_named() -> None:
    """The sentence has the number of recorded failures that pass now, by calls and by judges."""
    found = compare_items(items("x" * 47), items("+" * 47))
    assert found.failures is not None
    assert (found.word, write_sentence(found.failures)) == ("better", "47 of 47 failures pass now")
    found = compare_items(items("x" * 47), items("+" * 40 + "-" * 4 + "x" * 3))
    assert found.failures is not None
    assert (found.word, write_sentence(found.failures)) == ("better", "40 of 47 failures pass now")


def test_failures_of_other_items() -> None:
    """With too few common items, more failures still count as worse, but fewer not as better."""
    half = items("x" * 10 + "+" * 30)
    other = [replace(run, item=f"new {run.item}") for run in items("x" * 40)]
    assert compare_items(items("+" * 40), [*half[:15], *other[15:]]).word == "worse"
    assert compare_items(items("+" * 40), other).word == "worse"
    assert compare_items(items("x" * 40), [*half[:15], *items("+" * 80)[40:]]).word == (
        "not enough data"
    )


def test_failures_of_repeats_and_clusters() -> None:
    """The failure rate is over all repeats, and a cluster counts once."""
    repeats = [*items("+" * 40), *items("+" * 20 + "x" * 20)]
    found = compare_items([*items("+" * 40), *items("+" * 40)], repeats).failures
    assert found is not None
    assert found.difference is not None
    assert (found.word, found.difference.value) == ("worse", 0.25)
    one = compare_items(items("+" * 40, cluster=40), items("x" * 20 + "+" * 20, cluster=40))
    assert one.failures is not None
    assert (one.failures.word, one.word) == ("not enough data", "not enough data")


def test_value_of_one_side() -> None:
    """Without a baseline, a judge has a rate over items, in clusters, and counts its failures."""
    single = estimate_judges(items("+" * 30 + "-" * 8 + "xx"))["exact"]
    assert (single.is_rate, single.failed) == (True, 0)
    assert single.value == wilson(30, 40)
    clustered = estimate_judges(items("+" * 30 + "-" * 9 + "?", cluster=4))["exact"]
    assert clustered.failed == 1
    assert clustered.value is not None
    assert (clustered.value.n, clustered.value.clusters) == (39, 10)
    [*repeats] = [*items("+-"), *items("++")]
    assert [is_flaky(repeats[place::2]) for place in (0, 1)] == [False, True]


_JUDGED = st.one_of(
    st.builds(JudgeScore, st.booleans(), st.none(), st.just("a")),
    st.just(JudgeScore(failed=True)),
)
_SCORED = st.builds(
    JudgeScore, st.none(), st.sampled_from([0.1, 0.2, 0.3, 1 / 3, 7.0]), st.sampled_from("ab")
)
_RUN = st.builds(
    ScoredRun,
    digest=st.sampled_from("ddde"),
    cluster=st.sampled_from(["", "", "x", "y"]),
    tags=st.sampled_from([{}, {"topic": "a"}, {"topic": "b"}]),
    is_error=st.sampled_from([False, False, False, True]),
    scores=st.fixed_dictionaries({}, optional={"exact": _JUDGED, "close": _SCORED}),
    latency=st.one_of(st.none(), st.floats(0.001, 1e6)),
    cost=st.one_of(st.none(), st.sampled_from([0.0, 0.1, 0.3])),
)
Sides = tuple[list[ScoredRun], list[ScoredRun]]
_SIDES = st.tuples(st.lists(_RUN, max_size=2), st.lists(_RUN, max_size=2))


def count_alike(before: Sequence[ScoredRun], after: Sequence[ScoredRun]) -> list[ItemGroup]:
    """Group items whose runs have equal content and count them, as the collector's store does."""
    items: dict[str, tuple[list[ScoredRun], list[ScoredRun]]] = {}
    for place, side in enumerate((before, after)):
        for run in side:
            items.setdefault(run.item, ([], []))[place].append(run)
    alike: defaultdict[str, list[tuple[list[ScoredRun], list[ScoredRun]]]] = defaultdict(list)
    for sides in items.values():
        bare = [
            [replace(run, item="", latency=None, tokens=None, cost=None) for run in runs]
            for runs in sides
        ]
        alike[repr(bare)].append(sides)
    found = []
    for name, every in alike.items():
        amounts: dict[str, list[tuple[float, float]]] = {}
        for amount in AMOUNTS:
            means = [[mean_of(one.amount(amount) for one in runs) for runs in of] for of in every]
            amounts[amount] = [(one, other) for one, other in means if one and other]
        found.append(ItemGroup(name, *every[0], count=len(every), amounts=amounts))
    return found


def mean_of(values: Iterable[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return math.fsum(known) / len(known) if known else None


@given(st.lists(st.tuples(_SIDES, st.integers(1, 30)), max_size=12), st.booleans())
def test_counted_is_one_by_one(drawn: list[tuple[Sides, int]], lower: bool) -> None:
    """Counted items give the same verdict as single items."""
    before: list[ScoredRun] = []
    after: list[ScoredRun] = []
    places = [sides for sides, count in drawn for _ in range(count)]
    for place, sides in enumerate(places):
        for side, runs in zip((before, after), sides, strict=True):
            side += [
                replace(run, item=f"i{place}", latency=run.latency and run.latency * (1 + place))
                for run in runs
            ]
    groups = count_alike(before, after)
    turned = ["close"] if lower else []
    found = compare_groups(groups, lower_is_better=turned)
    wanted = compare_items(before, after, lower_is_better=turned)
    assert (found.judges, found.amounts, found.slices) == (
        wanted.judges,
        wanted.amounts,
        wanted.slices,
    )
    assert (found.word, found.caveats, len(found.flaky)) == (
        wanted.word,
        wanted.caveats,
        len(wanted.flaky),
    )
    for one, other in ((found.regressions, wanted.regressions), (found.fixed, wanted.fixed)):
        changes = [change for each in one for change in [each.change] * each.count]
        assert changes == [each.change for each in other]
    alone = estimate_groups(groups, lower_is_better=turned)
    assert alone == estimate_judges(after, lower_is_better=turned)


def latency(
    word: Word, ratio: Estimate, margin: float, *, before: float | None = None
) -> FigureComparison:
    """Compare latencies by the items that both have, in ms if `before` is known."""
    logs = make_additive(ratio, "amount")
    sides = [
        FigureSide("", None if before is None else make_unbounded(before * times, ratio))
        for times in (1.0, ratio.value)
    ]
    return FigureComparison(
        subject="latency",
        unit=Unit.LATENCY,
        direction=Direction.LOWER,
        baseline=sides[0],
        candidate=sides[1],
        difference=ratio,
        margin=margin,
        word=word,
        basis=Basis(
            method=Method.PAIRED,
            confidence=0.95,
            counted="items",
            cluster=None,
            waits_for=None,
            needed=None if logs is None else needed(logs, math.log1p(margin)),
            smallest=None,
            caveats=(),
        ),
    )


@pytest.mark.parametrize(
    ("word", "ratio", "margin", "sentence"),
    [
        (
            Word.NO_DIFFERENCE,
            (1.28, 1.2, 1.37),
            6.0,
            "no difference (at most 37 %): 28 % longer (20 to 37 %; 100 items)",
        ),
        (
            Word.NO_DIFFERENCE,
            (0.8, 0.7, 0.9),
            6.0,
            "no difference (at most 30 %): 20 % shorter (-30 to -10 %; 100 items)",
        ),
        (
            Word.NO_DIFFERENCE,
            (1.01, 0.99, 1.03),
            0.05,
            "no difference (at most 3 %): 1 % longer (-1 to 3 %; 100 items)",
        ),
        (
            Word.NO_DIFFERENCE,
            (1.0, 1.0, 1.0),
            0.05,
            "no difference: 0 % longer (0 to 0 %; 100 items)",
        ),
        (
            Word.NOT_ENOUGH_DATA,
            (1.06, 1.02, 1.1),
            0.05,
            "not enough data: about 23 more items (6 % longer; 2 to 10 %; 100 items)",
        ),
        (
            Word.NOT_ENOUGH_DATA,
            (1.06, 0.9, 1.2),
            0.05,
            "not enough data: about 1,700 more items (6 % longer; -10 to 20 %; 100 items)",
        ),
        (
            Word.NOT_ENOUGH_DATA,
            (4.0, 3.0, 5.0),
            4.0,
            "not enough data (4× as long; 3× to 5×; 100 items)",
        ),
    ],
)
def test_sentence_of_an_amount(
    word: Word, ratio: tuple[float, float, float], margin: float, sentence: str
) -> None:
    """The word comes first, then the change, its interval and the sample size."""
    found = latency(word, Estimate(*ratio, 100, 100), margin)
    assert write_sentence(found) == sentence.replace("-", "\N{MINUS SIGN}")


def test_change_below_the_absolute_margin() -> None:
    """If a certain change is too small in ms to decide anything, the sentence says so."""
    ratio = Estimate(1.22, 1.1, 1.6, 300, 300)
    assert write_sentence(latency(Word.NOT_ENOUGH_DATA, ratio, 0.5, before=20.0)) == (
        "not enough data (22 % longer; 10 to 60 %; changes below 10 ms do not count; 300 items)"
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.01234, "0.0123"), (999.6, "1,000"), (24_370.4, "24,370"), (1e15, "1e+15"), (0, "0")],
)
def test_large_numbers_have_no_exponent(number: float, text: str) -> None:
    """Numbers in sentences have three digits, a whole integer part and hardly ever an exponent."""
    assert write_number(number) == text
