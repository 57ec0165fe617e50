"""The dashboard: its metrics and data sources; tests/neighbours ask its queries of Prometheus."""

from pathlib import Path

import pytest

from tests.deploy import dashboard
from tests.deploy.tools import DEPLOY, change, read_yaml
from tests.support.collector import CollectorProcess

pytestmark = pytest.mark.deploy

DASHBOARD = DEPLOY / "grafana/dashboards/otel-ml.json"


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
