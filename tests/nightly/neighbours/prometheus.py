"""Prometheus with the files of ``deploy/``, and an Alertmanager that it notifies."""

import json
import re
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from tests.nightly.neighbours.programs import PROGRAMS, Program, fetch, replaced
from tests.support.folders import ROOT
from tests.support.ports import free_port
from tests.support.waiting import wait_until

CONFIG: Final = ROOT / "deploy/prometheus/prometheus.yml"
RULES: Final = ROOT / "deploy/prometheus/rules.yml"
INTERVAL: Final = "1s"
_OPTION: Final = "--config.file"
_WAIT: Final = re.compile(r"( for: \d+)m\n")
# `deploy/` names no Alertmanager.
_ALERTING: Final = """
alerting:
  alertmanagers:
    - static_configs:
        - targets: ["{address}"]
"""
# Alertmanager reads its templates from the fixed path of its package. This mounts the package's
# files there, visible only to this process.
_AS_INSTALLED: Final = (
    *("unshare", "--map-root-user", "--mount"),
    *("sh", "-c", 'mount --bind "$0" /usr/share && exec "$@"'),
    str(PROGRAMS["alertmanager"].parents[1] / "share"),
)
_ROUTE: Final = """
route: {{receiver: inbox, group_by: [alertname], group_wait: 0s, group_interval: 1s}}
receivers: [{{name: inbox, webhook_configs: [{{url: "{address}"}}]}}]
"""


def deployed_scrape(target: str, alertmanager: str) -> str:
    """Return the configuration of ``deploy/`` with a new target, interval and Alertmanager."""
    text = replaced(CONFIG.read_text(), {"otel-ml:4318": target, "15s": INTERVAL})
    return text + _ALERTING.format(address=alertmanager)


def deployed_rules() -> str:
    """Return the rules of ``deploy/``, with seconds instead of minutes before they fire."""
    return _WAIT.sub(r"\1s\n", RULES.read_text())


class Prometheus(Program):
    """Prometheus with the configuration and the rules of ``deploy/``.

    Args:
        folder: The folder for its files and its data.
        target: ``host:port`` of the collector.
        alertmanager: ``host:port`` of the Alertmanager.
    """

    def __init__(self, folder: Path, target: str, alertmanager: str) -> None:
        port = free_port()
        self._api = f"http://127.0.0.1:{port}/api/v1"
        folder.mkdir(parents=True)
        (folder / RULES.name).write_text(deployed_rules())
        super().__init__(
            "prometheus",
            folder,
            deployed_scrape(target, alertmanager),
            port,
            option=_OPTION,
            more=(
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ),
        )

    def wait_ready(self) -> None:
        """Wait until Prometheus answers queries, which takes longer than listening."""
        super().wait_ready()
        address = self._api.removesuffix("/api/v1")
        wait_until(lambda: fetch(f"{address}/-/ready").status == HTTPStatus.OK)

    def ask(self, path: str, **parameters: object) -> Any:
        """Send a request to the API, and require success."""
        answer = fetch(f"{self._api}/{path}", **parameters)
        assert answer.status == HTTPStatus.OK, answer
        assert answer.body["status"] == "success", answer
        return answer.body["data"]

    def series(self, query: str) -> list[tuple[dict[str, str], list[float]]]:
        """Run a query over the last minute, as a panel does.

        Returns:
            The labels and values of each series, including NaN values.
        """
        now_s = time.time()
        answer = self.ask("query_range", query=query, start=now_s - 60, end=now_s, step=1)
        return [
            (series["metric"], [float(value) for _, value in series["values"]])
            for series in answer["result"]
        ]

    def has_read(self, times: int) -> bool:
        """Return whether Prometheus has read its target that often."""
        found = self.ask("query", query='sum_over_time(up{job="otel-ml"}[5m])')["result"]
        return bool(found) and float(found[0]["value"][1]) >= times

    def rules(self) -> dict[str, dict[str, Any]]:
        """Return the rules by name."""
        groups = self.ask("rules")["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}


class Alertmanager(Program):
    """An Alertmanager that sends every alert to an inbox immediately.

    Attributes:
        address: Its ``host:port``.
    """

    def __init__(self, folder: Path, inbox: "Inbox") -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        super().__init__(
            "alertmanager",
            folder,
            _ROUTE.format(address=inbox.address),
            port,
            option=_OPTION,
            more=(
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address={self.address}",
                "--cluster.listen-address=",
            ),
            launcher=_AS_INSTALLED,
        )

    def alerts(self) -> list[dict[str, Any]]:
        """List the firing alerts."""
        answer = fetch(f"http://{self.address}/api/v2/alerts", active="true")
        assert answer.status == HTTPStatus.OK, answer
        found: list[dict[str, Any]] = answer.body
        return found

    def groups(self) -> list[dict[str, Any]]:
        """List the groups of firing alerts, each with its alerts."""
        answer = fetch(f"http://{self.address}/api/v2/alerts/groups", active="true")
        assert answer.status == HTTPStatus.OK, answer
        groups: list[dict[str, Any]] = answer.body
        return groups


class Inbox:
    """A webhook that receives alerts from an Alertmanager.

    Attributes:
        address: The URL of the webhook.
        alerts: The received alerts, in order.
    """

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                inbox.alerts += message["alerts"]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """Log nothing, to keep the test's output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def told(self, alert: str, status: str) -> list[dict[str, Any]]:
        """List the received messages about an alert with a status: ``firing`` or ``resolved``."""
        return [
            known
            for known in self.alerts
            if known["labels"]["alertname"] == alert and known["status"] == status
        ]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
