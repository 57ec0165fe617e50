"""A real Prometheus with our files, reading a collector of the test's."""

import json
import shutil
import subprocess
from pathlib import Path
from socket import create_server
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.deploy.tools import DEPLOY, find_program

_STOP_S = 30


class Prometheus:
    """Prometheus with ``deploy/prometheus``: other target, an interval of one second.

    Args:
        folder: Takes the changed files and the data.
        target: ``host:port`` of the collector.
    """

    def __init__(self, folder: Path, target: str) -> None:
        shutil.copytree(DEPLOY / "prometheus", folder / "config")
        config = folder / "config/prometheus.yml"
        text = config.read_text()
        assert "otel-ml:4318" in text
        config.write_text(text.replace("otel-ml:4318", target).replace("15s", "1s"))
        with create_server(("127.0.0.1", 0)) as listener:
            address = f"127.0.0.1:{listener.getsockname()[1]}"
        self._api = f"http://{address}/api/v1"
        self._log = (folder / "log").open("w+")
        self._process = subprocess.Popen(
            [
                find_program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def query(self, text: str) -> list[dict[str, Any]]:
        """Return the series of a query now, each with ``metric`` and ``value``."""
        result: list[dict[str, Any]] = self._get("/query", query=text)["result"]
        return result

    def rules(self) -> dict[str, str]:
        """Return the health of every rule by its name: ok, unknown or err."""
        groups = self._get("/rules")["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    def has_read(self, times: int) -> bool:
        """Tell whether it has read its target that often."""
        assert self._process.poll() is None, self._said()
        try:
            counts = self.query('count_over_time(up{job="otel-ml"}[5m]) and up == 1')
        except OSError:  # it does not listen yet
            return False
        return bool(counts) and int(counts[0]["value"][1]) >= times

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(_STOP_S)
        self._log.close()

    def _get(self, path: str, **parameters: str) -> Any:
        with urlopen(f"{self._api}{path}?{urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read()
