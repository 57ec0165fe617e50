"""Tests of the verdict on two model versions in production, against scipy and statsmodels."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest
from scipy import optimize, special, stats

from otel_ml_collector.span import Span
from otel_ml_collector.times import DAY_NS, to_rfc3339
from otel_ml_collector.versions.find import find_new_versions
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.store.otel_ml_collector.test_experiments import AFTER, BEFORE, make_experiment
from tests.store.otel_ml_collector.test_experiments import make_runs as make_runs_of
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS, SECOND_NS, id_of, make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

RUNS: Final = 150
PASSED: Final = {"v1": 143, "v2": 103}
SLOWER: Final = {"v1": 1.0, "v2": 1.5}
# So long ago that neither version counts as a new release.
FAR_S: Final = 40 * 86_400
# Failed calls, missing outputs, a judge and latency share half of the 1 %.
ERROR: Final = 0.01 / 2 / 4


def latency_ms(place: int) -> int:
    return 100 + place * 7 % 91


def make_runs(model: str, version: str, session_of: int = 0) -> list[Span]:
    """Make 150 runs of a version, optionally in sessions of ``session_of`` runs."""
    first_ns = NOW_NS - (FAR_S if version == "v1" else FAR_S // 2) * SECOND_NS
    return [
        make_call(
            model,
            {
                "otel_ml.model.version": version,
                "otel_ml.model.output_schema": "s",
                **({"session.id": f"{version}-{place // session_of}"} if session_of else {}),
            },
            start_ns=(start_ns := first_ns + place * SECOND_NS),
            end_ns=start_ns + int(latency_ms(place) * SLOWER[version]) * MS_NS,
        )
        for place in range(RUNS)
    ]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Serve models with two versions: same judge, in sessions, and different judge versions."""
    with open_service(tmp_path_factory.mktemp("verdict")) as service:
        service.store.take("p", tell("a1"))
        service.store.take("p", tell("b2"))
        for model, session_of in (("answer", 0), ("chat", 10), ("unlike", 0)):
            for version, passed in PASSED.items():
                runs = make_runs(model, version, session_of)
                digest = "b2" if (model, version) == ("unlike", "v2") else "a1"
                said = [say(run, digest, float(at < passed)) for at, run in enumerate(runs)]
                if model == "answer":  # scores of a second judge version, never mixed
                    said += [say(run, "b2", 0.0, after_s=2) for run in runs[:40] if version == "v1"]
                service.store.take("p", *runs, *said)
        # Runs over a data set do not count as production.
        items = [
            replace(
                run,
                attributes={**run.attributes, "otel_ml.experiment": "e", "otel_ml.item.id": "i"},
            )
            for run in make_runs("answer", "v1")
        ]
        service.store.take("p", *items, *(say(run, "a1", 0.0) for run in items))
        yield service


def verdict(service: Service, model: str, path: str = "versions/2/verdict?against=1") -> Any:
    answer = ask(service.app, f"/api/v1/projects/p/models/{model}/{path}")
    assert answer.status == 200, answer.text
    return answer.json


def find_bounds(rates: tuple[float, float], sizes: tuple[float, float]) -> list[list[float]]:
    """Compute the bounds of two rates that hold at all looks together, from their definition."""
    smooth = [(rate * size + 2) / (size + 4) for rate, size in zip(rates, sizes, strict=True)]
    variance = sum(rate * (1 - rate) / size for rate, size in zip(smooth, sizes, strict=True))
    known = 0.08**2 / variance
    width = np.sqrt((1 + 1 / known) * (2 * np.log(1 / ERROR) + np.log1p(known)))
    bounds = []
    for rate, size in zip(rates, sizes, strict=True):
        t = stats.t.isf(stats.norm.sf(width), size - 1)

        def excess(other: float, rate: float = rate, size: float = size, t: float = t) -> float:
            divergence = special.rel_entr(rate, other) + special.rel_entr(1 - rate, 1 - other)
            return float(divergence - t * t / 2 / size)

        bounds.append([optimize.brentq(excess, end, rate) for end in (1e-9, 1 - 1e-9)])
    return bounds


def test_pass_rates(service: Service) -> None:
    """Pass rates have an interval that holds at all looks together.

    Its error is shared by a judge version that scored both versions, failed calls, missing outputs
    and latency.
    """
    found = verdict(service, "answer")
    assert (found["word"], found["version"], found["baseline"]) == ("worse", 2, 1)
    assert found["basis"] == "runs"
    sides, rollout, counts = found["heading"].rsplit(": ", 2)
    assert (sides, rollout.split(" on ")[0]) == ("answer:v2 vs answer:v1", "rollout of v2")
    assert re.findall(r"\bv?\d+\b", counts) == ["150", "v1", "150", "v2"]
    [judge] = found["judges"]
    assert judge["sentence"].startswith("69 % pass, 95 % with v1: 27 pts worse (")
    assert judge["sentence"].endswith(" pts; 150 runs with v1, 150 with v2)")
    before, now = find_bounds((143 / 150, 103 / 150), (150, 150))
    change = 103 / 150 - 143 / 150
    low = change - np.hypot(103 / 150 - now[0], before[1] - 143 / 150)
    high = change + np.hypot(now[1] - 103 / 150, 143 / 150 - before[0])
    assert judge["difference"]["value"] == pytest.approx(change, rel=1e-12)
    assert judge["difference"]["low"] == pytest.approx(low, rel=1e-2)
    assert judge["difference"]["high"] == pytest.approx(high, rel=1e-2)
    assert (judge["name"], judge["judge_version"], judge["judge_number"]) == ("grounded", "a1", 1)


@at_night
def test_latency(service: Service) -> None:
    """Latency is the ratio of geometric means. Its interval contains the true ratio of 1.5."""
    amounts = {one["name"]: one for one in verdict(service, "answer")["amounts"]}
    assert list(amounts) == ["latency"]
    ratio = amounts["latency"]["difference"]
    before, after = (
        [int(latency_ms(at) * slower) for at in range(RUNS)] for slower in SLOWER.values()
    )
    assert ratio["value"] == pytest.approx(
        np.exp(np.log(after).mean() - np.log(before).mean()), rel=0.005
    )
    assert ratio["low"] < 1.5 < ratio["high"]
    assert amounts["latency"]["word"] == "worse"


@sampled(1)
@pytest.mark.parametrize(("failed", "word"), [(0, "better"), (4, "not enough data")])
def test_errors_of_a_better_version(service: Service, failed: int, word: str) -> None:
    """A better version is called so, unless more of its calls failed and it is unclear how many."""
    model = f"failed-{failed}"
    for version, passed in (("v1", 103), ("v2", 143)):
        runs = make_runs(model, version)
        for place, run in enumerate(runs):
            is_failed = version == "v2" and place >= RUNS - failed
            runs[place] = replace(
                run, end_ns=run.start_ns + 9 * MS_NS, status_code=2 if is_failed else 0
            )
        said = [say(run, "a1", float(at < passed)) for at, run in enumerate(runs)]
        service.store.take("p", *runs, *said)
    found = verdict(service, model)
    assert found["judges"][0]["word"] == "better"
    assert found["word"] == word
    swapped = verdict(service, model, "versions/1/verdict?against=2")
    assert swapped["word"] == {"better": "worse"}.get(word, word)


@at_night
def test_swapped_versions_are_mirrored(service: Service) -> None:
    """If the two versions are swapped, words, figures and counts are mirrored."""
    found = verdict(service, "answer")
    swapped = verdict(service, "answer", "versions/1/verdict?against=2")
    assert (found["word"], swapped["word"]) == ("worse", "better")
    assert swapped["heading"].partition(": ")[2] == found["heading"].partition(": ")[2]
    ([judge], [other]) = (answer["judges"] for answer in (found, swapped))
    assert (other["word"], other["baseline"], other["candidate"]) == (
        "better",
        judge["candidate"],
        judge["baseline"],
    )
    assert [other["difference"][end] for end in ("value", "low", "high")] == [
        -judge["difference"][end] for end in ("value", "high", "low")
    ]
    ([ratio], [inverse]) = (answer["amounts"] for answer in (found, swapped))
    assert inverse["difference"]["value"] == pytest.approx(
        1 / ratio["difference"]["value"], rel=1e-12
    )
    assert (ratio["word"], inverse["word"]) == ("worse", "better")


@at_night
def test_sessions_are_clusters(service: Service) -> None:
    """Runs of one session are one cluster: 15 sessions a side give wider intervals."""
    [judge] = verdict(service, "chat")["judges"]
    assert (judge["baseline"]["n"], judge["baseline"]["clusters"]) == (150, 15)
    # Too few sessions have a pass, or a fail, to measure how alike their runs are.
    (alone,) = verdict(service, "answer")["judges"]
    for side in ("baseline", "candidate"):
        widths = [item[side]["high"] - item[side]["low"] for item in (alone, judge)]
        assert widths[1] > 2 * widths[0]
    assert judge["word"] == "not enough data"


def test_judge_versions_are_never_mixed(service: Service) -> None:
    """Without a judge version that scored both versions, the verdict gives a reason."""
    found = verdict(service, "unlike")
    [judge] = found["judges"]
    assert (judge["word"], judge["difference"]) == ("not enough data", None)
    [reason] = judge["reasons"]
    assert re.findall(r"\b(?:a1|b2)\b", reason) == ["a1", "b2"]


def test_page_says_the_same(service: Service) -> None:
    """The top of the model's page shows the API's verdict and both versions' figures."""
    found = verdict(service, "answer")
    [judge] = found["judges"]
    path = "/projects/p/model-verdict?model=answer&version=2&against=1"
    part = ask(service.app, path)
    assert part.status == 200, part.text
    assert '<strong class="worse-w">answer v2 is worse</strong>' in part.text
    assert "<h2>v2 vs v1</h2>" in part.text
    kinds = re.findall(r'<td class="mute">(\w+)</td>', part.text)
    assert kinds == ["Quality", "Errors", "Latency"]
    cells = re.findall(
        r"<td.*?</td>", part.text.partition(">pass rate by judge ")[2].partition("</td>")[2]
    )
    before, now = (re.sub("<i.*?</i>|<[^>]*>", "", cell) for cell in cells[:2])
    assert [before, now] == [
        f"{100 * judge[side]['value']:.1f}\u202f%" for side in ("baseline", "candidate")
    ]
    page = ask(service.app, "/projects/p/models/answer").text
    assert "model-verdict?model=answer&amp;version=2&amp;against=1" in page


def test_unknown_version(service: Service) -> None:
    """An unknown version is not found."""
    path = "/api/v1/projects/p/models/answer/versions/2/verdict?against=9"
    assert ask(service.app, path).status == 404


@at_night
def test_experiments_stand_above_production(service: Service) -> None:
    """If both versions have experiments on one data set, their verdict is shown as well."""
    before, after = (make_experiment(number, version) for number, version in ((0, "v1"), (1, "v2")))
    for experiment, signs in ((before, BEFORE), (after, AFTER)):
        service.store.take("p", experiment, *make_runs_of(experiment, signs))
    part = ask(service.app, "/projects/p/model-verdict?model=answer&version=2&against=1").text
    path = f"experiments/{id_of(after)}?baseline={id_of(before)}"
    found = ask(service.app, f"/api/v1/projects/p/{path}").json["verdict"]
    assert (found["word"], found["common"]) == ("worse", len(AFTER))
    assert f'href="/projects/p/{path}"' in part
    assert found["judges"][0]["sentence"].partition(" (")[0] in part
    assert ">Show items</a>" in part
    other = ask(service.app, "/projects/p/model-verdict?model=chat&version=2&against=1").text
    assert 'id="paired"' not in other


def test_versions_that_were_recorded_are_compared(service: Service) -> None:
    """A version without production runs is listed, and compared only on request."""
    told = {"otel_ml.model.version": "v3", "otel_ml.model.output_schema": "s"}
    unseen = make_call("answer", {**told, "otel_ml.experiment": "e", "otel_ml.item.id": "i"})
    service.store.take("p", unseen)
    page = ask(service.app, "/projects/p/models/answer").text
    assert "v3" in page
    assert "version=2&amp;against=1" in page
    assert "version=3&amp;against=2" in ask(service.app, "/projects/p/models/answer?to=3").text


@at_night
def test_since_when_an_imported_version_runs(service: Service) -> None:
    """An imported version is dated by its first run, on its page and among new versions."""
    starts_ns = [NOW_NS - days * DAY_NS for days in (50, 40, 20, 10)]
    spans = [
        make_call(
            "bikes",
            {"otel_ml.model.version": f"v{place // 2}", "otel_ml.model.output_schema": "s"},
            start_ns=start_ns,
            end_ns=start_ns + 1_000_000,
        )
        for place, start_ns in enumerate(starts_ns)
    ]
    for first in (0, 2):
        service.store.take("imported", *reversed(spans[first : first + 2]))
    listed = ask(service.app, "/api/v1/projects/imported/models/bikes/versions").json["versions"]
    times = [to_rfc3339(starts_ns[place]) for place in (2, 0)]
    assert [version["first_seen_time"] for version in listed] == times
    newest = {one.model: one for one in find_new_versions(service.store.reader, NOW_NS)}
    assert newest["bikes"].first_ns == starts_ns[2]


@at_night
def test_version_that_only_an_experiment_ran(service: Service) -> None:
    """A version run only by an experiment is neither the page's title nor a new version."""
    told = {"otel_ml.model.version": "v4", "otel_ml.model.output_schema": "s"}
    unseen = make_call("answer", {**told, "otel_ml.experiment": "e", "otel_ml.item.id": "i"})
    service.store.take("p", unseen)
    page = ask(service.app, "/projects/p/models/answer").text
    title = page.partition("<h1>answer</h1>")[2].partition("<span")[0]
    assert ("v2" in title, "v4" in title) == (True, False)
    newest = {one.model: one for one in find_new_versions(service.store.reader, NOW_NS)}
    assert (newest["answer"].number, newest["answer"].previous) == (2, 1)
