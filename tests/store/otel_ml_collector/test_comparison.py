"""Runs, versions and experiments compared with a baseline, the same in the API and on the page."""

import html
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlencode

import orjson
import pytest
from markdown_it import MarkdownIt

from otel_ml_collector.comparison.find import letter_of
from otel_ml_collector.span import Span, Value
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.store.otel_ml_collector.query.test_version_verdict import PASSED, make_runs
from tests.store.otel_ml_collector.test_experiments import AFTER, BEFORE, make_experiment
from tests.store.otel_ml_collector.test_experiments import make_runs as make_item_runs
from tests.support.otel_ml_collector.asgi import HOST, Answered, ask
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_start,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

MANY: Final = 50
HOSTILE: Final = "<script>alert(1)</script>\"\u202e' & {{ 7 * 7 }}"
# The losses that three trainings logged, in the order of their steps.
LOSSES: Final = {"A": (0.9, 0.4, 0.5), "B": (0.8, 0.3, 0.25), "C": (0.7, 0.6, float("nan"))}


def make_run(number: int, params: object = None, model: str = "train", **told: Value) -> Span:
    start_ns = NOW_NS + number * SECOND_NS
    attributes: dict[str, Value] = {"otel_ml.params": orjson.dumps(params).decode()}
    return make_call(
        model,
        {**(attributes if params is not None else {}), **told},
        trace_id=trace_id(5_000 + number),
        span_id=span_id(5_000 + number),
        start_ns=start_ns,
        end_ns=start_ns + (number % 7 + 1) * SECOND_NS,
    )


def log(run: Span, name: str, values: Sequence[float]) -> Span:
    """Make the record of a metric series with steps from 0."""
    return make_record(
        "update",
        run,
        {
            "otel_ml.metric.names": [name] * len(values),
            "otel_ml.metric.values": [float(one) for one in values],
            "otel_ml.metric.steps": list(range(len(values))),
            "otel_ml.metric.times": [run.start_ns + at * MS_NS for at in range(len(values))],
            "otel_ml.metric.modes": ["append"] * len(values),
        },
        start_ns=run.start_ns,
        end_ns=run.start_ns + 1,
    )


PARAMS: Final = {
    "A": {"rate": 0.1, "optimizer": {"name": "adam", "decay": 0}, "seed": 7},
    "B": {"rate": 0.01, "optimizer": {"name": "adam", "decay": 0}, "seed": 7},
    "C": {"rate": 0.1, "optimizer": {"name": "sgd", "decay": 0}, "seed": 7, "extra": None},
}
TRAININGS: Final = {letter: make_run(at, PARAMS[letter]) for at, letter in enumerate(PARAMS)}
# Equal params from frameworks that log integers as floats or as text.
ALIKE: Final = [
    make_run(60, {"epochs": 3, "rate": 0.1, "sizes": [8, 4], "seed": 1}),
    make_run(61, {"epochs": 3.0, "rate": "0.1", "sizes": [8.0, 4.0], "seed": 2}),
    make_run(62, {"epochs": "3", "rate": 0.1, "sizes": [8, 4.0], "seed": 2}),
]
PLAIN: Final = {
    letter: make_run(
        10 + at,
        model="answer",
        **{
            "otel_ml.inputs": orjson.dumps({"question": "life"}).decode(),
            "otel_ml.outputs": orjson.dumps({"text": text}).decode(),
        },
    )
    for at, (letter, text) in enumerate({"A": "it is 42", "B": "it is 41", "C": "it is 42"}.items())
}
ODD: Final = {
    letter: make_run(20 + at, {HOSTILE: HOSTILE + letter}, model=HOSTILE)
    for at, letter in enumerate("AB")
}
BOOSTED: Final = {letter: make_run(40 + at) for at, letter in enumerate("AB")}
# Metric names as XGBoost and LightGBM log them, and whether lower is better.
BOOSTED_METRICS: Final = {
    "valid-mlogloss": True,
    "valid-merror": True,
    "valid-poisson-nloglik": True,
    "test-rmsle": True,
    "validation_0-logloss": True,
    "multi_logloss": True,
    "valid-auc": False,
    "valid-ndcg": False,
    "valid-map": False,
}
SWEEP: Final = [make_run(100 + at, {"rate": at / 10}, model="sweep") for at in range(MANY)]
EXPERIMENTS: Final = [make_experiment(at) for at in range(2)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector with everything that can be compared."""
    with open_service(tmp_path_factory.mktemp("comparison")) as service:
        take = service.store.take
        take("p", tell("a1"), tell("a1", "exact"))
        for letter, run in TRAININGS.items():
            take("p", run, log(run, "val_loss", LOSSES[letter]), log(run, "epochs", [3]))
        take("p", *ALIKE, *PLAIN.values())
        take("p", *(span for run in ODD.values() for span in (run, log(run, HOSTILE, [1, 2]))))
        for run in BOOSTED.values():
            take("p", run, *(log(run, name, [0.5]) for name in BOOSTED_METRICS))
        take("p", *SWEEP)
        take("p", *(log(run, "loss", [1, 1 / (at + 1)]) for at, run in enumerate(SWEEP)))
        for version, passed in PASSED.items():
            runs = make_runs("answer", version)
            said = [say(run, "a1", float(at < passed)) for at, run in enumerate(runs)]
            take("p", *runs, *said)
        for experiment, signs in zip(EXPERIMENTS, (BEFORE, AFTER), strict=True):
            take("p", experiment, *make_item_runs(experiment, signs))
        yield service


def compare(service: Service, of: Sequence[str], page: bool = False, **asked: Any) -> Answered:
    prefix = "" if page else "/api/v1"
    query = urlencode({"of": list(of), **asked}, doseq=True)
    return ask(service.app, f"{prefix}/projects/p/compare?{query}")


def found(service: Service, of: Sequence[str], **asked: Any) -> Any:
    answer = compare(service, of, **asked)
    assert answer.status == 200, answer.text
    return answer.json


def page(service: Service, of: Sequence[str], **asked: Any) -> str:
    answer = compare(service, of, page=True, **asked)
    assert answer.status == 200, answer.text
    return answer.text


def table(text: str, name: str) -> list[list[str]]:
    """Return the cells of a table on a page, without tags."""
    [body] = re.findall(rf'<table[^>]*id="{name}">(.*?)</table>', text, re.DOTALL)
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", body, re.DOTALL)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    return [[" ".join(re.sub("<[^>]*>", " ", cell).split()) for cell in row] for row in cells]


def ids(spans: dict[str, Span]) -> list[str]:
    return [id_of(one) for one in spans.values()]


@at_night
def test_which_is_better(service: Service) -> None:
    """Losses and errors are recognized by the names that boosted-tree libraries give them."""
    told = found(service, ids(BOOSTED))
    named = {one["name"]: one["lower_is_better"] for one in told["metrics"]}
    assert named == BOOSTED_METRICS


def test_trainings(service: Service) -> None:
    """A comparison of trainings lists params that differ, and best and last metric values."""
    told = found(service, ids(TRAININGS))
    assert (told["kind"], told["baseline"]) == ("run", id_of(TRAININGS["A"]))
    assert told["differing"] == ["rate", "optimizer.name", "extra"]
    assert told["same"] == {"optimizer.decay": 0, "seed": 7}
    assert [side["letter"] for side in told["sides"]] == ["A", "B", "C"]
    assert [one["name"] for one in told["metrics"]] == ["val_loss", "epochs"]
    assert told["metrics"][0] == {
        "name": "val_loss",
        "lower_is_better": True,
        "best": [id_of(TRAININGS["B"])],
    }
    assert told["sides"][0]["metrics"]["val_loss"] == {
        "count": 3,
        "last": 0.5,
        "last_step": 2,
        "low": 0.4,
        "low_step": 1,
        "high": 0.9,
        "high_step": 0,
    }
    assert told["sides"][2]["metrics"]["val_loss"]["last"] is None
    assert told["metrics"][0]["best"] == [ids(TRAININGS)[1]]
    assert parts_of(told["sentence"]) == ["B", "lowest", "0.25", "0.25", "A", "1"]


def test_page_of_trainings(service: Service) -> None:
    """The page has the API's numbers, and names the params that are the same."""
    text = page(service, ids(TRAININGS))
    heads, *rows = table(text, "sides")
    assert heads[:7] == [
        "Run", "rate", "optimizer.name", "extra", "val_loss", "vs A", "lowest @ step",
    ]  # fmt: skip
    assert [row[0].split()[0] for row in rows] == ["A", "B", "C"]
    assert rows[0][1:7] == ["0.1", "adam", "–", "0.50", "–", "0.40 @ 1"]
    assert rows[1][1:7] == ["0.01", "adam", "–", "0.25", "−0.25", "0.25 @ 2"]
    assert rows[2][1:7] == ["0.1", "sgd", "null", "–", "–", "0.60 @ 1"]
    assert found(service, ids(TRAININGS))["sentence"].partition(", 1")[0] in text
    assert ": optimizer.decay 0, seed 7." in text
    assert "baseline" in rows[0][0]
    every = page(service, ids(TRAININGS), all=1)
    assert ["seed", "7", "7", "7"] in table(every, "params")
    assert 'id="params"' not in text


@at_night
def test_params_that_read_alike(service: Service) -> None:
    """*Differences only* leaves out params that are equal as numbers or as text."""
    told = found(service, [id_of(run) for run in ALIKE])
    assert told["differing"] == ["seed"]
    text = page(service, [id_of(run) for run in ALIKE])
    assert ": epochs 3, rate 0.1, sizes [8,4]." in text


def parts_of(sentence: str) -> list[str]:
    """Return the letters, figures and deciding words of a sentence about a comparison."""
    words = r"lowest|highest|worse|better|different|same|(?<=, the )baseline"
    return re.findall(rf"\b(?:[A-Z]{{1,2}}|\d[\d.]*\d|\d|{words})\b", sentence)


def markdown_of(text: str) -> str:
    """Return the text that the page's copy button copies."""
    [told] = re.findall(r'<template id="as-markdown" data-text="(.*?)">', text, re.DOTALL)
    return html.unescape(told)


def cells_of(markdown: str) -> list[list[str]]:
    """Return the table cells of a Markdown text, parsed with a third-party parser."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    rows: list[list[str]] = []
    for at, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        if token.type in {"th_open", "td_open"}:
            inner = tokens[at + 1].children or []
            assert {one.type for one in inner} <= {"text", "text_special"}, token
            rows[-1].append("".join(one.content for one in inner))
    return rows


@at_night
def test_copied_as_markdown(service: Service) -> None:
    """The copied table has the cells of the page, with any markup in names escaped."""
    [heads, *rows] = cells_of(markdown_of(page(service, ids(TRAININGS))))
    assert heads == [
        *("", "run", "rate", "optimizer.name", "extra"),
        *("val_loss", "to A", "epochs", "to A"),
    ]
    assert rows[1][:7] == ["B", "train", "0.01", "adam", "–", "0.25", "−0.25"]
    assert [row[0] for row in rows] == ["A", "B", "C"]
    of = [id_of(one) for one in EXPERIMENTS]
    copied = markdown_of(page(service, of))
    own = found(service, of)["sides"][1]["experiment"]
    assert own["verdict"]["judges"][0]["sentence"] in re.sub(r"\\(.)", r"\1", copied)
    assert f"//{HOST}/projects/p/compare?of={of[0]}&of={of[1]}" in copied


@at_night
def test_another_is_added(service: Service) -> None:
    """The form keeps the current selection, and adds one more."""
    of = ids(TRAININGS)
    text = page(service, of[:2], baseline=of[1], lower="epochs")
    given = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text)
    assert given == [("of", of[0]), ("of", of[1]), ("baseline", of[1]), ("lower", "epochs")]
    assert '<input type="text" name="of" required' in text


def test_other_baseline(service: Service) -> None:
    """Any run can be the baseline, and parameters reverse whether lower is better."""
    of = ids(TRAININGS)
    told = found(service, of, baseline=of[1])
    assert parts_of(told["sentence"]) == ["A", "baseline", "lowest", "0.25"]
    assert table(page(service, of, baseline=of[1]), "sides")[2][5] == "+0.25"
    turned = found(service, of, higher="val_loss")
    assert turned["metrics"][0]["best"] == [of[0]]
    assert parts_of(turned["sentence"]) == ["A", "baseline", "highest", "0.5"]
    alike = found(service, of, metric="epochs")
    assert alike["metrics"][0]["best"] == of
    assert parts_of(alike["sentence"]) == ["A", "baseline", "highest", "3", "B", "C"]
    assert compare(service, of, baseline="answer:v1").json["error"] == {
        "code": "bad_query",
        "message": "Invalid baseline 'answer:v1': expected one of the values of `of`",
        "field": "baseline",
        "column": None,
    }


def test_curves(service: Service) -> None:
    """The page has each curve's API address, and takes the chart's state from its own address."""
    text = page(service, ids(TRAININGS), by="time", scale="log", smooth="0.9")
    [curves] = re.findall('data-curves="([^"]*)"', text)
    told = orjson.loads(curves.replace("&#34;", '"').replace("&amp;", "&"))
    assert [(one["letter"], one["style"]) for one in told] == [
        ("A", "base"),
        ("B", "a"),
        ("C", "d"),
    ]
    for one, values in zip(told, LOSSES.values(), strict=True):
        [series] = ask(service.app, one["source"]).json["series"]
        assert [point["value"] for point in series["points"]] == [
            None if math.isnan(value) else value for value in values
        ]
    assert 'data-by="time" data-scale="log" data-smooth="0.9"' in text
    # A metric with a single point has no curve.
    assert 'data-name="epochs"' not in text


@at_night
def test_fifty_trainings(service: Service) -> None:
    """Fifty trainings are shown in one table, and at most six curves including the baseline's."""
    of = [id_of(run) for run in SWEEP]
    told = found(service, of)
    assert [side["params"]["rate"] for side in told["sides"]] == [at / 10 for at in range(MANY)]
    assert told["metrics"][0]["best"] == [of[-1]]
    assert parts_of(told["sentence"])[:5] == ["AX", "lowest", "0.02", "0.98", "A"]
    assert {side["run"]["inputs"] for side in told["sides"]} == {None}
    text = page(service, of)
    _, *rows = table(text, "sides")
    assert len(rows) == MANY
    assert [row[2] for row in rows] == [f"{1 / (at + 1):.3f}" for at in range(MANY)]
    [curves] = re.findall('data-curves="([^"]*)"', text)
    assert [one["letter"] for one in orjson.loads(curves.replace("&#34;", '"'))] == [
        "A", "AT", "AU", "AV", "AW", "AX",
    ]  # fmt: skip


@at_night
def test_letters() -> None:
    """After Z, letters continue with AA."""
    assert [letter_of(at) for at in (0, 25, 26, 49)] == ["A", "Z", "AA", "AX"]


def test_outputs_side_by_side(service: Service) -> None:
    """Runs whose output differs from the baseline's are shown next to it, line by line."""
    told = found(service, ids(PLAIN))
    assert parts_of(told["sentence"]) == ["B", "different", "A", "C", "same"]
    assert [side["run"]["outputs"]["text"] for side in told["sides"]] == [
        "it is 42", "it is 41", "it is 42",
    ]  # fmt: skip
    text = page(service, ids(PLAIN))
    assert "<del>42</del>" in text
    assert "<ins>41</ins>" in text
    assert text.count("Inputs are the same.") == 1
    assert re.findall(r"\b([A-C]) has the same [^.<]* as ([A-C])\.", text) == [("C", "A")]


@at_night
def test_source_of_runs(service: Service) -> None:
    """For runs of two versions, the page shows the changed source of their model, line by line."""
    made = []
    for place, word in enumerate(("warm", "cold")):
        told: dict[str, Value] = {
            "otel_ml.model.version": f"{place}" * 16,
            "otel_ml.model.definition": orjson.dumps(
                {"source": f"def tell():\n    {word}"}
            ).decode(),
        }
        run = make_run(40 + place, {"rate": 1}, "tell", **told)
        service.store.take("p", run, log(run, "loss", [1, place]))
        made.append(id_of(run))
    text = page(service, made)
    assert "<del>warm</del>" in text
    assert "<ins>cold</ins>" in text
    assert "Compare v1 with v2" in text
    text = page(service, ["tell:v1", "tell:v2"])
    assert text.count("<ins>cold</ins>") == 1
    assert text.count("no judge scored both.") == 1


def test_versions(service: Service) -> None:
    """Two versions have the verdict of the model's page, with the same word and sentence."""
    told = found(service, ["answer:v1", "answer:v2"])
    verdict = ask(service.app, "/api/v1/projects/p/models/answer/versions/2/verdict?against=1").json
    assert told["sides"][1]["version"]["verdict"] == verdict
    assert told["sides"][0]["version"]["verdict"] is None
    assert parts_of(told["sentence"]) == ["B", verdict["word"], "A"]
    assert verdict["word"] == "worse"
    [judge] = verdict["judges"]
    text = page(service, ["answer:v1", "answer:v2"])
    figures = ["69 %", "95 %", "27 pts", "7 to 45 pts", "150 runs", "150"]
    assert re.findall(r"(?<!v)\b\d+(?: to \d+)?(?: %| pts| runs)?", judge["sentence"]) == figures
    _, claim, size = verdict["sentence"].partition(" (")[0].split(": ")
    assert f"B is worse</strong>: {claim}." in text
    assert re.search(rf"{size} \(99 %.* 7 to 45 pts\)", text)
    _, row, *_ = table(text, "judges-B")
    assert row[:3] == ["grounded v1", "95.3 %", "95.3 % → 68.7 %"]
    assert [row[-3], row[-1]] == ["−27 pts", "worse"]


def test_verdict_is_said_once(service: Service) -> None:
    """If judges scored the versions, the page has their verdict once."""
    text = page(service, ["answer:v1", "answer:v2"])
    assert 'id="verdict-B"' in text
    assert 'id="sentence"' not in text
    assert text.count("B is worse</strong>") == 1
    sentence = found(service, ["answer:v1", "answer:v2"])["sentence"]
    assert text.count(sentence) == 1  # in the Markdown to copy


@at_night
def test_versions_turned(service: Service) -> None:
    """Swapping the baseline reverses the sign of the difference."""
    sides = found(service, ["answer:v1", "answer:v2"], baseline="answer:v2")["sides"]
    [judge] = sides[0]["version"]["verdict"]["judges"]
    assert judge["word"] == "better"
    assert judge["difference"]["value"] == pytest.approx(40 / 150, rel=1e-12)
    (other,) = found(service, ["answer:v1", "answer:v2"])["sides"][1]["version"]["verdict"][
        "judges"
    ]
    bounds = (-other["difference"]["high"], -other["difference"]["low"])
    assert (judge["difference"]["low"], judge["difference"]["high"]) == pytest.approx(bounds)


def test_experiments(service: Service) -> None:
    """Two experiments have the verdict of the experiment's page, with the same numbers."""
    of = [id_of(one) for one in EXPERIMENTS]
    told = found(service, of)
    own = ask(service.app, f"/api/v1/projects/p/experiments/{of[1]}?baseline={of[0]}").json
    assert told["kind"] == "experiment"
    assert told["sides"][1]["experiment"] == own
    assert told["sides"][0]["experiment"]["verdict"] is None
    assert told["sentence"] == f"B is {own['verdict']['word']} than the baseline A"
    assert 'id="sentence"' not in page(service, of)
    theirs = ask(service.app, f"/projects/p/experiments/{of[1]}?baseline={of[0]}").text
    ours = page(service, of)
    assert table(ours, "judges-B")[1:] == table(theirs, "judges")[1:]
    assert own["verdict"]["judges"][0]["sentence"].partition(": ")[0] in ours
    alone = own["judges"][0]["value"]
    said = " to ".join(f"{100 * alone[bound]:.1f}" for bound in ("low", "high"))
    assert table(ours, "sides")[2][1] == f"{100 * alone['value']:.1f} % {said}"


@at_night
def test_oldest_is_the_baseline(service: Service) -> None:
    """The oldest is the baseline A, even if it is selected last."""
    of = [id_of(one) for one in reversed(EXPERIMENTS)]
    told = found(service, of)
    assert (told["baseline"], parts_of(told["sentence"])) == (of[1], ["B", "worse", "A"])
    versions = found(service, ["answer:v2", "answer:v1"])
    assert parts_of(versions["sentence"]) == ["B", "worse", "A"]
    assert told["sentence"] in page(service, of)
    turned = found(service, of, baseline=of[0])
    assert parts_of(turned["sentence"]) == ["B", "better", "A"]


def test_baseline_of_experiments(service: Service) -> None:
    """The baseline is the one an experiment names, else the tagged one, else the oldest."""
    first, second, third, tagged = (make_experiment(number) for number in range(60, 64))
    tagged = replace(tagged, attributes={**tagged.attributes, "otel_ml.tag.baseline": True})
    last = make_experiment(64, baseline=id_of(second))
    for one in (first, second, third, tagged, last):
        service.store.take("p", one, *make_item_runs(one, BEFORE))

    def chosen(*of: Span) -> str:
        baseline: str = found(service, [id_of(one) for one in of])["baseline"]
        return baseline

    assert chosen(last, tagged, third, second, first) == id_of(second)
    assert chosen(last, tagged, third, first) == id_of(tagged)
    assert chosen(last, third, first) == id_of(first)
    assert chosen(first, third) == id_of(first)


TOO_FEW: Final = (
    "Invalid parameter 'of': expected 2 to 6 runs, versions or experiments, or up to 50 runs that "
    "logged metrics, found {}"
)


@sampled(3)
@pytest.mark.parametrize(
    ("of", "status", "message"),
    [
        ([], 400, TOO_FEW.format(0)),
        (["answer:v1"], 400, TOO_FEW.format(1)),
        (
            [f"answer:v{at}" for at in range(1, 8)],
            400,
            "Invalid parameter 'of': expected at most 6 versions",
        ),
        ([id_of(run) for run in SWEEP] + ["x:v1"], 400, TOO_FEW.format(51)),
        (["answer:v1", "answer:v1"], 400, "found 'answer:v1' twice"),
        (["answer:v1", "answer"], 400, "Cannot compare 'answer': expected the id of a run or an"),
        (["answer:v1", "answer:v0"], 400, "Cannot compare 'answer:v0'"),
        (["answer:v1", "answer:v9"], 404, "Model 'answer' has no version 9"),
        (["answer:v1", "other:v1"], 404, "Project 'p' has no version of a model 'other'"),
        (["answer:v1", id_of(PLAIN["A"])], 400, "only experiments: answer:v1 is a version"),
        ([id_of(EXPERIMENTS[0]), id_of(PLAIN["A"])], 400, "is an experiment"),
        ([id_of(PLAIN["A"]), f"{'1' * 32}-{'2' * 16}"], 404, f"There is no run {'1' * 32}-"),
        ([id_of(run) for run in [*SWEEP[:6], PLAIN["A"]]], 400, "logged none"),
        (["a" * 2_000, "b"], 400, "of"),
        ([HOSTILE, "answer:v1"], 400, "Cannot compare"),
    ],
)
def test_wrong_words(service: Service, of: list[str], status: int, message: str) -> None:
    """An invalid comparison is refused with one sentence, by the API and on the page."""
    answer = compare(service, of)
    assert answer.status == status, answer.text
    assert message in answer.json["error"]["message"]
    shown = compare(service, of, page=True)
    assert shown.status == status
    assert "<script>alert" not in shown.text


def test_hostile_names(service: Service) -> None:
    """Names of models, params and metrics are escaped on the page."""
    of = ids(ODD)
    told = found(service, of)
    assert told["sides"][0]["params"] == {HOSTILE: HOSTILE + "A"}
    assert told["metrics"][0]["name"] == HOSTILE
    text = page(service, of, metric=HOSTILE)
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert "{{ 7 * 7 }}" in text


@at_night
def test_unknown_metric(service: Service) -> None:
    """A metric that no run logged is refused, and the error lists the logged ones."""
    answer = compare(service, ids(TRAININGS), metric="auc")
    assert (answer.status, answer.json["error"]["field"]) == (400, "metric")
    assert answer.json["error"]["message"] == (
        "Invalid metric 'auc': expected one that was logged ('epochs', 'val_loss')"
    )


@at_night
def test_run_that_goes_on(service: Service) -> None:
    """A run without an end is compared with a finished one."""
    run = make_run(30, {"rate": 1})
    service.store.take("p", make_start(run), log(run, "val_loss", [0.75]))
    told = found(service, [id_of(TRAININGS["A"]), id_of(run)])
    last = told["sides"][1]
    assert last["run"]["outcome"] in {"running", "crashed"}
    assert (last["run"]["latency_ms"], last["metrics"]["val_loss"]["last"]) == (None, 0.75)
    assert parts_of(told["sentence"]) == ["A", "baseline", "lowest", "0.5"]
    assert table(page(service, [id_of(TRAININGS["A"]), id_of(run)]), "sides")[2][-1] == "–"


def test_other_project(service: Service) -> None:
    """A run of another project is not found."""
    query = urlencode({"of": ids(TRAININGS)}, doseq=True)
    assert ask(service.app, f"/api/v1/projects/q/compare?{query}").status == 404
