"""Monitor figures in alert rules: their values for all runs and by slice."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from scipy.spatial.distance import jensenshannon

from otel_ml_collector.alerts.measurement import MeasuredWindows, Measurement, measure
from otel_ml_collector.alerts.rule import WantedAlert, make_plan
from otel_ml_collector.alerts.states import key_of
from otel_ml_collector.errors import BadInput
from otel_ml_collector.findings.releases import VersionWords, find_releases
from otel_ml_collector.findings.slice_sums import SlicesQuery
from otel_ml_collector.findings.slices import find_slices
from otel_ml_collector.span import Span
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS, make_call
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.sampling import at_night, sampled

END_NS: Final = NOW_NS // DAY_NS * DAY_NS
PER_HOUR: Final = 120  # a verdict needs 100 runs on each side
DRIFTED: Final = 40  # out of 100 runs of client a on the last day
OLD_PASSED: Final = 114  # out of 120
FALLEN: Final = 60


def make_run(start_ns: int, version: str = "v1", **more: Any) -> Span:
    tags = {f"otel_ml.tag.{name}": value for name, value in more.get("tags", {}).items()}
    return make_call(
        "answer",
        {
            "otel_ml.model.version": version,
            "otel_ml.inputs": json.dumps({"language": more.get("language", "en")}),
            "otel_ml.outputs": json.dumps("yes"),
            **tags,
        },
        start_ns=start_ns,
        end_ns=start_ns + more.get("took_ns", 100 * MS_NS),
        status_code=2 if more.get("fails") else 0,
    )


def make_fall(version: str) -> list[Span]:
    """Make seven hours of two clients; Remax gets worse in the last hour."""
    spans = [tell("j1")]
    for hour in range(7, 0, -1):
        for client in ("Remax", "Century"):
            passed = FALLEN if (client, hour) == ("Remax", 1) else OLD_PASSED
            for place in range(PER_HOUR):
                run = make_run(
                    END_NS - hour * HOUR_NS + place * HOUR_NS // PER_HOUR,
                    version if hour == 1 else "v1",
                    tags={"client": client},
                    took_ns=(2 if (client, hour) == ("Remax", 1) else 1) * 100 * MS_NS,
                    fails=client == "Century" and hour == 1 and place % 2,
                )
                spans += [run, say(run, "j1", float(place < passed))]
    return spans


def make_drift() -> list[Span]:
    """Make eleven days of two clients; client a changes its language on the last day."""
    spans = []
    for day in range(11, 0, -1):
        for place in range(200):
            client = "ab"[place % 2]
            is_other = client == "a" and day == 1 and place < 2 * DRIFTED
            spans.append(
                make_run(
                    END_NS - day * DAY_NS + place * 5 * MINUTE_NS,
                    tags={"client": client},
                    language="de" if is_other else "en",
                )
            )
    return spans


def make_excess() -> list[Span]:
    """Make an hour of runs in two regions; in one of them, one client's runs fail."""
    spans = []
    for place in range(400):
        region, client = ("eu", "us")[place % 2], f"c{place // 2 % 4}"
        spans.append(
            make_run(
                END_NS - HOUR_NS + place * 8 * SECOND_NS,
                tags={"region": region, "client": client},
                fails=(region, client) == ("eu", "c1"),
            )
        )
    return spans


def fill_release(store: Store, project: str) -> None:
    """Store seven hours of a model whose second version starts in the last hour and is worse."""
    spans = make_fall("v2")
    older = [span for span in spans if span.attributes.get("otel_ml.model.version") != "v2"]
    store.take(project, *older)
    newer = [span for span in spans if span.attributes.get("otel_ml.model.version") == "v2"]
    store.take(project, *newer, now_ns=NOW_NS + SECOND_NS)  # it arrives after the first version


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(tmp_path_factory.mktemp("monitored") / "store") as store:
        store.take("fall", *make_fall("v1"))
        fill_release(store, "release")
        store.take("drift", *make_drift())
        store.take("excess", *make_excess())
        yield store


def ask(
    store: Store, project: str, when: str, *, by: str = "", window: str = "1h", end_ns: int = END_NS
) -> Mapping[str, float]:
    """Return a condition's first figure in a window, by slice."""
    wanted = {"when": when, "where": 'model == "answer"', "window": window, "by": by}
    plan = make_plan(WantedAlert.model_validate(wanted))
    asked = Measurement(project, plan.where, plan.by, plan.condition.figures, None, end_ns)
    windows = MeasuredWindows(end_ns, plan.window_ns, 1, plan.window_ns)
    measured = measure(store.reader, asked, windows)[end_ns]
    key = key_of(plan.condition.main)
    return {name.text: own.numbers[key] for name, own in measured.items()}


CLIENT: Final = 'tags["client"]'


@sampled(1)
@pytest.mark.parametrize(
    ("figure", "remax", "century"),
    [("grounded", 1.0, 0.0), ("errors", 0.0, 1.0), ("latency", 1.0, 0.0), ("tokens", None, None)],
)
def test_worse_than_before(
    store: Store, figure: str, remax: float | None, century: float | None
) -> None:
    """A window is worse than the time before only for the client that got worse."""
    values = ask(store, "fall", f'worse("{figure}", than="previous 6h")', by=CLIENT)
    expected = {
        name: math.nan if value is None else value
        for name, value in (('["Remax"]', remax), ('["Century"]', century))
    }
    assert values == pytest.approx(expected, nan_ok=True)


def test_worse_of_all(store: Store) -> None:
    """Without slices all runs are compared, and an unchanged hour is not worse."""
    when = 'worse("grounded", than="previous 3h")'
    assert ask(store, "fall", when) == {"[]": 1.0}
    assert ask(store, "fall", when, end_ns=END_NS - HOUR_NS) == {"[]": 0.0}


def test_nothing_before(store: Store) -> None:
    """A window with fewer than 100 runs before it is not judged."""
    when = 'worse("grounded", than="previous 6h")'
    first = ask(store, "fall", when, end_ns=END_NS - 6 * HOUR_NS)
    assert first == pytest.approx({"[]": math.nan}, nan_ok=True)


def test_worse_version(store: Store) -> None:
    """A new version is worse only for the client whose results got worse with it."""
    later_ns = END_NS + HOUR_NS  # after its windows have ended and slow runs have arrived
    assert ask(store, "release", 'worse("grounded")', window="2h", end_ns=later_ns) == {"[]": 1.0}
    values = ask(store, "release", 'worse("grounded")', by=CLIENT, window="2h", end_ns=later_ns)
    assert values == {'["Remax"]': 1.0, '["Century"]': 0.0}
    before = ask(store, "release", 'worse("grounded")', end_ns=END_NS - HOUR_NS)
    assert before == pytest.approx({"[]": math.nan}, nan_ok=True)


@at_night
def test_words_of_a_version(store: Store) -> None:
    """Judging many times at once gives the same words as judging each, in any order."""
    times_ns = [END_NS - HOUR_NS + minutes * MINUTE_NS for minutes in range(0, 180, 15)]
    expected = {}
    for time_ns in times_ns:
        for release in find_releases(store.reader, "release", time_ns, "answer"):
            for figure in release.figures:
                if (release.dimension, figure.name) == ("version", "grounded") and figure.runs:
                    is_worse = figure.word == "worse" or bool(figure.worst)
                    expected[time_ns] = is_worse, figure.runs, figure.worst
    assert {word for word, _, _ in expected.values()} == {False, True}
    assert {worst for _, _, worst in expected.values()} == {"", 'tags["client"] == "Remax"'}
    assert len(expected) < len(times_ns)
    words = VersionWords(store.reader, "release", "answer")
    found = {**words.find("grounded", "", times_ns[6:]), **words.find("grounded", "", times_ns[:6])}
    named = {"": False, 'tags["client"] == "Remax"': True}
    assert {
        time_ns: (word.is_worse, word.runs, "client Remax" in word.sentence)
        for time_ns, word in found.items()
    } == {time_ns: (*own[:2], named[own[2]]) for time_ns, own in expected.items()}


@at_night
def test_drift(store: Store) -> None:
    """The figure is the distance between the field's values and those of the days before."""
    when = "drift(inputs.language) > 0.1"
    every = ask(store, "drift", when, window="1d")
    part = DRIFTED / 200
    assert every == {"[]": pytest.approx(jensenshannon([1 - part, part], [1, 0], 2), rel=0.02)}
    assert ask(store, "drift", when, window="1d", end_ns=END_NS - DAY_NS) == {"[]": 0.0}
    by_client = ask(store, "drift", when, window="1d", by=CLIENT)
    part = DRIFTED / 100
    assert by_client == {
        '["a"]': pytest.approx(jensenshannon([1 - part, part], [1, 0], 2), rel=0.02),
        '["b"]': 0.0,
    }


def test_excess(store: Store) -> None:
    """The figure is the number of extra failures of the worst slice, as the monitor computes it."""
    query = SlicesQuery("excess", "", "errors", start_ns=END_NS - HOUR_NS, end_ns=END_NS)
    worst = max(item.excess for item in find_slices(store.reader, query, END_NS).slices)
    assert worst > 20
    assert ask(store, "excess", 'excess("errors") > 20') == {"[]": worst}
    by_region = ask(store, "excess", 'excess("errors") > 20', by='tags["region"]')
    assert by_region['["us"]'] == 0.0
    # All 50 runs of that client in that region fail, and no others do.
    assert 40 < by_region['["eu"]'] <= 50


def test_silent_judge(store: Store) -> None:
    """The extra failures by a judge have no value if it scored no run in the window."""
    values = ask(store, "excess", 'excess("grounded") > 20')
    assert values == pytest.approx({"[]": math.nan}, nan_ok=True)


@sampled(2)
@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"when": 'worse("a", than="last week")'}, 'expected "version before" or "previous 7d"'),
        ({"when": 'worse("a", than="previous 1h")', "window": "2h"}, "as long as the window"),
        ({"when": 'worse("a", than="previous 91d")'}, "at most 90d"),
        ({"when": 'worse("a")'}, 'worse needs one model: add model == "NAME"'),
        ({"when": "drift(inputs.a) > 0"}, 'drift needs one model: add model == "NAME"'),
        ({"when": "pass_rate(a) < 0.9"}, 'Expected pass_rate("judge"), found pass_rate(a)'),
        ({"when": "runs > 1", "hold": "5 of 3"}, "with the smaller number first"),
        ({"when": 'worse("a")', "where": 'model == "m"', "by": "version"}, "newest version"),
        ({"when": "drift(inputs.a, than='28') > 0", "where": 'model == "m"'}, "Invalid than '28'"),
    ],
)
def test_refused(wanted: dict[str, str], message: str) -> None:
    """A rule that asks for an impossible comparison is refused before it is saved."""
    with pytest.raises(BadInput) as caught:
        make_plan(WantedAlert.model_validate(wanted))
    assert message in str(caught.value)
