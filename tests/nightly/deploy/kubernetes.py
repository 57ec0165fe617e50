"""Rules for the Kubernetes manifests beyond their schemas."""

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

Manifest = dict[str, Any]
_PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")


def read(file: Path) -> list[Manifest]:
    """Return the documents of a YAML file."""
    # Only `make check-deploy` installs it, so neither mypy nor `make test` may need it.
    yaml = importlib.import_module("ruamel.yaml")
    return list(yaml.YAML(typ="safe", pure=True).load_all(file.read_text()))


def of_kind(manifests: list[Manifest], *kinds: str) -> Manifest:
    """Return the only manifest of the given kinds."""
    [found] = [one for one in manifests if one["kind"] in kinds]
    return found


def workload(manifests: list[Manifest]) -> Manifest:
    """Return the manifest that defines the pods."""
    return of_kind(manifests, "Deployment", "StatefulSet")


def container(manifests: list[Manifest]) -> Manifest:
    """Return the only container of the pods."""
    [found] = workload(manifests)["spec"]["template"]["spec"]["containers"]
    return dict(found)


def schema_problems(manifests: list[Manifest], version: str) -> list[str]:
    """List the errors of a Kubernetes version's schemas, including unknown fields."""
    validate = importlib.import_module("kubernetes_validate")
    found = []
    for manifest in manifests:
        try:
            validate.validate(manifest, version, strict=True)
        except validate.ValidationError as error:
            found.append(f"{manifest.get('kind')}: {error.message}")
        except (validate.InvalidSchemaError, validate.SchemaNotFoundError) as error:
            found.append(f"{manifest.get('kind')}: {error}")
    return found


def problems(manifests: list[Manifest]) -> list[str]:
    """List the problems that the schemas do not find."""
    one, pod = container(manifests), workload(manifests)["spec"]["template"]["spec"]
    return [*_rights(pod, one), *_probes(one), *_names(manifests), *_mounts(manifests)]


def _rights(pod: Mapping[str, Any], one: Mapping[str, Any]) -> Iterator[str]:
    if not pod.get("securityContext", {}).get("runAsNonRoot"):
        yield "the pod may run as root"
    if pod.get("automountServiceAccountToken", True):
        yield "the pod has a token of the cluster"
    own = one.get("securityContext", {})
    if not own.get("readOnlyRootFilesystem"):
        yield "the root file system can be written"
    if own.get("allowPrivilegeEscalation", True):
        yield "privileges can be had"
    if own.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "capabilities are kept"
    if "memory" not in one.get("resources", {}).get("limits", {}):
        yield "memory has no limit"
    name, _, version = one["image"].partition(":")
    if not version[:1].isdigit():
        yield f"the image {name} has no fixed version"


def _probes(one: Mapping[str, Any]) -> Iterator[str]:
    ports = {port["name"] for port in one["ports"]}
    for name in _PROBES:
        if name not in one:
            yield f"no {name}"
        elif one[name]["httpGet"]["port"] not in ports:
            yield f"{name} asks a port that is not there"


def _names(manifests: list[Manifest]) -> Iterator[str]:
    service, made = of_kind(manifests, "Service"), workload(manifests)
    labels = made["spec"]["template"]["metadata"]["labels"]
    selectors = [service["spec"]["selector"], made["spec"]["selector"]["matchLabels"]]
    selectors += [
        one["spec"]["selector"]["matchLabels"]
        for one in manifests
        if one["kind"] == "PodDisruptionBudget"
    ]
    if any(selector != labels for selector in selectors):
        yield "a selector finds no pod"
    ports = {port["name"] for port in container(manifests)["ports"]}
    if {port["targetPort"] for port in service["spec"]["ports"]} != ports:
        yield "the service leads to a port that is not there"
    if made["kind"] == "StatefulSet" and made["spec"]["serviceName"] != service["metadata"]["name"]:
        yield "the stateful set has no service"
    maps = {one["metadata"]["name"] for one in manifests if one["kind"] == "ConfigMap"}
    told = {
        source["configMapRef"]["name"]
        for source in container(manifests)["envFrom"]
        if "configMapRef" in source
    }
    if told - maps:
        yield "a map of settings is not there"


def _mounts(manifests: list[Manifest]) -> Iterator[str]:
    made = workload(manifests)["spec"]
    volumes = {volume["name"] for volume in made["template"]["spec"]["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in made.get("volumeClaimTemplates", [])}
    mounts = {mount["name"] for mount in container(manifests)["volumeMounts"]}
    if mounts != volumes:
        yield "a volume is not mounted, or not there"
