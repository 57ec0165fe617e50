"""ClickHouse's engine (chDB) creates the tables of a cluster with a real ZooKeeper.

The ZooKeeper is Debian's package, unpacked by `make check-deploy`; it needs Java.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml_collector.store.schema import TABLES
from tests.support.deploy import cluster
from tests.support.folders import ROOT
from tests.support.ports import free_port
from tests.support.waiting import wait_until

JARS: Final = ROOT / ".cache/zookeeper/usr/share/java"
_SERVER: Final = "org.apache.zookeeper.server.ZooKeeperServerMain"
# Not all jars of the packages: some contain a second logging backend.
_NEEDED: Final = (
    *("zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-simple", "metrics-core", "snappy-java"),
    *("commons-cli", "netty-all", "netty-handler", "netty-common"),
)
_STOP_S: Final = 30


@pytest.fixture
def zookeeper(tmp_path: Path) -> Iterator[int]:
    """Start a ZooKeeper, and yield its port."""
    port = free_port()
    jars = ":".join(f"{JARS}/{name}.jar" for name in _NEEDED)
    options = ("-Xmx128m", "-Dzookeeper.admin.enableServer=false")
    process = subprocess.Popen(
        ["java", *options, "-cp", jars, _SERVER, str(port), str(tmp_path / "zookeeper")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: process.poll() is not None or does_listen(port), 60)
        assert process.poll() is None, "ZooKeeper ended"
        yield port
    finally:
        process.kill()
        process.wait(_STOP_S)


def does_listen(port: int) -> bool:
    with closing(socket.socket()) as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def test_every_statement(tmp_path: Path, zookeeper: int) -> None:
    """Every statement creates a replicated table; a quorum of two fails with one live replica."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.deploy.replicated", str(tmp_path), str(zookeeper)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        cwd=ROOT,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    count = str(len(TABLES))
    assert told == {
        "statements": len(list(cluster.statements())),
        "errors": [],
        "replicas": [count, count, count],
        "quorum of two": "TOO_FEW_LIVE_REPLICAS",
    }
