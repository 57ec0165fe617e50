"""Judges without code on live traffic: a collector calls a language model for new runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml.rubric import read_rubric
from otel_ml_collector.cli.program import main
from otel_ml_collector.judges.rubric_judge import is_sampled
from tests.support.judged_shop import FITS, SHOP, JudgedShop, judging
from tests.support.language_model import KEY, LanguageModel, ModelRequest, language_model
from tests.support.sampling import at_night, sampled
from tests.support.waiting import wait_until

# Each test has its own project, and the connection lists all but one of them.
PROJECTS: Final = [
    *("new_runs", "evaluation_of_a_run", "key_stays_secret", "redaction", "busy_provider"),
    *("misconfigured_connection", "budget_in_calls", "budget_in_dollars", "filter_and_off"),
    *("many_at_once", "refused", "trial", "trial_finds_trouble", "commands", "ready_rubric"),
    "try_shows_what_the_model_saw",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JudgedShop]:
    rules = json.dumps({"keys": ["secret"], "patterns": ["answer 7[0-9]"]})
    key = tmp_path_factory.mktemp("key") / "key"
    key.write_text(f"{KEY}\n")
    folder = tmp_path_factory.mktemp("data")
    settings: dict[str, Any] = {"key_file": str(key), "projects": PROJECTS}
    with (
        language_model() as model,
        judging(folder, model, "--judge-redact", rules, **settings) as collector,
    ):
        yield JudgedShop(collector, model)


@pytest.fixture
def shop(world: JudgedShop, request: pytest.FixtureRequest) -> Iterator[JudgedShop]:
    """A project for one test, and a compliant model without requests."""
    model = world.model
    yield JudgedShop(world.collector, model, request.node.originalname.removeprefix("test_"))
    model.statuses.clear()
    model.reply = LanguageModel.reply
    model.requests.clear()


def test_new_runs(shop: JudgedShop) -> None:
    """Each new run is judged once; the score has the rubric's version, the call its cost."""
    before = shop.send(2)
    saved = shop.save()
    sent = shop.send(3)
    assert {run["run_id"] for run in shop.judged(3)} == sent
    assert not sent & before
    assert saved["digest"] == read_rubric(FITS).digest
    [version] = shop.collector.get(f"/projects/{shop.project}/judges/fits/versions")["versions"]
    names = ("digest", "evaluations", "passed", "errors")
    assert [version[name] for name in names] == [saved["digest"], 3, 3, 0]
    # Three calls, each with 1,000 input tokens at $ 1 and 20 output tokens at $ 2 per million.
    assert version["cost"] == pytest.approx(3 * 0.00104)
    calls = shop.runs('kind == "judge"')
    assert {call["tags"]["otel_ml.judging.run"] for call in calls} == sent
    assert {call["provider_model"] for call in calls} == {"small-2026-01-01"}
    stats = shop.collector.get(f"/projects/{shop.project}/stats")
    assert stats["total"]["runs"] == 5
    assert set(shop.model.count_prompts().values()) == {1}
    [state] = shop.call("GET", "")[1]["judges"]
    assert (state["state"], state["calls_today"]) == ("on", 3)
    assert state["dollars_today"] == pytest.approx(3 * 0.00104)


@at_night
def test_evaluation_of_a_run(shop: JudgedShop) -> None:
    """A run shows score, verdict and reason; an unusable reply is an error, not a score."""

    def reply(request: ModelRequest) -> str:
        if "question 0" in request.prompt:
            return "I think it should pass."
        return json.dumps({"score": "fail", "explanation": "It is off topic."})

    shop.model.reply = reply
    shop.save()
    shop.send(2)
    [run] = shop.judged(1)
    [found] = shop.evaluations(run)
    values = [found[name] for name in ("score", "passed", "explanation", "error")]
    assert values == [0.0, False, "It is off topic.", ""]
    [failed] = [one for one in shop.runs() if "fits" in one["failed_judges"]]
    assert not {"fits"} & {*failed["scores"], *failed["passed"]}
    [error] = shop.evaluations(failed)
    assert error["error"] == "unusable reply: it is not one JSON object"


def test_key_stays_secret(shop: JudgedShop) -> None:
    """The provider gets the key, and no response, log or error that users see contains it."""
    shop.model.statuses.extend([400, 400])  # the error responses repeat the key
    shop.save()
    shop.send(1)
    wait_until(lambda: any(run["failed_judges"] for run in shop.runs()))
    shop.send(1)
    shop.judged(1)
    keys = {request.headers["authorization"] for request in shop.model.requests}
    assert keys == {f"Bearer {KEY}"}
    shown = [
        shop.collector.get_text(f"/api/v1/projects/{shop.project}/rubric-judges"),
        shop.collector.get_text(f"/api/v1/projects/{shop.project}/export"),
        *(json.dumps(shop.evaluations(run)) for run in shop.runs()),
        shop.collector.output,
    ]
    assert not [text for text in shown if KEY in text]


def test_redaction(shop: JudgedShop) -> None:
    """Text that matches the redaction rules of the settings does not reach the model."""
    shop.save(where='"question 77" in input')
    shop.send(80)
    shop.judged(1)
    [request] = shop.model.requests
    assert "question 77" in request.prompt
    assert "answer 77" not in request.prompt
    assert '"[removed]"' in request.prompt


@at_night
def test_misconfigured_connection(shop: JudgedShop) -> None:
    """A refused key stops the judge with the reason as its state, and no run gets an error."""
    shop.model.statuses.extend([401] * 100)
    shop.save()
    shop.send(8)
    wait_until(lambda: shop.state() != "on")
    assert shop.state() == "the provider answered 401 Unauthorized"
    assert not [run for run in shop.runs() if run["failed_judges"]]
    assert len(shop.model.requests) <= 8


@at_night
def test_busy_provider(shop: JudgedShop) -> None:
    """Responses 429 and 5xx are retried until there is a reply."""
    shop.model.statuses.extend([429, 503])
    shop.save()
    shop.send(1)
    shop.judged(1)
    assert len(shop.model.requests) == 3


@at_night
def test_budget_in_calls(shop: JudgedShop) -> None:
    """When the calls of the day are used up, the judge stops and its state says so."""
    shop.save(calls_per_day=3)
    shop.send(8)
    shop.judged(3)
    wait_until(lambda: shop.state() == "budget used up")
    assert len(shop.model.requests) == 3
    # With a larger budget it continues.
    shop.save(calls_per_day=100)
    shop.judged(8)
    assert set(shop.model.count_prompts().values()) == {1}


@at_night
def test_budget_in_dollars(shop: JudgedShop) -> None:
    """A budget in dollars stops the judge; running calls may complete."""
    shop.save(dollars_per_day=0.003)
    shop.send(12)
    wait_until(lambda: shop.state() == "budget used up")
    # Three calls of $ 0.00104 use it up, and at most three more were running.
    assert 3 <= len(shop.model.requests) <= 6


@at_night
def test_many_at_once(shop: JudgedShop) -> None:
    """Runs that arrive right after more runs than one read returns are judged."""
    shop.save(sample=0.05)
    wanted: set[str] = set()
    for number in (600, 200):
        sent = shop.send(number)
        wanted |= {run for run in sent if is_sampled(run.partition("-")[0], 0.05)}
        assert {run["run_id"] for run in shop.judged(len(wanted))} == wanted


def test_filter_and_off(shop: JudgedShop) -> None:
    """Only runs that match the filter are judged, and none after the judge is turned off."""
    shop.save(where='"question 1" in input')
    shop.send(3)
    [run] = shop.judged(1)
    assert run["inputs"] == "question 1"
    status, saved = shop.call("POST", "/fits/off", {})
    assert (status, saved["is_on"], saved["on_since"]) == (200, False, None)
    shop.save("every", where="")
    shop.send(2)
    shop.judged(2, "every")
    assert len(shop.runs('scores["fits"] >= 0')) == 1


def test_trial(shop: JudgedShop) -> None:
    """A trial shows answers next to labels, disagreements first, and stores calls but no scores."""

    def reply(request: ModelRequest) -> str:
        score = "fail" if "question 1" in request.prompt else "pass"
        return (
            "no"
            if "question 2" in request.prompt
            else json.dumps({"score": score, "explanation": "It is so."})
        )

    shop.model.reply = reply
    shop.send(4)
    runs = {run["inputs"]: run["run_id"] for run in shop.runs()}
    labels = [
        {"run_id": runs[f"question {place}"], "judge": "fits", "passed": passed}
        for place, passed in ((0, True), (1, True))
    ]
    body = json.dumps({"evaluations": labels}).encode()
    path = f"/projects/{shop.project}/evaluations"
    headers = {"content-type": "application/json"}
    assert shop.collector.post(f"/api/v1{path}", body, headers)[0] == 200
    status, trial = shop.call("POST", "/fits/try", {"judge": {**FITS, "sample": 0.5}})
    assert status == 200, trial
    tried = [
        (run["run_id"], run["answer"], run["label"], run["agrees"], run["error"])
        for run in trial["runs"]
    ]
    assert tried == [
        (runs["question 1"], "fail", "pass", False, ""),
        (runs["question 2"], "", "", None, "unusable reply: it is not one JSON object"),
        (runs["question 0"], "pass", "pass", True, ""),
        (runs["question 3"], "pass", "", None, ""),
    ]
    assert list(trial["runs"][0]["shown"]) == ["inputs", "outputs"]
    assert trial["runs"][0]["shown"]["inputs"] == '{"question":"question 1"}'
    numbers = ("passed", "answered", "errors", "labelled", "agreed", "runs_per_day")
    assert [trial[name] for name in numbers] == [2, 3, 1, 2, 1, 2]
    assert trial["cost"] == pytest.approx(4 * 0.00104)
    assert trial["cost_per_day"] == pytest.approx(2 * 0.00104)
    assert not [run for run in shop.runs() if "fits" in run["scores"] or run["failed_judges"]]
    calls = shop.runs('kind == "judge" and tags["trial"] == True')
    assert {call["tags"]["otel_ml.judging.run"] for call in calls} == {*runs.values()}


@at_night
def test_trial_finds_trouble(shop: JudgedShop) -> None:
    """A trial with a misconfigured connection returns the provider's error."""
    shop.send(1)
    shop.model.statuses.append(404)
    status, answer = shop.call("POST", "/fits/try", {"judge": FITS})
    assert (status, answer["error"]["field"]) == (400, "connection")
    assert "the provider answered 404" in answer["error"]["message"]


@at_night
def test_commands(shop: JudgedShop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line saves a judge from a file, tries it, turns it on and off, and deletes it."""
    file = tmp_path / "fits.toml"
    file.write_text(
        'instruction = "Does the answer fit the question?"\nmodel = "small"\nconnection = "here"\n'
    )

    def run(*arguments: str) -> Any:
        place = ("--project", shop.project, "--endpoint", shop.collector.endpoint)
        assert main(["judge", *arguments, *place, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    shop.send(2)
    saved = run("save", "fits", str(file))
    assert (saved["digest"], saved["is_on"]) == (read_rubric(FITS).digest, False)
    assert len(run("try", "fits", "--runs", "1")["runs"]) == 1
    assert len(run("try", "other", "--file", str(file))["runs"]) == 2
    assert run("on", "fits")["is_on"]
    [listed] = run("list")["judges"]
    assert (listed["name"], listed["state"], listed["calls_today"]) == ("fits", "on", 1)
    assert run("show", "fits")["instruction"] == FITS["instruction"]
    assert run("off", "fits")["on_since"] is None
    assert run("delete", "fits")["name"] == "fits"
    assert shop.call("GET", "") == (200, {"judges": []})


def test_try_shows_what_the_model_saw(
    shop: JudgedShop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command `judge try` prints the parts of the first run that the model saw."""
    shop.send(1)
    file = tmp_path / "fits.toml"
    file.write_text(
        'instruction = "Is this a question? {{inputs}}"\nmodel = "small"\nconnection = "here"\n'
    )
    place = ("--project", shop.project, "--endpoint", shop.collector.endpoint)
    assert main(["judge", "try", "other", "--file", str(file), *place]) == 0
    printed = "".join(capsys.readouterr())
    [run] = shop.runs()
    assert f"The model saw of {run['run_id']}:\n" in printed
    assert '  inputs: {"question":"question 0"}\n' in printed


def test_ready_rubric(shop: JudgedShop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A ready rubric is printed, saved, and checked on its examples; no score is stored."""

    def reply(request: ModelRequest) -> str:
        if "This output fully answers" in request.prompt:
            return "The label is answered."
        return json.dumps({"score": "answered", "explanation": "It does."})

    def run(*arguments: str) -> str:
        place = ("--project", shop.project, "--endpoint", shop.collector.endpoint)
        assert main(["judge", *arguments, *place]) == 0
        return capsys.readouterr().out

    shop.model.reply = reply
    assert main(["judge", "ready", "refusal"]) == 0
    file = tmp_path / "refusal.toml"
    text = capsys.readouterr().out
    file.write_text(text.replace("MODEL", "small").replace("CONNECTION", "here"), encoding="utf-8")
    saved = json.loads(run("save", "refusal", str(file), "--json"))
    chosen = ("--model", "small", "--connection", "here")
    check = json.loads(run("check-ready", "refusal", *chosen, "--json"))
    assert check["digest"] == saved["digest"]
    place = ("--project", shop.project, "--endpoint", shop.collector.endpoint)
    assert main(["judge", "check-ready", "refusal", "--file", str(file), *place]) == 0
    printed = capsys.readouterr()
    summary = "17 of 39 answers agree with the labels: 44% (29% to 59%); kappa 0.00; errors: 1; "
    assert printed.err.startswith(summary)
    assert printed.err.endswith("; $ 0.0416 in total. No score was stored.\n")
    assert len(printed.out.splitlines()) == 41
    # The model's label is right for 17 of the 40 examples, and one reply is unusable.
    assert [check[name] for name in ("answered", "errors", "agreed")] == [39, 1, 17]
    agreement = check["agreement"]
    assert agreement["value"] == pytest.approx(17 / 39)
    assert 0.29 < agreement["low"] < agreement["value"] < agreement["high"] < 0.6
    assert check["kappa"]["value"] == pytest.approx(0)
    assert check["cost"] == pytest.approx(40 * 0.00104)
    agrees = [example["agrees"] for example in check["examples"]]
    assert agrees == [*[False] * 22, None, *[True] * 17]
    calls = shop.runs('kind == "judge" and tags["trial"] == True')
    assert len(calls) == 80
    assert not shop.runs()
    status, answer = shop.call("POST", "/refusal/check", {"ready": "toxicity"})
    assert (status, answer["error"]["field"]) == (400, "judge")
    assert "use the answer form" in answer["error"]["message"]


@at_night
def test_killed_while_asking(tmp_path: Path) -> None:
    """A killed collector resumes after its restart, and repeats no call with a stored reply."""
    with language_model() as model, judging(tmp_path, model, timeout_s=60) as collector:
        shop = JudgedShop(collector, model)
        shop.save()
        shop.send(20)
        shop.judged(20)
        stored = model.count_prompts()
        assert set(stored.values()) == {1}
        model.hangs.set()
        sent = shop.send(20)
        wait_until(lambda: len(model.requests) == 24)  # four threads wait for a reply
        collector.kill()
        model.hangs.clear()
        model.released.set()
        collector.restart()
        assert {run["run_id"] for run in shop.judged(40)} >= sent
        # Only the four calls without a reply at the kill were repeated.
        assert len(model.requests) == 44


@at_night
def test_judge_of_the_file(tmp_path: Path) -> None:
    """A judge of the settings file is on, cannot be changed elsewhere, and disappears with it."""
    table = json.dumps([{**FITS, "name": "filed", "project": SHOP}])
    with language_model() as model:
        with judging(tmp_path, model, "--judge", table) as collector:
            shop = JudgedShop(collector, model)
            wait_until(lambda: shop.call("GET", "/filed")[0] == 200)
            shop.send(1)
            shop.judged(1, "filed")
            status, answer = shop.call("PUT", "/filed", FITS)
            assert (status, answer["error"]["code"]) == (409, "conflict")
            assert shop.call("DELETE", "/filed")[0] == 409
            collector.stop()
        with judging(tmp_path, model) as collector:
            wait_until(lambda: JudgedShop(collector, model).call("GET", "/filed")[0] == 404)


@sampled(1)
@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"connection": "her"}, "connection", "There is no connection 'her': did you mean here?"),
        ({"instruction": "{{output}}"}, "instruction", "Unknown placeholder {{output}}"),
        ({"where": "latency_ms >"}, "where", ""),
        ({"answer": "score"}, "pass_at_least", "either pass_at_least or pass_at_most"),
        ({"model": "unknown", "dollars_per_day": 1}, "dollars_per_day", "set calls_per_day"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(shop: JudgedShop, changes: dict[str, Any], field: str, message: str) -> None:
    """A judge that could not run is refused with the wrong field and how to fix it."""
    status, answer = shop.call("PUT", "/fits", {**FITS, **changes})
    assert (status, answer["error"]["field"]) == (400, field)
    assert message in answer["error"]["message"]


def test_project_that_may_not_be_sent(shop: JudgedShop) -> None:
    """Data is never sent to a connection that does not list the project."""
    status, answer = shop.call("PUT", "/fits", FITS)
    assert (status, answer["error"]["field"]) == (400, "connection")
    assert "may not be sent" in answer["error"]["message"]
