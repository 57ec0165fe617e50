"""Alert rules on ground truth: none fires before the ground truth arrives, each fires after."""

import time
from collections.abc import Iterator
from typing import Final

import pytest

from otel_ml_collector.alerts.measurement import MeasuredWindows, Measurement, measure
from otel_ml_collector.alerts.rule import SliceKey, WantedAlert, make_plan
from otel_ml_collector.alerts.states import key_of
from otel_ml_collector.errors import BadInput
from otel_ml_collector.span import Span
from otel_ml_collector.store.alerts import read_alert_rows
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS
from tests.store.otel_ml_collector.alerts.test_evaluation import Told, call, look
from tests.store.otel_ml_collector.quality import test_kept as kept
from tests.store.otel_ml_collector.quality.test_quality import figures_of, get, make_run, tell
from tests.support.otel_ml_collector.alerts.world import targets_of
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

# Day 0 was 20 days ago.
FIRST_NS: Final = time.time_ns() // DAY_NS * DAY_NS - 20 * DAY_NS
PER_DAY: Final = 40
# Ground truth arrives after a day and a half.
DELAY_NS: Final = 36 * HOUR_NS
BAD_DAY: Final = 10
LOST_DAY: Final = 11
RIGHT_WHEN_BAD: Final = 10
USUALLY_RIGHT: Final = 36
TARGET: Final = {
    "model": "predict",
    "prediction": "outputs.label",
    "kind": "class",
    "positive": "yes",
}
RULE: Final = {
    "where": 'model == "predict"',
    "when": 'accuracy("churned") < 0.7',
    "window": "1d",
    "every": "1d",
    "hold": "1 of 1",
    "keep": "0s",
    "min_runs": 10,
    "notify": ["desk"],
}


def make_day(day: int, client: str = "") -> list[Span]:
    """Make the predictions of one day; every second one is yes."""
    start_ns = FIRST_NS + day * DAY_NS
    tags = {"client": client} if client else {}
    return [
        make_run(start_ns + place * MINUTE_NS, {"label": "yes" if place % 2 else "no"}, **tags)
        for place in range(PER_DAY)
    ]


def tell_day(runs: list[Span], right: int, delay_ns: int = DELAY_NS) -> list[Span]:
    """Report ground truth after `delay_ns`; the first `right` predictions are right."""
    return [
        tell(run, _label(place, is_right=place < right), run.start_ns + delay_ns)
        for place, run in enumerate(runs)
    ]


def _label(place: int, *, is_right: bool) -> str:
    return "yes" if bool(place % 2) is is_right else "no"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(
        tmp_path_factory.mktemp("truth-rules"), alert_targets=targets_of("desk")
    ) as service:
        yield service


def take(service: Service, project: str, spans: list[Span], now_ns: int) -> None:
    service.store.take(project, *spans, now_ns=now_ns)


@at_night
def test_late_truth(service: Service) -> None:
    """A rule waits for the ground truth of each window, and fires for the bad window."""
    project = "churn"
    days = {day: make_day(day) for day in range(15)}
    known = [run for day in range(9) for run in [*days[day], *tell_day(days[day], USUALLY_RIGHT)]]
    take(service, project, known, FIRST_NS + 10 * DAY_NS)
    assert call(service, "PUT", f"{project}/targets/churned", TARGET)["status"] == 200
    assert call(service, "PUT", f"{project}/alerts/falls", RULE)["status"] == 200
    told, states = Told(project), []
    for day in range(9, 15):
        now_ns = FIRST_NS + (day + 1) * DAY_NS + 5 * MINUTE_NS
        spans = [*days[day]]
        if day == BAD_DAY:  # the ground truth of most wrong predictions arrives early
            spans += tell_day(days[BAD_DAY], RIGHT_WHEN_BAD, HOUR_NS)[RIGHT_WHEN_BAD:]
        before = day - 1
        if before == BAD_DAY:
            spans += tell_day(days[BAD_DAY], RIGHT_WHEN_BAD)[:RIGHT_WHEN_BAD]
        elif before == LOST_DAY:
            spans += tell_day(days[LOST_DAY], USUALLY_RIGHT)[:RIGHT_WHEN_BAD]
        else:
            spans += tell_day(days[before], USUALLY_RIGHT) if before >= 9 else []
        take(service, project, spans, now_ns)
        look(service, told, now_ns)
        states += [
            (day, row.state, (row.window_ns - FIRST_NS) // DAY_NS)
            for row in read_alert_rows(service.store.reader, project)
            if row.slice == "[]"
        ]
    assert states == [
        # On day 9 the ground truth of its runs has not arrived, so nothing is judged.
        (10, "inactive", 10),  # day 9 is in; day 10 only in part
        (11, "firing", 11),  # day 10 is in
        (12, "firing", 11),  # day 11 waits: most of its ground truth is lost
        (13, "firing", 11),
        (14, "inactive", 14),  # day 11 is no longer waited for, and days 12 and 13 are good
    ]
    assert [item.status for item in told.notifications.values()] == ["firing", "resolved"]
    firing, resolved = told.notifications.values()
    assert firing.changed_ns == FIRST_NS + (BAD_DAY + 1) * DAY_NS
    assert firing.slices[0].value == RIGHT_WHEN_BAD / PER_DAY
    assert resolved.changed_ns == FIRST_NS + 12 * DAY_NS  # no truth: ends after `keep`
    history = call(service, "GET", f"{project}/alerts/falls/check?since=30d")
    assert [(item["start"], item["worst"]) for item in history["firings"]] == [
        (day_of(BAD_DAY + 1), RIGHT_WHEN_BAD / PER_DAY)
    ]
    words = {point["time"]: point["word"] for point in history["slices"][0]["points"]}
    assert words[day_of(LOST_DAY + 1)] == "no data"


def day_of(day: int) -> str:
    """Return the start of a day as text."""
    return day_at(FIRST_NS + day * DAY_NS)


def day_at(start_ns: int) -> str:
    """Format the start of a day."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000000Z", time.gmtime(start_ns // 10**9))


@at_night
def test_told_delay(service: Service) -> None:
    """A rule with a delay skips a window whose ground truth does not arrive within that delay."""
    project = "told"
    runs = make_day(0)
    take(service, project, runs, FIRST_NS + DAY_NS)
    assert call(service, "PUT", f"{project}/targets/churned", TARGET)["status"] == 200
    call(service, "PUT", f"{project}/alerts/falls", {**RULE, "delay": "6h"})
    told = Told(project)
    for hours, expected in ((1, []), (5, []), (7, ["no data"])):
        look(service, told, FIRST_NS + DAY_NS + hours * HOUR_NS)
        rows = read_alert_rows(service.store.reader, project)
        assert [row.state for row in rows if row.slice == "[]"] == expected
    take(service, project, tell_day(runs, 0), FIRST_NS + 2 * DAY_NS)
    look(service, told, FIRST_NS + 2 * DAY_NS + HOUR_NS)
    assert told.notifications == {}
    call(service, "DELETE", f"{project}/alerts/falls")


@sampled(1)
@pytest.mark.parametrize(
    ("figure", "all_value", "a_value"),
    # Of 40 predictions per client, the last 20 of client a and the last 4 of client b are wrong.
    [
        ("accuracy", (20 + 36) / 80, 0.5),
        # Both clients have 20 yes predictions: 10 and 18 of them are right.
        ("precision", (10 + 18) / 40, 0.5),
        # Actual yes: predicted yes and right, or predicted no and wrong.
        ("recall", (10 + 18) / (10 + 18 + 10 + 2), 0.5),
    ],
)
def test_values(service: Service, figure: str, all_value: float, a_value: float) -> None:
    """A ground-truth figure is computed from the window's predictions, also by slice."""
    project = f"values {figure}"
    a, b = make_day(0, "a"), make_day(0, "b")
    truths = [*tell_day(a, 20), *tell_day(b, 36)]
    take(service, project, [*a, *b, *truths], FIRST_NS + 5 * DAY_NS)
    assert call(service, "PUT", f"{project}/targets/churned", TARGET)["status"] == 200
    answers: dict[str, float] = {}
    for by in ("", 'tags["client"]'):
        wanted = {"when": f'{figure}("churned") < 0.5', "window": "1d", "by": by}
        plan = make_plan(WantedAlert.model_validate(wanted))
        asked = Measurement(
            project, "", plan.by, plan.condition.figures, None, FIRST_NS + 5 * DAY_NS
        )
        windows = MeasuredWindows(FIRST_NS + DAY_NS, DAY_NS, 1, DAY_NS)
        measured = measure(service.store.reader, asked, windows)[FIRST_NS + DAY_NS]
        key = key_of(plan.condition.main)
        answers |= {name.text: own.numbers[key] for name, own in measured.items()}
    assert answers["[]"] == pytest.approx(all_value)
    assert answers['["a"]'] == pytest.approx(a_value)


def test_mean_error(service: Service) -> None:
    """The mean absolute error is computed from the predictions that have ground truth."""
    runs = [make_run(FIRST_NS + place * MINUTE_NS, {"minutes": 10.0}) for place in range(12)]
    truths = [tell(run, 10.0 + place, FIRST_NS + HOUR_NS) for place, run in enumerate(runs)]
    take(service, "late", [*runs, *truths], FIRST_NS + 5 * DAY_NS)
    target = {"model": "predict", "prediction": "outputs.minutes", "kind": "number"}
    assert call(service, "PUT", "late/targets/churned", target)["status"] == 200
    plan = make_plan(WantedAlert(when='mae("churned") > 1', window="1d"))
    asked = Measurement("late", "", (), plan.condition.figures, None, FIRST_NS + 5 * DAY_NS)
    windows = MeasuredWindows(FIRST_NS + DAY_NS, DAY_NS, 1, DAY_NS)
    measured = measure(service.store.reader, asked, windows)[FIRST_NS + DAY_NS][SliceKey("[]")]
    assert measured.numbers == {key_of(plan.condition.main): pytest.approx(5.5)}


def measure_whole(service: Service, project: str, figure: str, now_ns: int) -> float:
    """Return a figure of all predictions of `kept.make_runs` in one window."""
    plan = make_plan(WantedAlert(when=f"{figure} > 0", window="3d"))
    asked = Measurement(project, "", (), plan.condition.figures, None, now_ns)
    end_ns = kept.FIRST_NS + kept.DAYS * DAY_NS
    windows = MeasuredWindows(end_ns, DAY_NS, 1, kept.DAYS * DAY_NS)
    measured = measure(service.store.reader, asked, windows)[end_ns][SliceKey("[]")]
    return measured.numbers[key_of(plan.condition.main)]


@at_night
@pytest.mark.parametrize("is_kept", [False, True])
def test_same_as_quality(service: Service, is_kept: bool) -> None:
    """A rule has the same figures as the Quality page, also from materialized days."""
    project = f"same {is_kept}"
    runs = kept.make_runs(5)
    kept.take(service, project, [*runs, *kept.tell_all(runs)])
    kept.save_all(service, project)
    if is_kept:
        kept.keep(service.store, project)
    assert kept.list_kept(service.store, project) == ([0, 1, 2] if is_kept else [])
    window = {
        "start": day_at(kept.FIRST_NS),
        "end": day_at(kept.FIRST_NS + kept.DAYS * DAY_NS),
    }
    now_ns = time.time_ns()
    for name, figures in (("churned", ("accuracy", "precision", "recall")), ("minutes", ("mae",))):
        page = figures_of(get(service, f"{project}/targets/{name}", **window))
        of_rule = {
            figure: measure_whole(service, project, f'{figure}("{name}")', now_ns)
            for figure in figures
        }
        assert of_rule == pytest.approx({figure: page[figure] for figure in figures})


def test_figure_of_another_kind(service: Service) -> None:
    """A figure that a prediction target does not have is refused with the figures it has."""
    project = "another kind"
    runs = kept.make_runs(6)
    kept.take(service, project, [*runs, *kept.tell_all(runs)])
    kept.save_all(service, project)
    with pytest.raises(BadInput) as refused:
        measure_whole(service, project, 'accuracy("minutes")', time.time_ns())
    assert str(refused.value) == (
        "Invalid figure accuracy of 'minutes': this prediction target has only mae, rmse, bias"
    )
