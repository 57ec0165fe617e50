"""The quality pages."""

import re

from tests.store.otel_ml_collector.quality.test_quality import (
    FORETOLD,
    save,
    service,
)
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night

__all__ = ["service"]


def read(service: Service, path: str) -> str:
    answered = ask(service.app, f"/projects/{path}")
    assert answered.status == 200, answered.text
    return answered.text


def test_page(service: Service) -> None:
    """The page has the figures, hatched early buckets, the table, and a link to the wrong runs."""
    page = read(service, "churn/targets/churned?last=30d&bucket=day")
    here = sum(one.came is not None for one in FORETOLD)
    wrong = sum(one.came not in {None, one.predicted} for one in FORETOLD)
    assert f" {here} of {len(FORETOLD)} " in page
    assert f">{wrong} wrong runs</a>" in page
    assert page.count("<title>fewer outcomes than usual</title>") >= 2
    assert "<title>not enough ground truth yet</title>" in page
    assert 'id="calibration"' in page
    assert "probability of “yes” equals the share of runs whose outcome is “yes”" in page
    assert "actual: yes" in page


@at_night
def test_estimate(service: Service) -> None:
    """The expected accuracy is a dotted line, called an estimate, with its average error."""
    address = "churn/targets/churned?last=30d&bucket=day"
    answer = ask(service.app, f"/api/v1/projects/{address}").json
    page = read(service, address)
    waiting = answer["runs"] - answer["here"]
    assert 'id="estimate"' in page
    assert f"{100 * answer['estimate']:.1f}\u202f% of the {waiting} " in page
    assert f" {100 * answer['estimate_error']:.1f} pts " in page
    assert 'id="estimate"' not in read(service, f"{address}&figure=brier")


def test_last_bucket_stays_in_the_chart(service: Service) -> None:
    """The bar of the last bucket, which the window cuts, ends within the chart."""
    page = read(service, "churn/targets/churned?last=30d&bucket=day")
    ends = [float(end) for end in re.findall(r"V[\d.]+H([\d.]+)V70z", page)]
    assert len(ends) > 10
    assert max(ends) <= 1_000.0


@at_night
def test_other_figure(service: Service) -> None:
    """The page draws another figure on request."""
    page = read(service, "churn/targets/churned?figure=brier")
    assert 'aria-label="Brier score by the time of the prediction"' in page


def test_list(service: Service) -> None:
    """The list links to each target; in a project without ground truth it explains how to start."""
    assert 'href="/projects/churn/targets/churned"' in read(service, "churn/targets")
    assert "No ground truth yet" in read(service, "nothing/targets")


def test_no_runs(service: Service) -> None:
    """The page shows that the target's model has no runs."""
    save(service, "empty", "late")
    assert "No predictions of late" in read(service, "empty/targets/late")


def test_run_page(service: Service) -> None:
    """A run's page shows its ground truth next to its prediction."""
    foretold = next(one for one in FORETOLD if one.came is not None)
    run_id = f"{foretold.run.trace_id.hex()}-{foretold.run.span_id.hex()}"
    page = read(service, f"churn/runs/{run_id}")
    truths = page.partition('id="truths"')[2]
    assert foretold.predicted in truths
    assert f"{foretold.p}" not in truths.partition("</table>")[0]
