"""The Grafana dashboard uses only existing metrics, data sources and fields.

tests/nightly/neighbours sends its queries to Prometheus.
"""

import json
from pathlib import Path

import pytest

from tests.nightly.deploy import dashboard
from tests.support.collector import CollectorProcess
from tests.support.deploy.tools import DEPLOY, Verdict, change, image_of, read_yaml, run

DASHBOARD = DEPLOY / "grafana/dashboards/otel-ml.json"
TYPES = Path(__file__).with_name("grafana")


def test_metrics_are_exposed(counting: CollectorProcess) -> None:
    """The running collector exposes every metric that a query uses."""
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
    """A metric that the collector does not expose is found."""
    changed = change(DASHBOARD, tmp_path, old, new)
    [name] = dashboard.unknown_names(changed, counting.get_text("/metrics"))
    assert new in name


def test_names_of_a_query_are_read() -> None:
    """Functions, labels, strings, numbers and operators are not read as metrics."""
    query = 'sum by (le, b) (rate(a_total{x="y{z}", w=~"v"}[5m] offset 1h)) / on (k) c > 1e3 or d:e'
    assert dashboard.metric_names(query) == {"a_total", "c", "d:e"}


def test_data_sources_are_provisioned() -> None:
    """Every data source that the dashboard uses is provisioned in Grafana."""
    assert dashboard.unknown_sources(DASHBOARD) == []


def test_unknown_data_source_is_found(tmp_path: Path) -> None:
    """A data source that is not provisioned is found."""
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
    """The compose file mounts the dashboards at the path from which Grafana loads them."""
    [provider] = read_yaml(DEPLOY / "grafana/provisioning/dashboards/otel-ml.yaml")["providers"]
    volumes = read_yaml(DEPLOY / "compose.yaml")["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in volumes


def test_types_are_of_the_image() -> None:
    """The types for the check have the version of the Grafana image."""
    packages = json.loads((TYPES / "package-lock.json").read_text())["packages"]
    version = packages["node_modules/@grafana/schema"]["version"]
    assert image_of("grafana") == f"grafana/grafana:{version}"


def test_dashboard_has_the_types(tmp_path: Path) -> None:
    """The dashboard has all required fields of Grafana's types, and no unknown ones."""
    verdict = compile_dashboard(DASHBOARD.read_text(), tmp_path)
    assert verdict == Verdict(0, "", "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"type": "timeseries"', '"type": "timeserie"'),
        ('"calcs": []', '"calc": []'),
        ('"placement": "bottom"', '"placement": "botom"'),
        ('"showPoints": "never"', '"showPoints": "no"'),
        ('"fillOpacity": 10', '"fillOpacity": "10"'),
        ('"legendFormat"', '"legendformat"'),
        ('"gridPos"', '"gridpos"'),
        ('"graphTooltip": 1', '"graphTooltip": "1"'),
        ('"schemaVersion": 42,', ""),
        ('"refresh"', '"refreshed"'),
    ],
)
def test_types_refuse(old: str, new: str, tmp_path: Path) -> None:
    """A field that is misspelt, missing, or of the wrong type is found."""
    text = change(DASHBOARD, tmp_path, old, new).read_text()
    assert compile_dashboard(text, tmp_path).status != 0


def test_schema_version_is_of_the_types() -> None:
    """The dashboard needs no migration by the pinned Grafana version."""
    code = "console.log(require('@grafana/schema').defaultDashboard.schemaVersion)"
    told = run("node", "--eval", code, folder=TYPES)
    assert json.loads(told.output) == json.loads(DASHBOARD.read_text())["schemaVersion"]


def compile_dashboard(text: str, folder: Path) -> Verdict:
    """Compile a dashboard with the TypeScript compiler, and return the verdict."""
    (folder / "node_modules").symlink_to(TYPES / "node_modules")
    (folder / "dashboard.ts").write_text((TYPES / "dashboard.ts").read_text())
    file = folder / "whole.ts"
    file.write_text(
        "import type { Whole } from './dashboard';\n"
        f"export const whole = {text.strip()} satisfies Whole;\n"
    )
    compiler = TYPES / "node_modules/typescript/bin/tsc"
    options = ("--noEmit", "--strict", "--skipLibCheck", "--target", "es2022")
    modules = ("--module", "commonjs", "--moduleResolution", "node10")
    return run("node", compiler, *options, *modules, file)
