"""New versions are judged automatically from recorded runs, without any setup, through the API."""

import html
import json
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

import pytest

from otel_ml_collector.assistants.protocol import answer
from otel_ml_collector.span import Span
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import MS_NS, SECOND_NS, id_of, make_call, make_span
from tests.support.otel_ml_collector.stores import Service, Store, open_service
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

MINUTE_NS: Final = 60 * SECOND_NS
HOUR_NS: Final = 60 * MINUTE_NS
BEGAN_NS: Final = time.time_ns() // HOUR_NS * HOUR_NS - 6 * HOUR_NS
RUNS: Final = 800


def make_runs(
    model: str,
    version: str,
    rate: float,
    *,
    seed: int,
    first_ns: int,
    step_ns: int,
    runs: int = RUNS,
    **attributes: Any,
) -> list[Span]:
    """Make runs that a judge scored, with a pass rate of about `rate`."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    spans = []
    for place in range(runs):
        start_ns = first_ns + place * step_ns
        run = make_call(
            model,
            {
                "otel_ml.model.version": version,
                "otel_ml.model.output_schema": "s",
                "otel_ml.outputs": '{"text": "yes"}',
                **{name: tell_of(place) for name, tell_of in attributes.items()},
            },
            start_ns=start_ns,
            end_ns=start_ns + (100 + place * 7 % 91) * MS_NS,
        )
        spans += [run, say(run, "a1", float(draw.random() < rate))]
    return spans


def make_release(model: str, now: float, *, seed: int = 1, **attributes: Any) -> list[Span]:
    """Make 800 runs of the version before a release, and 800 of the version it introduced."""
    before = make_runs(
        model,
        "v1",
        0.9,
        seed=seed,
        first_ns=BEGAN_NS - 20 * HOUR_NS,
        step_ns=MINUTE_NS,
        **attributes,
    )
    after = make_runs(
        model,
        "v2",
        now,
        seed=seed + 1,
        first_ns=BEGAN_NS,
        step_ns=20 * SECOND_NS,
        **attributes,
    )
    return [*before, *after]


def take(store: Store, project: str, spans: Sequence[Span]) -> None:
    for first in range(0, len(spans), 500):
        store.take(project, *spans[first : first + 500], now_ns=time.time_ns())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector with a worse version, and with one that is not worse."""
    with open_service(tmp_path_factory.mktemp("releases")) as service:
        take(service.store, "releases", [tell("a1"), *make_release("answer", 0.7)])
        take(service.store, "releases", make_release("chat", 0.9, seed=3))
        yield service


def get(service: Service, path: str, project: str = "releases") -> Any:
    """Return an answer of the API. On a busy machine, a query can exceed its time limit once."""

    def try_once() -> Any:
        answered = ask(service.app, f"/api/v1/projects/{project}/{path}")
        return None if answered.status == 503 else answered.json

    return wait_until(try_once, about=f"an answer of {path}")


def test_worse(service: Service) -> None:
    """A version with fewer passing runs is worse; its sentence has the difference and the time."""
    (release,) = get(service, "models/answer/release")["releases"]
    assert (release["word"], release["dimension"]) == ("worse", "version")
    assert release["candidate"] == {
        "name": "answer:v2",
        "version": 2,
        "where": 'model == "answer" and version == 2',
        "runs": RUNS,
    }
    assert (release["baseline"]["name"], release["baseline"]["runs"]) == ("answer:v1", RUNS)
    first = release["figures"][0]
    assert (first["name"], first["word"], first["judge_version"]) == ("grounded", "worse", "a1")
    assert first["since"] == release["since"]
    assert release["sentence"] == f"grounded: {first['sentence']}"
    assert "pts worse" in first["sentence"]
    others = {item["name"]: item["word"] for item in release["figures"][1:]}
    assert others == {
        "errors": "no difference",
        "missing outputs": "no difference",
        "latency": "no difference",
    }


@at_night
def test_labels_of_one_version(service: Service) -> None:
    """Reviewers' labels of only the new version are not a judge that misses the baseline."""
    spans = [tell("a1"), *make_release("labelled", 0.9)]
    take(service.store, "labelled", spans)
    queue = {"judge": "tone", "labels": [{"label": "Good", "passed": True}], "people": 1}
    newest = next(span for span in reversed(spans) if span.name == "labelled")
    answer = {"run_id": id_of(newest), "label": "Good", "annotator": "mira"}
    for method, path, body in (("PUT", "queues/q", queue), ("POST", "queues/q/answers", answer)):
        answered = ask(
            service.app,
            f"/api/v1/projects/labelled/{path}",
            method=method,
            headers={"content-type": "application/json"},
            body=[json.dumps(body).encode()],
        )
        assert answered.status == 200
    (release,) = get(service, "models/labelled/release", "labelled")["releases"]
    names = {figure["name"] for figure in release["figures"]}
    assert names == {"grounded", "errors", "missing outputs", "latency"}


def test_found_unasked(service: Service) -> None:
    """The worse version is among the project's findings; the other new version is not."""
    findings = [item for item in get(service, "findings")["findings"] if item["kind"] == "release"]
    (finding,) = findings
    assert finding["where"].startswith('model == "answer" and version == 2 and passed["grounded"]')
    assert (finding["version"], finding["baseline"], finding["measured"]) == (2, 1, "grounded")
    now, before = (int(share) for share in re.findall(r"(\d+) %", finding["sentence"]))
    assert now < before
    runs, difference, *_ = finding["evidence"].rstrip(".").split(". ")
    assert re.findall(r"\b800\b", runs) == ["800", "800"]
    assert re.search(r'"grounded".*: −\d+ pts \(99 %.* −\d+ to −\d+\)', difference)
    command = (
        "otel-ml evaluate FILE.py:answer --dataset NAME --judge FILE.py:JUDGE --baseline answer:v1"
    )
    assert findings[0]["command"] == command
    page = ask(service.app, "/projects/releases/monitor/findings").text
    (address,) = re.findall(rf'<p><a href="([^"]*)">{finding["title"]}</a>', page)
    problem = ask(service.app, html.unescape(address)).text
    assert f"<code>{command}</code>" in problem


def test_undecided_version_is_named(service: Service) -> None:
    """The list of new versions names a version without enough data."""
    newest = get(service, "overview")["newest_versions"]
    (claim,) = [one["claim"] for one in newest if one["model"] == "chat"]
    news = ask(service.app, "/projects/releases/news").text
    assert f">{html.escape(claim)}" in news.replace("\u202f", " ")


@at_night
def test_model_page(service: Service) -> None:
    """A model's page starts with the verdict, and links to the runs behind a worse one."""
    parts = {}
    for model in ("answer", "chat"):
        page = ask(service.app, f"/projects/releases/models/{model}").text
        (address,) = re.findall(r'hx-get="([^"]*model-verdict[^"]*)"', page)
        parts[model] = ask(service.app, html.unescape(address)).text
    findings = get(service, "findings")["findings"]
    (sentence,) = [item["sentence"] for item in findings if item["kind"] == "release"]
    shown = re.sub("<[^>]*>", "", html.unescape(parts["answer"])).replace("\u202f", " ")
    assert sentence in shown
    assert get(service, "models/chat/release")["releases"][0]["word"] == "not enough data"
    assert re.search("<strong>Not enough data [^<]*chat v2[^<]*</strong>", parts["chat"])
    (opened,) = re.findall(r'<a href="([^"]*)">Show runs</a>', html.unescape(parts["answer"]))
    runs = ask(service.app, opened.replace("/projects", "/api/v1/projects") + "&limit=1000")
    (release,) = get(service, "models/answer/release")["releases"]
    failed = RUNS * (1 - release["figures"][0]["candidate"]["value"])
    assert len(runs.json["runs"]) == pytest.approx(failed, abs=0.5)
    (opened,) = re.findall(r'<a href="([^"]*)">Open the problem</a>', parts["answer"])
    problem = ask(service.app, opened).text
    assert sentence.partition(": ")[0] in problem
    assert 'class="iv worse"' in problem
    (alert,) = re.findall(r'<a href="([^"]*)">Alert on this</a>', html.unescape(parts["answer"]))
    assert ask(service.app, alert).status == 200
    (label,) = re.findall(r'<a href="([^"]*)">Label these</a>', html.unescape(parts["answer"]))
    assert ask(service.app, label).status == 200
    assert "<p" not in ask(service.app, "/projects/releases/newest-verdict?model=answer").text
    assert "<p" not in ask(service.app, "/projects/releases/newest-verdict?model=none").text


def test_one_verdict(service: Service) -> None:
    """The API, the model's page and the overview show the release's verdict."""
    (release,) = get(service, "models/answer/release")["releases"]
    verdict = get(service, "models/answer/versions/2/verdict?against=1")
    assert (verdict["basis"], verdict["word"]) == ("release", release["word"])
    assert verdict["sentence"] == release["sentence"]
    named = {one["name"]: one["sentence"] for one in verdict["judges"]}
    named |= {one["name"]: one["sentence"] for one in verdict["amounts"]}
    figures = {one["name"]: one["sentence"] for one in release["figures"]}
    assert named == {name: figures[name] for name in ("grounded", "latency")}
    query = "model=answer&version=2&against=1"
    table = html.unescape(ask(service.app, f"/projects/releases/model-verdict?{query}").text)
    table = table.replace("\u202f", " ")
    assert "answer v2 is worse</strong>" in table
    assert figures["grounded"].partition(",")[0] in table
    assert verdict["heading"] in table
    assert verdict["heading"].startswith("answer:v2 vs answer:v1: ")
    findings = get(service, "overview")["findings"]
    (worse,) = [one for one in findings if one["subject"] == "answer:v2"]
    assert (worse["word"], worse["sentence"]) == ("worse", release["sentence"])
    newest = get(service, "overview")["newest_versions"]
    words = {one["model"]: (one["word"], one["sentence"]) for one in newest}
    assert words["answer"] == ("worse", release["sentence"])
    (shown,) = [one["claim"] for one in newest if one["model"] == "answer"]
    assert shown in re.sub("<[^>]*>", "", table)
    assert words["chat"][0] == "not enough data"


@at_night
def test_mirrored_release(service: Service) -> None:
    """If the two versions are swapped, the verdict and its figures are mirrored."""
    forward = get(service, "models/answer/versions/2/verdict?against=1")
    verdict = get(service, "models/answer/versions/1/verdict?against=2")
    assert (verdict["basis"], verdict["word"]) == ("release", "better")
    assert verdict["heading"] == forward["heading"].replace(
        "answer:v2 vs answer:v1", "answer:v1 vs answer:v2"
    )
    (judge,), (mirrored,) = forward["judges"], verdict["judges"]
    assert (judge["baseline"], judge["candidate"]) == (mirrored["candidate"], mirrored["baseline"])
    assert [mirrored["difference"][end] for end in ("value", "low", "high")] == [
        -judge["difference"][end] for end in ("value", "high", "low")
    ]


@at_night
def test_page_shows_the_baseline_of_the_release(service: Service) -> None:
    """Without a chosen pair, the model's page compares with the version that had the most runs."""
    spans = make_release("third", 0.9, seed=41)
    middle = make_runs(
        "third", "v3", 0.9, seed=43, first_ns=BEGAN_NS + HOUR_NS, step_ns=20 * SECOND_NS, runs=40
    )
    few = make_runs("third", "v2", 0.9, seed=42, first_ns=BEGAN_NS, step_ns=20 * SECOND_NS, runs=40)
    take(service.store, "third", [tell("a1"), *spans[: 2 * RUNS], *few, *middle])
    (release,) = get(service, "models/third/release", "third")["releases"]
    assert (release["candidate"]["name"], release["baseline"]["name"]) == ("third:v3", "third:v1")
    page = ask(service.app, "/projects/third/models/third").text
    (address,) = re.findall(r'hx-get="([^"]*model-verdict[^"]*)"', page)
    part = ask(service.app, html.unescape(address)).text
    assert "v3 vs v1</h2>" in part
    assert "third:v3 vs third:v1: " in part
    chosen = ask(service.app, "/projects/third/models/third?from=2&to=3").text
    (address,) = re.findall(r'hx-get="([^"]*model-verdict[^"]*)"', chosen)
    assert "third:v3 vs third:v2: " in ask(service.app, html.unescape(address)).text


@at_night
def test_a_single_run(service: Service) -> None:
    """With one run on a side only counts are shown, without an interval or latency."""
    before = make_runs(
        "one", "v1", 0.9, seed=1, first_ns=BEGAN_NS - 20 * HOUR_NS, step_ns=MINUTE_NS, runs=514
    )
    after = make_runs("one", "v2", 0.0, seed=2, first_ns=BEGAN_NS, step_ns=MINUTE_NS, runs=1)
    take(service.store, "one", [tell("a1"), *before, *after])
    (release,) = get(service, "models/one/release", "one")["releases"]
    figures = {
        one["name"]: re.findall(r"\d+ of \d+|v\d", one["sentence"]) for one in release["figures"]
    }
    assert figures == {
        "errors": ["0 of 1", "v1", "0 of 514"],
        "missing outputs": ["0 of 1", "v1", "0 of 514"],
        "grounded": ["0 of 1", "v1", "463 of 514"],
    }
    verdict = get(service, "models/one/versions/2/verdict?against=1", "one")
    assert (release["word"], verdict["word"], verdict["amounts"]) == (
        "not enough data",
        "not enough data",
        [],
    )
    page = ask(service.app, "/projects/one/model-verdict?model=one&version=2&against=1").text
    assert "0 of 1 run passed; v1: 463 of 514" in page


@at_night
def test_cost_of_calls_inside(service: Service) -> None:
    """A version that costs three times as much is worse, even if only inner calls have costs."""
    spans = []
    for version, cost, first_ns in (
        ("v1", 0.01, BEGAN_NS - 20 * HOUR_NS),
        ("v2", 0.03, BEGAN_NS),
    ):
        for run in make_runs(
            "dear", version, 1.0, seed=3, first_ns=first_ns, step_ns=20 * SECOND_NS, runs=400
        )[::2]:
            chain = make_call(
                "chain",
                {"otel_ml.kind": "chain"},
                trace_id=run.trace_id,
                parent_span_id=run.span_id,
                start_ns=run.start_ns,
                end_ns=run.end_ns,
            )
            called = make_call(
                "llm",
                {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.usage.cost": cost,
                    "gen_ai.usage.input_tokens": 100,
                },
                trace_id=run.trace_id,
                parent_span_id=chain.span_id,
                start_ns=run.start_ns,
                end_ns=run.end_ns - MS_NS,
            )
            spans += [run, chain, called]
    take(service.store, "dear", spans)
    (release,) = [
        one
        for one in get(service, "models/dear/release", "dear")["releases"]
        if one["dimension"] == "version"
    ]
    figures = {one["name"]: one for one in release["figures"]}
    assert (release["word"], figures["cost"]["word"]) == ("worse", "worse")
    assert figures["cost"]["difference"]["value"] == pytest.approx(3, rel=0.03)
    assert figures["tokens"]["difference"]["value"] == pytest.approx(1, rel=0.001)


@at_night
def test_quality_comes_before_tokens(service: Service) -> None:
    """If pass rate and tokens got worse, the pass rate decides, however certain tokens are."""
    spans = [tell("a1")]
    for version, rate, tokens, age_ns in (
        ("v1", 0.9, 100, 20 * HOUR_NS),
        ("v2", 0.75, 130, 0),
    ):
        used: dict[str, Any] = {
            "gen_ai.usage.input_tokens": lambda place, tokens=tokens: tokens + place % 3
        }
        first_ns = BEGAN_NS - age_ns
        spans += make_runs(
            "wordy", version, rate, seed=tokens, first_ns=first_ns, step_ns=20 * SECOND_NS, **used
        )
    take(service.store, "wordy", spans)
    (release,) = get(service, "models/wordy/release", "wordy")["releases"]
    assert [(one["name"], one["word"]) for one in release["figures"][:2]] == [
        ("grounded", "worse"),
        ("tokens", "worse"),
    ]
    assert release["sentence"].startswith("grounded: ")
    (finding,) = [
        one for one in get(service, "findings", "wordy")["findings"] if one["kind"] == "release"
    ]
    assert finding["sentence"].startswith("wordy v2 is worse: ")


@at_night
def test_evidence_counts_scored_runs(service: Service) -> None:
    """The evidence counts the scored runs, on which the pass rates in its sentence are based."""
    spans = make_release("partly", 0.7, seed=9)
    scores = [span for span in spans if "otel_ml.record" in span.attributes]
    unscored = {id(span) for span in scores[::4]}
    kept = [span for span in spans if id(span) not in unscored]
    take(service.store, "partly", [tell("a1"), *kept])
    (release,) = get(service, "models/partly/release", "partly")["releases"]
    (finding,) = [
        item for item in get(service, "findings", "partly")["findings"] if item["kind"] == "release"
    ]
    figure = release["figures"][0]
    counts = figure["baseline"]["n"], figure["candidate"]["n"]
    assert counts == (RUNS * 3 // 4, RUNS * 3 // 4)
    assert re.search(rf"\b{counts[0]} .* v1, {counts[1]} .*v2\b", finding["evidence"])


@at_night
def test_errors_alone_say_nothing_about_answers(service: Service) -> None:
    """Without a judge, a version is not called equally good only because its calls do not fail."""
    plain = [span for span in make_release("plain", 0.9) if "otel_ml.record" not in span.attributes]
    take(service.store, "plain", plain)
    (release,) = get(service, "models/plain/release", "plain")["releases"]
    assert release["word"] == "no difference"
    page = html.unescape(
        ask(
            service.app, "/projects/plain/model-verdict?model=plain&version=2&against=1&default=1"
        ).text
    )
    assert "grounded" not in {figure["name"] for figure in release["figures"]}
    assert "no judge scored both" in page
    assert page.count("800 runs with v1, 800 with v2") == 1


def test_young_version(service: Service) -> None:
    """A version that has just started is compared at once."""
    now_ns = time.time_ns()
    ages = (("v1", 0.9, 20 * HOUR_NS), ("v2", 0.7, 10 * SECOND_NS))
    spans = [
        make_runs("young", version, rate, seed=1, first_ns=now_ns - age_ns, step_ns=MS_NS, runs=100)
        for version, rate, age_ns in ages
    ]
    take(service.store, "young", [tell("a1"), *spans[0], *spans[1]])
    (release,) = get(service, "models/young/release", "young")["releases"]
    assert release["word"] == "not enough data"
    missing = r"grounded: not enough data: about \d+ more runs with v2 \("
    assert re.match(missing, release["sentence"])
    assert (release["baseline"]["runs"], release["candidate"]["runs"]) == (100, 100)


def test_watching(service: Service) -> None:
    """For a version that is not worse, the sentence has the runs needed to see a smaller change."""
    (release,) = get(service, "models/chat/release")["releases"]
    grounded = next(item for item in release["figures"] if item["name"] == "grounded")
    assert (release["word"], grounded["word"]) == ("not enough data", "not enough data")
    assert re.search(r"\b\d+ pts\b", grounded["sentence"])


@at_night
def test_any_order_twice(service: Service) -> None:
    """The same runs, delivered twice and in another order, give the same answer."""
    spans = [tell("a1"), *make_release("answer", 0.7)]
    shuffled = [*spans, *spans]
    random.Random(5).shuffle(shuffled)  # noqa: S311 - not for secrets
    take(service.store, "ordered", spans)
    take(service.store, "shuffled", shuffled)
    answers = [get(service, "releases", project) for project in ("ordered", "shuffled")]
    assert answers[0]["releases"][0]["word"] == "worse"
    assert answers[0] == answers[1]


@at_night
def test_provider_model(service: Service) -> None:
    """An LLM that changed without a new version is also compared."""
    names = {True: "gpt-4o-08", False: "gpt-4o-11"}
    spans = [
        replace(
            span,
            attributes={
                **span.attributes,
                "otel_ml.model.version": "v1",
                "gen_ai.request.model": names[span.start_ns < BEGAN_NS],
            },
        )
        if "otel_ml.model.version" in span.attributes
        else span
        for span in make_release("answer", 0.7)
    ]
    take(service.store, "provider", [tell("a1"), *spans])
    (release,) = get(service, "releases", "provider")["releases"]
    assert (release["dimension"], release["word"]) == ("provider_model", "worse")
    assert (release["baseline"]["name"], release["candidate"]["name"]) == ("gpt-4o-08", "gpt-4o-11")
    assert release["candidate"]["where"] == 'model == "answer" and provider_model == "gpt-4o-11"'


@at_night
@pytest.mark.parametrize(
    ("project", "requested", "function"),
    [
        ("unanswered", "gpt-4o", {}),
        ("unanswered function", "gpt-4o", {"otel_ml.model.name": "ask"}),
        (
            "unanswered latest",
            "openai/gpt-4o-latest",
            {"otel_ml.model.name": "ask"},
        ),
    ],
)
def test_failed_calls_name_no_llm(
    service: Service, project: str, requested: str, function: dict[str, str]
) -> None:
    """Failed calls that only have the requested LLM are not compared as a separate LLM."""
    spans = []
    for place in range(300):
        has_failed = place > 200 and place % 2 == 0
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": requested}
        if not has_failed:
            attributes["gen_ai.response.model"] = "gpt-4o-2024-08-06"
        start_ns = BEGAN_NS + place * SECOND_NS
        span = make_span(f"chat {requested}", {**attributes, **function}, start_ns=start_ns)
        spans.append(replace(span, status_code=2) if has_failed else span)
    take(service.store, project, spans)
    assert get(service, "releases", project.replace(" ", "%20"))["releases"] == []
    slices = get(service, "slices", project.replace(" ", "%20"))
    assert slices["runs"] == 300
    assert f"provider_model = {requested}" not in [item["name"] for item in slices["slices"]]


@at_night
def test_failing_llm_stays(service: Service) -> None:
    """An LLM whose calls all fail is compared, unless its name is the short name of another LLM."""
    spans = []
    for place in range(300):
        has_failed = place > 200 and place % 2 == 0
        name = "gpt-4o" if has_failed else "gpt-4o-mini-2024-07-18"
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.response.model": name}
        function = {"otel_ml.model.name": "ask"}
        span = make_span("chat", {**attributes, **function}, start_ns=BEGAN_NS + place * SECOND_NS)
        spans.append(replace(span, status_code=2) if has_failed else span)
    take(service.store, "failing", spans)
    slices = get(service, "slices", "failing")
    assert "provider_model = gpt-4o" in [item["name"] for item in slices["slices"]]


@at_night
def test_another_mix_of_clients(service: Service) -> None:
    """If each client is unchanged, more runs of the worst client do not make a version worse."""
    spans = [tell("a1")]
    for version, share, first_ns in (
        ("v1", 10, BEGAN_NS - 20 * HOUR_NS),
        ("v2", 2, BEGAN_NS),
    ):
        for client, rate in (("good", 0.97), ("bad", 0.5)):
            runs = 2 * RUNS // share if (client == "bad") else 2 * RUNS - 2 * RUNS // share
            spans += make_runs(
                "answer",
                version,
                rate,
                seed=share + len(client),
                first_ns=first_ns + len(client) * SECOND_NS,
                step_ns=5 * HOUR_NS // runs,
                runs=runs,
                **{"otel_ml.tag.client": lambda _, client=client: client},
            )
    take(service.store, "mix", spans)
    (release,) = get(service, "releases", "mix")["releases"]
    assert (release["stratum"], release["word"]) == ("client", "not enough data")
    grounded = next(item for item in release["figures"] if item["name"] == "grounded")
    # Of all runs, 92 % passed before and 74 % pass now: only the mix changed.
    assert grounded["candidate"]["value"] == pytest.approx(grounded["baseline"]["value"], abs=0.03)


def make_conversations(version: str, first_ns: int, sessions: int = 200) -> list[Span]:
    """Make sessions with turns 3 minutes apart, and a tag that may change between turns.

    One session in ten has five questions, and the fourth of them fails. No other call fails.
    """
    spans = []
    for session in range(sessions):
        kind = session % 10
        turns = ["greet"] if kind < 2 else ["ask"] * 5 if kind == 2 else ["greet", *["ask"] * 4]
        for turn, intent in enumerate(turns):
            start_ns = first_ns + session * 90 * SECOND_NS + turn * 3 * MINUTE_NS
            run = make_call(
                "bot",
                {
                    "otel_ml.model.version": version,
                    "otel_ml.model.output_schema": "s",
                    "otel_ml.outputs": '{"text": "yes"}',
                    "otel_ml.outcome": "error" if kind == 2 and turn == 3 else "ok",
                    "otel_ml.tag.intent": intent,
                    "session.id": f"{version}-{session}",
                },
                start_ns=start_ns,
                end_ns=start_ns + 100 * MS_NS,
            )
            spans.append(run)
    return spans


@at_night
def test_tag_that_changes_within_a_session(service: Service) -> None:
    """Versions with equal sessions do not differ, even if a tag changes between turns."""
    spans = make_conversations("v1", BEGAN_NS - 20 * HOUR_NS) + make_conversations("v2", BEGAN_NS)
    take(service.store, "turns", spans)
    (release,) = get(service, "releases", "turns")["releases"]
    assert release["stratum"] == "intent"
    errors = next(item for item in release["figures"] if item["name"] == "errors")
    sides = [errors[side]["value"] for side in ("baseline", "candidate")]
    runs = sum(span.name == "bot" for span in spans) // 2
    assert sides == pytest.approx([20 / runs] * 2, rel=1e-9)
    assert errors["word"] != "worse"


@at_night
def test_assistants(service: Service) -> None:
    """The overview for coding agents lists the releases, the worst first."""
    reader = service.store.reader
    # On a busy machine, the query of a part can exceed its time limit once.
    told = wait_until(
        lambda: answer("overview", {"project": "releases"}, reader, "", time.time_ns()).get(
            "releases"
        ),
        about="the part releases",
    )
    assert told["columns"] == ["new", "before", "word", "says", "changed"]
    words = [row[:3] for row in told["rows"]]
    assert words == [["answer:v2", "answer:v1", "worse"], ["chat:v2", "chat:v1", "not enough data"]]


@at_night
def test_worst_client(service: Service) -> None:
    """A version that is worse for one client names that client, like the slices page.

    Another tag with as many runs, whose name sorts later, has no effect.
    """
    spans = [tell("a1")]
    for version, first_ns in (("v1", BEGAN_NS - 20 * HOUR_NS), ("v2", BEGAN_NS)):
        for client in ("acme", "bigshot"):
            rate = 0.6 if (client, version) == ("acme", "v2") else 0.95
            tags: dict[str, Any] = {
                "otel_ml.tag.client": lambda _, client=client: client,
                "otel_ml.tag.region": lambda place: ("north", "south")[place % 2],
            }
            spans += make_runs(
                "answer",
                version,
                rate,
                seed=len(client),
                first_ns=first_ns + len(client) * SECOND_NS,
                step_ns=20 * SECOND_NS,
                runs=RUNS,
                **tags,
            )
    take(service.store, "worst", spans)
    (finding,) = [
        item for item in get(service, "findings", "worst")["findings"] if item["kind"] == "release"
    ]
    assert (finding["version"], finding["condition"]) == (2, 'tags["client"] == "acme"')
    (release,) = get(service, "models/answer/release", "worst")["releases"]
    assert release["stratum"] == "region"
    where = quote(release["candidate"]["where"])
    slices = get(service, f"slices?where={where}&start={quote(release['began'])}", "worst")
    assert slices["slices"][0]["name"] == "client = acme"
    query = "model=answer&version=2&against=1"
    page = ask(service.app, f"/projects/worst/model-verdict?{query}").text
    assert finding["title"] in page
    whom = page.partition('id="whom"')[2]
    rows = re.findall(r"<tr>.*?</tr>", whom.partition("<tbody>")[2], re.DOTALL)
    shown = [" ".join(re.sub("<i.*?</i>|<[^>]*>", " ", row).split()) for row in rows]
    assert [row.split()[0] for row in shown] == ["acme", "bigshot"]
    assert ["worse" in row for row in shown] == [True, False]


@at_night
def test_empty_outputs(service: Service) -> None:
    """An empty object as output counts as a missing output."""
    before = make_release("empty", 0.9, seed=21)[: 2 * RUNS]
    outputs: dict[str, Any] = {
        "otel_ml.outputs": lambda place: "{}" if place % 4 == 0 else '{"text": "yes"}'
    }
    after = make_runs(
        "empty", "v2", 0.9, seed=22, first_ns=BEGAN_NS, step_ns=20 * SECOND_NS, **outputs
    )
    take(service.store, "empty", [*before, *after])
    (release,) = get(service, "models/empty/release", "empty")["releases"]
    missing = next(item for item in release["figures"] if item["name"] == "missing outputs")
    assert (missing["word"], missing["difference"]["value"]) == ("worse", 0.25)


@at_night
def test_scores_of_which_less_is_better(service: Service) -> None:
    """Lower scores do not make a version worse if lower is better for its judge."""
    spans = make_release("errors", 0.5, seed=31)
    spans = [
        replace(
            span,
            attributes={
                name: value for name, value in span.attributes.items() if name != "otel_ml.passed"
            },
        )
        for span in spans
    ]
    take(service.store, "errors", [tell("a1", lower_is_better=True), *spans])
    (release,) = get(service, "models/errors/release", "errors")["releases"]
    scores = next(item for item in release["figures"] if item["name"] == "grounded")
    assert scores["difference"]["value"] < 0
    assert scores["word"] == "better"


@at_night
def test_smallest_slice_that_explains_it(service: Service) -> None:
    """The claim names the client that got worse, not the region that includes all its failures."""
    take(service.store, "regions", [tell("a1")])
    clients = (
        ("Kessler", "EU", 0.4, 200),
        ("Nordwind", "EU", 0.82, 300),
        ("Tanaka", "APAC", 0.9, 300),
    )
    for seed, (client, region, now, runs) in enumerate(clients):
        for version, rate, first_ns in (
            ("v1", 0.9, BEGAN_NS - 20 * HOUR_NS),
            ("v2", now, BEGAN_NS),
        ):
            spans = make_runs(
                "sort",
                version,
                rate,
                seed=seed,
                first_ns=first_ns + seed * SECOND_NS,
                step_ns=MINUTE_NS,
                runs=runs,
                **{"otel_ml.tag.client": lambda _, name=client: name},
                **{"otel_ml.tag.region": lambda _, name=region: name},
            )
            take(service.store, "regions", spans)
    slices = get(service, f"slices?where={quote('version == 2')}", "regions")
    names = [item["name"] for item in slices["slices"] if item["word"] == "worse"]
    assert names[:2] == ["region = EU", "client = Kessler"]
    (release,) = get(service, "models/sort/release", "regions")["releases"]
    assert release["figures"][0]["worst"] == 'tags["client"] == "Kessler"'


@at_night
def test_tag_that_repeats_the_version(service: Service) -> None:
    """A tag whose values each belong to one version is not a slice. The page names it."""
    spans = [tell("a1")]
    for version, rate, build in (("v1", 0.9, "b1"), ("v2", 0.6, "b2")):
        tags: dict[str, Any] = {
            "otel_ml.tag.build": lambda _, build=build: build,
            "otel_ml.tag.client": lambda place: "ab"[place % 2],
        }
        spans += make_runs(
            "built", version, rate, seed=8, first_ns=BEGAN_NS, step_ns=20 * SECOND_NS, **tags
        )
    take(service.store, "built", spans)
    slices = get(service, "slices?last=24h", "built")
    assert slices["same_as_version"] == ["build"]
    assert not [one["name"] for one in slices["slices"] if "build" in one["name"]]
    kinds = [one["kind"] for one in get(service, "findings", "built")["findings"]]
    assert kinds.count("release") == 1
    assert "slice" not in kinds
    page = ask(service.app, "/projects/built/monitor/findings").text
    assert "Same as version: build." in page


@at_night
def test_canary_in_either_order(service: Service) -> None:
    """A canary is compared in the hours of both versions, with the same figures in both orders."""
    first_ns = BEGAN_NS - 3 * HOUR_NS
    spans = [tell("a1")]
    # One early call of the new version, long before the canary.
    for version, rate, start_ns, step_ns, runs in (
        ("v1", 0.9, first_ns, 9 * SECOND_NS, 2_000),
        ("v2", 0.9, first_ns + MINUTE_NS, MINUTE_NS, 1),
        ("v2", 0.5, BEGAN_NS, 30 * SECOND_NS, 240),
    ):
        spans += make_runs(
            "canary", version, rate, seed=runs, first_ns=start_ns, step_ns=step_ns, runs=runs
        )
    take(service.store, "canary", spans)
    (release,) = get(service, "models/canary/release", "canary")["releases"]
    assert (release["word"], release["kind"]) == ("worse", "hours")
    # Three hours in which both ran: that of the early call, and two of the canary.
    assert re.findall(r"[\d,]+", release["compared"]) == ["1,200", "241"]
    assert (release["baseline"]["runs"], release["candidate"]["runs"]) == (1_200, 241)
    backward = get(service, "models/canary/versions/1/verdict?against=2", "canary")
    assert (backward["word"], backward["basis"]) == ("better", "release")
    assert backward["heading"].startswith("canary:v1 vs canary:v2: ")
    assert re.findall(r"[\d,]+", backward["heading"])[2:] == ["241", "1,200"]


@at_night
def test_production_alias_chooses_the_baseline(service: Service) -> None:
    """The version with the alias `production` is the baseline, even if another has more runs."""
    spans = [tell("a1")]
    for version, rate, age_ns, runs in (
        ("v1", 0.9, 9 * HOUR_NS, 200),
        ("v2", 0.6, 5 * HOUR_NS, 800),
        ("v3", 0.6, 0, 600),
    ):
        spans += make_runs(
            "aliased",
            version,
            rate,
            seed=runs,
            first_ns=BEGAN_NS - age_ns,
            step_ns=20 * SECOND_NS,
            runs=runs,
        )
    take(service.store, "aliased", spans)

    def find_release() -> tuple[str, str]:
        (release,) = get(service, "models/aliased/release", "aliased")["releases"]
        return release["baseline"]["name"], release["word"]

    assert find_release()[0] == "aliased:v2"
    answered = ask(
        service.app,
        "/api/v1/projects/aliased/models/aliased/aliases",
        method="POST",
        headers={"content-type": "application/json"},
        body=[json.dumps({"alias": "production", "version": 1}).encode()],
    )
    assert answered.status == 200, answered.text
    assert find_release() == ("aliased:v1", "worse")


def make_gradual(model: str, *, scored: int) -> list[Span]:
    """Make a rollout over four hours, with a score of every tenth run, or of every run.

    v2 is worse. It has 120 runs in each of the four hours, and 400 in the next hour.
    """
    hours = [
        ("v1", BEGAN_NS - 20 * HOUR_NS, 10 * 120, 30),
        ("v1", BEGAN_NS, 4 * 120, 30),
        ("v2", BEGAN_NS, 4 * 120, 30),
        ("v2", BEGAN_NS + 4 * HOUR_NS, 1_600, 2),
    ]
    spans = [tell("a1")]
    for place, (version, first_ns, runs, step_s) in enumerate(hours):
        rate = 0.5 if version == "v2" else 0.9
        made = make_runs(
            model,
            version,
            rate,
            seed=60 + place,
            first_ns=first_ns,
            step_ns=step_s * SECOND_NS,
            runs=runs,
        )
        pairs = [*zip(made[::2], made[1::2], strict=True)]
        spans += [run for run, _ in pairs] + [score for _, score in pairs[::scored]]
    return spans


@at_night
def test_few_scores_are_compared_around_the_rollout(service: Service) -> None:
    """A judge with fewer than 100 scores in the hours of both is compared around the rollout."""
    take(service.store, "gradual", make_gradual("sampled", scored=10))
    take(service.store, "gradual", make_gradual("scored", scored=1))
    (sampled,) = get(service, "models/sampled/release", "gradual")["releases"]
    (scored,) = get(service, "models/scored/release", "gradual")["releases"]
    figures = [
        {figure["name"]: figure for figure in release["figures"]} for release in (sampled, scored)
    ]
    # All other figures are compared by the hours of both.
    for release, own in zip((sampled, scored), figures, strict=True):
        assert (release["kind"], release["word"]) == ("hours", "worse")
        counts = {(one["baseline"]["n"], one["candidate"]["n"]) for one in own.values()}
        assert (480, 480) in counts
        assert own["errors"]["candidate"]["n"] == 480
    assert (sampled["around_rollout"], scored["around_rollout"]) == (["grounded"], [])
    assert re.findall(r"\d+", scored["compared"]) == ["480", "480"]
    assert sampled["compared"].startswith(f"{scored['compared']}; grounded: ")
    assert re.findall(r"v\d|\d[\d,]*\d", sampled["compared"])[-4:] == ["1,200", "v1", "2,080", "v2"]
    judge = figures[0]["grounded"]
    assert (judge["baseline"]["n"], judge["candidate"]["n"]) == (120, 208)
    assert re.findall(r"v?\d+", judge["sentence"])[-4:] == ["120", "v1", "208", "v2"]
    # In either order, and for each client as for all.
    path = "models/sampled/versions/{}/verdict?against={}"
    forward, backward = (
        get(service, path.format(version, 3 - version), "gradual") for version in (2, 1)
    )
    assert (forward["word"], backward["word"]) == ("worse", "better")
    assert forward["sentence"] == sampled["sentence"]
    (mirrored,) = backward["judges"]
    assert (mirrored["baseline"]["n"], mirrored["candidate"]["n"]) == (208, 120)
    assert mirrored["difference"]["value"] == -judge["difference"]["value"]
