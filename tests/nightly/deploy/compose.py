"""Rules for the compose file beyond its schema."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.support.deploy.tools import read_yaml

_PINNED: Final = re.compile(r"\w[\w./-]*:v?\d[\w.-]*|otel-ml:local")
_PORT: Final = re.compile(r"127\.0\.0\.1:\d+:\d+")
# The health check of these services is in the image built from deploy/Dockerfile.
_HEALTHY_BY_IMAGE: Final = frozenset({"otel-ml"})


def problems(file: Path, folder: Path) -> list[str]:
    """List the problems of a compose file whose paths are relative to a folder."""
    content = read_yaml(file)
    services: dict[str, Any] = content["services"]
    found: list[str] = []
    for name, service in services.items():
        found += [f"{name}: {problem}" for problem in _limits(service)]
        found += [f"{name}: {problem}" for problem in _waits(service, services)]
        found += [f"{name}: {problem}" for problem in _mounts(service, folder, content["volumes"])]
    return found


def _limits(service: dict[str, Any]) -> Iterator[str]:
    if not _PINNED.fullmatch(service["image"]):
        yield f"image {service['image']} has no fixed version"
    if "mem_limit" not in service:
        yield "no mem_limit"
    if service.get("restart") not in {"unless-stopped", "no"}:
        yield "no restart policy"
    for port in service.get("ports", []):
        if not _PORT.fullmatch(port):
            yield f"port {port} is not published on 127.0.0.1"


def _waits(service: dict[str, Any], services: dict[str, Any]) -> Iterator[str]:
    for name, wait in service.get("depends_on", {}).items():
        if name not in services:
            yield f"waits for {name}, which is not there"
        elif wait["condition"] == "service_healthy" and not (
            name in _HEALTHY_BY_IMAGE or "healthcheck" in services[name]
        ):
            yield f"waits for the health of {name}, which has no check"


def _mounts(service: dict[str, Any], folder: Path, volumes: dict[str, Any]) -> Iterator[str]:
    for volume in service.get("volumes", []):
        source = volume.partition(":")[0]
        if source.startswith("."):
            if not (folder / source).exists():
                yield f"mounts {source}, which is not there"
        elif source not in volumes:
            yield f"volume {source} is not declared"
