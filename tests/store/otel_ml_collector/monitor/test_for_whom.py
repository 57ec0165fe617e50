"""A new version that is worse for one slice only is worse for this slice, with no filter given."""

import html
import json
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote

import pytest

from otel_ml_collector.alerts.news import find_alert_news
from otel_ml_collector.findings.releases import VersionWords, find_releases, write_release
from otel_ml_collector.findings.versions import find_verdict
from otel_ml_collector.span import Span
from tests.store.otel_ml_collector.alerts.test_evaluation import Told, look
from tests.store.otel_ml_collector.monitor.test_releases import (
    BEGAN_NS,
    HOUR_NS,
    MINUTE_NS,
    get,
    make_runs,
    take,
)
from tests.store.otel_ml_collector.query.test_judges import tell
from tests.support.otel_ml_collector.alerts.world import targets_of
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import SECOND_NS
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night

COUNTRIES = ("DE", "FR", "NL", "PL")


def make_countries(model: str, fall: float, runs: int = 250, *, seed: int = 1) -> list[Span]:
    """Make two versions with runs in four countries; `fall` is that of version 2 in PL."""
    spans: list[Span] = []
    for place, country in enumerate(COUNTRIES):
        for version, first_ns in (("v1", BEGAN_NS - 20 * HOUR_NS), ("v2", BEGAN_NS)):
            rate = 0.85 - fall if (country, version) == ("PL", "v2") else 0.85
            spans += make_runs(
                model,
                version,
                rate,
                seed=seed * 100 + place,
                first_ns=first_ns + place * SECOND_NS,
                step_ns=MINUTE_NS,
                runs=runs,
                **{
                    "otel_ml.tag.country": lambda _, name=country: name,
                    **{
                        f"otel_ml.tag.t{number}": lambda at, number=number: str(at % (number + 3))
                        for number in range(7)
                    },
                },
            )
    return spans


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector with a version that fell in one country of four, and one that did not."""
    with open_service(
        tmp_path_factory.mktemp("for-whom"), alert_targets=targets_of("oncall")
    ) as service:
        take(service.store, "whom", [tell("a1"), *make_countries("risk", 0.45)])
        take(service.store, "whom", make_countries("calm", 0.0, 100, seed=2))
        for number in range(11):
            other = make_runs(
                f"other_{number}",
                "v1",
                0.8,
                seed=50 + number,
                first_ns=BEGAN_NS,
                step_ns=MINUTE_NS,
                runs=60,
            )
            take(service.store, "whom", other)
        take(service.store, "alone", [tell("a1"), *make_countries("risk", 0.45)])
        yield service


def get_release(service: Service, model: str = "risk", project: str = "whom", ask: str = "") -> Any:
    (release,) = get(service, f"models/{model}/release{ask}", project)["releases"]
    return release


def test_country_is_named(service: Service) -> None:
    """A country that falls by 45 points is named, among 8 tags and 12 models, with no filter."""
    (part,) = get_release(service)["for_whom"]
    assert (part["name"], part["condition"]) == ("country PL", 'tags["country"] == "PL"')
    assert part["where"] == 'model == "risk" and version == 2 and tags["country"] == "PL"'
    assert "; elsewhere " in part["sentence"]
    figure = part["figure"]
    assert (figure["name"], figure["word"]) == ("grounded", "worse")
    assert figure["candidate"]["value"] == pytest.approx(0.4, abs=0.08)
    assert figure["baseline"]["value"] == pytest.approx(0.85, abs=0.06)
    assert figure["difference"]["high"] < -0.3
    assert part["elsewhere"]["value"] == pytest.approx(0, abs=0.05)


@at_night
def test_other_models_change_nothing(service: Service) -> None:
    """The answer is the same without the other models of the project."""
    (part,), (alone,) = (
        get_release(service, project=project)["for_whom"] for project in ("whom", "alone")
    )
    for name in ("name", "where", "sentence", "runs"):
        assert part[name] == alone[name]
    assert part["elsewhere"] == pytest.approx(alone["elsewhere"])
    for name in ("baseline", "candidate", "difference"):
        assert part["figure"][name] == pytest.approx(alone["figure"][name])


def test_nobody(service: Service) -> None:
    """A version without a difference names no slice."""
    assert get_release(service, "calm")["for_whom"] == []


@at_night
def test_filter(service: Service) -> None:
    """A filter limits the runs that are compared."""
    where = quote('tags["country"] != "PL"')
    release = get_release(service, ask=f"?where={where}")
    assert release["for_whom"] == []
    assert release["compared"].endswith('only those with tags["country"] != "PL" count')
    answer = ask(service.app, "/api/v1/projects/whom/releases?where=nonsense+(")
    assert answer.status == 400


def test_finding(service: Service) -> None:
    """The finding is about the country, and lists its failed runs."""
    (finding,) = [
        item for item in get(service, "findings", "whom")["findings"] if item["kind"] == "release"
    ]
    assert finding["sentence"] == get_release(service)["for_whom"][0]["sentence"]
    assert finding["condition"] == 'tags["country"] == "PL"'
    assert finding["where"].startswith(
        'model == "risk" and version == 2 and tags["country"] == "PL"'
    )


def test_page(service: Service) -> None:
    """The model's page says for whom the new version is worse."""
    part = ask(
        service.app, "/projects/whom/model-verdict?model=risk&version=2&against=1&default=true"
    ).text
    shown = re.sub("<[^>]*>", "", html.unescape(part)).replace("\u202f", " ")
    assert get_release(service)["for_whom"][0]["sentence"] in shown


@at_night
def test_alert_keeps_the_slice(service: Service) -> None:
    """The suggested alert rule is about the country, and fires."""
    part = ask(
        service.app, "/projects/whom/model-verdict?model=risk&version=2&against=1&default=true"
    ).text
    [query] = re.findall(r'href="/projects/whom/alert-rule\?([^"]+)"', part)
    suggestion = parse_qs(html.unescape(query))
    where = 'model == "risk" and tags["country"] == "PL"'
    assert (suggestion["where"], suggestion["when"]) == ([where], ['worse("grounded")'])
    now_ns = time.time_ns()
    words = VersionWords(service.store.reader, "whom", "risk").find("grounded", where, [now_ns])
    assert words[now_ns].is_worse


@at_night
def test_alert(service: Service) -> None:
    """An alert names the country in its message, API, page and news, as the model's page does."""
    rule = {
        "where": 'model == "risk"',
        "when": 'worse("grounded")',
        "window": "1d",
        "hold": "1 of 1",
        "notify": ["oncall"],
    }
    saved = ask(
        service.app,
        "/api/v1/projects/whom/alerts/fall",
        method="PUT",
        headers={"content-type": "application/json"},
        body=(json.dumps(rule).encode(),),
    )
    assert saved.status == 200
    told = Told("whom")
    look(service, told, time.time_ns())
    (release,) = find_releases(service.store.reader, "whom", time.time_ns(), "risk")
    of_release = write_release(release)
    assert "country PL" in of_release
    (notification,) = told.notifications.values()
    sentence = notification.annotations["summary"]
    # The alert's figures are those of the last look at slices: of fewer runs, if some came since.
    words = [re.sub(r"\d+( points?)?", "", text) for text in (sentence, of_release)]
    assert words[0] == words[1]
    assert [part.text for part in notification.slices] == [sentence]
    alert = get(service, "alerts/fall", "whom")
    assert [part["text"] for part in alert["slices"]] == [sentence]
    for path in ("alerts/fall", "alert-firing"):
        page = ask(service.app, f"/projects/whom/{path}").text
        assert sentence in re.sub("<[^>]*>", "", html.unescape(page)), path
    (news,) = find_alert_news(service.store.reader, "whom", time.time_ns())
    assert news.sentence == sentence


@at_night
def test_compare_by_country(service: Service) -> None:
    """A comparison by country has a verdict for each country, and names PL."""
    answer = get(service, "compare?of=risk:v1&of=risk:v2&by=country", "whom")
    verdict = answer["sides"][1]["version"]["verdict"]
    assert sorted(item["value"] for item in verdict["by"]) == [*COUNTRIES]
    words = {item["value"]: item["word"] for item in verdict["by"]}
    assert words["PL"] == "worse"
    assert [item["name"] for item in verdict["for_whom"]] == ["country PL"]
    page = ask(service.app, "/projects/whom/compare?of=risk:v1&of=risk:v2").text
    shown = re.sub("<[^>]*>", "", html.unescape(page)).replace("\u202f", " ")
    assert verdict["for_whom"][0]["sentence"] in shown
    told = find_verdict(service.store.reader, "whom", "risk", 2, 1, now_ns=time.time_ns())
    assert told.by == []
