"""Follow docs/how-to/gateway.md: run LiteLLM's proxy with its settings and call through it."""

import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.recorded.server import serving
from tests.support.recorded.sink import Sink
from tests.support.waiting import wait_until

PROGRAMS: Final = ROOT / ".venv-litellm/bin"
_COLLECTOR: Final = "http://127.0.0.1:4318"
_PROXY: Final = "http://127.0.0.1:4000"
_READY_S: Final = 240
_FENCE: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def call_through(page: str, collector: CollectorProcess, folder: Path) -> str:
    """Start the proxy as the page describes and make its call; return the response."""
    blocks = _FENCE.findall((ROOT / f"docs/how-to/{page}.md").read_text())
    [settings] = [text for language, text in blocks if language == "yaml"]
    start, call = (text for language, text in blocks if language == "sh")
    (folder / f"{page}.yaml").write_text(settings)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with serving(Sink()) as provider:
        variables = {
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PORT": str(port),
            "OPENAI_BASE_URL": f"{provider}/v1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        with _started(start.replace(_COLLECTOR, collector.endpoint), folder, variables):
            wait_until(lambda: _is_up(f"{address}/health/liveliness"), _READY_S)
            said = subprocess.run(
                ["sh", "-ec", call.replace(_PROXY, address)],
                capture_output=True,
                text=True,
                timeout=180,
                check=True,
            ).stdout
            wait_until(lambda: bool(collector.runs("default")))
    return said


@contextmanager
def _started(commands: str, folder: Path, variables: dict[str, str]) -> Iterator[None]:
    """Run commands in the background until the block ends. The last one is the server."""
    with (folder / "log").open("w") as log:
        shell = subprocess.Popen(
            ["sh", "-ec", commands],
            cwd=folder,
            env=variables,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield
        finally:
            os.killpg(shell.pid, signal.SIGTERM)
            shell.wait(60)


def _is_up(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(address, timeout=5):
        return True
    return False
