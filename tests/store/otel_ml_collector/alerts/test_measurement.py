"""The figures that alert rules measure, compared with the known values of generated runs."""

import json
import math
from collections.abc import Iterator
from itertools import chain
from typing import Final

import pytest

from otel_ml_collector.alerts.measurement import MeasuredWindows, Measurement, measure
from otel_ml_collector.alerts.rule import SliceKey, WantedAlert, make_plan
from otel_ml_collector.alerts.states import MeasuredSlice, key_of
from otel_ml_collector.times import HOUR_NS, MINUTE_NS
from tests.store.otel_ml_collector.alerts.test_evaluation import END_NS, make_hour
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.support.otel_ml_collector.spans import MS_NS, make_call
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.sampling import sampled

RUNS: Final = 20


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Open a store with two hours of one client. Each has 20 runs: 15 and 10 passed."""
    with open_store(tmp_path_factory.mktemp("measured") / "store") as store:
        store.take("p", tell("j1"), *make_hour(2, "Remax", 15), *make_hour(1, "Remax", 10))
        yield store


def ask(
    store: Store, when: str, by: str = "", project: str = "p"
) -> dict[int, dict[SliceKey, MeasuredSlice]]:
    plan = make_plan(WantedAlert.model_validate({"when": when, "window": "1h", "by": by}))
    condition = plan.condition
    asked = Measurement(project, "", plan.by, condition.figures, condition.sure, END_NS)
    windows = MeasuredWindows(END_NS - HOUR_NS, HOUR_NS, 2, HOUR_NS)
    return {
        end_ns: dict(slices) for end_ns, slices in measure(store.reader, asked, windows).items()
    }


@sampled(4)
@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        ("runs", 20.0),
        ("error_share", 0.1),
        ("cost", 0.0),
        ("tokens", 0.0),
        ("p50(latency_ms)", 200.0),
        ("p99(latency_ms)", 290.0),
        ("mean(latency_ms)", 195.0),
        ("min(latency_ms)", 100.0),
        ("max(latency_ms)", 290.0),
        ("missing(inputs.question)", 0.05),
        ("share(latency_ms >= 200ms)", 0.5),
        ('share(tags["client"] == "Remax" and "why" in inputs)', 0.95),
        ('pass_rate("grounded")', 0.5),
        ('pass_rate["grounded"]', 0.5),
        ('mean_score("grounded")', 0.5),
        ('judge_errors("grounded")', 0.0),
        ("mean(inputs.question)", math.nan),
        ('mean(metrics["loss"])', math.nan),
    ],
)
def test_figure(store: Store, figure: str, expected: float) -> None:
    """A figure of the last hour is computed from its runs; without values it is NaN."""
    measured = ask(store, f"{figure} > 0")[END_NS][SliceKey("[]")]
    key = key_of(make_plan(WantedAlert(when=f"{figure} > 0")).condition.main)
    assert measured.runs == RUNS
    assert measured.numbers[key] == pytest.approx(expected, nan_ok=True)


def test_windows(store: Store) -> None:
    """One query returns several windows and slices, each with its own runs."""
    answer = ask(store, 'pass_rate("grounded") < 0.9', 'tags["client"]')
    rates = {end_ns: own[SliceKey('["Remax"]')].numbers for end_ns, own in answer.items()}
    assert [[*rates[end_ns].values()] for end_ns in sorted(rates)] == [[0.75], [0.5]]


def test_previous(store: Store) -> None:
    """The figure of the previous window is measured together with the current one."""
    measured = ask(store, 'pass_rate("grounded") < 0.9 * previous("1h")')[END_NS][SliceKey("[]")]
    assert sorted(measured.numbers.values()) == [0.5, 0.75]


def test_means(store: Store) -> None:
    """With surely, values are counted per session, a quantile as the share of runs beyond it."""
    measured = ask(store, "surely(p90(latency_ms) > 200)")[END_NS][SliceKey("[]")]
    assert dict(measured.means) == {0.0: 11, 1.0: 9}


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        # Latencies are 100, 110, … 290 ms.
        ("surely(mean(latency_ms) > 200)", {100.0 + 10 * place: 1 for place in range(20)}),
        ('surely(mean_score("grounded") < 0.7)', {1.0: 10, 0.0: 10}),
        ('surely(mean_score("grounded") > 0.7)', {1.0: 10, 0.0: 10}),
    ],
)
def test_means_of_numbers(store: Store, when: str, expected: dict[float, int]) -> None:
    """With surely, a mean is counted per session, in its own unit."""
    assert dict(ask(store, when)[END_NS][SliceKey("[]")].means) == expected


@pytest.mark.parametrize(
    ("sign", "expected"),
    [
        (">", {-1.35: 1, 0.0: 1, 0.001: 1, 123.0: 1, 124_000.0: 1}),
        ("<", {-1.34: 1, 0.0: 1, 0.001: 1, 124.0: 1, 125_000.0: 1}),
    ],
)
def test_means_are_rounded_to_the_good_side(
    store: Store, sign: str, expected: dict[float, int]
) -> None:
    """A session's mean is rounded to three digits, toward the good side, to keep windows small."""
    values = [-1.345, 0.0, 0.001, 123.5, 124_700.0]
    runs = [
        make_call(
            "answer",
            {"otel_ml.outputs": json.dumps({"price": value})},
            start_ns=END_NS - HOUR_NS + place * MINUTE_NS,
            end_ns=END_NS - HOUR_NS + place * MINUTE_NS + MS_NS,
        )
        for place, value in enumerate(values)
    ]
    project = f"rounded {sign}"
    store.take(project, *runs)
    measured = ask(store, f"surely(mean(outputs.price) {sign} 5)", project=project)
    assert dict(measured[END_NS][SliceKey("[]")].means) == expected


def test_version(store: Store) -> None:
    """Slices by version use the version's small number."""
    assert [*ask(store, "runs > 0", "version")[END_NS]] == [SliceKey('["1"]')]


@sampled(2)
@pytest.mark.parametrize("figure", ["pass_rate", "mean_score", "judge_errors"])
@pytest.mark.parametrize(
    ("name", "lost", "is_in"),
    [
        ("all", {}, True),
        ("failed without score", {0: None, 1: None}, True),
        ("judge failed", {5: "ValueError"}, True),
        ("no score yet", {5: None}, False),
        # The score of a failed run does not replace the missing score of another run.
        ("one of each", {0: None, 5: None}, False),
    ],
)
def test_waits_for_scores(
    store: Store, figure: str, name: str, lost: dict[int, str | None], *, is_in: bool
) -> None:
    """A window waits for the scores of its runs, except failed runs, which judges skip."""
    project = f"waits {name}"
    spans = make_hour(1, "Remax", 15)
    pairs = dict(enumerate(zip(spans[::2], spans[1::2], strict=True)))
    for place, said in lost.items():
        run, _ = pairs[place]
        pairs[place] = (run, tell("j1") if said is None else say(run, "j1", said))
    store.take(project, tell("j1"), *chain.from_iterable(pairs.values()))
    measured = ask(store, f'{figure}("grounded") < 0.9', project=project)[END_NS]
    assert measured[SliceKey("[]")].is_in == is_in
