"""The image that buildah builds from the Dockerfile works like in a container runtime.

No registry is used: Debian's own Python replaces the base image. The build has only the loopback
network, so it installs nothing but the wheels of `make wheels`.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.nightly.deploy import dockerfile
from tests.support.collector import CollectorProcess
from tests.support.deploy.tools import DEPLOY
from tests.support.folders import ROOT
from tests.support.keys import ask
from tests.support.load import PROTOBUF, make_request, run_ids

pytestmark = pytest.mark.image

BASE: Final = ROOT / ".cache/image/base.tar"
TAG: Final = "otel-ml:check"
# The limit in README.md and the docs.
MOST_BYTES: Final = 1_500_000_000
_BUILD_S: Final = 3_600
_POLICY: Final = {"default": [{"type": "insecureAcceptAnything"}]}
_STAND_IN: Final = "FROM scratch\nADD base.tar /\nRUN ln -s python3 /usr/bin/python\n"
# Like a runtime that starts a container with a read-only root: only /data and /tmp are writable,
# and the process has no privileges and cannot get any. The shell stays because it ends with
# `unshare` and ends its children; a process without privileges would continue.
_AS_A_CONTAINER: Final = """
set -e
root=$1; data=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount --bind "$data" "$root/data"
mount -t tmpfs -o size=512m,mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
chroot "$root" setpriv --reuid otel-ml --regid otel-ml --clear-groups --bounding-set=-all \\
  --inh-caps=-all --no-new-privs env -i PATH=/opt/otel-ml/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 \\
  sh -c 'cd /data && exec "$@"' sh "$@" || exit "$?"
"""


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: its configuration and its files."""

    config: dict[str, Any]
    root: Path

    def launcher(self, data: Path) -> tuple[str, ...]:
        """Return the words before a command that run it in a container with a folder as volume."""
        spaces = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
        return (*spaces, "sh", "-c", _AS_A_CONTAINER, "sh", str(self.root), str(data))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Build the image, and mount its files."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "policy.json").write_text(json.dumps(_POLICY))
    (folder / "Dockerfile").write_text(_STAND_IN)
    os.link(BASE, folder / "base.tar")
    [base, _] = [text.split()[0] for name, text in read_dockerfile() if name == "FROM"]
    bud = ("bud", "--pull-never", "--isolation", "chroot", "--layers=false", "--format", "docker")
    try:
        buildah(folder, *bud, "--tag", f"docker.io/library/{base}", str(folder))
        told = ("--build-arg", "PIP_NO_INDEX=1", "--file", str(DEPLOY / "Dockerfile"))
        buildah(folder, *bud, *told, "--tag", TAG, str(ROOT))
        config = json.loads(buildah(folder, "inspect", "--type", "image", TAG))
        started = buildah(folder, "from", "--pull-never", TAG).strip()
        yield Image(config["Docker"]["config"], Path(buildah(folder, "mount", started).strip()))
    finally:
        buildah(folder, "rm", "--all")
        buildah(folder, "rmi", "--all", "--force")


def read_dockerfile() -> dockerfile.Instructions:
    return dockerfile.read(DEPLOY / "Dockerfile")


def buildah(folder: Path, command: str, *arguments: str) -> str:
    """Run buildah with separate storage and only the loopback network, and return its output."""
    storage = ("--storage-driver", "vfs", "--root", f"{folder}/root", "--runroot", f"{folder}/run")
    policy = ("--signature-policy", f"{folder}/policy.json") if command in {"bud", "from"} else ()
    words = ["buildah", *storage, command, *policy, *arguments]
    ended = subprocess.run(
        ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=_BUILD_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-3000:]
    return ended.stdout


def test_image_says_what_the_file_says(image: Image) -> None:
    """An image built offline has the user, command and health check of the Dockerfile."""
    file = read_dockerfile()
    assert image.config["User"] == "otel-ml"
    assert image.config["Entrypoint"] == dockerfile.command(file, "ENTRYPOINT")
    assert image.config["Cmd"] == dockerfile.command(file, "CMD")
    assert image.config["Healthcheck"]["Test"] == ["CMD", *dockerfile.command(file, "HEALTHCHECK")]


def test_image_is_as_large_as_is_said(image: Image) -> None:
    """The files of the image take no more space than the docs claim."""
    told = subprocess.run(
        ["du", "-s", "--block-size=1", "--one-file-system", str(image.root)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(told.stdout.split()[0]) < MOST_BYTES


def test_image_runs_read_only(image: Image, tmp_path: Path) -> None:
    """On a read-only root, without privileges, the image stores spans and returns them."""
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, 10001, 10001)
    tmp_path.chmod(0o755)
    with ImageProcess(image, data) as collector:
        request = make_request("p", 20)
        scopes = ("--project", "*", "--scope", "admin,read,ingest")
        made = in_image(image, data, "otel-ml", "keys", "add", "--data-dir", "/data", *scopes)
        key = made.stdout.strip()
        collector.deliver(request.SerializeToString(), {**PROTOBUF, "x-api-key": key})
        runs = json.loads(ask(collector, "/api/v1/projects/p/runs", key).body)["runs"]
        assert {run["run_id"] for run in runs} == set(run_ids(request))
        assert ask(collector, "/api/v1/projects").status == 401
        health = dockerfile.command(read_dockerfile(), "HEALTHCHECK")
        port = collector.endpoint.rpartition(":")[2]
        asked = [word.replace("4318", port) for word in health]
        assert in_image(image, data, *asked).returncode == 0
    assert in_image(image, data, *asked).returncode != 0
    assert in_image(image, data, "touch", "/data/own").returncode == 0
    refused = in_image(image, data, "touch", "/opt/otel-ml/own")
    assert "Read-only file system" in refused.stderr
    rights = in_image(image, data, "cat", "/proc/self/status").stdout
    assert re.findall(r"^(?:Uid|CapEff|CapBnd|NoNewPrivs):\s+(\w+)", rights, re.MULTILINE) == [
        *("10001", "0" * 16, "0" * 16, "1")
    ]


def in_image(image: Image, data: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a separate container, and wait for its end."""
    words = [*image.launcher(data), *command]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


class ImageProcess(CollectorProcess):
    """The image's command in a container, on loopback and free ports."""

    def __init__(self, image: Image, data: Path) -> None:
        self._words = [
            *image.launcher(data),
            *image.config["Entrypoint"],
            *(re.sub(r"^0\.0\.0\.0:\d+$", "127.0.0.1:0", word) for word in image.config["Cmd"]),
        ]
        super().__init__(data)

    def __enter__(self) -> "ImageProcess":
        self.wait_ready()
        return self

    def __exit__(self, *_raised: object) -> None:
        self.kill()

    def command(self) -> list[str]:
        """Return the command that starts the collector."""
        return self._words
