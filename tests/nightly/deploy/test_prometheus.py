"""Prometheus: its configuration, the alerts, and the page that it reads."""

import shutil
from pathlib import Path

import pytest

from tests.support.collector import CollectorProcess
from tests.support.deploy.tools import DEPLOY, Verdict, change, run

CONFIG = DEPLOY / "prometheus/prometheus.yml"
RULES = DEPLOY / "prometheus/rules.yml"
RULES_TEST = Path(__file__).with_name("rules_test.yml")


def test_config_is_valid() -> None:
    """Promtool accepts the configuration with the rules that it names."""
    verdict = run("promtool", "check", "config", CONFIG)
    assert verdict.status == 0, verdict


@pytest.mark.parametrize(
    ("old", "new"),
    [("scrape_interval", "scrap_interval"), ("[rules.yml]", "[rule.yml]"), ("15s", "15")],
)
def test_config_is_refused(old: str, new: str, tmp_path: Path) -> None:
    """Promtool finds a misspelt key, a file that is not there, a duration without its unit."""
    shutil.copy(RULES, tmp_path)
    assert run("promtool", "check", "config", change(CONFIG, tmp_path, old, new)).status != 0


def test_rules_are_valid() -> None:
    """Promtool accepts the rules, and lints them."""
    verdict = run("promtool", "check", "rules", "--lint-fatal", RULES)
    assert verdict.status == 0, verdict


@pytest.mark.parametrize(("old", "new"), [("expr:", "exp:"), ("[10m]", "[10m"), ("for:", "fro:")])
def test_rules_are_refused(old: str, new: str, tmp_path: Path) -> None:
    """Promtool finds a misspelt key or a query that cannot be read."""
    assert run("promtool", "check", "rules", change(RULES, tmp_path, old, new)).status != 0


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """Every alert fires over the series that call for it, and over no others."""
    shutil.copy(RULES, tmp_path)
    verdict = try_rules(tmp_path)
    assert verdict.status == 0, verdict


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("> 0.01", "> 0.2"),
        ("for: 2m", "for: 3m"),
        ("histogram_quantile(0.99", "histogram_quantile(0.5"),
        ("otel_ml_spans_rejected_total", "otel_ml_spans_refused_total"),
    ],
)
def test_changed_alerts_are_noticed(old: str, new: str, tmp_path: Path) -> None:
    """Another threshold, time, quantile or metric does not pass the rules' own tests."""
    change(RULES, tmp_path, old, new)
    assert try_rules(tmp_path).status != 0


def test_metrics_are_valid(counting: CollectorProcess) -> None:
    """Promtool accepts the page of a collector at work and has no advice."""
    page = counting.get_text("/metrics")
    assert run("promtool", "check", "metrics", stdin=page) == Verdict(0, "", "")


@pytest.mark.parametrize(
    ("old", "new"),
    [("spans_accepted_total", "spans_accepted"), ("# TYPE", "# TIPE"), ('answer="', "answer=")],
)
def test_metrics_are_refused(old: str, new: str, counting: CollectorProcess) -> None:
    """Promtool finds a counter without its ending, a broken type line, a label without quotes."""
    page = counting.get_text("/metrics")
    assert old in page
    assert run("promtool", "check", "metrics", stdin=page.replace(old, new)).status != 0


def try_rules(folder: Path) -> Verdict:
    """Run the rules' own tests over the rules of a folder."""
    tests = change(RULES_TEST, folder, "../../deploy/prometheus/rules.yml", "rules.yml")
    return run("promtool", "test", "rules", tests)
