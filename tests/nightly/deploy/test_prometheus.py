"""Prometheus' configuration, the alert rules, and the metrics page are valid."""

import shutil
from pathlib import Path

import pytest

from tests.support.collector import CollectorProcess
from tests.support.deploy.tools import DEPLOY, Verdict, change, run

CONFIG = DEPLOY / "prometheus/prometheus.yml"
RULES = DEPLOY / "prometheus/rules.yml"
RULES_TEST = Path(__file__).with_name("rules_test.yml")


def test_config_is_valid() -> None:
    """Promtool accepts the configuration and its rules."""
    verdict = run("promtool", "check", "config", CONFIG)
    assert verdict.status == 0, verdict


@pytest.mark.parametrize(
    ("old", "new"),
    [("scrape_interval", "scrap_interval"), ("[rules.yml]", "[rule.yml]"), ("15s", "15")],
)
def test_config_is_refused(old: str, new: str, tmp_path: Path) -> None:
    """Promtool finds a misspelt key, a missing file, and a duration without a unit."""
    shutil.copy(RULES, tmp_path)
    assert run("promtool", "check", "config", change(CONFIG, tmp_path, old, new)).status != 0


def test_rules_are_valid() -> None:
    """Promtool accepts the rules, including its lint checks."""
    verdict = run("promtool", "check", "rules", "--lint-fatal", RULES)
    assert verdict.status == 0, verdict


@pytest.mark.parametrize(("old", "new"), [("expr:", "exp:"), ("[10m]", "[10m"), ("for:", "fro:")])
def test_rules_are_refused(old: str, new: str, tmp_path: Path) -> None:
    """Promtool finds a misspelt key or an invalid query."""
    assert run("promtool", "check", "rules", change(RULES, tmp_path, old, new)).status != 0


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """Every alert fires for the matching test series, and for no others."""
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
    """If a threshold, duration, quantile or metric is changed, the tests of the rules fail."""
    change(RULES, tmp_path, old, new)
    assert try_rules(tmp_path).status != 0


def test_metrics_are_valid(counting: CollectorProcess) -> None:
    """Promtool accepts the metrics page of a running collector and has no advice."""
    page = counting.get_text("/metrics")
    assert run("promtool", "check", "metrics", stdin=page) == Verdict(0, "", "")


@pytest.mark.parametrize(
    ("old", "new"),
    [("spans_accepted_total", "spans_accepted"), ("# TYPE", "# TIPE"), ('answer="', "answer=")],
)
def test_metrics_are_refused(old: str, new: str, counting: CollectorProcess) -> None:
    """Promtool finds a counter without its suffix, a broken type line, and an unquoted label."""
    page = counting.get_text("/metrics")
    assert old in page
    assert run("promtool", "check", "metrics", stdin=page.replace(old, new)).status != 0


def try_rules(folder: Path) -> Verdict:
    """Run the rules' own tests with the rules of a folder."""
    tests = change(RULES_TEST, folder, "../../deploy/prometheus/rules.yml", "rules.yml")
    return run("promtool", "test", "rules", tests)
