"""Check the Dockerfile outside a container; test_image.py builds and runs the image."""

import re
import shutil
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.nightly.deploy import dockerfile
from tests.support.collector import CollectorProcess
from tests.support.deploy.tools import DEPLOY, change
from tests.support.folders import ROOT
from tests.support.keys import ask
from tests.support.program import otel_ml

DOCKERFILE = DEPLOY / "Dockerfile"
PIN = re.compile(r"^([\w-]+)==(\S+)", re.MULTILINE)  # without platform markers


def test_dockerfile_keeps_our_rules() -> None:
    """Copied paths exist, base images are pinned, the user is not root, a health check is set."""
    assert dockerfile.problems(DOCKERFILE, ROOT) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("COPY collector ", "COPY colector ", "colector is not there"),
        ("COPY collector ", "COPY tests ", "tests is kept out by .dockerignore"),
        ("python:3.12-slim-bookworm", "python:latest", "base python:latest AS build has no fixed"),
        ("USER otel-ml", "USER root", "the image runs as root"),
        ("USER otel-ml\n", "", "the image runs as root"),
        ("HEALTHCHECK ", "HEALTCHECK ", "no HEALTHCHECK"),
        ("ENTRYPOINT ", "ENTRYPONT ", "unknown instruction ENTRYPONT"),
    ],
)
def test_rules_refuse(old: str, new: str, problem: str, tmp_path: Path) -> None:
    """Each rule finds a file that breaks it."""
    found = dockerfile.problems(change(DOCKERFILE, tmp_path, old, new), ROOT)
    assert problem in "\n".join(found)


def test_ignored_path_is_found(tmp_path: Path) -> None:
    """A path that .dockerignore excludes is found."""
    change(ROOT / ".dockerignore", tmp_path, "!otel_ml\n", "")
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("deploy", "collector", "otel_ml"):
        (tmp_path / name).symlink_to(ROOT / name)
    found = dockerfile.problems(DOCKERFILE, tmp_path)
    assert found == ["otel_ml is kept out by .dockerignore"]


def test_command_starts_a_collector(tmp_path: Path) -> None:
    """The image's command starts a collector, here on loopback and on free ports."""
    collector = start_as_in_the_image(tmp_path / "data")
    try:
        collector.wait_ready()
    finally:
        collector.kill()


def test_image_requires_keys(tmp_path: Path) -> None:
    """The image's command refuses requests without a key; its volume holds the first key."""
    collector = start_as_in_the_image(tmp_path / "data")
    try:
        collector.wait_ready()
        assert collector.status("/api/v1/projects") == HTTPStatus.UNAUTHORIZED
        scopes = ("--project", "*", "--scope", "admin,read")
        made = otel_ml("keys", "add", "--data-dir", str(tmp_path / "data"), *scopes)
        assert made.returncode == 0, made.stderr
        listed = ask(collector, "/api/v1/projects", made.stdout.strip())
        assert listed.status == HTTPStatus.OK
        again = otel_ml("keys", "add", "--data-dir", str(tmp_path / "data"), *scopes)
        assert again.returncode != 0
        assert "a key is needed" in again.stderr
    finally:
        collector.kill()


def test_health_check_follows_the_collector(tmp_path: Path) -> None:
    """The health check passes while the collector answers, and fails when it has stopped."""
    collector = start_as_in_the_image(tmp_path / "data")
    try:
        collector.wait_ready()
        port = collector.endpoint.rpartition(":")[2]
        assert is_healthy(port)
        assert not is_healthy(port, path="/nowhere")
        collector.stop()
        assert not is_healthy(port)
    finally:
        collector.kill()


def test_pins_are_those_of_the_tests() -> None:
    """The image installs the versions that the tests use."""
    tested = set(PIN.findall((ROOT / "requirements/demo.txt").read_text()))
    shipped = set(PIN.findall((DEPLOY / "requirements.txt").read_text()))
    assert shipped
    assert shipped - tested == set()


def start_as_in_the_image(data: Path) -> CollectorProcess:
    words = dockerfile.command(dockerfile.read(DOCKERFILE), "CMD")
    assert words[:2] == ["--data-dir", "/data"]
    free = [re.sub(r"^0\.0\.0\.0:\d+$", "127.0.0.1:0", word) for word in words[2:]]
    return CollectorProcess(data, *free)


def is_healthy(port: str, path: str = "/readyz") -> bool:
    program, *words = dockerfile.command(dockerfile.read(DOCKERFILE), "HEALTHCHECK")
    assert program == "python"
    changed = [word.replace("4318", port).replace("/readyz", path) for word in words]
    assert changed != words
    ended = subprocess.run([sys.executable, *changed], capture_output=True, timeout=30, check=False)
    return ended.returncode == 0
