"""Experiments compared with their baseline: verdict, items, duplicates and unusual input."""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from random import Random
from typing import Any, Final
from urllib.parse import quote

import orjson
import pytest

from otel_ml.statistics.scored_runs import JudgeScore, ScoredRun
from otel_ml.statistics.sentences import write_sentence
from otel_ml.statistics.verdict import compare_items, estimate_judges
from otel_ml_collector.datasets.history import choose_last
from otel_ml_collector.evaluations.experiment_runs import AskedExperiment
from otel_ml_collector.evaluations.experiments import find_experiment, find_experiments
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Span, Value
from otel_ml_collector.store.connection import Memory
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.writer import Writer
from tests.process.otel_ml_collector.api.test_statements import COUNT
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.store.otel_ml_collector.test_datasets import make_item, make_versions
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_start,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

ITEMS: Final = 40
BEFORE: Final = "p" * ITEMS
AFTER: Final = "f" * 12 + "p" * 26 + "xx"  # passed, failed, or the call raised an exception
MARGIN: Final = {"exact": 0.05}
_ARRIVED: Final = re.compile(r'"time":"[^"]+"')


def make_experiment(number: int, version: str = "aa", /, **told: Value) -> Span:
    """Make the run of an experiment with 40 items."""
    attributes: dict[str, Value] = {
        "otel_ml.kind": "experiment",
        "otel_ml.experiment.name": f"try {number}",
        "otel_ml.experiment.dataset": "qa",
        "otel_ml.experiment.dataset.version": "0" * 64,
        "otel_ml.experiment.items": ITEMS,
        "otel_ml.experiment.repeats": 1,
        "otel_ml.params": orjson.dumps(
            {"function": "answer", "version": version, "judges": {"exact": "a1"}}
        ).decode(),
        **{f"otel_ml.experiment.{name}": value for name, value in told.items()},
    }
    return make_call(
        f"try {number}",
        attributes,
        trace_id=trace_id(900 + number),
        span_id=span_id(900 + number),
        start_ns=NOW_NS + number * SECOND_NS,
        end_ns=NOW_NS + number * SECOND_NS + 500 * MS_NS,
    )


def make_item_run(
    experiment: Span, place: int, sign: str, *, repeat: int = 0, after_ns: int = 0
) -> Span:
    """Make a run over an item: `p` passed, `f` failed, `x` call raised, `?` judge raised."""
    number = int.from_bytes(experiment.span_id) * 10_000 + place * 100 + repeat * 10
    digest = make_item({"question": place}, topic=f"t{place // 2}")
    start_ns = experiment.start_ns + (place + 1) * MS_NS + after_ns
    told: dict[str, Value] = {
        "otel_ml.experiment": id_of(experiment),
        "otel_ml.experiment.dataset": "qa",
        "otel_ml.item.id": f"q-{place:03}",
        "otel_ml.item.digest": str(digest.attributes["otel_ml.item.digest"]),
        "otel_ml.item.repeat": repeat,
        "otel_ml.inputs": orjson.dumps({"question": place}).decode(),
        "otel_ml.outputs": orjson.dumps(f"{sign} of {place}").decode(),
        **(
            {"otel_ml.outcome": "error", "error.type": "ValueError"}
            if sign == "x"
            else {
                "otel_ml.judges": '{"exact": {"version": "a1", "error": "it broke"}}'
                if sign == "?"
                else '{"exact": {"version": "a1"}}',
                **(
                    {}
                    if sign == "?"
                    else {
                        "otel_ml.score.exact": float(sign == "p"),
                        "otel_ml.passed.exact": sign == "p",
                    }
                ),
            }
        ),
    }
    return make_call(
        "answer",
        told,
        trace_id=trace_id(number + bool(after_ns)),
        span_id=span_id(number + bool(after_ns)),
        start_ns=start_ns,
        end_ns=start_ns + (20 + place) * MS_NS,
    )


def make_runs(experiment: Span, signs: str, repeat: int = 0) -> list[Span]:
    return [
        make_item_run(experiment, place, sign, repeat=repeat) for place, sign in enumerate(signs)
    ]


def scored(signs: str, clusters: Mapping[int, str] | None = None) -> list[ScoredRun]:
    """Make the runs for the statistics directly, without the collector."""
    return [
        ScoredRun(
            item=f"q-{place:03}",
            digest="d",
            cluster=(clusters or {}).get(place, ""),
            tags={"topic": f"t{place // 2}"},
            is_error=sign == "x",
            scores={}
            if sign == "x"
            else {"exact": JudgeScore(sign == "p", float(sign == "p"), "a1")},
            latency=20.0 + place,
        )
        for place, sign in enumerate(signs)
    ]


FIRST: Final = make_experiment(0)
SECOND: Final = make_experiment(
    1,
    baseline=id_of(FIRST),
    comparison=orjson.dumps({"margin": MARGIN, "cluster": 'tags["topic"]'}).decode(),
)
BROKE: Final = "exact raised an error on 1 run: no score there. The first error: it broke"
ALONE: Final = make_experiment(2, baseline="baseline.jsonl", comparison='["odd"]', items=41)
FLAKY: Final = make_experiment(3, baseline=id_of(FIRST), repeats=2)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A collector with four experiments over the items of one data set."""
    with open_service(tmp_path_factory.mktemp("experiments")) as service:
        items = {
            f"q-{place:03}": make_item({"question": place}, topic=f"t{place // 2}")
            for place in range(ITEMS)
        }
        service.store.take("p", tell("a1"), *items.values(), *make_versions("qa", items))
        service.store.take("p", FIRST, *make_runs(FIRST, BEFORE))
        service.store.take("p", *make_runs(SECOND, AFTER), SECOND)
        again = make_item_run(SECOND, 20, "f", after_ns=300 * MS_NS)  # the first to end counts
        service.store.take("p", again)
        service.store.take("p", ALONE, *make_runs(ALONE, "p" * 38 + "?p"))
        flaky = [*make_runs(FLAKY, BEFORE), *make_runs(FLAKY, "f" + BEFORE[1:], repeat=1)]
        service.store.take("p", FLAKY, *flaky)
        yield service


def get(service: Service, path: str, status: int = 200) -> Any:
    answered = ask(service.app, f"/api/v1/projects/p/experiments{path}")
    assert answered.status == status, answered.text
    return answered.json


def rows_of(service: Service, experiment: Span, query: str = "") -> list[Any]:
    """Read all rows, page by page."""
    rows: list[Any] = []
    cursor = ""
    while True:
        page = get(service, f"/{id_of(experiment)}/rows?limit=17{query}{cursor}")
        rows += page["rows"]
        if page["next_cursor"] is None:
            return rows
        cursor = f"&cursor={page['next_cursor']}"


def numbers(one: Any) -> tuple[float, ...]:
    return tuple(one[name] for name in ("value", "low", "high", "n", "clusters"))


def test_list(service: Service) -> None:
    """Experiments are listed newest first, with their facts and progress."""
    found = get(service, "?limit=3")
    assert [one["name"] for one in found["experiments"]] == ["try 3", "try 2", "try 1"]
    rest = get(service, f"?cursor={found['next_cursor']}")
    assert ([one["name"] for one in rest["experiments"]], rest["next_cursor"]) == (["try 0"], None)
    second = found["experiments"][2]
    known = ("function", "dataset", "items", "repeats", "done", "errors", "doubled", "baseline")
    assert [second[name] for name in known] == [
        *("answer", "qa", ITEMS, 1, ITEMS, 2, 1),
        id_of(FIRST),
    ]
    assert second["comparison"] == {"margin": MARGIN, "cluster": 'tags["topic"]'}
    assert found["experiments"][1]["comparison"] == {}
    filtered = get(service, f"?where={quote('dataset == ')}%22none%22")
    assert filtered["experiments"] == []


def test_verdict_is_that_of_the_statistics(service: Service) -> None:
    """The verdict equals the same statistics computed directly, with the requested options."""
    found = get(service, f"/{id_of(SECOND)}")
    topics = {place: f"t{place // 2}" for place in range(ITEMS)}
    wanted = compare_items(
        scored(BEFORE, topics), scored(AFTER, topics), margin=MARGIN, cluster='tags["topic"]'
    )
    verdict, [judge] = found["verdict"], found["verdict"]["judges"]
    assert (verdict["word"], judge["word"]) == (wanted.word, wanted.judges["exact"].word)
    assert judge["sentence"] == write_sentence(wanted.judges["exact"])
    assert numbers(judge["difference"]) == tuple(
        asdict(wanted.judges["exact"].difference or FIRST).values()
    )
    assert judge["margin"] == MARGIN["exact"]
    [latency] = verdict["amounts"]
    assert latency["name"] == "latency"
    assert numbers(latency["difference"]) == pytest.approx(
        tuple(asdict(wanted.amounts["latency"].difference or FIRST).values())
    )
    assert (verdict["common"], verdict["new"], verdict["gone"]) == (ITEMS, 0, 0)
    assert (verdict["regressions"], verdict["fixed"]) == (len(wanted.regressions), 0)
    [alone] = found["judges"]
    value = estimate_judges(scored(AFTER, topics))["exact"].value
    assert value is not None
    assert numbers(alone["value"]) == tuple(asdict(value).values())
    assert found["notes"] == [
        "2 runs failed, which counts as not passed",
        "1 repeated runs of an item: the first finished one counts",
    ]


@at_night
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_verdict_of_any_order(service: Service, seed: int) -> None:
    """The records give the same verdict in any order, twice, in parts, by two writers."""
    now = make_experiment(21, baseline=id_of(FIRST))
    items = {
        f"q-{place:03}": make_item(
            {"question": place}, None, tell_session(place), topic=f"t{place // 2}"
        )
        for place in range(ITEMS)
    }
    sent = [*items.values(), *make_versions("qa", items), FIRST, *make_runs(FIRST, BEFORE)]
    sent += [now, *make_runs(now, AFTER)]
    project, draw = f"order-{seed}", Random(seed)  # noqa: S311  # not for secrets
    service.store.take(f"{project}-as-sent", tell("a1"), *sent)
    sent += draw.sample(sent, 40)
    draw.shuffle(sent)
    writers = [Writer(service.store.connections) for _ in range(2)]
    writers[0].write(map_spans([tell("a1")], Filing(project, NOW_NS)))
    for first in range(0, len(sent), 30):
        draw.choice(writers).write(map_spans(sent[first : first + 30], Filing(project, NOW_NS)))
    path = f"experiments/{id_of(now)}"
    for one in (path, f"{path}/rows", "datasets/qa/versions/1/items"):
        whole, shuffled = (
            _ARRIVED.sub("", ask(service.app, f"/api/v1/projects/{of}/{one}").text)
            for of in (f"{project}-as-sent", project)
        )
        assert whole == shuffled
    assert "items in 18 sessions" in ask(service.app, f"/api/v1/projects/{project}/{path}").text


@at_night
def test_variability_of_repeats(service: Service) -> None:
    """Repeats of an item that differ are counted, and compared with the baseline's by item."""
    steady = make_experiment(31, items=30, repeats=2)
    unsteady = make_experiment(32, baseline=id_of(steady), items=30, repeats=2)
    for experiment, again in ((steady, "p" * 30), (unsteady, "f" * 15 + "p" * 15)):
        runs = [*make_runs(experiment, "p" * 30), *make_runs(experiment, again, repeat=1)]
        service.store.take("repeats", experiment, *runs, now_ns=NOW_NS + 100 * SECOND_NS)
    path = "projects/repeats/experiments"
    variability = ask(service.app, f"/api/v1/{path}/{id_of(unsteady)}/variability").json
    assert (variability["inputs"], variability["repeated"]) == (30, 60)
    assert (variability["runs"], variability["left_out"]) == (60, {})
    assert variability["differing"]["value"] == variability["agreement"]["value"] == 0.5
    [spread] = variability["spreads"]
    # For half of the items the two scores differ by 1, for the others by 0.
    assert (spread["judge"], spread["spread"]["value"]) == ("exact", 0.5)
    assert variability["word"] == "less steady"
    claim = variability["sentence"].partition(" (")[0]
    assert claim in ask(service.app, f"/{path}/{id_of(unsteady)}").text
    assert ask(service.app, f"/api/v1/{path}/{id_of(steady)}/variability").json["word"] == ""


def test_failed_calls_decide(service: Service) -> None:
    """If every call fails, the API, the page, the list, the report and a comparison say worse."""
    before = make_experiment(41)
    broken = make_experiment(42, "bb", baseline=id_of(before))
    runs = [*make_runs(before, BEFORE), *make_runs(broken, "x" * ITEMS)]
    service.store.take("broken", tell("a1"), before, broken, *runs)
    path = f"projects/broken/experiments/{id_of(broken)}"
    sentence = "all 40 calls fail, none before"
    verdict = ask(service.app, f"/api/v1/{path}").json["verdict"]
    failures, [judge] = verdict["failures"], verdict["judges"]
    assert (verdict["word"], failures["word"], failures["sentence"]) == (*["worse"] * 2, sentence)
    assert (judge["word"], judge["candidate"]["value"]) == ("worse", 0.0)
    asked = f"compare?of={id_of(before)}&of={id_of(broken)}"
    pages = (path, f"{path}/verdict", f"projects/broken/{asked}")
    for page in pages:
        text = ask(service.app, f"/{page}").text
        assert "worse" in text
        assert sentence in text or page == pages[1]
    assert f'<span class="claim">Failed calls: {sentence}.' in ask(service.app, f"/{path}").text
    assert ask(service.app, f"/{path}/markdown").text.startswith("**try 42**: worse than try 41")
    compared = ask(service.app, f"/api/v1/projects/broken/{asked}").json
    assert compared["sides"][1]["experiment"]["verdict"]["failures"] == failures


@at_night
def test_another_baseline(service: Service) -> None:
    """A baseline can be chosen or left out, and a missing one is reported."""
    asked = get(service, f"/{id_of(FIRST)}?baseline={id_of(SECOND)}")
    assert asked["verdict"]["judges"][0]["difference"]["value"] > 0
    assert asked["verdict"]["fixed"] == 14
    assert get(service, f"/{id_of(FIRST)}")["verdict"] is None
    without = get(service, f"/{id_of(SECOND)}?baseline=none")
    assert without["verdict"] is None
    assert not [note for note in without["notes"] if "baseline" in note]
    alone = get(service, f"/{id_of(ALONE)}")
    assert alone["verdict"] is None
    assert alone["judges"][0]["failed"] == 1
    assert alone["notes"] == [
        "40 of 41 runs: missing runs are not counted",
        "The baseline is not stored: baseline.jsonl",
        BROKE,
    ]
    page = f"/projects/p/experiments/{id_of(ALONE)}"
    assert BROKE in ask(service.app, page).text
    assert f"* {BROKE}" in ask(service.app, f"{page}/markdown").text


def test_rows(service: Service) -> None:
    """Items have their runs on both sides, and can be limited to regressions."""
    every = rows_of(service, SECOND)
    assert [row["item"] for row in every] == [f"q-{place:03}" for place in range(ITEMS)]
    assert every[20]["runs"][0]["outputs"] == "p of 20"
    assert [row["state"] for row in every] == [
        "same" if sign == "p" else "regression" for sign in AFTER
    ]
    worse = rows_of(service, SECOND, "&show=regression")
    assert {row["item"] for row in worse} == {
        f"q-{place:03}" for place, sign in enumerate(AFTER) if sign != "p"
    }
    assert [row["item"] for row in worse[:3]] == ["q-038", "q-039", "q-000"]  # failed calls first
    [now], [before] = worse[2]["runs"], worse[2]["baseline"]
    assert (now["scores"]["exact"]["passed"], before["scores"]["exact"]["passed"]) == (False, True)
    failed = rows_of(service, SECOND, "&show=error")
    assert [row["runs"][0]["error_type"] for row in failed] == ["ValueError"] * 2
    assert every[1]["tags"] == {"topic": "t0"}


def judged(place: int, experiment: Span, exact: bool, brief: float) -> Span:
    """Make a run with two judges: one passes or fails it, the other scores it."""
    run = make_item_run(experiment, place, "p" if exact else "f")
    return replace(
        run,
        attributes={
            **run.attributes,
            "otel_ml.judges": '{"exact": {"version": "a1"}, "brief": {"version": "b1"}}',
            "otel_ml.score.brief": brief,
            "otel_ml.passed.brief": brief > 0.75,
        },
    )


# Both judges' results for each item, before and now: exact's verdict and brief's score.
TWO_JUDGES: Final = {
    0: ((True, 1.0), (True, 0.7)),
    1: ((True, 1.0), (False, 1.0)),
    2: ((False, 1.0), (False, 0.2)),
    3: ((True, 1.0), (False, 0.1)),
    4: ((False, 0.3), (True, 0.9)),
    5: ((True, 0.5), (False, 0.9)),
    **dict.fromkeys(range(6, 40), ((True, 1.0), (True, 1.0))),
}


@pytest.fixture(scope="module")
def two_judges(service: Service) -> Span:
    """Return an experiment with a baseline and expected outputs, scored by two judges."""
    first = make_experiment(70)
    now = make_experiment(71, baseline=id_of(first))
    items = [make_item({"question": place}, f"answer {place}") for place in TWO_JUDGES]
    digests = [str(one.attributes["otel_ml.item.digest"]) for one in items]
    spans = [
        replace(run, attributes={**run.attributes, "otel_ml.item.digest": digests[place]})
        for experiment, side in ((first, 0), (now, 1))
        for place, sides in TWO_JUDGES.items()
        for run in (judged(place, experiment, *sides[side]),)
    ]
    service.store.take("two", tell("a1", "exact"), tell("b1", "brief"), *items, first, now, *spans)
    return now


@at_night
def test_rows_name_their_judge(service: Service, two_judges: Span) -> None:
    """A regression names the judges that got worse; the largest drop of the score is first."""
    path = f"/api/v1/projects/two/experiments/{id_of(two_judges)}/rows?show="

    def changes(asked: str) -> list[tuple[str, str]]:
        return [(row["item"], row["change"]) for row in ask(service.app, path + asked).json["rows"]]

    assert changes("regression") == [
        ("q-001", "exact pass → fail"),
        ("q-003", "exact, brief pass → fail"),
        ("q-005", "exact pass → fail"),
        ("q-002", "brief pass → fail"),
        ("q-000", "brief pass → fail"),
    ]
    by_brief = [item for item, _ in changes("regression&judge=brief")]
    assert by_brief == ["q-003", "q-002", "q-000"]
    assert changes("fixed") == [("q-004", "exact, brief fail → pass")]
    assert [item for item, _ in changes("fixed&judge=brief")] == ["q-004", "q-005"]
    [row] = [one for one in ask(service.app, path + "all").json["rows"] if one["item"] == "q-002"]
    assert row["expected"] == "answer 2"
    assert [(one["judge"], one["text"]) for one in row["changes"]] == [
        ("brief", "pass → fail"),
        ("exact", "fail → fail"),
    ]
    [brief, _] = row["changes"]
    assert (brief["score_before"], brief["score_after"], brief["change"]) == (1.0, 0.2, -1.0)


@at_night
def test_page_names_the_judge(service: Service, two_judges: Span) -> None:
    """The page names the judge of each regression, filters by judge, and opens items in place."""
    path = f"/projects/two/experiments/{id_of(two_judges)}"

    def rows(asked: str) -> list[list[str]]:
        text = ask(service.app, path + asked).text
        [body] = re.findall(r'<table[^>]*id="rows">.*?<tbody>(.*?)</table>', text, re.DOTALL)
        cells = [re.findall("<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in body.split("</tr>")]
        return [[re.sub("<[^>]+>", "", cell).strip() for cell in row] for row in cells if row]

    shown = rows("?show=regression")
    assert [row[1:2] + row[4:] for row in shown] == [
        ["answer 1", "exact pass → fail", "1.00 → 0.00"],
        ["answer 3", "exact, brief pass → fail", "1.00 → 0.00"],
        ["answer 5", "exact pass → fail", "1.00 → 0.00"],
        ["answer 2", "brief pass → fail", "1.00 → 0.20"],
        ["answer 0", "brief pass → fail", "1.00 → 0.70"],
    ]
    assert [row[4:] for row in rows("?show=regression&judge=brief")] == [
        ["brief pass → fail", "1.00 → 0.10"],
        ["brief pass → fail", "1.00 → 0.20"],
        ["brief pass → fail", "1.00 → 0.70"],
    ]
    text = ask(service.app, f"{path}?show=regression&item=q-002").text
    assert ">brief 3</a>" in text
    assert ">exact 3</a>" in text
    opened = text.partition('<tr class="in">')
    assert 'aria-current="true"' in opened[0].rpartition("<tr")[2]
    assert "<dt>Expected</dt><dd>answer 2</dd>" in opened[2].partition("</tr>")[0]
    elsewhere = ask(service.app, f"{path}?show=regression&item=q-030").text
    assert "<dt>Expected</dt><dd>answer 30</dd>" in elsewhere
    assert 'class="in"' not in elsewhere


@at_night
def test_rows_without_a_baseline(service: Service) -> None:
    """Without a baseline rows have no state, and are read page by page."""
    rows = rows_of(service, FLAKY, "&baseline=none")
    assert [row["item"] for row in rows] == [f"q-{place:03}" for place in range(ITEMS)]
    assert {row["state"] for row in rows} == {""}
    assert [len(row["runs"]) for row in rows] == [2] * ITEMS
    assert [row["is_flaky"] for row in rows] == [True, *[False] * (ITEMS - 1)]
    assert [row["item"] for row in rows_of(service, FLAKY, "&show=flaky")] == ["q-000"]
    assert get(service, f"/{id_of(FLAKY)}")["flaky"] == 1


@sampled(3)
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/no-id", 400),
        (f"/{'1' * 32}-{'1' * 16}", 404),
        (f"/{id_of(make_item_run(FIRST, 0, 'p'))}", 404),  # a run, not an experiment
        (f"/{id_of(FIRST)}?baseline={id_of(FIRST)}", 400),
        (f"/{id_of(FIRST)}?baseline={'1' * 32}-{'1' * 16}", 404),
        (f"/{id_of(FIRST)}/rows?cursor=none", 400),
        (f"/{id_of(SECOND)}/rows?cursor=WyJhIl0", 400),
        (f"/{id_of(FIRST)}/rows?limit=1001", 400),
        ("?where=%22", 400),
    ],
)
def test_wrong_questions(service: Service, path: str, status: int) -> None:
    """An invalid request is refused with the right status."""
    get(service, path, status)


def test_another_project_has_none(service: Service) -> None:
    """An experiment is found in its own project only."""
    assert ask(service.app, f"/api/v1/projects/q/experiments/{id_of(FIRST)}").status == 404
    assert ask(service.app, "/api/v1/projects/q/experiments").json["experiments"] == []


@sampled(3)
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", ["try 3", "try 0"]),
        (
            f"/{id_of(SECOND)}",
            [
                '<strong class="worse-w">Worse than</strong>',
                "Regressions 14",
                "q-000",
                "−35",
                "Baseline",
            ],
        ),
        (f"/{id_of(SECOND)}?item=q-001&show=all", ["All 40", "Baseline output", "t0"]),
        (f"/{id_of(SECOND)}?item=q-038", ["ValueError"]),
        (f"/{id_of(FLAKY)}?show=flaky", ["Flaky 1", "not enough data"]),
        (f"/{id_of(ALONE)}", ["baseline.jsonl", "40 of 41 runs"]),
    ],
)
def test_pages(service: Service, path: str, said: Sequence[str]) -> None:
    """The pages show the API's data."""
    page = ask(service.app, f"/projects/p/experiments{path}")
    assert page.status == 200, page.text
    for words in said:
        assert words in page.text, words


def test_page_without_a_baseline(service: Service) -> None:
    """Without a baseline, the page shows the pass rate and no verdict."""
    page = ask(service.app, f"/projects/p/experiments/{id_of(SECOND)}?baseline=none").text
    verdict = page.partition('id="verdict"')[2].partition("</p>")[0]
    assert "baseline=" in verdict
    assert "<strong" not in verdict
    assert "65.0" in page
    assert "Regressions" not in page


def test_list_says_the_word(service: Service) -> None:
    """Each row of the list loads the word of its verdict if it has a baseline."""
    page = ask(service.app, "/projects/p/experiments").text
    asked = re.findall(r'hx-get="(/projects/p/experiments/[^"]+/verdict)"', page)
    assert f"/projects/p/experiments/{id_of(SECOND)}/verdict" in asked
    assert f"/projects/p/experiments/{id_of(FIRST)}/verdict" not in asked
    words = {path: ask(service.app, path).text for path in asked}
    assert ">worse<" in words[f"/projects/p/experiments/{id_of(SECOND)}/verdict"]
    assert "–" in words[f"/projects/p/experiments/{id_of(ALONE)}/verdict"]  # it is not stored
    for word in ("not enough data", "no difference"):
        assert max(text.count(word) for text in words.values()) <= 1


def test_more_runs_than_are_looked_at(service: Service) -> None:
    """The newest experiments are loaded up to a limit of runs; the others are left out."""
    [listed] = find_experiments(service.store.reader, "p", NOW_NS, limit=1).experiments
    every = [replace(listed, done=done) for done in (100_000, 200_000, 0, 150_000, 1)]
    found, left_out = choose_last(every)
    assert ([one.done for one in found], left_out) == ([150_000, 100_000], 2)


@at_night
def test_while_it_runs(service: Service) -> None:
    """An unfinished experiment shows its progress."""
    started = replace(make_experiment(7), end_ns=0)
    service.store.take("running", make_start(started, dict(started.attributes)))
    runs = make_runs(make_experiment(7), "ppp")
    service.store.take("running", *runs)
    found = ask(service.app, "/api/v1/projects/running/experiments").json["experiments"]
    assert [(one["done"], one["items"], one["latency_ms"]) for one in found] == [(3, ITEMS, None)]
    page = ask(service.app, f"/projects/running/experiments/{found[0]['run_id']}").text
    assert f"3 of {ITEMS} runs" in page


@at_night
def test_what_is_kept_is_never_old(service: Service) -> None:
    """Cached results never miss a run that arrived, changed or was deleted since.

    Two readers, each with its own cache, are asked in turns.
    """
    project = "kept"
    mine = service.store.reader
    others = copy.copy(mine)
    vars(others)["memory"] = Memory(is_alone=False)
    before, after = make_experiment(1), make_experiment(2, baseline=id_of(make_experiment(1)))
    runs = make_runs(after, AFTER)
    store = service.store
    store.take(project, tell("a1", "exact"), before, after, *make_runs(before, BEFORE), *runs[:30])

    def read() -> tuple[int, int, float | None]:
        """Return the number of runs done, the number of regressions, and the pass rate."""
        told = []
        for reader in (mine, others, mine, others):
            (began,) = reader.rows(COUNT, {})
            found = find_experiment(reader, AskedExperiment(project, id_of(after), NOW_NS))
            (ended,) = reader.rows(COUNT, {})
            asked = ended["queries"] - began["queries"]
            assert found.verdict is not None
            [judge] = found.judges
            value = None if judge.value is None else judge.value.value
            told.append(((found.experiment.done, found.verdict.regressions, value), asked))
        assert told[0][0] == told[1][0] == told[2][0] == told[3][0]
        assert told[2][1] < told[0][1]
        assert told[3][1] < told[1][1]
        return told[0][0]

    assert read() == (30, 12, 18 / 30)
    store.take(project, *runs[30:])
    whole = (40, 14, 26 / 40)
    assert read() == whole
    store.take(project, *runs)  # sent again, nothing changes
    assert read() == whole
    named = {"otel_ml.judge.name": "exact"}
    store.take(project, say(runs[0], "a1", 1.0, more=named))
    assert read() == (40, 13, 27 / 40)
    store.take(project, say(runs[0], "a1", 0.0, after_s=2, more=named))
    assert read() == whole
    doubled = make_item_run(after, 0, "p", after_ns=-MS_NS)  # it ended before the other run
    store.take(project, doubled)
    assert read() == (40, 13, 27 / 40)
    gone = Sql("DELETE FROM runs WHERE project = 'kept' AND lower(hex(span_id)) = {span:String}")
    store.connections.open().command(gone, {"span": doubled.span_id.hex()})
    assert read() == whole


def make_odd(experiment: Span, digests: Sequence[str], seed: int) -> list[Span]:
    """Make runs whose repeats, scores, tokens and failures differ from item to item."""
    draw = Random(seed)  # noqa: S311  # not for secrets
    runs = []
    for place in range(60):
        for repeat in range(2):
            sign = draw.choice("pppfx?")
            run = make_item_run(experiment, place, sign, repeat=repeat)
            told: dict[str, Value] = {
                "otel_ml.item.digest": digests[place],
                "gen_ai.usage.input_tokens": draw.choice([0, 0, 3, 7]),
            }
            if sign != "x":
                told |= {
                    "otel_ml.judges": orjson.dumps(
                        {"exact": {"version": "a1"}, "close": {"version": "c1"}}
                    ).decode(),
                    "otel_ml.score.close": draw.choice([0.1, 1 / 3, 0.7, 2.5]),
                }
            end_ns = run.end_ns + draw.randrange(1, 10**7)
            runs.append(replace(run, end_ns=end_ns, attributes={**run.attributes, **told}))
    return runs


def runs_of(rows: Sequence[Any], side: str, cluster: str) -> list[ScoredRun]:
    """Convert API rows for the statistics; without a cluster tag, sessions are the clusters."""
    return [
        ScoredRun(
            item=row["item"],
            digest=row["digest"],
            cluster=str(row["tags"].get(cluster, "")) if cluster else row["source_session"],
            tags={name: str(value) for name, value in row["tags"].items()},
            is_error=run["outcome"] != "ok",
            scores={
                judge: JudgeScore(one["passed"], one["score"], one["digest"], one["failed"])
                for judge, one in run["scores"].items()
            },
            latency=run["latency_ms"],
            tokens=run["tokens"],
            cost=run["cost"],
        )
        for row in rows
        for run in row[side]
    ]


def tell_session(place: int) -> dict[str, Value]:
    """Return attributes for an item made from a run, for most places with a session."""
    told: dict[str, Value] = {"otel_ml.item.source_run": f"{place:032x}-{place:016x}"}
    return told | ({"otel_ml.item.source_session": f"s{place // 4}"} if place % 5 else {})


@sampled(1)
@pytest.mark.parametrize(
    ("number", "cluster", "has_sessions"),
    [(11, "", False), (13, "page", False), (15, "", True), (17, "page", True)],
)
def test_counted_in_the_store(
    service: Service, number: int, cluster: str, has_sessions: bool
) -> None:
    """Counts from the store give the same digits as the individual rows."""
    project = f"odd-{number}"
    before = make_experiment(number, items=60, repeats=2)
    comparison = {"cluster": f'tags["{cluster}"]' if cluster else "", "lower_is_better": ["close"]}
    after = make_experiment(
        number + 1,
        items=60,
        repeats=2,
        baseline=id_of(before),
        comparison=orjson.dumps(comparison).decode(),
    )
    items = {
        f"q-{place:03}": make_item(
            {"question": place},
            None,
            tell_session(place) if has_sessions else {},
            topic=f"t{place % 3}",
            source="ab"[place % 2],
            page=place // 3,
        )
        for place in range(60)
    }
    digests = [str(one.attributes["otel_ml.item.digest"]) for one in items.values()]
    service.store.take(project, *items.values(), *make_versions("qa", items), before, after)
    for one in (before, after):
        service.store.take(project, *make_odd(one, digests, number + (one is after)))
    path = f"/api/v1/projects/{project}/experiments/{id_of(after)}"
    found = ask(service.app, path).json
    rows = ask(service.app, f"{path}/rows?limit=100").json["rows"]
    sides = [runs_of(rows, side, cluster) for side in ("baseline", "runs")]
    assert [len(side) for side in sides] == [120, 120]
    by = comparison["cluster"] or ("source_session" if has_sessions else "")
    wanted = compare_items(sides[0], sides[1], lower_is_better=["close"], cluster=str(by))
    verdict = found["verdict"]
    assert found["clustered_by"] == by
    words = " clusters by " if cluster else " sessions"
    assert all((words in one["sentence"]) == bool(by) for one in verdict["judges"])
    assert {one["name"]: one["sentence"] for one in verdict["judges"]} == {
        judge: write_sentence(one) for judge, one in wanted.judges.items()
    }
    for one in verdict["judges"]:
        known = wanted.judges[one["name"]]
        estimates = {
            "baseline": known.baseline.estimate,
            "candidate": known.candidate.estimate,
            "difference": known.difference,
        }
        for name, estimate in estimates.items():
            assert numbers(one[name]) == tuple(asdict(estimate or FIRST).values())
    assert {one["name"]: numbers(one["difference"]) for one in verdict["amounts"]} == {
        name: tuple(asdict(one.difference or FIRST).values())
        for name, one in wanted.amounts.items()
    }
    assert {
        (one["tag"], one["value"], one["judge"]): numbers(one["difference"])
        for one in verdict["slices"]
    } == {
        (one.tag, one.value, one.judge): tuple(asdict(one.difference).values())
        for one in wanted.slices
    }
    assert verdict["slices"]
    for show, changes in (("regression", wanted.regressions), ("fixed", wanted.fixed)):
        shown = ask(service.app, f"{path}/rows?limit=100&show={show}").json["rows"]
        assert [row["item"] for row in shown] == [one.item for one in changes]
    assert {row["item"] for row in rows if row["is_flaky"]} == {*wanted.flaky}
    values = estimate_judges(sides[1], lower_is_better=["close"])
    for one in found["judges"]:
        value = values[one["judge"]].value
        assert value is not None
        assert numbers(one["value"]) == tuple(asdict(value).values())
    one_by_one = ask(service.app, f"/projects/{project}/experiments/{id_of(after)}?item=q-059")
    assert one_by_one.status == 200
    assert ("<dt>Clusters</dt>" in one_by_one.text) == bool(by)
    assert (">s14</a>" in one_by_one.text) == has_sessions


@at_night
def test_page_of_a_run_names_its_experiment(service: Service) -> None:
    """The pages of an item's run and of calls inside it name the experiment and data set."""
    experiment = make_experiment(70)
    (run,) = make_runs(experiment, "p")
    below = make_call(
        "search", trace_id=run.trace_id, parent_span_id=run.span_id, start_ns=run.start_ns
    )
    service.store.take("named", experiment, run, below)
    for one in (run, below):
        page = ask(service.app, f"/projects/named/runs/{id_of(one)}").text
        (told,) = re.findall(r"<dt>Experiment</dt><dd>(.*?)</dd>", page)
        assert f'<a href="/projects/named/experiments/{id_of(experiment)}">try 70</a>' in told
        assert ', item q-000 of <a href="/projects/named/datasets/qa">qa</a>' in told


@at_night
def test_calls_inside_runs_have_the_cost(service: Service) -> None:
    """An experiment's tokens and cost include the model calls inside its runs."""
    for number, cost in ((30, 0.01), (31, 0.03)):
        experiment = make_experiment(number)
        runs = make_runs(experiment, BEFORE)
        called = [
            make_call(
                "llm",
                {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.usage.cost": cost,
                    "gen_ai.usage.input_tokens": 100,
                    "otel_ml.experiment": id_of(experiment),
                },
                trace_id=run.trace_id,
                parent_span_id=run.span_id,
                start_ns=run.start_ns,
                end_ns=run.end_ns - MS_NS,
            )
            for run in runs
        ]
        service.store.take("costs", experiment, *runs, *called)
    first, second = (id_of(make_experiment(number)) for number in (30, 31))
    found = ask(service.app, f"/api/v1/projects/costs/experiments/{second}?baseline={first}").json
    assert found["experiment"]["cost"] == pytest.approx(ITEMS * 0.03)
    amounts = {one["name"]: one["difference"]["value"] for one in found["verdict"]["amounts"]}
    assert amounts["cost"] == pytest.approx(3)
    assert amounts["tokens"] == pytest.approx(1)
    listed = ask(service.app, f"/api/v1/projects/costs/experiments/{second}/rows?limit=1").json
    (run,) = listed["rows"][0]["runs"]
    assert (run["tokens"], run["cost"]) == (100, 0.03)
