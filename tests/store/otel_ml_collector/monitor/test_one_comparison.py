"""The same data gives the same numbers and words, whoever compares it."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple

import pytest

from otel_ml.statistics.comparison import FigureComparison, Unit
from otel_ml.statistics.judge_change import TwiceJudged, compare_judge_versions
from otel_ml.statistics.release import FigureSums, judge_release
from otel_ml.statistics.scored_runs import JudgeScore, ScoredRun
from otel_ml.statistics.sentences import write_comparison, write_sentence
from otel_ml.statistics.sequence import Moments, moments_of
from otel_ml.statistics.verdict import compare_items
from otel_ml_collector.alerts.measurement import MeasuredWindows, Measurement, measure
from otel_ml_collector.alerts.rule import WantedAlert, make_plan
from otel_ml_collector.alerts.states import key_of
from otel_ml_collector.judges.strictness import find_strictness
from otel_ml_collector.span import Span
from tests.store.otel_ml_collector.monitor.test_releases import (
    BEGAN_NS,
    HOUR_NS,
    MINUTE_NS,
    make_runs,
    take,
)
from tests.store.otel_ml_collector.query.test_judges import tell
from tests.store.otel_ml_collector.query.test_strictness import judge_twice
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.stores import Service, Store, open_service

PROJECT: Final = "one-comparison"
# The errors, missing outputs, the judge and latency share one error.
FIGURES: Final = 4
RUNS: Final = 200


class Told(NamedTuple):
    """What one of the faces says about the judge."""

    word: str
    sentence: str
    difference: tuple[float, float, float]


class World(NamedTuple):
    """Runs of two versions in a store, and the same scores compared by the SDK."""

    service: Service
    expected: FigureComparison


def count_passed(spans: Sequence[Span]) -> Moments:
    """Sum the scores of some runs, each in a session of its own."""
    passed = [
        span.attributes["otel_ml.passed"] for span in spans if "otel_ml.passed" in span.attributes
    ]
    return moments_of([(float(bool(one)), 1, 1) for one in passed])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    make: dict[str, Any] = {"step_ns": MINUTE_NS, "runs": RUNS}
    before = make_runs("answer", "v1", 0.9, seed=5, first_ns=BEGAN_NS - 4 * HOUR_NS, **make)
    after = make_runs("answer", "v2", 0.7, seed=6, first_ns=BEGAN_NS, **make)
    cells = {("", 0): (count_passed(before), count_passed(after))}
    figure = FigureSums(name="grounded", unit=Unit.PASSES, cells=cells, counted="scored runs")
    (expected,) = judge_release([figure], "v1", "v2", runs=(RUNS, RUNS), sharing=FIGURES)
    with open_service(tmp_path_factory.mktemp("comparison")) as service:
        take(service.store, PROJECT, [tell("a1"), *before, *after])
        yield World(service, expected)


def get(world: World, path: str) -> Any:
    return ask(world.service.app, f"/api/v1/projects/{PROJECT}/{path}").json


def read_told(figures: Sequence[Any]) -> Told:
    (judge,) = [figure for figure in figures if figure["name"] == "grounded"]
    change = judge["difference"]
    return Told(judge["word"], judge["sentence"], (change["value"], change["low"], change["high"]))


def round_told(told: Told) -> Told:
    """Round away the digits that depend on the order of addition."""
    low, value, high = (round(number, 12) for number in told.difference)
    return Told(told.word, told.sentence, (low, value, high))


def test_versions_in_production(world: World) -> None:
    """The SDK, the release, the versions page, `compare`, and the overview say the same."""
    expected = world.expected
    change = expected.difference
    assert change is not None
    told = Told(expected.word, write_sentence(expected), (change.value, change.low, change.high))
    (release,) = get(world, "models/answer/release")["releases"]
    versions = get(world, "models/answer/versions/2/verdict?against=1")
    sides = get(world, "compare?of=answer:v1&of=answer:v2")["sides"]
    faces = {
        "release": read_told(release["figures"]),
        "versions": read_told(versions["judges"]),
        "compare": read_told(sides[1]["version"]["verdict"]["judges"]),
    }
    assert {name: round_told(face) for name, face in faces.items()} == dict.fromkeys(
        faces, round_told(told)
    )
    assert told.word == "worse"
    named = f"grounded: {told.sentence}"
    (newest,) = get(world, "overview")["newest_versions"]
    assert [one["sentence"] for one in (release, versions, newest)] == [named] * 3


def test_pages_show_the_parts_of_the_sentence(world: World) -> None:
    """The model's page and the page of `compare` show the figures and interval of the sentence."""
    text, change = write_comparison(world.expected), world.expected.difference
    assert change is not None
    signed = f"{100 * change.low:.0f} to {100 * change.high:.0f}".replace("-", "\N{MINUS SIGN}")
    figures = text.figures.partition(",")[0]
    addresses = {
        "model-verdict?model=answer&version=2&against=1": signed,
        "compare?of=answer:v1&of=answer:v2": text.interval,
    }
    for address, interval in addresses.items():
        page = html.unescape(ask(world.service.app, f"/projects/{PROJECT}/{address}").text)
        page = page.replace("\u202f", " ")
        assert figures in page, address
        assert interval in page, address


@pytest.mark.parametrize("when", ['worse("grounded")', 'worse("grounded", than="previous 4h")'])
def test_alerts(world: World, when: str) -> None:
    """An alert on a worse version, or on a worse period, fires on the same data."""
    end_ns = BEGAN_NS + 4 * HOUR_NS
    plan = make_plan(
        WantedAlert.model_validate({"when": when, "where": 'model == "answer"', "window": "4h"})
    )
    asked = Measurement(PROJECT, plan.where, plan.by, plan.condition.figures, None, end_ns)
    windows = MeasuredWindows(end_ns, plan.window_ns, 1, plan.window_ns)
    (measured,) = measure(world.service.store.reader, asked, windows)[end_ns].values()
    key = key_of(plan.condition.main)
    assert (measured.numbers[key], measured.counts[key]) == (1.0, RUNS)
    figures = write_comparison(world.expected).figures.partition(",")[0]
    assert figures in measured.texts.get(key, figures)


def test_paired_scores(world: World) -> None:
    """Judge strictness compares two scores of a run as experiments compare two runs of an item."""
    scores = [(0.9, 0.1)] * 14 + [(0.9, 0.9)] * 75 + [(0.1, 0.9)] * 2 + [(0.1, 0.1)] * 9
    store: Store = world.service.store
    judge_twice(store, f"{PROJECT}-paired", scores)
    found = find_strictness(store.reader, f"{PROJECT}-paired", "grounded", 2, 1)
    sides = [
        [
            ScoredRun(
                item=str(place), scores={"grounded": JudgeScore(pair[side] >= 0.5, pair[side])}
            )
            for place, pair in enumerate(scores)
        ]
        for side in (0, 1)
    ]
    experiment = compare_items(*sides).judges["grounded"]
    pairs = [
        TwiceJudged(JudgeScore(old >= 0.5, old), JudgeScore(new >= 0.5, new)) for old, new in scores
    ]
    change = compare_judge_versions(pairs)
    assert experiment.difference is not None
    assert found.difference is not None
    assert found.difference.model_dump() == asdict(experiment.difference)
    assert change.comparison.difference == experiment.difference
    assert (experiment.word, change.word, found.word) == ("worse", "stricter", "stricter")
    assert write_comparison(experiment).figures.partition(",")[0] in found.sentence
    assert write_comparison(experiment).interval in found.sentence
