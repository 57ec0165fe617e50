"""Prediction targets: predictions and ground truth, in any order of arrival, by time and class."""

import itertools
import json
import math
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote, urlencode

import pytest
from sklearn import metrics
from sklearn.isotonic import IsotonicRegression

from otel_ml_collector.alerts.history import check_rule, make_unsaved
from otel_ml_collector.alerts.rule import WantedAlert
from otel_ml_collector.span import Span
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import DAY_NS, SECOND_NS, make_call, make_record
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

JSON: Final = {"content-type": "application/json"}
HOUR_NS: Final = 3_600 * SECOND_NS
# Within the first hour of a day this is yesterday, so that no run is in the future.
TODAY_NS: Final = (time.time_ns() - HOUR_NS) // DAY_NS * DAY_NS
TARGET: Final = {
    "model": "predict",
    "prediction": "outputs.label",
    "kind": "class",
    "positive": "yes",
    "probability": "outputs.p",
}
DAYS: Final = 20
PER_DAY: Final = 40
LOST_DAY: Final = 12


@dataclass(frozen=True)
class Foretold:
    """A run with its prediction and its later ground truth; None if there is none."""

    run: Span
    day: int
    predicted: str
    p: float
    came: str | None


def call(service: Service, method: str, path: str, body: Any = None, **query: str) -> Answered:
    asked = f"?{urlencode(query)}" if query else ""
    raw = b"" if body is None else json.dumps(body).encode()
    address = f"/api/v1/projects/{path}{asked}"
    return ask(service.app, address, method=method, headers=JSON, body=[raw])


def get(service: Service, path: str, **query: str) -> Any:
    answered = call(service, "GET", path, **query)
    assert answered.status == 200, answered.text
    return answered.json


def save(service: Service, project: str, name: str = "churned", **wanted: Any) -> Any:
    answered = call(service, "PUT", f"{project}/targets/{name}", {**TARGET, **wanted})
    assert answered.status == 200, answered.text
    return answered.json


def tell(run: Span, value: Any, at_ns: int, name: str = "churned", **target: str) -> Span:
    """Make a record with the ground truth of a run."""
    about = {f"otel_ml.target.{kind}": value for kind, value in target.items()}
    if isinstance(value, list):
        said: dict[str, Any] = {"otel_ml.actual.list": json.dumps(value)}
    else:
        said = {"otel_ml.actual": value}
    attributes = {"otel_ml.judge.name": name, "otel_ml.source": "actual", **said, **about}
    return make_record("evaluation", run, attributes, start_ns=at_ns, end_ns=at_ns)


def make_run(start_ns: int, outputs: Any, model: str = "predict", **tags: str) -> Span:
    attributes = {
        "otel_ml.outputs": json.dumps(outputs),
        **{f"otel_ml.tag.{name}": value for name, value in tags.items()},
    }
    return make_call(model, attributes, start_ns=start_ns, end_ns=start_ns + 10**6)


def foretell() -> list[Foretold]:
    """Make 20 days of predictions; truth arrives after two days, and for one day never."""
    chance = random.Random(7)  # noqa: S311
    foretold = []
    for day in range(DAYS):
        for place in range(PER_DAY):
            start_ns = TODAY_NS - (DAYS - 1 - day) * DAY_NS + place * 60 * SECOND_NS
            p = round(chance.betavariate(1, 2), 3)
            said = "yes" if p > 0.5 else "no"
            run = make_run(start_ns, {"label": said, "p": p}, plan="ab"[place % 2])
            came = "yes" if chance.random() < p else "no"
            is_here = day < DAYS - 3 and day != LOST_DAY
            foretold.append(Foretold(run, day, said, p, came if is_here else None))
    return foretold


FORETOLD: Final = foretell()


def take(service: Service, project: str, spans: Sequence[Span]) -> None:
    service.store.take(project, *spans, now_ns=time.time_ns())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(tmp_path_factory.mktemp("quality")) as service:
        take(service, "churn", [one.run for one in FORETOLD])
        truths = [
            tell(one.run, one.came, one.run.start_ns + 2 * DAY_NS)
            for one in FORETOLD
            if one.came is not None
        ]
        take(service, "churn", truths)
        save(service, "churn")
        yield service


def figures_of(answer: Any) -> dict[str, float]:
    return {one["name"]: one["value"]["value"] for one in answer["figures"] if one["value"]}


@at_night
def test_counts_in_sessions(service: Service) -> None:
    """A measure counts only runs with ground truth, even in sessions that have other runs."""
    said = ["yes", "yes", "no", "no", "no", "yes"] * 20
    came = ["yes", "no", "no", "yes", None, None] * 20
    runs = []
    for place, label in enumerate(said):
        run = make_run(TODAY_NS - HOUR_NS + place * SECOND_NS, {"label": label, "p": 0.5}, team="a")
        runs.append(replace(run, attributes={**run.attributes, "session.id": f"s{place // 6}"}))
    truths = [
        tell(run, value, run.start_ns + SECOND_NS)
        for run, value in zip(runs, came, strict=True)
        if value is not None
    ]
    take(service, "mixed sessions", [*runs, *truths])
    save(service, "mixed sessions")
    answer = get(service, "mixed sessions/targets/churned", last="30d")
    assert (answer["runs"], answer["here"], answer["wrong"]) == (120, 80, 40)
    assert {
        one["name"]: (one["value"]["n"], one["value"]["clusters"]) for one in answer["figures"]
    } == {
        "accuracy": (80, 20),
        "precision": (40, 20),
        "recall": (40, 20),
        "f1": (60, 20),
        "brier": (80, 20),
        "log_loss": (80, 20),
    }
    wrong = get(service, "mixed sessions/runs", where=answer["wrong_where"], limit="1000")
    assert len(wrong["runs"]) == answer["wrong"]


def test_figures(service: Service) -> None:
    """All class figures equal scikit-learn's for the runs with ground truth."""
    answer = get(service, "churn/targets/churned", last="30d")
    here = [one for one in FORETOLD if one.came is not None]
    came, said = [one.came for one in here], [one.predicted for one in here]
    hits = [float(one == "yes") for one in came]
    chances = [one.p for one in here]
    assert (answer["runs"], answer["here"]) == (len(FORETOLD), len(here))
    assert figures_of(answer) == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(came, said),
            "precision": metrics.precision_score(came, said, pos_label="yes"),
            "recall": metrics.recall_score(came, said, pos_label="yes"),
            "f1": metrics.f1_score(came, said, pos_label="yes"),
            "brier": metrics.brier_score_loss(hits, chances),
            "log_loss": metrics.log_loss(hits, chances),
        }
    )
    confusion = {(one["predicted"], one["actual"]): one["runs"] for one in answer["confusion"]}
    table = metrics.confusion_matrix(came, said, labels=["yes", "no"])
    assert confusion == {
        ("yes", "yes"): table[0][0],
        ("no", "yes"): table[0][1],
        ("yes", "no"): table[1][0],
        ("no", "no"): table[1][1],
    }
    classes = {one["name"]: figures_of(one) for one in answer["classes"]}
    assert classes["no"]["f1"] == pytest.approx(metrics.f1_score(came, said, pos_label="no"))
    assert answer["guess"] == "no"
    assert answer["guess_accuracy"] == pytest.approx(came.count("no") / len(came))
    assert sum(one["actual"]["n"] for one in answer["calibration"]) == len(here)


@at_night
def test_coverage(service: Service) -> None:
    """Only the day that lost its ground truth and days that are too recent are marked early."""
    answer = get(service, "churn/targets/churned", last="30d", bucket="day")
    assert answer["delay_s"] == 2 * 86_400
    days = {one["start_time"][:10]: one for one in answer["points"]}
    assert len(days) == DAYS
    early = [one["early"] for one in answer["points"]]
    assert early[LOST_DAY] == "less than usual"
    assert early[-1] == "too young"
    assert set(early[:LOST_DAY]) == {""}
    assert answer["points"][LOST_DAY]["figures"][0] == {"name": "accuracy", "value": None}
    assert answer["points"][0]["coverage"] == 1
    assert [one["share"] for one in answer["course"] if one["age_s"] == 86_400] == [0]
    covered = {one["name"]: (one["runs"], one["predicted"]) for one in answer["classes"]}
    for name, (runs, said) in covered.items():
        own = [one for one in FORETOLD if one.predicted == name]
        assert (runs, said) == (len(own), sum(one.came is not None for one in own))


@at_night
def test_estimate(service: Service) -> None:
    """The expected accuracy equals scikit-learn's isotonic regression over all other days."""
    answer = get(service, "churn/targets/churned", last="30d", bucket="day")

    def expect(known: Sequence[Foretold], asked: Sequence[Foretold]) -> float:
        """Fit the curve to runs grouped by hundredths of confidence, and apply it to others."""
        curve = IsotonicRegression(out_of_bounds="clip").fit(
            *zip(*((sure, right) for sure, right, _ in gather(known)), strict=True),
            sample_weight=[number for *_, number in gather(known)],
        )
        read = [(float(curve.predict([sure])[0]), number) for sure, _, number in gather(asked)]
        return sum(share * number for share, number in read) / len(asked)

    here = [each for each in FORETOLD if each.came is not None]
    waiting = [each for each in FORETOLD if each.came is None]
    assert answer["estimate"] == pytest.approx(expect(here, waiting), rel=1e-9)
    errors = []
    for day, point in enumerate(answer["points"]):
        own = [each for each in FORETOLD if each.day == day]
        rest = [each for each in here if each.day != day]
        assert point["estimate"] == pytest.approx(expect(rest, own), rel=1e-9)
        if not point["early"]:
            came = sum(each.came == each.predicted for each in own) / len(own)
            errors.append(abs(point["estimate"] - came))
    assert answer["estimate_error"] == pytest.approx(sum(errors) / len(errors))
    assert answer["estimate_error"] < 0.1  # with 40 runs a day
    assert {point["estimate"] for point in answer["versions"]} <= {None}


def gather(foretold: Sequence[Foretold]) -> list[tuple[float, float, int]]:
    """Group runs by hundredths of confidence; return mean confidence, share right, and count."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for run in foretold:
        sure = run.p if run.predicted == "yes" else 1 - run.p
        bins.setdefault(min(math.floor(sure * 100), 99), []).append(
            (sure, run.came == run.predicted)
        )
    return [
        (sum(sure for sure, _ in runs) / len(runs), sum(r for _, r in runs) / len(runs), len(runs))
        for runs in bins.values()
    ]


# Predictions and ground truth of four runs, of which three are right; and the name of each class.
SAME: Final[dict[str, tuple[list[Any], list[Any], set[str]]]] = {
    "bools, numbers": ([True, False, True, True], [1, 0, 1, 0], {"true", "false"}),
    "bools, texts": ([True, False, True, True], ["true", "False", "True", "0"], {"true", "false"}),
    "numbers, texts": ([0, 1, 0, 2], ["0", "1", "0.0", "1"], {"0", "1", "2"}),
    "texts, numbers": (["0", "1.0", "0", "2"], [0, 1, 0.0, 1], {"0", "1.0", "2"}),
    "numbers, bools": ([1.0, 0, 1, 1], [True, False, True, False], {"1", "0"}),
    "mixed": ([1, True, "1", "x"], [True, "1", 1.0, 1], {"1", "x"}),
}


@at_night
@pytest.mark.parametrize("kind", [*SAME, "positive"])
def test_classes_of_mixed_types(service: Service, project: str, kind: str) -> None:
    """Classes are compared by meaning: True, 1, 1.0, "true" and "1" are one class, with one row."""
    predicted, actual, names = SAME["bools, numbers" if kind == "positive" else kind]
    chosen = {"positive": "True" if kind == "positive" else "", "probability": ""}
    save(service, project, **chosen)
    runs = [make_run(TODAY_NS + n, {"label": label}) for n, label in enumerate(predicted)]
    truths = [tell(run, value, TODAY_NS + 9) for run, value in zip(runs, actual, strict=True)]
    service.store.take(project, *runs, *truths, now_ns=TODAY_NS + HOUR_NS)
    answer = get(service, f"{project}/targets/churned", last="7d")
    figures = {one["name"]: (one["value"] or {}).get("value") for one in answer["figures"]}
    assert (figures["accuracy"], answer["here"], answer["notes"]) == (0.75, 4, [])
    assert {one["name"] for one in answer["classes"]} == names
    assert sum(one["runs"] for one in answer["confusion"]) == 4
    if kind == "positive":
        assert (figures["precision"], figures["recall"]) == (pytest.approx(2 / 3), 1.0)
    for cell in answer["confusion"]:
        listed = get(service, f"{project}/runs", where=cell["where"])["runs"]
        assert len(listed) == cell["runs"], cell


@at_night
def test_postcodes_stay_different(service: Service, project: str) -> None:
    """Texts that only look like one number are different classes: 01 and 1, 1.10 and 1.1."""
    save(service, project, positive="", probability="")
    runs = [make_run(TODAY_NS + n, {"label": label}) for n, label in enumerate(["01", "1.10", "1"])]
    truths = [
        tell(run, value, TODAY_NS + 9) for run, value in zip(runs, ["1", "1.1", "1"], strict=True)
    ]
    service.store.take(project, *runs, *truths, now_ns=TODAY_NS + HOUR_NS)
    answer = get(service, f"{project}/targets/churned", last="7d")
    assert answer["figures"][0]["value"]["value"] == pytest.approx(1 / 3)


@at_night
def test_numbers_as_texts(service: Service, project: str) -> None:
    """Numbers in texts are numbers; ground truth that is no number is counted and named."""
    save(service, project, kind="number", positive="", probability="")
    outputs = ["3.0", 4, " 5.5 ", True, 7]
    runs = [make_run(TODAY_NS + n, {"label": label}) for n, label in enumerate(outputs)]
    truths = [
        tell(run, value, TODAY_NS + 9)
        for run, value in zip(runs, [3, "4.0", 5.5, 1, "seven"], strict=True)
    ]
    service.store.take(project, *runs, *truths, now_ns=TODAY_NS + HOUR_NS)
    answer = get(service, f"{project}/targets/churned", last="7d")
    assert (answer["figures"][0]["name"], answer["figures"][0]["value"]["value"]) == ("mae", 0.0)
    assert (answer["here"], answer["not_compared"]) == (4, 1)
    assert answer["notes"] == ["The ground truth of 1 run cannot be compared: expected a number"]


@sampled(1)
@pytest.mark.parametrize(
    ("predicted", "actual", "note"),
    [
        (
            [1, 0],
            ["cat", "dog"],
            "The types differ: predictions are numbers, such as 0, and ground truth is text, such "
            "as dog. So accuracy cannot be computed",
        ),
        (
            [["cat"], {"name": "dog"}],
            ["cat", "dog"],
            "The ground truth of 2 runs cannot be compared: expected the same type as the "
            "prediction",
        ),
    ],
    ids=["types", "shapes"],
)
def test_classes_that_cannot_be_compared(
    service: Service, project: str, predicted: list[Any], actual: list[str], note: str
) -> None:
    """Ground truth of another type is named, and is not 0 % right."""
    save(service, project, positive="", probability="")
    runs = [make_run(TODAY_NS + n, {"label": label}) for n, label in enumerate(predicted)]
    truths = [tell(run, value, TODAY_NS + 9) for run, value in zip(runs, actual, strict=True)]
    service.store.take(project, *runs, *truths, now_ns=TODAY_NS + HOUR_NS)
    answer = get(service, f"{project}/targets/churned", last="7d")
    assert answer["figures"] == [{"name": "accuracy", "value": None}]
    assert (answer["wrong"], answer["notes"]) == (None, [note])


@at_night
def test_types_that_differ(service: Service, project: str) -> None:
    """Predictions that are numbers and ground truth that is text have no accuracy anywhere."""
    save(service, project, positive="", probability="")
    wanted = {"when": 'accuracy("churned") < 0.5', "min_runs": 1, "delay": "1m", "every": "1h"}
    rule = make_unsaved(WantedAlert.model_validate(wanted))
    runs, truths = [], []
    start_ns = (time.time_ns() - 3 * HOUR_NS) // HOUR_NS * HOUR_NS
    for place in range(120):
        run = make_run(start_ns + place * SECOND_NS, {"label": place % 2}, client="ab"[place % 2])
        runs.append(run)
        truths.append(tell(run, ("cat", "dog")[place % 2], start_ns + HOUR_NS // 2))

    def check() -> tuple[Any, ...]:
        answer = get(service, f"{project}/targets/churned", last="7d")
        parts = [*answer["points"], *answer["versions"], *answer["classes"], *answer["slices"]]
        figures = [*answer["figures"], *(one for part in parts for one in part["figures"])]
        values = [one["value"] for one in figures if one["value"] is not None]
        slices = get(service, f"{project}/slices", last="24h")["figures"]
        now_ns = time.time_ns()
        past = check_rule(service.store.reader, project, rule, start_ns, now_ns)
        points = [point for point in past.slices[0].points if point.value is not None]
        named = [one["name"] for one in slices if one["name"].startswith("truth")]
        return bool(values), named, bool(points), answer["here"], answer["not_compared"]

    take(service, project, [*runs, *truths])
    assert check() == (False, [], False, 0, 120)
    # One prediction that is text, or one ground truth that is a number, makes them comparable.
    last = make_run(start_ns + HOUR_NS - SECOND_NS, {"label": "cat"}, client="a")
    take(service, project, [last, tell(last, "cat", start_ns + HOUR_NS // 2)])
    assert check() == (True, ["truth churned"], True, 121, 0)


def test_wrong_runs(service: Service) -> None:
    """Wrong runs, and the runs of a cell of the confusion matrix, open as lists."""
    answer = get(service, "churn/targets/churned")
    wrong = [one for one in FORETOLD if one.came not in {None, one.predicted}]
    listed = get(service, "churn/runs", where=answer["wrong_where"], limit="500")["runs"]
    assert {one["run_id"] for one in listed} == {
        f"{one.run.trace_id.hex()}-{one.run.span_id.hex()}" for one in wrong
    }
    assert answer["wrong"] == len(wrong)
    for cell in answer["confusion"]:
        listed = get(service, "churn/runs", where=cell["where"], limit="1000")["runs"]
        assert len(listed) == cell["runs"]


@at_night
def test_wrong_runs_become_items(service: Service) -> None:
    """The list of wrong runs becomes a data set that expects the target's ground truth."""
    project, runs = "items", []
    for place in range(12):
        start_ns = TODAY_NS - DAY_NS + place * 60 * SECOND_NS
        run = make_run(start_ns, {"label": "yes" if place % 2 else "no"}, order=str(place))
        inputs = {"otel_ml.inputs": json.dumps({"visits": place})}
        runs.append(replace(run, attributes={**run.attributes, **inputs}))
    # Every third run has the other class. One is reported by tag, and the last has no truth yet.
    came = {place: "yes" if (place % 2 == 1) != (place % 3 == 0) else "no" for place in range(11)}
    truths = [
        tell(runs[place], value, TODAY_NS, **({"tag": "order=6"} if place == 6 else {}))
        for place, value in came.items()
    ]
    # Each run also has ground truth for something other than this target.
    others = [tell(run, 7.5, TODAY_NS, "minutes") for run in runs]
    take(service, project, [*runs, *truths, *others])
    save(service, project, probability="")
    answer = get(service, f"{project}/targets/churned", last="7d")
    assert (answer["wrong"], answer["here"]) == (4, 11)
    wanted = {"where": answer["wrong_where"], "expected": "actual", "reason": "were wrong"}
    saved = call(service, "POST", f"{project}/datasets/hard/runs", wanted)
    assert saved.status == 200, saved.text
    assert (saved.json["items"], saved.json["left_out"]) == (4, {})
    items = get(service, f"{project}/datasets/hard/versions/1/items")["items"]
    assert {item["inputs"]["visits"]: item["expected"] for item in items} == {
        place: came[place] for place in (0, 3, 6, 9)
    }
    # The runs have several ground truths, and the request does not name one.
    unnamed = {"where": 'model == "predict"', "expected": "actual"}
    refused = call(service, "POST", f"{project}/datasets/any/runs", unnamed)
    assert refused.status == 400
    refusal = 'None of the 12 runs has ground truth named "output"; they have "'
    assert refused.json["error"]["message"].startswith(refusal)
    # If the filter names one, a run that only has another ground truth is left out.
    named = {"where": 'model == "predict" and not truth["churned"] == "?"', "expected": "actual"}
    saved = call(service, "POST", f"{project}/datasets/named/runs", named)
    assert (saved.json["items"], saved.json["left_out"]) == (
        11,
        {"without this ground truth": 1},
    )
    page = ask(service.app, f"/projects/{project}/runs?{urlencode({'where': wanted['where']})}")
    assert 'name="expected" value="actual"' in page.text


@at_night
def test_slice(service: Service) -> None:
    """A filter limits the runs, like a slice."""
    answer = get(service, "churn/targets/churned", where='tags["plan"] == "a"')
    own = [one for place, one in enumerate(FORETOLD) if place % 2 == 0]
    right = [one.predicted == one.came for one in own if one.came is not None]
    assert answer["runs"] == len(own)
    assert figures_of(answer)["accuracy"] == pytest.approx(sum(right) / len(right))


@at_night
def test_versions(service: Service) -> None:
    """Each version of the model has the figures of its own runs only, the newest version first."""
    project = "versions"
    chance = random.Random(11)  # noqa: S311
    # The (predicted, came) pairs of each version's runs with ground truth; version 2 is worse.
    known: dict[int, list[tuple[str, str]]] = {1: [], 2: []}
    spans: list[Span] = []
    for version, runs, right in ((1, 90, 0.9), (2, 60, 0.6)):
        for place in range(runs):
            predicted = chance.choice(["yes", "no"])
            start_ns = TODAY_NS - (4 - version) * DAY_NS + place * 60 * SECOND_NS
            run = make_run(start_ns, {"label": predicted})
            attributes = {**run.attributes, "otel_ml.model.version": f"sha-{version}"}
            run = replace(run, attributes=attributes)
            spans.append(run)
            if place % 3:
                other = "no" if predicted == "yes" else "yes"
                came = predicted if chance.random() < right else other
                spans.append(tell(run, came, start_ns + HOUR_NS))
                known[version].append((predicted, came))
    chance.shuffle(spans)
    for first in range(0, len(spans), 50):
        take(service, project, spans[first : first + 50])
    save(service, project, probability="")
    answer = get(service, f"{project}/targets/churned", last="7d")
    newest, oldest = answer["versions"]
    assert [newest["version"], oldest["version"]] == [2, 1]
    for point, runs in ((newest, 60), (oldest, 90)):
        pairs = known[point["version"]]
        foretold, truths = zip(*pairs, strict=True)
        assert (point["runs"], point["here"]) == (runs, len(pairs)) == (runs, runs * 2 // 3)
        assert point["coverage"] == pytest.approx(2 / 3)
        assert figures_of(point) == pytest.approx(
            {
                "accuracy": metrics.accuracy_score(truths, foretold),
                "precision": metrics.precision_score(truths, foretold, pos_label="yes"),
                "recall": metrics.recall_score(truths, foretold, pos_label="yes"),
                "f1": metrics.f1_score(truths, foretold, pos_label="yes"),
            }
        )
        accuracy = point["figures"][0]["value"]
        assert accuracy["low"] < accuracy["value"] < accuracy["high"]
        where = f"version == {point['version']}"
        narrowed = get(service, f"{project}/targets/churned", last="7d", where=where)
        assert narrowed["figures"] == point["figures"]
        assert [entry["version"] for entry in narrowed["versions"]] == [point["version"]]
    # They differ by more than chance, and the overall accuracy is between them.
    of_newest, of_oldest = newest["figures"][0]["value"], oldest["figures"][0]["value"]
    assert of_newest["high"] < of_oldest["low"]
    assert of_newest["value"] < figures_of(answer)["accuracy"] < of_oldest["value"]


@at_night
def test_worst_slices(service: Service) -> None:
    """Tag values are compared with all other runs with ground truth, the worst value first."""
    project = "slices"
    runs = [
        make_run(
            TODAY_NS - place * 60 * SECOND_NS,
            {"label": "yes"},
            plan="monthly" if place % 4 == 0 else "yearly",
            order=str(place),
        )
        for place in range(160)
    ]
    # Half of the monthly predictions are wrong, and one in twenty of the others.
    wrong = {place for place in range(160) if place % 8 == 0 or place % 20 == 3}
    truths = [
        tell(run, "no" if place in wrong else "yes", TODAY_NS) for place, run in enumerate(runs)
    ]
    take(service, project, [*runs, *truths])
    save(service, project, probability="")
    answer = get(service, f"{project}/targets/churned", slices="true")
    assert [one["name"] for one in answer["slices"]] == ["plan = monthly", "plan = yearly"]
    worst, best = answer["slices"]
    assert (worst["word"], best["word"]) == ("worse", "better")
    assert (worst["here"], worst["value"]["value"]) == (40, 0.5)
    assert worst["rest"]["value"] == best["value"]["value"] == 1 - 8 / 120
    assert worst["low"] < worst["difference"] == 0.5 - (1 - 8 / 120) < worst["high"] < 0
    assert 5 < worst["excess"] < 40 * 0.44
    narrowed = get(service, f"{project}/targets/churned", where=worst["condition"])
    assert narrowed["here"] == 40
    assert get(service, f"{project}/targets/churned")["slices"] == []


@at_night
def test_slices_share_sessions(service: Service) -> None:
    """Sessions with runs inside and outside a slice count as sessions of both."""
    project = "slices-of-sessions"
    runs, truths = [], []
    for place in range(240):
        plan = "monthly" if place % 2 else "yearly"
        start_ns = TODAY_NS - place * 60 * SECOND_NS
        run = make_run(start_ns, {"label": "yes", "y": 10.0}, plan=plan)
        runs.append(replace(run, attributes={**run.attributes, "session.id": f"s{place // 4}"}))
        # Half of the monthly predictions are wrong, and one in twenty of the others.
        is_wrong = place % 4 == 1 or place % 40 == 8
        truths.append(tell(run, "no" if is_wrong else "yes", TODAY_NS))
        truths.append(tell(run, 10.0 + (place % 7) + 3 * (place % 2), TODAY_NS, "price"))
    take(service, project, [*runs, *truths])
    save(service, project, probability="")
    price = {"kind": "number", "prediction": "outputs.y", "probability": "", "positive": ""}
    save(service, project, "price", **price)
    for target in ("churned", "price"):
        worst, best = get(service, f"{project}/targets/{target}", slices="true")["slices"]
        assert (worst["name"], worst["word"]) == ("plan = monthly", "worse")
        assert worst["value"]["clusters"] == worst["rest"]["clusters"] == 60
        # The other runs of each slice are the other slice.
        assert worst["rest"] == pytest.approx(best["value"], abs=1e-9)
        assert best["rest"] == pytest.approx(worst["value"], abs=1e-9)


@at_night
def test_unsaved_target(service: Service) -> None:
    """Ground truth without a prediction target is compared with the whole output."""
    runs = [make_run(TODAY_NS - place * HOUR_NS, "yes", "say") for place in range(4)]
    take(service, "plain", runs)
    truths = [tell(runs[0], "yes", TODAY_NS), tell(runs[1], "no", TODAY_NS)]
    take(service, "plain", truths)
    assert get(service, "plain/targets") == {"targets": [], "truths": ["churned"]}
    answer = get(service, "plain/targets/churned")
    assert (answer["target"]["version"], answer["here"]) == (0, 2)
    assert figures_of(answer) == {"accuracy": 0.5}


@at_night
@pytest.mark.parametrize(
    ("outputs", "truths", "figures"),
    [
        ([{"churned": "yes", "p": 1}, {"churned": "no"}], ["yes", "yes"], {"accuracy": 0.5}),
        ([{"churned": 2.5}, {"churned": 3}], [2.25, 2.75], {"mae": 0.25}),
        ([{"label": "yes"}, {"label": "no"}], ["yes", "yes"], {}),
        ([{"label": 2.5}, {"label": 3}], [2.25, 2.75], {}),
    ],
    ids=["class", "number", "another class", "another number"],
)
def test_part_named_like_the_truth(
    service: Service, project: str, outputs: list[Any], truths: list[Any], figures: dict[str, float]
) -> None:
    """Without a target, the part with the name of the ground truth is the prediction.

    If the outputs have no such part, a note says how to name the part.
    """
    runs = [make_run(TODAY_NS - place * HOUR_NS, out) for place, out in enumerate(outputs)]
    told = [tell(run, truth, TODAY_NS) for run, truth in zip(runs, truths, strict=True)]
    take(service, project, [*runs, *told])
    answer = get(service, f"{project}/targets/churned")
    found = {one["name"]: one["value"]["value"] for one in answer["figures"] if one["value"]}
    assert {name: found.get(name) for name in figures} == figures
    assert bool(answer["notes"]) == (not figures)
    page = ask(service.app, f"/projects/{quote(project)}/targets/churned?last=30d").text
    assert ("Save a prediction target" in page) == (not figures)


@at_night
@pytest.mark.parametrize(
    ("truths", "figures"),
    [
        ([100.5, 104, 98], {"mae": pytest.approx(6.5 / 3)}),
        ([100, 104, 98], {"accuracy": pytest.approx(1 / 3)}),
        ([100.5, "104", 98], {"accuracy": 0}),
    ],
)
def test_unsaved_target_of_numbers(
    service: Service, project: str, truths: list[Any], figures: dict[str, float]
) -> None:
    """Without a target, ground truth with fractions is compared by its error, not by equality."""
    runs = [make_run(TODAY_NS - place * HOUR_NS, out) for place, out in enumerate((100, 101, 101))]
    told = [tell(run, truth, TODAY_NS) for run, truth in zip(runs, truths, strict=True)]
    take(service, project, [*runs, *told])
    answer = get(service, f"{project}/targets/churned")
    assert answer["here"] == 3
    found = figures_of(answer)
    assert {name: found[name] for name in figures} == figures
    page = ask(service.app, f"/projects/{quote(project)}/targets/churned?last=30d").text
    chart = page.partition('class="fig lines"')[2].partition("</figure>")[0]
    labels = re.findall(r'class="y"[^>]*>(.*?)<', chart)
    ticks = [float(re.sub("[%,\u202f]", "", label).replace("−", "-")) for label in labels]
    assert len(ticks) >= 3
    steps = {round(after - before, 9) for before, after in itertools.pairwise(ticks)}
    assert len(steps) == 1
    assert f"{steps.pop():.0e}"[0] in "125"  # round, 2.5 is written as 2
    # Of a single day, the line is as wide as the day.
    [line] = re.findall(r'class="a" d="M([^"]*)"', chart)
    assert all(part.count("L") for part in line.split("M"))


@at_night
def test_newest_truth_holds(service: Service) -> None:
    """The newest of several truths counts, by run, trace key or tag, in any order of arrival."""
    project = "order"
    run = make_run(TODAY_NS - DAY_NS, {"label": "yes"}, order="17")
    at_ns = TODAY_NS - HOUR_NS
    key = quote(run.trace_id.hex())
    take(service, project, [tell(run, "yes", at_ns, tag="order=17")])
    take(service, project, [run])
    save(service, project, probability="")

    def accuracy() -> float | None:
        return figures_of(get(service, f"{project}/targets/churned")).get("accuracy")

    assert accuracy() == 1
    take(service, project, [tell(run, "no", at_ns + 2, trace_key=key)])
    assert accuracy() == 0
    take(service, project, [tell(run, "yes", at_ns + 1)])
    assert accuracy() == 0
    take(service, project, [tell(run, "yes", at_ns + 3)])
    assert accuracy() == 1


def test_numbers(service: Service) -> None:
    """Figures of predicted numbers equal those of scikit-learn. Other predictions are left out.

    The interval of an error is never below 0. The interval of the bias can be.
    """
    said, came = [3.0, 5.5, 7.0, 1.0], [2.5, 5.0, 11.0, 1.5]
    runs = [
        make_run(TODAY_NS - place * HOUR_NS, {"minutes": value}) for place, value in enumerate(said)
    ]
    others = [make_run(TODAY_NS - HOUR_NS, {"minutes": "soon"}), make_run(TODAY_NS, {})]
    take(service, "numbers", [*runs, *others])
    take(
        service,
        "numbers",
        [tell(run, value, TODAY_NS) for run, value in zip(runs, came, strict=True)],
    )
    save(
        service,
        "numbers",
        kind="number",
        prediction="outputs.minutes",
        positive="",
        probability="",
    )
    answer = get(service, "numbers/targets/churned")
    assert answer["runs"] == 4
    assert figures_of(answer) == pytest.approx(
        {
            "mae": metrics.mean_absolute_error(came, said),
            "rmse": metrics.root_mean_squared_error(came, said),
            "bias": -3.5 / 4,
            "r2": metrics.r2_score(came, said),
        }
    )
    lows = {figure["name"]: figure["value"]["low"] for figure in answer["figures"]}
    assert (lows["mae"], lows["bias"] < 0) == (0, True)


def test_rankings(service: Service) -> None:
    """Precision at k is the share of relevant items among the first k of a list."""
    runs = [
        make_run(TODAY_NS - place * HOUR_NS, ["a", "b", "c", "d"], "search") for place in range(3)
    ]
    take(service, "ranks", runs)
    truths: list[Any] = [["b", "d"], "c", ["a", "b"]]
    take(
        service,
        "ranks",
        [tell(run, value, TODAY_NS) for run, value in zip(runs, truths, strict=True)],
    )
    wanted: dict[str, Any] = {"positive": "", "probability": "", "prediction": "outputs", "k": 2}
    save(service, "ranks", model="search", kind="ranking", **wanted)
    answer = get(service, "ranks/targets/churned")
    assert figures_of(answer) == {"precision_at_k": pytest.approx((0.5 + 0 + 1) / 3)}


def test_documents(service: Service) -> None:
    """Prediction targets are saved as versions, listed and deleted."""
    saved = save(service, "kept")
    assert (saved["name"], saved["version"], saved["prediction"]) == ("churned", 1, "outputs.label")
    late = call(service, "PUT", "kept/targets/churned", TARGET, base="0")
    assert late.status == 409
    assert get(service, "kept/targets")["targets"] == [saved]
    assert call(service, "DELETE", "kept/targets/churned").json["version"] == 1
    assert get(service, "kept/targets") == {"targets": [], "truths": []}
    assert call(service, "GET", "kept/targets/churned").status == 404


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"prediction": "inputs.label"}, "outputs.label"),
        ({"prediction": "outputs.label ="}, "Cannot read"),
        ({"kind": "number"}, "only be set for classes"),
        ({"positive": ""}, "expected the positive class"),
        ({"kind": "word"}, "class"),
    ],
)
def test_refused(service: Service, wanted: dict[str, Any], message: str) -> None:
    """An invalid prediction target is refused with the reason."""
    answered = call(service, "PUT", "kept/targets/wrong", {**TARGET, **wanted})
    assert answered.status in {400, 422}
    assert message in answered.text


@at_night
def test_too_many_buckets(service: Service) -> None:
    """More buckets than fit into one answer are refused."""
    answered = call(service, "GET", "churn/targets/churned", last="60d", bucket="hour")
    assert (answered.status, answered.json["error"]["field"]) == (400, "bucket")
