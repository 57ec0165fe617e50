"""Backfills of judges without code: first a plan, then scores of history within a budget."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml_collector.cli.program import main
from tests.support.judged_shop import PRICES, JudgedShop, judging
from tests.support.language_model import LanguageModel, ModelRequest, language_model
from tests.support.otel_ml_collector.judge_workers import working
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

EACH: Final = 0.00104  # 1,000 tokens in at $ 1 and 20 out at $ 2 per million


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JudgedShop]:
    with (
        language_model() as model,
        judging(tmp_path_factory.mktemp("past"), model) as collector,
    ):
        yield JudgedShop(collector, model)


@pytest.fixture
def shop(past: JudgedShop, request: pytest.FixtureRequest) -> Iterator[JudgedShop]:
    """A project for one test, and a compliant model without requests."""
    name = request.node.originalname.replace("test_", "past_", 1)
    yield JudgedShop(past.collector, past.model, name)
    past.model.statuses.clear()
    past.model.reply = LanguageModel.reply
    past.model.released.set()
    past.model.hangs.clear()
    past.model.requests.clear()


def test_plan_then_scores(shop: JudgedShop) -> None:
    """A plan does not call the model; once confirmed, each unscored run in range is scored."""
    too_old = shop.send(2, days_ago=40)
    sent = shop.send(5, days_ago=10)
    shop.save(is_on=False, calls_per_minute=60, dollars_per_day=1)
    status, plan = shop.call("POST", "/fits/backfill-plan", {"last": "30d"})
    assert status == 200
    assert (plan["runs"], plan["based_on"], plan["measured"]) == (5, "size of runs", 5)
    assert 100 < plan["input_tokens"] / 5 < 400
    tokens = (plan["input_tokens"], plan["output_tokens"])
    assert plan["cost"] == pytest.approx((tokens[0] + 2 * tokens[1]) / 1e6, rel=1e-3)
    assert plan["confirm"]["most_calls"] == 5
    assert plan["cost"] < plan["confirm"]["most_dollars"] < 2 * plan["cost"]
    assert plan["duration_s"] == 5
    assert not shop.model.requests
    assert shop.call("GET", "/fits/backfill")[0] == 404
    started = shop.call("POST", "/fits/backfill", {**plan["confirm"], "most_dollars": 1})[1]
    assert (started["state"], started["runs"], started["most_dollars"]) == ("running", 5, 1)
    assert {run["run_id"] for run in shop.judged(5)} == sent
    ended = shop.backfilled()
    assert [ended[name] for name in ("scored", "calls", "reason")] == [5, 5, ""]
    assert ended["dollars"] == pytest.approx(5 * EACH)
    assert ended["ended_time"]
    assert len(shop.model.requests) == 5
    assert not too_old & {run["run_id"] for run in shop.runs('scores["fits"] >= 0')}
    # Backfill calls do not count towards the day's live calls.
    state = shop.call("GET", "/fits")[1]
    assert (state["state"], state["calls_today"]) == ("off", 0)
    # The next plan uses the measured size of a call, and leaves out scored runs.
    shop.send(2, days_ago=1)
    again = shop.call("POST", "/fits/backfill-plan", {})[1]
    assert (again["runs"], again["based_on"], again["measured"]) == (2, "earlier calls", 5)
    assert again["cost"] == pytest.approx(2 * EACH)
    # A score counts at the time of its run.
    buckets = shop.collector.get(f"/projects/{shop.project}/judges/fits/versions")
    [of_past] = [one for one in buckets["versions"][0]["buckets"] if one["evaluations"]]
    [run] = [one for one in shop.runs() if one["run_id"] == min(sent)]
    assert of_past["start_ns"] <= run["start_ns"] < of_past["start_ns"] + 86_400 * 10**9


@at_night
def test_newest_runs(shop: JudgedShop) -> None:
    """With a number of runs, the newest are scored; live traffic is judged at the same time."""
    shop.send(4, days_ago=9)
    newer = shop.send(3, days_ago=2)
    shop.save(is_on=True)
    started = shop.backfill(runs=3, dollars=1)
    assert (started["runs"], started["most_calls"]) == (3, 3)
    live = shop.send(2)
    assert {run["run_id"] for run in shop.judged(5)} == newer | live
    assert shop.backfilled()["calls"] == 3
    assert set(shop.model.count_prompts().values()) <= {1, 2}  # the runs of two requests look alike
    assert shop.call("GET", "/fits")[1]["calls_today"] == 2


@at_night
def test_budget_of_a_backfill(shop: JudgedShop) -> None:
    """A backfill never costs more than the confirmed dollars, and stops with the reason."""
    shop.send(20, days_ago=3)
    shop.save(is_on=False)
    shop.backfill(dollars=4.5 * EACH)
    ended = shop.backfilled("budget used up")
    assert 3 <= ended["calls"] <= 4
    assert ended["dollars"] <= 4.5 * EACH
    assert ended["scored"] == ended["calls"] == len(shop.model.requests)


@at_night
def test_stop_and_change(shop: JudgedShop) -> None:
    """A running backfill can be stopped; a change or deletion of the judge also stops it."""
    shop.send(30, days_ago=3)
    shop.save(is_on=False, calls_per_minute=60)
    started = shop.backfill(dollars=1)
    status, answer = shop.call("POST", "/fits/backfill", _confirm(shop))
    assert (status, answer["error"]["code"]) == (409, "conflict")
    wait_until(lambda: shop.call("GET", "/fits/backfill")[1]["calls"] >= 1)
    stopped = shop.call("DELETE", "/fits/backfill")[1]
    assert (stopped["state"], stopped["reason"]) == ("stopped", "")
    assert stopped["scored"] < started["runs"]
    old = _confirm(shop)
    shop.backfill(dollars=1)
    shop.save(is_on=False, instruction="Is it polite?")
    changed = shop.call("GET", "/fits/backfill")[1]
    assert (changed["state"], changed["reason"]) == ("stopped", "the judge was changed")
    status, answer = shop.call("POST", "/fits/backfill", old)
    assert (status, answer["error"]["code"]) == (409, "conflict")
    assert "Make a new plan" in answer["error"]["message"]
    wait_until(lambda: _is_quiet(shop))
    shop.backfill(dollars=1)
    shop.call("DELETE", "/fits")
    shop.save(is_on=False, instruction="Is it polite?")
    deleted = shop.call("GET", "/fits/backfill")[1]
    assert (deleted["state"], deleted["reason"]) == ("stopped", "the judge was deleted")
    wait_until(lambda: _is_quiet(shop))  # a call that has begun belongs to this test


def _confirm(shop: JudgedShop) -> dict[str, Any]:
    found: dict[str, Any] = shop.call("POST", "/fits/backfill-plan", {})[1]["confirm"]
    return found


def _is_quiet(shop: JudgedShop) -> bool:
    """Return whether the model gets no request for longer than a backfill pauses between calls."""
    before = len(shop.model.requests)
    for _ in range(20):
        shop.call("GET", "/fits")
    return len(shop.model.requests) == before


def test_refused_backfills(shop: JudgedShop) -> None:
    """A plan or backfill that is not possible is refused with the name of the wrong field."""
    shop.send(1, days_ago=3)
    shop.save(is_on=False)
    shop.save("free", is_on=False, model="unknown")
    plan = shop.call("POST", "/free/backfill-plan", {})[1]
    assert (plan["runs"], plan["cost"], plan["confirm"]["most_dollars"]) == (1, None, None)
    for name, path, body, field in (
        ("free", "backfill-plan", {"dollars": 1}, "dollars"),
        ("free", "backfill", {**plan["confirm"], "most_dollars": 1}, "most_dollars"),
        ("fits", "backfill-plan", {"last": "a month"}, "last"),
        ("fits", "backfill-plan", {"where": "latency_ms >"}, "where"),
        ("fits", "backfill-plan", {"sample": 2}, "sample"),
        ("fits", "backfill", {**_confirm(shop), "start_ns": 0, "end_ns": 1}, "last"),
    ):
        status, answer = shop.call("POST", f"/{name}/{path}", body)
        assert (status, answer["error"]["field"]) == (400, field), answer
    assert shop.call("POST", "/fits/backfill-plan", {"last": "1d"})[1]["confirm"] is None
    assert not shop.model.requests


@at_night
def test_errors_of_a_backfill(shop: JudgedShop) -> None:
    """A run without a usable reply gets an error once and is not planned again."""

    def reply(request: ModelRequest) -> str:
        return "no" if "question 1" in request.prompt else LanguageModel.reply(request)

    shop.model.reply = reply
    shop.send(3, days_ago=5)
    shop.save(is_on=False)
    shop.backfill(dollars=1)
    ended = shop.backfilled()
    assert (ended["scored"], ended["calls"]) == (3, 3)
    assert len(shop.runs('scores["fits"] >= 0')) == 2
    assert shop.call("POST", "/fits/backfill-plan", {})[1]["runs"] == 0


@at_night
def test_commands_of_backfills(shop: JudgedShop, capsys: pytest.CaptureFixture[str]) -> None:
    """`judge backfill` prints the cost, and without a terminal it starts only with --yes."""
    place = ("--project", shop.project, "--endpoint", shop.collector.endpoint)

    def run(*arguments: str) -> tuple[int, str]:
        status = main(["judge", "backfill", "fits", *arguments, *place])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    shop.send(6, days_ago=3)
    shop.save(is_on=False, calls_per_minute=60)
    status, text = run("--last", "7d", "--runs", "4")
    assert status == 2
    assert "4 runs of the past would be scored; about $ 0.00" in text
    assert "estimated from the size of 4 runs; about 4 s; at most 4 calls and $ 0.00" in text
    assert "Nothing was started: use --yes to start it" in text
    assert "There is no judge backfill 'fits'" in run("--status")[1]
    status, text = run("--last", "7d", "--runs", "4", "--dollars", "1", "--yes", "--json")
    assert status == 0
    assert '"state": "running"' in text
    assert shop.backfilled()["calls"] == 4
    assert "finished" in run("--status")[1]
    status, text = run("--last", "1d", "--yes")
    assert (status, "no runs to score" in text) == (0, True)
    run("--yes")
    assert "stopped" in run("--stop")[1]


@at_night
def test_killed_backfill(tmp_path: Path) -> None:
    """A killed collector resumes a backfill, and repeats only calls without a stored reply."""
    with language_model() as model, judging(tmp_path, model, timeout_s=60) as collector:
        shop = JudgedShop(collector, model)
        shop.send(40, days_ago=3)
        shop.save(is_on=False)
        asked = model.answer

        def hang_later(request: ModelRequest) -> tuple[int, bytes]:
            if len(model.requests) >= 20:
                model.hangs.set()
            return asked(request)

        model.answer = hang_later  # type: ignore[method-assign]  # a provider that gets stuck
        shop.backfill(dollars=1)
        wait_until(lambda: len(model.requests) == 24)  # four threads wait for a reply

        def has_stored_calls() -> bool:
            return bool(shop.call("GET", "/fits/backfill")[1]["calls"] == 20)

        wait_until(has_stored_calls)  # their scores may not be stored yet
        collector.kill()
        model.answer = asked  # type: ignore[method-assign]
        model.hangs.clear()
        model.released.set()
        collector.restart()
        ended = shop.backfilled()
        assert ended["scored"] == 40
        assert ended["calls"] == len(model.requests) - 4  # all that got a reply
        assert 44 <= len(model.requests) <= 64


@at_night
def test_worker_scores_history(tmp_path: Path) -> None:
    """A worker runs the backfill of a collector that runs no judges itself, and ends it."""
    with (
        language_model() as model,
        judging(tmp_path, model, "--judges", '{"run": false, "quiet_s": 0}') as collector,
        working(collector, model, "--prices", PRICES),
    ):
        shop = JudgedShop(collector, model)
        shop.send(12, days_ago=3)
        shop.save(is_on=False)
        shop.backfill(dollars=1, runs=10)
        ended = shop.backfilled()
        assert (ended["scored"], ended["calls"]) == (10, 10)
        assert len(model.requests) == 10
