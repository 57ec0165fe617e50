"""The Kubernetes manifests follow their schemas and rules. They are not run in a cluster."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.nightly.deploy import dockerfile, kubernetes
from tests.support.clickhouse import clickhouse
from tests.support.collector import CollectorProcess
from tests.support.deploy.tools import DEPLOY, change

EMBEDDED = DEPLOY / "kubernetes/embedded.yaml"
CLICKHOUSE = DEPLOY / "kubernetes/clickhouse.yaml"
FILES = pytest.mark.parametrize("file", [EMBEDDED, CLICKHOUSE], ids=lambda file: file.stem)
# The oldest and the newest documented version.
VERSIONS = ("1.32", "1.37")


@FILES
@pytest.mark.parametrize("version", VERSIONS)
def test_schemas_accept(file: Path, version: str) -> None:
    """The schemas of Kubernetes accept every manifest, and no field is unknown."""
    assert kubernetes.schema_problems(kubernetes.read(file), version) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("runAsNonRoot: true", "runAsNonRoot: 'yes'"),
        ("replicas: 1", "replica: 1"),
        ("apiVersion: apps/v1", "apiVersion: apps/v2"),
        ("containerPort: 4317", "containerPort: grpc"),
        ("emptyDir:", "emptyDirectory:"),
    ],
)
def test_schemas_refuse(old: str, new: str, tmp_path: Path) -> None:
    """A misspelt field, a wrong type or a wrong version is found."""
    manifests = kubernetes.read(change(EMBEDDED, tmp_path, old, new))
    assert kubernetes.schema_problems(manifests, VERSIONS[-1]) != []


@FILES
def test_manifests_keep_our_rules(file: Path) -> None:
    """Pods are not root, write only to volumes, have probes and limits, and use existing names."""
    assert kubernetes.problems(kubernetes.read(file)) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("runAsNonRoot: true", "runAsNonRoot: false", "the pod may run as root"),
        ("automountServiceAccountToken: false", "hostIPC: false", "a token of the cluster"),
        ("readOnlyRootFilesystem: true", "privileged: false", "can be written"),
        ("allowPrivilegeEscalation: false", "privileged: false", "privileges can be had"),
        ("drop: [ALL]", "add: [CHOWN]", "capabilities are kept"),
        ("limits: {memory: 4Gi}", "limits: {cpu: 2}", "memory has no limit"),
        ("image: otel-ml:0.1.0", "image: otel-ml:latest", "no fixed version"),
        ("          livenessProbe:", "          lifeProbe:", "no livenessProbe"),
        ("path: /healthz, port: otlp-http", "path: /healthz, port: http", "asks a port"),
        ("  selector: {app.kubernetes.io/name: otel-ml}", "  selector: {app: x}", "finds no pod"),
        ("targetPort: otlp-grpc", "targetPort: grpc", "leads to a port"),
        ("serviceName: otel-ml", "serviceName: otel", "has no service"),
        ("configMapRef: {name: otel-ml}", "configMapRef: {name: x}", "a map of settings"),
        ("{name: tmp, mountPath: /tmp}", "{name: temp, mountPath: /tmp}", "not mounted"),
    ],
)
def test_rules_refuse(old: str, new: str, problem: str, tmp_path: Path) -> None:
    """Each rule finds a manifest that breaks it."""
    found = kubernetes.problems(kubernetes.read(change(EMBEDDED, tmp_path, old, new)))
    assert problem in "\n".join(found)


@FILES
def test_user_is_of_the_image(file: Path) -> None:
    """The pod runs as the image's user, who owns the image's data folder."""
    context = kubernetes.workload(kubernetes.read(file))["spec"]["template"]["spec"]
    made = [words for name, words in dockerfile.read(DEPLOY / "Dockerfile") if name == "RUN"]
    assert f"--uid {context['securityContext']['runAsUser']} " in "\n".join(made)


def test_command_answers_its_probes(tmp_path: Path) -> None:
    """The pod's command starts a collector that answers the probes and requires a key."""
    with started(kubernetes.read(EMBEDDED), tmp_path, {}) as collector:
        check(kubernetes.read(EMBEDDED), collector)


def test_command_before_a_server(tmp_path: Path) -> None:
    """With a ClickHouse server, the pod's command works too and writes almost nothing to disk."""
    with clickhouse(tmp_path / "server") as server:
        store = {"OTEL_ML_STORE": server.url(server.make_database())}
        with started(kubernetes.read(CLICKHOUSE), tmp_path, store) as collector:
            check(kubernetes.read(CLICKHOUSE), collector)
    data = tmp_path / "data"
    written = [path.stat().st_size for path in data.rglob("*") if path.is_file()]
    assert sum(written) < 2**20


@contextmanager
def started(
    manifests: list[kubernetes.Manifest], folder: Path, secret: Mapping[str, str]
) -> Iterator[CollectorProcess]:
    """Start a collector with a pod's arguments and settings, on loopback and free ports."""
    told = {**kubernetes.of_kind(manifests, "ConfigMap")["data"], **secret}
    arguments = [
        re.sub(r"0\.0\.0\.0:\d+$", "127.0.0.1:0", argument).replace("=/data", f"={folder}/data")
        for argument in kubernetes.container(manifests)["args"]
    ]
    settings = ("env", *(f"{name}={value}" for name, value in told.items()))
    collector = CollectorProcess(folder / "data", *arguments, launcher=settings)
    try:
        collector.wait_ready()
        yield collector
    finally:
        collector.kill()


def check(manifests: list[kubernetes.Manifest], collector: CollectorProcess) -> None:
    """Send requests with the kubelet's probes, the service name, and a host that is not allowed."""
    one = kubernetes.container(manifests)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked: dict[str, Any] = one[probe]["httpGet"]
        headers = {told["name"]: told["value"] for told in asked["httpHeaders"]}
        assert status(collector, asked["path"], headers) == 200
    service = kubernetes.of_kind(manifests, "Service")["metadata"]["name"]
    assert status(collector, "/api/v1/projects", {"Host": f"{service}:4318"}) == 401
    assert status(collector, "/healthz", {"Host": "10.0.0.7:4318"}) == 403


def status(collector: CollectorProcess, path: str, headers: Mapping[str, str]) -> int:
    """Send a GET request, and return the status of the response."""
    connection = HTTPConnection(urlsplit(collector.endpoint).netloc, timeout=30)
    try:
        connection.request("GET", path, headers=dict(headers))
        return connection.getresponse().status
    finally:
        connection.close()
