"""Ground truth decides about a new version like a judge, as soon as enough of it has arrived."""

import html
import random
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote_plus

import pytest

from otel_ml_collector.span import Span
from tests.store.otel_ml_collector.monitor.test_releases import take
from tests.store.otel_ml_collector.quality.test_quality import make_run, save, tell
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import SECOND_NS
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

HOUR_NS: Final = 3_600 * SECOND_NS
NOW_NS: Final = time.time_ns()
BEGAN_NS: Final = NOW_NS // HOUR_NS * HOUR_NS - 6 * HOUR_NS
RUNS: Final = 600
MINUTE_NS: Final = 60 * SECOND_NS


def make_version(number: int, right: float, covered: float = 1.0) -> list[Span]:
    """Make the runs of a version, and ground truth for a share of them; `right` is the accuracy."""
    draw = random.Random(number)  # noqa: S311 - not for secrets
    first_ns = BEGAN_NS - 20 * HOUR_NS if number == 1 else BEGAN_NS
    step_ns = MINUTE_NS if number == 1 else 20 * SECOND_NS
    spans = []
    for place in range(RUNS):
        label = draw.choice(["yes", "no"])
        price = round(draw.uniform(50, 100), 2)
        run = make_run(first_ns + place * step_ns, {"label": label, "price": price})
        version = {
            "otel_ml.model.version": f"sha-{number}",
            "otel_ml.model.output_schema": "s",
        }
        run = replace(run, attributes={**run.attributes, **version})
        spans.append(run)
        other = {"yes": "no", "no": "yes"}[label]
        came = label if draw.random() < right else other
        error = draw.gauss(0, 3 if right > 0.8 else 9)
        if place < covered * RUNS:
            spans.append(tell(run, came, NOW_NS))
            spans.append(tell(run, round(price + error, 2), NOW_NS, "price"))
    return spans


def take_versions(service: Service, project: str, *versions: list[Span]) -> None:
    take(service.store, project, [span for spans in versions for span in spans])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector with a version whose predictions are worse."""
    with open_service(tmp_path_factory.mktemp("release-truths")) as service:
        take_versions(service, "worse", make_version(1, 0.9), make_version(2, 0.6))
        save(service, "worse", positive="", probability="")
        yield service


def get(service: Service, path: str, project: str = "worse") -> Any:
    """Return an answer of the API. On a busy machine, a query can exceed its time limit once."""

    def try_once() -> Any:
        answered = ask(service.app, f"/api/v1/projects/{project}/{path}")
        return None if answered.status == 503 else answered.json

    return wait_until(try_once, about=f"an answer of {path}")


def get_release(service: Service, project: str = "worse") -> Any:
    (release,) = get(service, "models/predict/release", project)["releases"]
    return release


def get_figure(release: Any, name: str = "truth churned") -> Any:
    return next(item for item in release["figures"] if item["name"] == name)


def test_worse(service: Service) -> None:
    """A version whose predictions are right less often is worse."""
    release = get_release(service)
    first = release["figures"][0]
    assert (release["word"], first["name"], first["target"]) == (
        "worse",
        "truth churned",
        "churned",
    )
    assert first["word"] == "worse"
    assert first["since"] == release["since"]
    assert first["candidate"]["value"] == pytest.approx(0.6, abs=0.06)
    assert first["baseline"]["value"] == pytest.approx(0.9, abs=0.04)
    assert "are right" in release["sentence"]


def test_one_finding(service: Service) -> None:
    """The findings name the worse version once, with the prediction target."""
    findings = get(service, "findings?last=7d")["findings"]
    (finding,) = [item for item in findings if item["model"] == "predict"]
    assert finding["kind"] == "release"
    assert finding["where"] == 'model == "predict" and version == 2'
    assert (finding["measure"], finding["target"]) == ("quality", "churned")
    assert (finding["version"], finding["baseline"]) == (2, 1)
    assert re.findall(r"(\d+) %", finding["sentence"]) == ["58", "90"]
    assert '("churned")' in finding["evidence"]


def test_page(service: Service) -> None:
    """The model's page shows the verdict based on ground truth."""
    page = ask(service.app, "/projects/worse/models/predict").text
    (address,) = re.findall(r'hx-get="([^"]*model-verdict[^"]*)"', page)
    part = ask(service.app, html.unescape(address)).text
    shown = re.sub("<[^>]*>", "", html.unescape(part)).replace("\u202f", " ")
    findings = get(service, "findings?last=7d")["findings"]
    (claim,) = [item["sentence"] for item in findings if item["model"] == "predict"]
    assert claim in shown
    assert "churned: correct predictions" in shown


@at_night
def test_numbers(service: Service) -> None:
    """A version whose predicted numbers are further from the ground truth is worse."""
    take_versions(service, "numbers", make_version(1, 0.9), make_version(2, 0.6))
    wanted = {"kind": "number", "prediction": "outputs.price"}
    save(service, "numbers", "price", **wanted, positive="", probability="")
    figure = get_figure(get_release(service, "numbers"), "truth price")
    assert (figure["word"], figure["is_rate"], figure["lower_is_better"]) == ("worse", False, True)
    page = html.unescape(
        ask(service.app, "/projects/numbers/problems/predict-v2-quality?last=30d").text
    )
    assert "predict v2 is worse" in page
    assert 'the mean error ("price")' in page
    rule = "new version of predict is worse: ground truth price"
    assert f"name={quote_plus(rule)}&" in page
    examples = page.partition("the newest wrong predictions")[2].partition("</table>")[0]
    answers = re.findall(r'<td class="opt">(.*?)</td>', examples, re.DOTALL)
    prices = [float(re.sub("<[^>]+>", "", answer)) for answer in answers]
    assert prices
    assert min(prices) > 20  # the ground truth, not whether it exists


@at_night
def test_unchanged(service: Service) -> None:
    """A version whose predictions are as good is not worse."""
    take_versions(service, "same", make_version(1, 0.9), make_version(2, 0.9))
    save(service, "same", positive="", probability="")
    assert get_figure(get_release(service, "same"))["word"] != "worse"


@at_night
def test_recent_runs_have_no_truth(service: Service) -> None:
    """Recent runs of the new version without ground truth do not delay the verdict."""
    take_versions(service, "recent", make_version(1, 0.9), make_version(2, 0.5, covered=0.6))
    save(service, "recent", positive="", probability="")
    figure = get_figure(get_release(service, "recent"))
    assert figure["word"] == "worse"
    assert figure["runs"] == round(0.6 * RUNS)


@at_night
def test_runs_with_truth_count(service: Service) -> None:
    """If only half of the baseline's runs have ground truth, these are compared."""
    take_versions(service, "few", make_version(1, 0.9, covered=0.5), make_version(2, 0.5))
    save(service, "few", positive="", probability="")
    release = get_release(service, "few")
    assert get_figure(release)["word"] == "worse"
    assert release["word"] == "worse"


@at_night
def test_without_target(service: Service) -> None:
    """Ground truth without a prediction target is compared with the whole output."""
    spans = []
    for number, right in ((1, 0.9), (2, 0.5)):
        draw = random.Random(number)  # noqa: S311 - not for secrets
        for place in range(300):
            start_ns = BEGAN_NS + (place * 40 if number == 2 else place * 60 - 72_000) * SECOND_NS
            run = make_run(start_ns, "yes")
            version = {"otel_ml.model.version": f"sha-{number}"}
            run = replace(run, attributes={**run.attributes, **version})
            spans += [run, tell(run, "yes" if draw.random() < right else "no", NOW_NS, "output")]
    take(service.store, "unsaved", spans)
    assert get_figure(get_release(service, "unsaved"), "truth output")["word"] == "worse"


@at_night
def test_without_target_by_name(service: Service) -> None:
    """Without a saved target, the part of the output that is named like the truth is compared."""
    take_versions(service, "named", make_version(1, 0.9), make_version(2, 0.6))
    figure = get_figure(get_release(service, "named"), "truth price")
    assert figure["word"] == "worse"
    assert figure["baseline"]["value"] == pytest.approx(2.4, abs=0.4)


@at_night
def test_without_target_among_many(service: Service) -> None:
    """The ground truth that a model's runs have is compared, however many names others have."""
    spans = []
    for number, right in ((1, 0.9), (2, 0.5)):
        draw = random.Random(number)  # noqa: S311 - not for secrets
        for place in range(200):
            start_ns = BEGAN_NS + (place * 40 if number == 2 else place * 60 - 72_000) * SECOND_NS
            run = make_run(start_ns, "yes")
            version = {"otel_ml.model.version": f"sha-{number}"}
            run = replace(run, attributes={**run.attributes, **version})
            spans += [run, tell(run, "yes" if draw.random() < right else "no", NOW_NS, "output")]
    for name in "abcde":
        other = make_run(BEGAN_NS, "yes", model=f"other {name}")
        spans += [other, tell(other, "yes", NOW_NS, name)]
    take(service.store, "many-truths", spans)
    release = get_release(service, "many-truths")
    assert get_figure(release, "truth output")["word"] == "worse"


@at_night
def test_examples_are_wrong(service: Service) -> None:
    """A problem with predictions has a chart, and wrong examples with ground truth and version."""
    verdict = ask(
        service.app,
        "/projects/worse/model-verdict?model=predict&version=2&against=1&default=true",
    ).text
    (address,) = re.findall(r'href="(/projects/worse/problems/[^"?]*)', verdict)
    shown = ask(service.app, f"{address}?last=7d").text
    chart = shown.split('id="since"')[1].split("</section>")[0]
    assert 'class="hotline" d="M' in chart
    assert ">v2, " in chart
    assert "\u202f%</text>" in chart
    assert "/problem-pairs?" in shown
    examples = shown.split('id="examples"')[1].split("</table>")[0]
    assert "the newest wrong predictions" in examples
    rows = re.findall(r"<tr data-run=.*?</tr>", examples, re.DOTALL)
    assert len(rows) == 5
    for row in rows:
        cells = [
            html.unescape(re.sub("<[^>]*>", "", cell))
            for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
        ]
        output, truth, version = cells[2], cells[3], cells[4]
        assert version == "v2"
        assert truth in {"yes", "no"}
        assert f'"label":"{truth}"' not in output.replace(" ", "")
