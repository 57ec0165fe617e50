"""The compose file follows its rules, and every YAML file in ``deploy/`` is valid."""

from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.nightly.deploy import compose
from tests.support.collector import CollectorProcess, running
from tests.support.deploy.tools import DEPLOY, change, read_yaml, run

COMPOSE = DEPLOY / "compose.yaml"
# test_kubernetes reads the Kubernetes manifests, which have several documents per file.
YAML_FILES = sorted(
    file
    for ending in ("yaml", "yml")
    for file in DEPLOY.rglob(f"*.{ending}")
    if file.parent.name != "kubernetes"
)
SCHEMA = ("--builtin-schema", "vendor.compose-spec")


@pytest.mark.parametrize("file", YAML_FILES, ids=lambda file: str(file.relative_to(DEPLOY)))
def test_yaml_is_read(file: Path) -> None:
    """Every YAML file is a mapping."""
    assert isinstance(read_yaml(file), dict)


@pytest.mark.parametrize("broken", ["key: [1, 2", "key: 1\nkey: 2", "\tkey: 1"])
def test_broken_yaml_is_refused(broken: str, tmp_path: Path) -> None:
    """An open bracket, a duplicate key or a tab for indentation is an error."""
    file = tmp_path / "broken.yaml"
    file.write_text(broken)
    with pytest.raises(Exception, match=r"line \d"):
        read_yaml(file)


def test_compose_file_follows_the_specification() -> None:
    """The compose file is valid against the schema of the Compose specification."""
    verdict = run("check-jsonschema", *SCHEMA, COMPOSE)
    assert verdict.status == 0, verdict.output


@pytest.mark.parametrize(
    ("old", "new"),
    [("mem_limit", "memlimit"), ("condition: service_healthy", "condition: healthy")],
)
def test_compose_schema_refuses(old: str, new: str, tmp_path: Path) -> None:
    """The schema finds a misspelt key or value."""
    assert run("check-jsonschema", *SCHEMA, change(COMPOSE, tmp_path, old, new)).status == 1


def test_compose_file_keeps_our_rules() -> None:
    """Ports are on loopback, versions pinned, mounts and health checks present, memory limited."""
    assert compose.problems(COMPOSE, DEPLOY) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"127.0.0.1:3000:3000"', '"3000:3000"', "grafana: port 3000:3000 is not published"),
        ("prom/prometheus:v3.5.0", "prom/prometheus", "prometheus: image prom/prometheus has no"),
        ("./prometheus:/", "./prometeus:/", "prometheus: mounts ./prometeus, which is not there"),
        ("- metrics:/", "- numbers:/", "prometheus: volume numbers is not declared"),
        ("    mem_limit: 4g\n", "", "otel-ml: no mem_limit"),
        ("restart: unless-stopped", "restart: always", "jaeger: no restart policy"),
        ("    healthcheck:\n", "    x-health:\n", "waits for the health of jaeger, which has no"),
        ("      jaeger:\n", "      jeager:\n", "otelcol: waits for jeager, which is not there"),
    ],
)
def test_compose_rules_refuse(old: str, new: str, problem: str, tmp_path: Path) -> None:
    """Each rule finds a file that breaks it."""
    found = compose.problems(change(COMPOSE, tmp_path, old, new), DEPLOY)
    assert problem in "\n".join(found)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Start a collector with the allowed hosts of the compose file."""
    environment = read_yaml(COMPOSE)["services"]["otel-ml"]["environment"]
    with running(
        tmp_path_factory.mktemp("named"), "--allowed-hosts", environment["OTEL_ML_ALLOWED_HOSTS"]
    ) as collector:
        yield collector


def test_collector_answers_prometheus(named: CollectorProcess) -> None:
    """The collector accepts the host name in Prometheus' scrape target."""
    [job] = read_yaml(DEPLOY / "prometheus/prometheus.yml")["scrape_configs"]
    [target] = job["static_configs"][0]["targets"]
    assert status_of_metrics(named, target) == HTTPStatus.OK


def test_collector_refuses_a_foreign_name(named: CollectorProcess) -> None:
    """The collector refuses a host name that no deployment file uses."""
    assert status_of_metrics(named, "evil.example:4318") == HTTPStatus.FORBIDDEN


def status_of_metrics(collector: CollectorProcess, host: str) -> int:
    address = urlsplit(collector.endpoint).netloc
    with closing(HTTPConnection(address, timeout=10)) as connection:
        connection.request("GET", "/metrics", headers={"Host": host})
        return connection.getresponse().status
