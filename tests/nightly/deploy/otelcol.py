"""Rules for the OpenTelemetry Collector's configuration beyond its schema: matching names."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from tests.support.deploy.tools import read_yaml

_KINDS: Final = ("receivers", "processors", "exporters")


def problems(file: Path, hosts: Iterable[str]) -> list[str]:
    """List names that are undeclared or unused, and exporter hosts that are no service."""
    config = read_yaml(file)
    known = set(hosts)
    found = [
        f"{name}: host of {exporter['endpoint']} is no service"
        for name, exporter in config["exporters"].items()
        if exporter["endpoint"].partition(":")[0] not in known
    ]
    for kind, used in _used(config).items():
        declared = set(config.get(kind, {}))
        found += [f"{kind}: {name} is not declared" for name in sorted(used - declared)]
        found += [f"{kind}: {name} is not used" for name in sorted(declared - used)]
    return found + [
        f"{name}: storage {storage} is not started"
        for name, storage in _storages(config)
        if storage not in config["service"].get("extensions", [])
    ]


def _used(config: dict[str, Any]) -> dict[str, set[str]]:
    pipelines = config["service"]["pipelines"].values()
    used = {kind: {n for line in pipelines for n in line.get(kind, [])} for kind in _KINDS}
    return {**used, "extensions": set(config["service"].get("extensions", []))}


def _storages(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, exporter in config["exporters"].items():
        queue = exporter.get("sending_queue", {})
        if "storage" in queue:
            yield name, queue["storage"]
