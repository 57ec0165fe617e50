"""The dashboard: its queries run in a real Prometheus; nothing here loads it into a Grafana."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import dashboard
from tests.deploy.prometheus import Prometheus
from tests.deploy.tools import DEPLOY, change, read_yaml
from tests.support.collector import CollectorProcess, wait_until

pytestmark = pytest.mark.deploy

DASHBOARD = DEPLOY / "grafana/dashboards/otel-ml.json"
QUERIES = dashboard.queries(DASHBOARD)


@pytest.fixture(scope="module")
def prometheus(
    counting: CollectorProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that has read the collector often enough for a rate."""
    target = counting.endpoint.removeprefix("http://")
    process = Prometheus(tmp_path_factory.mktemp("prometheus"), target)
    try:
        wait_until(lambda: process.has_read(3), timeout_s=60)
        yield process
    finally:
        process.stop()


def test_metrics_are_exposed(counting: CollectorProcess) -> None:
    """The running collector has every metric that a query names."""
    assert dashboard.unknown_names(DASHBOARD, counting.get_text("/metrics")) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("otel_ml_queue_bytes", "otel_ml_queued_bytes"),
        ("commit_rows_sum", "commit_rows_total"),
        ("spans_accepted_total", "spans_accepted"),
    ],
)
def test_unknown_metric_is_found(
    old: str, new: str, counting: CollectorProcess, tmp_path: Path
) -> None:
    """A metric that the collector does not have is found."""
    changed = change(DASHBOARD, tmp_path, old, new)
    [name] = dashboard.unknown_names(changed, counting.get_text("/metrics"))
    assert new in name


def test_names_of_a_query_are_read() -> None:
    """Functions, labels, text, numbers and operators are no metrics."""
    query = 'sum by (le, b) (rate(a_total{x="y{z}", w=~"v"}[5m] offset 1h)) / on (k) c > 1e3 or d:e'
    assert dashboard.metric_names(query) == {"a_total", "c", "d:e"}


def test_data_sources_are_provisioned() -> None:
    """Every data source that the dashboard names is one that Grafana starts with."""
    assert dashboard.unknown_sources(DASHBOARD) == []


def test_unknown_data_source_is_found(tmp_path: Path) -> None:
    """A data source that nothing brings is found."""
    changed = change(DASHBOARD, tmp_path, "otel-ml-prometheus", "prometheus")
    assert dashboard.unknown_sources(changed) == ["prometheus"]


def test_data_sources_are_services() -> None:
    """Every provisioned data source is a service of the compose file."""
    folder = DEPLOY / "grafana/provisioning/datasources"
    sources = [s for file in folder.glob("*.yaml") for s in read_yaml(file)["datasources"]]
    hosts = {source["url"].removeprefix("http://").partition(":")[0] for source in sources}
    assert hosts == {"prometheus", "jaeger", "otel-ml"}
    assert hosts <= set(read_yaml(DEPLOY / "compose.yaml")["services"])


def test_dashboards_are_mounted() -> None:
    """The folder that Grafana loads dashboards from is the one that the compose file mounts."""
    [provider] = read_yaml(DEPLOY / "grafana/provisioning/dashboards/otel-ml.yaml")["providers"]
    volumes = read_yaml(DEPLOY / "compose.yaml")["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in volumes


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.panel}: {query.text}")
def test_query_answers(query: dashboard.Query, prometheus: Prometheus) -> None:
    """Prometheus answers every query over a collector at work, with the legend's labels."""
    series = prometheus.query(query.text)
    assert series
    assert {label for one in series for label in one["metric"]} >= query.labels


def test_rules_are_evaluated(prometheus: Prometheus) -> None:
    """Prometheus evaluates every alert without an error."""
    wait_until(lambda: "unknown" not in prometheus.rules().values())
    assert set(prometheus.rules().values()) == {"ok"}
