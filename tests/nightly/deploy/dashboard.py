"""Read a Grafana dashboard: its queries, their metrics, and its data sources."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.deploy.tools import DEPLOY, read_yaml

_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_NOT_NAMES: Final = re.compile(
    r"\{[^}]*\}"  # label matchers
    r"|\[[^\]]*\]"  # range
    r"|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"  # labels
    r"|\b(?:and|or|unless|bool|offset)\b"
    r"|\b\d[\w.]*"
)
_NAME: Final = re.compile(r"[a-zA-Z_:][\w:]*\b(?!\s*\()")
_LABEL: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel.

    Attributes:
        panel: Title of the panel.
        text: PromQL, with Grafana's variables replaced.
        labels: Names of the labels in the legend.
    """

    panel: str
    text: str
    labels: frozenset[str]


def queries(file: Path) -> list[Query]:
    """List all Prometheus queries of a dashboard."""
    return [
        Query(
            panel["title"],
            _fill(target["expr"]),
            frozenset(_LABEL.findall(target["legendFormat"])),
        )
        for panel in json.loads(file.read_text())["panels"]
        for target in panel["targets"]
        if target["datasource"]["type"] == "prometheus"
    ]


def _fill(text: str) -> str:
    """Replace the only Grafana variable that the dashboard uses.

    Its minimum is four intervals of the data source, and an interval is 15 s.
    """
    filled = text.replace("$__rate_interval", "1m")
    assert "$" not in filled, f"There is no value for a variable of {text!r}"
    return filled


def metric_names(query: str) -> set[str]:
    """Return the names of the metrics in a PromQL query."""
    return set(_NAME.findall(_NOT_NAMES.sub(" ", _TEXT.sub(" ", query))))


def exposed_names(metrics: str) -> set[str]:
    """Return the names of the samples on a page in Prometheus text format."""
    samples = (line for line in metrics.splitlines() if line and not line.startswith("#"))
    return {re.split(r"[{ ]", sample, maxsplit=1)[0] for sample in samples}


def unknown_names(file: Path, metrics: str) -> list[str]:
    """List metrics that a dashboard queries and the page does not have."""
    asked = {name for query in queries(file) for name in metric_names(query.text)}
    return sorted(asked - exposed_names(metrics))


def unknown_sources(file: Path) -> list[str]:
    """List data sources that a dashboard uses and no provisioning file defines."""
    return sorted(_uids(json.loads(file.read_text())["panels"]) - provisioned_uids())


def provisioned_uids() -> set[str]:
    """Return the ids of the provisioned data sources of Grafana."""
    files = (DEPLOY / "grafana/provisioning/datasources").glob("*.yaml")
    return {source["uid"] for file in files for source in read_yaml(file)["datasources"]}


def _uids(node: Any) -> set[str]:
    if isinstance(node, list):
        return {uid for item in node for uid in _uids(item)}
    if not isinstance(node, dict):
        return set()
    own = {node["datasource"]["uid"]} if "datasource" in node else set()
    return own | {uid for value in node.values() for uid in _uids(value)}
